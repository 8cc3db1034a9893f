//! A bell for a thread that waits, rung from any other thread that has something for it.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Counts rings, so that one that comes between a look and a wait is not lost.
#[derive(Debug, Default)]
pub struct Wake {
    count: Mutex<u64>,
    rung: Condvar,
}

impl Wake {
    fn lock(&self) -> MutexGuard<'_, u64> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the waits on it, or the next one of each waiter.
    pub fn ring(&self) {
        *self.lock() += 1;
        self.rung.notify_all();
    }

    /// Waits until it has rung since `heard`, at most `wait`; answers whether it has, and notes what was heard. Each
    /// waiter has a count of its own, which begins at 0.
    pub fn wait(&self, heard: &mut u64, wait: Duration) -> bool {
        let waited = self.rung.wait_timeout_while(self.lock(), wait, |count| *count == *heard);
        let count = *waited.unwrap_or_else(PoisonError::into_inner).0;
        std::mem::replace(heard, count) != count
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_ring_before_the_wait_is_heard_once_by_each_waiter() {
        let wake = Wake::default();
        let (mut one, mut other) = (0, 0);
        wake.ring();
        wake.ring();
        assert!(wake.wait(&mut one, Duration::from_secs(60)));
        assert!(!wake.wait(&mut one, Duration::ZERO), "it was heard");
        assert!(wake.wait(&mut other, Duration::from_secs(60)));
    }

    #[test]
    fn a_ring_ends_a_wait() {
        let wake = Arc::new(Wake::default());
        let theirs = Arc::clone(&wake);
        let waiting = std::thread::spawn(move || theirs.wait(&mut 0, Duration::from_secs(600)));
        wake.ring();
        assert!(waiting.join().unwrap());
    }
}
