//! Columns to JSON records: plain types by `rows.rs`, all others by arrow-json's encoders and those of here.
//!
//! What differs from arrow-json's own: decimals are strings, because most readers of JSON take a number for a double
//! and lose digits. Times are written as they are read, the ends of their range too. Entries of a map are kept where
//! their value is null, and its keys may be of any type that has a text; a null of a dictionary may be one of its
//! words. Binary is hexadecimal digits. NaN and infinities, which JSON does not have, are nulls.

use std::io::Write;
use std::sync::Arc;

use arrow::array::{Array, AsArray, BinaryArray, MapArray, RecordBatch};
use arrow::buffer::{Buffer, OffsetBuffer};
use arrow::datatypes::{DataType, FieldRef, SchemaRef};
use arrow::error::ArrowError;
use arrow::json::Encoder as FieldEncoder;
use arrow::json::writer::{
    EncoderFactory, EncoderOptions, LineDelimited, NullableEncoder, WriterBuilder, make_encoder,
};

use super::bare::{Bare, Items, Places};
use super::pen::Stage;
use super::rows::Rows;
use crate::batch::Batch;
use crate::codec::{Encoder, RowWriter};
use crate::datatype::{holds_json, is_json};
use crate::error::{Code, Error, Result};
use crate::format::write::{Text, keys};
use crate::format::{Count, written};

/// arrow-json's own writer with our spellings.
pub(super) fn builder(explicit_nulls: bool) -> WriterBuilder {
    WriterBuilder::new().with_explicit_nulls(explicit_nulls).with_encoder_factory(Arc::new(Spellings))
}

fn options(explicit_nulls: bool) -> EncoderOptions {
    EncoderOptions::default().with_explicit_nulls(explicit_nulls).with_encoder_factory(Arc::new(Spellings))
}

/// Writes a row of nulls, so that a type without a JSON spelling is refused before the first row.
fn probe(schema: &SchemaRef) -> Result<()> {
    if schema.fields().is_empty() {
        let error = Error::user(Code::P009, "no column is left to be written");
        return Err(error.help("a stage before it drops them all"));
    }
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

/// The types that are not written as arrow-json does.
#[derive(Debug)]
struct Spellings;

impl EncoderFactory for Spellings {
    fn make_default_encoder<'a>(
        &self,
        field: &'a FieldRef,
        array: &'a dyn Array,
        options: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        let encoder: Box<dyn FieldEncoder + 'a> = match array.data_type() {
            DataType::Decimal128(..) | DataType::Decimal256(..) => Box::new(Quoted::value(array)?),
            data_type if Text::is_time(data_type) => Box::new(Quoted::value(array)?),
            DataType::Map(..) => Box::new(Map::new(field, array.as_map(), options)?),
            DataType::Dictionary(..) => Box::new(Words::new(field, array, options)?),
            _ if is_json(field) => Box::new(Bare::new(array)?),
            DataType::List(item) if holds_json(item) => {
                let list = array.as_list::<i32>();
                Box::new(Items::new(
                    Places::Small(list.value_offsets()),
                    item,
                    list.values().as_ref(),
                    options,
                )?)
            }
            DataType::LargeList(item) if holds_json(item) => {
                let list = array.as_list::<i64>();
                Box::new(Items::new(
                    Places::Large(list.value_offsets()),
                    item,
                    list.values().as_ref(),
                    options,
                )?)
            }
            DataType::FixedSizeList(item, size) if holds_json(item) => {
                let list = array.as_fixed_size_list();
                Box::new(Items::new(Places::Fixed(*size as usize), item, list.values().as_ref(), options)?)
            }
            _ => return Ok(None),
        };
        Ok(Some(NullableEncoder::new(encoder, array.logical_nulls())))
    }
}

/// Values whose text needs no escapes, in quotes. A value without a text is a number: bare, but in quotes where it is
/// a key.
struct Quoted<'a> {
    text: Text<'a>,
    key: bool,
}

impl<'a> Quoted<'a> {
    fn value(array: &'a dyn Array) -> Result<Self, ArrowError> {
        Ok(Self { text: Text::new(array)?, key: false })
    }

    fn key(array: &'a dyn Array) -> Result<Self, ArrowError> {
        Ok(Self { text: Text::new(array)?, key: true })
    }
}

impl FieldEncoder for Quoted<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        out.push(b'"');
        if self.text.write(row, out) {
            out.push(b'"');
            return;
        }
        let number = self.text.number(row);
        // Writing to a vector cannot fail.
        if self.key {
            let _ = write!(out, "{number}\"");
        } else {
            out.pop();
            let _ = write!(out, "{number}");
        }
    }
}

/// The words of a dictionary by their keys.
struct Words<'a> {
    keys: Vec<usize>,
    words: NullableEncoder<'a>,
}
impl<'a> Words<'a> {
    fn new(
        field: &'a FieldRef,
        array: &'a dyn Array,
        options: &'a EncoderOptions,
    ) -> Result<Self, ArrowError> {
        let words = make_encoder(field, array.as_any_dictionary().values().as_ref(), options)?;
        Ok(Self { keys: keys(array), words })
    }
}

