//! Positions of all sources of a worker.

use crate::connector::position;
use crate::epoch;

/// Positions of every source, by its index in the plan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::run) struct Positions(pub Vec<position::Positions>);

impl epoch::Positions for Positions {
    fn advance(&mut self, later: &Self) {
        if self.0.len() < later.0.len() {
            self.0.resize(later.0.len(), position::Positions::new());
        }
        for (mine, theirs) in self.0.iter_mut().zip(&later.0) {
            mine.extend(theirs.iter().map(|(partition, at)| (partition.clone(), *at)));
        }
    }
}
