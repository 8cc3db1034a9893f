//! Who moves and who does not: what `/readyz` and `/livez` say, by the progress of lanes and partitions.
//!
//! *Ready* is about work: every lane and partition that has something to do moves, the groups have given their
//! assignments, nothing drains. *Live* is about a restart: it is lost only where nothing but a restart is left to try,
//! so neither to a sink that waits for its broker nor to a stage in a long call.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Serialize;

use super::stats::Stats;
use super::vitals::Phase;
use crate::connector::position::{Partition, Progress};
use crate::progress::{Doing, Pulse, Role};
use crate::sync::lock;
use crate::units::{HEALTH_PARTITIONS_MAX, HOPELESS_FACTOR, RETRYING_UNREADY};

/// What was found.
#[derive(Debug, Clone, Serialize)]
pub struct Health {
    /// Name of the pipeline; empty while it is not known yet.
    pub pipeline: String,
    /// Where the worker is in its life.
    pub phase: Phase,
    /// Everything that has work moves.
    pub ready: bool,
    /// A restart would not help.
    pub live: bool,
    /// Why it is not ready; those that a restart may help come first.
    pub reasons: Vec<Reason>,
    /// What each lane of each node is doing.
    pub nodes: Vec<NodeHealth>,
    /// How far each source is.
    pub sources: Vec<SourceHealth>,
    #[serde(skip)]
    pub(in crate::run) progress: Vec<(Arc<str>, Progress)>,
}

/// A reason for not being ready.
#[derive(Debug, Clone, Serialize)]
pub struct Reason {
    /// Which lane, partition or part of the worker.
    pub place: String,
    /// `dead`, `stuck`, `retrying`, `blocked`, `uncommitted`, `unassigned`, or the phase.
    pub state: &'static str,
    /// For how long.
    pub seconds: f64,
    /// In words.
    pub message: String,
    /// A restart may help.
    pub hopeless: bool,
}

/// A lane of a node.
#[derive(Debug, Clone, Serialize)]
pub struct NodeHealth {
    /// `source`, `stage`, `sink`, ...
    pub role: &'static str,
    /// Its name.
    pub name: String,
    /// Its lane, where it has several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lane: Option<usize>,
    /// What it is doing.
    pub doing: &'static str,
    /// For how long.
    pub seconds: f64,
}

/// A source.
#[derive(Debug, Clone, Serialize)]
pub struct SourceHealth {
    /// Its name.
    pub name: String,
    /// Its group has given the first assignment.
    pub joined: bool,
    /// Partitions that this worker owns.
    pub partitions: usize,
    /// Of those, the ones that have nothing to read, that are read, and that are not although they have.
    pub caught_up: usize,
    /// See above.
    pub catching_up: usize,
    /// See above.
    pub stuck: usize,
    /// The first of those that are not caught up, stuck ones first.
    pub behind: Vec<PartitionHealth>,
}

/// A partition that is not caught up.
#[derive(Debug, Clone, Serialize)]
pub struct PartitionHealth {
    /// Topic.
    pub topic: String,
    /// Number.
    pub partition: i32,
    /// `catching_up` or `stuck`.
    pub state: &'static str,
    /// Offset of the next record.
    pub position: i64,
    /// Records behind it.
    pub lag: i64,
    /// Time since it last moved.
    pub seconds: f64,
}

impl Health {
    /// Before there is a worker.
    pub fn starting() -> Self {
        let reason = Reason {
            place: "the worker".into(),
            state: "starting",
            seconds: 0.0,
            message: "sources and sinks are being opened".into(),
            hopeless: false,
        };
        Self {
            pipeline: String::new(),
            phase: Phase::Starting,
            ready: false,
            live: true,
            reasons: vec![reason],
            nodes: Vec::new(),
            sources: Vec::new(),
            progress: Vec::new(),
        }
    }
}

/// Looks at a worker again and again.
pub struct Monitor {
    stats: Arc<Stats>,
    stuck_after: Duration,
    /// For each partition with something to read its position, and when it was there first.
    moved: Mutex<BTreeMap<(Arc<str>, Partition), (i64, Duration)>>,
    /// When it began to look: for so long a source may have waited for its first assignment.
    began: Duration,
}

