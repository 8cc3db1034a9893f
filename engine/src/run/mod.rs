//! From [`Plan`] to threads: one thread a node and lane, bounded edges between them, one committer, one writer of
//! dead letters. This is the only module that starts threads for data.
//!
//! Read in this order: `open` (what is opened first), `wiring` (who is connected to whom), `source`, `stage`, `sink`,
//! `dead_letter` (the nodes' loops), `gate` (whose turn it is to write into a transaction), `scribe` (failures to
//! letters), `breaker` and `search` (what failures of a stage cost), `coordinator` (barriers, commits, rewinds, the
//! end), `committer` (how an epoch becomes final), `portion` (how large it gets), `state` (positions of sources without a group), `summary` (the
//! sums), `health` (who moves and who does not), `replay` and `replayed` (dead letters as a source, and which have
//! been). Of the tests, `sim` runs all this over a simulated Kafka.

mod breaker;
mod committer;
mod controls;
mod coordinator;
#[cfg(test)]
mod coordinator_tests;
mod dead_letter;
mod decode;
mod gate;
pub mod health;
#[cfg(test)]
mod health_tests;
mod open;
mod otlp;
mod portion;
pub mod replay;
pub mod replayed;
pub mod samples;
mod scribe;
mod search;
#[cfg(test)]
mod sim;
mod sink;
mod source;
mod stage;
mod state;
pub mod summary;
#[cfg(test)]
mod tests;
mod wiring;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::Sender;

use crate::channel::{CurrentGeneration, Disconnected};
use crate::clock::Clock;
use crate::error::Error;
use crate::plan::Plan;
use crate::source::Positions;
use crate::units::{Epoch, Generation};
use crate::wake::Wake;
pub use scribe::Attempts;
pub use summary::Summary;

/// How a worker runs.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// End when everything that was there at the start has been read.
    pub until_end: bool,
    /// Folder for positions of sources without a group; `None`: positions are not kept.
    pub state: Option<PathBuf>,
    /// Forget the positions in the state folder.
    pub fresh: bool,
    /// Identity of this worker within the pipeline; `None`: random.
    pub worker: Option<String>,
    /// How often records have failed before, where that is known (a replay).
    pub attempts: Arc<Attempts>,
}

/// Starts a worker and returns at once.
pub fn start(plan: Plan, options: &Options, clock: Arc<dyn Clock>) -> Result<Running, Error> {
    wiring::start(plan, options, clock)
}

/// A worker that runs.
pub struct Running {
    /// What it counts, live.
    pub stats: Arc<Stats>,
    events: Sender<Event>,
    coordinator: std::thread::JoinHandle<Result<(), Error>>,
    nodes: Vec<Node>,
    controls: controls::Controls,
    spans: Option<otlp::Exporter>,
}

struct Node {
    name: String,
    thread: std::thread::JoinHandle<()>,
}

/// Asks a worker to stop; cheap to clone.
#[derive(Clone)]
pub struct Stopper(Sender<Event>);

impl Stopper {
    /// Stops reading, drains, prepares, commits.
    pub fn stop(&self) {
        // A worker that is gone already needs no stop.
        let _ = self.0.send(Event::Stop);
    }
}

/// Nodes are given this long to notice that the worker is coming down before it goes without them.
const JOIN_WAIT: Duration = Duration::from_secs(5);

impl Running {
    /// A handle that stops it.
    pub fn stopper(&self) -> Stopper {
        Stopper(self.events.clone())
    }

    /// Waits for the end. The summary is there also after a failure.
    pub fn wait(self) -> (Summary, Result<(), Error>) {
        let result =
            self.coordinator.join().unwrap_or_else(|_| Err(Error::internal("the coordinator panicked")));
        let start = self.stats.clock.now();
        for node in self.nodes {
            while !node.thread.is_finished() && self.stats.clock.now() - start < JOIN_WAIT {
                std::thread::sleep(Duration::from_millis(1));
            }
            if !node.thread.is_finished() {
                tracing::warn!(node = node.name, "does not stop; left behind");
            }
        }
        let closed = self.controls.close(&*self.stats.clock);
        if let Some(spans) = self.spans {
            spans.close();
        }
        let summary = Summary::of(&self.stats, result.is_ok());
        let result = result.and(closed).and_then(|()| summary.check());
        (summary, result)
    }
}

/// Counters of every node of a worker, for the live line, the logs and the summary.
pub struct Stats {
    /// Name of the pipeline.
    pub pipeline: String,
    /// The worker's own.
    pub worker: Arc<crate::metrics::Worker>,
    /// By source, in the plan's order.
    pub sources: Vec<(Arc<str>, Arc<crate::metrics::Source>)>,
    /// By stage, in the plan's order.
    pub stages: Vec<(Arc<str>, Arc<crate::metrics::Stage>)>,
    /// By sink, in the plan's order.
    pub sinks: Vec<(Arc<str>, Arc<crate::metrics::Sink>)>,
    /// By edge: name of the sending output, name of the receiving node.
    pub edges: Vec<EdgeStats>,
    /// The edge to the writer of dead letters, from all nodes.
    pub letters: Arc<crate::metrics::Edge>,
    /// Dead letters by their causes.
    pub causes: Arc<crate::metrics::Letters>,
    /// Values of sources by the leniency that read them.
    pub accepted: Arc<crate::metrics::Accepted>,
    /// What its threads are doing.
    pub vitals: Arc<health::Vitals>,
    /// When it started.
    pub started: Duration,
    /// The worker's clock.
    pub clock: Arc<dyn Clock>,
}

