//! The end of a run in numbers, and whether they balance.

use std::fmt::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use super::stats::Stats;
use crate::error::{Code, Error, Result};
use crate::metrics;

/// What a worker did.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Summary {
    /// Name of the pipeline.
    pub pipeline: String,
    /// How long it ran.
    pub elapsed: Duration,
    /// By source.
    pub sources: Vec<Source>,
    /// By stage.
    pub stages: Vec<Stage>,
    /// By edge.
    pub edges: Vec<Edge>,
    /// By sink.
    pub sinks: Vec<Sink>,
    /// Failed rows that reached the dead-letter writer, and those that it made durable.
    pub dead_letters: (u64, u64),
    /// Epochs committed.
    pub commits: u64,
    /// Rewinds to what is committed.
    pub rewinds: u64,
    /// Whether the run came to its end; after a failure rows are on their way, and the sums say nothing.
    pub complete: bool,
}

/// A source: read = decoded + dead-lettered + skipped.
#[derive(Debug, Clone, serde::Serialize)]
#[expect(missing_docs, reason = "the fields are the terms of the sum above")]
pub struct Source {
    pub name: String,
    pub read: u64,
    pub decoded: u64,
    pub dead_lettered: u64,
    pub skipped: u64,
    /// Fields of good records that the guessed columns have no place for; no term of the sum.
    pub unknown_fields: u64,
}

/// A stage: rows in = reached + filtered + rejected + failed; rejected + failed = dead-lettered + skipped.
#[derive(Debug, Clone, serde::Serialize)]
#[expect(missing_docs, reason = "the fields are the terms of the sums above")]
pub struct Stage {
    pub name: String,
    pub rows_in: u64,
    pub reached: u64,
    pub filtered: u64,
    pub rejected: u64,
    pub failed: u64,
    pub dead_lettered: u64,
    pub skipped: u64,
    pub rows_out: u64,
    pub memory_peak: u64,
}

/// An edge: sent = received + dropped.
#[derive(Debug, Clone, serde::Serialize)]
#[expect(missing_docs, reason = "the fields are the terms of the sum above")]
pub struct Edge {
    pub from: String,
    pub to: String,
    pub sent: u64,
    pub received: u64,
    pub dropped: u64,
}

/// A sink: received = written + dead-lettered + skipped + pending.
#[derive(Debug, Clone, serde::Serialize)]
#[expect(missing_docs, reason = "the fields are the terms of the sum above")]
pub struct Sink {
    pub name: String,
    pub received: u64,
    pub written: u64,
    pub bytes: u64,
    pub dead_lettered: u64,
    pub skipped: u64,
    /// What a run that ended by a failure had given to the sink, and the sink had not made durable.
    pub pending: u64,
}

impl Sink {
    fn of(name: &str, s: &metrics::Sink, complete: bool) -> Self {
        let [written, dead_lettered, skipped, pending] =
            [s.written.get(), s.dead_lettered.get(), s.skipped.get(), s.pending.get()];
        // A sink counts what it has received when it is durable: rows that a failure left come on top.
        let received = if complete { s.received.get() } else { written + dead_lettered + skipped + pending };
        Self {
            name: name.to_owned(),
            received,
            written,
            bytes: s.bytes.get(),
            dead_lettered,
            skipped,
            pending,
        }
    }
}

impl Summary {
    pub(in crate::run) fn of(stats: &Stats, complete: bool) -> Self {
        let sources = stats.sources.iter().map(|(name, s)| Source {
            name: name.to_string(),
            read: s.read.get(),
            decoded: s.decoded.get(),
            dead_lettered: s.dead_lettered.get(),
            skipped: s.skipped.get(),
            unknown_fields: s.unknown_fields.get(),
        });
        let stages = stats.stages.iter().map(|(name, s)| Stage {
            name: name.to_string(),
            rows_in: s.rows_in.get(),
            reached: s.reached.get(),
            filtered: s.filtered.get(),
            rejected: s.rejected.get(),
            failed: s.failed.get(),
            dead_lettered: s.dead_lettered.get(),
            skipped: s.skipped.get(),
            rows_out: s.rows_out.get(),
            memory_peak: s.memory_peak.get(),
        });
        let sinks = stats.sinks.iter().map(|(name, s)| Sink::of(name, s, complete));
        let edges = stats.edges.iter().map(|e| Edge {
            from: e.from.clone(),
            to: e.to.to_string(),
            sent: e.stats.sent.get(),
            received: e.stats.received.get(),
            dropped: e.stats.dropped.get(),
        });
        Self {
            pipeline: stats.pipeline.clone(),
            elapsed: stats.clock.now() - stats.started,
            sources: sources.collect(),
            stages: stages.collect(),
            edges: edges.collect(),
            sinks: sinks.collect(),
            dead_letters: (stats.worker.dead_letters_received.get(), stats.worker.dead_letters_written.get()),
            commits: stats.worker.commits.get(),
            rewinds: stats.worker.rewinds.get(),
            complete,
        }
    }

