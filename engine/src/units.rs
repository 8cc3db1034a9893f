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
/// A source hands over what it has after this long at the latest, so that a trickle is not held back.
pub const BATCH_AGE: Duration = Duration::from_millis(5);

/// Batches a channel holds: two keep both ends busy, four ride out a hiccup.
pub const CHANNEL_BATCHES_MAX: usize = 4;
/// Bytes a channel holds (batches and their originals); one batch larger than this may still pass alone.
pub const CHANNEL_BYTES_MAX: usize = 8 << 20;

/// One record of a source: as Kafka's own default for a fetch (`message.max.bytes` is 1 MiB), with room for raised ones.
pub const RECORD_BYTES_MAX: usize = 64 << 20;

/// Keys without a column that are told one by one; a writer that makes keys of values would fill the log.
pub const UNKNOWN_KEYS_MAX: usize = 32;
/// Fields that nobody declared, where they are kept or refused: so many are known by their names.
pub const UNDECLARED_KEYS_MAX: usize = 100;
/// Bytes of a key that are shown.
pub const UNKNOWN_KEY_BYTES: usize = 200;
/// Words that CSV takes for nulls: each field is compared with all of them.
pub const CSV_NULLS_MAX: usize = 32;
/// Records from which the columns of a file are inferred.
pub const INFER_RECORDS: usize = 1_000;
/// Records that `pipe columns` looks at unless it is told otherwise: a field that one record in a thousand has is seen.
pub const SAMPLE_RECORDS: u64 = 10_000;
/// Bytes of a sample of records, which is held in memory: ten thousand records of 6 kB.
pub const SAMPLE_BYTES_MAX: usize = 64 << 20;
/// Rows that `pipe peek` shows unless it is told otherwise: a screenful.
pub const PEEK_RECORDS: u64 = 20;
/// Bytes that are read to infer columns: planning a pipeline over huge lines stays quick.
pub const INFER_BYTES_MAX: u64 = 16 << 20;
/// Rows of a Parquet row group: readers skip by group, and a group is held in memory while it is written.
pub const PARQUET_GROUP_ROWS: usize = 1 << 17;
/// Bytes of a Parquet row group under way, for wide rows.
pub const PARQUET_GROUP_BYTES: usize = 16 << 20;
/// Bytes that the reader of a container holds at once where `memory` does not say: what some writers make one block of.
pub const CONTAINER_HELD_BYTES: usize = 2 << 30;
/// A call of a library that reads a container and reads nothing of the file for this long is taken to be endless: one
/// second below the five within which a corrupt file is to be refused.
pub const CONTAINER_STALL: Duration = Duration::from_secs(4);
/// How often that is looked at.
pub const CONTAINER_LOOK: Duration = Duration::from_millis(250);
/// What was read for a call extends that time by a second for so many bytes: the slowest codec does five times as much.
pub const CONTAINER_BYTES_PER_SECOND: u64 = 32 << 20;
/// Stack of the thread on which a library reads a container: types within types are read by recursion.
pub const CONTAINER_STACK_BYTES: usize = 16 << 20;
/// Bytes of the footer of a container: a thousand times that of a usual file, ten times that of one with 10,000 columns
/// and 100 row groups.
pub const CONTAINER_FOOTER_BYTES_MAX: u64 = 256 << 20;
/// Rows and items of one array: Arrow's specification asks writers not to exceed it.
pub const ARROW_LENGTH_MAX: i64 = i32::MAX as i64;
/// Items of a nested array that no byte of the file stands for (nulls, empty structs): a row of a list of them costs
/// what its writer says, not what the file holds.
pub const ARROW_HOLLOW_ITEMS_MAX: i64 = 1 << 20;
/// Depth of the columns of a Parquet file: a list takes two of them, and the library goes down by recursion.
pub const PARQUET_DEPTH_MAX: usize = 4 * SCHEMA_DEPTH_MAX;
/// Bytes of the header of a Parquet page: it may hold a smallest and a largest value.
pub const PARQUET_PAGE_HEADER_BYTES_MAX: usize = 1 << 20;
/// How many times as large as its compressed form what gzip gives is at most (deflate's own bound, rounded up).
pub const GZIP_RATIO_MAX: u64 = 1_040;
/// The same of LZ4.
pub const LZ4_RATIO_MAX: u64 = 256;
/// Bytes after which a file sink begins a new file: large enough for readers of columns, small enough to copy.
pub const FILE_BYTES: u64 = 128 << 20;
/// Bytes that are read from a file at once.
pub const READ_BUFFER_BYTES: usize = 256 << 10;
/// Bytes at the beginning of an input by which it is recognised: the first records of a JSON array, wide ones too.
pub const SNIFF_BYTES: usize = 64 << 10;
/// Layers of packing that are taken off an input: gzip of UTF-16 of a text is three of them.
pub const INPUT_LAYERS_MAX: usize = 4;
/// How far zstd data may look back, as a power of two: the 8 MiB that RFC 8878 asks each reader to take.
pub const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// A last line without its end waits for its rest until its file has been quiet for this long: a writer that is at work
/// writes more often, and a file that is complete costs a start no more.
pub const LAST_LINE_QUIET: Duration = Duration::from_secs(1);
/// Bytes of the beginning of a file that are compared when the file changed while it was read, and bytes of both ends
/// of a file of columns by which it is known.
pub const FILE_ENDS_BYTES: usize = 64 << 10;
/// A file that changed within this time of the look at it may change again without its times telling.
pub const FILE_TIMES_TELL: Duration = Duration::from_secs(1);
/// Files that are no longer there and are remembered, the latest ones: three years of a log that is rotated daily. They
/// are written with each commit.
pub const FILES_REMEMBERED_MAX: usize = 1_000;
/// Bytes a file or the standard output gets in one write.
pub const WRITE_BUFFER_BYTES: usize = 256 << 10;

