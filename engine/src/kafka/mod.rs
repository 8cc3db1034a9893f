//! What the Kafka source and sink share: the client's configuration, its errors and its log lines.
//!
//! Here are [`Cluster`] (brokers and pass-through properties, checked without touching the network), [`Voice`]
//! (librdkafka's log lines and errors into `tracing`), and the one table that says what each error of librdkafka means
//! ([`meaning`]). A secret never leaves [`Cluster`] but into a client: not by `Debug`, not in an error, not in a plan.

mod errors;
mod headers;
mod login;
mod offsets;
mod probe;
pub mod scan;
mod topics;
mod voice;

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::{ClientConfig, TopicPartitionList};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde_json::Value;

use crate::codec::Problem;
use crate::error::Code;
use crate::secret;

pub use errors::{Line, Meaning, TABLE, code_of, error, known, meaning, reason};
pub use headers::{Header, headers};
pub use offsets::{Membership, Offsets, Place};
pub use probe::{Known, Members, Probe, create_topic};
pub use topics::Topics;
pub use voice::Voice;

/// Value of a librdkafka property as YAML gives it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum PropertyValue {
    /// `true`
    Bool(bool),
    /// `10`
    Integer(i64),
    /// `0.5`
    Number(f64),
    /// `SASL_SSL`
    Text(String),
}

impl fmt::Display for PropertyValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(v) => v.fmt(f),
            Self::Integer(v) => v.fmt(f),
            Self::Number(v) => v.fmt(f),
            Self::Text(v) => v.fmt(f),
        }
    }
}

/// What a worker calls itself where its properties say nothing else.
pub const CLIENT: &str = "pipe";

/// librdkafka's properties, by name.
pub type Properties = BTreeMap<String, PropertyValue>;

/// Properties that a pipeline may not set, and what stands in their place.
const REFUSED: &[(&str, &str)] = &[
    ("auto.offset.reset", "use `start:`, and `out_of_range:` for offsets outside the log"),
    ("bootstrap.servers", "use `brokers:`"),
    ("enable.auto.commit", "offsets are committed when everything before them is durable"),
    ("enable.auto.offset.store", "offsets are committed when everything before them is durable"),
    ("enable.gapless.guarantee", "the delivery guarantee is `delivery.guarantee`"),
    ("enable.idempotence", "the producer is always idempotent"),
    ("enable.partition.eof", "`--until-end` finds the end by offsets"),
    ("acks", "the producer always waits for all replicas in sync"),
    ("request.required.acks", "the producer always waits for all replicas in sync"),
    ("compression.codec", "use `compression:` of the sink"),
    ("compression.type", "use `compression:` of the sink"),
    ("delivery.timeout.ms", "a record is tried until it is delivered or refused"),
    ("message.timeout.ms", "a record is tried until it is delivered or refused"),
    ("group.id", "the consumer group is the pipeline's name"),
    ("isolation.level", "only committed records are ever read"),
    ("metadata.broker.list", "use `brokers:`"),
    ("partition.assignment.strategy", "the assignor is always cooperative-sticky"),
    ("partitioner", "the partitioner is the one of Kafka's Java client"),
    ("plugin.library.paths", "native code is not loaded from a pipeline file"),
    ("transactional.id", "transactional ids belong to the engine"),
];

/// Properties with defaults of ours, and the second name by which librdkafka knows them.
const SECOND_NAMES: &[(&str, &str)] =
    &[("fetch.message.max.bytes", "max.partition.fetch.bytes"), ("linger.ms", "queue.buffering.max.ms")];

/// Properties that make a client a certain member of its group. Whoever only asks is none.
const MEMBER: &[&str] = &["group.instance.id", "group.protocol", "group.remote.assignor"];

const MESSAGE_BYTES: &str = "message.max.bytes";
/// librdkafka's own value for it.
const MESSAGE_BYTES_DEFAULT: usize = 1_000_000;

/// Parts of a property's name that mark its value as a secret.
const SECRET: &[&str] =
    &["password", "secret", "sasl.username", "key.pem", "oauthbearer", "sasl.jaas", "assertion"];

/// Whether the value of a property is not to be shown.
pub fn is_secret(property: &str) -> bool {
    SECRET.iter().any(|part| property.contains(part))
}

/// Positions of a consumer group on their way into a transaction, with the member and the generation that read them:
/// the group's coordinator takes them only from a member that it still knows.
pub struct GroupOffsets {
    /// Group, member and generation, as the transaction that takes them knows them: for a real cluster librdkafka's
    /// `ConsumerGroupMetadata`, which only a joined consumer can make.
    pub group: Box<dyn Any + Send + Sync>,
    /// For each partition the offset of the next record.
    pub offsets: TopicPartitionList,
}

