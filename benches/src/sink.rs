//! What has arrived at the end of a pipeline: counted while it runs, and read back after it.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::{PARTITIONS, records_in};

/// How the records of an output are counted while a program writes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// By reading what is committed: the only way that is exact where there are transactions, whose markers have
    /// offsets, too.
    Read,
    /// By the ends of the partitions: costs next to nothing, for outputs as large as their input.
    Ends,
}

/// Counts the records of a topic until it is dropped.
pub struct Watch {
    arrived: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Starts to count.
    pub fn start(brokers: &str, topic: &str, how: Count) -> Result<Self, KafkaError> {
        let (arrived, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, end) = (arrived.clone(), stop.clone());
        let (brokers, topic) = (brokers.to_owned(), topic.to_owned());
        let thread = match how {
            Count::Read => {
                // Few large answers: the reader must not disturb what it counts.
                let consumer =
                    reader(&brokers, &topic, &[("fetch.wait.max.ms", "20"), ("fetch.min.bytes", "65536")])?;
                spawn(move || {
                    while !end.load(Ordering::Relaxed) {
                        if let Some(Ok(_)) = consumer.poll(Duration::from_millis(20)) {
                            count.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                })
            }
            Count::Ends => {
                let consumer: BaseConsumer =
                    ClientConfig::new().set("bootstrap.servers", &brokers).create()?;
                spawn(move || {
                    while !end.load(Ordering::Relaxed) {
                        let ends = (0..PARTITIONS).map(|partition| {
                            consumer.fetch_watermarks(&topic, partition, Duration::from_secs(5))
                        });
                        if let Ok(ends) = ends.collect::<Result<Vec<(i64, i64)>, _>>() {
                            count.store(ends.iter().map(|(_, end)| *end as u64).sum(), Ordering::Relaxed);
                        }
                        sleep(Duration::from_millis(10));
                    }
                })
            }
        };
        Ok(Self { arrived, stop, thread: Some(thread) })
    }

    /// Records so far.
    pub fn arrived(&self) -> u64 {
        self.arrived.load(Ordering::Relaxed)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // A thread that panicked has counted too little, which is noticed.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Reads what is committed of a topic, from its start.
pub fn reader(brokers: &str, topic: &str, properties: &[(&str, &str)]) -> Result<BaseConsumer, KafkaError> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        .set("group.id", "bench-reader")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .set("fetch.queue.backoff.ms", "5");
    for (key, value) in properties {
        config.set(*key, *value);
    }
    let consumer: BaseConsumer = config.create()?;
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        list.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&list)?;
    Ok(consumer)
}

/// What the filter job wrote.
#[derive(Debug, Default)]
pub struct Written {
    /// Records that are committed.
    pub records: u64,
    /// Those marked as slow.
    pub slow: u64,
    /// Those that the job should not have written like that, and the first of them.
    pub wrong: u64,
    /// The first of them.
    pub first_wrong: Option<String>,
}

#[derive(Deserialize)]
struct Output<'a> {
    user_id: &'a str,
    status: i64,
    latency_ms: f64,
    slow: bool,
    ua: Option<IgnoredAny>,
}

impl Output<'_> {
    fn is_right(&self, key: Option<&[u8]>) -> bool {
        key == Some(self.user_id.as_bytes())
            && (self.status >= 500 || self.latency_ms > 100.0)
            && self.slow == (self.latency_ms > 250.0)
            && self.ua.is_none()
    }
}

/// Reads a topic to its end and looks at every record of it.
pub fn read_back(brokers: &str, topic: &str) -> Result<Written, Box<dyn Error>> {
    let mut written = Written::default();
    each(brokers, topic, |key, payload| {
        let output = serde_json::from_slice::<Output<'_>>(payload).ok();
        written.records += 1;
        written.slow += u64::from(output.as_ref().is_some_and(|output| output.slow));
        if !output.is_some_and(|output| output.is_right(key)) {
            written.wrong += 1;
            written.first_wrong.get_or_insert_with(|| String::from_utf8_lossy(payload).into_owned());
        }
    })?;
    Ok(written)
}

/// Records of a topic that are committed.
pub fn committed(brokers: &str, topic: &str) -> Result<u64, Box<dyn Error>> {
    let mut records = 0;
    each(brokers, topic, |_, _| records += 1)?;
    Ok(records)
}

fn each(brokers: &str, topic: &str, mut see: impl FnMut(Option<&[u8]>, &[u8])) -> Result<(), Box<dyn Error>> {
    if records_in(brokers, topic)? == 0 {
        return Ok(());
    }
    let consumer = reader(brokers, topic, &[])?;
    let (mut ended, mut last) = (0, Instant::now());
    while ended < PARTITIONS {
        match consumer.poll(Duration::from_secs(1)) {
            Some(Ok(message)) => {
                see(message.key(), message.payload().unwrap_or_default());
                last = Instant::now();
            }
            Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
            Some(Err(error)) => return Err(error.into()),
            None if last.elapsed() > Duration::from_secs(60) => {
                return Err(format!("{topic} has no end").into());
            }
            None => {}
        }
    }
    Ok(())
}
