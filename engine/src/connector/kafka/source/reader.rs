//! The partitions of one lane: filled by rebalances, emptied by the lane's reader.
//!
//! A [`Lane`] is shared by its [`KafkaReader`] and the group's rebalance callback. The lock is held by the reader only
//! while it takes records without waiting, so that taking a partition away is one lock and no protocol: when the
//! callback has it, nothing of that partition is handed out any more.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};

use super::batch_builder::Gather;
use super::faults::{Judge, Trouble};
use super::ffi::{Item, Queue, Visit};
use super::group::Group;
use super::offset_policy::is_outside;
use super::shared::Shared;
use crate::clock::Clock;
use crate::connector::kafka::client::{self, meaning};
use crate::connector::position::{Partition, Positions};
use crate::connector::source::{Polled, Reader, Room};
use crate::error::{Code, Error, Result};
use crate::sync::lock;
use crate::units::{
    KAFKA_BATCH_BYTES_MIN, KAFKA_END_LOOK, KAFKA_IDLE, KAFKA_PREFETCH_RECORDS, KAFKA_RETRY_PAUSE,
    KAFKA_SEEK_TIMEOUT,
};
use crate::wake::Wake;

/// One partition that this lane reads.
pub(super) struct Tap {
    pub(super) partition: Partition,
    pub(super) queue: Queue<Group>,
    pub(super) gather: Gather,
    /// Where the lane found it.
    pub(super) start: i64,
    /// The record after the last one gathered.
    pub(super) next: i64,
    /// The record after the last one handed out.
    pub(super) handed: i64,
    /// Where the log ended when the source was opened.
    pub(super) target: Option<i64>,
    /// The offset after all that was seen, where that was only control records since `next`.
    pub(super) seen: i64,
    /// The log does not hold `next`: whoever polls the group finds out where to go on.
    pub(super) outside: bool,
    /// Records were dropped for a seek that has not succeeded yet: another try must seek too.
    pub(super) stale: bool,
    pub(super) trouble: Trouble,
}

impl Tap {
    /// Whether all that `--until-end` wants was gathered.
    fn is_at_target(&self) -> bool {
        self.target.is_some_and(|target| self.next.max(self.seen) >= target)
    }

    /// Looks whether control records lie between the last record and the end that `--until-end` wants.
    fn look_behind(&mut self, consumer: &BaseConsumer<Group>) {
        if self.target.is_some() && !self.is_at_target() && !self.queue.holds() {
            self.seen = super::ffi::position(consumer, &self.partition).unwrap_or(self.seen);
        }
    }

    /// Gathers what is there, without waiting.
    fn fill(&mut self, room: &Room, judge: &Judge<'_>) -> Result<()> {
        let (gather, next, partition) = (&mut self.gather, &mut self.next, &self.partition);
        let (outside, trouble, mut found) = (&mut self.outside, &mut self.trouble, Ok(()));
        self.queue.drain(gather.rows_left(room), |item| match item {
            Item::Record(record) if record.offset < *next => Visit::Taken,
            Item::Record(record) => {
                if gather.is_full(room) || !gather.push(&record, room, judge.now) {
                    return Visit::Full;
                }
                trouble.over();
                *next = record.offset + 1;
                Visit::Taken
            }
            Item::Fault(code, offset, text) => {
                let text = format!("{text} (at offset {offset})");
                if is_outside(code) && judge.jumps.allowed() {
                    *outside = true;
                } else if found.is_ok() {
                    found = judge.fault(partition, *next, trouble, code, &text);
                }
                Visit::Taken
            }
        });
        found
    }

    /// Drops what was gathered and what is there, but no error: a partition whose fetch has failed gives no other.
    fn forget(&mut self, judge: &Judge<'_>) -> Result<()> {
        self.gather = Gather::default();
        let (outside, trouble, mut found) = (&mut self.outside, &mut self.trouble, Ok(()));
        self.queue.drain(KAFKA_PREFETCH_RECORDS, |item| {
            if let Item::Fault(code, _, text) = item {
                if is_outside(code) && judge.jumps.allowed() {
                    *outside = true;
                } else if found.is_ok() {
                    found = judge.fault(&self.partition, self.next, trouble, code, &text);
                }
            }
            Visit::Taken
        });
        self.queue.forget();
        found
    }
}

/// Where a rewind goes. Not before the start: a partition that left and came back may have been read further by its
/// other owner, whose commits this worker's positions do not know.
fn back(start: i64, to: Option<i64>) -> i64 {
    to.map_or(start, |at| at.max(start))
}

/// The partitions of a lane and whose turn it is.
#[derive(Default)]
pub(super) struct Taps {
    pub(super) list: Vec<Tap>,
    turn: usize,
}

