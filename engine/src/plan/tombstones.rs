//! What becomes of tombstones at each source: whether they can pass, and what stands in the way.

use std::collections::{BTreeMap, BTreeSet};

use super::graph::pointer;
use super::{Output, Plan, Ports, SinkNode, SourceNode};
use crate::config::spec::OnTombstone;
use crate::config::{Draft, step};
use crate::connector::sink::Deletes;
use crate::error::Code;
use crate::problem::Problem;

/// The parts of the original record among the columns of an edge.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Kept<'a> {
    keys: BTreeSet<usize>,
    headers: BTreeSet<usize>,
    /// The node behind which no column is the key, where there was one.
    lost_at: Option<&'a str>,
}

impl<'a> Kept<'a> {
    fn of(source: &SourceNode) -> Self {
        let column = |name: &str| -> BTreeSet<usize> {
            let wanted = source.metadata.iter().any(|metadata| metadata == name);
            wanted.then(|| source.schema.index_of(&format!("_{name}")).ok()).flatten().into_iter().collect()
        };
        Self { keys: column("key"), headers: column("headers"), lost_at: None }
    }

    /// What is kept on each of two ways to one node.
    fn and(&self, other: &Self, node: &'a str) -> Self {
        let both = |a: &BTreeSet<usize>, b: &BTreeSet<usize>| a.intersection(b).copied().collect();
        let kept = Self {
            keys: both(&self.keys, &other.keys),
            headers: both(&self.headers, &other.headers),
            lost_at: self.lost_at.or(other.lost_at),
        };
        kept.lost(!self.keys.is_empty() && !other.keys.is_empty(), node)
    }

    /// What is kept on a port with these columns.
    fn behind(&self, passed: &[Option<usize>], node: &'a str) -> Self {
        let passed_of = |columns: &BTreeSet<usize>| {
            let is_kept = |column: &Option<usize>| column.is_some_and(|column| columns.contains(&column));
            passed.iter().enumerate().filter(|(_, column)| is_kept(column)).map(|(at, _)| at).collect()
        };
        let kept =
            Self { keys: passed_of(&self.keys), headers: passed_of(&self.headers), lost_at: self.lost_at };
        kept.lost(!self.keys.is_empty(), node)
    }

    fn lost(mut self, there_before: bool, node: &'a str) -> Self {
        if there_before && self.keys.is_empty() {
            self.lost_at = self.lost_at.or(Some(node));
        }
        self
    }
}

/// Settles for each source what becomes of its tombstones. Answers the mistakes.
pub(super) fn settle<B: Ports>(draft: &Draft, plan: &mut Plan<B>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut settled = Vec::with_capacity(plan.sources.len());
    for (at, source) in plan.sources.iter().enumerate() {
        let given = draft.sources.get(&*source.name).and_then(|spec| spec.as_ref()?.on_tombstone);
        let place = step(&pointer("sources", &source.name), "on_tombstone");
        if given.is_some() && !source.kind.metadata.contains(&"key") {
            let message =
                format!("a source of kind `{}` has no keys, and so no tombstones", source.kind.name);
            problems.push(Problem::new(Code::P009, place.clone(), message).help("leave it out"));
        }
        let found = look(plan, at);
        let usual = match () {
            () if found.wants_rows => OnTombstone::Row,
            () if found.obstacles.is_empty() => OnTombstone::Pass,
            () => OnTombstone::DeadLetter,
        };
        if given == Some(OnTombstone::Pass) {
            let problem = |message| Problem::new(Code::P009, place.clone(), message).help(HELP);
            problems.extend(found.obstacles.into_iter().map(problem));
        }
        settled.push(given.unwrap_or(usual));
    }
    plan.sources.iter_mut().zip(settled).for_each(|(source, settled)| source.on_tombstone = settled);
    problems
}

const HELP: &str = "`dead_letter`, `skip` or `row` say what becomes of tombstones instead";

/// What lies behind a source.
#[derive(Default)]
struct Found {
    /// What a tombstone cannot pass, in words that name the node.
    obstacles: Vec<String>,
    /// A sink was told to write rows of nulls.
    wants_rows: bool,
}

fn look<B: Ports>(plan: &Plan<B>, source: usize) -> Found {
    let mut found = Found::default();
    let node = &plan.sources[source];
    let mut edges = BTreeMap::from([(Output::Source(source), Kept::of(node))]);
    for (at, stage) in plan.stages.iter().enumerate() {
        let Some(kept) = at_input(&edges, &stage.inputs, &stage.name) else { continue };
        if stage.bound.explodes() {
            found.obstacles.push(format!(
                "the stage `{}` makes several rows of one: a tombstone says nothing of these",
                stage.name
            ));
        }
        for port in 0..stage.bound.ports().len() {
            let behind = kept.behind(&stage.bound.passed(port), &stage.name);
            edges.insert(Output::Stage(at, port), behind);
        }
    }
    for sink in &plan.sinks {
        let Some(kept) = at_input(&edges, &sink.inputs, &sink.name) else { continue };
        let obstacle = match sink.prepared.deletes() {
            Deletes::Nothing | Deletes::Own => None,
            Deletes::No => {
                Some(format!("the sink `{}` of kind `{}` cannot delete", sink.name, sink.kind.name))
            }
            Deletes::Rows => {
                found.wants_rows = true;
                Some(format!("the sink `{}` says `tombstones: false`", sink.name))
            }
            Deletes::ByKey { key, headers } => {
                key_obstacle(node, sink, key, &kept).or_else(|| header_obstacle(sink, headers, &kept))
            }
        };
        found.obstacles.extend(obstacle);
    }
    found
}

