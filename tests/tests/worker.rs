//! The whole worker: the binary `pipe` as a child process against a real Apache Kafka broker.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails it by panicking")]

mod worker_parts;
