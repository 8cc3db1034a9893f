//! `extract`: reads values by JSON path out of a text column into typed columns.

mod path;

use casts::{Misfit, OnError, Refused, Rounding, Scalar, Target, parse_type};
use pipe_stage::{
    AnyType, Batch, Binder, ColumnField, Computed, Config, DataType, Json, Output, Place, PortId, Result,
    Stage, bail,
};
use serde::Deserialize;

pub use path::Path;

/// The configuration.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extract {
    /// Name of the column that holds JSON, or the path of a value within one.
    pub column: String,
    /// What is read out of it.
    pub fields: Vec<FieldSpec>,
    /// Whether the column itself is passed on. Default: yes.
    #[serde(default)]
    pub keep: Option<bool>,
    /// What is done with what is not JSON.
    #[serde(default)]
    pub on_invalid: OnError,
    /// What is done with a value of another type.
    #[serde(default)]
    pub on_error: OnError,
}

/// A value that is read.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FieldSpec {
    /// Where it is.
    pub path: String,
    /// Name of its column.
    #[serde(default, rename = "as")]
    pub name: Option<String>,
    /// Type of its column. Default: `utf8`.
    #[serde(default, rename = "type")]
    pub data_type: Option<String>,
    /// Whether a missing value is an error.
    #[serde(default)]
    pub required: bool,
}

impl Config for Extract {
    fn schema() -> String {
        include_str!("config.schema.json").into()
    }
    fn parse(json: &str) -> Result<Self> {
        pipe_stage::from_json(json)
    }
}

/// The bound stage.
pub struct ExtractStage {
    column: Place,
    name: String,
    fields: Vec<Field>,
    port: PortId,
    on_invalid: OnError,
    on_error: OnError,
}

struct Field {
    name: String,
    path: Path,
    /// The path as it was written.
    text: String,
    data_type: DataType,
    /// The value as JSON text, whatever it is.
    json: bool,
    required: bool,
    column: Computed<AnyType>,
}

impl Stage for ExtractStage {
    type Config = Extract;

    fn bind(config: Extract, binder: &mut Binder) -> Result<Self> {
        if config.fields.is_empty() {
            bail!("`fields` needs at least one");
        }
        let column = binder.read_path(&config.column)?;
        column.must_be::<[u8]>()?;
        if config.keep == Some(false) && !column.is_column() {
            bail!("`keep: false` leaves a whole column out, and `{}` is within one", config.column);
        }
        let mut port = binder.port("extracted")?;
        if config.keep == Some(false) {
            port.pass_all_but(&[config.column.as_str()])?;
        } else {
            port.pass_all();
        }
        let mut fields: Vec<Field> = Vec::new();
        for spec in config.fields {
            let path = Path::parse(&spec.path)?;
            let Some(name) = spec.name.or_else(|| path.last_name().map(str::to_owned)) else {
                bail!("the path `{}` has no name; give the column one with `as`", spec.path);
            };
            if fields.iter().any(|field| field.name == name) {
                bail!("there would be two columns `{name}`; name one with `as`");
            }
            let type_name = spec.data_type.as_deref().unwrap_or("utf8");
            let json = type_name == "json";
            let data_type = if json { DataType::Utf8 } else { parse_type(type_name)? };
            let column =
                port.compute_field(ColumnField::new(name.as_str(), data_type.clone(), !spec.required));
            fields.push(Field {
                name,
                path,
                text: spec.path,
                data_type,
                json,
                required: spec.required,
                column,
            });
        }
        // A required value that is missing would otherwise be a null in a column that may hold none.
        if config.on_error == OnError::Null && fields.iter().any(|field| field.required) {
            bail!("`required` and `on_error: null` exclude each other");
        }
        if config.on_invalid == OnError::Null && fields.iter().any(|field| field.required) {
            bail!("`required` and `on_invalid: null` exclude each other");
        }
        let (on_invalid, on_error) = (config.on_invalid, config.on_error);
        Ok(Self { column, name: config.column, fields, port: port.id(), on_invalid, on_error })
    }

    fn process(&self, batch: &Batch<'_>, output: &mut Output<'_>) -> Result<()> {
        let found = self.column.read(batch)?;
        let column = found.read::<[u8]>()?;
        let mut refused = Refused::new(batch.len());
        let mut targets: Vec<Target> =
            self.fields.iter().map(|field| Target::new(&field.data_type, None, Rounding::Exact)).collect();
        for row in 0..batch.len() {
            let document = match column.get(row).map(parse) {
                None => None,
                Some(Ok(document)) => Some(document),
                Some(Err(reason)) => {
                    if self.on_invalid == OnError::Reject {
                        refused.refuse(row, || format!("column `{}` is not JSON: {reason}", self.name));
                    }
                    None
                }
            };
            for (field, target) in self.fields.iter().zip(&mut targets) {
                if let Err(misfit) = field.read(document.as_ref(), target) {
                    target.push_null();
                    if self.on_error == OnError::Reject {
                        refused.refuse(row, || {
                            let found = document.as_ref().and_then(|document| field.path.find(document));
                            let why = match found.and_then(Json::as_str) {
                                Some(text) => misfit.explain(Scalar::Text(text)),
                                None => misfit.0.to_owned(),
                            };
                            format!("column `{}` at {}: {why}", self.name, field.text)
                        });
                    }
                }
            }
        }
        let columns = self.fields.iter().map(|field| field.column).zip(targets);
        refused.emit(output, self.port, columns)
    }
}

