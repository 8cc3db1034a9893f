//! Columns to records of CSV.

use std::io::Write;
use std::sync::Arc;

use arrow::array::{Array, BinaryArray, RecordBatch};
use arrow::buffer::{Buffer, OffsetBuffer};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;

use super::Style;
use crate::batch::Batch;
use crate::codec::{CsvSigns, Encoder, RowWriter};
use crate::datatype;
use crate::error::{Code, Error, Result};
use crate::format::write::Text;
use crate::format::{Count, write_failed};

/// Refuses columns that a field cannot hold.
fn flat(schema: &SchemaRef) -> Result<()> {
    for field in schema.fields() {
        let refused = |why: &str| {
            let name = field.name();
            let message =
                format!("column `{name}`: CSV cannot hold {}{why}", datatype::print(field.data_type()));
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

/// Writes rows as lines.
struct Lines(Arc<Style>);

impl Lines {
    /// Appends the rows without line ends, and calls `end` after each.
    fn rows(
        &self,
        records: &RecordBatch,
        out: &mut Vec<u8>,
        mut end: impl FnMut(&mut Vec<u8>),
    ) -> Result<()> {
        let refused = |e: ArrowError| Error::user(Code::K002, format!("rows cannot be written as CSV: {e}"));
        let signs = self.0.signs;
        let null = self.null(records.num_columns());
        let columns = records
            .columns()
            .iter()
            .map(|column| {
                let comma = self.0.comma && has_fractions(column.data_type());
                Ok((Text::new(column)?, column.logical_nulls(), comma))
            })
            .collect::<Result<Vec<_>, ArrowError>>()
            .map_err(refused)?;
        let mut text = Vec::new();
        for row in 0..records.num_rows() {
            for (i, (values, nulls, comma)) in columns.iter().enumerate() {
                if i > 0 {
                    out.push(signs.delimiter);
                }
                if nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)) {
                    text.clear();
                    if !values.write(row, &mut text) {
                        text.extend_from_slice(values.number(row).to_string().as_bytes());
                    }
                    if let (true, Some(point)) = (*comma, text.iter().position(|byte| *byte == b'.')) {
                        text[point] = b',';
                    }
                    self.field(&text, out);
                } else {
                    out.extend_from_slice(&null);
                }
            }
            end(out);
        }
        Ok(())
    }

    /// What is written for a null in a table of so many columns.
    fn null(&self, columns: usize) -> Vec<u8> {
        let Style { nulls, signs, .. } = &*self.0;
        // An empty line is no record.
        let word = if columns == 1 { nulls.iter().find(|word| !word.is_empty()) } else { nulls.first() };
        match word {
            None => vec![signs.quote; 2],
            Some(word) => word.as_bytes().to_vec(),
        }
    }

    /// Appends a field, in quotes where it would be read as anything but this text: empty, a word of a null, with a
    /// sign of the format, with blanks at its ends, which many readers take away, or with a byte order mark.
    fn field(&self, text: &[u8], out: &mut Vec<u8>) {
        let CsvSigns { delimiter, quote, escape, comment } = self.0.signs;
        let special = |byte: &u8| {
            *byte == delimiter || *byte == quote || Some(*byte) == escape || matches!(byte, b'\n' | b'\r')
        };
        let blank = |byte: Option<&u8>| byte.is_none_or(u8::is_ascii_whitespace);
        let first = text.first();
        let misread = blank(first)
            || blank(text.last())
            || (comment.is_some() && first == comment.as_ref())
            || text.starts_with(b"\xef\xbb\xbf")
            || text.iter().any(special)
            || self.0.is_null(text);
        if !misread {
            out.extend_from_slice(text);
            return;
        }
        out.push(quote);
        for byte in text {
            if *byte == quote || Some(*byte) == escape {
                out.push(escape.unwrap_or(quote));
            }
            out.push(*byte);
        }
        out.push(quote);
    }
}

/// Whether values are written with a fraction.
fn has_fractions(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, words) => has_fractions(words),
        other => other.is_floating() || other.is_decimal(),
    }
}

/// Encodes rows as records.
pub(super) struct CsvEncoder(Lines);

impl CsvEncoder {
    /// An encoder of these columns, which fields must be able to hold.
    pub(super) fn new(schema: &SchemaRef, style: &Arc<Style>) -> Result<Self> {
        flat(schema)?;
        Ok(Self(Lines(Arc::clone(style))))
    }
}

impl Encoder for CsvEncoder {
    fn encode(&mut self, batch: &Batch) -> Result<BinaryArray> {
        let records = &batch.records;
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

/// Writes a file.
pub(super) struct CsvLines {
    lines: Lines,
    out: Count,
    /// Lines that are not written yet.
    work: Vec<u8>,
}

impl CsvLines {
    /// A file of these columns; its header is written at once.
    pub(super) fn new(
        schema: &SchemaRef,
        style: &Arc<Style>,
        header: bool,
        out: Box<dyn Write + Send>,
    ) -> Result<Self> {
        flat(schema)?;
        let mut writer = Self { lines: Lines(Arc::clone(style)), out: Count::new(out), work: Vec::new() };
        if header {
            // It is there even when no row follows.
            for (i, field) in schema.fields().iter().enumerate() {
                if i > 0 {
                    writer.work.push(style.signs.delimiter);
                }
                writer.lines.field(field.name().as_bytes(), &mut writer.work);
            }
            writer.work.push(b'\n');
            writer.flush()?;
        }
        Ok(writer)
    }

    fn flush(&mut self) -> Result<()> {
        let done = self.out.write_all(&self.work);
        self.work.clear();
        done.map_err(|e| write_failed(&e))
    }
}

impl RowWriter for CsvLines {
    fn write(&mut self, batch: &Batch) -> Result<()> {
        self.lines.rows(&batch.records, &mut self.work, |line| line.push(b'\n'))?;
        self.flush()
    }

    fn bytes(&self) -> u64 {
        self.out.bytes()
    }

    fn finish(&mut self) -> Result<()> {
        self.out.flush().map_err(|e| write_failed(&e))
    }
}
