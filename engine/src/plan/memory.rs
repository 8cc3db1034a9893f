//! One number for the memory of a worker, and how it is divided.

use std::fmt;

use super::cost::stage_memory;
use super::{DeadLetters, Plan, Ports};
use crate::codec::Problem;
use crate::config::spec::{Guarantee, Size};
use crate::error::Code;
use crate::source::Room;
use crate::units::{KAFKA_RECORD_BYTES, MEMORY_LANE_MIN, MEMORY_PRODUCER, MEMORY_PROGRAM};

/// The part of what is left that goes to what is fetched ahead: an n-th.
const FETCHED: u64 = 3;
/// Of a lane's part so many eighths are what is under way when its source waits. The rest is for what comes of the last
/// batch, and for the records that are being gathered.
const UNDER_WAY: u64 = 5;
/// Of a lane's part an n-th is a batch at most: it is gathered, decoded, transformed, encoded, and copied to a client.
const BATCH: u64 = 32;
/// And what clients add to its rows is an n-th at most: rows may be of a few bytes.
const ROWS: u64 = 8;

/// How `memory` is divided, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Division {
    /// All of it.
    pub total: u64,
    /// The program itself.
    pub program: u64,
    /// All instances of all stages.
    pub stages: u64,
    /// Sinks and dead letters by themselves: requests of producers, buffers and row groups of files.
    pub sinks: u64,
    /// What Kafka's consumers have fetched ahead.
    pub fetched: u64,
    /// The same of one of them.
    pub consumer: u64,
    /// What has been read and is under way, over all lanes of all sources.
    pub under_way: u64,
    /// From here on a lane of a source waits.
    pub lane: u64,
    /// Bytes of a batch at most.
    pub batch: usize,
    /// Rows of a batch at most.
    pub rows: usize,
}

impl Division {
    /// Divides it for a plan.
    pub(super) fn new<B: Ports>(plan: &Plan<B>, total: u64) -> Result<Self, Problem> {
        let lanes = plan.lanes as u64;
        let (program, stages) = (MEMORY_PROGRAM, stage_memory(plan));
        let writes = plan.sinks.iter().filter(|sink| sink.prepared.cluster().is_some()).count() as u64;
        let letters = u64::from(matches!(plan.dead_letters, DeadLetters::Kafka(..)));
        let producers = match plan.guarantee {
            // Those of two transactions, whose turns overlap.
            Guarantee::ExactlyOnce => 2,
            Guarantee::AtLeastOnce => writes + letters,
        };
        let gathers: u64 = plan.sinks.iter().map(|sink| sink.prepared.gathers() as u64).sum();
        let sinks = producers * MEMORY_PRODUCER + gathers.saturating_mul(lanes);
        let mut clusters: Vec<_> = plan.sources.iter().filter_map(|s| s.prepared.cluster()).collect();
        clusters.sort_unstable();
        clusters.dedup();
        let consumers = clusters.len() as u64;
        let readers = (plan.sources.len() as u64).saturating_mul(lanes).max(1);
        let fixed = program.saturating_add(stages).saturating_add(sinks);
        let rest = total.saturating_sub(fixed);
        let fetched = if consumers == 0 { 0 } else { rest / FETCHED };
        let under_way = rest - fetched;
        let part = under_way / readers;
        if part < MEMORY_LANE_MIN {
            let least = readers.saturating_mul(MEMORY_LANE_MIN);
            let least = if consumers == 0 { least } else { (least * FETCHED).div_ceil(FETCHED - 1) };
            let least = fixed.saturating_add(least);
            // Whole MiB, so that the number can be typed.
            let least = Size(least.div_ceil(1 << 20) << 20);
            let message = format!(
                "{} are too little: this pipeline needs {least} at least ({} for the program, {} for the instances of \
                 its stages, {} for its sinks, the rest for what is read)",
                Size(total),
                Size(program),
                Size(stages),
                Size(sinks),
            );
            let help = "raise `memory`, or lower `lanes` or the stages' `limits.memory`";
            return Err(Problem::new(Code::P009, "/memory", message).help(help));
        }
        Ok(Self {
            total,
            program,
            stages,
            sinks,
            fetched,
            consumer: fetched / consumers.max(1),
            under_way,
            lane: part / 8 * UNDER_WAY,
            batch: usize::try_from(part / BATCH).unwrap_or(usize::MAX),
            rows: usize::try_from(part / ROWS / KAFKA_RECORD_BYTES as u64 / writes.max(1))
                .unwrap_or(usize::MAX),
        })
    }

    /// The bounds of a batch within these.
    pub(super) fn room(&self, room: Room) -> Room {
        let bytes = room.bytes.min(self.batch);
        Room { rows: room.rows.min(self.rows), bytes, lane_bytes: bytes.saturating_mul(2), ..room }
    }
}

impl fmt::Display for Division {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { total, program, stages, sinks, fetched, under_way, .. } = *self;
        let [total, program, stages, sinks] = [total, program, stages, sinks].map(Size);
        let [fetched, under_way] = [fetched, under_way].map(Size);
        write!(
            f,
            "{total} ({program} the program, {stages} instances of stages, {sinks} sinks, {fetched} fetched ahead, \
             {under_way} under way)"
        )
    }
}
