//! What is encoded decodes to itself, whatever its type; what is encoded is what other readers read; a wrong record
//! never touches its neighbours.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float16Array, Float32Array, Float64Array, RecordBatch};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Field, Float16Type, Float32Type, Float64Type, Schema, SchemaRef};
use pipe_engine::codec::Format;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::arrays::{any_type, batch, leaf, schema};
use super::{decode, encode, format};

fn json_format(explicit_nulls: bool) -> Arc<dyn Format> {
    format("json", &json!({"explicit_nulls": explicit_nulls}))
}

/// One array, with the words of dictionaries in place: how words are numbered is no value.
fn plain(array: &ArrayRef) -> ArrayRef {
    cast(array, &plain_type(array.data_type())).unwrap()
}

fn plain_type(data_type: &DataType) -> DataType {
    let field =
        |field: &Arc<Field>| Arc::new(field.as_ref().clone().with_data_type(plain_type(field.data_type())));
    match data_type {
        DataType::Dictionary(_, words) => words.as_ref().clone(),
        DataType::List(item) => DataType::List(field(item)),
        DataType::LargeList(item) => DataType::LargeList(field(item)),
        DataType::FixedSizeList(item, size) => DataType::FixedSizeList(field(item), *size),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(field).collect()),
        DataType::Map(entries, sorted) => DataType::Map(field(entries), *sorted),
        other => other.clone(),
    }
}

fn same(a: &RecordBatch, b: &RecordBatch) -> Result<(), TestCaseError> {
    prop_assert_eq!(a.num_rows(), b.num_rows());
    for (i, (a, b)) in a.columns().iter().zip(b.columns()).enumerate() {
        prop_assert_eq!(&plain(a), &plain(b), "column {}", i);
    }
    Ok(())
}

/// Decodes records, in batches of a size, with one decoder; the rows of the bad ones.
fn decode_in_batches(
    format: &Arc<dyn Format>,
    schema: &SchemaRef,
    records: &[Vec<u8>],
    size: usize,
) -> (RecordBatch, Vec<usize>) {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for (i, chunk) in records.chunks(size).enumerate() {
        let chunk: Vec<_> = chunk.iter().map(|record| Some(record.as_slice())).collect();
        let decoded = decode(format, schema, &chunk);
        bad.extend(decoded.bad.iter().map(|bad| i * size + bad.row as usize));
        good.push(decoded.records);
    }
    (concat_batches(schema, &good).unwrap(), bad)
}

fn whole(format: &Arc<dyn Format>, rows: &RecordBatch, size: usize) -> Result<(), TestCaseError> {
    let records = encode(format, rows);
    let (decoded, bad) = decode_in_batches(format, &rows.schema(), &records, size);
    prop_assert_eq!(&bad, &Vec::<usize>::new(), "{}", String::from_utf8_lossy(&records[bad[0]]));
    same(rows, &decoded)
}

/// A change that may break a record.
#[derive(Debug, Clone)]
enum Damage {
    Cut(prop::sample::Index),
    Set(prop::sample::Index, u8),
    Insert(prop::sample::Index, Vec<u8>),
    Remove(prop::sample::Index),
    Twice(prop::sample::Index),
    Nothing,
}

fn damage() -> impl Strategy<Value = Damage> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        index().prop_map(Damage::Cut),
        (index(), any::<u8>()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        (index(), prop::sample::select(b"{}[]\",:\\\n\r\t 0-1e.\xff".to_vec()))
            .prop_map(|(at, b)| Damage::Insert(at, vec![b])),
        (index(), prop::collection::vec(any::<u8>(), 1..9)).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        index().prop_map(Damage::Remove),
        index().prop_map(Damage::Twice),
        Just(Damage::Nothing),
    ]
}

fn damaged(record: &[u8], damage: &Damage) -> Vec<u8> {
    let mut record = record.to_vec();
    let len = record.len();
    match damage {
        Damage::Cut(at) => record.truncate(at.index(len + 1)),
        Damage::Set(at, byte) if len > 0 => record[at.index(len)] = *byte,
        Damage::Insert(at, bytes) => {
            let at = at.index(len + 1);
            record.splice(at..at, bytes.iter().copied());
        }
        Damage::Remove(at) if len > 0 => drop(record.remove(at.index(len))),
        Damage::Twice(at) => record.extend_from_within(at.index(len + 1)..),
        _ => {}
    }
    record
}

