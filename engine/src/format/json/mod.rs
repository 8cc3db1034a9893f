//! `json`: one JSON object a record.

mod bare;
mod cell;
mod declared;
mod decode;
#[cfg(test)]
mod differential;
mod encode;
mod fast;
mod infer;
#[cfg(test)]
mod kept_tests;
#[cfg(test)]
mod lenient;
#[cfg(test)]
mod lenient_times;
mod merge;
mod nan;
mod pen;
#[cfg(test)]
#[path = "tests.rs"]
mod properties;
mod rest;
mod rows;
mod scan;
mod span;
mod unknown;
#[cfg(any(test, fuzzing))]
pub mod ways;
#[cfg(any(test, fuzzing))]
pub mod whole;

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, SchemaRef};

use self::unknown::Told;
use super::accept::{self, Accept};
use super::{FormatKind, Options};
use crate::codec::{Decoder, Encoder, Format, Layout, RowWriter, Undeclared};
use crate::datatype;
use crate::error::{Error, Result};

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
                "unknown": {
                    "description": "What becomes of fields that `columns` does not name, at a source. `drop`, which is what \
                                    happens without it: they are left out. `keep`: they are kept in the column `_rest`, \
                                    and a JSON sink puts them back where they were. `dead_letter`: their record goes to \
                                    the dead letters.",
                    "enum": ["drop", "keep", "dead_letter"],
                },
                "explicit_nulls": {
                    "description": "Write `null` for nulls; by default the key is left out.",
                    "type": "boolean",
                    "default": false,
                },
            },
        })
    },
    extensions: &["json", "jsonl", "ndjson"],
    reads: true,
    by_extension: &[],
    prepare: |options| {
        let mut options = Options::new(options, &["columns", "accept", "explicit_nulls", "unknown"]);
        let unknown = match options.word("unknown", &["drop", "keep", "dead_letter"], "drop") {
            "keep" => Undeclared::Keep,
            "dead_letter" => Undeclared::DeadLetter,
            _ => Undeclared::Drop,
        };
        let (columns, accept) = options.columns(false);
        if let Some(columns) = &columns {
            if let Err(e) = decode::JsonDecoder::new(columns) {
                options.problem("/columns", e.code(), e.message());
            }
            options.problems.extend(declared::check(columns, unknown));
        }
        let columns = columns
            .map(|columns| if unknown == Undeclared::Keep { declared::with_rest(&columns) } else { columns });
        let json = Json {
            columns,
            accept,
            unknown,
            is_said: options.is_given("unknown"),
            explicit_nulls: options.flag("explicit_nulls", false),
            told: Told::default(),
        };
        options.done(json)
    },
};

/// The format that writes every column of a row, those that are null too.
pub fn explicit_nulls() -> Result<Arc<dyn Format>> {
    (KIND.prepare)(&serde_json::json!({ "explicit_nulls": true }))
        .map_err(|_| Error::internal("the format json has no `explicit_nulls`"))
}

/// Whether a column holds what nobody declared of records.
pub fn is_rest(field: &Field) -> bool {
    field.name() == merge::REST && *field.data_type() == DataType::Utf8 && datatype::is_json(field)
}

/// The options.
struct Json {
    /// With that of what nobody declared, where that is kept.
    columns: Option<SchemaRef>,
    accept: Accept,
    unknown: Undeclared,
    /// Whether the options say what becomes of what nobody declared.
    is_said: bool,
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
        let guessed = infer::infer(path).map_err(|e| e.context(path.display().to_string()))?;
        Ok(if self.unknown == Undeclared::Keep { declared::of_guess(&guessed) } else { guessed })
    }

    fn decoder(&self, schema: SchemaRef) -> Result<Box<dyn Decoder>> {
        let decoder = match self.unknown {
            Undeclared::Drop => decode::JsonDecoder::new(&schema)?,
            Undeclared::Keep => decode::JsonDecoder::keeping(&schema)?,
            Undeclared::DeadLetter => decode::JsonDecoder::new(&schema)?.strictly(),
        };
        let decoder = decoder.accepting(&self.accept);
        // Where columns are declared and nothing is said of the other keys, they are left out on purpose.
        let is_watched = self.columns.is_none() || self.unknown != Undeclared::Drop;
        Ok(Box::new(if is_watched { decoder.watching(&self.told) } else { decoder }))
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

    fn leaves_out(&self) -> bool {
        self.columns.is_some() && !self.is_said
    }

    fn extension(&self) -> &'static str {
        "jsonl"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
            schema.fields().iter().map(|f| format!("{}: {}", f.name(), datatype::print_field(f))).collect();
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
