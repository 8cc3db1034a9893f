//! `csv`: fields between delimiters; files may begin with a header.
//!
//! * [`KIND`] reads the options and learns columns from a file.
//! * `read` makes columns of records, `write` records of columns; both hold to one `Style`.
//!
//! Values are read by the columns that `json` uses too, so that one bad record never touches its neighbours. An empty
//! field is a null, an empty text is quoted: so they are read, and so they are written. arrow-csv is not used: it fails
//! a batch for one value, and writes a null and an empty text as one.

mod read;
mod write;

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use serde_json::Value;

use super::accept::{self, Accept};
use super::columns::Columns;
use super::{FormatKind, Options};
use crate::codec::{CsvFields, CsvSigns, Decoder, Encoder, Format, Layout, RowWriter};
use crate::error::{Code, Error, Result};
use crate::problem::Problem;
use crate::units::{CSV_NULLS_MAX, INFER_BYTES_MAX, INFER_RECORDS};
use crate::{datatype, input};

const KEYS: &[&str] = &[
    "columns",
    "accept",
    "header",
    "delimiter",
    "quote",
    "escape",
    "nulls",
    "decimal",
    "skip_lines",
    "comment",
];

/// Fields between delimiters.
pub static KIND: FormatKind = FormatKind {
    name: "csv",
    summary: "Fields between delimiters, one record a line; files may begin with a header.",
    example: "csv:\n  columns: { time: \"timestamp(ms)\", delay: int64, origin: utf8 }\n  delimiter: \";\"\n",
    options: |generator| {
        schemars::json_schema!({
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "columns": accept::columns_schema(generator),
                "accept": accept::json_schema(generator),
                "header": {
                    "description": "Whether the first record of a file names its columns.",
                    "type": "boolean",
                    "default": true,
                },
                "delimiter": {
                    "description": "Between fields: one ASCII sign. A path that ends in `.tsv` makes it a tab.",
                    "type": "string",
                    "default": ",",
                },
                "quote": { "description": "Around fields: one ASCII sign.", "type": "string", "default": "\"" },
                "escape": {
                    "description": "One ASCII sign that stands, within quotes, before a quote or before itself, such as `\\`. Doubled quotes are read with it too.",
                    "type": "string",
                },
                "nulls": {
                    "description": "Words that are nulls where a field without quotes holds one of them; the first is written. Example: `[\"\", \"NA\", \"\\\\N\"]`.",
                    "anyOf": [
                        { "type": "string" },
                        { "type": "array", "items": { "type": "string" }, "minItems": 1 },
                    ],
                    "default": [""],
                },
                "decimal": {
                    "description": "What stands before the fraction of floats and decimals.",
                    "enum": [".", ","],
                    "default": ".",
                },
                "skip_lines": {
                    "description": "How many lines a file begins with that are neither header nor record; sources only.",
                    "type": "integer",
                    "minimum": 0,
                    "maximum": u32::MAX,
                    "default": 0,
                },
                "comment": {
                    "description": "One ASCII sign: a line that begins with it is no record.",
                    "type": "string",
                },
            },
        })
    },
    extensions: &["csv", "tsv"],
    reads: true,
    by_extension: &[("tsv", "delimiter", "\t")],
    prepare,
};

/// What a reader and a writer hold to.
#[derive(Debug, Clone)]
struct Style {
    signs: CsvSigns,
    /// The words of a null; the first one is written. At least one.
    nulls: Vec<String>,
    /// Whether a comma stands before fractions.
    comma: bool,
}

impl Style {
    fn is_null(&self, text: &[u8]) -> bool {
        self.nulls.iter().any(|word| word.as_bytes() == text)
    }
}

/// The options.
struct Csv {
    columns: Option<SchemaRef>,
    accept: Accept,
    header: bool,
    skip_lines: u32,
    style: Arc<Style>,
    /// For each field of a record the declared column it is, as the header of the first file says.
    positions: OnceLock<Vec<Option<usize>>>,
    /// The header of the first file.
    names: OnceLock<Vec<String>>,
}

