//! What a person sees while a worker runs: a line an edge on a terminal, a line an edge in the logs otherwise.

use std::io::{self, IsTerminal};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::run::observe::stats::Stats;
use crate::run::observe::summary::grouped;

/// The lines at the bottom of the terminal; log lines are printed above them.
static LINES: OnceLock<MultiProgress> = OnceLock::new();

/// The lines, to add one.
pub fn lines() -> &'static MultiProgress {
    LINES.get_or_init(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()))
}

/// Prints something with the live lines out of the way.
pub fn above_the_lines<T>(print: impl FnOnce() -> T) -> T {
    match LINES.get() {
        Some(lines) => lines.suspend(print),
        None => print(),
    }
}

const DRAW: Duration = Duration::from_millis(500);
const LOG: Duration = Duration::from_secs(10);

/// Shows progress until `done` is disconnected: redrawn twice a second on a terminal, logged every 10 s otherwise.
pub fn show(stats: &Arc<Stats>, done: &crossbeam_channel::Receiver<()>) {
    if io::stderr().is_terminal() { draw(stats, done) } else { log(stats, done) }
}

fn draw(stats: &Arc<Stats>, done: &crossbeam_channel::Receiver<()>) {
    let lines = lines();
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
