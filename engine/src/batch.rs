//! What flows: a record batch with the origin of each row, and the batches of originals behind it.

mod tombstones;

use std::sync::Arc;

use arrow::array::{Array, BinaryArray, BooleanArray, RecordBatch, UInt32Array};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::{DataType, Field, Fields, SchemaRef};

use crate::budget::Hold;
use crate::trace::Passages;
pub use tombstones::{Item, Tombstones};

/// The records of one partition as a source read them: columns, not message objects.
#[derive(Debug)]
pub struct SourceBatch {
    /// Name of the source node.
    pub source: Arc<str>,
    /// Topic, file path as typed by the glob's match, or the generator's name.
    pub topic: Arc<str>,
    /// Kafka's partition; 0 for a file, the lane for a generator.
    pub partition: i32,
    /// Kafka's offset; in a file the number of the record, from 0: blank lines and a header are none. Strictly increasing, gaps allowed.
    pub offsets: ScalarBuffer<i64>,
    /// Milliseconds since 1970 in UTC; `None` where the source has none.
    pub timestamps: Option<ScalarBuffer<i64>>,
    /// Record keys; null: no key. `None` where the source has none at all.
    pub keys: Option<BinaryArray>,
    /// Record headers; `None` where no record has any.
    pub headers: Option<Headers>,
    /// Record values.
    pub payload: Payload,
    /// Where reading goes on: at least the last offset + 1 (control records and gaps may lie between).
    pub next: i64,
    /// The records that belong to a trace; `None` where none does, and where traces are not followed.
    pub trace: Option<Box<Passages>>,
    /// What it and all that is made of it take of its lane's budget; `None` where there is none.
    pub hold: Option<Hold>,
}

/// The values of a source batch.
#[derive(Debug)]
pub enum Payload {
    /// One byte string a record; null is a tombstone.
    Values(BinaryArray),
    /// Rows that were columns already (Parquet, Arrow IPC).
    Rows(RecordBatch),
}

/// Headers of the records of a batch: row `i` has the entries `offsets[i]..offsets[i + 1]`.
#[derive(Debug, Clone)]
pub struct Headers {
    /// One more than there are rows, from 0.
    pub offsets: ScalarBuffer<i32>,
    /// Names; Kafka says they are UTF-8, not all writers do, so bytes.
    pub names: BinaryArray,
    /// Values; null is a null.
    pub values: BinaryArray,
}

/// Name and value of a header; a null value is `None`.
pub type Header<'a> = (&'a [u8], Option<&'a [u8]>);

/// Type of a header column: a list of `{name: utf8, value: binary}`.
pub fn headers_type() -> DataType {
    let entry = Fields::from(vec![
        Field::new("name", DataType::Utf8, false),
        Field::new("value", DataType::Binary, true),
    ]);
    DataType::List(Arc::new(Field::new("item", DataType::Struct(entry), false)))
}

/// Bytes of the part of its buffers that an array shows: of several that share a block (a batch of Arrow IPC, slices)
/// each counts its own.
fn shown(array: &dyn Array) -> usize {
    array.to_data().get_slice_memory_size().unwrap_or_else(|_| array.get_array_memory_size())
}

/// Bytes of the columns of a batch, without what they share with others.
pub fn bytes_of(records: &RecordBatch) -> usize {
    records.columns().iter().map(|column| shown(column)).sum()
}

impl SourceBatch {
    /// Bytes that reading it took, for its account. Rows that were columns already are not counted again as such.
    pub fn taken(&self) -> usize {
        let payload = match &self.payload {
            Payload::Values(values) => shown(values),
            Payload::Rows(_) => 0,
        };
        let headers = self
            .headers
            .as_ref()
            .map_or(0, |h| shown(&h.names) + shown(&h.values) + h.offsets.len() * size_of::<i32>());
        let times = self.timestamps.as_ref().map_or(0, |times| times.len());
        let numbers = (self.offsets.len() + times) * size_of::<i64>();
        payload + self.keys.as_ref().map_or(0, |keys| shown(keys)) + headers + numbers
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes held by the originals.
    pub fn bytes(&self) -> usize {
        let payload = match &self.payload {
            Payload::Values(values) => values.get_array_memory_size(),
            Payload::Rows(rows) => rows.get_array_memory_size(),
        };
        let keys = self.keys.as_ref().map_or(0, Array::get_array_memory_size);
        let headers = self
            .headers
            .as_ref()
            .map_or(0, |h| h.names.get_array_memory_size() + h.values.get_array_memory_size());
        payload + keys + headers + self.offsets.len() * 8
    }
}

/// One original record: where a row came from.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The batch it was read in.
    pub batch: Arc<SourceBatch>,
    /// Its row there.
    pub row: usize,
}

