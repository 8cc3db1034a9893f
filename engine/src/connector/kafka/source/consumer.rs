//! One consumer for all sources of a worker that read from one cluster.
//!
//! [`Consumers`] is made before the first source is opened, as it must be known who takes part: the last one of a
//! cluster to be opened makes the consumer and subscribes to the topics of all.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};

use super::group::Group;
use super::protocol::Protocol;
use super::shared::Shared;
use crate::clock::{Clock, SystemClock};
use crate::connector::kafka::client::{self, Cluster, Voice};
use crate::connector::source::Runtime;
use crate::error::{Code, Error, Result};
use crate::quantity::Size;
use crate::sync::lock;
use crate::units::{
    KAFKA_FETCH_PARTITION_BYTES, KAFKA_FETCH_PARTITION_BYTES_MIN, KAFKA_PATTERN_PARTITIONS,
    KAFKA_PATTERN_REFRESH_MS, KAFKA_POLL_INTERVAL, KAFKA_PREFETCH_BYTES, KAFKA_PREFETCH_PARTITION_BYTES_MIN,
    KAFKA_PREFETCH_PARTITION_RECORDS_MIN, KAFKA_PREFETCH_RECORDS, KAFKA_RECORD_BYTES, KAFKA_TWIN,
};

/// The consumers of a worker, one a cluster.
#[derive(Default)]
pub struct Consumers {
    all: Vec<Arc<Client>>,
}

impl Consumers {
    /// Those of the sources that read from these clusters, each named once for each source; `memory` is what one may
    /// take for what it has fetched ahead, in bytes. The error names the properties on which the sources of one cluster
    /// do not agree.
    pub fn new<'a>(
        pipeline: &str,
        clusters: impl IntoIterator<Item = &'a Cluster>,
        memory: Option<u64>,
    ) -> Result<Self, Vec<String>> {
        let mut by_brokers: Vec<Vec<&Cluster>> = Vec::new();
        for cluster in clusters {
            match by_brokers.iter_mut().find(|known| known[0].brokers() == cluster.brokers()) {
                Some(known) => known.push(cluster),
                None => by_brokers.push(vec![cluster]),
            }
        }
        let mut all = Vec::new();
        for clusters in by_brokers {
            let expected = clusters.len();
            if let Some(cluster) = Cluster::merge(clusters)? {
                all.push(Arc::new(Client::new(pipeline, cluster, expected, memory)));
            }
        }
        Ok(Self { all })
    }

    /// The one of a cluster; one of its own where a source is opened alone.
    pub(super) fn of(&self, pipeline: &str, cluster: &Cluster) -> Arc<Client> {
        let known = self.all.iter().find(|client| client.cluster.brokers() == cluster.brokers());
        known.map_or_else(|| Arc::new(Client::new(pipeline, cluster.clone(), 1, None)), Arc::clone)
    }
}

/// The consumer of one cluster.
pub(super) struct Client {
    pipeline: String,
    cluster: Cluster,
    /// Sources that it will read for.
    expected: usize,
    memory: Option<u64>,
    state: Mutex<State>,
    clock: SystemClock,
}

/// What is fetched ahead of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ahead {
    /// Bytes; while there are fewer, and fewer records than these, the next ones are fetched.
    bytes: u64,
    records: u64,
    /// Bytes that a fetch brings, beyond them.
    fetch: u64,
}

/// Of a consumer's memory so many eighths are what a fetch may add, queued bytes, and queued records of
/// [`AHEAD_RECORD_BYTES`] with their objects. Large records are bounded by their bytes and small ones by their number, so
/// that the eighths of both may overlap: a test goes through the sizes.
const AHEAD: [u64; 3] = [1, 4, 3];
/// Smaller records than this take more than their share, by their objects in what a fetch adds.
const AHEAD_RECORD_BYTES: u64 = 128;

