//! `pipe explain`: the plan as text, as a Mermaid graph, or as a Graphviz graph.

use std::path::PathBuf;
use std::process::ExitCode;

use super::load::{EXIT_WRONG, Form, load_plan};
use crate::error::Result;
use crate::plan::render::{dot, mermaid, runtime, stage_details, text};
use crate::stage::HostOptions;

/// Prints the plan of a pipeline: nodes, columns, ports, limits, delivery.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The pipeline file.
    #[arg(default_value = "pipeline.yaml", value_hint = clap::ValueHint::FilePath)]
    pub file: PathBuf,
    /// Overrides a key of the file: `--set lanes=2`. Variables are expanded as in the file.
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
        _ => text(&plan, stage_details) + &runtime(&plan),
    };
    super::print(&out)?;
    Ok(ExitCode::SUCCESS)
}
