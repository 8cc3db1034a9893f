//! `csv`: fields between delimiters; files may begin with a header.
//!
//! Values are read by the columns that `json` uses too, so that one bad record never touches its neighbours; an
//! empty field that is not quoted is a null. Files are written by arrow-csv.

use std::fs::File;
use std::io::{BufReader, Write};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use arrow::array::{Array, BinaryArray, RecordBatch};
use arrow::buffer::{Buffer, OffsetBuffer};
use arrow::csv::{Writer, WriterBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;

use super::columns::{Columns, blame, sentence};
use super::{Count, FormatKind, Good, Options, too_large, written};
use crate::batch::Payload;
use crate::codec::{BadRow, CsvFields, Decoded, Decoder, Encoder, Format, Layout, RowReader, RowWriter};
use crate::config::types;
use crate::error::{Code, Error, Result};
use crate::units::{INFER_BYTES_MAX, INFER_RECORDS};

/// Fields between delimiters.
pub static KIND: FormatKind = FormatKind {
    name: "csv",
    summary: "Fields between delimiters, one record a line; files may begin with a header.",
    example: "csv:\n  columns: { time: \"timestamp(ms)\", delay: int64, origin: utf8 }\n  delimiter: \";\"\n",
    options: |generator| {
        schemars::json_schema!({
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "columns": types::json_schema(generator),
                "header": {
                    "description": "Whether the first record of a file names its columns.",
                    "type": "boolean",
                    "default": true,
                },
                "delimiter": { "description": "Between fields.", "type": "string", "default": "," },
                "quote": { "description": "Around fields.", "type": "string", "default": "\"" },
            },
        })
    },
    extensions: &["csv", "tsv"],
    prepare: |options| {
        let mut options = Options::new(options, &["columns", "header", "delimiter", "quote"]);
        let format = Csv {
            columns: options.columns(),
            header: options.flag("header", true),
            delimiter: options.sign("delimiter", b','),
            quote: options.sign("quote", b'"'),
            positions: OnceLock::new(),
        };
        if format.delimiter == format.quote {
            options.problem("/quote", Code::P009, "the quote and the delimiter are the same");
        }
        for field in format.columns.iter().flat_map(|columns| columns.fields()) {
            if field.data_type().is_nested() {
                let message = format!("a field of CSV cannot hold {}", types::print(field.data_type()));
                options.problem(&format!("/columns/{}", field.name()), Code::C009, &message);
            }
        }
        if let Some(columns) = &format.columns
            && let Err(e) = Columns::new(columns.fields())
        {
            options.problem("/columns", e.code(), e.message());
        }
        options.done(format)
    },
};

/// The options.
struct Csv {
    columns: Option<SchemaRef>,
    header: bool,
    delimiter: u8,
    quote: u8,
    /// For each field of a record the declared column it is, as the header of the first file says.
    positions: OnceLock<Vec<Option<usize>>>,
}

impl Csv {
    fn splitter(&self) -> CsvFields {
        CsvFields::new(self.delimiter, self.quote)
    }

    /// The header of a file, and the types that its first records have.
    fn look(&self, path: &Path) -> Result<(Vec<String>, Vec<DataType>)> {
        let file =
            File::open(path).map_err(|e| Error::external(Code::S001, format!("cannot be opened: {e}")))?;
        let mut lines = super::sample::Lines::new(BufReader::new(file), INFER_BYTES_MAX);
        let mut next = || {
            let line =
                lines.next().map_err(|e| Error::external(Code::S002, format!("cannot be read: {e}")))?;
            let mut fields = Vec::new();
            let Some(line) = line else { return Ok(None) };
            // A quote that stays open holds a line end: such a record says nothing about types.
            let whole = self.splitter().split(line, |text, quoted| {
                fields.push((String::from_utf8_lossy(text).into_owned(), quoted));
            });
            Ok::<_, Error>(Some(if whole.is_ok() { fields } else { Vec::new() }))
        };
        let Some(first) = next()? else {
            return Err(Error::user(Code::S002, "is empty, so its columns cannot be learnt"));
        };
        let names: Vec<String> = match self.header {
            true => first.iter().map(|(name, _)| name.clone()).collect(),
            false => (1..=first.len()).map(|i| format!("column_{i}")).collect(),
        };
        let mut guesses = vec![DataType::Null; names.len()];
        let mut sampled = if self.header { next()? } else { Some(first) };
        for _ in 0..INFER_RECORDS {
            let Some(fields) = sampled else { break };
            if fields.len() == guesses.len() {
                for (guess, (text, quoted)) in guesses.iter_mut().zip(&fields) {
                    *guess = widen(guess, text, *quoted);
                }
            }
            sampled = next()?;
        }
        Ok((names, guesses))
    }
}

