//! A worker: the real loops, coordinator, committer, gate and edges, wired as `wiring.rs` does, over what is simulated.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{BooleanArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::client::Transaction;
use super::consumer::{Member, Records, Taps};
use super::fan_in::FanIn;
use super::forge::Forger;
use super::kafka::{INPUTS, LETTERS, OUTPUTS, Row};
use super::setup::Breakage;
use super::sums;
use super::world::World;
use super::writer::Writer;
use crate::batch::{Batch, Payload};
use crate::budget::Budget;
use crate::channel::{self, Inputs, Receiver, Sender};
use crate::clock::Clock;
use crate::codec::{BadRow, Decoded, Decoder, Unknown};
use crate::config::spec::{OnFailure, OnTombstone};
use crate::connector::commit::Transaction as _;
use crate::connector::position::{Positions, Replay};
use crate::connector::source::Control as _;
use crate::dead_letter::Scribe;
use crate::epoch::Machine;
use crate::error::{Error, Result};
use crate::format::json;
use crate::metrics::{Edge, Meter};
use crate::progress::{Pulse, Role};
use crate::run::commit::committer::{Committed, ExactlyOnce};
use crate::run::commit::coordinator::{Coordinator, Due, Sizes};
use crate::run::commit::portion::Portion;
use crate::run::commit::write_gate::Gate;
use crate::run::node::decode::Decode;
use crate::run::node::{Halt, Turned, dead_letters, sink, source};
use crate::run::observe::stats::Stats;
use crate::run::signals::{Event, Signals};
use crate::units::{Epoch, Generation};

/// Far more than what ever waits.
const EVENTS: usize = 4_096;
/// A schedule takes less.
const FOREVER: Duration = Duration::from_secs(1 << 30);

/// One thread of a worker.
#[expect(clippy::large_enum_variant, reason = "few, and each is moved once a turn")]
pub enum Body {
    Start(usize, Arc<Transaction>),
    Source(source::Lane),
    Sink(sink::Lane),
    Letters(dead_letters::Node),
    Coordinator(Coordinator, Forger, Arc<Stats>),
    Member(Arc<Member>),
    FanIn(FanIn),
}

/// What a turn came to.
pub enum Outcome {
    On,
    Idle,
    Pause(u64),
    End,
    Failed(Error),
}

impl Body {
    pub fn start(world: &Arc<World>, worker: usize) -> Self {
        Self::Start(worker, Arc::new(Transaction::new(world, worker)))
    }

    pub fn is_member(&self) -> bool {
        matches!(self, Self::Member(_))
    }

    pub fn leave(&self) {
        if let Self::Member(member) = self {
            // A simulated group is always there.
            let _ = member.close();
        }
    }

    pub fn describe(&self) -> String {
        match self {
            Self::Start(..) => "start".to_owned(),
            Self::Source(lane) => format!("source {} {:?} {:?}", lane.lane, lane.generation, lane.injected),
            Self::Sink(lane) => {
                format!("sink {} {:?} {:?}", lane.terminal, lane.inputs.generation(), lane.turn.epoch)
            }
            Self::Letters(node) => format!("letters {:?} {:?}", node.inputs.generation(), node.turn.epoch),
            Self::Coordinator(coordinator, ..) => {
                format!("coordinator {:?} void {}", coordinator.machine, coordinator.void)
            }
            Self::Member(_) => "member".to_owned(),
            Self::FanIn(_) => "fan-in".to_owned(),
        }
    }

    pub fn turn(&mut self, world: &Arc<World>) -> Outcome {
        let halt = |events: &crossbeam_channel::Sender<Event>, turned: Result<Turned, Halt>| match turned {
            Ok(turned) => turned.into(),
            Err(halt) => {
                if let Halt::Failed(error) = halt {
                    // The coordinator may be gone.
                    let _ = events.send(Event::Failed(error));
                }
                Outcome::End
            }
        };
        match self {
            Self::Start(worker, transaction) => match transaction.begin(false) {
                Ok(()) => {
                    let bodies = Wiring::new(world, *worker, transaction).bodies();
                    world.add(*worker, bodies);
                    Outcome::End
                }
                Err(error) if error.is_passing() => Outcome::Pause(10),
                Err(error) => Outcome::Failed(error),
            },
            // A thread whose edge is full is blocked; a rewind unblocks it.
            Self::Source(lane) => {
                let room = lane.failures.has_room(1) && lane.outputs.iter().all(|output| output.has_room(1));
                if !room && lane.signals.generation.get() <= lane.generation {
                    return Outcome::Idle;
                }
                let turned = lane.turn(Duration::ZERO);
                halt(&lane.events, turned)
            }
            Self::Sink(lane) => {
                if !lane.failures.has_room(2) && lane.signals.generation.get() <= lane.inputs.generation() {
                    return Outcome::Idle;
                }
                let turned = lane.turn(Duration::ZERO);
                halt(&lane.events, turned)
            }
            Self::Letters(node) => {
                let turned = node.turn(Duration::ZERO);
                halt(&node.events, turned)
            }
            Self::Coordinator(coordinator, forger, stats) => coordinate(world, coordinator, forger, stats),
            Self::Member(member) if member.turn() => Outcome::On,
            Self::Member(_) => Outcome::Idle,
            Self::FanIn(relay) => relay.turn(),
        }
    }
}

