//! Arrays of any type with any values, made of random bits and not by the formats that are tested.

use std::sync::Arc;

use arrow::array::{Array, ArrayData, ArrayRef, RecordBatch, RecordBatchOptions, make_array};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit, i256};
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng};

/// Texts that need escapes, quotes or care.
const TEXTS: &[&str] = &[
    "",
    " ",
    "a",
    "null",
    "true",
    "0",
    "-1.5",
    "\"",
    "\"\"",
    "\\",
    "\\u0041",
    "a,b",
    "a;b",
    "a\tb",
    "line\nend",
    "\r",
    "\r\n",
    " lead",
    "trail ",
    "\u{0}",
    "\u{1f}",
    "\u{7f}",
    "\u{feff}mark",
    "\u{2028}",
    "\u{1f600}",
    "e\u{301}",
    "=1+2",
    "@cmd",
    "+1",
    "-1",
    "#",
    "'",
    "NaN",
    "{\"a\":[1]}",
];

/// Types without children.
pub(super) fn leaf() -> BoxedStrategy<DataType> {
    use TimeUnit::{Microsecond, Millisecond, Nanosecond, Second};
    let unit = prop_oneof![Just(Second), Just(Millisecond), Just(Microsecond), Just(Nanosecond)];
    let zone = prop_oneof![Just(None), Just(Some("UTC".into())), Just(Some("-09:30".into()))];
    let plain = prop::sample::select(vec![
        DataType::Null,
        DataType::Boolean,
        DataType::Int8,
        DataType::Int16,
        DataType::Int32,
        DataType::Int64,
        DataType::UInt8,
        DataType::UInt16,
        DataType::UInt32,
        DataType::UInt64,
        DataType::Float16,
        DataType::Float32,
        DataType::Float64,
        DataType::Utf8,
        DataType::LargeUtf8,
        DataType::Binary,
        DataType::LargeBinary,
        DataType::Date32,
        DataType::Date64,
        DataType::Time32(Second),
        DataType::Time32(Millisecond),
        DataType::Time64(Microsecond),
        DataType::Time64(Nanosecond),
    ]);
    let words = (any::<bool>(), any::<bool>()).prop_map(|(small, large)| {
        let key = if small { DataType::UInt8 } else { DataType::Int32 };
        let word = if large { DataType::LargeUtf8 } else { DataType::Utf8 };
        DataType::Dictionary(Box::new(key), Box::new(word))
    });
    prop_oneof![
        6 => plain,
        1 => (unit.clone(), zone).prop_map(|(unit, zone)| DataType::Timestamp(unit, zone)),
        1 => unit.prop_map(DataType::Duration),
        1 => (1u8..=38, -38i8..=38).prop_map(|(p, s)| DataType::Decimal128(p, s.clamp(-(p as i8), p as i8))),
        1 => (1u8..=76, -76i8..=76).prop_map(|(p, s)| DataType::Decimal256(p, s.clamp(-(p as i8), p as i8))),
        1 => (0i32..9).prop_map(DataType::FixedSizeBinary),
        1 => words,
    ]
    .boxed()
}

/// Types of any shape.
pub(super) fn any_type() -> BoxedStrategy<DataType> {
    leaf()
        .prop_recursive(3, 16, 4, |inner| {
            let item = field(inner.clone()).prop_map(|field| Arc::new(field.with_name("item")));
            let key = prop_oneof![3 => Just(DataType::Utf8), 1 => leaf()];
            let key = key.prop_filter("keys of a map have values", |key| *key != DataType::Null);
            prop_oneof![
                item.clone().prop_map(DataType::List),
                item.clone().prop_map(DataType::LargeList),
                (item.clone(), 0i32..4).prop_map(|(item, size)| DataType::FixedSizeList(item, size)),
                fields(inner.clone(), 0..4).prop_map(DataType::Struct),
                (key, field(inner)).prop_map(|(key, value)| {
                    let parts = vec![Field::new("key", key, false), value.with_name("value")];
                    let entries = Field::new("entries", DataType::Struct(parts.into()), false);
                    DataType::Map(Arc::new(entries), false)
                }),
            ]
        })
        .boxed()
}

fn field(data_type: BoxedStrategy<DataType>) -> BoxedStrategy<Field> {
    let field = (data_type, any::<bool>()).prop_map(|(data_type, nullable)| {
        let nullable = nullable || data_type == DataType::Null;
        Field::new("", data_type, nullable)
    });
    field.boxed()
}

fn fields(
    data_type: BoxedStrategy<DataType>,
    count: std::ops::Range<usize>,
) -> impl Strategy<Value = Fields> {
    let name = prop_oneof!["[a-z]{1,4}", "\\PC{0,4}", Just("\"q\\\n,".to_owned())];
    prop::collection::btree_map(name, field(data_type), count)
        .prop_map(|fields| fields.into_iter().map(|(name, field)| field.with_name(name)).collect())
}

