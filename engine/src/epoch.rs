//! The commit state machine: which epoch is in flight, who has reported, what may commit. Pure: no IO, no threads,
//! no clock; `run/` feeds it events and carries out what it answers.
//!
//! - A **lane** of a source reports its barrier of an epoch with the positions it had read to.
//! - A **terminal** (each sink of each lane, and the dead-letter writer) reports that it has prepared the epoch.
//! - An epoch commits when every lane and every terminal has reported, in order, one at a time, whole.
//! - A rewind raises the generation: what is in flight is forgotten, reports of older generations are ignored.

use std::collections::VecDeque;

use crate::error::{Error, Result};
use crate::units::{EPOCHS_IN_FLIGHT_MAX, Epoch, Generation};

/// What a lane had read when it sent its barrier. Later positions win.
pub trait Positions: Default + Clone {
    /// Takes over the later of both.
    fn advance(&mut self, later: &Self);
}

/// Commit state of a worker. `P`: positions of sources.
#[derive(Debug)]
pub struct Machine<P> {
    lanes: usize,
    terminals: usize,
    generation: Generation,
    /// The last epoch whose barrier was asked for.
    injected: Epoch,
    in_flight: VecDeque<InFlight<P>>,
    /// Everything below is durable, and the group (or the state folder) knows it.
    committed: (Epoch, P),
    /// The epoch after which there is none.
    last: Option<Epoch>,
}

#[derive(Debug)]
struct InFlight<P> {
    epoch: Epoch,
    lanes: Vec<bool>,
    terminals: Vec<bool>,
    positions: P,
}

impl<P> InFlight<P> {
    fn is_complete(&self) -> bool {
        self.lanes.iter().all(|&reported| reported) && self.terminals.iter().all(|&reported| reported)
    }
}

impl<P: Positions> Machine<P> {
    /// A worker with this many source lanes and terminals.
    pub fn new(lanes: usize, terminals: usize) -> Self {
        Self {
            lanes,
            terminals,
            generation: Generation(0),
            injected: Epoch(0),
            in_flight: VecDeque::new(),
            committed: (Epoch(0), P::default()),
            last: None,
        }
    }

    /// The generation.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The last epoch whose barrier was asked for.
    pub fn injected(&self) -> Epoch {
        self.injected
    }

    /// The last epoch that committed, and the positions it committed.
    pub fn committed(&self) -> &(Epoch, P) {
        &self.committed
    }

    /// Whether an epoch is on its way.
    pub fn is_busy(&self) -> bool {
        !self.in_flight.is_empty()
    }

    /// Whether the last epoch has committed.
    pub fn is_finished(&self) -> bool {
        self.last.is_some_and(|last| self.committed.0 >= last)
    }

    /// Whether the next barrier may be asked for.
    pub fn may_inject(&self) -> bool {
        self.last.is_none() && self.in_flight.len() < EPOCHS_IN_FLIGHT_MAX
    }

    /// Asks for the next barrier; `None` when too many epochs are in flight already (unless forced) or the last one
    /// has been asked for.
    pub fn inject(&mut self, forced: bool) -> Option<Epoch> {
        if self.last.is_some() || !(forced || self.may_inject()) {
            return None;
        }
        self.injected = self.injected.next();
        self.in_flight.push_back(InFlight {
            epoch: self.injected,
            lanes: vec![false; self.lanes],
            terminals: vec![false; self.terminals],
            positions: P::default(),
        });
        Some(self.injected)
    }

    /// Asks for the last barrier; sources end behind it. Answers the same epoch when asked again.
    pub fn finish(&mut self) -> Epoch {
        if let Some(last) = self.last {
            return last;
        }
        let epoch = self.inject(true).unwrap_or(self.injected);
        self.last = Some(epoch);
        epoch
    }

