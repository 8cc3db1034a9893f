//! Which errors refuse a record, and which stay whatever is done anew.

use rdkafka::error::RDKafkaErrorCode;

use crate::connector::kafka::client::{Meaning, meaning};

/// Whether the reason lies in the record itself, or in one that was sent with it.
pub(super) fn is_about_the_record(code: RDKafkaErrorCode) -> bool {
    meaning(code) == Meaning::Record
}

/// The reason of a refused record.
pub(super) fn refusal(topic: &str, bytes: usize, code: RDKafkaErrorCode) -> String {
    format!("topic `{topic}` refused a record of {bytes} bytes: {code}")
}

/// Whether a failure would come again, whatever is done anew.
pub(super) fn stays(code: RDKafkaErrorCode) -> bool {
    matches!(meaning(code), Meaning::Missing | Meaning::Setting | Meaning::Denied)
}
