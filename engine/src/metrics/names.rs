//! Every metric: its name, what kind of number it is, what it is labelled with, and what it says. `docs/metrics.md` is
//! written from this.

use crate::units::{HISTOGRAM_NANOS, HISTOGRAM_ROWS};

/// What kind of number a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows, until the worker starts anew.
    Counter,
    /// It goes up and down.
    Gauge,
    /// How often a value lay below each of some bounds.
    Histogram,
}

impl Kind {
    /// As the text format of Prometheus has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// What a metric is about: decides its labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// The worker.
    Worker,
    /// A source, over its lanes.
    Source,
    /// A partition of a source.
    Partition,
    /// An edge, over its lanes.
    Edge,
    /// A stage, over its lanes.
    Stage,
    /// A sink, over its lanes.
    Sink,
    /// A node of any kind, over its lanes.
    Node,
    /// The lanes of a node that do the same.
    Lanes,
    /// A source and what it reads beyond its types' own spellings.
    Leniency,
    /// A node and a kind of failure.
    Failure,
    /// The process.
    Process,
    /// The program.
    Build,
}

impl About {
    /// Names of its labels.
    pub fn labels(self) -> &'static [&'static str] {
        match self {
            Self::Worker => &["pipeline"],
            Self::Source => &["pipeline", "source"],
            Self::Partition => &["pipeline", "source", "topic", "partition"],
            Self::Edge => &["pipeline", "edge"],
            Self::Stage => &["pipeline", "stage"],
            Self::Sink => &["pipeline", "sink"],
            Self::Node => &["pipeline", "node"],
            Self::Lanes => &["pipeline", "node", "state"],
            Self::Leniency => &["pipeline", "source", "accept"],
            Self::Failure => &["pipeline", "node", "kind"],
            Self::Process => &[],
            Self::Build => &["version"],
        }
    }
}

/// What one of the whole numbers that the engine counts in is in the metric's unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// The same.
    One,
    /// Nanoseconds, shown as seconds.
    Nanos,
    /// Milliseconds, shown as seconds.
    Millis,
}

impl Unit {
    /// Shows a whole number.
    pub fn show(self, raw: u64) -> f64 {
        match self {
            Self::One => raw as f64,
            Self::Nanos => raw as f64 / 1e9,
            Self::Millis => raw as f64 / 1e3,
        }
    }
}

macro_rules! names {
    ($($about:ident { $($name:ident $kind:ident $unit:ident $text:literal $help:literal)* })*) => {
        /// Every metric.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Name { $($(#[doc = $help] $name),*),* }

        impl Name {
            /// Every name, in order.
            pub const ALL: &[Self] = &[$($(Self::$name),*),*];

            /// `pipe_edge_sent_rows_total`.
            pub fn as_str(self) -> &'static str {
                match self { $($(Self::$name => $text),*),* }
            }

            /// What it says.
            pub fn help(self) -> &'static str {
                match self { $($(Self::$name => $help),*),* }
            }

            /// What kind of number it is.
            pub fn kind(self) -> Kind {
                match self { $($(Self::$name => Kind::$kind),*),* }
            }

            /// What it is about.
            pub fn about(self) -> About {
                match self { $($(Self::$name => About::$about),*),* }
            }

            /// What the engine counts it in.
            pub fn unit(self) -> Unit {
                match self { $($(Self::$name => Unit::$unit),*),* }
            }
        }
    };
}

