//! What a stage writes into the engine's log: bounded in length and rate, what is suppressed is counted.
//!
//! What it says last, as an error or on standard error, waits for the end of the call: after a trap it is the cause, and
//! goes into the failure instead of the log, which would have it again for each try.

use std::sync::Arc;
use std::time::Duration;

use crate::batch::Origin;
use crate::clock::{Clock, SystemClock};
use crate::secret::{cut, hide, longest};
use crate::units;

/// How grave a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

/// The log of one instance.
pub(super) struct Log {
    node: Arc<str>,
    lines_per_second: u32,
    clock: SystemClock,
    /// Start of the second that is counted.
    since: Duration,
    written: u32,
    /// Lines left out since the last report.
    suppressed: u64,
    /// The same since somebody asked.
    uncounted: u64,
    /// The first of the rows that the stage is at.
    origin: Option<Origin>,
    /// What was said last, where it may be the cause of a trap.
    last: Vec<(Level, String)>,
}

/// Where a line comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// The contract's `log`, or standard output: a line is whole.
    Log,
    /// Standard error: what belongs together may have several lines.
    Stderr,
}

impl Log {
    pub(super) fn new(node: Arc<str>, lines_per_second: u32) -> Self {
        let clock = SystemClock::default();
        Self {
            node,
            lines_per_second,
            since: clock.now(),
            clock,
            written: 0,
            suppressed: 0,
            uncounted: 0,
            origin: None,
            last: Vec::new(),
        }
    }

    /// Takes a line. What may be the cause of a trap waits for [`Log::call_ended`] or [`Log::trapped`].
    pub(super) fn line(&mut self, level: Level, from: Said, message: &str) {
        match from {
            Said::Log => self.call_ended(),
            Said::Stderr => {
                let held: usize = self.last.iter().map(|(_, line)| line.len()).sum();
                // A cause of interpreters ends with what went wrong: more than fits is written from its beginning.
                if held + message.len() > units::DEAD_LETTER_MESSAGE_BYTES_MAX {
                    self.call_ended();
                }
            }
        }
        if from == Said::Stderr || level == Level::Error {
            // Cut as a cause is, and one that a secret ends beyond the cut is hidden all the same.
            let most =
                units::DEAD_LETTER_MESSAGE_BYTES_MAX.max(units::STAGE_LOG_LINE_BYTES_MAX) + longest() + 1;
            self.last.push((level, message[..message.floor_char_boundary(most)].to_owned()));
        } else {
            self.write(level, message);
        }
    }

    /// A call has ended without a trap: what was said last is a line like others.
    pub(super) fn call_ended(&mut self) {
        if self.last.is_empty() {
            return;
        }
        for (level, message) in std::mem::take(&mut self.last) {
            self.write(level, &message);
        }
    }

    /// A call has trapped: what was said last, which is not written.
    pub(super) fn trapped(&mut self) -> Vec<String> {
        std::mem::take(&mut self.last).into_iter().map(|(_, message)| message).collect()
    }

    /// Writes a line, or counts it as suppressed.
    fn write(&mut self, level: Level, message: &str) {
        let now = self.clock.now();
        if now.saturating_sub(self.since) >= Duration::from_secs(1) {
            self.report();
            self.since = now;
            self.written = 0;
        }
        if self.written >= self.lines_per_second {
            self.suppressed += 1;
            self.uncounted += 1;
            return;
        }
        self.written += 1;
        let message = clean(message);
        let node = &*self.node;
        let origin = self.origin.as_ref();
        let topic = origin.map(|origin| &*origin.batch.topic);
        let partition = origin.map(|origin| origin.batch.partition);
        let offset = origin.map(Origin::offset);
        match level {
            Level::Debug => {
                tracing::debug!(target: "pipe::stage", stage = node, topic, partition, offset, "{message}");
            }
            Level::Info => {
                tracing::info!(target: "pipe::stage", stage = node, topic, partition, offset, "{message}");
            }
            Level::Warn => {
                tracing::warn!(target: "pipe::stage", stage = node, topic, partition, offset, "{message}");
            }
            Level::Error => {
                tracing::error!(target: "pipe::stage", stage = node, topic, partition, offset, "{message}");
            }
        }
    }

    /// The rows that follow begin with this one.
    pub(super) fn about(&mut self, origin: Option<Origin>) {
        self.origin = origin;
    }

