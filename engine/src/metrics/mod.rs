//! What the engine counts: one enum of names, and numbers that the end summary and whoever scrapes `/metrics` read,
//! and any `metrics` recorder that the embedding program has installed receives.
//!
//! Each number is one atomic, added to once a batch. A scrape reads the atomics: nobody keeps a second copy of them.

mod accepted;
mod names;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use metrics::{Key, Label, Level, Metadata};

pub use accepted::Accepted;
pub use names::{About, Kind, Name, Unit, page};

/// Names and values of a metric's labels.
pub type Labels = Vec<(&'static str, String)>;

/// A number as somebody reads it.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Which.
    pub name: Name,
    /// Of what.
    pub labels: Labels,
    /// How much.
    pub value: Value,
}

/// How much.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A count.
    Whole(u64),
    /// Anything else.
    Real(f64),
    /// A histogram.
    Histogram {
        /// Upper bounds and the number of values up to each, the smaller ones included.
        buckets: Vec<(f64, u64)>,
        /// Sum of all values.
        sum: f64,
        /// Number of all values.
        count: u64,
    },
}

impl Sample {
    /// A number in what the engine counts.
    pub fn new(name: Name, labels: Labels, raw: u64) -> Self {
        debug_assert!(
            labels.iter().map(|(k, _)| k).eq(name.about().labels()),
            "labels of {}: {labels:?}",
            name.as_str()
        );
        let value = match name.unit() {
            Unit::One => Value::Whole(raw),
            unit => Value::Real(unit.show(raw)),
        };
        Self { name, labels, value }
    }
}

static METADATA: Metadata<'static> = Metadata::new("pipe", Level::INFO, None);

fn key(name: Name, labels: &Labels) -> Key {
    let labels: Vec<Label> = labels.iter().map(|(k, v)| Label::new(*k, v.clone())).collect();
    Key::from_parts(name.as_str(), labels)
}

/// What a recorder that the embedding program installed gets. A recorder's counters are whole numbers, so times are
/// gauges there.
fn exported_gauge(name: Name, labels: &Labels) -> metrics::Gauge {
    metrics::with_recorder(|recorder| recorder.register_gauge(&key(name, labels), &METADATA))
}

/// One kind of number.
trait Number {
    fn new(name: Name, labels: &Labels) -> Self;
    fn sample(&self, labels: &Labels) -> Sample;
}

/// A number that only grows. Cheap: one relaxed atomic a batch.
pub struct Counter {
    name: Name,
    value: AtomicU64,
    exported: Exported,
}

enum Exported {
    Whole(metrics::Counter),
    Time(metrics::Gauge),
}

impl Counter {
    /// Adds.
    pub fn add(&self, n: u64) {
        self.value.fetch_add(n, Ordering::Relaxed);
        match &self.exported {
            Exported::Whole(counter) => counter.increment(n),
            Exported::Time(gauge) => gauge.increment(self.name.unit().show(n)),
        }
    }

    /// The value.
    pub fn get(&self) -> u64 {
        self.value.load(Ordering::Relaxed)
    }
}

impl Number for Counter {
    fn new(name: Name, labels: &Labels) -> Self {
        let exported = match name.unit() {
            Unit::One => Exported::Whole(metrics::with_recorder(|recorder| {
                recorder.register_counter(&key(name, labels), &METADATA)
            })),
            _ => Exported::Time(exported_gauge(name, labels)),
        };
        Self { name, value: AtomicU64::new(0), exported }
    }

    fn sample(&self, labels: &Labels) -> Sample {
        Sample::new(self.name, labels.clone(), self.get())
    }
}

/// A number that goes up and down.
pub struct Gauge {
    name: Name,
    value: AtomicU64,
    exported: metrics::Gauge,
}

impl Gauge {
    /// Sets it.
    pub fn set(&self, to: u64) {
        self.value.store(to, Ordering::Relaxed);
        self.exported.set(self.name.unit().show(to));
    }

