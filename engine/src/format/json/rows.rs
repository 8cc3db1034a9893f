//! Rows of columns as JSON objects: the plain types are written here, everything else by arrow-json's encoders.
//!
//! Why it is fast: keys are escaped once for a batch; whether any text of a column needs escapes is asked once for
//! all of its bytes; and bytes are moved in blocks of sixteen into a buffer that has room for a whole one, because
//! moving exactly as many as a short text has is a call of a function. What is written is what arrow-json writes, byte
//! by byte; a test compares the two.

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    DataType, FieldRef, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow::error::ArrowError;
use arrow::json::writer::{EncoderOptions, NullableEncoder, make_encoder};

const BLOCK: usize = 16;
/// The longest number is shorter, its sign included.
const NUMBER_BYTES_MAX: usize = 24;
/// What a stage holds at first.
const STAGE_BYTES: usize = 32 << 10;

/// Bytes on their way out: small enough to stay in the processor's cache, with room for a whole block at the end.
pub(super) struct Stage {
    bytes: Vec<u8>,
    at: usize,
}

/// Two digits each.
const PAIRS: &[u8; 200] = b"0001020304050607080910111213141516171819\
    2021222324252627282930313233343536373839\
    4041424344454647484950515253545556575859\
    6061626364656667686970717273747576777879\
    8081828384858687888990919293949596979899";

#[inline(always)]
fn pair(out: &mut [u8], at: usize, number: usize) {
    out[at..at + 2].copy_from_slice(&PAIRS[number * 2..number * 2 + 2]);
}

impl Default for Stage {
    fn default() -> Self {
        Self { bytes: vec![0; STAGE_BYTES], at: 0 }
    }
}

impl Stage {
    /// What was written since it was emptied.
    pub(super) fn written(&self) -> &[u8] {
        &self.bytes[..self.at]
    }

    pub(super) fn clear(&mut self) {
        self.at = 0;
        // A large row is not remembered.
        if self.bytes.len() > STAGE_BYTES {
            *self = Self::default();
        }
    }

