//! Columns of every kind that the crossing is measured with, their bytes, and a stage bound to them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Field, Schema};
use pipe_engine::error::Error;
use pipe_engine::stage::{Host, Instance, Limits};
use serde_json::Value;

/// Names of the kinds. `?`: a tenth is null. Short texts have 8 bytes.
pub const KINDS: [&str; 7] = ["int64", "float64", "bool", "utf8", "utf8(60)", "int64?", "utf8?"];

/// A column of a kind; `salt` makes the columns of a batch differ.
///
/// # Panics
/// When there is no such kind.
pub fn column(kind: &str, rows: usize, salt: usize) -> ArrayRef {
    let numbers = (0..rows).map(|row| row.wrapping_mul(7 + 2 * salt) % 1_009);
    let some = |row: usize| row % 10 != 3;
    match kind {
        "int64" => Arc::new(Int64Array::from_iter_values(numbers.map(|n| n as i64))),
        "int64?" => Arc::new(Int64Array::from_iter(numbers.map(|n| some(n).then_some(n as i64)))),
        "float64" => Arc::new(Float64Array::from_iter_values(numbers.map(|n| n as f64 / 8.0))),
        "bool" => Arc::new(BooleanArray::from_iter(numbers.map(|n| Some(n % 3 == 0)))),
        "utf8" => Arc::new(StringArray::from_iter_values(numbers.map(|n| format!("u-{n:06}")))),
        "utf8?" => Arc::new(StringArray::from_iter(numbers.map(|n| some(n).then(|| format!("u-{n:06}"))))),
        "utf8(60)" => Arc::new(StringArray::from_iter_values(
            numbers.map(|n| format!("/p/{n:08}?ref={}", "m".repeat(44))),
        )),
        other => panic!("there is no kind {other}"),
    }
}

/// Columns of one kind.
pub fn batch(kind: &str, rows: usize, columns: usize) -> RecordBatch {
    of((0..columns).map(|at| (format!("c{at}"), column(kind, rows, at))).collect())
}

/// Rows as the filter of the benchmarks sees them: `status >= 500` or `latency_ms > 100` holds for a tenth.
pub fn requests(rows: usize) -> RecordBatch {
    let status = (0..rows as i64).map(|row| if row * 37 % 100 < 4 { 503 } else { 200 });
    let latency = (0..rows as i64).map(|row| if row * 61 % 100 < 6 { 250.5 } else { 12.5 });
    of(vec![
        ("status".to_owned(), Arc::new(Int64Array::from_iter_values(status))),
        ("latency_ms".to_owned(), Arc::new(Float64Array::from_iter_values(latency))),
    ])
}

fn of(columns: Vec<(String, ArrayRef)>) -> RecordBatch {
    let field = |(name, array): &(String, ArrayRef)| {
        Field::new(name.clone(), array.data_type().clone(), array.null_count() > 0)
    };
    let schema = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    RecordBatch::try_new(Arc::new(schema), arrays).expect("columns of one length")
}

/// The buffers that cross, as they lie.
pub fn buffers(batch: &RecordBatch) -> Vec<Vec<u8>> {
    let of = |array: &ArrayRef| {
        let data = array.to_data();
        let nulls = data.nulls().map(|nulls| nulls.buffer().as_slice().to_vec());
        nulls.into_iter().chain(data.buffers().iter().map(|b| b.as_slice().to_vec())).collect::<Vec<_>>()
    };
    batch.columns().iter().flat_map(of).collect()
}

/// The guest of the crossing benchmarks in a language: `rust`, `javascript` or `python`. Those of the interpreters are
/// built by `scripts/guests.sh js-crossing python-crossing`.
pub fn guest(language: &str) -> PathBuf {
    let built = pipe_tests::root().join("stages/target/components");
    match language {
        "javascript" => built.join("js-crossing.wasm"),
        "python" => built.join("python-crossing.wasm"),
        _ => pipe_tests::root().join("tests/guests/prebuilt/crossing.wasm"),
    }
}

/// An instance of a guest bound to a batch's columns. Its limits allow the largest batch that is measured.
pub fn start(
    host: &Arc<Host>,
    language: &str,
    config: &Value,
    batch: &RecordBatch,
) -> Result<Instance, Error> {
    let component = host.load(&guest(language))?;
    let mut limits = Limits::defaults_for(component.bytes());
    (limits.memory_bytes, limits.output_bytes) = (2 << 30, 1 << 30);
    limits.time = Duration::from_secs(60);
    let bound = component.bind(language, &batch.schema(), config, &limits)?;
    bound.instantiate().map_err(|failure| Error::internal(failure.message))
}
