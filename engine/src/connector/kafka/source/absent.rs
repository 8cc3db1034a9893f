//! Partitions that a broker does not know, or no longer.
//!
//! That may be stale news: while leaders move or brokers boot, one that lags behind the others says so of a partition that
//! is there. So nothing is decided by one such error. The cluster is asked, by whoever polls the group, and only a partition
//! that it has denied for [`KAFKA_ABSENT`] ends its source.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;

use super::group::Group;
use crate::connector::kafka::client::{Meaning, Topics, meaning};
use crate::connector::position::Partition;
use crate::error::{Code, Error, Result};
use crate::sync::lock;
use crate::units::{KAFKA_ABSENT, KAFKA_ASK, KAFKA_TOPICS_LOOK};

/// In place of a partition's number: the topic as a whole.
const WHOLE: i32 = -1;

/// What is said not to be there.
#[derive(Default)]
pub(super) struct Absent {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Since when the cluster has denied each of them.
    denied: BTreeMap<Partition, Duration>,
    /// When it was asked last.
    asked: Option<Duration>,
    /// When all topics that the source names were looked at last.
    looked: Duration,
}

/// What the cluster says of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    There,
    Denied,
    /// It cannot say now.
    None,
}

impl Absent {
    /// A broker said that it does not know a partition; it may be told as often as it is said.
    pub(super) fn told(&self, partition: &Partition, now: Duration) {
        lock(&self.state).denied.entry(partition.clone()).or_insert(now);
    }

    /// The same of all topics that a source names: one of them may not be there, and nobody says which.
    pub(super) fn told_of_all(&self, topics: &Topics, now: Duration) {
        for topic in topics.names() {
            self.told(&Partition { topic: topic.into(), partition: WHOLE }, now);
        }
    }

    /// Asks the cluster about those that are said not to be there, at most once in a while. The error is that of one that
    /// is not. To be called by whoever polls the group.
    pub(super) fn serve(&self, consumer: &BaseConsumer<Group>, topics: &Topics, now: Duration) -> Result<()> {
        // Of a topic that is deleted librdkafka tells nobody as a rule: the partitions fall silent.
        let due = {
            let mut state = lock(&self.state);
            let due = now.saturating_sub(state.looked) >= KAFKA_TOPICS_LOOK;
            state.looked = if due { now } else { state.looked };
            due
        };
        if due {
            self.told_of_all(topics, now);
        }
        let mut suspects = {
            let mut state = lock(&self.state);
            if state.denied.is_empty() || state.asked.is_some_and(|at| now.saturating_sub(at) < KAFKA_ASK) {
                return Ok(());
            }
            state.asked = Some(now);
            state.denied.clone()
        };
        let group = consumer.context();
        // The group takes partitions of a topic that is gone away, and the source would read nothing without a word.
        suspects.retain(|partition, _| group.reads(partition) || group.names(&partition.topic));
        for (partition, since) in &mut suspects {
            match (look(consumer, partition), now.saturating_sub(*since)) {
                // The group takes one away whose topic matches a pattern no longer.
                (Answer::Denied, time) if time >= KAFKA_ABSENT && group.names(&partition.topic) => {
                    return Err(gone(partition));
                }
                (Answer::Denied, _) => {}
                (Answer::There, _) => *since = Duration::MAX,
                (Answer::None, _) => *since = now,
            }
        }
        // Those that were told of meanwhile are asked about the next time.
        suspects.retain(|_, since| *since != Duration::MAX);
        lock(&self.state).denied = suspects;
        Ok(())
    }
}

fn look(consumer: &BaseConsumer<Group>, partition: &Partition) -> Answer {
    let Ok(metadata) = consumer.fetch_metadata(Some(&partition.topic), KAFKA_ASK) else {
        return Answer::None;
    };
    let Some(topic) = metadata.topics().iter().find(|topic| topic.name() == &*partition.topic) else {
        return Answer::Denied;
    };
    match topic.error().map(|error| meaning(RDKafkaErrorCode::from(error))) {
        None if topic.partitions().iter().any(|known| [known.id(), WHOLE].contains(&partition.partition)) => {
            Answer::There
        }
        None | Some(Meaning::Missing) => Answer::Denied,
        Some(_) => Answer::None,
    }
}

/// The error of a partition that is not there any more.
pub(super) fn gone(partition: &Partition) -> Error {
    let wait = humantime::format_duration(KAFKA_ABSENT);
    let Partition { topic, partition } = partition;
    let what = if *partition == WHOLE { format!("topic `{topic}`") } else { format!("{topic}/{partition}") };
    let message = format!("{what} does not exist any more: brokers have said so for {wait}");
    Error::external(Code::S003, message)
        .help("was the topic deleted? Make it again, or take it out of `topics:`, and start again")
}
