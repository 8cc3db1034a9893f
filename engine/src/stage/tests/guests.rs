//! The checked-in guests, loaded once a test process.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex};

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};

use crate::stage::{Component, Host, HostOptions, Limits};

pub(super) static HOST: LazyLock<Arc<Host>> = LazyLock::new(|| Host::new(HostOptions::default()).unwrap());

pub(super) fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/guests/prebuilt/{name}.wasm"))
}

/// A guest, compiled once a test process.
pub(super) fn load(name: &'static str) -> Component {
    static LOADED: LazyLock<Mutex<HashMap<&str, Component>>> = LazyLock::new(Mutex::default);
    let mut loaded = LOADED.lock().unwrap();
    loaded.entry(name).or_insert_with(|| HOST.load(&path(name)).unwrap()).clone()
}

pub(super) fn limits() -> Limits {
    Limits::defaults_for(1)
}

/// One `int64` column `a` of the numbers from 0.
pub(super) fn numbers(rows: i64) -> RecordBatch {
    let schema = Schema::new(vec![Field::new("a", DataType::Int64, true)]);
    let column: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows));
    RecordBatch::try_new(Arc::new(schema), vec![column]).unwrap()
}