    /// Raises a peak.
    pub fn raise(&self, to: u64) {
        if to > self.value.fetch_max(to, Ordering::Relaxed) {
            self.exported.set(self.name.unit().show(to));
        }
    }

    /// More.
    pub fn add(&self, n: u64) {
        self.value.fetch_add(n, Ordering::Relaxed);
        self.exported.increment(self.name.unit().show(n));
    }

    /// Less.
    pub fn sub(&self, n: u64) {
        self.value.fetch_sub(n, Ordering::Relaxed);
        self.exported.decrement(self.name.unit().show(n));
    }

    /// One more or one less.
    pub fn step(&self, up: bool) {
        if up { self.add(1) } else { self.sub(1) }
    }

    /// The value.
    pub fn get(&self) -> u64 {
        self.value.load(Ordering::Relaxed)
    }
}

impl Number for Gauge {
    fn new(name: Name, labels: &Labels) -> Self {
        Self { name, value: AtomicU64::new(0), exported: exported_gauge(name, labels) }
    }

    fn sample(&self, labels: &Labels) -> Sample {
        // Two threads add and subtract: for a moment what was taken may be ahead of what was put.
        Sample::new(self.name, labels.clone(), u64::try_from(self.get() as i64).unwrap_or(0))
    }
}

/// How often a value lay below each of the name's bounds.
pub struct Histogram {
    name: Name,
    /// One for each bound, and one for what is above all of them.
    buckets: Box<[AtomicU64]>,
    sum: AtomicU64,
    exported: metrics::Histogram,
}

impl Histogram {
    /// Counts a value.
    pub fn record(&self, raw: u64) {
        let at = self.name.bounds().partition_point(|bound| *bound < raw);
        self.buckets[at].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(raw, Ordering::Relaxed);
        self.exported.record(self.name.unit().show(raw));
    }

    /// Number of values.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }
}

impl Number for Histogram {
    fn new(name: Name, labels: &Labels) -> Self {
        let exported = metrics::with_recorder(|r| r.register_histogram(&key(name, labels), &METADATA));
        let buckets = (0..=name.bounds().len()).map(|_| AtomicU64::new(0)).collect();
        Self { name, buckets, sum: AtomicU64::new(0), exported }
    }

    fn sample(&self, labels: &Labels) -> Sample {
        let unit = self.name.unit();
        let sum = unit.show(self.sum.load(Ordering::Relaxed));
        let mut count = 0;
        let mut upto = self.buckets.iter().map(|bucket| {
            count += bucket.load(Ordering::Relaxed);
            count
        });
        let bounds = self.name.bounds().iter();
        let buckets = bounds.zip(&mut upto).map(|(bound, n)| (unit.show(*bound), n)).collect();
        upto.for_each(drop);
        let value = Value::Histogram { buckets, sum, count };
        Sample { name: self.name, labels: labels.clone(), value }
    }
}

