//! A pipeline file as typed: what the author wrote, after variables are expanded and before anything is resolved.

use std::fmt;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::quantity::{Period, Size};

/// A pipeline.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Name of the pipeline: consumer group, prefix of transactional ids and of the dead-letter topic.
    #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9._-]{0,99}$"))]
    pub name: String,
    /// Where records come from, by name.
    #[schemars(with = "IndexMap<String, Value>", extend("minProperties" = 1))]
    pub sources: IndexMap<String, SourceSpec>,
    /// Sandboxed Wasm transforms, by name.
    #[serde(default)]
    pub stages: IndexMap<String, StageSpec>,
    /// Where records go, by name.
    #[schemars(with = "IndexMap<String, Value>", extend("minProperties" = 1))]
    pub sinks: IndexMap<String, SinkSpec>,
    /// What is promised, and how often it is committed.
    #[serde(default)]
    pub delivery: DeliverySpec,
    /// Where failed records go (`kafka` or `file`); by default a topic `<name>.dead-letters` beside a Kafka source,
    /// else a file `<name>.dead-letters.jsonl` in the working folder.
    #[serde(default)]
    pub dead_letters: Option<KindSpec>,
    /// Size of the batches that sources hand over.
    #[serde(default)]
    pub batch: BatchSpec,
    /// Units of parallelism: each has its own partitions and its own instance of every stage. Default: 1.
    #[serde(default)]
    #[schemars(range(min = 1, max = 256))]
    pub lanes: Option<usize>,
    /// Memory that the worker may take at most (`512MiB`). It is divided among the program, the instances of stages, what
    /// is fetched ahead and what is under way; sources wait where it is used up. It may lower the size of batches.
    /// Default: bounds of each part only, as `pipe explain` shows them.
    #[serde(default)]
    pub memory: Option<Size>,
    /// Follow traces: W3C trace context in Kafka headers, spans to a collector. Default: off, headers are left alone.
    #[serde(default)]
    pub tracing: Option<TracingSpec>,
}

/// A source: exactly one kind (`kafka`, `file`, `generate`), and how its records are read.
#[derive(Debug, Clone, Deserialize)]
pub struct SourceSpec {
    /// How the bytes of a record become columns.
    #[serde(default)]
    pub format: Option<KindSpec>,
    /// Metadata that become columns: `key` becomes `_key`, and so on.
    #[serde(default)]
    pub metadata: Vec<String>,
    /// What happens to a record that cannot be decoded.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// What becomes of a tombstone.
    #[serde(default)]
    pub on_tombstone: Option<OnTombstone>,
    /// The kind and its options: the one other key.
    #[serde(flatten)]
    pub kind: KindSpec,
}

/// A stage: a Wasm component (`wasm:` a path, or `use:` a ready-made one).
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StageSpec {
    /// Its inputs: a source, a stage, a port `stage.port`, or a list of them (a union of equal schemas).
    pub from: Inputs,
    /// Path of the component.
    #[serde(default)]
    pub wasm: Option<String>,
    /// Name of a ready-made stage.
    #[serde(default, rename = "use")]
    pub ready_made: Option<String>,
    /// Configuration of the stage; its own JSON Schema says what it may be.
    #[serde(default)]
    #[schemars(extend("type" = "object"))]
    pub config: Map<String, Value>,
    /// Bounds of one instance.
    #[serde(default)]
    pub limits: LimitsSpec,
    /// What the stage is given beyond its columns. By default nothing.
    #[serde(default)]
    pub grants: GrantsSpec,
    /// What happens to a row that fails.
    #[serde(default)]
    pub on_failure: OnFailure,
}

/// A sink: exactly one kind (`kafka`, `file`, `stdout`, `blackhole`), and how rows become bytes.
#[derive(Debug, Clone, Deserialize)]
pub struct SinkSpec {
    /// Its inputs.
    pub from: Inputs,
    /// How rows become bytes.
    #[serde(default)]
    pub format: Option<KindSpec>,
    /// What happens to a record that is refused for good.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// The kind and its options: the one other key.
    #[serde(flatten)]
    pub kind: KindSpec,
}

/// A kind by name with its options: `name` or `name: { option: … }`.
#[derive(Debug, Clone, PartialEq, JsonSchema)]
#[schemars(with = "Value")]
pub struct KindSpec {
    /// The kind's name.
    pub name: String,
    /// Its options; an empty object when only the name was given.
    pub options: Value,
}

impl<'de> Deserialize<'de> for KindSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(name) => Ok(Self { name, options: Value::Object(Map::new()) }),
            Value::Object(map) if map.len() == 1 => {
                let (name, options) = map.into_iter().next().ok_or_else(|| D::Error::custom("empty"))?;
                let options = if options.is_null() { Value::Object(Map::new()) } else { options };
                Ok(Self { name, options })
            }
            Value::Object(map) if map.is_empty() => Err(D::Error::custom("the kind is missing")),
            Value::Object(map) => {
                let keys: Vec<&str> = map.keys().map(String::as_str).collect();
                Err(D::Error::custom(format!(
                    "exactly one kind was expected, these were given: {}",
                    keys.join(", ")
                )))
            }
            other => Err(D::Error::custom(format!("a name or a mapping was expected, not {other}"))),
        }
    }
}

