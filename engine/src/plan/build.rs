//! A draft to a plan: the order of the work. Mistakes are gathered; a node behind a mistake is passed over, so that
//! each mistake is reported once and all of them are.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use arrow::datatypes::SchemaRef;

use super::graph::{self, pointer, split};
use super::memory::Division;
use super::{
    Binder, Output, Plan, Ports, SinkNode, SourceNode, StageNode, StageRequest, guarantee, sinks, sources,
    traces, warnings,
};
use crate::codec::Problem;
use crate::config::spec::{Period, Size, StageSpec};
use crate::config::{Draft, step, suggestion, types};
use crate::error::Code;
use crate::format::{FORMATS, FormatKind};
use crate::sink::{SINKS, SinkKind};
use crate::source::{Room, SOURCES, SourceKind};
use crate::units;

/// The tables of kinds.
#[derive(Clone, Copy)]
pub struct Tables {
    /// Sources.
    pub sources: &'static [&'static SourceKind],
    /// Sinks.
    pub sinks: &'static [&'static SinkKind],
    /// Formats.
    pub formats: &'static [&'static FormatKind],
}

impl Default for Tables {
    fn default() -> Self {
        Self { sources: SOURCES, sinks: SINKS, formats: FORMATS }
    }
}

/// Where paths are relative to.
#[derive(Clone, Copy)]
pub struct Folders<'a> {
    /// Folder of the pipeline file.
    pub base: &'a Path,
    /// The working folder, for the dead letters of a pipeline without Kafka.
    pub working: &'a Path,
}

/// Outputs that are typed so far: of a source one without a name, of a stage its ports, the default one first.
type Outputs = BTreeMap<String, Vec<(Option<String>, Output, SchemaRef)>>;

struct Builder<'a> {
    draft: &'a Draft,
    tables: Tables,
    base: &'a Path,
    outputs: Outputs,
    problems: Vec<Problem>,
}

/// Plans a draft. All mistakes are returned, with pointers into the file. A draft from which a mistaken part was left
/// out may still give a plan: whoever loaded it must not run that.
pub fn plan<B: Ports>(
    draft: &Draft,
    tables: Tables,
    folders: Folders<'_>,
    binder: Binder<'_, B>,
) -> Result<Plan<B>, Vec<Problem>> {
    let mut builder =
        Builder { draft, tables, base: folders.base, outputs: Outputs::new(), problems: Vec::new() };
    let order = graph::check(draft, &mut builder.problems);
    let sources = builder.sources();
    let stages = builder.stages(&order, binder);
    builder.unread_ports();
    let sinks = builder.sinks();
    let dead_letters = sinks::dead_letters(&tables, draft, folders.base, folders.working);
    let dead_letters = dead_letters.map_err(|all| builder.problems.extend(all)).ok();
    let mut suspicious = Vec::new();
    let tracing =
        traces::plan(draft, &mut suspicious).map_err(|all| builder.problems.extend(all)).ok().flatten();
    let Some(dead_letters) = dead_letters.filter(|_| builder.problems.is_empty()) else {
        return Err(builder.problems);
    };
    let files = sinks.iter().any(|sink| sink.kind.durable_on_close);
    let usual = if files { units::COMMIT_INTERVAL_FILES } else { units::COMMIT_INTERVAL };
    let period = |given: Option<Period>, usual| given.map_or(usual, |period| period.0);
    let bytes = |size: Size| usize::try_from(size.0).unwrap_or(usize::MAX);
    let mut plan = Plan {
        name: draft.name.clone(),
        base: folders.base.to_owned(),
        sources,
        stages,
        sinks,
        dead_letters,
        guarantee: draft.delivery.guarantee,
        commit_interval: period(draft.delivery.commit_interval, usual),
        shutdown_timeout: period(draft.delivery.shutdown_timeout, units::SHUTDOWN_TIMEOUT),
        room: Room {
            rows: draft.batch.rows.unwrap_or(units::BATCH_ROWS),
            bytes: draft.batch.bytes.map_or(units::BATCH_BYTES, bytes),
            lane_bytes: usize::MAX,
            age: period(draft.batch.age, units::BATCH_AGE),
            // Whoever gives an age wants batches of that age.
            eager: draft.batch.age.is_none(),
        },
        lanes: draft.lanes.unwrap_or(1),
        memory: None,
        tracing,
        warnings: suspicious,
    };
    if let Some(memory) = draft.memory {
        let division = Division::new(&plan, memory.0).map_err(|problem| vec![problem])?;
        plan.warnings.extend(warnings::batch(draft, &division));
        plan.room = division.room(plan.room);
        plan.memory = Some(division);
    }
    let torn = sources::together(&plan.sources);
    if !torn.is_empty() {
        return Err(torn);
    }
    let unkept = guarantee::check(&plan);
    if !unkept.is_empty() {
        return Err(unkept);
    }
    let (loops, named) = warnings::loops(&plan);
    if !loops.is_empty() {
        return Err(loops);
    }
    plan.warnings.extend(warnings::of_plan(draft, &plan));
    plan.warnings.extend(named);
    Ok(plan)
}