/// Epochs whose barrier has left the sources and that are not committed yet.
pub const EPOCHS_IN_FLIGHT_MAX: usize = 4;
/// Bytes of originals that a lane may read for an epoch of transactions before it is known what the sinks take: little
/// enough for a sink of 100 kB a second and a transaction of ten seconds, and as much as is usual after six commits.
pub const EPOCH_LANE_BYTES_START: u64 = 1 << 20;
/// And at least: a sink of a kilobyte a second needs more time for a transaction then, not smaller ones.
pub const EPOCH_LANE_BYTES_MIN: u64 = 16 << 10;
/// A batch is at most this part of what a lane may still read for an epoch, so that it does not exceed it by much.
pub const EPOCH_BATCHES_MIN: u64 = 4;
/// Time between two commits.
pub const COMMIT_INTERVAL: Duration = Duration::from_millis(100);
/// The same where a sink's files are durable only when closed: 120 files an hour a lane.
pub const COMMIT_INTERVAL_FILES: Duration = Duration::from_secs(30);
/// The same where a run makes one file of a sink: longer than any run.
pub const COMMIT_INTERVAL_WHOLE: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
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
/// A stage that was busy this long with calls that all failed is taken to be broken: the worker stops and says so.
pub const STAGE_FAILING_MAX: Duration = Duration::from_secs(60);
/// But not before this many of them: a few neighbouring rows on which a stage loops are bad rows, no broken stage.
pub const STAGE_FAILING_CALLS_MIN: u64 = 100;
/// Calls that fail in a row before fresh instances are tried after pauses: twice what one bad row in a batch of
/// [`BATCH_ROWS`] costs.
pub const STAGE_BREAKER_CALLS: u64 = 32;
/// The first pause.
pub const STAGE_PAUSE_MIN: Duration = Duration::from_millis(1);
/// The longest after a quick call, before jitter adds up to as much: a trap costs some 0.2 ms, so 99 % of a core stay
/// free, and a thousand bad rows in a row are still found before [`STAGE_FAILING_MAX`].
pub const STAGE_PAUSE_MAX: Duration = Duration::from_millis(20);
/// The longest after a call that took as long itself.
pub const STAGE_PAUSE_SLOW_MAX: Duration = Duration::from_secs(1);
/// While the row on which a stage loops is looked for, parts of more than one row get this fraction of `limits.time`:
/// one that needs longer is only cut smaller, and a row that is alone has all of it.
pub const STAGE_SEARCH_TIME_DIVISOR: u32 = 8;
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
/// Levels of arrays and objects in a JSON value that is kept as it is written. The scanner of JSON has a bit for each.
pub const JSON_DEPTH_MAX: usize = 64;
/// Fields of a schema, children included.
pub const SCHEMA_FIELDS_MAX: usize = 4_096;
/// Bytes of a component: three times the largest that the usual tools make (Python, 18 MB). Compiling takes memory and
/// time in proportion.
pub const STAGE_COMPONENT_BYTES_MAX: u64 = 64 << 20;
/// Bytes of a component that one core compiles in a second: 18.5 MB of Python took 18.2 s of CPU, 271 kB of `redact` 0.4 s,
/// 108 kB of `filter` 0.3 s. What people wait for is large; a machine with other work takes longer.
pub const STAGE_COMPILE_BYTES_PER_CORE_SECOND: usize = 900_000;
/// A compile that is expected to take longer is told before it begins, whatever the command is: below it nobody waits.
pub const STAGE_COMPILE_TOLD: Duration = Duration::from_secs(1);
/// A component that is still being compiled is mentioned this often: longer than all but interpreters take.
pub const STAGE_COMPILE_NOTICE: Duration = Duration::from_secs(3);
/// And looked at this often, so that a bar on a terminal moves.
pub const STAGE_COMPILE_LOOK: Duration = Duration::from_millis(250);
/// Compiling takes at most this long: an interpreter needs a minute or two where the machine is busy.
pub const STAGE_COMPILE_TIME_MAX: Duration = Duration::from_secs(600);
/// Bytes of the JSON Schema that a stage publishes: forty pages of options.
pub const STAGE_SCHEMA_BYTES_MAX: usize = 256 << 10;
/// Schemas within each other that apply to one value: people write a handful.
pub const STAGE_SCHEMA_DEPTH_MAX: usize = 64;
/// Schemas that one value is checked against: a tagged choice of a thousand kinds still passes.
pub const STAGE_SCHEMA_STEPS_MAX: usize = 10_000;
/// Bytes of one row of a declared type as far as the type fixes them, one for each item at least: sizes of lists within
/// lists multiply, and a row of them must be no larger than a batch.
pub const STAGE_ROW_BYTES_MAX: usize = 1 << 20;
/// Ports of a stage.
pub const STAGE_PORTS_MAX: usize = 256;
/// The epoch clock of the Wasm engine: a deadline is met within one tick.
pub const STAGE_TICK: Duration = Duration::from_millis(5);

