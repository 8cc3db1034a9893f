//! The control part of a Kafka source: commits, positions, how far it is.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use super::consumer::Client;
use super::ffi::Commit;
use super::group::{Group, given_up, is_over};
use super::protocol::taken;
use super::shared::Shared;
use crate::clock::Clock;
use crate::connector::kafka::client::{self, GroupOffsets, Meaning, meaning};
use crate::connector::position::{Partition, PartitionProgress, Positions, Progress};
use crate::connector::source::Control;
use crate::error::{Code, Error, Result};
use crate::sync::lock;
use crate::units::{KAFKA_ASK, KAFKA_COMMIT_WAIT, KAFKA_OPEN_TIMEOUT};

fn no_answer() -> Error {
    let wait = humantime::format_duration(KAFKA_COMMIT_WAIT);
    Error::passing(Code::X001, format!("the group's coordinator did not answer a commit within {wait}"))
}

/// The source's shared part.
pub(super) struct KafkaControl {
    /// The consumer, which other sources may share.
    pub(super) client: Arc<Client>,
    /// Whether this is the source that polls the consumer, for all.
    pub(super) polls: bool,
    pub(super) shared: Arc<Shared>,
    /// A commit that was not answered in time.
    pub(super) unanswered: Mutex<Option<Commit<Group>>>,
    /// When the brokers were last asked whether they are there.
    pub(super) asked: Mutex<Option<Duration>>,
}

impl KafkaControl {
    /// librdkafka says when connections fail, not when they work again, and it says that all brokers are down when one
    /// of them has never been asked. So after trouble a question goes to whichever broker there is.
    fn ask(&self, consumer: &BaseConsumer<Group>) {
        let group = consumer.context();
        let now = self.shared.clock.now();
        let mut asked = lock(&self.asked);
        if group.voice.unanswered().is_none() || asked.is_some_and(|at| now - at < KAFKA_ASK) {
            return;
        }
        let mut known = group.sources.iter().flat_map(|source| source.known.keys());
        let topic = known.next().map(|topic| &**topic);
        if consumer.fetch_metadata(topic, KAFKA_ASK).is_ok() {
            group.voice.answered();
        }
        *asked = Some(self.shared.clock.now());
    }
}

