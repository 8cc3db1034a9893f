//! The one place that decides when an epoch begins, when it commits, when everything goes back, and when it ends.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::committer::{Committer, Ready, Size};
use super::positions::Positions;
use crate::clock::Clock;
use crate::connector::position;
use crate::epoch::Machine;
use crate::error::{Code, Error, Result};
use crate::metrics;
use crate::progress::{Doing, Pulse};
use crate::repeats::Repeats;
use crate::run::observe::vitals::{Phase, Vitals};
use crate::run::signals::{Event, Signals};
use crate::units::Epoch;

pub(in crate::run) struct Coordinator {
    pub machine: Machine<Positions>,
    pub signals: Arc<Signals>,
    pub events: Receiver<Event>,
    pub committer: Box<dyn Committer>,
    /// What each source has read, for the decision whether there is anything to commit.
    pub read: Vec<Arc<metrics::Source>>,
    pub interval: Duration,
    pub shutdown_timeout: Duration,
    pub clock: Arc<dyn Clock>,
    pub stats: Arc<metrics::Worker>,
    pub pulse: Arc<Pulse>,
    pub vitals: Arc<Vitals>,
    /// Epochs in flight, each with the time at which its barriers were asked for.
    pub begun: VecDeque<(Epoch, Duration)>,
    /// Lanes of sources that have nothing more to read.
    pub at_end: BTreeSet<usize>,
    pub lanes: usize,
    /// The end was asked for.
    pub stopping: bool,
    /// Who waits for an epoch to commit.
    pub drains: Vec<(Epoch, Sender<()>)>,
    /// What is in flight is void, and the sources have not been told yet where they go on.
    pub void: bool,
    /// Times that the worker went back since the last commit.
    pub setbacks: u32,
    pub due: Due,
    pub sizes: Sizes,
}

/// How large epochs are.
#[derive(Default)]
pub(in crate::run) struct Sizes {
    /// Of those in flight, as far as lanes have told: bytes, lanes, and whether one ended because a lane had read its part.
    epochs: BTreeMap<Epoch, (u64, usize, bool)>,
    /// A lane has read its part, and waits for the barrier.
    full: bool,
    /// What the oldest epoch held that was given up.
    lost: Option<u64>,
}

/// When something is to be done next.
#[derive(Default)]
pub(in crate::run) struct Due {
    /// When the last barrier was asked for, and what had been read by then.
    injected: (Duration, u64),
    commit_after: Duration,
    revive_after: Duration,
    /// By when all must be drained.
    deadline: Option<Duration>,
}

impl Due {
    /// A worker that starts now.
    pub fn new(now: Duration) -> Self {
        Self { injected: (now, 0), ..Self::default() }
    }
}

/// A commit that failed for a passing reason is tried again after this.
const COMMIT_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause before the worker goes back once more without having committed in between.
const SETBACK_PAUSE_MAX: Duration = Duration::from_secs(5);
/// It turns at least this often, so that one that no longer turns is noticed.
const TURN_MAX: Duration = Duration::from_secs(1);
/// And never more often without an event.
const TURN_MIN: Duration = Duration::from_millis(1);

impl Coordinator {
    pub fn run(mut self) -> Result<()> {
        let result = self.serve();
        self.conclude(result.is_ok());
        result
    }

    fn serve(&mut self) -> Result<()> {
        while !self.machine.is_finished() {
            let wait = self.wait();
            if self.pulse.get().0 != Doing::Retrying {
                self.pulse.now(Doing::Waiting);
            }
            match self.events.recv_timeout(wait) {
                Ok(event) => self.step(Some(event))?,
                Err(RecvTimeoutError::Timeout) => self.step(None)?,
                Err(RecvTimeoutError::Disconnected) => return Err(Error::internal("all nodes are gone")),
            }
        }
        Ok(())
    }

    /// Nothing is committed any more: the lanes may end, or must.
    pub fn conclude(&mut self, is_ok: bool) {
        self.committer.close();
        let end = if is_ok { &self.signals.over } else { &self.signals.down };
        end.store(true, Ordering::Release);
        self.signals.ring();
        self.vitals.enter(if is_ok { Phase::Ended } else { Phase::Failed });
        self.pulse.now(Doing::Ended);
    }

    /// How long it may wait for an event: until something is due that no event announces.
    pub fn wait(&self) -> Duration {
        let next = if self.void {
            Some(self.due.revive_after)
        } else if self.machine.front().is_some() {
            Some(self.due.commit_after)
        } else if self.machine.may_inject() && self.has_read() {
            Some(self.due.injected.0 + self.interval)
        } else {
            // A commit makes room for another epoch, and a lane that reads says so.
            None
        };
        let next = next.into_iter().chain(self.due.deadline).min();
        let now = self.clock.now();
        next.map_or(TURN_MAX, |at| at.saturating_sub(now).clamp(TURN_MIN, TURN_MAX))
    }

