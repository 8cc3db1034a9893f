//! What a program costs, read from `/proc`: CPU time of all its threads, time on the clock, peak resident memory.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// What one run of a program cost.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// User and system time of all threads, start-up included.
    pub cpu: Duration,
    /// From start to end.
    pub wall: Duration,
    /// Peak resident memory in KiB, the program's own pages and the shared ones it touched.
    pub peak_kib: u64,
    /// Median resident memory in KiB over the first and over the second half of the run: equal where it is flat.
    pub halves_kib: [u64; 2],
}

impl Cost {
    /// CPU seconds for a million records.
    pub fn cpu_per_million(&self, records: u64) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / records as f64
    }

    /// Records a second.
    pub fn rate(&self, records: u64) -> f64 {
        records as f64 / self.wall.as_secs_f64()
    }

    /// Peak resident memory in MiB.
    pub fn peak_mib(&self) -> f64 {
        self.peak_kib as f64 / 1024.0
    }

    /// Median resident memory of the two halves of the run in MiB.
    pub fn halves_mib(&self) -> [f64; 2] {
        self.halves_kib.map(|kib| kib as f64 / 1024.0)
    }
}

/// The kernel counts CPU time in ticks of 10 ms on every platform that Linux exports `/proc` on (`USER_HZ`).
pub(crate) const TICK: Duration = Duration::from_millis(10);
/// Peak memory is lost with the process, so it is read this often; the highest of what was seen counts.
const LOOK: Duration = Duration::from_millis(20);

/// Runs a program to its end. Its standard error is kept and told when it fails.
pub fn run(command: &mut Command) -> io::Result<Cost> {
    let mut log = tempfile::tempfile()?;
    let started = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.try_clone()?).spawn()?;
    let folder = format!("/proc/{}", child.id());
    let (mut peak_kib, mut resident) = (0, Vec::new());
    // A child that has ended stays readable there until it is waited for; its memory does not.
    let (cpu, wall) = loop {
        let stat = fs::read_to_string(format!("{folder}/stat"))?;
        let (state, cpu) = state_and_cpu(&stat).ok_or_else(|| io::Error::other("/proc/*/stat is odd"))?;
        if state == "Z" {
            break (cpu, started.elapsed());
        }
        let status = fs::read_to_string(format!("{folder}/status")).unwrap_or_default();
        peak_kib = peak_kib.max(kib(&status, "VmHWM:").unwrap_or(0));
        resident.extend(kib(&status, "VmRSS:"));
        sleep(LOOK);
    };
    let status = child.wait()?;
    if !status.success() {
        let mut said = String::new();
        log.rewind()?;
        log.read_to_string(&mut said)?;
        return Err(io::Error::other(format!("{command:?} ended with {status}:\n{said}")));
    }
    let half = resident.len() / 2;
    let halves = resident.split_at_mut(half);
    Ok(Cost { cpu, wall, peak_kib, halves_kib: [middle(halves.0), middle(halves.1)] })
}

/// User and system time of all threads of this program so far.
pub fn own_cpu() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    state_and_cpu(&stat).map_or(Duration::ZERO, |(_, cpu)| cpu)
}

fn middle(numbers: &mut [u64]) -> u64 {
    numbers.sort_unstable();
    numbers.get(numbers.len() / 2).copied().unwrap_or(0)
}

/// State and user + system time of `/proc/<pid>/stat`. The name in the second field may hold anything.
pub(crate) fn state_and_cpu(stat: &str) -> Option<(&str, Duration)> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    let ticks: u32 = fields.skip(10).take(2).map(|field| field.parse::<u32>().unwrap_or(0)).sum();
    Some((state, TICK * ticks))
}

/// A line of `/proc/<pid>/status` that is a size in KiB.
pub(crate) fn kib(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// A figure as it is kept: to a thousandth.
pub fn rounded(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

/// Appends a run's figures to a history, one line a run.
pub fn append(history: &Path, figures: &Value) -> io::Result<()> {
    writeln!(OpenOptions::new().create(true).append(true).open(history)?, "{figures}")
}

/// The machine and the source: a number without them says nothing.
pub fn machine() -> Value {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory_kib = memory.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0);
    let commit = Command::new("git").args(["rev-parse", "--short", "HEAD"]).output();
    let commit = commit.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned()).unwrap_or_default();
    json!({
        "cpu": model.map_or("unknown", |(_, model)| model),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "memory_gib": memory_kib >> 20,
        "kernel": kernel.trim(),
        "load": load(),
        "commit": commit,
        "profile": profile(),
    })
}

/// By the folder that cargo builds into: `dev` may be built with the optimisations of a release.
fn profile() -> &'static str {
    let own = std::env::current_exe().unwrap_or_default();
    if own.components().any(|part| part.as_os_str() == "release") { "release" } else { "dev" }
}

/// Processes that want a core, averaged over the last minute.
fn load() -> f64 {
    let average = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    average.split_whitespace().next().and_then(|load| load.parse().ok()).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_an_odd_name_is_read() {
        let stat = "7 (a) b (c) Z 1 7 7 0 -1 4228108 115 0 0 0 12 34 0 0 20 0 1 0 100 0 0";
        assert_eq!(state_and_cpu(stat), Some(("Z", Duration::from_millis(460))));
        assert_eq!(state_and_cpu("nothing"), None);
    }

    #[test]
    fn memory_is_read_and_halved() {
        assert_eq!(kib("VmPeak:\t 9 kB\nVmHWM:\t  7 kB\n", "VmHWM:"), Some(7));
        assert_eq!([middle(&mut []), middle(&mut [3, 9, 5])], [0, 5]);
    }

    #[test]
    fn a_failure_is_told_with_its_words() {
        let error = run(Command::new("sh").args(["-c", "echo because >&2; exit 3"])).unwrap_err();
        assert!(error.to_string().contains("because"), "{error}");
    }
}
