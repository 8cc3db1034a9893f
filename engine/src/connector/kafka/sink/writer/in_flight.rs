//! A batch between the producer and its reports.

use arrow::array::{Array, BinaryArray};
use rdkafka::message::{Header, OwnedHeaders};

use super::super::columns::{Parts, can_carry, cannot_carry};
use super::super::transaction::Verdict;
use crate::batch::{Batch, Item, Origins, SourceBatch};
use crate::trace::{TRACEPARENT, TRACESTATE, Writes};

/// What of the original records is kept, beside their tombstones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    Nothing,
    /// A null of the format is one in the record too.
    Nulls,
    /// Value, key, headers and time.
    Record,
}

/// A batch whose reports are not all in. Its records are numbered through rows and tombstones, in their order.
pub(super) struct Sent {
    pub(super) origins: Origins,
    parts: Parts,
    values: BinaryArray,
    /// What each record is; `None`: record `i` is row `i`.
    items: Option<Vec<Item>>,
    kept: Kept,
    /// Headers of the records that belong to a trace.
    pub(super) writes: Option<Writes>,
    pub(super) number: u64,
    /// Records that were given to the producer or refused.
    pub(super) done: usize,
    /// Records that need care, in order, and how many of them are done.
    pub(super) apart: Vec<(usize, Verdict)>,
    pub(super) apart_done: usize,
}

impl Sent {
    /// A batch of which nothing was given yet.
    pub(super) fn new(batch: &Batch, (parts, values): (Parts, BinaryArray), kept: Kept, number: u64) -> Self {
        Self {
            origins: batch.all_origins(),
            parts,
            values,
            items: batch.tombstones().map(|_| batch.items()),
            kept,
            writes: None,
            number,
            done: 0,
            apart: Vec::new(),
            apart_done: 0,
        }
    }

    /// Number of records.
    pub(super) fn len(&self) -> usize {
        self.items.as_ref().map_or(self.values.len(), Vec::len)
    }

    /// Drops all that it holds: it was delivered.
    pub(super) fn shed(&mut self) {
        self.origins = Origins::concat(&[]);
        self.parts = Parts::none();
        self.values = BinaryArray::new_null(0);
        self.items = None;
    }

    /// The row of a record; `None`: it is a tombstone.
    fn row(&self, at: usize) -> Option<usize> {
        match self.items.as_ref().map_or(Item::Row(at), |items| items[at]) {
            Item::Row(row) => Some(row),
            Item::Tombstone(_) => None,
        }
    }

    /// The row whose columns are key, headers and time of a record; `None`: they are those of its original.
    fn made(&self, at: usize) -> Option<usize> {
        if self.kept == Kept::Record { None } else { self.row(at) }
    }

    /// The record's key.
    pub(super) fn key(&self, at: usize) -> Option<&[u8]> {
        if let Some(row) = self.made(at) {
            return self.parts.key(row);
        }
        let (batch, row) = self.origins.locate(at);
        let keys = batch.keys.as_ref()?;
        keys.is_valid(row).then(|| keys.value(row))
    }

    /// The record's value. Only what was a tombstone has none: a null that a stage made deletes nothing.
    pub(super) fn value(&self, at: usize) -> Option<&[u8]> {
        let row = self.row(at)?;
        match self.values.is_null(row) {
            true => (self.kept == Kept::Nothing).then_some(&[]),
            false => Some(self.values.value(row)),
        }
    }

    /// The time that the record is given; `None`: that of writing.
    pub(super) fn timestamp(&self, at: usize) -> Option<i64> {
        match self.made(at) {
            Some(row) => self.parts.timestamp(row),
            None => self.own_time(at),
        }
    }

    /// Whether there are times at all.
    pub(super) fn may_be_unfit(&self) -> bool {
        self.has_times()
    }

    fn has_times(&self) -> bool {
        self.kept == Kept::Record || self.parts.has_times()
    }

    /// Why the record's time cannot be written.
    pub(super) fn unfit(&self, at: usize) -> Option<String> {
        match self.made(at) {
            Some(row) => self.parts.unfit(row),
            None => {
                let time = self.own_time(at).filter(|time| !can_carry(*time))?;
                let what = if self.row(at).is_some() { "record" } else { "tombstone" };
                Some(cannot_carry(&format!("the time {time} ms of the {what}")))
            }
        }
    }

