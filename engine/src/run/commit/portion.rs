//! How much the sources may read for one epoch, where an epoch must be written and committed within the time of a
//! transaction.
//!
//! The interval between commits says when an epoch ends, and nothing of how long its records take to be written: a sink
//! under a quota takes in a minute what the sources read in 100 ms. So the epoch ends sooner when it holds its portion,
//! and the portion follows what the sink takes (ADR 0020).

use std::time::Duration;

use crate::units::{EPOCH_LANE_BYTES_MIN, EPOCH_LANE_BYTES_START};

/// An epoch may take this part of its transaction's time from its end until it is committed.
const GOAL: u32 = 4;
/// A portion is cut when a transaction took more than this part of its time.
const LONG: u32 = 2;
/// It grows when a full one took less than this part: by half, as long as it is less than what is known to be enough...
const SHORT: u32 = 8;
/// ... and by this part of it in the time of the goal, where it once was too much. A broker's quota is an average over some
/// ten seconds: what it takes at once after a pause is not what it takes.
const STEP: u64 = 4;
/// So many small epochs in a row must run out of time before one gets more of it: the quota may still hold back what
/// the large one before them has sent.
const LATE: u32 = 3;
/// After a time-out it is this many times smaller: what was written by then is not known.
const CUT: u64 = 8;
/// More than is ever read in an interval.
const MOST: u64 = 1 << 40;

/// Bytes of originals that an epoch may hold, over all lanes of all sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::run) struct Portion {
    bytes: u64,
    least: u64,
    /// Up to here it grows quickly.
    ceiling: u64,
    /// When it was changed beyond that.
    changed: Duration,
    /// Epochs in a row that ran out of time.
    late: u32,
}

/// What is known of an epoch that has committed.
#[derive(Debug, Clone, Copy)]
pub(in crate::run) struct Took {
    /// Bytes of its originals.
    pub bytes: u64,
    /// It ended because a lane had read its part.
    pub full: bool,
    /// From its first record that was written until it was committed.
    pub written: Duration,
    /// From when it was to end until it was committed.
    pub drained: Duration,
    /// What its transaction might have taken.
    pub timeout: Duration,
    /// When it was committed.
    pub at: Duration,
}

impl Portion {
    /// Before anything is known of the sinks.
    pub fn new(lanes: usize) -> Self {
        let lanes = lanes.max(1) as u64;
        Self::of(EPOCH_LANE_BYTES_START * lanes, EPOCH_LANE_BYTES_MIN * lanes)
    }

    /// The same with its own numbers.
    pub fn of(bytes: u64, least: u64) -> Self {
        Self { bytes, least, ceiling: MOST, changed: Duration::ZERO, late: 0 }
    }

    /// Bytes that an epoch may hold.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Learns from an epoch that has committed.
    pub fn committed(&mut self, took: &Took) {
        // It waited for its turn, or for its end: only the rest is due to its size.
        let drained = took.drained.min(took.written);
        let goal = took.timeout / GOAL;
        self.late = 0;
        if took.written > took.timeout / LONG && drained > goal {
            // One that is not full held less than its portion, which is none of the sink's merits.
            let held = if took.full { self.bytes } else { self.bytes.min(took.bytes) };
            let part = goal.as_nanos() * u128::from(held) / drained.as_nanos().max(1);
            self.bytes = u64::try_from(part).unwrap_or(MOST).max(self.least);
            (self.ceiling, self.changed) = (self.bytes, took.at);
        } else if took.full && drained < took.timeout / SHORT {
            if self.bytes < self.ceiling {
                self.bytes = (self.bytes + self.bytes / 2).min(self.ceiling);
            } else if took.at >= self.changed + goal {
                self.bytes = (self.bytes + self.bytes / STEP).min(MOST);
                (self.ceiling, self.changed) = (self.bytes, took.at);
            }
        }
    }

