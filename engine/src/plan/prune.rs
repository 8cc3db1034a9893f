//! A part of a plan: what leads to one node, and what lies behind it.

use std::collections::BTreeSet;

use super::{Output, Plan, Ports};

/// A node of a plan, by its index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Node {
    Source(usize),
    Stage(usize),
    Sink(usize),
}

impl Output {
    fn node(self) -> Node {
        match self {
            Self::Source(i) => Node::Source(i),
            Self::Stage(i, _) => Node::Stage(i),
        }
    }
}

impl<B: Ports> Plan<B> {
    /// Keeps the node of this name, what leads to it, and what is downstream of it; `None` when there is no such
    /// node. Rows reach what is downstream through the node alone: an edge past it is cut, and what else a node on
    /// the way feeds is left out.
    pub fn only(mut self, name: &str) -> Option<Self> {
        let chosen = self.named(name)?;
        let inputs = |node: Node| -> &[Output] {
            match node {
                Node::Source(_) => &[],
                Node::Stage(i) => &self.stages[i].inputs,
                Node::Sink(i) => &self.sinks[i].inputs,
            }
        };
        let mut above = BTreeSet::new();
        let mut look = vec![chosen];
        while let Some(node) = look.pop() {
            if above.insert(node) {
                look.extend(inputs(node).iter().map(|output| output.node()));
            }
        }
        // Stages are in topological order, and sinks come last: once round is enough.
        let mut below = BTreeSet::from([chosen]);
        let later = (0..self.stages.len()).map(Node::Stage).chain((0..self.sinks.len()).map(Node::Sink));
        for node in later.filter(|node| *node != chosen) {
            if inputs(node).iter().any(|output| below.contains(&output.node())) {
                below.insert(node);
            }
        }
        let keeps = |node: Node| above.contains(&node) || below.contains(&node);
        let place = |node: Node, count: fn(usize) -> Node| match node {
            Node::Source(i) | Node::Stage(i) | Node::Sink(i) => (0..i).filter(|&i| keeps(count(i))).count(),
        };
        let moved = |node: Node, all: &[Output]| -> Vec<Output> {
            let feeds = |output: &&Output| {
                let from = output.node();
                if above.contains(&node) { above.contains(&from) } else { below.contains(&from) }
            };
            all.iter()
                .filter(feeds)
                .map(|output| match *output {
                    Output::Source(_) => Output::Source(place(output.node(), Node::Source)),
                    Output::Stage(_, port) => Output::Stage(place(output.node(), Node::Stage), port),
                })
                .collect()
        };
        let stages: Vec<Vec<Output>> =
            self.stages.iter().enumerate().map(|(i, s)| moved(Node::Stage(i), &s.inputs)).collect();
        let sinks: Vec<Vec<Output>> =
            self.sinks.iter().enumerate().map(|(i, s)| moved(Node::Sink(i), &s.inputs)).collect();
        let kept = |count: fn(usize) -> Node, len: usize| -> Vec<bool> {
            (0..len).map(|i| keeps(count(i))).collect()
        };
        let (kept_sources, kept_stages, kept_sinks) = (
            kept(Node::Source, self.sources.len()),
            kept(Node::Stage, self.stages.len()),
            kept(Node::Sink, self.sinks.len()),
        );
        self.stages.iter_mut().zip(stages).for_each(|(stage, inputs)| stage.inputs = inputs);
        self.sinks.iter_mut().zip(sinks).for_each(|(sink, inputs)| sink.inputs = inputs);
        retain(&mut self.sources, &kept_sources);
        retain(&mut self.stages, &kept_stages);
        retain(&mut self.sinks, &kept_sinks);
        Some(self)
    }

    fn named(&self, name: &str) -> Option<Node> {
        let source = self.sources.iter().position(|s| *s.name == *name).map(Node::Source);
        let stage = || self.stages.iter().position(|s| *s.name == *name).map(Node::Stage);
        let sink = || self.sinks.iter().position(|s| *s.name == *name).map(Node::Sink);
        source.or_else(stage).or_else(sink)
    }
}

fn retain<T>(all: &mut Vec<T>, kept: &[bool]) {
    let mut kept = kept.iter();
    all.retain(|_| kept.next().copied().unwrap_or(false));
}

#[cfg(test)]
mod tests {
    use crate::plan::testing;

    const PIPELINE: &str = "
name: p
sources:
  a: { test: { columns: [n] } }
  b: { test: { columns: [n] } }
stages:
  first: { from: a, wasm: two-ports }
  chosen: { from: [first.out, b], wasm: two-ports }
  after: { from: [chosen.other, first.other], wasm: one }
  aside: { from: b, wasm: one }
sinks:
  direct: { from: chosen.out, test: }
  early: { from: [first.other, aside], test: }
  late: { from: after, test: }
  both: { from: [chosen.out, first.out], test: }
";

    fn edges(node: &str) -> Vec<String> {
        let plan = testing::planned(PIPELINE).only(node).unwrap();
        let text = crate::plan::render::mermaid(&plan);
        let edges = text.lines().filter(|line| line.contains("-->"));
        edges.map(|line| line.trim().replace("n_", "").replace(" --> ", ">")).collect()
    }

    #[test]
    fn a_stage_keeps_what_leads_to_it_and_what_it_feeds_alone() {
        let expected = [
            "a>first",
            "first -->|out| chosen",
            "b>chosen",
            "chosen -->|other| after",
            "chosen -->|out| direct",
            "after -->|out| late",
            "chosen -->|out| both",
        ];
        assert_eq!(edges("chosen"), expected);
    }

    #[test]
    fn a_source_keeps_all_that_it_feeds_and_a_sink_only_itself() {
        assert_eq!(edges("late").len(), 6, "{:?}", edges("late"));
        assert!(edges("late").iter().all(|edge| !edge.ends_with("direct") && !edge.ends_with("early")));
        let of_b = edges("b");
        assert!(of_b.iter().all(|edge| !edge.starts_with("a>") && !edge.starts_with("first")), "{of_b:?}");
        assert!(of_b.contains(&"b>aside".to_owned()) && of_b.contains(&"aside -->|out| early".to_owned()));
    }

    #[test]
    fn a_node_that_is_not_there_is_no_plan() {
        assert!(testing::planned(PIPELINE).only("nobody").is_none());
    }
}