/// Columns of such types.
pub(super) fn schema(
    data_type: BoxedStrategy<DataType>,
    count: std::ops::Range<usize>,
) -> impl Strategy<Value = SchemaRef> {
    fields(data_type, count).prop_map(|fields| Arc::new(Schema::new(fields)))
}

/// Rows of these columns.
pub(super) fn batch(schema: &SchemaRef, rows: usize, seed: u64) -> RecordBatch {
    let mut bits = Bits::new(seed);
    let columns = schema.fields().iter().map(|field| array(field, rows, &mut bits)).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options).unwrap()
}

/// Random bits, with values at the ends of ranges more often than by chance.
struct Bits(TestRng);

impl Bits {
    fn new(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        Self(TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
    }

    fn u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.u64() % limit.max(1) as u64) as usize
    }

    fn number(&mut self) -> u64 {
        let value = self.u64();
        match self.below(8) {
            0 => 0,
            1 => i64::MAX as u64,
            2 => i64::MIN as u64,
            3 => u64::MAX,
            4 => value % 1_000,
            5 => (value % 4_000_000_000_000) >> (value % 20),
            _ => value,
        }
    }

    fn text(&mut self) -> String {
        let parts = self.below(3);
        let mut text: String = (0..parts).map(|_| TEXTS[self.below(TEXTS.len())]).collect();
        if self.below(3) == 0 {
            text.extend((0..self.below(6)).filter_map(|_| char::from_u32(self.u64() as u32 % 0x11_0000)));
        }
        text
    }

    /// Up to so many decimal digits, with a sign.
    fn digits(&mut self, precision: u8) -> String {
        let count = 1 + self.below(usize::from(precision));
        let sign = if self.below(2) == 0 { "-" } else { "" };
        let digits: String = (0..count).map(|_| char::from(b'0' + self.below(10) as u8)).collect();
        format!("{sign}{digits}")
    }
}

fn nulls(field: &Field, rows: usize, bits: &mut Bits) -> Option<NullBuffer> {
    let many = field.is_nullable().then(|| [2, 5, 1_000][bits.below(3)])?;
    Some(NullBuffer::new(BooleanBuffer::collect_bool(rows, |_| bits.below(many) != 0)))
}

/// Lengths of variable-length values as offsets of the width that the type has.
fn offsets(lengths: &[usize], large: bool) -> Buffer {
    let mut ends = vec![0i64];
    for length in lengths {
        ends.push(ends[ends.len() - 1] + *length as i64);
    }
    if large {
        return Buffer::from_vec(ends);
    }
    Buffer::from_vec(ends.into_iter().map(|end| end as i32).collect::<Vec<_>>())
}

/// An array of a field's type. What lies below its nulls is as random as the rest.
fn array(field: &Field, rows: usize, bits: &mut Bits) -> ArrayRef {
    let data_type = field.data_type();
    let data = ArrayData::builder(data_type.clone()).len(rows);
    if *data_type == DataType::Null {
        return make_array(data.build().unwrap());
    }
    let nulls = nulls(field, rows, bits);
    let data = data.nulls(nulls);
    let lengths: Vec<usize> = (0..rows).map(|_| bits.below(4)).collect();
    let items = lengths.iter().sum();
    let data = match data_type {
        DataType::Utf8 | DataType::LargeUtf8 => {
            let texts: Vec<String> = (0..rows).map(|_| bits.text()).collect();
            let lengths: Vec<usize> = texts.iter().map(String::len).collect();
            let large = *data_type == DataType::LargeUtf8;
            data.add_buffer(offsets(&lengths, large))
                .add_buffer(Buffer::from_vec(texts.concat().into_bytes()))
        }
        DataType::Binary | DataType::LargeBinary => {
            let bytes: Vec<u8> = (0..items).map(|_| bits.u64() as u8).collect();
            let large = *data_type == DataType::LargeBinary;
            data.add_buffer(offsets(&lengths, large)).add_buffer(Buffer::from_vec(bytes))
        }
        DataType::List(item) | DataType::LargeList(item) => {
            let large = matches!(data_type, DataType::LargeList(_));
            data.add_buffer(offsets(&lengths, large)).add_child_data(array(item, items, bits).to_data())
        }
        DataType::FixedSizeList(item, size) => {
            data.add_child_data(array(item, rows * *size as usize, bits).to_data())
        }
        DataType::Struct(fields) => {
            data.child_data(fields.iter().map(|field| array(field, rows, bits).to_data()).collect())
        }
        DataType::Map(entries, _) => {
            let (lengths, entries) = map_entries(entries, &lengths, bits);
            data.add_buffer(offsets(&lengths, false)).add_child_data(entries)
        }
        DataType::Dictionary(key, words) => {
            let words = array(&Field::new("", (**words).clone(), true), 5, bits).to_data();
            let keys: Vec<u64> = (0..rows).map(|_| bits.below(5) as u64).collect();
            data.add_buffer(narrow(&keys, key.primitive_width().unwrap())).add_child_data(words)
        }
        _ => data.add_buffer(fixed(data_type, rows, bits)),
    };
    let array = make_array(data.build().unwrap());
    if field.is_nullable() || array.logical_null_count() == 0 {
        return array;
    }
    // A dictionary whose words are null where nulls are forbidden: every word is the first that is none.
    dictionary_without_nulls(&array)
}

