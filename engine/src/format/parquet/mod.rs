//! `parquet`: whole files of compressed columns.
//!
//! * `verify` checks what a file says of itself, with as much of its encoding as `thrift` knows; `read` reads it row
//!   group by row group; `int96` is for times as Spark, Hive and Impala write them.

mod int96;
mod read;
#[cfg(test)]
mod tests;
mod thrift;
mod verify;

use std::io::Write;
use std::path::Path;

use arrow::datatypes::{DataType, IntervalUnit, SchemaRef};
use arrow::error::ArrowError;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use self::read::{Footer, Reader};
use super::fit::{self, Fitted};
use super::{Count, FormatKind, Options, container, written};
use crate::batch::Batch;
use crate::codec::{Decoder, Encoder, Format, Layout, Limits, RowReader, RowWriter};
use crate::error::{Code, Error, Result};
use crate::units::{PARQUET_GROUP_BYTES, PARQUET_GROUP_ROWS};

/// Whole files of compressed columns.
pub static KIND: FormatKind = FormatKind {
    name: "parquet",
    summary: "Apache Parquet: whole files of compressed columns.",
    example: "parquet: { compression: zstd }\n",
    options: |_| {
        schemars::json_schema!({
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "compression": {
                    "description": "How files are compressed when written.",
                    "enum": ["none", "snappy", "zstd"],
                    "default": "zstd",
                },
            },
        })
    },
    extensions: &["parquet"],
    reads: true,
    by_extension: &[],
    prepare: |options| {
        let mut options = Options::new(options, &["compression"]);
        let compression = match options.word("compression", &["none", "snappy", "zstd"], "zstd") {
            "none" => Compression::UNCOMPRESSED,
            "snappy" => Compression::SNAPPY,
            _ => Compression::ZSTD(ZstdLevel::default()),
        };
        options.done(Parquet { compression })
    },
};

struct Parquet {
    compression: Compression,
}

impl Format for Parquet {
    fn layout(&self) -> Layout {
        Layout::Container
    }

    fn schema(&self) -> Option<SchemaRef> {
        None
    }

    fn infer(&self, path: &Path) -> Result<SchemaRef> {
        container::ask(path, |source| Ok(Footer::read(source)?.schema()))
    }

    fn infer_all(&self, paths: &[&Path]) -> Result<SchemaRef> {
        fit::together(paths, |path| self.infer(path))
    }

    fn decoder(&self, schema: SchemaRef) -> Result<Box<dyn Decoder>> {
        Ok(Box::new(super::Rows(schema)))
    }

    fn encoder(&self, _: SchemaRef) -> Result<Box<dyn Encoder>> {
        Err(super::only_container("parquet"))
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
        if let Some(field) = schema.fields().iter().find(|field| !is_writable(field.data_type())) {
            let text = format!("Parquet cannot hold column `{}` of type {}", field.name(), field.data_type());
            return Err(Error::user(Code::P009, text).help("leave the column out, or write `arrow_ipc`"));
        }
        let properties = WriterProperties::builder()
            .set_compression(self.compression)
            .set_max_row_group_row_count(Some(PARQUET_GROUP_ROWS))
            .build();
        let writer = written(
            ArrowWriter::try_new(Count::new(out), schema, Some(properties)).map_err(ArrowError::from),
        )?;
        Ok(Box::new(Writer(writer)))
    }

    fn extension(&self) -> &'static str {
        "parquet"
    }
}

/// Whether the writer knows a type: it panics on unions and fails late on some intervals.
fn is_writable(data_type: &DataType) -> bool {
    match data_type {
        DataType::Union(..) | DataType::Interval(IntervalUnit::MonthDayNano) => false,
        DataType::Struct(fields) => fields.iter().all(|field| is_writable(field.data_type())),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::Map(item, _) => is_writable(item.data_type()),
        DataType::Dictionary(_, values) => is_writable(values),
        _ => true,
    }
}

struct Writer(ArrowWriter<Count>);

impl RowWriter for Writer {
    fn write(&mut self, batch: &Batch) -> Result<()> {
        written(self.0.write(&batch.records).map_err(ArrowError::from))?;
        // A group is held in memory until it is complete; wide rows must not make that grow.
        if self.0.in_progress_size() > PARQUET_GROUP_BYTES {
            written(self.0.flush().map_err(ArrowError::from))?;
        }
        Ok(())
    }

    fn bytes(&self) -> u64 {
        (self.0.bytes_written() + self.0.in_progress_size()) as u64
    }

    fn finish(&mut self) -> Result<()> {
        written(self.0.finish().map(|_| ()).map_err(ArrowError::from))?;
        written(self.0.inner_mut().flush().map_err(ArrowError::from))
    }
}
