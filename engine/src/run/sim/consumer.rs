//! What stands for librdkafka's consumer: a member of the group and the readers of its partitions. It follows
//! `connector/kafka/source/group.rs` and `connector/kafka/source/reader.rs`; what is owned is the real thing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::BinaryArray;
use crossbeam_channel::{Receiver, Sender, TryRecvError};
use rdkafka::{Offset, TopicPartitionList};

use super::group::Told;
use super::kafka::{Fate, Row, Tp};
use super::setup::{Breakage, Fault};
use super::worker::is_tombstone;
use super::world::World;
use crate::batch::{Origin, Payload, SourceBatch};
use crate::connector::kafka::client::GroupOffsets;
use crate::connector::kafka::source::ownership::Owned;
use crate::connector::position::{Partition, Positions};
use crate::connector::source::{Control, Polled, Reader};
use crate::error::{Code, Error, Result};
use crate::run::signals::Event;
use crate::sync::lock;

/// What a transaction is told of the member.
pub struct MemberName {
    pub member: u32,
    pub generation: Option<u32>,
}

const NAMES: [&str; 2] = ["in0", "in1"];

fn partition_of(tp: Tp) -> Partition {
    Partition { topic: NAMES[tp.0 as usize].into(), partition: i32::from(tp.1) }
}

pub fn tp_of(topic: &str, partition: i32) -> Tp {
    (u8::from(topic == NAMES[1]), partition as u8)
}

/// The number of an original record: its key, as a tombstone has no value.
pub fn number(origin: &Origin) -> i64 {
    let Some(keys) = &origin.batch.keys else { return 0 };
    keys.value(origin.row).try_into().map_or(0, i64::from_le_bytes)
}

/// A partition that a lane reads.
pub struct Tap {
    start: i64,
    next: i64,
}

/// The partitions of one lane.
pub type Taps = Arc<Mutex<BTreeMap<Tp, Tap>>>;

#[derive(Default)]
enum Phase {
    /// To join, or to join again.
    #[default]
    Out,
    Stable,
    /// Revoked partitions are being drained.
    Draining {
        leaving: Vec<Tp>,
        added: Vec<Tp>,
        done: Receiver<()>,
        deadline: u64,
        /// Turns of the transaction until then.
        turns: u64,
    },
    /// Where new partitions go on is looked up.
    Assigning {
        added: Vec<Tp>,
        revoked: bool,
    },
    Left,
}

#[derive(Default)]
struct Inner {
    phase: Phase,
    id: u32,
    generation: u32,
}

/// A member of the group: one source of one worker.
pub struct Member {
    world: Arc<World>,
    worker: usize,
    topic: u8,
    lanes: Vec<Taps>,
    owned: Mutex<Owned>,
    inner: Mutex<Inner>,
    events: Sender<Event>,
}

impl Member {
    pub fn new(
        world: &Arc<World>,
        worker: usize,
        topic: u8,
        lanes: Vec<Taps>,
        events: Sender<Event>,
    ) -> Self {
        let world = Arc::clone(world);
        Self { world, worker, topic, lanes, owned: Mutex::default(), inner: Mutex::default(), events }
    }

    fn owned(&self) -> BTreeSet<Tp> {
        lock(&self.owned).partitions().map(|p| tp_of(&p.topic, p.partition)).collect()
    }

    /// One turn of the thread that serves the group; whether there was anything to do.
    pub fn turn(&self) -> bool {
        let mut inner = lock(&self.inner);
        match std::mem::take(&mut inner.phase) {
            Phase::Left => {
                inner.phase = Phase::Left;
                false
            }
            Phase::Out => {
                inner.id = self.world.with(|s| s.kafka.group.enter(self.worker, self.topic, s.now));
                inner.phase = Phase::Stable;
                true
            }
            Phase::Stable => self.poll(&mut inner),
            Phase::Draining { leaving, added, done, deadline, turns } => {
                let full = self.world.with(|s| s.lives[self.worker].turns > turns);
                let drained = match done.try_recv() {
                    Ok(()) => true,
                    _ if full && self.world.is_broken(Breakage::LetGoBeforeCommit) => true,
                    Err(TryRecvError::Empty) if self.world.with(|s| s.now) < deadline => {
                        inner.phase = Phase::Draining { leaving, added, done, deadline, turns };
                        return false;
                    }
                    Err(_) => false,
                };
                self.let_go(&leaving, drained);
                inner.phase = Phase::Assigning { added, revoked: true };
                true
            }
            Phase::Assigning { added, revoked } => {
                if !self.take(&added) {
                    inner.phase = Phase::Assigning { added, revoked };
                    return false;
                }
                inner.phase = Phase::Stable;
                if revoked {
                    // So that they may go to somebody else.
                    self.world.with(|s| s.kafka.group.rebalance(s.now));
                }
                true
            }
        }
    }

