//! Counters of every node and edge of a worker.

use std::sync::Arc;
use std::time::Duration;

use super::vitals::Vitals;
use crate::clock::Clock;
use crate::metrics;

/// Counters of every node of a worker, for the live line, the logs and the summary.
pub struct Stats {
    /// Name of the pipeline.
    pub pipeline: String,
    /// The worker's own.
    pub worker: Arc<metrics::Worker>,
    /// By source, in the plan's order.
    pub sources: Vec<(Arc<str>, Arc<metrics::Source>)>,
    /// By stage, in the plan's order.
    pub stages: Vec<(Arc<str>, Arc<metrics::Stage>)>,
    /// By sink, in the plan's order.
    pub sinks: Vec<(Arc<str>, Arc<metrics::Sink>)>,
    /// By edge: name of the sending output, name of the receiving node.
    pub edges: Vec<EdgeStats>,
    /// The edge to the writer of dead letters, from all nodes.
    pub letters: Arc<metrics::Edge>,
    /// Dead letters by their causes.
    pub causes: Arc<metrics::Letters>,
    /// Values of sources by the leniency that read them.
    pub accepted: Arc<metrics::Accepted>,
    /// What its threads are doing.
    pub vitals: Arc<Vitals>,
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
    pub stats: Arc<metrics::Edge>,
}
