//! `file`: records out of local files and into them.

mod begin;
mod framing;
mod headers;
mod known;
mod names;
mod part;
mod reader;
pub mod sink;
pub mod source;
mod stdin;
mod watch;
