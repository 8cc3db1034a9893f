//! A batch between the producer and its reports.

use arrow::array::{Array, BinaryArray};

use super::super::columns::Parts;
use super::super::transaction::Verdict;
use crate::batch::Origins;
use crate::trace::Writes;

/// A batch whose reports are not all in.
pub(super) struct Sent {
    pub(super) origins: Origins,
    pub(super) parts: Parts,
    pub(super) values: BinaryArray,
    /// Headers of the rows that belong to a trace.
    pub(super) writes: Option<Writes>,
    pub(super) number: u64,
    /// Rows that were given to the producer or refused.
    pub(super) done: usize,
    /// Rows that need care, in order, and how many of them are done.
    pub(super) apart: Vec<(usize, Verdict)>,
    pub(super) apart_done: usize,
}

impl Sent {
    /// Drops all that it holds: it was delivered.
    pub(super) fn shed(&mut self) {
        self.origins = Origins::concat(&[]);
        self.parts = Parts::none();
        self.values = BinaryArray::new_null(0);
    }

    /// The record's value; `None` is a tombstone.
    pub(super) fn value(&self, row: usize, tombstones: bool) -> Option<&[u8]> {
        let null = self.values.is_null(row) || (tombstones && self.parts.is_tombstone(row, &self.origins));
        (!null).then(|| self.values.value(row))
    }

    /// Where the rows from here on end that are key and value only: such rows go in one call.
    pub(super) fn bare_until(&self, row: usize) -> usize {
        let next = || self.writes.as_ref().and_then(|writes| writes.next_from(row));
        if self.parts.is_bare() { next().unwrap_or(self.values.len()) } else { row }
    }

    /// Where the rows from here on end that are more.
    pub(super) fn headed_until(&self, row: usize) -> usize {
        let has_headers = |row: &usize| self.writes.as_ref().is_some_and(|writes| writes.get(*row).is_some());
        let rows = row..self.values.len();
        if self.parts.is_bare() { row + rows.take_while(has_headers).count() } else { rows.end }
    }

    /// Bytes of key and value.
    pub(super) fn bytes(&self, row: usize) -> u64 {
        let value = if self.values.is_null(row) { 0 } else { self.values.value(row).len() };
        (self.parts.key(row).map_or(0, <[u8]>::len) + value) as u64
    }
}