impl From<Turned> for Outcome {
    fn from(turned: Turned) -> Self {
        match turned {
            Turned::On => Self::On,
            Turned::Idle => Self::Idle,
            Turned::Pause(pause) => Self::Pause(pause.as_millis() as u64),
            Turned::End => Self::End,
        }
    }
}

fn coordinate(world: &World, coordinator: &mut Coordinator, forger: &mut Forger, stats: &Stats) -> Outcome {
    let event = forger.next(coordinator);
    if let Some(Event::Rewind { reason, .. }) = &event {
        world.note(|| format!("a coordinator is asked to go back: {reason}"));
    }
    let idle = event.is_none();
    let generation = coordinator.machine.generation();
    if let Err(error) = coordinator.step(event) {
        return Outcome::Failed(error);
    }
    if coordinator.machine.is_finished() {
        coordinator.conclude(true);
        // What else is broken is to be noticed by what readers see.
        let judged = world.setup.breakage.is_none_or(|breakage| breakage == Breakage::CountAtOnce);
        return match sums::check(stats) {
            Err(error) if judged => Outcome::Failed(error),
            _ => Outcome::End,
        };
    }
    if idle && generation == coordinator.machine.generation() { Outcome::Idle } else { Outcome::On }
}

/// Good rows and bad ones.
struct Sevens(SchemaRef);

pub fn is_bad(row: Row) -> bool {
    row.n % 7 == 3 && !is_tombstone(row)
}

/// Records without a value.
pub fn is_tombstone(row: Row) -> bool {
    row.n % 11 == 4
}

impl Decoder for Sevens {
    fn decode(&mut self, payload: &Payload) -> Result<Decoded> {
        let Payload::Values(values) = payload else { return Err(Error::internal("values are expected")) };
        let words = values.iter().map(|v| v.and_then(|v| v.try_into().ok()).map_or(0, i64::from_le_bytes));
        let words: Vec<i64> = words.collect();
        let good: Vec<bool> = words.iter().map(|word| !is_bad(Row::unpack(*word))).collect();
        let bad = good.iter().enumerate().filter(|(_, good)| !**good);
        let bad = bad.map(|(row, _)| BadRow { row: row as u32, message: "seven".to_owned() }).collect();
        let kept: Int64Array =
            words.iter().zip(&good).filter(|(_, good)| **good).map(|(word, _)| *word).collect();
        let records = RecordBatch::try_new(Arc::clone(&self.0), vec![Arc::new(kept)]);
        let records = records.map_err(|e| Error::internal(e.to_string()))?;
        Ok(Decoded { records, good: Some(BooleanArray::from(good)), bad })
    }
}

/// Parts of a worker that have names.
#[derive(Clone, Copy)]
pub enum Parts {
    Source,
    Sink,
}

pub fn name_of(part: Parts, at: usize) -> Arc<str> {
    match part {
        Parts::Source => format!("source{at}").into(),
        Parts::Sink => format!("sink{at}").into(),
    }
}

struct Wiring<'a> {
    world: &'a Arc<World>,
    worker: usize,
    transaction: &'a Arc<Transaction>,
    clock: Arc<dyn Clock>,
    signals: Arc<Signals>,
    meter: Meter,
    stats: Arc<Stats>,
    tell: crossbeam_channel::Sender<Event>,
    events: crossbeam_channel::Receiver<Event>,
    gate: Arc<Gate>,
    /// By source and lane.
    outputs: BTreeMap<(usize, usize), Vec<Sender<Batch>>>,
    letters: Vec<Receiver<Vec<crate::batch::Failure>>>,
    bodies: Vec<Body>,
}