/// A dead letter's message is cut here.
pub const DEAD_LETTER_MESSAGE_BYTES_MAX: usize = 4 << 10;
/// A line of a dead-letter file: the largest record with each of its bytes escaped, and its cause.
pub const DEAD_LETTER_LINE_BYTES_MAX: u64 = 6 * RECORD_BYTES_MAX as u64 + (1 << 20);
/// Letters that one round of a replay takes: what it has done is remembered after each.
pub const REPLAY_ROUND_LETTERS: usize = 100_000;
/// Bytes of their originals that are held for it.
pub const REPLAY_ROUND_BYTES: usize = 64 << 20;
/// A dead letter that is larger is not given to the Kafka producer: half of what it holds, so that it always fits.
pub const DEAD_LETTER_RECORD_BYTES_MAX: usize = KAFKA_QUEUE_BYTES / 2;
/// Of `memory`: what the program takes itself. Code, compiled stages, threads, what the allocator keeps: some 40 MiB
/// were seen with one stage.
pub const MEMORY_PROGRAM: u64 = 48 << 20;
/// Of `memory`: requests that a Kafka producer has under way, five of a batch of 1 MB at most, and the next.
pub const MEMORY_PRODUCER: u64 = 8 << 20;
/// Of `memory`: the least that a lane of a source must have for what is under way. A 32nd of it is a batch.
pub const MEMORY_LANE_MIN: u64 = 2 << 20;
/// What a record takes in a Kafka client beside its bytes: librdkafka keeps an object for each.
pub const KAFKA_RECORD_BYTES: usize = 512;
/// Bytes that one fetch brings of a partition: librdkafka's own default.
pub const KAFKA_FETCH_PARTITION_BYTES: u64 = 1 << 20;
/// And at least, where `memory` is little: brokers send one batch of records whole in any case.
pub const KAFKA_FETCH_PARTITION_BYTES_MIN: u64 = 16 << 10;
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

