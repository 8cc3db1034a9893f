//! Names and edges: who reads whom, in which order, and what is wrong with it.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use arrow::datatypes::Schema;

use super::build::{escape, nearest};
use super::{Output, StageNode};
use crate::codec::Problem;
use crate::config::Spec;
use crate::error::Code;

/// What the names of a file stand for.
pub(super) struct Names {
    nodes: HashMap<String, Node>,
    /// Ports of stages that are bound, by the stage's name.
    ports: RefCell<HashMap<usize, Vec<String>>>,
    position: RefCell<HashMap<usize, usize>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Node {
    Source(usize),
    /// Index in the file.
    Stage(usize),
    Sink,
}

impl Names {
    /// Sources, stages and sinks share one space of names.
    pub fn new(spec: &Spec, problems: &mut Vec<Problem>) -> Self {
        let mut nodes = HashMap::new();
        let sources = spec.sources.keys().enumerate().map(|(i, name)| ("sources", name, Node::Source(i)));
        let stages = spec.stages.keys().enumerate().map(|(i, name)| ("stages", name, Node::Stage(i)));
        let sinks = spec.sinks.keys().map(|name| ("sinks", name, Node::Sink));
        for (section, name, node) in sources.chain(stages).chain(sinks) {
            let pointer = format!("/{section}/{}", escape(name));
            if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') {
                let text = format!("`{name}` is no name: letters, digits, `_` and `-`");
                problems.push(Problem::new(Code::C005, pointer.clone(), text));
            }
            if nodes.insert(name.clone(), node).is_some() {
                let text = format!("two nodes are named `{name}`");
                problems.push(
                    Problem::new(Code::C007, pointer, text).help("rename one: they share one space of names"),
                );
            }
        }
        Self { nodes, ports: RefCell::default(), position: RefCell::default() }
    }

    /// A stage was bound and has this port.
    pub fn learn_port(&self, stage: usize, port: usize, name: &str) {
        let mut ports = self.ports.borrow_mut();
        let names = ports.entry(stage).or_default();
        debug_assert_eq!(names.len(), port, "ports are told in order");
        names.push(name.to_owned());
    }

    /// From here on stages are answered by their position in the plan.
    pub fn renumber(&self, position: &HashMap<usize, usize>) {
        self.position.borrow_mut().clone_from(position);
    }

    /// The stage that a `from:` names, by its index in the file.
    fn stage(&self, from: &str) -> Option<usize> {
        match self.nodes.get(from.split('.').next().unwrap_or(from)) {
            Some(Node::Stage(index)) => Some(*index),
            _ => None,
        }
    }

    /// The output that a `from:` names; `None`: the node is there but could not be resolved itself.
    pub fn resolve(&self, from: &str) -> Result<Option<Output>, Problem> {
        let (name, port) = match from.split_once('.') {
            Some((name, port)) => (name, Some(port)),
            None => (from, None),
        };
        match self.nodes.get(name) {
            Some(Node::Source(index)) => match port {
                None => Ok(Some(Output::Source(*index))),
                Some(_) => Err(Problem::new(Code::P001, "", format!("the source `{name}` has no ports"))),
            },
            Some(Node::Sink) => {
                Err(Problem::new(Code::P001, "", format!("`{name}` is a sink: nothing comes out of it")))
            }
            Some(Node::Stage(index)) => {
                let ports = self.ports.borrow();
                let Some(ports) = ports.get(index) else { return Ok(None) };
                let number = match port {
                    None => 0,
                    Some(port) => ports.iter().position(|p| p == port).ok_or_else(|| {
                        let known: Vec<&str> = ports.iter().map(String::as_str).collect();
                        let text = format!("the stage `{name}` has no port `{port}`");
                        Problem::new(Code::P001, "", text).help(nearest(port, &known))
                    })?,
                };
                let position = self.position.borrow();
                Ok(Some(Output::Stage(position.get(index).copied().unwrap_or(*index), number)))
            }
            None => {
                let readable = self.nodes.iter().filter(|(_, node)| **node != Node::Sink);
                let mut known: Vec<&str> = readable.map(|(name, _)| name.as_str()).collect();
                known.sort_unstable();
                let text = format!("there is no source or stage `{name}`");
                Err(Problem::new(Code::P001, "", text).help(nearest(name, &known)))
            }
        }
    }
}

