//! The Kafka source: topics of a cluster, shared by all workers of a pipeline through its consumer group.
//!
//! `options` is what the pipeline file says, `group` what happens in a rebalance and at a commit, `lane` the readers,
//! `range` what becomes of an offset that a log does not hold, `gather` their Arrow buffers, `ffi` the batch
//! consumption. Each partition's queue is split off the consumer's own, so the thread that polls the consumer sees
//! rebalances and errors only, and never waits for a full channel.

mod ffi;
mod gather;
mod group;
mod lane;
mod options;
pub(crate) mod owned;
mod protocol;
mod range;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock};

use arrow::datatypes::SchemaRef;
use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::codec::Problem;
use crate::error::{Code, Result};
use crate::kafka::{self, Cluster, Known, Probe, Topics, Voice};
use crate::source::{Open, Opened, Partition, Positions, Prepared, Reader, Replay, Settings, SourceKind};
use crate::units::{
    KAFKA_PATTERN_PARTITIONS, KAFKA_PATTERN_REFRESH_MS, KAFKA_PREFETCH_BYTES,
    KAFKA_PREFETCH_PARTITION_BYTES_MIN, KAFKA_PREFETCH_PARTITION_RECORDS_MIN, KAFKA_PREFETCH_RECORDS,
    REVOKE_TIMEOUT,
};
use group::{Group, KafkaControl, Shared};
use lane::{KafkaReader, Lane};
use options::{Options, OutOfRange, Start};
use protocol::Protocol;

/// The kind.
pub static KIND: SourceKind = SourceKind {
    name: "kafka",
    summary: "Reads topics of a Kafka cluster; workers of one pipeline share them through a consumer group.",
    example: "kafka: { brokers: \"localhost:9092\", topics: [requests] }\nformat: raw\n",
    options: kafka::options_schema::<Options>,
    replay: Replay::Group,
    metadata: &["key", "topic", "partition", "offset", "timestamp", "headers"],
    needs_format: true,
    default_format: None,
    prepare,
};

fn prepare(settings: &Settings<'_>) -> Result<Box<dyn Prepared>, Vec<Problem>> {
    let options: Options = kafka::parse_options(settings.options)?;
    let mut problems = Vec::new();
    let cluster = Cluster::new(&options.brokers, &options.properties, &mut problems);
    let topics = Topics::new(options.topics, &mut problems);
    let protocol = Protocol::of(&cluster);
    protocol.check(&cluster, &topics, &mut problems);
    let schema = settings.format.and_then(|format| format.schema());
    if schema.is_none() {
        let help = "such as `json` with `columns:`, `csv` with `columns:`, or `raw`";
        problems.push(
            Problem::new(Code::C004, "", "a Kafka source needs a format with declared columns").help(help),
        );
    }
    match schema {
        Some(schema) if problems.is_empty() => Ok(Box::new(Source {
            pipeline: settings.pipeline.to_owned(),
            name: settings.name.into(),
            topics,
            start: options.start,
            out_of_range: options.out_of_range,
            cluster,
            protocol,
            schema,
        })),
        _ => Err(problems),
    }
}

struct Source {
    pipeline: String,
    name: Arc<str>,
    topics: Topics,
    start: Start,
    out_of_range: OutOfRange,
    cluster: Cluster,
    protocol: Protocol,
    schema: SchemaRef,
}

impl Prepared for Source {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn describe(&self) -> String {
        let (brokers, topics) = (self.cluster.brokers(), self.topics.given().join(", "));
        format!("kafka {brokers}, topics {topics}, group {}", self.pipeline)
    }

    fn cluster(&self) -> Option<String> {
        Some(self.cluster.brokers().to_owned())
    }

    fn instance(&self) -> Option<String> {
        self.cluster.text("group.instance.id").map(str::to_owned)
    }

    fn group(&self) -> Option<(&Cluster, &Topics)> {
        Some((&self.cluster, &self.topics))
    }

    fn warnings(&self) -> Vec<Problem> {
        let mut warnings: Vec<Problem> = self.protocol.warning().into_iter().collect();
        // A thread of its own polls the group, and it waits while what is revoked drains.
        let given = self.cluster.number("max.poll.interval.ms");
        if let Some(given) = given.filter(|ms| u128::from(*ms) < REVOKE_TIMEOUT.as_millis()) {
            let wait = humantime::format_duration(REVOKE_TIMEOUT);
            let message = format!(
                "a rebalance may hold this worker for {wait}, and after {given} ms the group takes it for dead"
            );
            let help = "raise `max.poll.interval.ms`, or leave it out";
            warnings.push(Problem::new(Code::P010, "/properties/max.poll.interval.ms", message).help(help));
        }
        warnings
    }

    fn reads(&self, topic: &str) -> Option<&str> {
        self.topics.entry(topic)
    }

