//! `raw`: the record's bytes as one column, unread.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, RecordBatch, StringArray};
use arrow::compute::{cast, filter};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;

use super::{Count, FormatKind, Good, Options, too_large, written};
use crate::batch::{Batch, Payload};
use crate::codec::{BadRow, Decoded, Decoder, Encoder, Format, Layout, RowWriter};
use crate::datatype;
use crate::error::{Code, Error, Result};

/// The record's bytes as one column.
pub static KIND: FormatKind = FormatKind {
    name: "raw",
    summary: "The bytes of a record as one column `value`, unread; files hold one record a line.",
    example: "raw: { type: utf8 }\n",
    options: |_| {
        schemars::json_schema!({
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "type": {
                    "description": "Type of the column `value`; with `utf8`, records that are not UTF-8 are rejected.",
                    "enum": ["binary", "utf8"],
                    "default": "binary",
                },
            },
        })
    },
    extensions: &["log", "txt"],
    reads: true,
    by_extension: &[],
    prepare: |options| {
        let mut options = Options::new(options, &["type"]);
        let text = options.word("type", &["binary", "utf8"], "binary") == "utf8";
        options.done(Raw { text })
    },
};

/// The options.
struct Raw {
    text: bool,
}

impl Format for Raw {
    fn layout(&self) -> Layout {
        Layout::Lines
    }

    fn schema(&self) -> Option<SchemaRef> {
        let data_type = if self.text { DataType::Utf8 } else { DataType::Binary };
        Some(Arc::new(Schema::new(vec![Field::new("value", data_type, true)])))
    }

    fn infer(&self, _: &Path) -> Result<SchemaRef> {
        self.schema().ok_or_else(|| Error::internal("raw has a schema"))
    }

    fn decoder(&self, schema: SchemaRef) -> Result<Box<dyn Decoder>> {
        Ok(Box::new(RawDecoder { text: self.text, schema }))
    }

    fn encoder(&self, schema: SchemaRef) -> Result<Box<dyn Encoder>> {
        one_column(&schema)?;
        Ok(Box::new(RawEncoder))
    }

    fn writer(&self, schema: SchemaRef, out: Box<dyn Write + Send>) -> Result<Box<dyn RowWriter>> {
        one_column(&schema)?;
        Ok(Box::new(EncodedLines { encoder: RawEncoder, to: Count::new(out) }))
    }

    fn extension(&self) -> &'static str {
        "txt"
    }
}

fn one_column(schema: &SchemaRef) -> Result<()> {
    match schema.fields().as_ref() {
        [field] if field.data_type().is_binary() || field.data_type().is_string() => Ok(()),
        fields => {
            let found: Vec<String> =
                fields.iter().map(|f| format!("{}: {}", f.name(), datatype::print(f.data_type()))).collect();
            let message =
                format!("raw writes exactly one column of binary or utf8, not {}", found.join(", "));
            Err(Error::user(Code::P009, message))
        }
    }
}

struct RawDecoder {
    text: bool,
    schema: SchemaRef,
}

impl Decoder for RawDecoder {
    fn decode(&mut self, payload: &Payload) -> Result<Decoded> {
        let Payload::Values(values) = payload else {
            return Err(Error::internal("the format raw was given rows"));
        };
        let mut good = Good::new(values.len());
        let mut bad = Vec::new();
        for row in 0..values.len() {
            match check(values, row, self.text) {
                Ok(()) => good.push(),
                Err(message) => {
                    good.skip();
                    bad.push(BadRow { row: row as u32, message });
                }
            }
        }
        let good = good.finish();
        let broken = |e: ArrowError| Error::internal(format!("raw records do not fit: {e}"));
        let kept: ArrayRef = match &good {
            Some(mask) => filter(values, mask).map_err(broken)?,
            None => Arc::new(values.clone()),
        };
        let column: ArrayRef = match self.text {
            true => Arc::new(StringArray::try_from_binary(kept.as_binary::<i32>().clone()).map_err(broken)?),
            false => kept,
        };
        let records = RecordBatch::try_new(self.schema.clone(), vec![column]).map_err(broken)?;
        Ok(Decoded { records, good, bad })
    }
}

fn check(values: &BinaryArray, row: usize, text: bool) -> Result<(), String> {
    if values.is_null(row) {
        return Ok(());
    }
    too_large(values.value(row))?;
    if text {
        std::str::from_utf8(values.value(row)).map_err(|e| format!("column `value`: not UTF-8: {e}"))?;
    }
    Ok(())
}

/// The one exception among encoders: a null of the column stays a null, as the dead letter of a tombstone has none.
struct RawEncoder;

impl Encoder for RawEncoder {
    fn encode(&mut self, batch: &Batch) -> Result<BinaryArray> {
        let column = cast(batch.records.column(0), &DataType::Binary)
            .map_err(|e| Error::user(Code::K002, format!("the column cannot be written as it is: {e}")))?;
        Ok(column.as_binary::<i32>().clone())
    }
}

/// A file of lines, of what an encoder makes of each row. A value with a line end in it reads back as several; a null is
/// an empty line.
pub(super) struct EncodedLines<E> {
    pub(super) encoder: E,
    pub(super) to: Count,
}

impl<E: Encoder> RowWriter for EncodedLines<E> {
    fn write(&mut self, batch: &Batch) -> Result<()> {
        for value in &self.encoder.encode(batch)? {
            let line = value.unwrap_or_default();
            written(
                self.to.write_all(line).and_then(|()| self.to.write_all(b"\n")).map_err(ArrowError::from),
            )?;
        }
        Ok(())
    }

    fn bytes(&self) -> u64 {
        self.to.bytes()
    }

    fn finish(&mut self) -> Result<()> {
        written(self.to.flush().map_err(ArrowError::from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_pass_and_bad_text_is_rejected_alone() {
        let values = BinaryArray::from_opt_vec(vec![Some(b"a"), None, Some(b"\xff"), Some(b""), Some(b"\0")]);
        for (text, bad_rows) in [(false, vec![]), (true, vec![2])] {
            let format = Raw { text };
            let mut decoder = format.decoder(format.schema().unwrap()).unwrap();
            let decoded = decoder.decode(&Payload::Values(values.clone())).unwrap();
            assert_eq!(decoded.bad.iter().map(|b| b.row).collect::<Vec<_>>(), bad_rows);
            assert_eq!(decoded.records.num_rows(), 5 - bad_rows.len());
            assert_eq!(decoded.good.is_none(), bad_rows.is_empty());
            let back = format
                .encoder(format.schema().unwrap())
                .unwrap()
                .encode(&Batch::of_columns(decoded.records.clone()))
                .unwrap();
            assert!(back.is_null(1));
            assert_eq!(back.value(back.len() - 1), b"\0");
        }
    }

    #[test]
    fn more_than_one_column_is_refused() {
        let (prepare, options) = (KIND.prepare, serde_json::json!({}));
        let format = prepare(&options).unwrap();
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
        assert_eq!(format.encoder(schema).err().unwrap().code(), Code::P009);
    }
}
