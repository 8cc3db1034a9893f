//! The commands of `pipe`: one file each.

pub mod check;
pub mod explain;
pub mod load;
pub mod schema;
