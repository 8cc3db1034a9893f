//! What nodes tell the coordinator, and what it tells the lanes of sources.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex};

use crossbeam_channel::Sender;

use crate::channel::CurrentGeneration;
use crate::connector::position::Positions;
use crate::error::Error;
use crate::sync::lock;
use crate::units::{Epoch, Generation};
use crate::wake::Wake;

/// What nodes tell the coordinator.
pub(super) enum Event {
    /// A lane of a source has sent a barrier. `bytes`: of the originals that it has read for the epoch.
    Barrier {
        generation: Generation,
        lane: usize,
        epoch: Epoch,
        source: usize,
        positions: Positions,
        bytes: u64,
    },
    /// A terminal has prepared an epoch.
    Prepared { generation: Generation, terminal: usize, epoch: Epoch },
    /// A lane of a source has read something, and the coordinator waits for that.
    Read,
    /// A lane of a source has read what it may for an epoch, and waits for the barrier behind this one.
    Full { generation: Generation, barrier: Epoch },
    /// A lane of a source has nothing more to read.
    AtEnd { generation: Generation, lane: usize },
    /// Commit what has been read so far, then answer.
    Drain { done: Sender<()> },
    /// Go back to what is committed; of which generation it is known that it cannot commit, where that is known.
    Rewind { of: Option<Generation>, reason: String },
    /// Stop reading, drain, commit.
    Stop,
    /// A node has failed for good.
    Failed(Error),
}

/// What the coordinator tells the lanes of sources: read on every turn of their loops, for which it rings.
#[derive(Default)]
pub(super) struct Signals {
    pub(super) generation: Arc<CurrentGeneration>,
    /// Barriers up to this epoch are to be sent.
    pub(super) target: AtomicU64,
    /// Behind the barrier of this epoch nothing is read; 0: not known yet.
    pub(super) last: AtomicU64,
    /// Where to go back to: the generation, the last epoch of the generations before, positions by source.
    pub(super) rewind: Mutex<(Generation, Epoch, Vec<Positions>)>,
    /// Set when the worker comes down after a failure.
    pub(super) down: AtomicBool,
    /// Set when the last epoch has committed: until then a rewind may still ask for its records again.
    pub(super) over: AtomicBool,
    /// Bytes of originals that a lane may read for one epoch; 0: as many as come in time.
    pub(super) share: AtomicU64,
    /// Nothing was read since the last barrier, and the coordinator waits to be told of the first record.
    pub(super) awaited: AtomicBool,
    /// The bells of the lanes: rung when any of this has changed.
    pub(super) lanes: Mutex<Vec<Arc<Wake>>>,
}

impl Signals {
    /// A lane that looks up when its bell rings.
    pub(super) fn attend(&self, wake: &Arc<Wake>) {
        lock(&self.lanes).push(Arc::clone(wake));
    }

    /// Has every lane of every source look up.
    pub(super) fn ring(&self) {
        let lanes = lock(&self.lanes);
        lanes.iter().for_each(|wake| wake.ring());
    }

    /// The coordinator wants to be told of the first record that is counted from here on.
    pub(super) fn await_record(&self) {
        self.awaited.store(true, Ordering::Relaxed);
        // Before the coordinator looks at the counts, and a lane looks after it has counted: one of the two sees the other.
        fence(Ordering::SeqCst);
    }

    /// Whether the coordinator waits to be told that records were counted: answered with yes once.
    pub(super) fn is_awaited(&self) -> bool {
        fence(Ordering::SeqCst);
        self.awaited.load(Ordering::Relaxed) && self.awaited.swap(false, Ordering::Relaxed)
    }

    /// Bytes that a lane may read for one epoch.
    pub(super) fn share(&self) -> u64 {
        match self.share.load(Ordering::Relaxed) {
            0 => u64::MAX,
            share => share,
        }
    }

    pub(super) fn target(&self) -> Epoch {
        Epoch(self.target.load(Ordering::Acquire))
    }

    pub(super) fn is_last(&self, epoch: Epoch) -> bool {
        epoch != Epoch(0) && self.last.load(Ordering::Acquire) == epoch.0
    }

    /// Whether the end was asked for, or has come: what is in flight is to be drained.
    pub(super) fn is_ending(&self) -> bool {
        self.last.load(Ordering::Acquire) != 0
    }

    pub(super) fn is_down(&self) -> bool {
        self.down.load(Ordering::Acquire)
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }
}
