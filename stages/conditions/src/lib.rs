//! Comparisons of a column with constants: what `filter` and `route` have in common.

mod constant;
mod test;

pub use test::{Op, Test};
