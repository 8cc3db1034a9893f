//! What the Kafka source and sink share: the client's configuration, its errors and its log lines.
//!
//! Here are [`Cluster`] (brokers and pass-through properties, checked without touching the network), [`Voice`]
//! (librdkafka's log lines and errors into `tracing`), and the one table that says what each error of librdkafka means
//! ([`meaning`]). A secret never leaves [`Cluster`] but into a client: not by `Debug`, not in an error, not in a plan.

mod cluster;
mod errors;
mod headers;
mod log;
mod login;
mod offsets;
mod probe;
pub mod scan;
mod topics;

pub use cluster::{
    CLIENT, Cluster, GroupOffsets, Properties, PropertyValue, is_secret, is_topic_name, options_schema,
    parse_options,
};
pub use errors::{Line, Meaning, TABLE, code_of, error, known, meaning, reason};
pub use headers::headers;
pub use log::Voice;
pub use offsets::{Membership, Offsets, Place};
pub use probe::{Known, Members, Probe, create_topic};
pub use topics::Topics;
