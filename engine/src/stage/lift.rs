//! Arrays that a stage computed, checked before Arrow sees them.
//!
//! First come checks of our own (counts, sizes of buffers, offsets' ends, lengths of children), so that nothing that
//! Arrow would panic or over-allocate on reaches it; then Arrow validates the rest (keys of dictionaries, nulls where
//! none may be). Texts are checked by `text.rs` alone.

use arrow::array::{
    Array, ArrayData, ArrayDataBuilder, ArrayRef, OffsetSizeTrait, PrimitiveArray, make_array,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, ScalarBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Decimal256Type, DecimalType, Field};

use super::text;
use super::wit::pipe::stage::arrow::ArrayResult;

/// The arrays of an emission that are not read yet, and the bound of any one's length: rows of nulls and of structs
/// without bytes cost a stage nothing, so that the bytes it returns do not bound them.
pub(super) struct Arrays {
    rest: std::vec::IntoIter<ArrayResult>,
    len_max: usize,
}

impl Arrays {
    pub(super) fn new(arrays: Vec<ArrayResult>, len_max: usize) -> Self {
        Self { rest: arrays.into_iter(), len_max }
    }

    /// Arrays that no column asked for.
    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }
}

/// Takes the arrays of one top-level column from the front of `arrays`.
///
/// The depth of the recursion is the depth of `field`'s type, which was bounded when the stage was bound.
pub(super) fn column(field: &Field, rows: usize, arrays: &mut Arrays) -> Result<ArrayRef, String> {
    let data = array(field.data_type(), rows, arrays)?;
    check_nulls(field, &data, None)?;
    Ok(make_array(data))
}

/// A field that is not nullable has no nulls where its parent has none. Arrow's validation sees only those that the
/// field's own bitmap says; a dictionary may hold them among its values, an array of nulls has no bitmap at all, and
/// Arrow's kernels panic on what they take for impossible.
fn check_nulls(field: &Field, data: &ArrayData, parent: Option<&NullBuffer>) -> Result<(), String> {
    if field.is_nullable() {
        return Ok(());
    }
    let nulls = make_array(data.clone()).logical_nulls().filter(|nulls| nulls.null_count() > 0);
    match nulls {
        Some(nulls) if !parent.is_some_and(|parent| parent.contains(&nulls)) => {
            Err(format!("{} nulls in a column that is not nullable", nulls.null_count()))
        }
        _ => Ok(()),
    }
}

