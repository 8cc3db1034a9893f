//! Columns of any type, made from a seed: with nulls, offsets that are not 0 and bitmaps that begin within a byte.

use std::sync::Arc;

use arrow::array::*;
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::compute::cast;
use arrow::datatypes::*;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, RngCore};

fn field(name: &str, ty: DataType) -> FieldRef {
    Arc::new(Field::new(name, ty, true))
}

/// Every type without children that crosses, views included.
pub(super) fn leaves() -> Vec<DataType> {
    use DataType::*;
    use TimeUnit::*;
    let mut types = vec![
        Null,
        Boolean,
        Int8,
        Int16,
        Int32,
        Int64,
        UInt8,
        UInt16,
        UInt32,
        UInt64,
        Float16,
        Float32,
        Float64,
        Utf8,
        LargeUtf8,
        Utf8View,
        Binary,
        LargeBinary,
        BinaryView,
        FixedSizeBinary(1),
        FixedSizeBinary(7),
        Date32,
        Date64,
        Time32(Second),
        Time32(Millisecond),
        Time64(Microsecond),
        Time64(Nanosecond),
        Decimal32(7, 2),
        Decimal64(15, -3),
        Decimal128(38, 10),
        Decimal128(3, -2),
        Decimal256(76, 0),
    ];
    for unit in [Second, Millisecond, Microsecond, Nanosecond] {
        types.push(Duration(unit));
        types.push(Timestamp(unit, None));
        types.push(Timestamp(unit, Some("UTC".into())));
        types.push(Timestamp(unit, Some("+05:30".into())));
    }
    types
}

/// The types over one child.
pub(super) fn parents(child: &DataType) -> Vec<DataType> {
    use DataType::*;
    let keys = Arc::new(Field::new("key", Utf8, false));
    let entries = Fields::from(vec![keys, field("value", child.clone())]);
    let mut types = vec![
        List(field("item", child.clone())),
        LargeList(field("element", child.clone())),
        FixedSizeList(field("item", child.clone()), 3),
        Struct(Fields::from(vec![field("a", child.clone()), field("b", Int16)])),
        Map(Arc::new(Field::new("entries", Struct(entries), false)), false),
    ];
    if !child.is_nested() && !matches!(child, Null | Dictionary(..)) {
        let index = [Int8, Int16, Int32, Int64, UInt8, UInt16, UInt32, UInt64];
        types.extend(index.map(|keys| Dictionary(Box::new(keys), Box::new(child.clone()))));
    }
    types
}

/// A random type, nested at most `depth` deep.
pub(super) fn data_type(rng: &mut SmallRng, depth: usize) -> DataType {
    let leaf = leaves().choose(rng).cloned().unwrap();
    if depth == 0 || rng.random_bool(0.4) {
        return leaf;
    }
    let child = data_type(rng, depth - 1);
    parents(&child).choose(rng).cloned().unwrap()
}

fn nulls(rng: &mut SmallRng, len: usize) -> Option<NullBuffer> {
    match rng.random_range(0..3) {
        0 => None,
        1 => Some(NullBuffer::new_valid(len)),
        _ => Some((0..len).map(|_| rng.random_bool(0.7)).collect::<Vec<_>>().into()),
    }
}

/// A column whose buffers are not normalised.
pub(super) fn column(rng: &mut SmallRng, ty: &DataType, len: usize) -> ArrayRef {
    let (before, after) = (rng.random_range(0..20), rng.random_range(0..20));
    whole(rng, ty, before + len + after).slice(before, len)
}

fn offsets<O: OffsetSizeTrait>(rng: &mut SmallRng, len: usize) -> OffsetBuffer<O> {
    OffsetBuffer::from_lengths((0..len).map(|_| rng.random_range(0..4)))
}