/// One input or several.
#[derive(Debug, Clone, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(untagged)]
pub enum Inputs {
    /// `from: requests`
    One(String),
    /// `from: [a, b.port]`
    Many(Vec<String>),
}

impl Inputs {
    /// The names, in order.
    pub fn names(&self) -> &[String] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Many(names) => names,
        }
    }
}

/// What happens to a row that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// It goes to the dead letters with its cause.
    #[default]
    DeadLetter,
    /// It is left out and counted.
    Skip,
    /// The pipeline stops; nothing after it is committed.
    Stop,
}

/// What becomes of a tombstone: a record without a value, which deletes what its key stands for. Default: `pass` where
/// every sink behind the source can write it under the record's own key, else `dead_letter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnTombstone {
    /// It enters no stage, leaves on every port of every stage in its place among the rows of its partition, and is a
    /// tombstone with its key and headers in every sink.
    Pass,
    /// It is a row of nulls.
    Row,
    /// It is left out and counted.
    Skip,
    /// It goes to the dead letters.
    DeadLetter,
}

/// Bounds of one instance of a stage. Defaults are generous and never unlimited.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitsSpec {
    /// Memory: all linear memories and tables. Default 64 MiB, 256 MiB for an interpreter.
    #[serde(default)]
    pub memory: Option<Size>,
    /// Time of one call. Default 1 s, 10 s for an interpreter.
    #[serde(default)]
    pub time: Option<Period>,
    /// Bytes that one call may return. Default 64 MiB.
    #[serde(default)]
    pub output: Option<Size>,
    /// Rows that one call may return. Default 1,048,576.
    #[serde(default)]
    pub rows: Option<usize>,
    /// Log lines a second. Default 100.
    #[serde(default)]
    pub log_lines: Option<u32>,
}

/// What a stage is given beyond its columns: without a grant no environment, no files, no network.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GrantsSpec {
    /// Environment variables, each with its value: `REGION: "${REGION}"`. The worker's own are not seen.
    #[serde(default)]
    pub env: IndexMap<String, EnvValue>,
    /// Folders to read: the path that the stage sees, and the folder, relative to the pipeline file. What they hold
    /// is taken not to change while the pipeline runs.
    #[serde(default)]
    pub folders: IndexMap<String, String>,
    /// Not available yet: a stage has no network.
    #[serde(default)]
    pub network: Option<Value>,
}

/// The value of an environment variable: text, or a whole number or `true`/`false`, which become text. It may be a
/// secret, so `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct EnvValue(pub String);

impl fmt::Debug for EnvValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl<'de> Deserialize<'de> for EnvValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Self(text)),
            Value::Bool(value) => Ok(Self(value.to_string())),
            Value::Number(number) if !number.is_f64() => Ok(Self(number.to_string())),
            _ => Err(D::Error::custom("the value of an environment variable is text: write it in quotes")),
        }
    }
}

impl JsonSchema for EnvValue {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "EnvValue".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "The value of an environment variable: text (a fraction must be in quotes).",
            "type": ["string", "integer", "boolean"],
        })
    }
}

/// What is promised, and how often it is committed.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeliverySpec {
    /// `at_least_once` (default), or `exactly_once`: from Kafka to Kafka on one cluster, dead letters included.
    #[serde(default)]
    pub guarantee: Guarantee,
    /// Time between two commits. Default 100 ms; 30 s where a sink's files are durable only when closed.
    #[serde(default)]
    pub commit_interval: Option<Period>,
    /// How long a stop may drain. Default 30 s.
    #[serde(default)]
    pub shutdown_timeout: Option<Period>,
}

/// What is promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Guarantee {
    /// Nothing is lost; after a crash some records come again.
    #[default]
    AtLeastOnce,
    /// Nothing is lost and nothing comes twice.
    ExactlyOnce,
}

/// Size of the batches that sources hand over.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchSpec {
    /// Rows at most. Default 8,192.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1_048_576))]
    pub rows: Option<usize>,
    /// Bytes at most. Default 1 MiB.
    #[serde(default)]
    pub bytes: Option<Size>,
    /// A batch is handed over when its first record has waited this long. Default: 5 ms, and sooner where the lane of a
    /// Kafka source has little else to do.
    #[serde(default)]
    pub age: Option<Period>,
}

/// Traces: context from and into Kafka headers, and where spans go.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TracingSpec {
    /// Address of a collector that takes OTLP over HTTP (`http://localhost:4318`). Default: that of
    /// `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` or `OTEL_EXPORTER_OTLP_ENDPOINT`; without any, contexts are passed on and
    /// no span is made.
    #[serde(default)]
    pub otlp: Option<String>,
    /// Share of the records without a context that begin a trace, from 0 to 1. Default: that of
    /// `OTEL_TRACES_SAMPLER`, else 0.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub sample: Option<f64>,
}
