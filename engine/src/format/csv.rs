//! `csv`: fields between delimiters; files may begin with a header.
//!
//! Values are read by the columns that `json` uses too, so that one bad record never touches its neighbours. An empty
//! field is a null, an empty text is quoted: so they are read, and so they are written. arrow-csv is not used: it fails
//! a batch for one value, and writes a null and an empty text as one.

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use arrow::array::{Array, BinaryArray, RecordBatch};
use arrow::buffer::{Buffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;

use super::columns::{Columns, blame, sentence};
use super::write::Text;
use super::{Count, FormatKind, Good, Options, too_large, write_failed};
use crate::batch::Payload;
use crate::codec::{BadRow, CsvFields, Decoded, Decoder, Encoder, Format, Layout, RowWriter};
use crate::config::types;
use crate::error::{Code, Error, Result};
use crate::input;
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
            names: OnceLock::new(),
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
    /// The header of the first file.
    names: OnceLock<Vec<String>>,
}

impl Csv {
    fn splitter(&self) -> CsvFields {
        CsvFields::new(self.delimiter, self.quote)
    }

    /// The header of a file, and the types that its first records have; `None`: it has no record.
    fn look(&self, path: &Path) -> Result<Option<(Vec<String>, Vec<DataType>)>> {
        let mut lines = super::sample::Lines::new(input::text(path, false)?, INFER_BYTES_MAX);
        let mut framing = self.splitter();
        let mut next = || {
            let record = lines.next_record(&mut framing).map_err(|e| input::failed(&e))?;
            let mut fields = Vec::new();
            let Some(record) = record else { return Ok(None) };
            // A record whose quotes are wrong says nothing about types.
            let whole = self.splitter().split(record, |text, quoted| {
                fields.push((String::from_utf8_lossy(text).into_owned(), quoted));
            });
            Ok::<_, Error>(Some(if whole.is_ok() { fields } else { Vec::new() }))
        };
        let Some(first) = next()? else { return Ok(None) };
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
        Ok(Some((names, guesses)))
    }
}

/// The type that holds what was seen and one field more. A number must be written as numbers are: `08123` and `+49` are
/// codes of somebody, and more digits than 64 bits hold are not given up for a float.
fn widen(so_far: &DataType, text: &str, quoted: bool) -> DataType {
    let found = match text {
        "" if !quoted => return so_far.clone(),
        "true" | "false" | "TRUE" | "FALSE" | "True" | "False" => DataType::Boolean,
        _ if text.parse::<i64>().is_ok_and(|number| number.to_string() == text) => DataType::Int64,
        _ if text.contains(['.', 'e', 'E'])
            && serde_json::from_str::<f64>(text).is_ok()
            && !text.contains(char::is_whitespace) =>
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
        let found = match &self.columns {
            Some(columns) if !self.header => return Ok(columns.clone()),
            _ => self.look(path).map_err(place)?,
        };
        let (names, guesses) = match (found, &self.columns) {
            (Some(found), _) => found,
            (None, Some(columns)) => return Ok(columns.clone()),
            (None, None) => {
                return Err(place(Error::user(Code::S002, "is empty, so its columns cannot be learnt")));
            }
        };
        if self.header {
            self.names.get_or_init(|| names.clone());
        }
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

    fn header(&self) -> Option<&[String]> {
        self.names.get().map(Vec::as_slice)
    }

    fn decoder(&self, schema: SchemaRef) -> Result<Box<dyn Decoder>> {
        let positions = self.positions.get().cloned();
        let positions = positions.unwrap_or_else(|| (0..schema.fields().len()).map(Some).collect());
        let columns = Columns::new(schema.fields())?;
        Ok(Box::new(CsvDecoder { schema, columns, positions, fields: self.splitter() }))
    }

    fn encoder(&self, schema: SchemaRef) -> Result<Box<dyn Encoder>> {
        flat(&schema)?;
        Ok(Box::new(CsvEncoder(Lines { delimiter: self.delimiter, quote: self.quote })))
    }

    fn writer(&self, schema: SchemaRef, out: Box<dyn Write + Send>) -> Result<Box<dyn RowWriter>> {
        flat(&schema)?;
        let lines = Lines { delimiter: self.delimiter, quote: self.quote };
        let mut writer = CsvLines { lines, out: Count::new(out), work: Vec::new() };
        if self.header {
            // It is there even when no row follows.
            for (i, field) in schema.fields().iter().enumerate() {
                if i > 0 {
                    writer.work.push(self.delimiter);
                }
                lines.field(field.name().as_bytes(), &mut writer.work);
            }
            writer.work.push(b'\n');
            writer.flush()?;
        }
        Ok(Box::new(writer))
    }

    fn extension(&self) -> &'static str {
        "csv"
    }
}

