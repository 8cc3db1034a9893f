//! WASI 0.2 with nothing behind it but what is granted: no files, environment, arguments or network; output goes to
//! the log, random bytes are few, and nothing ever waits. Python and some JavaScript components instantiate only when these imports exist.
//!
//! Nothing may wait because epochs do not interrupt a host call: a guest that sleeps through `wasi:io/poll` would hold
//! its worker thread past any deadline. So the clock's pollables are ready at once, and so are the streams.

use std::sync::{Arc, Mutex};

use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::cli::{IsTerminal, StdinStream, StdoutStream};
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock;
use wasmtime_wasi::p2::pipe::ClosedInputStream;
use wasmtime_wasi::p2::{
    DynPollable, InputStream, OutputStream, Pollable, StreamError, StreamResult, subscribe,
};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use super::files;
use super::grants::{Asked, Grants};
use super::log::{Level, Log, Said};
use super::state::State;
use crate::clock::{Clock, SystemClock};
use crate::units;

/// Live resources (streams, pollables) of an instance: an interpreter holds a few dozen.
const RESOURCES_MAX: usize = 1_024;
/// Random bytes of one call: seeds and UUIDs ask for at most a few dozen.
const RANDOM_BYTES_MAX: u64 = 64 << 10;
/// Bytes that one write to standard output or error takes.
const WRITE_BYTES_MAX: usize = 4 << 10;

/// What WASI's calls work on; made when the first of them comes, so that guests without WASI do not pay for it.
pub(super) struct Wasi {
    ctx: WasiCtx,
    pub(super) table: ResourceTable,
    clock: SystemClock,
    pub(super) grants: Arc<Grants>,
    pub(super) asked: Asked,
    /// Listings of folders that the guest holds.
    pub(super) listings: usize,
}

impl Wasi {
    pub(super) fn new(log: &Arc<Mutex<Log>>, grants: Arc<Grants>) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(RESOURCES_MAX);
        let ctx = WasiCtxBuilder::new()
            .stdin(NoInput)
            .stdout(LogOutput { log: Arc::clone(log), level: Level::Info, from: Said::Log })
            .stderr(LogOutput { log: Arc::clone(log), level: Level::Warn, from: Said::Stderr })
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .max_random_size(RANDOM_BYTES_MAX)
            .build();
        Self { ctx, table, clock: SystemClock::default(), grants, asked: Asked::default(), listings: 0 }
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let wasi = self.wasi();
        WasiCtxView { ctx: &mut wasi.ctx, table: &mut wasi.table }
    }
}

/// Links WASI 0.2, with a monotonic clock of our own in place of the one that waits, and with what is granted.
pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_sync(linker)?;
    linker.allow_shadowing(true);
    monotonic_clock::add_to_linker::<State, HasClock>(linker, State::wasi)?;
    files::link(linker)?;
    linker.allow_shadowing(false);
    Ok(())
}

struct HasClock;

impl HasData for HasClock {
    type Data<'a> = &'a mut Wasi;
}

impl monotonic_clock::Host for Wasi {
    fn now(&mut self) -> wasmtime::Result<u64> {
        Ok(self.clock.now().as_nanos() as u64)
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        Ok(1)
    }

    fn subscribe_instant(&mut self, _when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let ready = self.table.push(Ready)?;
        subscribe(&mut self.table, ready)
    }

    fn subscribe_duration(&mut self, _for: u64) -> wasmtime::Result<Resource<DynPollable>> {
        self.subscribe_instant(0)
    }
}

/// Ready at once, always.
struct Ready;

#[wasmtime_wasi::async_trait]
impl Pollable for Ready {
    async fn ready(&mut self) {}
}

/// Standard input that is at its end.
struct NoInput;

impl IsTerminal for NoInput {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdinStream for NoInput {
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncRead + Send + Sync> {
        Box::new(tokio::io::empty())
    }

    fn p2_stream(&self) -> Box<dyn InputStream> {
        Box::new(ClosedInputStream)
    }
}

/// Standard output or error: each line becomes a line of the log.
struct LogOutput {
    log: Arc<Mutex<Log>>,
    level: Level,
    from: Said,
}

impl IsTerminal for LogOutput {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LogOutput {
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(LogStream {
            log: Arc::clone(&self.log),
            level: self.level,
            from: self.from,
            pending: Vec::new(),
        })
    }
}

/// Gathers bytes to lines.
struct LogStream {
    log: Arc<Mutex<Log>>,
    level: Level,
    from: Said,
    pending: Vec<u8>,
}

impl LogStream {
    fn line(&mut self) {
        if !self.pending.is_empty() {
            let text = String::from_utf8_lossy(&self.pending);
            // A poisoned lock only says that some thread panicked while it logged.
            self.log.lock().unwrap_or_else(|e| e.into_inner()).line(self.level, self.from, &text);
            self.pending.clear();
        }
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for LogStream {
    async fn ready(&mut self) {}
}

impl OutputStream for LogStream {
    fn write(&mut self, bytes: bytes::Bytes) -> StreamResult<()> {
        if bytes.len() > WRITE_BYTES_MAX {
            return Err(StreamError::trap("a write larger than `check-write` allows"));
        }
        // The log hides secrets and cuts the line; keeping one byte more lets it see that there was more.
        let most = units::STAGE_LOG_LINE_BYTES_MAX + crate::secret::longest();
        for &byte in &bytes {
            match byte {
                b'\n' => self.line(),
                _ if self.pending.len() <= most => self.pending.push(byte),
                _ => {}
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES_MAX)
    }
}

impl Drop for LogStream {
    fn drop(&mut self) {
        self.line();
    }
}