    /// The time of an original, where rows have theirs; Kafka's word for none is -1.
    fn own_time(&self, at: usize) -> Option<i64> {
        let (batch, row) = self.origins.locate(at);
        let times = batch.timestamps.as_ref().filter(|_| self.has_times())?;
        Some(times[row]).filter(|time| *time != -1)
    }

    /// The headers of a record; those of its trace take the place of its own of these names.
    pub(super) fn headers(&self, at: usize) -> Option<OwnedHeaders> {
        let trace = self.writes.as_ref().and_then(|writes| writes.get(at));
        let without: &[&str] = if trace.is_some() { &[TRACEPARENT, TRACESTATE] } else { &[] };
        let headers = match self.made(at) {
            Some(row) => self.parts.headers(row, without),
            None => {
                let (batch, row) = self.origins.locate(at);
                originals(batch, row, without)
            }
        };
        let Some(trace) = trace else { return headers };
        let headers = headers.unwrap_or_default();
        let headers = headers.insert(Header { key: TRACEPARENT, value: Some(&trace.parent()) });
        Some(match &trace.state {
            Some(state) => headers.insert(Header { key: TRACESTATE, value: Some(&**state) }),
            None => headers,
        })
    }

    /// Whether a record is key and value only.
    fn is_bare(&self, at: usize) -> bool {
        let traced = self.writes.as_ref().is_some_and(|writes| writes.get(at).is_some());
        let own = match self.made(at) {
            Some(_) => self.parts.is_bare(),
            None => {
                let (batch, row) = self.origins.locate(at);
                self.own_time(at).is_none() && entries(batch, row).is_none()
            }
        };
        own && !traced
    }

    /// Whether what a record has is to be asked of each.
    fn differs(&self) -> bool {
        self.items.is_some() || self.kept == Kept::Record
    }

    /// Where the records from here on end that are key and value only: such records go in one call.
    pub(super) fn bare_until(&self, at: usize) -> usize {
        if self.differs() {
            return at + (at..self.len()).take_while(|at| self.is_bare(*at)).count();
        }
        let next = || self.writes.as_ref().and_then(|writes| writes.next_from(at));
        if self.parts.is_bare() { next().unwrap_or(self.len()) } else { at }
    }

    /// Where the records from here on end that are more.
    pub(super) fn headed_until(&self, at: usize) -> usize {
        if self.differs() {
            return at + (at..self.len()).take_while(|at| !self.is_bare(*at)).count();
        }
        let has_headers = |at: &usize| self.writes.as_ref().is_some_and(|writes| writes.get(*at).is_some());
        let all = at..self.len();
        if self.parts.is_bare() { at + all.take_while(has_headers).count() } else { all.end }
    }

    /// Bytes of the value.
    pub(super) fn value_bytes(&self, at: usize) -> usize {
        self.value(at).map_or(0, <[u8]>::len)
    }

    /// Bytes of key and value.
    pub(super) fn bytes(&self, at: usize) -> u64 {
        (self.key(at).map_or(0, <[u8]>::len) + self.value_bytes(at)) as u64
    }
}

/// The header entries of an original record; `None` where it has none.
fn entries(batch: &SourceBatch, row: usize) -> Option<std::ops::Range<usize>> {
    let headers = batch.headers.as_ref()?;
    let range = headers.offsets[row] as usize..headers.offsets[row + 1] as usize;
    (!range.is_empty()).then_some(range)
}

/// The headers of an original record, without these names. The client takes names that are text: others are made so.
fn originals(batch: &SourceBatch, row: usize, without: &[&str]) -> Option<OwnedHeaders> {
    let (range, headers) = (entries(batch, row)?, batch.headers.as_ref()?);
    let mut all = OwnedHeaders::new_with_capacity(range.len());
    for at in range {
        let name = String::from_utf8_lossy(headers.names.value(at));
        if !without.contains(&&*name) {
            let value = headers.values.is_valid(at).then(|| headers.values.value(at));
            all = all.insert(Header { key: &name, value });
        }
    }
    Some(all)
}
