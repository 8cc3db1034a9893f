//! `json`: one JSON object a record.

mod decode;
#[cfg(test)]
mod differential;
mod encode;
mod fast;
mod infer;
#[cfg(test)]
mod lenient;
#[cfg(test)]
mod lenient_times;
mod nan;
mod pen;
#[cfg(test)]
#[path = "tests.rs"]
mod properties;
mod rows;
mod scan;
mod unknown;
#[cfg(any(test, fuzzing))]
pub mod ways;

use std::io::Write;
use std::path::Path;

use arrow::datatypes::SchemaRef;

use self::unknown::Told;
use super::accept::{self, Accept};
use super::{FormatKind, Options};
use crate::codec::{Decoder, Encoder, Format, Layout, RowWriter};
use crate::error::Result;

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
                "columns": accept::columns_schema(generator),
                "accept": accept::json_schema(generator),
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
        let mut options = Options::new(options, &["columns", "accept", "explicit_nulls"]);
        let (columns, accept) = options.columns(false);
        let json = Json {
            columns,
            accept,
            explicit_nulls: options.flag("explicit_nulls", false),
            told: Told::default(),
        };
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
    accept: Accept,
    explicit_nulls: bool,
    /// The keys without a column that were told, by any of the decoders.
    told: Told,
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
        infer::infer(path).map_err(|e| e.context(path.display().to_string()))
    }

    fn decoder(&self, schema: SchemaRef) -> Result<Box<dyn Decoder>> {
        let decoder = decode::JsonDecoder::new(&schema)?.accepting(&self.accept);
        // Where columns are declared the other keys are left out on purpose.
        Ok(Box::new(if self.columns.is_none() { decoder.watching(&self.told) } else { decoder }))
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

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;

    use super::*;
    use crate::config::types;
    use crate::error::Code;

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
