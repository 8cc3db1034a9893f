//! The offsets that a consumer group has committed, looked at and set from outside of the group.
//!
//! A client that commits without being a member is taken by the group's coordinator only while the group has no
//! members; that, not the look before, is what keeps a reset and a worker apart.

use std::sync::Arc;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::{Offset, TopicPartitionList};

use super::{Cluster, Known, Meaning, Probe, Topics, Voice, meaning};
use crate::clock::{Clock, SystemClock};
use crate::error::{Code, Error, Result};
use crate::units::{KAFKA_OPEN_TIMEOUT, KAFKA_RETRY_PAUSE};

/// The state of a group of which only a commit tells whether it is live.
const UNSEEN: &str = "of the protocol of KIP-848, its members cannot be listed";

/// Topic and number of a partition.
pub type Place = (Arc<str>, i32);

/// The offsets of one group on one cluster.
pub struct Offsets {
    client: BaseConsumer<Voice>,
    probe: Probe,
    group: String,
    brokers: String,
    clock: SystemClock,
}

/// Who is in a group.
#[derive(Debug, Default)]
pub struct Membership {
    /// As the coordinator calls it (`Stable`, `Empty`) where it does; empty where there is no such group.
    pub state: String,
    /// Each member: client, host and id, in words.
    pub members: Vec<String>,
}

impl Offsets {
    /// Clients for a group; nothing is asked yet.
    pub fn new(cluster: &Cluster, group: &str, node: &str) -> Result<Self> {
        let client = cluster
            .outside()
            .config(&[
                ("group.id", group),
                ("enable.auto.commit", "false"),
                ("enable.auto.offset.store", "false"),
                ("isolation.level", "read_committed"),
            ])
            .create_with_context(Voice::new(node))
            .map_err(|e| super::error(Code::S005, "the client cannot be made", &e))?;
        let probe = Probe::new(cluster, node, Code::S005)?;
        let (group, brokers) = (group.to_owned(), cluster.brokers().to_owned());
        Ok(Self { client, probe, group, brokers, clock: SystemClock::default() })
    }

    /// The topics with the number of their partitions.
    pub fn known(&self, topics: &Topics) -> Result<Known> {
        self.probe.known(topics)
    }

    /// First and end offset of a partition.
    pub fn ends(&self, (topic, partition): &Place) -> Result<(i64, i64)> {
        self.probe.ends(topic, *partition)
    }

    /// What the group has committed for each place.
    pub fn committed(&self, places: &[Place]) -> Result<Vec<Option<i64>>> {
        let list = list(places, Offset::Invalid)?;
        let found = self
            .patiently(|| self.client.committed_offsets(list.clone(), KAFKA_OPEN_TIMEOUT))
            .map_err(|e| self.failed("cannot be read", &e))?;
        self.each(places, &found)
    }

    /// Offset of the first record of each place that is not older than a time; `None`: all are.
    pub fn at(&self, places: &[Place], unix_ms: i64) -> Result<Vec<Option<i64>>> {
        let list = list(places, Offset::Offset(unix_ms))?;
        let found = self
            .patiently(|| self.client.offsets_for_times(list.clone(), KAFKA_OPEN_TIMEOUT))
            .map_err(|e| super::error(Code::S005, "the offsets of a time cannot be found out", &e))?;
        self.each(places, &found)
    }

    /// Who is in the group.
    pub fn membership(&self) -> Result<Membership> {
        let what = format!("the group `{}` cannot be seen", self.group);
        let found = self
            .patiently(|| self.client.fetch_group_list(Some(&self.group), KAFKA_OPEN_TIMEOUT))
            .map_err(|e| super::error(Code::S005, &what, &e))?;
        let Some(info) = found.groups().iter().find(|info| info.name() == self.group) else {
            return Ok(Membership::default());
        };
        let member = |m: &rdkafka::groups::GroupMemberInfo| {
            let host = m.client_host().trim_start_matches('/');
            format!("{} at {host} ({})", m.client_id(), m.id())
        };
        // A group that is listed is not dead: so brokers call one of KIP-848 to a client that asks about classic ones.
        let state = if info.state() == "Dead" { UNSEEN } else { info.state() };
        Ok(Membership { state: state.to_owned(), members: info.members().iter().map(member).collect() })
    }

