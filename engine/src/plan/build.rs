//! Resolves a [`Spec`]: kinds, formats, edges, schemas. Every mistake is found, not only the first: a node whose
//! input failed is left out, the others are still looked at.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use serde_json::json;

use super::order::{self, Names};
use super::{DeadLetters, Output, Plan, SinkNode, SourceNode, StageNode};
use crate::codec::{Format, Problem};
use crate::config::Spec;
use crate::config::spec::{Guarantee, KindSpec, SinkSpec, SourceSpec, StageSpec};
use crate::error::Code;
use crate::format::FORMATS;
use crate::sink::{self, SINKS, dead_letter};
use crate::source::{self, Room, SOURCES};
use crate::stage::Bound;
use crate::units;

/// What the binder is asked for: a stage, the folder of the pipeline file, the columns of its input.
pub struct StageRequest<'a> {
    /// The stage's name.
    pub name: &'a str,
    /// What the file says of it.
    pub spec: &'a StageSpec,
    /// Folder that relative paths are relative to.
    pub base: &'a Path,
    /// Columns of its input.
    pub input: &'a SchemaRef,
}

/// Loads a component and binds it. Pointers of its problems are relative to the stage (`/wasm`, `/config`).
pub type Binder<'a> = dyn Fn(&StageRequest<'_>) -> Result<Bound, Vec<Problem>> + 'a;

/// Where a pipeline file lies and where its worker would run.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Folder of the file.
    pub base: &'a Path,
    /// Working folder.
    pub cwd: &'a Path,
}

/// Resolves a pipeline. Pointers of the problems are those of the whole file (`/sinks/out/from`).
pub fn build(spec: &Spec, place: Place<'_>, binder: &Binder<'_>) -> Result<Plan, Vec<Problem>> {
    let mut build = Build { spec, place, problems: Vec::new(), schemas: HashMap::new() };
    let names = Names::new(spec, &mut build.problems);
    let sources = build.sources();
    let stages = build.stages(&names, binder);
    let sinks = build.sinks(&names);
    order::check_unread(spec, &names, &stages, &mut build.problems);
    build.guarantee(&sinks);
    let dead_letters = build.dead_letters();
    let Build { problems, .. } = build;
    let (Some(dead_letters), true) = (dead_letters, problems.is_empty()) else { return Err(problems) };
    let commit_interval = commit_interval(spec, &sinks);
    let mut plan = Plan {
        name: spec.name.clone(),
        base: place.base.to_path_buf(),
        dead_letters,
        guarantee: spec.delivery.guarantee,
        commit_interval,
        shutdown_timeout: spec.delivery.shutdown_timeout.map_or(units::SHUTDOWN_TIMEOUT, |p| p.0),
        room: Room {
            rows: spec.batch.rows.unwrap_or(units::BATCH_ROWS),
            bytes: spec.batch.bytes.map_or(units::BATCH_BYTES, |size| size.0 as usize),
            age: spec.batch.age.map_or(units::BATCH_AGE, |age| age.0),
        },
        lanes: spec.lanes.unwrap_or(1),
        warnings: Vec::new(),
        sources,
        stages,
        sinks,
    };
    plan.warnings = super::warnings::of(&plan);
    Ok(plan)
}

fn commit_interval(spec: &Spec, sinks: &[SinkNode]) -> Duration {
    let files = sinks.iter().any(|s| s.kind.durable_on_close);
    let default = if files { units::COMMIT_INTERVAL_FILES } else { units::COMMIT_INTERVAL };
    spec.delivery.commit_interval.map_or(default, |interval| interval.0)
}

struct Build<'a> {
    spec: &'a Spec,
    place: Place<'a>,
    problems: Vec<Problem>,
    /// Columns of each output that is resolved.
    schemas: HashMap<Output, SchemaRef>,
}