fn parse(bytes: &[u8]) -> Result<Json> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Json::parse(text),
        Err(error) => bail!("it is not UTF-8 at byte {}", error.valid_up_to()),
    }
}

impl Field {
    /// Adds the value of a document; nothing is added where it does not fit.
    fn read(&self, document: Option<&Json>, target: &mut Target) -> Result<(), Misfit> {
        let value =
            document.and_then(|document| self.path.find(document)).filter(|value| **value != Json::Null);
        match value {
            None if self.required => Err(Misfit("it is missing or null")),
            None => {
                target.push_null();
                Ok(())
            }
            Some(value) if self.json => target.push(Scalar::Text(&value.to_string())),
            Some(value) => target.push(scalar(value, &self.data_type)?),
        }
    }
}

/// A JSON value as what its column is made of. Nothing is guessed: text is no number, and a number is no text.
fn scalar<'j>(value: &'j Json, data_type: &DataType) -> Result<Scalar<'j>, Misfit> {
    use DataType::{Binary, Boolean, Date32, Decimal128, Float32, Float64, Timestamp, Utf8};
    match (value, data_type) {
        (Json::Bool(value), Boolean) => Ok(Scalar::Bool(*value)),
        // Decimals are often written as text, so that no reader rounds them.
        (Json::Text(text), Utf8 | Binary | Decimal128(_) | Timestamp(_) | Date32) => Ok(Scalar::Text(text)),
        (Json::Number(text), Float32 | Float64 | Decimal128(_)) => Ok(Scalar::Text(text)),
        (Json::Number(_), Boolean | Utf8 | Binary) => Err(another_type(value)),
        // By its digits: `1.0` and `1e3` are integers, and none is rounded.
        (Json::Number(text), _) => {
            let (digits, scale) = casts::parse_decimal(text)?;
            casts::rescale(digits, scale, 0, Rounding::Exact).map(Scalar::Int)
        }
        _ => Err(another_type(value)),
    }
}

fn another_type(value: &Json) -> Misfit {
    Misfit(match value {
        Json::Null => "it is null",
        Json::Bool(_) => "it is a boolean",
        Json::Number(_) => "it is a number",
        Json::Text(_) => "it is text",
        Json::List(_) => "it is a list",
        Json::Object(_) => "it is an object",
    })
}

pipe_stage::export!(ExtractStage);

#[cfg(test)]
mod tests {
    use pipe_stage::testing::{Input, Results, run};
    use pipe_stage::{Any, Read};

    use super::*;

    fn documents(texts: &[Option<&str>]) -> Input {
        Input::new()
            .column::<i64>("id", (0..texts.len() as i64).map(Some))
            .column::<str>("body", texts.iter().copied())
    }

    fn texts(results: &Results, column: &str) -> Vec<Option<String>> {
        let all = |v: <str as Read>::View<'_>| v.iter().map(|t| t.map(str::to_owned)).collect();
        results.computed::<str, _>("extracted", column, all).unwrap()
    }

    fn ints(results: &Results, column: &str) -> Vec<Option<i64>> {
        results.computed::<i64, _>("extracted", column, |v| v.iter().collect()).unwrap()
    }

