//! A pipeline file as a JSON value in which every part remembers its place in the text.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::expand::{Failed, Variables, expand};
use super::yaml::{At, Fault, Kind, Node, resolve_plain};
use crate::error::Code;
use crate::problem::Problem;
use crate::secret;

/// How grave a diagnostic is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The pipeline cannot run.
    Error,
    /// It can, but perhaps not as meant.
    Warning,
}

/// A mistake at a place of the file, secrets redacted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How grave.
    pub severity: Severity,
    /// Its code.
    pub code: Code,
    /// Where; `None`: the file as a whole, or an override.
    pub at: Option<At>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

/// A file's value with the places of its parts.
#[derive(Debug, Clone, Default)]
pub struct Document {
    /// The file, as it was named.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
    /// Its value, variables expanded and overrides applied.
    pub value: Value,
    /// Pointer to the places of the key and of the value.
    pub(super) places: BTreeMap<String, (Option<At>, At)>,
    /// Values that came from outside the file, and what is printed instead.
    pub(super) secrets: Vec<(String, String)>,
    /// Pointers whose variable could not be expanded: what follows from that is not reported.
    pub(super) failed: BTreeSet<String>,
    /// Pointers whose value, or a part of it, came from a variable or a file.
    pub(super) outside: BTreeSet<String>,
    /// Pointers given by `--set`, as typed.
    pub(super) overridden: BTreeMap<String, String>,
}

/// A pointer one step further, `~` and `/` escaped.
pub fn step(pointer: &str, segment: &str) -> String {
    format!("{pointer}/{}", segment.replace('~', "~0").replace('/', "~1"))
}

