//! `pipe`: a streaming data-pipeline engine whose transform stages are sandboxed WebAssembly components.
//!
//! Modules have ranks; a lower one never uses a higher one (`ARCHITECTURE.md`, enforced by a test).

// Rank 0
pub mod error;
pub mod problem;
pub mod quantity;
pub mod secret;
pub mod sync;
pub mod units;
// Rank 1
pub mod batch;
pub mod budget;
pub mod clock;
pub mod codec;
pub mod datatype;
pub mod input;
pub mod metrics;
pub mod progress;
pub mod repeats;
pub mod trace;
pub mod wake;
// Rank 2
pub mod channel;
pub mod config;
pub mod dead_letter;
pub mod epoch;
// Rank 3
pub mod connector;
pub mod format;
pub mod stage;
// Rank 4
pub mod plan;
// Rank 5
pub mod run;
// Rank 6
pub mod admin;
pub mod cli;
