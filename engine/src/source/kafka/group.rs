//! The consumer group: what happens when partitions come and go, and the commits.
//!
//! [`Group`] is the consumer's context, called by whoever polls the consumer; [`Shared`] is what it shares with the
//! readers; [`KafkaControl`] is the source's [`Control`]. The order in a rebalance is what keeps the promise:
//! queues are split off before a partition is assigned, and a revoked one leaves its reader, is drained and
//! committed, and only then given back.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};

use super::ffi::{Commit, Queue};
use super::gather::Gather;
use super::lane::{Lane, Tap, lock};
use super::options::{OutOfRange, Start};
use super::owned::Owned;
use super::protocol;
use super::range::{self, Jumps};
use crate::clock::{Clock, SystemClock};
use crate::error::{Code, Error, Result};
use crate::kafka::{GroupOffsets, Meaning, Voice, meaning};
use crate::source::{Control, Partition, PartitionProgress, Positions, Progress, Runtime};
use crate::units::{
    KAFKA_ASK, KAFKA_ASSIGN_TIMEOUT, KAFKA_COMMIT_WAIT, KAFKA_OPEN_TIMEOUT, KAFKA_RETRY_PAUSE, REVOKE_TIMEOUT,
};

/// What the group, the readers and the control share.
pub(super) struct Shared {
    pub(super) clock: SystemClock,
    pub(super) lanes: Vec<Arc<Lane>>,
    pub(super) until_end: bool,
    /// Ends of all partitions when the source was opened, for `until_end`.
    pub(super) targets: Positions,
    /// The first assignment is here (it may be empty).
    assigned: AtomicBool,
    /// What this worker owns. Held during a commit: a partition is not given back while an older position of it is on
    /// its way.
    pub(super) owned: Mutex<Owned>,
    /// The error that ends the source.
    failed: Mutex<Option<Error>>,
    has_failed: AtomicBool,
    counts: Counts,
    pub(super) jumps: Jumps,
}

/// What has come and gone.
#[derive(Default)]
struct Counts {
    rebalances: AtomicU64,
    assigned: AtomicU64,
    revoked: AtomicU64,
    lost: AtomicU64,
}

impl Shared {
    pub(super) fn new(
        lanes: Vec<Arc<Lane>>,
        until_end: bool,
        targets: Positions,
        policy: OutOfRange,
    ) -> Self {
        Self {
            clock: SystemClock::default(),
            lanes,
            until_end,
            // Where no topic matches, the group is not even joined: no assignment will come.
            assigned: AtomicBool::new(until_end && targets.is_empty()),
            targets,
            owned: Mutex::default(),
            failed: Mutex::default(),
            has_failed: AtomicBool::new(false),
            counts: Counts::default(),
            jumps: Jumps::new(policy),
        }
    }

    /// The error that ended the source, if one did.
    pub(super) fn check(&self) -> Result<()> {
        if self.has_failed.load(Ordering::Acquire) {
            return lock(&self.failed).clone().map_or(Ok(()), Err);
        }
        Ok(())
    }

    fn fail(&self, error: Error) {
        lock(&self.failed).get_or_insert(error);
        self.has_failed.store(true, Ordering::Release);
        self.wake();
    }

    fn wake(&self) {
        for lane in &self.lanes {
            lane.wake.ring();
        }
    }

    /// Whether `--until-end` is reached: by all lanes at once, as a rebalance may still bring a lane partitions.
    pub(super) fn is_at_end(&self) -> bool {
        self.until_end
            && self.assigned.load(Ordering::SeqCst)
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
}

/// The consumer's context.
pub(super) struct Group {
    pub(super) voice: Voice,
    pub(super) shared: Arc<Shared>,
    pub(super) start: Start,
    /// Partitions of each topic that were there when the source was opened.
    pub(super) known: BTreeMap<Arc<str>, i32>,
    /// Its name as a static member.
    pub(super) instance: Option<String>,
    pub(super) runtime: Arc<dyn Runtime>,
    /// The consumer that this is the context of.
    pub(super) consumer: OnceLock<Weak<BaseConsumer<Group>>>,
    pub(super) closing: AtomicBool,
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
        self.shared.counts.rebalances.fetch_add(1, Ordering::Relaxed);
        match err {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.assign(base, list),
            _ => self.revoke(base, list),
        }
        self.shared.wake();
    }
}

impl Group {
    fn assign(&self, base: &BaseConsumer<Self>, list: &TopicPartitionList) {
        let taken = self.take(base, list).and_then(|assignment| {
            base.incremental_assign(&assignment)
                .map_err(|e| Error::external(Code::S002, format!("partitions cannot be assigned: {e}")))
        });
        if let Err(error) = taken {
            // librdkafka waits for an answer to the assignment, even one that takes nothing.
            let _ = base.incremental_assign(&TopicPartitionList::new());
            self.shared.fail(error);
        }
        self.shared.assigned.store(true, Ordering::SeqCst);
    }

