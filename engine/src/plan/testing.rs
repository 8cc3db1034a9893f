//! A source, a sink and a binder for tests of configuration: no Wasm, no network, columns as the file says.

use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use serde_json::Value;

use super::{Folders, Plan, Ports, StageRequest, Tables, plan, schema};
use crate::config::report::{Style, render};
use crate::config::{Variables, load_text};
use crate::connector::blackhole;
use crate::connector::position;
use crate::connector::sink::{self, Deletes, SinkKind};
use crate::connector::source::{self, SourceKind};
use crate::error::{Code, Error, Result};
use crate::format::FORMATS;
use crate::problem::Problem;
use crate::stage::Port;

static SOURCE: SourceKind = SourceKind {
    name: "test",
    summary: "Columns as written.",
    example: "test: { columns: [a] }",
    options: |_| {
        schemars::json_schema!({ "type": "object", "additionalProperties": false, "required": ["columns"],
            "properties": { "columns": { "type": "array", "items": { "type": "string" } } } })
    },
    replay: position::Replay::State,
    metadata: &["key", "offset"],
    needs_format: false,
    default_format: None,
    prepare: |settings| {
        let columns = settings.options["columns"].as_array().cloned().unwrap_or_default();
        let fields =
            columns.iter().filter_map(Value::as_str).map(|name| Field::new(name, DataType::Int64, true));
        Ok(Box::new(Columns(Arc::new(Schema::new(fields.collect::<Vec<_>>())))))
    },
};

static SINK: SinkKind = SinkKind {
    name: "test",
    summary: "Nothing.",
    example: "test:",
    options: |_| {
        schemars::json_schema!({ "type": "object", "additionalProperties": false,
            "properties": { "level": { "type": "integer" }, "key": { "type": "string" } } })
    },
    delivery: sink::Delivery::AtLeastOnce,
    default_format: None,
    needs_format: false,
    durable_on_close: true,
    prepare: |settings| {
        let key = settings.options.get("key").and_then(Value::as_str);
        let deletes = match key.map(|key| settings.schema.index_of(key)) {
            Some(Ok(at)) => Deletes::ByKey { key: Some(at), headers: None },
            Some(Err(_)) => return Err(vec![Problem::new(Code::P008, "/key", "there is no such column")]),
            None => Deletes::No,
        };
        Ok(Box::new(Nowhere(deletes)))
    },
};

/// The same without keys.
static KEYLESS: SourceKind = SourceKind { name: "keyless", metadata: &["offset"], ..SOURCE };

static FAKE_SOURCES: &[&SourceKind] = &[&SOURCE, &KEYLESS];
static FAKE_SINKS: &[&SinkKind] = &[&SINK, &blackhole::KIND];

struct Columns(SchemaRef);

impl source::Prepared for Columns {
    fn schema(&self) -> SchemaRef {
        self.0.clone()
    }
    fn describe(&self) -> String {
        "test".into()
    }
    fn open(&self, _: source::Open) -> Result<source::Opened> {
        Err(Error::internal("only planned"))
    }
}

struct Nowhere(Deletes);

impl sink::Prepared for Nowhere {
    fn describe(&self) -> String {
        "test".into()
    }
    fn deletes(&self) -> Deletes {
        self.0
    }
    fn open(&self, _: &sink::Open) -> Result<Vec<Box<dyn sink::Sink>>> {
        Err(Error::internal("only planned"))
    }
}

/// A stage that is not there: its ports, and the input columns that they pass on.
pub(crate) struct Bound {
    ports: Vec<Port>,
    passed: Vec<Option<usize>>,
    explodes: bool,
}

impl Ports for Bound {
    fn ports(&self) -> &[Port] {
        &self.ports
    }
    fn passed(&self, _: usize) -> Vec<Option<usize>> {
        self.passed.clone()
    }
    fn explodes(&self) -> bool {
        self.explodes
    }
}

/// `one` passes its input on, `two-ports` to two ports, `add` adds a column, `rekey` computes all that it passes on,
/// `explode` makes several rows of one; anything else is refused.
fn bind(request: &StageRequest<'_>) -> Result<Bound, Vec<Problem>> {
    let port = |name: &str, schema: &SchemaRef| Port { name: name.into(), schema: schema.clone() };
    let wasm = request.spec.wasm.as_deref();
    if !matches!(wasm, Some("one" | "two-ports" | "add" | "rekey" | "explode")) {
        return Err(vec![Problem::new(Code::P004, "/wasm", "no such component")]);
    }
    let Some(input) = request.input else { return Err(Vec::new()) };
    let mut passed: Vec<Option<usize>> = (0..input.fields().len()).map(Some).collect();
    let ports = match wasm {
        Some("two-ports") => vec![port("out", input), port("other", input)],
        Some("rekey") => {
            passed.fill(None);
            vec![port("out", input)]
        }
        Some("add") => {
            let mut fields = input.fields().to_vec();
            fields.push(Arc::new(Field::new("added", DataType::Utf8, true)));
            passed.push(None);
            vec![port("out", &Arc::new(Schema::new(fields)))]
        }
        _ => vec![port("out", input)],
    };
    Ok(Bound { ports, passed, explodes: wasm == Some("explode") })
}

/// The schema with the test kinds in place of the real ones.
fn test_schema() -> Value {
    schema::of(&tables())
}

fn tables() -> Tables {
    Tables { sources: FAKE_SOURCES, sinks: FAKE_SINKS, formats: FORMATS }
}

/// The plan of a text without mistakes.
pub(crate) fn planned(text: &str) -> Plan<Bound> {
    let variables = Variables { get: &|_| None, base: Path::new("/nowhere") };
    let loaded = load_text(Path::new("p.yaml"), text, &test_schema(), &[], &variables).unwrap();
    let folders = Folders { base: Path::new("/nowhere"), working: Path::new("/working") };
    plan(&loaded.draft, tables(), folders, &bind).unwrap_or_else(|problems| panic!("{problems:?}"))
}

/// What `pipe check` would say, one line a mistake; the text of the plan where there is none.
pub(crate) fn check(text: &str, set: &[String]) -> String {
    let variables = Variables { get: &|_| None, base: Path::new("/nowhere") };
    let path = Path::new("p.yaml");
    let loaded = match load_text(path, text, &test_schema(), set, &variables) {
        Ok(loaded) => loaded,
        Err(error) => return error.to_string(),
    };
    let folders = Folders { base: Path::new("/nowhere"), working: Path::new("/working") };
    let planned = match loaded.document.value {
        Value::Object(_) => plan(&loaded.draft, tables(), folders, &bind),
        _ => Err(Vec::new()),
    };
    let (shown, errors, warnings) = match &planned {
        Ok(plan) => {
            let graphs =
                [crate::plan::render::text(plan, |_| Vec::new()), crate::plan::render::mermaid(plan)];
            (graphs.concat(), Vec::new(), plan.warnings.clone())
        }
        Err(errors) => (String::new(), errors.clone(), Vec::new()),
    };
    let diagnostics = loaded.diagnose(&errors, &warnings);
    let all = render(path, text, &diagnostics, Style::Plain, false);
    let wrong = diagnostics.iter().any(|d| d.severity == crate::config::Severity::Error);
    if wrong { all } else { format!("{all}{shown}") }
}
