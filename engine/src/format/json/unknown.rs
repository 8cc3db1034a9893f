//! Keys that no column has, where the columns were guessed: what the guess did not see is counted and told.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use crate::codec::Unknown;
use crate::units::UNKNOWN_KEYS_MAX;

/// The keys that were told, shared by the decoders of one format.
pub(super) type Told = Arc<Mutex<BTreeSet<String>>>;

/// What one decoder has met.
pub(super) struct Watch {
    /// Fields of the record under way: one that is rejected, or read again, leaves nothing behind.
    pending: Cell<u64>,
    fields: Cell<u64>,
    /// Keys that are to be told.
    keys: RefCell<Vec<String>>,
    /// Those that this decoder knows to be told.
    known: RefCell<BTreeSet<String>>,
    told: Told,
}

impl Watch {
    pub(super) fn new(told: &Told) -> Self {
        Self {
            pending: Cell::new(0),
            fields: Cell::new(0),
            keys: RefCell::default(),
            known: RefCell::default(),
            told: Arc::clone(told),
        }
    }

    /// A record begins.
    pub(super) fn begin(&self) {
        self.pending.set(0);
    }

    /// A field was left out.
    pub(super) fn add(&self) {
        self.pending.set(self.pending.get() + 1);
    }

    /// The record was taken.
    pub(super) fn take_record(&self) {
        self.fields.set(self.fields.get() + self.pending.take());
    }

    /// A key has no column.
    pub(super) fn meet(&self, key: &str) {
        let mut known = self.known.borrow_mut();
        if known.len() >= UNKNOWN_KEYS_MAX || known.contains(key) {
            return;
        }
        known.insert(key.to_owned());
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() < UNKNOWN_KEYS_MAX && told.insert(key.to_owned()) {
            self.keys.borrow_mut().push(key.to_owned());
        }
    }

    /// What came since the last time.
    pub(super) fn take(&self) -> Unknown {
        Unknown { fields: self.fields.take(), keys: self.keys.take() }
    }
}
