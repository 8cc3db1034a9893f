//! A topic by value: text in which `{column}` stands for what a column of the row holds.

use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Schema};

use crate::connector::kafka::client::is_topic_name;
use crate::error::{Code, Error, Result};
use crate::problem::Problem;

/// A template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    /// A column: its place and its name.
    Column(usize, String),
}

/// The columns of a batch that a template names, as text.
pub(super) struct Texts<'a> {
    template: &'a Template,
    columns: Vec<StringArray>,
}

/// Text and names of columns in their order; the error is a sentence.
fn split(text: &str) -> Result<Vec<(bool, String)>, String> {
    let mut parts: Vec<(bool, String)> = Vec::new();
    let mut literal = String::new();
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '{' | '}' if chars.next_if(|(_, next)| *next == c).is_some() => literal.push(c),
            '{' => {
                let Some(end) = text[at..].find('}').map(|end| at + end) else {
                    return Err(format!(
                        "the `{{` at character {} is never closed",
                        text[..at].chars().count() + 1
                    ));
                };
                let name = &text[at + 1..end];
                if name.is_empty() || name.contains('{') {
                    return Err(format!("`{{{name}}}` names no column"));
                }
                if !literal.is_empty() {
                    parts.push((false, std::mem::take(&mut literal)));
                }
                parts.push((true, name.to_owned()));
                while chars.next_if(|(at, _)| *at <= end).is_some() {}
            }
            '}' => {
                return Err(format!(
                    "the `}}` at character {} closes nothing",
                    text[..at].chars().count() + 1
                ));
            }
            c => literal.push(c),
        }
    }
    if !literal.is_empty() {
        parts.push((false, literal));
    }
    Ok(parts)
}

/// Whether a column's text may be part of a name: floats and times have several.
fn fits(kind: &DataType) -> bool {
    match kind {
        DataType::Dictionary(_, value) => fits(value),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Boolean | DataType::Date32 => {
            true
        }
        kind => kind.is_integer(),
    }
}

impl Template {
    /// Reads the topic of a sink; `None`: it is a plain name, or wrong, which is added to `problems`.
    pub(super) fn new(text: &str, schema: &Schema, problems: &mut Vec<Problem>) -> Option<Self> {
        const HELP: &str =
            "a name is 1 to 249 letters, digits, `.`, `_` or `-`; `{column}` stands for a column's text";
        let mut wrong = |code, message: String, help: &str| {
            problems.push(Problem::new(code, "/topic", message).help(help));
        };
        let parts = match split(text) {
            Ok(parts) => parts,
            Err(why) => {
                wrong(Code::C005, format!("in the topic `{text}` {why}"), "`{{` stands for a brace");
                return None;
            }
        };
        if !parts.iter().any(|(is_column, _)| *is_column) {
            if !is_topic_name(text) {
                wrong(Code::C005, format!("`{text}` is not a topic's name"), HELP);
            }
            return None;
        }
        let mut all = Vec::new();
        for (is_column, part) in parts {
            if !is_column {
                if !is_topic_name(&part) && !matches!(part.as_str(), "." | "..") {
                    wrong(Code::C005, format!("`{part}` cannot be part of a topic's name"), HELP);
                }
                all.push(Part::Text(part));
                continue;
            }
            let Ok(at) = schema.index_of(&part) else {
                let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
                let help = format!("the columns are {}", names.join(", "));
                wrong(Code::P008, format!("there is no column `{part}`"), &help);
                continue;
            };
            let kind = schema.field(at).data_type();
            if !fits(kind) {
                let message =
                    format!("column `{part}` is {kind}, wanted is text, a whole number, a boolean or a day");
                wrong(Code::P008, message, "cast it with the stage `select`");
            }
            all.push(Part::Column(at, part));
        }
        Some(Self { parts: all })
    }

