//! Each error that a broker may answer to each call of a transaction, given by librdkafka's mock cluster.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails it by panicking")]

mod mock_parts;
