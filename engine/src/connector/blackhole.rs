//! Takes rows, counts them and forgets them: for benchmarks and for ports that nobody wants.

use schemars::JsonSchema;
use serde::Deserialize;

use super::commit::Prepare;
use super::sink::{Deletes, Delivery, Open, Prepared, Refused, Settings, Sink, SinkKind};
use crate::batch::Batch;
use crate::codec;
use crate::error::Result;
use crate::problem::Problem;
use crate::units::Epoch;

/// The kind.
pub static KIND: SinkKind = SinkKind {
    name: "blackhole",
    summary: "Takes rows, counts them and forgets them.",
    example: "blackhole: {}\n",
    options: |generator| generator.subschema_for::<Options>(),
    delivery: Delivery::Nothing,
    default_format: None,
    needs_format: false,
    durable_on_close: false,
    prepare,
};

/// Options of `blackhole`: none.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Options {}

struct Blackhole {
    rows: u64,
}

fn prepare(settings: &Settings<'_>) -> Result<Box<dyn Prepared>, Vec<Problem>> {
    let Options {} = codec::options(settings.options)?;
    Ok(Box::new(Blackhole { rows: 0 }))
}

impl Prepared for Blackhole {
    fn describe(&self) -> String {
        "nowhere; rows are counted".to_owned()
    }

    fn deletes(&self) -> Deletes {
        Deletes::Nothing
    }

    fn open(&self, open: &Open) -> Result<Vec<Box<dyn Sink>>> {
        Ok((0..open.lanes).map(|_| Box::new(Self { rows: 0 }) as Box<dyn Sink>).collect())
    }
}

impl Sink for Blackhole {
    fn write(&mut self, batch: &Batch, _: &mut Vec<Refused>) -> Result<()> {
        self.rows += batch.count() as u64;
        Ok(())
    }

    fn prepare(&mut self, _: Epoch, _: &mut Vec<Refused>) -> Result<Prepare> {
        Ok(Prepare { rows: std::mem::take(&mut self.rows), bytes: 0 })
    }

    fn abort(&mut self) -> Result<()> {
        self.rows = 0;
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        Ok(())
    }
}
