//! `blackhole`: counts rows and forgets them, for measuring what comes before a sink.

use crate::batch::Batch;
use crate::codec::Problem;
use crate::error::{Code, Result};
use crate::sink::{Delivery, Open, Prepare, Prepared, Refused, Settings, Sink, SinkKind};
use crate::units::Epoch;

/// Counts rows and forgets them.
pub static KIND: SinkKind = SinkKind {
    name: "blackhole",
    summary: "Counts rows and forgets them.",
    example: "from: requests\nblackhole: {}\n",
    options: |_| schemars::json_schema!({ "type": "object", "additionalProperties": false }),
    delivery: Delivery::AtLeastOnce,
    default_format: None,
    durable_on_close: false,
    prepare,
};

fn prepare(settings: &Settings<'_>) -> Result<Box<dyn Prepared>, Vec<Problem>> {
    let unknown = settings.options.as_object().into_iter().flat_map(|map| map.keys());
    let problems: Vec<Problem> = unknown
        .map(|key| Problem::new(Code::C003, format!("/{key}"), format!("there is no option `{key}`")))
        .collect();
    if problems.is_empty() { Ok(Box::new(Ready)) } else { Err(problems) }
}

struct Ready;

impl Prepared for Ready {
    fn describe(&self) -> String {
        "blackhole".to_owned()
    }

    fn open(&self, open: &Open) -> Result<Vec<Box<dyn Sink>>> {
        Ok((0..open.lanes).map(|_| Box::new(Blackhole::default()) as Box<dyn Sink>).collect())
    }
}

/// What came since the last prepare.
#[derive(Default)]
struct Blackhole(Prepare);

impl Sink for Blackhole {
    fn write(&mut self, batch: &Batch, _: &mut Vec<Refused>) -> Result<()> {
        self.0.rows += batch.len() as u64;
        self.0.bytes += batch.records.get_array_memory_size() as u64;
        Ok(())
    }

    fn prepare(&mut self, _: Epoch, _: &mut Vec<Refused>) -> Result<Prepare> {
        Ok(std::mem::take(&mut self.0))
    }

    fn abort(&mut self) -> Result<()> {
        self.0 = Prepare::default();
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        Ok(())
    }
}