impl Build<'_> {
    fn problem(&mut self, pointer: &str, problem: Problem) {
        self.problems.push(problem.below(pointer));
    }

    fn sources(&mut self) -> Vec<SourceNode> {
        let mut nodes = Vec::new();
        for (index, (name, spec)) in self.spec.sources.iter().enumerate() {
            let pointer = format!("/sources/{}", escape(name));
            match self.source(name, spec, &pointer) {
                Ok(node) => {
                    self.schemas.insert(Output::Source(index), Arc::clone(&node.schema));
                    nodes.push(node);
                }
                Err(problems) => problems.into_iter().for_each(|p| self.problem(&pointer, p)),
            }
        }
        nodes
    }

    fn source(&mut self, name: &str, spec: &SourceSpec, pointer: &str) -> Result<SourceNode, Vec<Problem>> {
        let kind = find(SOURCES, |k| k.name, &spec.kind, "source")?;
        let default = kind.default_format.map(|default| default());
        let named = spec.format.clone().or_else(|| guess_format(&spec.kind));
        let named =
            named.or_else(|| default.map(|(name, options)| KindSpec { name: name.to_owned(), options }));
        let format = match (named, kind.needs_format) {
            (Some(named), true) => Some(prepare_format(&named)?),
            (None, true) => {
                let text = format!("`{}` needs a format", kind.name);
                return Err(vec![
                    Problem::new(Code::C004, "", text).help("add `format:`, for example `format: json`"),
                ]);
            }
            (_, false) => None,
        };
        let settings = source::Settings {
            pipeline: &self.spec.name,
            name,
            base: self.place.base,
            options: &spec.kind.options,
            format: format.as_ref(),
        };
        let prepared = (kind.prepare)(&settings).map_err(|problems| below(problems, kind.name))?;
        let schema = self.with_metadata(kind, spec, prepared.schema(), pointer);
        Ok(SourceNode {
            name: Arc::from(name),
            kind,
            prepared,
            format,
            metadata: spec.metadata.clone(),
            schema,
            on_failure: spec.on_failure,
        })
    }

    fn with_metadata(
        &mut self,
        kind: &source::SourceKind,
        spec: &SourceSpec,
        schema: SchemaRef,
        pointer: &str,
    ) -> SchemaRef {
        let mut fields = schema.fields().to_vec();
        for (i, name) in spec.metadata.iter().enumerate() {
            let at = format!("{pointer}/metadata/{i}");
            let Some(field) = metadata_field(name).filter(|_| kind.metadata.contains(&name.as_str())) else {
                let text = format!("`{}` has no metadata `{name}`", kind.name);
                self.problem(&at, Problem::new(Code::C005, "", text).help(nearest(name, kind.metadata)));
                continue;
            };
            if fields.iter().any(|f| f.name() == field.name()) {
                let text = format!("there is a column `{}` already", field.name());
                self.problem(&at, Problem::new(Code::P009, "", text));
                continue;
            }
            fields.push(Arc::new(field));
        }
        Arc::new(Schema::new(fields))
    }

    fn stages(&mut self, names: &Names, binder: &Binder<'_>) -> Vec<StageNode> {
        let order = order::topological(self.spec, names, &mut self.problems);
        let mut nodes = Vec::new();
        for index in order {
            let Some((name, spec)) = self.spec.stages.get_index(index) else { continue };
            let pointer = format!("/stages/{}", escape(name));
            let Some((inputs, input)) = self.inputs(names, spec.from.names(), &pointer) else { continue };
            let request = StageRequest { name, spec, base: self.place.base, input: &input };
            let bound = match binder(&request) {
                Ok(bound) => bound,
                Err(problems) => {
                    problems.into_iter().for_each(|p| self.problem(&pointer, p));
                    continue;
                }
            };
            // Outputs are numbered by the file's order here; the plan's order is that of this list.
            for (port, of) in bound.ports().iter().enumerate() {
                self.schemas.insert(Output::Stage(index, port), Arc::clone(&of.schema));
                names.learn_port(index, port, &of.name);
            }
            nodes.push((
                index,
                StageNode {
                    name: Arc::from(name.as_str()),
                    inputs,
                    input,
                    bound,
                    on_failure: spec.on_failure,
                },
            ));
        }
        let position: HashMap<usize, usize> = nodes.iter().enumerate().map(|(at, (i, _))| (*i, at)).collect();
        names.renumber(&position);
        self.schemas = std::mem::take(&mut self.schemas)
            .into_iter()
            .map(|(output, schema)| (renumbered(output, &position), schema))
            .collect();
        let mut nodes: Vec<StageNode> = nodes.into_iter().map(|(_, node)| node).collect();
        for node in &mut nodes {
            node.inputs.iter_mut().for_each(|input| *input = renumbered(*input, &position));
        }
        nodes
    }

    /// The outputs that a `from:` names, and their one schema; `None` after a problem.
    fn inputs(&mut self, names: &Names, from: &[String], pointer: &str) -> Option<(Vec<Output>, SchemaRef)> {
        let mut outputs: Vec<Output> = Vec::new();
        let mut schema: Option<(&String, SchemaRef)> = None;
        let mut whole = true;
        if from.is_empty() {
            self.problem(pointer, Problem::new(Code::P001, "/from", "there is no input"));
            return None;
        }
        for (i, name) in from.iter().enumerate() {
            let at = if from.len() == 1 { format!("{pointer}/from") } else { format!("{pointer}/from/{i}") };
            let output = match names.resolve(name) {
                Ok(Some(output)) => output,
                // The node is there, and has a problem of its own.
                Ok(None) => {
                    whole = false;
                    continue;
                }
                Err(problem) => {
                    self.problem(&at, problem);
                    whole = false;
                    continue;
                }
            };
            if outputs.contains(&output) {
                self.problem(&at, Problem::new(Code::P009, "", format!("`{name}` is named twice")));
                whole = false;
                continue;
            }
            outputs.push(output);
            let Some(columns) = self.schemas.get(&output).map(Arc::clone) else {
                whole = false;
                continue;
            };
            match &schema {
                None => schema = Some((name, columns)),
                Some((first, one)) if !order::same_columns(one, &columns) => {
                    let text = order::difference(first, one, name, &columns);
                    let problem = Problem::new(Code::P006, "", text);
                    self.problem(
                        &at,
                        problem.help("a union takes inputs with the same columns and types, in order"),
                    );
                    whole = false;
                }
                Some(_) => {}
            }
        }
        let (_, schema) = schema?;
        whole.then_some((outputs, schema))
    }

    fn sinks(&mut self, names: &Names) -> Vec<SinkNode> {
        let mut nodes = Vec::new();
        for (name, spec) in &self.spec.sinks {
            let pointer = format!("/sinks/{}", escape(name));
            let inputs = self.inputs(names, spec.from.names(), &pointer);
            let nothing: SchemaRef = Arc::new(Schema::empty());
            // Without an input the options are still looked at.
            let schema = inputs.as_ref().map_or(&nothing, |(_, schema)| schema);
            match (self.sink(name, spec, schema), inputs) {
                (Ok((kind, prepared)), Some((inputs, input))) => nodes.push(SinkNode {
                    name: Arc::from(name.as_str()),
                    kind,
                    inputs,
                    input,
                    prepared,
                    on_failure: spec.on_failure,
                }),
                (Ok(_), None) => {}
                (Err(problems), inputs) => {
                    let known = |p: &Problem| inputs.is_some() || p.code != Code::P008;
                    problems.into_iter().filter(known).for_each(|p| self.problem(&pointer, p));
                }
            }
        }
        nodes
    }

    fn sink(
        &self,
        name: &str,
        spec: &SinkSpec,
        schema: &SchemaRef,
    ) -> Result<(&'static sink::SinkKind, Box<dyn sink::Prepared>), Vec<Problem>> {
        let kind = find(SINKS, |k| k.name, &spec.kind, "sink")?;
        let named = spec.format.clone().or_else(|| guess_format(&spec.kind));
        let named = named
            .or_else(|| kind.default_format.map(|name| KindSpec { name: name.into(), options: json!({}) }));
        let format = match (named, kind.needs_format) {
            (Some(named), true) => Some(prepare_format(&named)?),
            (None, true) => {
                let text = format!("`{}` needs a format", kind.name);
                return Err(vec![
                    Problem::new(Code::C004, "", text).help("add `format:`, for example `format: json`"),
                ]);
            }
            (_, false) => None,
        };
        let settings = sink::Settings {
            pipeline: &self.spec.name,
            name,
            base: self.place.base,
            options: &spec.kind.options,
            format: format.as_ref(),
            schema,
        };
        let prepared = (kind.prepare)(&settings).map_err(|problems| below(problems, kind.name))?;
        Ok((kind, prepared))
    }

    fn guarantee(&mut self, sinks: &[SinkNode]) {
        if self.spec.delivery.guarantee != Guarantee::ExactlyOnce {
            return;
        }
        let others: Vec<&str> = sinks
            .iter()
            .filter(|s| s.kind.delivery != sink::Delivery::Transactional)
            .map(|s| &*s.name)
            .collect();
        let text = match others.as_slice() {
            [] => "`exactly_once` is not available in this version".to_owned(),
            names => format!("`exactly_once` cannot be had from the sinks {}", names.join(", ")),
        };
        let problem = Problem::new(Code::P007, "/delivery/guarantee", text);
        self.problems.push(
            problem.help("use `at_least_once`: nothing is lost, after a crash some records come again"),
        );
    }

    /// As the file says, else beside the first Kafka source, else a file in the working folder.
    fn dead_letters(&mut self) -> Option<DeadLetters> {
        let name = &self.spec.name;
        if let Some(kind) = &self.spec.dead_letters {
            let pointer = format!("/dead_letters/{}", escape(&kind.name));
            return match kind.name.as_str() {
                "file" => {
                    let path = kind.options.get("path").and_then(|p| p.as_str());
                    if path.is_none() {
                        self.problem(&pointer, Problem::new(Code::C004, "", "`path` is missing"));
                    }
                    path.map(|path| DeadLetters::File(self.place.base.join(path)))
                }
                "kafka" => {
                    let mut options = kind.options.clone();
                    if let Some(map) = options.as_object_mut() {
                        map.entry("topic").or_insert_with(|| json!(format!("{name}.dead-letters")));
                    }
                    self.kafka_dead_letters(options, &pointer)
                }
                other => {
                    let text = format!("dead letters go to `kafka` or `file`, not to `{other}`");
                    self.problems.push(Problem::new(Code::C005, "/dead_letters", text));
                    None
                }
            };
        }
        let beside = self.spec.sources.iter().find(|(_, source)| source.kind.name == "kafka");
        let Some((source, spec)) = beside else {
            return Some(DeadLetters::File(self.place.cwd.join(format!("{name}.dead-letters.jsonl"))));
        };
        let pointer = format!("/sources/{}/kafka", escape(source));
        let mut options = json!({ "topic": format!("{name}.dead-letters") });
        for shared in ["brokers", "properties"] {
            if let Some(value) = spec.kind.options.get(shared) {
                options[shared] = value.clone();
            }
        }
        // What is wrong with the source's own options has been told there.
        let before = self.problems.len();
        let prepared = self.kafka_dead_letters(options, &pointer);
        if before > 0 {
            self.problems.truncate(before);
        }
        prepared
    }

    fn kafka_dead_letters(&mut self, mut options: serde_json::Value, pointer: &str) -> Option<DeadLetters> {
        let prepared = SINKS.iter().find(|k| k.name == "kafka").map(|kind| {
            if let Some(map) = options.as_object_mut() {
                map.insert("key".into(), json!(dead_letter::KEY));
                map.insert("headers".into(), json!(dead_letter::HEADERS));
                map.insert("timestamp".into(), json!(dead_letter::TIMESTAMP));
                map.insert("create".into(), json!(true));
            }
            let raw = KindSpec { name: "raw".into(), options: json!({}) };
            let format = prepare_format(&raw)?;
            (kind.prepare)(&sink::Settings {
                pipeline: &self.spec.name,
                name: "dead letters",
                base: self.place.base,
                options: &options,
                format: Some(&format),
                schema: &dead_letter::schema(),
            })
        });
        match prepared {
            Some(Ok(prepared)) => Some(DeadLetters::Kafka(prepared)),
            Some(Err(problems)) => {
                problems.into_iter().for_each(|p| self.problem(pointer, p));
                None
            }
            None => {
                self.problem(pointer, Problem::new(Code::X004, "", "there is no Kafka sink in this build"));
                None
            }
        }
    }
}

