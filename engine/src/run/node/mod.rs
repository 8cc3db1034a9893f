//! The nodes: the loops of sources, stages, sinks and the dead letters, one thread a lane.

pub(super) mod bisect;
pub(super) mod circuit_breaker;
pub(super) mod dead_letters;
pub(super) mod decode;
pub(super) mod sink;
pub(super) mod source;
pub(super) mod stage;

use std::time::Duration;

use crate::channel::Disconnected;
use crate::error::Error;

/// What a turn of a node's loop came to.
pub(super) enum Turned {
    /// There may be more to do.
    On,
    /// Nothing came in time.
    Idle,
    /// What it has in hand is not possible yet; to be tried again after this.
    Pause(Duration),
    /// All is done.
    End,
}

/// Why a node's loop ended early.
pub(super) enum Halt {
    /// It failed: the worker comes down.
    Failed(Error),
    /// Its neighbour is gone: some other node has failed, or the worker is coming down.
    Disconnected,
}

/// Turns until the end.
pub(super) fn turn_until_end(mut turn: impl FnMut() -> Result<Turned, Halt>) -> Result<(), Halt> {
    loop {
        match turn()? {
            Turned::On | Turned::Idle => {}
            Turned::Pause(pause) => std::thread::sleep(pause),
            Turned::End => return Ok(()),
        }
    }
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<Disconnected> for Halt {
    fn from(_: Disconnected) -> Self {
        Self::Disconnected
    }
}