impl<'a> Wiring<'a> {
    fn new(world: &'a Arc<World>, worker: usize, transaction: &'a Arc<Transaction>) -> Self {
        let (tell, events) = crossbeam_channel::bounded(EVENTS);
        world.with(|s| s.lives[worker].tell = Some(tell.clone()));
        let (meter, clock) = (Meter::new("p"), Arc::clone(&world.clock) as Arc<dyn Clock>);
        let stats = sums::stats(&meter, &clock, world.setup.sources, world.setup.sinks);
        Self {
            world,
            worker,
            transaction,
            clock,
            signals: Arc::default(),
            meter,
            stats: Arc::new(stats),
            tell,
            events,
            gate: Arc::default(),
            outputs: BTreeMap::new(),
            letters: Vec::new(),
            bodies: Vec::new(),
        }
    }

    fn edge<T: channel::Load>(&self, stats: Arc<Edge>) -> (Sender<T>, Receiver<T>) {
        channel::edge(stats, Arc::clone(&self.clock), Arc::clone(&self.signals.generation))
    }

    fn inputs<T: channel::Load>(&self, receivers: Vec<Receiver<T>>) -> Inputs<T> {
        let mut inputs = Inputs::new(receivers, Arc::clone(&self.signals.generation));
        inputs.takes_old = self.world.is_broken(Breakage::IgnoreGeneration);
        inputs
    }

    fn failures(&mut self) -> Sender<Vec<crate::batch::Failure>> {
        let (sender, receiver) = self.edge(Arc::clone(&self.stats.letters));
        self.letters.push(receiver);
        sender
    }

    fn turn(&self) -> sink::Turn {
        let ungated = [Breakage::WriteOutOfTurn, Breakage::CommitEarly];
        let gated = !ungated.iter().any(|breakage| self.world.is_broken(*breakage));
        let mut turn = sink::Turn::new(gated.then(|| Arc::clone(&self.gate)));
        turn.wait = Duration::ZERO;
        turn
    }

    fn writer(&self, terminal: usize, topic: u8) -> Box<Writer> {
        Box::new(Writer::new(self.world, self.worker, self.transaction, terminal, topic))
    }

    fn bodies(mut self) -> Vec<Body> {
        let setup = &self.world.setup;
        let terminals = setup.sinks * setup.lanes + 1;
        for sink in 0..setup.sinks {
            for lane in 0..setup.lanes {
                self.sink(sink, lane);
            }
        }
        let committed = (0..setup.sources).map(|source| self.source(source)).collect();
        self.letters(terminals - 1);
        self.coordinator(committed, terminals);
        self.bodies
    }

    fn sink(&mut self, sink: usize, lane: usize) {
        let setup = &self.world.setup;
        let mut receivers = Vec::new();
        for source in 0..setup.sources {
            let (sender, receiver) = self.edge(sums::edge(&self.stats, setup.sources, source, sink));
            self.outputs.entry((source, lane)).or_default().push(sender);
            receivers.push(receiver);
        }
        if self.world.is_broken(Breakage::ForgetBarrier) {
            let (sender, receiver) = self.edge(self.meter.edge("e"));
            let sources = receivers.into_iter().map(|receiver| self.inputs(vec![receiver])).collect();
            self.bodies.push(Body::FanIn(FanIn::new(sources, sender)));
            receivers = vec![receiver];
        }
        let terminal = sink * setup.lanes + lane;
        let lane = sink::Lane {
            name: name_of(Parts::Sink, sink),
            terminal,
            sink: self.writer(terminal, OUTPUTS + sink as u8),
            inputs: self.inputs(receivers),
            failures: self.failures(),
            on_failure: OnFailure::DeadLetter,
            signals: Arc::clone(&self.signals),
            events: self.tell.clone(),
            stats: Arc::clone(&self.stats.sinks[sink].1),
            clock: Arc::clone(&self.clock),
            pending: sink::Pending::default(),
            work: None,
            turn: self.turn(),
            counts_at_once: self.world.is_broken(Breakage::CountAtOnce),
        };
        self.bodies.push(Body::Sink(lane));
    }

