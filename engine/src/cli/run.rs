//! `pipe run`: a worker.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use super::live;
use super::load::{EXIT_WRONG, Form, load_plan};
use crate::clock::SystemClock;
use crate::error::{Code, Error, Result};
use crate::run::{self, Options, Stopper, Summary};
use crate::stage::HostOptions;

/// Run a pipeline as a worker.
///
/// Start it on as many machines as you like: workers with the same pipeline share the partitions of its topics
/// through Kafka's consumer group. SIGTERM or Ctrl-C stops reading, drains, commits and exits; a second one exits at
/// once.
///
/// Exit codes: 0 done, 1 failed while running, 2 the pipeline or the command line is wrong.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The pipeline file.
    #[arg(default_value = "pipeline.yaml", value_hint = clap::ValueHint::FilePath)]
    file: PathBuf,
    /// Overrides a key of the file: `--set lanes=2`.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// End when everything that was there at the start has been read
    #[arg(long)]
    until_end: bool,
    /// Folder for positions of sources without a consumer group [default: .pipe beside the pipeline]
    #[arg(long, value_name = "FOLDER", value_hint = clap::ValueHint::DirPath)]
    state: Option<PathBuf>,
    /// Start over: forget the positions in the state folder
    #[arg(long)]
    fresh: bool,
    /// Identity of this worker within the pipeline [default: random]
    #[arg(long, value_name = "ID", value_parser = worker_id)]
    worker_id: Option<String>,
    /// How logs look on standard error
    #[arg(long, value_enum, default_value = "auto", value_name = "FORMAT")]
    log_format: live::LogFormat,
}

fn worker_id(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    match !text.is_empty() && text.len() <= 100 && text.chars().all(fits) {
        true => Ok(text.to_owned()),
        false => Err("1 to 100 letters, digits, `.`, `_` or `-`".to_owned()),
    }
}

/// Runs it; the exit code says how it went.
pub fn run(args: &Args, host: HostOptions) -> Result<ExitCode> {
    live::start_logs(args.log_format);
    let Some(plan) = load_plan(&args.file, &args.set, host, Form::Auto)? else {
        return Ok(ExitCode::from(EXIT_WRONG));
    };
    let state = args.state.clone().unwrap_or_else(|| plan.base.join(".pipe"));
    let options = Options {
        until_end: args.until_end,
        state: Some(state),
        fresh: args.fresh,
        worker: args.worker_id.clone(),
        ..Options::default()
    };
    tracing::info!(pipeline = plan.name, lanes = plan.lanes, "starting");
    let (summary, result) = match work(plan, &options) {
        Ok(ended) => ended,
        Err(error) => return Ok(failed(&error)),
    };
    report(&summary, args.log_format);
    Ok(match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    })
}

fn failed(error: &Error) -> ExitCode {
    tracing::error!(code = error.code().as_str(), "{error}");
    ExitCode::from(1)
}

fn work(plan: crate::plan::Plan, options: &Options) -> Result<(Summary, Result<()>)> {
    let running = run::start(plan, options, Arc::new(SystemClock::default()))?;
    stop_on_signals(running.stopper())?;
    let stats = Arc::clone(&running.stats);
    let (done, ended) = crossbeam_channel::bounded::<()>(0);
    let shown = std::thread::spawn(move || live::show(&stats, &ended));
    let result = running.wait();
    drop(done);
    // A display that panicked must not change how the run ended.
    let _ = shown.join();
    Ok(result)
}

/// The first signal drains, the second ends at once.
fn stop_on_signals(stopper: Stopper) -> Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])
        .map_err(|e| Error::external(Code::X004, format!("signals cannot be handled: {e}")))?;
    std::thread::spawn(move || {
        let mut received = signals.forever();
        if received.next().is_some() {
            tracing::info!(
                "stopping: no more is read, what was read is committed; a second signal ends at once"
            );
            stopper.stop();
        }
        if let Some(signal) = received.next() {
            tracing::warn!("ending at once; what is not committed comes again at the next start");
            #[expect(clippy::disallowed_methods, reason = "the second signal asks for it")]
            std::process::exit(128 + signal);
        }
    });
    Ok(())
}

fn report(summary: &Summary, format: live::LogFormat) {
    let text = match format {
        live::LogFormat::Auto => std::io::stderr().is_terminal(),
        live::LogFormat::Text => true,
        live::LogFormat::Json => false,
    };
    if text {
        eprintln!("{summary}");
        return;
    }
    let numbers = serde_json::to_string(summary).unwrap_or_default();
    tracing::info!(pipeline = summary.pipeline, summary = numbers, "done");
}
