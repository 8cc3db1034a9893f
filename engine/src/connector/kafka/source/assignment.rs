//! Taking what was assigned: a partition goes to its lane once it is certain where it goes on. That may be uncertain for
//! as long as a transaction of its last owner is open; what is certain does not wait for it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use super::batch_builder::Gather;
use super::faults::Trouble;
use super::ffi::Queue;
use super::group::{Group, partitions};
use super::offset_policy;
use super::options::Start;
use super::reader::Tap;
use super::shared::Shared;
use crate::clock::Clock;
use crate::connector::kafka::client::{self, Meaning, meaning};
use crate::connector::position::Partition;
use crate::error::{Code, Error, Result};
use crate::sync::lock;
use crate::units::{
    KAFKA_ASSIGN_ASK, KAFKA_ASSIGN_ASK_ONE, KAFKA_ASSIGN_LOOK, KAFKA_ASSIGN_TIMEOUT, KAFKA_RETRY_PAUSE,
};

/// Partitions that the group has given, of which is not known yet where they go on.
#[derive(Default)]
pub(super) struct Unsettled {
    pub(super) partitions: BTreeSet<Partition>,
    /// Since when there are any.
    pub(super) since: Duration,
    /// The last one that was asked for by itself.
    asked: Option<Partition>,
}

/// What was asked for.
#[derive(Debug, Clone, Copy)]
enum Of {
    /// What the group has committed: the coordinator says it.
    Group,
    /// Where a log begins and ends: its leader says it.
    Log,
}

impl Group {
    /// Takes what was assigned, once it is certain where it goes on. To be called after each poll, by the same thread.
    /// A passing error says that it is not certain yet, and why.
    pub(super) fn settle(&self, consumer: &Arc<BaseConsumer<Self>>) -> Result<()> {
        let (waiting, since) = {
            let unsettled = lock(&self.unsettled);
            (unsettled.partitions.clone(), unsettled.since)
        };
        if waiting.is_empty() {
            return Ok(());
        }
        // One alone is asked for patiently; of several, one that is held must not keep the others.
        let ask = if waiting.len() == 1 { KAFKA_ASSIGN_ASK } else { KAFKA_ASSIGN_ASK / 3 };
        let error = match self.patiently(ask, || self.take(consumer, &waiting, ask)) {
            Ok(()) => None,
            Err(error) if error.is_passing() && self.clock.now() - since < KAFKA_ASSIGN_TIMEOUT => {
                let left = self.take_each(consumer, waiting, KAFKA_ASSIGN_ASK - ask)?;
                if left == 0 {
                    return Ok(());
                }
                return Err(error.context(format!("{left} assigned partitions wait")));
            }
            // Not passing any more: a partition that nobody reads must not go unnoticed.
            Err(error) if error.is_passing() => Some(Error::external(Code::S002, error.message())),
            Err(error) => Some(error),
        };
        lock(&self.unsettled).partitions.clear();
        self.tell();
        error.map_or(Ok(()), Err)
    }

    /// Takes those of several that can be taken alone, for about so long, in turns; how many are left.
    fn take_each(
        &self,
        consumer: &Arc<BaseConsumer<Self>>,
        mut waiting: BTreeSet<Partition>,
        time: Duration,
    ) -> Result<usize> {
        let last = lock(&self.unsettled).asked.take();
        let begin = last.map_or(Bound::Unbounded, Bound::Excluded);
        let later = waiting.range((begin, Bound::Unbounded)).cloned();
        let turn: Vec<Partition> = later.chain(waiting.iter().cloned()).take(waiting.len()).collect();
        let deadline = self.clock.now() + time;
        for partition in turn {
            if self.clock.now() >= deadline {
                break;
            }
            match self.take(consumer, &BTreeSet::from([partition.clone()]), KAFKA_ASSIGN_ASK_ONE) {
                Ok(()) => {
                    lock(&self.unsettled).partitions.remove(&partition);
                    waiting.remove(&partition);
                }
                Err(error) if error.is_passing() => {}
                Err(error) => return Err(error),
            }
            lock(&self.unsettled).asked = Some(partition);
        }
        self.tell();
        Ok(waiting.len())
    }

    /// Asks again while the answer is a passing error, for about so long.
    fn patiently(&self, time: Duration, mut ask: impl FnMut() -> Result<()>) -> Result<()> {
        let deadline = self.clock.now() + time;
        loop {
            match ask() {
                Err(error) if error.is_passing() && self.clock.now() < deadline => {
                    std::thread::sleep(KAFKA_RETRY_PAUSE);
                }
                other => return other,
            }
        }
    }