fn renumbered(output: Output, position: &HashMap<usize, usize>) -> Output {
    match output {
        Output::Stage(index, port) => Output::Stage(position.get(&index).copied().unwrap_or(index), port),
        source => source,
    }
}

/// A member of a JSON pointer.
pub(super) fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

fn below(problems: Vec<Problem>, kind: &str) -> Vec<Problem> {
    problems.into_iter().map(|p| p.below(&format!("/{kind}"))).collect()
}

/// `did you mean …`, or what there is.
pub(super) fn nearest(name: &str, known: &[&str]) -> String {
    let close = known.iter().map(|k| (strsim::jaro_winkler(name, k), k)).filter(|(score, _)| *score > 0.8);
    match close.max_by(|a, b| a.0.total_cmp(&b.0)) {
        Some((_, best)) => format!("did you mean `{best}`?"),
        None if known.is_empty() => "there is none".to_owned(),
        None => format!("there is {}", known.iter().map(|k| format!("`{k}`")).collect::<Vec<_>>().join(", ")),
    }
}

fn find<T>(
    table: &'static [&'static T],
    name: fn(&T) -> &'static str,
    kind: &KindSpec,
    what: &str,
) -> Result<&'static T, Vec<Problem>> {
    table.iter().find(|k| name(k) == kind.name).copied().ok_or_else(|| {
        let known: Vec<&str> = table.iter().map(|k| name(k)).collect();
        let pointer = format!("/{}", escape(&kind.name));
        let text = format!("there is no {what} `{}`", kind.name);
        vec![Problem::new(Code::C003, pointer, text).help(nearest(&kind.name, &known))]
    })
}

