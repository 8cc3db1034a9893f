//! `arrow_ipc`: Arrow's file format.

use std::fs::File;
use std::io::{BufReader, Write};
use std::path::Path;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::FileReader;
use arrow::ipc::writer::FileWriter;

use super::{Count, FormatKind, Options, written};
use crate::codec::{Decoder, Encoder, Format, Layout, RowReader, RowWriter};
use crate::error::{Code, Error, Result};

/// Arrow's file format.
pub static KIND: FormatKind = FormatKind {
    name: "arrow_ipc",
    summary: "Arrow's file format (Feather 2): whole files of columns.",
    example: "arrow_ipc\n",
    options: |_| schemars::json_schema!({ "type": "object", "additionalProperties": false }),
    extensions: &["arrow", "feather"],
    prepare: |options| Options::new(options, &[]).done(ArrowIpc),
};

struct ArrowIpc;

fn open(path: &Path) -> Result<FileReader<BufReader<File>>> {
    let file = File::open(path).map_err(|e| {
        Error::external(Code::S001, format!("cannot be opened: {e}")).context(path.display().to_string())
    })?;
    FileReader::try_new(BufReader::new(file), None).map_err(|e| {
        Error::user(Code::S002, format!("is not a whole Arrow file: {e}")).context(path.display().to_string())
    })
}

impl Format for ArrowIpc {
    fn layout(&self) -> Layout {
        Layout::Container
    }

    fn schema(&self) -> Option<SchemaRef> {
        None
    }

    fn infer(&self, path: &Path) -> Result<SchemaRef> {
        Ok(open(path)?.schema())
    }

    fn decoder(&self, schema: SchemaRef) -> Result<Box<dyn Decoder>> {
        Ok(Box::new(super::Rows(schema)))
    }

    fn encoder(&self, _: SchemaRef) -> Result<Box<dyn Encoder>> {
        Err(super::only_container("arrow_ipc"))
    }

    fn reader(&self, path: &Path, from_row: u64, rows: usize) -> Result<Box<dyn RowReader>> {
        Ok(Box::new(Reader {
            input: open(path)?,
            place: path.display().to_string(),
            skip: from_row,
            rows: rows.max(1),
            rest: None,
        }))
    }

    fn writer(&self, schema: SchemaRef, out: Box<dyn Write + Send>) -> Result<Box<dyn RowWriter>> {
        Ok(Box::new(Writer(written(FileWriter::try_new(Count::new(out), &schema))?)))
    }

    fn extension(&self) -> &'static str {
        "arrow"
    }
}

struct Reader {
    input: FileReader<BufReader<File>>,
    place: String,
    /// Rows to leave out before the next one.
    skip: u64,
    rows: usize,
    /// What is left of a batch larger than was asked for.
    rest: Option<RecordBatch>,
}

impl RowReader for Reader {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            let batch = match self.rest.take() {
                Some(batch) => batch,
                None => match self.input.next() {
                    None => return Ok(None),
                    Some(batch) => batch.map_err(|e| {
                        Error::user(Code::S002, format!("cannot be read: {e}")).context(self.place.clone())
                    })?,
                },
            };
            let skipped = self.skip.min(batch.num_rows() as u64) as usize;
            self.skip -= skipped as u64;
            let batch = batch.slice(skipped, batch.num_rows() - skipped);
            if batch.num_rows() == 0 {
                continue;
            }
            let taken = batch.num_rows().min(self.rows);
            if taken < batch.num_rows() {
                self.rest = Some(batch.slice(taken, batch.num_rows() - taken));
            }
            return Ok(Some(batch.slice(0, taken)));
        }
    }
}

struct Writer(FileWriter<Count>);

impl RowWriter for Writer {
    fn write(&mut self, records: &RecordBatch) -> Result<()> {
        written(self.0.write(records))
    }

    fn bytes(&self) -> u64 {
        self.0.get_ref().bytes()
    }

    fn finish(&mut self) -> Result<()> {
        written(self.0.finish())?;
        written(self.0.get_mut().flush().map_err(arrow::error::ArrowError::from))
    }
}
