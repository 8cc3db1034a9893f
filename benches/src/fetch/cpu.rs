//! CPU time of this process by threads, in nanoseconds, and of another one by its number.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

/// CPU time of each thread that is alive, by name. Threads of one name are added up; the main thread is `main`.
pub fn by_thread() -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    let own = std::process::id().to_string();
    for task in fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let read = |file| fs::read_to_string(task.path().join(file)).unwrap_or_default();
        let name = match task.file_name().to_str() == Some(&own) {
            true => "main".to_owned(),
            false => read("comm").trim().to_owned(),
        };
        let spent = read("schedstat").split_whitespace().next().and_then(|n| n.parse::<u64>().ok());
        *all.entry(name).or_default() += spent.unwrap_or(0);
    }
    all
}

/// What each thread spent since an earlier look; those that spent nothing are left out.
pub fn since(before: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let mut spent = by_thread();
    spent.iter_mut().for_each(|(name, now)| *now -= before.get(name).copied().unwrap_or(0).min(*now));
    spent.retain(|_, spent| *spent > 0);
    spent
}

/// CPU time of another process, to 10 ms.
pub fn of_process(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = after_name.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<u32>().ok()).sum();
    Duration::from_millis(10) * ticks
}