    /// Every sum that does not balance, in words.
    pub fn imbalances(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut check = |what: &str, name: &str, left: u64, right: u64| {
            if left != right {
                found.push(format!("{what} `{name}`: {left} is not {right}"));
            }
        };
        for s in &self.sources {
            check("read by source", &s.name, s.read, s.decoded + s.dead_lettered + s.skipped);
        }
        for s in &self.stages {
            check("rows in of stage", &s.name, s.rows_in, s.reached + s.filtered + s.rejected + s.failed);
            check("failures of stage", &s.name, s.rejected + s.failed, s.dead_lettered + s.skipped);
        }
        for e in &self.edges {
            check("sent over edge", &format!("{} -> {}", e.from, e.to), e.sent, e.received + e.dropped);
        }
        for s in &self.sinks {
            check(
                "received by sink",
                &s.name,
                s.received,
                s.written + s.dead_lettered + s.skipped + s.pending,
            );
        }
        // After a rewind rows come again: the nodes have counted both times, durable is what came the last time.
        if self.rewinds == 0 {
            self.check_flow(&mut check);
        }
        found
    }

    /// What flows between nodes: what one says it gave the other says it took.
    fn check_flow(&self, check: &mut impl FnMut(&str, &str, u64, u64)) {
        for s in &self.sources {
            for e in self.edges.iter().filter(|e| e.from == s.name) {
                check("decoded and sent by source", &s.name, s.decoded, e.sent);
            }
        }
        for s in &self.stages {
            let into: u64 = self.edges.iter().filter(|e| e.to == s.name).map(|e| e.received).sum();
            check("received by stage", &s.name, into, s.rows_in);
        }
        for s in &self.sinks {
            let into: u64 = self.edges.iter().filter(|e| e.to == s.name).map(|e| e.received).sum();
            check("received by sink", &s.name, into, s.received);
        }
        let letters = self.sources.iter().map(|s| s.dead_lettered).sum::<u64>()
            + self.stages.iter().map(|s| s.dead_lettered).sum::<u64>()
            + self.sinks.iter().map(|s| s.dead_lettered).sum::<u64>();
        check("dead letters sent and received by", "dead letters", letters, self.dead_letters.0);
        check(
            "dead letters received and written by",
            "dead letters",
            self.dead_letters.0,
            self.dead_letters.1,
        );
    }

    /// Refuses more dead letters than `allowed`. `place` says where they are, `pipeline` which file to ask about them.
    pub fn within(&self, allowed: u64, place: &str, pipeline: &Path) -> Result<()> {
        let (_, written) = self.dead_letters;
        if written <= allowed {
            return Ok(());
        }
        let message = format!(
            "{} went to the dead letters, and `--fail-on-dead-letters` allows {}: they are in {place}",
            counted(written, "row"),
            grouped(allowed)
        );
        let help = format!("`pipe dead-letters list {}` says what failed and why", pipeline.display());
        Err(Error::user(Code::X017, message).help(help))
    }

    pub(in crate::run) fn check(&self) -> Result<()> {
        match self.imbalances().as_slice() {
            [] => Ok(()),
            found => Err(Error::internal(format!("the sums do not balance: {}", found.join("; ")))
                .help(format!("please report this, it is a bug ({})", Code::X004.as_str()))),
        }
    }
}