fn prepare(options: &Value) -> Result<Arc<dyn Format>, Vec<Problem>> {
    let mut options = Options::new(options, KEYS);
    let (columns, accept) = options.columns(true);
    let style = style(&mut options);
    let skip_lines = options.count("skip_lines");
    for field in columns.iter().flat_map(|columns| columns.fields()) {
        if field.data_type().is_nested() {
            let message = format!("a field of CSV cannot hold {}", datatype::print(field.data_type()));
            options.problem(&format!("/columns/{}", field.name()), Code::C009, &message);
        }
    }
    if let Some(columns) = &columns
        && let Err(e) = Columns::new(columns.fields())
    {
        options.problem("/columns", e.code(), e.message());
    }
    let format = Csv {
        columns,
        accept,
        header: options.flag("header", true),
        skip_lines,
        style: Arc::new(style),
        positions: OnceLock::new(),
        names: OnceLock::new(),
    };
    options.done(format)
}

/// The signs and words, which must be told apart.
fn style(options: &mut Options<'_>) -> Style {
    let signs = CsvSigns {
        delimiter: options.sign("delimiter").unwrap_or(b','),
        quote: options.sign("quote").unwrap_or(b'"'),
        escape: options.sign("escape"),
        comment: options.sign("comment"),
    };
    // A quote that is written twice is what every reader takes.
    let signs = CsvSigns { escape: signs.escape.filter(|sign| *sign != signs.quote), ..signs };
    let named = [
        ("delimiter", Some(signs.delimiter)),
        ("quote", Some(signs.quote)),
        ("escape", signs.escape),
        ("comment", signs.comment),
    ];
    for (at, (key, sign)) in named.iter().enumerate() {
        let twin = named[..at].iter().find(|(_, other)| sign.is_some() && other == sign);
        if let Some((other, _)) = twin {
            options.problem(
                &format!("/{key}"),
                Code::P009,
                &format!("the {key} and the {other} are the same"),
            );
        }
    }
    let comma = options.word("decimal", &[".", ","], ".") == ",";
    if comma && !options.is_given("delimiter") {
        let message = "with `decimal: \",\"` say which delimiter there is: `\";\"`, or `\",\"` where such numbers \
                       are in quotes";
        options.problem("/decimal", Code::P009, message);
    }
    Style { signs, nulls: nulls(options, signs), comma }
}

/// The words of a null: each must be readable without quotes.
fn nulls(options: &mut Options<'_>, signs: CsvSigns) -> Vec<String> {
    let words = options.words("nulls");
    if words.is_empty() {
        return vec![String::new()];
    }
    if words.len() > CSV_NULLS_MAX {
        options.problem("/nulls", Code::P009, &format!("at most {CSV_NULLS_MAX} words are nulls"));
    }
    for (i, word) in words.iter().enumerate() {
        let sign = |byte: u8| byte == signs.delimiter || byte == signs.quote || matches!(byte, b'\n' | b'\r');
        let refused = if word.bytes().any(sign) {
            "a word of a null holds neither the delimiter nor the quote nor a line end"
        } else if signs.comment.is_some_and(|sign| word.as_bytes().first() == Some(&sign)) {
            "a word of a null cannot begin with the sign of comments"
        } else if word.starts_with('\u{feff}') || word.trim_ascii() != word {
            "a word of a null has no blanks and no byte order mark at its ends"
        } else {
            continue;
        };
        options.problem(&format!("/nulls/{i}"), Code::P009, refused);
    }
    words
}

impl Csv {
    fn splitter(&self) -> CsvFields {
        CsvFields::new(self.style.signs)
    }

    /// The header of a file, and the types that its first records have; `None`: it has no record.
    fn look(&self, path: &Path) -> Result<Option<(Vec<String>, Vec<DataType>)>> {
        let unread = |e: std::io::Error| input::failed(&e);
        let mut lines = super::sample::Lines::new(input::text(path, false)?, INFER_BYTES_MAX);
        let mut framing = self.splitter();
        lines.skip_lines(&mut framing, self.skip_lines).map_err(unread)?;
        let mut next = || {
            let record = lines.next_record(&mut framing).map_err(unread)?;
            let mut fields = Vec::new();
            let Some(record) = record else { return Ok(None) };
            // A record whose quotes are wrong says nothing about types.
            let whole = self.splitter().split(record, |text, quoted| {
                fields.push((String::from_utf8_lossy(text).into_owned(), quoted));
            });
            Ok::<_, Error>(Some(if whole.is_ok() { fields } else { Vec::new() }))
        };
        let Some(first) = next()? else { return Ok(None) };
        let names: Vec<String> = match self.header {
            true => first.iter().map(|(name, _)| name.clone()).collect(),
            false => (1..=first.len()).map(|i| format!("column_{i}")).collect(),
        };
        let mut guesses = vec![DataType::Null; names.len()];
        let mut sampled = if self.header { next()? } else { Some(first) };
        for _ in 0..INFER_RECORDS {
            let Some(fields) = sampled else { break };
            if fields.len() == guesses.len() {
                for (guess, (text, quoted)) in guesses.iter_mut().zip(&fields) {
                    *guess = self.widen(guess, text, *quoted);
                }
            }
            sampled = next()?;
        }
        Ok(Some((names, guesses)))
    }

