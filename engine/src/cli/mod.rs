//! The command line: one command a file, nothing but arguments, printing and exit codes.

pub mod stage;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

/// A streaming data-pipeline engine whose transform stages are sandboxed WebAssembly components.
///
/// A pipeline file names sources, stages and sinks; `pipe run` reads records, passes them as Arrow batches through
/// the stages and writes what comes out, losing nothing. Start with `pipe check FILE`, then
/// `pipe run --until-end FILE`.
#[derive(Debug, Parser)]
#[command(name = "pipe", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build stages.
    #[command(subcommand)]
    Stage(StageCommand),
    /// Print a completion script for a shell.
    ///
    /// For example: `pipe completions bash > /etc/bash_completion.d/pipe`
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Subcommand)]
enum StageCommand {
    Build(stage::BuildArgs),
}

/// Says what failed; the exit code is that of a wrong command line.
fn done(result: crate::error::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

/// Parses the command line and runs the command.
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Stage(StageCommand::Build(args)) => done(stage::build(&args)),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "pipe", &mut std::io::stdout());
            ExitCode::SUCCESS
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Cli::command().debug_assert();
    }
}