impl Builder<'_> {
    fn sources(&mut self) -> Vec<SourceNode> {
        let mut nodes = Vec::new();
        for (name, spec) in &self.draft.sources {
            let Some(spec) = spec else { continue };
            match sources::prepare(&self.tables, &self.draft.name, self.base, name, spec) {
                Ok(node) => {
                    let output = (None, Output::Source(nodes.len()), node.schema.clone());
                    self.outputs.insert(name.clone(), vec![output]);
                    nodes.push(node);
                }
                Err(all) => self.problems.extend(all),
            }
        }
        nodes
    }

    fn stages<B: Ports>(&mut self, order: &[String], binder: Binder<'_, B>) -> Vec<StageNode<B>> {
        let mut nodes = Vec::new();
        for name in order {
            let Some(Some(spec)) = self.draft.stages.get(name) else { continue };
            let at = pointer("stages", name);
            let component = component(spec, &at).map_err(|problem| self.problems.push(problem)).is_ok();
            let Some((inputs, input)) = self.inputs(name).filter(|_| component) else { continue };
            match binder(&StageRequest { name, spec, input: &input, base: self.base }) {
                Err(all) => self.problems.extend(sources::below(all, &at)),
                Ok(bound) => {
                    let ports = bound.ports().iter().enumerate();
                    let outputs = ports.map(|(port, p)| {
                        (Some(p.name.clone()), Output::Stage(nodes.len(), port), p.schema.clone())
                    });
                    self.outputs.insert(name.clone(), outputs.collect());
                    nodes.push(StageNode {
                        name: name.as_str().into(),
                        inputs,
                        input,
                        bound,
                        on_failure: spec.on_failure,
                    });
                }
            }
        }
        nodes
    }

    fn sinks(&mut self) -> Vec<SinkNode> {
        let mut nodes = Vec::new();
        for (name, spec) in &self.draft.sinks {
            let (Some(spec), Some(input)) = (spec, self.inputs(name)) else { continue };
            match sinks::prepare(&self.tables, &self.draft.name, self.base, name, spec, input) {
                Ok(node) => nodes.push(node),
                Err(all) => self.problems.extend(all),
            }
        }
        nodes
    }

    /// The inputs of a node and their one schema; `None` where any of them is not known, which was reported.
    fn inputs(&mut self, node: &str) -> Option<(Vec<Output>, SchemaRef)> {
        let mut found: Vec<(Output, SchemaRef)> = Vec::new();
        let all = self.draft.inputs.get(node)?;
        let mut complete = !all.is_empty();
        for (at, input) in all {
            let (name, port) = split(input);
            let outputs = self.outputs.get(name);
            let Some(outputs) = outputs else {
                complete = false;
                continue;
            };
            let chosen = outputs.iter().find(|(own, ..)| port.is_none() || own.as_deref() == port);
            let Some((_, output, schema)) = chosen else {
                let names = outputs.iter().filter_map(|(name, ..)| name.as_deref());
                let port = port.unwrap_or_default();
                // A port of a source was reported with the edges.
                if self.draft.stages.contains_key(name) {
                    let problem = Problem::new(Code::P001, at, format!("`{name}` has no port `{port}`"));
                    self.problems.push(problem.help(suggestion(port, names, "ports")));
                }
                complete = false;
                continue;
            };
            match found.first() {
                Some((_, first)) if first.fields() != schema.fields() => {
                    let other = &all.first()?.1;
                    let message = format!("`{input}` and `{other}` have different columns");
                    self.problems.push(
                        Problem::new(Code::P006, at, message).help(difference(first, schema, other, input)),
                    );
                    complete = false;
                }
                _ => found.push((*output, schema.clone())),
            }
        }
        let schema = found.first().map(|(_, schema)| schema.clone())?;
        complete.then(|| (found.into_iter().map(|(output, _)| output).collect(), schema))
    }

    /// Rows sent to a port that nothing reads would vanish.
    fn unread_ports(&mut self) {
        let all = self.draft.inputs.values().flatten();
        let read: BTreeSet<(&str, Option<&str>)> = all.map(|(_, input)| split(input)).collect();
        for (node, outputs) in &self.outputs {
            let whole = !read.iter().any(|(name, _)| name == node);
            for (i, (port, ..)) in outputs.iter().enumerate() {
                let Some(port) = port.as_deref().filter(|_| !whole) else { continue };
                let default = i == 0 && read.contains(&(node.as_str(), None));
                if !default && !read.contains(&(node.as_str(), Some(port))) {
                    let message = format!("nothing reads the port `{node}.{port}`: its rows would vanish");
                    let help =
                        format!("add a sink with `from: {node}.{port}`; `blackhole` drops rows on purpose");
                    self.problems.push(Problem::new(Code::P003, pointer("stages", node), message).help(help));
                }
            }
        }
    }
}

/// Exactly one of `wasm` and `use`.
fn component(spec: &StageSpec, at: &str) -> Result<(), Problem> {
    match (&spec.wasm, &spec.ready_made) {
        (None, None) => Err(Problem::new(Code::C004, at, "`wasm` or `use` is missing").help(
            "give the path of a component (`wasm: a.wasm`) or the name of a ready-made stage (`use: filter`)",
        )),
        (Some(_), Some(_)) => {
            Err(Problem::new(Code::P009, step(at, "use"), "both `wasm` and `use` are given")
                .help("keep one of them"))
        }
        _ => Ok(()),
    }
}

/// Columns that one side lacks, has with another type, or in another place.
fn difference(first: &SchemaRef, second: &SchemaRef, first_name: &str, second_name: &str) -> String {
    let mut lines = Vec::new();
    for field in first.fields() {
        match second.field_with_name(field.name()) {
            Err(_) => lines.push(format!("`{}` is only in `{first_name}`", field.name())),
            Ok(other) if other != field.as_ref() => {
                let (one, two) = (shown(field), shown(other));
                lines.push(format!(
                    "`{}` is {one} in `{first_name}` and {two} in `{second_name}`",
                    field.name()
                ));
            }
            Ok(_) => {}
        }
    }
    for field in second.fields().iter().filter(|f| first.field_with_name(f.name()).is_err()) {
        lines.push(format!("`{}` is only in `{second_name}`", field.name()));
    }
    if lines.is_empty() { "the columns are in another order".into() } else { lines.join("; ") }
}

fn shown(field: &arrow::datatypes::Field) -> String {
    types::print_field(field)
}
