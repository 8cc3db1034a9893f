//! Sources: where records come from. What a source must do; the table of them is [`SOURCES`](super::SOURCES).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use schemars::{Schema, SchemaGenerator};
use serde_json::Value;

use super::kafka::client::{Cluster, GroupOffsets, Topics};
use super::kafka::source::Consumers;
use super::position::{Kept, Positions, Progress, Replay};
use crate::batch::SourceBatch;
use crate::codec::Format;
use crate::error::{Error, Result};
use crate::problem::Problem;
use crate::wake::Wake;

/// A kind of source.
pub struct SourceKind {
    /// The key in the pipeline file.
    pub name: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// YAML of one entry under `sources:`; a test parses and plans it.
    pub example: &'static str,
    /// JSON Schema of its options.
    pub options: fn(&mut SchemaGenerator) -> Schema,
    /// Who keeps its positions.
    pub replay: Replay,
    /// Metadata columns it can give, by their names in `metadata:` (`key`, `partition`, ...).
    pub metadata: &'static [&'static str],
    /// Whether it hands over bytes that a format decodes.
    pub needs_format: bool,
    /// The format, with its options, when `format:` is absent.
    pub default_format: Option<fn() -> (&'static str, Value)>,
    /// Resolves the options. Does no network IO; local files may be looked at to learn their columns.
    pub prepare: fn(&Settings<'_>) -> Result<Box<dyn Prepared>, Vec<Problem>>,
}

/// What a source is made from.
pub struct Settings<'a> {
    /// Name of the pipeline: the consumer group.
    pub pipeline: &'a str,
    /// Name of the node.
    pub name: &'a str,
    /// Folder that relative paths are relative to.
    pub base: &'a Path,
    /// The options under the kind's key.
    pub options: &'a Value,
    /// The format, already prepared; `None` where `format:` is absent.
    pub format: Option<&'a Arc<dyn Format>>,
    /// Files that the pipeline itself writes.
    pub own: &'a [Own],
}

/// Files that a pipeline writes: its dead letters, and what its sinks make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    /// Their folder.
    pub folder: PathBuf,
    /// Their name.
    pub name: String,
    /// Whether it is only the beginning of names.
    pub rest: bool,
}

impl Own {
    /// Whether a file is one of them; its path has no links.
    pub fn is(&self, path: &Path) -> bool {
        use std::os::unix::ffi::OsStrExt;
        let name = path.file_name().map(OsStrExt::as_bytes).unwrap_or_default();
        let is_named =
            if self.rest { name.starts_with(self.name.as_bytes()) } else { name == self.name.as_bytes() };
        is_named && self.folder.canonicalize().is_ok_and(|folder| path.parent() == Some(&folder))
    }
}

/// A source with its options resolved: the plan holds it. Nothing here has touched the network.
pub trait Prepared: Send + Sync {
    /// The columns of decoded records, without metadata columns.
    fn schema(&self) -> SchemaRef;
    /// One line for `pipe explain`, secrets redacted.
    fn describe(&self) -> String;
    /// Cluster it reads from (`bootstrap.servers`, sorted), where it is one.
    fn cluster(&self) -> Option<String> {
        None
    }
    /// Whether its files are containers: their readers hold more than the batch that they give.
    fn is_container(&self) -> bool {
        false
    }
    /// The identity of this worker in the group that its properties give, if they do.
    fn instance(&self) -> Option<String> {
        None
    }
    /// The name or the pattern by which it reads this topic of its cluster, if it does.
    fn reads(&self, _topic: &str) -> Option<&str> {
        None
    }
    /// What a consumer group holds its committed offsets for, where one does.
    fn group(&self) -> Option<(&Cluster, &Topics)> {
        None
    }
    /// Whether it comes to an end by itself.
    fn ends(&self) -> bool {
        false
    }
    /// What is suspicious about its options; pointers are within them.
    fn warnings(&self) -> Vec<Problem> {
        Vec::new()
    }
    /// Opens it: the only place that does IO.
    fn open(&self, open: Open) -> Result<Opened>;
}

/// What a source needs to start.
pub struct Open {
    /// Number of readers to make, one a lane.
    pub lanes: usize,
    /// Identity of this worker within the pipeline.
    pub worker: String,
    /// End when everything that was there at the start has been read (`--until-end`).
    pub until_end: bool,
    /// Bounds of one batch.
    pub room: Room,
    /// Bytes that the reader of a container holds at once, in each lane.
    pub held: usize,
    /// Where to go on, for [`Replay::State`]; empty: from the start.
    pub resume: Positions,
    /// The same as it was kept, in the order in which it was.
    pub kept: Vec<Kept>,
    /// The runtime, for what a rebalance needs.
    pub runtime: Arc<dyn Runtime>,
    /// The consumers of the worker, which sources of one cluster share.
    pub consumers: Arc<Consumers>,
}

