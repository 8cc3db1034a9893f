//! How much of what a lane has read may be under way at once, in bytes.
//!
//! Everything that is made of a record hangs on the batch of originals that it was read in, from the decoder to the
//! report that it was delivered. So that batch holds the account: it takes what it has and what is made of it from its
//! lane's budget, and gives all of it back when it is dropped. Only the reader waits for room; whoever is behind it goes
//! on, so that what is under way always comes to its end.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Clock;
use crate::metrics;

/// What one lane of one source may have under way.
pub struct Budget {
    limit: u64,
    used: AtomicU64,
    waiting: Mutex<()>,
    freed: Condvar,
    stats: Arc<metrics::Source>,
    clock: Arc<dyn Clock>,
}

impl Budget {
    /// At most this many bytes; what comes of the last batch that found room may exceed it.
    pub fn new(limit: Option<u64>, stats: &Arc<metrics::Source>, clock: &Arc<dyn Clock>) -> Arc<Self> {
        let (used, waiting, freed) = (AtomicU64::new(0), Mutex::new(()), Condvar::new());
        let (limit, stats, clock) = (limit.unwrap_or(u64::MAX), Arc::clone(stats), Arc::clone(clock));
        Arc::new(Self { limit, used, waiting, freed, stats, clock })
    }

    /// Whether another batch may be read now.
    pub fn has_room(&self) -> bool {
        self.used.load(Ordering::Acquire) < self.limit
    }

    /// Waits until another batch may be read, at most `wait`.
    pub fn wait(&self, wait: Duration) {
        let began = self.clock.now();
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = self.freed.wait_timeout_while(waiting, wait, |()| !self.has_room());
        let waited = self.clock.now().saturating_sub(began);
        self.stats.memory_wait_ns.add(waited.as_nanos() as u64);
    }

    /// An account that is empty.
    pub fn hold(self: &Arc<Self>) -> Hold {
        Hold { budget: Arc::clone(self), bytes: AtomicU64::new(0) }
    }
}

/// What one batch of originals and all that was made of it take of a budget.
pub struct Hold {
    budget: Arc<Budget>,
    bytes: AtomicU64,
}

impl Hold {
    /// Something more was made of it.
    pub fn add(&self, bytes: usize) {
        let bytes = bytes as u64;
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.budget.used.fetch_add(bytes, Ordering::AcqRel);
        self.budget.stats.in_flight.add(bytes);
    }
}

impl std::fmt::Debug for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hold({} B)", self.bytes.load(Ordering::Relaxed))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let Budget { limit, used, waiting, freed, stats, .. } = &*self.budget;
        let bytes = *self.bytes.get_mut();
        stats.in_flight.sub(bytes);
        let before = used.fetch_sub(bytes, Ordering::AcqRel);
        if before >= *limit && before - bytes < *limit {
            // Taken, so that whoever has found no room is waiting by now.
            drop(waiting.lock().unwrap_or_else(PoisonError::into_inner));
            freed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::metrics::Meter;

    fn budget(limit: Option<u64>) -> (Arc<Budget>, Arc<metrics::Source>) {
        let stats = Meter::new("p").source("in");
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        (Budget::new(limit, &stats, &clock), stats)
    }

    #[test]
    fn what_a_batch_took_is_given_back_when_it_is_dropped() {
        let (budget, stats) = budget(Some(100));
        let (first, second) = (budget.hold(), budget.hold());
        first.add(60);
        assert!(budget.has_room());
        second.add(70);
        assert!(!budget.has_room(), "the last one that found room may exceed it");
        first.add(5);
        assert_eq!(stats.in_flight.get(), 135);
        drop(second);
        assert!(budget.has_room());
        drop(first);
        assert_eq!(stats.in_flight.get(), 0);
    }

    #[test]
    fn whoever_waits_for_room_is_woken_when_there_is_some() {
        let (budget, stats) = budget(Some(10));
        let hold = budget.hold();
        hold.add(10);
        budget.wait(Duration::from_millis(1));
        assert!(!budget.has_room(), "it waits no longer than it was told");
        assert!(stats.memory_wait_ns.get() > 500_000, "and that is counted");
        let waiting = Arc::clone(&budget);
        let clock = SystemClock::default();
        let started = clock.now();
        let thread = std::thread::spawn(move || waiting.wait(Duration::from_secs(60)));
        std::thread::sleep(Duration::from_millis(20));
        drop(hold);
        thread.join().unwrap();
        assert!(clock.now() - started < Duration::from_secs(50), "not by its time-out");
    }

    #[test]
    fn without_a_limit_there_is_always_room() {
        let (budget, stats) = budget(None);
        let hold = budget.hold();
        hold.add(usize::MAX / 2);
        assert!(budget.has_room());
        assert_eq!(stats.in_flight.get(), u64::MAX / 2);
    }
}
