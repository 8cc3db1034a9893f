//! A draft to a plan: the order of the work. Mistakes are gathered; of a node behind a mistake only what is wrong
//! whatever its columns are is looked for, so that each mistake is reported once, all of them are, and what follows from
//! one is not.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use arrow::datatypes::SchemaRef;

use super::graph::{self, pointer, split};
use super::memory::Division;
use super::tables::{Folders, Tables};
use super::{
    Binder, Output, Plan, Ports, SinkNode, SourceNode, StageNode, StageRequest, guarantee, originals, sinks,
    sources, tombstones, traces, undeclared, warnings,
};
use crate::config::spec::StageSpec;
use crate::config::{Draft, is_within, nearest, step, suggestion};
use crate::connector::source::{Own, Room};
use crate::error::Code;
use crate::problem::Problem;
use crate::quantity::{Period, Size};
use crate::{datatype, units};

/// Outputs that are typed so far: of a source one without a name, of a stage its ports, the default one first.
type Outputs = BTreeMap<String, Vec<(Option<String>, Output, SchemaRef)>>;

struct Builder<'a> {
    draft: &'a Draft,
    tables: Tables,
    base: &'a Path,
    /// What it writes: sources leave it out.
    own: Vec<Own>,
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
    let own = sinks::own(draft, folders.base, folders.working);
    let mut builder =
        Builder { draft, tables, base: folders.base, own, outputs: Outputs::new(), problems: Vec::new() };
    let order = graph::check(draft, &mut builder.problems);
    let sources = builder.sources();
    let stages = builder.stages(&order, binder);
    builder.unread_ports();
    let sinks = builder.sinks();
    let dead_letters = super::dead_letters(&tables, draft, folders.base, folders.working);
    let dead_letters = dead_letters.map_err(|all| builder.problems.extend(all)).ok();
    let mut suspicious = Vec::new();
    let tracing =
        traces::plan(draft, &mut suspicious).map_err(|all| builder.problems.extend(all)).ok().flatten();
    let mut problems = builder.problems;
    let Some(dead_letters) = dead_letters else { return Err(problems) };
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
        commits_as_told: draft.delivery.commit_interval.is_some(),
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
    // The memory of a plan that lacks nodes says nothing about that of the whole.
    let nodes = plan.sources.len() + plan.stages.len() + plan.sinks.len();
    let whole = problems.is_empty() && nodes == draft.sources.len() + draft.stages.len() + draft.sinks.len();
    if let Some(memory) = draft.memory.filter(|_| whole) {
        match Division::new(&plan, memory.0) {
            Ok(division) => {
                plan.warnings.extend(warnings::batch(draft, &division));
                plan.room = division.room(plan.room);
                plan.memory = Some(division);
            }
            Err(problem) => problems.push(problem),
        }
    }
    problems.extend(tombstones::settle(draft, &mut plan));
    problems.extend(sources::together(&plan.sources));
    problems.extend(unkept(draft, &plan));
    let (no_originals, left) = originals::look(&plan);
    problems.extend(no_originals);
    let (loops, named) = warnings::loops(&plan);
    problems.extend(loops);
    if !problems.is_empty() {
        return Err(problems);
    }
    plan.warnings.extend(warnings::of_plan(draft, &plan));
    plan.warnings.extend(named);
    plan.warnings.extend(left);
    plan.warnings.extend(undeclared::look(&plan));
    Ok(plan)
}

/// Why the guarantee cannot be kept by the nodes that are there. Where dead letters go by default is not known while a
/// source is broken.
fn unkept<B>(draft: &Draft, plan: &Plan<B>) -> Vec<Problem> {
    let mut problems = guarantee::check(plan);
    if draft.dead_letters.is_none() && plan.sources.len() < draft.sources.len() {
        problems.retain(|problem| !is_within(&problem.pointer, "/dead_letters"));
    }
    problems
}

