//! The consumer group: what happens when partitions come and go.
//!
//! [`Group`] is the consumer's context, called by whoever polls the consumer. One consumer reads for all sources of a
//! cluster: a worker with several would be several members of one group, and while one of them drains, another may wait
//! in the broker for the first one to join again, with its commits behind it on the one connection.
//!
//! The order in a rebalance is what keeps the promise: queues are split off before a partition is assigned, and a
//! revoked one leaves its reader, is drained and committed, and only then given back. What is assigned is noted in the
//! rebalance and taken after it ([`Group::settle`]): where it goes on may be uncertain for as long as a transaction of
//! its last owner is open, and the group must not wait for that.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};

use super::ffi::{Queue, membership};
use super::gather::Gather;
use super::lane::{Tap, lock};
use super::options::Start;
use super::protocol;
use super::range;
use super::shared::Shared;
use crate::clock::{Clock, SystemClock};
use crate::error::{Code, Error, Result};
use crate::kafka::Voice;
use crate::source::{Partition, Runtime};
use crate::units::{
    KAFKA_ASSIGN_ASK, KAFKA_ASSIGN_ASK_ONE, KAFKA_ASSIGN_TIMEOUT, KAFKA_OPEN_TIMEOUT, KAFKA_RETRY_PAUSE,
    REVOKE_TIMEOUT,
};

/// The consumer's context.
pub(super) struct Group {
    pub(super) voice: Voice,
    /// The sources that it reads for, in the order of the pipeline file.
    pub(super) sources: Vec<Arc<Shared>>,
    /// As which member of the group it was given what it owns.
    pub(super) member: Mutex<String>,
    /// Its name as a static member.
    pub(super) instance: Option<String>,
    pub(super) runtime: Arc<dyn Runtime>,
    pub(super) closing: AtomicBool,
    pub(super) clock: SystemClock,
    pub(super) unsettled: Mutex<Unsettled>,
    /// The group knows this worker as another member than the one that was given what it owns.
    pub(super) is_another: AtomicBool,
    /// Another consumer has taken the place of this one, and has all that the sources share.
    pub(super) retired: AtomicBool,
}

/// Partitions that the group has given, of which is not known yet where they go on.
#[derive(Default)]
pub(super) struct Unsettled {
    partitions: BTreeSet<Partition>,
    /// Since when there are any.
    since: Duration,
    /// The last one that was asked for by itself.
    asked: Option<Partition>,
}

impl ClientContext for Group {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.voice.say(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.voice.report(&error, reason);
    }
}

impl ConsumerContext for Group {
    fn rebalance(&self, base: &BaseConsumer<Self>, err: RDKafkaRespErr, list: &mut TopicPartitionList) {
        if self.retired.load(Ordering::SeqCst) {
            // Its last owner closes it, in whichever thread: librdkafka wants an answer, and takes any for "all".
            let _ = base.incremental_unassign(&TopicPartitionList::new());
            return;
        }
        for source in &self.sources {
            source.counts.rebalances.fetch_add(1, Ordering::Relaxed);
        }
        match err {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.assign(base, list),
            _ => self.revoke(base, list),
        }
        self.tell();
    }
}

impl Group {
    /// The source that reads a topic. `check` refuses a topic that two sources name; of two patterns that match one
    /// topic, the first counts.
    fn source(&self, topic: &str) -> Option<&Arc<Shared>> {
        self.sources.iter().find(|source| source.topics.entry(topic).is_some())
    }

    /// The error of the whole group: every source ends with it.
    pub(super) fn fail(&self, error: &Error) {
        for source in &self.sources {
            source.fail(error.clone());
        }
    }

    /// Tells the sources how the assignment stands.
    fn tell(&self) {
        let unsettled = lock(&self.unsettled);
        for source in &self.sources {
            let waits = unsettled.partitions.iter().any(|partition| self.is_of(source, partition));
            source.unsettled.store(waits, Ordering::SeqCst);
            source.wake();
        }
    }

    fn is_of(&self, source: &Arc<Shared>, partition: &Partition) -> bool {
        self.source(&partition.topic).is_some_and(|owner| Arc::ptr_eq(owner, source))
    }

