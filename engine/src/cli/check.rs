//! `pipe check`: whether pipelines would run, without running them: no network, no group joined.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueHint;

use super::load::{EXIT_WRONG, Form, plan_file, rendered};
use super::logs::{self, LogFormat};
use super::{print, say};
use crate::config::{Diagnostic, Severity};
use crate::error::{Code, Error, Result};
use crate::plan::render;
use crate::stage::HostOptions;

/// Checks pipeline files: keys, types, edges, components, grants, limits, delivery. Touches no network.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Pipeline files, or folders: of a folder each `*.yaml` and `*.yml` in it, not those of folders within.
    #[arg(default_value = "pipeline.yaml", value_hint = ValueHint::AnyPath)]
    pub files: Vec<PathBuf>,
    /// Overrides a key of each file: `--set lanes=2`. Variables are expanded as in the file.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// How mistakes are printed.
    #[arg(long, value_enum, default_value = "auto")]
    pub format: Form,
}

/// Checks each file; exit code 2 when any is wrong.
pub fn run(args: &Args, host: &HostOptions) -> Result<ExitCode> {
    logs::start(LogFormat::Auto);
    let files = files(&args.files, &["yaml", "yml"])?;
    let mut wrong = Vec::new();
    let mut names: BTreeMap<String, PathBuf> = BTreeMap::new();
    for file in &files {
        let mut planned = plan_file(file, &args.set, host.clone())?;
        let name = &planned.loaded.draft.name;
        if let Some(other) = names.get(name).filter(|_| !name.is_empty()) {
            planned.diagnostics.push(same_name(name, other, &planned.loaded.document));
        } else {
            names.insert(name.clone(), file.clone());
        }
        say(&rendered(file, &planned, args.format));
        match &planned.plan {
            Some(plan) => {
                let text = render::text(plan, render::stage_details);
                print(&format!("{}: OK\n{text}", file.display()))?;
            }
            None => wrong.push(file),
        }
    }
    if files.len() > 1 {
        let names: String = wrong.iter().map(|file| format!("  {}\n", file.display())).collect();
        print(&format!("{} pipelines checked, {} wrong\n{names}", files.len(), wrong.len()))?;
    }
    Ok(if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_WRONG) })
}

/// Workers of two pipelines with one name would share one consumer group.
fn same_name(name: &str, other: &Path, document: &crate::config::Document) -> Diagnostic {
    Diagnostic {
        severity: Severity::Warning,
        code: Code::P013,
        at: document.place("/name", Code::P013),
        message: format!("`{}` has the name `{name}` too: both would be one consumer group", other.display()),
        help: Some("rename one, unless they are versions that never run together".into()),
    }
}

/// The files that are meant, folders replaced by the files in them with one of these endings, each once.
pub(super) fn files(given: &[PathBuf], endings: &[&str]) -> Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = Vec::new();
    for path in given {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let fail = |e: std::io::Error| {
            Error::user(Code::C001, format!("the folder `{}` cannot be read: {e}", path.display()))
                .help("check its permissions")
        };
        let mut inside = Vec::new();
        for entry in fs::read_dir(path).map_err(fail)? {
            let file = entry.map_err(fail)?.path();
            let hidden = file.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
            // A link that leads nowhere is looked at too: it says that it does.
            let meant = file.extension().is_some_and(|e| endings.iter().any(|ending| e == *ending));
            if meant && !file.is_dir() && !hidden {
                inside.push(file);
            }
        }
        if inside.is_empty() {
            let message = format!("no pipeline is in the folder `{}`", path.display());
            let endings = endings.iter().map(|e| format!("`.{e}`")).collect::<Vec<_>>().join(" or ");
            let help = format!("names that end in {endings} are meant; folders within are not looked at");
            return Err(Error::user(Code::C012, message).help(help));
        }
        inside.sort();
        files.append(&mut inside);
    }
    let mut seen = std::collections::BTreeSet::new();
    files.retain(|file| seen.insert(fs::canonicalize(file).unwrap_or_else(|_| file.clone())));
    Ok(files)
}