    /// Finds where each partition goes on, waiting at most `ask` for the group's answer, splits its queue off and gives
    /// it to its lane: all of them, or none.
    fn take(
        &self,
        consumer: &Arc<BaseConsumer<Self>>,
        waiting: &BTreeSet<Partition>,
        ask: Duration,
    ) -> Result<()> {
        // Before the offsets: what another owner has committed since is refused by the generation.
        self.enter(consumer)?;
        let mut assignment = TopicPartitionList::new();
        let mut taps = Vec::new();
        for (source, partition, start) in self.starts(consumer, waiting, ask)? {
            let wake = Arc::clone(&source.lane(&partition).wake);
            let queue = Queue::split(consumer, &partition.topic, partition.partition, move || wake.ring())
                .ok_or_else(|| {
                    Error::internal(format!("{}/{} has no queue", partition.topic, partition.partition))
                })?;
            offset_policy::add(&mut assignment, &partition, start)?;
            let target = source.until_end.then(|| source.targets.get(&partition).copied().unwrap_or(0));
            let gather = Gather::default();
            let tap = Tap {
                partition,
                queue,
                gather,
                start,
                next: start,
                handed: start,
                target,
                seen: start,
                outside: false,
                stale: false,
                trouble: Trouble::default(),
            };
            taps.push((source, tap));
        }
        for (source, tap) in taps {
            tracing::info!(
                node = &*source.name,
                topic = &*tap.partition.topic,
                partition = tap.partition.partition,
                offset = tap.start,
                "partition assigned"
            );
            source.counts.assigned.fetch_add(1, Ordering::Relaxed);
            lock(&source.owned).take(tap.partition.clone(), tap.start);
            source.lane(&tap.partition).add(tap);
        }
        consumer
            .incremental_assign(&assignment)
            .map_err(|e| Error::external(Code::S002, format!("partitions cannot be assigned: {e}")))
    }

    /// The offset at which each partition goes on: what the group committed, else where a new group starts.
    fn starts(
        &self,
        base: &Arc<BaseConsumer<Self>>,
        waiting: &BTreeSet<Partition>,
        ask: Duration,
    ) -> Result<Vec<(&Arc<Shared>, Partition, i64)>> {
        let mut list = TopicPartitionList::with_capacity(waiting.len());
        for partition in waiting {
            list.add_partition(&partition.topic, partition.partition);
        }
        let found = base.committed_offsets(list, ask).map_err(|e| uncertain(Of::Group, &e))?;
        let mut committed = BTreeMap::new();
        for (partition, element) in partitions(&found).zip(found.elements()) {
            // An answer that failed for one partition has no offset for it, as if none had been committed.
            element.error().map_err(|e| self.unsaid(Of::Group, &partition, &e))?;
            committed.insert(partition, element.offset());
        }
        // All answers come before the first decision, which is told and counted.
        let mut logs = Vec::with_capacity(waiting.len());
        for partition in waiting {
            let log = base.fetch_watermarks(&partition.topic, partition.partition, KAFKA_ASSIGN_LOOK);
            logs.push(log.map_err(|e| self.unsaid(Of::Log, partition, &e))?);
        }
        let (mut starts, mut jumped) = (Vec::with_capacity(waiting.len()), TopicPartitionList::new());
        for (partition, (low, high)) in waiting.iter().zip(logs) {
            let Some(source) = self.source(&partition.topic) else { continue };
            let start = match (committed.get(partition), source.start) {
                (Some(&Offset::Offset(at)), _) if at < low || at > high => {
                    let to = source.jumps.decide(&source.name, partition, at, (low, high))?;
                    offset_policy::add(&mut jumped, partition, to)?;
                    to
                }
                (Some(&Offset::Offset(at)), _) => at,
                (_, Start::Earliest) => low,
                // What came after the start was never skipped on purpose.
                (_, Start::Latest) if !source.knew(partition) => low,
                // Committed before anything is read: asked again after a crash, the end would be a later one.
                (_, Start::Latest) => {
                    offset_policy::add(&mut jumped, partition, high)?;
                    high
                }
            };
            starts.push((source, partition.clone(), start));
        }
        offset_policy::remember(base, &jumped)?;
        Ok(starts)
    }

    /// The same of one partition, which the brokers may not know.
    fn unsaid(&self, of: Of, partition: &Partition, error: &KafkaError) -> Error {
        let missing = error.rdkafka_error_code().is_some_and(|code| meaning(code) == Meaning::Missing);
        if missing && let Some(source) = self.source(&partition.topic) {
            source.absent.told(partition, self.clock.now());
        }
        uncertain(of, error).context(format!("{}/{}", partition.topic, partition.partition))
    }
}

/// An answer to where a partition goes on that did not come. Whatever may pass is waited for: how long, says [`settle`], and
/// for a partition that is not there [`Absent`](super::absent::Absent).
///
/// [`settle`]: Group::settle
fn uncertain(of: Of, error: &KafkaError) -> Error {
    let what = "where an assigned partition goes on cannot be found out";
    match error.rdkafka_error_code() {
        Some(code) if meaning(code).may_pass() => {
            let why = match (of, code) {
                // librdkafka itself asks again while a transaction holds an offset, and ends with a time-out.
                (Of::Group, RDKafkaErrorCode::UnstableOffsetCommit | RDKafkaErrorCode::OperationTimedOut) => {
                    ": an open transaction of the last owner may hold the offset"
                }
                _ => "",
            };
            Error::passing(Code::S002, format!("{what}: {error}{why}"))
        }
        _ => client::error(Code::S002, what, error),
    }
}
