//! Sinks that write each record as it came: whether every record behind them came as bytes, and what of the rows they
//! leave behind.

use std::collections::{BTreeMap, BTreeSet};

use super::graph::pointer;
use super::{Output, Plan, Ports, SinkNode, SourceNode};
use crate::codec::Layout;
use crate::config::step;
use crate::error::Code;
use crate::problem::Problem;

/// What is known of the rows of an edge.
#[derive(Debug, Clone)]
pub(super) struct Rows<'a> {
    pub(super) sources: BTreeSet<usize>,
    /// Of each column the name of the source's column that it is, unless a stage computes it.
    own: Vec<Option<String>>,
    /// Stages that make several rows of one record.
    exploded: BTreeSet<&'a str>,
}

impl Rows<'_> {
    fn of(at: usize, source: &SourceNode) -> Self {
        let own = source.schema.fields().iter().map(|field| Some(field.name().clone())).collect();
        Self { sources: BTreeSet::from([at]), own, exploded: BTreeSet::new() }
    }

    /// Those of two ways to one node.
    fn and(mut self, other: Self) -> Self {
        self.sources.extend(other.sources);
        self.exploded.extend(other.exploded);
        self.own
            .iter_mut()
            .zip(other.own)
            .for_each(|(own, other)| *own = own.take().filter(|own| Some(own) == other.as_ref()));
        self
    }
}

/// The mistakes, then what is suspicious.
pub(super) fn look<B: Ports>(plan: &Plan<B>) -> (Vec<Problem>, Vec<Problem>) {
    let (mut problems, mut warnings) = (Vec::new(), Vec::new());
    let is_original = |sink: &&SinkNode| sink.format.as_ref().is_some_and(|format| format.is_original());
    if !plan.sinks.iter().any(|sink| is_original(&sink)) {
        return (problems, warnings);
    }
    let edges = edges(plan);
    for sink in plan.sinks.iter().filter(is_original) {
        let Some(rows) = at_input(&edges, &sink.inputs) else { continue };
        let at = step(&pointer("sinks", &sink.name), "format");
        for source in rows.sources.iter().map(|source| &plan.sources[*source]) {
            if source.format.as_ref().is_none_or(|format| format.layout() == Layout::Container) {
                let message = format!(
                    "the sink `{}` writes records as they came, and the rows of `{}` came as columns, without bytes",
                    sink.name, source.name
                );
                problems
                    .push(Problem::new(Code::P009, &at, message).help("name another format, such as `json`"));
            }
        }
        warnings.extend(
            left_behind(plan, sink, &rows)
                .into_iter()
                .map(|(message, help)| Problem::new(Code::P010, &at, message).help(help)),
        );
    }
    (problems, warnings)
}

pub(super) fn edges<B: Ports>(plan: &Plan<B>) -> BTreeMap<Output, Rows<'_>> {
    let mut edges = BTreeMap::new();
    for (at, source) in plan.sources.iter().enumerate() {
        edges.insert(Output::Source(at), Rows::of(at, source));
    }
    for (at, stage) in plan.stages.iter().enumerate() {
        let Some(mut rows) = at_input(&edges, &stage.inputs) else { continue };
        if stage.bound.explodes() {
            rows.exploded.insert(&stage.name);
        }
        for port in 0..stage.bound.ports().len() {
            let passed = stage.bound.passed(port);
            let own = passed.iter().map(|column| column.and_then(|column| rows.own.get(column)?.clone()));
            edges.insert(Output::Stage(at, port), Rows { own: own.collect(), ..rows.clone() });
        }
    }
    edges
}

pub(super) fn at_input<'a>(edges: &BTreeMap<Output, Rows<'a>>, inputs: &[Output]) -> Option<Rows<'a>> {
    inputs.iter().filter_map(|input| edges.get(input)).cloned().reduce(Rows::and)
}

