//! Records of one partition on their way into Arrow buffers.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, ArrayBuilder, BinaryArray, BinaryBuilder};

use super::ffi::Record;
use crate::batch::{Headers, Payload, SourceBatch};
use crate::connector::source::Room;

/// What a record takes beside its bytes: its offset, its timestamp, and where its key, value and headers end.
const ROW_BYTES: usize = 32;

/// Columns being filled.
#[derive(Default)]
pub(super) struct Gather {
    offsets: Vec<i64>,
    timestamps: Vec<i64>,
    keys: BinaryBuilder,
    values: BinaryBuilder,
    /// Start of each record's headers, and the end of the last one's.
    header_offsets: Vec<i32>,
    header_names: BinaryBuilder,
    header_values: BinaryBuilder,
    bytes: usize,
    /// When the first record came.
    since: Duration,
}

impl Gather {
    pub(super) fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// About how much memory it takes.
    pub(super) fn held(&self) -> usize {
        self.bytes + self.offsets.len() * ROW_BYTES
    }

    /// When the first record came.
    pub(super) fn since(&self) -> Duration {
        self.since
    }

    /// Whether it has all that fits.
    pub(super) fn is_full(&self, room: &Room) -> bool {
        self.offsets.len() >= room.rows || self.bytes >= room.bytes
    }

    /// Rows that still fit.
    pub(super) fn rows_left(&self, room: &Room) -> usize {
        room.rows.saturating_sub(self.offsets.len())
    }

    /// Takes a record; `false` when it does not fit beside those that are here already.
    pub(super) fn push(&mut self, record: &Record<'_>, room: &Room, now: Duration) -> bool {
        let mut headers = 0;
        record.each_header(|name, value| headers += name.len() + value.map_or(0, <[u8]>::len));
        let bytes = record.len() + headers;
        if !self.is_empty() && self.bytes.saturating_add(bytes) > room.bytes {
            return false;
        }
        if self.is_empty() {
            self.since = now;
            self.header_offsets.push(0);
        }
        self.bytes += bytes;
        self.offsets.push(record.offset);
        self.timestamps.push(record.timestamp);
        self.keys.append_option(record.key);
        self.values.append_option(record.value);
        record.each_header(|name, value| {
            self.header_names.append_value(name);
            self.header_values.append_option(value);
        });
        self.header_offsets.push(i32::try_from(self.header_names.len()).unwrap_or(i32::MAX));
        true
    }

    /// Everything that is here, as a batch that ends before `next`.
    pub(super) fn finish(
        &mut self,
        source: &Arc<str>,
        topic: &Arc<str>,
        partition: i32,
        next: i64,
    ) -> SourceBatch {
        let mut done = std::mem::take(self);
        let keys = done.keys.finish();
        let names = done.header_names.finish();
        let headers = (!names.is_empty()).then(|| Headers {
            offsets: done.header_offsets.into(),
            names,
            values: done.header_values.finish(),
        });
        let last = done.offsets.last().copied().unwrap_or(next - 1);
        assert!(done.offsets.is_sorted_by(|a, b| a < b), "offsets of {topic}/{partition} do not rise");
        assert!(last < next, "{topic}/{partition} goes on at {next} after offset {last}");
        SourceBatch {
            source: Arc::clone(source),
            topic: Arc::clone(topic),
            partition,
            offsets: done.offsets.into(),
            timestamps: Some(done.timestamps.into()),
            keys: some_keys(keys),
            headers,
            payload: Payload::Values(done.values.finish()),
            next,
            trace: None,
            hold: None,
        }
    }
}

/// `None` where no record has a key.
fn some_keys(keys: BinaryArray) -> Option<BinaryArray> {
    (keys.null_count() < keys.len()).then_some(keys)
}
