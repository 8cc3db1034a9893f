//! What the engine counts: one enum of names, and counters that the end summary reads and any `metrics` recorder
//! that the embedding program has installed receives.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{Key, Label, Level, Metadata};

macro_rules! names {
    ($($name:ident $text:literal $help:literal)*) => {
        /// Every metric.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Name { $(#[doc = $help] $name),* }

        impl Name {
            /// Every name, in order.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// `pipe_edge_sent_rows_total`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }

            /// What it counts.
            pub fn help(self) -> &'static str {
                match self { $(Self::$name => $help),* }
            }
        }
    };
}

names! {
    SourceRead "pipe_source_read_records_total" "Records that a source read."
    SourceReadBytes "pipe_source_read_bytes_total" "Bytes of keys, values and headers that a source read."
    SourceDecoded "pipe_source_decoded_records_total" "Records that became rows."
    SourceDeadLettered "pipe_source_dead_lettered_records_total" "Records that could not be decoded and went to the dead letters."
    SourceSkipped "pipe_source_skipped_records_total" "Records that could not be decoded and were left out (`on_failure: skip`)."
    EdgeSentRows "pipe_edge_sent_rows_total" "Rows sent over an edge."
    EdgeSentBatches "pipe_edge_sent_batches_total" "Batches sent over an edge."
    EdgeSentBytes "pipe_edge_sent_bytes_total" "Bytes sent over an edge, originals included."
    EdgeReceivedRows "pipe_edge_received_rows_total" "Rows received over an edge."
    EdgeDroppedRows "pipe_edge_dropped_rows_total" "Rows of an older generation that were dropped after a rewind; they come again."
    EdgeBlockedNanos "pipe_edge_blocked_nanoseconds_total" "Time a sender waited for room."
    StageIn "pipe_stage_in_rows_total" "Rows that entered a stage."
    StageReached "pipe_stage_reached_rows_total" "Input rows that reached at least one port."
    StageFiltered "pipe_stage_filtered_rows_total" "Input rows that reached no port by the stage's decision."
    StageRejected "pipe_stage_rejected_rows_total" "Input rows that the stage refused."
    StageFailed "pipe_stage_failed_rows_total" "Input rows that failed (error, trap, deadline, memory, invalid output)."
    StageDeadLettered "pipe_stage_dead_lettered_rows_total" "Rejected or failed rows that went to the dead letters."
    StageSkipped "pipe_stage_skipped_rows_total" "Rejected or failed rows that were left out (`on_failure: skip`)."
    StageOut "pipe_stage_out_rows_total" "Rows that left a stage over all its ports."
    StageCalls "pipe_stage_calls_total" "Calls of `process`."
    StageFailedCalls "pipe_stage_failed_calls_total" "Calls of `process` that failed as a whole."
    StageInstances "pipe_stage_instances_total" "Instances made."
    StageCopyInNanos "pipe_stage_copy_in_nanoseconds_total" "Time spent lowering columns into the sandbox."
    StageGuestNanos "pipe_stage_guest_nanoseconds_total" "Time spent in the guest."
    StageCopyOutNanos "pipe_stage_copy_out_nanoseconds_total" "Time spent lifting results."
    StageValidateNanos "pipe_stage_validate_nanoseconds_total" "Time spent validating results and selecting passed columns."
    StageMemoryPeak "pipe_stage_memory_peak_bytes" "Largest memory of an instance so far."
    SinkReceived "pipe_sink_received_rows_total" "Rows that a sink took."
    SinkWritten "pipe_sink_written_rows_total" "Rows that a sink made durable."
    SinkWrittenBytes "pipe_sink_written_bytes_total" "Bytes that a sink made durable."
    SinkDeadLettered "pipe_sink_dead_lettered_rows_total" "Rows that were refused for good and went to the dead letters."
    SinkSkipped "pipe_sink_skipped_rows_total" "Rows that were refused for good and left out (`on_failure: skip`)."
    SinkRetries "pipe_sink_retries_total" "Pauses because a sink failed for a passing reason."
    DeadLettersReceived "pipe_dead_letters_received_total" "Failed rows that reached the dead-letter writer."
    DeadLettersWritten "pipe_dead_letters_written_total" "Dead letters made durable."
    Commits "pipe_commits_total" "Epochs committed."
    CommitFailures "pipe_commit_failures_total" "Commits that failed and were tried again."
    Rewinds "pipe_rewinds_total" "Rewinds to what is committed."
    TraceInvalidHeaders "pipe_trace_invalid_headers_total" "Records whose `traceparent` is none; it was taken as absent."
    TraceDroppedSpans "pipe_trace_dropped_spans_total" "Spans that were not made or not delivered: over a limit, or the collector is away, slow or refuses."
}

/// A number that only grows (or, for a peak, is raised). Cheap: one relaxed atomic a batch.
pub struct Counter {
    value: AtomicU64,
    exported: Exported,
}

enum Exported {
    Counter(metrics::Counter),
    Gauge(metrics::Gauge),
}

