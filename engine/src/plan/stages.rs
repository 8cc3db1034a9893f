//! The binder of a worker: components found, loaded, bounded and bound.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{StageRequest, grants};
use crate::config::spec::{LimitsSpec, StageSpec};
use crate::config::{check, suggestion};
use crate::error::{Code, Error};
use crate::problem::Problem;
use crate::stage::{Bound, Component, Host, Limits};

/// Keys without which a stage's outputs cannot be known.
const UNBINDABLE: &[&str] = &["from", "wasm", "use", "config", "grants"];

/// Finds and binds stages.
pub struct Stages {
    /// Compiles them.
    pub host: Arc<Host>,
    /// Folders of ready-made stages, searched in order for `<name>.wasm`.
    pub search: Vec<PathBuf>,
}

impl Stages {
    /// Loads and binds a stage; pointers of the mistakes are within its entry. Each part is looked at whatever is wrong
    /// with the others.
    pub fn bind(&self, request: &StageRequest<'_>) -> Result<Bound, Vec<Problem>> {
        let mut wrong = Vec::new();
        let config = serde_json::Value::Object(request.spec.config.clone());
        let component = match self.component(request) {
            Ok((component, limits, schema)) => {
                if !request.missing.contains("config") {
                    wrong.extend(own_schema(&schema, &config).into_iter().map(|p| p.below("/config")));
                }
                Some((component, limits))
            }
            Err(problem) => {
                wrong.push(problem);
                None
            }
        };
        let grants = grants::resolve(&request.spec.grants, request.base);
        let grants = grants.map_err(|more| wrong.extend(more)).ok();
        let whole = wrong.is_empty() && !UNBINDABLE.iter().any(|key| request.missing.contains(*key));
        let (Some((component, limits)), Some(grants), Some(input), true) =
            (component, grants, request.input, whole)
        else {
            return Err(wrong);
        };
        component
            .bind_granted(request.name, input, &config, &limits, grants)
            .map_err(|e| vec![problem(&e, "/config", Code::P005)])
    }

    /// The component of a stage, its limits, and the schema of its configuration.
    fn component(&self, request: &StageRequest<'_>) -> Result<(Component, Limits, String), Problem> {
        let StageSpec { wasm, ready_made, .. } = request.spec;
        let (key, path) = self.find(wasm.as_deref(), ready_made.as_deref(), request.base)?;
        let failed = |e: Error| problem(&e, key, Code::P004);
        let component = self.host.load_stage(&path, request.name).map_err(failed)?;
        let limits = limits(&request.spec.limits, Limits::defaults_for(component.bytes()));
        let description = component.describe(&limits).map_err(failed)?;
        Ok((component, limits, description.config_schema))
    }

    /// The component that `wasm:` or `use:` means, and which of the two keys it was.
    pub fn find(
        &self,
        wasm: Option<&str>,
        ready_made: Option<&str>,
        base: &Path,
    ) -> Result<(&'static str, PathBuf), Problem> {
        if let Some(path) = wasm {
            let path = base.join(path);
            if path.is_file() {
                return Ok(("/wasm", path));
            }
            let message = match path.exists() {
                true => format!("`{}` is not a regular file", path.display()),
                false => format!("there is no file `{}`", path.display()),
            };
            return Err(
                Problem::new(Code::P004, "/wasm", message).help("the path is relative to the pipeline file")
            );
        }
        let name = ready_made.unwrap_or_default();
        let simple =
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        // Cargo writes `parse_log.wasm` for a package `parse-log`.
        let names = [format!("{name}.wasm"), format!("{}.wasm", name.replace('-', "_"))];
        let mut candidates =
            self.search.iter().flat_map(|folder| names.iter().map(move |name| folder.join(name)));
        match candidates.find(|path| simple && path.is_file()) {
            Some(path) => Ok(("/use", path)),
            None => {
                let known = self.known();
                let help = suggestion(name, known.iter().map(String::as_str), "ready-made stages");
                let message = format!("there is no ready-made stage `{name}`");
                Err(Problem::new(Code::P004, "/use", message)
                    .help(format!("{help}; `PIPE_STAGES` names the folders that are searched")))
            }
        }
    }

    /// Names of the ready-made stages that are there.
    fn known(&self) -> Vec<String> {
        let entries =
            self.search.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten();
        let paths =
            entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "wasm"));
        let mut names: Vec<String> =
            paths.filter_map(|path| Some(path.file_stem()?.to_str()?.replace('_', "-"))).collect();
        names.sort();
        names.dedup();
        names
    }
}

/// Mistakes of a configuration by the stage's own schema; a schema that is itself wrong is left to `bind`.
fn own_schema(schema: &str, config: &serde_json::Value) -> Vec<Problem> {
    match serde_json::from_str(schema) {
        Ok(schema) => check::check(config, &schema).unwrap_or_default(),
        Err(_) => Vec::new(),
    }
}

/// An error of the host at a place; its own code stays unless it is a general one.
pub fn problem(error: &Error, at: &str, code: Code) -> Problem {
    let code = if error.code() == Code::X004 { code } else { error.code() };
    let problem = Problem::new(code, at, error.message());
    match error.help_text() {
        Some(help) => problem.help(help),
        None => problem,
    }
}

/// The limits of a stage: the defaults for its component, changed by what the file says.
pub fn limits(spec: &LimitsSpec, defaults: Limits) -> Limits {
    let bytes = |size: Option<crate::quantity::Size>, usual| {
        size.map_or(usual, |size| usize::try_from(size.0).unwrap_or(usize::MAX))
    };
    Limits {
        memory_bytes: bytes(spec.memory, defaults.memory_bytes),
        time: spec.time.map_or(defaults.time, |period| period.0),
        output_bytes: bytes(spec.output, defaults.output_bytes),
        rows: spec.rows.unwrap_or(defaults.rows),
        log_lines_per_second: spec.log_lines.unwrap_or(defaults.log_lines_per_second),
    }
}
