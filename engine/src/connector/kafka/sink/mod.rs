//! The Kafka sink: rows to records of one topic, or of the topics that a template makes of their values.
//!
//! `template` is that template, `admit` says which topics are taken, `by_value` writes to each of them.
//! `columns` says what of a row is key, headers, timestamp and value; `producer` is the client that the lanes of a
//! worker share, `ffi` its batch interface; `delivery_reports` counts its reports; `writer` writes the rows of one lane;
//! `transaction` is what they share where the delivery is exactly once.

mod admit;
mod by_value;
mod columns;
mod delivery_reports;
mod ffi;
mod options;
mod producer;
mod refusal;
mod template;
mod transaction;
mod writer;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use crate::clock::SystemClock;
use crate::codec::Format;
use crate::connector::kafka::client::{self, Cluster, Probe, Topics, create_topic};
use crate::connector::sink::{Deletes, Delivery, Open, Prepared, Settings, Sink, SinkKind};
use crate::error::{Code, Error, Result};
use crate::problem::Problem;
use crate::units::{LANES_MAX, SINK_TOPICS};
use admit::Admitted;
use by_value::ByValue;
use columns::Columns;
use delivery_reports::{LEDGERS_MAX, Ledger};
use options::Options;
use producer::{Producer, Purpose};
use template::Template;
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
    let template = Template::new(&options.topic, settings.schema, &mut problems);
    let topics = admit::topics(&options, template.is_some(), &mut problems);
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
    if let (Some(columns), Some(format)) = (&columns, settings.format) {
        let keys = columns.keys.as_ref().map(|(_, schema)| ("/key", schema));
        for (pointer, schema) in [("", &columns.value_schema)].into_iter().chain(keys) {
            if let Err(error) = format.encoder(Arc::clone(schema)) {
                let help = error.help_text().map(str::to_owned);
                problems.push(Problem { help, ..Problem::new(error.code(), pointer, error.message()) });
            }
        }
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
            by_value: template.map(|template| (Arc::new(template), topics)),
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
    /// How values make topics, and which of them are taken.
    by_value: Option<(Arc<Template>, Topics)>,
    options: Options,
}

impl Prepared for Target {
    fn describe(&self) -> String {
        let keys = self.options.key.as_ref().map(|key| key.names().join(" and "));
        let key = keys.map_or(String::new(), |keys| format!(", key {keys}"));
        let among = self.by_value.as_ref().map_or(String::new(), |(_, topics)| {
            format!(" (at most {} of {})", self.topics_max(), topics.given().join(", "))
        });
        format!("kafka {}, topic {}{among}{key}", self.cluster.brokers(), self.options.topic)
    }

    fn cluster(&self) -> Option<String> {
        Some(self.cluster.brokers().to_owned())
    }

    fn client(&self) -> Option<&Cluster> {
        Some(&self.cluster)
    }

    fn topic(&self) -> Option<&str> {
        self.by_value.is_none().then_some(&self.options.topic)
    }

    fn topics(&self) -> Option<&Topics> {
        self.by_value.as_ref().map(|(_, topics)| topics)
    }

