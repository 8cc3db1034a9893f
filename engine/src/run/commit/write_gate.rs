//! Who may write into the transaction that is open: only rows of its own epoch and generation.
//!
//! A lane that has prepared an epoch is ahead of the others and of the commit; what it has of the next epoch waits
//! here until the transaction of that epoch is open. While a lane is inside nothing is committed or given up under its
//! hands.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::units::{Epoch, Generation};

/// The gate that all terminals of a worker share.
#[derive(Debug, Default)]
pub(in crate::run) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    generation: Generation,
    /// The epoch whose rows may enter; `None`: none, a transaction is being made.
    open: Option<Epoch>,
    inside: usize,
}

/// What a lane that asks is told.
#[derive(Debug)]
pub(in crate::run) enum Entry<'a> {
    /// Write now; the gate stays as it is until this is dropped.
    Inside(#[expect(dead_code, reason = "dropping it is its use")] Inside<'a>),
    /// Not yet.
    Wait,
    /// Never: the generation of these rows is over.
    Void,
}

/// A lane that is writing.
#[derive(Debug)]
pub(in crate::run) struct Inside<'a>(&'a Gate);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.lock().inside -= 1;
        self.0.changed.notify_all();
    }
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks to write rows of an epoch; waits at most `wait` for its transaction.
    pub fn enter(&self, generation: Generation, epoch: Epoch, wait: Duration) -> Entry<'_> {
        let early = |state: &mut State| state.generation <= generation && state.of(generation) != Some(epoch);
        let waited = self.changed.wait_timeout_while(self.lock(), wait, early);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        if state.generation > generation {
            return Entry::Void;
        }
        if state.of(generation) != Some(epoch) {
            return Entry::Wait;
        }
        state.inside += 1;
        Entry::Inside(Inside(self))
    }

    /// Lets nobody in from now on; rows of generations before this one never again.
    pub fn close(&self, generation: Generation) {
        let mut state = self.lock();
        state.generation = generation;
        state.open = None;
        self.changed.notify_all();
    }

    /// Waits at most `wait` until nobody is inside; returns whether that is so.
    pub fn is_empty(&self, wait: Duration) -> bool {
        let waited = self.changed.wait_timeout_while(self.lock(), wait, |state| state.inside > 0);
        waited.unwrap_or_else(PoisonError::into_inner).0.inside == 0
    }

    /// The transaction of an epoch is open.
    pub fn open(&self, generation: Generation, epoch: Epoch) {
        let mut state = self.lock();
        state.generation = generation;
        state.open = Some(epoch);
        self.changed.notify_all();
    }
}

impl State {
    /// The epoch that is open, where it is of this generation.
    fn of(&self, generation: Generation) -> Option<Epoch> {
        self.open.filter(|_| self.generation == generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;
    const G0: Generation = Generation(0);
    const G1: Generation = Generation(1);

    #[test]
    fn only_rows_of_the_open_epoch_enter() {
        let gate = Gate::default();
        assert!(matches!(gate.enter(G0, Epoch(1), NOW), Entry::Wait), "nothing is open yet");
        gate.open(G0, Epoch(1));
        assert!(matches!(gate.enter(G0, Epoch(1), NOW), Entry::Inside(_)));
        assert!(matches!(gate.enter(G0, Epoch(2), NOW), Entry::Wait));
        assert!(matches!(gate.enter(G1, Epoch(1), NOW), Entry::Wait), "a generation that is to come");
        gate.close(G0);
        assert!(matches!(gate.enter(G0, Epoch(1), NOW), Entry::Wait));
        gate.open(G0, Epoch(2));
        assert!(matches!(gate.enter(G0, Epoch(2), NOW), Entry::Inside(_)));
    }

    #[test]
    fn what_is_over_never_enters_again() {
        let gate = Gate::default();
        gate.open(G0, Epoch(4));
        gate.close(G1);
        assert!(matches!(gate.enter(G0, Epoch(4), NOW), Entry::Void));
        gate.open(G1, Epoch(4));
        assert!(
            matches!(gate.enter(G0, Epoch(4), NOW), Entry::Void),
            "the same epoch of a generation before"
        );
        assert!(matches!(gate.enter(G1, Epoch(4), NOW), Entry::Inside(_)));
    }

    #[test]
    fn it_is_not_empty_while_somebody_writes() {
        let gate = Gate::default();
        gate.open(G0, Epoch(1));
        let inside = gate.enter(G0, Epoch(1), NOW);
        gate.close(G1);
        assert!(!gate.is_empty(Duration::from_millis(1)));
        drop(inside);
        assert!(gate.is_empty(NOW));
    }

    #[test]
    fn whoever_waits_is_woken() {
        let gate = Gate::default();
        std::thread::scope(|scope| {
            let waiting =
                scope.spawn(|| matches!(gate.enter(G0, Epoch(1), Duration::from_secs(10)), Entry::Inside(_)));
            gate.open(G0, Epoch(1));
            assert!(waiting.join().unwrap());
        });
    }
}