    /// The columns of a batch as text.
    pub(super) fn texts(&self, records: &RecordBatch) -> Result<Texts<'_>> {
        let fail = |e| Error::internal(format!("a column cannot be read as text: {e}"));
        let mut columns = Vec::new();
        for part in &self.parts {
            if let Part::Column(at, _) = part {
                let text = cast(records.column(*at), &DataType::Utf8).map_err(fail)?;
                columns.push(text.as_string::<i32>().clone());
            }
        }
        Ok(Texts { template: self, columns })
    }
}

impl Texts<'_> {
    /// Writes the topic of a row into `out`, whatever name that is; the error says which column has none.
    pub(super) fn topic(&self, row: usize, out: &mut String) -> Result<(), String> {
        out.clear();
        let mut columns = self.columns.iter();
        for part in &self.template.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Column(_, name) => match columns.next().filter(|column| column.is_valid(row)) {
                    None => return Err(format!("no topic: the column `{name}` is null")),
                    Some(column) if column.value(row).is_empty() => {
                        return Err(format!("no topic: the column `{name}` is empty"));
                    }
                    Some(column) => out.push_str(column.value(row)),
                },
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Float64Array, Int64Array};
    use arrow::datatypes::Field;

    use super::*;

    fn schema() -> Arc<Schema> {
        Arc::new(Schema::new(vec![
            Field::new("tenant", DataType::Utf8, true),
            Field::new("n", DataType::Int64, true),
            Field::new("f", DataType::Float64, true),
        ]))
    }

    fn read(text: &str) -> Result<Option<Template>, Vec<Problem>> {
        let mut problems = Vec::new();
        let template = Template::new(text, &schema(), &mut problems);
        if problems.is_empty() { Ok(template) } else { Err(problems) }
    }

    #[test]
    fn a_name_is_a_name_and_braces_make_a_template() {
        assert_eq!(read("plain.name"), Ok(None));
        let template = read("{tenant}-events.{n}").unwrap().unwrap();
        assert_eq!(template.parts.len(), 3);
        for (text, code, part) in [
            ("", Code::C005, "not a topic's name"),
            ("a b", Code::C005, "not a topic's name"),
            ("a{{b", Code::C005, "not a topic's name"),
            ("{tenant}/x", Code::C005, "cannot be part"),
            ("{tenant", Code::C005, "never closed"),
            ("a}", Code::C005, "closes nothing"),
            ("{}", Code::C005, "names no column"),
            ("{{tenant}}-{n}", Code::C005, "cannot be part"),
            ("{other}", Code::P008, "no column `other`"),
            ("{f}", Code::P008, "Float64"),
        ] {
            let problems = read(text).unwrap_err();
            assert_eq!((problems[0].code, &*problems[0].pointer), (code, "/topic"), "{text}");
            assert!(problems[0].message.contains(part), "{text}: {}", problems[0].message);
        }
        assert_eq!(split("a{{b}}c").unwrap(), [(false, "a{b}c".to_owned())]);
    }

    #[test]
    fn each_row_has_its_topic_or_a_reason() {
        let rows = RecordBatch::try_new(
            schema(),
            vec![
                Arc::new(StringArray::from(vec![Some("a"), None, Some(""), Some("../x")])),
                Arc::new(Int64Array::from(vec![Some(-7), Some(1), Some(1), Some(1)])),
                Arc::new(Float64Array::from(vec![None, None, None, Some(0.5)])),
            ],
        )
        .unwrap();
        let template = read("{tenant}-{n}").unwrap().unwrap();
        let texts = template.texts(&rows).unwrap();
        let mut out = String::new();
        let mut topic = |row| texts.topic(row, &mut out).map(|()| out.clone());
        assert_eq!(topic(0).as_deref(), Ok("a--7"));
        assert!(topic(1).unwrap_err().contains("`tenant` is null"));
        assert!(topic(2).unwrap_err().contains("`tenant` is empty"));
        assert_eq!(topic(3).as_deref(), Ok("../x-1"), "what is no name is told by whoever takes it");
    }
}
