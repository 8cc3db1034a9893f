//! `pipe dead-letters list`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::IsTerminal;
use std::process::ExitCode;

use super::{Filter, Letters, Progress, Where, wrong};
use crate::cli::text::{Out, cut, json, line, moment};
use crate::dead_letter::{Found, Letter};
use crate::error::{Error, Result};
use crate::run::observe::summary::{counted, grouped};

/// List dead letters: when, where and why each record failed, and sums by stage and kind.
///
/// Reads the topic or the file to where it ends now, and changes nothing. The first column is the place that
/// `pipe dead-letters show` takes; `at` is the record's offset, in a file its number, from 0.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  pipe dead-letters list pipeline.yaml --since 2h --kind trap
  pipe dead-letters list pipeline.yaml --json | jq -r .message | sort | uniq -c")]
pub struct Args {
    #[command(flatten)]
    at: Where,
    #[command(flatten)]
    filter: Filter,
    /// One JSON object a line, with key, value and headers; the sums go to standard error
    #[arg(long)]
    json: bool,
}

/// Letters by stage and kind.
#[derive(Default)]
pub(super) struct Sums(BTreeMap<String, BTreeMap<String, u64>>);

impl Sums {
    pub(super) fn add(&mut self, letter: &Letter) {
        // Names come from records that anyone may have written: what is shown is bounded.
        let (stage, kind) = (cut(&letter.line.stage, 64), cut(&letter.line.kind, 32));
        let of_stage = if self.0.len() < 1_000 || self.0.contains_key(&stage) { stage } else { "…".into() };
        *self.0.entry(of_stage).or_default().entry(kind).or_default() += 1;
    }

    pub(super) fn all(&self) -> u64 {
        self.0.values().flat_map(BTreeMap::values).sum()
    }

    pub(super) fn stages(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// A line a stage.
    pub(super) fn text(&self) -> String {
        let width = self.0.keys().map(|name| name.chars().count()).max().unwrap_or(0);
        let mut out = String::new();
        for (stage, kinds) in &self.0 {
            let each: Vec<String> = kinds.iter().map(|(kind, n)| format!("{kind} {}", grouped(*n))).collect();
            let _ = writeln!(out, "  {stage:width$}  {}", each.join(", "));
        }
        out
    }
}

/// What was read and is not listed.
#[derive(Default)]
pub(super) struct Others {
    /// Letters of other pipelines.
    foreign: u64,
    /// What is no letter, with the first of it.
    strange: u64,
    first: Option<String>,
}

impl Others {
    pub(super) fn note_strange(&mut self, place: &dyn std::fmt::Display, why: &str) {
        self.strange += 1;
        self.first.get_or_insert_with(|| format!("{place}: {}", cut(why, 200)));
    }

    pub(super) fn note_foreign(&mut self) {
        self.foreign += 1;
    }

    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        if self.foreign > 0 {
            let _ = writeln!(out, "{} letters of other pipelines were left out", grouped(self.foreign));
        }
        if let Some(first) = &self.first {
            let _ =
                writeln!(out, "{} records are no dead letters; the first: {first}", grouped(self.strange));
        }
        out
    }
}

/// Prints them.
pub fn run(args: &Args) -> Result<ExitCode> {
    args.filter.check()?;
    let Some(letters) = Letters::find(&args.at)? else { return Ok(wrong()) };
    let Some(mut reader) = letters.open(None)? else {
        eprintln!("no dead letters: {} does not exist (yet)", letters.describe());
        return Ok(ExitCode::SUCCESS);
    };
    let width = std::io::stdout()
        .is_terminal()
        .then(|| terminal_size::terminal_size().map_or(80, |(width, _)| usize::from(width.0)));
    let (mut out, mut progress) = (Out::new(), Progress::new());
    let (mut sums, mut others) = (Sums::default(), Others::default());
    while args.filter.limit.is_none_or(|limit| sums.all() < limit) {
        progress.tell(reader.as_ref());
        let letter = match reader.next()? {
            None => break,
            Some(Found::Letter(letter)) => letter,
            Some(Found::Other(place, why)) => {
                others.note_strange(&place, &why);
                continue;
            }
        };
        if letter.line.pipeline != letters.pipeline {
            others.note_foreign();
            continue;
        }
        if !args.filter.takes(&letter) {
            continue;
        }
        progress.clear();
        let mut text = String::new();
        if !args.json && sums.all() == 0 {
            let _ = writeln!(text, "{}", row("PLACE", "FAILED AT", "STAGE", "KIND", "RECORD", "MESSAGE"));
        }
        sums.add(&letter);
        text.push_str(&if args.json { json_line(&letter)? } else { table_line(&letter, width) });
        text.push('\n');
        if !out.print(&text)? {
            return Ok(ExitCode::SUCCESS);
        }
    }
    progress.clear();
    let text =
        format!("{} in {}\n{}", counted(sums.all(), "dead letter"), line(&letters.describe()), sums.text());
    if args.json {
        eprint!("{text}");
    } else {
        out.print(&text)?;
    }
    eprint!("{}{}", letters.strangers(&args.filter, &sums), others.text());
    Ok(ExitCode::SUCCESS)
}

fn row(place: &str, at: &str, stage: &str, kind: &str, record: &str, message: &str) -> String {
    format!("{place:<8} {at:<24} {stage:<16} {kind:<14} {record:<24} {message}")
}

fn table_line(letter: &Letter, width: Option<usize>) -> String {
    let l = &letter.line;
    // Of a path the file's own name: `show` has the whole.
    let topic = l.topic.rsplit('/').next().unwrap_or_default();
    let record = format!("{}/{} at {}", line(topic), l.partition, l.offset);
    let (place, at) = (letter.place.to_string(), moment(l.failed_at));
    let text = row(&place, &at, &line(&l.stage), &line(&l.kind), &record, &line(&l.message));
    width.map_or(text.clone(), |width| cut(&text, width))
}

/// The letter as a line of a file of letters, with its place before it.
pub(super) fn json_line(letter: &Letter) -> Result<String> {
    let failed = |e: serde_json::Error| Error::internal(e.to_string());
    let text = serde_json::to_string(&letter.line).map_err(failed)?;
    let rest = text.strip_prefix('{').unwrap_or(&text);
    Ok(json(&format!("{{\"place\":\"{}\",{rest}", letter.place)))
}
