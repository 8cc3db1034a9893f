//! What a schedule is about: its pipeline, its times, and how often what goes wrong, all drawn from the seed.

use super::kafka::{INPUTS, Tp};
use super::rng::Rng;

/// What goes wrong in a call.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// A passing error before anything is done.
    Passing,
    /// A request or its answer is lost, and sent again by the client.
    Lost,
    /// The client gives up on records.
    GiveUp,
    /// The client gives up on a commit, whatever becomes of it.
    Indefinite,
    /// A queue is full in the midst of a batch.
    Full,
    /// A thread is held up while the group throws its worker out.
    HeldUp,
}

pub const FAULTS: usize = 6;

/// What is broken on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breakage {
    /// A sink says that it has prepared an epoch whose records are still on their way.
    SkipPrepare,
    /// An epoch commits as soon as its barriers have left the sources.
    CommitEarly,
    /// A sink with two inputs takes the first barrier of an epoch for all.
    ForgetBarrier,
    /// After an indefinite commit the producer is used on: its transaction is aborted, not fenced.
    ReuseAfterTimeout,
    /// A revoked partition is given back without being drained, and left out of the commit.
    DropOnRevoke,
    /// Sources read past the last stable offset, and records of aborted transactions.
    ReadUncommitted,
    /// Offsets are committed without the member's generation, whoever owns the partition by now.
    IgnoreGroupGeneration,
    /// Nodes take what was sent before a rewind.
    IgnoreGeneration,
    /// Where to go on is asked while a transaction still holds the answer open.
    ReadUnstable,
    /// Sources go on where they are when the worker goes back.
    IgnoreRewind,
    /// Sinks write whenever they have something.
    WriteOutOfTurn,
    /// That partitions were lost is no matter once they have come back.
    ForgetLoss,
    /// Whether a transaction was fenced for its age is judged by its age when the commit began.
    JudgeByStart,
    /// Both clients have one transactional id.
    OneId,
    /// The next epoch is written while records of the one before are still on their way; its commit waits for them.
    AheadOfReports,
    /// The next epoch commits though nobody knows whether the one before did.
    CommitUnanswered,
    /// When a commit fails only its client is made anew; what the other has written of the next epoch stays.
    KeepTheOther,
    /// Revoked partitions are given back when their epoch is written in full, and its commit is only due.
    LetGoBeforeCommit,
    /// What a sink refuses is counted when it is refused, not when its epoch is prepared.
    CountAtOnce,
    /// A sink writes the tombstones of a batch behind its rows.
    TombstonesLast,
}

impl Breakage {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::SkipPrepare,
        Self::CommitEarly,
        Self::ForgetBarrier,
        Self::ReuseAfterTimeout,
        Self::DropOnRevoke,
        Self::ReadUncommitted,
        Self::IgnoreGroupGeneration,
        Self::IgnoreGeneration,
        Self::ReadUnstable,
        Self::IgnoreRewind,
        Self::WriteOutOfTurn,
        Self::ForgetLoss,
        Self::JudgeByStart,
        Self::OneId,
        Self::AheadOfReports,
        Self::CommitUnanswered,
        Self::KeepTheOther,
        Self::LetGoBeforeCommit,
        Self::CountAtOnce,
        Self::TombstonesLast,
    ];
}

impl Breakage {
    /// Whether it shows in less than a schedule of thousands: its own test is with `Owned`.
    pub fn is_rare(self) -> bool {
        self == Self::ForgetLoss
    }
}

#[derive(Debug, Clone)]
pub struct Setup {
    pub workers: usize,
    /// Sources; all of them feed every sink.
    pub sources: usize,
    pub sinks: usize,
    pub lanes: usize,
    /// Partitions of each input.
    pub partitions: u8,
    /// Partitions of each output.
    pub spread: u8,
    /// Records of each partition.
    pub rows: u16,
    /// Milliseconds, all of them.
    pub interval: u64,
    pub transaction_timeout: u64,
    /// Bytes that an epoch may hold at first.
    pub portion: u64,
    pub session: u64,
    pub rebalance_wait: u64,
    pub revoke_wait: u64,
    pub fetch_wait: u64,
    /// Times out of a thousand that a marker which is due is written.
    pub markers: u32,
    /// Steps with faults.
    pub storm: u64,
    /// Times out of a thousand, by [`Fault`].
    pub rates: [u32; FAULTS],
    pub disasters: u32,
    pub disaster_rate: u32,
    pub breakage: Option<Breakage>,
}

impl Setup {
    pub fn draw(rng: &mut Rng, breakage: Option<Breakage>) -> Self {
        let sources = if breakage == Some(Breakage::ForgetBarrier) { 2 } else { 1 + rng.below(2) };
        // Some schedules have only one kind of trouble, and some have none.
        let mut rate = || rng.pick(&[0, 0, 5, 30, 100]);
        let rates = [rate(), rate(), rate() / 2, rate(), rate(), rate() / 2];
        Self {
            workers: 1 + rng.below(3),
            sources,
            sinks: 1 + rng.below(2),
            lanes: 1 + rng.below(2),
            partitions: if sources == 2 { 1 + rng.below(2) as u8 } else { 2 + rng.below(3) as u8 },
            spread: 1 + rng.below(2) as u8,
            rows: rng.range(8, 24) as u16,
            interval: rng.pick(&[5, 20, 60]),
            transaction_timeout: rng.pick(&[150, 400, 2_000]),
            portion: rng.pick(&[16, 64, 1 << 20]),
            session: rng.pick(&[60, 200]),
            rebalance_wait: rng.pick(&[100, 400]),
            revoke_wait: rng.pick(&[20, 200]),
            fetch_wait: rng.pick(&[30, 300]),
            markers: rng.pick(&[1_000, 200, 30]),
            storm: rng.range(200, 1_500),
            rates,
            disasters: rng.pick(&[0, 1, 3, 8]),
            disaster_rate: rng.pick(&[100, 300, 1_000]),
            breakage,
        }
    }

    pub fn inputs(&self) -> Vec<Tp> {
        let topics = (0..self.sources as u8).map(|source| INPUTS + source);
        topics.flat_map(|topic| (0..self.partitions).map(move |partition| (topic, partition))).collect()
    }
}
