//! How an epoch becomes final: barriers, whose turn it is to write, the commit, positions that are kept.

pub(super) mod committer;
pub(super) mod coordinator;
#[cfg(test)]
mod coordinator_tests;
pub(super) mod portion;
pub(super) mod position_file;
pub(super) mod positions;
pub(super) mod write_gate;
