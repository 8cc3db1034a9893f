//! Records of a topic, read without a group: partitions are assigned by hand and nothing is ever committed.
//!
//! A [`Scan`] reads spans of offsets. Those of one partition are read one after the other, as a partition can be
//! assigned at one offset only; those of several partitions together.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};

use super::{Cluster, Voice, headers, meaning};
use crate::clock::{Clock, SystemClock};
use crate::error::{Code, Error, Result};
use crate::units::KAFKA_READ_TIMEOUT;

/// A record, copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its topic.
    pub topic: Arc<str>,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Milliseconds since 1970 in UTC, where it has a time.
    pub timestamp: Option<i64>,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value; `None`: a tombstone.
    pub value: Option<Vec<u8>>,
    /// Its headers, in order.
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// Offsets of a partition from the first to before the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The partition.
    pub partition: i32,
    /// The first offset.
    pub from: i64,
    /// The offset behind the last.
    pub to: i64,
}

/// At most `count` offsets of each partition's log (`low`, `end`): half of them at its start and half at its end.
pub fn spread(ends: &[(i64, i64)], count: u64) -> Vec<Span> {
    let filled = ends.iter().filter(|(low, end)| low < end).count().max(1) as u64;
    let each = i64::try_from(count.div_ceil(filled).max(1)).unwrap_or(i64::MAX);
    let mut spans = Vec::new();
    for (partition, &(low, end)) in (0..).zip(ends) {
        let mut add = |from: i64, to: i64| {
            if from < to {
                spans.push(Span { partition, from, to });
            }
        };
        if end.saturating_sub(low) <= each {
            add(low, end);
        } else {
            let first = each - each / 2;
            add(low, low + first);
            add(end - each / 2, end);
        }
    }
    spans
}

/// The first `count` offsets of all partitions' logs together, as many of each.
pub fn first(ends: &[(i64, i64)], count: u64) -> Vec<Span> {
    each(ends, count, |(low, end), each| (low, end.min(low.saturating_add(each))))
}

/// The last `count` offsets of all partitions' logs together, as many of each.
pub fn last(ends: &[(i64, i64)], count: u64) -> Vec<Span> {
    each(ends, count, |(low, end), each| (low.max(end.saturating_sub(each)), end))
}

/// One span of each partition that has any.
fn each(ends: &[(i64, i64)], count: u64, of: impl Fn((i64, i64), i64) -> (i64, i64)) -> Vec<Span> {
    let filled = ends.iter().filter(|(low, end)| low < end).count().max(1) as u64;
    let share = i64::try_from(count.div_ceil(filled).max(1)).unwrap_or(i64::MAX);
    let span = |(partition, ends): (i32, &(i64, i64))| {
        let (from, to) = of(*ends, share);
        Span { partition, from, to }
    };
    (0..).zip(ends).map(span).filter(|span| span.from < span.to).collect()
}

/// Reads spans.
pub struct Scan {
    consumer: BaseConsumer<Voice>,
    /// What is read after what is read now.
    later: VecDeque<Vec<Span>>,
    /// What is read now: of each partition the next offset, and the one behind the last.
    now: BTreeMap<i32, (i64, i64)>,
    topic: Arc<str>,
    place: String,
    code: Code,
    clock: SystemClock,
}

impl Scan {
    /// Reads these spans of a topic; `group` names a group that is never joined, as librdkafka wants a name. `code` is
    /// that of the errors.
    pub fn open(
        cluster: &Cluster,
        topic: &Arc<str>,
        spans: &[Span],
        group: &str,
        code: Code,
    ) -> Result<Self> {
        let place = format!("topic {topic} on {}", cluster.brokers());
        let consumer = cluster
            .outside()
            .config(&[
                ("group.id", group),
                ("enable.auto.commit", "false"),
                ("enable.auto.offset.store", "false"),
                ("auto.offset.reset", "earliest"),
                ("isolation.level", "read_committed"),
                // The end of a partition may be a control record, which no message tells of.
                ("enable.partition.eof", "true"),
                ("queued.max.messages.kbytes", "16384"),
            ])
            .create_with_context(Voice::new(group))
            .map_err(|e| super::error(code, &format!("{place} cannot be read"), &e))?;
        let mut later: VecDeque<Vec<Span>> = VecDeque::new();
        for span in spans {
            let free = |round: &&mut Vec<Span>| round.iter().all(|other| other.partition != span.partition);
            match later.iter_mut().find(free) {
                Some(round) => round.push(*span),
                None => later.push_back(vec![*span]),
            }
        }
        let (topic, clock) = (Arc::clone(topic), SystemClock::default());
        Ok(Self { consumer, later, now: BTreeMap::new(), topic, place, code, clock })
    }