names! {
    Worker {
        Ready Gauge One "pipe_ready" "1 while the worker is ready, as `/readyz` says."
        Live Gauge One "pipe_live" "1 while a restart would not help, as `/livez` says."
        Commits Counter One "pipe_commits_total" "Epochs committed."
        CommitFailures Counter One "pipe_commit_failures_total" "Commits that failed and were tried again."
        CommitTime Histogram Nanos "pipe_commit_duration_seconds" "Time of a commit: the group's answer, or the state folder."
        LastCommit Gauge Millis "pipe_last_commit_timestamp_seconds" "When an epoch committed last, in seconds since 1970; 0 before the first."
        EpochsInFlight Gauge One "pipe_epochs_in_flight" "Epochs whose barrier has left the sources and that are not committed."
        EpochAge Gauge Nanos "pipe_epoch_oldest_age_seconds" "Age of the oldest of them: how long ago what is not committed was read at most."
        Rewinds Counter One "pipe_rewinds_total" "Rewinds to what is committed."
        TraceInvalidHeaders Counter One "pipe_trace_invalid_headers_total" "Records whose `traceparent` is none; it was taken as absent."
        TraceDroppedSpans Counter One "pipe_trace_dropped_spans_total" "Spans that were not made or not delivered: over a limit, or the collector is away, slow or refuses."
        DeadLettersReceived Counter One "pipe_dead_letters_received_total" "Failed rows that reached the dead-letter writer."
        DeadLettersWritten Counter One "pipe_dead_letters_written_total" "Dead letters made durable."
    }
    Source {
        SourceRead Counter One "pipe_source_read_records_total" "Records that a source read."
        SourceReadBytes Counter One "pipe_source_read_bytes_total" "Bytes of keys, values and headers that a source read."
        SourceDecoded Counter One "pipe_source_decoded_records_total" "Records that became rows, and tombstones that pass."
        SourceDeadLettered Counter One "pipe_source_dead_lettered_records_total" "Records that could not be decoded, and tombstones, that went to the dead letters."
        SourceSkipped Counter One "pipe_source_skipped_records_total" "Records that could not be decoded, and tombstones, that were left out (`on_failure: skip`, `on_tombstone: skip`)."
        SourceRetries Counter One "pipe_source_retries_total" "Pauses because a source could not be read for a passing reason."
        SourceBatchRows Histogram One "pipe_source_batch_rows" "Records of a batch that a source read."
        SourceEventTime Gauge Millis "pipe_source_event_time_seconds" "Latest timestamp of a record that was read, in seconds since 1970; 0 where records have none."
        SourceInFlight Gauge One "pipe_source_in_flight_bytes" "Bytes of records that a source has read and that are under way, with all that was made of them; `memory` bounds it."
        SourceUnknownFields Counter One "pipe_source_unknown_fields_total" "Fields of good records that were left out: the columns were guessed from records without them."
        SourceUndeclaredFields Gauge One "pipe_source_undeclared_fields" "Names of fields that nobody declared, as far as they are kept or refused (`unknown: keep`, `unknown: dead_letter`); at most 100."
        SourceMemoryWait Counter Nanos "pipe_source_memory_wait_seconds_total" "Time that the lanes of a source waited because their part of `memory` was under way."
        SourceJoined Gauge One "pipe_source_joined" "1 once the consumer group has given its first assignment; always 1 for a source without a group."
        SourceAssigned Gauge One "pipe_source_assigned_partitions" "Partitions that this worker owns."
        SourceRebalances Counter One "pipe_source_rebalances_total" "Assignments and revocations by the consumer group."
        SourceAssignments Counter One "pipe_source_partitions_assigned_total" "Partitions that the group gave to this worker."
        SourceRevocations Counter One "pipe_source_partitions_revoked_total" "Partitions that were drained, committed and given back."
        SourceLosses Counter One "pipe_source_partitions_lost_total" "Partitions that were taken away before they were drained: what was in flight comes again."
        SourceJumps Counter One "pipe_source_offset_jumps_total" "Times that a partition was read on elsewhere because its log did not hold the next offset (`out_of_range`)."
        SourceJumped Counter One "pipe_source_offset_jumped_records_total" "Offsets that were passed over by these jumps: records that were never read, and gaps between them."
    }
    Leniency {
        SourceAccepted Counter One "pipe_source_accepted_values_total" "Values of good records that were read by `accept:`, by the leniency that took them."
    }
    Partition {
        PartitionPosition Gauge One "pipe_source_partition_position" "Offset of the record that a partition's lane reads next."
        PartitionEnd Gauge One "pipe_source_partition_end" "End of a partition's log (the high watermark) as the last fetch saw it."
        PartitionLag Gauge One "pipe_source_partition_lag_records" "Records between the two, control records left out."
    }
    Edge {
        EdgeSentRows Counter One "pipe_edge_sent_rows_total" "Rows sent over an edge."
        EdgeSentBatches Counter One "pipe_edge_sent_batches_total" "Batches sent over an edge."
        EdgeSentBytes Counter One "pipe_edge_sent_bytes_total" "Bytes sent over an edge, originals included."
        EdgeReceivedRows Counter One "pipe_edge_received_rows_total" "Rows received over an edge."
        EdgeDroppedRows Counter One "pipe_edge_dropped_rows_total" "Rows of an older generation that were dropped after a rewind; they come again."
        EdgeBlocked Counter Nanos "pipe_edge_blocked_seconds_total" "Time a sender waited for room."
        EdgeQueuedBatches Gauge One "pipe_edge_queued_batches" "Batches that wait in an edge."
        EdgeQueuedBytes Gauge One "pipe_edge_queued_bytes" "Their bytes, originals included."
        EdgeBatchRows Histogram One "pipe_edge_batch_rows" "Rows of a batch that was received over an edge."
    }
    Stage {
        StageIn Counter One "pipe_stage_in_rows_total" "Rows that entered a stage."
        StageReached Counter One "pipe_stage_reached_rows_total" "Input rows that reached at least one port."
        StageFiltered Counter One "pipe_stage_filtered_rows_total" "Input rows that reached no port by the stage's decision."
        StageRejected Counter One "pipe_stage_rejected_rows_total" "Input rows that the stage refused."
        StageFailed Counter One "pipe_stage_failed_rows_total" "Input rows that failed (error, trap, deadline, memory, invalid output)."
        StageDeadLettered Counter One "pipe_stage_dead_lettered_rows_total" "Rejected or failed rows that went to the dead letters."
        StageSkipped Counter One "pipe_stage_skipped_rows_total" "Rejected or failed rows that were left out (`on_failure: skip`)."
        StageOut Counter One "pipe_stage_out_rows_total" "Rows that left a stage over all its ports."
        StageCalls Counter One "pipe_stage_calls_total" "Calls of `process`."
        StageFailedCalls Counter One "pipe_stage_failed_calls_total" "Calls of `process` that failed as a whole."
        StageInstances Counter One "pipe_stage_instances_total" "Instances made."
        StageCallTime Histogram Nanos "pipe_stage_call_duration_seconds" "Time of a call of `process`, its copies and checks included, whether it failed or not."
        StageCopyIn Counter Nanos "pipe_stage_copy_in_seconds_total" "Time spent lowering columns into the sandbox."
        StageGuest Counter Nanos "pipe_stage_guest_seconds_total" "Time spent in the guest, the copies of the call itself and calls that failed included."
        StageCopyOut Counter Nanos "pipe_stage_copy_out_seconds_total" "Time spent lifting results."
        StageValidate Counter Nanos "pipe_stage_validate_seconds_total" "Time spent validating results and selecting passed columns."
        StageMemoryPeak Gauge One "pipe_stage_memory_peak_bytes" "Largest memory of an instance so far."
        StageMemoryLimit Gauge One "pipe_stage_memory_limit_bytes" "Memory that an instance may have (`limits.memory`)."
        StageBreakerOpen Gauge One "pipe_stage_breaker_open" "Lanes of a stage in which nothing but failures follows: fresh instances are tried after pauses."
        StageLogSuppressed Counter One "pipe_stage_log_lines_suppressed_total" "Log lines of a stage that were left out because there were too many (`limits.log_lines`)."
    }
    Sink {
        SinkReceived Counter One "pipe_sink_received_rows_total" "Rows that a sink took."
        SinkWritten Counter One "pipe_sink_written_rows_total" "Rows that a sink made durable."
        SinkWrittenBytes Counter One "pipe_sink_written_bytes_total" "Bytes that a sink made durable."
        SinkDeadLettered Counter One "pipe_sink_dead_lettered_rows_total" "Rows that were refused for good and went to the dead letters."
        SinkSkipped Counter One "pipe_sink_skipped_rows_total" "Rows that were refused for good and left out (`on_failure: skip`)."
        SinkPending Gauge One "pipe_sink_pending_rows" "Rows that a sink has taken and that its epoch has not made durable or refused for good yet."
        SinkRetries Counter One "pipe_sink_retries_total" "Pauses because a sink failed for a passing reason."
        SinkWriteTime Histogram Nanos "pipe_sink_write_duration_seconds" "Time in which a sink took a batch, pauses included."
        SinkPrepareTime Histogram Nanos "pipe_sink_prepare_duration_seconds" "Time in which a sink made an epoch durable, pauses included."
    }
    Node {
        NodeBusy Gauge Nanos "pipe_node_busy_seconds" "How long the slowest lane of a node has been at what it does (0 while all wait for input)."
    }
    Lanes {
        NodeLanes Gauge One "pipe_node_lanes" "Lanes of a node by what they do: waiting, working, blocked, retrying, ended, dead."
    }
    Failure {
        NodeDeadLetters Counter One "pipe_node_dead_letters_total" "Dead letters made durable, by the node at which the row failed and the kind of failure."
    }
    Process {
        ProcessMemory Gauge One "process_resident_memory_bytes" "Resident memory of the process."
        ProcessMemoryPeak Gauge One "pipe_process_resident_memory_peak_bytes" "Largest resident memory of the process so far."
        ProcessCpu Counter Nanos "process_cpu_seconds_total" "User and system time of all threads of the process."
        ProcessThreads Gauge One "process_threads" "Threads of the process."
        ProcessFiles Gauge One "process_open_fds" "Open files of the process."
        ProcessStart Gauge Millis "process_start_time_seconds" "When the worker started, in seconds since 1970."
    }
    Build {
        Build Gauge One "pipe_build_info" "Always 1; the label is the version of the engine."
    }
}

