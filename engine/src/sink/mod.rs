//! Sinks: where records go. A sink is one file (or folder) here and one line in [`SINKS`].

pub mod blackhole;
pub mod dead_letter;
pub mod file;
pub mod kafka;
pub mod stdout;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use schemars::{Schema, SchemaGenerator};
use serde_json::Value;

use crate::batch::{Batch, Origin};
use crate::codec::{Format, Problem};
use crate::error::Result;
use crate::kafka::{Cluster, GroupOffsets, Topics};
use crate::units::{Epoch, SINK_IDLE};

/// Every sink, in alphabetical order.
pub static SINKS: &[&SinkKind] = &[&blackhole::KIND, &file::KIND, &kafka::KIND, &stdout::KIND];

/// What a sink can promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// A crash may write some records again.
    AtLeastOnce,
    /// It writes nothing that anyone could read.
    Nothing,
    /// Part of a Kafka transaction.
    Transactional,
}

/// A kind of sink.
pub struct SinkKind {
    /// The key in the pipeline file.
    pub name: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// YAML of one entry under `sinks:`; a test parses and plans it.
    pub example: &'static str,
    /// JSON Schema of its options.
    pub options: fn(&mut SchemaGenerator) -> Schema,
    /// What it can promise.
    pub delivery: Delivery,
    /// Format when `format:` is absent; `None`: it must be given.
    pub default_format: Option<&'static str>,
    /// Whether rows become bytes at all.
    pub needs_format: bool,
    /// Whether what it writes is durable only when a file is closed (the commit interval's default is longer then).
    pub durable_on_close: bool,
    /// Resolves the options. Does no IO.
    pub prepare: fn(&Settings<'_>) -> Result<Box<dyn Prepared>, Vec<Problem>>,
}

/// What a sink is made from.
pub struct Settings<'a> {
    /// Name of the pipeline.
    pub pipeline: &'a str,
    /// Name of the node.
    pub name: &'a str,
    /// Folder that relative paths are relative to.
    pub base: &'a Path,
    /// The options under the kind's key.
    pub options: &'a Value,
    /// The format, already prepared; `None` where the kind needs none (blackhole).
    pub format: Option<&'a Arc<dyn Format>>,
    /// Columns of what is written.
    pub schema: &'a SchemaRef,
}

/// A sink with its options resolved: the plan holds it. Nothing here has done IO.
pub trait Prepared: Send + Sync {
    /// One line for `pipe explain`, secrets redacted.
    fn describe(&self) -> String;
    /// Cluster it writes to (`bootstrap.servers`, sorted), where it is one.
    fn cluster(&self) -> Option<String> {
        None
    }
    /// The same with its properties, where it can write as part of a Kafka transaction.
    fn client(&self) -> Option<&Cluster> {
        None
    }
    /// Topic of that cluster, where it writes to one.
    fn topic(&self) -> Option<&str> {
        None
    }
    /// Topics of that cluster, where values say to which of them a row goes.
    fn topics(&self) -> Option<&Topics> {
        None
    }
    /// Whether it makes one file of a run that is whole, under exactly the name that was given.
    fn is_one_file(&self) -> bool {
        false
    }
    /// What is suspicious about its options; pointers are within them.
    fn warnings(&self) -> Vec<Problem> {
        Vec::new()
    }
    /// Whether it can delete what a key stands for.
    fn deletes(&self) -> Deletes {
        Deletes::No
    }
    /// Bytes that the sink of one lane may gather by itself; what it holds of batches is counted with them.
    fn gathers(&self) -> usize {
        0
    }
    /// Opens one sink a lane. What lanes may share (a producer) is made here once.
    fn open(&self, open: &Open) -> Result<Vec<Box<dyn Sink>>>;
}

