//! What a source's readers, its control part and the group's rebalances share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use rdkafka::consumer::BaseConsumer;

use super::absent::Absent;
use super::group::Group;
use super::offset_policy::Jumps;
use super::options::{OutOfRange, Start};
use super::ownership::Owned;
use super::reader::Lane;
use crate::clock::SystemClock;
use crate::connector::kafka::client::{Known, Topics};
use crate::connector::position::{Partition, Positions};
use crate::error::{Error, Result};
use crate::sync::lock;

/// One source of those that a consumer reads for.
pub(super) struct Shared {
    /// Its name in the pipeline file.
    pub(super) name: Arc<str>,
    /// Which partitions are its own: those of these topics.
    pub(super) topics: Topics,
    pub(super) start: Start,
    /// Partitions of each topic that were there when the source was opened.
    pub(super) known: Known,
    pub(super) clock: SystemClock,
    pub(super) lanes: Vec<Arc<Lane>>,
    pub(super) until_end: bool,
    /// Ends of all partitions when the source was opened, for `until_end`.
    pub(super) targets: Positions,
    /// The first assignment is here (it may be empty).
    pub(super) assigned: AtomicBool,
    /// Where some assigned partitions go on is not known yet.
    pub(super) unsettled: AtomicBool,
    /// What this worker owns. Held during a commit: a partition is not given back while an older position of it is on
    /// its way.
    pub(super) owned: Mutex<Owned>,
    /// The error that ends the source.
    failed: Mutex<Option<Error>>,
    has_failed: AtomicBool,
    pub(super) counts: Counts,
    pub(super) jumps: Jumps,
    /// Partitions that brokers do not know, or not yet.
    pub(super) absent: Absent,
    /// The consumer, once it is made; gone when the group was left.
    pub(super) consumer: Mutex<Weak<BaseConsumer<Group>>>,
}

/// What has come and gone.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) rebalances: AtomicU64,
    pub(super) assigned: AtomicU64,
    pub(super) revoked: AtomicU64,
    pub(super) lost: AtomicU64,
}

/// What a source is made of.
pub(super) struct Parts {
    pub(super) name: Arc<str>,
    pub(super) topics: Topics,
    pub(super) start: Start,
    pub(super) policy: OutOfRange,
    pub(super) known: Known,
    pub(super) targets: Positions,
    pub(super) until_end: bool,
    pub(super) lanes: usize,
}

impl Shared {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { name, topics, start, policy, known, targets, until_end, lanes } = parts;
        Self {
            name,
            topics,
            start,
            known,
            clock: SystemClock::default(),
            lanes: (0..lanes.max(1)).map(|_| Arc::default()).collect(),
            until_end,
            // Where no topic matches, the group may not even be joined: no assignment will come.
            assigned: AtomicBool::new(until_end && targets.is_empty()),
            unsettled: AtomicBool::new(false),
            targets,
            owned: Mutex::default(),
            failed: Mutex::default(),
            has_failed: AtomicBool::new(false),
            counts: Counts::default(),
            jumps: Jumps::new(policy),
            absent: Absent::default(),
            consumer: Mutex::default(),
        }
    }

    /// The consumer, while it is there.
    pub(super) fn consumer(&self) -> Option<Arc<BaseConsumer<Group>>> {
        lock(&self.consumer).upgrade()
    }

    /// Another consumer joins the group: as before the first assignment.
    pub(super) fn begin_anew(&self) {
        self.assigned.store(self.until_end && self.targets.is_empty(), Ordering::SeqCst);
        self.unsettled.store(false, Ordering::SeqCst);
    }

    /// The error that ended the source, if one did.
    pub(super) fn check(&self) -> Result<()> {
        if self.has_failed.load(Ordering::Acquire) {
            return lock(&self.failed).clone().map_or(Ok(()), Err);
        }
        Ok(())
    }

    pub(super) fn fail(&self, error: Error) {
        lock(&self.failed).get_or_insert(error);
        self.has_failed.store(true, Ordering::Release);
        self.wake();
    }

    pub(super) fn wake(&self) {
        for lane in &self.lanes {
            lane.wake.ring();
        }
    }

    /// Whether `--until-end` is reached: by all lanes at once, as a rebalance may still bring a lane partitions.
    pub(super) fn is_at_end(&self) -> bool {
        self.until_end
            && self.assigned.load(Ordering::SeqCst)
            && !self.unsettled.load(Ordering::SeqCst)
            && self.lanes.iter().all(|lane| lane.done.load(Ordering::SeqCst))
    }

    /// The lane of a partition: neighbours go to different lanes, and topics begin at different ones.
    pub(super) fn lane(&self, partition: &Partition) -> &Arc<Lane> {
        // FNV-1a: stable over runs and versions, which the standard library's hash is not.
        let hash = partition
            .topic
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
        let at = hash.wrapping_add(u64::from(partition.partition.unsigned_abs())) % self.lanes.len() as u64;
        &self.lanes[at as usize]
    }

    /// Whether a partition was there when the source was opened.
    pub(super) fn knew(&self, partition: &Partition) -> bool {
        self.known.get(&partition.topic).is_some_and(|count| partition.partition < *count)
    }
}
