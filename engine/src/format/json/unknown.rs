//! Keys that no column has: what a guess of columns did not see, and what is kept or refused because nobody declared it.
//! Each is told once.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use crate::codec::{Undeclared, Unknown};
use crate::secret;
use crate::units::{UNDECLARED_KEYS_MAX, UNKNOWN_KEY_BYTES, UNKNOWN_KEYS_MAX};

/// The keys that were told, shared by the decoders of one format.
pub(super) type Told = Arc<Mutex<BTreeSet<String>>>;

/// What one decoder has met.
pub(super) struct Watch {
    /// Fields of the record under way: one that is rejected, or read again, leaves nothing behind.
    pending: Cell<u64>,
    fields: Cell<u64>,
    /// The row of the record under way.
    row: Cell<u32>,
    /// Keys that are to be told.
    keys: RefCell<Vec<(String, u32)>>,
    /// Those that this decoder knows to be told.
    known: RefCell<BTreeSet<String>>,
    told: Told,
    became: Undeclared,
}

impl Watch {
    pub(super) fn new(told: &Told, became: Undeclared) -> Self {
        Self {
            became,
            row: Cell::new(0),
            pending: Cell::new(0),
            fields: Cell::new(0),
            keys: RefCell::default(),
            known: RefCell::default(),
            told: Arc::clone(told),
        }
    }

    /// A record begins, which is this row of its batch.
    pub(super) fn begin(&self, row: usize) {
        self.pending.set(0);
        self.row.set(row as u32);
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
        let most = if self.became == Undeclared::Drop { UNKNOWN_KEYS_MAX } else { UNDECLARED_KEYS_MAX };
        let mut known = self.known.borrow_mut();
        if known.len() >= most || known.contains(key) {
            return;
        }
        let key = &secret::cut(key, UNKNOWN_KEY_BYTES);
        known.insert(key.clone());
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() < most && told.insert(key.clone()) {
            self.keys.borrow_mut().push((key.clone(), self.row.get()));
        }
    }

    /// What came since the last time.
    pub(super) fn take(&self) -> Unknown {
        let fields = self.fields.take();
        let fields = if self.became == Undeclared::Drop { fields } else { 0 };
        Unknown { fields, keys: self.keys.take(), became: self.became }
    }
}
