//! A simulated Kafka: logs with transactional records and their markers, and the coordinator of transactions. Every
//! request takes effect at once or is refused; that requests and answers get lost or come late is the wire's doing.

use std::collections::{BTreeMap, BTreeSet};

use super::group::Group;
use super::rng::Rng;

/// Topic and partition.
pub type Tp = (u8, u8);

/// Topics: sources read `INPUTS`, `INPUTS + 1`; sinks write `OUTPUTS`, `OUTPUTS + 1`.
pub const INPUTS: u8 = 0;
pub const OUTPUTS: u8 = 10;
pub const LETTERS: u8 = 20;

/// A record by where it came from: the partition of an input, and its number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    pub from: Tp,
    pub n: u16,
}

/// Numbers from here on are of records whose transaction is aborted: nobody may ever see them.
pub const POISON: u16 = 30_000;

impl Row {
    pub fn pack(self) -> i64 {
        i64::from(self.from.0) << 32 | i64::from(self.from.1) << 16 | i64::from(self.n)
    }

    pub fn unpack(word: i64) -> Self {
        Self { from: ((word >> 32) as u8, (word >> 16) as u8), n: word as u16 }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Open,
    Kept,
    Dropped,
    /// A control record.
    Marker,
}

pub struct Entry {
    pub pid: u64,
    pub row: Row,
    pub fate: Fate,
}

/// One partition.
#[derive(Default)]
pub struct Log {
    pub entries: Vec<Entry>,
    /// By producer: the epoch that it is in, and the number of the batch that is expected next.
    producers: BTreeMap<u64, (u16, u32)>,
    /// Producers with an open transaction here.
    open: BTreeSet<u64>,
}

impl Log {
    /// The last stable offset.
    pub fn stable(&self) -> usize {
        if self.open.is_empty() {
            return self.entries.len();
        }
        self.entries.iter().position(|e| e.fate == Fate::Open).unwrap_or(self.entries.len())
    }

    pub fn append(&mut self, pid: u64, rows: &[Row]) {
        self.open.insert(pid);
        self.entries.extend(rows.iter().map(|&row| Entry { pid, row, fate: Fate::Open }));
    }

    pub fn mark(&mut self, pid: u64, epoch: u16, commit: bool) {
        let fate = if commit { Fate::Kept } else { Fate::Dropped };
        if self.open.remove(&pid) {
            self.entries
                .iter_mut()
                .filter(|e| e.pid == pid && e.fate == Fate::Open)
                .for_each(|e| e.fate = fate);
        }
        self.producers.entry(pid).or_default().0 = epoch;
        self.entries.push(Entry { pid, row: Row { from: (0, 0), n: 0 }, fate: Fate::Marker });
    }
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The transaction before is not complete yet; to be asked again.
    Concurrent,
    /// A newer producer has the transactional id, or the coordinator has given the transaction up.
    Fenced,
    /// Not now, or not by this producer.
    Invalid,
    /// The group has moved on.
    Generation,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    Empty,
    Ongoing,
    /// Decided; markers are on their way to these partitions, and to the group's offsets.
    Ending {
        commit: bool,
        left: Vec<Tp>,
        offsets: bool,
    },
    Ended {
        commit: bool,
    },
}

/// What the coordinator knows of a transactional id.
pub struct Txn {
    pid: u64,
    epoch: u16,
    phase: Phase,
    partitions: BTreeSet<Tp>,
    offsets: bool,
    since: u64,
    timeout: u64,
}

impl Txn {
    fn end(&mut self, commit: bool) {
        let left = std::mem::take(&mut self.partitions).into_iter().collect();
        self.phase = Phase::Ending { commit, left, offsets: std::mem::take(&mut self.offsets) };
    }

    /// Begins the transaction with what is the first of it.
    fn go_on(&mut self, epoch: u16, now: u64) -> Result<(), Refusal> {
        if epoch != self.epoch {
            return Err(Refusal::Fenced);
        }
        match self.phase {
            Phase::Ongoing => Ok(()),
            Phase::Ending { .. } => Err(Refusal::Concurrent),
            Phase::Empty | Phase::Ended { .. } => {
                (self.phase, self.since) = (Phase::Ongoing, now);
                Ok(())
            }
        }
    }
}

/// A batch of records on its way.
#[derive(Debug, Clone)]
pub struct Produce {
    pub tp: Tp,
    pub number: u32,
    pub rows: Vec<Row>,
}

/// Positions on their way into a transaction.
#[derive(Debug, Clone)]
pub struct Offsets {
    pub member: u32,
    /// `None`: the group is not asked whether it knows the member.
    pub generation: Option<u32>,
    pub positions: BTreeMap<Tp, i64>,
}

#[derive(Default)]
pub struct Kafka {
    pub logs: BTreeMap<Tp, Log>,
    txns: BTreeMap<String, Txn>,
    pub group: Group,
    pids: u64,
}

impl Kafka {
    pub fn pid(&mut self) -> u64 {
        self.pids += 1;
        self.pids
    }