fn at_input<'a>(edges: &BTreeMap<Output, Kept<'a>>, inputs: &[Output], name: &'a str) -> Option<Kept<'a>> {
    let kept = inputs.iter().filter_map(|input| edges.get(input)).cloned();
    kept.reduce(|all, other| all.and(&other, name))
}

fn key_obstacle(source: &SourceNode, sink: &SinkNode, key: Option<usize>, kept: &Kept<'_>) -> Option<String> {
    let name = &sink.name;
    let Some(key) = key else {
        return Some(format!("the sink `{name}` writes no key: it has no `key:`"));
    };
    if kept.keys.contains(&key) {
        return None;
    }
    let column = sink.input.field(key).name();
    Some(match kept.lost_at {
        _ if !source.metadata.iter().any(|metadata| metadata == "key") => format!(
            "the sink `{name}` has another key than the record: `{}` has no `metadata: [key]`",
            source.name
        ),
        Some(stage) => format!(
            "the key of the sink `{name}`, `{column}`, is not the record's: `{stage}` computes it or leaves `_key` out"
        ),
        None => format!("the key of the sink `{name}`, `{column}`, is not the record's own"),
    })
}

/// Headers that a stage made may be there to hide the record's own, which a tombstone would show.
fn header_obstacle(sink: &SinkNode, headers: Option<usize>, kept: &Kept<'_>) -> Option<String> {
    let headers = headers.filter(|column| !kept.headers.contains(column))?;
    let column = sink.input.field(headers).name();
    Some(format!("the headers of the sink `{}`, `{column}`, are not the record's own", sink.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::testing;

    fn settled(stages: &str, sinks: &str) -> OnTombstone {
        let text = format!(
            "name: p\nsources:\n  in: {{ test: {{ columns: [n] }}, metadata: [key] }}\nstages: {{ {stages} }}\nsinks: {{ {sinks} }}\n"
        );
        testing::planned(&text).sources[0].on_tombstone
    }

    fn refused(stages: &str, sinks: &str) -> String {
        let text = format!(
            "name: p\nsources:\n  in: {{ test: {{ columns: [n] }}, metadata: [key], on_tombstone: pass }}\nstages: {{ {stages} }}\nsinks: {{ {sinks} }}\n"
        );
        testing::check(&text, &[])
    }

    const KEYED: &str = "out: { from: last, test: { key: _key } }";

    #[test]
    fn tombstones_pass_where_every_sink_writes_them_under_their_own_key() {
        let pass = OnTombstone::Pass;
        assert_eq!(settled("", "out: { from: in, test: { key: _key } }"), pass);
        assert_eq!(settled("last: { from: in, wasm: one }", KEYED), pass);
        assert_eq!(settled("last: { from: in, wasm: add }", KEYED), pass);
        // A diamond, and a port that nobody wants.
        let both = "a: { from: in, wasm: two-ports }, last: { from: [a.out, a.other], wasm: one }";
        assert_eq!(settled(both, KEYED), pass);
        let split = "last: { from: in, wasm: two-ports }";
        assert_eq!(settled(split, &format!("{KEYED}, no: {{ from: last.other, blackhole: {{}} }}")), pass);
        assert_eq!(settled("", "no: { from: in, blackhole: {} }"), pass);
    }

    #[test]
    fn else_they_are_dead_letters_and_pass_is_refused_with_the_nodes_name() {
        let cases = [
            (
                "",
                "out: { from: in, test: { key: n } }",
                "key of the sink `out`, `n`, is not the record's own",
            ),
            ("", "out: { from: in, test: {} }", "the sink `out` of kind `test` cannot delete"),
            ("last: { from: in, wasm: rekey }", KEYED, "`last` computes it or leaves `_key` out"),
            ("last: { from: in, wasm: explode }", KEYED, "the stage `last` makes several rows of one"),
            (
                "a: { from: in, wasm: rekey }, last: { from: a, wasm: one }",
                KEYED,
                "`a` computes it or leaves `_key` out",
            ),
            (
                "a: { from: in, wasm: rekey }, last: { from: [in, a], wasm: one }",
                KEYED,
                "`a` computes it or leaves `_key` out",
            ),
            (
                "last: { from: in, wasm: one }",
                "out: { from: last, test: { key: _key } }, file: { from: in, test: {} }",
                "the sink `file` of kind `test` cannot delete",
            ),
        ];
        for (stages, sinks, told) in cases {
            assert_eq!(settled(stages, sinks), OnTombstone::DeadLetter, "{stages} {sinks}");
            let text = refused(stages, sinks);
            assert!(text.contains("P009") && text.contains(told), "{text}");
        }
    }

    #[test]
    fn what_is_given_holds_where_there_are_keys() {
        let sinks = "sinks:\n  out: { from: in, test: { key: n } }\n";
        for given in ["row", "skip", "dead_letter"] {
            let text = format!(
                "name: p\nsources:\n  in: {{ test: {{ columns: [n] }}, on_tombstone: {given} }}\n{sinks}"
            );
            let expected: OnTombstone = serde_json::from_value(serde_json::json!(given)).unwrap();
            assert_eq!(testing::planned(&text).sources[0].on_tombstone, expected);
        }
        let text =
            format!("name: p\nsources:\n  in: {{ test: {{ columns: [n] }}, on_tombstone: pass }}\n{sinks}");
        let told = testing::check(&text, &[]);
        assert!(told.contains("`in` has no `metadata: [key]`"), "{told}");
        let text = "name: p\nsources:\n  in: { keyless: { columns: [n] }, on_tombstone: skip }\n\
                    sinks:\n  out: { from: in, test: {} }\n";
        let told = testing::check(text, &[]);
        assert!(told.contains("a source of kind `keyless` has no keys"), "{told}");
    }
}
