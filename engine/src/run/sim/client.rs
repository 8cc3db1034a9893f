//! What stands for librdkafka's producer: records on their way, the worker's transaction, and the sinks that write into
//! it. It follows `connector/kafka/sink/transaction.rs` and `connector/kafka/sink/writer.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::Offset;

use super::consumer::{MemberName, tp_of};
use super::kafka::{Offsets, Produce, Refusal, Row, Tp};
use super::setup::{Breakage, Fault};
use super::state::State;
use super::world::World;
use crate::connector::kafka::client::GroupOffsets;
use crate::error::{Code, Error, Result};

/// How often a commit waits for records that are not confirmed, where it waits at all.
const FLUSH_WAITS: usize = 1_000;

/// A producer of transactions.
pub struct Client {
    pub worker: usize,
    pid: u64,
    epoch: u16,
    /// Records that are not confirmed, with the terminal that wrote them; in order for each partition.
    queue: Vec<(usize, Produce)>,
    numbers: BTreeMap<Tp, u32>,
    /// Partitions of the transaction that is open.
    added: BTreeSet<Tp>,
    /// Records were given up: the transaction cannot be committed.
    pub failed: bool,
    pub open: bool,
}

impl Client {
    /// Records of a terminal that are not confirmed.
    pub fn waits(&self, terminal: usize) -> bool {
        self.queue.iter().any(|(of, _)| *of == terminal)
    }

    pub fn give(&mut self, terminal: usize, tp: Tp, rows: Vec<Row>) {
        let next = self.numbers.entry(tp).or_default();
        self.queue.push((terminal, Produce { tp, number: *next, rows }));
        *next += 1;
    }
}

/// A request that its sender does not wait for any more.
pub enum Late {
    Produce(u64, u16, Produce),
    Offsets(u64, u16, Offsets),
    End(u64, u16),
}

impl State {
    /// A client is destroyed: what it had on its way may arrive or not.
    pub fn give_up(&mut self, client: usize) {
        let Client { pid, epoch, open, queue, added, .. } = &mut self.clients[client];
        *open = false;
        let (pid, epoch) = (*pid, *epoch);
        let on_their_way: Vec<Produce> =
            queue.drain(..).map(|(_, batch)| batch).filter(|batch| added.contains(&batch.tp)).collect();
        for batch in on_their_way {
            if !self.calm && self.rng.chance(500) {
                self.late.push(Late::Produce(pid, epoch, batch));
            }
        }
    }

    /// A request that was late arrives.
    pub fn arrive(&mut self) -> bool {
        if self.late.is_empty() {
            return false;
        }
        let at = self.rng.below(self.late.len());
        let late = self.late.remove(at);
        let (what, taken) = match &late {
            Late::Produce(pid, epoch, batch) => ("records", self.kafka.produce(*pid, *epoch, batch)),
            Late::Offsets(pid, epoch, offsets) => {
                ("offsets", self.kafka.offsets(*pid, *epoch, offsets, self.now))
            }
            Late::End(pid, epoch) => ("a commit", self.kafka.end(*pid, *epoch, true)),
        };
        self.note(|| format!("{what} arrive late: {taken:?}"));
        true
    }

