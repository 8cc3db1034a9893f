//! Who is connected to whom: makes the edges between what `open` has opened.

use std::collections::HashMap;
use std::sync::Arc;

use crossbeam_channel::Sender as Tell;

use super::Node;
use super::commit::write_gate::Gate;
use super::observe::otlp;
use super::observe::stats::{EdgeStats, Stats};
use super::observe::vitals::Vitals;
use super::signals::{Event, Signals};
use crate::batch::{Batch, Failure};
use crate::channel::{self, Inputs, Receiver, Sender};
use crate::clock::Clock;
use crate::dead_letter::Attempts;
use crate::metrics::Meter;
use crate::plan::{Output, Plan, SourceNode, StageNode};
use crate::progress::{Pulse, Role};
use crate::trace::{Export, Sampler, Tracer};

/// Edges under construction: what each node of each lane sends to and receives from.
pub(super) struct Wiring {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) tell: Tell<Event>,
    pub(super) signals: Arc<Signals>,
    pub(super) meter: Meter,
    pub(super) stats: Stats,
    /// Sending ends by output and lane.
    pub(super) outputs: HashMap<(Output, usize), Vec<Sender<Batch>>>,
    /// Receiving ends by receiving node and lane, in the order of its inputs.
    pub(super) inputs: HashMap<(Target, usize), Vec<Receiver<Batch>>>,
    pub(super) letters: Vec<Receiver<Vec<Failure>>>,
    pub(super) attempts: Arc<Attempts>,
    pub(super) threads: Vec<Node>,
    /// Where traces are followed.
    pub(super) tracer: Option<Arc<Tracer>>,
    pub(super) spans: Option<otlp::Exporter>,
    /// Where all terminals share a transaction: whose turn it is.
    pub(super) gate: Option<Arc<Gate>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Target {
    Stage(usize),
    Sink(usize),
}

impl Wiring {
    pub(super) fn new(
        plan: &Plan,
        clock: Arc<dyn Clock>,
        tell: Tell<Event>,
        attempts: Arc<Attempts>,
    ) -> Self {
        let meter = Meter::new(&plan.name);
        let stats = Stats {
            pipeline: plan.name.clone(),
            worker: meter.worker(),
            sources: plan.sources.iter().map(|s| (Arc::clone(&s.name), meter.source(&s.name))).collect(),
            stages: plan.stages.iter().map(|s| (Arc::clone(&s.name), meter.stage(&s.name))).collect(),
            sinks: plan.sinks.iter().map(|s| (Arc::clone(&s.name), meter.sink(&s.name))).collect(),
            edges: Vec::new(),
            letters: meter.edge("dead letters"),
            causes: meter.letters(),
            accepted: meter.accepted(),
            vitals: Arc::new(Vitals::new(Arc::clone(&clock))),
            started: clock.now(),
            clock: Arc::clone(&clock),
        };
        for (node, (_, stats)) in plan.stages.iter().zip(&stats.stages) {
            stats.memory_limit.set(node.bound.limits().memory_bytes as u64);
        }
        let mut wiring = Self {
            clock,
            tell,
            signals: Arc::new(Signals::default()),
            meter,
            stats,
            outputs: HashMap::new(),
            inputs: HashMap::new(),
            letters: Vec::new(),
            attempts,
            threads: Vec::new(),
            tracer: None,
            spans: None,
            gate: None,
        };
        for (i, node) in plan.stages.iter().enumerate() {
            wiring.connect(plan, &node.inputs, Target::Stage(i), &node.name);
        }
        for (i, node) in plan.sinks.iter().enumerate() {
            wiring.connect(plan, &node.inputs, Target::Sink(i), &node.name);
        }
        wiring
    }

    pub(super) fn follow_traces(&mut self, plan: &Plan, worker: &str) {
        let Some(tracing) = &plan.tracing else { return };
        let stats = Arc::clone(&self.stats.worker);
        if let Some(endpoint) = &tracing.endpoint {
            self.spans = otlp::Exporter::start(endpoint, &plan.name, worker, &self.clock, &stats);
        }
        let export = self.spans.as_ref().map(|spans| Box::new(spans.queue()) as Box<dyn Export>);
        self.tracer = Some(Tracer::new(&plan.name, worker, Arc::clone(&self.clock), stats, export));
    }

    /// What finds the records of a source that belong to a trace.
    pub(super) fn sampler(&self, plan: &Plan, node: &SourceNode) -> Option<Sampler> {
        let (tracer, tracing) = (self.tracer.clone()?, plan.tracing.as_ref()?);
        Some(Sampler::new(tracer, Arc::clone(&node.name), node.kind.name == "kafka", tracing.sample))
    }

    pub(super) fn connect(&mut self, plan: &Plan, inputs: &[Output], target: Target, name: &Arc<str>) {
        for &output in inputs {
            let from = output_name(plan, output);
            let stats = self.meter.edge(&format!("{from} -> {name}"));
            self.stats.edges.push(EdgeStats { from, to: Arc::clone(name), stats: Arc::clone(&stats) });
            for lane in 0..plan.lanes {
                let current = Arc::clone(&self.signals.generation);
                let (sender, receiver) = channel::edge(Arc::clone(&stats), Arc::clone(&self.clock), current);
                self.outputs.entry((output, lane)).or_default().push(sender);
                self.inputs.entry((target, lane)).or_default().push(receiver);
            }
        }
    }

    /// A node's edge to the dead letters.
    pub(super) fn letters(&mut self, pulse: &Arc<Pulse>) -> Sender<Vec<Failure>> {
        let current = Arc::clone(&self.signals.generation);
        let (sender, receiver) =
            channel::edge(Arc::clone(&self.stats.letters), Arc::clone(&self.clock), current);
        self.letters.push(receiver);
        sender.watched(pulse)
    }

    pub(super) fn take_outputs(
        &mut self,
        output: Output,
        lane: usize,
        pulse: &Arc<Pulse>,
    ) -> Vec<Sender<Batch>> {
        let outputs = self.outputs.remove(&(output, lane)).unwrap_or_default();
        outputs.into_iter().map(|output| output.watched(pulse)).collect()
    }

    pub(super) fn take_inputs(&mut self, target: Target, lane: usize, pulse: &Arc<Pulse>) -> Inputs<Batch> {
        let receivers = self.inputs.remove(&(target, lane)).unwrap_or_default();
        Inputs::new(receivers, Arc::clone(&self.signals.generation)).watched(pulse)
    }

    /// What a thread that is to be started is doing.
    pub(super) fn pulse(&self, role: Role, node: &Arc<str>, lane: Option<usize>) -> Pulse {
        Pulse::new(role, node, lane, &self.clock)
    }
}

fn output_name(plan: &Plan, output: Output) -> String {
    match output {
        Output::Source(i) => plan.sources[i].name.to_string(),
        Output::Stage(i, port) => {
            let node: &StageNode = &plan.stages[i];
            match node.bound.ports() {
                [_] => node.name.to_string(),
                ports => format!("{}.{}", node.name, ports[port].name),
            }
        }
    }
}