impl Name {
    /// Upper bounds of a histogram's buckets, in what the engine counts.
    pub fn bounds(self) -> &'static [u64] {
        match self.unit() {
            Unit::One => HISTOGRAM_ROWS,
            Unit::Nanos | Unit::Millis => HISTOGRAM_NANOS,
        }
    }
}

/// `docs/metrics.md`, from the names.
pub fn page() -> String {
    use std::fmt::Write;
    let mut out = String::from(
        "# Metrics\n\n\
         Written from `engine/src/metrics/names.rs`; a test compares (`PIPE_BLESS=1` writes it anew).\n\n\
         `pipe run` serves them under `/metrics` (see [operations](operations.md)). Counters begin at 0 with the \
         process. What is summed over lanes says so by having no lane in its labels; the number of series is bounded \
         by the pipeline file, and for partitions by what this worker owns: those of a partition that leaves \
         disappear.\n\n\
         A program that embeds the engine may install a recorder of the `metrics` crate instead: it gets every \
         counter, gauge and histogram that is counted as it happens. There counters in seconds are gauges that grow, \
         as counters of that crate are whole numbers; what is only known when somebody asks (partitions, lanes, the \
         process) is in `run::observe::health`.\n",
    );
    let mut about = None;
    for name in Name::ALL {
        if about != Some(name.about()) {
            about = Some(name.about());
            let labels: Vec<String> = name.about().labels().iter().map(|l| format!("`{l}`")).collect();
            let labels = if labels.is_empty() { "none".to_owned() } else { labels.join(", ") };
            // Writing to a string cannot fail.
            let _ = write!(
                out,
                "\n## {:?}\n\nLabels: {labels}.\n\n| name | type | |\n|---|---|---|\n",
                name.about()
            );
        }
        let (text, kind, help) = (name.as_str(), name.kind().as_str(), name.help());
        let _ = writeln!(out, "| `{text}` | {kind} | {help} |");
    }
    let bounds = |raw: &[u64], unit: Unit| {
        raw.iter().map(|b| unit.show(*b).to_string()).collect::<Vec<_>>().join(", ")
    };
    let _ = write!(
        out,
        "\n## Buckets\n\nRows: {}.\n\nSeconds: {}.\n",
        bounds(HISTOGRAM_ROWS, Unit::One),
        bounds(HISTOGRAM_NANOS, Unit::Nanos)
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_follow_the_conventions() {
        let mut names: Vec<&str> = Name::ALL.iter().map(|n| n.as_str()).collect();
        for name in Name::ALL {
            let text = name.as_str();
            assert!(text.starts_with("pipe_") || text.starts_with("process_"), "{text}");
            assert!(text.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{text}");
            assert_eq!(text.ends_with("_total"), name.kind() == Kind::Counter, "{text}");
            let seconds = text.trim_end_matches("_total").ends_with("_seconds");
            assert_eq!(seconds, name.unit() != Unit::One, "{text}");
            // These are what a histogram's parts end in.
            assert!(!["_bucket", "_sum", "_count"].iter().any(|tail| text.ends_with(tail)), "{text}");
            assert!(name.help().ends_with('.') && !name.help().contains('|'), "{text}");
        }
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn the_page_is_the_enum() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
        if std::env::var_os("PIPE_BLESS").is_some() {
            std::fs::write(path, page()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap_or_default(), page(), "PIPE_BLESS=1 writes it anew");
    }
}
