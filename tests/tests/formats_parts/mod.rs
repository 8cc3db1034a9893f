//! What the tests of formats share.

mod arrays;
mod containers;
mod csv;
mod files;
mod json_cases;
mod json_suite;
mod round_trip;

use std::sync::Arc;

use arrow::array::{Array, BinaryArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use pipe_engine::batch::{Batch, Payload};
use pipe_engine::codec::{Decoded, Format};
use pipe_engine::datatype;
use pipe_engine::format::{FORMATS, FormatKind};
use serde_json::{Value, json};

/// A format by name with these options.
fn format(name: &str, options: &Value) -> Arc<dyn Format> {
    let kind: &FormatKind = FORMATS.iter().find(|kind| kind.name == name).unwrap();
    (kind.prepare)(options).unwrap_or_else(|problems| panic!("{options}: {problems:?}"))
}

/// Columns by the names of their types.
fn columns(types: &Value) -> SchemaRef {
    datatype::columns(types).unwrap_or_else(|problems| panic!("{types}: {problems:?}"))
}

/// Decodes records, and checks that good and bad ones are as many as the records.
fn decode(format: &Arc<dyn Format>, schema: &SchemaRef, records: &[Option<&[u8]>]) -> Decoded {
    let mut decoder = format.decoder(schema.clone()).unwrap();
    let decoded = decoder.decode(&Payload::Values(BinaryArray::from_opt_vec(records.to_vec()))).unwrap();
    assert_eq!(decoded.records.num_rows() + decoded.bad.len(), records.len());
    let good = decoded.good.as_ref().map_or(records.len(), |good| good.true_count());
    assert_eq!(good, decoded.records.num_rows());
    for column in decoded.records.columns() {
        column.to_data().validate_full().unwrap();
    }
    decoded
}

/// Encodes rows.
fn encode(format: &Arc<dyn Format>, records: &RecordBatch) -> Vec<Vec<u8>> {
    let encoded =
        format.encoder(records.schema()).unwrap().encode(&Batch::of_columns(records.clone())).unwrap();
    assert_eq!(encoded.len(), records.num_rows());
    encoded.iter().map(|value| value.unwrap().to_vec()).collect()
}

/// Rows as JSON values with explicit nulls.
fn rows(records: &RecordBatch) -> Vec<Value> {
    let lines = encode(&format("json", &json!({"explicit_nulls": true})), records);
    lines.iter().map(|line| serde_json::from_slice(line).unwrap()).collect()
}

/// The verdict on a record between two good ones, which must come out as they do alone: its row, or why it was
/// rejected.
fn verdict(
    format: &Arc<dyn Format>,
    schema: &SchemaRef,
    record: &[u8],
    good: [&[u8]; 2],
) -> Result<Value, String> {
    let alone = decode(format, schema, &[Some(good[0]), Some(good[1])]);
    let alone = rows(&alone.records);
    assert_eq!(alone.len(), 2, "the neighbours are good");
    let decoded = decode(format, schema, &[Some(good[0]), Some(record), Some(good[1])]);
    let mut together = rows(&decoded.records);
    let verdict = match decoded.bad.as_slice() {
        [] => Ok(together.remove(1)),
        [bad] => {
            assert_eq!(bad.row, 1, "a neighbour was rejected");
            Err(bad.message.clone())
        }
        more => panic!("neighbours were rejected: {more:?}"),
    };
    assert_eq!(together, alone, "the neighbours of {}", String::from_utf8_lossy(record));
    verdict
}

/// A line of a suite: fields between tabs, in which `\\` is a backslash and `\x00` a byte.
fn suite(text: &'static str) -> impl Iterator<Item = Vec<Vec<u8>>> {
    text.lines().map(|line| line.split('\t').map(unescape).collect())
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((plain, escaped)) = rest.split_once('\\') {
        bytes.extend_from_slice(plain.as_bytes());
        rest = if let Some(rest) = escaped.strip_prefix('\\') {
            bytes.push(b'\\');
            rest
        } else {
            bytes.push(u8::from_str_radix(&escaped[1..3], 16).unwrap());
            &escaped[3..]
        };
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}
