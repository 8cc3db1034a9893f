//! Settings that work and that one would not want.

use std::time::Duration;

use super::Plan;
use crate::codec::Problem;
use crate::error::Code;
use crate::units::FILES_PER_HOUR_WARN;

/// What is suspicious in a plan. Pointers are those of the whole file.
pub(super) fn of(plan: &Plan) -> Vec<Problem> {
    let mut warnings = Vec::new();
    let interval = plan.commit_interval.max(Duration::from_millis(1));
    let commits_per_hour = 3_600_000 / interval.as_millis().max(1) as u64;
    for sink in plan.sinks.iter().filter(|s| s.kind.durable_on_close) {
        let files = commits_per_hour * plan.lanes as u64;
        if files > FILES_PER_HOUR_WARN {
            let text = format!("`{}` may write {files} files an hour: one an epoch and lane", sink.name);
            let pointer = "/delivery/commit_interval";
            warnings.push(Problem::new(Code::P010, pointer, text).help("raise `delivery.commit_interval`"));
        }
    }
    if plan.shutdown_timeout < plan.commit_interval.min(Duration::from_secs(1)) {
        let text = "a stop may drain for less time than one commit takes";
        let pointer = "/delivery/shutdown_timeout";
        warnings.push(Problem::new(Code::P010, pointer, text).help("raise `delivery.shutdown_timeout`"));
    }
    warnings
}
