//! The Wasm host: components compiled once, instances bounded in memory, time and output, nothing trusted that
//! comes back.
//!
//! `Host` holds the engines and the cache; `Component` is compiled code; `Bound` is a component with its input and
//! configuration; `Instance` runs batches. After any failure an instance is dropped and a fresh one made.

mod aot;
mod bind;
mod cache;
mod compile;
mod component;
mod declared;
mod files;
mod frames;
#[cfg(fuzzing)]
pub mod fuzzing;
mod grants;
mod host;
mod instance;
mod invoke;
mod lift;
mod limits;
mod log;
mod lower;
mod names;
#[cfg(feature = "native-stage")]
mod native;
mod outcome;
mod schema;
mod select;
mod state;
mod text;
mod ticker;
mod types;
mod warm;
mod wasi;
mod wit;

pub use bind::{Bound, Port};
pub use compile::{Compiling, Watch};
pub use component::{Component, Description};
pub use grants::{Asked, Folder, Grants};
pub use host::{Host, HostOptions};
pub use instance::Instance;
pub use limits::Limits;
pub use names::keep_authors;
#[cfg(feature = "native-stage")]
pub use native::Native;
pub use outcome::{CallFailure, Cost, Emission, Outcome};
pub use select::Rejection;
pub use warm::{Entry, Warmed, clear, entries, usable};

#[cfg(test)]
mod tests;
