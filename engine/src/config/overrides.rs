//! `--set a.b.c=value`: changes to a file's value without changing the file. A key that holds a dot is quoted:
//! `--set 'sources.in.kafka.properties."client.id"=x'`. Variables are expanded as in the file.

use serde_json::{Map, Value};

use super::document::{Document, step};
use super::expand::Variables;
use super::yaml::{Kind, Node, parse};
use crate::error::Code;
use crate::problem::Problem;

/// Applies overrides in order; a later one wins. Values are YAML (`--set lanes=2`, `--set 'topics=[a, b]'`).
pub(super) fn apply(
    document: &mut Document,
    overrides: &[String],
    variables: &Variables<'_>,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    for typed in overrides {
        match parse_one(typed) {
            Ok((path, value)) => problems.extend(set(document, path, value, variables)),
            Err(problem) => problems.push(problem),
        }
    }
    document.order_secrets();
    problems
}

fn bad(message: String) -> Problem {
    Problem::new(Code::C008, "", message)
        .help("write `--set key.key=value`, such as `--set sinks.out.kafka.topic=t`")
}

fn parse_one(typed: &str) -> Result<(&str, Option<Node>), Problem> {
    // The value may be a secret: only the path is ever printed.
    let Some(end) = unquoted(typed, '=').next() else {
        return Err(bad("an override without `=`".into()));
    };
    let (path, value) = (&typed[..end], &typed[end + 1..]);
    if segments(path).any(str::is_empty) {
        let help = "; a key that holds a dot is written in double quotes";
        return Err(bad(format!("`{path}` is not a path of keys with dots between{help}")));
    }
    let (node, faults) = parse(value);
    if let Some(fault) = faults.first() {
        return Err(bad(format!("the value of `{path}` is not YAML: {}", fault.message)));
    }
    Ok((path, node))
}

/// Where a character stands outside double quotes.
fn unquoted(text: &str, wanted: char) -> impl Iterator<Item = usize> {
    let mut quoted = false;
    text.char_indices().filter_map(move |(at, c)| {
        quoted ^= c == '"';
        (c == wanted && !quoted).then_some(at)
    })
}

/// The keys of a path, without their quotes.
fn segments(path: &str) -> impl Iterator<Item = &str> {
    let mut start = 0;
    let ends: Vec<usize> = unquoted(path, '.').chain([path.len()]).collect();
    ends.into_iter().map(move |end| {
        let segment = &path[start..end];
        start = end + 1;
        segment.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(segment)
    })
}

pub(super) fn plain(node: Node) -> Value {
    match node.kind {
        Kind::Scalar { value, .. } => value,
        Kind::Sequence(items) => Value::Array(items.into_iter().map(plain).collect()),
        Kind::Mapping(entries) => Value::Object(entries.into_iter().map(|(k, _, v)| (k, plain(v))).collect()),
    }
}

/// A value with its variables expanded; those that cannot be are problems at their pointers, and nothing.
fn expanded(
    document: &mut Document,
    node: Node,
    pointer: &str,
    variables: &Variables<'_>,
    problems: &mut Vec<Problem>,
) -> Value {
    match node.kind {
        Kind::Scalar { text, plain, value } => {
            document.scalar((&text, plain, value), pointer, variables).unwrap_or_else(|failed| {
                problems.push(Problem::new(failed.code, pointer, failed.message).help(failed.help));
                document.failed.insert(pointer.to_owned());
                Value::Null
            })
        }
        Kind::Sequence(items) => {
            let each = items.into_iter().enumerate();
            Value::Array(
                each.map(|(i, v)| expanded(document, v, &format!("{pointer}/{i}"), variables, problems))
                    .collect(),
            )
        }
        Kind::Mapping(entries) => {
            let mut map = Map::new();
            for (key, _, node) in entries {
                let value = expanded(document, node, &step(pointer, &key), variables, problems);
                map.insert(key, value);
            }
            Value::Object(map)
        }
    }
}

/// Puts a value at its place; answers what is wrong.
fn set(document: &mut Document, path: &str, node: Option<Node>, variables: &Variables<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let pointer = pointer_of(path);
    document.failed.retain(|failed| !super::document::is_within(failed, &pointer));
    let value = node.map_or(Value::Null, |n| expanded(document, n, &pointer, variables, &mut problems));
    match place(document, path) {
        Ok(here) => *here = value,
        Err(problem) => return vec![problem],
    }
    document.overridden.insert(pointer, path.to_owned());
    problems
}

fn pointer_of(path: &str) -> String {
    segments(path).fold(String::new(), |pointer, segment| step(&pointer, segment))
}

/// The place of a path, made where it is not there yet.
fn place<'a>(document: &'a mut Document, path: &str) -> Result<&'a mut Value, Problem> {
    let mut here = &mut document.value;
    for segment in segments(path) {
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
    }
    Ok(here)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_with_dots_is_quoted() {
        let keys = |path| segments(path).collect::<Vec<_>>();
        assert_eq!(keys("a.b.0"), ["a", "b", "0"]);
        assert_eq!(keys("properties.\"sasl.password\""), ["properties", "sasl.password"]);
        assert_eq!(keys("a..b"), ["a", "", "b"]);
        let mut document = Document { value: serde_json::json!({ "properties": {} }), ..Document::default() };
        let typed = ["properties.\"client.id\"=a=b".to_owned(), "properties.\"x=y\"=1".to_owned()];
        let variables = Variables { get: &|_| None, base: std::path::Path::new(".") };
        assert!(apply(&mut document, &typed, &variables).is_empty());
        assert_eq!(document.value, serde_json::json!({ "properties": { "client.id": "a=b", "x=y": 1 } }));
    }

    #[test]
    fn mistakes_never_show_the_value() {
        for typed in ["hunter2", "=hunter2", "a..b=hunter2", "\"\"=hunter2", "a=[hunter2"] {
            let problem = parse_one(typed).err().unwrap();
            assert_eq!(problem.code, Code::C008);
            assert!(!problem.message.contains("hunter2"), "{}", problem.message);
        }
    }

    #[test]
    fn variables_are_expanded_as_in_the_file() {
        let get = |name: &str| (name == "LANES").then(|| "3".to_owned());
        let variables = Variables { get: &get, base: std::path::Path::new(".") };
        let mut document = Document { value: serde_json::json!({ "b": [1] }), ..Document::default() };
        let list = "b=[\"${LANES}\", '$${LANES}', { c: \"${NOPE:-d}\" }]";
        let typed = ["lanes=${LANES}", "a=x${LANES}", list, "e.f=${NOPE}"];
        let problems = apply(&mut document, &typed.map(str::to_owned), &variables);
        let expected = serde_json::json!({
            "b": ["3", "${LANES}", { "c": "d" }], "lanes": 3, "a": "x3", "e": { "f": null }
        });
        assert_eq!(document.value, expected);
        let [problem] = problems.as_slice() else { panic!("{problems:?}") };
        assert_eq!((problem.code, problem.pointer.as_str()), (Code::C006, "/e/f"));
        let said = document.diagnose(problem, super::super::Severity::Error);
        assert!(said.help.unwrap().contains("--set e.f="));
    }
}
