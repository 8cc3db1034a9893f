//! How an epoch becomes final, under each guarantee. The coordinator decides when; here is what is done.

use std::sync::Arc;
use std::time::Duration;

use super::portion::{Portion, Took};
use super::position_file::State;
use super::positions::Positions;
use super::write_gate::Gate;
use crate::connector::commit::Transaction;
use crate::connector::position::{self, Replay};
use crate::connector::source::Control;
use crate::error::{Code, Error, Result};
use crate::metrics;
use crate::units::{Epoch, Generation};

/// A source, as far as commits are concerned.
pub(in crate::run) struct Committed {
    pub name: Arc<str>,
    pub control: Arc<dyn Control>,
    pub replay: Replay,
    pub stats: Arc<metrics::Source>,
}

/// An epoch that every lane and every terminal has reported.
pub(in crate::run) struct Ready<'a> {
    pub generation: Generation,
    pub epoch: Epoch,
    /// What the epoch itself has read.
    pub own: &'a Positions,
    /// The same with all that was committed before.
    pub all: &'a Positions,
}

/// What is known of an epoch's size once it is final.
pub(in crate::run) struct Size {
    /// Bytes of its originals.
    pub bytes: u64,
    /// It ended because a lane had read its part.
    pub full: bool,
    /// From when it was to end until it was final.
    pub drained: Duration,
    /// When it was final.
    pub at: Duration,
}

/// Makes epochs final. Errors: a passing one is tried again, a stale one makes the worker go back, any other ends it.
pub(in crate::run) trait Committer: Send {
    /// Makes an epoch final: all of it, or an error and none of it (or, where the error is stale, all or none of it).
    fn commit(&mut self, ready: &Ready<'_>) -> Result<()>;
    /// What is in flight is void as of this generation: no row of an older one is written any more.
    fn void(&mut self, generation: Generation);
    /// Ends what is void, whatever became of it, and makes room for this epoch. Answers where sources go on; `None`:
    /// where the last commit left them. `lost`: bytes of the oldest epoch that is void, where they are known.
    fn revive(
        &mut self,
        generation: Generation,
        epoch: Epoch,
        lost: Option<u64>,
    ) -> Result<Option<Positions>>;
    /// The epoch that was made final last was so large, and took so long.
    fn learn(&mut self, _: &Size) {}
    /// Bytes of originals that an epoch may hold; `None`: as many as come in time.
    fn portion(&self) -> Option<u64> {
        None
    }
    /// No epoch follows.
    fn close(&mut self) {}
}

/// Sinks are durable by themselves; then the group, or the state folder, may know.
pub(in crate::run) struct AtLeastOnce {
    pub sources: Vec<Committed>,
    /// Where sources without a group keep their positions.
    pub state: Option<State>,
}

impl Committer for AtLeastOnce {
    fn commit(&mut self, ready: &Ready<'_>) -> Result<()> {
        for (source, positions) in self.sources.iter().zip(&ready.all.0) {
            if !positions.is_empty() {
                source.control.commit(positions).map_err(|e| place(e, source))?;
            }
        }
        let Some(state) = &mut self.state else { return Ok(()) };
        let kept = self.sources.iter().zip(&ready.all.0).filter(|(s, _)| s.replay == Replay::State);
        state.save(kept.map(|(source, positions)| (source.name.as_ref(), positions, source.control.kept())))
    }

    fn void(&mut self, _: Generation) {}

    fn revive(&mut self, _: Generation, _: Epoch, _: Option<u64>) -> Result<Option<Positions>> {
        Ok(None)
    }
}

/// One Kafka transaction an epoch: what all sinks and the dead letters have written, and the positions. The next one is
/// written meanwhile.
pub(in crate::run) struct ExactlyOnce {
    pub sources: Vec<Committed>,
    pub transaction: Arc<dyn Transaction>,
    pub gate: Arc<Gate>,
    /// Waits this long for a lane that is inside.
    pub empty_wait: Duration,
    /// The epoch that was written in full last, and its commit is due.
    pub full: Option<(Generation, Epoch)>,
    /// How much an epoch may hold.
    pub portion: Portion,
    /// How long the transaction of the last commit was written into; `None`: it had none.
    pub written: Option<Duration>,
}

/// A lane that is inside writes for at most a second at a time, so that this is longer than it ever takes.
pub(in crate::run) const EMPTY_WAIT: Duration = Duration::from_secs(5);

impl Committer for ExactlyOnce {
    fn commit(&mut self, ready: &Ready<'_>) -> Result<()> {
        // Without a position nothing was read, and without a record nothing was written.
        let is_empty = ready.own.0.iter().all(position::Positions::is_empty);
        if self.full != Some((ready.generation, ready.epoch)) {
            // Every terminal has reported: nobody is inside, and every record is confirmed.
            self.gate.close(ready.generation);
            if !is_empty {
                self.transaction.turn()?;
            }
            self.full = Some((ready.generation, ready.epoch));
            // The next epoch is written while this one commits. It commits after it, or not at all.
            self.gate.open(ready.generation, ready.epoch.next());
        }
        self.written = None;
        if is_empty {
            return Ok(());
        }
        let mut offsets = Vec::with_capacity(self.sources.len());
        for (source, positions) in self.sources.iter().zip(&ready.own.0) {
            if !positions.is_empty() {
                offsets.push(source.control.claim(positions).map_err(|e| place(e, source))?);
            }
        }
        self.written = Some(self.transaction.commit(offsets)?);
        Ok(())
    }

    fn void(&mut self, generation: Generation) {
        self.gate.close(generation);
    }

    fn revive(
        &mut self,
        generation: Generation,
        epoch: Epoch,
        lost: Option<u64>,
    ) -> Result<Option<Positions>> {
        if !self.gate.is_empty(self.empty_wait) {
            return Err(Error::passing(
                Code::X012,
                "a sink is still writing into the transaction that is over",
            ));
        }
        let longer = self.transaction.is_overdue() && {
            let before = self.portion.bytes();
            let smaller = self.portion.overran(lost);
            let bytes = self.portion.bytes();
            tracing::warn!(
                before,
                bytes,
                "an epoch took longer than its transaction may: the next ones are smaller"
            );
            !smaller
        };
        self.transaction.begin(longer)?;
        // Only now is certain what became of the last commit: its outcome is where the group's offsets stand.
        let mut positions = Positions(vec![position::Positions::new(); self.sources.len()]);
        for (source, positions) in self.sources.iter().zip(&mut positions.0) {
            *positions = source.control.committed().map_err(|e| place(e, source))?;
        }
        self.gate.open(generation, epoch);
        Ok(Some(positions))
    }

    fn learn(&mut self, size: &Size) {
        let Some(written) = self.written.take() else { return };
        let Size { bytes, full, drained, at } = *size;
        let timeout = self.transaction.timeout();
        self.portion.committed(&Took { bytes, full, written, drained, timeout, at });
    }

    fn portion(&self) -> Option<u64> {
        Some(self.portion.bytes())
    }

    fn close(&mut self) {
        self.transaction.close();
    }
}

fn place(error: Error, source: &Committed) -> Error {
    error.context(format!("source `{}`", source.name))
}
