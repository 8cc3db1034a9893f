//! `pipe docs`: the reference pages, made from the tables of kinds, the JSON Schema of the pipeline file, the command
//! line itself and the ready-made stages. What is there has a page; nothing is written twice.

mod options;
mod pages;
mod types;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::load::stage_folders;
use crate::error::{Code, Error, Result};
use crate::stage::{Host, HostOptions};
use pages::Page;

/// Writes the reference pages (Markdown) into a folder: one of the pipeline file, of the command line, of Kafka's errors,
/// and of each source, sink, format and ready-made stage.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of the pages; those that are there are replaced.
    #[arg(long, default_value = "docs/reference", value_hint = clap::ValueHint::DirPath)]
    out: PathBuf,
    /// Folder of the sources of the ready-made stages, whose components must have been built.
    #[arg(long, default_value = "stages", value_hint = clap::ValueHint::DirPath)]
    stages: PathBuf,
}

/// Writes them all.
pub fn run(args: &Args, command: &clap::Command, host: &HostOptions) -> Result<ExitCode> {
    let mut all = pages::kinds();
    all.push(pages::pipeline());
    all.push(pages::command_line(command));
    all.push(pages::kafka_errors());
    all.push(types::page());
    let host = Host::new(host.clone())?;
    for manifest in manifests(&args.stages)? {
        all.push(pages::stage(&host, &manifest, &stage_folders())?);
    }
    all.sort_by(|a, b| a.file.cmp(&b.file));
    let index = pages::index(&all);
    all.push(index);
    let fail = |path: &Path, e: std::io::Error| {
        Error::external(Code::X004, format!("`{}` cannot be written: {e}", path.display()))
            .help("check the folder and its permissions")
    };
    fs::create_dir_all(&args.out).map_err(|e| fail(&args.out, e))?;
    for Page { file, text, .. } in &all {
        let path = args.out.join(file);
        fs::write(&path, text).map_err(|e| fail(&path, e))?;
    }
    println!("{} pages in {}", all.len(), args.out.display());
    Ok(ExitCode::SUCCESS)
}

/// The manifests of the ready-made stages, in the order of their folders; examples are in a folder of their own.
fn manifests(stages: &Path) -> Result<Vec<PathBuf>> {
    let fail = |e: std::io::Error| {
        Error::user(Code::P004, format!("the folder of stages `{}` cannot be read: {e}", stages.display()))
            .help("run it in the source tree, or name the folder with `--stages`")
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(stages).map_err(fail)? {
        let manifest = entry.map_err(fail)?.path().join("stage.toml");
        if manifest.is_file() {
            found.push(manifest);
        }
    }
    found.sort();
    Ok(found)
}