    /// One request of records and its answer.
    pub fn wire(&mut self) -> bool {
        let ready = |c: &Client| c.open && !c.failed && !c.queue.is_empty();
        let awake = |c: &Client| self.lives[c.worker].asleep <= self.now;
        let able: Vec<usize> =
            (0..self.clients.len()).filter(|&c| ready(&self.clients[c]) && awake(&self.clients[c])).collect();
        if able.is_empty() {
            return false;
        }
        let client = self.rng.pick(&able);
        let any = self.rng.below(self.clients[client].queue.len());
        let (lost, unanswered) = (self.fault(Fault::Lost), self.fault(Fault::Lost));
        let (gives_up, arrives) = (self.fault(Fault::GiveUp), self.rng.chance(500));
        let Client { pid, epoch, queue, added, failed, .. } = &mut self.clients[client];
        let tp = queue[any].1.tp;
        if !added.contains(&tp) {
            match self.kafka.add_partition(*pid, *epoch, tp, self.now) {
                Ok(()) => added.insert(tp),
                Err(Refusal::Concurrent) => return false,
                Err(_) => std::mem::replace(failed, true),
            };
            return true;
        }
        // Those of one partition stay in order.
        let Some(first) = queue.iter().position(|(_, batch)| batch.tp == tp) else { return false };
        if gives_up {
            *failed = true;
            let (_, batch) = queue.remove(first);
            if arrives {
                self.late.push(Late::Produce(*pid, *epoch, batch));
            }
            self.note(|| format!("client {client} gives up on records"));
            return true;
        }
        if lost {
            return true;
        }
        let answer = self.kafka.produce(*pid, *epoch, &queue[first].1);
        if unanswered {
            return true;
        }
        match answer {
            Ok(()) => drop(queue.remove(first)),
            Err(refusal) => {
                *failed = true;
                self.note(|| format!("records of client {client} are refused: {refusal:?}"));
            }
        }
        true
    }
}

/// A client that has begun a transaction, and when the first record was written.
#[derive(Clone, Copy)]
struct Begun {
    client: usize,
    slot: usize,
    since: Option<u64>,
}

#[derive(Default)]
struct Turns {
    open: Option<Begun>,
    full: Option<Begun>,
    spare: Option<Begun>,
    timeout: u64,
    /// How long the transaction was written into whose commit failed.
    failed: u64,
    /// For the breakage that uses it on.
    last: Option<Begun>,
}

/// The transactions of a worker.
pub struct Transaction {
    world: Arc<World>,
    worker: usize,
    ids: [String; 2],
    turns: Mutex<Turns>,
}

impl Transaction {
    pub fn new(world: &Arc<World>, worker: usize) -> Self {
        let (id, timeout) = world.with(|s| (s.lives[worker].id.clone(), s.setup.transaction_timeout));
        let one = world.is_broken(Breakage::OneId);
        let ids = [0, 1].map(|slot| if one { id.clone() } else { format!("{id}.{slot}") });
        let turns = Mutex::new(Turns { timeout, ..Turns::default() });
        Self { world: Arc::clone(world), worker, ids, turns }
    }

    fn lock(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        self.world.with(|s| s.now)
    }

    /// The client of the transaction that is open, for a lane that is about to write.
    pub fn client(&self) -> Result<usize> {
        let now = self.now();
        let mut turns = self.lock();
        let Some(open) = &mut turns.open else {
            return Err(Error::stale(Code::X012, "no transaction is open"));
        };
        open.since.get_or_insert(now);
        Ok(open.client)
    }

    fn judge(&self, what: &str, refusal: Option<Refusal>, since: u64, began: u64) -> Error {
        let until = if self.world.is_broken(Breakage::JudgeByStart) { began } else { self.now() };
        let (age, timeout) = (until - since, self.lock().timeout);
        self.world.note(|| format!("worker {}: {what}: {refusal:?}", self.worker));
        if refusal == Some(Refusal::Fenced) && age < timeout / 2 {
            return Error::external(Code::X013, "another worker has taken over the transactional id");
        }
        // For `begin`: how long it took.
        self.lock().failed = age;
        Error::stale(Code::X012, format!("{what}: {refusal:?}"))
    }