    /// The type that holds what was seen and one field more. A number must be written as numbers are: `08123` and
    /// `+49` are codes of somebody, and more digits than 64 bits hold are not given up for a float.
    fn widen(&self, so_far: &DataType, text: &str, quoted: bool) -> DataType {
        // An empty text in quotes is a text.
        if self.style.is_null(text.as_bytes()) && !(quoted && text.is_empty()) {
            return so_far.clone();
        }
        // With a decimal comma `1.234` may be a thousand and more: it is left to the user.
        let number = match self.style.comma {
            true if text.contains('.') => "",
            true => &text.replacen(',', ".", 1),
            false => text,
        };
        let found = match text {
            "" if !quoted => return so_far.clone(),
            "true" | "false" | "TRUE" | "FALSE" | "True" | "False" => DataType::Boolean,
            _ if text.parse::<i64>().is_ok_and(|number| number.to_string() == text) => DataType::Int64,
            _ if number.contains(['.', 'e', 'E'])
                && serde_json::from_str::<f64>(number).is_ok()
                && !number.contains(char::is_whitespace) =>
            {
                DataType::Float64
            }
            _ => DataType::Utf8,
        };
        match (so_far, found) {
            (DataType::Null, found) => found,
            (DataType::Int64, DataType::Float64) | (DataType::Float64, DataType::Int64) => DataType::Float64,
            (so_far, found) if *so_far == found => found,
            _ => DataType::Utf8,
        }
    }

    /// Refuses options that only a source can follow.
    fn writes(&self) -> Result<()> {
        match self.skip_lines {
            0 => Ok(()),
            _ => Err(Error::user(Code::P009, "`skip_lines` is for sources: a sink writes no lines to skip")),
        }
    }
}

impl Format for Csv {
    fn layout(&self) -> Layout {
        Layout::Csv { skip_lines: self.skip_lines, header: self.header, signs: self.style.signs }
    }

    fn schema(&self) -> Option<SchemaRef> {
        self.columns.clone()
    }

    fn infer(&self, path: &Path) -> Result<SchemaRef> {
        let place = |e: Error| e.context(path.display().to_string());
        let found = match &self.columns {
            Some(columns) if !self.header => return Ok(columns.clone()),
            _ => self.look(path).map_err(place)?,
        };
        let (names, guesses) = match (found, &self.columns) {
            (Some(found), _) => found,
            (None, Some(columns)) => return Ok(columns.clone()),
            (None, None) => {
                return Err(place(Error::user(Code::S002, "is empty, so its columns cannot be learnt")));
            }
        };
        if self.header {
            self.names.get_or_init(|| names.clone());
        }
        let Some(columns) = &self.columns else {
            if let Some(twice) = names.iter().enumerate().find(|(i, name)| names[..*i].contains(name)) {
                return Err(place(Error::user(Code::S002, format!("its header names `{}` twice", twice.1))));
            }
            let guesses = guesses.into_iter().map(|g| if g == DataType::Null { DataType::Utf8 } else { g });
            let fields: Vec<Field> =
                names.iter().zip(guesses).map(|(name, t)| Field::new(name, t, true)).collect();
            return Ok(Arc::new(Schema::new(fields)));
        };
        for field in columns.fields() {
            if names.iter().filter(|name| *name == field.name()).count() != 1 {
                let message = format!("its header must name the declared column `{}` once", field.name());
                return Err(place(
                    Error::user(Code::P008, message).help(format!("it has {}", names.join(", "))),
                ));
            }
        }
        // The decoder is made from this format later; files with another header are refused by the source.
        self.positions.get_or_init(|| {
            names.iter().map(|name| columns.fields().iter().position(|field| field.name() == name)).collect()
        });
        Ok(columns.clone())
    }

