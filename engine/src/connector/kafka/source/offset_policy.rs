//! A position that the log does not hold: records were deleted before they were read, or the topic was made anew.
//!
//! librdkafka's own `auto.offset.reset` stays `error`, as it would jump with nothing but a line in its log. What
//! `out_of_range` says is done here: for a committed offset when its partition is assigned, and for a partition that
//! retention overtook while it was read. [`Jumps`] decides, tells and counts.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use super::ffi::Commit;
use super::group::Group;
use super::options::OutOfRange;
use super::reader::{Tap, Taps};
use super::shared::Shared;
use crate::connector::kafka::client::{self, Meaning, meaning};
use crate::connector::position::Partition;
use crate::error::{Code, Error, Result};
use crate::sync::lock;
use crate::units::{KAFKA_COMMIT_WAIT, KAFKA_OPEN_TIMEOUT, REVOKE_TIMEOUT};

/// Whether an error of a partition says that the log does not hold the next offset.
pub(super) fn is_outside(code: RDKafkaErrorCode) -> bool {
    meaning(code) == Meaning::Outside
}

/// The error of a position that the log does not hold.
pub(super) fn outside_log(partition: &Partition, at: i64, log: Option<(i64, i64)>) -> Error {
    let Partition { topic, partition } = partition;
    let held = log.map_or(String::new(), |(low, high)| format!(", the log holds {low} to {high}"));
    let message = format!("the next record of {topic}/{partition} would be at offset {at}{held}");
    Error::external(Code::S004, message).help(
        "records were deleted before they were read, or the topic was made anew; look with `pipe offsets show`, then \
         say where to go on: once with `pipe offsets reset --to earliest`, or for every time with `out_of_range: \
         earliest` of the source",
    )
}

/// What becomes of offsets that a log does not hold.
pub(super) struct Jumps {
    policy: OutOfRange,
    /// Partitions whose reading ended so, and of which all that came before was handed out.
    waiting: Mutex<BTreeSet<Partition>>,
    jumps: AtomicU64,
    jumped: AtomicU64,
}

impl Jumps {
    pub(super) fn new(policy: OutOfRange) -> Self {
        Self { policy, waiting: Mutex::default(), jumps: AtomicU64::new(0), jumped: AtomicU64::new(0) }
    }

    /// Whether there is another way than to fail.
    pub(super) fn allowed(&self) -> bool {
        self.policy != OutOfRange::Fail
    }

    /// Jumps so far, and the offsets that were passed over.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.jumps.load(Ordering::Relaxed), self.jumped.load(Ordering::Relaxed))
    }

    /// A reader waits for a decision; it may ask as often as it looks.
    pub(super) fn ask(&self, partition: &Partition) {
        let mut waiting = lock(&self.waiting);
        if !waiting.contains(partition) {
            waiting.insert(partition.clone());
        }
    }

    /// Where to go on instead of at `at`, told and counted.
    pub(super) fn decide(&self, node: &str, partition: &Partition, at: i64, log: (i64, i64)) -> Result<i64> {
        let (low, high) = log;
        let to = target(self.policy, log).ok_or_else(|| outside_log(partition, at, Some(log)))?;
        let skipped = passed_over(at, log, to);
        self.jumps.fetch_add(1, Ordering::Relaxed);
        self.jumped.fetch_add(skipped, Ordering::Relaxed);
        tracing::warn!(
            node,
            topic = &*partition.topic,
            partition = partition.partition,
            from = at,
            to,
            log_start = low,
            log_end = high,
            skipped,
            "the log does not hold the next offset: reading goes on elsewhere (`out_of_range`)"
        );
        Ok(to)
    }

    /// Decides for the readers that wait. Called by whoever polls the group, so that no rebalance is in between.
    pub(super) fn serve(&self, consumer: &Arc<BaseConsumer<Group>>, shared: &Shared) -> Result<()> {
        let waiting = std::mem::take(&mut *lock(&self.waiting));
        for partition in waiting {
            match self.go_on(consumer, shared, &partition) {
                // Its reader asks again.
                Err(error) if error.is_passing() => {
                    tracing::warn!(topic = &*partition.topic, partition = partition.partition, "{error}");
                }
                other => other?,
            }
        }
        Ok(())
    }

    fn go_on(
        &self,
        consumer: &Arc<BaseConsumer<Group>>,
        shared: &Shared,
        partition: &Partition,
    ) -> Result<()> {
        let fail = |what: &str, e: KafkaError| {
            let place = format!("{what} of {}/{}", partition.topic, partition.partition);
            match e.rdkafka_error_code() {
                // A leader that moves: the reader asks again.
                Some(code) if meaning(code).may_pass() => Error::passing(Code::S002, format!("{place}: {e}")),
                _ => client::error(Code::S002, &place, &e),
            }
        };
        // The jump is committed, and must not be so before what was read before it.
        if !consumer.context().runtime.drain(REVOKE_TIMEOUT) {
            return Ok(());
        }
        let log = consumer
            .fetch_watermarks(&partition.topic, partition.partition, KAFKA_OPEN_TIMEOUT)
            .map_err(|e| fail("no answer to where the log begins", e))?;
        let lane = shared.lane(partition);
        let mut taps = lock(&lane.taps);
        let Some(tap) = waits(&mut taps, partition) else { return Ok(()) };
        if tap.next >= log.0 {
            // The log is a shorter one, or was: how much of it is new nobody can say, and positions of the old one
            // are on their way. A new start has none of them.
            return Err(outside_log(partition, tap.next, Some(log))
                .context("the log was cut or made anew while it was read"));
        }
        let to = self.decide(&shared.name, partition, tap.next, log)?;
        let mut place = TopicPartitionList::new();
        add(&mut place, partition, to)?;
        remember(consumer, &place)?;
        // librdkafka seeks nothing whose fetch has failed; a new assignment it takes.
        consumer.incremental_unassign(&place).map_err(|e| fail("no new start", e))?;
        consumer.incremental_assign(&place).map_err(|e| fail("no new start", e))?;
        tap.queue.forget();
        (tap.start, tap.next, tap.handed, tap.seen) = (to, to, to, to);
        tap.outside = false;
        drop(taps);
        lock(&shared.owned).take(partition.clone(), to);
        lane.wake.ring();
        Ok(())
    }
}