/// `1234567` as `1,234,567`.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 commit`, `1,200 commits`.
pub fn counted(n: u64, what: &str) -> String {
    format!("{} {what}{}", grouped(n), if n == 1 { "" } else { "s" })
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows: Vec<(String, String)> = Vec::new();
        let mut row = |name: &str, terms: &[(&str, u64)]| {
            let mut text = String::new();
            for (i, (term, n)) in terms.iter().enumerate() {
                // The first two terms are always said, the others only when they happened.
                if i < 2 || *n > 0 {
                    let _ = write!(text, "{}{} {term}", if i == 0 { "" } else { ", " }, grouped(*n));
                }
            }
            rows.push((name.to_owned(), text));
        };
        for s in &self.sources {
            let failed = [("dead-lettered", s.dead_lettered), ("skipped", s.skipped)];
            row(
                &format!("source {}", s.name),
                &[
                    ("read", s.read),
                    ("decoded", s.decoded),
                    failed[0],
                    failed[1],
                    ("fields left out, as the columns were guessed without them", s.unknown_fields),
                ],
            );
        }
        for s in &self.stages {
            let terms = [
                ("in", s.rows_in),
                ("passed on", s.reached),
                ("filtered", s.filtered),
                ("rejected", s.rejected),
                ("failed", s.failed),
            ];
            row(&format!("stage {}", s.name), &terms);
        }
        for s in &self.sinks {
            let failed = [("dead-lettered", s.dead_lettered), ("skipped", s.skipped)];
            row(
                &format!("sink {}", s.name),
                &[
                    ("received", s.received),
                    ("written", s.written),
                    failed[0],
                    failed[1],
                    ("not yet durable", s.pending),
                ],
            );
        }
        if self.dead_letters.0 > 0 {
            row("dead letters", &[("received", self.dead_letters.0), ("written", self.dead_letters.1)]);
        }
        let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let seconds = self.elapsed.as_secs_f64();
        writeln!(f, "{}: {seconds:.2} s, {}", self.pipeline, counted(self.commits, "commit"))?;
        for (name, text) in rows {
            writeln!(f, "  {name:width$}  {text}")?;
        }
        match self.imbalances().as_slice() {
            _ if !self.complete => write!(f, "  ended by a failure: what was not committed comes again"),
            [] => write!(f, "  every record is accounted for"),
            found => write!(f, "  NOT BALANCED: {}", found.join("; ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }

    fn empty() -> Summary {
        Summary {
            pipeline: "p".into(),
            elapsed: Duration::ZERO,
            sources: vec![],
            stages: vec![],
            edges: vec![],
            sinks: vec![],
            dead_letters: (0, 0),
            commits: 0,
            rewinds: 0,
            complete: true,
        }
    }

    #[test]
    fn one_is_singular() {
        let head = |commits| Summary { commits, ..empty() }.to_string().lines().next().unwrap().to_owned();
        assert_eq!(head(0), "p: 0.00 s, 0 commits");
        assert_eq!(head(1), "p: 0.00 s, 1 commit");
        assert_eq!(head(1_200), "p: 0.00 s, 1,200 commits");
    }

    #[test]
    fn more_dead_letters_than_allowed_are_refused_with_their_place() {
        let with = |letters| Summary { dead_letters: (letters, letters), ..empty() };
        let judge = |letters, allowed| with(letters).within(allowed, "x.jsonl", Path::new("p.yaml"));
        assert!(judge(0, 0).is_ok() && judge(5, 5).is_ok());
        let error = judge(1, 0).unwrap_err();
        assert_eq!(error.code(), Code::X017);
        assert_eq!(
            error.to_string(),
            "X017: 1 row went to the dead letters, and `--fail-on-dead-letters` allows 0: they are in x.jsonl \
             (`pipe dead-letters list p.yaml` says what failed and why)"
        );
        assert!(judge(1_200, 1_199).unwrap_err().to_string().contains("1,200 rows went"));
    }

    #[test]
    fn a_row_that_vanishes_is_noticed() {
        let stage = Stage {
            name: "s".into(),
            rows_in: 10,
            reached: 4,
            filtered: 5,
            rejected: 0,
            failed: 0,
            dead_lettered: 0,
            skipped: 0,
            rows_out: 4,
            memory_peak: 0,
        };
        let edge = Edge { from: "a".into(), to: "s".into(), sent: 10, received: 10, dropped: 0 };
        let summary = Summary { stages: vec![stage], edges: vec![edge], ..empty() };
        assert_eq!(summary.imbalances(), ["rows in of stage `s`: 10 is not 9"]);
        assert!(summary.check().is_err());
        assert!(summary.to_string().contains("NOT BALANCED"));
    }
}