    /// Whether it should be emptied between two rows.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.at >= STAGE_BYTES / 2
    }

    #[inline(always)]
    fn room(&mut self, more: usize) {
        if self.bytes.len() - self.at < more + BLOCK {
            self.grow(more);
        }
    }

    #[cold]
    fn grow(&mut self, more: usize) {
        let len = (self.at + more + BLOCK).max(2 * self.bytes.len());
        self.bytes.resize(len, 0);
    }

    #[inline(always)]
    pub(super) fn byte(&mut self, byte: u8) {
        self.room(1);
        self.put(byte);
    }

    /// A byte; the room is there already.
    #[inline(always)]
    fn put(&mut self, byte: u8) {
        self.bytes[self.at] = byte;
        self.at += 1;
    }

    /// The first `len` bytes of a block.
    #[inline(always)]
    fn block(&mut self, block: &[u8; BLOCK], len: usize) {
        self.bytes[self.at..self.at + BLOCK].copy_from_slice(block);
        self.at += len;
    }

    #[inline(always)]
    fn all(&mut self, bytes: &[u8]) {
        self.room(bytes.len());
        self.bytes[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }

    /// `len` bytes from `start` on; those behind them may be read. The room is there already.
    #[inline(always)]
    fn part(&mut self, data: &[u8], start: usize, len: usize) {
        if len <= BLOCK
            && let Some(block) = data.get(start..).and_then(|rest| rest.first_chunk())
        {
            self.block(block, len);
        } else {
            self.bytes[self.at..self.at + len].copy_from_slice(&data[start..start + len]);
            self.at += len;
        }
    }

    /// A number; the room is there already.
    #[inline(always)]
    fn number(&mut self, mut number: u64) {
        let len = number.checked_ilog10().map_or(1, |digits| digits as usize + 1);
        let out = &mut self.bytes[self.at..self.at + len];
        self.at += len;
        let mut end = len;
        while number >= 10_000 {
            let four = (number % 10_000) as usize;
            number /= 10_000;
            pair(out, end - 4, four / 100);
            pair(out, end - 2, four % 100);
            end -= 4;
        }
        let mut number = number as usize;
        if number >= 100 {
            pair(out, end - 2, number % 100);
            number /= 100;
            end -= 2;
        }
        if end == 2 {
            pair(out, 0, number);
        } else {
            out[0] = b'0' + number as u8;
        }
    }

    /// A number with up to three decimals, which most are; the room is there already. `false`, and nothing is written,
    /// for all others.
    ///
    /// Why these are the digits of the shortest text: a decimal of at most 15 digits is the only one of that length
    /// that a double is nearest to, and fewer decimals are tried first.
    #[inline(always)]
    fn short_float(&mut self, value: f64) -> bool {
        let size = value.abs();
        // Smaller and larger ones may be written with an exponent.
        if !(1e-3..1e8).contains(&size) {
            return false;
        }
        let negative = value < 0.0;
        self.decimals::<10>(size, negative)
            || self.decimals::<100>(size, negative)
            || self.decimals::<1_000>(size, negative)
    }

    #[inline(always)]
    fn decimals<const POWER: i64>(&mut self, size: f64, negative: bool) -> bool {
        let digits = (size * POWER as f64 + 0.5) as i64;
        if digits as f64 / POWER as f64 != size {
            return false;
        }
        if negative {
            self.put(b'-');
        }
        let digits = digits as u64;
        self.number(digits / POWER as u64);
        // The power keeps the zeros that lead the decimals; the point takes its own digit's place.
        let point = self.at;
        self.number(digits % POWER as u64 + POWER as u64);
        self.bytes[point] = b'.';
        true
    }

    /// Text with what has to be escaped in it. Room is asked for as it goes: all of it escaped would be six times as
    /// much.
    fn escaped(&mut self, text: &[u8]) {
        for run in text.chunk_by(|a, b| is_plain(*a) && is_plain(*b)) {
            let short = match run {
                b"\"" => b'"',
                b"\\" => b'\\',
                b"\x08" => b'b',
                b"\t" => b't',
                b"\n" => b'n',
                b"\x0c" => b'f',
                b"\r" => b'r',
                [control @ ..0x20] => {
                    const HEX: &[u8; 16] = b"0123456789abcdef";
                    self.all(b"\\u00");
                    self.byte(HEX[usize::from(control >> 4)]);
                    self.byte(HEX[usize::from(control & 0xf)]);
                    continue;
                }
                plain => {
                    self.all(plain);
                    continue;
                }
            };
            self.byte(b'\\');
            self.byte(short);
        }
    }
}

#[inline(always)]
fn is_plain(byte: u8) -> bool {
    byte >= 0x20 && byte != b'"' && byte != b'\\'
}

