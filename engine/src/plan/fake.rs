//! A source, a sink and a binder for tests of configuration: no Wasm, no network, columns as the file says.

use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use serde_json::Value;

use super::{Folders, Plan, Ports, StageRequest, Tables, plan, schema};
use crate::codec::Problem;
use crate::config::report::{Style, render};
use crate::config::{Variables, load_text};
use crate::error::{Code, Error, Result};
use crate::sink::{self, SinkKind};
use crate::source::{self, SourceKind};
use crate::stage::Port;

static SOURCE: SourceKind = SourceKind {
    name: "test",
    summary: "Columns as written.",
    example: "test: { columns: [a] }",
    options: |_| {
        schemars::json_schema!({ "type": "object", "additionalProperties": false, "required": ["columns"],
            "properties": { "columns": { "type": "array", "items": { "type": "string" } } } })
    },
    replay: source::Replay::State,
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
            "properties": { "level": { "type": "integer" } } })
    },
    delivery: sink::Delivery::AtLeastOnce,
    default_format: None,
    needs_format: false,
    durable_on_close: true,
    prepare: |_| Ok(Box::new(Nowhere)),
};

static FAKE_SOURCES: &[&SourceKind] = &[&SOURCE];
static FAKE_SINKS: &[&SinkKind] = &[&SINK];

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

struct Nowhere;

impl sink::Prepared for Nowhere {
    fn describe(&self) -> String {
        "test".into()
    }
    fn open(&self, _: &sink::Open) -> Result<Vec<Box<dyn sink::Sink>>> {
        Err(Error::internal("only planned"))
    }
}

/// Ports of a stage that is not there.
pub(crate) struct Bound(Vec<Port>);

impl Ports for Bound {
    fn ports(&self) -> &[Port] {
        &self.0
    }
}

/// `one` passes its input on, `two-ports` to two ports, `add` adds a column; anything else is refused.
fn bind(request: &StageRequest<'_>) -> Result<Bound, Vec<Problem>> {
    let port = |name: &str, schema: &SchemaRef| Port { name: name.into(), schema: schema.clone() };
    let wasm = request.spec.wasm.as_deref();
    if !matches!(wasm, Some("one" | "two-ports" | "add")) {
        return Err(vec![Problem::new(Code::P004, "/wasm", "no such component")]);
    }
    let Some(input) = request.input else { return Err(Vec::new()) };
    match wasm {
        Some("one") => Ok(Bound(vec![port("out", input)])),
        Some("two-ports") => Ok(Bound(vec![port("out", input), port("other", input)])),
        _ => {
            let mut fields = input.fields().to_vec();
            fields.push(Arc::new(Field::new("added", DataType::Utf8, true)));
            Ok(Bound(vec![port("out", &Arc::new(Schema::new(fields)))]))
        }
    }
}

/// The schema with the test kinds in place of the real ones.
fn test_schema() -> Value {
    schema::of(&tables())
}

fn tables() -> Tables {
    Tables { sources: FAKE_SOURCES, sinks: FAKE_SINKS, formats: &[] }
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
                [crate::cli::explain::text(plan, |_| Vec::new()), crate::cli::explain::mermaid(plan)];
            (graphs.concat(), Vec::new(), plan.warnings.clone())
        }
        Err(errors) => (String::new(), errors.clone(), Vec::new()),
    };
    let diagnostics = loaded.diagnose(&errors, &warnings);
    let all = render(path, text, &diagnostics, Style::Plain, false);
    let wrong = diagnostics.iter().any(|d| d.severity == crate::config::Severity::Error);
    if wrong { all } else { format!("{all}{shown}") }
}
