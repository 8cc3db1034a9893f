//! The consumer group: what happens when partitions come and go.
//!
//! [`Group`] is the consumer's context, called by whoever polls the consumer. One consumer reads for all sources of a
//! cluster: a worker with several would be several members of one group, and while one of them drains, another may wait
//! in the broker for the first one to join again, with its commits behind it on the one connection.
//!
//! The order in a rebalance is what keeps the promise: queues are split off before a partition is assigned, and a
//! revoked one leaves its reader, is drained and committed, and only then given back. What is assigned is noted in the
//! rebalance and taken after it (`settle.rs`): where it goes on may be uncertain for as long as a transaction of its last
//! owner is open, and the group must not wait for that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;

use super::assignment::Unsettled;
use super::ffi::membership;
use super::protocol;
use super::shared::Shared;
use crate::clock::{Clock, SystemClock};
use crate::connector::kafka::client::Voice;
use crate::connector::position::Partition;
use crate::connector::source::Runtime;
use crate::error::{Code, Error, Result};
use crate::sync::lock;
use crate::units::REVOKE_TIMEOUT;

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
    pub(super) fn source(&self, topic: &str) -> Option<&Arc<Shared>> {
        self.sources.iter().find(|source| source.topics.entry(topic).is_some())
    }

    /// The error of the whole group: every source ends with it.
    pub(super) fn fail(&self, error: &Error) {
        for source in &self.sources {
            source.fail(error.clone());
        }
    }

    /// Tells the sources how the assignment stands.
    pub(super) fn tell(&self) {
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

    /// Notes as which member partitions are taken.
    pub(super) fn enter(&self, consumer: &BaseConsumer<Self>) -> Result<()> {
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

    /// Whether a source names a topic, and not by a pattern.
    pub(super) fn names(&self, topic: &str) -> bool {
        self.sources.iter().any(|source| source.topics.names().any(|name| name == topic))
    }

    /// Whether a partition is this worker's, or is about to be.
    pub(super) fn reads(&self, partition: &Partition) -> bool {
        let owned = |source: &Arc<Shared>| lock(&source.owned).partitions().any(|own| own == partition);
        lock(&self.unsettled).partitions.contains(partition) || self.sources.iter().any(owned)
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
pub(super) fn partitions(list: &TopicPartitionList) -> impl Iterator<Item = Partition> {
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