/// Bounds of one batch.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// Rows.
    pub rows: usize,
    /// Bytes of keys, values and headers; a single larger record still passes.
    pub bytes: usize,
    /// Bytes that all partitions of a lane may gather together before batches that are not full are handed over.
    pub lane_bytes: usize,
    /// Age: a batch is handed over when its first record has waited this long at the latest.
    pub age: Duration,
    /// Whether a lane that has little else to do hands it over sooner.
    pub eager: bool,
}

/// A source that runs.
pub struct Opened {
    /// One a lane, in order. They share nothing with each other.
    pub readers: Vec<Box<dyn Reader>>,
    /// The part that all lanes share.
    pub control: Arc<dyn Control>,
}

/// Reads the partitions of one lane, on the lane's own thread.
pub trait Reader: Send {
    /// The next records of one partition, in order. Returns within about `wait`, or when its bell rings.
    fn poll(&mut self, wait: Duration) -> Result<Polled>;
    /// The bell that ends the wait of a `poll`; `None`: nothing does, so it is never told to wait for long.
    fn wake(&self) -> Option<Arc<Wake>> {
        None
    }
    /// The next batches hold at most this many bytes, if that is less than their bound; a single larger record passes.
    fn narrow(&mut self, _bytes: usize) {}
    /// Goes back: the next record of each partition that this lane holds is the given position (a partition that
    /// is not named goes back to where the lane found it). What was handed out since is forgotten.
    fn rewind(&mut self, to: &Positions) -> Result<()>;
    /// Line, from 1, at which a record of the last batch begins, where it was read from lines.
    fn line(&self, _row: usize) -> Option<u64> {
        None
    }
}

/// What a reader found.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one a batch, moved once: a box would cost more")]
pub enum Polled {
    /// Records; never empty.
    Batch(SourceBatch),
    /// Nothing now.
    Idle,
    /// Nothing ever again (`--until-end`, or a file at its end).
    End,
}

/// The part of a source that its lanes share: the group, the commits.
pub trait Control: Send + Sync {
    /// Serves the source's control queue (for Kafka: rebalances, errors); called in a loop by a thread of its own,
    /// returns within about `wait`.
    fn poll(&self, wait: Duration) -> Result<()>;
    /// Whether there is a control queue, so that a thread is to serve it.
    fn is_served(&self) -> bool {
        true
    }
    /// Everything below these positions is durable. Called from the committer's thread, also while `poll` is inside
    /// [`Runtime::drain`]. Positions of partitions that this worker no longer owns are left out silently.
    fn commit(&self, positions: &Positions) -> Result<()>;
    /// The same as a part of a Kafka transaction: what the group must be told of. A stale error says that a partition
    /// is no longer this worker's.
    fn claim(&self, _positions: &Positions) -> Result<GroupOffsets> {
        Err(Error::internal("this source has no group whose offsets a transaction could hold"))
    }
    /// What the group has committed of the partitions that this worker owns, when no transaction holds it open any
    /// more; a partition of which nothing is committed is left out.
    fn committed(&self) -> Result<Positions> {
        Err(Error::internal("this source has no group that could be asked"))
    }
    /// What the state folder keeps of it as of the last commit; `None`: the committed positions, and nothing else.
    fn kept(&self) -> Option<Vec<Kept>> {
        None
    }
    /// How far it is; asked about once a second. Must neither wait for the network nor hold a lock that a reader
    /// needs for more than a moment.
    fn progress(&self) -> Progress {
        Progress { joined: true, ..Progress::default() }
    }
    /// Leaves the group and frees everything. Called once, after the last commit.
    fn close(&self) -> Result<()>;
}

/// The control part of a source without a group: lanes share nothing, the worker's state folder keeps the positions.
pub struct Ungrouped;

impl Control for Ungrouped {
    fn poll(&self, wait: Duration) -> Result<()> {
        std::thread::sleep(wait);
        Ok(())
    }

    fn is_served(&self) -> bool {
        false
    }

    fn commit(&self, _: &Positions) -> Result<()> {
        Ok(())
    }

    fn close(&self) -> Result<()> {
        Ok(())
    }
}

/// What a source may ask of the runtime.
pub trait Runtime: Send + Sync {
    /// Makes everything that readers have handed out so far durable and commits it; returns whether that was done
    /// before the deadline. Called when partitions are revoked, after their readers have stopped.
    fn drain(&self, deadline: Duration) -> bool;
    /// Partitions were lost (another worker may own them by now): what is in flight is dropped and every lane goes
    /// back to what is committed.
    fn rewind(&self, reason: &str);
}
