//! `pipe run`: a worker.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::load::{EXIT_WRONG, Form, load_plan};
use super::logs::LogFormat;
use super::{compiles, live, logs};
use crate::admin::{Address, Server};
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
    pub(super) file: PathBuf,
    /// Overrides a key of the file: `--set lanes=2`. Variables are expanded as in the file.
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
    log_format: LogFormat,
    /// Where `/metrics`, `/readyz`, `/livez` and `/healthz` are served: `host:port`, `:port` for all interfaces, or
    /// `off` [default: 127.0.0.1:9464, and off where that is taken]
    #[arg(long, value_name = "ADDRESS", env = "PIPE_ADMIN", hide_env_values = true)]
    admin: Option<Address>,
    /// A lane or partition that has work and has not moved for this long makes the worker unready; four times as
    /// long, and a restart is asked for
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = stuck_after)]
    stuck_after: Duration,
    /// Exit with 1 (X017) when more than N rows went to the dead letters, by the end of the run. The others are written
    /// and committed as always [default of N: 0]
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "0")]
    pub(super) fail_on_dead_letters: Option<u64>,
}

fn stuck_after(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|e| e.to_string())?;
    let bounds = Duration::from_secs(1)..=Duration::from_secs(24 * 60 * 60);
    if bounds.contains(&time) { Ok(time) } else { Err("from 1s to 24h".to_owned()) }
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
    logs::start(args.log_format);
    compiles::tell_all();
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
    logs::name(&plan.name);
    let signals = match Signals::handle() {
        Ok(signals) => signals,
        Err(error) => return Ok(failed(&error)),
    };
    tracing::info!(lanes = plan.lanes, "starting");
    let letters = plan.dead_letters.to_string();
    let (summary, result) = match work(plan, &options, args, &signals) {
        Ok(ended) => ended,
        Err(error) => return Ok(failed(&error)),
    };
    report(&summary, args.log_format);
    let allowed = args.fail_on_dead_letters.unwrap_or(u64::MAX);
    Ok(match result.and_then(|()| summary.within(allowed, &letters, &args.file)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    })
}

/// Logs why a run ended; its exit code.
pub(super) fn failed(error: &Error) -> ExitCode {
    tracing::error!(code = error.code().as_str(), "{error}");
    ExitCode::from(1)
}

fn work(
    plan: crate::plan::Plan,
    options: &Options,
    args: &Args,
    signals: &Signals,
) -> Result<(Summary, Result<()>)> {
    // Before anything is opened: a worker that cannot be watched as it was told must not join a group.
    let server = Server::start(args.admin.as_ref().unwrap_or(&Address::Default))?;
    let running = run::start(plan, options, Arc::new(SystemClock::default()))?;
    tracing::debug!("sources and sinks are open");
    signals.attach(running.stopper());
    let stats = Arc::clone(&running.stats);
    if let Some(server) = server {
        server.attach(Arc::clone(&stats), args.stuck_after);
    }
    let (done, ended) = crossbeam_channel::bounded::<()>(0);
    let shown = std::thread::spawn(move || live::show(&stats, &ended));
    let result = running.wait();
    drop(done);
    // A display that panicked must not change how the run ended.
    let _ = shown.join();
    Ok(result)
}

/// The first signal drains, the second ends at once. They are handled before the worker joins its group: one that
/// comes meanwhile stops it when it runs, and nobody waits for the session of a member that has just come.
struct Signals(Arc<Mutex<Stop>>);

#[derive(Default)]
struct Stop {
    asked: bool,
    stopper: Option<Stopper>,
}

impl Stop {
    fn look(&self) {
        if let (true, Some(stopper)) = (self.asked, &self.stopper) {
            stopper.stop();
        }
    }
}

impl Signals {
    fn handle() -> Result<Self> {
        use signal_hook::consts::{SIGINT, SIGTERM};
        let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])
            .map_err(|e| Error::external(Code::X004, format!("signals cannot be handled: {e}")))?;
        let stop = Arc::new(Mutex::new(Stop::default()));
        let asked = Arc::clone(&stop);
        std::thread::spawn(move || {
            let mut received = signals.forever();
            if received.next().is_some() {
                tracing::info!(
                    "stopping: no more is read, what was read is committed; a second signal ends at once"
                );
                let mut stop = asked.lock().unwrap_or_else(PoisonError::into_inner);
                stop.asked = true;
                stop.look();
            }
            if let Some(signal) = received.next() {
                tracing::warn!("ending at once; what is not committed comes again at the next start");
                #[expect(clippy::disallowed_methods, reason = "the second signal asks for it")]
                std::process::exit(128 + signal);
            }
        });
        Ok(Self(stop))
    }

    /// The worker runs.
    fn attach(&self, stopper: Stopper) {
        let mut stop = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stop.stopper = Some(stopper);
        stop.look();
    }
}

fn report(summary: &Summary, format: LogFormat) {
    if format.is_text() {
        super::say(&format!("{summary}\n"));
        return;
    }
    let numbers = serde_json::to_string(summary).unwrap_or_default();
    tracing::info!(json.summary = numbers, "done");
}
