//! A plan as text, as a Mermaid graph, or as a Graphviz graph.

use std::fmt::Write;

use arrow::datatypes::Schema;

use super::cost::{Memory, Threads};
use super::{DeadLetters, Output, Plan, Ports, StageNode};
use crate::config::spec::{Guarantee, OnTombstone};
use crate::connector::position::Replay;
use crate::datatype::print_field;
use crate::quantity::Size;

/// What a bound component adds to the text.
pub fn stage_details(stage: &StageNode) -> Vec<String> {
    let component = stage.bound.component();
    let limits = stage.bound.limits();
    let reads: Vec<&str> = stage
        .bound
        .reads()
        .iter()
        .filter_map(|i| stage.input.fields().get(*i))
        .map(|f| f.name().as_str())
        .collect();
    let imports = component.imports();
    let imports = if imports.is_empty() { "nothing".to_owned() } else { imports.join(", ") };
    let instances = if component.pooled() { "pooled" } else { "on demand" };
    let mut lines = vec![
        format!("component: {}, sha256 {}, {instances}", Size(component.bytes() as u64), component.digest()),
        format!("imports: {imports}"),
        format!("grants: {}", stage.bound.grants()),
        format!("reads: {}", if reads.is_empty() { "no column".to_owned() } else { reads.join(", ") }),
        format!(
            "limits: memory {}, time {}, output {}, {} rows, {} log lines/s",
            Size(limits.memory_bytes as u64),
            humantime::format_duration(limits.time),
            Size(limits.output_bytes as u64),
            limits.rows,
            limits.log_lines_per_second,
        ),
    ];
    if let Some(asks) = asks_in_vain(stage) {
        lines.insert(3, format!("asked in bind for: {asks}, and got nothing"));
    }
    lines
}

/// What a stage asked for while it was bound without being granted any. A language's library often asks for all that
/// there could be, so this is a remark, no warning.
fn asks_in_vain(stage: &StageNode) -> Option<String> {
    let (asked, grants) = (stage.bound.asked(), stage.bound.grants());
    let all = [
        (asked.env && grants.keys().next().is_none(), "environment"),
        (asked.folders && grants.folders().is_empty(), "folders"),
        (asked.network, "network"),
    ];
    let words: Vec<&str> = all.iter().filter(|(so, _)| *so).map(|(_, word)| *word).collect();
    (!words.is_empty()).then(|| words.join(", "))
}

fn columns(schema: &Schema) -> String {
    let each = schema.fields().iter().map(|field| format!("{}: {}", field.name(), print_field(field)));
    each.collect::<Vec<_>>().join(", ")
}

fn output_name<B: Ports>(plan: &Plan<B>, output: Output) -> String {
    match output {
        Output::Source(i) => plan.sources.get(i).map(|s| s.name.to_string()).unwrap_or_default(),
        Output::Stage(i, port) => match plan.stages.get(i) {
            Some(stage) => {
                let port = stage.bound.ports().get(port).map(|p| p.name.as_str()).unwrap_or_default();
                format!("{}.{port}", stage.name)
            }
            None => String::new(),
        },
    }
}

fn inputs<B: Ports>(plan: &Plan<B>, inputs: &[Output]) -> String {
    inputs.iter().map(|output| output_name(plan, *output)).collect::<Vec<_>>().join(", ")
}

fn dead_letters<B>(plan: &Plan<B>) -> String {
    match &plan.dead_letters {
        DeadLetters::File(path) => format!("file {}", path.display()),
        DeadLetters::Kafka(sink, _) => sink.describe(),
    }
}

/// The plan as text; `details` adds lines for each stage. Writing to a string cannot fail.
pub fn text<B: Ports>(plan: &Plan<B>, details: impl Fn(&StageNode<B>) -> Vec<String>) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "pipeline {}", plan.name);
    for source in &plan.sources {
        let _ = writeln!(out, "source {}: {}", source.name, source.prepared.describe());
        let _ = writeln!(out, "  columns: {}", columns(&source.schema));
    }
    for stage in &plan.stages {
        let _ = writeln!(out, "stage {} <- {}", stage.name, inputs(plan, &stage.inputs));
        for port in stage.bound.ports() {
            let _ = writeln!(out, "  port {}: {}", port.name, columns(&port.schema));
        }
        for line in details(stage) {
            let _ = writeln!(out, "  {line}");
        }
    }
    for sink in &plan.sinks {
        let _ = writeln!(
            out,
            "sink {} <- {}: {}",
            sink.name,
            inputs(plan, &sink.inputs),
            sink.prepared.describe()
        );
        let _ = writeln!(out, "  columns: {}", columns(&sink.input));
    }
    let committed = match plan.is_whole(false) {
        true => "once, at the end".to_owned(),
        false => format!("every {}", humantime::format_duration(plan.commit_interval)),
    };
    let guarantee = match plan.guarantee {
        Guarantee::AtLeastOnce => "at least once",
        Guarantee::ExactlyOnce => "exactly once, one Kafka transaction a commit",
    };
    let _ = writeln!(out, "delivery: {guarantee}, committed {committed}; lanes: {}", plan.lanes);
    let _ = writeln!(out, "dead letters: {}", dead_letters(plan));
    if let Some(tracing) = &plan.tracing {
        let to = tracing.endpoint.as_deref().unwrap_or("nowhere, contexts are passed on");
        let _ =
            writeln!(out, "spans: to {to}; of records without a context {} begin a trace", tracing.sample);
    }
    out
}

