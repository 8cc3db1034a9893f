//! Every number of a worker at one moment: what is counted as it happens, and what is only known when somebody asks.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use super::health::Health;
use super::stats::Stats;
use crate::metrics::{Labels, Name, Sample};
use crate::progress::Doing;

/// The kernel counts CPU time in ticks of 10 ms on every platform that Linux exports `/proc` on (`USER_HZ`).
const TICK: Duration = Duration::from_millis(10);

impl Stats {
    /// All numbers. `health` is what was seen last: what it holds is as old as that, the rest is of now.
    pub fn samples(&self, health: &Health) -> Vec<Sample> {
        let mut samples = Vec::new();
        self.worker.collect(&mut samples);
        self.sources.iter().for_each(|(_, s)| s.collect(&mut samples));
        self.edges.iter().for_each(|e| e.stats.collect(&mut samples));
        self.letters.collect(&mut samples);
        self.stages.iter().for_each(|(_, s)| s.collect(&mut samples));
        self.sinks.iter().for_each(|(_, s)| s.collect(&mut samples));
        self.causes.collect(&mut samples);
        self.accepted.collect(&mut samples);
        let pipeline = ("pipeline", self.pipeline.clone());
        let age = u64::try_from(self.vitals.epoch_age().as_nanos()).unwrap_or(u64::MAX);
        let of_worker = [
            (Name::Ready, u64::from(health.ready)),
            (Name::Live, u64::from(health.live)),
            (Name::EpochAge, age),
        ];
        samples.extend(of_worker.map(|(name, n)| Sample::new(name, vec![pipeline.clone()], n)));
        self.of_sources(health, &mut samples);
        self.of_nodes(&mut samples);
        let uptime = self.clock.now().saturating_sub(self.started);
        let start = self.clock.unix_ms().saturating_sub(i64::try_from(uptime.as_millis()).unwrap_or(0));
        samples.push(Sample::new(Name::ProcessStart, Vec::new(), u64::try_from(start).unwrap_or(0)));
        samples
    }

    fn of_sources(&self, health: &Health, samples: &mut Vec<Sample>) {
        for (source, at) in &health.progress {
            let labels: Labels = vec![("pipeline", self.pipeline.clone()), ("source", source.to_string())];
            let counts = [
                (Name::SourceJoined, u64::from(at.joined)),
                (Name::SourceAssigned, at.partitions.len() as u64),
                (Name::SourceRebalances, at.rebalances),
                (Name::SourceAssignments, at.assigned),
                (Name::SourceRevocations, at.revoked),
                (Name::SourceLosses, at.lost),
                (Name::SourceJumps, at.jumps),
                (Name::SourceJumped, at.jumped),
            ];
            samples.extend(counts.map(|(name, n)| Sample::new(name, labels.clone(), n)));
            for at in &at.partitions {
                let mut labels = labels.clone();
                labels.push(("topic", at.partition.topic.to_string()));
                labels.push(("partition", at.partition.partition.to_string()));
                let known = [
                    (Name::PartitionPosition, Some(at.position)),
                    (Name::PartitionEnd, at.end),
                    (Name::PartitionLag, at.lag),
                ];
                let known = known.into_iter().filter_map(|(name, n)| Some((name, u64::try_from(n?).ok()?)));
                samples.extend(known.map(|(name, n)| Sample::new(name, labels.clone(), n)));
            }
        }
    }

    fn of_nodes(&self, samples: &mut Vec<Sample>) {
        let mut busy: BTreeMap<Arc<str>, Duration> = BTreeMap::new();
        let mut lanes: BTreeMap<(Arc<str>, Doing), u64> = BTreeMap::new();
        for pulse in self.vitals.pulses().iter().filter(|p| p.role.is_node()) {
            let (doing, time) = pulse.get();
            let idle = matches!(doing, Doing::Waiting | Doing::Ended);
            let longest = busy.entry(Arc::clone(&pulse.node)).or_default();
            *longest = (*longest).max(if idle { Duration::ZERO } else { time });
            for each in Doing::ALL {
                *lanes.entry((Arc::clone(&pulse.node), each)).or_default() += u64::from(each == doing);
            }
        }
        let labels = |node: &str| vec![("pipeline", self.pipeline.clone()), ("node", node.to_owned())];
        samples.extend(busy.into_iter().map(|(node, time)| {
            let time = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
            Sample::new(Name::NodeBusy, labels(&node), time)
        }));
        samples.extend(lanes.into_iter().map(|((node, doing), n)| {
            let mut labels = labels(&node);
            labels.push(("state", doing.as_str().to_owned()));
            Sample::new(Name::NodeLanes, labels, n)
        }));
    }
}

/// Numbers of the process, as far as `/proc` gives them, and of the program.
pub fn process() -> Vec<Sample> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    let known = [
        (Name::ProcessMemory, field("VmRSS:").map(|kib| kib << 10)),
        (Name::ProcessMemoryPeak, field("VmHWM:").map(|kib| kib << 10)),
        (Name::ProcessThreads, field("Threads:")),
        (Name::ProcessCpu, cpu(&fs::read_to_string("/proc/self/stat").unwrap_or_default())),
        (Name::ProcessFiles, fs::read_dir("/proc/self/fd").ok().map(|files| files.count() as u64)),
    ];
    let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
    let known = known.into_iter().filter_map(|(name, n)| Some(Sample::new(name, Vec::new(), n?)));
    known.chain([Sample::new(Name::Build, version, 1)]).collect()
}

/// User and system time in nanoseconds of `/proc/<pid>/stat`. The name in the second field may hold anything.
fn cpu(stat: &str) -> Option<u64> {
    let fields = stat.rsplit_once(')')?.1.split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).map(|field| field.parse::<u64>().unwrap_or(0)).sum();
    Some(ticks * TICK.as_nanos() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_is_measured() {
        let names: Vec<Name> = process().iter().map(|s| s.name).collect();
        for name in [Name::ProcessMemory, Name::ProcessMemoryPeak, Name::ProcessCpu, Name::Build] {
            assert!(names.contains(&name), "{names:?}");
        }
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4228108 115 0 0 0 12 34 0 0 20 0 1 0 100 0 0";
        assert_eq!(cpu(stat), Some(460_000_000));
    }
}
