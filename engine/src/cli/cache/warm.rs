//! `pipe cache warm`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use indexmap::IndexMap;
use serde_json::{Value, json};

use super::{ENDINGS, count, identity, is_component, shown, size};
use crate::cli::check::files;
use crate::cli::compiles;
use crate::cli::load::{EXIT_WRONG, Form, rendered_draft, stage_folders};
use crate::cli::logs::{self, LogFormat};
use crate::cli::say;
use crate::cli::text::{Out, table};
use crate::clock::{Clock, SystemClock};
use crate::config::{Loaded, load, step};
use crate::error::{Code, Domain, Error, Result};
use crate::plan::schema;
use crate::plan::stages::{Stages, problem};
use crate::problem::Problem;
use crate::stage::{HostOptions, Warmed, usable};

/// Compile the stages of pipelines into the cache, so that a worker starts without compiling.
///
/// For where an image is built, or before a rollout. Run it as the user that the worker runs as and with its
/// `PIPE_CACHE`: the cache belongs to one user and is closed to all others. What is there already is left as it is. An
/// entry is good for this version of pipe on this kind of processor; on another one the worker compiles anew.
///
/// Only the stages of a pipeline are looked at: no network, no group joined, nothing run. A variable or a secret that
/// is not there while an image is built is no mistake, unless it names a component; `pipe check` says whether the
/// pipeline would run. Machine code is made here and nowhere else: a stage that brings its own is refused.
///
/// Exit codes: 0 all are in the cache, 1 the cache cannot be used, 2 a pipeline or a component is wrong; the others
/// are compiled all the same.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  pipe cache warm pipeline.yaml
  pipe cache warm /usr/local/share/pipe/stages       every stage in a folder
  PIPE_CACHE=/var/cache/pipe/stages pipe cache warm /etc/pipe --json")]
pub struct Args {
    /// Pipeline files, components (`*.wasm`), or folders: of a folder each `*.yaml`, `*.yml` and `*.wasm` in it, not
    /// those of folders within
    #[arg(default_value = "pipeline.yaml", value_name = "FILE", value_hint = clap::ValueHint::AnyPath)]
    files: Vec<PathBuf>,
    /// Overrides a key of each pipeline file: `--set stages.slow.wasm=slow.wasm`. Variables are expanded as in the file.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// One JSON object a line for each component; the sum goes to standard error
    #[arg(long)]
    json: bool,
}

/// A pipeline that was read, and the mistakes of its stages.
struct Pipeline {
    file: PathBuf,
    loaded: Loaded,
    problems: Vec<Problem>,
}

/// A component, and the stages that are made of it.
struct Wanted {
    path: PathBuf,
    /// Index of the pipeline, name of the stage, pointer of the key that names the component.
    stages: Vec<(usize, String, String)>,
}

/// Everything that was asked for; components by where they really lie.
#[derive(Default)]
struct All {
    pipelines: Vec<Pipeline>,
    components: IndexMap<PathBuf, Wanted>,
}

/// Compiles what is missing.
pub(super) fn run(args: &Args, options: HostOptions, folder: &Path) -> Result<ExitCode> {
    logs::start(LogFormat::Auto);
    let clock = SystemClock::default();
    let files = files(&args.files, ENDINGS)?;
    usable(folder)?;
    let stages = Stages { host: compiles::host(options)?, search: stage_folders() };
    let mut all = All::default();
    for file in files {
        if is_component(&file) {
            all.component(file);
        } else {
            all.pipeline(file, args, &stages)?;
        }
    }
    let paths: Vec<PathBuf> = all.components.values().map(|wanted| wanted.path.clone()).collect();
    let results = stages.host.warm(&paths);
    let lines: Vec<(&Wanted, &Warmed)> =
        all.components.values().zip(&results).filter_map(|(w, r)| Some((w, r.as_ref().ok()?))).collect();
    let sum = sum(&lines, clock.now().as_secs_f64(), folder);
    let mut out = Out::new();
    if args.json {
        let lines: String = lines.iter().map(|line| json_line(line, &all.pipelines)).collect();
        out.print(&lines)?;
        say(&sum);
    } else {
        out.print(&(text(&lines) + &sum))?;
    }
    Ok(all.complain(&results))
}

impl All {
    /// A component; where it is in the list.
    fn component(&mut self, path: PathBuf) -> &mut Wanted {
        self.components.entry(identity(&path)).or_insert_with(|| Wanted { path, stages: Vec::new() })
    }

