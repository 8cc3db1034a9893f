//! Failures of a stage that follow each other: how long to rest before the next try, and when to give up.
//!
//! One bad row in a batch makes about fifteen calls in a row fail, so nothing is waited for until more than that have.
//! From then on the breaker is *open*: each fresh instance is tried after a pause, which keeps a stage that always
//! traps off the CPU. A call that succeeds closes it. What counts towards giving up is the time that the stage was
//! busy failing, not the time on the wall: a trickle of bad records does not make a stage broken.

use std::time::Duration;

use backon::BackoffBuilder;

use crate::units::{
    STAGE_BREAKER_CALLS, STAGE_FAILING_CALLS_MIN, STAGE_FAILING_MAX, STAGE_PAUSE_MAX, STAGE_PAUSE_MIN,
    STAGE_PAUSE_SLOW_MAX,
};

/// What a call changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::run) enum Change {
    Opened,
    Closed,
}

/// The breaker of one lane of a stage.
#[derive(Debug, Default)]
pub(in crate::run) struct Breaker {
    /// Calls that failed since the last one that succeeded.
    failures: u64,
    /// Time that they took, pauses included.
    busy: Duration,
    /// Time of the last one.
    last: Duration,
    /// There while it is open.
    pauses: Option<backon::ExponentialBackoff>,
}

impl Breaker {
    /// A call succeeded.
    pub fn succeeded(&mut self) -> Option<Change> {
        let closed = self.pauses.is_some().then_some(Change::Closed);
        *self = Self::default();
        closed
    }

    /// A call failed after this time.
    pub fn failed(&mut self, took: Duration) -> Option<Change> {
        self.failures += 1;
        self.busy += took;
        self.last = took;
        if self.pauses.is_some() || self.failures < STAGE_BREAKER_CALLS {
            return None;
        }
        let pauses = backon::ExponentialBuilder::default()
            .with_min_delay(STAGE_PAUSE_MIN)
            .with_max_delay(STAGE_PAUSE_MAX)
            .with_jitter()
            .without_max_times();
        self.pauses = Some(pauses.build());
        Some(Change::Opened)
    }

    /// Whether failures follow each other.
    pub fn is_open(&self) -> bool {
        self.pauses.is_some()
    }

    /// How long to rest before the next call; nothing while it is closed. A call that took long is followed by as
    /// long a rest, so that a stage that loops has half of a core at most.
    pub fn pause(&mut self) -> Duration {
        let Some(pauses) = &mut self.pauses else { return Duration::ZERO };
        pauses.next().unwrap_or(STAGE_PAUSE_MAX).max(self.last.min(STAGE_PAUSE_SLOW_MAX))
    }

    /// That long was rested.
    pub fn rested(&mut self, time: Duration) {
        self.busy += time;
    }

    /// Calls and time of a stage that did nothing but fail, when that is enough to call it broken.
    pub fn broken(&self) -> Option<(u64, Duration)> {
        let broken = self.failures >= STAGE_FAILING_CALLS_MIN && self.busy >= STAGE_FAILING_MAX;
        broken.then_some((self.failures, self.busy))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: Duration = Duration::from_micros(200);

    #[test]
    fn a_bad_row_opens_nothing_and_a_success_closes() {
        let mut breaker = Breaker::default();
        for _ in 1..STAGE_BREAKER_CALLS {
            assert_eq!((breaker.failed(CALL), breaker.pause()), (None, Duration::ZERO));
        }
        assert_eq!(breaker.failed(CALL), Some(Change::Opened));
        assert_eq!(breaker.failed(CALL), None, "it opens once");
        assert!(breaker.is_open());
        assert!(breaker.pause() >= STAGE_PAUSE_MIN);
        assert_eq!((breaker.succeeded(), breaker.pause()), (Some(Change::Closed), Duration::ZERO));
        assert_eq!(breaker.succeeded(), None);
    }

    #[test]
    fn pauses_grow_up_to_a_bound_and_keep_a_loop_off_half_a_core() {
        let mut breaker = Breaker::default();
        (0..STAGE_BREAKER_CALLS).for_each(|_| assert_ne!(breaker.failed(CALL), Some(Change::Closed)));
        let pauses: Vec<Duration> = (0..20).map(|_| breaker.pause()).collect();
        // Jitter makes a pause up to twice as long.
        assert!(pauses.iter().all(|p| (STAGE_PAUSE_MIN..=2 * STAGE_PAUSE_MAX).contains(p)), "{pauses:?}");
        assert!(pauses[19] >= STAGE_PAUSE_MAX, "{pauses:?}");
        breaker.failed(Duration::from_millis(700));
        assert!(breaker.pause() >= Duration::from_millis(700));
        breaker.failed(Duration::from_secs(3_600));
        assert!(breaker.pause() <= STAGE_PAUSE_SLOW_MAX);
    }

    #[test]
    fn only_many_calls_and_much_time_make_a_stage_broken() {
        let mut slow = Breaker::default();
        for _ in 1..STAGE_FAILING_CALLS_MIN {
            slow.failed(Duration::from_secs(10));
            assert_eq!(slow.broken(), None, "a few calls that each took long");
        }
        slow.failed(Duration::ZERO);
        assert!(slow.broken().is_some());
        assert_eq!((slow.succeeded(), slow.broken()), (Some(Change::Closed), None));
        let mut quick = Breaker::default();
        (0..100_000).for_each(|_| assert_ne!(quick.failed(Duration::from_micros(10)), Some(Change::Closed)));
        assert_eq!(quick.broken(), None, "many calls that took a second together");
        quick.rested(STAGE_FAILING_MAX);
        assert_eq!(quick.broken().unwrap().0, 100_000);
    }
}