    /// A call that blocks until it is answered, or given up: `None` is an indefinite result.
    fn call(
        &self,
        late: impl FnOnce() -> Late,
        mut request: impl FnMut(&mut State) -> Result<(), Refusal>,
    ) -> Result<Result<(), Option<Refusal>>> {
        let indefinite = self.world.fault(Fault::Indefinite);
        let (applied, arrives) = self.world.with(|s| (s.rng.chance(400), s.rng.chance(600)));
        loop {
            if self.world.pump(self.worker).is_err() {
                // It crashed with the request on its way.
                self.world.with(|s| {
                    if !s.calm && arrives {
                        s.late.push(late());
                    }
                });
                return Err(Error::passing(Code::X012, "the worker is dead"));
            }
            if indefinite && !applied {
                self.world.with(|s| {
                    if arrives {
                        s.late.push(late());
                    }
                });
                return Ok(Err(None));
            }
            let lost = self.world.fault(Fault::Lost);
            let answer = self.world.with(&mut request);
            match answer {
                Err(Refusal::Concurrent) => self.world.wait(self.worker)?,
                _ if lost => {}
                _ if indefinite => {
                    self.world.pump(self.worker)?;
                    return Ok(Err(None));
                }
                answer => {
                    self.world.pump(self.worker)?;
                    return Ok(answer.map_err(Some));
                }
            }
        }
    }

    fn reuse(&self) -> bool {
        let mut turns = self.lock();
        let Some(last) = turns.last.filter(|_| self.world.is_broken(Breakage::ReuseAfterTimeout)) else {
            return false;
        };
        let fresh = |begun: Begun| Begun { since: None, ..begun };
        let other = turns.open.take().or(turns.spare.take());
        (turns.open, turns.spare) = (Some(fresh(last)), other.map(fresh));
        turns.full = None;
        let reset = |client: usize, s: &mut State| {
            let Client { pid, epoch, queue, added, failed, .. } = &mut s.clients[client];
            let (pid, epoch) = (*pid, *epoch);
            queue.clear();
            added.clear();
            *failed = false;
            s.kafka.end(pid, epoch, false).is_ok()
        };
        self.world.with(|s| {
            let other = other.is_none_or(|other| reset(other.client, s));
            reset(last.client, s) && other
        })
    }

    fn make(&self, slot: usize, timeout: u64) -> Result<Begun> {
        let (pid, epoch) = loop {
            let lost = self.world.fault(Fault::Lost);
            match self.world.with(|s| s.kafka.init(&self.ids[slot], timeout)) {
                Ok(let_in) if !lost => break let_in,
                _ => self.world.wait(self.worker)?,
            }
        };
        let client = self.world.with(|s| {
            s.note(|| format!("worker {} begins as producer {pid}, epoch {epoch}", self.worker));
            let (queue, numbers, added) = Default::default();
            let worker = self.worker;
            s.clients.push(Client { worker, pid, epoch, queue, numbers, added, failed: false, open: true });
            s.clients.len() - 1
        });
        Ok(Begun { client, slot, since: None })
    }

    /// What is broken by `AheadOfReports`: the commit waits for records, as librdkafka would, and nobody else has. As
    /// there, the wait has an end: sinks may write on meanwhile.
    fn flush(&self, client: usize) -> Result<()> {
        let waits = |s: &mut State| !s.clients[client].failed && !s.clients[client].queue.is_empty();
        for _ in 0..FLUSH_WAITS {
            if !self.world.is_broken(Breakage::AheadOfReports) || !self.world.with(waits) {
                return Ok(());
            }
            self.world.wait(self.worker)?;
        }
        Err(Error::passing(Code::X001, "records are not confirmed in time"))
    }
}

impl crate::connector::commit::Transaction for Transaction {
    fn timeout(&self) -> Duration {
        Duration::from_millis(self.lock().timeout)
    }

    fn is_overdue(&self) -> bool {
        let (now, turns) = (self.now(), self.lock());
        let written = [turns.open, turns.full].into_iter().flatten();
        written.filter_map(|begun| Some(now - begun.since?)).fold(turns.failed, u64::max) >= turns.timeout
    }