    const BODIES: &[Option<&str>] = &[
        Some(
            r#"{"user":{"id":9223372036854775807,"name":"Ada"},"tags":["a","b"],"at":"2026-01-31T00:00:00Z"}"#,
        ),
        Some(r#"{"user":{"id":1.0},"tags":[]}"#),
        None,
        Some("{"),
        Some(r#"{"user":{"id":"7"}}"#),
        Some(r#"{"user":{"id":9223372036854775808}}"#),
        Some("[1]"),
    ];

    const FIELDS: &str = r#"[{"path":"$.user.id","type":"int64","as":"user"},{"path":"$.user.name"},
        {"path":"$.tags[0]","as":"tag"},{"path":"$.tags","type":"json"},{"path":"$.at","type":"timestamp(ms, UTC)"}]"#;

    #[test]
    fn values_become_columns_and_rows_that_do_not_fit_are_rejected() {
        let config = format!(r#"{{"column":"body","fields":{FIELDS}}}"#);
        let results = run::<ExtractStage>(&documents(BODIES), &config).unwrap();
        assert_eq!(results.rows("extracted"), [0, 1, 2, 6]);
        assert_eq!(results.columns("extracted").join(" "), "id body user name tag tags at");
        assert_eq!(ints(&results, "user"), [Some(i64::MAX), Some(1), None, None]);
        assert_eq!(texts(&results, "name"), [Some("Ada".into()), None, None, None]);
        assert_eq!(texts(&results, "tag")[..2], [Some("a".into()), None]);
        assert_eq!(texts(&results, "tags")[..2], [Some(r#"["a","b"]"#.into()), Some("[]".into())]);
        let at = results.computed::<AnyType, _>("extracted", "at", |any| match any {
            Any::Timestamp(v, _) => v.get(0),
            _ => None,
        });
        assert_eq!(at, Some(Some(1_769_817_600_000)));
        let reasons: Vec<_> =
            results.rejections.iter().map(|(row, reason)| (*row, reason.as_str())).collect();
        assert_eq!(
            reasons,
            [
                (3, "column `body` is not JSON: this is not JSON at byte 1"),
                (4, "column `body` at $.user.id: it is text"),
                (5, "column `body` at $.user.id: it is out of range"),
            ]
        );
    }

    #[test]
    fn what_does_not_fit_may_be_null() {
        let config = format!(
            r#"{{"column":"body","fields":{FIELDS},"keep":false,"on_error":"null","on_invalid":"null"}}"#
        );
        let results = run::<ExtractStage>(&documents(BODIES), &config).unwrap();
        assert_eq!(results.rows("extracted").len(), 7);
        assert!(results.rejections.is_empty() && !results.columns("extracted").contains(&"body".to_owned()));
        assert_eq!(ints(&results, "user")[3..], [None; 4]);
    }

    #[test]
    fn required_values_must_be_there() {
        let config =
            r#"{"column":"body","fields":[{"path":"$.a","type":"decimal128(6, 2)","required":true}]}"#;
        let bodies = [r#"{"a":"12.5"}"#, r#"{"a":null}"#, r#"{"a":0.1}"#, r#"{"a":0.123}"#, r#"{"a":99999}"#];
        let results = run::<ExtractStage>(&documents(&bodies.map(Some)), config).unwrap();
        assert_eq!(results.rows("extracted"), [0, 2]);
        let digits = results.computed::<AnyType, _>("extracted", "a", |any| match any {
            Any::Decimal(v, _) => v.iter().collect(),
            _ => Vec::new(),
        });
        assert_eq!(digits.unwrap(), [Some(1_250), Some(10)]);
        let reasons: Vec<_> = results.rejections.iter().map(|(_, reason)| reason.as_str()).collect();
        assert!(reasons[0].ends_with("it is missing or null") && reasons[1].ends_with("it has a fraction"));
        assert!(reasons[2].ends_with("it is out of range"));
    }

    #[test]
    fn every_type_reads_its_own_json_and_no_other() {
        let body = r#"{"t":true,"n":1,"f":1.5,"s":"x","l":[1],"o":{},"d":"2026-01-31","big":1e999}"#;
        for (member, fits) in [
            ("t", &["boolean", "json"][..]),
            (
                "n",
                &[
                    "int8",
                    "uint64",
                    "float32",
                    "float64",
                    "decimal128(3, 1)",
                    "timestamp(s)",
                    "date32",
                    "json",
                ],
            ),
            ("f", &["float32", "float64", "decimal128(3, 1)", "json"]),
            ("s", &["utf8", "binary", "json"]),
            ("l", &["json"]),
            ("o", &["json"]),
            ("d", &["utf8", "binary", "date32", "timestamp(s)", "json"]),
            ("big", &["json"]),
        ] {
            for data_type in [
                "boolean",
                "int8",
                "uint64",
                "float32",
                "float64",
                "utf8",
                "binary",
                "date32",
                "timestamp(s)",
                "decimal128(3, 1)",
                "json",
            ] {
                let config =
                    format!(r#"{{"column":"body","fields":[{{"path":"$.{member}","type":"{data_type}"}}]}}"#);
                let results = run::<ExtractStage>(&documents(&[Some(body)]), &config).unwrap();
                let read = results.rejections.is_empty();
                assert_eq!(read, fits.contains(&data_type), "{member} {data_type}: {:?}", results.rejections);
            }
        }
    }

    #[test]
    fn a_mistake_is_told_in_words() {
        for (config, word) in [
            (r#"{"column":"body","fields":[]}"#, "at least one"),
            (r#"{"column":"bodi","fields":[{"path":"$.a"}]}"#, "did you mean `body`?"),
            (r#"{"column":"id","fields":[{"path":"$.a"}]}"#, "`id` is int64; a binary or utf8 column"),
            (r#"{"column":"body","fields":[{"path":"a"}]}"#, "must begin with `$`"),
            (r#"{"column":"body","fields":[{"path":"$[0]"}]}"#, "has no name"),
            (r#"{"column":"body","fields":[{"path":"$.a"},{"path":"$.b.a"}]}"#, "two columns `a`"),
            (r#"{"column":"body","fields":[{"path":"$.a","type":"int"}]}"#, "no type `int`"),
            (
                r#"{"column":"body","fields":[{"path":"$.a","required":true}],"on_error":"null"}"#,
                "exclude each other",
            ),
        ] {
            let error = run::<ExtractStage>(&documents(&[None]), config).unwrap_err().to_string();
            assert!(error.contains(word), "{config}: {error}");
        }
        let schema: serde_json::Value = serde_json::from_str(&Extract::schema()).unwrap();
        assert_eq!(schema["required"][0], "column");
    }
}