/// How a cluster is reached. Its secrets are shown by nothing.
#[derive(Clone)]
pub struct Cluster {
    brokers: String,
    properties: BTreeMap<String, String>,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: BTreeMap<&str, &str> = self
            .properties
            .iter()
            .map(|(k, v)| (k.as_str(), if is_secret(k) { "***" } else { v.as_str() }))
            .collect();
        f.debug_struct("Cluster").field("brokers", &self.brokers).field("properties", &shown).finish()
    }
}

impl Cluster {
    /// Checks brokers and properties; every mistake is added to `problems` with its pointer.
    pub fn new(brokers: &str, properties: &Properties, problems: &mut Vec<Problem>) -> Self {
        let mut list: Vec<&str> = brokers.split(',').map(str::trim).filter(|b| !b.is_empty()).collect();
        if list.is_empty() {
            problems.push(
                Problem::new(Code::C005, "/brokers", "no broker is named").help("such as `localhost:9092`"),
            );
        }
        list.sort_unstable();
        list.dedup();
        let mut kept = BTreeMap::new();
        for (name, value) in properties {
            // A user's name is not shown either, but it may be any word, so only what is secret for itself is looked
            // for elsewhere.
            if is_secret(name) && name != "sasl.username" {
                secret::keep(&value.to_string());
            }
            match check_property(name, &value.to_string()) {
                Ok(()) => {
                    let first =
                        SECOND_NAMES.iter().find(|(_, second)| second == name).map(|(first, _)| *first);
                    if let Some(first) = first.filter(|first| properties.contains_key(*first)) {
                        let message = format!("`{name}` and `{first}` are one property");
                        problems.push(Problem::new(Code::P009, format!("/properties/{name}"), message));
                    }
                    kept.insert(first.unwrap_or(name).to_owned(), value.to_string());
                }
                Err(problem) => problems.push(problem),
            }
        }
        login::check(&kept, problems);
        Self { brokers: list.join(","), properties: kept }
    }

    /// `bootstrap.servers`, sorted, without repeats.
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// The same cluster for a client that asks and is a member of nothing: it can neither fence a member nor be fenced.
    pub fn outside(&self) -> Self {
        let mut outside = self.clone();
        outside.properties.retain(|name, _| !MEMBER.contains(&name.as_str()));
        outside
    }

    /// A property that the pipeline gives.
    pub fn text(&self, property: &str) -> Option<&str> {
        self.properties.get(property).map(String::as_str)
    }

    /// The same as a whole number.
    pub fn number(&self, property: &str) -> Option<u64> {
        self.text(property)?.parse().ok()
    }

    /// One client for several that reach the same brokers. The error names the properties on which they do not agree.
    pub fn merge<'a>(clients: impl IntoIterator<Item = &'a Self>) -> Result<Option<Self>, Vec<String>> {
        let mut merged: Option<Self> = None;
        let mut torn = Vec::new();
        for client in clients {
            let Some(all) = &mut merged else {
                merged = Some(client.clone());
                continue;
            };
            for (name, value) in &client.properties {
                match all.properties.get_mut(name) {
                    None => {
                        all.properties.insert(name.clone(), value.clone());
                    }
                    // Each sink keeps to its own; the client takes the largest.
                    Some(known) if name == MESSAGE_BYTES => {
                        let larger = |a: &str, b: &str| a.parse::<u64>().ok() < b.parse::<u64>().ok();
                        if larger(known, value) {
                            known.clone_from(value);
                        }
                    }
                    Some(known) if known != value && !torn.contains(name) => torn.push(name.clone()),
                    Some(_) => {}
                }
            }
        }
        if torn.is_empty() { Ok(merged) } else { Err(torn) }
    }

    /// Bytes of key and value above which librdkafka does not take a record.
    pub fn message_bytes(&self) -> usize {
        let given = self.number(MESSAGE_BYTES).and_then(|bytes| usize::try_from(bytes).ok());
        given.unwrap_or(MESSAGE_BYTES_DEFAULT)
    }

    /// A client's configuration with `defaults` below the pipeline's properties.
    pub fn config(&self, defaults: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("client.id", CLIENT).set("bootstrap.servers", &self.brokers);
        for (name, value) in defaults {
            config.set(*name, *value);
        }
        for (name, value) in &self.properties {
            config.set(name, value);
        }
        config.set_log_level(RDKafkaLogLevel::Info);
        config
    }
}

