//! Builders of computed columns.

use std::marker::PhantomData;

use crate::bindings::pipe::stage::arrow::Array;
use crate::column::Primitive;
use crate::error::{Error, Result};
use crate::mask::Mask;
use crate::read::{Date, TimestampMs, TimestampNs, TimestampSec, TimestampUs};
use crate::schema::{DataType, DecimalType, TimestampType};

/// A type that a column can be computed as: `bool`, the integers, `f32`, `f64`, `str`, `[u8]`, [`Date`], the
/// timestamps and [`Decimal`].
pub trait Compute {
    /// What a builder takes for a row.
    type Value<'a>;
    /// Whether the column may hold nulls; computed columns may.
    const NULLABLE: bool = true;
    /// The column's type.
    fn data_type() -> DataType;
    /// Appends a value.
    fn append(raw: &mut Raw, value: Self::Value<'_>);
    /// Appends what stands under a null.
    fn append_null(raw: &mut Raw);
    /// The buffers after the validity bitmap.
    fn finish(raw: Raw) -> Vec<Vec<u8>>;
}

/// The growing buffers of a column.
#[derive(Debug, Default)]
pub struct Raw {
    data: Vec<u8>,
    offsets: Vec<u8>,
    len: usize,
}

/// Builds a computed column row by row.
#[derive(Debug)]
pub struct Builder<T: Compute + ?Sized> {
    raw: Raw,
    /// Least significant bit first; empty until the first null.
    validity: Vec<u8>,
    nulls: usize,
    kind: PhantomData<fn(&T)>,
}

impl<T: Compute + ?Sized> Default for Builder<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Compute + ?Sized> Builder<T> {
    /// An empty one.
    pub fn new() -> Self {
        Self { raw: Raw::default(), validity: Vec::new(), nulls: 0, kind: PhantomData }
    }

    /// Number of rows so far.
    pub fn len(&self) -> usize {
        self.raw.len
    }

    /// Whether there is no row yet.
    pub fn is_empty(&self) -> bool {
        self.raw.len == 0
    }

    /// Adds a value.
    #[inline]
    pub fn push(&mut self, value: T::Value<'_>) {
        if self.nulls > 0 {
            self.push_bit(true);
        }
        T::append(&mut self.raw, value);
        self.raw.len += 1;
    }

    /// Adds a null.
    #[inline]
    pub fn push_null(&mut self) {
        if self.nulls == 0 {
            self.validity = Mask::all(self.raw.len).to_bytes();
        }
        self.push_bit(false);
        self.nulls += 1;
        T::append_null(&mut self.raw);
        self.raw.len += 1;
    }

    /// Adds a value, or a null for `None`.
    #[inline]
    pub fn push_option(&mut self, value: Option<T::Value<'_>>) {
        match value {
            Some(value) => self.push(value),
            None => self.push_null(),
        }
    }

    fn push_bit(&mut self, valid: bool) {
        let bit = self.raw.len % 8;
        if bit == 0 {
            self.validity.push(u8::from(valid));
        } else if let Some(last) = self.validity.last_mut() {
            *last |= u8::from(valid) << bit;
        }
    }

    /// The array; an error when a string column outgrew its 32-bit offsets.
    pub fn finish(self) -> Result<Array> {
        if self.raw.data.len() > i32::MAX as usize {
            return Err(Error::new("a computed column is larger than 2 GiB"));
        }
        let (length, null_count) = (self.raw.len as u32, self.nulls as u32);
        let mut buffers = vec![self.validity];
        buffers.extend(T::finish(self.raw));
        Ok(Array { length, null_count, buffers })
    }
}

impl<T: Number> Builder<T> {
    /// A column without nulls, computed in one loop that the compiler can vectorise.
    #[inline]
    pub fn from_fn(len: usize, mut value: impl FnMut(usize) -> T) -> Self {
        let mut data = vec![0; len * size_of::<T>()];
        for (row, bytes) in data.chunks_exact_mut(size_of::<T>()).enumerate() {
            bytes.copy_from_slice(bytemuck::bytes_of(&value(row)));
        }
        Self {
            raw: Raw { data, offsets: Vec::new(), len },
            validity: Vec::new(),
            nulls: 0,
            kind: PhantomData,
        }
    }