    fn assign(&self, base: &BaseConsumer<Self>, list: &TopicPartitionList) {
        // librdkafka waits for an answer to the assignment; what it is given later counts as well.
        if let Err(error) = base.incremental_assign(&TopicPartitionList::new()) {
            self.fail(&Error::external(Code::S002, format!("partitions cannot be assigned: {error}")));
        }
        let mut unsettled = lock(&self.unsettled);
        if unsettled.partitions.is_empty() {
            unsettled.since = self.clock.now();
        }
        for partition in partitions(list) {
            match self.source(&partition.topic) {
                Some(_) => {
                    unsettled.partitions.insert(partition);
                }
                // One of Kafka's own that a pattern of ours matches for librdkafka and means for nobody.
                None => tracing::debug!(topic = &*partition.topic, "no source reads this topic"),
            }
        }
        drop(unsettled);
        self.tell();
        for source in &self.sources {
            source.assigned.store(true, Ordering::SeqCst);
        }
    }

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
                return Err(error.context(format!(
                    "{left} assigned partitions wait: an open transaction of their last owner may hold their offsets"
                )));
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
            range::add(&mut assignment, &partition, start)?;
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

    /// Notes as which member partitions are taken.
    fn enter(&self, consumer: &BaseConsumer<Self>) -> Result<()> {
        let Some((id, _)) = membership(consumer) else {
            return Err(Error::passing(Code::S002, "the group does not know this worker yet"));
        };
        let mut member = lock(&self.member);
        if *member != id && self.owns() {
            self.is_another.store(true, Ordering::SeqCst);
            return Err(Error::passing(Code::S002, let_in_anew().message()));
        }
        *member = id;
        Ok(())
    }

    fn owns(&self) -> bool {
        self.sources.iter().any(|source| lock(&source.owned).partitions().next().is_some())
    }

    /// Whether the group still knows this worker as the member that was given what it owns; answers which generation
    /// it knows.
    pub(super) fn confirm(&self, consumer: &BaseConsumer<Self>) -> Result<i32> {
        let Some((id, generation)) = membership(consumer) else {
            return Err(Error::stale(Code::X012, "the group does not know this worker any more"));
        };
        if *lock(&self.member) != id {
            // Where nothing is owned, what was is lost already, or not taken yet.
            self.is_another.fetch_or(self.owns(), Ordering::SeqCst);
            return Err(Error::stale(Code::X012, let_in_anew().message()));
        }
        Ok(generation)
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
        // librdkafka itself asks again while a transaction holds an offset, and ends with a time-out.
        let found = base.committed_offsets(list, ask).map_err(|e| uncertain(&e))?;
        let mut committed = BTreeMap::new();
        for (partition, element) in partitions(&found).zip(found.elements()) {
            // An answer that failed for one partition has no offset for it, as if none had been committed.
            element.error().map_err(|e| uncertain(&e))?;
            committed.insert(partition, element.offset());
        }
        // All answers come before the first decision, which is told and counted.
        let mut logs = Vec::with_capacity(waiting.len());
        for partition in waiting {
            let log = base.fetch_watermarks(&partition.topic, partition.partition, KAFKA_OPEN_TIMEOUT);
            logs.push(log.map_err(|e| uncertain(&e))?);
        }
        let (mut starts, mut jumped) = (Vec::with_capacity(waiting.len()), TopicPartitionList::new());
        for (partition, (low, high)) in waiting.iter().zip(logs) {
            let Some(source) = self.source(&partition.topic) else { continue };
            let start = match (committed.get(partition), source.start) {
                (Some(&Offset::Offset(at)), _) if at < low || at > high => {
                    let to = source.jumps.decide(&source.name, partition, at, (low, high))?;
                    range::add(&mut jumped, partition, to)?;
                    to
                }
                (Some(&Offset::Offset(at)), _) => at,
                (_, Start::Earliest) => low,
                // What came after the start was never skipped on purpose.
                (_, Start::Latest) if !source.knew(partition) => low,
                // Committed before anything is read: asked again after a crash, the end would be a later one.
                (_, Start::Latest) => {
                    range::add(&mut jumped, partition, high)?;
                    high
                }
            };
            starts.push((source, partition.clone(), start));
        }
        range::remember(base, &jumped)?;
        Ok(starts)
    }

    /// Everything that this worker has is lost, and nothing will say so: the consumer is given up.
    pub(super) fn lose(&self, base: &BaseConsumer<Self>) {
        self.retired.store(true, Ordering::SeqCst);
        let mut given = TopicPartitionList::new();
        for source in &self.sources {
            // First: lanes without partitions are at their end.
            source.begin_anew();
            for lane in &source.lanes {
                lane.remove(|_| true);
            }
            let mut owned = lock(&source.owned);
            let own: Vec<_> = owned.partitions().cloned().collect();
            owned.leave(&own, false);
            drop(owned);
            source.counts.lost.fetch_add(own.len() as u64, Ordering::Relaxed);
            for partition in own {
                given.add_partition(&partition.topic, partition.partition);
            }
        }
        if given.count() > 0 {
            self.runtime.rewind("partitions were lost");
        }
        // It is closed next, whatever becomes of this.
        let _ = base.incremental_unassign(&given);
    }

