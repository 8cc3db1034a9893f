//! Views of input columns: typed slices over the received buffers, with their validity.

use std::borrow::Cow;
use std::ops::Range;

use bytemuck::{AnyBitPattern, NoUninit};

use crate::bindings::pipe::stage::arrow::Array;
use crate::error::{Error, Result};
use crate::mask::{Mask, Validity};
use crate::nested::{Dictionary, Nested};
use crate::schema::{DataType, DecimalType, Field, TimeUnit};

#[cfg(target_endian = "big")]
compile_error!("Arrow buffers are little-endian, and this crate reads them in place");

/// A fixed-width number as it lies in a buffer.
pub trait Primitive: AnyBitPattern + NoUninit + PartialOrd + Default {}

impl<T: AnyBitPattern + NoUninit + PartialOrd + Default> Primitive for T {}

/// A column of fixed-width numbers.
#[derive(Debug, Clone)]
pub struct Values<'a, T: Copy> {
    values: Cow<'a, [T]>,
    validity: Validity<'a>,
}

impl<'a, T: Copy> Values<'a, T> {
    pub(crate) fn new(values: Cow<'a, [T]>, validity: Validity<'a>) -> Self {
        Self { values, validity }
    }

    /// Number of rows.
    #[inline]
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Every row's value; where a row is null, whatever lies in the buffer.
    #[inline]
    pub fn values(&self) -> &[T] {
        &self.values
    }

    /// Which rows hold a value.
    #[inline]
    pub fn validity(&self) -> Validity<'a> {
        self.validity
    }

    /// The row's value; `None` for a null.
    #[inline]
    pub fn get(&self, row: usize) -> Option<T> {
        if self.validity.is_valid(row) { self.values.get(row).copied() } else { None }
    }

    /// Every row, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Option<T>> + '_ {
        (0..self.len()).map(|row| self.get(row))
    }

    /// The rows whose value passes; a null does not. The loop is vectorised.
    #[inline]
    pub fn mask(&self, keep: impl Fn(T) -> bool) -> Mask {
        let mut mask = Mask::from_values(&self.values, keep);
        if !self.validity.all() {
            mask.and(&self.validity.to_mask(self.values.len()));
        }
        mask
    }

    /// The same rows with every value converted.
    pub(crate) fn map<U: Copy>(&self, convert: impl Fn(T) -> U) -> Values<'a, U> {
        Values {
            values: Cow::Owned(self.values.iter().map(|&v| convert(v)).collect()),
            validity: self.validity,
        }
    }
}

/// A column of booleans.
#[derive(Debug, Clone, Copy)]
pub struct Bools<'a> {
    bits: &'a [u8],
    len: usize,
    validity: Validity<'a>,
}

impl<'a> Bools<'a> {
    /// Number of rows.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Which rows hold a value.
    pub fn validity(&self) -> Validity<'a> {
        self.validity
    }

    /// The row's value; `None` for a null.
    #[inline]
    pub fn get(&self, row: usize) -> Option<bool> {
        let valid = row < self.len && self.validity.is_valid(row);
        valid.then(|| self.bits.get(row / 8).is_some_and(|byte| byte >> (row % 8) & 1 == 1))
    }

    /// Every row, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Option<bool>> + '_ {
        (0..self.len).map(|row| self.get(row))
    }

    /// The rows that are true; a null is not.
    pub fn to_mask(&self) -> Mask {
        let mut mask = Mask::from_bytes(self.bits, self.len);
        mask.and(&self.validity.to_mask(self.len));
        mask
    }
}

/// A column of byte strings; text when `T` is `str`.
#[derive(Debug)]
pub struct Strings<'a, T: ?Sized + FromBytes> {
    bytes: &'a [u8],
    layout: Layout<'a>,
    validity: Validity<'a>,
    len: usize,
    kind: std::marker::PhantomData<&'a T>,
}