/// Counters of an edge.
pub struct EdgeStats {
    /// A source, a stage or `stage.port`.
    pub from: String,
    /// A stage or a sink.
    pub to: Arc<str>,
    /// The counters.
    pub stats: Arc<crate::metrics::Edge>,
}

/// What nodes tell the coordinator.
enum Event {
    /// A lane of a source has sent a barrier. `bytes`: of the originals that it has read for the epoch.
    Barrier {
        generation: Generation,
        lane: usize,
        epoch: Epoch,
        source: usize,
        positions: Positions,
        bytes: u64,
    },
    /// A terminal has prepared an epoch.
    Prepared { generation: Generation, terminal: usize, epoch: Epoch },
    /// A lane of a source has read something, and the coordinator waits for that.
    Read,
    /// A lane of a source has read what it may for an epoch, and waits for the barrier behind this one.
    Full { generation: Generation, barrier: Epoch },
    /// A lane of a source has nothing more to read.
    AtEnd { generation: Generation, lane: usize },
    /// Commit what has been read so far, then answer.
    Drain { done: Sender<()> },
    /// Go back to what is committed; of which generation it is known that it cannot commit, where that is known.
    Rewind { of: Option<Generation>, reason: String },
    /// Stop reading, drain, commit.
    Stop,
    /// A node has failed for good.
    Failed(Error),
}

/// What the coordinator tells the lanes of sources: read on every turn of their loops, for which it rings.
#[derive(Default)]
struct Signals {
    generation: Arc<CurrentGeneration>,
    /// Barriers up to this epoch are to be sent.
    target: AtomicU64,
    /// Behind the barrier of this epoch nothing is read; 0: not known yet.
    last: AtomicU64,
    /// Where to go back to: the generation, the last epoch of the generations before, positions by source.
    rewind: std::sync::Mutex<(Generation, Epoch, Vec<Positions>)>,
    /// Set when the worker comes down after a failure.
    down: std::sync::atomic::AtomicBool,
    /// Set when the last epoch has committed: until then a rewind may still ask for its records again.
    over: AtomicBool,
    /// Bytes of originals that a lane may read for one epoch; 0: as many as come in time.
    share: AtomicU64,
    /// Nothing was read since the last barrier, and the coordinator waits to be told of the first record.
    awaited: AtomicBool,
    /// The bells of the lanes: rung when any of this has changed.
    lanes: std::sync::Mutex<Vec<Arc<Wake>>>,
}

impl Signals {
    /// A lane that looks up when its bell rings.
    fn attend(&self, wake: &Arc<Wake>) {
        self.lanes.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(Arc::clone(wake));
    }

    /// Has every lane of every source look up.
    fn ring(&self) {
        let lanes = self.lanes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        lanes.iter().for_each(|wake| wake.ring());
    }

    /// The coordinator wants to be told of the first record that is counted from here on.
    fn await_record(&self) {
        self.awaited.store(true, Ordering::Relaxed);
        // Before the coordinator looks at the counts, and a lane looks after it has counted: one of the two sees the other.
        std::sync::atomic::fence(Ordering::SeqCst);
    }

    /// Whether the coordinator waits to be told that records were counted: answered with yes once.
    fn is_awaited(&self) -> bool {
        std::sync::atomic::fence(Ordering::SeqCst);
        self.awaited.load(Ordering::Relaxed) && self.awaited.swap(false, Ordering::Relaxed)
    }

    /// Bytes that a lane may read for one epoch.
    fn share(&self) -> u64 {
        match self.share.load(Ordering::Relaxed) {
            0 => u64::MAX,
            share => share,
        }
    }

    fn target(&self) -> Epoch {
        Epoch(self.target.load(Ordering::Acquire))
    }

    fn is_last(&self, epoch: Epoch) -> bool {
        epoch != Epoch(0) && self.last.load(Ordering::Acquire) == epoch.0
    }

    /// Whether the end was asked for, or has come: what is in flight is to be drained.
    fn is_ending(&self) -> bool {
        self.last.load(Ordering::Acquire) != 0
    }

    fn is_down(&self) -> bool {
        self.down.load(Ordering::Acquire)
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }
}

/// What a turn of a node's loop came to.
enum Turned {
    /// There may be more to do.
    On,
    /// Nothing came in time.
    Idle,
    /// What it has in hand is not possible yet; to be tried again after this.
    Pause(Duration),
    /// All is done.
    End,
}

/// Why a node's loop ended early.
enum Halt {
    /// It failed: the worker comes down.
    Failed(Error),
    /// Its neighbour is gone: some other node has failed, or the worker is coming down.
    Disconnected,
}

/// Turns until the end.
fn turn_until_end(mut turn: impl FnMut() -> Result<Turned, Halt>) -> Result<(), Halt> {
    loop {
        match turn()? {
            Turned::On | Turned::Idle => {}
            Turned::Pause(pause) => std::thread::sleep(pause),
            Turned::End => return Ok(()),
        }
    }
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<Disconnected> for Halt {
    fn from(_: Disconnected) -> Self {
        Self::Disconnected
    }
}