/// The type that holds what was seen and one field more.
fn widen(so_far: &DataType, text: &str, quoted: bool) -> DataType {
    let found = match text {
        "" if !quoted => return so_far.clone(),
        "true" | "false" | "TRUE" | "FALSE" | "True" | "False" => DataType::Boolean,
        _ if text.parse::<i64>().is_ok() => DataType::Int64,
        _ if text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b))
            && text.parse::<f64>().is_ok() =>
        {
            DataType::Float64
        }
        _ => DataType::Utf8,
    };
    match (so_far, found) {
        (DataType::Null, found) => found,
        (DataType::Int64, DataType::Float64) | (DataType::Float64, DataType::Int64) => DataType::Float64,
        (so_far, found) if *so_far == found => found,
        _ => DataType::Utf8,
    }
}

impl Format for Csv {
    fn layout(&self) -> Layout {
        Layout::Csv { header: self.header, delimiter: self.delimiter, quote: self.quote }
    }

    fn schema(&self) -> Option<SchemaRef> {
        self.columns.clone()
    }

    fn infer(&self, path: &Path) -> Result<SchemaRef> {
        let place = |e: Error| e.context(path.display().to_string());
        let schema = match &self.columns {
            Some(columns) if !self.header => return Ok(columns.clone()),
            _ => self.look(path).map_err(place)?,
        };
        let (names, guesses) = schema;
        let Some(columns) = &self.columns else {
            if let Some(twice) = names.iter().enumerate().find(|(i, name)| names[..*i].contains(name)) {
                return Err(place(Error::user(Code::S002, format!("its header names `{}` twice", twice.1))));
            }
            let guesses = guesses.into_iter().map(|g| if g == DataType::Null { DataType::Utf8 } else { g });
            let fields: Vec<Field> =
                names.iter().zip(guesses).map(|(name, t)| Field::new(name, t, true)).collect();
            return Ok(Arc::new(Schema::new(fields)));
        };
        for field in columns.fields() {
            if names.iter().filter(|name| *name == field.name()).count() != 1 {
                let message = format!("its header must name the declared column `{}` once", field.name());
                return Err(place(
                    Error::user(Code::P008, message).help(format!("it has {}", names.join(", "))),
                ));
            }
        }
        // The decoder is made from this format later; files with another header are refused by the source.
        self.positions.get_or_init(|| {
            names.iter().map(|name| columns.fields().iter().position(|field| field.name() == name)).collect()
        });
        Ok(columns.clone())
    }

    fn decoder(&self, schema: SchemaRef) -> Result<Box<dyn Decoder>> {
        let positions = self.positions.get().cloned();
        let positions = positions.unwrap_or_else(|| (0..schema.fields().len()).map(Some).collect());
        let columns = Columns::new(schema.fields())?;
        Ok(Box::new(CsvDecoder { schema, columns, positions, fields: self.splitter() }))
    }

    fn encoder(&self, schema: SchemaRef) -> Result<Box<dyn Encoder>> {
        flat(&schema)?;
        Ok(Box::new(CsvEncoder { delimiter: self.delimiter, quote: self.quote }))
    }

    fn reader(&self, _: &Path, _: u64, _: usize) -> Result<Box<dyn RowReader>> {
        Err(super::no_container("csv"))
    }

    fn writer(&self, schema: SchemaRef, out: Box<dyn Write + Send>) -> Result<Box<dyn RowWriter>> {
        flat(&schema)?;
        let mut writer = builder(self.delimiter, self.quote).with_header(self.header).build(Count::new(out));
        // The header is there even when no row follows.
        written(writer.write(&RecordBatch::new_empty(schema)))?;
        Ok(Box::new(CsvLines { writer, bytes: 0 }))
    }

    fn extension(&self) -> &'static str {
        "csv"
    }
}

fn flat(schema: &SchemaRef) -> Result<()> {
    match schema.fields().iter().find(|field| field.data_type().is_nested()) {
        None => Ok(()),
        Some(field) => {
            let message =
                format!("column `{}`: CSV cannot hold {}", field.name(), types::print(field.data_type()));
            Err(Error::user(Code::P009, message))
        }
    }
}

struct CsvDecoder {
    schema: SchemaRef,
    columns: Columns,
    positions: Vec<Option<usize>>,
    fields: CsvFields,
}

impl CsvDecoder {
    fn record(&mut self, record: &[u8], row: usize) -> Result<(), String> {
        too_large(record)?;
        let (mut count, mut fault) = (0, None);
        let (columns, positions) = (&mut self.columns, &self.positions);
        self.fields.split(record, |text, quoted| {
            let at = positions.get(count).copied().flatten();
            count += 1;
            if let (Some(at), None) = (at, &fault) {
                let column = &mut columns.columns[at];
                let pushed = match std::str::from_utf8(text) {
                    Ok("") if !quoted => column.push_null(),
                    Ok(text) => column.push_field(text),
                    Err(e) => Err(format!("not UTF-8: {e}")),
                };
                fault = pushed.err().map(|e| blame(&column.name, &e));
            }
        })?;
        if count != self.positions.len() {
            return Err(format!("{} fields were expected, not {count}", self.positions.len()));
        }
        match fault {
            Some(fault) => Err(fault),
            None => self.columns.complete(row),
        }
    }
}