    /// A column without nulls from another's values, computed in one loop that the compiler vectorises.
    #[inline]
    pub fn from_values<V: Copy>(values: &[V], convert: impl Fn(V) -> T) -> Self {
        let len = values.len();
        let mut data = vec![0; len * size_of::<T>()];
        for (bytes, &value) in data.chunks_exact_mut(size_of::<T>()).zip(values) {
            bytes.copy_from_slice(bytemuck::bytes_of(&convert(value)));
        }
        Self {
            raw: Raw { data, offsets: Vec::new(), len },
            validity: Vec::new(),
            nulls: 0,
            kind: PhantomData,
        }
    }
}

/// The fixed-width numbers that are computed in bulk.
pub trait Number: Compute + Primitive {}

macro_rules! compute_number {
    ($($type:ty, $own:ident;)*) => {$(
        impl Number for $type {}

        impl Compute for $type {
            type Value<'a> = $type;
            fn data_type() -> DataType {
                DataType::$own
            }
            #[inline]
            fn append(raw: &mut Raw, value: $type) {
                raw.data.extend_from_slice(&value.to_le_bytes());
            }
            #[inline]
            fn append_null(raw: &mut Raw) {
                raw.data.extend_from_slice(&<$type>::default().to_le_bytes());
            }
            fn finish(raw: Raw) -> Vec<Vec<u8>> {
                vec![raw.data]
            }
        }
    )*};
}

compute_number! {
    i8, Int8;
    i16, Int16;
    i32, Int32;
    i64, Int64;
    u8, Uint8;
    u16, Uint16;
    u32, Uint32;
    u64, Uint64;
    f32, Float32;
    f64, Float64;
}

macro_rules! compute_wrapped {
    ($($type:ident, $inner:ty, $data_type:expr;)*) => {$(
        impl Compute for $type {
            type Value<'a> = $type;
            fn data_type() -> DataType {
                $data_type
            }
            #[inline]
            fn append(raw: &mut Raw, value: $type) {
                <$inner>::append(raw, value.0);
            }
            #[inline]
            fn append_null(raw: &mut Raw) {
                <$inner>::append_null(raw);
            }
            fn finish(raw: Raw) -> Vec<Vec<u8>> {
                <$inner>::finish(raw)
            }
        }
    )*};
}

/// A decimal without its point: 12.34 is 1,234 in a column of scale 2. Its column is declared with
/// [`Port::compute_field`](crate::Port::compute_field), which says precision and scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Decimal(pub i128);

impl Compute for Decimal {
    type Value<'a> = Self;
    fn data_type() -> DataType {
        DataType::Decimal128(DecimalType { precision: 38, scale: 0 })
    }
    #[inline]
    fn append(raw: &mut Raw, value: Self) {
        raw.data.extend_from_slice(&value.0.to_le_bytes());
    }
    #[inline]
    fn append_null(raw: &mut Raw) {
        Self::append(raw, Self(0));
    }
    fn finish(raw: Raw) -> Vec<Vec<u8>> {
        vec![raw.data]
    }
}

fn utc(unit: crate::schema::TimeUnit) -> DataType {
    DataType::Timestamp(TimestampType { unit, timezone: Some("UTC".into()) })
}

compute_wrapped! {
    Date, i32, DataType::Date32;
    TimestampSec, i64, utc(TimestampSec::UNIT);
    TimestampMs, i64, utc(TimestampMs::UNIT);
    TimestampUs, i64, utc(TimestampUs::UNIT);
    TimestampNs, i64, utc(TimestampNs::UNIT);
}

impl Compute for bool {
    type Value<'a> = bool;
    fn data_type() -> DataType {
        DataType::Boolean
    }
    #[inline]
    fn append(raw: &mut Raw, value: bool) {
        let bit = raw.len % 8;
        if bit == 0 {
            raw.data.push(u8::from(value));
        } else if let Some(last) = raw.data.last_mut() {
            *last |= u8::from(value) << bit;
        }
    }
    fn append_null(raw: &mut Raw) {
        Self::append(raw, false);
    }
    fn finish(raw: Raw) -> Vec<Vec<u8>> {
        vec![raw.data]
    }
}

impl Compute for str {
    type Value<'a> = &'a str;
    fn data_type() -> DataType {
        DataType::Utf8
    }
    #[inline]
    fn append(raw: &mut Raw, value: &str) {
        <[u8]>::append(raw, value.as_bytes());
    }
    fn append_null(raw: &mut Raw) {
        <[u8]>::append_null(raw);
    }
    fn finish(raw: Raw) -> Vec<Vec<u8>> {
        <[u8]>::finish(raw)
    }
}

impl Compute for [u8] {
    type Value<'a> = &'a [u8];
    fn data_type() -> DataType {
        DataType::Binary
    }
    #[inline]
    fn append(raw: &mut Raw, value: &[u8]) {
        if raw.offsets.is_empty() {
            raw.offsets.extend_from_slice(&0i32.to_le_bytes());
        }
        raw.data.extend_from_slice(value);
        // A length beyond `i32` is refused by `Builder::finish`.
        raw.offsets.extend_from_slice(&(raw.data.len() as i32).to_le_bytes());
    }
    fn append_null(raw: &mut Raw) {
        Self::append(raw, &[]);
    }
    fn finish(mut raw: Raw) -> Vec<Vec<u8>> {
        if raw.offsets.is_empty() {
            raw.offsets.extend_from_slice(&0i32.to_le_bytes());
        }
        vec![raw.offsets, raw.data]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_with_nulls_have_a_bitmap_from_the_first_row() {
        let mut builder = Builder::<i16>::new();
        for row in 0..11i16 {
            builder.push_option((row % 5 != 4).then_some(row));
        }
        let array = builder.finish().unwrap();
        assert_eq!((array.length, array.null_count), (11, 2));
        assert_eq!(array.buffers[0], [0b1110_1111, 0b0000_0101]);
        assert_eq!(array.buffers[1].len(), 22);
    }

    #[test]
    fn without_nulls_there_is_no_bitmap() {
        let array = Builder::<f64>::from_fn(3, |row| row as f64 / 2.0).finish().unwrap();
        assert_eq!(array.null_count, 0);
        assert!(array.buffers[0].is_empty());
        assert_eq!(array.buffers[1], bytemuck::cast_slice::<f64, u8>(&[0.0, 0.5, 1.0]));
    }

    #[test]
    fn strings_have_one_offset_more_than_rows() {
        let empty = Builder::<str>::new().finish().unwrap();
        assert_eq!(empty.buffers, [vec![], vec![0; 4], vec![]]);
        let mut builder = Builder::<str>::new();
        builder.push("ab");
        builder.push_null();
        builder.push("");
        builder.push("c");
        let array = builder.finish().unwrap();
        assert_eq!(array.buffers[1], bytemuck::cast_slice::<i32, u8>(&[0, 2, 2, 2, 3]));
        assert_eq!(array.buffers[2], b"abc");
        assert_eq!(array.buffers[0], [0b1101]);
    }

    #[test]
    fn booleans_are_bits() {
        let mut builder = Builder::<bool>::new();
        for row in 0..9 {
            builder.push(row % 2 == 0);
        }
        assert_eq!(builder.finish().unwrap().buffers[1], [0b0101_0101, 1]);
    }
}
