//! `--set a.b.c=value`: changes to a file's value without changing the file.

use serde_json::{Map, Value};

use super::document::{Document, step};
use super::yaml::{Kind, Node, parse};
use crate::codec::Problem;
use crate::error::Code;

/// Applies overrides in order; a later one wins. Values are YAML (`--set lanes=2`, `--set 'topics=[a, b]'`).
pub(super) fn apply(document: &mut Document, overrides: &[String]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for typed in overrides {
        match parse_one(typed) {
            Ok((path, value)) => problems.extend(set(document, path, value).err()),
            Err(problem) => problems.push(problem),
        }
    }
    problems
}

fn bad(message: String) -> Problem {
    Problem::new(Code::C008, "", message)
        .help("write `--set key.key=value`, such as `--set sinks.out.kafka.topic=t`")
}

fn parse_one(typed: &str) -> Result<(&str, Value), Problem> {
    // The value may be a secret: only the path is ever printed.
    let Some((path, value)) = typed.split_once('=') else {
        return Err(bad("an override without `=`".into()));
    };
    if path.is_empty() || path.split('.').any(str::is_empty) {
        return Err(bad(format!("`{path}` is not a path of keys with dots between")));
    }
    let (node, faults) = parse(value);
    if let Some(fault) = faults.first() {
        return Err(bad(format!("the value of `{path}` is not YAML: {}", fault.message)));
    }
    Ok((path, node.map_or(Value::Null, plain)))
}

fn plain(node: Node) -> Value {
    match node.kind {
        Kind::Scalar { value, .. } => value,
        Kind::Sequence(items) => Value::Array(items.into_iter().map(plain).collect()),
        Kind::Mapping(entries) => Value::Object(entries.into_iter().map(|(k, _, v)| (k, plain(v))).collect()),
    }
}

fn set(document: &mut Document, path: &str, value: Value) -> Result<(), Problem> {
    let mut pointer = String::new();
    let mut here = &mut document.value;
    for segment in path.split('.') {
        if here.is_null() {
            *here = Value::Object(Map::new());
        }
        // `kafka` is short for `kafka: {}`.
        here = match here {
            Value::Object(map) => map.entry(segment).or_insert(Value::Null),
            Value::Array(items) => {
                let length = items.len();
                match segment.parse::<usize>().ok().and_then(|i| items.get_mut(i)) {
                    Some(item) => item,
                    None => {
                        return Err(bad(format!("`{path}`: a list of {length} has no element `{segment}`")));
                    }
                }
            }
            _ => {
                return Err(bad(format!(
                    "`{path}`: there is a single value before `{segment}`, not a mapping"
                )));
            }
        };
        pointer = step(&pointer, segment);
    }
    *here = value;
    document.failed.retain(|failed| !super::document::is_within(failed, &pointer));
    document.overridden.insert(pointer, path.to_owned());
    Ok(())
}
