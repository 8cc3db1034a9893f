//! What a worker shows of itself: counters, health, samples, spans and the sums at the end.

pub mod health;
#[cfg(test)]
mod health_tests;
pub(super) mod otlp;
pub mod samples;
pub mod stats;
pub mod summary;
pub mod vitals;
