//! What starts a worker: opens what `open` opens, has `wiring` make the edges, and starts the threads.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use crossbeam_channel::Receiver as Events;

use super::commit::committer::{AtLeastOnce, Committed, Committer, EMPTY_WAIT, ExactlyOnce};
use super::commit::coordinator::{Coordinator, Due, Sizes};
use super::commit::portion::Portion;
use super::commit::position_file::State;
use super::commit::write_gate::Gate;
use super::controls::Controls;
use super::node::circuit_breaker::Breaker;
use super::node::decode::Decode;
use super::node::{Halt, dead_letters, sink, source, stage};
use super::signals::Event;
use super::wiring::{Target, Wiring};
use super::{Node, Options, Running, open};
use crate::batch::Failure;
use crate::budget::Budget;
use crate::channel::{Inputs, Sender};
use crate::clock::Clock;
use crate::codec::Unknown;
use crate::connector::commit::Transaction as _;
use crate::connector::kafka::sink::Transaction;
use crate::connector::position::Positions;
use crate::connector::source::{Control, Opened, Reader};
use crate::dead_letter::Scribe;
use crate::epoch::Machine;
use crate::error::{Error, Result};
use crate::format::json;
use crate::plan::{Output, Plan, SinkNode, StageNode};
use crate::progress::{Doing, Pulse, Role};
use crate::units::{COMMIT_INTERVAL_WHOLE, Epoch, Generation, KAFKA_ASSIGN_TURN, REVOKE_TIMEOUT};

/// Events that wait for the coordinator; a full queue blocks nodes for the time of a commit.
const EVENTS_MAX: usize = 4_096;

pub(super) fn start(mut plan: Plan, options: &Options, clock: Arc<dyn Clock>) -> Result<Running> {
    let whole = plan.is_whole(options.until_end);
    if whole {
        plan.commit_interval = COMMIT_INTERVAL_WHOLE;
    }
    let (tell, events) = crossbeam_channel::bounded(EVENTS_MAX);
    let worker = open::worker(&plan, options);
    let state = open::state(&plan, options)?;
    let mut wiring = Wiring::new(&plan, clock, tell, Arc::clone(&options.attempts));
    wiring.follow_traces(&plan, &worker);
    // Sinks first: a worker that cannot write must not join a group.
    let transaction = open::transaction(&plan, &worker)?;
    let sinks = open::sinks(&plan, &worker, transaction.as_ref(), whole)?;
    let writer = open::dead_letters(&plan, &worker, transaction.as_ref())?;
    if let Some(transaction) = &transaction {
        // Ends what an earlier worker of this name left open, before it is asked where to go on.
        open::patiently(&*wiring.clock, || transaction.begin(false))?;
        wiring.gate = Some(Arc::new(Gate::default()));
    }
    let opened = open::sources(&plan, options, &worker, state.as_ref(), &wiring.tell)?;
    let finality = match transaction {
        Some(transaction) => Finality::Transaction(transaction),
        None => Finality::State(state),
    };
    wiring.nodes(plan, opened, sinks, writer, events, finality)
}

/// What makes an epoch final.
enum Finality {
    /// Sinks by themselves, then the groups and the state folder.
    State(Option<State>),
    /// One transaction.
    Transaction(Arc<Transaction>),
}

