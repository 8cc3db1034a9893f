//! What the parts of a simulated worker count, and whether its sums balance when it has ended.

use std::sync::Arc;

use super::worker::{Parts, name_of};
use crate::clock::Clock;
use crate::error::Result;
use crate::metrics::{Edge, Meter};
use crate::run::Summary;
use crate::run::observe::stats::{EdgeStats, Stats};
use crate::run::observe::vitals::Vitals;

/// The counters of a worker with these sources and sinks; each source feeds each sink.
pub fn stats(meter: &Meter, clock: &Arc<dyn Clock>, sources: usize, sinks: usize) -> Stats {
    let edge = |source: usize, sink: usize| EdgeStats {
        from: name_of(Parts::Source, source).to_string(),
        to: name_of(Parts::Sink, sink),
        stats: meter.edge("e"),
    };
    let sources_of = |sink: usize| (0..sources).map(move |source| (source, sink));
    Stats {
        pipeline: "p".to_owned(),
        worker: meter.worker(),
        sources: (0..sources).map(|at| (name_of(Parts::Source, at), meter.source("source"))).collect(),
        stages: Vec::new(),
        sinks: (0..sinks).map(|at| (name_of(Parts::Sink, at), meter.sink("sink"))).collect(),
        edges: (0..sinks).flat_map(sources_of).map(|(source, sink)| edge(source, sink)).collect(),
        letters: meter.edge("dead letters"),
        causes: meter.letters(),
        accepted: meter.accepted(),
        vitals: Arc::new(Vitals::new(Arc::clone(clock))),
        started: clock.now(),
        clock: Arc::clone(clock),
    }
}

/// The counters of the edge from a source to a sink.
pub fn edge(stats: &Stats, sources: usize, source: usize, sink: usize) -> Arc<Edge> {
    Arc::clone(&stats.edges[sink * sources + source].stats)
}

/// Whether the sums of a worker that came to its end balance.
pub fn check(stats: &Stats) -> Result<()> {
    Summary::of(stats, true).check()
}