    /// Finds where each partition goes on, splits its queue off and gives it to its lane.
    fn take(&self, base: &BaseConsumer<Self>, list: &TopicPartitionList) -> Result<TopicPartitionList> {
        let mut assignment = TopicPartitionList::new();
        if list.count() == 0 {
            return Ok(assignment);
        }
        let Some(consumer) = self.consumer.get().and_then(Weak::upgrade) else { return Ok(assignment) };
        let mut taps = Vec::new();
        for (partition, start) in self.starts(base, list)? {
            let wake = Arc::clone(&self.shared.lane(&partition).wake);
            let queue = Queue::split(&consumer, &partition.topic, partition.partition, move || wake.ring())
                .ok_or_else(|| {
                Error::internal(format!("{}/{} has no queue", partition.topic, partition.partition))
            })?;
            assignment
                .add_partition_offset(&partition.topic, partition.partition, Offset::Offset(start))
                .map_err(|e| crate::kafka::error(Code::S002, "an offset is not taken", &e))?;
            tracing::info!(
                node = self.voice.node.as_str(),
                topic = &*partition.topic,
                partition = partition.partition,
                offset = start,
                "partition assigned"
            );
            let target =
                self.shared.until_end.then(|| self.shared.targets.get(&partition).copied().unwrap_or(0));
            let gather = Gather::default();
            taps.push(Tap {
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
            });
        }
        self.shared.counts.assigned.fetch_add(taps.len() as u64, Ordering::Relaxed);
        let mut owned = lock(&self.shared.owned);
        for tap in taps {
            owned.take(tap.partition.clone(), tap.start);
            self.shared.lane(&tap.partition).add(tap);
        }
        Ok(assignment)
    }

    /// The offset at which each partition goes on: what the group committed, else where a new group starts.
    fn starts(&self, base: &BaseConsumer<Self>, list: &TopicPartitionList) -> Result<Vec<(Partition, i64)>> {
        let committed = self.patiently(|| {
            let found = base.committed_offsets(list.clone(), KAFKA_OPEN_TIMEOUT)?;
            // An answer that failed for one partition has no offset for it, as if none had been committed.
            found.elements().iter().try_for_each(|element| element.error())?;
            Ok(found)
        })?;
        let mut starts = Vec::with_capacity(list.count());
        let mut jumped = TopicPartitionList::new();
        let mut topics: BTreeMap<String, Arc<str>> = BTreeMap::new();
        for element in committed.elements() {
            let topic = topics.entry(element.topic().to_owned()).or_insert_with(|| element.topic().into());
            let partition = Partition { topic: Arc::clone(topic), partition: element.partition() };
            let (low, high) = self.patiently(|| {
                base.fetch_watermarks(element.topic(), element.partition(), KAFKA_OPEN_TIMEOUT)
            })?;
            let start = match (element.offset(), self.start) {
                (Offset::Offset(at), _) if at < low || at > high => {
                    let to = self.shared.jumps.decide(&self.voice.node, &partition, at, (low, high))?;
                    range::add(&mut jumped, &partition, to)?;
                    to
                }
                (Offset::Offset(at), _) => at,
                (_, Start::Earliest) => low,
                // What came after the start was never skipped on purpose.
                (_, Start::Latest) if !self.was_there(&partition) => low,
                (_, Start::Latest) => high,
            };
            starts.push((partition, start));
        }
        range::remember(base, &jumped);
        Ok(starts)
    }

    fn was_there(&self, partition: &Partition) -> bool {
        self.known.get(&partition.topic).is_some_and(|count| partition.partition < *count)
    }

