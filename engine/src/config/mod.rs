//! The pipeline file: text to [`Spec`], with every mistake placed by line and column.

pub mod spec;
pub mod types;

pub use spec::Spec;
