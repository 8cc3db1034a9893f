//! Records as rows of a table, and as lines of JSON.

use std::borrow::Cow;

use arrow::array::{Array, RecordBatch};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use indexmap::IndexMap;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::batch::{Batch, Header};
use crate::cli::sample::Sample;
use crate::cli::text::{inline, moment};
use crate::connector::kafka::client::scan::Record;
use crate::dead_letter::{Bytes, Line};
use crate::error::{Error, Result};
use crate::format::json as json_format;

/// A row: cells by the names of their columns.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    /// Where it lies, when, and of which key.
    about: Vec<(&'static str, String)>,
    fields: IndexMap<String, String>,
}

/// The fields of a JSON object as they are written, texts without their quotes; `None` where it is none.
fn fields_of(value: &[u8]) -> Option<IndexMap<String, String>> {
    let found: IndexMap<String, &RawValue> = serde_json::from_slice(value).ok()?;
    let cell =
        |value: &RawValue| serde_json::from_str(value.get()).unwrap_or_else(|_| value.get().to_owned());
    Some(found.into_iter().map(|(name, value)| (name, cell(value))).collect())
}

/// The fields of a value, or the value itself.
fn taken_apart(value: Option<&[u8]>) -> IndexMap<String, String> {
    let whole = || {
        let text = match value.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
            Some((_, Ok(text))) => text.to_owned(),
            Some((bytes, Err(_))) => inline(Some(bytes)),
            None => "null".to_owned(),
        };
        IndexMap::from([("value".to_owned(), text)])
    };
    value.and_then(fields_of).unwrap_or_else(whole)
}

/// The dead letter that a record is, if it is one: by its headers, or as a line of a file.
fn letter(record: &Record, is_file: bool) -> Option<Line<'static>> {
    if is_file {
        return serde_json::from_slice(record.value.as_deref()?).ok();
    }
    let headers: Vec<Header<'_>> =
        record.headers.iter().map(|(name, value)| (name.as_slice(), value.as_deref())).collect();
    let at = record.timestamp.unwrap_or(-1);
    Line::of_record(record.key.as_deref(), record.value.as_deref(), &headers, at)
}

fn row(record: &Record, is_file: bool) -> Row {
    let mut about = Vec::new();
    match is_file {
        true => about.push(("ROW", (record.offset + 1).to_string())),
        false => about.push(("PLACE", format!("{}/{}", record.partition, record.offset))),
    }
    if let Some(line) = letter(record, is_file) {
        about.push(("FAILED AT", moment(line.failed_at)));
        about.push(("STAGE", line.stage.into_owned()));
        about.push(("KIND", line.kind.into_owned()));
        about.push(("MESSAGE", line.message.into_owned()));
        about.push(("RECORD", format!("{}/{} at {}", line.topic, line.partition, line.offset)));
        let fields = taken_apart(line.value.as_ref().map(|value| value.as_slice()));
        return Row { about, fields };
    }
    if let Some(at) = record.timestamp {
        about.push(("TIME", moment(at)));
    }
    if let Some(key) = &record.key {
        let text = std::str::from_utf8(key).map_or_else(|_| inline(Some(key)), str::to_owned);
        about.push(("KEY", text));
    }
    Row { about, fields: taken_apart(record.value.as_deref()) }
}

