//! `arrow_ipc`: Arrow's file format.
//!
//! * `verify` checks what a file says of itself, `read` reads it block by block.

mod read;
#[cfg(test)]
mod tests;
mod verify;

use std::io::Write;
use std::path::Path;

use arrow::datatypes::SchemaRef;
use arrow::ipc::writer::FileWriter;

use self::read::{Footer, Reader};
use super::fit::{self, Fitted};
use super::{Count, FormatKind, Options, container, written};
use crate::batch::Batch;
use crate::codec::{Decoder, Encoder, Format, Layout, Limits, RowReader, RowWriter};
use crate::error::Result;

/// How a file begins and ends.
const MAGIC: &[u8] = b"ARROW1";

/// Arrow's file format.
pub static KIND: FormatKind = FormatKind {
    name: "arrow_ipc",
    summary: "Arrow's file format (Feather 2): whole files of columns.",
    example: "arrow_ipc\n",
    options: |_| schemars::json_schema!({ "type": "object", "additionalProperties": false }),
    extensions: &["arrow", "feather"],
    reads: true,
    by_extension: &[],
    prepare: |options| Options::new(options, &[]).done(ArrowIpc),
};

struct ArrowIpc;

impl Format for ArrowIpc {
    fn layout(&self) -> Layout {
        Layout::Container
    }

    fn schema(&self) -> Option<SchemaRef> {
        None
    }

    fn infer(&self, path: &Path) -> Result<SchemaRef> {
        container::ask(path, |source| Ok(Footer::read(source)?.schema))
    }

    fn infer_all(&self, paths: &[&Path]) -> Result<SchemaRef> {
        fit::together(paths, |path| self.infer(path))
    }

    fn decoder(&self, schema: SchemaRef) -> Result<Box<dyn Decoder>> {
        Ok(Box::new(super::Rows(schema)))
    }

    fn encoder(&self, _: SchemaRef) -> Result<Box<dyn Encoder>> {
        Err(super::only_container("arrow_ipc"))
    }

    fn reader(
        &self,
        path: &Path,
        from_row: u64,
        columns: &SchemaRef,
        limits: Limits,
    ) -> Result<Box<dyn RowReader>> {
        let (columns, place) = (columns.clone(), path.display().to_string());
        container::read(path, move |source| {
            let reader = Reader::open(source, from_row, limits)?;
            let schema = reader.schema();
            Fitted::new(reader, &schema, columns, place)
        })
    }

    fn writer(&self, schema: SchemaRef, out: Box<dyn Write + Send>) -> Result<Box<dyn RowWriter>> {
        Ok(Box::new(Writer(written(FileWriter::try_new(Count::new(out), &schema))?)))
    }

    fn extension(&self) -> &'static str {
        "arrow"
    }
}

struct Writer(FileWriter<Count>);

impl RowWriter for Writer {
    fn write(&mut self, batch: &Batch) -> Result<()> {
        written(self.0.write(&batch.records))
    }

    fn bytes(&self) -> u64 {
        self.0.get_ref().bytes()
    }

    fn finish(&mut self) -> Result<()> {
        written(self.0.finish())?;
        written(self.0.get_mut().flush().map_err(arrow::error::ArrowError::from))
    }
}
