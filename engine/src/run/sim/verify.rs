//! Judges what readers of committed records see, from the inputs alone.

use std::collections::BTreeMap;
use std::fmt;

use super::kafka::{Fate, Kafka, LETTERS, OUTPUTS, POISON, Row, Tp};
use super::setup::Setup;
use super::worker::is_bad;
use super::writer::is_refused;

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Lost(String),
    Doubled(String),
    OutOfOrder(String),
    /// A record of an aborted transaction was read.
    Uncommitted(String),
    /// It came to a standstill.
    Unfinished(String),
    /// A worker ended with an error.
    Failed(String),
    Panicked(String),
}

impl Verdict {
    /// In a word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Lost(_) => "lost",
            Self::Doubled(_) => "doubled",
            Self::OutOfOrder(_) => "out of order",
            Self::Uncommitted(_) => "uncommitted",
            Self::Unfinished(_) => "unfinished",
            Self::Failed(_) => "failed",
            Self::Panicked(_) => "panicked",
        }
    }

    /// In a line.
    pub fn short(&self) -> String {
        self.to_string().lines().next().unwrap_or_default().chars().take(160).collect()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Lost(what)
        | Self::Doubled(what)
        | Self::OutOfOrder(what)
        | Self::Uncommitted(what)
        | Self::Unfinished(what)
        | Self::Failed(what)
        | Self::Panicked(what)) = self;
        write!(f, "{}: {what}", self.name())
    }
}

pub fn verify(setup: &Setup, kafka: &Kafka) -> Result<(), Verdict> {
    for (tp, log) in &kafka.logs {
        if log.stable() != log.entries.len() {
            return Err(Verdict::Unfinished(format!("readers of {tp:?} wait at {} for ever", log.stable())));
        }
    }
    let topics = (0..setup.sinks as u8).map(|sink| OUTPUTS + sink).chain([LETTERS]);
    for topic in topics {
        let mut seen: BTreeMap<Tp, Vec<u16>> = BTreeMap::new();
        let logs = kafka.logs.iter().filter(|(tp, _)| tp.0 == topic);
        for entry in logs.flat_map(|(_, log)| &log.entries).filter(|entry| entry.fate == Fate::Kept) {
            seen.entry(entry.row.from).or_default().push(entry.row.n);
        }
        for from in setup.inputs() {
            let has = |n: u16| {
                let row = Row { from, n };
                let fails = is_bad(row) || is_refused(OUTPUTS, row);
                if topic == LETTERS { fails } else { !is_bad(row) && !is_refused(topic, row) }
            };
            let expected: Vec<u16> = (0..setup.rows).filter(|n| has(*n)).collect();
            let mut found = seen.remove(&from).unwrap_or_default();
            if topic == LETTERS {
                // Letters come from several nodes: their order says nothing.
                found.sort_unstable();
            }
            compare(&format!("topic {topic}, records of {from:?}"), &expected, &found)?;
        }
    }
    Ok(())
}

fn compare(place: &str, expected: &[u16], found: &[u16]) -> Result<(), Verdict> {
    if expected == found {
        return Ok(());
    }
    let text = format!("{place}: {found:?} instead of {expected:?}");
    let mut sorted = found.to_vec();
    sorted.sort_unstable();
    let count = |n: &u16| found.iter().filter(|m| *m == n).count();
    Err(if found.iter().any(|n| *n >= POISON) {
        Verdict::Uncommitted(text)
    } else if expected.iter().any(|n| count(n) == 0) {
        Verdict::Lost(text)
    } else if sorted == expected {
        Verdict::OutOfOrder(text)
    } else {
        Verdict::Doubled(text)
    })
}