/// Whether a pointer is `prefix` or lies below it.
pub fn is_within(pointer: &str, prefix: &str) -> bool {
    pointer.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A pointer as a person writes a key.
fn dotted(pointer: &str) -> String {
    pointer.trim_start_matches('/').replace('/', ".").replace("~1", "/").replace("~0", "~")
}

/// Whether a value is written as this text: a password of digits must not lose its leading zero.
fn is_written_so(value: &Value, text: &str) -> bool {
    match value {
        Value::Number(number) => format!("{number}").as_str() == text,
        Value::Bool(value) => text == if *value { "true" } else { "false" },
        _ => true,
    }
}

fn parent(pointer: &str) -> Option<&str> {
    pointer.rfind('/').map(|i| &pointer[..i])
}

impl Document {
    /// The folder that relative paths are relative to.
    pub fn base(&self) -> PathBuf {
        match self.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
            _ => PathBuf::from("."),
        }
    }

    /// A document of a parsed tree; variables that fail are reported.
    pub(super) fn new(path: &Path, text: &str, root: Node, variables: &Variables<'_>) -> (Self, Vec<Fault>) {
        let mut document = Self { path: path.to_owned(), text: text.to_owned(), ..Self::default() };
        let mut faults = Vec::new();
        document.value = document.convert(root, String::new(), None, variables, &mut faults);
        document.order_secrets();
        (document, faults)
    }

    /// A scalar with its references expanded.
    pub(super) fn scalar(
        &mut self,
        scalar: (&str, bool, Value),
        pointer: &str,
        variables: &Variables<'_>,
    ) -> Result<Value, Failed> {
        let (text, plain, value) = scalar;
        let Some(expanded) = expand(text, variables)? else { return Ok(value) };
        for (value, name) in expanded.secrets {
            self.outside.insert(pointer.to_owned());
            // What stands in a file of its own, or in a variable whose name says so, is hidden wherever it may turn up.
            if name.starts_with("${file:") || secret::is_named(&name) {
                secret::keep(&value);
            }
            self.secrets.push((value, name));
        }
        let value = resolve_plain(&expanded.text);
        let same = plain && expanded.whole && is_written_so(&value, &expanded.text);
        Ok(if same { value } else { Value::String(expanded.text) })
    }

    /// Longer secrets first: one may be part of another.
    pub(super) fn order_secrets(&mut self) {
        self.secrets.sort_by_key(|(value, _)| std::cmp::Reverse(value.len()));
        self.secrets.dedup();
    }

    /// The parser bounds the depth of what it builds, and aliases bound it again by the number of nodes, so that this
    /// recursion stays shallow.
    fn convert(
        &mut self,
        node: Node,
        pointer: String,
        key: Option<At>,
        variables: &Variables<'_>,
        faults: &mut Vec<Fault>,
    ) -> Value {
        let at = node.at;
        let value = match node.kind {
            Kind::Sequence(items) => {
                let each = items.into_iter().enumerate();
                let items = each
                    .map(|(i, item)| self.convert(item, format!("{pointer}/{i}"), None, variables, faults));
                Value::Array(items.collect())
            }
            Kind::Mapping(entries) => {
                let mut map = Map::new();
                for (name, place, node) in entries {
                    let below = step(&pointer, &name);
                    map.insert(name, self.convert(node, below, Some(place), variables, faults));
                }
                Value::Object(map)
            }
            Kind::Scalar { text, plain, value } => {
                match self.scalar((&text, plain, value), &pointer, variables) {
                    Ok(value) => value,
                    Err(failed) => {
                        let message = match failed.code {
                            Code::C010 => format!("`{}`: {}", dotted(&pointer), failed.message),
                            _ => failed.message,
                        };
                        let mut fault = Fault::new(failed.code, at, message);
                        fault.help = Some(failed.help);
                        faults.push(fault);
                        self.failed.insert(pointer.clone());
                        Value::Null
                    }
                }
            }
        };
        self.places.insert(pointer, (key, at));
        value
    }

    /// Where a mistake at a pointer is shown: at the key for an unknown key and for a collection, else at the value.
    /// What is not in the text is shown at what it would belong to.
    pub fn place(&self, pointer: &str, code: Code) -> Option<At> {
        let mut pointer = pointer;
        loop {
            if let Some((key, value)) = self.places.get(pointer) {
                let collection = self.value.pointer(pointer).is_some_and(|v| v.is_object() || v.is_array());
                let wanted = if collection || code == Code::C003 { key.unwrap_or(*value) } else { *value };
                // The whole file is no useful place for a mark: its first character is.
                return Some(if pointer.is_empty() {
                    At { end: wanted.start + 1, ..wanted }
                } else {
                    wanted
                });
            }
            pointer = parent(pointer)?;
        }
    }

    /// Whether a value does not stand in the file: a variable, a file or an override gave it, or was to.
    pub fn is_from_outside(&self, pointer: &str) -> bool {
        self.outside.contains(pointer)
            || self.failed.contains(pointer)
            || self.overridden.keys().any(|set| is_within(pointer, set))
    }

    /// A problem with its place, secrets redacted.
    pub fn diagnose(&self, problem: &Problem, severity: Severity) -> Diagnostic {
        let set = self.overridden.iter().find(|(pointer, _)| is_within(&problem.pointer, pointer));
        // What only an override has made is not in the text either.
        let made = || self.overridden.iter().find(|(pointer, _)| is_within(pointer, &problem.pointer));
        let set = set.or_else(|| if self.places.contains_key(&problem.pointer) { None } else { made() });
        let help = problem.help.as_deref().map(|help| self.redact(help));
        let (at, help) = match set {
            // A bad override has no place in the text.
            None if problem.code == Code::C008 => (None, help),
            None => (self.place(&problem.pointer, problem.code), help),
            Some((_, typed)) => {
                let note = format!("it was given by `--set {typed}=..`");
                (None, Some(help.map_or(note.clone(), |help| format!("{help}; {note}"))))
            }
        };
        Diagnostic { severity, code: problem.code, at, message: self.redact(&problem.message), help }
    }

    /// A text without what came from variables and files. Short values are replaced only where they are quoted:
    /// replacing every `2` would make nonsense of the rest.
    pub fn redact(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (value, name) in &self.secrets {
            if value.chars().count() >= 4 {
                text = text.replace(value, name);
            } else {
                text = text.replace(&format!("`{value}`"), &format!("`{name}`"));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_resembles_a_number_stays_text() {
        let get = |name: &str| match name {
            "N" => Some("8".to_owned()),
            "ZERO" => Some("007".to_owned()),
            "EXP" => Some("1e5".to_owned()),
            "YES" => Some("true".to_owned()),
            _ => None,
        };
        let text = "a: ${N}\nb: ${ZERO}\nc: ${EXP}\nd: ${YES}\ne: \"${N}\"\n";
        let (root, faults) = super::super::yaml::parse(text);
        assert!(faults.is_empty());
        let variables = Variables { get: &get, base: Path::new(".") };
        let (document, _) = Document::new(Path::new("p.yaml"), text, root.unwrap(), &variables);
        let expected = serde_json::json!({ "a": 8, "b": "007", "c": "1e5", "d": true, "e": "8" });
        assert_eq!(document.value, expected);
        assert!(document.is_from_outside("/a") && !document.is_from_outside("/z"));
    }
}
