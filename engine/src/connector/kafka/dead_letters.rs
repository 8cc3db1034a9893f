//! Dead letters in a topic: read without a group, from the first record to where each partition ended at the start.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};

use crate::clock::{Clock, SystemClock};
use crate::connector::kafka::client::{self, Cluster, Probe, Voice, meaning};
use crate::dead_letter::{Found, Letter, Line, Place, Reader};
use crate::error::{Code, Error, Result};
use crate::units::KAFKA_READ_TIMEOUT;

/// A topic of dead letters.
#[derive(Clone)]
pub struct Topic {
    /// Where it is.
    pub cluster: Cluster,
    /// Its name.
    pub name: String,
    /// Name of the pipeline, for the client's logs and the group that is named and never joined.
    pub pipeline: String,
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "topic {} on {}", self.name, self.cluster.brokers())
    }
}

/// What is left of one partition.
struct Rest {
    next: i64,
    end: i64,
}

struct Records {
    topic: Topic,
    consumer: BaseConsumer<Voice>,
    /// Partitions that have not been read to their end.
    left: BTreeMap<i32, Rest>,
    clock: SystemClock,
    /// When something came last.
    heard: Duration,
    done: u64,
    all: u64,
}

impl Topic {
    /// Reads all partitions, or from one place on. A topic that is not there holds none: nothing has failed yet.
    pub fn open(&self, from: Option<Place>) -> Result<Option<Box<dyn Reader>>> {
        let probe = Probe::new(&self.cluster, "dead letters", Code::K005)?;
        let Some(partitions) = probe.partitions_now(&self.name)? else { return Ok(None) };
        let mut left = BTreeMap::new();
        for partition in 0..partitions {
            let (low, end) = probe.ends(&self.name, partition)?;
            let next = match from {
                None => low,
                Some(Place::Record(only, offset)) if only == partition => offset.max(low),
                Some(_) => end,
            };
            if next < end {
                left.insert(partition, Rest { next, end });
            }
        }
        if let Some(Place::Line(_)) = from {
            let text = format!("a line of {self} was asked for");
            return Err(Error::user(Code::K005, text)
                .help("these dead letters lie in a topic: give `PARTITION/OFFSET`, such as `0/12`"));
        }
        let all = left.values().map(|rest| (rest.end - rest.next).unsigned_abs()).sum();
        let consumer = self.consumer(&left)?;
        let clock = SystemClock::default();
        let heard = clock.now();
        Ok(Some(Box::new(Records { topic: self.clone(), consumer, left, clock, heard, done: 0, all })))
    }

    fn consumer(&self, left: &BTreeMap<i32, Rest>) -> Result<BaseConsumer<Voice>> {
        let fail = |e| client::error(Code::K005, &format!("{self} cannot be read"), &e);
        // librdkafka assigns only where a group is named; nothing joins it and nothing is committed to it.
        let group = format!("{}.dead-letters.read", self.pipeline);
        let config = self.cluster.config(&[
            ("group.id", group.as_str()),
            ("enable.auto.commit", "false"),
            ("auto.offset.reset", "earliest"),
            ("isolation.level", "read_committed"),
            // The end of a partition may be a control record, which no message tells of.
            ("enable.partition.eof", "true"),
            ("queued.max.messages.kbytes", "16384"),
        ]);
        let consumer: BaseConsumer<Voice> =
            config.create_with_context(Voice::new("dead letters")).map_err(fail)?;
        let mut list = TopicPartitionList::new();
        for (partition, rest) in left {
            list.add_partition_offset(&self.name, *partition, Offset::Offset(rest.next)).map_err(fail)?;
        }
        consumer.assign(&list).map_err(fail)?;
        Ok(consumer)
    }
}

impl Records {
    /// Notes that a partition was read up to an offset; whether the record there is one that was asked for.
    fn advance(&mut self, partition: i32, offset: i64) -> bool {
        let Some(rest) = self.left.get_mut(&partition) else { return false };
        let wanted = offset < rest.end;
        self.done += (offset.min(rest.end - 1) + 1 - rest.next).max(0).unsigned_abs();
        rest.next = offset + 1;
        if rest.next >= rest.end {
            self.left.remove(&partition);
        }
        wanted
    }

    fn silent(&self) -> Error {
        let wait = humantime::format_duration(KAFKA_READ_TIMEOUT);
        let why = self.consumer.context().last_error().map_or(String::new(), |why| format!(": {why}"));
        Error::external(Code::K005, format!("{} gave nothing for {wait}{why}", self.topic))
            .help("is the broker up, and may this user read the topic?")
    }
}

/// The letter in a record.
fn letter(message: &BorrowedMessage<'_>) -> Found {
    let place = Place::Record(message.partition(), message.offset());
    let headers = client::headers(message);
    let at = message.timestamp().to_millis().unwrap_or(-1);
    match Line::of_record(message.key(), message.payload(), &headers, at) {
        Some(line) => Found::Letter(Box::new(Letter { place, line })),
        None => Found::Other(place, "it has no `pipe.error.*` headers".to_owned()),
    }
}

impl Reader for Records {
    fn next(&mut self) -> Result<Option<Found>> {
        // Whoever asks may have done other things since.
        self.heard = self.clock.now();
        while !self.left.is_empty() {
            let polled = self.consumer.poll(Duration::from_millis(100));
            if polled.is_some() {
                self.heard = self.clock.now();
            }
            let (partition, offset, found) = match polled {
                None if self.clock.now() > self.heard + KAFKA_READ_TIMEOUT => return Err(self.silent()),
                None => continue,
                Some(Ok(message)) => (message.partition(), message.offset(), letter(&message)),
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    if let Some(rest) = self.left.remove(&partition) {
                        self.done += (rest.end - rest.next).max(0).unsigned_abs();
                    }
                    continue;
                }
                // What may pass and does not is told by the silence.
                Some(Err(error)) => match error.rdkafka_error_code().map(meaning) {
                    Some(meaning) if meaning.may_pass() => continue,
                    _ => {
                        return Err(client::error(
                            Code::K005,
                            &format!("{} cannot be read", self.topic),
                            &error,
                        ));
                    }
                },
            };
            if self.advance(partition, offset) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn progress(&self) -> (u64, u64) {
        (self.done, self.all)
    }
}
