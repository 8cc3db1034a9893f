//! The Kafka sink: rows to records of one topic.
//!
//! `columns` says what of a row is key, headers, timestamp and value; `producer` is the client that the lanes of a
//! worker share, `ffi` its batch interface; `delivery_reports` counts its reports; `writer` writes the rows of one lane;
//! `transaction` is what they share where the delivery is exactly once.

mod columns;
mod delivery_reports;
mod ffi;
mod options;
mod producer;
mod refusal;
mod transaction;
mod writer;

use std::sync::Arc;

use crate::clock::SystemClock;
use crate::codec::Format;
use crate::connector::kafka::client::{self, Cluster, Probe, create_topic};
use crate::connector::sink::{Deletes, Delivery, Open, Prepared, Settings, Sink, SinkKind};
use crate::error::{Code, Error, Result};
use crate::problem::Problem;
use crate::units::LANES_MAX;
use columns::Columns;
use delivery_reports::Ledger;
use options::Options;
use producer::{Producer, Purpose};
pub use transaction::Transaction;
use writer::{Client, Doubt, KafkaSink, Shared, State, Writer};

/// The kind.
pub static KIND: SinkKind = SinkKind {
    name: "kafka",
    summary: "Writes records to a topic of a Kafka cluster.",
    example: "kafka: { brokers: \"localhost:9092\", topic: slow-requests }\nformat: json\n",
    options: client::options_schema::<Options>,
    delivery: Delivery::Transactional,
    default_format: Some("json"),
    needs_format: true,
    durable_on_close: false,
    prepare,
};

const QUEUE_KBYTES: &str = "queue.buffering.max.kbytes";

fn prepare(settings: &Settings<'_>) -> Result<Box<dyn Prepared>, Vec<Problem>> {
    let options: Options = client::parse_options(settings.options)?;
    let mut problems = Vec::new();
    let cluster = Cluster::new(&options.brokers, &options.properties, &mut problems);
    if !client::is_topic_name(&options.topic) {
        let message = format!("`{}` is not a topic's name", options.topic);
        problems.push(
            Problem::new(Code::C005, "/topic", message).help("1 to 249 letters, digits, `.`, `_` or `-`"),
        );
    }
    for (pointer, given) in [("/partitions", options.partitions), ("/replication", options.replication)] {
        if given.is_some_and(|n| n < 1) {
            problems.push(Problem::new(Code::C005, pointer, "it must be at least 1"));
        } else if given.is_some() && !options.create {
            problems.push(Problem::new(Code::P009, pointer, "it is used only with `create: true`"));
        }
    }
    let queue = cluster.number(QUEUE_KBYTES).map(|kbytes| kbytes.saturating_mul(1024));
    if queue.is_some_and(|bytes| bytes < cluster.message_bytes() as u64) {
        let message = format!("a record of `message.max.bytes` does not fit into `{QUEUE_KBYTES}`");
        let problem = Problem::new(Code::P009, format!("/properties/{QUEUE_KBYTES}"), message);
        problems
            .push(problem.help("raise it, or lower `message.max.bytes`: such a record would wait for ever"));
    }
    let columns = if settings.format.is_some_and(|format| format.is_original()) {
        Columns::originals(&options, settings.schema, &mut problems)
    } else {
        Columns::new(&options, settings.schema, &mut problems)
    };
    if let (Some(columns), Some(format)) = (&columns, settings.format)
        && let Err(error) = format.encoder(Arc::clone(&columns.value_schema))
    {
        let help = error.help_text().map(str::to_owned);
        problems.push(Problem { help, ..Problem::new(error.code(), "", error.message()) });
    }
    if settings.format.is_none() {
        problems.push(Problem::new(Code::C004, "", "a Kafka sink needs a format"));
    }
    match (columns, settings.format) {
        (Some(columns), Some(format)) if problems.is_empty() => Ok(Box::new(Target {
            name: settings.name.to_owned(),
            cluster,
            columns: Arc::new(columns),
            format: Arc::clone(format),
            options,
        })),
        _ => Err(problems),
    }
}

struct Target {
    name: String,
    cluster: Cluster,
    columns: Arc<Columns>,
    format: Arc<dyn Format>,
    options: Options,
}

