//! Newtypes and every numeric limit of the engine, with the reason for each number.

use std::fmt;
use std::time::Duration;

/// The work between two barriers; it commits whole or not at all. The first is 1; 0 is before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The epoch after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Raised by every rewind; messages of an older generation are dropped. The first is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Generation(pub u64);

/// Rows of a batch that a source hands over: large enough to drown the fixed cost of a crossing (1 us), small
/// enough that a batch's columns stay in the second-level cache.
pub const BATCH_ROWS: usize = 8_192;
/// Bytes of originals in a batch that a source hands over.
pub const BATCH_BYTES: usize = 1 << 20;
/// A source hands over what it has after this long, so that a trickle is not held back.
pub const BATCH_AGE: Duration = Duration::from_millis(20);

/// Batches a channel holds: two keep both ends busy, four ride out a hiccup.
pub const CHANNEL_BATCHES_MAX: usize = 4;
/// Bytes a channel holds (batches and their originals); one batch larger than this may still pass alone.
pub const CHANNEL_BYTES_MAX: usize = 8 << 20;

/// One record of a source: as Kafka's own default for a fetch (`message.max.bytes` is 1 MiB), with room for raised ones.
pub const RECORD_BYTES_MAX: usize = 64 << 20;

/// Records from which the columns of a file are inferred.
pub const INFER_RECORDS: usize = 1_000;
/// Bytes that are read for it: planning a pipeline over huge lines stays quick.
pub const INFER_BYTES_MAX: u64 = 16 << 20;
/// Rows of a Parquet row group: readers skip by group, and a group is held in memory while it is written.
pub const PARQUET_GROUP_ROWS: usize = 1 << 17;
/// Bytes of a Parquet row group under way, for wide rows.
pub const PARQUET_GROUP_BYTES: usize = 16 << 20;
/// Bytes after which a file sink begins a new file: large enough for readers of columns, small enough to copy.
pub const FILE_BYTES: u64 = 128 << 20;
/// Bytes that are read from a file at once.
pub const READ_BUFFER_BYTES: usize = 256 << 10;
/// Bytes a file or the standard output gets in one write.
pub const WRITE_BUFFER_BYTES: usize = 256 << 10;

/// Epochs whose barrier has left the sources and that are not committed yet.
pub const EPOCHS_IN_FLIGHT_MAX: usize = 4;
/// Time between two commits.
pub const COMMIT_INTERVAL: Duration = Duration::from_millis(100);
/// The same where a sink's files are durable only when closed: 120 files an hour a lane.
pub const COMMIT_INTERVAL_FILES: Duration = Duration::from_secs(30);
/// `check` warns above this many files an hour for one sink.
pub const FILES_PER_HOUR_WARN: u64 = 1_000;
/// SIGTERM drains for at most this long.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(30);
/// What was revoked is drained for at most this long; below Kafka's `max.poll.interval.ms` and rebalance time-outs.
pub const REVOKE_TIMEOUT: Duration = Duration::from_secs(20);

/// Memory of one instance of a compiled stage (Rust, C, Go): sum of its linear memories and tables.
pub const STAGE_MEMORY_BYTES: usize = 64 << 20;
/// The same where the component carries an interpreter (Python, JavaScript).
pub const STAGE_MEMORY_BYTES_INTERPRETER: usize = 256 << 20;
/// A component larger than this is taken to carry an interpreter: compiled stages are tens of kilobytes.
pub const INTERPRETER_COMPONENT_BYTES: usize = 4 << 20;
/// Time of one call of a stage.
pub const STAGE_TIME: Duration = Duration::from_secs(1);
/// Time of one call of `describe` or `bind`, and of an interpreter's `process`.
pub const STAGE_TIME_SLOW: Duration = Duration::from_secs(10);
/// A stage whose every call fails for this long is taken to be broken: the worker stops and says so.
pub const STAGE_FAILING_MAX: Duration = Duration::from_secs(60);
/// Bytes that one call of a stage may return.
pub const STAGE_OUTPUT_BYTES: usize = 64 << 20;
/// Rows that one call of a stage may return over all its ports.
pub const STAGE_ROWS: usize = 1 << 20;
/// Log lines a second that an instance may write; the rest are counted.
pub const STAGE_LOG_LINES_PER_SECOND: u32 = 100;
/// Bytes of one log line of a stage.
pub const STAGE_LOG_LINE_BYTES_MAX: usize = 4 << 10;
/// Depth of nesting of a schema.
pub const SCHEMA_DEPTH_MAX: usize = 32;
/// Fields of a schema, children included.
pub const SCHEMA_FIELDS_MAX: usize = 4_096;
/// Ports of a stage.
pub const STAGE_PORTS_MAX: usize = 256;
/// The epoch clock of the Wasm engine: a deadline is met within one tick.
pub const STAGE_TICK: Duration = Duration::from_millis(5);

