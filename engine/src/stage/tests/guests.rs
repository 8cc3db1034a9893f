//! The checked-in guests, loaded once a test process.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

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