    fn source(&mut self, source: usize) -> Committed {
        let (name, lanes) = (name_of(Parts::Source, source), self.world.setup.lanes);
        let taps: Vec<Taps> = (0..lanes).map(|_| Taps::default()).collect();
        let stats = Arc::clone(&self.stats.sources[source].1);
        let schema: SchemaRef = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
        for (lane, taps) in taps.iter().enumerate() {
            let (world, taps, name) = (Arc::clone(self.world), Arc::clone(taps), Arc::clone(&name));
            let reader = Records { world, worker: self.worker, taps, source: Arc::clone(&name) };
            let decoder: Option<Box<dyn Decoder>> = Some(Box::new(Sevens(Arc::clone(&schema))));
            let lane = source::Lane {
                pulse: Arc::new(Pulse::new(Role::Source, &name, Some(lane), &self.clock)),
                name,
                source,
                lane: source * lanes + lane,
                reader: Box::new(reader),
                wake: Arc::default(),
                is_woken: false,
                decode: Decode {
                    decoder,
                    metadata: Vec::new(),
                    schema: Arc::clone(&schema),
                    on_tombstone: OnTombstone::Pass,
                    unknown: Unknown::default(),
                },
                on_failure: OnFailure::DeadLetter,
                outputs: self.outputs.remove(&(source, lane)).unwrap_or_default(),
                failures: self.failures(),
                signals: Arc::clone(&self.signals),
                events: self.tell.clone(),
                stats: Arc::clone(&stats),
                accepted: Arc::clone(&self.stats.accepted),
                budget: Budget::new(None, &stats, &self.clock),
                sampler: None,
                positions: Positions::new(),
                taken: 0,
                full: false,
                injected: Epoch(0),
                generation: Generation(0),
                at_end: false,
                ended: false,
            };
            self.bodies.push(Body::Source(lane));
        }
        let topic = INPUTS + source as u8;
        let member = Arc::new(Member::new(self.world, self.worker, topic, taps, self.tell.clone()));
        self.bodies.push(Body::Member(Arc::clone(&member)));
        Committed { name, control: member, replay: Replay::Group, stats }
    }

    fn letters(&mut self, terminal: usize) {
        let receivers = std::mem::take(&mut self.letters);
        let node = dead_letters::Node {
            scribe: Scribe {
                pipeline: "p".to_owned(),
                rows: json::explicit_nulls().expect("the format json has the option"),
                attempts: Arc::default(),
                columns: Default::default(),
            },
            terminal,
            writer: dead_letters::Writer::Kafka(self.writer(terminal, LETTERS)),
            inputs: self.inputs(receivers),
            signals: Arc::clone(&self.signals),
            events: self.tell.clone(),
            stats: Arc::clone(&self.stats.worker),
            clock: Arc::clone(&self.clock),
            causes: Arc::clone(&self.stats.causes),
            pending: BTreeMap::new(),
            work: None,
            turn: self.turn(),
        };
        self.bodies.push(Body::Letters(node));
    }

    fn coordinator(&mut self, sources: Vec<Committed>, terminals: usize) {
        let setup = &self.world.setup;
        let lanes = setup.sources * setup.lanes;
        self.gate.open(Generation(0), Epoch(1));
        let read = sources.iter().map(|source| Arc::clone(&source.stats)).collect();
        let transaction = Arc::clone(self.transaction) as _;
        let (gate, empty_wait) = (Arc::clone(&self.gate), Duration::ZERO);
        let coordinator = Coordinator {
            machine: Machine::new(lanes, terminals),
            signals: Arc::clone(&self.signals),
            events: self.events.clone(),
            committer: Box::new(ExactlyOnce {
                sources,
                transaction,
                gate,
                empty_wait,
                full: None,
                // A record has eight bytes.
                portion: Portion::of(setup.portion, 8),
                written: None,
            }),
            read,
            interval: Duration::from_millis(setup.interval),
            shutdown_timeout: FOREVER,
            clock: Arc::clone(&self.clock),
            stats: Arc::clone(&self.stats.worker),
            pulse: Arc::new(Pulse::new(Role::Coordinator, &"coordinator".into(), None, &self.clock)),
            vitals: Arc::clone(&self.stats.vitals),
            begun: VecDeque::new(),
            at_end: BTreeSet::new(),
            lanes,
            stopping: false,
            drains: Vec::new(),
            void: false,
            setbacks: 0,
            due: Due::new(self.clock.now()),
            sizes: Sizes::default(),
        };
        let early = self.world.is_broken(Breakage::CommitEarly);
        let forger = Forger::new(early, lanes, terminals);
        self.bodies.push(Body::Coordinator(coordinator, forger, Arc::clone(&self.stats)));
    }
}
