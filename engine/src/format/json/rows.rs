//! Rows of columns as JSON objects: the plain types are written here, everything else by arrow-json's encoders.
//!
//! Why it is fast: keys are escaped once for a batch; whether any text of a column needs escapes is asked once for
//! all of its bytes; the room for a row is asked for once; and bytes are moved in whole blocks, digits eight at a time,
//! whatever their number is, because a branch that is guessed wrong costs more than a block. What is written is what
//! arrow-json writes, byte by byte; a test compares the two.

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch, StringArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    DataType, FieldRef, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, Schema, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use arrow::error::ArrowError;
use arrow::json::writer::{EncoderOptions, NullableEncoder, make_encoder};

use super::bare;
use super::is_rest;
use super::merge::Beside;
use super::pen::{Key, NUMBER_BYTES_MAX, Pen, Stage, all_plain, escape};
use crate::datatype::{holds_json, is_json};

/// Where all texts of a column are at most that long, the room for the longest is asked for with each row.
const TEXT_BYTES_SHORT: usize = 1 << 10;

/// Texts of a column.
#[derive(Clone, Copy)]
struct Texts<'a> {
    offsets: &'a [i32],
    data: &'a [u8],
}

impl Texts<'_> {
    /// Where one starts, and how long it is in bytes.
    #[inline(always)]
    fn place(&self, row: usize) -> (usize, usize) {
        let (start, end) = (self.offsets[row] as usize, self.offsets[row + 1] as usize);
        (start, end - start)
    }

    fn longest(&self) -> usize {
        self.offsets.windows(2).map(|ends| ends[1] - ends[0]).max().unwrap_or(0) as usize
    }
}