fn prepare_format(named: &KindSpec) -> Result<Arc<dyn Format>, Vec<Problem>> {
    let known: Vec<&str> = FORMATS.iter().map(|k| k.name).collect();
    let kind = FORMATS.iter().find(|k| k.name == named.name).ok_or_else(|| {
        let text = format!("there is no format `{}`", named.name);
        vec![Problem::new(Code::C005, "/format", text).help(nearest(&named.name, &known))]
    })?;
    let below = |problems: Vec<Problem>| {
        problems.into_iter().map(|p| p.below(&format!("/format/{}", kind.name))).collect::<Vec<_>>()
    };
    (kind.prepare)(&named.options).map_err(below)
}

/// The format that a path's extension names.
fn guess_format(kind: &KindSpec) -> Option<KindSpec> {
    let path = kind.options.get("path")?;
    let path = path.as_str().or_else(|| path.as_array()?.first()?.as_str())?;
    let extension = Path::new(path).extension()?.to_str()?;
    let format = FORMATS.iter().find(|f| f.extensions.contains(&extension))?;
    Some(KindSpec { name: format.name.to_owned(), options: json!({}) })
}

/// The column of a piece of metadata.
pub fn metadata_field(name: &str) -> Option<Field> {
    let (ty, nullable) = match name {
        "key" => (DataType::Binary, true),
        "topic" => (DataType::Utf8, false),
        "partition" => (DataType::Int32, false),
        "offset" => (DataType::Int64, false),
        "timestamp" => (DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), true),
        "headers" => (dead_letter::headers_type(), true),
        _ => return None,
    };
    Some(Field::new(format!("_{name}"), ty, nullable))
}
