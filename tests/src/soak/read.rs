//! What Kafka holds, seen by a client that is not the engine's: ends, committed offsets, and whole topics as a
//! `read_committed` reader gets them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers, Message};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::Result;
use super::verify::Found;

/// A reader gives up when nothing has come for this long.
const SILENCE: Duration = Duration::from_secs(30);

/// What a reader sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// Everything that lies in the log.
    Uncommitted,
    /// What lies before the first open transaction, without what was aborted.
    Committed,
}

/// A client that asks and reads. With the name of a group it sees what that committed, and never joins it.
pub fn client(brokers: &str, group: &str, isolation: Isolation) -> Result<BaseConsumer> {
    let isolation = match isolation {
        Isolation::Uncommitted => "read_uncommitted",
        Isolation::Committed => "read_committed",
    };
    Ok(ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", group)
        .set("isolation.level", isolation)
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("reconnect.backoff.max.ms", "500")
        .set_log_level(rdkafka::config::RDKafkaLogLevel::Emerg)
        .create()?)
}

/// The end of each partition, as far as the client may see, by one question.
pub fn ends(client: &BaseConsumer, partitions: &[(String, i32)], wait: Duration) -> Result<Vec<i64>> {
    let mut list = TopicPartitionList::new();
    for (topic, partition) in partitions {
        list.add_partition_offset(topic, *partition, Offset::End)?;
    }
    // In a list of times -1, which is also the number of `End`, asks for the latest offset.
    let answer = client.offsets_for_times(list, wait)?;
    answer
        .elements()
        .iter()
        .map(|element| {
            element.error()?;
            element.offset().to_raw().filter(|at| *at >= 0).ok_or_else(|| "no end is known".into())
        })
        .collect()
}

/// What the client's group has committed; 0 where that is nothing.
pub fn committed(client: &BaseConsumer, partitions: &[(String, i32)], wait: Duration) -> Result<Vec<i64>> {
    let mut list = TopicPartitionList::new();
    for (topic, partition) in partitions {
        list.add_partition(topic, *partition);
    }
    let answer = client.committed_offsets(list, wait)?;
    answer
        .elements()
        .iter()
        .map(|element| {
            element.error()?;
            Ok(element.offset().to_raw().filter(|at| *at >= 0).unwrap_or(0))
        })
        .collect()
}

/// Gives every record of a topic that is there to a `read_committed` reader, each partition in order.
pub fn topic(brokers: &str, topic: &str, partitions: i32, mut take: impl FnMut(Found)) -> Result<()> {
    let consumer = client(brokers, "the-verifier", Isolation::Committed)?;
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        list.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&list)?;
    let mut left: Vec<i32> = (0..partitions).collect();
    let mut last = Instant::now();
    while !left.is_empty() {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                last = Instant::now();
                take(found(&message));
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                last = Instant::now();
                left.retain(|p| *p != partition);
            }
            // Others pass or do not: the silence tells.
            _ if last.elapsed() > SILENCE => {
                return Err(format!("{topic} cannot be read to its end: {left:?}").into());
            }
            _ => {}
        }
    }
    Ok(())
}

fn found(message: &impl Message) -> Found {
    let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
    let headers: BTreeMap<String, String> = message.headers().map_or_else(BTreeMap::new, |headers| {
        headers.iter().map(|header| (header.key.to_owned(), text(header.value))).collect()
    });
    Found {
        topic: message.topic().to_owned(),
        partition: message.partition(),
        offset: message.offset(),
        key: message.key().unwrap_or_default().to_vec(),
        value: message.payload().unwrap_or_default().to_vec(),
        headers,
    }
}