/// What the reader and the rebalance callback share.
#[derive(Default)]
pub(super) struct Lane {
    pub(super) taps: Mutex<Taps>,
    pub(super) wake: Arc<Wake>,
    /// Nothing more is to be read here (`--until-end`).
    pub(super) done: AtomicBool,
}

impl Lane {
    /// Removes the partitions that `leaves` names; what was gathered of them is dropped.
    pub(super) fn remove(&self, leaves: impl Fn(&Partition) -> bool) {
        // The queues are dropped after the lock: giving a queue back may wait for librdkafka.
        let mut taps = lock(&self.taps);
        let (gone, kept) = taps.list.drain(..).partition::<Vec<_>, _>(|tap| leaves(&tap.partition));
        taps.list = kept;
        drop(taps);
        drop(gone);
    }

    /// Adds a partition.
    pub(super) fn add(&self, tap: Tap) {
        let mut taps = lock(&self.taps);
        self.done.store(false, Ordering::SeqCst);
        taps.list.push(tap);
    }
}

/// A lane's thread rests so many times as long as the last batch took it.
const REST: u32 = 8;

/// When a batch that is not full is handed over, where nobody asked for an age. A batch costs something whether it has
/// one row or a thousand: a lane that has little to do hands over what came at once, one that is busy waits for more, up
/// to the batch's age. So small batches take no more than a ninth of the time of the thread that decodes them.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Pace {
    /// When the last batch was handed over; `None`: it was done with before the lane asked for more.
    handed: Option<Duration>,
    rested: Duration,
}

impl Pace {
    fn handed(&mut self, now: Duration) {
        self.handed = Some(now);
    }

    fn asked(&mut self, now: Duration) {
        if let Some(handed) = self.handed.take() {
            self.rested = now + now.saturating_sub(handed) * REST;
        }
    }

    /// When a batch is due whose first record came at `since`.
    fn due(&self, since: Duration, room: &Room) -> Duration {
        let old = since + room.age;
        if room.eager { old.min(self.rested) } else { old }
    }
}

/// Reads the partitions of one lane.
pub(super) struct KafkaReader {
    pub(super) lane: Arc<Lane>,
    pub(super) shared: Arc<Shared>,
    pub(super) room: Room,
    pub(super) pace: Pace,
    /// Bytes of a batch, where nobody narrows them.
    pub(super) bytes: usize,
    /// Rings of the lane's bell that were heard.
    pub(super) heard: u64,
}

/// What one look at all partitions found.
#[expect(
    clippy::large_enum_variant,
    reason = "one lives at a time, and a box would be an allocation a batch"
)]
enum Sweep {
    Batch(crate::batch::SourceBatch),
    /// Nothing to hand over; something was gathered that is due at this time.
    Due(Option<Duration>),
}

impl KafkaReader {
    fn judge(&self, now: Duration) -> Judge<'_> {
        Judge { jumps: &self.shared.jumps, absent: &self.shared.absent, now }
    }

    /// Looks at each partition once, beginning after the one that was served last.
    fn sweep(&self) -> Result<Sweep> {
        let mut guard = lock(&self.lane.taps);
        let Taps { list, turn } = &mut *guard;
        let now = self.shared.clock.now();
        let judge = self.judge(now);
        let mut due = None;
        let count = list.len();
        let mut gathered: usize = list.iter().map(|tap| tap.gather.held()).sum();
        for step in 0..count {
            let at = (*turn + step) % count;
            let tap = &mut list[at];
            gathered -= tap.gather.held();
            tap.fill(&self.room, &judge)?;
            gathered += tap.gather.held();
            if tap.gather.is_empty() {
                if tap.outside {
                    self.shared.jumps.ask(&tap.partition);
                }
                if let Some(consumer) = self.shared.consumer() {
                    tap.look_behind(&consumer);
                }
                continue;
            }
            let ready = self.pace.due(tap.gather.since(), &self.room);
            let much = gathered >= self.room.lane_bytes;
            let soon = tap.queue.holds() || tap.is_at_target() || tap.outside || much;
            if tap.gather.is_full(&self.room) || now >= ready || soon {
                *turn = at + 1;
                tap.handed = tap.next;
                let Partition { topic, partition } = &tap.partition;
                return Ok(Sweep::Batch(tap.gather.finish(&self.shared.name, topic, *partition, tap.next)));
            }
            due = Some(due.map_or(ready, |d: Duration| d.min(ready)));
        }
        let done = list.iter().all(|tap| tap.gather.is_empty() && !tap.queue.holds() && tap.is_at_target());
        self.lane.done.store(done, Ordering::SeqCst);
        Ok(Sweep::Due(due))
    }
}