fn array(ty: &DataType, rows: usize, arrays: &mut Arrays) -> Result<ArrayData, String> {
    let Some(lifted) = arrays.rest.next() else {
        return Err(format!("the array of type {ty} is missing"));
    };
    let len = lifted.length as usize;
    if len > arrays.len_max {
        return Err(format!("an array of type {ty} has {len} rows"));
    }
    if len != rows {
        return Err(format!("an array of type {ty} has {len} rows instead of {rows}"));
    }
    let mut buffers = lifted.buffers.into_iter();
    let validity = buffers.next();
    if *ty == DataType::Null {
        if validity.is_some_and(|v| !v.is_empty()) || buffers.next().is_some() {
            return Err("an array of nulls has no buffers".to_owned());
        }
        return Ok(ArrayData::new_null(ty, len));
    }
    let Some(validity) = validity else {
        return Err(format!("an array of type {ty} has no buffers, not even an empty validity bitmap"));
    };
    let nulls = check_validity(&validity, lifted.null_count, len)?;
    let mut next =
        |what: &str| buffers.next().ok_or_else(|| format!("the {what} of an array of type {ty} are missing"));
    let parent = nulls.then(|| NullBuffer::new(BooleanBuffer::new(Buffer::from_vec(validity), 0, len)));
    if matches!(ty, DataType::Utf8 | DataType::LargeUtf8) {
        let (offsets, values) = (next("offsets")?, next("values")?);
        if buffers.next().is_some() {
            return Err(format!("an array of type {ty} has too many buffers"));
        }
        let values = Buffer::from_vec(values);
        return Ok(match ty {
            DataType::Utf8 => text::texts::<i32>(raw_offsets(offsets, len)?, values, parent)?.into(),
            _ => text::texts::<i64>(raw_offsets(offsets, len)?, values, parent)?.into(),
        });
    }
    let builder = ArrayDataBuilder::new(ty.clone()).len(len).align_buffers(true).nulls(parent.clone());
    let builder = match ty {
        DataType::Binary => {
            let (offsets, used) = offsets::<i32>(next("offsets")?, len)?;
            builder.add_buffer(offsets.into_inner()).add_buffer(exact(
                next("values")?,
                used,
                "bytes of text",
            )?)
        }
        DataType::LargeBinary => {
            let (offsets, used) = offsets::<i64>(next("offsets")?, len)?;
            builder.add_buffer(offsets.into_inner()).add_buffer(exact(
                next("values")?,
                used,
                "bytes of text",
            )?)
        }
        DataType::List(item) | DataType::Map(item, _) => {
            let (offsets, used) = offsets::<i32>(next("offsets")?, len)?;
            builder.add_buffer(offsets.into_inner()).add_child_data(child(item, used, arrays, None)?)
        }
        DataType::LargeList(item) => {
            let (offsets, used) = offsets::<i64>(next("offsets")?, len)?;
            builder.add_buffer(offsets.into_inner()).add_child_data(child(item, used, arrays, None)?)
        }
        DataType::FixedSizeList(item, size) => {
            let items = len.checked_mul(*size as usize).ok_or("a fixed-size list is too long")?;
            let parent = parent.map(|nulls| nulls.expand(*size as usize));
            builder.add_child_data(child(item, items, arrays, parent.as_ref())?)
        }
        DataType::Struct(fields) => {
            let children = fields.iter().map(|f| child(f, len, arrays, parent.as_ref()));
            builder.child_data(children.collect::<Result<_, _>>()?)
        }
        DataType::Dictionary(keys, values) => {
            let keys = exact(next("keys")?, len * width(keys)?, "bytes of keys")?;
            builder.add_buffer(keys).add_child_data(dictionary_values(values, arrays)?)
        }
        DataType::Boolean => {
            let values = next("values")?;
            check_bits(&values, len, "values of an array of booleans")?;
            builder.add_buffer(Buffer::from_vec(values))
        }
        plain => builder.add_buffer(exact(next("values")?, len * width(plain)?, "bytes of values")?),
    };
    if buffers.next().is_some() {
        return Err(format!("an array of type {ty} has too many buffers"));
    }
    check_decimals(builder.build().map_err(|e| e.to_string())?)
}

/// The array of a field within another array.
fn child(
    field: &Field,
    rows: usize,
    arrays: &mut Arrays,
    parent: Option<&NullBuffer>,
) -> Result<ArrayData, String> {
    let data = array(field.data_type(), rows, arrays)?;
    check_nulls(field, &data, parent)?;
    Ok(data)
}

/// A dictionary's values have a length of their own.
fn dictionary_values(ty: &DataType, arrays: &mut Arrays) -> Result<ArrayData, String> {
    let len = arrays.rest.as_slice().first().map_or(0, |values| values.length as usize);
    array(ty, len, arrays)
}

/// Bytes of one value.
fn width(ty: &DataType) -> Result<usize, String> {
    match ty {
        DataType::FixedSizeBinary(size) => Ok(*size as usize),
        ty => ty.primitive_width().ok_or_else(|| format!("{ty} is no type that crosses")),
    }
}

fn exact(bytes: Vec<u8>, wanted: usize, what: &str) -> Result<Buffer, String> {
    if bytes.len() != wanted {
        return Err(format!("{} {what} instead of {wanted}", bytes.len()));
    }
    Ok(Buffer::from_vec(bytes))
}

