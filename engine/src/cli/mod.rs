//! The command line: one command a file, nothing but arguments, printing and exit codes.

mod cache;
pub mod check;
mod columns;
mod compiles;
mod dead_letters;
pub mod docs;
pub mod explain;
mod init;
mod live;
pub mod load;
mod logs;
mod offsets;
mod peek;
pub mod run;
mod sample;
pub mod schema;
pub mod stage;
mod text;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::LazyLock;

use clap::{CommandFactory, Parser, Subcommand};

use crate::error::{Code, Domain, Error, Result};
use crate::secret;
use crate::stage::HostOptions;

/// `0.1.0`; of a release (`scripts/release.sh`) with the commit that it was built from: `0.1.0 (1a2b3c4d5e6f)`.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let version = env!("CARGO_PKG_VERSION");
    match option_env!("PIPE_COMMIT").filter(|commit| !commit.is_empty()) {
        Some(commit) => format!("{version} ({commit})"),
        None => version.to_owned(),
    }
});

/// A streaming data-pipeline engine whose transform stages are sandboxed WebAssembly components.
///
/// A pipeline file names sources, stages and sinks; `pipe run` reads records, passes them as Arrow batches through
/// the stages and writes what comes out, losing nothing. Start with `pipe init DATA`, which writes a pipeline for a file
/// or a topic, then `pipe check` and `pipe run --until-end`.
///
/// Exit codes: 0 done, 1 failed while running, 2 the pipeline or the command line is wrong.
#[derive(Debug, Parser)]
#[command(name = "pipe", version = VERSION.as_str(), max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(init::Args),
    Run(run::Args),
    Check(check::Args),
    Peek(peek::Args),
    Columns(columns::Args),
    Explain(explain::Args),
    Schema(schema::Args),
    #[command(hide = true)]
    Docs(docs::Args),
    /// Look at dead letters, and replay them.
    ///
    /// A record that fails goes to the dead letters with its cause, and the others go on. `list` says what failed,
    /// where and why; `show` prints one letter whole; `replay` sends the records through the pipeline again, once
    /// what made them fail is mended. All of them read the pipeline file to find the topic or the file.
    #[command(subcommand)]
    DeadLetters(dead_letters::Command),
    /// Look at the offsets that a pipeline has committed, and set them.
    ///
    /// The consumer group of a pipeline (its name) holds, for each partition of its Kafka sources, the offset of the
    /// record that is read next. `show` prints them beside where each log starts and ends; `reset` sets them: to the
    /// start or the end of the log, to a time, or to an offset.
    #[command(subcommand)]
    Offsets(offsets::Command),
    /// Fill, list and empty the cache of compiled stages.
    ///
    /// Stages are WebAssembly, and a worker compiles them to machine code before it reads its first record: parts of a
    /// second for a small one, many seconds for an interpreter. The code is kept in the folder that `PIPE_CACHE` names
    /// [default: pipe/stages in the user's cache folder], and a start that finds it there compiles nothing.
    #[command(subcommand)]
    Cache(cache::Command),
    /// Build stages.
    #[command(subcommand)]
    Stage(StageCommand),
    /// Print a completion script for a shell, for example `pipe completions bash > /etc/bash_completion.d/pipe`.
    Completions {
        /// The shell.
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Subcommand)]
enum StageCommand {
    Build(stage::BuildArgs),
}

/// Parses the command line and runs the command.
pub fn main() -> ExitCode {
    let result = dispatch(Cli::parse_from(joined(std::env::args_os())).command);
    result.unwrap_or_else(|error| {
        say(&format!("{error}\n"));
        // What a user wrote is wrong, or something failed while running.
        ExitCode::from(if error.domain() == Domain::User { load::EXIT_WRONG } else { 1 })
    })
}

/// Flags whose value may be left out, so that the command line's parser takes one only behind `=`.
const OPTIONAL_NUMBERS: &[&str] = &["--fail-on-dead-letters"];

/// The arguments with `--flag 5` written as `--flag=5`: a file behind the flag stays what it is.
fn joined(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut joined: Vec<OsString> = Vec::new();
    for arg in args {
        let number =
            arg.to_str().is_some_and(|arg| !arg.is_empty() && arg.bytes().all(|b| b.is_ascii_digit()));
        match joined.last_mut() {
            Some(last) if number && OPTIONAL_NUMBERS.iter().any(|flag| *last == *flag) => {
                last.push("=");
                last.push(arg);
            }
            _ => joined.push(arg),
        }
    }
    joined
}

fn dispatch(command: Command) -> Result<ExitCode> {
    match command {
        Command::Init(args) => init::run(&args),
        Command::Peek(args) => peek::run(&args),
        Command::Columns(args) => columns::run(&args),
        Command::Run(args) => run::run(&args, host_options()),
        Command::Check(args) => check::run(&args, &host_options()),
        Command::Explain(args) => explain::run(&args, &host_options()),
        Command::Schema(args) => schema::run(&args),
        Command::Docs(args) => docs::run(&args, &Cli::command(), &host_options()),
        Command::DeadLetters(command) => dead_letters::run(&command, host_options()),
        Command::Offsets(command) => offsets::run(&command),
        Command::Cache(command) => cache::run(&command, host_options()),
        Command::Stage(StageCommand::Build(args)) => {
            stage::build(&args, host_options()).map(|()| ExitCode::SUCCESS)
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "pipe", &mut script);
            print(&String::from_utf8_lossy(&script))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Prints a text to standard output, secrets hidden. A reader that has seen enough (`| head`) is no failure.
fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(secret::hide(text).as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::external(Code::X004, format!("standard output: {e}")))
        }
        _ => Ok(()),
    }
}

/// The same to standard error, where nothing is left to tell that it cannot be written.
fn say(text: &str) {
    let _ = io::stderr().lock().write_all(secret::hide(text).as_bytes());
}

/// Compiled components are kept in `PIPE_CACHE`, else in the user's cache folder.
pub fn host_options() -> HostOptions {
    let own = std::env::var_os("PIPE_CACHE").map(PathBuf::from);
    let user = || {
        let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
        std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or(home).map(|cache| cache.join("pipe/stages"))
    };
    HostOptions { cache: own.or_else(user).filter(|folder| !folder.as_os_str().is_empty()) }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    #[test]
    fn an_optional_number_may_stand_behind_a_blank() {
        let allowed = |args: &[&str]| {
            let args = ["pipe", "run"].iter().chain(args).map(Into::into);
            let super::Command::Run(run) = super::Cli::try_parse_from(super::joined(args)).unwrap().command
            else {
                panic!("another command")
            };
            (run.fail_on_dead_letters, run.file.display().to_string())
        };
        let flag = "--fail-on-dead-letters";
        assert_eq!(allowed(&["a.yaml"]), (None, "a.yaml".into()));
        assert_eq!(allowed(&[flag, "a.yaml"]), (Some(0), "a.yaml".into()));
        assert_eq!(allowed(&[flag, "5", "a.yaml"]), (Some(5), "a.yaml".into()));
        assert_eq!(allowed(&["a.yaml", "--fail-on-dead-letters=7"]), (Some(7), "a.yaml".into()));
        assert_eq!(allowed(&[flag]), (Some(0), "pipeline.yaml".into()));
    }

    #[test]
    fn the_command_line_is_well_formed() {
        super::Cli::command().debug_assert();
    }
}