    /// The components of a pipeline. Mistakes of the file are told as they always are, but for variables and secrets
    /// that only the worker will have.
    fn pipeline(&mut self, file: PathBuf, args: &Args, stages: &Stages) -> Result<()> {
        let mut loaded = load(&file, &schema::pipeline(), &args.set)?;
        let (base, index) = (loaded.document.base(), self.pipelines.len());
        let mut problems = Vec::new();
        let mut unknown = Vec::new();
        let nodes =
            loaded.document.value.get("stages").and_then(Value::as_object).cloned().unwrap_or_default();
        for (name, node) in nodes {
            let at = step("/stages", &name);
            let keys = ["wasm", "use"].map(|key| (step(&at, key), node.get(key)));
            unknown.extend(keys.iter().filter_map(|(key, _)| loaded.document.place(key, Code::C006)));
            let [wasm, ready_made] = keys.map(|(_, value)| value.and_then(Value::as_str));
            if wasm.is_none() && ready_made.is_none() {
                continue;
            }
            match stages.find(wasm, ready_made, &base) {
                Ok((key, path)) => self.component(path).stages.push((index, name, at + key)),
                Err(problem) => problems.push(problem.below(&at)),
            }
        }
        // A variable or a secret that is not there yet.
        let later = |code| matches!(code, Code::C006 | Code::C010);
        loaded.diagnostics.retain(|d| !later(d.code) || d.at.is_some_and(|at| unknown.contains(&at)));
        self.pipelines.push(Pipeline { file, loaded, problems });
        Ok(())
    }

    /// Prints what is wrong, each where it stands; the exit code.
    fn complain(mut self, results: &[Result<Warmed>]) -> ExitCode {
        let mut code = None;
        for (wanted, error) in
            self.components.values().zip(results).filter_map(|(w, r)| Some((w, r.as_ref().err()?)))
        {
            let wrong = error.domain() == Domain::User;
            code = code.max(Some(if wrong { EXIT_WRONG } else { 1 }));
            if wanted.stages.is_empty() || !wrong {
                say(&format!("{}\n", placed(error, &wanted.path)));
                continue;
            }
            for (index, _, pointer) in &wanted.stages {
                if let Some(pipeline) = self.pipelines.get_mut(*index) {
                    pipeline.problems.push(problem(error, pointer, Code::P004));
                }
            }
        }
        for Pipeline { file, loaded, problems } in &self.pipelines {
            let (text, wrong) = rendered_draft(file, loaded, problems, Form::Auto);
            say(&text);
            code = code.max(wrong.then_some(EXIT_WRONG));
        }
        code.map_or(ExitCode::SUCCESS, ExitCode::from)
    }
}

fn placed(error: &Error, path: &Path) -> Error {
    error.clone().context(shown(path))
}

fn text(lines: &[(&Wanted, &Warmed)]) -> String {
    if lines.is_empty() {
        return String::new();
    }
    let mut table_lines = vec![["COMPONENT", "", "WASM", "MACHINE CODE", "TIME"].map(str::to_owned).to_vec()];
    table_lines.extend(lines.iter().map(|(wanted, warmed)| {
        vec![
            shown(&wanted.path),
            if warmed.compiled { "compiled" } else { "was there" }.to_owned(),
            size(warmed.component_bytes as u64),
            size(warmed.code_bytes as u64),
            format!("{:.2} s", warmed.time.as_secs_f64()),
        ]
    }));
    table(&table_lines, &[2, 3, 4])
}

fn json_line((wanted, warmed): &(&Wanted, &Warmed), pipelines: &[Pipeline]) -> String {
    let stage = |(index, name, _): &(usize, String, String)| {
        let file = pipelines.get(*index).map(|pipeline| pipeline.file.display().to_string());
        json!({ "pipeline": file, "stage": name })
    };
    let value = json!({
        "component": wanted.path.display().to_string(),
        "digest": *warmed.digest,
        "stages": wanted.stages.iter().map(stage).collect::<Vec<_>>(),
        "compiled": warmed.compiled,
        "component_bytes": warmed.component_bytes,
        "code_bytes": warmed.code_bytes,
        "seconds": warmed.time.as_secs_f64(),
    });
    format!("{value}\n")
}

/// `2 components: 1 compiled, 1 there already; 3.4 MiB of machine code in /var/cache/pipe/stages, 0.8 s`
fn sum(lines: &[(&Wanted, &Warmed)], seconds: f64, folder: &Path) -> String {
    let compiled = lines.iter().filter(|(_, warmed)| warmed.compiled).count();
    let bytes = lines.iter().map(|(_, warmed)| warmed.code_bytes as u64).sum();
    format!(
        "{}: {compiled} compiled, {} there already; {} of machine code in {}, {seconds:.2} s\n",
        count(lines.len(), "component"),
        lines.len() - compiled,
        size(bytes),
        shown(folder),
    )
}
