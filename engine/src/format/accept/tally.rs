//! How many values each leniency has read. A record that is rejected, or read again the slow way, counts nothing twice.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::{Rules, Way};

const WAYS: usize = Way::ALL.len();

/// Shared by a decoder and its lenient columns, which are on one thread: atomics only make it shareable.
#[derive(Debug, Default)]
pub(in crate::format) struct Tally {
    /// Whether the record under way has any.
    any: AtomicBool,
    /// Whether a column reads what is no number.
    nan: AtomicBool,
    pending: [AtomicU64; WAYS],
    total: [AtomicU64; WAYS],
}

impl Tally {
    /// A column reads these ways.
    pub(in crate::format) fn expect(&self, rules: &Rules) {
        self.nan.fetch_or(rules.has(Way::Nan), Ordering::Relaxed);
    }

    /// Whether a column reads what is no number.
    pub(in crate::format) fn expects_nan(&self) -> bool {
        self.nan.load(Ordering::Relaxed)
    }

    /// A record begins.
    pub(in crate::format) fn begin(&self) {
        if self.any.swap(false, Ordering::Relaxed) {
            self.pending.iter().for_each(|pending| pending.store(0, Ordering::Relaxed));
        }
    }

    /// A value was read this way.
    pub(in crate::format) fn add(&self, way: Way) {
        self.any.store(true, Ordering::Relaxed);
        self.pending[way as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// The record was taken.
    pub(in crate::format) fn take_record(&self) {
        if self.any.swap(false, Ordering::Relaxed) {
            for (pending, total) in self.pending.iter().zip(&self.total) {
                total.fetch_add(pending.swap(0, Ordering::Relaxed), Ordering::Relaxed);
            }
        }
    }

    /// What was read since the last time, by the names of the ways.
    pub(in crate::format) fn take(&self) -> Vec<(&'static str, u64)> {
        let totals = Way::ALL.into_iter().zip(&self.total);
        let taken = totals.map(|(way, total)| (way.name(), total.swap(0, Ordering::Relaxed)));
        taken.filter(|(_, count)| *count > 0).collect()
    }
}
