//! What a plan costs a machine: threads, and the most memory that its bounds allow.

use std::fs;

use super::{Plan, Ports};
use crate::units;

/// What there is of a machine, or of the part of it that this process is given.
#[derive(Debug, Clone, Copy)]
pub struct Machine {
    /// Cores.
    pub cores: usize,
    /// Bytes of memory, where it can be found out.
    pub memory: Option<u64>,
}

impl Machine {
    /// This one: the lesser of the machine's memory and the control group's.
    pub fn here() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let total = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total_bytes(&text));
        Self { cores, memory: total.into_iter().chain(group_bytes()).min() }
    }
}

/// `MemTotal` of `/proc/meminfo`, which counts in KiB.
fn total_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// The limit of this process's control group: in a container it is mounted at the root, elsewhere below it.
fn group_bytes() -> Option<u64> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let below = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/").to_owned();
    let files = [
        format!("/sys/fs/cgroup{below}/memory.max"),
        "/sys/fs/cgroup/memory.max".to_owned(),
        "/sys/fs/cgroup/memory/memory.limit_in_bytes".to_owned(),
    ];
    // `max` is no number: no limit.
    files.iter().filter_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok()).min()
}

/// Threads of a worker by what they do; librdkafka's own are not among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Threads {
    /// One a lane and node.
    pub nodes: usize,
    /// One a source, for its group.
    pub controls: usize,
    /// Coordinator, writer of dead letters, the clock of the Wasm engine, signals, the display, and the main thread.
    pub others: usize,
}

impl Threads {
    /// Those of a plan.
    pub fn of<B>(plan: &Plan<B>) -> Self {
        let nodes = plan.sources.len() + plan.stages.len() + plan.sinks.len();
        Self { nodes: nodes * plan.lanes, controls: plan.sources.len(), others: 6 }
    }

    /// All of them.
    pub fn total(&self) -> usize {
        self.nodes + self.controls + self.others
    }
}

/// The most memory that a plan's bounds allow, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Instances of stages.
    pub stages: u64,
    /// Batches on edges, dead letters included.
    pub edges: u64,
    /// What Kafka's clients have fetched ahead, or hold to be sent.
    pub clients: u64,
}

impl Memory {
    /// That of a plan.
    pub fn of<B: Ports>(plan: &Plan<B>) -> Self {
        let lanes = plan.lanes as u64;
        let inputs =
            plan.stages.iter().map(|n| n.inputs.len()).chain(plan.sinks.iter().map(|n| n.inputs.len()));
        let nodes = plan.sources.len() + plan.stages.len() + plan.sinks.len();
        let edges = (inputs.sum::<usize>() + nodes) as u64;
        let sources = plan.sources.iter().filter(|n| n.prepared.cluster().is_some()).count() as u64;
        let letters = usize::from(matches!(plan.dead_letters, super::DeadLetters::Kafka(..)));
        let sinks = plan.sinks.iter().filter(|n| n.prepared.cluster().is_some()).count() + letters;
        let clients = sources.saturating_mul(units::KAFKA_PREFETCH_BYTES as u64);
        Self {
            stages: stage_memory(plan),
            edges: lanes.saturating_mul(edges).saturating_mul(units::CHANNEL_BYTES_MAX as u64),
            clients: clients.saturating_add(sinks as u64 * units::KAFKA_QUEUE_BYTES as u64),
        }
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        self.stages.saturating_add(self.edges).saturating_add(self.clients)
    }
}

/// The limits of all instances of all stages together.
pub(super) fn stage_memory<B: Ports>(plan: &Plan<B>) -> u64 {
    let limits = plan.stages.iter().filter_map(|stage| stage.bound.limits());
    let sum = limits.fold(0_u64, |sum, limits| sum.saturating_add(limits.memory_bytes as u64));
    sum.saturating_mul(plan.lanes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_cores_and_memory() {
        let here = Machine::here();
        assert!(here.cores > 0);
        assert!(here.memory.is_some_and(|bytes| bytes > 16 << 20), "{here:?}");
        assert_eq!(total_bytes("MemFree: 1 kB\nMemTotal:       2048 kB\n"), Some(2 << 20));
        assert_eq!(total_bytes("nothing"), None);
    }
}