impl FieldEncoder for Words<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        self.words.encode(self.keys[row], out);
    }
}

/// The entries of maps, as objects.
struct Map<'a> {
    offsets: OffsetBuffer<i32>,
    keys: Box<dyn FieldEncoder + 'a>,
    values: NullableEncoder<'a>,
}

impl<'a> Map<'a> {
    fn new(
        field: &'a FieldRef,
        array: &'a MapArray,
        options: &'a EncoderOptions,
    ) -> Result<Self, ArrowError> {
        let keys = array.keys().as_ref();
        let text = |data_type: &DataType| matches!(data_type, DataType::Utf8 | DataType::LargeUtf8);
        let keys: Box<dyn FieldEncoder + 'a> = match keys.data_type() {
            DataType::Dictionary(_, words) if !text(words) => {
                return Err(ArrowError::JsonError(format!("{words} as words of keys of a map")));
            }
            DataType::Dictionary(..) => Box::new(make_encoder(field, keys, options)?),
            other if text(other) => Box::new(make_encoder(field, keys, options)?),
            _ => Box::new(Quoted::key(keys)?),
        };
        let value = match array.data_type() {
            DataType::Map(entries, _) => match entries.data_type() {
                DataType::Struct(parts) if parts.len() == 2 => &parts[1],
                _ => field,
            },
            _ => field,
        };
        let values = make_encoder(value, array.values().as_ref(), options)?;
        Ok(Self { offsets: array.offsets().clone(), keys, values })
    }
}

impl FieldEncoder for Map<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        out.push(b'{');
        let (start, end) = (self.offsets[row] as usize, self.offsets[row + 1] as usize);
        for entry in start..end {
            if entry > start {
                out.push(b',');
            }
            self.keys.encode(entry, out);
            out.push(b':');
            if self.values.is_null(entry) {
                out.extend_from_slice(b"null");
            } else {
                self.values.encode(entry, out);
            }
        }
        out.push(b'}');
    }
}

/// Encodes rows, each a byte string.
pub(super) struct JsonEncoder {
    options: EncoderOptions,
    stage: Stage,
    /// Bytes of the last batch: the next one is about as large.
    capacity: usize,
}

impl JsonEncoder {
    pub(super) fn new(schema: &SchemaRef, explicit_nulls: bool) -> Result<Self> {
        probe(schema)?;
        Ok(Self { options: options(explicit_nulls), stage: Stage::default(), capacity: 0 })
    }
}

impl Encoder for JsonEncoder {
    fn encode(&mut self, batch: &Batch) -> Result<BinaryArray> {
        let records = &batch.records;
        let mut rows = Rows::new(records, &self.options)
            .map_err(|e| Error::user(Code::K002, format!("rows cannot be written as JSON: {e}")))?;
        // Batches of a stream resemble each other; an eighth more saves a copy of the whole.
        let mut values = Vec::with_capacity(self.capacity + self.capacity / 8);
        let mut offsets = Vec::with_capacity(records.num_rows() + 1);
        offsets.push(0i32);
        self.stage.clear();
        for row in 0..records.num_rows() {
            rows.write(row, &mut self.stage);
            let end = values.len() + self.stage.written().len();
            let end = i32::try_from(end)
                .map_err(|_| Error::user(Code::K002, "a batch is larger than 2 GiB as JSON"))?;
            offsets.push(end);
            if self.stage.is_full() {
                values.extend_from_slice(self.stage.written());
                self.stage.clear();
            }
        }
        values.extend_from_slice(self.stage.written());
        self.capacity = values.len();
        Ok(BinaryArray::new(OffsetBuffer::new(offsets.into()), Buffer::from_vec(values), None))
    }
}

/// Writes a file of JSON lines.
pub(super) struct JsonLines {
    options: EncoderOptions,
    stage: Stage,
    out: Count,
}

impl JsonLines {
    pub(super) fn new(schema: &SchemaRef, explicit_nulls: bool, out: Box<dyn Write + Send>) -> Result<Self> {
        probe(schema)?;
        Ok(Self { options: options(explicit_nulls), stage: Stage::default(), out: Count::new(out) })
    }
}

impl RowWriter for JsonLines {
    fn write(&mut self, batch: &Batch) -> Result<()> {
        let records = &batch.records;
        let mut rows = written(Rows::new(records, &self.options))?.into_lines(records.schema_ref());
        self.stage.clear();
        for row in 0..records.num_rows() {
            rows.write(row, &mut self.stage);
            self.stage.byte(b'\n');
            if self.stage.is_full() {
                written(self.out.write_all(self.stage.written()).map_err(ArrowError::from))?;
                self.stage.clear();
            }
        }
        written(self.out.write_all(self.stage.written()).map_err(ArrowError::from))
    }

    fn bytes(&self) -> u64 {
        self.out.bytes()
    }

    fn finish(&mut self) -> Result<()> {
        written(self.out.flush().map_err(ArrowError::from))
    }
}