fn whole(rng: &mut SmallRng, ty: &DataType, len: usize) -> ArrayRef {
    let nulls = nulls(rng, len);
    match ty {
        DataType::Null => Arc::new(NullArray::new(len)),
        DataType::Boolean => {
            let values: Vec<bool> = (0..len).map(|_| rng.random()).collect();
            Arc::new(BooleanArray::new(values.into(), nulls))
        }
        DataType::Utf8 => {
            let texts = ["", "a", "z\u{fc}rich", "\u{1f980}", "0123456789"];
            let pick = |i| nulls.as_ref().is_none_or(|n| n.is_valid(i)).then(|| *texts.choose(rng).unwrap());
            Arc::new((0..len).map(pick).collect::<StringArray>())
        }
        DataType::Binary | DataType::LargeUtf8 | DataType::Utf8View => {
            cast(&whole(rng, &DataType::Utf8, len), ty).unwrap()
        }
        DataType::LargeBinary | DataType::BinaryView => {
            cast(&whole(rng, &DataType::Binary, len), ty).unwrap()
        }
        DataType::Decimal32(..)
        | DataType::Decimal64(..)
        | DataType::Decimal128(..)
        | DataType::Decimal256(..) => decimals(rng, ty, len),
        DataType::List(item) => {
            let offsets = offsets::<i32>(rng, len);
            let values = column(rng, item.data_type(), offsets[len] as usize);
            Arc::new(ListArray::new(item.clone(), offsets, values, nulls))
        }
        DataType::LargeList(item) => {
            let offsets = offsets::<i64>(rng, len);
            let values = column(rng, item.data_type(), offsets[len] as usize);
            Arc::new(LargeListArray::new(item.clone(), offsets, values, nulls))
        }
        DataType::FixedSizeList(item, size) => {
            let values = column(rng, item.data_type(), len * *size as usize);
            Arc::new(FixedSizeListArray::new(item.clone(), *size, values, nulls))
        }
        DataType::Struct(fields) => {
            let children = fields.iter().map(|f| column(rng, f.data_type(), len)).collect();
            Arc::new(StructArray::try_new_with_length(fields.clone(), children, nulls, len).unwrap())
        }
        DataType::Map(entries, sorted) => map(rng, entries, *sorted, len, nulls),
        DataType::Dictionary(keys, values) => dictionary(rng, keys, values, len, nulls),
        fixed => {
            let width = match fixed {
                DataType::FixedSizeBinary(n) => *n as usize,
                plain => plain.primitive_width().unwrap(),
            };
            let mut bytes = vec![0; len * width];
            // Small values: a random pattern may be a NaN, which equals nothing.
            bytes.iter_mut().step_by(width).for_each(|b| *b = rng.next_u32() as u8 & 0x7f);
            let data = ArrayData::builder(fixed.clone()).len(len).nulls(nulls);
            make_array(data.add_buffer(Buffer::from_vec(bytes)).align_buffers(true).build().unwrap())
        }
    }
}

fn decimals(rng: &mut SmallRng, ty: &DataType, len: usize) -> ArrayRef {
    let values: Vec<Option<i32>> =
        (0..len).map(|_| rng.random_bool(0.8).then(|| rng.random_range(-999..1000))).collect();
    match ty {
        DataType::Decimal32(..) => {
            Arc::new(values.into_iter().collect::<Decimal32Array>().with_data_type(ty.clone()))
        }
        DataType::Decimal64(..) => {
            let values = values.into_iter().map(|v| v.map(i64::from));
            Arc::new(values.collect::<Decimal64Array>().with_data_type(ty.clone()))
        }
        DataType::Decimal128(..) => {
            let values = values.into_iter().map(|v| v.map(i128::from));
            Arc::new(values.collect::<Decimal128Array>().with_data_type(ty.clone()))
        }
        _ => {
            let values = values.into_iter().map(|v| v.map(|v| i256::from_i128(v.into())));
            Arc::new(values.collect::<Decimal256Array>().with_data_type(ty.clone()))
        }
    }
}

fn map(
    rng: &mut SmallRng,
    entries: &FieldRef,
    sorted: bool,
    len: usize,
    nulls: Option<NullBuffer>,
) -> ArrayRef {
    let DataType::Struct(fields) = entries.data_type() else { panic!("a map has entries") };
    let offsets = offsets::<i32>(rng, len);
    let count = offsets[len] as usize;
    let keys: ArrayRef = Arc::new((0..count).map(|n| Some(format!("k{n}"))).collect::<StringArray>());
    let values = column(rng, fields[1].data_type(), count);
    let pairs = StructArray::new(fields.clone(), vec![keys, values], None);
    Arc::new(MapArray::new(entries.clone(), offsets, pairs, nulls, sorted))
}

fn dictionary(
    rng: &mut SmallRng,
    keys: &DataType,
    values: &DataType,
    len: usize,
    nulls: Option<NullBuffer>,
) -> ArrayRef {
    let count = rng.random_range(1..9);
    let values = column(rng, values, count);
    let indices: Vec<i32> = (0..len).map(|_| rng.random_range(0..count as i32)).collect();
    let indices = Int32Array::new(ScalarBuffer::from(indices), nulls);
    let dictionary = DictionaryArray::new(indices, values);
    let ty = DataType::Dictionary(Box::new(keys.clone()), Box::new(dictionary.values().data_type().clone()));
    cast(&dictionary, &ty).unwrap()
}