    fn poll(&self, inner: &mut Inner) -> bool {
        inner.phase = Phase::Stable;
        let told = self.world.with(|s| s.kafka.group.poll(inner.id, || self.owned()));
        let (generation, assignment) = match told {
            Told::Wait => return false,
            Told::Assigned(generation, _) if generation == inner.generation => return false,
            Told::Assigned(generation, assignment) => (generation, assignment),
            Told::Unknown => {
                let all: Vec<Tp> = self.owned().into_iter().collect();
                self.remove(&all);
                self.let_go(&all, all.is_empty());
                (inner.phase, inner.generation) = (Phase::Out, 0);
                return true;
            }
        };
        inner.generation = generation;
        let owned = self.owned();
        let leaving: Vec<Tp> = owned.difference(&assignment).copied().collect();
        let added: Vec<Tp> = assignment.difference(&owned).copied().collect();
        self.world.note(|| {
            format!("worker {} generation {generation}: revoked {leaving:?}, assigned {added:?}", self.worker)
        });
        if leaving.is_empty() {
            inner.phase = Phase::Assigning { added, revoked: false };
            return true;
        }
        self.remove(&leaving);
        let (tell, done) = crossbeam_channel::bounded(1);
        let (mut deadline, turns) =
            self.world.with(|s| (s.now + s.setup.revoke_wait, s.lives[self.worker].turns));
        if self.world.is_broken(Breakage::DropOnRevoke) {
            deadline = 0;
        } else if self.events.send(Event::Drain { done: tell }).is_err() {
            // The worker is coming down.
            deadline = 0;
        }
        inner.phase = Phase::Draining { leaving, added, done, deadline, turns };
        true
    }

    /// Readers hand out nothing of these any more.
    fn remove(&self, leaving: &[Tp]) {
        self.lanes.iter().for_each(|lane| lock(lane).retain(|tp, _| !leaving.contains(tp)));
    }

    fn let_go(&self, leaving: &[Tp], drained: bool) {
        let leaving: Vec<Partition> = leaving.iter().map(|tp| partition_of(*tp)).collect();
        lock(&self.owned).leave(&leaving, drained);
        if self.world.is_broken(Breakage::ForgetLoss) {
            lock(&self.owned).go_back();
        }
        if !drained && !self.world.is_broken(Breakage::DropOnRevoke) {
            self.world.note(|| format!("worker {} has lost partitions", self.worker));
            // A worker that is gone has nothing to go back to.
            let _ = self.events.send(Event::Rewind { of: None, reason: "partitions were lost".to_owned() });
        }
    }

    /// Finds where new partitions go on, and gives them to their lanes.
    fn take(&self, added: &[Tp]) -> bool {
        if self.world.fault(Fault::Passing) {
            return false;
        }
        let stable = !self.world.is_broken(Breakage::ReadUnstable);
        let Some(found) = self.world.with(|s| s.kafka.group.fetch(added, stable)) else { return false };
        for tp in added {
            let start = found.get(tp).copied().unwrap_or(0);
            lock(&self.owned).take(partition_of(*tp), start);
            let lane = &self.lanes[usize::from(tp.1) % self.lanes.len()];
            lock(lane).insert(*tp, Tap { start, next: start });
        }
        true
    }
}

impl Control for Member {
    fn poll(&self, _: Duration) -> Result<()> {
        self.turn();
        Ok(())
    }

    fn commit(&self, _: &Positions) -> Result<()> {
        Err(Error::internal("only transactions commit here"))
    }