#[derive(Debug, Clone)]
enum Layout<'a> {
    Small(Cow<'a, [i32]>),
    Large(Cow<'a, [i64]>),
    Fixed(usize),
}

impl<'a> Strings<'a, str> {
    /// The same rows as bytes.
    pub fn as_bytes(&self) -> Strings<'a, [u8]> {
        let Self { bytes, layout, validity, len, .. } = self;
        let (bytes, layout, validity, len) = (*bytes, layout.clone(), *validity, *len);
        Strings { bytes, layout, validity, len, kind: std::marker::PhantomData }
    }
}

/// What a byte string is read as.
pub trait FromBytes {
    /// The value; bytes that are not one (the host sends none) read as empty.
    fn from_bytes(bytes: &[u8]) -> &Self;
}

impl FromBytes for str {
    #[inline]
    fn from_bytes(bytes: &[u8]) -> &Self {
        std::str::from_utf8(bytes).unwrap_or_default()
    }
}

impl FromBytes for [u8] {
    #[inline]
    fn from_bytes(bytes: &[u8]) -> &Self {
        bytes
    }
}

impl<'a, T: ?Sized + FromBytes> Strings<'a, T> {
    /// Number of rows.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Which rows hold a value.
    pub fn validity(&self) -> Validity<'a> {
        self.validity
    }

    /// The row's bytes, whether it is null or not.
    #[inline]
    pub fn bytes(&self, row: usize) -> &'a [u8] {
        let range = match &self.layout {
            Layout::Small(offsets) => range(offsets.get(row), offsets.get(row + 1)),
            Layout::Large(offsets) => range(offsets.get(row), offsets.get(row + 1)),
            Layout::Fixed(width) => Some(row * width..(row + 1) * width),
        };
        range.and_then(|range| self.bytes.get(range)).unwrap_or_default()
    }

    /// The row's value; `None` for a null.
    #[inline]
    pub fn get(&self, row: usize) -> Option<&'a T>
    where
        T: 'a,
    {
        (row < self.len && self.validity.is_valid(row)).then(|| T::from_bytes(self.bytes(row)))
    }

    /// Every row, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Option<&'a T>> + '_
    where
        T: 'a,
    {
        (0..self.len).map(|row| self.get(row))
    }

    /// The rows whose bytes pass; a null does not.
    #[inline]
    pub fn mask_bytes(&self, keep: impl Fn(&[u8]) -> bool) -> Mask {
        let mut mask = Mask::from_fn(self.len, |row| keep(self.bytes(row)));
        if !self.validity.all() {
            mask.and(&self.validity.to_mask(self.len));
        }
        mask
    }
}

#[inline]
fn range<O: Copy + TryInto<usize>>(start: Option<&O>, end: Option<&O>) -> Option<Range<usize>> {
    Some((*start?).try_into().ok()?..(*end?).try_into().ok()?)
}