    /// Assigns the next round; false where there is none.
    fn turn(&mut self) -> Result<bool> {
        let Some(round) = self.later.pop_front() else { return Ok(false) };
        let mut list = TopicPartitionList::new();
        for Span { partition, from, to } in round {
            let added = list.add_partition_offset(&self.topic, partition, Offset::Offset(from));
            added.map_err(|e| self.failed(&e))?;
            self.now.insert(partition, (from, to));
        }
        self.consumer.assign(&list).map_err(|e| self.failed(&e))?;
        Ok(true)
    }

    fn failed(&self, error: &KafkaError) -> Error {
        super::error(self.code, &format!("{} cannot be read", self.place), error)
    }

    /// Whether a record is within a span, which ends with its last one.
    fn takes(&mut self, partition: i32, offset: i64) -> bool {
        let Some((next, to)) = self.now.get_mut(&partition) else { return false };
        let wanted = (*next..*to).contains(&offset);
        // What is left of the round before lies below.
        *next = (*next).max(offset + 1);
        if *next >= *to {
            self.now.remove(&partition);
        }
        wanted
    }

    /// The next record; `None` behind the last.
    pub fn record(&mut self) -> Result<Option<Record>> {
        let mut heard = self.clock.now();
        loop {
            if self.now.is_empty() && !self.turn()? {
                return Ok(None);
            }
            let polled = self.consumer.poll(Duration::from_millis(100));
            if polled.is_some() {
                heard = self.clock.now();
            }
            match polled {
                None if self.clock.now() > heard + KAFKA_READ_TIMEOUT => return Err(self.silent()),
                None => {}
                Some(Ok(message)) => {
                    let record = copied(&self.topic, &message);
                    if self.takes(record.partition, record.offset) {
                        return Ok(Some(record));
                    }
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => drop(self.now.remove(&partition)),
                // What may pass and does not is told by the silence.
                Some(Err(error)) => match error.rdkafka_error_code().map(meaning) {
                    Some(meaning) if meaning.may_pass() => {}
                    _ => return Err(self.failed(&error)),
                },
            }
        }
    }

    fn silent(&self) -> Error {
        let wait = humantime::format_duration(KAFKA_READ_TIMEOUT);
        let why = self.consumer.context().last_error().map_or(String::new(), |why| format!(": {why}"));
        Error::external(self.code, format!("{} gave nothing for {wait}{why}", self.place))
            .help("is the broker up, and may this user read the topic?")
    }
}

fn copied(topic: &Arc<str>, message: &BorrowedMessage<'_>) -> Record {
    let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
    Record {
        topic: Arc::clone(topic),
        partition: message.partition(),
        offset: message.offset(),
        timestamp: message.timestamp().to_millis(),
        key: owned(message.key()),
        value: owned(message.payload()),
        headers: headers(message).into_iter().map(|(name, value)| (name.to_vec(), owned(value))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(found: &[Span]) -> Vec<(i32, i64, i64)> {
        found.iter().map(|span| (span.partition, span.from, span.to)).collect()
    }

    #[test]
    fn a_sample_is_of_each_partition_at_its_start_and_at_its_end() {
        let ends = [(0, 1_000), (40, 45), (7, 7), (100, 200)];
        assert_eq!(
            spans(&spread(&ends, 30)),
            [(0, 0, 5), (0, 995, 1_000), (1, 40, 45), (3, 100, 105), (3, 195, 200)]
        );
        assert_eq!(spans(&spread(&ends, 1)), [(0, 0, 1), (1, 40, 41), (3, 100, 101)]);
        assert_eq!(spans(&spread(&[], 10)), []);
        assert_eq!(spans(&spread(&[(0, 9)], u64::MAX)), [(0, 0, 9)]);
        assert_eq!(spans(&last(&ends, 30)), [(0, 990, 1_000), (1, 40, 45), (3, 190, 200)]);
        assert_eq!(spans(&first(&ends, 30)), [(0, 0, 10), (1, 40, 45), (3, 100, 110)]);
    }
}