impl Reader for KafkaReader {
    fn poll(&mut self, wait: Duration) -> Result<Polled> {
        let asked = self.shared.clock.now();
        self.pace.asked(asked);
        let deadline = asked + wait;
        // The end may be a control record, for which nothing rings.
        let look = if self.shared.until_end { KAFKA_END_LOOK } else { KAFKA_IDLE };
        let mut rung = false;
        loop {
            self.shared.check()?;
            let due = match self.sweep()? {
                Sweep::Batch(batch) => {
                    self.pace.handed(self.shared.clock.now());
                    return Ok(Polled::Batch(batch));
                }
                Sweep::Due(due) => due,
            };
            if self.shared.is_at_end() {
                return Ok(Polled::End);
            }
            let now = self.shared.clock.now();
            // A ring without a record is for the thread that polls.
            if rung || now >= deadline {
                return Ok(Polled::Idle);
            }
            let until = due.map_or(deadline, |d| d.min(deadline)).min(now + look);
            rung = self.lane.wake.wait(&mut self.heard, until.saturating_sub(now));
        }
    }

    fn narrow(&mut self, bytes: usize) {
        self.room.bytes = self.bytes.min(bytes.max(KAFKA_BATCH_BYTES_MIN));
    }

    fn wake(&self) -> Option<Arc<Wake>> {
        Some(Arc::clone(&self.lane.wake))
    }

    fn rewind(&mut self, to: &Positions) -> Result<()> {
        let Some(consumer) = self.shared.consumer() else { return Ok(()) };
        let deadline = self.shared.clock.now() + KAFKA_SEEK_TIMEOUT;
        loop {
            match self.seek(&consumer, to) {
                // A partition that is being assigned cannot be sought yet.
                Err(e) if e.is_passing() && self.shared.clock.now() < deadline => {
                    std::thread::sleep(KAFKA_RETRY_PAUSE);
                }
                other => return other,
            }
        }
    }
}

impl KafkaReader {
    fn seek(&self, consumer: &BaseConsumer<Group>, to: &Positions) -> Result<()> {
        let mut taps = lock(&self.lane.taps);
        let mut list = TopicPartitionList::new();
        for tap in &mut taps.list {
            let target = back(tap.start, to.get(&tap.partition).copied());
            // librdkafka seeks nothing whose fetch has failed: that is assigned anew, where it goes on then.
            let moved = tap.next != target || !tap.gather.is_empty() || tap.queue.holds();
            tap.stale |= moved;
            if tap.stale {
                tap.forget(&self.judge(self.shared.clock.now()))?;
            }
            if tap.stale && !tap.outside {
                list.add_partition_offset(
                    &tap.partition.topic,
                    tap.partition.partition,
                    Offset::Offset(target),
                )
                .map_err(|e| client::error(Code::S002, "a seek cannot be made", &e))?;
            }
        }
        if list.count() > 0 {
            let sought = consumer
                .seek_partitions(list, KAFKA_SEEK_TIMEOUT)
                .map_err(|e| Error::passing(Code::S002, format!("the partitions cannot be sought: {e}")))?;
            for element in sought.elements() {
                element.error().map_err(|e| {
                    let place = format!("{}/{} cannot be sought", element.topic(), element.partition());
                    match e.rdkafka_error_code() {
                        // The cluster is asked for a partition that is not there by whoever polls.
                        Some(code) if meaning(code).may_pass() => {
                            Error::passing(Code::S002, format!("{place}: {e}"))
                        }
                        _ => client::error(Code::S002, &place, &e),
                    }
                })?;
            }
        }
        for tap in &mut taps.list {
            let target = back(tap.start, to.get(&tap.partition).copied());
            tap.next = target;
            tap.handed = target;
            tap.seen = target;
            tap.stale = false;
        }
        self.lane.done.store(false, Ordering::SeqCst);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rewind_goes_to_what_is_committed_and_never_before_the_assignment() {
        assert_eq!(back(500, None), 500, "nothing was committed since");
        assert_eq!(back(500, Some(700)), 700);
        assert_eq!(back(500, Some(100)), 500, "another owner has read up to 500 in between");
    }

    #[test]
    fn an_idle_lane_hands_over_at_once_and_a_busy_one_waits_up_to_the_age() {
        let ms = Duration::from_millis;
        let eager = Room { rows: 8, bytes: 8, lane_bytes: 8, age: ms(50), eager: true };
        let mut pace = Pace::default();
        assert_eq!(pace.due(ms(100), &eager), ms(0), "nothing was handed over yet");
        pace.handed(ms(100));
        pace.asked(ms(102));
        assert_eq!(pace.due(ms(101), &eager), ms(118), "2 ms of work, 16 of rest");
        assert_eq!(pace.due(ms(101), &Room { eager: false, ..eager }), ms(151), "an age that was asked for");
        pace.asked(ms(110));
        assert_eq!(pace.due(ms(111), &eager), ms(118), "asking again is no work");
        pace.handed(ms(118));
        pace.asked(ms(138));
        assert_eq!(pace.due(ms(138), &eager), ms(188), "20 ms of work, but no batch gets older than its age");
    }
}
