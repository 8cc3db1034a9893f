//! The coordinator's events; broken on purpose, reports that nobody has given yet.

use std::collections::VecDeque;

use crate::run::commit::coordinator::Coordinator;
use crate::run::signals::Event;

pub struct Forger {
    early: bool,
    lanes: usize,
    terminals: usize,
    /// Barriers of the newest epoch that have left.
    left: (u64, u64, usize),
    forged: VecDeque<Event>,
}

impl Forger {
    pub fn new(early: bool, lanes: usize, terminals: usize) -> Self {
        Self { early, lanes, terminals, left: (0, 0, 0), forged: VecDeque::new() }
    }

    /// What the coordinator hears next.
    pub fn next(&mut self, coordinator: &Coordinator) -> Option<Event> {
        if let Some(forged) = self.forged.pop_front() {
            return Some(forged);
        }
        let event = coordinator.events.try_recv().ok()?;
        match &event {
            Event::Prepared { .. } if self.early => return None,
            Event::Barrier { generation, epoch, .. } if self.early => {
                if (self.left.0, self.left.1) != (generation.0, epoch.0) {
                    self.left = (generation.0, epoch.0, 0);
                }
                self.left.2 += 1;
                if self.left.2 == self.lanes {
                    let (generation, epoch) = (*generation, *epoch);
                    let report = |terminal| Event::Prepared { generation, terminal, epoch };
                    self.forged.extend((0..self.terminals).map(report));
                }
            }
            _ => {}
        }
        Some(event)
    }
}
