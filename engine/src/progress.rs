//! What each thread of a worker is doing right now: one word that it writes as it goes from one thing to the next, and
//! that probes read. Writing is one relaxed store; reading blocks nobody.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Clock;

/// What a thread is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Doing {
    /// Nothing has come.
    Waiting,
    /// It is at a batch, a barrier, a turn of its loop.
    Working,
    /// The edge behind it is full: whoever reads it is slow or stuck.
    Blocked,
    /// What it wants to do fails for a passing reason; it is tried again after pauses.
    Retrying,
    /// It has come to its end.
    Ended,
    /// It failed for good, or panicked.
    Dead,
}

impl Doing {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 6] =
        [Self::Waiting, Self::Working, Self::Blocked, Self::Retrying, Self::Ended, Self::Dead];

    /// As labels and probes have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Working => "working",
            Self::Blocked => "blocked",
            Self::Retrying => "retrying",
            Self::Ended => "ended",
            Self::Dead => "dead",
        }
    }
}

/// What a thread is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A lane of a source.
    Source,
    /// A lane of a stage.
    Stage,
    /// A lane of a sink.
    Sink,
    /// The writer of dead letters.
    DeadLetters,
    /// It serves a source's consumer group.
    Group,
    /// It decides about epochs.
    Coordinator,
}

impl Role {
    /// As probes have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Stage => "stage",
            Self::Sink => "sink",
            Self::DeadLetters => "dead letters",
            Self::Group => "group",
            Self::Coordinator => "coordinator",
        }
    }

    /// Whether it moves data, so that metrics show it.
    pub fn is_node(self) -> bool {
        matches!(self, Self::Source | Self::Stage | Self::Sink | Self::DeadLetters)
    }

    /// Whether it turns by itself, so that even waiting may not last: the others wait for input.
    pub fn turns(self) -> bool {
        matches!(self, Self::Source | Self::Group | Self::Coordinator)
    }
}

/// What one thread is doing, and since when.
pub struct Pulse {
    /// What it is there for.
    pub role: Role,
    /// Name of its node.
    pub node: Arc<str>,
    /// Its lane; `None` where there is only one for all lanes.
    pub lane: Option<usize>,
    /// Time that one step may take by right (a stage's limit), before anybody worries.
    pub patience: Duration,
    /// Nanoseconds on the clock when it began, times eight, and what it began.
    word: AtomicU64,
    /// Why it retries, or died.
    why: Mutex<String>,
    clock: Arc<dyn Clock>,
}

impl Pulse {
    /// A thread that is about to start.
    pub fn new(role: Role, node: &Arc<str>, lane: Option<usize>, clock: &Arc<dyn Clock>) -> Self {
        let (node, clock) = (Arc::clone(node), Arc::clone(clock));
        let pulse = Self {
            role,
            node,
            lane,
            patience: Duration::ZERO,
            word: AtomicU64::new(0),
            why: Mutex::default(),
            clock,
        };
        pulse.now(Doing::Waiting);
        pulse
    }

    /// The same with a step that may take this long.
    #[must_use]
    pub fn patient(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// It begins something: what it did before has come to its end.
    pub fn now(&self, doing: Doing) {
        let since = u64::try_from(self.clock.now().as_nanos()).unwrap_or(0);
        self.word.store(since << 3 | doing as u64, Ordering::Relaxed);
    }

    /// It tries something again; how long it has been trying counts from the first time.
    pub fn retrying(&self, why: &dyn fmt::Display) {
        *self.why.lock().unwrap_or_else(PoisonError::into_inner) = why.to_string();
        if self.get().0 != Doing::Retrying {
            self.now(Doing::Retrying);
        }
    }

    /// It is dead, for this reason.
    pub fn died(&self, why: &dyn fmt::Display) {
        *self.why.lock().unwrap_or_else(PoisonError::into_inner) = why.to_string();
        self.now(Doing::Dead);
    }

    /// What it is doing, and for how long.
    pub fn get(&self) -> (Doing, Duration) {
        let word = self.word.load(Ordering::Relaxed);
        let doing = Doing::ALL.get((word & 7) as usize).copied().unwrap_or(Doing::Waiting);
        (doing, self.clock.now().saturating_sub(Duration::from_nanos(word >> 3)))
    }

    /// Why it retries or died.
    pub fn why(&self) -> String {
        self.why.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Display for Pulse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (role, node) = (self.role.as_str(), &self.node);
        match (self.role, self.lane) {
            (Role::DeadLetters, _) => f.write_str("the writer of dead letters"),
            (Role::Coordinator, _) => f.write_str("the coordinator"),
            (Role::Group, _) => write!(f, "the group of source `{node}`"),
            (_, Some(lane)) => write!(f, "{role} `{node}`, lane {lane}"),
            (_, None) => write!(f, "{role} `{node}`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A clock that stands until it is moved.
    #[derive(Default)]
    struct Held(AtomicU64);

    impl Clock for Held {
        fn now(&self) -> Duration {
            Duration::from_secs(self.0.load(Ordering::Relaxed))
        }
        fn unix_ms(&self) -> i64 {
            0
        }
    }

    #[test]
    fn a_pulse_tells_what_and_since_when() {
        let held = Arc::new(Held::default());
        let clock: Arc<dyn Clock> = Arc::clone(&held) as _;
        let pulse = Pulse::new(Role::Sink, &"out".into(), Some(1), &clock);
        assert_eq!(pulse.to_string(), "sink `out`, lane 1");
        for doing in Doing::ALL {
            pulse.now(doing);
            held.0.fetch_add(100_000_000, Ordering::Relaxed);
            assert_eq!(pulse.get(), (doing, Duration::from_secs(100_000_000)), "three years later");
        }
        pulse.now(Doing::Working);
        pulse.retrying(&"first");
        held.0.fetch_add(7, Ordering::Relaxed);
        pulse.retrying(&"second");
        assert_eq!(pulse.get(), (Doing::Retrying, Duration::from_secs(7)), "since the first time");
        assert_eq!(pulse.why(), "second");
    }
}