impl Ahead {
    /// Where nobody gave a number.
    fn usual(partitions: u64) -> Self {
        Self {
            bytes: (KAFKA_PREFETCH_BYTES as u64 / partitions).max(KAFKA_PREFETCH_PARTITION_BYTES_MIN as u64),
            records: (KAFKA_PREFETCH_RECORDS as u64 / partitions)
                .max(KAFKA_PREFETCH_PARTITION_RECORDS_MIN as u64),
            fetch: KAFKA_FETCH_PARTITION_BYTES,
        }
    }

    /// Within this much memory of all partitions together.
    fn within(memory: u64, partitions: u64) -> Self {
        let [fetch, bytes, records] = AHEAD.map(|eighths| memory / 8 * eighths / partitions);
        let records = records / (AHEAD_RECORD_BYTES + KAFKA_RECORD_BYTES as u64);
        let least = KAFKA_FETCH_PARTITION_BYTES_MIN;
        Self {
            bytes: bytes.max(least),
            records: records.max(1),
            fetch: fetch.clamp(least, KAFKA_FETCH_PARTITION_BYTES),
        }
    }
}

#[derive(Default)]
struct State {
    sources: Vec<Arc<Shared>>,
    /// Sources that were closed.
    closed: usize,
    /// When another consumer took the place of one.
    renewed: Option<Duration>,
    /// Made when the last source has come, dropped when the last one has gone: that leaves the group.
    consumer: Option<Arc<BaseConsumer<Group>>>,
}

impl Client {
    fn new(pipeline: &str, cluster: Cluster, expected: usize, memory: Option<u64>) -> Self {
        Self {
            pipeline: pipeline.to_owned(),
            cluster,
            expected,
            memory,
            state: Mutex::default(),
            clock: SystemClock::default(),
        }
    }

    /// A source comes; the last one makes the consumer. Returns whether it is the first one, which is to poll.
    pub(super) fn join(&self, source: &Arc<Shared>, runtime: &Arc<dyn Runtime>) -> Result<bool> {
        let mut state = lock(&self.state);
        state.sources.push(Arc::clone(source));
        if state.sources.len() == self.expected {
            state.consumer = Some(self.make(&state.sources, runtime)?);
        }
        Ok(state.sources.len() == 1)
    }

    fn make(&self, sources: &[Arc<Shared>], runtime: &Arc<dyn Runtime>) -> Result<Arc<BaseConsumer<Group>>> {
        let names: Vec<&str> = sources.iter().map(|source| &*source.name).collect();
        let group = Group {
            voice: Voice::new(&names.join(", ")),
            sources: sources.to_vec(),
            member: Mutex::default(),
            instance: self.cluster.text("group.instance.id").map(str::to_owned),
            runtime: Arc::clone(runtime),
            closing: AtomicBool::new(false),
            clock: SystemClock::default(),
            unsettled: Mutex::default(),
            is_another: AtomicBool::new(false),
            retired: AtomicBool::new(false),
        };
        let fail = |e| client::error(Code::S001, "the consumer cannot be made", &e);
        let consumer: BaseConsumer<Group> = self.config(sources).create_with_context(group).map_err(fail)?;
        let consumer = Arc::new(consumer);
        for source in sources {
            *lock(&source.consumer) = Arc::downgrade(&consumer);
        }
        let topics: Vec<&str> =
            sources.iter().flat_map(|source| source.topics.given()).map(String::as_str).collect();
        consumer.subscribe(&topics).map_err(fail)?;
        Ok(consumer)
    }

    /// Another consumer takes the place of this one, which the group knows no longer: what it had is lost. Once that may
    /// be for a request of its own that was held up on its way; if it happens again soon, `why` is the answer, for then
    /// another worker does the same.
    pub(super) fn renew(&self, why: Error) -> Result<()> {
        let mut state = lock(&self.state);
        let now = self.clock.now();
        if state.renewed.is_some_and(|at| now.saturating_sub(at) < KAFKA_TWIN) {
            return Err(why);
        }
        let Some(old) = state.consumer.take() else { return Ok(()) };
        state.renewed = Some(now);
        drop(state);
        tracing::warn!(node = old.context().voice.node, "{why}: joining the group anew");
        let runtime = Arc::clone(&old.context().runtime);
        old.context().lose(&old);
        drop(old);
        let mut state = lock(&self.state);
        // Closed meanwhile.
        if state.closed < self.expected {
            state.consumer = Some(self.make(&state.sources, &runtime)?);
        }
        Ok(())
    }

