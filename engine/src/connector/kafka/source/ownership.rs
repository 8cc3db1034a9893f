//! The partitions that a worker owns, and what it may tell the group of them.

use std::collections::BTreeMap;

use crate::connector::position::{Partition, Positions};
use crate::error::{Code, Error, Result};

/// What this worker owns, with the offset at which each partition began.
#[derive(Default)]
pub(crate) struct Owned {
    starts: BTreeMap<Partition, i64>,
    /// Something was lost, and the worker has not gone back since.
    torn: bool,
}

impl Owned {
    /// A partition was assigned; the first record of it that this worker reads is at `start`.
    pub fn take(&mut self, partition: Partition, start: i64) {
        self.starts.insert(partition, start);
    }

    /// Partitions go to other workers; what was read of them is committed (`drained`), or nobody knows.
    pub fn leave(&mut self, leaving: &[Partition], drained: bool) {
        self.starts.retain(|partition, _| !leaving.contains(partition));
        self.torn |= !drained && !leaving.is_empty();
    }

    /// The worker goes back: what it had read of what was lost is forgotten.
    pub fn go_back(&mut self) {
        self.torn = false;
    }

    /// All of them.
    pub fn partitions(&self) -> impl Iterator<Item = &Partition> {
        self.starts.keys()
    }

    /// Whether a position is one that this worker has read to. From before a partition left and came back it would be
    /// older than what the other owner has committed.
    pub fn covers(&self, partition: &Partition, at: i64) -> bool {
        self.starts.get(partition).is_some_and(|&start| at >= start)
    }

    /// Whether what was read up to these positions may become final. A stale error says that a part of it may have
    /// been read by another worker.
    pub fn claim(&self, positions: &Positions) -> Result<()> {
        // What was lost may be back by now, after another worker has read some of the same records: neither generation
        // nor start would show it.
        if self.torn {
            return Err(Error::stale(Code::X012, "partitions were lost"));
        }
        for (partition, &at) in positions {
            if !self.covers(partition, at) {
                let Partition { topic, partition } = partition;
                let message = format!("{topic}/{partition} belongs to another worker by now");
                return Err(Error::stale(Code::X012, message));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(number: i32) -> Partition {
        Partition { topic: "t".into(), partition: number }
    }

    fn at(number: i32, at: i64) -> Positions {
        Positions::from([(partition(number), at)])
    }

    #[test]
    fn only_what_is_owned_and_was_read_since_is_claimed() {
        let mut owned = Owned::default();
        owned.take(partition(0), 100);
        assert!(owned.claim(&at(0, 100)).is_ok());
        assert!(owned.claim(&at(0, 99)).unwrap_err().is_stale(), "read before it left and came back");
        assert!(owned.claim(&at(1, 5)).unwrap_err().is_stale());
        owned.leave(&[partition(0)], true);
        assert!(owned.claim(&at(0, 150)).unwrap_err().is_stale());
    }

    #[test]
    fn what_was_lost_and_came_back_is_not_claimed_before_the_worker_went_back() {
        let mut owned = Owned::default();
        owned.take(partition(0), 100);
        owned.take(partition(1), 0);
        // Read to 150 by now. Another worker reads 100 to 120 and commits, then it comes back.
        owned.leave(&[partition(0)], false);
        owned.take(partition(0), 120);
        assert!(owned.claim(&at(0, 150)).unwrap_err().is_stale(), "100 to 120 would be there twice");
        assert!(owned.claim(&at(1, 5)).unwrap_err().is_stale(), "the same transaction holds both");
        owned.go_back();
        assert!(owned.claim(&at(0, 150)).is_ok());
    }
}