    /// Records that all sources have read so far.
    fn total(&self) -> u64 {
        self.read.iter().map(|source| source.read.get()).sum()
    }

    /// Whether something was read since the last barrier. Where nothing was, the lane that reads the next record says so.
    fn has_read(&self) -> bool {
        let has = || self.total() != self.due.injected.1;
        has() || {
            self.signals.await_record();
            has()
        }
    }

    /// Takes what was told, and does all that is due.
    pub fn step(&mut self, event: Option<Event>) -> Result<()> {
        if let Some(event) = event {
            self.handle(event)?;
        }
        let now = self.clock.now();
        self.share();
        if self.stopping {
            self.due.deadline.get_or_insert(now + self.shutdown_timeout);
        }
        if now >= self.due.commit_after && self.commit_ready()?.is_break() {
            self.due.commit_after = now + COMMIT_PAUSE;
        }
        if self.void && now >= self.due.revive_after {
            self.due.revive_after = now + self.revive()?;
        }
        let total = self.total();
        let (at, read) = self.due.injected;
        let due = now >= at + self.interval || self.sizes.full;
        if due && total != read && self.inject(false).is_some() {
            self.due.injected = (now, total);
        }
        if self.due.deadline.is_some_and(|deadline| now > deadline) {
            let text = format!(
                "not drained within {}; what is not committed comes again at the next start",
                humantime::format_duration(self.shutdown_timeout)
            );
            return Err(Error::external(Code::X001, text).help("raise `delivery.shutdown_timeout`"));
        }
        Ok(())
    }

    fn handle(&mut self, event: Event) -> Result<()> {
        match event {
            Event::Barrier { generation, lane, epoch, source, positions, bytes } => {
                if let Some(size) = self.sizes.epochs.get_mut(&epoch)
                    && generation == self.machine.generation()
                {
                    (size.0, size.1) = (size.0 + bytes, size.1 + 1);
                }
                let mut all = Positions(vec![position::Positions::new(); self.read.len()]);
                all.0[source] = positions;
                self.machine.barrier(generation, lane, epoch, &all)
            }
            Event::Prepared { generation, terminal, epoch } => {
                self.machine.prepared(generation, terminal, epoch)
            }
            // The step looks at the counts.
            Event::Read => Ok(()),
            Event::Full { generation, barrier } => {
                let (current, last) = (self.machine.generation(), self.machine.injected());
                self.sizes.full |= (generation, barrier) == (current, last);
                Ok(())
            }
            Event::AtEnd { generation, lane } => {
                if generation == self.machine.generation() {
                    self.at_end.insert(lane);
                }
                if self.at_end.len() == self.lanes {
                    self.finish();
                }
                Ok(())
            }
            Event::Drain { done } => {
                let epoch = self.inject(true).unwrap_or(self.machine.injected());
                self.drains.push((epoch, done));
                Ok(())
            }
            Event::Rewind { of, reason } => {
                // Several lanes may report what one rewind has mended.
                if of.is_none_or(|generation| generation == self.machine.generation()) {
                    self.rewind(&reason);
                }
                Ok(())
            }
            Event::Stop => {
                self.stopping = true;
                self.vitals.enter(Phase::Draining);
                self.finish();
                Ok(())
            }
            Event::Failed(error) => Err(error),
        }
    }

    fn inject(&mut self, forced: bool) -> Option<Epoch> {
        if self.void {
            return None;
        }
        let epoch = self.machine.inject(forced)?;
        self.began(epoch);
        self.signals.target.store(epoch.0, Ordering::Release);
        self.signals.ring();
        Some(epoch)
    }

    fn began(&mut self, epoch: Epoch) {
        if self.begun.back().is_none_or(|(last, _)| *last < epoch) {
            self.begun.push_back((epoch, self.clock.now()));
            let full = std::mem::take(&mut self.sizes.full);
            self.sizes.epochs.insert(epoch, (0, 0, full));
        }
        self.tell_epochs();
    }

    fn tell_epochs(&self) {
        self.stats.epochs_in_flight.set(self.begun.len() as u64);
        self.vitals.oldest_epoch(self.begun.front().map(|(_, at)| *at));
    }

    fn finish(&mut self) {
        if self.void {
            return;
        }
        let last = self.machine.finish();
        self.began(last);
        // In this order: a lane that sees the barrier asked for must know that it is the last.
        self.signals.last.store(last.0, Ordering::Release);
        self.signals.target.store(last.0, Ordering::Release);
        self.signals.ring();
    }

