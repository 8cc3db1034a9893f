//! One number for the memory of a worker, and how it is divided.

use std::fmt;

use super::cost::stage_memory;
use super::{DeadLetters, Plan, Ports};
use crate::config::spec::Guarantee;
use crate::connector::source::Room;
use crate::error::Code;
use crate::problem::Problem;
use crate::quantity::Size;
use crate::units::{KAFKA_RECORD_BYTES, MEMORY_LANE_MIN, MEMORY_PRODUCER, MEMORY_PROGRAM};

/// The part of what is left that goes to what is fetched ahead: an n-th.
const FETCHED: u64 = 3;
/// Of a lane's part so many eighths are what is under way when its source waits. The rest is for what comes of the last
/// batch, and for the records that are being gathered.
const UNDER_WAY: u64 = 5;
/// Where sources read containers: of a lane's part so many eighths are what their readers hold to read, and so many less
/// are under way.
const HELD: u64 = 4;
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
    /// What the reader of a container holds at once, in each lane.
    pub held: usize,
    /// Bytes of a batch at most.
    pub batch: usize,
    /// Rows of a batch at most.
    pub rows: usize,
}

/// What a plan needs whatever is read, in bytes, and who shares the rest.
struct Needs {
    program: u64,
    stages: u64,
    sinks: u64,
    consumers: u64,
    /// Lanes of all sources.
    readers: u64,
    /// Sinks that write to Kafka.
    writers: u64,
    /// Whether a source reads containers.
    containers: bool,
}

impl Needs {
    fn of<B: Ports>(plan: &Plan<B>) -> Self {
        let lanes = plan.lanes as u64;
        let writers = plan.sinks.iter().filter(|sink| sink.prepared.cluster().is_some()).count() as u64;
        let letters = u64::from(matches!(plan.dead_letters, DeadLetters::Kafka(..)));
        let producers = match plan.guarantee {
            // Those of two transactions, whose turns overlap.
            Guarantee::ExactlyOnce => 2,
            Guarantee::AtLeastOnce => writers + letters,
        };
        let gathers: u64 = plan.sinks.iter().map(|sink| sink.prepared.gathers() as u64).sum();
        let mut clusters: Vec<_> = plan.sources.iter().filter_map(|s| s.prepared.cluster()).collect();
        clusters.sort_unstable();
        clusters.dedup();
        Self {
            program: MEMORY_PROGRAM,
            stages: stage_memory(plan),
            sinks: producers * MEMORY_PRODUCER + gathers.saturating_mul(lanes),
            consumers: clusters.len() as u64,
            readers: (plan.sources.len() as u64).saturating_mul(lanes).max(1),
            writers,
            containers: plan.sources.iter().any(|source| source.prepared.is_container()),
        }
    }

    fn fixed(&self) -> u64 {
        self.program.saturating_add(self.stages).saturating_add(self.sinks)
    }

    /// The least with which it can be done, in whole MiB, so that the number can be typed.
    fn least(&self) -> u64 {
        let lanes = self.readers.saturating_mul(MEMORY_LANE_MIN);
        let read = match self.consumers {
            0 => lanes,
            _ => lanes.saturating_mul(FETCHED).div_ceil(FETCHED - 1),
        };
        self.fixed().saturating_add(read).div_ceil(1 << 20).saturating_mul(1 << 20)
    }

    /// Divides it; `None`: it is too little.
    fn divide(&self, total: u64) -> Option<Division> {
        let Self { program, stages, sinks, consumers, readers, writers, containers } = *self;
        let held = if containers { HELD } else { 0 };
        let rest = total.saturating_sub(self.fixed());
        let fetched = if consumers == 0 { 0 } else { rest / FETCHED };
        let under_way = rest - fetched;
        let part = under_way / readers;
        let to_usize = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        (part >= MEMORY_LANE_MIN).then(|| Division {
            total,
            program,
            stages,
            sinks,
            fetched,
            consumer: fetched / consumers.max(1),
            under_way,
            lane: part / 8 * (UNDER_WAY - held),
            held: to_usize(part / 8 * held),
            batch: to_usize(part / BATCH),
            rows: to_usize(part / ROWS / KAFKA_RECORD_BYTES as u64 / writers.max(1)).max(1),
        })
    }
}

impl Division {
    /// Divides it for a plan.
    pub(super) fn new<B: Ports>(plan: &Plan<B>, total: u64) -> Result<Self, Problem> {
        let needs = Needs::of(plan);
        needs.divide(total).ok_or_else(|| {
            let [total, least] = [total, needs.least()].map(Size);
            let [program, stages, sinks] = [needs.program, needs.stages, needs.sinks].map(Size);
            let message = format!(
                "{total} are too little: this pipeline needs {least} at least ({program} for the program, {stages} for \
                 the instances of its stages, {sinks} for its sinks, the rest for what is read)"
            );
            let help = "raise `memory`, or lower `lanes` or the stages' `limits.memory`";
            Problem::new(Code::P009, "/memory", message).help(help)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The parts are the whole, and what is said to be the least is.
        #[test]
        fn the_parts_are_the_whole(
            stages in 0_u64..1 << 34, sinks in 0_u64..1 << 30, consumers in 0_u64..4, readers in 1_u64..600,
            writers in 0_u64..9, containers: bool, more in 0_u64..1 << 36,
        ) {
            let needs = Needs { program: MEMORY_PROGRAM, stages, sinks, consumers, readers, writers, containers };
            let least = needs.least();
            prop_assert!(needs.divide(least - (1 << 20) - 1).is_none());
            let Some(all) = needs.divide(least + more) else { return Err(TestCaseError::fail("the least")) };
            let Division { total, program, stages, sinks, fetched, under_way, .. } = all;
            prop_assert_eq!(program + stages + sinks + fetched + under_way, total);
            prop_assert!(all.consumer * consumers <= fetched && (consumers > 0 || fetched == 0));
            // What waits, what is gathered (two batches, and as much again while they grow), and what comes of one.
            let part = under_way / readers;
            let batches = all.batch as u64 * (4 + 8);
            prop_assert!(all.lane + all.held as u64 + batches <= part, "{:?}", all);
            prop_assert_eq!(all.held > 0, containers);
            prop_assert!(all.rows >= 1);
        }
    }
}