/// What a sink can do with a tombstone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletes {
    /// Nothing: it knows no keys.
    No,
    /// It keeps nothing that could be deleted.
    Nothing,
    /// It writes the tombstone, if these columns are the record's own.
    ByKey {
        /// Column of its input that is the key, where there is one.
        key: Option<usize>,
        /// Column of its input that is the headers, where there is one.
        headers: Option<usize>,
    },
    /// It was told to write a row of nulls instead (`tombstones: false`).
    Rows,
}

/// What a sink needs to start.
pub struct Open {
    /// Number of sinks to make, one a lane.
    pub lanes: usize,
    /// Identity of this worker within the pipeline.
    pub worker: String,
    /// The transaction that it writes into; `None`: each prepare makes durable what was written.
    pub transaction: Option<Arc<kafka::Transaction>>,
    /// Whether records go out as part of the trace of their origin; dead letters stay as they came.
    pub traced: bool,
    /// Whether dead letters are written: a value of theirs that is null is that of a tombstone.
    pub letters: bool,
    /// Whether the run comes to an end, and commits nothing before: what is written is one whole.
    pub whole: bool,
}

/// A record that a sink refuses for good. It goes to the dead letters.
#[derive(Debug)]
pub struct Refused {
    /// The original behind it.
    pub origin: Origin,
    /// Why.
    pub reason: String,
}

/// What a sink made ready for an epoch.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Prepare {
    /// Rows made durable since the last prepare.
    pub rows: u64,
    /// Their bytes, as written.
    pub bytes: u64,
}

/// What all sinks and the dead letters of a worker write between two commits, with the positions of its sources:
/// readers see all of it or none of it. Used by the committer alone.
pub trait Transaction: Send + Sync {
    /// Ends what is open, or what an earlier worker of this identity left open: it is aborted, unless its commit was
    /// under way, which is then complete. Begins the first transaction. Blocks for about the transaction's time-out.
    /// `longer`: it may take twice as long as the one before.
    fn begin(&self, longer: bool) -> Result<()>;
    /// Whether what the next `begin` gives up was written into for longer than a transaction may take.
    fn is_overdue(&self) -> bool;
    /// Longest that the transaction may take.
    fn timeout(&self) -> Duration;
    /// What was written so far is to be committed next; what is written from here on belongs to the transaction after
    /// it. Everything that was written must be confirmed, and every turn before committed.
    fn turn(&self) -> Result<()>;
    /// Commits what was written before the last turn, with these positions; answers how long it took from the first
    /// record that was written. After a stale error all or none of it is
    /// committed: the group's offsets tell which, after [`Transaction::begin`]; what was written since is void, too.
    fn commit(&self, offsets: Vec<GroupOffsets>) -> Result<Duration>;
    /// Nothing follows; what is open is aborted, so that no reader waits for it.
    fn close(&self);
}

/// Writes the rows of one lane, on the lane's own thread.
///
/// Rows that were written = rows that a `prepare` answers for + rows refused. A passing error (`Error::is_passing`)
/// leaves the sink usable: the runtime calls the same method again after a pause, and the sink goes on where it
/// stopped without writing a row twice if it can know.
pub trait Sink: Send {
    /// Takes rows. May buffer; may block for backpressure, at most a second at a time, then answer a passing error.
    fn write(&mut self, batch: &Batch, refused: &mut Vec<Refused>) -> Result<()>;
    /// How soon it is to be called when nothing comes.
    fn idles(&self) -> Duration {
        SINK_IDLE
    }
    /// Called when nothing came for so long: serve callbacks, roll by time.
    fn idle(&mut self) -> Result<()> {
        Ok(())
    }
    /// Makes everything taken so far durable, or ready to commit: delivery reports in, files closed and in place.
    fn prepare(&mut self, epoch: Epoch, refused: &mut Vec<Refused>) -> Result<Prepare>;
    /// Discards, as far as it can, what was taken since the last `prepare`: those rows will come again.
    fn abort(&mut self) -> Result<()>;
    /// Frees everything; what was not prepared is discarded.
    fn close(&mut self) -> Result<()>;
}
