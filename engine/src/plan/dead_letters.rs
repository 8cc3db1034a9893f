//! Where the dead letters of a pipeline go.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};

use super::DeadLetters;
use super::formats::format;
use super::graph::pointer;
use super::tables::Tables;
use crate::config::spec::KindSpec;
use crate::config::{Draft, step, suggestion};
use crate::connector::kafka::client::{Cluster, Properties};
use crate::connector::kafka::dead_letters::Topic;
use crate::connector::sink::Settings;
use crate::dead_letter;
use crate::error::Code;
use crate::problem::Problem;
use crate::units::DEAD_LETTER_RECORD_BYTES_MAX;

/// Where failed rows go: as the file says, else beside the first Kafka source, else into the working folder. Needs
/// nothing of the rest of the plan.
pub fn dead_letters(
    tables: &Tables,
    draft: &Draft,
    base: &Path,
    working: &Path,
) -> Result<DeadLetters, Vec<Problem>> {
    let letters = place(tables, draft, base, working)?;
    let problems = circles(draft, base, &letters);
    if problems.is_empty() { Ok(letters) } else { Err(problems) }
}

/// A pipeline that names its own dead letters as a source would fail on them again and again; a glob leaves them out.
/// For topics see [`loops`](super::warnings).
fn circles(draft: &Draft, base: &Path, letters: &DeadLetters) -> Vec<Problem> {
    let DeadLetters::File(path) = letters else { return Vec::new() };
    let reads = |given: &str| absolute(&base.join(given)) == *path;
    let mut problems = Vec::new();
    for (name, source) in &draft.sources {
        let Some(source) = source.as_ref().filter(|source| source.kind.name == "file") else { continue };
        let given = source.kind.options.get("path");
        let at = step(&step(&pointer("sources", name), "file"), "path");
        let one = given.and_then(Value::as_str).map(|path| (at.clone(), path));
        let list = given.and_then(Value::as_array).into_iter().flatten().enumerate();
        let several = list.filter_map(|(i, path)| Some((step(&at, &i.to_string()), path.as_str()?)));
        let Some((at, _)) = one.into_iter().chain(several).find(|(_, path)| *path != "-" && reads(path))
        else {
            continue;
        };
        let message =
            format!("the source `{name}` reads this pipeline's own dead letters: what fails would go round");
        let help = "name another place under `dead_letters`, or use `pipe dead-letters replay`";
        problems.push(Problem::new(Code::P011, at, message).help(help));
    }
    problems
}

/// The file of dead letters, where they go to one.
pub(super) fn letters_file(draft: &Draft, base: &Path, working: &Path) -> Option<PathBuf> {
    match &draft.dead_letters {
        Some(kind) if kind.name == "file" => {
            kind.options.get("path").and_then(Value::as_str).map(|path| absolute(&base.join(path)))
        }
        Some(_) => None,
        None if draft.sources.values().flatten().any(|source| source.kind.name == "kafka") => None,
        None => Some(absolute(&working.join(format!("{}.dead-letters.jsonl", draft.name)))),
    }
}

fn place(tables: &Tables, draft: &Draft, base: &Path, working: &Path) -> Result<DeadLetters, Vec<Problem>> {
    let source =
        draft.sources.values().flatten().find(|source| source.kind.name == "kafka").map(|s| &s.kind.options);
    let given = draft.dead_letters.as_ref();
    match given.map(|kind| (kind.name.as_str(), &kind.options)) {
        Some(("file", _)) => match letters_file(draft, base, working) {
            Some(path) => Ok(DeadLetters::File(path)),
            None => Err(vec![Problem::new(Code::C004, "/dead_letters/file", "`path` is missing")]),
        },
        Some(("kafka", options)) => kafka(tables, draft, base, options, source, "/dead_letters/kafka"),
        Some((other, _)) => {
            let problem =
                Problem::new(Code::C005, "/dead_letters", format!("dead letters cannot go to `{other}`"));
            Err(vec![problem.help(suggestion(other, ["file", "kafka"], "kinds"))])
        }
        None if source.is_some() => kafka(tables, draft, base, &json!({}), source, "/dead_letters"),
        None => match letters_file(draft, base, working) {
            Some(path) => Ok(DeadLetters::File(path)),
            None => {
                Err(vec![Problem::new(Code::C004, "/dead_letters", "there is no place for dead letters")])
            }
        },
    }
}

