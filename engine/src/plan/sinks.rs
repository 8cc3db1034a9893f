//! Sinks of a plan, and where the dead letters go.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use serde::Deserialize;
use serde_json::{Value, json};

use super::build::Tables;
use super::graph::pointer;
use super::sources::{any_format, below, format, guess, in_each, missing_format};
use super::{DeadLetters, Output, SinkNode};
use crate::codec::{Format, Problem};
use crate::config::spec::{KindSpec, SinkSpec};
use crate::config::{Draft, step, suggestion};
use crate::error::Code;
use crate::kafka::{Cluster, Properties};
use crate::sink::file;
use crate::sink::{Settings, SinkKind, dead_letter};
use crate::source::Own;
use crate::units::DEAD_LETTER_RECORD_BYTES_MAX;

/// What a sink is resolved in.
pub(super) struct Place<'a> {
    pub(super) tables: &'a Tables,
    pub(super) pipeline: &'a str,
    pub(super) base: &'a Path,
}

/// Resolves a sink; pointers of the mistakes are into the file. Without an `input`, behind a mistake, or with `missing`
/// keys, which had one, it is never resolved; what is wrong with it all the same is told.
pub(super) fn prepare(
    place: &Place<'_>,
    name: &str,
    spec: &SinkSpec,
    input: Option<(Vec<Output>, SchemaRef)>,
    missing: &BTreeSet<String>,
) -> Result<SinkNode, Vec<Problem>> {
    let Place { tables, pipeline, base } = *place;
    let at = pointer("sinks", name);
    let Some(kind) = tables.sinks.iter().copied().find(|kind| kind.name == spec.kind.name) else {
        let names = tables.sinks.iter().map(|kind| kind.name);
        let problem = Problem::new(Code::C005, &at, format!("there is no kind of sink `{}`", spec.kind.name));
        return Err(vec![problem.help(suggestion(&spec.kind.name, names, "kinds"))]);
    };
    let options = &spec.kind.options;
    let of_options = |all| below(all, &step(&at, kind.name));
    let (chosen, mut problems) = match chosen(tables, &at, spec, kind, missing) {
        Ok(chosen) => (Some(chosen), Vec::new()),
        Err(problems) => (None, problems),
    };
    let (Some(chosen), Some((inputs, input))) = (&chosen, input) else {
        let formats = chosen.map_or_else(|| any_format(tables), |chosen| vec![chosen]);
        let schemas = any_columns(options);
        let attempts = formats.iter().flat_map(|format| schemas.iter().map(move |schema| (format, schema)));
        let attempts = attempts.map(|(format, schema)| {
            let settings = Settings { pipeline, name, base, options, format: format.as_ref(), schema };
            (kind.prepare)(&settings).err().unwrap_or_default()
        });
        problems.extend(of_options(in_each(attempts)));
        return Err(problems);
    };
    let settings = Settings { pipeline, name, base, options, format: chosen.as_ref(), schema: &input };
    let prepared = (kind.prepare)(&settings).map_err(of_options)?;
    let on_failure = spec.on_failure;
    Ok(SinkNode { name: name.into(), kind, inputs, input, prepared, format: chosen.clone(), on_failure })
}

/// The format of a sink; `None` where it needs none.
fn chosen(
    tables: &Tables,
    at: &str,
    spec: &SinkSpec,
    kind: &SinkKind,
    missing: &BTreeSet<String>,
) -> Result<Option<Arc<dyn Format>>, Vec<Problem>> {
    if missing.contains("format") {
        return Err(Vec::new());
    }
    let options = &spec.kind.options;
    let guessed = if spec.format.is_none() { guess(tables, at, options)? } else { None };
    match (&spec.format, guessed, kind.default_format) {
        (Some(chosen), ..) => Ok(Some(format(tables, &step(at, "format"), chosen, options)?)),
        (None, Some(guessed), _) => Ok(Some(guessed)),
        (None, None, Some(default)) => {
            let default = KindSpec { name: default.to_owned(), options: json!({}) };
            Ok(Some(format(tables, at, &default, options)?))
        }
        (None, None, None) if kind.needs_format => Err(vec![missing_format(tables, at)]),
        (None, None, None) => Ok(None),
    }
}

/// Columns that an input might have: none, and those that the options may name, of several types. What is wrong with all
/// of them is wrong whatever the columns are.
fn any_columns(options: &Value) -> Vec<SchemaRef> {
    fn texts(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::String(text) => drop(found.insert(text.clone())),
            Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
            Value::Object(map) => map.values().for_each(|value| texts(value, found)),
            _ => {}
        }
    }
    let mut names = BTreeSet::from(["value".to_owned()]);
    texts(options, &mut names);
    let time = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    let types = [DataType::Utf8, DataType::Binary, DataType::Int64, time, dead_letter::headers_type()];
    let named = types.iter().map(|ty| {
        let fields = names.iter().map(|name| Field::new(name, ty.clone(), true));
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    });
    let one = Schema::new(vec![Field::new("value", DataType::Binary, true)]);
    [Arc::new(Schema::empty()), Arc::new(one)].into_iter().chain(named).collect()
}

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

/// The files that the pipeline writes.
pub(super) fn own(draft: &Draft, base: &Path, working: &Path) -> Vec<Own> {
    let mut own = Vec::new();
    let mut add = |path: &Path, rest: bool| {
        if let (Some(folder), Some(name)) = (path.parent(), path.file_name()) {
            own.push(Own { folder: folder.to_owned(), name: name.to_string_lossy().into_owned(), rest });
        }
    };
    if let Some(letters) = letters_file(draft, base, working) {
        add(&letters, false);
        // What fails again in a replay beside a worker.
        add(&letters.with_extension("replay.jsonl"), false);
    }
    for (name, sink) in &draft.sinks {
        let Some(sink) = sink.as_ref().filter(|sink| sink.kind.name == "file") else { continue };
        let Some(path) = sink.kind.options.get("path").and_then(Value::as_str) else { continue };
        let place = file::Place::of(base, path, name);
        let folder = absolute(&place.folder);
        add(&folder.join(format!("{}.", place.prefix)), true);
        if let Some(name) = place.name {
            add(&folder.join(name), false);
        }
    }
    own
}

/// The file of dead letters, where they go to one.
fn letters_file(draft: &Draft, base: &Path, working: &Path) -> Option<PathBuf> {
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

fn absolute(path: &Path) -> PathBuf {
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
fn letters_topic(pipeline: &str, options: &Value) -> dead_letter::Topic {
    let text = |key: &str| options.get(key).and_then(Value::as_str).unwrap_or_default();
    let mut properties = Properties::deserialize(&options["properties"]).unwrap_or_default();
    // A reader warns of what only a producer knows.
    properties.remove("message.max.bytes");
    dead_letter::Topic {
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
