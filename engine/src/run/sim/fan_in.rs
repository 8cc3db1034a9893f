//! A node with several inputs that does not align their barriers: the first of an epoch counts for all.

use std::time::Duration;

use super::worker::Outcome;
use crate::batch::Batch;
use crate::channel::{Event, Inputs, Message, Sender};
use crate::units::{Epoch, Generation};

pub struct FanIn {
    inputs: Vec<Inputs<Batch>>,
    output: Sender<Batch>,
    turn: usize,
    /// The newest barrier that was passed on.
    passed: (Generation, Epoch),
    ended: Vec<bool>,
}

impl FanIn {
    pub fn new(inputs: Vec<Inputs<Batch>>, output: Sender<Batch>) -> Self {
        let ended = vec![false; inputs.len()];
        Self { inputs, output, turn: 0, passed: (Generation(0), Epoch(0)), ended }
    }

    pub fn turn(&mut self) -> Outcome {
        if !self.output.has_room(1) {
            return Outcome::Idle;
        }
        self.turn = (self.turn + 1) % self.inputs.len();
        let input = &mut self.inputs[self.turn];
        let event = input.next(Duration::ZERO);
        let generation = input.generation();
        let message = match event {
            Ok(Event::Data(_, batch)) => Message::Data(batch),
            Ok(Event::Barrier(epoch)) if (generation, epoch) > self.passed => {
                self.passed = (generation, epoch);
                Message::Barrier(epoch)
            }
            Ok(Event::End) => {
                self.ended[self.turn] = true;
                if self.ended.iter().all(|ended| *ended) && self.output.send(generation, Message::End).is_ok()
                {
                    return Outcome::End;
                }
                return Outcome::Idle;
            }
            Ok(Event::Idle) => return Outcome::Idle,
            Ok(_) => return Outcome::On,
            Err(_) => return Outcome::End,
        };
        match self.output.send(generation, message) {
            Ok(()) => Outcome::On,
            Err(_) => Outcome::End,
        }
    }
}