    fn deletes(&self) -> Deletes {
        if self.by_value.is_some() {
            // A tombstone has no columns that could say where it belongs.
            return Deletes::No;
        }
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
        let known = self.look()?;
        let known = known.as_deref();
        // A lane has one sink for each topic that it writes to, and each has its own ledger.
        let each = if self.by_value.is_some() { self.topics_max() } else { 1 };
        let ledgers: Vec<Arc<Ledger>> = (0..lanes * each).map(|_| Arc::default()).collect();
        let own = match &open.transaction {
            Some(_) => None,
            None if ledgers.len() > LEDGERS_MAX => {
                let message = format!("{lanes} lanes of up to {each} topics are more than {LEDGERS_MAX}");
                return Err(Error::user(Code::K001, message).help("lower `lanes:` or `topics_max:`"));
            }
            None => {
                let purpose = Purpose::Topics(known);
                Some(Arc::new(Producer::new(&self.cluster, &self.name, purpose, ledgers.clone())?))
            }
        };
        let mut places = Vec::with_capacity(ledgers.len());
        for (at, ledger) in ledgers.into_iter().enumerate() {
            let ticket = match &open.transaction {
                Some(transaction) => transaction.join(known, &ledger)?,
                None => at,
            };
            places.push((ticket, ledger));
        }
        let maker = Arc::new(Maker {
            name: self.name.as_str().into(),
            brokers: self.cluster.brokers().into(),
            columns: Arc::clone(&self.columns),
            format: Arc::clone(&self.format),
            compression: self.options.compression.as_str(),
            record_bytes: self.cluster.message_bytes(),
            letters: open.letters,
            traced: open.traced,
            own,
            transaction: open.transaction.clone(),
        });
        let Some((template, topics)) = &self.by_value else {
            let topic: Arc<str> = self.options.topic.as_str().into();
            let sink = |place| Ok(Box::new(maker.sink(&topic, place)?) as Box<dyn Sink>);
            return places.into_iter().map(sink).collect();
        };
        let probe = Probe::new(&self.cluster, &self.name, Code::K002)?;
        let admitted =
            Arc::new(Admitted::new(topics.clone(), self.topics_max(), self.cluster.brokers(), probe));
        let mut places = places.into_iter();
        let lane = |_| {
            let own = places.by_ref().take(each).collect();
            Box::new(ByValue::new(Arc::clone(template), Arc::clone(&admitted), Arc::clone(&maker), own))
                as Box<dyn Sink>
        };
        Ok((0..lanes).map(lane).collect())
    }
}

/// What all sinks of a node have in common.
struct Maker {
    name: Arc<str>,
    brokers: Arc<str>,
    columns: Arc<Columns>,
    format: Arc<dyn Format>,
    compression: &'static str,
    record_bytes: usize,
    letters: bool,
    traced: bool,
    /// One of the two is there.
    own: Option<Arc<Producer>>,
    transaction: Option<Arc<Transaction>>,
}

/// The number of a sink in tickets, and its ledger.
type Seat = (usize, Arc<Ledger>);

impl Maker {
    /// The sink of one lane and one topic.
    fn sink(&self, topic: &Arc<str>, (lane, ledger): Seat) -> Result<KafkaSink> {
        let writer = match (&self.own, &self.transaction) {
            (Some(own), _) => Writer::Own(Client::new(Arc::clone(own), topic, self.compression)?),
            (None, Some(transaction)) => Writer::Shared(Arc::clone(transaction), Shared::default()),
            (None, None) => return Err(Error::internal("a sink without a client")),
        };
        let encoder = |schema: &SchemaRef| self.format.encoder(Arc::clone(schema));
        Ok(KafkaSink {
            lane,
            traced: self.traced,
            name: Arc::clone(&self.name),
            topic: Arc::clone(topic),
            brokers: Arc::clone(&self.brokers),
            columns: Arc::clone(&self.columns),
            letters: self.letters,
            encoder: encoder(&self.columns.value_schema)?,
            keys: self.columns.keys.as_ref().map(|(_, schema)| encoder(schema)).transpose()?,
            compression: self.compression,
            record_bytes: self.record_bytes,
            writer,
            ledger,
            state: State::default(),
            doubt: Doubt::default(),
            clock: SystemClock::default(),
        })
    }
}

impl Target {
    fn topics_max(&self) -> usize {
        self.options.topics_max.map_or(SINK_TOPICS, usize::from)
    }

    /// The topics that are named are there, or are made; one of them, where any is named.
    fn look(&self) -> Result<Option<String>> {
        let probe = Probe::new(&self.cluster, &self.name, Code::K001)?;
        let Some((_, topics)) = &self.by_value else {
            self.look_for(&probe, &self.options.topic)?;
            return Ok(Some(self.options.topic.clone()));
        };
        topics.names().try_for_each(|topic| self.look_for(&probe, topic))?;
        if topics.names().next().is_none() {
            // Whether a broker is there at all.
            probe.topics()?;
        }
        Ok(topics.names().next().map(str::to_owned))
    }

    fn look_for(&self, probe: &Probe, topic: &str) -> Result<()> {
        let Options { create, partitions, replication, .. } = &self.options;
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
        tracing::info!(node = self.name.as_str(), topic, "topic created");
        Ok(())
    }
}
