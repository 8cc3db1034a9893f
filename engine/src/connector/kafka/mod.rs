//! `kafka`: topics of Apache Kafka as source, sink and place of dead letters.
//!
//! `client` is what the three share; `source` and `sink` may use each other, as both sides of a transaction do.

pub mod client;
pub mod dead_letters;
pub mod sink;
pub mod source;
