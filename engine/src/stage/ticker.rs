//! The clock of the engines: their epochs advance while a call may still have to be ended, and rest otherwise, so that a
//! worker without records wakes for nothing.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};

use wasmtime::Engine;

use crate::error::{Error, Result};
use crate::units::STAGE_TICK;

/// Ticks beyond the deadline of a call: the one that has begun before the call, and one that is counted late.
const SLACK: u64 = 2;

/// Counts ticks, and until which one somebody needs them. By number and not by time: a thread that the machine holds
/// up owes the same ticks.
#[derive(Debug, Default)]
pub(super) struct Ticker {
    done: AtomicU64,
    wanted: AtomicU64,
    resting: AtomicBool,
    gone: AtomicBool,
    thread: OnceLock<Thread>,
}

impl Ticker {
    /// A call begins that is to be ended after this many ticks.
    pub(super) fn need(&self, ticks: u64) {
        let until = self.done.load(Ordering::SeqCst).saturating_add(ticks).saturating_add(SLACK);
        self.wanted.fetch_max(until, Ordering::SeqCst);
        if self.resting.load(Ordering::SeqCst) {
            self.wake();
        }
    }

    fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    fn is_wanted(&self) -> bool {
        self.done.load(Ordering::SeqCst) < self.wanted.load(Ordering::SeqCst)
    }

    fn run(&self, mut tick: impl FnMut()) {
        while !self.gone.load(Ordering::SeqCst) {
            if self.is_wanted() {
                thread::sleep(STAGE_TICK);
                tick();
                self.done.fetch_add(1, Ordering::SeqCst);
                continue;
            }
            self.resting.store(true, Ordering::SeqCst);
            // A call that began meanwhile has either seen that it rests, or is seen here.
            if !self.is_wanted() && !self.gone.load(Ordering::SeqCst) {
                thread::park();
            }
            self.resting.store(false, Ordering::SeqCst);
        }
    }
}

/// The clock of a host; dropping it ends its thread.
pub(super) struct Running(Arc<Ticker>);

impl Running {
    /// Starts the clock of these engines.
    pub(super) fn start(engines: Vec<Engine>) -> Result<Self> {
        Self::calling(move || engines.iter().for_each(Engine::increment_epoch))
    }

    fn calling(tick: impl FnMut() + Send + 'static) -> Result<Self> {
        let ticker = Arc::new(Ticker::default());
        let theirs = Arc::clone(&ticker);
        let thread = thread::Builder::new()
            .name("pipe-wasm-epoch".to_owned())
            .spawn(move || theirs.run(tick))
            .map_err(|e| Error::internal(format!("the Wasm engine's clock cannot start: {e}")))?;
        let running = Self(ticker);
        running.0.thread.get_or_init(|| thread.thread().clone());
        Ok(running)
    }

    /// For the calls.
    pub(super) fn ticker(&self) -> &Arc<Ticker> {
        &self.0
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.gone.store(true, Ordering::SeqCst);
        self.0.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crossbeam_channel::{RecvTimeoutError, TryRecvError, bounded};

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn it_ticks_as_often_as_a_call_needs_and_rests_until_the_next() {
        let (tell, ticks) = bounded(1_000);
        let running = Running::calling(move || tell.send(()).unwrap()).unwrap();
        for round in 0..3 {
            running.ticker().need(4);
            let count = (0..4 + SLACK).map(|_| ticks.recv_timeout(LONG).unwrap()).count() as u64;
            assert_eq!(count, 4 + SLACK);
            while !running.ticker().resting.load(Ordering::SeqCst) {
                thread::yield_now();
            }
            assert_eq!(ticks.try_recv(), Err(TryRecvError::Empty), "round {round}: it rests");
        }
        drop(running);
        assert_eq!(ticks.recv_timeout(LONG), Err(RecvTimeoutError::Disconnected), "its thread ends");
    }

    #[test]
    fn calls_side_by_side_have_the_ticks_of_the_longest() {
        let (tell, ticks) = bounded(1_000);
        let running = Running::calling(move || tell.send(()).unwrap()).unwrap();
        thread::scope(|scope| {
            for need in 1..=10 {
                let ticker = running.ticker();
                scope.spawn(move || ticker.need(need));
            }
        });
        let least = (0..10).map(|_| ticks.recv_timeout(LONG).unwrap()).count();
        assert_eq!(least, 10);
    }
}
