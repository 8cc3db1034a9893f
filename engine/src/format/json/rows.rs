//! Rows of columns as JSON objects: the plain types are written here, everything else by arrow-json's encoders.
//!
//! Why it is fast: keys are escaped once for a batch; whether any text of a column needs escapes is asked once for
//! all of its bytes; the room for a row is asked for once; and bytes are moved in whole blocks, digits eight at a time,
//! whatever their number is, because a branch that is guessed wrong costs more than a block. What is written is what
//! arrow-json writes, byte by byte; a test compares the two.

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    DataType, FieldRef, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow::error::ArrowError;
use arrow::json::writer::{EncoderOptions, NullableEncoder, make_encoder};

const BLOCK: usize = 16;
/// Texts of up to so many blocks are moved as that many.
const BLOCKS: usize = 4;
/// What is moved beyond the last byte of a row at most.
const SLACK: usize = BLOCK * BLOCKS;
/// No number is longer: the most that arrow-json's writer of floats asks for.
const NUMBER_BYTES_MAX: usize = 64;
/// Where all texts of a column are at most that long, the room for the longest is asked for with each row.
const TEXT_BYTES_SHORT: usize = 1 << 10;
/// What a stage holds at first.
const STAGE_BYTES: usize = 32 << 10;

/// Bytes on their way out: small enough to stay in the processor's cache.
pub(super) struct Stage {
    bytes: Vec<u8>,
    at: usize,
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
        if self.bytes.len() > 8 * STAGE_BYTES {
            *self = Self::default();
        }
    }

    /// Whether it should be emptied between two rows.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.at >= STAGE_BYTES / 2
    }

    /// A pen that may write so many bytes.
    #[inline(always)]
    fn pen(&mut self, bytes: usize) -> Pen<'_> {
        if self.bytes.len() - self.at < bytes + SLACK {
            self.grow(bytes);
        }
        Pen { bytes: &mut self.bytes, at: self.at }
    }

    #[cold]
    fn grow(&mut self, more: usize) {
        let len = (self.at + more + SLACK).max(2 * self.bytes.len());
        self.bytes.resize(len, 0);
    }

    pub(super) fn byte(&mut self, byte: u8) {
        let mut pen = self.pen(1);
        pen.put(byte);
        self.at = pen.at;
    }
}

/// Writes into a stage that has room enough. A value of its own, so that its place stays in a register: a place in the
/// stage would be read again after every byte that is written.
struct Pen<'a> {
    bytes: &'a mut [u8],
    at: usize,
}

const ASCII: u64 = 0x3030_3030_3030_3030;

/// The eight digits of a number below 10^8, the first one in the lowest byte.
#[inline(always)]
fn eight(number: u32) -> u64 {
    // Halves, quarters and eighths, each remainder beside its quotient; the factors are 1/100 and 1/10 in fixed point.
    let halves = u64::from(number / 10_000) | (u64::from(number % 10_000) << 32);
    let hundreds = ((halves * 10_486) >> 20) & 0x0000_007f_0000_007f;
    let pairs = hundreds | ((halves - hundreds * 100) << 16);
    let tens = ((pairs * 103) >> 10) & 0x000f_000f_000f_000f;
    tens | ((pairs - tens * 10) << 8)
}

impl Pen<'_> {
    #[inline(always)]
    fn put(&mut self, byte: u8) {
        self.bytes[self.at] = byte;
        self.at += 1;
    }

    #[inline(always)]
    fn all(&mut self, bytes: &[u8]) {
        self.bytes[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }

    /// The first `len` bytes of whole blocks.
    #[inline(always)]
    fn blocks(&mut self, blocks: &[[u8; BLOCK]], len: usize) {
        for (index, block) in blocks.iter().enumerate() {
            let at = self.at + index * BLOCK;
            self.bytes[at..at + BLOCK].copy_from_slice(block);
        }
        self.at += len;
    }

    #[inline(always)]
    fn key(&mut self, field: &Field<'_>) {
        let end = self.at + field.key_len;
        self.blocks(std::slice::from_ref(&field.key), BLOCK);
        if !field.more.is_empty() {
            self.blocks(&field.more, 0);
        }
        self.at = end;
    }

    /// `len` bytes from `start` on; those behind them may be read.
    #[inline(always)]
    fn part(&mut self, data: &[u8], start: usize, len: usize) {
        if len <= BLOCK
            && let Some(block) = data.get(start..).and_then(|rest| rest.first_chunk())
        {
            self.blocks(std::slice::from_ref(block), len);
        } else if len <= BLOCK * BLOCKS
            && let Some(blocks) = data.get(start..start + BLOCK * BLOCKS)
        {
            self.blocks(blocks.as_chunks().0, len);
        } else {
            self.all(&data[start..start + len]);
        }
    }

    /// Eight bytes, of which the first `len` count.
    #[inline(always)]
    fn word(&mut self, word: u64, len: usize) {
        self.bytes[self.at..self.at + 8].copy_from_slice(&word.to_le_bytes());
        self.at += len;
    }

    /// A number below 10^8 without zeros in front.
    #[inline(always)]
    fn short(&mut self, number: u32) {
        let digits = eight(number);
        let zeros = (digits.trailing_zeros() / 8).min(7);
        self.word((digits | ASCII) >> (zeros * 8), 8 - zeros as usize);
    }

    #[inline(always)]
    fn number(&mut self, number: u64) {
        const SHORT: u64 = 100_000_000;
        if number < SHORT {
            return self.short(number as u32);
        }
        let (high, low) = (number / SHORT, number % SHORT);
        if high < SHORT {
            self.short(high as u32);
        } else {
            self.short((high / SHORT) as u32);
            self.word(eight((high % SHORT) as u32) | ASCII, 8);
        }
        self.word(eight(low as u32) | ASCII, 8);
    }

    #[inline(always)]
    fn signed(&mut self, number: i64) {
        self.bytes[self.at] = b'-';
        self.at += usize::from(number < 0);
        self.number(number.unsigned_abs());
    }

    /// A number with up to three decimals, which most are. `false`, and nothing is written, for all others.
    ///
    /// Why these are the digits of the shortest text: a decimal of at most 15 digits is the only one of that length
    /// that a double is nearest to, and a shorter one would be the same with zeros behind it.
    #[inline(always)]
    fn short_float(&mut self, value: f64) -> bool {
        let size = value.abs();
        // Smaller and larger ones may be written with an exponent.
        if !(1e-3..1e8).contains(&size) {
            return false;
        }
        let thousandths = (size * 1e3 + 0.5) as i64;
        if thousandths as f64 / 1e3 != size {
            return false;
        }
        self.bytes[self.at] = b'-';
        self.at += usize::from(value < 0.0);
        let digits = if thousandths < 100_000_000 {
            let digits = eight(thousandths as u32);
            // Of the five in front of the decimals one stays at least.
            let zeros = (digits.trailing_zeros() / 8).min(4);
            self.word((digits | ASCII) >> (zeros * 8), 5 - zeros as usize);
            digits
        } else {
            self.short((thousandths / 1_000) as u32);
            eight((thousandths % 1_000) as u32)
        };
        // The point takes the place of the digit before the last three, of which one stays at least.
        let decimals = (digits >> 32) as u32 & !0xff;
        let zeros = (decimals.leading_zeros() / 8).min(2);
        self.word(u64::from(decimals) | (ASCII >> 32) & !0xff | u64::from(b'.'), 4 - zeros as usize);
        true
    }
}

