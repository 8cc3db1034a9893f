//! Which letters a replay takes: the letters read once, those picked that are wanted and not done.

use std::collections::HashSet;

use super::list::{Others, Sums};
use super::selection::{Command, Way};
use super::{Letters, Progress};
use crate::cli::text::{cut, line};
use crate::dead_letter::{Found, Letter, Reader};
use crate::error::Result;
use crate::plan::{Plan, SourceNode};
use crate::run::replay::fits;
use crate::run::replay::journal::Identity;

/// What letters would be, or were, replayed.
#[derive(Default)]
pub(super) struct Tally {
    pub chosen: Sums,
    pub others: Others,
    /// Replayed before.
    pub before: u64,
    /// Further letters of records that were picked.
    pub repeats: u64,
    /// Of sources that the pipeline does not have.
    pub homeless: u64,
    /// Read under another header than the source's file has now, with the first of the headers and that one.
    pub changed: u64,
    pub headers: Option<(String, String)>,
    pub failed_again: u64,
}

/// Names of a plan's nodes, and the headers of its sources.
pub(super) struct Names {
    sources: Vec<String>,
    headers: Vec<Option<Vec<String>>>,
    pub all: Vec<String>,
}

impl Names {
    pub fn of(plan: &Plan) -> Self {
        let sources: Vec<String> = plan.sources.iter().map(|s| s.name.to_string()).collect();
        let stages = plan.stages.iter().map(|s| s.name.to_string());
        let sinks = plan.sinks.iter().map(|s| s.name.to_string());
        let header = |s: &SourceNode| s.format.as_ref().and_then(|f| f.header()).map(<[String]>::to_vec);
        let headers = plan.sources.iter().map(header).collect();
        Self { all: sources.iter().cloned().chain(stages).chain(sinks).collect(), sources, headers }
    }

    /// What the header of a source's file names the fields now.
    fn header(&self, source: &str) -> Option<&[String]> {
        let at = self.sources.iter().position(|s| s == source)?;
        self.headers[at].as_deref()
    }

    /// The source that a letter's record came from. Letters of the first version do not say it.
    fn source<'a>(&'a self, letter: &Letter) -> Option<&'a str> {
        let by_name = |name: &str| self.sources.iter().find(|s| *s == name).map(String::as_str);
        match (&letter.line.source, self.sources.as_slice()) {
            (Some(name), _) => by_name(name),
            (None, [only]) => Some(only),
            (None, _) => by_name(&letter.line.stage),
        }
    }
}

/// Reads the letters once and picks those that are to be replayed.
pub(super) struct Scan {
    reader: Box<dyn Reader>,
    pub progress: Progress,
    pub tally: Tally,
    /// Records that were picked, however often they have failed.
    seen: HashSet<Identity>,
    /// Letters of records that were picked by another letter: they are done with it.
    pub repeats: Vec<Identity>,
}

impl Scan {
    /// `None`: there are no letters yet.
    pub fn new(letters: &Letters) -> Result<Option<Self>> {
        Ok(letters.open(None)?.map(|reader| Self {
            reader,
            progress: Progress::new(),
            tally: Tally::default(),
            seen: HashSet::new(),
            repeats: Vec::new(),
        }))
    }

    /// The next letter to replay, and its source.
    pub fn next<'a>(
        &mut self,
        command: &Command<'_>,
        way: Option<&Way>,
        names: &'a Names,
    ) -> Result<Option<(&'a str, Letter)>> {
        let tally = &mut self.tally;
        while tally.chosen.all() < command.args.filter.limit.unwrap_or(u64::MAX) {
            self.progress.tell(self.reader.as_ref());
            let letter = match self.reader.next()? {
                None => break,
                Some(Found::Letter(letter)) => *letter,
                Some(Found::Other(place, why)) => {
                    tally.others.note_strange(&place, &why);
                    continue;
                }
            };
            if letter.line.pipeline != command.letters.pipeline {
                tally.others.note_foreign();
                continue;
            }
            if !command.chooses(way, &letter) {
                continue;
            }
            let identity = command.identity(&letter);
            if !command.args.again && command.known.contains(&identity) {
                tally.before += 1;
                continue;
            }
            let Some(source) = names.source(&letter) else {
                tally.homeless += 1;
                continue;
            };
            let header = names.header(source);
            if !fits(&letter, header) {
                tally.changed += 1;
                let shown = |names: Option<&[String]>| cut(&line(&names.unwrap_or_default().join(",")), 200);
                tally.headers.get_or_insert_with(|| (shown(letter.line.columns.as_deref()), shown(header)));
                continue;
            }
            if !self.seen.insert(letter.line.record(command.args.from_stage.is_some())) {
                tally.repeats += 1;
                self.repeats.push(identity);
                continue;
            }
            tally.chosen.add(&letter);
            return Ok(Some((source, letter)));
        }
        self.progress.clear();
        Ok(None)
    }
}