impl Monitor {
    /// A lane or a partition that has work and does not move for `stuck_after` is stuck.
    pub fn new(stats: Arc<Stats>, stuck_after: Duration) -> Self {
        let began = stats.clock.now();
        Self { stats, stuck_after, moved: Mutex::default(), began }
    }

    /// What it looks at.
    pub fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    fn hopeless(&self) -> Duration {
        self.stuck_after * HOPELESS_FACTOR
    }

    /// One look; to be taken about once a second.
    pub fn look(&self) -> Health {
        let vitals = &self.stats.vitals;
        let phase = vitals.phase();
        let mut reasons = Vec::new();
        if phase != Phase::Running {
            let (state, message) = match phase {
                Phase::Draining => ("draining", "it was told to stop: what was read is committed"),
                Phase::Ended => ("ended", "it has come to its end"),
                _ => ("failed", "something failed for good; the worker comes down"),
            };
            reasons.push(self.reason("the worker".into(), state, Duration::ZERO, message.into(), false));
        }
        let pulses = vitals.pulses();
        reasons.extend(pulses.iter().filter_map(|pulse| self.judge(pulse)));
        if let Some(deadlock) = self.deadlock(&pulses) {
            reasons.push(deadlock);
        }
        let age = vitals.epoch_age();
        if age > self.stuck_after {
            let message = "an epoch has been prepared or committed for that long".to_owned();
            reasons.push(self.reason("the commit".into(), "uncommitted", age, message, false));
        }
        let idle = !pulses.iter().any(|p| self.is_busy(p));
        let controls = lock(&vitals.controls).clone();
        let progress: Vec<_> = controls.into_iter().map(|(name, c)| (name, c.progress())).collect();
        let sources = progress.iter().map(|(name, p)| self.source(name, p, idle, &mut reasons)).collect();
        self.forget(&progress);
        reasons.sort_by_key(|reason| !reason.hopeless);
        Health {
            pipeline: self.stats.pipeline.clone(),
            phase,
            ready: reasons.is_empty(),
            live: !reasons.iter().any(|reason| reason.hopeless),
            reasons,
            nodes: pulses.iter().map(|pulse| node(pulse)).collect(),
            sources,
            progress,
        }
    }

    fn reason(
        &self,
        place: String,
        state: &'static str,
        time: Duration,
        message: String,
        hopeless: bool,
    ) -> Reason {
        Reason { place, state, seconds: rounded(time), message, hopeless }
    }

    /// What is wrong with a thread.
    fn judge(&self, pulse: &Pulse) -> Option<Reason> {
        let (doing, time) = pulse.get();
        let place = pulse.to_string();
        let late = time > self.stuck_after + pulse.patience;
        let hopeless = time > self.hopeless() + pulse.patience;
        match doing {
            Doing::Dead => Some(self.reason(place, "dead", time, pulse.why(), true)),
            Doing::Retrying if time > RETRYING_UNREADY => {
                Some(self.reason(place, "retrying", time, pulse.why(), false))
            }
            Doing::Working if late => {
                let message = "it has been at one batch for that long".to_owned();
                Some(self.reason(place, "stuck", time, message, hopeless))
            }
            // One that waits for input may wait for ever; one that turns by itself must turn.
            Doing::Waiting if late && pulse.role.turns() => {
                let message = "it no longer turns".to_owned();
                Some(self.reason(place, "stuck", time, message, hopeless))
            }
            Doing::Blocked if late => {
                let message = "the nodes behind it have taken nothing for that long".to_owned();
                Some(self.reason(place, "blocked", time, message, false))
            }
            _ => None,
        }
    }

    /// Whether the reason why nothing moves is here: not idle, and for long.
    fn is_busy(&self, pulse: &Pulse) -> bool {
        let (doing, time) = pulse.get();
        match doing {
            Doing::Retrying | Doing::Dead => true,
            Doing::Working | Doing::Blocked => time > RETRYING_UNREADY,
            Doing::Waiting | Doing::Ended => false,
        }
    }

