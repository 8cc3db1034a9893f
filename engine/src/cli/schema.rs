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
    writeln!(out, "{:#}", schema::pipeline()).map_err(|e| Error::external(Code::X004, e.to_string()))?;
    Ok(ExitCode::SUCCESS)
}