    fn begin(&self, longer: bool) -> Result<()> {
        self.world.pump(self.worker)?;
        if self.reuse() {
            return Ok(());
        }
        let keep = self.world.is_broken(Breakage::KeepTheOther);
        let (timeout, kept, before) = {
            let mut turns = self.lock();
            turns.failed = 0;
            if longer {
                turns.timeout *= 2;
            }
            let committing = turns.full.is_none() && turns.spare.is_none();
            let kept = turns.open.take_if(|_| keep && committing);
            let before = [turns.open.take(), turns.full.take(), turns.spare.take(), turns.last.take()];
            (turns.timeout, kept, before)
        };
        self.world.with(|s| {
            let kept = kept.map(|begun| begun.client);
            let given_up = before.iter().flatten().map(|begun| begun.client).filter(|c| Some(*c) != kept);
            given_up.for_each(|client| s.give_up(client));
        });
        if self.world.fault(Fault::Passing) {
            self.lock().open = kept;
            return Err(Error::passing(Code::X012, "no broker answers"));
        }
        let (open, spare) = match kept {
            Some(kept) => (kept, self.make(1 - kept.slot, timeout)?),
            None => (self.make(0, timeout)?, self.make(1, timeout)?),
        };
        let mut turns = self.lock();
        (turns.open, turns.spare) = (Some(open), Some(spare));
        Ok(())
    }

    fn turn(&self) -> Result<()> {
        self.world.pump(self.worker)?;
        let mut turns = self.lock();
        if turns.open.is_none() || turns.spare.is_none() || turns.full.is_some() {
            return Err(Error::stale(Code::X012, "no transaction is open, or the last one is not committed"));
        }
        turns.full = turns.open.take();
        turns.open = turns.spare.take();
        self.world.with(|s| s.lives[self.worker].turns += 1);
        Ok(())
    }

    fn commit(&self, offsets: Vec<GroupOffsets>) -> Result<Duration> {
        let now = self.now();
        let full = {
            let mut turns = self.lock();
            turns.last = turns.full;
            turns.full.take()
        };
        let Some(Begun { client, slot, since }) = full else {
            return Err(Error::stale(Code::X012, "no transaction is full"));
        };
        let since = since.unwrap_or(now);
        self.flush(client)?;
        let (pid, epoch) = self.world.with(|s| (s.clients[client].pid, s.clients[client].epoch));
        for GroupOffsets { group, offsets } in &offsets {
            let Some(name) = group.downcast_ref::<MemberName>() else {
                return Err(Error::internal("offsets of another group"));
            };
            let elements = offsets.elements();
            let positions = elements.iter().filter_map(|element| {
                let Offset::Offset(at) = element.offset() else { return None };
                Some((tp_of(element.topic(), element.partition()), at))
            });
            let positions = positions.collect();
            let offsets = Offsets { member: name.member, generation: name.generation, positions };
            let late = || Late::Offsets(pid, epoch, offsets.clone());
            self.call(late, |s| s.kafka.offsets(pid, epoch, &offsets, s.now))?
                .map_err(|refusal| self.judge("the positions cannot be added", refusal, since, now))?;
        }
        // A record that was given up makes the transaction void. Records on their way are not waited for, as librdkafka
        // would: a sink that prepares too early is to be noticed.
        if self.world.with(|s| s.clients[client].failed) {
            return Err(self.judge("records were given up", None, since, now));
        }
        match self.call(|| Late::End(pid, epoch), |s| s.kafka.end(pid, epoch, true))? {
            Err(None) if self.world.is_broken(Breakage::CommitUnanswered) => {}
            answer => {
                answer.map_err(|refusal| self.judge("it cannot be committed", refusal, since, now))?;
            }
        }
        self.world.with(|s| {
            s.clients[client].added.clear();
            s.note(|| format!("worker {} has committed", self.worker));
        });
        let mut turns = self.lock();
        (turns.spare, turns.last) = (Some(Begun { client, slot, since: None }), None);
        drop(turns);
        Ok(Duration::from_millis(self.now() - since))
    }

    fn close(&self) {
        let (full, open) = {
            let mut turns = self.lock();
            (turns.full.take(), turns.open.take())
        };
        for Begun { client, .. } in [full, open].into_iter().flatten() {
            self.world.with(|s| {
                let (pid, epoch) = (s.clients[client].pid, s.clients[client].epoch);
                // Else it is left to its time-out.
                let _ = s.kafka.end(pid, epoch, false);
                s.clients[client].open = false;
            });
        }
    }
}
