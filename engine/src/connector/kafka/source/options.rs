//! The options of the Kafka source.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::connector::kafka::client::Properties;

/// Options under `kafka:`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    /// Addresses of some brokers of the cluster: `host:port`, several with commas between.
    pub(super) brokers: String,
    /// Topics to read. One that begins with `^` is a pattern, a POSIX extended regular expression: all topics that
    /// match are read, and those that are made later are found within 10 s (`topic.metadata.refresh.interval.ms`
    /// under `properties`) and read from their first record. Kafka's own topics (`__..`) match only a pattern that
    /// begins with `^__`. `metadata: [topic]` tells them apart. A topic that is deleted while it is read stops the
    /// worker.
    #[schemars(extend("minItems" = 1))]
    pub(super) topics: Vec<String>,
    /// Where a consumer group without committed offsets starts. Default: `earliest`.
    #[serde(default)]
    pub(super) start: Start,
    /// What happens where the log does not hold the offset that the group committed: retention deleted records before
    /// they were read, or the topic was made anew. Default: `fail`. The others warn, count the jump
    /// (`pipe_source_offset_jumps_total`, `pipe_source_offset_jumped_records_total`) and go on; `pipe offsets reset`
    /// decides it once and by hand.
    #[serde(default)]
    pub(super) out_of_range: OutOfRange,
    /// Properties of librdkafka, such as `security.protocol`, `sasl.mechanism`, `ssl.ca.location`. `group.instance.id`
    /// makes the worker a static member of the group; `group.protocol: consumer` (KIP-848) is a preview.
    #[serde(default)]
    pub(super) properties: Properties,
}

/// Where a new consumer group starts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Start {
    /// At the first record that the log holds.
    #[default]
    Earliest,
    /// After the last record.
    Latest,
}

/// What happens where the log does not hold the offset at which reading goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum OutOfRange {
    /// The worker stops with S004.
    #[default]
    Fail,
    /// Reading goes on at the first record that the log holds.
    Earliest,
    /// Reading goes on after the last record: what the log holds is skipped.
    Latest,
}
