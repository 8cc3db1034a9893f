//! Delivery reports, counted per lane and batch.
//!
//! The producer is shared by the lanes of a worker, its reports come on its own thread. A report names its record by
//! one machine word, a [`Ticket`]; the lane's [`Ledger`] knows which of its batches still wait.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode;

const ROW_BITS: u32 = 21;
/// Room for the lanes of many sinks: in a transaction they share one client.
const LANE_BITS: u32 = 14;
/// Lanes that one client may serve.
pub(super) const LEDGERS_MAX: usize = 1 << LANE_BITS;

/// Names a record: the lane, the number of its batch (wrapping), the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket {
    pub(super) lane: usize,
    pub(super) batch: u64,
    pub(super) row: usize,
}

/// Batches are numbered in this many bits; far more than are ever in flight.
const BATCH_MASK: u64 = (1 << (64 - ROW_BITS - LANE_BITS)) - 1;

impl Ticket {
    pub(super) fn pack(self) -> usize {
        let batch = (self.batch & BATCH_MASK) << (ROW_BITS + LANE_BITS);
        batch as usize | self.lane << ROW_BITS | self.row
    }

    pub(super) fn unpack(word: usize) -> Self {
        Self {
            lane: word >> ROW_BITS & ((1 << LANE_BITS) - 1),
            batch: (word as u64) >> (ROW_BITS + LANE_BITS),
            row: word & ((1 << ROW_BITS) - 1),
        }
    }
}

/// Rows that one batch may have, so that a ticket can name them.
pub(super) const BATCH_ROWS_MAX: usize = 1 << ROW_BITS;

/// What is known of one batch.
#[derive(Debug, Default)]
struct Entry {
    /// Records whose report is not in.
    waiting: usize,
    failed: Vec<(usize, RDKafkaErrorCode)>,
}

#[derive(Debug, Default)]
struct State {
    /// Number of the batch at the front.
    first: u64,
    entries: VecDeque<Entry>,
    waiting: usize,
    /// Records that were delivered so far.
    delivered: u64,
    /// Records of forgotten batches whose report is not in.
    forgotten: usize,
}

