//! Columns of the dead letters, one row a failed record. Built by the runtime, written by the Kafka or file sink.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};

/// Name of the header column: a list of `{name: utf8, value: binary}`. The Kafka sink takes a column of this name
/// and type as the record's headers.
pub const HEADERS: &str = "_headers";
/// Name of the key column (binary, null: no key).
pub const KEY: &str = "_key";
/// Name of the value column (binary, null: a tombstone).
pub const VALUE: &str = "_value";
/// Name of the timestamp column.
pub const TIMESTAMP: &str = "_timestamp";

/// Type of a header column.
pub fn headers_type() -> DataType {
    let entry = Fields::from(vec![
        Field::new("name", DataType::Utf8, false),
        Field::new("value", DataType::Binary, true),
    ]);
    DataType::List(Arc::new(Field::new("item", DataType::Struct(entry), false)))
}

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
