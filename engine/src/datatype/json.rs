//! The type `json`: text with Arrow's extension `arrow.json` in the metadata of its field.

use std::collections::HashMap;

use arrow::datatypes::{DataType, Field};

/// The key of a field's metadata that names Arrow's extension types, and the one that is text of JSON.
const EXTENSION: &str = "ARROW:extension:name";
const JSON: &str = "arrow.json";

/// A field of the type `json`: text that is one JSON value.
pub fn json(name: &str, nullable: bool) -> Field {
    let metadata = [(EXTENSION, JSON), ("ARROW:extension:metadata", "")];
    let metadata = metadata.map(|(key, value)| (key.to_owned(), value.to_owned()));
    Field::new(name, DataType::Utf8, nullable).with_metadata(HashMap::from(metadata))
}

/// Whether a field says that its text is JSON. Who made its values may not have kept to that.
pub fn is_json(field: &Field) -> bool {
    let text = matches!(field.data_type(), DataType::Utf8 | DataType::LargeUtf8);
    text && field.metadata().get(EXTENSION).map(String::as_str) == Some(JSON)
}

/// Whether a field is of the type `json`, or has one within.
pub fn holds_json(field: &Field) -> bool {
    match field.data_type() {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _) => holds_json(item),
        DataType::Struct(fields) => fields.iter().any(|field| holds_json(field)),
        _ => is_json(field),
    }
}