/// Every row but one decodes as it was; the one is good or bad as it is alone.
fn neighbours(
    format: &Arc<dyn Format>,
    rows: &RecordBatch,
    (at, damage): (usize, &Damage),
    size: usize,
) -> Result<(), TestCaseError> {
    let mut records = encode(format, rows);
    records[at] = damaged(&records[at], damage);
    let (together, bad) = decode_in_batches(format, &rows.schema(), &records, size);
    let (alone, alone_bad) = decode_in_batches(format, &rows.schema(), &records[at..=at], 1);
    prop_assert_eq!(bad, alone_bad.iter().map(|_| at).collect::<Vec<_>>());
    let parts = [rows.slice(0, at), alone, rows.slice(at + 1, rows.num_rows() - at - 1)];
    let parts: Vec<_> = parts
        .iter()
        .map(|part| RecordBatch::try_new(rows.schema(), part.columns().to_vec()).unwrap())
        .collect();
    same(&concat_batches(&rows.schema(), &parts).unwrap(), &together)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn json_decodes_what_it_encodes(
        schema in schema(any_type(), 1..6), rows in 0..9usize, seed: u64, nulls: bool, size in 1..10usize,
    ) {
        whole(&json_format(nulls), &batch(&schema, rows, seed), size)?;
    }

    #[test]
    fn csv_decodes_what_it_encodes(
        schema in schema(leaf(), 2..6), rows in 0..9usize, seed: u64, signs in 0..4usize, size in 1..10usize,
    ) {
        let (delimiter, quote) = [(",", "\""), ("\t", "\""), (";", "'"), ("-", "e")][signs];
        whole(&format("csv", &json!({"delimiter": delimiter, "quote": quote})), &batch(&schema, rows, seed), size)?;
    }

    #[test]
    fn a_wrong_json_record_never_touches_its_neighbours(
        schema in schema(any_type(), 1..6), rows in 1..12usize, seed: u64, at: prop::sample::Index,
        damage in damage(), size in 1..13usize,
    ) {
        let rows = batch(&schema, rows, seed);
        neighbours(&json_format(false), &rows, (at.index(rows.num_rows()), &damage), size)?;
    }

    #[test]
    fn a_wrong_csv_record_never_touches_its_neighbours(
        schema in schema(leaf(), 2..6), rows in 1..12usize, seed: u64, at: prop::sample::Index,
        damage in damage(), size in 1..13usize,
    ) {
        let rows = batch(&schema, rows, seed);
        neighbours(&format("csv", &json!({})), &rows, (at.index(rows.num_rows()), &damage), size)?;
    }

    /// Every bit pattern of a float comes back, but NaN and the infinities from JSON.
    #[test]
    fn floats_come_back_bit_by_bit(patterns in prop::collection::vec(any::<u64>(), 1..64)) {
        let schema = Schema::new(vec![
            Field::new("d", DataType::Float64, true),
            Field::new("f", DataType::Float32, true),
            Field::new("h", DataType::Float16, true),
        ]);
        let doubles = Float64Array::from_iter_values(patterns.iter().map(|p| f64::from_bits(*p)));
        let floats = Float32Array::from_iter_values(patterns.iter().map(|p| f32::from_bits(*p as u32)));
        let halves = patterns.iter().map(|p| p.to_le_bytes());
        let halves = Float16Array::from_iter_values(halves.map(|b| half([b[0], b[1]])));
        let rows = RecordBatch::try_new(
            Arc::new(schema), vec![Arc::new(doubles), Arc::new(floats), Arc::new(halves)],
        ).unwrap();
        for (name, format) in [("json", json_format(false)), ("csv", format("csv", &json!({})))] {
            let (decoded, bad) = decode_in_batches(&format, &rows.schema(), &encode(&format, &rows), 7);
            prop_assert!(bad.is_empty());
            let bits = |rows: &RecordBatch, row: usize| {
                let (d, f) = (rows.column(0).as_primitive::<Float64Type>(), rows.column(1).as_primitive::<Float32Type>());
                let h = rows.column(2).as_primitive::<Float16Type>();
                let words = |nan: bool, infinite: bool, bits: u64| match (nan, infinite) {
                    (true, _) => 0,
                    (_, true) if name == "json" => 0,
                    _ => bits + 1,
                };
                [
                    if d.is_null(row) { 0 } else { words(d.value(row).is_nan(), d.value(row).is_infinite(), d.value(row).to_bits() >> 1) },
                    if f.is_null(row) { 0 } else { words(f.value(row).is_nan(), f.value(row).is_infinite(), f.value(row).to_bits().into()) },
                    if h.is_null(row) { 0 } else { words(h.value(row).is_nan(), h.value(row).is_infinite(), h.value(row).to_bits().into()) },
                    u64::from(d.is_valid(row) && !d.value(row).is_nan() && d.value(row).is_sign_negative() && (name == "csv" || d.value(row).is_finite())),
                ]
            };
            for row in 0..rows.num_rows() {
                prop_assert_eq!(bits(&decoded, row), bits(&rows, row), "{} row {}", name, row);
            }
        }
    }

    /// Digits become the nearest float, of 32 bits too: not by way of a wider one.
    #[test]
    fn digits_become_the_nearest_float(text in "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,30})?([eE][-+]?[0-9]{1,2})?") {
        let schema: SchemaRef = Arc::new(Schema::new(vec![
            Field::new("d", DataType::Float64, true),
            Field::new("f", DataType::Float32, true),
        ]));
        let record = format!("{{\"d\":{text},\"f\":{text}}}");
        let single: f32 = text.parse().unwrap();
        let decoded = decode(&json_format(false), &schema, &[Some(record.as_bytes())]);
        prop_assert_eq!(decoded.bad.len(), usize::from(single.is_infinite()));
        if single.is_finite() {
            let (d, f) = (decoded.records.column(0), decoded.records.column(1));
            prop_assert_eq!(d.as_primitive::<Float64Type>().value(0).to_bits(), text.parse::<f64>().unwrap().to_bits());
            prop_assert_eq!(f.as_primitive::<Float32Type>().value(0).to_bits(), single.to_bits());
        }
    }

    /// What is written is JSON to another reader, with the same values, one line a row in a file.
    #[test]
    fn another_reader_reads_the_same_values(schema in schema(any_type(), 1..6), rows in 1..9usize, seed: u64) {
        let rows = batch(&schema, rows, seed);
        for (row, line) in encode(&json_format(true), &rows).iter().enumerate() {
            prop_assert!(!line.contains(&b'\n') && !line.contains(&b'\r'));
            let read: Value = serde_json::from_slice(line).unwrap();
            for (i, field) in schema.fields().iter().enumerate() {
                let (column, value) = (rows.column(i), &read[field.name()]);
                let expected = match column.data_type() {
                    _ if column.is_null(row) => Value::Null,
                    DataType::Boolean => json!(column.as_boolean().value(row)),
                    DataType::Int64 => json!(column.as_primitive::<arrow::datatypes::Int64Type>().value(row)),
                    DataType::UInt64 => json!(column.as_primitive::<arrow::datatypes::UInt64Type>().value(row)),
                    DataType::Float64 => json!(column.as_primitive::<Float64Type>().value(row)),
                    DataType::Utf8 => json!(column.as_string::<i32>().value(row)),
                    DataType::LargeUtf8 => json!(column.as_string::<i64>().value(row)),
                    _ => continue,
                };
                prop_assert_eq!(value, &expected, "{}", field);
            }
        }
    }
}

/// A float of 16 bits; its type has no name outside the crate that makes it.
fn half(bytes: [u8; 2]) -> <Float16Type as arrow::array::ArrowPrimitiveType>::Native {
    <Float16Type as arrow::array::ArrowPrimitiveType>::Native::from_le_bytes(bytes)
}
