//! Sinks: where records go. What a sink must do; the table of them is [`SINKS`](super::SINKS).

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use schemars::{Schema, SchemaGenerator};
use serde_json::Value;

use super::commit::Prepare;
use super::kafka;
use super::kafka::client::{Cluster, Topics};
use crate::batch::{Batch, Origin};
use crate::codec::Format;
use crate::error::Result;
use crate::problem::Problem;
use crate::units::{Epoch, SINK_IDLE};

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
    /// It writes the tombstone: every record is written as it came.
    Own,
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
    pub transaction: Option<Arc<kafka::sink::Transaction>>,
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
