//! What a person sees while a worker runs: a line an edge on a terminal, JSON logs otherwise.

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::run::Stats;
use crate::run::summary::grouped;

/// The lines at the bottom of the terminal; log lines are printed above them.
static LINES: OnceLock<MultiProgress> = OnceLock::new();

/// Standard error, aware of the live lines.
struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match LINES.get() {
            Some(lines) => lines.suspend(|| io::stderr().write(bytes)),
            None => io::stderr().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

impl MakeWriter<'_> for Stderr {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        Self
    }
}

/// How logs look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging to standard error. `RUST_LOG` filters it as usual; the default is `info`.
pub fn start_logs(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(Stderr);
    let text = match format {
        LogFormat::Auto => io::stderr().is_terminal(),
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    // A second start (in tests) keeps the first logger.
    let _ = match text {
        true => builder.with_target(false).with_ansi(io::stderr().is_terminal()).compact().try_init(),
        false => builder.json().flatten_event(true).with_current_span(false).try_init(),
    };
}

const DRAW: Duration = Duration::from_millis(500);
const LOG: Duration = Duration::from_secs(10);

/// Shows progress until `done` is disconnected: redrawn twice a second on a terminal, logged every 10 s otherwise.
pub fn show(stats: &Arc<Stats>, done: &crossbeam_channel::Receiver<()>) {
    if io::stderr().is_terminal() { draw(stats, done) } else { log(stats, done) }
}

fn draw(stats: &Arc<Stats>, done: &crossbeam_channel::Receiver<()>) {
    let lines = LINES.get_or_init(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()));
    let style = ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
    let bars: Vec<ProgressBar> =
        stats.edges.iter().map(|_| lines.add(ProgressBar::no_length().with_style(style.clone()))).collect();
    let width = stats.edges.iter().map(|e| e.from.len() + e.to.len() + 4).max().unwrap_or(0);
    let mut before = vec![0u64; bars.len()];
    let mut at = stats.clock.now();
    while done.recv_timeout(DRAW) == Err(crossbeam_channel::RecvTimeoutError::Timeout) {
        let now = stats.clock.now();
        let seconds = (now - at).as_secs_f64().max(0.001);
        at = now;
        for ((bar, edge), before) in bars.iter().zip(&stats.edges).zip(&mut before) {
            let rows = edge.stats.received.get();
            let rate = ((rows - *before) as f64 / seconds) as u64;
            *before = rows;
            let waiting = edge.stats.sent.get().saturating_sub(rows);
            let name = format!("{} -> {}", edge.from, edge.to);
            bar.set_message(format!(
                "{name:width$}  {:>14} rows  {:>10}/s  {:>7} waiting",
                grouped(rows),
                grouped(rate),
                grouped(waiting),
            ));
        }
    }
    bars.iter().for_each(ProgressBar::finish_and_clear);
}

fn log(stats: &Arc<Stats>, done: &crossbeam_channel::Receiver<()>) {
    while done.recv_timeout(LOG) == Err(crossbeam_channel::RecvTimeoutError::Timeout) {
        for edge in &stats.edges {
            let (sent, rows) = (edge.stats.sent.get(), edge.stats.received.get());
            tracing::info!(
                pipeline = stats.pipeline,
                from = edge.from,
                to = &*edge.to,
                rows,
                waiting = sent.saturating_sub(rows),
                blocked_ms = edge.stats.blocked_ns.get() / 1_000_000,
                "progress"
            );
        }
    }
}