/// A dead letter's message is cut here.
pub const DEAD_LETTER_MESSAGE_BYTES_MAX: usize = 4 << 10;
/// Lanes of a worker.
pub const LANES_MAX: usize = 256;

/// Bytes of a pipeline file: two orders above the largest that a person would write.
pub const CONFIG_BYTES_MAX: u64 = 4 << 20;
/// Depth of nesting of a pipeline file: twice that of a schema.
pub const CONFIG_DEPTH_MAX: usize = 64;
/// Nodes of a pipeline file after its aliases are resolved, so that a few nested anchors cannot fill the memory.
pub const CONFIG_NODES_MAX: usize = 100_000;
/// Bytes of a file named by `${file:..}`: secrets and certificates are smaller.
pub const CONFIG_SECRET_BYTES_MAX: u64 = 64 << 10;

/// Opening a Kafka source or sink waits this long for a broker: longer than any healthy cluster takes, short enough
/// that a wrong address is seen at once.
pub const KAFKA_OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// Between two questions to a broker that did not have the answer yet.
pub const KAFKA_RETRY_PAUSE: Duration = Duration::from_millis(250);

/// An assignment looks up committed offsets for at most this long; below Kafka's `max.poll.interval.ms` (5 min).
pub const KAFKA_ASSIGN_TIMEOUT: Duration = Duration::from_secs(60);

/// Bytes that a worker's consumer fetches ahead, over all its partitions.
pub const KAFKA_PREFETCH_BYTES: usize = 64 << 20;

/// Records that it fetches ahead over all its partitions: librdkafka spends about 400 bytes on each beside its data.
pub const KAFKA_PREFETCH_RECORDS: usize = 100_000;

/// Partition's share of the prefetch in bytes, however many there are: one full fetch.
pub const KAFKA_PREFETCH_PARTITION_BYTES_MIN: usize = 1 << 20;

/// Its share in records.
pub const KAFKA_PREFETCH_PARTITION_RECORDS_MIN: usize = 1_000;

/// Records taken from librdkafka at once: few enough that a change of record size cannot pile up memory.
pub const KAFKA_PULL_RECORDS: usize = 1_024;

/// A reader without records looks up this often even if nothing woke it.
pub const KAFKA_IDLE: Duration = Duration::from_millis(100);

/// A seek waits this long for the fetcher.
pub const KAFKA_SEEK_TIMEOUT: Duration = Duration::from_secs(10);

/// A commit waits this long for the group's coordinator, then is tried again: whoever commits has other things to do.
pub const KAFKA_COMMIT_WAIT: Duration = Duration::from_secs(2);

/// A Kafka sink blocks for at most this long in one call, then hands the wait back to the runtime.
pub const KAFKA_BLOCK: Duration = Duration::from_secs(1);

/// Records that a worker's producer holds.
pub const KAFKA_QUEUE_RECORDS: usize = 200_000;

/// Bytes that a worker's producer holds.
pub const KAFKA_QUEUE_BYTES: usize = 64 << 20;

/// Bytes of a `tracestate`: what the W3C asks everyone to pass on; longer ones are dropped whole.
pub const TRACE_STATE_BYTES_MAX: usize = 512;

/// Members of a `tracestate`, by the same specification.
pub const TRACE_STATE_MEMBERS_MAX: usize = 32;

/// Sampled records a second that a worker makes spans for: at about 20 us each, delivery included, a tenth of a core.
/// More are passed on as they came.
pub const TRACE_RECORDS_PER_SECOND: u32 = 5_000;

/// Spans a second below those of records (calls of stages, writes), for a stage may make many rows of one.
pub const TRACE_SPANS_PER_SECOND: u32 = 20_000;

/// Log lines a second about single records of traces: enough to follow one, not enough to drown the rest.
pub const TRACE_LOG_LINES_PER_SECOND: u32 = 10;

/// Finished spans that wait for the collector: a second's worth, at about 1 KiB each.
pub const TRACE_QUEUE_SPANS: usize = 16_384;

/// Other traces that the span of a stage's call names.
pub const TRACE_LINKS_MAX: usize = 32;

/// Failures that the span of a record tells of, on average over its batch: one record may be written to many places.
pub const TRACE_EVENTS_MAX: usize = 16;

/// Bytes of a failure's message in a span; the dead letter has more of it.
pub const TRACE_MESSAGE_BYTES_MAX: usize = 256;

/// At the end of a run spans are delivered for at most this long.
pub const TRACE_FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// A collector that is away is logged this often.
pub const TRACE_LOG_INTERVAL: Duration = Duration::from_secs(60);