/// Whether no byte has to be escaped.
fn all_plain(bytes: &[u8]) -> bool {
    // A chunk without an early end is compared in vectors.
    bytes.chunks(256).all(|chunk| chunk.iter().fold(true, |plain, byte| plain & is_plain(*byte)))
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
    Text {
        offsets: &'a [i32],
        data: &'a [u8],
        plain: bool,
    },
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
            DataType::Utf8 => {
                let array = array.as_string::<i32>();
                let offsets: &[i32] = array.offsets();
                let used = offsets[0] as usize..offsets[array.len()] as usize;
                let data = array.value_data();
                Self::Text { offsets, data, plain: all_plain(&data[used]) }
            }
            _ => Self::Other(make_encoder(field, array, options)?),
        })
    }

    /// The nulls of the column; arrow-json's encoders know their own.
    fn is_null(&self, nulls: Option<&NullBuffer>, row: usize) -> bool {
        match self {
            Self::Other(encoder) => encoder.is_null(row),
            _ => nulls.is_some_and(|nulls| nulls.is_null(row)),
        }
    }

    /// Writes a value that is not null; the room for a number is there already.
    #[inline(always)]
    fn write(&mut self, row: usize, out: &mut Stage, spare: &mut Vec<u8>) {
        let signed = |out: &mut Stage, value: i64| {
            if value < 0 {
                out.put(b'-');
            }
            out.number(value.unsigned_abs());
        };
        match self {
            Self::Int8(values) => signed(out, values[row].into()),
            Self::Int16(values) => signed(out, values[row].into()),
            Self::Int32(values) => signed(out, values[row].into()),
            Self::Int64(values) => signed(out, values[row]),
            Self::UInt8(values) => out.number(values[row].into()),
            Self::UInt16(values) => out.number(values[row].into()),
            Self::UInt32(values) => out.number(values[row].into()),
            Self::UInt64(values) => out.number(values[row]),
            Self::Float64(values, encoder) => {
                if !out.short_float(values[row]) {
                    other(encoder, row, out, spare);
                }
            }
            Self::Boolean(values) if values.value(row) => out.all(b"true"),
            Self::Boolean(_) => out.all(b"false"),
            Self::Text { offsets, data, plain } => {
                let (start, end) = (offsets[row] as usize, offsets[row + 1] as usize);
                out.room(end - start + 2);
                out.put(b'"');
                if *plain {
                    out.part(data, start, end - start);
                } else {
                    out.escaped(&data[start..end]);
                }
                out.byte(b'"');
            }
            Self::Other(encoder) => other(encoder, row, out, spare),
        }
    }
}

fn other(encoder: &mut NullableEncoder<'_>, row: usize, out: &mut Stage, spare: &mut Vec<u8>) {
    spare.clear();
    encoder.encode(row, spare);
    out.all(spare);
}

/// A column with its key: `,"name":`, in blocks.
struct Field<'a> {
    key: Vec<u8>,
    key_len: usize,
    nulls: Option<NullBuffer>,
    cells: Cells<'a>,
}

/// The rows of a batch.
pub(super) struct Rows<'a> {
    fields: Vec<Field<'a>>,
    explicit_nulls: bool,
    spare: Vec<u8>,
}

impl<'a> Rows<'a> {
    pub(super) fn new(records: &'a RecordBatch, options: &'a EncoderOptions) -> Result<Self, ArrowError> {
        let columns = records.schema_ref().fields().iter().zip(records.columns());
        let fields = columns.map(|(field, array)| {
            let name =
                serde_json::to_string(field.name()).map_err(|e| ArrowError::JsonError(e.to_string()))?;
            let mut key = format!(",{name}:").into_bytes();
            let key_len = key.len();
            key.resize(key_len.next_multiple_of(BLOCK), 0);
            let nulls = array.nulls().filter(|nulls| nulls.null_count() > 0).cloned();
            Ok(Field { key, key_len, nulls, cells: Cells::new(field, array.as_ref(), options)? })
        });
        let fields = fields.collect::<Result<_, ArrowError>>()?;
        Ok(Self { fields, explicit_nulls: options.explicit_nulls(), spare: Vec::new() })
    }

    /// Writes a row.
    #[inline]
    pub(super) fn write(&mut self, row: usize, out: &mut Stage) {
        let start = out.at;
        for field in &mut self.fields {
            let null = field.cells.is_null(field.nulls.as_ref(), row);
            if null && !self.explicit_nulls {
                continue;
            }
            // Once for the key and all that has a bound.
            out.room(field.key_len + NUMBER_BYTES_MAX);
            out.part(&field.key, 0, field.key_len);
            if null {
                out.all(b"null");
            } else {
                field.cells.write(row, out, &mut self.spare);
            }
        }
        // The comma before the first key makes place for the object's start.
        if out.at == start {
            out.byte(b'{');
        } else {
            out.bytes[start] = b'{';
        }
        out.byte(b'}');
    }
}