/// One of the questions of that time: a broker that is frozen is passed over, and one under load still answers.
pub const KAFKA_METADATA_ASK: Duration = Duration::from_millis(2_500);

/// A lane of a source that can be woken looks up this often even if nobody did: often enough for the probes, which
/// take a thread that no longer turns for stuck.
pub const SOURCE_IDLE: Duration = Duration::from_millis(500);

/// A sink that has nothing to do looks up this often.
pub const SINK_IDLE: Duration = Duration::from_secs(1);

/// The same while a file is open that ends by its age: ages are given in seconds and more.
pub const SINK_IDLE_FILE: Duration = Duration::from_millis(100);

/// The same while a Kafka sink holds batches that are on their way: about as long as a record waits for company. What
/// they hold of `memory` is to be given back soon, as the source may wait for it.
pub const SINK_IDLE_HOLDING: Duration = Duration::from_millis(5);

/// A topic is not there when brokers have said so for this long: news of one that was just made takes a second or two to
/// reach every broker, on a busy machine some more, and a mistyped name is still told soon.
pub const KAFKA_ABSENT: Duration = Duration::from_secs(5);

/// A source looks this often whether the topics that it names are there: one small question each.
pub const KAFKA_TOPICS_LOOK: Duration = Duration::from_secs(5);

/// A cluster that answers, but not yet as it should, is waited for at the start: a broker that boots takes half a minute
/// on a busy machine, and until then a topic of three replicas cannot be made.
pub const KAFKA_BOOT: Duration = Duration::from_secs(30);

/// An error of a partition that may pass or stay is taken for one that stays after this long: twice what brokers take to
/// find a dead one and to elect another leader.
pub const KAFKA_UNCLEAR: Duration = Duration::from_secs(60);

/// Errors of a partition that are further apart than this are different ones: fetches are tried again every second.
pub const KAFKA_UNCLEAR_GAP: Duration = Duration::from_secs(10);

/// A line of the log that is the same again is left out for this long.
pub const LOG_REPEAT: Duration = Duration::from_secs(30);

/// So many different lines are remembered for that: brokers times reasons, of the largest clusters.
pub const LOG_REPEAT_KEYS: usize = 1_024;

/// Between two questions to a broker that did not have the answer yet.
pub const KAFKA_RETRY_PAUSE: Duration = Duration::from_millis(250);

/// After trouble with connections the brokers are asked this often whether one is there, for as long at most: a moment
/// beside [`RETRYING_UNREADY`], and nothing to a cluster.
pub const KAFKA_ASK: Duration = Duration::from_secs(1);

/// A thread of its own polls the group, and waits at most [`REVOKE_TIMEOUT`] within a poll. Brokers hold a rebalance for
/// as long as this for members that do not come back: librdkafka's five minutes were seen after a crash of a broker.
pub const KAFKA_POLL_INTERVAL: Duration = Duration::from_secs(60);

/// At the start all brokers are asked who is in the consumer group; one that is away holds the start up this long.
pub const KAFKA_MEMBERS_ASK: Duration = Duration::from_secs(5);

/// One question where assigned partitions go on waits this long: the thread that asks also serves rebalances.
pub const KAFKA_ASSIGN_ASK: Duration = Duration::from_secs(3);

/// One partition of several that wait is asked for alone for at most this long: its offset may be held.
pub const KAFKA_ASSIGN_ASK_ONE: Duration = Duration::from_millis(200);

