//! `json`: one JSON object a record.

mod decode;
#[cfg(test)]
mod differential;
mod encode;
mod fast;
mod pen;
#[cfg(test)]
#[path = "tests.rs"]
mod properties;
mod rows;
mod scan;
#[cfg(any(test, fuzzing))]
pub mod ways;

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use serde_json::Value;

use super::{FormatKind, Options};
use crate::codec::{Decoder, Encoder, Format, Layout, RowWriter};
use crate::config::types;
use crate::error::{Code, Error, Result};
use crate::input;
use crate::units::{INFER_BYTES_MAX, INFER_RECORDS};

/// One JSON object a record.
pub static KIND: FormatKind = FormatKind {
    name: "json",
    summary: "One JSON object a record; files hold one a line.",
    example: "json:\n  columns: { ts: \"timestamp(ms, UTC)\", status: int64, tags: list(utf8), geo: { lat: float64 } }\n",
    options: |generator| {
        schemars::json_schema!({
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "columns": types::json_schema(generator),
                "explicit_nulls": {
                    "description": "Write `null` for nulls; by default the key is left out.",
                    "type": "boolean",
                    "default": false,
                },
            },
        })
    },
    extensions: &["json", "jsonl", "ndjson"],
    by_extension: &[],
    prepare: |options| {
        let mut options = Options::new(options, &["columns", "explicit_nulls"]);
        let json = Json { columns: options.columns(), explicit_nulls: options.flag("explicit_nulls", false) };
        if let Some(columns) = &json.columns
            && let Err(e) = decode::JsonDecoder::new(columns)
        {
            options.problem("/columns", e.code(), e.message());
        }
        options.done(json)
    },
};

/// The options.
struct Json {
    columns: Option<SchemaRef>,
    explicit_nulls: bool,
}

impl Format for Json {
    fn layout(&self) -> Layout {
        Layout::Lines
    }

    fn schema(&self) -> Option<SchemaRef> {
        self.columns.clone()
    }

    fn infer(&self, path: &Path) -> Result<SchemaRef> {
        if let Some(columns) = &self.columns {
            return Ok(columns.clone());
        }
        infer(path).map_err(|e| e.context(path.display().to_string()))
    }

    fn decoder(&self, schema: SchemaRef) -> Result<Box<dyn Decoder>> {
        Ok(Box::new(decode::JsonDecoder::new(&schema)?))
    }

    fn encoder(&self, schema: SchemaRef) -> Result<Box<dyn Encoder>> {
        Ok(Box::new(encode::JsonEncoder::new(&schema, self.explicit_nulls)?))
    }

    fn writer(&self, schema: SchemaRef, out: Box<dyn Write + Send>) -> Result<Box<dyn RowWriter>> {
        Ok(Box::new(encode::JsonLines::new(&schema, self.explicit_nulls, out)?))
    }

    fn is_json(&self) -> bool {
        true
    }

    fn extension(&self) -> &'static str {
        "jsonl"
    }
}

/// The columns of the first records: the widest type that each field needs, all of them nullable, in the order of
/// their first occurrence. Records that are no objects are left to the decoder, which rejects them one by one.
fn infer(path: &Path) -> Result<SchemaRef> {
    let mut lines = super::sample::Lines::new(input::text(path, true)?, INFER_BYTES_MAX);
    let mut records = Vec::new();
    while records.len() < INFER_RECORDS {
        let Some(line) = lines.next().map_err(|e| input::failed(&e))? else { break };
        if let Ok(Value::Object(record)) = serde_json::from_slice(line) {
            records.push(record);
        }
    }
    let mut shape = Fields::empty();
    for record in &records {
        shape = merge_fields(&shape, record, 1);
    }
    if shape.is_empty() {
        let message = "holds no JSON object with a field, so its columns cannot be inferred";
        return Err(
            Error::user(Code::S002, message).help("declare them under `format: { json: { columns: ... } }`")
        );
    }
    Ok(Arc::new(Schema::new(known(&shape))))
}