/// Offsets as they lie: one more than there are rows. Nothing else is checked.
fn raw_offsets<O: OffsetSizeTrait>(bytes: Vec<u8>, rows: usize) -> Result<ScalarBuffer<O>, String> {
    let wanted = (rows + 1) * size_of::<O>();
    if rows == 0 && bytes.is_empty() {
        return Ok(ScalarBuffer::from(vec![O::zero()]));
    }
    if bytes.len() != wanted {
        return Err(format!("{} bytes of offsets instead of {wanted}", bytes.len()));
    }
    Ok(ScalarBuffer::from(aligned(Buffer::from_vec(bytes), align_of::<O>())))
}

/// Offsets that begin at 0 and never fall. Returns the last with them, which is how much is used.
fn offsets<O: OffsetSizeTrait>(bytes: Vec<u8>, rows: usize) -> Result<(ScalarBuffer<O>, usize), String> {
    let offsets = raw_offsets::<O>(bytes, rows)?;
    text::rising(&offsets)?;
    let last = offsets[rows];
    let used = last.to_usize().ok_or_else(|| format!("the last offset is {last:?}"))?;
    Ok((offsets, used))
}

/// The buffer, at an address that its type can be read from: a vector of bytes promises none.
fn aligned(buffer: Buffer, to: usize) -> Buffer {
    match buffer.as_ptr().align_offset(to) {
        0 => buffer,
        _ => Buffer::from(buffer.as_slice()),
    }
}

/// Whether there are nulls; the count must be right, because all of Arrow relies on it.
fn check_validity(bitmap: &[u8], null_count: u32, rows: usize) -> Result<bool, String> {
    if bitmap.is_empty() {
        return match null_count {
            0 => Ok(false),
            n => Err(format!("{n} nulls are declared, and there is no validity bitmap")),
        };
    }
    check_bits(bitmap, rows, "validity bitmap")?;
    let valid = ones(bitmap);
    if valid + null_count as usize != rows {
        return Err(format!("{null_count} nulls are declared, and the validity bitmap has {}", rows - valid));
    }
    Ok(null_count > 0)
}

/// A bitmap has exactly one bit a row, and its unused bits are zero.
pub(super) fn check_bits(bitmap: &[u8], rows: usize, what: &str) -> Result<(), String> {
    let wanted = rows.div_ceil(8);
    if bitmap.len() != wanted {
        return Err(format!("the {what} has {} bytes instead of {wanted}", bitmap.len()));
    }
    match bitmap.last() {
        Some(last) if !rows.is_multiple_of(8) && last >> (rows % 8) != 0 => {
            Err(format!("the {what} has bits set past row {rows}"))
        }
        _ => Ok(()),
    }
}

/// Number of set bits.
pub(super) fn ones(bitmap: &[u8]) -> usize {
    let (words, rest) = bitmap.as_chunks::<8>();
    let words: u32 = words.iter().map(|word| u64::from_le_bytes(*word).count_ones()).sum();
    let rest: u32 = rest.iter().map(|byte| byte.count_ones()).sum();
    (words + rest) as usize
}

/// Decimals beyond their precision would become wrong text in a sink, and Arrow does not look.
fn check_decimals(data: ArrayData) -> Result<ArrayData, String> {
    fn check<T: DecimalType>(data: ArrayData, precision: u8) -> Result<ArrayData, String> {
        let array = PrimitiveArray::<T>::from(data);
        match array.iter().flatten().find(|&value| !T::is_valid_decimal_precision(value, precision)) {
            Some(value) => Err(format!("the decimal {value:?} has more than {precision} digits")),
            None => Ok(array.into_data()),
        }
    }
    match *data.data_type() {
        DataType::Decimal128(precision, _) => check::<Decimal128Type>(data, precision),
        DataType::Decimal256(precision, _) => check::<Decimal256Type>(data, precision),
        _ => Ok(data),
    }
}

/// Casts a column to the type in which it crosses, where that differs.
pub(super) fn to_crossing(array: &ArrayRef, ty: &DataType) -> Result<ArrayRef, String> {
    if array.data_type() == ty {
        return Ok(ArrayRef::clone(array));
    }
    cast(array, ty).map_err(|e| e.to_string())
}

#[cfg(test)]
#[path = "lift_tests.rs"]
mod tests;