impl Decoder for CsvDecoder {
    fn decode(&mut self, payload: &Payload) -> Result<Decoded> {
        let Payload::Values(values) = payload else {
            return Err(Error::internal("the format csv was given rows"));
        };
        let mut good = Good::new(values.len());
        let mut bad = Vec::new();
        for row in 0..values.len() {
            let done = match values.is_valid(row) {
                true => self.record(values.value(row), good.count()),
                false => self.columns.complete(good.count()),
            };
            match done {
                Ok(()) => good.push(),
                Err(fault) => {
                    self.columns.truncate(good.count());
                    good.skip();
                    bad.push(BadRow { row: row as u32, message: sentence(&fault) });
                }
            }
        }
        let records = self.columns.finish(&self.schema, good.count())?;
        Ok(Decoded { records, good: good.finish(), bad })
    }
}

/// A quoted empty text and a null are both written as an empty field: CSV has one spelling for them here.
fn builder(delimiter: u8, quote: u8) -> WriterBuilder {
    WriterBuilder::new().with_delimiter(delimiter).with_quote(quote).with_header(false)
}

struct CsvEncoder {
    delimiter: u8,
    quote: u8,
}

impl Encoder for CsvEncoder {
    fn encode(&mut self, records: &RecordBatch) -> Result<BinaryArray> {
        let mut bytes = Vec::new();
        let mut offsets = Vec::with_capacity(records.num_rows() + 1);
        offsets.push(0i32);
        let refused = |e: ArrowError| Error::user(Code::K002, format!("rows cannot be written as CSV: {e}"));
        for row in 0..records.num_rows() {
            // Quotes may hold line ends, so rows are written one by one rather than cut apart afterwards.
            let mut writer = builder(self.delimiter, self.quote).build(&mut bytes);
            writer.write(&records.slice(row, 1)).map_err(refused)?;
            drop(writer);
            while bytes.last().is_some_and(|b| matches!(b, b'\n' | b'\r')) {
                bytes.pop();
            }
            offsets.push(
                i32::try_from(bytes.len()).map_err(|_| Error::user(Code::K002, "a batch beyond 2 GiB"))?,
            );
        }
        Ok(BinaryArray::new(OffsetBuffer::new(offsets.into()), Buffer::from_vec(bytes), None))
    }
}

struct CsvLines {
    writer: Writer<Count>,
    bytes: u64,
}

impl RowWriter for CsvLines {
    fn write(&mut self, records: &RecordBatch) -> Result<()> {
        // arrow-csv does not show its output; memory of the batch is near enough for rolling by size.
        self.bytes += records.get_array_memory_size() as u64;
        written(self.writer.write(records))
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn finish(&mut self) -> Result<()> {
        // The writer flushes after every batch.
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(options: &serde_json::Value, records: &[&[u8]]) -> Decoded {
        let format = (KIND.prepare)(options).unwrap();
        let mut decoder = format.decoder(format.schema().unwrap()).unwrap();
        decoder.decode(&Payload::Values(BinaryArray::from_vec(records.to_vec()))).unwrap()
    }

    #[test]
    fn bad_records_are_rejected_alone() {
        let options = serde_json::json!({"columns": {"a": "int64", "b": "utf8", "c": "float64"}});
        let records: &[&[u8]] = &[
            b"1,x,1.5",
            b"1,x",
            b"1,x,2,3",
            b"z,x,1",
            b",\"a\"\"b,\nc\",",
            b"1,\xff,2",
            b"1,\"x",
            b"",
            b"-2,\"\",1e3",
        ];
        let decoded = decode(&options, records);
        let bad: Vec<u32> = decoded.bad.iter().map(|b| b.row).collect();
        assert_eq!(bad, [1, 2, 3, 5, 6, 7]);
        assert_eq!(decoded.bad[2].message, "column `a`: int64 was expected, not `z`");
        assert_eq!(decoded.records.num_rows(), 3);
    }

    #[test]
    fn a_header_places_declared_columns_and_types_are_inferred() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.csv");
        std::fs::write(&path, "\u{feff}x,extra,y\r\n1,foo,2.5\r\n,bar,3\r\n").unwrap();
        let format = (KIND.prepare)(&serde_json::json!({"columns": {"y": "float64", "x": "int32"}})).unwrap();
        let schema = format.infer(&path).unwrap();
        let mut decoder = format.decoder(schema).unwrap();
        let values = BinaryArray::from_vec(vec![b"1,foo,2.5"]);
        let decoded = decoder.decode(&Payload::Values(values)).unwrap();
        assert!(decoded.bad.is_empty());
        assert_eq!(decoded.records.column(0).as_ref(), &arrow::array::Float64Array::from(vec![2.5]));

        let free = (KIND.prepare)(&serde_json::json!({})).unwrap().infer(&path).unwrap();
        let printed: Vec<String> = free.fields().iter().map(|f| types::print_field(f)).collect();
        assert_eq!(printed, ["int64", "utf8", "float64"]);
        let wrong = (KIND.prepare)(&serde_json::json!({"columns": {"z": "int32"}})).unwrap().infer(&path);
        assert_eq!(wrong.unwrap_err().code(), Code::P008);
    }
}