impl Control for KafkaControl {
    fn poll(&self, wait: Duration) -> Result<()> {
        let Some(consumer) = self.shared.consumer() else {
            std::thread::sleep(wait);
            return self.shared.check();
        };
        let group = consumer.context();
        match consumer.poll(wait) {
            Some(Ok(_)) => {
                group.fail(&Error::internal("a record came by the group's queue, not by its partition's"));
            }
            Some(Err(error)) => match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::InconsistentGroupProtocol) => group.fail(&taken("other programs")),
                // A session's time-out that the brokers do not take, say, would be asked for without end.
                Some(code) if matches!(meaning(code), Meaning::Denied | Meaning::Setting) => {
                    let what = "the cluster refuses this consumer";
                    group.fail(&client::error(Code::S002, what, &error));
                }
                // A topic that is subscribed to is not there, or one of them.
                Some(code) if meaning(code) == Meaning::Missing => {
                    for source in &group.sources {
                        source.absent.told_of_all(&source.topics, source.clock.now());
                    }
                }
                // All others are librdkafka's to retry; they were logged by the group's voice.
                _ => {}
            },
            None => {}
        }
        if let Some(why) = is_over(&consumer) {
            drop(consumer);
            if let Err(error) = self.client.renew(why) {
                if let Some(consumer) = self.shared.consumer() {
                    consumer.context().fail(&error);
                }
                self.shared.fail(error);
            }
            return self.shared.check();
        }
        // Not by the error that the poll gave: it says only that there is such a one.
        if let Some(error) = given_up(&consumer) {
            group.fail(&error);
        }
        self.shared.check()?;
        for source in &group.sources {
            source.jumps.serve(&consumer, source)?;
            source.absent.serve(&consumer, &source.topics, source.clock.now())?;
        }
        self.ask(&consumer);
        self.shared.check()?;
        group.settle(&consumer)
    }

    /// One source polls the consumer for all that share it; what ends them all ends their readers.
    fn is_served(&self) -> bool {
        self.polls
    }

    fn commit(&self, positions: &Positions) -> Result<()> {
        let Some(consumer) = self.shared.consumer() else { return Ok(()) };
        // Of one whose place was taken: dropping it may close that one, for which nothing else may be held.
        let old = lock(&self.unanswered).take_if(|earlier| !earlier.is_of(&consumer));
        drop(old);
        let owned = lock(&self.shared.owned);
        let mut list = TopicPartitionList::new();
        for (partition, &at) in positions {
            if owned.covers(partition, at) {
                list.add_partition_offset(&partition.topic, partition.partition, Offset::Offset(at))
                    .map_err(|e| client::error(Code::X001, "an offset is not taken", &e))?;
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
            // Whoever polls decides.
            if let Some(why) = is_over(&consumer) {
                return Error::passing(Code::X001, why.message());
            }
            if let Some(error) = given_up(&consumer) {
                return error;
            }
            let (what, error) = ("the group's offsets cannot be committed", KafkaError::ConsumerCommit(code));
            match meaning(code) {
                // A broker that does not know the topic yet, say. One that is gone ends its source.
                meaning if meaning.may_pass() => Error::passing(Code::X001, format!("{what}: {error}")),
                _ => client::error(Code::X001, what, &error),
            }
        };
        let commit = Commit::start(&consumer, &list).map_err(fail)?;
        match commit.wait(KAFKA_COMMIT_WAIT) {
            Some(Ok(()) | Err(RDKafkaErrorCode::NoOffset)) => Ok(()),
            Some(Err(code)) if meaning(code) == Meaning::Missing => {
                let topics = &self.shared.topics;
                // Topics of a pattern may go, and their positions with them: the group takes their partitions away.
                let elements = list.elements();
                if elements.iter().all(|element| !topics.names().any(|name| name == element.topic())) {
                    return Ok(());
                }
                self.shared.absent.told_of_all(topics, self.shared.clock.now());
                Err(fail(code))
            }
            Some(Err(code)) => Err(fail(code)),
            None => {
                *unanswered = Some(commit);
                Err(no_answer())
            }
        }
    }

    fn claim(&self, positions: &Positions) -> Result<GroupOffsets> {
        let Some(consumer) = self.shared.consumer() else {
            return Err(Error::stale(Code::X012, "the group was left"));
        };
        // Asked before what is owned: a generation that is older than that is refused by the group's coordinator.
        let before = consumer.context().confirm(&consumer)?;
        let group = consumer.group_metadata().ok_or_else(|| Error::internal("a consumer without a group"))?;
        if consumer.context().confirm(&consumer)? != before {
            return Err(Error::stale(Code::X012, "the group's generation is another one by now"));
        }
        lock(&self.shared.owned).claim(positions)?;
        let mut offsets = TopicPartitionList::new();
        for (partition, &at) in positions {
            offsets
                .add_partition_offset(&partition.topic, partition.partition, Offset::Offset(at))
                .map_err(|e| client::error(Code::X012, "an offset is not taken", &e))?;
        }
        Ok(GroupOffsets { group: Box::new(group), offsets })
    }

    fn committed(&self) -> Result<Positions> {
        let Some(consumer) = self.shared.consumer() else { return Ok(Positions::new()) };
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
                Some(Meaning::Denied) => client::error(Code::X012, what, &error),
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
        self.client.with(|consumer| self.look(consumer, &mut progress));
        progress
    }

    fn close(&self) -> Result<()> {
        for lane in &self.shared.lanes {
            lane.remove(|_| true);
        }
        lock(&self.unanswered).take();
        self.client.leave();
        Ok(())
    }
}

impl KafkaControl {
    fn look(&self, consumer: &BaseConsumer<Group>, progress: &mut Progress) {
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
    }
}
