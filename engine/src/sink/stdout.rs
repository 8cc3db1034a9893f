//! `stdout`: records on standard output, one a line. A reader that goes away (`| head`) ends nothing but the output.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::Array;

use crate::batch::Batch;
use crate::codec::{Encoder, Format, Layout, Problem};
use crate::error::{Code, Error, Result};
use crate::sink::{Delivery, Open, Prepare, Prepared, Refused, Settings, Sink, SinkKind};
use crate::units::Epoch;

/// Records on standard output.
pub static KIND: SinkKind = SinkKind {
    name: "stdout",
    summary: "Records on standard output, one a line.",
    example: "from: requests\nstdout: {}\nformat: json\n",
    options: |_| schemars::json_schema!({ "type": "object", "additionalProperties": false }),
    delivery: Delivery::AtLeastOnce,
    default_format: Some("json"),
    durable_on_close: false,
    prepare,
};

fn prepare(settings: &Settings<'_>) -> Result<Box<dyn Prepared>, Vec<Problem>> {
    let unknown = settings.options.as_object().into_iter().flat_map(|map| map.keys());
    let mut problems: Vec<Problem> = unknown
        .map(|key| Problem::new(Code::C003, format!("/{key}"), format!("there is no option `{key}`")))
        .collect();
    let Some(format) = settings.format else {
        problems.push(Problem::new(Code::C004, "", "the format is missing"));
        return Err(problems);
    };
    if format.layout() == Layout::Container {
        problems.push(Problem::new(
            Code::P009,
            "",
            "whole files of columns cannot be written to standard output",
        ));
    } else if let Err(e) = format.encoder(settings.schema.clone()) {
        problems.push(Problem::new(e.code(), "", e.message()));
    }
    if problems.is_empty() {
        Ok(Box::new(Ready { format: Arc::clone(format), schema: settings.schema.clone() }))
    } else {
        Err(problems)
    }
}

struct Ready {
    format: Arc<dyn Format>,
    schema: arrow::datatypes::SchemaRef,
}

impl Prepared for Ready {
    fn describe(&self) -> String {
        "stdout".to_owned()
    }

    fn open(&self, open: &Open) -> Result<Vec<Box<dyn Sink>>> {
        let out = Arc::new(Mutex::new(Out { to: Box::new(io::stdout()), gone: false }));
        sinks(self, open.lanes, &out)
    }
}

fn sinks(ready: &Ready, lanes: usize, out: &Arc<Mutex<Out>>) -> Result<Vec<Box<dyn Sink>>> {
    (0..lanes)
        .map(|_| {
            let encoder = ready.format.encoder(ready.schema.clone())?;
            Ok(Box::new(Lines { encoder, out: Arc::clone(out), since: Prepare::default() }) as Box<dyn Sink>)
        })
        .collect()
}

/// The output that the lanes share: a batch is written under its lock, so that lines never mix.
struct Out {
    to: Box<dyn Write + Send>,
    /// Its reader went away: the rest is taken and forgotten, as the reader wished.
    gone: bool,
}

impl Out {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if self.gone {
            return Ok(());
        }
        match self.to.write_all(bytes).and_then(|()| self.to.flush()) {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => {
                self.gone = true;
                Ok(())
            }
            Err(e) => Err(Error::external(Code::K002, format!("standard output cannot be written: {e}"))),
            Ok(()) => Ok(()),
        }
    }
}

struct Lines {
    encoder: Box<dyn Encoder>,
    out: Arc<Mutex<Out>>,
    since: Prepare,
}

impl Sink for Lines {
    fn write(&mut self, batch: &Batch, _: &mut Vec<Refused>) -> Result<()> {
        let values = self.encoder.encode(&batch.records)?;
        let mut lines = Vec::with_capacity(values.value_data().len() + values.len());
        for value in &values {
            lines.extend_from_slice(value.unwrap_or_default());
            lines.push(b'\n');
        }
        self.out.lock().unwrap_or_else(PoisonError::into_inner).write(&lines)?;
        self.since.rows += batch.len() as u64;
        self.since.bytes += lines.len() as u64;
        Ok(())
    }

    fn prepare(&mut self, _: Epoch, _: &mut Vec<Refused>) -> Result<Prepare> {
        Ok(std::mem::take(&mut self.since))
    }

    fn abort(&mut self) -> Result<()> {
        // What was printed stays printed; the rows come again.
        self.since = Prepare::default();
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Broken;

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_went_away_is_no_error_and_a_full_device_is_one() {
        let mut out = Out { to: Box::new(Broken), gone: false };
        out.write(b"x").unwrap();
        assert!(out.gone);
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut out = Out { to: Box::new(full), gone: false };
        assert_eq!(out.write(b"x").unwrap_err().code(), Code::K002);
    }
}