    fn revoke(&self, base: &BaseConsumer<Self>, list: &TopicPartitionList) {
        let leaving: BTreeSet<Partition> = partitions(list).collect();
        let lost = base.assignment_lost();
        let closing = self.closing.load(Ordering::SeqCst);
        if lost && !closing {
            // What is lost comes again, here or elsewhere: until then lanes without partitions are not at their end.
            self.sources.iter().for_each(|source| source.begin_anew());
        }
        lock(&self.unsettled).partitions.retain(|partition| !leaving.contains(partition));
        // What was taken, by source: librdkafka does not let go of what it has not been given.
        let mut gone: Vec<(&Arc<Shared>, Vec<Partition>)> = Vec::new();
        let mut given = TopicPartitionList::new();
        for source in &self.sources {
            for lane in &source.lanes {
                lane.remove(|partition| leaving.contains(partition));
            }
            let owned = lock(&source.owned);
            let own: Vec<_> = owned.partitions().filter(|own| leaving.contains(own)).cloned().collect();
            for partition in &own {
                given.add_partition(&partition.topic, partition.partition);
            }
            gone.push((source, own));
        }
        let count = given.count();
        let node = self.voice.node.as_str();
        let mut drained = !lost;
        if !lost && !closing && count > 0 {
            drained = self.runtime.drain(REVOKE_TIMEOUT);
            tracing::info!(node, partitions = count, drained, "partitions revoked");
        }
        for (source, own) in gone {
            lock(&source.owned).leave(&own, drained);
            let counter = if drained { &source.counts.revoked } else { &source.counts.lost };
            counter.fetch_add(own.len() as u64, Ordering::Relaxed);
        }
        if !drained && !closing && count > 0 {
            tracing::warn!(node, partitions = count, "partitions lost: another worker may own them");
            self.runtime.rewind("partitions were lost");
        }
        if let Err(error) = base.incremental_unassign(&given) {
            self.fail(&Error::external(Code::S002, format!("partitions cannot be given back: {error}")));
        }
    }
}

/// For whoever polls: why another consumer must take the place of this one, if so.
pub(super) fn is_over(consumer: &BaseConsumer<Group>) -> Option<Error> {
    let another = consumer.context().is_another.load(Ordering::SeqCst).then(let_in_anew);
    let is_fenced = || {
        consumer.client().fatal_error().is_some_and(|(code, _)| code == RDKafkaErrorCode::FencedInstanceId)
    };
    another.or_else(|| if is_fenced() { given_up(consumer) } else { None })
}

/// A static member whose session is over may be let in as another one without being told that its partitions were
/// lost: what it has of them may be another worker's by now, and nothing takes them away.
fn let_in_anew() -> Error {
    let message = "the group has let this worker in as another member, and has not taken its partitions back";
    Error::external(Code::X012, message).help("start it again: it goes on where the group stands")
}

/// Why librdkafka has given this consumer up, if it has.
pub(super) fn given_up(consumer: &BaseConsumer<Group>) -> Option<Error> {
    let (code, text) = consumer.client().fatal_error()?;
    Some(protocol::given_up(code, &text, consumer.context().instance.as_deref()))
}

/// Partitions of a list; those of one topic share its name.
fn partitions(list: &TopicPartitionList) -> impl Iterator<Item = Partition> {
    let mut topics: BTreeMap<String, Arc<str>> = BTreeMap::new();
    let elements = list.elements();
    let all: Vec<Partition> = elements
        .iter()
        .map(|element| {
            let topic = topics.entry(element.topic().to_owned()).or_insert_with(|| element.topic().into());
            Partition { topic: Arc::clone(topic), partition: element.partition() }
        })
        .collect();
    all.into_iter()
}

/// An answer to where a partition goes on that did not come. That a transaction holds the offset passes.
fn uncertain(error: &KafkaError) -> Error {
    let what = "where an assigned partition goes on cannot be found out";
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::UnstableOffsetCommit) => {
            Error::passing(Code::S002, format!("{what}: {error}"))
        }
        _ => crate::kafka::error(Code::S002, what, error),
    }
}