impl Counter {
    fn new(name: Name, labels: &[(&'static str, String)]) -> Self {
        static METADATA: Metadata<'static> = Metadata::new("pipe", Level::INFO, None);
        let labels: Vec<Label> = labels.iter().map(|(k, v)| Label::new(*k, v.clone())).collect();
        let key = Key::from_parts(name.as_str(), labels);
        let exported = metrics::with_recorder(|recorder| {
            if name.as_str().ends_with("_total") {
                Exported::Counter(recorder.register_counter(&key, &METADATA))
            } else {
                Exported::Gauge(recorder.register_gauge(&key, &METADATA))
            }
        });
        Self { value: AtomicU64::new(0), exported }
    }

    /// Adds.
    pub fn add(&self, n: u64) {
        self.value.fetch_add(n, Ordering::Relaxed);
        if let Exported::Counter(counter) = &self.exported {
            counter.increment(n);
        }
    }

    /// Raises a peak.
    pub fn raise(&self, to: u64) {
        let before = self.value.fetch_max(to, Ordering::Relaxed);
        if let (Exported::Gauge(gauge), true) = (&self.exported, to > before) {
            gauge.set(to as f64);
        }
    }

    /// The value.
    pub fn get(&self) -> u64 {
        self.value.load(Ordering::Relaxed)
    }
}

macro_rules! group {
    ($(#[$doc:meta])* $group:ident { $($field:ident $name:ident),* $(,)? }) => {
        $(#[$doc])*
        pub struct $group {
            $(#[doc = concat!("[`Name::", stringify!($name), "`]")] pub $field: Counter),*
        }

        impl $group {
            fn new(labels: &[(&'static str, String)]) -> Arc<Self> {
                Arc::new(Self { $($field: Counter::new(Name::$name, labels)),* })
            }
        }
    };
}

group! {
    /// Counters of a source, over its lanes. read = decoded + dead-lettered + skipped.
    Source { read SourceRead, bytes SourceReadBytes, decoded SourceDecoded, dead_lettered SourceDeadLettered, skipped SourceSkipped }
}
group! {
    /// Counters of an edge, over its lanes. sent = received + dropped.
    Edge {
        sent EdgeSentRows, batches EdgeSentBatches, bytes EdgeSentBytes, received EdgeReceivedRows,
        dropped EdgeDroppedRows, blocked_ns EdgeBlockedNanos,
    }
}
group! {
    /// Counters of a stage, over its lanes. in = reached + filtered + rejected + failed.
    Stage {
        rows_in StageIn, reached StageReached, filtered StageFiltered, rejected StageRejected, failed StageFailed,
        dead_lettered StageDeadLettered, skipped StageSkipped, rows_out StageOut, calls StageCalls,
        failed_calls StageFailedCalls, instances StageInstances, copy_in_ns StageCopyInNanos,
        guest_ns StageGuestNanos, copy_out_ns StageCopyOutNanos, validate_ns StageValidateNanos,
        memory_peak StageMemoryPeak,
    }
}
group! {
    /// Counters of a sink, over its lanes. received = written + dead-lettered + skipped.
    Sink {
        received SinkReceived, written SinkWritten, bytes SinkWrittenBytes, dead_lettered SinkDeadLettered,
        skipped SinkSkipped, retries SinkRetries,
    }
}
group! {
    /// Counters of the worker.
    Worker {
        dead_letters_received DeadLettersReceived, dead_letters_written DeadLettersWritten, commits Commits,
        commit_failures CommitFailures, rewinds Rewinds, trace_invalid_headers TraceInvalidHeaders,
        trace_dropped_spans TraceDroppedSpans,
    }
}

/// Makes the counters of a pipeline's nodes.
pub struct Meter {
    pipeline: String,
}

impl Meter {
    /// For a pipeline.
    pub fn new(pipeline: &str) -> Self {
        Self { pipeline: pipeline.to_owned() }
    }

    fn labels(&self, kind: &'static str, name: &str) -> [(&'static str, String); 2] {
        [("pipeline", self.pipeline.clone()), (kind, name.to_owned())]
    }

    /// Counters of a source.
    pub fn source(&self, name: &str) -> Arc<Source> {
        Source::new(&self.labels("source", name))
    }

    /// Counters of an edge, named `from -> to`.
    pub fn edge(&self, name: &str) -> Arc<Edge> {
        Edge::new(&self.labels("edge", name))
    }

    /// Counters of a stage.
    pub fn stage(&self, name: &str) -> Arc<Stage> {
        Stage::new(&self.labels("stage", name))
    }

    /// Counters of a sink.
    pub fn sink(&self, name: &str) -> Arc<Sink> {
        Sink::new(&self.labels("sink", name))
    }

    /// Counters of the worker.
    pub fn worker(&self) -> Arc<Worker> {
        Worker::new(&[("pipeline", self.pipeline.clone())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_well_formed() {
        let mut names: Vec<&str> = Name::ALL.iter().map(|n| n.as_str()).collect();
        assert!(
            names
                .iter()
                .all(|n| n.starts_with("pipe_") && n.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
        );
        assert!(Name::ALL.iter().all(|n| n.help().ends_with('.')));
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn a_counter_adds_and_a_peak_is_raised() {
        let meter = Meter::new("p");
        let stage = meter.stage("s");
        stage.rows_in.add(3);
        stage.rows_in.add(4);
        stage.memory_peak.raise(9);
        stage.memory_peak.raise(5);
        assert_eq!((stage.rows_in.get(), stage.memory_peak.get()), (7, 9));
    }
}