    fn header(&self) -> Option<&[String]> {
        self.names.get().map(Vec::as_slice)
    }

    fn decoder(&self, schema: SchemaRef) -> Result<Box<dyn Decoder>> {
        let positions = self.positions.get().cloned();
        let positions = positions.unwrap_or_else(|| (0..schema.fields().len()).map(Some).collect());
        Ok(Box::new(read::CsvDecoder::new(schema, positions, &self.style)?.accepting(&self.accept)))
    }

    fn encoder(&self, schema: SchemaRef) -> Result<Box<dyn Encoder>> {
        self.writes()?;
        Ok(Box::new(write::CsvEncoder::new(&schema, &self.style)?))
    }

    fn writer(&self, schema: SchemaRef, out: Box<dyn Write + Send>) -> Result<Box<dyn RowWriter>> {
        self.writes()?;
        Ok(Box::new(write::CsvLines::new(&schema, &self.style, self.header, out)?))
    }

    fn extension(&self) -> &'static str {
        if self.style.signs.delimiter == b'\t' { "tsv" } else { "csv" }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::BinaryArray;

    use super::*;
    use crate::batch::{Batch, Payload};
    use crate::codec::Decoded;

    fn decode(options: &serde_json::Value, records: &[&[u8]]) -> Decoded {
        let format = (KIND.prepare)(options).unwrap();
        let mut decoder = format.decoder(format.schema().unwrap()).unwrap();
        decoder.decode(&Payload::Values(BinaryArray::from_vec(records.to_vec()))).unwrap()
    }

    #[test]
    fn bad_records_are_rejected_alone() {
        let options = serde_json::json!({"columns": {"a": "int64", "b": "utf8", "c": "float64"}});
        let records: &[&[u8]] = &[
            b"1,x,1.5",
            b"1,x",
            b"1,x,2,3",
            b"z,x,1",
            b",\"a\"\"b,\nc\",",
            b"1,\xff,2",
            b"1,\"x",
            b"",
            b"-2,\"\",1e3",
        ];
        let decoded = decode(&options, records);
        let bad: Vec<u32> = decoded.bad.iter().map(|b| b.row).collect();
        assert_eq!(bad, [1, 2, 3, 5, 6, 7]);
        assert_eq!(decoded.bad[2].message, "column `a`: int64 was expected, not `z`");
        assert_eq!(decoded.records.num_rows(), 3);
    }

    #[test]
    fn a_header_places_declared_columns_and_types_are_inferred() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.csv");
        std::fs::write(&path, "\u{feff}x,extra,y\r\n1,foo,2.5\r\n,bar,3\r\n").unwrap();
        let format = (KIND.prepare)(&serde_json::json!({"columns": {"y": "float64", "x": "int32"}})).unwrap();
        let schema = format.infer(&path).unwrap();
        let mut decoder = format.decoder(schema).unwrap();
        let values = BinaryArray::from_vec(vec![b"1,foo,2.5"]);
        let decoded = decoder.decode(&Payload::Values(values)).unwrap();
        assert!(decoded.bad.is_empty());
        assert_eq!(decoded.records.column(0).as_ref(), &arrow::array::Float64Array::from(vec![2.5]));

        let free = (KIND.prepare)(&serde_json::json!({})).unwrap().infer(&path).unwrap();
        let printed: Vec<String> = free.fields().iter().map(|f| datatype::print_field(f)).collect();
        assert_eq!(printed, ["int64", "utf8", "float64"]);
        std::fs::write(&path, "zip,code,id,f,g\n08123,+49,18446744073709551615,-0.5e3,.5\n").unwrap();
        let codes = (KIND.prepare)(&serde_json::json!({})).unwrap().infer(&path).unwrap();
        let printed: Vec<String> = codes.fields().iter().map(|f| datatype::print_field(f)).collect();
        assert_eq!(printed, ["utf8", "utf8", "utf8", "float64", "utf8"], "no digit is lost by a guess");