impl Prepared for Target {
    fn describe(&self) -> String {
        let key = self.options.key.as_ref().map_or(String::new(), |key| format!(", key {key}"));
        format!("kafka {}, topic {}{key}", self.cluster.brokers(), self.options.topic)
    }

    fn cluster(&self) -> Option<String> {
        Some(self.cluster.brokers().to_owned())
    }

    fn client(&self) -> Option<&Cluster> {
        Some(&self.cluster)
    }

    fn topic(&self) -> Option<&str> {
        Some(&self.options.topic)
    }

    fn deletes(&self) -> Deletes {
        let Columns { key, headers, original, .. } = *self.columns;
        match self.options.tombstones {
            Some(false) => Deletes::Rows,
            _ if original => Deletes::Own,
            _ => Deletes::ByKey { key, headers },
        }
    }

    fn warnings(&self) -> Vec<Problem> {
        let given = self.options.tombstones.map(|given| match given {
            false => "say `on_tombstone: row` at the sources that feed it",
            true => "leave it out",
        });
        let message =
            "`tombstones` goes with the next release: `on_tombstone` of a source has taken its place";
        given.map(|help| Problem::new(Code::P010, "/tombstones", message).help(help)).into_iter().collect()
    }

    fn open(&self, open: &Open) -> Result<Vec<Box<dyn Sink>>> {
        let lanes = open.lanes;
        assert!(lanes <= LANES_MAX, "{lanes} lanes");
        self.look()?;
        let ledgers: Vec<Arc<Ledger>> = (0..lanes).map(|_| Arc::default()).collect();
        let compression = self.options.compression.as_str();
        let own = match &open.transaction {
            Some(_) => None,
            None => {
                let purpose = Purpose::Topic(&self.options.topic);
                Some(Arc::new(Producer::new(&self.cluster, &self.name, purpose, ledgers.clone())?))
            }
        };
        let (topic, brokers): (Arc<str>, Arc<str>) =
            (self.options.topic.as_str().into(), self.cluster.brokers().into());
        let mut sinks: Vec<Box<dyn Sink>> = Vec::with_capacity(lanes);
        for (lane, ledger) in ledgers.into_iter().enumerate() {
            let (writer, ticket) = match (&own, &open.transaction) {
                (Some(own), _) => (Writer::Own(Client::new(Arc::clone(own), &topic, compression)?), lane),
                (None, Some(transaction)) => (
                    Writer::Shared(Arc::clone(transaction), Shared::default()),
                    transaction.join(&topic, &ledger)?,
                ),
                (None, None) => return Err(Error::internal("a sink without a client")),
            };
            sinks.push(Box::new(KafkaSink {
                lane: ticket,
                traced: open.traced,
                name: self.name.as_str().into(),
                topic: Arc::clone(&topic),
                brokers: Arc::clone(&brokers),
                columns: Arc::clone(&self.columns),
                letters: open.letters,
                encoder: self.format.encoder(Arc::clone(&self.columns.value_schema))?,
                compression,
                record_bytes: self.cluster.message_bytes(),
                writer,
                ledger,
                state: State::default(),
                doubt: Doubt::default(),
                clock: SystemClock::default(),
            }));
        }
        Ok(sinks)
    }
}

impl Target {
    /// The topic is there, or is made.
    fn look(&self) -> Result<()> {
        let Options { topic, create, partitions, replication, .. } = &self.options;
        let probe = Probe::new(&self.cluster, &self.name, Code::K001)?;
        let there = || probe.partitions(topic).map(|count| count.is_some());
        let found = if *create { probe.sees(topic)? } else { there()? };
        if found {
            return Ok(());
        }
        if !create {
            let message = format!("topic `{topic}` does not exist on {}", self.cluster.brokers());
            return Err(Error::external(Code::K001, message).help("create it, or say `create: true`"));
        }
        // -1 is Kafka's word for the cluster's default.
        let (partitions, replication) = (partitions.unwrap_or(-1), replication.unwrap_or(-1));
        if let Err(error) = create_topic(&self.cluster, topic, partitions, replication, Code::K001) {
            // One that another has just made may not be seen at once, and this user may not be allowed to make any.
            return if there()? { Ok(()) } else { Err(error) };
        }
        tracing::info!(node = self.name.as_str(), topic = topic.as_str(), "topic created");
        Ok(())
    }
}