macro_rules! group {
    ($(#[$doc:meta])* $group:ident { $($kind:ident { $($field:ident $name:ident),* $(,)? })* }) => {
        $(#[$doc])*
        pub struct $group {
            labels: Labels,
            $($(#[doc = concat!("[`Name::", stringify!($name), "`]")] pub $field: $kind),*),*
        }

        impl $group {
            fn new(labels: Labels) -> Arc<Self> {
                Arc::new(Self { $($($field: $kind::new(Name::$name, &labels)),*),*, labels })
            }

            /// Adds what it holds to what is read.
            pub fn collect(&self, samples: &mut Vec<Sample>) {
                samples.extend([$($(self.$field.sample(&self.labels)),*),*]);
            }
        }
    };
}

group! {
    /// Numbers of a source, over its lanes. read = decoded + dead-lettered + skipped.
    Source {
        Counter {
            read SourceRead, bytes SourceReadBytes, decoded SourceDecoded, dead_lettered SourceDeadLettered,
            skipped SourceSkipped, retries SourceRetries, memory_wait_ns SourceMemoryWait,
            unknown_fields SourceUnknownFields,
        }
        Gauge { event_time_ms SourceEventTime, in_flight SourceInFlight, undeclared_fields SourceUndeclaredFields }
        Histogram { batch_rows SourceBatchRows }
    }
}
group! {
    /// Numbers of an edge, over its lanes. sent = received + dropped.
    Edge {
        Counter {
            sent EdgeSentRows, batches EdgeSentBatches, bytes EdgeSentBytes, received EdgeReceivedRows,
            dropped EdgeDroppedRows, blocked_ns EdgeBlocked,
        }
        Gauge { queued_batches EdgeQueuedBatches, queued_bytes EdgeQueuedBytes }
        Histogram { batch_rows EdgeBatchRows }
    }
}
group! {
    /// Numbers of a stage, over its lanes. in = reached + filtered + rejected + failed.
    Stage {
        Counter {
            rows_in StageIn, reached StageReached, filtered StageFiltered, rejected StageRejected,
            failed StageFailed, dead_lettered StageDeadLettered, skipped StageSkipped, rows_out StageOut,
            calls StageCalls, failed_calls StageFailedCalls, instances StageInstances, copy_in_ns StageCopyIn,
            guest_ns StageGuest, copy_out_ns StageCopyOut, validate_ns StageValidate,
            log_suppressed StageLogSuppressed,
        }
        Gauge {
            memory_peak StageMemoryPeak, memory_limit StageMemoryLimit, breaker_open StageBreakerOpen,
        }
        Histogram { call_ns StageCallTime }
    }
}
group! {
    /// Numbers of a sink, over its lanes. received = written + dead-lettered + skipped.
    Sink {
        Counter {
            received SinkReceived, written SinkWritten, bytes SinkWrittenBytes, dead_lettered SinkDeadLettered,
            skipped SinkSkipped, retries SinkRetries,
        }
        Gauge { pending SinkPending }
        Histogram { write_ns SinkWriteTime, prepare_ns SinkPrepareTime }
    }
}
group! {
    /// Numbers of the worker.
    Worker {
        Counter {
            dead_letters_received DeadLettersReceived, dead_letters_written DeadLettersWritten, commits Commits,
            commit_failures CommitFailures, rewinds Rewinds, trace_invalid_headers TraceInvalidHeaders,
            trace_dropped_spans TraceDroppedSpans,
        }
        Gauge { last_commit_ms LastCommit, epochs_in_flight EpochsInFlight }
        Histogram { commit_ns CommitTime }
    }
}

/// Dead letters by node and kind of failure: a lock, taken once an epoch.
pub struct Letters {
    pipeline: String,
    counts: Mutex<BTreeMap<(Arc<str>, &'static str), Counter>>,
}

impl Letters {
    /// Counts some. Kinds are few and fixed, and nodes are those of the pipeline.
    pub fn add(&self, node: &Arc<str>, kind: &'static str, n: u64) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let counter = counts
            .entry((Arc::clone(node), kind))
            .or_insert_with(|| Counter::new(Name::NodeDeadLetters, &self.labels(node, kind)));
        counter.add(n);
    }

    fn labels(&self, node: &str, kind: &str) -> Labels {
        vec![("pipeline", self.pipeline.clone()), ("node", node.to_owned()), ("kind", kind.to_owned())]
    }

    /// Adds what it holds to what is read.
    pub fn collect(&self, samples: &mut Vec<Sample>) {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        samples.extend(counts.iter().map(|((node, kind), n)| n.sample(&self.labels(node, kind))));
    }
}

/// Makes the numbers of a pipeline's nodes.
pub struct Meter {
    pipeline: String,
}

impl Meter {
    /// For a pipeline.
    pub fn new(pipeline: &str) -> Self {
        Self { pipeline: pipeline.to_owned() }
    }

    fn labels(&self, kind: &'static str, name: &str) -> Labels {
        vec![("pipeline", self.pipeline.clone()), (kind, name.to_owned())]
    }

    /// Numbers of a source.
    pub fn source(&self, name: &str) -> Arc<Source> {
        Source::new(self.labels("source", name))
    }

    /// Numbers of an edge, named `from -> to`.
    pub fn edge(&self, name: &str) -> Arc<Edge> {
        Edge::new(self.labels("edge", name))
    }

    /// Numbers of a stage.
    pub fn stage(&self, name: &str) -> Arc<Stage> {
        Stage::new(self.labels("stage", name))
    }

    /// Numbers of a sink.
    pub fn sink(&self, name: &str) -> Arc<Sink> {
        Sink::new(self.labels("sink", name))
    }

    /// Numbers of the worker.
    pub fn worker(&self) -> Arc<Worker> {
        Worker::new(vec![("pipeline", self.pipeline.clone())])
    }

    /// Dead letters by their causes.
    pub fn letters(&self) -> Arc<Letters> {
        Arc::new(Letters { pipeline: self.pipeline.clone(), counts: Mutex::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(samples: &[Sample], name: Name) -> &Sample {
        samples.iter().find(|s| s.name == name).unwrap()
    }

    #[test]
    fn a_counter_adds_and_a_peak_is_raised() {
        let meter = Meter::new("p");
        let stage = meter.stage("s");
        stage.rows_in.add(3);
        stage.rows_in.add(4);
        stage.memory_peak.raise(9);
        stage.memory_peak.raise(5);
        stage.guest_ns.add(1_500_000_000);
        assert_eq!((stage.rows_in.get(), stage.memory_peak.get()), (7, 9));
        let mut samples = Vec::new();
        stage.collect(&mut samples);
        assert_eq!(sample(&samples, Name::StageIn).value, Value::Whole(7));
        assert_eq!(sample(&samples, Name::StageGuest).value, Value::Real(1.5), "seconds, not nanoseconds");
        let labels = vec![("pipeline", "p".to_owned()), ("stage", "s".to_owned())];
        assert!(samples.iter().all(|s| s.labels == labels));
    }

    #[test]
    fn a_histogram_counts_up_to_each_bound() {
        let source = Meter::new("p").source("s");
        for rows in [1, 8_192, 8_192, u64::MAX >> 32] {
            source.batch_rows.record(rows);
        }
        let mut samples = Vec::new();
        source.collect(&mut samples);
        let Value::Histogram { buckets, sum, count } = &sample(&samples, Name::SourceBatchRows).value else {
            panic!("{samples:?}");
        };
        assert_eq!((*count, source.batch_rows.count()), (4, 4));
        assert_eq!(*sum, (1 + 2 * 8_192 + (u64::MAX >> 32)) as f64);
        let upto = |bound: f64| buckets.iter().find(|(b, _)| *b == bound).unwrap().1;
        assert_eq!((upto(1.0), upto(4_096.0), upto(8_192.0)), (1, 1, 3), "a bound is in its bucket");
        assert_eq!(buckets.last().unwrap().1, 3, "one is above all bounds");
    }

    #[test]
    fn a_recorder_of_the_embedding_program_gets_the_numbers() {
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            let stage = Meter::new("p").stage("s");
            stage.rows_in.add(3);
            stage.guest_ns.add(500_000_000);
            stage.memory_peak.raise(9);
        });
        let text = handle.render();
        for line in [
            r#"pipe_stage_in_rows_total{pipeline="p",stage="s"} 3"#,
            r#"pipe_stage_guest_seconds_total{pipeline="p",stage="s"} 0.5"#,
            r#"pipe_stage_memory_peak_bytes{pipeline="p",stage="s"} 9"#,
        ] {
            assert!(text.contains(line), "{line} is not in:\n{text}");
        }
    }

    #[test]
    fn dead_letters_are_counted_by_node_and_kind() {
        let letters = Meter::new("p").letters();
        letters.add(&"a".into(), "trap", 2);
        letters.add(&"a".into(), "decode", 1);
        letters.add(&"a".into(), "trap", 1);
        let mut samples = Vec::new();
        letters.collect(&mut samples);
        let counts: Vec<_> = samples.iter().map(|s| (s.labels[2].1.as_str(), s.value.clone())).collect();
        assert_eq!(counts, [("decode", Value::Whole(1)), ("trap", Value::Whole(3))]);
    }
}