        let wrong = (KIND.prepare)(&serde_json::json!({"columns": {"z": "int32"}})).unwrap().infer(&path);
        assert_eq!(wrong.unwrap_err().code(), Code::P008);
    }

    #[test]
    fn options_that_cannot_be_told_apart_are_refused() {
        for (options, pointer, word) in [
            (r#"{"delimiter":";","quote":";"}"#, "/quote", "the quote and the delimiter are the same"),
            (r#"{"escape":","}"#, "/escape", "the escape and the delimiter are the same"),
            (r#"{"comment":"%","escape":"%"}"#, "/comment", "the comment and the escape are the same"),
            (r#"{"comment":"//"}"#, "/comment", "one ASCII sign"),
            (r#"{"decimal":","}"#, "/decimal", "say which delimiter"),
            (r#"{"decimal":"'"}"#, "/decimal", "one of ., ,"),
            (r#"{"nulls":[]}"#, "/nulls", "at least one text"),
            (r#"{"nulls":["NA",1]}"#, "/nulls/1", "a text was expected, not 1"),
            (r#"{"nulls":["a,b"]}"#, "/nulls/0", "neither the delimiter"),
            (r#"{"nulls":["","%N/A"],"comment":"%"}"#, "/nulls/1", "the sign of comments"),
            (r#"{"nulls":[" "]}"#, "/nulls/0", "no blanks"),
            (r#"{"skip_lines":-1}"#, "/skip_lines", "a whole number"),
        ] {
            let Err(problems) = prepare(&serde_json::from_str(options).unwrap()) else { panic!("{options}") };
            assert_eq!(problems.len(), 1, "{options}: {problems:?}");
            assert_eq!(problems[0].pointer, pointer, "{options}");
            assert!(problems[0].message.contains(word), "{options}: {problems:?}");
        }
        let many = vec!["x"; CSV_NULLS_MAX + 1];
        assert!(prepare(&serde_json::json!({ "nulls": many })).is_err());
        // The sign that RFC 4180 escapes quotes by.
        assert!(prepare(&serde_json::json!({"escape": "\"", "nulls": "NA", "skip_lines": 3})).is_ok());
        let skips = prepare(&serde_json::json!({"skip_lines": 1})).unwrap();
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
        assert_eq!(skips.encoder(schema.clone()).err().unwrap().code(), Code::P009);
        assert_eq!(skips.writer(schema, Box::new(Vec::new())).err().unwrap().code(), Code::P009);
    }

    #[test]
    fn words_of_nulls_are_nulls_without_quotes() {
        let columns = serde_json::json!({"n": "int64", "s": "utf8"});
        let options = serde_json::json!({"columns": columns, "nulls": ["NA", "-1"]});
        let decoded =
            decode(&options, &[b"NA,NA", b" NA ,x", b"\"NA\",\"NA\"", b"\"-1\",", b"-1,-1", b"na,x"]);
        assert_eq!(decoded.bad.iter().map(|bad| bad.row).collect::<Vec<_>>(), [5]);
        let numbers = arrow::array::Int64Array::from(vec![None, None, None, Some(-1), None]);
        assert_eq!(decoded.records.column(0).as_ref(), &numbers);
        let texts = arrow::array::StringArray::from(vec![None, Some("x"), Some("NA"), Some(""), None]);
        assert_eq!(decoded.records.column(1).as_ref(), &texts);
        let format = prepare(&options).unwrap();
        let lines = format
            .encoder(decoded.records.schema())
            .unwrap()
            .encode(&Batch::of_columns(decoded.records.clone()))
            .unwrap();
        let lines: Vec<&[u8]> = lines.iter().flatten().collect();
        assert_eq!(lines, [&b"NA,NA"[..], b"NA,x", b"NA,\"NA\"", b"\"-1\",\"\"", b"NA,NA"]);
        // A table of one column needs no quotes where there is a word.
        let one = decoded.records.project(&[1]).unwrap();
        let options = serde_json::json!({"nulls": ["", "NA"]});
        let lines = prepare(&options)
            .unwrap()
            .encoder(one.schema())
            .unwrap()
            .encode(&Batch::of_columns(one))
            .unwrap();
        assert_eq!(lines.iter().flatten().collect::<Vec<_>>(), [&b"NA"[..], b"x", b"\"NA\"", b"\"\"", b"NA"]);
    }
}