fn merge_fields(fields: &Fields, record: &serde_json::Map<String, Value>, depth: usize) -> Fields {
    let mut merged: Vec<(String, DataType)> =
        fields.iter().map(|f| (f.name().clone(), f.data_type().clone())).collect();
    let positions: std::collections::HashMap<String, usize> =
        merged.iter().enumerate().map(|(i, (name, _))| (name.clone(), i)).collect();
    for (name, value) in record {
        match positions.get(name) {
            Some(at) => merged[*at].1 = merge(&merged[*at].1, value, depth),
            None if merged.len() < crate::units::SCHEMA_FIELDS_MAX / 4 => {
                merged.push((name.clone(), merge(&DataType::Null, value, depth)));
            }
            None => {}
        }
    }
    merged.into_iter().map(|(name, data_type)| Field::new(name, data_type, true)).collect()
}

/// The narrowest type that holds what `so_far` holds and the value too; text when nothing else does.
fn merge(so_far: &DataType, value: &Value, depth: usize) -> DataType {
    let found = match value {
        Value::Null => return so_far.clone(),
        Value::Bool(_) => DataType::Boolean,
        Value::Number(n) if n.is_i64() => DataType::Int64,
        Value::Number(n) if n.is_u64() => DataType::UInt64,
        Value::Number(_) => DataType::Float64,
        Value::String(_) => DataType::Utf8,
        // Deeper than any real record; text rejects it by its place.
        _ if depth >= crate::units::SCHEMA_DEPTH_MAX => DataType::Utf8,
        Value::Array(items) => {
            let before = match so_far {
                DataType::List(item) => item.data_type().clone(),
                _ => DataType::Null,
            };
            let item = items.iter().fold(before, |item, value| merge(&item, value, depth + 1));
            DataType::List(Arc::new(Field::new("item", item, true)))
        }
        Value::Object(record) => {
            let before = match so_far {
                DataType::Struct(fields) => fields.clone(),
                _ => Fields::empty(),
            };
            DataType::Struct(merge_fields(&before, record, depth + 1))
        }
    };
    match (so_far, found) {
        (DataType::Null, found) => found,
        (DataType::Int64 | DataType::UInt64, DataType::Float64)
        | (DataType::Float64, DataType::Int64 | DataType::UInt64) => DataType::Float64,
        (DataType::List(_), found @ DataType::List(_))
        | (DataType::Struct(_), found @ DataType::Struct(_)) => found,
        (so_far, found) if *so_far == found => found,
        // Fields of two types keep the first: the records of the other are rejected and seen, not bent.
        (so_far, _) => so_far.clone(),
    }
}

/// Fields of which only nulls were seen become text.
fn known(fields: &Fields) -> Fields {
    let known_type = |data_type: &DataType| match data_type {
        DataType::Null => DataType::Utf8,
        DataType::Struct(fields) => DataType::Struct(known(fields)),
        DataType::List(item) => DataType::List(known(&[item.clone()].into_iter().collect())[0].clone()),
        other => other.clone(),
    };
    fields.iter().map(|f| Field::new(f.name(), known_type(f.data_type()), true)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_inferred_from_the_first_records() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jsonl");
        let text = "{\"a\":1,\"b\":null,\"t\":[]}\n\nnot json\n{\"a\":1.5,\"b\":{\"x\":true},\"t\":[\"s\"],\"n\":null}\n";
        std::fs::write(&path, text).unwrap();
        let format = (KIND.prepare)(&serde_json::json!({})).unwrap();
        let schema = format.infer(&path).unwrap();
        let printed: Vec<String> =
            schema.fields().iter().map(|f| format!("{}: {}", f.name(), types::print_field(f))).collect();
        assert_eq!(printed, ["a: float64", "b: struct(x: boolean)", "t: list(utf8)", "n: utf8"]);
        std::fs::write(&path, "{\"u\":18446744073709551615}\n{\"u\":5}\n").unwrap();
        assert_eq!(*format.infer(&path).unwrap().field(0).data_type(), DataType::UInt64);
        std::fs::write(&path, "[]\n").unwrap();
        assert_eq!(format.infer(&path).unwrap_err().code(), Code::S002);
        assert_eq!(format.infer(&dir.path().join("none")).unwrap_err().code(), Code::S001);
    }

    #[test]
    fn mistakes_of_the_options_are_all_reported() {
        let options = serde_json::json!({"columns": {"a": "int46"}, "explicit_nulls": 3, "colums": {}});
        let Err(problems) = (KIND.prepare)(&options) else { panic!("it was accepted") };
        let pointers: Vec<&str> = problems.iter().map(|p| p.pointer.as_str()).collect();
        assert_eq!(pointers, ["/colums", "/columns/a", "/explicit_nulls"]);
    }
}
