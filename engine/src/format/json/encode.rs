//! Columns to JSON records by arrow-json's writer, cut into rows afterwards.
//!
//! Two spellings differ from arrow-json's own: decimals are strings, because most readers of JSON take a number for
//! a double and lose digits. Binary is hexadecimal digits. NaN and infinities, which JSON does not have, are nulls.

use std::io::Write;
use std::sync::Arc;

use arrow::array::{Array, BinaryArray, RecordBatch};
use arrow::buffer::{Buffer, OffsetBuffer};
use arrow::datatypes::{DataType, FieldRef, SchemaRef};
use arrow::error::ArrowError;
use arrow::json::writer::{EncoderFactory, EncoderOptions, LineDelimited, NullableEncoder, WriterBuilder};
use arrow::json::{Encoder as FieldEncoder, Writer};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::codec::{Encoder, RowWriter};
use crate::error::{Code, Error, Result};
use crate::format::{Count, written};

fn builder(explicit_nulls: bool) -> WriterBuilder {
    WriterBuilder::new().with_explicit_nulls(explicit_nulls).with_encoder_factory(Arc::new(ExactDecimals))
}

/// Writes an empty batch, so that a type without a JSON spelling is refused before the first row.
fn probe(schema: &SchemaRef) -> Result<()> {
    let mut writer = builder(true).build::<_, LineDelimited>(std::io::sink());
    let empty: Vec<_> =
        schema.fields().iter().map(|f| arrow::array::new_null_array(f.data_type(), 1)).collect();
    let nullable = arrow::datatypes::Schema::new(
        schema.fields().iter().map(|f| f.as_ref().clone().with_nullable(true)).collect::<Vec<_>>(),
    );
    RecordBatch::try_new(Arc::new(nullable), empty)
        .and_then(|batch| writer.write(&batch))
        .map_err(|e| Error::user(Code::P009, format!("these columns cannot be written as JSON: {e}")))
}

/// Decimals as strings.
#[derive(Debug)]
struct ExactDecimals;

impl EncoderFactory for ExactDecimals {
    fn make_default_encoder<'a>(
        &self,
        _: &'a FieldRef,
        array: &'a dyn Array,
        _: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        if !matches!(array.data_type(), DataType::Decimal128(..) | DataType::Decimal256(..)) {
            return Ok(None);
        }
        let options = FormatOptions::new().with_display_error(true);
        let text = Quoted(ArrayFormatter::try_new(array, &options)?);
        Ok(Some(NullableEncoder::new(Box::new(text), array.nulls().cloned())))
    }
}

/// Values whose text needs no escapes, in quotes.
struct Quoted<'a>(ArrayFormatter<'a>);

impl FieldEncoder for Quoted<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        // Writing to a vector cannot fail.
        let _ = write!(out, "\"{}\"", self.0.value(row));
    }
}

/// Encodes rows, each a byte string.
pub(super) struct JsonEncoder {
    explicit_nulls: bool,
    /// Bytes of the last batch: the next one is about as large.
    capacity: usize,
}

impl JsonEncoder {
    pub(super) fn new(schema: &SchemaRef, explicit_nulls: bool) -> Result<Self> {
        probe(schema)?;
        Ok(Self { explicit_nulls, capacity: 0 })
    }
}

impl Encoder for JsonEncoder {
    fn encode(&mut self, records: &RecordBatch) -> Result<BinaryArray> {
        let mut lines = Vec::with_capacity(self.capacity);
        let mut writer = builder(self.explicit_nulls).build::<_, LineDelimited>(&mut lines);
        writer
            .write(records)
            .and_then(|()| writer.finish())
            .map_err(|e| Error::user(Code::K002, format!("rows cannot be written as JSON: {e}")))?;
        drop(writer);
        self.capacity = lines.len();
        split(&mut lines, records.num_rows())
    }
}

/// Cuts lines apart and takes out their ends in place. JSON has no bare line end within a value.
fn split(lines: &mut Vec<u8>, rows: usize) -> Result<BinaryArray> {
    let mut offsets = Vec::with_capacity(rows + 1);
    offsets.push(0i32);
    let (mut read, mut write) = (0, 0);
    while let Some(len) = lines[read..].iter().position(|b| *b == b'\n') {
        lines.copy_within(read..read + len, write);
        write += len;
        read += len + 1;
        let end = i32::try_from(write)
            .map_err(|_| Error::user(Code::K002, "a batch is larger than 2 GiB as JSON"))?;
        offsets.push(end);
    }
    if offsets.len() != rows + 1 {
        return Err(Error::internal(format!("{rows} rows became {} lines of JSON", offsets.len() - 1)));
    }
    lines.truncate(write);
    let values = Buffer::from_vec(std::mem::take(lines));
    Ok(BinaryArray::new(OffsetBuffer::new(offsets.into()), values, None))
}

/// Writes a file of JSON lines.
pub(super) struct JsonLines {
    writer: Writer<Count, LineDelimited>,
}

impl JsonLines {
    pub(super) fn new(schema: &SchemaRef, explicit_nulls: bool, out: Box<dyn Write + Send>) -> Result<Self> {
        probe(schema)?;
        Ok(Self { writer: builder(explicit_nulls).build(Count::new(out)) })
    }
}

impl RowWriter for JsonLines {
    fn write(&mut self, records: &RecordBatch) -> Result<()> {
        written(self.writer.write(records))
    }

    fn bytes(&self) -> u64 {
        self.writer.get_ref().bytes()
    }

    fn finish(&mut self) -> Result<()> {
        written(self.writer.finish())?;
        written(self.writer.get_mut().flush().map_err(ArrowError::from))
    }
}
