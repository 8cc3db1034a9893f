//! What is done to the workers and the broker, and when: all of it follows from the seed.

use std::fmt;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

/// `session.timeout.ms` of the workers: the group gives a dead worker's partitions away after this long.
pub const SESSION: Duration = Duration::from_secs(6);
/// Between two faults that are no mere kill of a worker lie this many kills.
const KILLS_PER_FAULT: u32 = 3;
/// Kinds of them.
const FAULTS: usize = 5;

/// One thing that is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// kill -9 of a worker, which is started again after a pause.
    Kill {
        /// Which.
        worker: usize,
        /// How long it stays away.
        pause: Duration,
    },
    /// SIGSTOP of a worker for longer than its session, then SIGCONT: it wakes up and believes that it still owns
    /// its partitions.
    FreezeWorker {
        /// Which.
        worker: usize,
        /// How long.
        time: Duration,
    },
    /// kill -9 of the broker, which is started again after a pause.
    CrashBroker {
        /// How long it stays away.
        pause: Duration,
    },
    /// kill -9 of a worker and, before anyone notices, of the broker: both are started again after a pause.
    CrashBoth {
        /// Which worker.
        worker: usize,
        /// How long the broker stays away; the worker comes after it.
        pause: Duration,
    },
    /// SIGSTOP of the broker for longer than the sessions, then SIGCONT.
    FreezeBroker {
        /// How long.
        time: Duration,
    },
    /// SIGTERM of each worker in turn, which is started again when it has ended.
    RollingRestart,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill { worker, pause } => write!(f, "kill -9 of w{worker}, away for {pause:?}"),
            Self::FreezeWorker { worker, time } => write!(f, "w{worker} frozen for {time:?}"),
            Self::CrashBroker { pause } => write!(f, "kill -9 of the broker, away for {pause:?}"),
            Self::CrashBoth { worker, pause } => {
                write!(f, "kill -9 of w{worker} and the broker, away for {pause:?}")
            }
            Self::FreezeBroker { time } => write!(f, "the broker frozen for {time:?}"),
            Self::RollingRestart => write!(f, "rolling restart"),
        }
    }
}

/// An action, and how long to wait before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// How long nothing else is done before it.
    pub wait: Duration,
    /// What is done.
    pub action: Action,
}

fn between(random: &mut StdRng, from: u64, to: u64) -> Duration {
    Duration::from_millis(random.random_range(from..to))
}

/// Most kills come while the group still settles after the one before; every fourth time it is left in peace for
/// longer than a session, because what breaks then is something else.
fn wait(random: &mut StdRng) -> Duration {
    match random.random_range(0..4) {
        0 => between(random, 8_000, 10_000),
        _ => between(random, 200, 5_000),
    }
}

/// Back at once under the same name, soon, or after the group has given its partitions away.
fn pause(random: &mut StdRng) -> Duration {
    match random.random_range(0..4) {
        0 => between(random, 500, 3_000),
        1 => between(random, 6_500, 9_000),
        _ => between(random, 0, 500),
    }
}

fn longer_than_session(random: &mut StdRng) -> Duration {
    SESSION + between(random, 1_000, 3_000)
}

/// A worker sleeps for longer than its session, sometimes for longer than a transaction may last (10 s, and at most
/// 10 s until the broker looks).
fn freeze(random: &mut StdRng) -> Duration {
    match random.random_range(0..3) {
        0 => between(random, 12_000, 22_000),
        _ => longer_than_session(random),
    }
}

fn fault(random: &mut StdRng, kind: usize, worker: usize) -> Action {
    match kind {
        0 => Action::CrashBroker { pause: between(random, 0, 3_000) },
        1 => Action::FreezeWorker { worker, time: freeze(random) },
        2 => Action::CrashBoth { worker, pause: between(random, 0, 3_000) },
        3 => Action::FreezeBroker { time: longer_than_session(random) },
        _ => Action::RollingRestart,
    }
}

/// The steps of a run: as many kills, in rotation over the workers, and with `faults` the other faults between them.
pub fn schedule(seed: u64, kills: u32, workers: usize, faults: bool) -> Vec<Step> {
    let mut random = StdRng::seed_from_u64(seed);
    let (mut steps, mut round, mut deck) = (Vec::new(), Vec::new(), Vec::new());
    for kill in 1..=kills {
        if round.is_empty() {
            round.extend(0..workers);
            round.shuffle(&mut random);
        }
        let worker = round.pop().unwrap_or_default();
        let action = Action::Kill { worker, pause: pause(&mut random) };
        steps.push(Step { wait: wait(&mut random), action });
        if faults && kill % KILLS_PER_FAULT == 0 {
            if deck.is_empty() {
                deck.extend(0..FAULTS);
                deck.shuffle(&mut random);
            }
            let worker = random.random_range(0..workers);
            let action = fault(&mut random, deck.pop().unwrap_or_default(), worker);
            steps.push(Step { wait: wait(&mut random), action });
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_says_everything_and_the_rotation_spares_nobody() {
        let steps = schedule(7, 30, 3, true);
        assert_eq!(steps, schedule(7, 30, 3, true));
        assert_ne!(steps, schedule(8, 30, 3, true));
        for worker in 0..3 {
            let kills =
                steps.iter().filter(|s| matches!(s.action, Action::Kill { worker: w, .. } if w == worker));
            assert_eq!(kills.count(), 10);
        }
        let kinds: std::collections::BTreeSet<_> = steps
            .iter()
            .map(|s| format!("{:?}", s.action).split([' ', '{']).next().unwrap_or_default().to_owned())
            .collect();
        assert_eq!(kinds.len(), 1 + FAULTS, "{kinds:?}");
        assert!(schedule(7, 30, 3, false).iter().all(|s| matches!(s.action, Action::Kill { .. })));
    }
}
