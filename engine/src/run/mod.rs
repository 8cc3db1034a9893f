//! From [`Plan`] to threads: one thread a node and lane, bounded edges between them, one committer, one writer of
//! dead letters. This is the only module that starts threads for data.
//!
//! Read in this order: `open` (what is opened first), `wiring` (who is connected to whom), `startup` (the threads),
//! `signals` (what nodes and the coordinator tell each other), `node` (the loops of sources, stages, sinks and dead
//! letters), `commit` (barriers, commits, rewinds, the end), `observe` (counters,
//! health, the sums), `replay` (dead letters as a source). Of the tests, `sim` runs all this over a simulated Kafka.

mod commit;
mod controls;
mod node;
pub mod observe;
mod open;
pub mod replay;
mod signals;
#[cfg(test)]
mod sim;
mod startup;
#[cfg(test)]
mod tests;
mod wiring;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Sender;

use crate::clock::Clock;
use crate::dead_letter::Attempts;
use crate::error::Error;
use crate::plan::Plan;
use observe::otlp;
use observe::stats::Stats;
pub use observe::summary::Summary;
use signals::Event;

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
    startup::start(plan, options, clock)
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
