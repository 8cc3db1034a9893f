//! `pipe dead-letters show`.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use super::list::json_line;
use super::{Letters, Where, wrong};
use crate::cli::text::{Out, block, inline, line, moment};
use crate::dead_letter::{Bytes, Found, Letter, Place};
use crate::error::{Code, Error, Result};

/// Show one dead letter whole: its cause, key, headers and value.
///
/// Text is shown as text with control characters escaped, all else as hexadecimal digits.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  pipe dead-letters show pipeline.yaml 0/12")]
pub struct Args {
    /// The pipeline file: it says where the dead letters are.
    #[arg(value_name = "PIPELINE")]
    file: PathBuf,
    /// Where it lies: `PARTITION/OFFSET` in a topic, the number of its line in a file
    #[arg(value_name = "PLACE")]
    place: Place,
    /// Overrides a key of the file: `--set lanes=2`. Variables are expanded as in the file.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Read this file of dead letters, not the topic or file that the pipeline names
    #[arg(long, value_name = "FILE")]
    letters: Option<PathBuf>,
    /// As one JSON object
    #[arg(long)]
    json: bool,
}

/// Prints it.
pub fn run(args: &Args) -> Result<ExitCode> {
    let at = Where { file: args.file.clone(), set: args.set.clone(), letters: args.letters.clone() };
    let Some(letters) = Letters::find(&at)? else { return Ok(wrong()) };
    let found = match letters.open(Some(args.place))? {
        Some(mut reader) => reader.next()?,
        None => None,
    };
    let letter = match found {
        Some(Found::Letter(letter)) if letter.place == args.place => letter,
        Some(Found::Other(place, why)) if place == args.place => {
            let text =
                format!("what lies at {place} in {} is no dead letter: {}", letters.describe(), line(&why));
            return Err(Error::user(Code::K005, text));
        }
        _ => {
            let text = format!("there is nothing at {} in {}", args.place, letters.describe());
            return Err(Error::user(Code::K005, text).help("`pipe dead-letters list` shows the places"));
        }
    };
    let text = if args.json { json_line(&letter)? + "\n" } else { shown(&letter, &letters.describe()) };
    Out::new().print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn shown(letter: &Letter, place: &str) -> String {
    let l = &letter.line;
    let mut out = String::new();
    let mut field = |name: &str, text: &str| {
        let _ = writeln!(out, "{name:<10} {text}");
    };
    field("place", &format!("{} in {}", letter.place, line(place)));
    field("failed at", &format!("{}, attempt {}", moment(l.failed_at), l.attempt));
    field("pipeline", &line(&l.pipeline));
    if let Some(source) = &l.source {
        field("source", &line(source));
    }
    field("stage", &line(&l.stage));
    if let Some(component) = &l.component {
        field("component", &line(component));
    }
    field("kind", &line(&l.kind));
    field("message", &line(&l.message));
    let time = l.timestamp.map_or(String::new(), |time| format!(", of {}", moment(time)));
    field("record", &format!("{}/{} at {}{time}", line(&l.topic), l.partition, l.offset));
    let slice = |bytes: &Option<Bytes>| bytes.as_ref().map(|b| b.as_slice().to_vec());
    field("key", &inline(slice(&l.key).as_deref()));
    field("headers", &l.headers.len().to_string());
    for (name, value) in &l.headers {
        let (name, value) = (inline(Some(name.as_slice())), inline(slice(value).as_deref()));
        let _ = writeln!(out, "  {name}: {value}");
    }
    match &l.value {
        None => out.push_str("value      null\n"),
        Some(value) => {
            let _ = writeln!(out, "value      {} bytes", value.as_slice().len());
            out.push_str(&block(value.as_slice(), "  "));
        }
    }
    out
}
