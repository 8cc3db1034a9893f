//! Which columns may stand beside what nobody declared.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};

use super::merge::REST;
use crate::codec::Undeclared;
use crate::datatype::{self, print_field};
use crate::error::Code;
use crate::problem::Problem;

/// What of these columns does not go together with what becomes of undeclared fields. Pointers are those of the options.
pub(super) fn check(columns: &Schema, unknown: Undeclared) -> Vec<Problem> {
    let mut problems = Vec::new();
    for field in columns.fields() {
        let at = format!("/columns/{}", field.name().replace('~', "~0").replace('/', "~1"));
        if field.name() == REST && (unknown == Undeclared::Keep || datatype::is_json(field)) {
            let message = format!("`{REST}` is the column of what nobody declared");
            problems
                .push(Problem::new(Code::P009, &at, message).help("leave it out: `unknown: keep` adds it"));
        } else if unknown == Undeclared::Keep && holds_structs(field, false) {
            let message = format!(
                "undeclared fields within the items of `{}`, which is {}, cannot be kept",
                field.name(),
                print_field(field)
            );
            let help = "declare `list(json)`, `map(utf8, json)` or `json`, or say `unknown: drop`";
            problems.push(Problem::new(Code::P009, &at, message).help(help));
        }
    }
    problems
}

/// Whether a field has structs of which a row may have several.
fn holds_structs(field: &Field, several: bool) -> bool {
    match field.data_type() {
        DataType::Struct(fields) => several || fields.iter().any(|field| holds_structs(field, false)),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            holds_structs(item, true)
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(parts) => parts.iter().skip(1).any(|value| holds_structs(value, true)),
            _ => false,
        },
        _ => false,
    }
}

/// The columns, and that of what nobody declared.
pub(super) fn with_rest(columns: &Schema) -> SchemaRef {
    let fields = columns.fields().iter().cloned().chain([Arc::new(datatype::json(REST, true))]);
    Arc::new(Schema::new(fields.collect::<Fields>()))
}

/// The same of columns that were guessed: a list of structs is one of JSON there.
pub(super) fn of_guess(columns: &Schema) -> SchemaRef {
    let fields = columns.fields().iter().filter(|field| field.name() != REST).map(kept_whole);
    with_rest(&Schema::new(fields.collect::<Fields>()))
}

fn kept_whole(field: &FieldRef) -> FieldRef {
    let with = |data_type| Arc::new(field.as_ref().clone().with_data_type(data_type));
    match field.data_type() {
        DataType::Struct(fields) => with(DataType::Struct(fields.iter().map(kept_whole).collect())),
        DataType::List(item) => with(DataType::List(match item.data_type() {
            DataType::Struct(_) => Arc::new(datatype::json(item.name(), true)),
            _ => kept_whole(item),
        })),
        _ => Arc::clone(field),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::format::json::KIND;

    fn refused(columns: &Value, unknown: &str) -> Vec<(Code, String)> {
        let options = json!({ "columns": columns, "unknown": unknown });
        let problems = (KIND.prepare)(&options).err().unwrap_or_default();
        problems.into_iter().map(|problem| (problem.code, problem.pointer)).collect()
    }

    #[test]
    fn what_cannot_be_kept_is_refused_with_its_place() {
        let columns = json!({
            "_rest": "utf8", "a": "list(struct(x: int64))", "b": "struct(c: map(utf8, list(struct(x: int64))))",
            "d": "struct(x: struct(y: int64))", "e": "list(json)", "f": "map(utf8, json)",
        });
        let places = refused(&columns, "keep");
        let expected = ["/columns/_rest", "/columns/a", "/columns/b"].map(|at| (Code::P009, at.to_owned()));
        assert_eq!(places, expected);
        assert_eq!(refused(&columns, "drop"), []);
        assert_eq!(refused(&columns, "dead_letter"), []);
        assert_eq!(refused(&json!({ "_rest": "json" }), "drop"), [(Code::P009, "/columns/_rest".to_owned())]);
        assert_eq!(refused(&json!({ "a": "utf8" }), "forget"), [(Code::C005, "/unknown".to_owned())]);
    }

    #[test]
    fn the_rest_is_the_last_column_of_what_is_declared_and_of_what_is_guessed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        let text = r#"{"n":1,"l":[{"x":1}],"ll":[[{"x":1}]],"s":{"l":[{"x":1}],"y":"a"},"_rest":3}"#;
        std::fs::write(&path, text).unwrap();
        let format = (KIND.prepare)(&json!({ "unknown": "keep" })).unwrap();
        let guessed = format.infer(&path).unwrap();
        let printed: Vec<String> =
            guessed.fields().iter().map(|f| format!("{}: {}", f.name(), print_field(f))).collect();
        let expected = [
            "n: int64",
            "l: list(json)",
            "ll: list(list(json))",
            "s: struct(l: list(json), y: utf8)",
            "_rest: json",
        ];
        assert_eq!(printed, expected);
        let declared = (KIND.prepare)(&json!({ "unknown": "keep", "columns": { "a": "int64" } })).unwrap();
        assert_eq!(*declared.schema().unwrap().field(1), datatype::json(REST, true));
    }
}