fn of_batch(rows: &RecordBatch, before: usize) -> Result<Vec<Row>> {
    let options = FormatOptions::default().with_display_error(true);
    let failed = |e: arrow::error::ArrowError| Error::internal(format!("a column cannot be shown: {e}"));
    let schema = rows.schema();
    let columns: Vec<(&String, &dyn Array, ArrayFormatter<'_>)> = schema
        .fields()
        .iter()
        .zip(rows.columns())
        .map(|(field, column)| {
            Ok((
                field.name(),
                column.as_ref(),
                ArrayFormatter::try_new(column.as_ref(), &options).map_err(failed)?,
            ))
        })
        .collect::<Result<_>>()?;
    let row = |at: usize| {
        let cell = |(name, column, shown): &(&String, &dyn Array, ArrayFormatter<'_>)| {
            let text = if column.is_null(at) { String::new() } else { shown.value(at).to_string() };
            ((*name).clone(), text)
        };
        Row {
            about: vec![("ROW", (before + at + 1).to_string())],
            fields: columns.iter().map(cell).collect(),
        }
    };
    Ok((0..rows.num_rows()).map(row).collect())
}

/// All rows of a sample.
pub(super) fn rows(sample: &Sample) -> Result<Vec<Row>> {
    if sample.rows.is_empty() {
        let is_file = sample.is_file;
        return Ok(sample.records.iter().map(|record| row(record, is_file)).collect());
    }
    let mut all = Vec::new();
    for rows in &sample.rows {
        all.extend(of_batch(rows, all.len())?);
    }
    Ok(all)
}

/// Head and cells of the table: what is about the records comes first, then their fields as they come.
pub(super) fn cells(rows: &[Row]) -> (Vec<String>, Vec<Vec<String>>) {
    let (mut about, mut fields): (Vec<&'static str>, IndexMap<&str, ()>) = (Vec::new(), IndexMap::new());
    for row in rows {
        for (name, _) in &row.about {
            if !about.contains(name) {
                about.push(name);
            }
        }
        fields.extend(row.fields.keys().map(|name| (name.as_str(), ())));
    }
    let head = about.iter().map(|name| (*name).to_owned());
    let head = head.chain(fields.keys().map(|name| (*name).to_owned())).collect();
    let line = |row: &Row| {
        let first =
            about.iter().map(|name| row.about.iter().find(|(known, _)| known == name).map(|(_, text)| text));
        let rest = fields.keys().map(|name| row.fields.get(*name));
        first.chain(rest).map(|text| text.cloned().unwrap_or_default()).collect()
    };
    (head, rows.iter().map(line).collect())
}

/// Bytes as JSON: text, else what a dead letter makes of them.
fn bytes(bytes: Option<&[u8]>) -> Result<Value> {
    let failed = |e: serde_json::Error| Error::internal(e.to_string());
    serde_json::to_value(bytes.map(Bytes::from)).map_err(failed)
}

/// A record as a line of JSON; a value that is JSON stands in it as it came.
fn json_line(record: &Record, is_file: bool) -> Result<String> {
    let mut about = Map::new();
    about.insert(if is_file { "path" } else { "topic" }.to_owned(), json!(*record.topic));
    if is_file {
        about.insert("row".to_owned(), json!(record.offset + 1));
    } else {
        about.insert("partition".to_owned(), json!(record.partition));
        about.insert("offset".to_owned(), json!(record.offset));
        about.insert("timestamp".to_owned(), json!(record.timestamp));
        about.insert("key".to_owned(), bytes(record.key.as_deref())?);
        let headers = record
            .headers
            .iter()
            .map(|(name, value)| Ok(json!([bytes(Some(name))?, bytes(value.as_deref())?])));
        about.insert("headers".to_owned(), Value::Array(headers.collect::<Result<_>>()?));
    }
    let about = Value::Object(about).to_string();
    let found: Option<&RawValue> =
        record.value.as_deref().and_then(|value| serde_json::from_slice(value).ok());
    let value: Cow<'_, str> = match found {
        // Pretty JSON goes over several lines, and a line is a record here.
        Some(found) if !found.get().contains(['\n', '\r']) => found.get().into(),
        Some(found) => {
            let value: Value =
                serde_json::from_str(found.get()).map_err(|e| Error::internal(e.to_string()))?;
            value.to_string().into()
        }
        None => bytes(record.value.as_deref())?.to_string().into(),
    };
    Ok(format!("{},\"value\":{value}}}", about.strip_suffix('}').unwrap_or(&about)))
}

/// All records as lines of JSON.
pub(super) fn json_lines(sample: &Sample) -> Result<Vec<String>> {
    if sample.rows.is_empty() {
        return sample.records.iter().map(|record| json_line(record, sample.is_file)).collect();
    }
    let json = (json_format::KIND.prepare)(&json!({ "explicit_nulls": true }))
        .map_err(|_| Error::internal("JSON takes its own options"))?;
    let mut lines = Vec::new();
    for rows in &sample.rows {
        let values = json.encoder(rows.schema())?.encode(&Batch::of_columns(rows.clone()))?;
        let texts = values.iter().flatten().map(String::from_utf8_lossy);
        for text in texts {
            let row = lines.len() + 1;
            lines.push(format!("{{\"path\":{},\"row\":{row},\"value\":{text}}}", json!(sample.of)));
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(value: Option<&[u8]>) -> Record {
        Record {
            topic: "t".into(),
            partition: 2,
            offset: 5,
            timestamp: Some(1_700_000_000_000),
            key: Some(vec![0xff]),
            value: value.map(<[u8]>::to_vec),
            headers: vec![(b"h".to_vec(), None)],
        }
    }

    #[test]
    fn values_stand_as_they_came() {
        let shown = json_line(&record(Some(br#"{"a":1.10,"b":12345678901234567890123}"#)), false).unwrap();
        assert_eq!(
            shown,
            r#"{"topic":"t","partition":2,"offset":5,"timestamp":1700000000000,"key":{"base64":"/w=="},"headers":[["h",null]],"value":{"a":1.10,"b":12345678901234567890123}}"#
        );
        for (value, tail) in [
            (None, "\"value\":null}"),
            (Some(&b"plain text"[..]), "\"value\":\"plain text\"}"),
            (Some(b"\xff\xfe"), "\"value\":{\"base64\":\"//4=\"}}"),
            (Some(b"{\n \"a\" : 1\n}"), "\"value\":{\"a\":1}}"),
        ] {
            let shown = json_line(&record(value), false).unwrap();
            assert!(shown.ends_with(tail), "{shown}");
            assert!(serde_json::from_str::<Value>(&shown).is_ok() && !shown.contains('\n'), "{shown}");
        }
    }

    #[test]
    fn fields_are_columns_in_the_order_in_which_they_come() {
        let values: [&[u8]; 3] = [br#"{"a":1.10,"b":"x y"}"#, b"no json", br#"{"c":{"d":[1, 2]},"a":null}"#];
        let rows: Vec<Row> = values.iter().map(|value| row(&record(Some(value)), false)).collect();
        let (head, cells) = cells(&rows);
        assert_eq!(head, ["PLACE", "TIME", "KEY", "a", "b", "value", "c"]);
        assert_eq!(cells[0][3..], ["1.10", "x y", "", ""]);
        assert_eq!(cells[1][3..], ["", "", "no json", ""]);
        assert_eq!(cells[2][3..], ["null", "", "", r#"{"d":[1, 2]}"#]);
        assert_eq!(cells[0][..3], ["2/5", "2023-11-14T22:13:20.000Z", "hex ff"]);
    }
}