/// Where the log of an assigned partition begins and ends is asked for at most this long at a time: the same thread serves
/// rebalances, and the partition's leader may be away.
pub const KAFKA_ASSIGN_LOOK: Duration = Duration::from_secs(1);

/// A member of the group whose place was taken joins anew; if that happens again within this time, another worker has
/// the same static id.
pub const KAFKA_TWIN: Duration = Duration::from_secs(60);

/// One look for where all of them go on takes at most this long before it is taken for stuck.
pub const KAFKA_ASSIGN_TURN: Duration = Duration::from_secs(60);

/// How much longer than a transaction may take its end is waited for: brokers look for old ones every ten seconds.
const KAFKA_ASSIGN_SLACK: Duration = Duration::from_secs(60);

/// Where assigned partitions go on is asked for at most this long: a transaction that a dead worker has left open holds
/// the answer back until the broker ends it.
pub const KAFKA_ASSIGN_TIMEOUT: Duration =
    Duration::from_secs(KAFKA_TRANSACTION_TIMEOUT_MAX.as_secs() + KAFKA_ASSIGN_SLACK.as_secs());

/// Bytes that a worker's consumer fetches ahead, over all its partitions.
pub const KAFKA_PREFETCH_BYTES: usize = 64 << 20;

/// Records that it fetches ahead over all its partitions: librdkafka spends about 400 bytes on each beside its data.
pub const KAFKA_PREFETCH_RECORDS: usize = 64_000;

/// Partitions among which the prefetch is divided at least where topics are a pattern: more may come.
pub const KAFKA_PATTERN_PARTITIONS: usize = 64;

/// New topics that match a pattern are looked for this often, in milliseconds: librdkafka's own 5 minutes would keep
/// their first records waiting, and a list of all topics is a small answer.
pub const KAFKA_PATTERN_REFRESH_MS: &str = "10000";

/// Partition's share of the prefetch in bytes, however many there are: one full fetch.
pub const KAFKA_PREFETCH_PARTITION_BYTES_MIN: usize = 1 << 20;

/// Its share in records.
pub const KAFKA_PREFETCH_PARTITION_RECORDS_MIN: usize = 1_000;

/// Records taken from librdkafka at once: few enough that a change of record size cannot pile up memory.
pub const KAFKA_PULL_RECORDS: usize = 1_024;

/// A reader without records looks up this often even if nothing woke it: twice a second a lane costs nothing.
pub const KAFKA_IDLE: Duration = Duration::from_millis(500);

/// The same under `--until-end`, where the last record may be a control record, for which nothing wakes it.
pub const KAFKA_END_LOOK: Duration = Duration::from_millis(5);

/// A batch has room for so many bytes, however little an epoch may hold.
pub const KAFKA_BATCH_BYTES_MIN: usize = 1 << 10;

/// A seek waits this long for the fetcher.
pub const KAFKA_SEEK_TIMEOUT: Duration = Duration::from_secs(10);

/// A commit waits this long for the group's coordinator, then is tried again: whoever commits has other things to do.
pub const KAFKA_COMMIT_WAIT: Duration = Duration::from_secs(2);

/// Whoever reads a topic to its end gives up when nothing has come for this long.
pub const KAFKA_READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Topics that a sink writes to at most where their names come from values and nobody gives a bound: each costs every
/// lane a few kB, and brokers an index and two files a partition.
pub const SINK_TOPICS: usize = 100;

/// A topic that was not there is asked for again after this long when a value names it again.
pub const KAFKA_TOPIC_AGAIN: Duration = Duration::from_secs(10);

/// So many names of topics that cannot be written are remembered: values are anybody's.
pub const KAFKA_TOPICS_REFUSED: usize = 1_000;

/// A Kafka sink blocks for at most this long in one call, then hands the wait back to the runtime.
pub const KAFKA_BLOCK: Duration = Duration::from_secs(1);

/// A new producer asks for its topic this often, and waits this long for each answer: for a second, all in all.
pub const KAFKA_CONNECT_ASKS: usize = 50;
/// It asks so many times more after the first answer.
pub const KAFKA_CONNECT_AGAIN: usize = 10;
/// See [`KAFKA_CONNECT_ASKS`].
pub const KAFKA_CONNECT_ASK: Duration = Duration::from_millis(20);