impl<'a> Builder<'a> {
    fn sources(&mut self) -> Vec<SourceNode> {
        let mut nodes = Vec::new();
        for (name, spec) in &self.draft.sources {
            let Some(spec) = spec else { continue };
            let missing = self.missing(&pointer("sources", name));
            match sources::prepare(&self.tables, &self.draft.name, self.base, name, spec, missing, &self.own)
            {
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
        // Those on a cycle have no order, and no columns.
        let rest = self.draft.stages.keys().filter(|name| !order.contains(name));
        for name in order.iter().chain(rest) {
            let Some(Some(spec)) = self.draft.stages.get(name) else { continue };
            let at = pointer("stages", name);
            let missing = self.missing(&at);
            let inputs = self.inputs(name);
            if let Err(problem) = component(spec, &at, missing) {
                self.problems.extend(problem);
                continue;
            }
            let input = inputs.as_ref().map(|(_, schema)| schema);
            let bound = binder(&StageRequest { name, spec, input, missing, base: self.base });
            let (inputs, bound) = match (inputs, bound) {
                (_, Err(all)) => {
                    self.problems.extend(crate::problem::below(all, &at));
                    continue;
                }
                (Some(inputs), Ok(bound)) => (inputs, bound),
                (None, Ok(_)) => continue,
            };
            let (inputs, input) = inputs;
            let ports = bound.ports().iter().enumerate();
            let outputs = ports
                .map(|(port, p)| (Some(p.name.clone()), Output::Stage(nodes.len(), port), p.schema.clone()));
            self.outputs.insert(name.clone(), outputs.collect());
            nodes.push(StageNode {
                name: name.as_str().into(),
                inputs,
                input,
                bound,
                on_failure: spec.on_failure,
            });
        }
        nodes
    }

    fn sinks(&mut self) -> Vec<SinkNode> {
        let mut nodes = Vec::new();
        let tables = self.tables;
        let place = sinks::Place { tables: &tables, pipeline: &self.draft.name, base: self.base };
        for (name, spec) in &self.draft.sinks {
            let Some(spec) = spec else { continue };
            let (inputs, missing) = (self.inputs(name), self.missing(&pointer("sinks", name)));
            match sinks::prepare(&place, name, spec, inputs, missing) {
                Ok(node) => nodes.push(node),
                Err(all) => self.problems.extend(all),
            }
        }
        nodes
    }

    /// Keys of a node that had a mistake.
    fn missing(&self, node: &str) -> &'a BTreeSet<String> {
        static NONE: BTreeSet<String> = BTreeSet::new();
        self.draft.missing.get(node).unwrap_or(&NONE)
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
        let read: BTreeSet<(&str, Option<&str>)> =
            all.map(|(_, input)| meant(&self.outputs, split(input))).collect();
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

/// An input; a port that is misspelled is the one that was meant.
fn meant<'a>(outputs: &'a Outputs, (node, port): (&'a str, Option<&'a str>)) -> (&'a str, Option<&'a str>) {
    let (Some(port), Some(outputs)) = (port, outputs.get(node)) else { return (node, port) };
    let ports = || outputs.iter().filter_map(|(name, ..)| name.as_deref());
    (node, ports().find(|own| *own == port).or_else(|| nearest(port, ports())))
}

/// Exactly one of `wasm` and `use`; an error without a mistake says that one was reported.
fn component(spec: &StageSpec, at: &str, missing: &BTreeSet<String>) -> Result<(), Option<Problem>> {
    match (&spec.wasm, &spec.ready_made) {
        (None, None) if missing.contains("wasm") || missing.contains("use") => Err(None),
        (None, None) => Err(Some(Problem::new(Code::C004, at, "`wasm` or `use` is missing").help(
            "give the path of a component (`wasm: a.wasm`) or the name of a ready-made stage (`use: filter`)",
        ))),
        (Some(_), Some(_)) => {
            let problem = Problem::new(Code::P009, step(at, "use"), "both `wasm` and `use` are given");
            Err(Some(problem.help("keep one of them")))
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
    datatype::print_field(field)
}