/// A column of any type, to be matched once before the loop over its rows.
#[derive(Debug)]
#[expect(missing_docs, reason = "each variant is Arrow's type of that name")]
pub enum Any<'a> {
    Null,
    Bool(Bools<'a>),
    Int8(Values<'a, i8>),
    Int16(Values<'a, i16>),
    Int32(Values<'a, i32>),
    Int64(Values<'a, i64>),
    Uint8(Values<'a, u8>),
    Uint16(Values<'a, u16>),
    Uint32(Values<'a, u32>),
    Uint64(Values<'a, u64>),
    Float32(Values<'a, f32>),
    Float64(Values<'a, f64>),
    /// `utf8` and `large_utf8`.
    Text(Strings<'a, str>),
    /// `binary`, `large_binary` and `fixed_size_binary`.
    Bytes(Strings<'a, [u8]>),
    Date32(Values<'a, i32>),
    Date64(Values<'a, i64>),
    Time32(Values<'a, i32>, TimeUnit),
    Time64(Values<'a, i64>, TimeUnit),
    Timestamp(Values<'a, i64>, TimeUnit),
    Duration(Values<'a, i64>, TimeUnit),
    /// `decimal128`: the numbers without their point.
    Decimal(Values<'a, i128>, DecimalType),
    /// `decimal256`: the numbers without their point, the lowest 64 bits first.
    Decimal256(Values<'a, [u64; 4]>, DecimalType),
    /// Lists of every kind, maps and structs.
    Nested(Nested<'a>),
    /// Keys into words of any type.
    Dictionary(Dictionary<'a>),
    /// A type without a view (half floats): only which rows are null.
    Other(Validity<'a>),
}

impl<'a> Any<'a> {
    /// The rows that hold a value.
    pub fn valid(&self, len: usize) -> Mask {
        self.validity().map_or_else(|| Mask::none(len), |validity| validity.to_mask(len))
    }

    fn validity(&self) -> Option<Validity<'a>> {
        Some(match self {
            Self::Null => return None,
            Self::Bool(v) => v.validity(),
            Self::Int8(v) => v.validity(),
            Self::Int16(v) => v.validity(),
            Self::Int32(v) | Self::Date32(v) | Self::Time32(v, _) => v.validity(),
            Self::Int64(v)
            | Self::Date64(v)
            | Self::Time64(v, _)
            | Self::Timestamp(v, _)
            | Self::Duration(v, _) => v.validity(),
            Self::Uint8(v) => v.validity(),
            Self::Uint16(v) => v.validity(),
            Self::Uint32(v) => v.validity(),
            Self::Uint64(v) => v.validity(),
            Self::Float32(v) => v.validity(),
            Self::Float64(v) => v.validity(),
            Self::Text(v) => v.validity(),
            Self::Bytes(v) => v.validity(),
            Self::Decimal(v, _) => v.validity(),
            Self::Decimal256(v, _) => v.validity(),
            Self::Nested(v) => v.validity(),
            Self::Dictionary(v) => v.validity(),
            Self::Other(validity) => *validity,
        })
    }
}

/// The view of a column; `fields` and `arrays` are its own in pre-order, and the first of each is the outermost.
pub(crate) fn view<'a>(fields: &'a [Field], arrays: &'a [Array]) -> Result<Any<'a>> {
    let (Some(field), Some(array)) = (fields.first(), arrays.first()) else {
        return Err(Error::new("a column has no array"));
    };
    let a = Parts { field, array };
    Ok(match &field.data_type {
        DataType::Null => Any::Null,
        DataType::Boolean => Any::Bool(a.bools()?),
        DataType::Int8 => Any::Int8(a.values()?),
        DataType::Int16 => Any::Int16(a.values()?),
        DataType::Int32 => Any::Int32(a.values()?),
        DataType::Int64 => Any::Int64(a.values()?),
        DataType::Uint8 => Any::Uint8(a.values()?),
        DataType::Uint16 => Any::Uint16(a.values()?),
        DataType::Uint32 => Any::Uint32(a.values()?),
        DataType::Uint64 => Any::Uint64(a.values()?),
        DataType::Float32 => Any::Float32(a.values()?),
        DataType::Float64 => Any::Float64(a.values()?),
        DataType::Utf8 => Any::Text(a.strings(Layout::Small(a.offsets()?))?),
        DataType::LargeUtf8 => Any::Text(a.strings(Layout::Large(a.offsets()?))?),
        DataType::Binary => Any::Bytes(a.strings(Layout::Small(a.offsets()?))?),
        DataType::LargeBinary => Any::Bytes(a.strings(Layout::Large(a.offsets()?))?),
        DataType::FixedSizeBinary(width) => Any::Bytes(a.fixed(*width as usize)?),
        DataType::Date32 => Any::Date32(a.values()?),
        DataType::Date64 => Any::Date64(a.values()?),
        DataType::Time32(unit) => Any::Time32(a.values()?, *unit),
        DataType::Time64(unit) => Any::Time64(a.values()?, *unit),
        DataType::Timestamp(t) => Any::Timestamp(a.values()?, t.unit),
        DataType::Duration(unit) => Any::Duration(a.values()?, *unit),
        DataType::Decimal128(decimal) => Any::Decimal(a.values()?, *decimal),
        DataType::Decimal256(decimal) => Any::Decimal256(a.values()?, *decimal),
        DataType::Dictionary(dictionary) => Any::Dictionary(Dictionary::new(dictionary.keys, fields, arrays)),
        DataType::List
        | DataType::LargeList
        | DataType::FixedSizeList(_)
        | DataType::Map
        | DataType::Struct => Any::Nested(Nested::new(fields, arrays)),
        _ => Any::Other(a.validity()),
    })
}

/// An array and the field that says what its buffers are.
pub(crate) struct Parts<'a> {
    pub(crate) field: &'a Field,
    pub(crate) array: &'a Array,
}

impl<'a> Parts<'a> {
    fn len(&self) -> usize {
        self.array.length as usize
    }

    fn buffer(&self, index: usize) -> &'a [u8] {
        self.array.buffers.get(index).map(Vec::as_slice).unwrap_or_default()
    }

    pub(crate) fn validity(&self) -> Validity<'a> {
        Validity::new(self.buffer(0))
    }

    fn values<T: Primitive>(&self) -> Result<Values<'a, T>> {
        Ok(Values::new(slice::<T>(self.fixed_buffer(size_of::<T>())?), self.validity()))
    }

    /// The buffer of values that are so many bytes wide.
    fn fixed_buffer(&self, width: usize) -> Result<&'a [u8]> {
        let bytes = self.buffer(1);
        if Some(bytes.len()) != width.checked_mul(self.len()) {
            return Err(malformed(self.field, "a buffer of values has another length than its array"));
        }
        Ok(bytes)
    }

    fn bools(&self) -> Result<Bools<'a>> {
        let bits = self.buffer(1);
        if bits.len() < self.len().div_ceil(8) {
            return Err(malformed(self.field, "a bitmap is too short"));
        }
        Ok(Bools { bits, len: self.len(), validity: self.validity() })
    }

    pub(crate) fn offsets<T: Primitive>(&self) -> Result<Cow<'a, [T]>> {
        let offsets = slice::<T>(self.buffer(1));
        if offsets.len() != self.len() + 1 {
            return Err(malformed(self.field, "a buffer of offsets has another length than its array"));
        }
        Ok(offsets)
    }

    fn strings<T: ?Sized + FromBytes>(&self, layout: Layout<'a>) -> Result<Strings<'a, T>> {
        let (bytes, validity) = (self.buffer(2), self.validity());
        Ok(Strings { bytes, layout, validity, len: self.len(), kind: std::marker::PhantomData })
    }

    fn fixed(&self, width: usize) -> Result<Strings<'a, [u8]>> {
        let bytes = self.fixed_buffer(width)?;
        let (layout, validity) = (Layout::Fixed(width), self.validity());
        Ok(Strings { bytes, layout, validity, len: self.len(), kind: std::marker::PhantomData })
    }
}

/// Whole values of a buffer: in place where it is aligned, else a copy. Not inlined, so that types of one width share
/// the code.
#[inline(never)]
fn slice<T: Primitive>(bytes: &[u8]) -> Cow<'_, [T]> {
    match bytemuck::try_cast_slice(bytes) {
        Ok(values) => Cow::Borrowed(values),
        Err(_) => {
            let mut values = vec![T::zeroed(); bytes.len() / size_of::<T>()];
            let whole = bytemuck::cast_slice_mut::<T, u8>(&mut values);
            whole.copy_from_slice(&bytes[..whole.len()]);
            Cow::Owned(values)
        }
    }
}

#[cold]
fn malformed(field: &Field, what: &str) -> Error {
    Error::new(format!("column `{}` is malformed: {what}", field.name))
}