/// What the rows have and the records do not, the other way round, and records that are written several times.
fn left_behind<B>(plan: &Plan<B>, sink: &SinkNode, rows: &Rows<'_>) -> Vec<(String, &'static str)> {
    let mut found = Vec::new();
    let names =
        |names: Vec<&str>| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let fields = sink.input.fields().iter().zip(&rows.own);
    let made: Vec<&str> = fields
        .filter(|(field, own)| own.as_ref() != Some(field.name()))
        .map(|(field, _)| field.name().as_str())
        .collect();
    if !made.is_empty() {
        let message = format!(
            "the sink `{}` writes records as they came, without what stages made: {}",
            sink.name,
            names(made)
        );
        found.push((message, "name another format where these columns are to be written"));
    }
    let kept: BTreeSet<&String> = rows.own.iter().flatten().collect();
    let mut dropped: Vec<&str> = Vec::new();
    for source in rows.sources.iter().map(|source| &plan.sources[*source]) {
        let columns = source.schema.fields().len() - source.metadata.len();
        let gone = source.schema.fields()[..columns].iter().filter(|field| !kept.contains(field.name()));
        dropped.extend(gone.map(|field| field.name().as_str()));
    }
    dropped.sort_unstable();
    dropped.dedup();
    if !dropped.is_empty() {
        let message = format!(
            "the sink `{}` writes records as they came, with what stages leave out or change: {}",
            sink.name,
            names(dropped)
        );
        found.push((message, "name another format where nobody is to see these fields"));
    }
    if !rows.exploded.is_empty() {
        let message = format!(
            "the sink `{}` writes a record once for each row that {} makes of it",
            sink.name,
            names(rows.exploded.iter().copied().collect())
        );
        found.push((message, "read from the stage before it, or name another format"));
    }
    found
}

#[cfg(test)]
mod tests {
    use crate::plan::testing;

    fn check(source: &str, stages: &str, from: &str) -> String {
        let stages = if stages.is_empty() { String::new() } else { format!("stages:\n{stages}") };
        testing::check(
            &format!(
                "name: p\nsources:\n  in: {{ test: {{ columns: [a, b] }}, metadata: [key]{source} }}\n{stages}sinks:\n  out: \
                 {{ from: {from}, test: , format: original }}\n"
            ),
            &[],
        )
    }

    const LINES: &str = ", format: raw";

    #[test]
    fn rows_that_came_as_columns_have_no_originals() {
        for source in ["", ", format: parquet"] {
            let told = check(source, "", "in");
            assert!(told.contains("P009") && told.contains("without bytes"), "{told}");
        }
        let told = check(LINES, "", "in");
        assert!(!told.contains("P009") && !told.contains("P010"), "{told}");
    }

    #[test]
    fn a_source_cannot_read_what_only_sinks_write() {
        let told = check(", format: original", "", "in");
        assert!(told.contains("P009") && told.contains("a source cannot read it"), "{told}");
        assert!(told.contains("json") && !told.contains("csv, json, original"), "{told}");
    }

    #[test]
    fn what_stages_made_and_what_they_left_out_is_told() {
        let one = |wasm: &str| check(LINES, &format!("  s: {{ from: in, wasm: {wasm} }}\n"), "s");
        assert!(!one("one").contains("P010"), "{}", one("one"));
        let added = one("add");
        assert!(added.contains("P010") && added.contains("without what stages made: `added`"), "{added}");
        assert!(!added.contains("leave out"), "{added}");
        let computed = one("rekey");
        assert!(computed.contains("without what stages made: `a`, `b`, `_key`"), "{computed}");
        assert!(computed.contains("leave out or change: `a`, `b` ("), "{computed}");
        let several = one("explode");
        assert!(several.contains("once for each row that `s` makes of it"), "{several}");
    }

    #[test]
    fn of_two_ways_what_either_made_is_left_behind() {
        let stages = "  s: { from: in, wasm: one }\n  t: { from: in, wasm: rekey }\n";
        let told = check(LINES, stages, "[s, t]");
        assert!(told.contains("without what stages made: `a`, `b`, `_key`"), "{told}");
    }
}
