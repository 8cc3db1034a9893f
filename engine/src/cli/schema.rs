//! `pipe schema`: the JSON Schema of a pipeline file, for editors.

use std::io::Write;
use std::process::ExitCode;

use crate::error::{Code, Error, Result};
use crate::plan::schema;

/// Prints the JSON Schema (draft 2020-12) of a pipeline file.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Prints it to standard output.
pub fn run(_args: &Args) -> Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{:#}", schema::pipeline()) {
        // A reader that has seen enough (`| head`) is no failure.
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::external(Code::X004, e.to_string())),
        _ => Ok(ExitCode::SUCCESS),
    }
}
