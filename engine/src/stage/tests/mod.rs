//! Tests of the host through real guests (`tests/guests`, checked in as components).

mod arbitrary;
mod cached;
mod contract;
mod grants;
mod guests;
mod hostile;
mod identity;
mod loading;
mod mutated;
mod wasi;