impl Origin {
    /// Kafka's offset, or the line or row number.
    pub fn offset(&self) -> i64 {
        self.batch.offsets[self.row]
    }
}

/// For each row of a batch the original record it came from.
#[derive(Debug, Clone)]
pub struct Origins {
    /// The source batches, in order; rows are numbered through all of them.
    batches: Arc<[Arc<SourceBatch>]>,
    /// Row number among the originals for each row; `None`: row `i` is original `i`.
    rows: Option<ScalarBuffer<u32>>,
    len: usize,
}

/// Which rows of an input an output has, and in what order.
#[derive(Debug, Clone)]
pub enum Selection {
    /// All of them.
    All,
    /// Those whose bit is set; no nulls.
    Filter(BooleanArray),
    /// These, repeats allowed; no nulls, all in range.
    Take(UInt32Array),
}

impl Origins {
    /// Each record of a source batch, in order.
    pub fn whole(batch: Arc<SourceBatch>) -> Self {
        let len = batch.len();
        Self { batches: Arc::new([batch]), rows: None, len }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The source batches that rows point into.
    pub fn batches(&self) -> &[Arc<SourceBatch>] {
        &self.batches
    }

    /// The source batch, where there is one and its records are the rows, all of them and in order.
    pub fn as_whole(&self) -> Option<&Arc<SourceBatch>> {
        let [batch] = &*self.batches else { return None };
        (self.rows.is_none() && batch.len() == self.len).then_some(batch)
    }

    /// The original of a row. Panics when the row is out of range, as indexing does.
    pub fn get(&self, row: usize) -> Origin {
        let (batch, row) = self.locate(row);
        Origin { batch: Arc::clone(batch), row }
    }

    /// The batch of a row's original and its row there. Panics when the row is out of range, as indexing does.
    pub fn locate(&self, row: usize) -> (&Arc<SourceBatch>, usize) {
        assert!(row < self.len, "row {row} of {}", self.len);
        let mut at = self.rows.as_ref().map_or(row, |rows| rows[row] as usize);
        for batch in self.batches.iter() {
            if at < batch.len() {
                return (batch, at);
            }
            at -= batch.len();
        }
        unreachable!("an origin lies within its batches")
    }

    /// The origins of the selected rows.
    #[must_use]
    pub fn select(&self, selection: &Selection) -> Self {
        let original = |i: usize| self.rows.as_ref().map_or(i as u32, |rows| rows[i]);
        let rows: Vec<u32> = match selection {
            Selection::All => return self.clone(),
            Selection::Filter(mask) => mask.values().set_indices().map(original).collect(),
            Selection::Take(indices) => indices.values().iter().map(|&i| original(i as usize)).collect(),
        };
        let len = rows.len();
        Self { batches: Arc::clone(&self.batches), rows: Some(rows.into()), len }
    }

    /// A contiguous part.
    #[must_use]
    pub fn slice(&self, offset: usize, len: usize) -> Self {
        assert!(offset + len <= self.len, "slice {offset}+{len} of {}", self.len);
        let rows = match &self.rows {
            Some(rows) => rows.slice(offset, len),
            None => (offset as u32..(offset + len) as u32).collect::<Vec<_>>().into(),
        };
        Self { batches: Arc::clone(&self.batches), rows: Some(rows), len }
    }

    /// Several, one after the other.
    pub fn concat(parts: &[Self]) -> Self {
        let mut batches = Vec::new();
        let mut rows = Vec::with_capacity(parts.iter().map(Self::len).sum());
        let mut base = 0u32;
        for part in parts {
            match &part.rows {
                Some(part) => rows.extend(part.iter().map(|r| base + r)),
                None => rows.extend((0..part.len as u32).map(|r| base + r)),
            }
            base += part.batches.iter().map(|b| b.len() as u32).sum::<u32>();
            batches.extend(part.batches.iter().cloned());
        }
        let len = rows.len();
        Self { batches: batches.into(), rows: Some(rows.into()), len }
    }

    /// Notes that this many bytes were made of these rows: they count as under way for as long as the originals do.
    pub fn charge(&self, bytes: usize) {
        if let Some(hold) = self.batches.first().and_then(|batch| batch.hold.as_ref()) {
            hold.add(bytes);
        }
    }

    /// Bytes that the originals keep alive.
    pub fn bytes(&self) -> usize {
        self.batches.iter().map(|b| b.bytes()).sum()
    }
}

/// Rows with their origins, and the tombstones among them.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The rows.
    pub records: RecordBatch,
    /// Where each came from; as long as `records`.
    pub origins: Origins,
    /// Never empty.
    tombstones: Option<Tombstones>,
}

