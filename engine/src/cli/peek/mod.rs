//! `pipe peek`: records of a topic, a file or dead letters, as a table or as JSON lines.

mod rows;
mod table;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::ValueEnum;

use super::load::EXIT_WRONG;
use super::sample::{self, Where};
use super::say;
use super::text::{Out, cut, json, line};
use crate::error::{Code, Error, Result};
use crate::run::observe::summary::grouped;
use crate::secret;
use crate::units::PEEK_RECORDS;
use rows::{Row, cells, json_lines, rows};

/// Show records of a topic, a file or dead letters as a table.
///
/// No group is joined and nothing is committed. Of a topic the last records are shown, over all of its partitions; of a
/// file the first ones. JSON and CSV are taken apart into columns, other records are shown whole: text as text with
/// control characters escaped, all else as hexadecimal digits. Of dead letters the cause comes first. On a terminal the
/// table is as wide as that, with cells cut at `…`; `--json` has everything.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  pipe peek orders.jsonl
  pipe peek orders --brokers localhost:9092 --records 100
  pipe peek pipeline.yaml                  # its only source
  pipe peek pipeline.yaml --dead-letters
  pipe peek orders --brokers localhost:9092 --json | jq .value.id")]
pub struct Args {
    #[command(flatten)]
    at: Where,
    /// Show so many records at most
    #[arg(short = 'n', long, value_name = "NUMBER", default_value_t = PEEK_RECORDS, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    records: u64,
    /// Which end of a topic [default: end]
    #[arg(long, value_enum)]
    from: Option<End>,
    /// The dead letters of the pipeline, not what its source reads
    #[arg(long, conflicts_with = "brokers")]
    dead_letters: bool,
    /// One JSON object a line: place, time, key, headers and value
    #[arg(long)]
    json: bool,
}

/// An end of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum End {
    /// The first records.
    Start,
    /// The last ones.
    End,
}

/// Shows them.
pub fn run(args: &Args) -> Result<ExitCode> {
    let found = match args.dead_letters {
        true if !sample::is_pipeline(args.at.place.as_ref()) => {
            let message =
                format!("`{}` is no pipeline file, so it names no dead letters", line(&args.at.place));
            return Err(Error::user(Code::C004, message)
                .help("leave `--dead-letters` out, and name their file or topic"));
        }
        true => args.at.find_letters()?,
        false => args.at.find()?,
    };
    let Some(found) = found else { return Ok(ExitCode::from(EXIT_WRONG)) };
    if args.from == Some(End::End) && !found.is_topic() {
        return Err(
            Error::user(Code::C005, "only a topic can be read from its end").help("leave `--from` out")
        );
    }
    let from = if args.from == Some(End::Start) { sample::From::Start } else { sample::From::End };
    let sample = match found.read(args.records, from) {
        // Nothing has failed yet.
        Err(error) if args.dead_letters && matches!(error.code(), Code::S001 | Code::S003) => {
            say(&format!("no dead letters: {}\n", error.message()));
            return Ok(ExitCode::SUCCESS);
        }
        read => read?,
    };
    let mut out = Out::new();
    let count = match args.json {
        true => {
            let lines = json_lines(&sample)?;
            for text in &lines {
                if !out.print(&(secret::hide(&json(text)).into_owned() + "\n"))? {
                    break;
                }
            }
            lines.len()
        }
        false => {
            let rows: Vec<Row> = rows(&sample)?;
            let terminal = std::io::stdout().is_terminal();
            let width = terminal
                .then(|| terminal_size::terminal_size().map_or(80, |(width, _)| usize::from(width.0)));
            let (head, cells) = cells(&rows);
            out.print(&secret::hide(&table::render(&head, &cells, width)))?;
            rows.len()
        }
    };
    let mut text = format!("{} records of {}", grouped(count as u64), line(&sample.of));
    if sample.is_cut {
        text.push_str("; more would take too much memory");
    }
    if let Some(why) = &sample.bad.1 {
        text.push_str(&format!(
            "; {} are not {}: {}",
            grouped(sample.bad.0),
            sample.format.name,
            cut(why, 200)
        ));
    }
    if let Some(note) = &sample.note {
        text.push_str(&format!("\n{note}"));
    }
    say(&(text + "\n"));
    Ok(ExitCode::SUCCESS)
}
