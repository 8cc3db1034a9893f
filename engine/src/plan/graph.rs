//! The graph of names: what reads what, in which order, and everything that can be wrong with that before a single
//! column is known.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::{Draft, nearest, step, suggestion};
use crate::error::Code;
use crate::problem::Problem;

/// The pointer of a node.
pub(super) fn pointer(section: &str, name: &str) -> String {
    step(&format!("/{section}"), name)
}

/// `stage.port` to its two parts.
pub(super) fn split(input: &str) -> (&str, Option<&str>) {
    match input.split_once('.') {
        Some((node, port)) => (node, Some(port)),
        None => (input, None),
    }
}

/// Checks names and edges; gives the stages in topological order, those on a cycle left out.
pub(super) fn check(draft: &Draft, problems: &mut Vec<Problem>) -> Vec<String> {
    one_namespace(draft, problems);
    edges(draft, problems);
    unread(draft, problems);
    order(draft, problems)
}

/// Sources, stages and sinks share one namespace, as edges, logs and metrics name them alike.
fn one_namespace(draft: &Draft, problems: &mut Vec<Problem>) {
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    let sources = draft.sources.keys().map(|n| ("sources", n));
    let stages = draft.stages.keys().map(|n| ("stages", n));
    let sinks = draft.sinks.keys().map(|n| ("sinks", n));
    for (section, name) in sources.chain(stages).chain(sinks) {
        match seen.get(name.as_str()) {
            Some(first) => problems.push(
                Problem::new(
                    Code::C007,
                    pointer(section, name),
                    format!("`{name}` is also the name of one of the {first}"),
                )
                .help("sources, stages and sinks share one namespace: rename one of the two"),
            ),
            None => drop(seen.insert(name, section)),
        }
    }
}

/// Whether a node's key had a mistake that was reported.
pub(super) fn is_missing(draft: &Draft, node: &str, key: &str) -> bool {
    draft.missing.get(node).is_some_and(|keys| keys.contains(key))
}

fn edges(draft: &Draft, problems: &mut Vec<Problem>) {
    let known: Vec<&str> = draft.sources.keys().chain(draft.stages.keys()).map(String::as_str).collect();
    for (node, inputs) in &draft.inputs {
        let section = if draft.stages.contains_key(node) { "stages" } else { "sinks" };
        let mut seen = BTreeSet::new();
        for (at, input) in inputs {
            let (name, port) = split(input);
            if !seen.insert(input) {
                problems.push(Problem::new(Code::C005, at, format!("`{input}` is given twice")));
            }
            if draft.sinks.contains_key(name) && !known.contains(&name) {
                let message = format!("`{name}` is a sink: nothing comes out of it");
                problems.push(Problem::new(Code::P001, at, message));
            } else if !known.contains(&name) {
                problems.push(
                    Problem::new(Code::P001, at, format!("there is no source or stage `{name}`"))
                        .help(suggestion(name, known.iter().copied(), "sources and stages")),
                );
            } else if let (Some(port), true) = (port, draft.sources.contains_key(name)) {
                let message = format!("`{name}` is a source and has no port `{port}`");
                problems.push(Problem::new(Code::P001, at, message).help(format!("write `from: {name}`")));
            }
        }
        let readable = draft.stages.get(node).is_some_and(Option::is_some)
            || draft.sinks.get(node).is_some_and(Option::is_some);
        let readable = readable && !is_missing(draft, &pointer(section, node), "from");
        if inputs.is_empty() && readable {
            problems.push(
                Problem::new(
                    Code::P001,
                    step(&pointer(section, node), "from"),
                    format!("`{node}` has no input"),
                )
                .help(suggestion("", known.iter().copied(), "sources and stages")),
            );
        }
    }
}

/// Rows must not vanish unseen: what nothing reads is a mistake, not a way to drop them. Single ports are looked at
/// once the stage is bound and they are known.
fn unread(draft: &Draft, problems: &mut Vec<Problem>) {
    let known = || draft.sources.keys().chain(draft.stages.keys()).map(String::as_str);
    let read = draft.inputs.values().flatten().map(|(_, input)| split(input).0);
    // What a misspelled name meant is read.
    let meant = |name| if known().any(|own| own == name) { Some(name) } else { nearest(name, known()) };
    let read: BTreeSet<&str> = read.filter_map(meant).collect();
    let sources = draft.sources.keys().map(|n| ("sources", n));
    for (section, name) in sources.chain(draft.stages.keys().map(|n| ("stages", n))) {
        if !read.contains(name.as_str()) {
            problems.push(
                Problem::new(Code::P003, pointer(section, name), format!("nothing reads `{name}`")).help(
                    format!(
                        "add a stage or sink with `from: {name}`; a sink `blackhole` drops rows on purpose"
                    ),
                ),
            );
        }
    }
}

/// Stages in topological order, ties in the order of the file; each cycle is reported once.
fn order(draft: &Draft, problems: &mut Vec<Problem>) -> Vec<String> {
    let stages: Vec<&str> = draft.stages.keys().map(String::as_str).collect();
    let inputs = |name: &str| -> Vec<&str> {
        let all = draft.inputs.get(name).into_iter().flatten().map(|(_, input)| split(input).0);
        all.filter(|input| draft.stages.contains_key(*input)).collect()
    };
    let mut done: BTreeSet<&str> = BTreeSet::new();
    let mut ordered = Vec::new();
    loop {
        let ready = stages.iter().find(|s| !done.contains(*s) && inputs(s).iter().all(|i| done.contains(i)));
        let Some(stage) = ready else { break };
        done.insert(stage);
        ordered.push((*stage).to_owned());
    }
    let mut reported: BTreeSet<&str> = BTreeSet::new();
    for start in stages.iter().filter(|s| !done.contains(*s)) {
        // Every stage that is left has an input that is left, so walking back must come round.
        let mut path = vec![*start];
        let cycle = loop {
            let Some(last) = path.last() else { break Vec::new() };
            let Some(next) = inputs(last).into_iter().find(|i| !done.contains(i)) else { break Vec::new() };
            match path.iter().position(|p| *p == next) {
                Some(first) => break path.split_off(first),
                None => path.push(next),
            }
        };
        if cycle.is_empty() || cycle.iter().any(|s| reported.contains(s)) {
            continue;
        }
        reported.extend(cycle.iter().copied());
        let mut round: Vec<&str> = cycle.iter().rev().copied().collect();
        // It is told from the stage that comes first in the file.
        let first = stages.iter().find_map(|s| round.iter().position(|r| r == s)).unwrap_or_default();
        round.rotate_left(first);
        let head = round.first().copied().unwrap_or_default();
        round.push(head);
        let at = step(&pointer("stages", head), "from");
        let message = format!("a cycle: {}", round.join(" -> "));
        problems.push(
            Problem::new(Code::P002, at, message).help("a stage cannot read, even indirectly, what it makes"),
        );
    }
    ordered
}