    /// Commits what is ready; `Break` when a commit failed for a passing reason.
    fn commit_ready(&mut self) -> Result<std::ops::ControlFlow<()>> {
        while let Some((epoch, all)) = self.machine.ready() {
            let begin = self.clock.now();
            let own = self.machine.front().unwrap_or(&all);
            let ready = Ready { generation: self.machine.generation(), epoch, own, all: &all };
            match self.committer.commit(&ready) {
                Ok(()) => self.pulse.now(Doing::Working),
                Err(error) if error.is_stale() => {
                    self.stats.commit_failures.add(1);
                    self.rewind(&error.to_string());
                    return Ok(std::ops::ControlFlow::Continue(()));
                }
                Err(error) if error.is_passing() => {
                    if let Some(more) =
                        Repeats::shared().say(&format!("the commit failed; trying again: {error}"))
                    {
                        tracing::warn!(%error, %epoch, "the commit failed; trying again{more}");
                    }
                    self.pulse.retrying(&error);
                    self.stats.commit_failures.add(1);
                    return Ok(std::ops::ControlFlow::Break(()));
                }
                Err(error) => return Err(error),
            }
            self.machine.commit(epoch)?;
            self.learn(epoch);
            self.setbacks = 0;
            self.stats.commits.add(1);
            self.stats.commit_ns.record((self.clock.now() - begin).as_nanos() as u64);
            self.stats.last_commit_ms.set(u64::try_from(self.clock.unix_ms()).unwrap_or(0));
            self.begun.retain(|(begun, _)| *begun > epoch);
            self.tell_epochs();
            self.drains.retain(|(drained, done)| {
                if *drained <= epoch {
                    // Who no longer waits needs no answer.
                    let _ = done.send(());
                }
                *drained > epoch
            });
        }
        Ok(std::ops::ControlFlow::Continue(()))
    }

    /// What an epoch's size comes to, once it is final.
    fn learn(&mut self, epoch: Epoch) {
        let Some((bytes, _, full)) = self.sizes.epochs.remove(&epoch) else { return };
        let closed = self.begun.iter().find(|(begun, _)| *begun == epoch).map(|(_, at)| *at);
        let at = self.clock.now();
        let drained = at.saturating_sub(closed.unwrap_or_default());
        self.committer.learn(&Size { bytes, full, drained, at });
        self.share();
    }

    /// Tells the lanes what each of them may read for an epoch.
    fn share(&self) {
        let lanes = self.lanes.max(1) as u64;
        let share = self.committer.portion().map_or(0, |bytes| (bytes / lanes).max(1));
        self.signals.share.store(share, Ordering::Relaxed);
    }

    /// Everything in flight is void from here on; [`Coordinator::revive`] goes on.
    fn rewind(&mut self, reason: &str) {
        tracing::warn!(reason, "going back to what is committed");
        let generation = self.machine.rewind();
        self.committer.void(generation);
        self.stats.rewinds.add(1);
        let Sizes { epochs, full, lost } = &mut self.sizes;
        // Another rewind on top of one knows nothing more.
        if let Some((bytes, lanes, _)) = epochs.values().next() {
            *lost = (*lanes == self.lanes).then_some(*bytes);
        }
        epochs.clear();
        *full = false;
        self.begun.clear();
        self.tell_epochs();
        self.at_end.clear();
        self.void = true;
    }

    /// Tells the sources where they go on. Answers how long to wait before the next time that it must.
    fn revive(&mut self) -> Result<Duration> {
        let (generation, injected) = (self.machine.generation(), self.machine.injected());
        let pause =
            Duration::from_millis(50).saturating_mul(1 << self.setbacks.min(10)).min(SETBACK_PAUSE_MAX);
        self.setbacks += 1;
        let positions = match self.committer.revive(generation, injected.next(), self.sizes.lost) {
            Ok(Some(found)) => found.0,
            Ok(None) => self.machine.committed().1.0.clone(),
            Err(error) if error.is_passing() || error.is_stale() => {
                if let Some(more) =
                    Repeats::shared().say(&format!("going back is not possible yet; trying again: {error}"))
                {
                    tracing::warn!(%error, "going back is not possible yet; trying again{more}");
                }
                self.pulse.retrying(&error);
                return Ok(pause);
            }
            Err(error) => return Err(error),
        };
        self.void = false;
        self.sizes.lost = None;
        self.share();
        self.pulse.now(Doing::Working);
        *self.signals.rewind.lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
            (generation, injected, positions);
        self.signals.last.store(0, Ordering::Release);
        self.signals.generation.raise(generation);
        self.signals.ring();
        // An end that was asked for stays asked for. One that came because all was read is forgotten: what was not
        // committed is read again first.
        if self.stopping {
            self.finish();
        } else if !self.drains.is_empty() {
            // Whoever waits for a drain waits for what is read from here on.
            let epoch = self.inject(true).unwrap_or(self.machine.injected());
            self.drains.iter_mut().for_each(|(drained, _)| *drained = epoch);
        }
        Ok(pause)
    }
}