/// What the plan becomes when it runs: lanes, threads, and the most memory that its bounds allow.
pub fn runtime<B: Ports>(plan: &Plan<B>) -> String {
    let mut out = String::new();
    let names = plan.sources.iter().map(|n| &n.name);
    let names = names.chain(plan.stages.iter().map(|n| &n.name)).chain(plan.sinks.iter().map(|n| &n.name));
    let names: Vec<&str> = names.map(|name| &**name).collect();
    let threads = Threads::of(plan);
    let lanes = plan.lanes;
    let _ = writeln!(
        out,
        "lanes: {lanes}, each with an instance of every node on a thread `<node>/<lane>`: {}",
        names.join(", ")
    );
    for source in &plan.sources {
        let shares = match source.kind.replay {
            Replay::Group => {
                "its partitions, which all workers of the pipeline share, go to lanes by topic and number"
            }
            Replay::State => "what it reads is shared among the lanes of this worker",
        };
        let _ = writeln!(out, "  {}: {shares}", source.name);
        if source.kind.replay == Replay::Group {
            let fate = match source.on_tombstone {
                OnTombstone::Pass => "pass every stage and are written by every sink",
                OnTombstone::Row => "are rows of nulls",
                OnTombstone::Skip => "are skipped",
                OnTombstone::DeadLetter => "are dead letters",
            };
            let _ = writeln!(out, "  {}: its tombstones {fate}", source.name);
        }
    }
    let _ = writeln!(
        out,
        "threads: {} ({} of nodes and lanes, {} for the control of sources, {} others: coordinator, dead letters, Wasm \
         clock, signals, display, main), without librdkafka's own",
        threads.total(),
        threads.nodes,
        threads.controls,
        threads.others
    );
    if let Some(division) = &plan.memory {
        let _ = writeln!(out, "memory at most: {division}");
        return out;
    }
    let memory = Memory::of(plan);
    let _ = writeln!(
        out,
        "memory at most: {} ({} instances of stages, {} batches on edges, {} of Kafka's clients), beside the program",
        Size(memory.total()),
        Size(memory.stages),
        Size(memory.edges),
        Size(memory.clients)
    );
    out
}

/// Edges as pairs of a node, a label and a node.
fn edges<B: Ports>(plan: &Plan<B>) -> Vec<(String, String, String)> {
    let stages = plan.stages.iter().map(|s| (&s.name, &s.inputs));
    let all = stages.chain(plan.sinks.iter().map(|s| (&s.name, &s.inputs)));
    all.flat_map(|(to, inputs)| {
        inputs.iter().map(move |output| {
            let name = output_name(plan, *output);
            let (from, port) = name.split_once('.').unwrap_or((&name, ""));
            (from.to_owned(), port.to_owned(), to.to_string())
        })
    })
    .collect()
}

/// The plan as a Mermaid flow chart. Names are made of letters, digits, `_` and `-`, but `end` is a word of Mermaid:
/// each identifier gets a prefix.
pub fn mermaid<B: Ports>(plan: &Plan<B>) -> String {
    let mut out = String::from("flowchart LR\n");
    for source in &plan.sources {
        let _ = writeln!(out, "  n_{0}([\"{0}\"])", source.name);
    }
    for stage in &plan.stages {
        let _ = writeln!(out, "  n_{0}[\"{0}\"]", stage.name);
    }
    for sink in &plan.sinks {
        let _ = writeln!(out, "  n_{0}[(\"{0}\")]", sink.name);
    }
    for (from, port, to) in edges(plan) {
        let label = if port.is_empty() { String::new() } else { format!("|{port}|") };
        let _ = writeln!(out, "  n_{from} -->{label} n_{to}");
    }
    out
}

/// The plan for Graphviz.
pub fn dot<B: Ports>(plan: &Plan<B>) -> String {
    let mut out = format!("digraph \"{}\" {{\n  rankdir=LR;\n", plan.name);
    let sources = plan.sources.iter().map(|s| (&s.name, "ellipse"));
    let stages = plan.stages.iter().map(|s| (&s.name, "box"));
    for (name, shape) in sources.chain(stages).chain(plan.sinks.iter().map(|s| (&s.name, "cylinder"))) {
        let _ = writeln!(out, "  \"{name}\" [shape={shape}];");
    }
    for (from, port, to) in edges(plan) {
        let _ = writeln!(out, "  \"{from}\" -> \"{to}\" [label=\"{port}\"];");
    }
    out.push_str("}\n");
    out
}