    /// A lane has sent its barrier; everything below `positions` lies before it.
    pub fn barrier(
        &mut self,
        generation: Generation,
        lane: usize,
        epoch: Epoch,
        positions: &P,
    ) -> Result<()> {
        if generation != self.generation {
            return Ok(());
        }
        let Some(flight) = self.in_flight.iter_mut().find(|f| f.epoch == epoch) else {
            return Err(Error::internal(format!(
                "lane {lane} reported epoch {epoch}, which is not in flight"
            )));
        };
        match flight.lanes.get_mut(lane) {
            Some(reported @ false) => *reported = true,
            _ => {
                return Err(Error::internal(format!(
                    "lane {lane} reported epoch {epoch} twice, or is unknown"
                )));
            }
        }
        flight.positions.advance(positions);
        Ok(())
    }

    /// A terminal has prepared an epoch.
    pub fn prepared(&mut self, generation: Generation, terminal: usize, epoch: Epoch) -> Result<()> {
        if generation != self.generation {
            return Ok(());
        }
        let Some(flight) = self.in_flight.iter_mut().find(|f| f.epoch == epoch) else {
            return Err(Error::internal(format!(
                "terminal {terminal} prepared epoch {epoch}, which is not in flight"
            )));
        };
        match flight.terminals.get_mut(terminal) {
            Some(reported @ false) => *reported = true,
            _ => {
                return Err(Error::internal(format!(
                    "terminal {terminal} prepared {epoch} twice, or is unknown"
                )));
            }
        }
        Ok(())
    }

    /// The next epoch that may commit, with all positions up to it. The same answer until [`Machine::commit`].
    pub fn ready(&self) -> Option<(Epoch, P)> {
        let front = self.in_flight.front().filter(|f| f.is_complete())?;
        let mut positions = self.committed.1.clone();
        positions.advance(&front.positions);
        Some((front.epoch, positions))
    }

    /// The positions of the epoch that [`Machine::ready`] answers alone: what it read itself.
    pub fn front(&self) -> Option<&P> {
        self.in_flight.front().filter(|f| f.is_complete()).map(|f| &f.positions)
    }

    /// The epoch that [`Machine::ready`] answered is committed.
    pub fn commit(&mut self, epoch: Epoch) -> Result<()> {
        let Some((ready, positions)) = self.ready().filter(|(ready, _)| *ready == epoch) else {
            return Err(Error::internal(format!("epoch {epoch} committed before it was ready")));
        };
        self.in_flight.pop_front();
        self.committed = (ready, positions);
        Ok(())
    }

