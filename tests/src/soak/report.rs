//! What came of a run: counts, problems, and how long things took.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use super::verify::Counts;
use super::watch::History;

/// What came of it.
#[derive(Debug, Default)]
pub struct Report {
    /// How many times a worker was killed.
    pub kills: u32,
    /// The seed.
    pub seed: u64,
    /// What the verifier counted.
    pub counts: Counts,
    /// How many workers ended that should have gone on.
    pub ended: usize,
    /// All that is wrong; empty when the promise was kept.
    pub problems: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { records, lost, duplicated, out_of_order, .. } = &self.counts;
        let Self { kills, seed, ended, .. } = self;
        write!(
            f,
            "soak: kills={kills} records={records} lost={lost} duplicated={duplicated} \
             out_of_order={out_of_order} ended={ended} seed={seed}"
        )
    }
}

impl Report {
    /// Adds what another run of the same seed came to.
    pub fn add(&mut self, other: Self) {
        self.kills += other.kills;
        self.ended += other.ended;
        self.counts.records += other.counts.records;
        self.counts.lost += other.counts.lost;
        self.counts.duplicated += other.counts.duplicated;
        self.counts.out_of_order += other.counts.out_of_order;
        self.counts.misplaced += other.counts.misplaced;
        self.problems.extend(other.problems);
    }

    /// Adds what the counts say to the problems; `once`: repeats and disorder are faults, too.
    pub fn judge(&mut self, once: bool) {
        let Counts { lost, duplicated, out_of_order, misplaced, .. } = self.counts;
        for (what, count, wrong) in [
            ("lost", lost, true),
            ("duplicated", duplicated, once),
            ("out of order", out_of_order, once),
            ("misplaced", misplaced, true),
        ] {
            if wrong && count > 0 {
                self.problems.push(format!("{count} {what}"));
            }
        }
    }
}

/// A window in which one worker was restarted, and the input partitions that changed their owner in it.
pub(super) struct Restart {
    pub(super) from: Duration,
    pub(super) to: Duration,
    pub(super) moved: BTreeSet<usize>,
}

/// What was done, and when.
#[derive(Default)]
pub(super) struct Deeds {
    /// When something was done to the workers or the broker, and whether it was a mere kill of a worker.
    pub(super) done: Vec<(Duration, bool)>,
    /// Restarts of workers in turn.
    pub(super) restarts: Vec<Restart>,
}

impl Deeds {
    /// Prints how long things took.
    pub(super) fn print(&self, history: &History) {
        let kills = self.done.iter().filter(|(_, kill)| *kill).map(|(at, _)| *at);
        let resumed: Vec<_> = kills.clone().map(|at| (at, history.resumed(at))).collect();
        let visible: Vec<_> = kills.map(|at| (at, history.visible(at))).collect();
        self.time("from kill to all partitions being read", &resumed);
        self.time("from kill to all output being visible", &visible);
        let pauses = self.restarts.iter().filter_map(|r| history.pause(r.from, r.to, &r.moved));
        let longest = pauses.max().map_or("none was done".to_owned(), seconds);
        println!("longest pause of an unaffected partition in a rolling restart: {longest}");
    }

    /// The longest of all, and of those that nothing else was done during.
    fn time(&self, what: &str, times: &[(Duration, Option<Duration>)]) {
        let alone = |at: &Duration, time: &Duration| {
            !self.done.iter().any(|(other, _)| other > at && *other < *at + *time)
        };
        let known = times.iter().filter_map(|(at, time)| Some((*at, (*time)?)));
        let longest = known.clone().map(|(_, time)| time).max().map_or("unknown".to_owned(), seconds);
        let undisturbed: Vec<_> = known.filter(|(at, time)| alone(at, time)).map(|(_, time)| time).collect();
        let count = undisturbed.len();
        let own = undisturbed.into_iter().max().map_or("unknown".to_owned(), seconds);
        let never = times.iter().filter(|(_, time)| time.is_none()).count();
        println!(
            "longest time {what}: {longest}; of the {count} of {} that nothing followed meanwhile: {own}; not seen: {never}",
            times.len()
        );
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
