//! Dead letters: what they are made of, the writer of their file, and the readers of file and topic.
//!
//! A letter is an original record, byte for byte, and the cause of its failure: in a topic as `pipe.error.*` headers,
//! in a file as members of a JSON line. `file` appends to a file, `letter` is a letter that was read, `read` reads
//! files, `cause` has the names of the headers, `encode` makes letters of failures; where they are a topic, the Kafka
//! sink writes them and the Kafka connector reads them.

pub mod cause;
mod encode;
mod file;
mod letter;
mod read;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::batch::headers_type;
pub use encode::{Attempts, Scribe};
pub use file::File;
pub use letter::{Bytes, Letter, Line, Place, split, told};
pub use read::{Found, Reader, open_file};

/// Name of the header column: a list of `{name: utf8, value: binary}`. The Kafka sink takes a column of this name
/// and type as the record's headers.
pub const HEADERS: &str = "_headers";
/// Name of the key column (binary, null: no key).
pub const KEY: &str = "_key";
/// Name of the value column (binary, null: a tombstone).
pub const VALUE: &str = "_value";
/// Name of the timestamp column.
pub const TIMESTAMP: &str = "_timestamp";

/// `_key`, `_value`, `_headers` as they were plus `pipe.error.*` headers, `_timestamp` of the failure.
pub fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new(KEY, DataType::Binary, true),
        Field::new(VALUE, DataType::Binary, true),
        Field::new(HEADERS, headers_type(), true),
        Field::new(
            TIMESTAMP,
            DataType::Timestamp(arrow::datatypes::TimeUnit::Millisecond, Some("UTC".into())),
            false,
        ),
    ]))
}
