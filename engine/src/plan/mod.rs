//! From [`Spec`](crate::config::Spec) to [`Plan`]: every name resolved, every edge typed, every promise checked.
//! Pure but for the binder it is given: all configuration errors appear here, none later.

mod build;
pub mod cost;
mod dead_letters;
pub mod editors;
mod formats;
mod grants;
mod graph;
mod guarantee;
pub mod memory;
mod originals;
mod prune;
pub mod render;
pub mod schema;
mod sinks;
mod sources;
pub mod stages;
mod tables;
#[cfg(test)]
pub(crate) mod testing;
mod tombstones;
mod traces;
mod undeclared;
pub mod warnings;

pub use build::plan;
pub use dead_letters::dead_letters;
pub use sources::{Kept, positions};
pub use tables::{Folders, Tables};

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;

use crate::codec::Format;
use crate::config::spec::{Guarantee, OnFailure, OnTombstone, StageSpec};
use crate::connector::kafka::client::Cluster;
use crate::connector::sink::{self, SinkKind};
use crate::connector::source::{self, Room, SourceKind};
use crate::problem::Problem;
use crate::stage::{Bound, Limits, Port};

/// A pipeline, resolved.
pub struct Plan<B = Bound> {
    /// Name of the pipeline.
    pub name: String,
    /// Folder of the pipeline file.
    pub base: PathBuf,
    /// Sources, in the order of the file.
    pub sources: Vec<SourceNode>,
    /// Stages, in topological order.
    pub stages: Vec<StageNode<B>>,
    /// Sinks, in the order of the file.
    pub sinks: Vec<SinkNode>,
    /// Where failed rows go.
    pub dead_letters: DeadLetters,
    /// What is promised.
    pub guarantee: Guarantee,
    /// Time between two commits.
    pub commit_interval: Duration,
    /// Whether the file gives that time.
    pub commits_as_told: bool,
    /// How long a stop may drain.
    pub shutdown_timeout: Duration,
    /// Bounds of a source's batch.
    pub room: Room,
    /// Units of parallelism.
    pub lanes: usize,
    /// How the worker's memory is divided; `None`: nobody gave a number.
    pub memory: Option<memory::Division>,
    /// How traces are followed; `None`: they are not.
    pub tracing: Option<Tracing>,
    /// What is suspicious, by pointer into the file.
    pub warnings: Vec<Problem>,
}

impl<B> Plan<B> {
    /// Whether a run commits once, at its end: it has one lane and comes to an end, a sink makes one file of it, and
    /// nobody asked for commits in between.
    pub fn is_whole(&self, until_end: bool) -> bool {
        let ends = until_end || self.sources.iter().all(|source| source.prepared.ends());
        let is_one = self.sinks.iter().any(|sink| sink.prepared.is_one_file());
        self.lanes == 1 && ends && is_one && !self.commits_as_told
    }

    /// The client of all sinks and of the dead letters, where one transaction is to hold what they write. The error
    /// names the properties on which they do not agree.
    pub fn client(&self) -> Result<Option<Cluster>, Vec<String>> {
        let letters = match &self.dead_letters {
            DeadLetters::Kafka(prepared, _) => Some(prepared),
            DeadLetters::File(_) => None,
        };
        let all = self.sinks.iter().map(|sink| &sink.prepared).chain(letters);
        Cluster::merge(all.filter_map(|prepared| prepared.client()))
    }
}

/// How traces are followed.
#[derive(Debug, Clone, PartialEq)]
pub struct Tracing {
    /// Where spans go, whole (`http://localhost:4318/v1/traces`); `None`: none are made, contexts are passed on.
    pub endpoint: Option<String>,
    /// Share of the records without a context that begin a trace.
    pub sample: f64,
}

/// What planning asks of a bound stage. [`Bound`] in a worker; tests of the planner bind without Wasm.
pub trait Ports {
    /// Its outputs; the first is the default port.
    fn ports(&self) -> &[Port];
    /// For each column of a port the input column that it is, unless the stage computes it.
    fn passed(&self, port: usize) -> Vec<Option<usize>>;
    /// Whether it makes several rows of one.
    fn explodes(&self) -> bool;
    /// What is suspicious about it; pointers are within the stage's entry.
    fn warnings(&self) -> Vec<Problem> {
        Vec::new()
    }
    /// Its bounds, where it has any.
    fn limits(&self) -> Option<&Limits> {
        None
    }
}

