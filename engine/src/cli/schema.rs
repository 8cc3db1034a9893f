//! `pipe schema`: the JSON Schema of a pipeline file, for editors.

use std::process::ExitCode;

use crate::error::Result;
use crate::plan::editors::for_editors;

/// Prints the JSON Schema (draft 2020-12) of a pipeline file, for editors: variables may stand where numbers and words do.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Prints it to standard output.
pub fn run(_args: &Args) -> Result<ExitCode> {
    super::print(&format!("{:#}\n", for_editors()))?;
    Ok(ExitCode::SUCCESS)
}
