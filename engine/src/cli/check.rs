//! `pipe check`: whether pipelines would run, without running them: no network, no group joined.

use std::path::PathBuf;
use std::process::ExitCode;

use super::explain;
use super::live;
use super::load::{EXIT_WRONG, Form, plan_file, rendered};
use crate::error::Result;
use crate::stage::HostOptions;

/// Checks pipeline files: keys, types, edges, components, limits, delivery. Touches no network.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Pipeline files.
    #[arg(default_value = "pipeline.yaml")]
    pub files: Vec<PathBuf>,
    /// Overrides a key of the file: `--set lanes=2`.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// How mistakes are printed.
    #[arg(long, value_enum, default_value = "auto")]
    pub format: Form,
}

/// Checks each file; exit code 2 when any is wrong.
pub fn run(args: &Args, host: &HostOptions) -> Result<ExitCode> {
    live::start_logs(live::LogFormat::Auto);
    let mut wrong = false;
    for file in &args.files {
        let planned = plan_file(file, &args.set, host.clone())?;
        eprint!("{}", rendered(file, &planned, args.format));
        match &planned.plan {
            Some(plan) => print!("{}: OK\n{}", file.display(), explain::text(plan, explain::stage_details)),
            None => wrong = true,
        }
    }
    Ok(if wrong { ExitCode::from(EXIT_WRONG) } else { ExitCode::SUCCESS })
}
