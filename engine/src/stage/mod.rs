//! The Wasm host: components compiled once, instances bounded in memory, time and output, nothing trusted that
//! comes back.
//!
//! `Host` holds the engines and the cache; `Component` is compiled code; `Bound` is a component with its input and
//! configuration; `Instance` runs batches. After any failure an instance is dropped and a fresh one made.

mod host;
mod cache;
mod aot;
mod component;
mod bind;
mod types;
mod instance;
mod lower;
mod lift;
mod select;
mod limits;
mod state;
mod log;
mod wasi;
mod wit;

pub use bind::{Bound, Port};
pub use component::{Component, Description};
pub use host::{Host, HostOptions};
pub use instance::{CallFailure, Cost, Emission, Instance, Outcome, Rejection};
pub use limits::Limits;

#[cfg(test)]
mod tests;