    /// Lines left out since this was asked last.
    pub(super) fn take_suppressed(&mut self) -> u64 {
        std::mem::take(&mut self.uncounted)
    }

    /// Lines left out since the last report.
    #[cfg(test)]
    pub(super) fn suppressed(&self) -> u64 {
        self.suppressed
    }

    fn report(&mut self) {
        if self.suppressed > 0 {
            let (stage, lines) = (&*self.node, self.suppressed);
            tracing::warn!(target: "pipe::stage", stage, lines, "log lines of the stage were suppressed");
            self.suppressed = 0;
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.call_ended();
        self.report();
    }
}

/// A stage's own words as others may be shown them: without secrets, cut, and without what would drive a terminal or
/// turn the text around. Line ends stay, because the causes of interpreters have several lines.
pub(super) fn plain(text: &str, bytes_max: usize) -> String {
    cut(text, bytes_max)
        .chars()
        .map(|c| if is_safe(c) || c == '\n' || c == '\t' { c } else { '\u{fffd}' })
        .collect()
}

fn is_safe(c: char) -> bool {
    !c.is_control() && !matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// One line without control characters: a stage must not be able to forge lines or drive a terminal.
fn clean(message: &str) -> String {
    let message = hide(message.trim_end());
    let short = &message[..message.floor_char_boundary(units::STAGE_LOG_LINE_BYTES_MAX)];
    let mut line: String = short.chars().map(|c| if is_safe(c) { c } else { ' ' }).collect();
    if short.len() < message.len() {
        line.push_str("...");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_and_cleaned() {
        assert_eq!(clean("a\nb\x1b[31m\r\n"), "a b [31m");
        let long = "\u{e9}".repeat(units::STAGE_LOG_LINE_BYTES_MAX);
        let cut = clean(&long);
        assert!(cut.len() <= units::STAGE_LOG_LINE_BYTES_MAX + 3);
        assert!(cut.ends_with("..."));
    }

    #[test]
    fn a_secret_is_hidden_before_it_is_cut_or_cleaned() {
        let secret = format!("bell\u{7}-{}", "quoll".repeat(units::STAGE_LOG_LINE_BYTES_MAX));
        crate::secret::keep(&secret);
        assert_eq!(clean(&format!("it is {secret}!")), "it is ***!");
        assert_eq!(plain(&format!("it is {secret}!"), 20), "it is ***!");
    }

    #[test]
    fn words_of_a_stage_drive_no_terminal() {
        assert_eq!(plain("a\n\tb\x1b[2J\r\0\u{202e}c", 100), "a\n\tb\u{fffd}[2J\u{fffd}\u{fffd}\u{fffd}c");
        assert_eq!(plain("abcdef", 3), "abc");
    }

    #[test]
    fn what_is_said_last_waits_until_it_is_known_whether_it_is_a_cause() {
        let mut log = Log::new("n".into(), 100);
        log.line(Level::Error, Said::Log, "first");
        log.line(Level::Error, Said::Log, "second");
        assert_eq!((log.written, log.trapped()), (1, vec!["second".to_owned()]), "one line is the cause");
        log.line(Level::Error, Said::Log, "third");
        log.line(Level::Info, Said::Log, "fourth");
        assert_eq!((log.written, log.trapped()), (3, vec![]));
        log.line(Level::Warn, Said::Stderr, "of");
        log.line(Level::Warn, Said::Stderr, "several lines");
        assert_eq!(log.trapped(), ["of", "several lines"]);
        log.line(Level::Warn, Said::Stderr, &"x".repeat(units::DEAD_LETTER_MESSAGE_BYTES_MAX));
        log.line(Level::Warn, Said::Stderr, "the end");
        assert_eq!((log.written, log.trapped()), (4, vec!["the end".to_owned()]));
        log.line(Level::Error, Said::Log, "no trap");
        log.call_ended();
        assert_eq!((log.written, log.trapped()), (5, vec![]));
    }

    #[test]
    fn a_flood_is_suppressed_and_counted() {
        let mut log = Log::new("n".into(), 3);
        for _ in 0..10 {
            log.line(Level::Debug, Said::Log, "x");
        }
        assert_eq!(log.suppressed(), 7);
        assert_eq!((log.take_suppressed(), log.take_suppressed()), (7, 0));
    }
}