impl Batch {
    /// Rows with their origins. Panics when the lengths differ: that is a bug of ours.
    pub fn new(records: RecordBatch, origins: Origins) -> Self {
        assert_eq!(records.num_rows(), origins.len(), "each row has one origin");
        Self { records, origins, tombstones: None }
    }

    /// Rows that came as columns and from nowhere: each is its own original.
    pub fn of_columns(records: RecordBatch) -> Self {
        let rows = records.num_rows() as i64;
        let originals = SourceBatch {
            source: "columns".into(),
            topic: "columns".into(),
            partition: 0,
            offsets: (0..rows).collect(),
            timestamps: None,
            keys: None,
            headers: None,
            payload: Payload::Rows(records.clone()),
            next: rows,
            trace: None,
            hold: None,
        };
        Self::new(records, Origins::whole(Arc::new(originals)))
    }

    /// Number of rows, tombstones not among them: see [`Batch::count`].
    pub fn len(&self) -> usize {
        self.origins.len()
    }

    /// Whether there is neither a row nor a tombstone.
    pub fn is_empty(&self) -> bool {
        self.origins.is_empty() && self.tombstones.is_none()
    }

    /// Schema of the rows.
    pub fn schema(&self) -> SchemaRef {
        self.records.schema()
    }

    /// Bytes of rows and originals, for the bounds of a channel.
    pub fn bytes(&self) -> usize {
        let shared = |other: &Origins| Arc::ptr_eq(&other.batches, &self.origins.batches);
        let own = self.tombstones.as_ref().map(Tombstones::origins).filter(|origins| !shared(origins));
        self.records.get_array_memory_size() + self.origins.bytes() + own.map_or(0, Origins::bytes)
    }

    /// A contiguous part of the rows; a tombstone goes with the row that follows it, and behind the last row with that.
    #[must_use]
    pub fn slice(&self, offset: usize, len: usize) -> Self {
        Self {
            records: self.records.slice(offset, len),
            origins: self.origins.slice(offset, len),
            tombstones: self.tombstones_of(offset, len),
        }
    }
}

/// Why a row failed. Its name is the `pipe.error.kind` header of a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FailureKind {
    /// The format could not read the record.
    Decode,
    /// The stage refused the row.
    Rejected,
    /// The stage answered with an error.
    StageError,
    /// The stage trapped.
    Trap,
    /// The stage did not answer in time.
    Deadline,
    /// The stage asked for more memory than its limit.
    OutOfMemory,
    /// What the stage returned is not what it promised, or not Arrow.
    InvalidOutput,
    /// A sink refused the record for good.
    Refused,
}

impl FailureKind {
    /// Every kind.
    pub const ALL: &[Self] = &[
        Self::Decode,
        Self::Rejected,
        Self::StageError,
        Self::Trap,
        Self::Deadline,
        Self::OutOfMemory,
        Self::InvalidOutput,
        Self::Refused,
    ];

    /// `stage_error`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Rejected => "rejected",
            Self::StageError => "stage_error",
            Self::Trap => "trap",
            Self::Deadline => "deadline",
            Self::OutOfMemory => "out_of_memory",
            Self::InvalidOutput => "invalid_output",
            Self::Refused => "refused",
        }
    }
}

/// A row that failed, on its way to the dead letters.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The original record.
    pub origin: Origin,
    /// Name of the node (source, stage or sink) where it failed.
    pub node: Arc<str>,
    /// Digest of the stage's component, in hexadecimal.
    pub component: Option<Arc<str>>,
    /// Why.
    pub kind: FailureKind,
    /// The cause in words; cut at 4 KiB where it is written.
    pub message: String,
}

impl Failure {
    /// Notes what it takes itself, beside its original.
    pub fn charge(&self) {
        if let Some(hold) = &self.origin.batch.hold {
            hold.add(size_of::<Self>() + self.message.len());
        }
    }
}