pub(super) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn kafka(
    tables: &Tables,
    draft: &Draft,
    base: &Path,
    given: &Value,
    source: Option<&Value>,
    at: &str,
) -> Result<DeadLetters, Vec<Problem>> {
    let take = |key: &str| given.get(key).or_else(|| source.and_then(|source| source.get(key))).cloned();
    let Some(brokers) = take("brokers") else {
        let problem = Problem::new(Code::C004, at, "`brokers` is missing");
        return Err(vec![problem.help("there is no Kafka source whose brokers could be used")]);
    };
    // Credentials belong to a cluster: those of the source go nowhere else.
    let same = source.and_then(|source| source.get("brokers")) == Some(&brokers);
    let properties = if same { take("properties") } else { given.get("properties").cloned() };
    let topic = given.get("topic").cloned().unwrap_or_else(|| json!(format!("{}.dead-letters", draft.name)));
    let mut options = json!({
        "brokers": brokers, "topic": topic, "create": true,
        "key": dead_letter::KEY, "headers": dead_letter::HEADERS, "timestamp": dead_letter::TIMESTAMP,
    });
    let mut properties = consumer_only_removed(properties.unwrap_or_else(|| json!({})));
    if let Value::Object(properties) = &mut properties {
        // A letter is its record and more: what the topic takes is the topic's to say, not the client's.
        properties.entry("message.max.bytes").or_insert(json!(DEAD_LETTER_RECORD_BYTES_MAX));
    }
    options["properties"] = properties;
    let kind = tables.sinks.iter().find(|kind| kind.name == "kafka");
    let raw = format(tables, at, &KindSpec { name: "raw".into(), options: json!({}) }, &json!({}));
    let (Some(kind), Ok(raw)) = (kind, raw) else {
        let message = "the sink `kafka` or the format `raw` is not in the tables";
        return Err(vec![Problem::new(Code::X004, at, message).help("this is a defect of the engine")]);
    };
    let schema = dead_letter::schema();
    let name = "dead-letters";
    let settings = Settings {
        pipeline: &draft.name,
        name,
        base,
        options: &options,
        format: Some(&raw),
        schema: &schema,
    };
    match (kind.prepare)(&settings) {
        Ok(prepared) => Ok(DeadLetters::Kafka(prepared, letters_topic(&draft.name, &options))),
        // What it complains of may have been put in here, so the part of the file that asked for it is shown.
        Err(all) => Err(all
            .into_iter()
            .map(|p| {
                let first = p.pointer.split('/').nth(1);
                let own = first.is_some_and(|key| given.get(key).is_some());
                let pointer = if own { format!("{at}{}", p.pointer) } else { at.to_owned() };
                Problem { pointer, ..p }
            })
            .collect()),
    }
}

/// The topic for its readers; its options have been checked.
fn letters_topic(pipeline: &str, options: &Value) -> Topic {
    let text = |key: &str| options.get(key).and_then(Value::as_str).unwrap_or_default();
    let mut properties = Properties::deserialize(&options["properties"]).unwrap_or_default();
    // A reader warns of what only a producer knows.
    properties.remove("message.max.bytes");
    Topic {
        cluster: Cluster::new(text("brokers"), &properties, &mut Vec::new()),
        name: text("topic").to_owned(),
        pipeline: pipeline.to_owned(),
    }
}

/// Properties of a source that a producer would not know.
fn consumer_only_removed(properties: Value) -> Value {
    const SHARED: &[&str] =
        &["security.", "sasl.", "ssl.", "enable.ssl", "client.", "socket.", "broker.address", "debug"];
    match properties {
        Value::Object(map) => {
            let shared =
                map.into_iter().filter(|(key, _)| SHARED.iter().any(|prefix| key.starts_with(prefix)));
            Value::Object(shared.collect())
        }
        other => other,
    }
}