/// Appends text with what has to be escaped in it.
fn escape(text: &[u8], out: &mut Vec<u8>) {
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
                let (high, low) = (HEX[usize::from(control >> 4)], HEX[usize::from(control & 0xf)]);
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
                continue;
            }
            plain => {
                out.extend_from_slice(plain);
                continue;
            }
        };
        out.extend_from_slice(&[b'\\', short]);
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
                let texts = Texts { offsets: array.offsets(), data: array.value_data() };
                let used = texts.offsets[0] as usize..texts.offsets[array.len()] as usize;
                if all_plain(&texts.data[used]) { Self::Plain(texts) } else { Self::Escaped(texts) }
            }
            _ => Self::Other(make_encoder(field, array, options)?),
        })
    }

    /// Whether how long a value gets is not known before it is written.
    fn is_slow(&self) -> bool {
        matches!(self, Self::Escaped(_) | Self::Other(_))
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
            Self::Escaped(_) | Self::Other(_) => pen.all(slow.take()),
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

/// A column with its key: `,"name":`, in blocks.
struct Field<'a> {
    key: [u8; BLOCK],
    more: Vec<[u8; BLOCK]>,
    key_len: usize,
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
            let cells = Cells::new(field, array.as_ref(), options)?;
            let mut blocks = key.as_chunks().0.iter().copied();
            Ok(Field {
                key: blocks.next().unwrap_or_default(),
                more: blocks.collect(),
                key_len,
                nulls,
                cells,
            })
        });
        let fields = fields.collect::<Result<Vec<_>, ArrowError>>()?;
        let texts = fields.iter().filter_map(|field| match field.cells {
            Cells::Plain(texts) => Some(texts),
            _ => None,
        });
        let (long, short): (Vec<_>, Vec<_>) = texts.partition(|texts| texts.longest() > TEXT_BYTES_SHORT);
        let numbers: usize = fields.iter().map(|field| field.key_len + NUMBER_BYTES_MAX).sum();
        Ok(Self {
            explicit_nulls: options.explicit_nulls(),
            // Two more for the braces.
            fixed: 2 + numbers + short.iter().map(Texts::longest).sum::<usize>(),
            long,
            is_slow: fields.iter().any(|field| field.cells.is_slow()),
            slow: Slow::default(),
            fields,
        })
    }

    /// Writes the values that may take any number of bytes.
    #[inline(never)]
    fn write_slow(&mut self, row: usize) {
        self.slow.clear();
        let Slow { bytes, ends, .. } = &mut self.slow;
        for Field { nulls, cells, .. } in &mut self.fields {
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
                Cells::Other(encoder) => encoder.encode(row, bytes),
                _ => continue,
            }
            ends.push(bytes.len());
        }
    }

    /// Writes a row.
    #[inline]
    pub(super) fn write(&mut self, row: usize, out: &mut Stage) {
        if self.is_slow {
            self.write_slow(row);
        }
        let long: usize = self.long.iter().map(|texts| texts.place(row).1).sum();
        let mut pen = out.pen(self.fixed + long + self.slow.bytes.len());
        let start = pen.at;
        for field in &mut self.fields {
            let null = field.cells.is_null(field.nulls.as_ref(), row);
            if null && !self.explicit_nulls {
                continue;
            }
            pen.key(field);
            if null {
                pen.all(b"null");
            } else {
                field.cells.write(row, &mut pen, &mut self.slow);
            }
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