/// The tap of a partition, if it still waits for a decision.
fn waits<'a>(taps: &'a mut Taps, partition: &Partition) -> Option<&'a mut Tap> {
    let tap = taps.list.iter_mut().find(|tap| tap.partition == *partition)?;
    (tap.outside && tap.gather.is_empty()).then_some(tap)
}

fn target(policy: OutOfRange, (low, high): (i64, i64)) -> Option<i64> {
    match policy {
        OutOfRange::Fail => None,
        OutOfRange::Earliest => Some(low),
        OutOfRange::Latest => Some(high),
    }
}

/// Offsets that are never read. Behind the end the log is another one than the offset is of, so all of it is new.
fn passed_over(at: i64, (low, _): (i64, i64), to: i64) -> u64 {
    let from = if at < low { at } else { low };
    u64::try_from(to - from).unwrap_or(0)
}

/// Adds where a partition goes on to a list.
pub(super) fn add(list: &mut TopicPartitionList, partition: &Partition, at: i64) -> Result<()> {
    list.add_partition_offset(&partition.topic, partition.partition, Offset::Offset(at))
        .map_err(|e| client::error(Code::S002, "an offset is not taken", &e))
}

/// Commits where the partitions go on, before anything is read there: a worker that ends before the next record would
/// jump again, with `latest` over what came meanwhile, and a commit that arrives late would be behind later ones.
pub(super) fn remember(consumer: &Arc<BaseConsumer<Group>>, places: &TopicPartitionList) -> Result<()> {
    if places.count() == 0 {
        return Ok(());
    }
    let what = "where reading goes on cannot be committed";
    let fail = |code: RDKafkaErrorCode| match meaning(code) {
        Meaning::Denied => client::error(Code::S002, what, &KafkaError::ConsumerCommit(code)),
        _ => Error::passing(Code::S002, format!("{what}: {code}")),
    };
    match Commit::start(consumer, places).map_err(fail)?.wait(KAFKA_COMMIT_WAIT) {
        Some(Ok(())) => Ok(()),
        Some(Err(code)) => Err(fail(code)),
        None => Err(Error::passing(Code::S002, format!("{what}: the group's coordinator does not answer"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_policy_goes_where_it_says_and_counts_what_is_passed_over() {
        use OutOfRange::{Earliest, Latest};
        // The policy, the offset, the log, where it goes on, what is passed over.
        for (policy, at, log, to, skipped) in [
            (Earliest, 50, (150, 200), 150, 100),
            (Latest, 50, (150, 200), 200, 150),
            (Earliest, 50, (200, 200), 200, 150),
            (Earliest, 500, (0, 200), 0, 0),
            (Latest, 500, (10, 200), 200, 190),
            (Latest, 500, (0, 0), 0, 0),
        ] {
            assert_eq!(target(policy, log), Some(to), "{policy:?} {at} {log:?}");
            assert_eq!(passed_over(at, log, to), skipped, "{policy:?} {at} {log:?}");
        }
        assert_eq!(target(OutOfRange::Fail, (0, 1)), None);
    }

    #[test]
    fn to_fail_counts_nothing_and_says_what_to_do() {
        let partition = Partition { topic: "t".into(), partition: 3 };
        let jumps = Jumps::new(OutOfRange::Fail);
        let error = jumps.decide("in", &partition, 5, (10, 20)).unwrap_err();
        assert_eq!((error.code(), jumps.counts(), jumps.allowed()), (Code::S004, (0, 0), false));
        assert!(error.message().contains("t/3 would be at offset 5, the log holds 10 to 20"), "{error}");
        assert!(error.help_text().is_some_and(|help| help.contains("pipe offsets reset")));
        let jumps = Jumps::new(OutOfRange::Latest);
        assert_eq!(jumps.decide("in", &partition, 5, (10, 20)).unwrap(), 20);
        assert_eq!((jumps.counts(), jumps.allowed()), ((1, 15), true));
    }
}
