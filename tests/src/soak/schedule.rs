//! What is done to the workers and the brokers, and when: all of it follows from the seed.

use std::fmt;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use crate::cluster::BROKERS;

/// `session.timeout.ms` of the workers: the group gives a dead worker's partitions away after this long.
pub const SESSION: Duration = Duration::from_secs(6);
/// Between two faults that are no mere kill of a worker lie this many kills.
const KILLS_PER_FAULT: u32 = 3;
/// Kinds of them, with one broker.
const FAULTS: usize = 5;
/// Kinds of them, with several.
const CLUSTER_FAULTS: usize = 10;

/// Which faults there are beside kills of workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Faults {
    /// None.
    None,
    /// Those of workers and of one broker.
    One,
    /// Those of workers and of several brokers, and of the network between them.
    Several,
}

/// How a way between two ends is interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Connections are closed, and new ones at once.
    Cut,
    /// Connections stay open, and nothing comes through.
    Hole,
}

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
    /// kill -9 of one broker of several: leaders move when the others notice. It is started again after a pause.
    CrashOne {
        /// Which.
        broker: usize,
        /// How long it stays away.
        pause: Duration,
    },
    /// One broker of several ends in order: leaders and coordinators move at once. It is started again after a pause.
    StopOne {
        /// Which.
        broker: usize,
        /// How long it stays away.
        pause: Duration,
    },
    /// SIGSTOP of one broker of several, then SIGCONT: it believes that it leads.
    FreezeOne {
        /// Which.
        broker: usize,
        /// How long.
        time: Duration,
    },
    /// kill -9 of the broker that coordinates the workers' group.
    CrashGroupCoordinator {
        /// How long it stays away.
        pause: Duration,
    },
    /// kill -9 of the broker that coordinates a worker's transactions.
    CrashTransactionCoordinator {
        /// Whose.
        worker: usize,
        /// How long it stays away.
        pause: Duration,
    },
    /// Two brokers cannot reach each other; both reach the third.
    PartBrokers {
        /// The one that is not of the two.
        third: usize,
        /// How.
        how: How,
        /// How long.
        time: Duration,
    },
    /// One broker reaches none of the others, and workers reach it still.
    IsolateBroker {
        /// Which.
        broker: usize,
        /// How.
        how: How,
        /// How long.
        time: Duration,
    },
    /// No worker reaches one broker.
    PartWorkers {
        /// Which broker.
        broker: usize,
        /// How.
        how: How,
        /// How long.
        time: Duration,
    },
    /// One worker reaches no broker.
    IsolateWorker {
        /// Which.
        worker: usize,
        /// How.
        how: How,
        /// How long.
        time: Duration,
    },
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
            Self::CrashOne { broker, pause } => write!(f, "kill -9 of broker {broker}, away for {pause:?}"),
            Self::StopOne { broker, pause } => write!(f, "broker {broker} is stopped, away for {pause:?}"),
            Self::FreezeOne { broker, time } => write!(f, "broker {broker} frozen for {time:?}"),
            Self::CrashGroupCoordinator { pause } => {
                write!(f, "kill -9 of the group's coordinator, away for {pause:?}")
            }
            Self::CrashTransactionCoordinator { worker, pause } => {
                write!(f, "kill -9 of the coordinator of w{worker}'s transactions, away for {pause:?}")
            }
            Self::PartBrokers { third, how, time } => {
                write!(f, "{how:?} between the brokers but {third} for {time:?}")
            }
            Self::IsolateBroker { broker, how, time } => {
                write!(f, "{how:?} between broker {broker} and the other brokers for {time:?}")
            }
            Self::PartWorkers { broker, how, time } => {
                write!(f, "{how:?} between broker {broker} and the workers for {time:?}")
            }
            Self::IsolateWorker { worker, how, time } => {
                write!(f, "{how:?} between w{worker} and all brokers for {time:?}")
            }
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

/// Shorter or longer than what brokers and workers wait for each other.
fn outage(random: &mut StdRng) -> Duration {
    match random.random_range(0..3) {
        0 => between(random, 500, 4_000),
        _ => longer_than_session(random),
    }
}

fn cluster_fault(random: &mut StdRng, kind: usize, worker: usize) -> Action {
    let broker = random.random_range(0..BROKERS);
    let how = if random.random_range(0..2) == 0 { How::Cut } else { How::Hole };
    let (pause, time) = (between(random, 0, 5_000), outage(random));
    match kind {
        0 => Action::CrashOne { broker, pause },
        1 => Action::StopOne { broker, pause },
        2 => Action::FreezeOne { broker, time },
        3 => Action::CrashGroupCoordinator { pause },
        4 => Action::CrashTransactionCoordinator { worker, pause },
        5 => Action::PartBrokers { third: broker, how, time },
        6 => Action::IsolateBroker { broker, how, time },
        7 => Action::PartWorkers { broker, how, time },
        8 => Action::IsolateWorker { worker, how, time },
        _ => Action::FreezeWorker { worker, time: freeze(random) },
    }
}

/// The steps of a run: as many kills, in rotation over the workers, and the other faults between them.
pub fn schedule(seed: u64, kills: u32, workers: usize, faults: Faults) -> Vec<Step> {
    let mut random = StdRng::seed_from_u64(seed);
    let (mut steps, mut round, mut deck) = (Vec::new(), Vec::new(), Vec::new());
    let kinds = match faults {
        Faults::None => 0,
        Faults::One => FAULTS,
        Faults::Several => CLUSTER_FAULTS,
    };
    for kill in 1..=kills {
        if round.is_empty() {
            round.extend(0..workers);
            round.shuffle(&mut random);
        }
        let worker = round.pop().unwrap_or_default();
        let action = Action::Kill { worker, pause: pause(&mut random) };
        steps.push(Step { wait: wait(&mut random), action });
        if kinds > 0 && kill % KILLS_PER_FAULT == 0 {
            if deck.is_empty() {
                deck.extend(0..kinds);
                deck.shuffle(&mut random);
            }
            let worker = random.random_range(0..workers);
            let kind = deck.pop().unwrap_or_default();
            let action = match faults {
                Faults::Several => cluster_fault(&mut random, kind, worker),
                _ => fault(&mut random, kind, worker),
            };
            steps.push(Step { wait: wait(&mut random), action });
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(steps: &[Step]) -> std::collections::BTreeSet<String> {
        let kind =
            |s: &Step| format!("{:?}", s.action).split([' ', '{']).next().unwrap_or_default().to_owned();
        steps.iter().map(kind).collect()
    }

    #[test]
    fn a_seed_says_everything_and_the_rotation_spares_nobody() {
        let steps = schedule(7, 30, 3, Faults::One);
        assert_eq!(steps, schedule(7, 30, 3, Faults::One));
        assert_ne!(steps, schedule(8, 30, 3, Faults::One));
        for worker in 0..3 {
            let kills =
                steps.iter().filter(|s| matches!(s.action, Action::Kill { worker: w, .. } if w == worker));
            assert_eq!(kills.count(), 10);
        }
        assert_eq!(kinds(&steps).len(), 1 + FAULTS, "{:?}", kinds(&steps));
        assert!(schedule(7, 30, 3, Faults::None).iter().all(|s| matches!(s.action, Action::Kill { .. })));
    }

    #[test]
    fn all_that_can_happen_to_a_cluster_happens() {
        let steps = schedule(7, 30, 3, Faults::Several);
        assert_eq!(kinds(&steps).len(), 1 + CLUSTER_FAULTS, "{:?}", kinds(&steps));
    }
}