    /// Commits offsets for the group. Refused by its coordinator while it has members.
    pub fn commit(&self, all: &[(Place, i64)]) -> Result<()> {
        let mut list = TopicPartitionList::new();
        for ((topic, partition), at) in all {
            list.add_partition_offset(topic, *partition, Offset::Offset(*at))
                .map_err(|e| self.failed("cannot be set", &e))?;
        }
        self.patiently(|| self.client.commit(&list, CommitMode::Sync))
            .map_err(|e| self.failed("cannot be set", &e))?;
        // The answer to a commit that failed for some of its partitions does not say so.
        let places: Vec<Place> = all.iter().map(|(place, _)| place.clone()).collect();
        for ((place, at), now) in all.iter().zip(self.committed(&places)?) {
            if now != Some(*at) {
                let (topic, partition) = place;
                let message = format!("the offset of {topic}/{partition} was not taken");
                return Err(Error::external(Code::S005, message)
                    .help("may this user read the topic? `pipe offsets show` says what holds now"));
            }
        }
        Ok(())
    }

    /// Asks again while the answer is a passing error, as where the coordinator is just being found or moves.
    fn patiently<T>(&self, mut ask: impl FnMut() -> Result<T, KafkaError>) -> Result<T, KafkaError> {
        let deadline = self.clock.now() + KAFKA_OPEN_TIMEOUT;
        loop {
            let error = match ask() {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let code = error.rdkafka_error_code();
            let passing = code.is_some_and(|code| !is_live(code) && meaning(code).may_pass());
            if !passing || self.clock.now() >= deadline {
                return Err(error);
            }
            std::thread::sleep(KAFKA_RETRY_PAUSE);
        }
    }

    /// The offsets of an answer, in the order of the places.
    fn each(&self, places: &[Place], found: &TopicPartitionList) -> Result<Vec<Option<i64>>> {
        let one = |(topic, partition): &Place| {
            let Some(element) = found.find_partition(topic, *partition) else { return Ok(None) };
            element
                .error()
                .map_err(|e| self.failed(&format!("cannot be read for {topic}/{partition}"), &e))?;
            Ok(offset(&element))
        };
        places.iter().map(one).collect()
    }

    fn failed(&self, what: &str, error: &KafkaError) -> Error {
        let (group, brokers) = (&self.group, &self.brokers);
        match error.rdkafka_error_code() {
            Some(code) if is_live(code) => self.live(&[]),
            _ => {
                let what = format!("the offsets of the group `{group}` on {brokers} {what}");
                super::error(Code::S005, &what, error)
            }
        }
    }

    /// The error of a group that somebody is in.
    pub fn live(&self, members: &[String]) -> Error {
        let (group, brokers) = (&self.group, &self.brokers);
        let named = if members.is_empty() { String::new() } else { format!(": {}", members.join("; ")) };
        let message = format!("the group `{group}` on {brokers} is live{named}");
        Error::external(Code::S005, message).help(
            "stop the pipeline's workers, then do it again; a worker that was killed is a member until its session \
             time-out is over (45 s by default)",
        )
    }
}

/// What a group's coordinator says to somebody who commits and is no member, while others are.
fn is_live(code: RDKafkaErrorCode) -> bool {
    meaning(code) == Meaning::Member
}

fn offset(element: &TopicPartitionListElem<'_>) -> Option<i64> {
    match element.offset() {
        Offset::Offset(at) => Some(at),
        _ => None,
    }
}

fn list(places: &[Place], offset: Offset) -> Result<TopicPartitionList> {
    let mut list = TopicPartitionList::with_capacity(places.len());
    for (topic, partition) in places {
        list.add_partition_offset(topic, *partition, offset)
            .map_err(|e| super::error(Code::S005, "an offset is not taken", &e))?;
    }
    Ok(list)
}
