//! Writes rows to standard output, one a line.

use std::io::{self, Write};
use std::sync::Arc;

use arrow::array::Array;
use arrow::datatypes::SchemaRef;
use schemars::JsonSchema;
use serde::Deserialize;

use super::commit::Prepare;
use super::sink::{Delivery, Open, Prepared, Refused, Settings, Sink, SinkKind};
use crate::batch::Batch;
use crate::codec::{self, Encoder, Format};
use crate::datatype::holds_json;
use crate::error::{Code, Error, Result};
use crate::problem::Problem;
use crate::units::Epoch;

/// The kind.
pub static KIND: SinkKind = SinkKind {
    name: "stdout",
    summary: "Writes rows to standard output, one a line; JSON unless another format is named.",
    example: "stdout: {}\n",
    options: |generator| generator.subschema_for::<Options>(),
    delivery: Delivery::AtLeastOnce,
    default_format: Some("json"),
    needs_format: true,
    durable_on_close: false,
    prepare,
};

/// Options of `stdout`: none.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Options {}

struct Stdout {
    format: Arc<dyn Format>,
    schema: SchemaRef,
}

fn prepare(settings: &Settings<'_>) -> Result<Box<dyn Prepared>, Vec<Problem>> {
    let Options {} = codec::options(settings.options)?;
    let Some(format) = settings.format else {
        return Err(vec![Problem::new(Code::C004, "", "`stdout` needs a format")]);
    };
    let (format, schema) = (Arc::clone(format), Arc::clone(settings.schema));
    // A container has no lines: the encoder says so now rather than at the first row.
    format.encoder(Arc::clone(&schema)).map_err(|e| vec![Problem::new(e.code(), "", e.message())])?;
    Ok(Box::new(Stdout { format, schema }))
}

impl Prepared for Stdout {
    fn describe(&self) -> String {
        "standard output".to_owned()
    }

    fn open(&self, open: &Open) -> Result<Vec<Box<dyn Sink>>> {
        let lane = || -> Result<Box<dyn Sink>> {
            let encoder = self.format.encoder(Arc::clone(&self.schema))?;
            let json = self.format.is_json() && self.schema.fields().iter().any(|field| holds_json(field));
            Ok(Box::new(Lines { encoder, json, text: Vec::new(), rows: 0, bytes: 0 }))
        };
        (0..open.lanes).map(|_| lane()).collect()
    }
}

struct Lines {
    encoder: Box<dyn Encoder>,
    /// Whether JSON that came from elsewhere is in the rows: it may have line ends between its values.
    json: bool,
    text: Vec<u8>,
    rows: u64,
    bytes: u64,
}

impl Sink for Lines {
    fn write(&mut self, batch: &Batch, _: &mut Vec<Refused>) -> Result<()> {
        let lines = self.encoder.encode(batch)?;
        self.text.clear();
        for row in 0..lines.len() {
            let start = self.text.len();
            self.text.extend_from_slice(if lines.is_valid(row) { lines.value(row) } else { b"" });
            if self.json {
                let ends = self.text[start..].iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r'));
                ends.for_each(|byte| *byte = b' ');
            }
            self.text.push(b'\n');
        }
        // One write a batch, so that lanes do not tear each other's lines.
        io::stdout().lock().write_all(&self.text).map_err(|e| failed(&e))?;
        self.rows += batch.len() as u64;
        self.bytes += self.text.len() as u64;
        Ok(())
    }

    fn prepare(&mut self, _: Epoch, _: &mut Vec<Refused>) -> Result<Prepare> {
        io::stdout().flush().map_err(|e| failed(&e))?;
        Ok(Prepare { rows: std::mem::take(&mut self.rows), bytes: std::mem::take(&mut self.bytes) })
    }

    /// What was printed cannot be taken back: it comes again.
    fn abort(&mut self) -> Result<()> {
        (self.rows, self.bytes) = (0, 0);
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        Ok(())
    }
}

fn failed(e: &io::Error) -> Error {
    match e.kind() {
        io::ErrorKind::BrokenPipe => {
            Error::external(Code::K002, "the reader of standard output has gone away")
        }
        _ => Error::external(Code::K002, format!("standard output: {e}")),
    }
}