    fn open(&self, open: Open) -> Result<Opened> {
        let (known, targets) = self.look(open.until_end)?;
        let partitions = known.values().filter_map(|count| usize::try_from(*count).ok()).sum();
        let lanes: Vec<Arc<Lane>> = (0..open.lanes.max(1)).map(|_| Arc::default()).collect();
        let shared = Arc::new(Shared::new(lanes, open.until_end, targets, self.out_of_range));
        let group = Group {
            voice: Voice::new(&self.name),
            shared: Arc::clone(&shared),
            start: self.start,
            known,
            instance: self.instance(),
            runtime: Arc::clone(&open.runtime),
            consumer: OnceLock::new(),
            closing: AtomicBool::new(false),
        };
        let fail = |e| kafka::error(Code::S001, "the consumer cannot be made", &e);
        let consumer: BaseConsumer<Group> =
            self.config(partitions).create_with_context(group).map_err(fail)?;
        let consumer = Arc::new(consumer);
        // A fresh cell: the set cannot fail.
        let _ = consumer.context().consumer.set(Arc::downgrade(&consumer));
        let topics: Vec<&str> = self.topics.given().iter().map(String::as_str).collect();
        consumer.subscribe(&topics).map_err(fail)?;
        let readers = shared.lanes.iter().map(|lane| {
            Box::new(KafkaReader {
                lane: Arc::clone(lane),
                shared: Arc::clone(&shared),
                source: Arc::clone(&self.name),
                room: open.room,
                consumer: Arc::downgrade(&consumer),
            }) as Box<dyn Reader>
        });
        let readers = readers.collect();
        Ok(Opened {
            readers,
            control: Arc::new(KafkaControl {
                consumer: Mutex::new(Some(consumer)),
                shared,
                unanswered: Mutex::default(),
                asked: Mutex::default(),
            }),
        })
    }
}

impl Source {
    /// Number of partitions of each topic, and where each partition ends now when that is asked for.
    fn look(&self, until_end: bool) -> Result<(Known, Positions)> {
        let probe = Probe::new(&self.cluster, &self.name, Code::S001)?;
        let known = probe.known(&self.topics)?;
        if known.is_empty() {
            tracing::warn!(source = &*self.name, "no topic matches yet; what comes is read");
        }
        let mut targets = Positions::new();
        for (topic, &partitions) in known.iter().filter(|_| until_end) {
            for partition in 0..partitions {
                let (_, end) = probe.ends(topic, partition)?;
                targets.insert(Partition { topic: Arc::clone(topic), partition }, end);
            }
        }
        Ok((known, targets))
    }

    /// The consumer's configuration. Split queues count their bounds per partition, so one budget is divided.
    fn config(&self, partitions: usize) -> rdkafka::ClientConfig {
        let patterns = self.topics.has_patterns();
        let partitions = partitions.max(if patterns { KAFKA_PATTERN_PARTITIONS } else { 1 });
        let kbytes = (KAFKA_PREFETCH_BYTES / partitions).max(KAFKA_PREFETCH_PARTITION_BYTES_MIN) / 1024;
        let records = (KAFKA_PREFETCH_RECORDS / partitions).max(KAFKA_PREFETCH_PARTITION_RECORDS_MIN);
        let (kbytes, records) = (kbytes.to_string(), records.to_string());
        let mut defaults = vec![
            ("group.id", self.pipeline.as_str()),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("auto.offset.reset", "error"),
            ("isolation.level", "read_committed"),
            // Not "true": batch consumption takes such an event for a record, so the position that librdkafka
            // goes back to after a rebalance would be one too far and a record would be lost.
            ("enable.partition.eof", "false"),
            ("fetch.queue.backoff.ms", "10"),
            ("queued.max.messages.kbytes", &kbytes),
            ("queued.min.messages", &records),
        ];
        defaults.extend(self.protocol.defaults());
        if patterns {
            defaults.push(("topic.metadata.refresh.interval.ms", KAFKA_PATTERN_REFRESH_MS));
        }
        if patterns && !self.topics.reads_own() {
            defaults.push(("topic.blacklist", "^__"));
        }
        self.cluster.config(&defaults)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_problems_come_at_once() {
        let options = serde_json::json!({
            "brokers": "", "topics": ["a", "^b(", "a"], "properties": { "group.id": "x" }
        });
        let settings = Settings {
            pipeline: "p",
            name: "n",
            base: std::path::Path::new("."),
            options: &options,
            format: None,
        };
        let problems = prepare(&settings).err().unwrap();
        let pointers: Vec<&str> = problems.iter().map(|p| p.pointer.as_str()).collect();
        assert_eq!(pointers, ["/brokers", "/properties/group.id", "/topics/1", "/topics/2", ""]);
    }
}
