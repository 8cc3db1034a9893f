//! `parquet`: whole files of compressed columns.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, IntervalUnit, SchemaRef};
use arrow::error::ArrowError;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{
    ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowSelection, RowSelector,
};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::{Count, FormatKind, Options, written};
use crate::codec::{Decoder, Encoder, Format, Layout, RowReader, RowWriter};
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

fn open(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>> {
    let file = File::open(path).map_err(|e| {
        Error::external(Code::S001, format!("cannot be opened: {e}")).context(path.display().to_string())
    })?;
    ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| {
        Error::user(Code::S002, format!("is not a whole Parquet file: {e}"))
            .context(path.display().to_string())
    })
}

impl Format for Parquet {
    fn layout(&self) -> Layout {
        Layout::Container
    }

    fn schema(&self) -> Option<SchemaRef> {
        None
    }

    fn infer(&self, path: &Path) -> Result<SchemaRef> {
        Ok(open(path)?.schema().clone())
    }

    fn decoder(&self, schema: SchemaRef) -> Result<Box<dyn Decoder>> {
        Ok(Box::new(super::Rows(schema)))
    }

    fn encoder(&self, _: SchemaRef) -> Result<Box<dyn Encoder>> {
        Err(super::only_container("parquet"))
    }

    fn reader(&self, path: &Path, from_row: u64, rows: usize) -> Result<Box<dyn RowReader>> {
        let place = path.display().to_string();
        let builder = open(path)?.with_batch_size(rows.max(1));
        let total = builder.metadata().file_metadata().num_rows().max(0) as u64;
        let from = from_row.min(total) as usize;
        let selection =
            RowSelection::from(vec![RowSelector::skip(from), RowSelector::select(total as usize - from)]);
        let input = builder
            .with_row_selection(selection)
            .build()
            .map_err(|e| Error::user(Code::S002, format!("cannot be read: {e}")).context(place.clone()))?;
        Ok(Box::new(Reader { input, place }))
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

struct Reader {
    input: ParquetRecordBatchReader,
    place: String,
}

impl RowReader for Reader {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        self.input
            .next()
            .transpose()
            .map_err(|e| Error::user(Code::S002, format!("cannot be read: {e}")).context(self.place.clone()))
    }
}

struct Writer(ArrowWriter<Count>);

impl RowWriter for Writer {
    fn write(&mut self, records: &RecordBatch) -> Result<()> {
        written(self.0.write(records).map_err(ArrowError::from))?;
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{Field, Fields, Schema, UnionFields, UnionMode};

    use super::*;

    #[test]
    fn columns_that_the_writer_would_panic_on_are_refused() {
        let members = vec![Field::new("a", DataType::Int64, true), Field::new("b", DataType::Utf8, true)];
        let union = DataType::Union(UnionFields::from_fields(members), UnionMode::Dense);
        let nested = DataType::Struct(Fields::from(vec![Field::new("u", union.clone(), true)]));
        let format = (KIND.prepare)(&serde_json::json!({})).unwrap_or_else(|p| panic!("{p:?}"));
        for data_type in [union, nested, DataType::Interval(IntervalUnit::MonthDayNano)] {
            let schema = Arc::new(Schema::new(vec![Field::new("c", data_type, true)]));
            let Err(error) = format.writer(schema, Box::new(std::io::sink())) else { panic!("it was taken") };
            assert!(error.code() == Code::P009 && error.to_string().contains("`c`"), "{error}");
        }
    }
}