/// The values of a column.
enum Cells<'a> {
    Int8(&'a [i8]),
    Int16(&'a [i16]),
    Int32(&'a [i32]),
    Int64(&'a [i64]),
    UInt8(&'a [u8]),
    UInt16(&'a [u16]),
    UInt32(&'a [u32]),
    UInt64(&'a [u64]),
    /// With the encoder for those that are not short.
    Float64(&'a [f64], NullableEncoder<'a>),
    Boolean(&'a BooleanArray),
    /// Nothing in them has to be escaped.
    Plain(Texts<'a>),
    /// Something in one of them has to.
    Escaped(Texts<'a>),
    /// They are JSON already.
    Bare(&'a StringArray),
    Other(NullableEncoder<'a>),
}

impl<'a> Cells<'a> {
    fn new(
        field: &'a FieldRef,
        array: &'a dyn Array,
        options: &'a EncoderOptions,
    ) -> Result<Self, ArrowError> {
        Ok(match array.data_type() {
            DataType::Int8 => Self::Int8(array.as_primitive::<Int8Type>().values()),
            DataType::Int16 => Self::Int16(array.as_primitive::<Int16Type>().values()),
            DataType::Int32 => Self::Int32(array.as_primitive::<Int32Type>().values()),
            DataType::Int64 => Self::Int64(array.as_primitive::<Int64Type>().values()),
            DataType::UInt8 => Self::UInt8(array.as_primitive::<UInt8Type>().values()),
            DataType::UInt16 => Self::UInt16(array.as_primitive::<UInt16Type>().values()),
            DataType::UInt32 => Self::UInt32(array.as_primitive::<UInt32Type>().values()),
            DataType::UInt64 => Self::UInt64(array.as_primitive::<UInt64Type>().values()),
            DataType::Float64 => {
                let values = array.as_primitive::<Float64Type>().values();
                Self::Float64(values, make_encoder(field, array, options)?)
            }
            DataType::Boolean => Self::Boolean(array.as_boolean()),
            DataType::Utf8 if is_json(field) => Self::Bare(array.as_string()),
            DataType::Utf8 => {
                let array = array.as_string::<i32>();
                let texts = Texts { offsets: array.offsets(), data: array.value_data() };
                let used = texts.offsets[0] as usize..texts.offsets[array.len()] as usize;
                if all_plain(&texts.data[used]) { Self::Plain(texts) } else { Self::Escaped(texts) }
            }
            _ => Self::Other(make_encoder(field, array, options)?),
        })
    }

    /// Whether how long a value gets is not known before it is written.
    fn is_slow(&self) -> bool {
        matches!(self, Self::Escaped(_) | Self::Bare(_) | Self::Other(_))
    }

    /// The nulls of the column; arrow-json's encoders know their own.
    #[inline(always)]
    fn is_null(&self, nulls: Option<&NullBuffer>, row: usize) -> bool {
        match self {
            Self::Other(encoder) => encoder.is_null(row),
            _ => nulls.is_some_and(|nulls| nulls.is_null(row)),
        }
    }

    /// Writes a value that is not null. `slow`: it is the first of these, where it is a slow one.
    #[inline(always)]
    fn write(&mut self, row: usize, pen: &mut Pen<'_>, slow: &mut Slow) {
        match self {
            Self::Int8(values) => pen.signed(values[row].into()),
            Self::Int16(values) => pen.signed(values[row].into()),
            Self::Int32(values) => pen.signed(values[row].into()),
            Self::Int64(values) => pen.signed(values[row]),
            Self::UInt8(values) => pen.number(values[row].into()),
            Self::UInt16(values) => pen.number(values[row].into()),
            Self::UInt32(values) => pen.number(values[row].into()),
            Self::UInt64(values) => pen.number(values[row]),
            Self::Float64(values, encoder) => {
                if !pen.short_float(values[row]) {
                    slow.long.clear();
                    encoder.encode(row, &mut slow.long);
                    pen.all(&slow.long);
                }
            }
            Self::Boolean(values) if values.value(row) => pen.all(b"true"),
            Self::Boolean(_) => pen.all(b"false"),
            Self::Plain(texts) => {
                let (start, len) = texts.place(row);
                pen.put(b'"');
                pen.part(texts.data, start, len);
                pen.put(b'"');
            }
            Self::Escaped(_) | Self::Bare(_) | Self::Other(_) => pen.all(slow.take()),
        }
    }
}

/// What was written before its row, because nobody knew how long it would be.
#[derive(Default)]
struct Slow {
    bytes: Vec<u8>,
    /// The end of each value.
    ends: Vec<usize>,
    taken: usize,
    /// A float that is not short.
    long: Vec<u8>,
}

impl Slow {
    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.taken = 0;
    }

    /// The next value.
    fn take(&mut self) -> &[u8] {
        let start = self.taken.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.taken += 1;
        &self.bytes[start..self.ends[self.taken - 1]]
    }
}

/// A column with its key.
struct Field<'a> {
    /// Its number among the columns.
    column: usize,
    key: Key,
    nulls: Option<NullBuffer>,
    cells: Cells<'a>,
}

/// The rows of a batch.
pub(super) struct Rows<'a> {
    fields: Vec<Field<'a>>,
    explicit_nulls: bool,
    /// What a row's keys, numbers and short texts take at most.
    fixed: usize,
    /// The columns with longer texts.
    long: Vec<Texts<'a>>,
    is_slow: bool,
    slow: Slow,
    /// What nobody declared of each row.
    beside: Option<Beside<'a>>,
    /// Whether a row must be one line: JSON that came from elsewhere may have line ends between its values.
    one_line: bool,
}

impl<'a> Rows<'a> {
    pub(super) fn new(records: &'a RecordBatch, options: &'a EncoderOptions) -> Result<Self, ArrowError> {
        let all = records.schema_ref().fields();
        let columns = all.iter().zip(records.columns());
        let rest = columns.clone().find(|(field, _)| is_rest(field));
        let beside = rest.map(|(_, array)| Beside::new(array.as_string(), all));
        let numbered = columns.enumerate().filter(|(_, (field, _))| !is_rest(field));
        let fields = numbered.map(|(column, (field, array))| {
            let key = Key::new(field.name()).map_err(|e| ArrowError::JsonError(e.to_string()))?;
            let nulls = array.nulls().filter(|nulls| nulls.null_count() > 0).cloned();
            let cells = Cells::new(field, array.as_ref(), options)?;
            Ok(Field { column, key, nulls, cells })
        });
        let fields = fields.collect::<Result<Vec<_>, ArrowError>>()?;
        let texts = fields.iter().filter_map(|field| match field.cells {
            Cells::Plain(texts) => Some(texts),
            _ => None,
        });
        let (long, short): (Vec<_>, Vec<_>) = texts.partition(|texts| texts.longest() > TEXT_BYTES_SHORT);
        let numbers: usize = fields.iter().map(|field| field.key.len + NUMBER_BYTES_MAX).sum();
        Ok(Self {
            explicit_nulls: options.explicit_nulls(),
            // Two more for the braces.
            fixed: 2 + numbers + short.iter().map(Texts::longest).sum::<usize>(),
            long,
            is_slow: beside.is_some() || fields.iter().any(|field| field.cells.is_slow()),
            beside,
            one_line: false,
            slow: Slow::default(),
            fields,
        })
    }

    /// The same, where each row is to be one line.
    pub(super) fn into_lines(mut self, schema: &Schema) -> Self {
        self.one_line = schema.fields().iter().any(|field| holds_json(field));
        self
    }

    /// Writes the values that may take any number of bytes.
    #[inline(never)]
    fn write_slow(&mut self, row: usize) {
        self.slow.clear();
        if let Some(beside) = &mut self.beside {
            beside.take(row);
        }
        let Slow { bytes, ends, .. } = &mut self.slow;
        for Field { column, nulls, cells, .. } in &mut self.fields {
            let start = bytes.len();
            if cells.is_null(nulls.as_ref(), row) {
                continue;
            }
            match cells {
                Cells::Escaped(texts) => {
                    let (start, len) = texts.place(row);
                    bytes.push(b'"');
                    escape(&texts.data[start..start + len], bytes);
                    bytes.push(b'"');
                }
                Cells::Bare(texts) => bare::write(texts.value(row), bytes),
                Cells::Other(encoder) => encoder.encode(row, bytes),
                _ => continue,
            }
            if let Some(beside) = &self.beside {
                beside.complete(*column, start, bytes);
            }
            ends.push(bytes.len());
        }
        if self.one_line {
            bare::blank_ends(bytes);
            self.beside.iter_mut().for_each(|beside| bare::blank_ends(&mut beside.tail));
        }
    }

    /// Writes a row.
    #[inline]
    pub(super) fn write(&mut self, row: usize, out: &mut Stage) {
        if self.is_slow {
            self.write_slow(row);
        }
        let long: usize = self.long.iter().map(|texts| texts.place(row).1).sum();
        let tail = self.beside.as_ref().map_or(&[][..], |beside| beside.tail.as_slice());
        let mut pen = out.pen(self.fixed + long + self.slow.bytes.len() + 1 + tail.len());
        let start = pen.at;
        for field in &mut self.fields {
            let null = field.cells.is_null(field.nulls.as_ref(), row);
            if null && !self.explicit_nulls {
                continue;
            }
            pen.key(&field.key);
            if null {
                pen.all(b"null");
            } else {
                field.cells.write(row, &mut pen, &mut self.slow);
            }
        }
        if !tail.is_empty() {
            pen.put(b',');
            pen.all(tail);
        }
        // The comma before the first key makes place for the object's start.
        if pen.at == start {
            pen.put(b'{');
        } else {
            pen.bytes[start] = b'{';
        }
        pen.put(b'}');
        out.at = pen.at;
    }
}