    /// A producer with this transactional id begins: whoever had it before is fenced.
    pub fn init(&mut self, id: &str, timeout: u64) -> Result<(u64, u16), Refusal> {
        let Some(txn) = self.txns.get_mut(id) else {
            let pid = self.pid();
            let (phase, partitions) = (Phase::Empty, BTreeSet::new());
            let txn = Txn { pid, epoch: 0, phase, partitions, offsets: false, since: 0, timeout };
            self.txns.insert(id.to_owned(), txn);
            return Ok((pid, 0));
        };
        match txn.phase {
            Phase::Ongoing => {
                txn.epoch += 1;
                txn.end(false);
                Err(Refusal::Concurrent)
            }
            Phase::Ending { .. } => Err(Refusal::Concurrent),
            Phase::Empty | Phase::Ended { .. } => {
                txn.epoch += 1;
                (txn.phase, txn.timeout) = (Phase::Empty, timeout);
                Ok((txn.pid, txn.epoch))
            }
        }
    }

    fn txn(&mut self, pid: u64) -> Result<&mut Txn, Refusal> {
        self.txns.values_mut().find(|t| t.pid == pid).ok_or(Refusal::Invalid)
    }

    pub fn add_partition(&mut self, pid: u64, epoch: u16, tp: Tp, now: u64) -> Result<(), Refusal> {
        let txn = self.txn(pid)?;
        txn.go_on(epoch, now)?;
        txn.partitions.insert(tp);
        Ok(())
    }

    /// Records of a partition that was added. The leader asks the coordinator before it opens a transaction.
    pub fn produce(&mut self, pid: u64, epoch: u16, batch: &Produce) -> Result<(), Refusal> {
        let txn = self.txn(pid)?;
        let verified =
            txn.epoch == epoch && txn.phase == Phase::Ongoing && txn.partitions.contains(&batch.tp);
        let log = self.logs.entry(batch.tp).or_default();
        let known = log.producers.entry(pid).or_insert((epoch, 0));
        if epoch < known.0 {
            return Err(Refusal::Fenced);
        }
        if epoch > known.0 {
            *known = (epoch, 0);
        }
        if batch.number < known.1 {
            // It is there already: its answer was lost.
            return Ok(());
        }
        if !verified && !log.open.contains(&pid) {
            return Err(Refusal::Invalid);
        }
        known.1 = batch.number + 1;
        log.append(pid, &batch.rows);
        Ok(())
    }

    pub fn offsets(&mut self, pid: u64, epoch: u16, offsets: &Offsets, now: u64) -> Result<(), Refusal> {
        let txn = self.txn(pid)?;
        txn.go_on(epoch, now)?;
        txn.offsets = true;
        self.group.promise(pid, epoch, offsets)
    }

    pub fn end(&mut self, pid: u64, epoch: u16, commit: bool) -> Result<(), Refusal> {
        let txn = self.txn(pid)?;
        if epoch != txn.epoch {
            return Err(Refusal::Fenced);
        }
        match txn.phase {
            Phase::Ongoing => {
                txn.end(commit);
                Ok(())
            }
            Phase::Ending { commit: before, .. } if before == commit => Err(Refusal::Concurrent),
            Phase::Ended { commit: before } if before == commit => Ok(()),
            Phase::Empty if !commit => Ok(()),
            _ => Err(Refusal::Invalid),
        }
    }

    /// Writes one marker that is due, or gives up a transaction that takes too long; whether there was anything.
    pub fn tick(&mut self, rng: &mut Rng, now: u64) -> bool {
        let ending = |t: &Txn| matches!(t.phase, Phase::Ending { .. });
        let count = self.txns.values().filter(|t| ending(t)).count();
        if count > 0 {
            let at = rng.below(count);
            let Some(txn) = self.txns.values_mut().filter(|t| ending(t)).nth(at) else { return false };
            let (pid, epoch) = (txn.pid, txn.epoch);
            let Phase::Ending { commit, left, offsets } = &mut txn.phase else { return false };
            let commit = *commit;
            // The group's partition is one among the others.
            let choices = left.len() + usize::from(*offsets);
            match rng.below(choices) {
                _ if choices == 0 => txn.phase = Phase::Ended { commit },
                at if at < left.len() => {
                    let tp = left.swap_remove(at);
                    self.logs.entry(tp).or_default().mark(pid, epoch, commit);
                }
                _ => {
                    *offsets = false;
                    self.group.settle(pid, epoch, commit);
                }
            }
            return true;
        }
        let late = self.txns.values_mut().find(|t| t.phase == Phase::Ongoing && now > t.since + t.timeout);
        if let Some(txn) = late {
            txn.epoch += 1;
            txn.end(false);
            return true;
        }
        false
    }

    /// Whether no transaction is on its way.
    pub fn is_settled(&self) -> bool {
        self.txns.values().all(|t| matches!(t.phase, Phase::Empty | Phase::Ended { .. }))
    }

    /// Whether every record of the inputs lies below what the group has committed.
    pub fn is_consumed(&self) -> bool {
        self.logs.iter().filter(|(tp, _)| tp.0 < OUTPUTS).all(|(tp, log)| {
            let at = self.group.committed(tp).map_or(0, |at| at as usize);
            log.open.is_empty() && log.entries.iter().skip(at).all(|e| e.fate != Fate::Kept)
        })
    }
}
