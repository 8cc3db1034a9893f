//! Sinks of a plan, and the files that they write.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use serde_json::{Value, json};

use super::dead_letters::{absolute, letters_file};
use super::formats::{any_format, format, guess, in_each, missing_format};
use super::graph::pointer;
use super::tables::Tables;
use super::{Output, SinkNode};
use crate::codec::Format;
use crate::config::spec::{KindSpec, SinkSpec};
use crate::config::{Draft, step, suggestion};
use crate::connector::file::sink;
use crate::connector::sink::{Settings, SinkKind};
use crate::connector::source::Own;
use crate::error::Code;
use crate::problem::{Problem, below};

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
    let types = [DataType::Utf8, DataType::Binary, DataType::Int64, time, crate::batch::headers_type()];
    let named = types.iter().map(|ty| {
        let fields = names.iter().map(|name| Field::new(name, ty.clone(), true));
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    });
    let one = Schema::new(vec![Field::new("value", DataType::Binary, true)]);
    [Arc::new(Schema::empty()), Arc::new(one)].into_iter().chain(named).collect()
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
        let place = sink::Place::of(base, path, name);
        let folder = absolute(&place.folder);
        add(&folder.join(format!("{}.", place.prefix)), true);
        if let Some(name) = place.name {
            add(&folder.join(name), false);
        }
    }
    own
}