/// At the end of an epoch a producer is told for so many milliseconds not to wait for more records (`linger.ms`).
pub const KAFKA_SEND_NOW: usize = 5;

/// Records that a worker's producer holds.
pub const KAFKA_QUEUE_RECORDS: usize = 200_000;

/// Bytes that a worker's producer holds.
pub const KAFKA_QUEUE_BYTES: usize = 64 << 20;

/// A transaction may take at least this long: it holds back readers of what is committed when a worker dies, and is
/// given up by the broker when a commit hangs.
pub const KAFKA_TRANSACTION_TIMEOUT_MIN: Duration = Duration::from_secs(10);

/// And at most this long: the usual `transaction.max.timeout.ms` of brokers.
pub const KAFKA_TRANSACTION_TIMEOUT_MAX: Duration = Duration::from_secs(900);

/// A time-out that was raised is lowered when so many transactions in a row have taken less than a quarter of the usual
/// one: some seconds at least, so that it does not go up and down.
pub const KAFKA_TRANSACTIONS_QUICK: u32 = 64;

/// The longest time between two commits of transactions: three of them fit into the longest transaction.
pub const KAFKA_TRANSACTION_INTERVAL_MAX: Duration = Duration::from_secs(300);

/// A worker that ends aborts its open transaction within this, or leaves it to its time-out.
pub const KAFKA_ABORT_WAIT: Duration = Duration::from_secs(2);

/// How much longer than a transaction may take its client is waited for when it is given positions: librdkafka stops
/// by itself before that, where it stops at all.
pub const KAFKA_OFFSETS_SLACK: Duration = Duration::from_secs(2);

/// Where the admin server listens if nobody says where: this machine only, on the port that OpenTelemetry's exporters
/// for Prometheus use.
pub const ADMIN_ADDRESS: &str = "127.0.0.1:9464";
/// Connections that the admin server serves at once: a few probes and scrapers, each for a moment.
pub const ADMIN_CONNECTIONS_MAX: usize = 64;
/// One connection carries one request, and has this long for all of it: a client that dribbles holds its place no
/// longer. Prometheus gives up after 10 s by default.
pub const ADMIN_TIME: Duration = Duration::from_secs(10);
/// Metrics are rendered at most this often, however many ask: a flood of scrapes costs less than a percent of a core.
pub const ADMIN_RENDER_AGE: Duration = Duration::from_millis(100);
/// The progress of nodes and partitions is looked at this often; probes read what the last look saw.
pub const HEALTH_LOOK: Duration = Duration::from_secs(1);
/// A node or a partition that has work and has not moved for this long makes the worker unready.
pub const STUCK_AFTER: Duration = Duration::from_secs(30);
/// So many times as long without moving, and a restart is the only thing left to try.
pub const HOPELESS_FACTOR: u32 = 4;
/// A sink or source that has been tried again for this long makes the worker unready: below it is a hiccup.
pub const RETRYING_UNREADY: Duration = Duration::from_secs(5);
/// Partitions that a probe's answer lists: those with trouble first.
pub const HEALTH_PARTITIONS_MAX: usize = 100;
/// Bounds of histograms of rows: powers of two around the default batch.
pub const HISTOGRAM_ROWS: &[u64] =
    &[1, 8, 64, 256, 1_024, 2_048, 4_096, 8_192, 16_384, 65_536, 262_144, 1_048_576];
/// Bounds of histograms of times in nanoseconds: from a call on a few rows (10 us) to a broker that is away (10 s).
pub const HISTOGRAM_NANOS: &[u64] = &[
    10_000,
    50_000,
    100_000,
    500_000,
    1_000_000,
    5_000_000,
    10_000_000,
    50_000_000,
    100_000_000,
    500_000_000,
    1_000_000_000,
    5_000_000_000,
    10_000_000_000,
];
/// Characters below which a secret is not looked for in what is printed: it would be found in every other word.
pub const SECRET_CHARS_MIN: usize = 4;
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
