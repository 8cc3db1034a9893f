//! `pipe cache`: the operator's side of the cache of compiled stages.

mod files;
mod warm;

use std::path::PathBuf;
use std::process::ExitCode;

use bytesize::ByteSize;

use crate::error::{Code, Error, Result};
use crate::stage::HostOptions;

/// Fills, lists and empties the cache.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    Warm(warm::Args),
    Show(files::ShowArgs),
    Clear(files::ClearArgs),
}

/// Runs one of the commands.
pub fn run(command: &Command, options: HostOptions) -> Result<ExitCode> {
    let folder = options.cache.clone().ok_or_else(|| {
        Error::user(Code::W019, "there is no folder for compiled components")
            .help("name one by `PIPE_CACHE`, the same for `pipe cache` and for the worker")
    })?;
    match command {
        Command::Warm(args) => warm::run(args, options, &folder),
        Command::Show(args) => files::show(args, &folder),
        Command::Clear(args) => files::clear(args, &folder),
    }
}

/// `1.4 MiB`
fn size(bytes: u64) -> String {
    ByteSize(bytes).to_string()
}

/// `1 component`, `2 components`
fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// The endings of what is warmed in a folder.
const ENDINGS: &[&str] = &["yaml", "yml", "wasm"];

/// Whether a file is a component itself, not a pipeline that names some.
fn is_component(path: &std::path::Path) -> bool {
    path.extension().is_some_and(|ending| ending == "wasm")
}

/// Paths as they are printed.
fn shown(path: &std::path::Path) -> String {
    super::text::line(&path.display().to_string())
}

/// A component once, however many paths lead to it.
fn identity(path: &std::path::Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}