impl Ports for Bound {
    fn ports(&self) -> &[Port] {
        Self::ports(self)
    }

    fn passed(&self, port: usize) -> Vec<Option<usize>> {
        Self::passed(self, port)
    }

    fn explodes(&self) -> bool {
        self.component_name() == "explode"
    }

    fn warnings(&self) -> Vec<Problem> {
        grants::warnings(self)
    }

    fn limits(&self) -> Option<&Limits> {
        Some(Self::limits(self))
    }
}

/// A stage that is to be bound.
pub struct StageRequest<'a> {
    /// Its name in the file.
    pub name: &'a str,
    /// What the file says of it: exactly one of `wasm` and `use` is given.
    pub spec: &'a StageSpec,
    /// Columns of its input; `None` behind a mistake. Then nothing is bound, and only what is wrong whatever the columns
    /// are is told.
    pub input: Option<&'a SchemaRef>,
    /// Keys of its entry that had a mistake and were left out.
    pub missing: &'a BTreeSet<String>,
    /// Folder that relative paths are relative to.
    pub base: &'a Path,
}

/// Binds a stage; pointers of the mistakes are within the stage's entry. Without columns the answer is never a stage,
/// and may be no mistakes.
pub type Binder<'a, B> = &'a dyn Fn(&StageRequest<'_>) -> Result<B, Vec<Problem>>;

/// Which output of which node an edge comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Output {
    /// Index into `Plan::sources`.
    Source(usize),
    /// Index into `Plan::stages`, then of the port.
    Stage(usize, usize),
}

/// A source.
pub struct SourceNode {
    /// Its name in the file.
    pub name: Arc<str>,
    /// Its kind.
    pub kind: &'static SourceKind,
    /// What opens it.
    pub prepared: Box<dyn source::Prepared>,
    /// Decodes its records; `None`: its batches are rows already.
    pub format: Option<Arc<dyn Format>>,
    /// Metadata columns that are appended, by name without the underscore (`key`, `partition`, …).
    pub metadata: Vec<String>,
    /// Columns that leave it, metadata included.
    pub schema: SchemaRef,
    /// What happens to a record that cannot be decoded.
    pub on_failure: OnFailure,
    /// What becomes of a tombstone.
    pub on_tombstone: OnTombstone,
}

/// A stage.
pub struct StageNode<B = Bound> {
    /// Its name in the file.
    pub name: Arc<str>,
    /// Its inputs: all of one schema.
    pub inputs: Vec<Output>,
    /// Columns of its input.
    pub input: SchemaRef,
    /// The component, bound to its input and configuration: `bound.ports()` are its outputs.
    pub bound: B,
    /// What happens to a row that fails.
    pub on_failure: OnFailure,
}

/// A sink.
pub struct SinkNode {
    /// Its name in the file.
    pub name: Arc<str>,
    /// Its kind.
    pub kind: &'static SinkKind,
    /// Its inputs: all of one schema.
    pub inputs: Vec<Output>,
    /// Columns of its input.
    pub input: SchemaRef,
    /// What opens it.
    pub prepared: Box<dyn sink::Prepared>,
    /// How rows become bytes; `None`: they do not.
    pub format: Option<Arc<dyn Format>>,
    /// What happens to a record that is refused for good.
    pub on_failure: OnFailure,
}

/// Where failed rows go.
pub enum DeadLetters {
    /// JSON lines, appended to one file; the path is absolute.
    File(PathBuf),
    /// A Kafka sink over the columns of [`dead_letter::schema`](crate::dead_letter::schema), and its topic for
    /// whoever reads them.
    Kafka(Box<dyn sink::Prepared>, crate::connector::kafka::dead_letters::Topic),
}

impl std::fmt::Display for DeadLetters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Kafka(_, topic) => topic.fmt(f),
        }
    }
}