impl Wiring {
    /// Starts a node; its failure, or its panic, brings the worker down.
    fn spawn(
        &mut self,
        name: String,
        pulse: Arc<Pulse>,
        run: impl FnOnce() -> Result<(), Halt> + Send + 'static,
    ) -> Result<()> {
        let tell = self.tell.clone();
        let place = name.clone();
        let span = span(&self.stats.pipeline, &pulse);
        self.stats.vitals.watch(Arc::clone(&pulse));
        let body = move || {
            let _span = span.enter();
            let error = match std::panic::catch_unwind(AssertUnwindSafe(run)) {
                Ok(Ok(()) | Err(Halt::Disconnected)) => return pulse.now(Doing::Ended),
                Ok(Err(Halt::Failed(error))) => error,
                Err(panic) => {
                    let text = panic.downcast_ref::<String>().map(String::as_str);
                    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
                    Error::internal(format!("{place} panicked: {text}"))
                }
            };
            pulse.died(&error);
            if let Err(unsent) = tell.send(Event::Failed(error)) {
                // The coordinator has ended, so everything was committed (or another failure came first).
                if let Event::Failed(error) = unsent.0 {
                    tracing::warn!(%error, "failed while the worker was ending");
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name(name.chars().take(15).collect())
            .spawn(body)
            .map_err(|e| Error::internal(format!("cannot start a thread: {e}")))?;
        self.threads.push(Node { name, thread });
        Ok(())
    }

    fn nodes(
        mut self,
        plan: Plan,
        opened: Vec<Opened>,
        sinks: Vec<open::LaneSinks>,
        writer: dead_letters::Writer,
        events: Events<Event>,
        finality: Finality,
    ) -> Result<Running> {
        let lanes = plan.lanes;
        let source_lanes = plan.sources.len() * lanes;
        let terminals = plan.sinks.len() * lanes + 1;
        let (interval, shutdown_timeout) = (plan.commit_interval, plan.shutdown_timeout);
        let mut controls = Vec::new();
        let mut committed = Vec::new();
        let mut terminal = 0;
        for ((i, node), lane_sinks) in plan.sinks.iter().enumerate().zip(sinks) {
            for (lane, sink) in lane_sinks.into_iter().enumerate() {
                self.sink(node, i, lane, terminal, sink)?;
                terminal += 1;
            }
        }
        for (i, node) in plan.stages.iter().enumerate() {
            for lane in 0..lanes {
                self.stage(node, i, lane)?;
            }
        }
        // Sources are started last: everything they feed is there.
        let mut readers = Vec::new();
        for ((i, node), opened) in plan.sources.iter().enumerate().zip(opened) {
            if opened.readers.len() != lanes {
                return Err(Error::internal(format!(
                    "source `{}` opened {} lanes",
                    node.name,
                    opened.readers.len()
                )));
            }
            committed.push(Committed {
                name: Arc::clone(&node.name),
                control: Arc::clone(&opened.control),
                replay: node.kind.replay,
                stats: Arc::clone(&self.stats.sources[i].1),
            });
            self.stats.vitals.follow(&node.name, Arc::clone(&opened.control));
            controls.push(opened.control);
            let watched = opened.readers.into_iter().enumerate().map(|(lane, reader)| {
                (i, lane, reader, Arc::new(self.pulse(Role::Source, &node.name, Some(lane))))
            });
            readers.extend(watched);
        }
        let letters: Vec<_> = readers.iter().map(|(.., pulse)| self.letters(pulse)).collect();
        self.dead_letters(&plan, writer, terminal)?;
        let pulse = self.pulse(Role::Coordinator, &"coordinator".into(), None);
        let read = committed.iter().map(|source| Arc::clone(&source.stats)).collect();
        let (committer, pulse): (Box<dyn Committer>, Pulse) = match (finality, &self.gate) {
            (Finality::Transaction(transaction), Some(gate)) => {
                // A commit waits until it is certain: the positions, then the end.
                let pulse = pulse.patient(transaction.timeout() * 2);
                gate.open(Generation(0), Epoch(1));
                let (sources, gate, empty_wait) = (committed, Arc::clone(gate), EMPTY_WAIT);
                let portion = Portion::new(source_lanes);
                let (full, written) = (None, None);
                let committer =
                    ExactlyOnce { sources, transaction, gate, empty_wait, full, portion, written };
                (Box::new(committer), pulse)
            }
            (Finality::State(state), _) => (Box::new(AtLeastOnce { sources: committed, state }), pulse),
            (Finality::Transaction(_), None) => return Err(Error::internal("a transaction without a gate")),
        };
        let pulse = Arc::new(pulse);
        self.stats.vitals.watch(Arc::clone(&pulse));
        let coordinator = Coordinator {
            machine: Machine::new(source_lanes, terminals),
            signals: Arc::clone(&self.signals),
            events,
            committer,
            read,
            interval,
            shutdown_timeout,
            clock: Arc::clone(&self.clock),
            stats: Arc::clone(&self.stats.worker),
            pulse,
            vitals: Arc::clone(&self.stats.vitals),
            begun: VecDeque::new(),
            at_end: BTreeSet::new(),
            lanes: source_lanes,
            stopping: false,
            drains: Vec::new(),
            void: false,
            setbacks: 0,
            due: Due::new(self.clock.now()),
            sizes: Sizes::default(),
        };
        let span = span(&self.stats.pipeline, &coordinator.pulse);
        let coordinator = std::thread::Builder::new()
            .name("coordinator".to_owned())
            .spawn(move || span.in_scope(|| coordinator.run()))
            .map_err(|e| Error::internal(format!("cannot start a thread: {e}")))?;
        let controls = self.serve(&plan, controls)?;
        for ((i, lane, reader, pulse), failures) in readers.into_iter().zip(letters) {
            self.source(&plan, i, lane, Feed { reader, failures, pulse })?;
        }
        let Self { stats, tell, threads, spans, .. } = self;
        Ok(Running { stats: Arc::new(stats), events: tell, coordinator, nodes: threads, controls, spans })
    }

    /// One thread serves each control queue.
    fn serve(&mut self, plan: &Plan, controls: Vec<Arc<dyn Control>>) -> Result<Controls> {
        let mut all = Controls::default();
        for (node, control) in plan.sources.iter().zip(controls) {
            if !control.is_served() {
                all.hold(control);
                continue;
            }
            // A rebalance looks up offsets, or drains, within one turn.
            let turn = KAFKA_ASSIGN_TURN + REVOKE_TIMEOUT;
            let pulse = Arc::new(self.pulse(Role::Group, &node.name, None).patient(turn));
            let span = span(&self.stats.pipeline, &pulse);
            self.stats.vitals.watch(Arc::clone(&pulse));
            all.serve(control, self.tell.clone(), pulse, span)?;
        }
        Ok(all)
    }

    fn source(&mut self, plan: &Plan, index: usize, lane: usize, feed: Feed) -> Result<()> {
        let Feed { reader, failures, pulse } = feed;
        let (node, lanes) = (&plan.sources[index], plan.lanes);
        let decoder = match &node.format {
            Some(format) => {
                let decoder = format.decoder(node.prepared.schema());
                Some(decoder.map_err(|e| e.context(format!("source `{}`", node.name)))?)
            }
            None => None,
        };
        let wake = reader.wake();
        let is_woken = wake.is_some();
        let wake = wake.unwrap_or_default();
        self.signals.attend(&wake);
        let body = source::Lane {
            name: Arc::clone(&node.name),
            source: index,
            lane: index * lanes + lane,
            reader,
            wake,
            is_woken,
            decode: Decode {
                decoder,
                metadata: node.metadata.clone(),
                schema: Arc::clone(&node.schema),
                on_tombstone: node.on_tombstone,
                unknown: Unknown::default(),
            },
            on_failure: node.on_failure,
            outputs: self.take_outputs(Output::Source(index), lane, &pulse),
            failures,
            signals: Arc::clone(&self.signals),
            events: self.tell.clone(),
            stats: Arc::clone(&self.stats.sources[index].1),
            accepted: Arc::clone(&self.stats.accepted),
            pulse: Arc::clone(&pulse),
            budget: Budget::new(
                plan.memory.map(|memory| memory.lane),
                &self.stats.sources[index].1,
                &self.clock,
            ),
            sampler: self.sampler(plan, node),
            positions: Positions::new(),
            taken: 0,
            full: false,
            injected: Epoch(0),
            generation: Generation(0),
            at_end: false,
            ended: false,
        };
        self.spawn(format!("{}/{lane}", node.name), pulse, || body.run())
    }

    fn stage(&mut self, node: &StageNode, index: usize, lane: usize) -> Result<()> {
        let ports = node.bound.ports().len();
        let pulse = self.pulse(Role::Stage, &node.name, Some(lane)).patient(node.bound.limits().time);
        let pulse = Arc::new(pulse);
        let body = stage::Lane {
            name: Arc::clone(&node.name),
            bound: node.bound.clone(),
            instance: None,
            inputs: self.take_inputs(Target::Stage(index), lane, &pulse),
            outputs: (0..ports)
                .map(|port| self.take_outputs(Output::Stage(index, port), lane, &pulse))
                .collect(),
            failures: self.letters(&pulse),
            on_failure: node.on_failure,
            stats: Arc::clone(&self.stats.stages[index].1),
            signals: Arc::clone(&self.signals),
            clock: Arc::clone(&self.clock),
            breaker: Breaker::default(),
            told: None,
        };
        self.spawn(format!("{}/{lane}", node.name), pulse, || body.run())
    }

    fn sink(
        &mut self,
        node: &SinkNode,
        index: usize,
        lane: usize,
        terminal: usize,
        sink: Box<dyn crate::connector::sink::Sink>,
    ) -> Result<()> {
        let pulse = Arc::new(self.pulse(Role::Sink, &node.name, Some(lane)));
        let body = sink::Lane {
            name: Arc::clone(&node.name),
            terminal,
            sink,
            inputs: self.take_inputs(Target::Sink(index), lane, &pulse),
            failures: self.letters(&pulse),
            on_failure: node.on_failure,
            signals: Arc::clone(&self.signals),
            events: self.tell.clone(),
            stats: Arc::clone(&self.stats.sinks[index].1),
            clock: Arc::clone(&self.clock),
            pending: sink::Pending::default(),
            work: None,
            turn: sink::Turn::new(self.gate.clone()),
            #[cfg(test)]
            counts_at_once: false,
        };
        self.spawn(format!("{}/{lane}", node.name), pulse, || body.run())
    }

    fn dead_letters(&mut self, plan: &Plan, writer: dead_letters::Writer, terminal: usize) -> Result<()> {
        let letters = std::mem::take(&mut self.letters);
        let pulse = Arc::new(self.pulse(Role::DeadLetters, &"dead letters".into(), None));
        let columns = plan.sources.iter().filter_map(|source| {
            Some((Arc::clone(&source.name), source.format.as_ref()?.header()?.to_vec()))
        });
        let body = dead_letters::Node {
            scribe: Scribe {
                pipeline: plan.name.clone(),
                rows: json::explicit_nulls()?,
                attempts: Arc::clone(&self.attempts),
                columns: columns.collect(),
            },
            terminal,
            writer,
            inputs: Inputs::new(letters, Arc::clone(&self.signals.generation)).watched(&pulse),
            signals: Arc::clone(&self.signals),
            events: self.tell.clone(),
            stats: Arc::clone(&self.stats.worker),
            clock: Arc::clone(&self.clock),
            causes: Arc::clone(&self.stats.causes),
            pending: BTreeMap::new(),
            work: None,
            turn: sink::Turn::new(self.gate.clone()),
        };
        self.spawn("dead-letters".to_owned(), pulse, || body.run())
    }
}

/// What one lane of a source works with.
struct Feed {
    reader: Box<dyn Reader>,
    failures: Sender<Vec<Failure>>,
    pulse: Arc<Pulse>,
}

/// What every log line of a thread says of it, whatever the level of the line.
fn span(pipeline: &str, pulse: &Pulse) -> tracing::Span {
    let (node, lane) = (&*pulse.node, pulse.lane);
    match pulse.role {
        Role::Source | Role::Group => tracing::error_span!("source", pipeline, source = node, lane),
        Role::Stage => tracing::error_span!("stage", pipeline, stage = node, lane),
        Role::Sink => tracing::error_span!("sink", pipeline, sink = node, lane),
        Role::DeadLetters | Role::Coordinator => tracing::error_span!("worker", pipeline, node),
    }
}