/// The reports of one lane.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    state: Mutex<State>,
    settled: Condvar,
}

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a batch; returns its number.
    pub(super) fn open(&self) -> u64 {
        let mut state = self.lock();
        state.entries.push_back(Entry::default());
        state.first + state.entries.len() as u64 - 1
    }

    /// Counts records of the newest batch before they are produced: a report may come at once.
    pub(super) fn expect(&self, batch: u64, records: usize) {
        let mut state = self.lock();
        let at = (batch - state.first) as usize;
        state.entries[at].waiting += records;
        state.waiting += records;
    }

    /// Takes back what `expect` counted and was not produced.
    pub(super) fn unexpect(&self, batch: u64, records: usize) {
        let mut state = self.lock();
        let at = (batch - state.first) as usize;
        state.entries[at].waiting -= records;
        state.waiting -= records;
    }

    /// A report came. One of a batch that was forgotten is ignored.
    pub(super) fn report(&self, ticket: Ticket, failure: Option<RDKafkaErrorCode>) {
        let state = &mut *self.lock();
        let at = (ticket.batch.wrapping_sub(state.first) & BATCH_MASK) as usize;
        let Some(entry) = state.entries.get_mut(at) else {
            state.forgotten = state.forgotten.saturating_sub(1);
            return;
        };
        entry.waiting -= 1;
        match failure {
            Some(code) => entry.failed.push((ticket.row, code)),
            None => state.delivered += 1,
        }
        state.waiting -= 1;
        if state.waiting == 0 {
            self.settled.notify_all();
        }
    }

    /// Records that were delivered so far.
    pub(super) fn delivered(&self) -> u64 {
        self.lock().delivered
    }

    /// Waits until every report is in; returns whether that is so.
    pub(super) fn settle(&self, wait: Duration) -> bool {
        let state = self.lock();
        let waited = self.settled.wait_timeout_while(state, wait, |state| state.waiting > 0);
        waited.unwrap_or_else(PoisonError::into_inner).0.waiting == 0
    }

    /// Removes the batches at the front that were delivered whole; returns how many.
    pub(super) fn prune(&self) -> usize {
        let mut state = self.lock();
        let whole = |e: &Entry| e.waiting == 0 && e.failed.is_empty();
        let count = state.entries.iter().take_while(|e| whole(e)).count();
        state.entries.drain(..count);
        state.first += count as u64;
        count
    }

    /// Which of the batches, counted from the front, were delivered whole behind one that was not.
    pub(super) fn whole(&self) -> Vec<usize> {
        let state = self.lock();
        let whole = state.entries.iter().enumerate().filter(|(_, e)| e.waiting == 0 && e.failed.is_empty());
        whole.map(|(at, _)| at).collect()
    }

    /// Whether the client may still hold records of forgotten batches.
    pub(super) fn has_forgotten(&self) -> bool {
        self.lock().forgotten > 0
    }

    /// Takes the failures, batch by batch from the front, in the order of their rows.
    pub(super) fn failures(&self) -> Vec<(u64, usize, RDKafkaErrorCode)> {
        let mut state = self.lock();
        let first = state.first;
        let mut all = Vec::new();
        for (at, entry) in state.entries.iter_mut().enumerate() {
            let mut failed = std::mem::take(&mut entry.failed);
            failed.sort_unstable_by_key(|f| f.0);
            all.extend(failed.into_iter().map(|(row, code)| (first + at as u64, row, code)));
        }
        all
    }

    /// Forgets every batch: their reports are ignored from now on.
    pub(super) fn forget(&self) {
        let mut state = self.lock();
        state.first += state.entries.len() as u64;
        state.entries.clear();
        state.forgotten += std::mem::take(&mut state.waiting);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_survives_packing() {
        for ticket in [
            Ticket { lane: 0, batch: 0, row: 0 },
            Ticket { lane: 255, batch: BATCH_MASK, row: BATCH_ROWS_MAX - 1 },
            Ticket { lane: 3, batch: 123_456_789, row: 8_191 },
        ] {
            assert_eq!(Ticket::unpack(ticket.pack()), ticket);
        }
    }

    #[test]
    fn reports_settle_prune_and_are_forgotten() {
        let ledger = Ledger::default();
        let (a, b) = (ledger.open(), ledger.open());
        ledger.expect(a, 2);
        ledger.expect(b, 2);
        ledger.unexpect(b, 1);
        let ticket = |batch, row| Ticket { lane: 0, batch, row };
        ledger.report(ticket(a, 0), None);
        assert!(!ledger.settle(Duration::ZERO));
        ledger.report(ticket(a, 1), None);
        assert_eq!(ledger.prune(), 1);
        ledger.report(ticket(b, 0), Some(RDKafkaErrorCode::MessageSizeTooLarge));
        assert!(ledger.settle(Duration::ZERO));
        assert_eq!(ledger.prune(), 0);
        assert_eq!(ledger.failures(), [(b, 0, RDKafkaErrorCode::MessageSizeTooLarge)]);
        assert_eq!(ledger.prune(), 1);
        let c = ledger.open();
        ledger.expect(c, 1);
        ledger.forget();
        assert!(ledger.settle(Duration::ZERO) && ledger.has_forgotten());
        ledger.report(ticket(c, 0), None);
        assert!(!ledger.has_forgotten());
        let d = ledger.open();
        ledger.expect(d, 1);
        ledger.report(ticket(c, 0), None);
        let e = ledger.open();
        assert_eq!(ledger.whole(), [1], "behind one that waits");
        ledger.expect(e, 1);
        assert!(ledger.whole().is_empty());
        assert!(!ledger.settle(Duration::ZERO), "a report of a forgotten batch is not one of its successor");
    }
}