    /// Shows the consumer, if there is one. Held, not cloned: whoever closes drops the last reference.
    pub(super) fn with<T>(&self, show: impl FnOnce(&BaseConsumer<Group>) -> T) -> Option<T> {
        lock(&self.state).consumer.as_deref().map(show)
    }

    /// A source goes; the last one leaves the group.
    pub(super) fn leave(&self) {
        let mut state = lock(&self.state);
        if let Some(consumer) = &state.consumer {
            consumer.context().closing.store(true, Ordering::SeqCst);
        }
        state.closed += 1;
        let last = if state.closed >= self.expected { state.consumer.take() } else { None };
        drop(state);
        // The last one: dropping it leaves the group.
        drop(last);
    }

    /// The consumer's configuration. Split queues count their bounds per partition, so one budget is divided.
    fn config(&self, sources: &[Arc<Shared>]) -> rdkafka::ClientConfig {
        let known = sources.iter().flat_map(|source| source.known.values());
        let partitions: usize = known.filter_map(|count| usize::try_from(*count).ok()).sum();
        let patterns = sources.iter().any(|source| source.topics.has_patterns());
        let partitions = partitions.max(if patterns { KAFKA_PATTERN_PARTITIONS } else { 1 });
        let Ahead { bytes, records, fetch } = match self.memory {
            Some(memory) => Ahead::within(memory, partitions as u64),
            None => Ahead::usual(partitions as u64),
        };
        let least = partitions as u64 * KAFKA_FETCH_PARTITION_BYTES_MIN * 8;
        if self.memory.is_some_and(|memory| memory < least) {
            let least = Size(least);
            tracing::warn!(
                partitions,
                "what is fetched ahead may take {least}, which is above its part of `memory`"
            );
        }
        let (kbytes, records, fetch) = ((bytes / 1024).to_string(), records.to_string(), fetch.to_string());
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
            ("fetch.message.max.bytes", &fetch),
        ];
        // Also how long brokers let a rebalance wait for members that are dead. It must not be below the session's time.
        let session = self.cluster.number("session.timeout.ms").map(Duration::from_millis);
        let poll = KAFKA_POLL_INTERVAL.as_millis().to_string();
        if session.is_none_or(|session| session <= KAFKA_POLL_INTERVAL) {
            defaults.push(("max.poll.interval.ms", &poll));
        }
        defaults.extend(Protocol::of(&self.cluster).defaults());
        if patterns {
            defaults.push(("topic.metadata.refresh.interval.ms", KAFKA_PATTERN_REFRESH_MS));
        }
        if patterns && !sources.iter().any(|source| source.topics.reads_own()) {
            defaults.push(("topic.blacklist", "^__"));
        }
        self.cluster.config(&defaults)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_fetched_ahead_is_divided_among_the_partitions() {
        let usual = Ahead { bytes: 16 << 20, records: 16_000, fetch: 1 << 20 };
        assert_eq!(Ahead::usual(4), usual);
        let (memory, object) = (32 << 20, KAFKA_RECORD_BYTES as u64);
        for (partitions, size) in (1..=100).flat_map(|n| (7..20).map(move |bits| (n, (1 << bits) + n))) {
            let Ahead { bytes, records, fetch } = Ahead::within(memory, partitions);
            // Queued while the last fetch is on its way, and what that brings.
            let queued = (bytes / size).min(records) + fetch / size;
            let most = partitions * queued * (size + object);
            assert!(
                most <= memory,
                "{most} of {memory} for {partitions} partitions of records of {size} bytes"
            );
            let fits = partitions * size * 64 <= memory;
            assert!(
                !fits || most >= memory / 4,
                "{most} of {memory} for {partitions} partitions of records of {size} bytes"
            );
        }
        assert_eq!(Ahead::within(1 << 20, 1_000), Ahead { bytes: 16 << 10, records: 1, fetch: 16 << 10 });
    }
}
