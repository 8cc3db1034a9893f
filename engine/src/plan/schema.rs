//! The JSON Schema of a whole pipeline file, from the spec's types and the tables of kinds.
//!
//! It lives here and not in `config/` because the tables are of a higher rank.

use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::Tables;
use crate::config::spec::{OnFailure, OnTombstone, Spec};

/// Name, summary and options of a kind.
type Row = (&'static str, &'static str, Value);

/// The schema (draft 2020-12) that `pipe schema` prints and `pipe check` checks against.
pub fn pipeline() -> Value {
    of(&Tables::default())
}

/// The same for other tables.
pub(super) fn of(tables: &Tables) -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let mut on_failure = generator.subschema_for::<OnFailure>().to_value();
    if let Value::Object(map) = &mut on_failure {
        map.insert("default".into(), json!("dead_letter"));
    }
    let on_tombstone = generator.subschema_for::<OnTombstone>().to_value();
    let from = generator.subschema_for::<crate::config::spec::Inputs>().to_value();
    let options = |generator: &mut SchemaGenerator, make: fn(&mut SchemaGenerator) -> Schema| {
        make(generator).to_value()
    };
    let sources: Vec<Row> =
        tables.sources.iter().map(|k| (k.name, k.summary, options(&mut generator, k.options))).collect();
    let sinks: Vec<Row> =
        tables.sinks.iter().map(|k| (k.name, k.summary, options(&mut generator, k.options))).collect();
    let formats: Vec<Row> =
        tables.formats.iter().map(|k| (k.name, k.summary, options(&mut generator, k.options))).collect();
    let mut schema = generator.into_root_schema_for::<Spec>().to_value();
    let definitions = schema.get("$defs").cloned().unwrap_or_default();
    let metadata: Vec<&str> = metadata_names(tables);
    let source = node(
        "A source: exactly one kind, and how its records are read.",
        &sources,
        &definitions,
        &[
            ("format", json!({ "$ref": "#/$defs/Format" })),
            (
                "metadata",
                json!({
                    "description": "Metadata that become columns: `key` becomes `_key`, and so on.",
                    "type": "array", "uniqueItems": true, "items": { "type": "string", "enum": metadata },
                }),
            ),
            ("on_failure", on_failure.clone()),
            ("on_tombstone", on_tombstone),
        ],
        &[],
    );
    let sink = node(
        "A sink: exactly one kind, and how rows become bytes.",
        &sinks,
        &definitions,
        &[("from", from), ("format", json!({ "$ref": "#/$defs/Format" })), ("on_failure", on_failure)],
        &["from"],
    );
    let format =
        choice("How bytes become columns and back: a name, or a name with options.", &formats, &definitions);
    let letters = letters();
    if let Some(Value::Object(all)) = schema.get_mut("$defs") {
        all.extend([("Source".into(), source), ("Sink".into(), sink), ("Format".into(), format)]);
    }
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        for (section, part) in [("sources", "#/$defs/Source"), ("stages", ""), ("sinks", "#/$defs/Sink")] {
            let Some(Value::Object(section)) = properties.get_mut(section) else { continue };
            section.insert("propertyNames".into(), json!({ "pattern": "^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$" }));
            if !part.is_empty() {
                section.insert("additionalProperties".into(), json!({ "$ref": part }));
            }
        }
        properties.insert("dead_letters".into(), letters);
    }
    schema
}

/// Every metadata name that some source can give.
fn metadata_names(tables: &Tables) -> Vec<&'static str> {
    let mut names = Vec::new();
    for name in tables.sources.iter().flat_map(|kind| kind.metadata).copied() {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// Options of a kind; nothing at all may be written where none is required.
fn options_of((_, summary, options): &Row, definitions: &Value) -> Value {
    let target =
        options.get("$ref").and_then(Value::as_str).and_then(|r| definitions.get(r.rsplit('/').next()?));
    let required =
        target.unwrap_or(options).get("required").and_then(Value::as_array).is_some_and(|r| !r.is_empty());
    let mut schema =
        if required { options.clone() } else { json!({ "anyOf": [options, { "type": "null" }] }) };
    if let Value::Object(map) = &mut schema {
        map.insert("description".into(), json!(summary));
    }
    schema
}

fn node(
    text: &str,
    kinds: &[Row],
    definitions: &Value,
    common: &[(&str, Value)],
    required: &[&str],
) -> Value {
    let mut properties: Map<String, Value> =
        common.iter().map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect();
    for row in kinds {
        properties.insert(row.0.to_owned(), options_of(row, definitions));
    }
    let one: Vec<Value> = kinds.iter().map(|row| json!({ "required": [row.0] })).collect();
    let mut schema = json!({
        "description": text, "type": "object", "properties": properties, "additionalProperties": false,
        "required": required,
    });
    if let (Value::Object(map), false) = (&mut schema, one.is_empty()) {
        map.insert("oneOf".into(), Value::Array(one));
    }
    schema
}

fn choice(text: &str, kinds: &[Row], definitions: &Value) -> Value {
    let names: Vec<&str> = kinds.iter().map(|row| row.0).collect();
    let properties: Map<String, Value> =
        kinds.iter().map(|row| (row.0.to_owned(), options_of(row, definitions))).collect();
    json!({
        "description": text,
        "anyOf": [
            { "type": "string", "enum": names },
            { "type": "object", "properties": properties, "additionalProperties": false,
              "minProperties": 1, "maxProperties": 1 },
        ],
    })
}

fn letters() -> Value {
    json!({
        "description": "Where failed records go: `kafka: { brokers, topic }` or `file: { path }`; by default a topic \
            `<name>.dead-letters` beside a Kafka source, else a file `<name>.dead-letters.jsonl` in the working folder.",
        "type": "object",
        "properties": {
            "file": { "type": "object", "properties": { "path": { "type": "string", "minLength": 1,
                "description": "Path of a JSON-lines file, relative to the pipeline file." } },
                "required": ["path"], "additionalProperties": false },
            "kafka": { "type": "object", "properties": {
                "brokers": { "type": "string", "description": "Addresses of brokers; default: the first Kafka source's." },
                "topic": { "type": "string", "description": "The topic; default: `<name>.dead-letters`." },
                "properties": { "type": "object", "description": "Properties of librdkafka; default: the source's." } },
                "additionalProperties": false },
        },
        "additionalProperties": false, "minProperties": 1, "maxProperties": 1,
    })
}
