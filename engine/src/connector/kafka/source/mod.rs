//! The Kafka source: topics of a cluster, shared by all workers of a pipeline through its consumer group.
//!
//! `options` is what the pipeline file says, `consumer` the one client of all sources of a cluster, `protocol` that of
//! its group, `group` what happens in a rebalance, `assignment` how what was assigned is taken, `control` the commits,
//! `shared` what they all know of a source, `ownership` what of it belongs to this worker, `reader` its readers, `offset_policy` what
//! becomes of an offset that a log does not hold, `absent` of a partition that brokers do not know, `faults` of its other errors, `batch_builder` their Arrow
//! buffers, `ffi` the batch consumption. Each partition's queue is split off the consumer's own, so the thread that polls
//! the consumer sees rebalances and errors only, and never waits for a full channel.

mod absent;
mod assignment;
mod batch_builder;
mod consumer;
mod control;
mod faults;
mod ffi;
mod group;
mod offset_policy;
mod options;
pub(crate) mod ownership;
mod protocol;
mod reader;
mod shared;

use std::sync::{Arc, Mutex};

use arrow::datatypes::SchemaRef;

use crate::connector::kafka::client::{self, CLIENT, Cluster, Known, Probe, Topics};
use crate::connector::position::{Partition, Positions, Replay};
use crate::connector::source::{Open, Opened, Prepared, Reader, Settings, SourceKind};
use crate::error::{Code, Result};
use crate::problem::Problem;
use crate::units::REVOKE_TIMEOUT;
pub use consumer::Consumers;
use control::KafkaControl;
use options::{Options, OutOfRange, Start};
use protocol::Protocol;
use reader::KafkaReader;
use shared::{Parts, Shared};

/// The kind.
pub static KIND: SourceKind = SourceKind {
    name: "kafka",
    summary: "Reads topics of a Kafka cluster; workers of one pipeline share them through a consumer group.",
    example: "kafka: { brokers: \"localhost:9092\", topics: [requests] }\nformat: raw\n",
    options: client::options_schema::<Options>,
    replay: Replay::Group,
    metadata: &["key", "topic", "partition", "offset", "timestamp", "headers"],
    needs_format: true,
    default_format: None,
    prepare,
};

fn prepare(settings: &Settings<'_>) -> Result<Box<dyn Prepared>, Vec<Problem>> {
    let options: Options = client::parse_options(settings.options)?;
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
        let shared = Arc::new(Shared::new(Parts {
            name: Arc::clone(&self.name),
            topics: self.topics.clone(),
            start: self.start,
            policy: self.out_of_range,
            known,
            targets,
            until_end: open.until_end,
            lanes: open.lanes,
        }));
        let client = open.consumers.of(&self.pipeline, &self.cluster);
        let polls = client.join(&shared, &open.runtime)?;
        let reader = |lane| {
            let (lane, shared) = (Arc::clone(lane), Arc::clone(&shared));
            let pace = reader::Pace::default();
            Box::new(KafkaReader { lane, shared, room: open.room, pace, bytes: open.room.bytes, heard: 0 })
                as Box<dyn Reader>
        };
        Ok(Opened {
            readers: shared.lanes.iter().map(reader).collect(),
            control: Arc::new(KafkaControl {
                client,
                polls,
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
        // One of KIP-848 is not seen by a client that asks about classic ones; its coordinator refuses by itself.
        match probe.members(&self.pipeline) {
            Ok(members) => {
                protocol::look_at(
                    &self.pipeline,
                    &members,
                    self.cluster.text("client.id").unwrap_or(CLIENT),
                )?;
            }
            Err(error) => tracing::debug!(%error, "the group's members cannot be seen"),
        }
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
            own: &[],
        };
        let problems = prepare(&settings).err().unwrap();
        let pointers: Vec<&str> = problems.iter().map(|p| p.pointer.as_str()).collect();
        assert_eq!(pointers, ["/brokers", "/properties/group.id", "/topics/1", "/topics/2", ""]);
    }
}
