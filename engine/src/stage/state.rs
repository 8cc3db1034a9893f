//! What the host keeps for one instance.

use std::sync::{Arc, Mutex};

use super::grants::{Asked, Grants};
use super::limits::{Limits, Meter};
use super::log::{Level, Log, Said};
use super::ticker::Ticker;
use super::wasi::Wasi;
use super::wit::pipe::stage::{arrow, host};

/// The data of a store.
pub(super) struct State {
    pub(super) meter: Meter,
    log: Arc<Mutex<Log>>,
    grants: Arc<Grants>,
    wasi: Option<Box<Wasi>>,
    /// Ends calls that take too long.
    pub(super) ticker: Arc<Ticker>,
}

impl State {
    pub(super) fn new(node: &Arc<str>, limits: &Limits, grants: Arc<Grants>, ticker: Arc<Ticker>) -> Self {
        let log = Log::new(Arc::clone(node), limits.log_lines_per_second);
        let meter = Meter::new(limits.memory_bytes);
        Self { meter, log: Arc::new(Mutex::new(log)), grants, wasi: None, ticker }
    }

    /// What the guest writes.
    pub(super) fn guest_log(&self) -> std::sync::MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// WASI's part, made on first use.
    pub(super) fn wasi(&mut self) -> &mut Wasi {
        self.wasi.get_or_insert_with(|| Box::new(Wasi::new(&self.log, Arc::clone(&self.grants))))
    }

    /// What the guest has asked for so far.
    pub(super) fn asked(&self) -> Asked {
        self.wasi.as_ref().map(|wasi| wasi.asked).unwrap_or_default()
    }
}

// An interface of types alone has no functions.
impl arrow::Host for State {}

impl host::Host for State {
    fn log(&mut self, level: host::Level, message: String) {
        let level = match level {
            host::Level::Debug => Level::Debug,
            host::Level::Info => Level::Info,
            host::Level::Warn => Level::Warn,
            host::Level::Error => Level::Error,
        };
        self.guest_log().line(level, Said::Log, &message);
    }
}
