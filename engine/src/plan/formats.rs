//! The format of a source or a sink: named in the file, told by the ending of a path, or missing.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::tables::Tables;
use crate::codec::Format;
use crate::config::spec::KindSpec;
use crate::config::{step, suggestion};
use crate::error::Code;
use crate::format::FormatKind;
use crate::problem::{Problem, below};

/// Each format with its own defaults, and none: for what is wrong whatever the format is.
pub(super) fn any_format(tables: &Tables) -> Vec<Option<Arc<dyn Format>>> {
    let empty = Value::Object(serde_json::Map::new());
    // Of those that only write none has a say in what is wrong with all others.
    let each = tables.formats.iter().filter(|kind| kind.reads).filter_map(|kind| (kind.prepare)(&empty).ok());
    each.map(Some).chain([None]).collect()
}

/// The mistakes that each of several attempts makes: they do not come from what the attempts differ in.
pub(super) fn in_each(attempts: impl Iterator<Item = Vec<Problem>>) -> Vec<Problem> {
    let common = attempts.reduce(|mut common, found| {
        common.retain(|problem| found.contains(problem));
        common
    });
    common.unwrap_or_default()
}

pub(super) fn missing_format(tables: &Tables, at: &str) -> Problem {
    let names: Vec<&str> = tables.formats.iter().filter(|kind| kind.reads).map(|kind| kind.name).collect();
    Problem::new(Code::C004, at, "`format` is missing")
        .help(format!("add `format:` with one of {}", names.join(", ")))
}

/// A format that the file names. The options of its source or sink hold the path, whose ending may say more.
pub(super) fn format(
    tables: &Tables,
    at: &str,
    spec: &KindSpec,
    endpoint: &Value,
) -> Result<Arc<dyn Format>, Vec<Problem>> {
    let Some(kind) = tables.formats.iter().find(|kind| kind.name == spec.name) else {
        let names = tables.formats.iter().map(|kind| kind.name);
        let problem = Problem::new(Code::C005, at, format!("there is no format `{}`", spec.name));
        return Err(vec![problem.help(suggestion(&spec.name, names, "formats"))]);
    };
    let at = step(at, &spec.name);
    let options = by_extension(kind, &spec.options, endpoint).map_err(|p| below(vec![p], &at))?;
    (kind.prepare)(&options).map_err(|all| below(all, &at))
}

/// The options with what the extensions of paths say of packing left out: `in.jsonl.gz` holds JSON.
pub(super) fn unpacked(options: &Value) -> Value {
    let unpack = |path: &str| {
        let packed = [".gz", ".zst"].iter().find_map(|packed| path.strip_suffix(packed));
        Value::from(packed.unwrap_or(path))
    };
    let paths: Vec<Value> = paths(options).into_iter().map(unpack).collect();
    serde_json::json!({ "path": paths })
}

/// The format that the ending of a path tells; its options are all defaults.
pub(super) fn guess(
    tables: &Tables,
    at: &str,
    options: &Value,
) -> Result<Option<Arc<dyn Format>>, Vec<Problem>> {
    let endings: Vec<String> = paths(options).into_iter().map(ending).collect();
    let tells = |kind: &&&FormatKind| {
        !endings.is_empty() && endings.iter().all(|ending| kind.extensions.contains(&ending.as_str()))
    };
    let Some(kind) = tables.formats.iter().find(tells) else { return Ok(None) };
    let given = Value::Object(serde_json::Map::new());
    let given = by_extension(kind, &given, options).map_err(|problem| below(vec![problem], at))?;
    Ok((kind.prepare)(&given).ok())
}

/// The options of a format, with what the endings of the paths say of those that are not given.
fn by_extension(kind: &FormatKind, given: &Value, endpoint: &Value) -> Result<Value, Problem> {
    let mut options = given.clone();
    let endings: Vec<String> = paths(endpoint).into_iter().map(ending).collect();
    for (extension, key, value) in kind.by_extension {
        let told = endings.iter().filter(|ending| ending == extension).count();
        let Value::Object(map) = &mut options else { break };
        if told == 0 || map.get(*key).is_some_and(|value| !value.is_null()) {
            continue;
        }
        if told < endings.len() {
            let message = format!("files that end in `.{extension}` have another {key} than the others");
            return Err(Problem::new(Code::P009, "", message)
                .help(format!("name the `{key}` of all of them, or read them by two sources")));
        }
        map.insert((*key).to_owned(), Value::from(*value));
    }
    Ok(options)
}

/// The paths among the options of a source or a sink.
fn paths(options: &Value) -> Vec<&str> {
    match options.get("path") {
        Some(Value::String(path)) => vec![path],
        Some(Value::Array(paths)) => paths.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// What a path ends in, without the dot.
fn ending(path: &str) -> String {
    let ending = Path::new(path).extension().and_then(|ending| ending.to_str());
    ending.unwrap_or_default().to_ascii_lowercase()
}