    /// Forgets what is in flight; sources go back to what is committed.
    pub fn rewind(&mut self) -> Generation {
        self.generation.0 += 1;
        self.in_flight.clear();
        self.last = None;
        self.generation
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl Positions for Vec<u64> {
        fn advance(&mut self, later: &Self) {
            self.resize(self.len().max(later.len()), 0);
            for (mine, theirs) in self.iter_mut().zip(later) {
                *mine = (*mine).max(*theirs);
            }
        }
    }

    #[test]
    fn an_epoch_commits_when_everyone_has_reported() {
        let mut machine = Machine::<Vec<u64>>::new(2, 2);
        let g = machine.generation();
        let e = machine.inject(false).unwrap();
        machine.barrier(g, 0, e, &vec![5, 0]).unwrap();
        machine.prepared(g, 0, e).unwrap();
        machine.prepared(g, 1, e).unwrap();
        assert!(machine.ready().is_none(), "lane 1 has not reported");
        machine.barrier(g, 1, e, &vec![0, 7]).unwrap();
        assert_eq!(machine.ready(), Some((e, vec![5, 7])));
        machine.commit(e).unwrap();
        assert_eq!(machine.committed(), &(e, vec![5, 7]));
        assert!(machine.ready().is_none());
    }

    #[test]
    fn reports_twice_or_of_unknown_epochs_are_errors() {
        let mut machine = Machine::<Vec<u64>>::new(1, 1);
        let g = machine.generation();
        assert!(machine.prepared(g, 0, Epoch(1)).is_err());
        let e = machine.inject(false).unwrap();
        machine.prepared(g, 0, e).unwrap();
        assert!(machine.prepared(g, 0, e).is_err());
        assert!(machine.prepared(g, 1, e).is_err());
        assert!(machine.barrier(g, 1, e, &vec![]).is_err());
        assert!(machine.commit(e).is_err(), "the lane has not reported");
    }

    #[test]
    fn a_rewind_forgets_what_is_in_flight() {
        let mut machine = Machine::<Vec<u64>>::new(1, 1);
        let old = machine.generation();
        let e = machine.inject(false).unwrap();
        machine.barrier(old, 0, e, &vec![9]).unwrap();
        let new = machine.rewind();
        machine.prepared(old, 0, e).unwrap();
        assert!(machine.ready().is_none());
        let e2 = machine.inject(false).unwrap();
        assert!(e2 > e);
        machine.barrier(new, 0, e2, &vec![4]).unwrap();
        machine.prepared(new, 0, e2).unwrap();
        assert_eq!(machine.ready(), Some((e2, vec![4])));
    }

    #[test]
    fn finish_is_the_last() {
        let mut machine = Machine::<Vec<u64>>::new(1, 1);
        let last = machine.finish();
        assert_eq!(machine.finish(), last);
        assert_eq!(machine.inject(true), None);
        let g = machine.generation();
        machine.barrier(g, 0, last, &vec![1]).unwrap();
        machine.prepared(g, 0, last).unwrap();
        machine.commit(last).unwrap();
        assert!(machine.is_finished());
    }

    proptest! {
        /// Reports in any order, with rewinds: commits are in order, whole, and never past a hole.
        #[test]
        fn never_commits_past_a_hole(
            lanes in 1usize..4, terminals in 1usize..4,
            steps in prop::collection::vec((0u8..5, 0usize..4, 0u64..6), 0..200),
        ) {
            let mut machine = Machine::<Vec<u64>>::new(lanes, terminals);
            // The model: what each participant has reported of each epoch in flight, lanes in order.
            let mut reported: Vec<(Epoch, Vec<bool>, Vec<bool>)> = Vec::new();
            let mut read = vec![0u64; lanes];
            let mut committed = Epoch(0);
            for (what, who, back) in steps {
                let g = machine.generation();
                match what {
                    0 => if let Some(e) = machine.inject(false) {
                        reported.push((e, vec![false; lanes], vec![false; terminals]));
                        prop_assert!(reported.len() <= EPOCHS_IN_FLIGHT_MAX);
                    },
                    1 if who < lanes => if let Some((e, l, _)) = reported.iter_mut().find(|(_, l, _)| !l[who]) {
                        read[who] += 1;
                        let mut positions = vec![0; lanes];
                        positions[who] = read[who];
                        machine.barrier(g, who, *e, &positions).unwrap();
                        l[who] = true;
                    },
                    2 if who < terminals => {
                        let at = (back as usize).min(reported.len().saturating_sub(1));
                        if let Some((e, _, t)) = reported.get_mut(at) && !t[who] {
                            machine.prepared(g, who, *e).unwrap();
                            t[who] = true;
                        }
                    }
                    3 => if let Some((e, _)) = machine.ready() {
                        let (front, l, t) = reported.remove(0);
                        prop_assert_eq!(e, front);
                        prop_assert!(l.iter().all(|x| *x) && t.iter().all(|x| *x));
                        prop_assert!(e > committed);
                        machine.commit(e).unwrap();
                        committed = e;
                    } else if let Some((_, l, t)) = reported.first() {
                        prop_assert!(!(l.iter().all(|x| *x) && t.iter().all(|x| *x)));
                    },
                    4 if back == 0 => {
                        machine.rewind();
                        reported.clear();
                        read.clone_from(&machine.committed().1);
                        read.resize(lanes, 0);
                    }
                    _ => {}
                }
            }
        }
    }
}
