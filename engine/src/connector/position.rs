//! Positions: which partition, how far, and what a restarted worker can count on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a restarted worker can count on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replay {
    /// The consumer group holds the committed positions.
    Group,
    /// The worker's state folder holds them.
    State,
}

/// How far a source is.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// The group has given its first assignment (it may be empty); always so where there is no group.
    pub joined: bool,
    /// Assignments and revocations so far.
    pub rebalances: u64,
    /// Partitions given by the group so far.
    pub assigned: u64,
    /// Partitions drained, committed and given back so far.
    pub revoked: u64,
    /// Partitions taken away before they were drained so far.
    pub lost: u64,
    /// Times that a partition was read on elsewhere because its log did not hold the next offset, so far.
    pub jumps: u64,
    /// Offsets that were passed over by them.
    pub jumped: u64,
    /// Time since the client last said that something is wrong with its connections.
    pub quiet: Option<Duration>,
    /// For how long no broker has answered although the client is in trouble with its connections, and what trouble.
    pub unanswered: Option<(Duration, String)>,
    /// The partitions that this worker owns now.
    pub partitions: Vec<PartitionProgress>,
}

/// How far a partition is.
#[derive(Debug, Clone)]
pub struct PartitionProgress {
    /// Which.
    pub partition: Partition,
    /// Offset of the next record that is handed out.
    pub position: i64,
    /// End of its log, as the last fetch saw it; `None` before the first.
    pub end: Option<i64>,
    /// Records between the two, control records left out; `None` where the end is not known.
    pub lag: Option<i64>,
}

/// A partition of a topic, or a file (partition 0).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Partition {
    /// Topic or path.
    pub topic: Arc<str>,
    /// Number.
    pub partition: i32,
}

/// A position that the state folder keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Of which partition.
    pub partition: Partition,
    /// The next record.
    pub next: i64,
    /// What a file is known by; `None`: its name is all that is known.
    pub mark: Option<Mark>,
}

/// What a file is known by, whatever it is called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The device that it lies on.
    pub device: u64,
    /// Its inode.
    pub inode: u64,
    /// When it was made, in nanoseconds since 1970, where the file system knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub born: Option<i64>,
    /// A checksum of the records before the position; of a file of columns, of both its ends.
    pub print: u32,
    /// The last of these records, where it had no line end: it is not in `print`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unended: Option<Unended>,
    /// Length and last change (seconds and nanoseconds) of a file that was read to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub still: Option<(u64, i64, i64)>,
}

/// A last record without a line end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unended {
    /// Its length.
    pub bytes: u64,
    /// The checksum with it.
    pub print: u32,
}

/// For each partition the offset of the next record.
pub type Positions = BTreeMap<Partition, i64>;