/// Refuses columns that a field cannot hold.
fn flat(schema: &SchemaRef) -> Result<()> {
    for field in schema.fields() {
        let refused = |why: &str| {
            let name = field.name();
            let message =
                format!("column `{name}`: CSV cannot hold {}{why}", types::print(field.data_type()));
            Error::user(Code::P009, message)
        };
        if field.data_type().is_nested() {
            return Err(refused(""));
        }
        let empty = arrow::array::new_empty_array(field.data_type());
        Text::new(&empty).map_err(|e| refused(&format!(": {e}")))?;
    }
    Ok(())
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
                    Ok(text) if !column.is_text() && text.trim_ascii().is_empty() => column.push_null(),
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

/// Writes rows as lines.
#[derive(Clone, Copy)]
struct Lines {
    delimiter: u8,
    quote: u8,
}

impl Lines {
    /// Appends the rows without line ends, and calls `end` after each.
    fn rows(self, records: &RecordBatch, out: &mut Vec<u8>, mut end: impl FnMut(&mut Vec<u8>)) -> Result<()> {
        let refused = |e: ArrowError| Error::user(Code::K002, format!("rows cannot be written as CSV: {e}"));
        let columns = records
            .columns()
            .iter()
            .map(|column| Ok((Text::new(column)?, column.logical_nulls())))
            .collect::<Result<Vec<_>, ArrowError>>()
            .map_err(refused)?;
        let mut text = Vec::new();
        for row in 0..records.num_rows() {
            for (i, (values, nulls)) in columns.iter().enumerate() {
                if i > 0 {
                    out.push(self.delimiter);
                }
                if nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)) {
                    text.clear();
                    if !values.write(row, &mut text) {
                        text.extend_from_slice(values.number(row).to_string().as_bytes());
                    }
                    self.field(&text, out);
                } else if columns.len() == 1 {
                    // An empty line is no record.
                    out.extend_from_slice(&[self.quote; 2]);
                }
            }
            end(out);
        }
        Ok(())
    }

    /// Appends a field, in quotes where it would be read as anything but this text: empty, with a sign of the format,
    /// with blanks at its ends, which many readers take away, or with a byte order mark.
    fn field(self, text: &[u8], out: &mut Vec<u8>) {
        let special =
            |byte: &u8| *byte == self.delimiter || *byte == self.quote || matches!(byte, b'\n' | b'\r');
        let blank = |byte: Option<&u8>| byte.is_none_or(u8::is_ascii_whitespace);
        let mark = text.starts_with(b"\xef\xbb\xbf");
        if !blank(text.first()) && !blank(text.last()) && !mark && !text.iter().any(special) {
            out.extend_from_slice(text);
            return;
        }
        out.push(self.quote);
        for byte in text {
            if *byte == self.quote {
                out.push(self.quote);
            }
            out.push(*byte);
        }
        out.push(self.quote);
    }
}

struct CsvEncoder(Lines);

impl Encoder for CsvEncoder {
    fn encode(&mut self, records: &RecordBatch) -> Result<BinaryArray> {
        let mut bytes = Vec::new();
        let mut ends = Vec::with_capacity(records.num_rows() + 1);
        ends.push(0);
        self.0.rows(records, &mut bytes, |bytes| ends.push(bytes.len()))?;
        if i32::try_from(bytes.len()).is_err() {
            return Err(Error::user(Code::K002, "a batch is larger than 2 GiB as CSV"));
        }
        let ends: Vec<i32> = ends.into_iter().map(|end| end as i32).collect();
        Ok(BinaryArray::new(OffsetBuffer::new(ends.into()), Buffer::from_vec(bytes), None))
    }
}

struct CsvLines {
    lines: Lines,
    out: Count,
    /// Lines that are not written yet.
    work: Vec<u8>,
}

impl CsvLines {
    fn flush(&mut self) -> Result<()> {
        let done = self.out.write_all(&self.work);
        self.work.clear();
        done.map_err(|e| write_failed(&e))
    }
}

impl RowWriter for CsvLines {
    fn write(&mut self, records: &RecordBatch) -> Result<()> {
        self.lines.rows(records, &mut self.work, |line| line.push(b'\n'))?;
        self.flush()
    }

    fn bytes(&self) -> u64 {
        self.out.bytes()
    }

    fn finish(&mut self) -> Result<()> {
        self.out.flush().map_err(|e| write_failed(&e))
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
        std::fs::write(&path, "zip,code,id,f,g\n08123,+49,18446744073709551615,-0.5e3,.5\n").unwrap();
        let codes = (KIND.prepare)(&serde_json::json!({})).unwrap().infer(&path).unwrap();
        let printed: Vec<String> = codes.fields().iter().map(|f| types::print_field(f)).collect();
        assert_eq!(printed, ["utf8", "utf8", "utf8", "float64", "utf8"], "no digit is lost by a guess");

        let wrong = (KIND.prepare)(&serde_json::json!({"columns": {"z": "int32"}})).unwrap().infer(&path);
        assert_eq!(wrong.unwrap_err().code(), Code::P008);
    }
}
