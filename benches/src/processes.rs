//! What a program and everything that it starts cost while it runs, and what the whole machine does meanwhile.

use std::fs;
use std::time::Duration;

use crate::measure::{TICK, kib, state_and_cpu};

/// What a process and its descendants have cost so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spent {
    /// User and system time of all threads, and of children that have ended.
    pub cpu: Duration,
    /// Peak resident memory in KiB, summed over the processes.
    pub peak_kib: u64,
    /// Whether the process itself has ended and waits for its parent.
    pub ended: bool,
}

/// What the tree of processes below and with `process` has cost; a process that is gone costs nothing.
pub fn spent(process: u32) -> Spent {
    let mut all = Spent::default();
    let mut open = vec![process];
    while let Some(one) = open.pop() {
        let folder = format!("/proc/{one}");
        let stat = fs::read_to_string(format!("{folder}/stat")).unwrap_or_default();
        let Some((state, cpu)) = state_and_cpu(&stat) else { continue };
        all.cpu += cpu + of_children(&stat);
        all.ended |= one == process && state == "Z";
        let status = fs::read_to_string(format!("{folder}/status")).unwrap_or_default();
        all.peak_kib += kib(&status, "VmHWM:").unwrap_or(0);
        for task in fs::read_dir(format!("{folder}/task")).into_iter().flatten().flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            open.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
    }
    all
}

/// Time of the children that a process has waited for, in `/proc/<pid>/stat`.
fn of_children(stat: &str) -> Duration {
    let Some((_, fields)) = stat.rsplit_once(')') else { return Duration::ZERO };
    let ticks = fields.split_whitespace().skip(13).take(2).map(|field| field.parse::<u32>().unwrap_or(0));
    TICK * ticks.sum()
}

/// Time that all cores together were busy since the machine started.
pub fn busy() -> Duration {
    busy_in(&fs::read_to_string("/proc/stat").unwrap_or_default())
}

/// The first line of `/proc/stat` is user, nice, system, idle, iowait, irq, softirq and steal of all cores.
fn busy_in(stat: &str) -> Duration {
    let fields = stat.lines().next().unwrap_or_default().split_whitespace().skip(1).take(8);
    let ticks: u64 = fields
        .enumerate()
        .filter(|(at, _)| !matches!(at, 3 | 4))
        .filter_map(|(_, field)| field.parse::<u64>().ok())
        .sum();
    Duration::from_millis(ticks * TICK.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};
    use std::thread::sleep;

    use super::*;

    #[test]
    fn idle_time_is_not_busy() {
        assert_eq!(busy_in("cpu  1 2 3 100 200 4 5 6 0 0\ncpu0 9 9"), Duration::from_millis(210));
        let stat = "7 (x) S 1 7 7 0 -1 4228108 115 0 0 0 12 34 5 6 20 0 1 0 100 0 0";
        assert_eq!(of_children(stat), Duration::from_millis(110));
    }

    #[test]
    fn children_are_counted_with_their_parent() {
        let busy = "i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done; read -r word";
        let mut parent = Command::new("sh")
            .args(["-c", &format!("({busy}) <&0 & wait")])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut seen = Spent::default();
        for _ in 0..500 {
            seen = spent(parent.id());
            if seen.cpu > Duration::from_millis(20) {
                break;
            }
            sleep(Duration::from_millis(10));
        }
        drop(parent.stdin.take());
        parent.wait().unwrap();
        assert!(seen.cpu > Duration::from_millis(20) && seen.peak_kib > 0 && !seen.ended, "{seen:?}");
        assert_eq!(spent(parent.id()).cpu, Duration::ZERO);
    }
}