    fn claim(&self, positions: &Positions) -> Result<GroupOffsets> {
        self.world.pump(self.worker)?;
        if self.world.fault(Fault::HeldUp) {
            self.world.hold_up(self.worker)?;
        }
        let (member, generation) = {
            let inner = lock(&self.inner);
            (
                inner.id,
                Some(inner.generation).filter(|_| !self.world.is_broken(Breakage::IgnoreGroupGeneration)),
            )
        };
        self.world.pump(self.worker)?;
        if self.world.fault(Fault::HeldUp) {
            self.world.hold_up(self.worker)?;
        }
        let unasked = [Breakage::DropOnRevoke, Breakage::LetGoBeforeCommit];
        if generation.is_some() && !unasked.iter().any(|breakage| self.world.is_broken(*breakage)) {
            lock(&self.owned).claim(positions)?;
        }
        let mut offsets = TopicPartitionList::new();
        for (partition, &at) in positions {
            if self.world.is_broken(Breakage::DropOnRevoke) && !lock(&self.owned).covers(partition, at) {
                continue;
            }
            offsets
                .add_partition_offset(&partition.topic, partition.partition, Offset::Offset(at))
                .map_err(|e| Error::internal(e.to_string()))?;
        }
        Ok(GroupOffsets { group: Box::new(MemberName { member, generation }), offsets })
    }

    fn committed(&self) -> Result<Positions> {
        lock(&self.owned).go_back();
        let owned: Vec<Tp> = self.owned().into_iter().collect();
        self.world.pump(self.worker)?;
        let stable = !self.world.is_broken(Breakage::ReadUnstable);
        let deadline = self.world.with(|s| s.now + s.setup.fetch_wait);
        loop {
            if self.world.with(|s| s.now) > deadline || self.world.fault(Fault::Passing) {
                return Err(Error::passing(Code::X012, "what the group has committed cannot be found out"));
            }
            if let Some(found) = self.world.with(|s| s.kafka.group.fetch(&owned, stable)) {
                self.world.pump(self.worker)?;
                return Ok(found.into_iter().map(|(tp, at)| (partition_of(tp), at)).collect());
            }
            self.world.wait(self.worker)?;
        }
    }

    fn close(&self) -> Result<()> {
        let mut inner = lock(&self.inner);
        inner.phase = Phase::Left;
        self.world.with(|s| s.kafka.group.remove(inner.id, s.now));
        Ok(())
    }
}

/// Reads the partitions of one lane.
pub struct Records {
    pub world: Arc<World>,
    pub worker: usize,
    pub taps: Taps,
    pub source: Arc<str>,
}

impl Reader for Records {
    fn poll(&mut self, _: Duration) -> Result<Polled> {
        self.world.pump(self.worker)?;
        let mut taps = lock(&self.taps);
        if taps.is_empty() {
            return Ok(Polled::Idle);
        }
        let at = self.world.with(|s| s.rng.below(taps.len()));
        let Some((tp, tap)) = taps.iter_mut().nth(at) else { return Ok(Polled::Idle) };
        let found: Vec<(i64, i64)> = self.world.with(|s| {
            let uncommitted = s.is_broken(Breakage::ReadUncommitted);
            let room = 1 + s.rng.below(4);
            let Some(log) = s.kafka.logs.get(tp) else { return Vec::new() };
            let end = if uncommitted { log.entries.len() } else { log.stable() };
            let entries = (tap.next as usize..end).map(|at| (at, &log.entries[at]));
            let readable = |fate| fate == Fate::Kept || (uncommitted && fate != Fate::Marker);
            entries
                .filter(|(_, e)| readable(e.fate))
                .map(|(at, e)| (at as i64, e.row.pack()))
                .take(room)
                .collect()
        });
        let Some((last, _)) = found.last() else { return Ok(Polled::Idle) };
        tap.next = last + 1;
        let keys: BinaryArray = found.iter().map(|(_, word)| Some(word.to_le_bytes())).collect();
        let is_row = |word: i64| !is_tombstone(Row::unpack(word));
        let values = found.iter().map(|(_, word)| is_row(*word).then(|| word.to_le_bytes()));
        let values: BinaryArray = values.collect();
        Ok(Polled::Batch(SourceBatch {
            source: Arc::clone(&self.source),
            topic: NAMES[tp.0 as usize].into(),
            partition: i32::from(tp.1),
            offsets: found.iter().map(|(at, _)| *at).collect(),
            timestamps: None,
            keys: Some(keys),
            headers: None,
            payload: Payload::Values(values),
            next: tap.next,
            trace: None,
            hold: None,
        }))
    }

    fn rewind(&mut self, to: &Positions) -> Result<()> {
        self.world.pump(self.worker)?;
        if self.world.fault(Fault::Passing) {
            return Err(Error::passing(Code::S002, "the partitions cannot be sought"));
        }
        if !self.world.is_broken(Breakage::IgnoreRewind) {
            for (tp, tap) in &mut *lock(&self.taps) {
                tap.next = to.get(&partition_of(*tp)).map_or(tap.start, |&at| at.max(tap.start));
            }
        }
        Ok(())
    }
}
