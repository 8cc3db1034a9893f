//! `pipe explain`: the plan as text, as a Mermaid graph, or as a Graphviz graph.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use arrow::datatypes::Schema;

use super::load::{EXIT_WRONG, Form, load_plan};
use crate::config::spec::Size;
use crate::config::types::print_field;
use crate::error::Result;
use crate::plan::{DeadLetters, Output, Plan, Ports, StageNode};
use crate::stage::HostOptions;

/// Prints the plan of a pipeline: nodes, columns, ports, limits, delivery.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The pipeline file.
    #[arg(default_value = "pipeline.yaml")]
    pub file: PathBuf,
    /// Overrides a key of the file: `--set lanes=2`.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// As a Mermaid graph.
    #[arg(long, conflicts_with = "dot")]
    pub mermaid: bool,
    /// As a Graphviz graph.
    #[arg(long)]
    pub dot: bool,
    /// How mistakes are printed.
    #[arg(long, value_enum, default_value = "auto")]
    pub format: Form,
}

/// Prints the plan to standard output; exit code 2 when the file is wrong.
pub fn run(args: &Args, host: &HostOptions) -> Result<ExitCode> {
    let Some(plan) = load_plan(&args.file, &args.set, host.clone(), args.format)? else {
        return Ok(ExitCode::from(EXIT_WRONG));
    };
    let out = match (args.mermaid, args.dot) {
        (true, _) => mermaid(&plan),
        (_, true) => dot(&plan),
        _ => text(&plan, stage_details),
    };
    print!("{out}");
    Ok(ExitCode::SUCCESS)
}

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
    vec![
        format!("component: {}, sha256 {}, {instances}", Size(component.bytes() as u64), component.digest()),
        format!("imports: {imports}"),
        format!("reads: {}", if reads.is_empty() { "no column".to_owned() } else { reads.join(", ") }),
        format!(
            "limits: memory {}, time {}, output {}, {} rows, {} log lines/s",
            Size(limits.memory_bytes as u64),
            humantime::format_duration(limits.time),
            Size(limits.output_bytes as u64),
            limits.rows,
            limits.log_lines_per_second,
        ),
    ]
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
        DeadLetters::Kafka(sink) => sink.describe(),
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
    let interval = humantime::format_duration(plan.commit_interval);
    let _ = writeln!(out, "delivery: at least once, committed every {interval}; lanes: {}", plan.lanes);
    let _ = writeln!(out, "dead letters: {}", dead_letters(plan));
    if let Some(tracing) = &plan.tracing {
        let to = tracing.endpoint.as_deref().unwrap_or("nowhere, contexts are passed on");
        let _ =
            writeln!(out, "spans: to {to}; of records without a context {} begin a trace", tracing.sample);
    }
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
