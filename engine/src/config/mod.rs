//! The pipeline file: text to [`Draft`], with every mistake placed by line and column.
//!
//! [`load`] parses, expands variables, applies overrides, checks against the schema and deserialises. A part with a
//! mistake is left out, so that planning can go on and report what else is wrong.

mod document;
mod expand;
mod overrides;
mod suggest;
mod yaml;

pub mod check;
pub mod edit;
pub mod forms;
pub mod report;
pub mod spec;

pub use document::{Diagnostic, Document, Severity, is_within, step};
pub use expand::Variables;
pub use spec::Spec;
pub use suggest::{help as suggestion, nearest};
pub use yaml::At;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use indexmap::IndexMap;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::{Code, Result};
use crate::problem::Problem;
use crate::quantity::Size;
use crate::units::CONFIG_BYTES_MAX;
use spec::{BatchSpec, DeliverySpec, KindSpec, SinkSpec, SourceSpec, StageSpec, TracingSpec};

/// A pipeline as far as it could be read: what had a mistake is `None`, and the names are all there.
#[derive(Debug, Clone, Default)]
pub struct Draft {
    /// Name of the pipeline; empty when it is missing or wrong.
    pub name: String,
    /// Sources.
    pub sources: IndexMap<String, Option<SourceSpec>>,
    /// Stages.
    pub stages: IndexMap<String, Option<StageSpec>>,
    /// Sinks.
    pub sinks: IndexMap<String, Option<SinkSpec>>,
    /// What each stage and sink reads: pointer and name, as far as `from` could be read.
    pub inputs: IndexMap<String, Vec<(String, String)>>,
    /// Keys of nodes (by pointer) that had a mistake and were left out: the nodes cannot be planned, and what follows
    /// from such a key is not reported.
    pub missing: BTreeMap<String, BTreeSet<String>>,
    /// Delivery.
    pub delivery: DeliverySpec,
    /// Dead letters.
    pub dead_letters: Option<KindSpec>,
    /// Batches.
    pub batch: BatchSpec,
    /// Lanes.
    pub lanes: Option<usize>,
    /// Memory of the worker.
    pub memory: Option<Size>,
    /// Traces.
    pub tracing: Option<TracingSpec>,
    /// Of the environment what OpenTelemetry gives a meaning to and planning needs, where traces are followed.
    pub environment: BTreeMap<&'static str, String>,
}

/// Variables of the environment that planning looks at.
const ENVIRONMENT: &[&str] = &[
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    "OTEL_SDK_DISABLED",
    "OTEL_TRACES_EXPORTER",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
];

/// A file that was read, and its mistakes so far (not yet those of the plan).
#[derive(Debug)]
pub struct Loaded {
    /// Text, value and places.
    pub document: Document,
    /// What could be read of it.
    pub draft: Draft,
    /// Mistakes with a place of their own, found before there was a value.
    pub diagnostics: Vec<Diagnostic>,
    /// Mistakes by pointer.
    pub problems: Vec<Problem>,
}

impl Loaded {
    /// All mistakes and warnings in the order of the text.
    pub fn diagnose(&self, planned: &[Problem], warnings: &[Problem]) -> Vec<Diagnostic> {
        let document = &self.document;
        let mut all = self.diagnostics.clone();
        all.extend(self.problems.iter().chain(planned).map(|p| document.diagnose(p, Severity::Error)));
        all.extend(warnings.iter().map(|p| document.diagnose(p, Severity::Warning)));
        all.sort_by_key(|d| d.at.map_or((usize::MAX, d.code), |at| (at.start, d.code)));
        all
    }
}

/// Reads a file. It may hold anything: mistakes are in the result.
pub fn load(path: &Path, schema: &Value, overrides: &[String]) -> Result<Loaded> {
    let base = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let get = |name: &str| std::env::var(name).ok();
    match read(path) {
        Ok(text) => load_text(path, &text, schema, overrides, &Variables { get: &get, base }),
        Err(message) => {
            let document = Document { path: path.to_owned(), ..Document::default() };
            let message = format!("`{}` cannot be read: {message}", path.display());
            let help = Some("check the path and its permissions".into());
            let diagnostic =
                Diagnostic { severity: Severity::Error, code: Code::C001, at: None, message, help };
            Ok(Loaded {
                document,
                draft: Draft::default(),
                diagnostics: vec![diagnostic],
                problems: Vec::new(),
            })
        }
    }
}