    /// Asks again while the answer is a passing error, for at most [`KAFKA_ASSIGN_TIMEOUT`].
    fn patiently<T>(&self, mut ask: impl FnMut() -> Result<T, KafkaError>) -> Result<T> {
        let deadline = self.shared.clock.now() + KAFKA_ASSIGN_TIMEOUT;
        loop {
            let error = match ask() {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let passing = error.rdkafka_error_code().is_some_and(|c| meaning(c) == Meaning::Passing);
            let closing = self.closing.load(Ordering::SeqCst);
            if !passing || closing || self.shared.clock.now() >= deadline {
                let what = "where an assigned partition goes on cannot be found out";
                return Err(crate::kafka::error(Code::S002, what, &error));
            }
            std::thread::sleep(KAFKA_RETRY_PAUSE);
        }
    }

    fn revoke(&self, base: &BaseConsumer<Self>, list: &TopicPartitionList) {
        let leaving: Vec<Partition> = list
            .elements()
            .iter()
            .map(|e| Partition { topic: e.topic().into(), partition: e.partition() })
            .collect();
        let lost = base.assignment_lost();
        for lane in &self.shared.lanes {
            lane.remove(|partition| leaving.contains(partition));
        }
        let node = self.voice.node.as_str();
        let closing = self.closing.load(Ordering::SeqCst);
        let mut drained = !lost;
        if !lost && !closing && !leaving.is_empty() {
            drained = self.runtime.drain(REVOKE_TIMEOUT);
            tracing::info!(node, partitions = leaving.len(), drained, "partitions revoked");
        }
        lock(&self.shared.owned).leave(&leaving, drained);
        let gone = if drained { &self.shared.counts.revoked } else { &self.shared.counts.lost };
        gone.fetch_add(leaving.len() as u64, Ordering::Relaxed);
        if !drained && !closing && !leaving.is_empty() {
            tracing::warn!(node, partitions = leaving.len(), "partitions lost: another worker may own them");
            self.runtime.rewind("partitions were lost");
        }
        if let Err(error) = base.incremental_unassign(list) {
            self.shared
                .fail(Error::external(Code::S002, format!("partitions cannot be given back: {error}")));
        }
    }
}

/// Why librdkafka has given this consumer up, if it has.
fn given_up(consumer: &BaseConsumer<Group>) -> Option<Error> {
    let (code, text) = consumer.client().fatal_error()?;
    Some(protocol::given_up(code, &text, consumer.context().instance.as_deref()))
}

fn no_answer() -> Error {
    let wait = humantime::format_duration(KAFKA_COMMIT_WAIT);
    Error::passing(Code::X001, format!("the group's coordinator did not answer a commit within {wait}"))
}

/// The source's shared part.
pub(super) struct KafkaControl {
    pub(super) consumer: Mutex<Option<Arc<BaseConsumer<Group>>>>,
    pub(super) shared: Arc<Shared>,
    /// A commit that was not answered in time.
    pub(super) unanswered: Mutex<Option<Commit<Group>>>,
    /// When the brokers were last asked whether they are there.
    pub(super) asked: Mutex<Option<Duration>>,
}

impl KafkaControl {
    fn consumer(&self) -> Option<Arc<BaseConsumer<Group>>> {
        lock(&self.consumer).clone()
    }

    /// librdkafka says when connections fail, not when they work again, and it says that all brokers are down when one
    /// of them has never been asked. So after trouble a question goes to whichever broker there is.
    fn ask(&self, consumer: &BaseConsumer<Group>) {
        let group = consumer.context();
        let now = self.shared.clock.now();
        let mut asked = lock(&self.asked);
        if group.voice.unanswered().is_none() || asked.is_some_and(|at| now - at < KAFKA_ASK) {
            return;
        }
        let topic = group.known.keys().next().map(|topic| &**topic);
        if consumer.fetch_metadata(topic, KAFKA_ASK).is_ok() {
            group.voice.answered();
        }
        *asked = Some(self.shared.clock.now());
    }
}

impl Control for KafkaControl {
    fn poll(&self, wait: Duration) -> Result<()> {
        let Some(consumer) = self.consumer() else { return Ok(()) };
        match consumer.poll(wait) {
            Some(Ok(_)) => {
                self.shared
                    .fail(Error::internal("a record came by the group's queue, not by its partition's"));
            }
            Some(Err(error)) => match error.rdkafka_error_code() {
                Some(code) if meaning(code) == Meaning::Denied => {
                    self.shared.fail(crate::kafka::error(
                        Code::S002,
                        "the cluster refuses this consumer",
                        &error,
                    ));
                }
                // All others are librdkafka's to retry; they were logged by the group's voice.
                _ => {}
            },
            None => {}
        }
        // Not by the error that the poll gave: it says only that there is such a one.
        if let Some(error) = given_up(&consumer) {
            self.shared.fail(error);
        }
        self.shared.check()?;
        self.shared.jumps.serve(&consumer, &self.shared)?;
        self.ask(&consumer);
        self.shared.check()
    }

