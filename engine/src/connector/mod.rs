//! Connectors: where records come from and where they go. A connector is one file or folder here, and one line in
//! [`SOURCES`], [`SINKS`] or both.
//!
//! `source`, `sink`, `commit` and `position` are the contracts that all connectors keep; a connector knows these and
//! itself, and no other connector.

pub mod blackhole;
pub mod commit;
pub mod file;
pub mod generate;
pub mod kafka;
pub mod position;
pub mod sink;
pub mod source;
pub mod stdout;

use sink::SinkKind;
use source::SourceKind;

/// Every source, in alphabetical order.
pub static SOURCES: &[&SourceKind] = &[&file::source::KIND, &generate::KIND, &kafka::source::KIND];

/// Every sink, in alphabetical order.
pub static SINKS: &[&SinkKind] = &[&blackhole::KIND, &file::sink::KIND, &kafka::sink::KIND, &stdout::KIND];