/// Opens a file that is read to its end. A FIFO among the files is refused: whoever opens it waits until somebody
/// writes, which may be never. What a shell hands over (`/dev/stdin`, `<(..)`) has its writer already.
fn open(path: &Path) -> std::io::Result<std::fs::File> {
    use std::os::unix::fs::FileTypeExt;
    let handed_over = path.starts_with("/dev") || path.starts_with("/proc");
    if !handed_over && std::fs::metadata(path)?.file_type().is_fifo() {
        return Err(std::io::Error::other(
            "it is a FIFO, and reading it might never end; write a file, or read `/dev/stdin`",
        ));
    }
    std::fs::File::open(path)
}

fn read(path: &Path) -> Result<String, String> {
    use std::io::Read;
    let file = open(path).map_err(|e| e.to_string())?;
    let mut bytes = Vec::new();
    file.take(CONFIG_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    if bytes.len() as u64 > CONFIG_BYTES_MAX {
        return Err(format!("it is larger than {CONFIG_BYTES_MAX} bytes"));
    }
    String::from_utf8(bytes).map_err(|e| format!("it is not UTF-8 at byte {}", e.utf8_error().valid_up_to()))
}

/// Reads a text, as [`load`] does a file.
pub fn load_text(
    path: &Path,
    text: &str,
    schema: &Value,
    overrides: &[String],
    variables: &Variables<'_>,
) -> Result<Loaded> {
    load_checked(path, text, &|value| check::check(value, schema), overrides, variables)
}

/// The same with the check of its keys given.
pub fn load_checked(
    path: &Path,
    text: &str,
    check: &dyn Fn(&Value) -> Result<Vec<Problem>>,
    overrides: &[String],
    variables: &Variables<'_>,
) -> Result<Loaded> {
    let (root, mut faults) = yaml::parse(text);
    let mut document = Document { path: path.to_owned(), text: text.to_owned(), ..Document::default() };
    let mut problems = Vec::new();
    let mut draft = Draft::default();
    match root {
        Some(root) if matches!(root.kind, yaml::Kind::Mapping(_)) => {
            let (parsed, more) = Document::new(path, text, root, variables);
            document = parsed;
            problems = overrides::apply(&mut document, overrides, variables);
            // A variable that an override replaces need not be set.
            let stands = |pointer: &str| !document.overridden.contains_key(pointer);
            let failed: Vec<&String> = document.failed.iter().filter(|pointer| stands(pointer)).collect();
            let more = more.into_iter();
            faults.extend(more.filter(|f| failed.iter().any(|p| document.place(p, f.code) == Some(f.at))));
            problems.extend(check(&document.value)?.into_iter().filter(|p| !follows(&document, p)));
            draft = sift(&document, &mut problems);
            if draft.tracing.is_some() {
                let set = ENVIRONMENT.iter().filter_map(|name| Some((*name, (variables.get)(name)?)));
                draft.environment = set.filter(|(_, value)| !value.is_empty()).collect();
            }
        }
        Some(root) => {
            faults.push(yaml::Fault::new(
                Code::C002,
                root.at,
                "a pipeline is a mapping that begins with `name:`",
            ));
        }
        None if faults.is_empty() => {
            let at = At { start: 0, end: 1, line: 1, column: 1 };
            faults.push(yaml::Fault::new(Code::C002, at, "the file is empty"));
        }
        None => {}
    }
    let diagnostics = faults.into_iter().map(|fault| Diagnostic {
        severity: Severity::Error,
        code: fault.code,
        at: Some(fault.at),
        message: fault.message,
        help: fault.help,
    });
    Ok(Loaded { diagnostics: diagnostics.collect(), document, draft, problems })
}

/// The value of a piece of YAML, such as a kind's example; `None` where it is none.
pub fn value_of(text: &str) -> Option<Value> {
    let (root, faults) = yaml::parse(text);
    root.filter(|_| faults.is_empty()).map(overrides::plain)
}

/// Whether a problem only says that a variable is missing, which was said already.
fn follows(document: &Document, problem: &Problem) -> bool {
    document.failed.iter().any(|failed| is_within(&problem.pointer, failed))
}

/// Deserialises the parts without mistakes.
fn sift(document: &Document, problems: &mut Vec<Problem>) -> Draft {
    let mut value = document.value.clone();
    let mut missing: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for problem in problems.iter() {
        // What a misspelled key was meant to be is not said to be missing.
        let Some((node, own)) = node_and_key(&problem.pointer) else { continue };
        let of_node = problem.pointer.len() == node.len() + 1 + own.len();
        if let Some(meant) = check::meant(problem).filter(|_| of_node) {
            missing.entry(node.to_owned()).or_default().insert(meant.to_owned());
            if meant == "from" {
                rename(&mut value, node, own, meant);
            }
        }
    }
    // Unknown keys are left out, and optional parts with a mistake; what they stand in is judged without them.
    for problem in problems.iter().filter(|p| p.code == Code::C003 || is_optional(&p.pointer)) {
        remove(&mut value, &problem.pointer);
    }
    let wrong: BTreeSet<String> = problems.iter().filter(|p| p.code != Code::C003).map(at_its_key).collect();
    let optional: Vec<&String> = wrong.iter().filter(|pointer| is_optional(pointer)).collect();
    for (node, key) in optional.iter().filter_map(|pointer| node_and_key(pointer)) {
        missing.entry(node.to_owned()).or_default().insert(key.to_owned());
    }
    let wrong = wrong.iter().filter(|pointer| !is_optional(pointer)).cloned();
    let wrong: BTreeSet<String> = wrong.chain(document.failed.iter().cloned()).collect();
    let mut sieve = Sieve { wrong, missing, found: Vec::new() };
    let mut draft = Draft {
        name: sieve.part(&value, "/name").unwrap_or_default(),
        sources: sieve.nodes(&value, "sources"),
        stages: sieve.nodes(&value, "stages"),
        sinks: sieve.nodes(&value, "sinks"),
        inputs: IndexMap::new(),
        missing: BTreeMap::new(),
        delivery: sieve.part(&value, "/delivery").unwrap_or_default(),
        dead_letters: sieve.part(&value, "/dead_letters"),
        batch: sieve.part(&value, "/batch").unwrap_or_default(),
        lanes: sieve.part(&value, "/lanes"),
        memory: sieve.part(&value, "/memory"),
        tracing: sieve.part(&value, "/tracing"),
        environment: BTreeMap::new(),
    };
    for section in ["stages", "sinks"] {
        for (name, node) in value.get(section).and_then(Value::as_object).into_iter().flatten() {
            let from = step(&step(&format!("/{section}"), name), "from");
            let inputs = match node.get("from") {
                Some(Value::String(input)) => vec![(from, input.clone())],
                Some(Value::Array(all)) => {
                    let each = all.iter().enumerate();
                    each.filter_map(|(i, v)| Some((format!("{from}/{i}"), v.as_str()?.to_owned()))).collect()
                }
                _ => Vec::new(),
            };
            draft.inputs.entry(name.clone()).or_default().extend(inputs);
        }
    }
    draft.missing = sieve.missing;
    // A misspelled kind was taken out with its unknown key: that it is missing now is no news.
    let misspelled =
        |part: &str| problems.iter().any(|p| p.code == Code::C003 && is_within(&p.pointer, part));
    let news = |p: &Problem| !p.message.contains("the kind is missing") || !misspelled(&p.pointer);
    let found: Vec<Problem> = sieve.found.into_iter().filter(news).collect();
    problems.extend(found);
    draft
}

/// Of a pointer within a node, the node and the node's key.
fn node_and_key(pointer: &str) -> Option<(&str, &str)> {
    let rest =
        ["/sources/", "/stages/", "/sinks/"].iter().find_map(|section| pointer.strip_prefix(section))?;
    let (name, below) = rest.split_once('/')?;
    let node = &pointer[..pointer.len() - rest.len() + name.len()];
    Some((node, below.split('/').next().unwrap_or(below)))
}

/// Where a mistake is; a key that is missing is where it would be.
fn at_its_key(problem: &Problem) -> String {
    let key = problem.message.strip_prefix('`').and_then(|rest| rest.strip_suffix("` is missing"));
    match key.filter(|_| problem.code == Code::C004) {
        Some(key) => step(&problem.pointer, key),
        None => problem.pointer.clone(),
    }
}

fn rename(value: &mut Value, node: &str, from: &str, to: &str) {
    let from = from.replace("~1", "/").replace("~0", "~");
    if let Some(Value::Object(map)) = value.pointer_mut(node)
        && !map.contains_key(to)
        && let Some(part) = map.shift_remove(&from)
    {
        map.insert(to.to_owned(), part);
    }
}

/// Parts without which the rest still means something.
fn is_optional(pointer: &str) -> bool {
    let mut parts = pointer.split('/').skip(1);
    matches!(
        (parts.next(), parts.next(), parts.next()),
        (Some("delivery" | "batch" | "tracing"), Some(_), _)
            | (Some("stages"), _, Some("limits" | "on_failure" | "config"))
            | (Some("sources" | "sinks"), _, Some("on_failure"))
    )
}

fn remove(value: &mut Value, pointer: &str) {
    let Some((parent, key)) = pointer.rsplit_once('/') else { return };
    let key = key.replace("~1", "/").replace("~0", "~");
    if let Some(Value::Object(map)) = value.pointer_mut(parent) {
        map.shift_remove(&key);
    }
}

struct Sieve {
    wrong: BTreeSet<String>,
    missing: BTreeMap<String, BTreeSet<String>>,
    found: Vec<Problem>,
}

impl Sieve {
    /// A part; `None` where it is absent, has a mistake, or turns out to have one.
    fn part<T: DeserializeOwned>(&mut self, value: &Value, pointer: &str) -> Option<T> {
        let part = value.pointer(pointer).filter(|part| !part.is_null())?;
        if self.wrong.iter().any(|wrong| is_within(wrong, pointer)) {
            return None;
        }
        // The schema has seen it: what is left is rare (a duration that overflows), so the part's place must do.
        serde_json::from_value(part.clone()).map_err(|e| self.found.push(late(pointer, &e))).ok()
    }

    fn nodes<T: DeserializeOwned>(&mut self, value: &Value, section: &str) -> IndexMap<String, Option<T>> {
        let empty = Map::new();
        let map = value.get(section).and_then(Value::as_object).unwrap_or(&empty);
        let mut nodes = IndexMap::new();
        for (name, node) in map {
            let pointer = step(&format!("/{section}"), name);
            let rest = self.rest(&pointer, node, section != "sources");
            let found = match rest {
                Some(rest) => serde_json::from_value(rest).ok(),
                None => self.part(value, &pointer),
            };
            nodes.insert(name.clone(), found);
        }
        nodes
    }

    /// Of a node that has a mistake in some of its keys, what is left without them; `None` for one without mistakes,
    /// or with one of its own.
    fn rest(&mut self, pointer: &str, node: &Value, reads: bool) -> Option<Value> {
        if self.wrong.contains(pointer) {
            return None;
        }
        let wrong = self.wrong.iter().filter(|wrong| is_within(wrong, pointer));
        let wrong = wrong.filter_map(|wrong| Some(node_and_key(wrong)?.1.to_owned()));
        let wrong: BTreeSet<String> = wrong.collect();
        let Value::Object(map) = node else { return None };
        if wrong.is_empty() {
            return None;
        }
        let mut map = map.clone();
        map.retain(|key, _| !wrong.contains(&step("", key)[1..]));
        if reads {
            map.entry("from").or_insert(Value::Array(Vec::new()));
        }
        self.missing.entry(pointer.to_owned()).or_default().extend(wrong);
        Some(Value::Object(map))
    }
}

fn late(pointer: &str, error: &serde_json::Error) -> Problem {
    Problem::new(Code::C005, pointer, error.to_string())
}

#[cfg(test)]
mod tests;
