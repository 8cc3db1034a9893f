//! A path to a plan, with everything that is wrong printed: shared by `run`, `check` and `explain`.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use crate::config::report::{Style, render};
use crate::config::{Diagnostic, Loaded, Severity, load};
use crate::error::{Error, Result};
use crate::plan::cost::Machine;
use crate::plan::stages::Stages;
use crate::plan::{Folders, Plan, Tables, plan, schema, warnings};
use crate::problem::Problem;
use crate::stage::HostOptions;

/// Exit code of a pipeline or a command line that is wrong.
pub const EXIT_WRONG: u8 = 2;

/// What a file has become.
pub struct Planned {
    /// The plan; `None` where there are errors.
    pub plan: Option<Plan>,
    /// Errors and warnings in the order of the text.
    pub diagnostics: Vec<Diagnostic>,
    /// The file as it was read.
    pub loaded: Loaded,
}

/// How diagnostics are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Form {
    /// With the lines they are about on a terminal, else one line each.
    #[default]
    Auto,
    /// With the lines they are about.
    Pretty,
    /// `file:line:column: code: message`, one a line.
    Plain,
    /// One JSON object a line.
    Json,
}

/// Folders of ready-made stages: `PIPE_STAGES` (as `PATH` is written), beside the program, where a package has them
/// (`bin/pipe` and `share/pipe/stages`), and in a source tree.
pub fn stage_folders() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> =
        std::env::var_os("PIPE_STAGES").map(|all| std::env::split_paths(&all).collect()).unwrap_or_default();
    if let Some(beside) = std::env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_owned)) {
        folders.push(beside.join("stages"));
        folders.push(beside.join("../share/pipe/stages"));
        folders.push(beside.join("../../stages/target/components"));
    }
    folders
}

/// Reads and plans a file. No network; of local files only the pipeline, its components and what a source must look
/// at to learn its columns. The error is ours, or a host that cannot start.
pub fn plan_file(path: &Path, overrides: &[String], host: HostOptions) -> Result<Planned> {
    plan_file_with(path, overrides, host, stage_folders())
}

/// The same with the folders of ready-made stages given.
pub fn plan_file_with(
    path: &Path,
    overrides: &[String],
    host: HostOptions,
    search: Vec<PathBuf>,
) -> Result<Planned> {
    plan_loaded(load(path, &schema::pipeline(), overrides)?, host, search)
}

/// Plans what was read.
pub(super) fn plan_loaded(loaded: Loaded, host: HostOptions, search: Vec<PathBuf>) -> Result<Planned> {
    let working = std::env::current_dir().map_err(|e| Error::internal(format!("no working folder: {e}")))?;
    let stages = Stages { host: super::compiles::host(host)?, search };
    tracing::debug!("the Wasm engines are up");
    let base = loaded.document.base();
    let folders = Folders { base: &base, working: &working };
    let readable = loaded.document.value.is_object();
    let result =
        readable.then(|| plan(&loaded.draft, Tables::default(), folders, &|request| stages.bind(request)));
    let (plan, errors) = match result {
        Some(Ok(plan)) => (Some(plan), Vec::new()),
        Some(Err(errors)) => (None, errors),
        None => (None, Vec::new()),
    };
    let mut suspicious = warnings::plain_secrets(&loaded.document);
    if let Some(plan) = &plan {
        suspicious.extend(plan.warnings.iter().cloned());
        suspicious.extend(warnings::of_machine(plan, &Machine::here()));
    }
    let diagnostics = loaded.diagnose(&errors, &suspicious);
    let wrong = diagnostics.iter().any(|d| d.severity == Severity::Error);
    Ok(Planned { plan: plan.filter(|_| !wrong), diagnostics, loaded })
}

/// The diagnostics as text, for standard error.
pub fn rendered(path: &Path, planned: &Planned, form: Form) -> String {
    rendered_all(path, &planned.loaded, &planned.diagnostics, form)
}

/// The same of a file that is not planned, with these mistakes beside its own; and whether anything is wrong.
pub(super) fn rendered_draft(path: &Path, loaded: &Loaded, found: &[Problem], form: Form) -> (String, bool) {
    let diagnostics = loaded.diagnose(found, &[]);
    let wrong = diagnostics.iter().any(|d| d.severity == Severity::Error);
    (rendered_all(path, loaded, &diagnostics, form), wrong)
}

fn rendered_all(path: &Path, loaded: &Loaded, diagnostics: &[Diagnostic], form: Form) -> String {
    let terminal = std::io::stderr().is_terminal();
    let style = match form {
        Form::Auto if terminal => Style::Pretty,
        Form::Auto | Form::Plain => Style::Plain,
        Form::Pretty => Style::Pretty,
        Form::Json => Style::Json,
    };
    let colour = terminal && std::env::var_os("NO_COLOR").is_none();
    render(path, &loaded.document.text, diagnostics, style, colour)
}

/// The plan of a file; where there is none, everything that is wrong has been printed to standard error, warnings
/// in any case.
pub fn load_plan(path: &Path, overrides: &[String], host: HostOptions, form: Form) -> Result<Option<Plan>> {
    let planned = plan_file(path, overrides, host)?;
    super::say(&rendered(path, &planned, form));
    Ok(planned.plan)
}
