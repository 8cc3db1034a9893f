//! The hash of a key: XXH64, of which any language has a library, over bytes that do not depend on how wide a column
//! is or how it was encoded. The README says which.

use pipe_stage::{Any, ColumnField, DataType, Error, Nested, Result, Values};
use xxhash_rust::xxh64::xxh64;

/// What a null is the hash of: a byte that begins no text.
const NULL: &[u8] = &[0xff];

/// Whether every part of a column can be hashed.
pub(crate) fn can_hash(field: &ColumnField) -> bool {
    !field.fields().iter().any(|field| {
        matches!(field.data_type, DataType::Float16 | DataType::Decimal256(_) | DataType::Dictionary(_))
    })
}

/// The hash of each row's value.
pub(crate) fn column(column: &Any<'_>, len: usize, seed: u64) -> Result<Vec<u64>> {
    let int = |value: Option<i64>| match value {
        Some(value) => xxh64(&value.to_le_bytes(), seed),
        None => xxh64(NULL, seed),
    };
    let float = |value: Option<f64>| match value {
        // One bit pattern for what is equal, and for what is no number.
        Some(value) if value.is_nan() => int(Some(f64::NAN.to_bits() as i64)),
        Some(value) => int(Some((value + 0.0).to_bits() as i64)),
        None => xxh64(NULL, seed),
    };
    let bytes = |value: Option<&[u8]>| xxh64(value.unwrap_or(NULL), seed);
    Ok(match column {
        Any::Null => vec![xxh64(NULL, seed); len],
        Any::Bool(v) => {
            v.iter().map(|value| bytes(value.map(|v| [u8::from(v)]).as_ref().map(|v| &v[..]))).collect()
        }
        Any::Int8(v) => ints(v, int),
        Any::Int16(v) => ints(v, int),
        Any::Int32(v) | Any::Date32(v) | Any::Time32(v, _) => ints(v, int),
        Any::Int64(v) | Any::Date64(v) | Any::Time64(v, _) | Any::Timestamp(v, _) | Any::Duration(v, _) => {
            ints(v, int)
        }
        Any::Uint8(v) => ints(v, int),
        Any::Uint16(v) => ints(v, int),
        Any::Uint32(v) => ints(v, int),
        // The same bytes, read as signed.
        Any::Uint64(v) => v.iter().map(|value| int(value.map(|v| v as i64))).collect(),
        Any::Float32(v) => v.iter().map(|value| float(value.map(f64::from))).collect(),
        Any::Float64(v) => v.iter().map(float).collect(),
        Any::Text(v) => v.as_bytes().iter().map(bytes).collect(),
        Any::Bytes(v) => v.iter().map(bytes).collect(),
        Any::Decimal(v, _) => {
            v.iter().map(|value| bytes(value.map(i128::to_le_bytes).as_ref().map(|v| &v[..]))).collect()
        }
        Any::Nested(v) => nested(v, seed)?,
        Any::Decimal256(..) | Any::Dictionary(_) | Any::Other(_) => {
            return Err(Error::new("a column changed its type"));
        }
    })
}

fn ints<T: Copy + Into<i64>>(values: &Values<'_, T>, int: impl Fn(Option<i64>) -> u64) -> Vec<u64> {
    values.iter().map(|value| int(value.map(Into::into))).collect()
}

/// The hash of the hashes of what is within. The recursion is bounded by the depth that the host allows (32).
fn nested(column: &Nested<'_>, seed: u64) -> Result<Vec<u64>> {
    let valid = column.validity();
    let children = column.children();
    let mut parts = Vec::new();
    for child in &children {
        parts.push(self::column(&child.view()?, child.len(), seed)?);
    }
    let mut hashes = match column.lists() {
        Ok(lists) => {
            let elements = parts.pop().unwrap_or_default();
            let mut key = Vec::new();
            (0..column.len())
                .map(|row| {
                    key.clear();
                    let range = lists.get(row).unwrap_or_default();
                    for hash in elements.get(range).unwrap_or_default() {
                        key.extend_from_slice(&hash.to_le_bytes());
                    }
                    xxh64(&key, seed)
                })
                .collect()
        }
        Err(_) => all(&parts, column.len(), seed),
    };
    for (row, hash) in hashes.iter_mut().enumerate() {
        if !valid.is_valid(row) {
            *hash = xxh64(NULL, seed);
        }
    }
    Ok(hashes)
}

/// One hash a row: that of the only column, or the hash of the hashes of all.
pub(crate) fn combine(mut columns: Vec<Vec<u64>>, len: usize, seed: u64) -> Vec<u64> {
    if columns.len() == 1 { columns.pop().unwrap_or_default() } else { all(&columns, len, seed) }
}

fn all(columns: &[Vec<u64>], len: usize, seed: u64) -> Vec<u64> {
    let mut key = Vec::with_capacity(columns.len() * 8);
    (0..len)
        .map(|row| {
            key.clear();
            for column in columns {
                key.extend_from_slice(&column.get(row).copied().unwrap_or_default().to_le_bytes());
            }
            xxh64(&key, seed)
        })
        .collect()
}
