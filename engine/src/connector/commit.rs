//! What sinks make ready for an epoch, and the transaction that all of them may share.

use std::time::Duration;

use super::kafka::client::GroupOffsets;
use crate::error::Result;

/// What a sink made ready for an epoch.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Prepare {
    /// Rows made durable since the last prepare.
    pub rows: u64,
    /// Their bytes, as written.
    pub bytes: u64,
}

/// What all sinks and the dead letters of a worker write between two commits, with the positions of its sources:
/// readers see all of it or none of it. Used by the committer alone.
pub trait Transaction: Send + Sync {
    /// Ends what is open, or what an earlier worker of this identity left open: it is aborted, unless its commit was
    /// under way, which is then complete. Begins the first transaction. Blocks for about the transaction's time-out.
    /// `longer`: it may take twice as long as the one before.
    fn begin(&self, longer: bool) -> Result<()>;
    /// Whether what the next `begin` gives up was written into for longer than a transaction may take.
    fn is_overdue(&self) -> bool;
    /// Longest that the transaction may take.
    fn timeout(&self) -> Duration;
    /// What was written so far is to be committed next; what is written from here on belongs to the transaction after
    /// it. Everything that was written must be confirmed, and every turn before committed.
    fn turn(&self) -> Result<()>;
    /// Commits what was written before the last turn, with these positions; answers how long it took from the first
    /// record that was written. After a stale error all or none of it is
    /// committed: the group's offsets tell which, after [`Transaction::begin`]; what was written since is void, too.
    fn commit(&self, offsets: Vec<GroupOffsets>) -> Result<Duration>;
    /// Nothing follows; what is open is aborted, so that no reader waits for it.
    fn close(&self);
}
