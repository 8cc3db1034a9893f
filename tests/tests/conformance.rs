//! Every kind of source, format and sink is documented, and its example is accepted by its own schema.

use std::collections::BTreeSet;

use pipe_engine::format::FORMATS;
use pipe_engine::sink::SINKS;
use pipe_engine::source::SOURCES;
use schemars::SchemaGenerator;
use serde_json::Value;

/// Name, summary, example and schema of a kind, and whether its example has the kind among other keys.
fn kinds() -> Vec<(&'static str, &'static str, &'static str, &'static str, Value)> {
    let mut generator = SchemaGenerator::default();
    let mut all = Vec::new();
    for kind in FORMATS {
        all.push((
            "format",
            kind.name,
            kind.summary,
            kind.example,
            (kind.options)(&mut generator).to_value(),
        ));
    }
    for kind in SOURCES {
        all.push((
            "source",
            kind.name,
            kind.summary,
            kind.example,
            (kind.options)(&mut generator).to_value(),
        ));
    }
    for kind in SINKS {
        all.push(("sink", kind.name, kind.summary, kind.example, (kind.options)(&mut generator).to_value()));
    }
    all
}

fn sorted(names: &[&str]) {
    let unique: BTreeSet<&str> = names.iter().copied().collect();
    assert_eq!(unique.into_iter().collect::<Vec<_>>(), names, "names are unique and sorted");
}

#[test]
fn tables_are_sorted_and_unique() {
    sorted(&FORMATS.iter().map(|kind| kind.name).collect::<Vec<_>>());
    sorted(&SOURCES.iter().map(|kind| kind.name).collect::<Vec<_>>());
    sorted(&SINKS.iter().map(|kind| kind.name).collect::<Vec<_>>());
    let extensions: Vec<&str> = FORMATS.iter().flat_map(|kind| kind.extensions).copied().collect();
    let unique: BTreeSet<&str> = extensions.iter().copied().collect();
    assert_eq!(unique.len(), extensions.len(), "an extension belongs to one format");
}

#[test]
fn kinds_are_documented() {
    for (table, name, summary, example, schema) in kinds() {
        let place = format!("{table} {name}");
        assert!(summary.ends_with('.') && summary.len() > 10, "{place}: a summary is a sentence");
        assert!(example.contains(name), "{place}: its example uses it");
        assert!(!example.contains('\t'), "{place}: YAML has no tabs");
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{place}: a name is snake case");
        // A schema of its own type is a reference; the others close their keys, so that a typing error is found.
        assert!(
            schema.get("$ref").is_some() || schema["additionalProperties"] == Value::Bool(false),
            "{place}: unknown options are refused by {schema}"
        );
    }
}

#[test]
fn formats_prepare_without_options_and_refuse_unknown_ones() {
    for kind in FORMATS {
        assert!((kind.prepare)(&serde_json::json!({})).is_ok(), "{}", kind.name);
        let Err(problems) = (kind.prepare)(&serde_json::json!({"no_such_option": 1})) else {
            panic!("{} takes an option that it does not have", kind.name)
        };
        assert_eq!(problems[0].pointer, "/no_such_option", "{}", kind.name);
    }
}
