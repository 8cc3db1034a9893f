//! Records as bytes, and what a stage computes of them: decoders, and the encoder behind every sink.

use std::cell::RefCell;

use arrow::array::{Array, BinaryArray, RecordBatch};
use arrow::datatypes::Schema;
use pipe_engine::batch::{Batch, Payload};
use pipe_engine::codec::{Decoded, Decoder};
use pipe_engine::format::json::{ways, whole};
use pipe_engine::format::{self, FormatKind};
use serde_json::{Value, json};

/// Options of the JSON decoder, one of which the first byte of an input picks.
fn json_options() -> Vec<Value> {
    vec![
        json!({ "columns": { "a": "int64", "b": "utf8", "c": "float64", "d": "boolean" } }),
        json!({ "columns": { "t": "timestamp(ms, UTC)", "n": "decimal128(10, 2)", "l": "list(int32)", "x": "int8" } }),
        json!({ "columns": { "s": { "a": "utf8", "l": "list(utf8)", "s": { "x": "int64" } }, "d": "date32" } }),
        json!({ "columns": { "u": "uint64", "f": "float32", "b": "binary", "l": "list(list(float64))" } }),
    ]
}

fn csv_options() -> Vec<Value> {
    vec![
        json!({ "columns": { "a": "int64", "b": "utf8", "c": "float64" } }),
        json!({ "columns": { "a": "utf8", "t": "timestamp(ms, UTC)", "d": "boolean" }, "delimiter": ";" }),
        json!({
            "columns": { "a": "utf8", "n": "decimal128(10, 2)", "f": "float64" }, "delimiter": "\t", "quote": "'",
            "escape": "\\", "nulls": ["NA", "\\N"], "decimal": ",", "comment": "#",
        }),
    ]
}

fn raw_options() -> Vec<Value> {
    vec![json!({ "type": "utf8" }), json!({ "type": "binary" })]
}

type Decoders = Vec<Box<dyn Decoder>>;

fn decoders(kind: &FormatKind, options: &[Value]) -> Decoders {
    let decoder = |options: &Value| {
        let format = (kind.prepare)(options).unwrap_or_else(|e| panic!("{options}: {e:?}"));
        let schema = format.schema().unwrap_or_else(|| panic!("{options}: no columns"));
        format.decoder(schema).unwrap_or_else(|e| panic!("{options}: {e}"))
    };
    options.iter().map(decoder).collect()
}

thread_local! {
    static JSON: RefCell<Decoders> = RefCell::new(decoders(&format::json::KIND, &json_options()));
    static CSV: RefCell<Decoders> = RefCell::new(decoders(&format::csv::KIND, &csv_options()));
    static RAW: RefCell<Decoders> = RefCell::new(decoders(&format::raw::KIND, &raw_options()));
}

/// Records of one input.
const RECORDS_MAX: usize = 32;
/// Of them so many are decoded alone as well: decoding is what costs time.
const ALONE: usize = 2;

/// The first byte picks the decoder; a zero byte ends a record, so that a record may hold line ends.
fn records(decoders: &mut Decoders, bytes: &[u8], separator: u8) {
    let Some((pick, rest)) = bytes.split_first() else { return };
    let count = decoders.len();
    let decoder = &mut decoders[*pick as usize % count];
    let records: Vec<&[u8]> = rest.split(|byte| *byte == separator).take(RECORDS_MAX).collect();
    let together = decode(&mut **decoder, &records);
    let first = *pick as usize / count % records.len();
    for (row, record) in records.iter().enumerate().skip(first).take(ALONE) {
        let alone = decode(&mut **decoder, &[record]);
        let good = together.good.as_ref().is_none_or(|good| good.value(row));
        assert_eq!(good, alone.bad.is_empty(), "row {row} is judged by its neighbours");
        if good {
            let before = together.good.as_ref().map_or(row, |good| good.slice(0, row).true_count());
            let own = together.records.slice(before, 1);
            same(&own, &alone.records, row);
        } else {
            let own = together.bad.iter().find(|bad| bad.row as usize == row);
            let own = own.unwrap_or_else(|| panic!("row {row} is neither good nor bad"));
            assert_eq!(own.message, alone.bad[0].message, "row {row}");
        }
    }
}

/// Equal by content; a NaN is equal to itself.
fn same(together: &RecordBatch, alone: &RecordBatch, row: usize) {
    if together != alone {
        let (together, alone) = (format!("{together:?}"), format!("{alone:?}"));
        assert_eq!(together, alone, "row {row} is changed by its neighbours");
    }
}

fn decode(decoder: &mut dyn Decoder, records: &[&[u8]]) -> Decoded {
    let payload = Payload::Values(BinaryArray::from_iter_values(records));
    let decoded = decoder.decode(&payload).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(decoded.records.num_rows() + decoded.bad.len(), records.len());
    if let Some(good) = &decoded.good {
        assert_eq!((good.len(), good.true_count()), (records.len(), decoded.records.num_rows()));
    }
    for column in decoded.records.columns() {
        column.to_data().validate_full().unwrap_or_else(|e| panic!("decoded, and {e}"));
    }
    decoded
}

/// JSON records.
pub fn json(bytes: &[u8]) {
    JSON.with_borrow_mut(|decoders| records(decoders, bytes, b'\n'));
}

/// JSON records by the fast way of decoding and by the slow one: one must be as the other.
pub fn json_ways(bytes: &[u8]) {
    let records: Vec<Vec<u8>> = bytes.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    // Twice, because a batch leaves habits of its writer behind.
    ways::compare(&ways::schema(), &[records.clone(), records]);
}

/// JSON records that are read and written again with all that nobody declared.
pub fn json_keep(bytes: &[u8]) {
    let records: Vec<Vec<u8>> = bytes.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    whole::keeps(&records);
}

/// Texts in the column of what nobody declared, as a stage may make them.
pub fn json_merge(bytes: &[u8]) {
    whole::merges(&String::from_utf8_lossy(bytes));
}

/// CSV records.
pub fn csv(bytes: &[u8]) {
    CSV.with_borrow_mut(|decoders| records(decoders, bytes, 0));
}

/// Raw records.
pub fn raw(bytes: &[u8]) {
    RAW.with_borrow_mut(|decoders| records(decoders, bytes, b'\n'));
}

/// What a stage computes; what is accepted can be written as JSON, or is refused with an error.
pub fn lift(bytes: &[u8]) {
    let Some((field, array)) = pipe_engine::stage::fuzzing::lift(bytes) else { return };
    let schema = std::sync::Arc::new(Schema::new(vec![field]));
    let rows = array.len();
    let batch = RecordBatch::try_new(schema.clone(), vec![array]).unwrap_or_else(|e| panic!("{e}"));
    let format = (format::json::KIND.prepare)(&json!({})).unwrap_or_else(|e| panic!("{e:?}"));
    let Ok(mut encoder) = format.encoder(schema) else { return };
    if let Ok(lines) = encoder.encode(&Batch::of_columns(batch)) {
        assert_eq!(lines.len(), rows);
        for line in lines.iter().flatten() {
            serde_json::from_slice::<Value>(line).unwrap_or_else(|e| panic!("{e}"));
        }
    }
}