fn dictionary_without_nulls(array: &ArrayRef) -> ArrayRef {
    let words = array.to_data().child_data()[0].clone();
    let words = words.into_builder().nulls(None).build().unwrap();
    make_array(array.to_data().into_builder().child_data(vec![words]).build().unwrap())
}

/// Keys that are there once in their map, where the type has so many.
fn map_entries(entries: &FieldRef, lengths: &[usize], bits: &mut Bits) -> (Vec<usize>, ArrayData) {
    let DataType::Struct(parts) = entries.data_type() else { panic!("a map") };
    let all = array(&parts[0], lengths.iter().sum(), bits);
    let texts = arrow::compute::cast(&all, &DataType::Utf8).ok();
    let mut kept = Vec::new();
    let mut new_lengths = Vec::new();
    let mut at = 0;
    for length in lengths {
        let from = kept.len();
        for entry in at..at + length {
            // Where Arrow has no text for a key, one entry a map is enough.
            let again = |other: &u32| match &texts {
                Some(texts) => texts.slice(entry, 1).to_data() == texts.slice(*other as usize, 1).to_data(),
                None => true,
            };
            if !kept[from..].iter().any(again) {
                kept.push(entry as u32);
            }
        }
        at += length;
        new_lengths.push(kept.len() - from);
    }
    let keys = arrow::compute::take(&all, &arrow::array::UInt32Array::from(kept), None).unwrap();
    let values = array(&parts[1], keys.len(), bits);
    let entries = ArrayData::builder(entries.data_type().clone()).len(keys.len());
    let entries = entries.child_data(vec![keys.to_data(), values.to_data()]).build().unwrap();
    (new_lengths, entries)
}

/// The low bytes of numbers.
fn narrow(numbers: &[u64], width: usize) -> Buffer {
    let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()[..width].to_vec()).collect();
    // Copied to where numbers of any width may lie.
    Buffer::from_slice_ref(bytes)
}

/// Values of fixed width. Floats are numbers or infinities, times of day lie within the day.
fn fixed(data_type: &DataType, rows: usize, bits: &mut Bits) -> Buffer {
    let per_second = |unit: &TimeUnit| match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    };
    let mut numbers = |change: &dyn Fn(u64) -> u64, width: usize| {
        let numbers: Vec<u64> = (0..rows).map(|_| change(bits.number())).collect();
        narrow(&numbers, width)
    };
    match data_type {
        DataType::Boolean => BooleanBuffer::collect_bool(rows, |_| bits.below(2) == 0).into_inner(),
        DataType::Float16 => numbers(&|n| if n & 0x7c00 == 0x7c00 { n & 0xbfff } else { n }, 2),
        DataType::Float32 => {
            numbers(&|n| if f32::from_bits(n as u32).is_finite() { n } else { n & 0xbfff_ffff }, 4)
        }
        DataType::Float64 => {
            numbers(&|n| if f64::from_bits(n).is_finite() { n } else { n & 0xbfff_ffff_ffff_ffff }, 8)
        }
        DataType::Time32(unit) | DataType::Time64(unit) => {
            numbers(&|n| n % (86_400 * per_second(unit)), data_type.primitive_width().unwrap())
        }
        DataType::Decimal128(precision, _) => {
            let values: Vec<i128> = (0..rows).map(|_| bits.digits(*precision).parse().unwrap()).collect();
            Buffer::from_vec(values)
        }
        DataType::Decimal256(precision, _) => {
            let values: Vec<i256> =
                (0..rows).map(|_| i256::from_string(&bits.digits(*precision)).unwrap()).collect();
            Buffer::from_vec(values)
        }
        DataType::FixedSizeBinary(size) => {
            Buffer::from_vec((0..rows * *size as usize).map(|_| bits.u64() as u8).collect::<Vec<_>>())
        }
        other => numbers(&|n| n, other.primitive_width().unwrap()),
    }
}
