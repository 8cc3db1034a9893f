//! The checked-in guests, loaded once a test process.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};

use crate::stage::{Component, Host, HostOptions, Limits};

pub(super) static HOST: LazyLock<Arc<Host>> = LazyLock::new(|| Host::new(HostOptions::default()).unwrap());

pub(super) fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/guests/prebuilt/{name}.wasm"))
}

pub(super) fn load(name: &str) -> Component {
    HOST.load(&path(name)).unwrap()
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