/// Stages by their index in the file, inputs before those who read them; those on a cycle are left out.
pub(super) fn topological(spec: &Spec, names: &Names, problems: &mut Vec<Problem>) -> Vec<usize> {
    let inputs: Vec<Vec<usize>> = spec
        .stages
        .values()
        .map(|stage| stage.from.names().iter().filter_map(|from| names.stage(from)).collect())
        .collect();
    let mut order = Vec::new();
    let mut done: HashSet<usize> = HashSet::new();
    loop {
        let ready = (0..inputs.len())
            .find(|i| !done.contains(i) && inputs[*i].iter().all(|input| done.contains(input)));
        let Some(ready) = ready else { break };
        done.insert(ready);
        order.push(ready);
    }
    let mut told: HashSet<usize> = HashSet::new();
    for start in 0..inputs.len() {
        if done.contains(&start) || told.contains(&start) {
            continue;
        }
        let Some(cycle) = cycle_from(start, &inputs, &done) else { continue };
        if cycle.iter().any(|stage| told.contains(stage)) {
            continue;
        }
        told.extend(&cycle);
        let name = |i: usize| spec.stages.get_index(i).map_or("", |(name, _)| name.as_str());
        let mut path: Vec<&str> = cycle.iter().map(|i| name(*i)).collect();
        path.push(path[0]);
        let pointer = format!("/stages/{}/from", escape(path[0]));
        let text = format!("a cycle: {}", path.join(" -> "));
        problems.push(
            Problem::new(Code::P002, pointer, text)
                .help("rows flow one way: let one of them read another node"),
        );
    }
    order
}

/// The cycle that following inputs from a stage ends in, in the direction in which rows would flow.
fn cycle_from(start: usize, inputs: &[Vec<usize>], done: &HashSet<usize>) -> Option<Vec<usize>> {
    let mut path = vec![start];
    loop {
        let last = *path.last()?;
        let next = *inputs[last].iter().find(|input| !done.contains(input))?;
        if let Some(at) = path.iter().position(|p| *p == next) {
            let mut cycle = path.split_off(at);
            cycle.reverse();
            // Begin with the one that comes first in the file.
            let first = (0..cycle.len()).min_by_key(|i| cycle[*i])?;
            cycle.rotate_left(first);
            return Some(cycle);
        }
        path.push(next);
    }
}

/// Sources and ports that nobody reads: their rows would vanish without anyone having said so.
pub(super) fn check_unread(spec: &Spec, names: &Names, stages: &[StageNode], problems: &mut Vec<Problem>) {
    let from = spec.stages.values().map(|s| &s.from).chain(spec.sinks.values().map(|s| &s.from));
    let read: Vec<&str> = from.flat_map(|from| from.names()).map(String::as_str).collect();
    let help = "read it with a stage or a sink; `blackhole: {}` takes what nobody wants";
    for name in spec.sources.keys() {
        if !read.contains(&name.as_str()) {
            let text = format!("nothing reads the source `{name}`");
            problems.push(Problem::new(Code::P003, format!("/sources/{}", escape(name)), text).help(help));
        }
    }
    for (name, _) in &spec.stages {
        let pointer = format!("/stages/{}", escape(name));
        let Some(stage) = stages.iter().find(|s| *s.name == **name) else {
            // Not bound: at least whether anything reads it at all can be said.
            if !read
                .iter()
                .any(|from| names.stage(from).is_some_and(|i| spec.stages.get_index_of(name) == Some(i)))
            {
                problems.push(
                    Problem::new(Code::P003, pointer, format!("nothing reads the stage `{name}`")).help(help),
                );
            }
            continue;
        };
        for (number, port) in stage.bound.ports().iter().enumerate() {
            let full = format!("{name}.{}", port.name);
            if !(read.contains(&full.as_str()) || number == 0 && read.contains(&name.as_str())) {
                let what = if stage.bound.ports().len() == 1 {
                    format!("the stage `{name}`")
                } else {
                    format!("the port `{full}`")
                };
                problems.push(
                    Problem::new(Code::P003, pointer.clone(), format!("nothing reads {what}")).help(help),
                );
            }
        }
    }
}

/// Whether two inputs can be one: the same columns and types, in order. Nullability may differ.
pub(super) fn same_columns(a: &Schema, b: &Schema) -> bool {
    a == b
}

/// What differs, in words.
pub(super) fn difference(first: &str, a: &Schema, second: &str, b: &Schema) -> String {
    for field in a.fields() {
        match b.field_with_name(field.name()) {
            Err(_) => return format!("`{second}` has no column `{}`, which `{first}` has", field.name()),
            Ok(other) if other.data_type() != field.data_type() => {
                let (name, one, two) = (field.name(), field.data_type(), other.data_type());
                return format!("column `{name}` is {one} in `{first}` and {two} in `{second}`");
            }
            Ok(other) if other.is_nullable() != field.is_nullable() => {
                return format!(
                    "column `{}` may be null in only one of `{first}` and `{second}`",
                    field.name()
                );
            }
            Ok(_) => {}
        }
    }
    match b.fields().iter().find(|f| a.field_with_name(f.name()).is_err()) {
        Some(extra) => format!("`{first}` has no column `{}`, which `{second}` has", extra.name()),
        None => format!("`{first}` and `{second}` have their columns in different orders"),
    }
}