    /// A thread that is blocked for a hopeless time while none is at work: they wait for each other.
    fn deadlock(&self, pulses: &[Arc<Pulse>]) -> Option<Reason> {
        let hopeless = |p: &&Arc<Pulse>| matches!(p.get(), (Doing::Blocked, t) if t > self.hopeless());
        let blocked = pulses.iter().find(hopeless)?;
        let works = |p: &Arc<Pulse>| matches!(p.get().0, Doing::Working | Doing::Retrying | Doing::Dead);
        if pulses.iter().any(works) {
            return None;
        }
        let message = "it waits for room, and no other node is at work".to_owned();
        Some(self.reason(blocked.to_string(), "stuck", blocked.get().1, message, true))
    }

    fn source(&self, name: &Arc<str>, at: &Progress, idle: bool, reasons: &mut Vec<Reason>) -> SourceHealth {
        let place = format!("source `{name}`");
        if !at.joined {
            let message = "its consumer group has given no assignment yet".to_owned();
            let waited = self.stats.clock.now().saturating_sub(self.began);
            reasons.push(self.reason(place.clone(), "unassigned", waited, message, false));
        }
        // What cannot be fetched counts as caught up, so that nothing else would say it.
        if let Some((time, why)) = at.unanswered.as_ref().filter(|(time, _)| *time > RETRYING_UNREADY) {
            reasons.push(self.reason(place, "retrying", *time, format!("no broker answers: {why}"), false));
        }
        // While the client itself says that its connections are in trouble, a restart would meet the same trouble.
        let trouble = at.quiet.is_some_and(|quiet| quiet < self.hopeless());
        let mut behind: Vec<PartitionHealth> = Vec::new();
        for partition in &at.partitions {
            let lag = partition.lag.unwrap_or(0);
            let still = self.still(name, &partition.partition, partition.position, lag);
            let Partition { topic, partition: number } = &partition.partition;
            if lag == 0 {
                continue;
            }
            let stuck = still > self.stuck_after;
            if stuck {
                let hopeless = still > self.hopeless() && idle && !trouble;
                let message = format!("{lag} records wait at offset {}", partition.position);
                let place = format!("partition {topic}/{number} of source `{name}`");
                reasons.push(self.reason(place, "stuck", still, message, hopeless));
            }
            behind.push(PartitionHealth {
                topic: topic.to_string(),
                partition: *number,
                state: if stuck { "stuck" } else { "catching_up" },
                position: partition.position,
                lag,
                seconds: rounded(still),
            });
        }
        let stuck = behind.iter().filter(|p| p.state == "stuck").count();
        let (partitions, all) = (at.partitions.len(), behind.len());
        behind.sort_by_key(|p| (p.state != "stuck", std::cmp::Reverse(p.lag)));
        behind.truncate(HEALTH_PARTITIONS_MAX);
        SourceHealth {
            name: name.to_string(),
            joined: at.joined,
            partitions,
            caught_up: partitions - all,
            catching_up: all - stuck,
            stuck,
            behind,
        }
    }

    /// Time since a partition with something to read last moved.
    fn still(&self, source: &Arc<str>, partition: &Partition, position: i64, lag: i64) -> Duration {
        let now = self.stats.clock.now();
        let mut moved = lock(&self.moved);
        let entry = moved.entry((Arc::clone(source), partition.clone())).or_insert((position, now));
        if entry.0 != position || lag == 0 {
            *entry = (position, now);
        }
        now - entry.1
    }

    /// Partitions that have left begin anew when they come back.
    fn forget(&self, progress: &[(Arc<str>, Progress)]) {
        lock(&self.moved).retain(|(source, partition), _| {
            progress
                .iter()
                .any(|(name, p)| name == source && p.partitions.iter().any(|p| p.partition == *partition))
        });
    }
}

fn node(pulse: &Pulse) -> NodeHealth {
    let (doing, time) = pulse.get();
    NodeHealth {
        role: pulse.role.as_str(),
        name: pulse.node.to_string(),
        lane: pulse.lane.filter(|_| pulse.role != Role::Coordinator),
        doing: doing.as_str(),
        seconds: rounded(time),
    }
}

/// Seconds, to the millisecond.
fn rounded(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e3).round() / 1e3
}
