//! Columns of records that nobody declared. What is guessed depends on which records there are, not on their order.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use serde_json::{Map, Number, Value};

use crate::datatype;
use crate::error::{Code, Error, Result};
use crate::format::sample::Lines;
use crate::input;
use crate::units::{INFER_BYTES_MAX, INFER_RECORDS, SCHEMA_DEPTH_MAX, SCHEMA_FIELDS_MAX};

/// What was seen of a value in several records: how often it was of each kind, and what its type must hold.
#[derive(Debug, Default)]
struct Shape {
    booleans: usize,
    numbers: usize,
    texts: usize,
    lists: usize,
    objects: usize,
    /// Arrays and objects that lie deeper than columns go.
    deep: usize,
    /// Whether a number was below zero, an integer beyond `int64`, or no integer that 64 bits hold.
    negative: bool,
    large: bool,
    fraction: bool,
    /// Of the items of all lists.
    item: Option<Box<Shape>>,
    /// Of the members of all objects, in the order of their first occurrence.
    members: Vec<(String, Shape)>,
    places: HashMap<String, usize>,
}

impl Shape {
    fn see(&mut self, value: &Value, depth: usize) {
        match value {
            Value::Null => {}
            Value::Bool(_) => self.booleans += 1,
            Value::Number(number) => self.see_number(number),
            Value::String(_) => self.texts += 1,
            _ if depth >= SCHEMA_DEPTH_MAX => self.deep += 1,
            Value::Array(items) => {
                self.lists += 1;
                let item = self.item.get_or_insert_default();
                items.iter().for_each(|value| item.see(value, depth + 1));
            }
            Value::Object(record) => self.see_members(record, depth + 1),
        }
    }

    fn see_number(&mut self, number: &Number) {
        self.numbers += 1;
        match (number.as_i64(), number.is_u64()) {
            (Some(number), _) => self.negative |= number < 0,
            (None, true) => self.large = true,
            (None, false) => self.fraction = true,
        }
    }

    fn see_members(&mut self, record: &Map<String, Value>, depth: usize) {
        self.objects += 1;
        for (name, value) in record {
            let at = match self.places.get(name) {
                Some(at) => *at,
                None if self.members.len() < SCHEMA_FIELDS_MAX / 4 => {
                    self.places.insert(name.clone(), self.members.len());
                    self.members.push((name.clone(), Self::default()));
                    self.members.len() - 1
                }
                None => continue,
            };
            self.members[at].1.see(value, depth);
        }
    }

    /// A field of the type that holds all of what was seen: where that is of several kinds, `json`. Nothing but nulls is
    /// text.
    fn field(&self, name: &str) -> Field {
        let data_type = match [self.objects, self.lists, self.numbers, self.booleans, self.texts, self.deep] {
            [0, 0, 0, 0, _, 0] => DataType::Utf8,
            [_, 0, 0, 0, 0, 0] => DataType::Struct(self.fields()),
            [0, _, 0, 0, 0, 0] => {
                let item = self.item.as_ref().map(|item| item.field("item"));
                DataType::List(Arc::new(item.unwrap_or_else(|| Field::new("item", DataType::Utf8, true))))
            }
            [0, 0, _, 0, 0, 0] if self.fraction => DataType::Float64,
            // No integer of 64 bits holds both, and no digit is given up for a float.
            [0, 0, _, 0, 0, 0] if self.large && self.negative => DataType::Decimal128(20, 0),
            [0, 0, _, 0, 0, 0] if self.large => DataType::UInt64,
            [0, 0, _, 0, 0, 0] => DataType::Int64,
            [0, 0, 0, _, 0, 0] => DataType::Boolean,
            _ => return datatype::json(name, true),
        };
        Field::new(name, data_type, true)
    }

    fn fields(&self) -> Fields {
        self.members.iter().map(|(name, shape)| shape.field(name)).collect()
    }
}

/// The columns of the first records, all of them nullable, in the order of their first occurrence. Records that are no
/// objects are left to the decoder, which rejects them one by one.
pub(super) fn infer(path: &Path) -> Result<SchemaRef> {
    let mut lines = Lines::new(input::text(path, true)?, INFER_BYTES_MAX);
    let mut shape = Shape::default();
    while shape.objects < INFER_RECORDS {
        let Some(line) = lines.next().map_err(|e| input::failed(&e))? else { break };
        if let Ok(Value::Object(record)) = serde_json::from_slice(line) {
            shape.see_members(&record, 1);
        }
    }
    if shape.members.is_empty() {
        let message = "holds no JSON object with a field, so its columns cannot be inferred";
        return Err(
            Error::user(Code::S002, message).help("declare them under `format: { json: { columns: ... } }`")
        );
    }
    Ok(Arc::new(Schema::new(shape.fields())))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The columns of these records, sorted by name.
    fn guess(records: &[Value]) -> Vec<(String, String)> {
        let mut shape = Shape::default();
        for record in records {
            if let Value::Object(record) = record {
                shape.see_members(record, 1);
            }
        }
        sorted(&shape.fields())
    }

    fn sorted(fields: &Fields) -> Vec<(String, String)> {
        let mut found: Vec<(String, String)> = Vec::new();
        for field in fields {
            let text = match field.data_type() {
                DataType::Struct(inner) => format!("{:?}", sorted(inner)),
                _ => datatype::print_field(field),
            };
            found.push((field.name().clone(), text));
        }
        found.sort();
        found
    }

    #[test]
    fn integers_beyond_int64_make_the_same_type_in_any_order() {
        for (records, expected) in [
            (r#"[{"n":5},{"n":18446744073709551615}]"#, "uint64"),
            (r#"[{"n":-5},{"n":18446744073709551615}]"#, "decimal128(20, 0)"),
            (r#"[{"n":-5},{"n":5}]"#, "int64"),
            (r#"[{"n":18446744073709551616},{"n":5}]"#, "float64"),
            (r#"[{"n":0.5},{"n":18446744073709551615},{"n":null}]"#, "float64"),
            (r#"[{"n":5},{"n":"a"},{"n":6}]"#, "json"),
            (r#"[{"n":5},{"n":null},{"n":6}]"#, "int64"),
            (r#"[{"n":true},{"n":0}]"#, "json"),
            (r#"[{"n":{}},{"n":[]}]"#, "json"),
            (r#"[{"n":[]},{"n":[1]},{"n":["a"]},{"n":[2]}]"#, "list(json)"),
            (r#"[{"n":{"x":1}},{"n":{"x":"a","y":1}}]"#, "[(\"x\", \"json\"), (\"y\", \"int64\")]"),
        ] {
            let mut records: Vec<Value> = serde_json::from_str(records).unwrap();
            let forth = guess(&records);
            records.reverse();
            assert_eq!(forth, guess(&records));
            assert_eq!(forth[0].1, expected);
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-3i64..3).prop_map(Value::from),
            Just(Value::from(u64::MAX)),
            Just(Value::from(0.5)),
            Just(Value::from("a")),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::hash_map("[abc]", inner, 0..3)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_order_of_records_changes_nothing(
            (records, shuffled) in prop::collection::vec(value(), 0..12)
                .prop_flat_map(|records| (Just(records.clone()), Just(records).prop_shuffle())),
        ) {
            prop_assert_eq!(guess(&records), guess(&shuffled));
        }
    }
}
