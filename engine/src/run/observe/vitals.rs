//! Where a worker is in its life, and what its threads say of themselves.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Serialize;

use crate::clock::Clock;
use crate::connector::source::Control;
use crate::progress::Pulse;
use crate::sync::lock;

/// Where a worker is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It has not started yet: clusters are being reached.
    Starting,
    /// It reads.
    Running,
    /// It was told to stop: nothing more is read, what was read is committed.
    Draining,
    /// All was committed.
    Ended,
    /// Something failed for good.
    Failed,
}

const PHASES: [Phase; 5] = [Phase::Starting, Phase::Running, Phase::Draining, Phase::Ended, Phase::Failed];

/// What the threads of a worker say of themselves.
pub struct Vitals {
    clock: Arc<dyn Clock>,
    phase: AtomicU8,
    /// Nanoseconds on the clock when the oldest epoch in flight was begun, plus one; 0: there is none.
    oldest: AtomicU64,
    pulses: Mutex<Vec<Arc<Pulse>>>,
    pub(super) controls: Mutex<Vec<(Arc<str>, Arc<dyn Control>)>>,
}

impl Vitals {
    pub(in crate::run) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            phase: AtomicU8::new(Phase::Running as u8),
            oldest: AtomicU64::new(0),
            pulses: Mutex::default(),
            controls: Mutex::default(),
        }
    }

    /// A thread that is about to start.
    pub(in crate::run) fn watch(&self, pulse: Arc<Pulse>) {
        lock(&self.pulses).push(pulse);
    }

    /// A source that is about to be read.
    pub(in crate::run) fn follow(&self, name: &Arc<str>, control: Arc<dyn Control>) {
        lock(&self.controls).push((Arc::clone(name), control));
    }

    /// A phase begins; there is no way back.
    pub(in crate::run) fn enter(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::AcqRel);
    }

    pub(in crate::run) fn oldest_epoch(&self, begun: Option<Duration>) {
        let word = begun.map_or(0, |at| u64::try_from(at.as_nanos()).unwrap_or(0) + 1);
        self.oldest.store(word, Ordering::Relaxed);
    }

    /// Where the worker is in its life.
    pub fn phase(&self) -> Phase {
        PHASES[usize::from(self.phase.load(Ordering::Acquire)).min(PHASES.len() - 1)]
    }

    /// Age of the oldest epoch that is not committed.
    pub fn epoch_age(&self) -> Duration {
        match self.oldest.load(Ordering::Relaxed).checked_sub(1) {
            Some(begun) => self.clock.now().saturating_sub(Duration::from_nanos(begun)),
            None => Duration::ZERO,
        }
    }

    /// What its threads are doing.
    pub fn pulses(&self) -> Vec<Arc<Pulse>> {
        lock(&self.pulses).clone()
    }
}