    fn commit(&self, positions: &Positions) -> Result<()> {
        let Some(consumer) = self.consumer() else { return Ok(()) };
        let owned = lock(&self.shared.owned);
        let mut list = TopicPartitionList::new();
        for (partition, &at) in positions {
            if owned.covers(partition, at) {
                list.add_partition_offset(&partition.topic, partition.partition, Offset::Offset(at))
                    .map_err(|e| crate::kafka::error(Code::X001, "an offset is not taken", &e))?;
            }
        }
        if list.count() == 0 {
            return Ok(());
        }
        // One at a time. What the earlier one says does not matter: this one goes further.
        let mut unanswered = lock(&self.unanswered);
        if let Some(earlier) = unanswered.take()
            && earlier.wait(KAFKA_COMMIT_WAIT).is_none()
        {
            *unanswered = Some(earlier);
            return Err(no_answer());
        }
        let fail = |code| {
            if let Some(error) = given_up(&consumer) {
                return error;
            }
            let error = KafkaError::ConsumerCommit(code);
            crate::kafka::error(Code::X001, "the group's offsets cannot be committed", &error)
        };
        let commit = Commit::start(&consumer, &list).map_err(fail)?;
        match commit.wait(KAFKA_COMMIT_WAIT) {
            Some(Ok(()) | Err(RDKafkaErrorCode::NoOffset)) => Ok(()),
            Some(Err(code)) => Err(fail(code)),
            None => {
                *unanswered = Some(commit);
                Err(no_answer())
            }
        }
    }

    fn claim(&self, positions: &Positions) -> Result<GroupOffsets> {
        let Some(consumer) = self.consumer() else {
            return Err(Error::stale(Code::X012, "the group was left"));
        };
        // Asked before what is owned: a generation that is older than that is refused by the group's coordinator.
        let group = consumer.group_metadata().ok_or_else(|| Error::internal("a consumer without a group"))?;
        lock(&self.shared.owned).claim(positions)?;
        let mut offsets = TopicPartitionList::new();
        for (partition, &at) in positions {
            offsets
                .add_partition_offset(&partition.topic, partition.partition, Offset::Offset(at))
                .map_err(|e| crate::kafka::error(Code::X012, "an offset is not taken", &e))?;
        }
        Ok(GroupOffsets { group: Box::new(group), offsets })
    }

    fn committed(&self) -> Result<Positions> {
        let Some(consumer) = self.consumer() else { return Ok(Positions::new()) };
        let mut list = TopicPartitionList::new();
        let mut owned = lock(&self.shared.owned);
        owned.go_back();
        for partition in owned.partitions() {
            list.add_partition(&partition.topic, partition.partition);
        }
        drop(owned);
        // Passing whatever it is, but for rights that are missing: they would be missing the next time, too.
        let fail = |error: KafkaError| {
            let what = "what the group has committed cannot be found out";
            match error.rdkafka_error_code().map(meaning) {
                Some(Meaning::Denied) => crate::kafka::error(Code::X012, what, &error),
                _ => Error::passing(Code::X012, format!("{what}: {error}")),
            }
        };
        let found = consumer.committed_offsets(list, KAFKA_OPEN_TIMEOUT).map_err(fail)?;
        let mut committed = Positions::new();
        for element in found.elements() {
            element.error().map_err(fail)?;
            if let Offset::Offset(at) = element.offset() {
                let partition = Partition { topic: element.topic().into(), partition: element.partition() };
                committed.insert(partition, at);
            }
        }
        Ok(committed)
    }

    fn progress(&self) -> Progress {
        let counts = &self.shared.counts;
        let [rebalances, assigned, revoked, lost] =
            [&counts.rebalances, &counts.assigned, &counts.revoked, &counts.lost]
                .map(|count| count.load(Ordering::Relaxed));
        let joined = self.shared.assigned.load(Ordering::SeqCst);
        let (jumps, jumped) = self.shared.jumps.counts();
        let mut progress =
            Progress { joined, rebalances, assigned, revoked, lost, jumps, jumped, ..Progress::default() };
        // Held, not cloned: whoever closes drops the last reference, and that leaves the group.
        let consumer = lock(&self.consumer);
        let Some(consumer) = &*consumer else { return progress };
        let voice = &consumer.context().voice;
        (progress.quiet, progress.unanswered) = (voice.quiet(), voice.unanswered());
        for lane in &self.shared.lanes {
            for tap in &lock(&lane.taps).list {
                let end = super::ffi::cached_end(consumer, &tap.partition);
                // Control records are nothing to wait for.
                let idle = tap.handed == tap.next && !tap.queue.holds();
                let seen = if idle { super::ffi::position(consumer, &tap.partition) } else { None };
                let position = seen.map_or(tap.handed, |seen| seen.max(tap.handed));
                progress.partitions.push(PartitionProgress {
                    partition: tap.partition.clone(),
                    position,
                    end,
                    lag: end.map(|end| (end - position).max(0)),
                });
            }
        }
        progress
    }

    fn close(&self) -> Result<()> {
        let Some(consumer) = lock(&self.consumer).take() else { return Ok(()) };
        consumer.context().closing.store(true, Ordering::SeqCst);
        for lane in &self.shared.lanes {
            lane.remove(|_| true);
        }
        lock(&self.unanswered).take();
        // The last one: dropping it leaves the group.
        drop(consumer);
        Ok(())
    }
}