    /// Learns from one that was given up because its transaction's time was over. `bytes`: what it held, where that is
    /// known. Answers whether the next one is smaller; else only more time helps.
    pub fn overran(&mut self, bytes: Option<u64>) -> bool {
        let before = self.bytes;
        self.bytes = (bytes.unwrap_or(before).min(before) / CUT).max(self.least);
        self.ceiling = self.bytes * 2;
        self.late = if before > self.least { 0 } else { self.late + 1 };
        self.late < LATE
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(10);
    const INTERVAL: Duration = Duration::from_millis(100);
    /// What a commit takes beside the records.
    const COMMIT: Duration = Duration::from_millis(10);

    /// A sink that takes so many bytes a second from a source that never runs dry and reads so many.
    struct Pipe {
        portion: Portion,
        reads: u64,
        takes: u64,
        timeout: Duration,
        now: Duration,
    }

    impl Pipe {
        /// One epoch; answers the time that it took, and whether it was committed.
        fn epoch(&mut self) -> (Duration, bool) {
            let interval = self.reads as f64 * INTERVAL.as_secs_f64();
            let full = self.portion.bytes() as f64 <= interval;
            let bytes = if full { self.portion.bytes() } else { interval as u64 };
            let read = Duration::from_secs_f64(bytes as f64 / self.reads as f64);
            let written = read.max(Duration::from_secs_f64(bytes as f64 / self.takes as f64));
            self.now += written.min(self.timeout) + COMMIT;
            if written > self.timeout {
                if !self.portion.overran(Some(bytes)) {
                    self.timeout *= 2;
                }
                return (self.timeout, false);
            }
            let drained = written - read;
            self.portion.committed(&Took {
                bytes,
                full,
                written,
                drained,
                timeout: self.timeout,
                at: self.now,
            });
            (written, true)
        }
    }

    proptest! {
        #[test]
        fn whatever_a_sink_takes_its_epochs_fit_after_a_few_and_then_always(
            reads in 16u32..31, takes in 14u32..31, start in 16u32..30, lanes in 1usize..9,
        ) {
            let (reads, takes) = (1u64 << reads, 1u64 << takes);
            let least = Portion::new(lanes).least;
            let portion = Portion::of(1 << start, least);
            let mut pipe = Pipe { portion, reads, takes, timeout: TIMEOUT, now: Duration::ZERO };
            let fits: Vec<bool> = (0..200).map(|_| pipe.epoch().1).collect();
            let last = fits.iter().rposition(|fits| !fits).map_or(0, |at| at + 1);
            // 1 GiB is cut by eight six times until it is 4 KiB.
            prop_assert!(last <= 10, "{last} epochs until all fit");
            if least / takes < TIMEOUT.as_secs() {
                prop_assert_eq!(pipe.timeout, TIMEOUT, "smaller epochs, and no more time");
            }
        }

        #[test]
        fn a_portion_follows_a_sink_down_and_up_again(down in 4u32..12) {
            let (reads, takes) = (100 << 20, 100 << 20);
            let portion = Portion::new(1);
            let mut pipe = Pipe { portion, reads, takes, timeout: TIMEOUT, now: Duration::ZERO };
            (0..30).for_each(|_| assert!(pipe.epoch().0 > Duration::ZERO));
            let usual = pipe.portion.bytes();
            prop_assert!(usual >= 10 << 20, "an interval's worth: {usual}");
            pipe.takes = takes >> down;
            let failed = (0..50).filter(|_| !pipe.epoch().1).count();
            prop_assert!(failed <= 3, "{failed} were done again");
            pipe.takes = takes;
            let before = pipe.now;
            while pipe.portion.bytes() < 10 << 20 {
                prop_assert!(pipe.epoch().1, "it grows no faster than the sink can take");
                prop_assert!(pipe.now - before < TIMEOUT * 20, "{}", pipe.portion.bytes());
            }
        }
    }

    #[test]
    fn what_only_waited_for_its_end_is_not_cut() {
        let mut portion = Portion::of(1 << 20, 1 << 10);
        // Three intervals fit into the time of a transaction; it was written while it was read.
        let (written, drained) = (Duration::from_secs(9), Duration::from_millis(20));
        let at = Duration::from_secs(100);
        portion.committed(&Took { bytes: 5_000, full: false, written, drained, timeout: TIMEOUT, at });
        assert_eq!(portion.bytes(), 1 << 20);
    }

    #[test]
    fn one_that_is_as_small_as_it_gets_needs_more_time() {
        let mut portion = Portion::of(1 << 20, 1 << 16);
        assert!(portion.overran(None), "an eighth of what it may hold");
        assert_eq!(portion.bytes(), 1 << 17);
        assert!(portion.overran(Some(10)));
        assert_eq!(portion.bytes(), 1 << 16);
        // The first two may have waited for what was sent before them.
        assert!(portion.overran(Some(1 << 20)) && portion.overran(Some(1 << 20)));
        assert!(!portion.overran(Some(1 << 20)));
    }
}