/// One property: not refused, known to librdkafka, and of a value that it takes.
fn check_property(name: &str, value: &str) -> Result<(), Problem> {
    let pointer = format!("/properties/{}", name.replace('~', "~0").replace('/', "~1"));
    if let Some((_, instead)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
        let message = format!("the property `{name}` cannot be set");
        return Err(Problem::new(Code::C005, pointer, message).help(*instead));
    }
    if login::is_absent(name) {
        // Whether this build of librdkafka takes its value is beside the point.
        return Ok(());
    }
    let mut config = ClientConfig::new();
    config.set(name, value);
    match config.create_native_config() {
        Ok(_) => Ok(()),
        Err(_) if is_secret(name) => {
            Err(Problem::new(Code::C005, pointer, format!("librdkafka does not take this value of `{name}`")))
        }
        Err(KafkaError::ClientConfig(_, why, ..)) => Err(Problem::new(Code::C005, pointer, why)),
        Err(_) => Err(Problem::new(Code::C005, pointer, format!("`{name}` or its value holds a NUL"))),
    }
}

/// Whether Kafka takes this name for a topic. A leading `^` would make it a pattern.
pub fn is_topic_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    (1..=249).contains(&name.len()) && name != "." && name != ".." && name.bytes().all(allowed)
}

/// JSON Schema of an options struct.
pub fn options_schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    T::json_schema(generator)
}

/// Options from YAML's value; a mistake becomes one problem.
pub fn parse_options<T: for<'de> Deserialize<'de>>(options: &Value) -> Result<T, Vec<Problem>> {
    T::deserialize(options).map_err(|e| vec![Problem::new(Code::C005, "", e.to_string())])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(text: &str) -> Properties {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn every_refused_property_is_a_problem_at_its_pointer() {
        for (name, _) in REFUSED {
            let mut problems = Vec::new();
            let _ = Cluster::new("a:1", &properties(&format!(r#"{{"{name}":"x"}}"#)), &mut problems);
            assert_eq!(problems.len(), 1, "{name}");
            assert_eq!(problems[0].pointer, format!("/properties/{name}"));
            assert!(problems[0].help.is_some());
        }
    }

    #[test]
    fn all_mistakes_are_reported_and_brokers_are_sorted() {
        let mut problems = Vec::new();
        let given =
            properties(r#"{"no.such":1,"socket.timeout.ms":"soon","linger.ms":7,"security.protocol":"ssl"}"#);
        let cluster = Cluster::new(" b:2, a:1,,b:2", &given, &mut problems);
        assert_eq!(cluster.brokers(), "a:1,b:2");
        let pointers: Vec<&str> = problems.iter().map(|p| p.pointer.as_str()).collect();
        assert_eq!(pointers, ["/properties/no.such", "/properties/socket.timeout.ms"]);
        assert_eq!(cluster.config(&[("linger.ms", "1")]).get("linger.ms"), Some("7"));
        let second = Cluster::new("a:1", &properties(r#"{"queue.buffering.max.ms":7}"#), &mut problems);
        assert_eq!(second.config(&[("linger.ms", "1")]).get("linger.ms"), Some("7"), "its second name");
        let both = properties(r#"{"queue.buffering.max.ms":7,"linger.ms":8}"#);
        let _ = Cluster::new("a:1", &both, &mut problems);
        assert_eq!(problems.last().unwrap().pointer, "/properties/queue.buffering.max.ms");
        let _ = Cluster::new(" , ", &Properties::new(), &mut problems);
        assert_eq!(problems.last().unwrap().pointer, "/brokers");
    }

    #[test]
    fn topic_names() {
        for good in ["a", "web.requests_2-x", &"a".repeat(249)] {
            assert!(is_topic_name(good), "{good}");
        }
        for bad in ["", ".", "..", "^a", "a b", "a/b", "a\u{e9}", &"a".repeat(250)] {
            assert!(!is_topic_name(bad), "{bad}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let mut problems = Vec::new();
        let given = properties(
            r#"{"sasl.password":"hunter2","sasl.username":"hunter2","ssl.key.pem":"hunter2","ssl.key.password":"hunter2"}"#,
        );
        let cluster = Cluster::new("a:1", &given, &mut problems);
        assert!(problems.is_empty(), "{problems:?}");
        assert!(!format!("{cluster:?}").contains("hunter2"));
        let bad = properties("{\"sasl.oauthbearer.method\":\"hunter2\"}");
        let _ = Cluster::new("a:1", &bad, &mut problems);
        assert_eq!(problems.len(), 1);
        assert!(!problems[0].message.contains("hunter2"), "{}", problems[0].message);
    }
}
