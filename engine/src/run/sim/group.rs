//! The simulated coordinator of a consumer group: members, generations, cooperative assignment, and offsets, of which
//! those of a transaction are pending until its marker comes.

use std::collections::{BTreeMap, BTreeSet};

use super::kafka::{Offsets, Refusal, Tp};

pub struct Member {
    pub worker: usize,
    /// The topic that it subscribes to.
    pub topic: u8,
    /// It has joined the round that is on.
    joined: bool,
    /// What it said that it owned when it joined.
    owned: BTreeSet<Tp>,
    assignment: BTreeSet<Tp>,
    /// When it was heard last.
    pub heard: u64,
}

/// What a member is told.
pub enum Told {
    /// The group does not know it any more.
    Unknown,
    /// A round is on.
    Wait,
    /// The generation and what is its.
    Assigned(u32, BTreeSet<Tp>),
}

/// An offset, and which record of the group's log has it.
#[derive(Clone, Copy)]
struct Position {
    record: u64,
    at: i64,
}

#[derive(Default)]
pub struct Group {
    generation: u32,
    pub members: BTreeMap<u32, Member>,
    ids: u32,
    /// Since when a round is on.
    round: Option<u64>,
    pub partitions: Vec<Tp>,
    committed: BTreeMap<Tp, Position>,
    /// By producer: its epoch and its positions.
    pending: BTreeMap<u64, (u16, BTreeMap<Tp, Position>)>,
    /// Records of the group's log.
    records: u64,
    /// Epochs of producers whose markers have come.
    marked: BTreeMap<u64, u16>,
    /// Turned on by a fault: the next assignment is made anew, as if nothing were owned.
    pub reshuffle: bool,
}

impl Group {
    /// A new member; a round begins.
    pub fn enter(&mut self, worker: usize, topic: u8, now: u64) -> u32 {
        self.ids += 1;
        let (owned, assignment) = (BTreeSet::new(), BTreeSet::new());
        self.members.insert(self.ids, Member { worker, topic, joined: false, owned, assignment, heard: now });
        self.rebalance(now);
        self.ids
    }

    /// Everybody must join again.
    pub fn rebalance(&mut self, now: u64) {
        self.round = Some(now);
        self.members.values_mut().for_each(|m| m.joined = false);
    }

    pub fn remove(&mut self, member: u32, now: u64) {
        if self.members.remove(&member).is_some() {
            self.rebalance(now);
        }
    }

    /// What a member that polls is told; while a round is on it joins with what it owns.
    pub fn poll(&mut self, id: u32, owned: impl FnOnce() -> BTreeSet<Tp>) -> Told {
        let Some(member) = self.members.get_mut(&id) else { return Told::Unknown };
        if self.round.is_none() {
            return Told::Assigned(self.generation, member.assignment.clone());
        }
        if !member.joined {
            (member.joined, member.owned) = (true, owned());
            self.complete();
        }
        Told::Wait
    }

    /// Throws out who does not join in time.
    pub fn tick(&mut self, wait: u64, now: u64) -> bool {
        if self.round.is_none_or(|since| now < since + wait) {
            return false;
        }
        self.members.retain(|_, m| m.joined);
        self.complete();
        if self.members.is_empty() {
            self.round = None;
        }
        true
    }

    fn complete(&mut self) {
        if self.members.is_empty() || self.members.values().any(|m| !m.joined) {
            return;
        }
        self.round = None;
        self.generation += 1;
        let topics: BTreeSet<u8> = self.members.values().map(|m| m.topic).collect();
        topics.into_iter().for_each(|topic| self.assign(topic));
        self.reshuffle = false;
    }

    /// Cooperative and sticky: who owns no more than its share keeps it; what is to move is given to nobody until its
    /// owner has let go.
    fn assign(&mut self, topic: u8) {
        let all: Vec<Tp> = self.partitions.iter().copied().filter(|tp| tp.0 == topic).collect();
        let mut ids: Vec<u32> =
            self.members.iter().filter(|(_, m)| m.topic == topic).map(|(id, _)| *id).collect();
        if self.reshuffle {
            ids.reverse();
        }
        let mut target: BTreeMap<u32, BTreeSet<Tp>> = ids.iter().map(|id| (*id, BTreeSet::new())).collect();
        let owner = |tp: &Tp| self.members.iter().find(|(_, m)| m.owned.contains(tp)).map(|(id, _)| *id);
        let share = all.len().div_ceil(ids.len());
        for tp in &all {
            let keeps =
                owner(tp).filter(|id| !self.reshuffle && target.get(id).is_some_and(|t| t.len() < share));
            if let Some(kept) = keeps.and_then(|id| target.get_mut(&id)) {
                kept.insert(*tp);
            }
        }
        for (at, tp) in all.iter().enumerate() {
            if target.values().any(|t| t.contains(tp)) {
                continue;
            }
            let least = ids.iter().min_by_key(|id| target[id].len()).copied();
            let next = if self.reshuffle { Some(ids[(at + 1) % ids.len()]) } else { least };
            let Some(next) = next else { return };
            // Who is to get it waits for the round after its owner's revocation.
            if owner(tp).is_none_or(|id| id == next)
                && let Some(gets) = target.get_mut(&next)
            {
                gets.insert(*tp);
            }
        }
        for (id, assignment) in target {
            if let Some(member) = self.members.get_mut(&id) {
                member.assignment = assignment;
            }
        }
    }

    /// Positions of a transaction: only from a member of this generation.
    pub fn promise(&mut self, pid: u64, epoch: u16, offsets: &Offsets) -> Result<(), Refusal> {
        if self.marked.get(&pid).is_some_and(|marked| epoch < *marked) {
            return Err(Refusal::Fenced);
        }
        let current =
            |generation| generation == self.generation && self.members.contains_key(&offsets.member);
        if !offsets.generation.is_none_or(current) {
            return Err(Refusal::Generation);
        }
        let pending = self.pending.entry(pid).or_default();
        pending.0 = epoch;
        self.records += 1;
        let record = self.records;
        pending.1.extend(offsets.positions.iter().map(|(tp, &at)| (*tp, Position { record, at })));
        Ok(())
    }

    /// The marker of a transaction.
    pub fn settle(&mut self, pid: u64, epoch: u16, commit: bool) {
        self.marked.insert(pid, epoch);
        if let Some((_, positions)) = self.pending.remove(&pid)
            && commit
        {
            // Markers of two producers may come in any order: as in Kafka's `OffsetMetadataManager` the later record
            // of offsets counts, not the later marker.
            for (tp, position) in positions {
                let newest = self.committed.entry(tp).or_insert(position);
                if position.record > newest.record {
                    *newest = position;
                }
            }
        }
    }

    /// Where a partition is committed.
    pub fn committed(&self, tp: &Tp) -> Option<i64> {
        Some(self.committed.get(tp)?.at)
    }

    /// What is committed; `None` while a transaction holds any of it open.
    pub fn fetch(&self, partitions: &[Tp], stable: bool) -> Option<BTreeMap<Tp, i64>> {
        let held = |tp: &Tp| self.pending.values().any(|(_, positions)| positions.contains_key(tp));
        if stable && partitions.iter().any(held) {
            return None;
        }
        Some(partitions.iter().filter_map(|tp| Some((*tp, self.committed(tp)?))).collect())
    }
}
