//! Options of the Kafka sink.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::spec::Inputs;
use crate::connector::kafka::client::Properties;

/// Options under `kafka:`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    /// Addresses of some brokers of the cluster: `host:port`, several with commas between.
    pub(super) brokers: String,
    /// Topic to write, or a template such as `"{tenant}-events"`, in which `{column}` stands for the text of a column and
    /// `{{` for a brace. A template needs `topics:`. A row whose topic cannot be written (a null, no topic's name, not
    /// among `topics:`, not on the cluster, one more than `topics_max`) is a dead letter that says so.
    pub(super) topic: String,
    /// With a template the topics that it may make: names, and patterns that begin with `^` and are read as those of the
    /// Kafka source. Names must exist when the worker starts, or are made with `create: true`; a topic that a pattern
    /// allows is never made. Kafka's own topics (`__..`) match only a pattern that begins with `^__`.
    #[serde(default)]
    pub(super) topics: Option<Vec<String>>,
    /// With a template how many topics are written at most. Default: 100.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1_000))]
    pub(super) topics_max: Option<u16>,
    /// Column of the record's key: bytes as they are, all else as text; a null is no key. A list of columns makes a key
    /// that the sink's format writes as it writes rows: `{"tenant":"a","id":7}` with `json`; a row whose key
    /// columns are all null has no key. The partition is chosen as Kafka's Java client does. A key column whose name begins with `_` is
    /// left out of the value.
    #[serde(default)]
    pub(super) key: Option<Inputs>,
    /// Column of the record's headers (a list of `{name: utf8, value: binary}`); left out of the value. Default: a
    /// column `_headers` of that type, where there is one.
    #[serde(default)]
    pub(super) headers: Option<String>,
    /// Column of the record's timestamp; left out of the value. Default: the time of writing, which a null means too. A
    /// time that Kafka's client cannot be told (1970-01-01T00:00:00.000Z and all before it) makes a dead letter.
    #[serde(default)]
    pub(super) timestamp: Option<String>,
    /// Compression of the record batches. Default: `lz4`.
    #[serde(default)]
    pub(super) compression: Compression,
    /// Goes with the next release: `false` stands for `on_tombstone: row` at the sources, `true` for nothing.
    #[serde(default)]
    pub(super) tombstones: Option<bool>,
    /// Create the topic when it does not exist. Default: false.
    #[serde(default)]
    pub(super) create: bool,
    /// Partitions of a topic that is created. Default: the cluster's.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub(super) partitions: Option<i32>,
    /// Replicas of a topic that is created. Default: the cluster's.
    #[serde(default)]
    #[schemars(range(min = 1, max = 32767))]
    pub(super) replication: Option<i32>,
    /// Properties of librdkafka, such as `security.protocol`, `sasl.mechanism`, `linger.ms`, `message.max.bytes`.
    #[serde(default)]
    pub(super) properties: Properties,
}

/// Compression of record batches.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Compression {
    /// As they are.
    None,
    /// Small and slow.
    Gzip,
    /// Fast.
    Snappy,
    /// Fast, and cheaper than the network it saves.
    #[default]
    Lz4,
    /// Small.
    Zstd,
}

impl Compression {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}
