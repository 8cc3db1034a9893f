//! `pipe init`: a first pipeline, made of a data file or a topic.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueHint;

use super::columns::{Comments, entries, look};
use super::sample::{From, How, Sample, is_pipeline};
use super::say;
use super::text::{Out, line};
use crate::error::{Code, Error, Result};
use crate::format::profile::Field;
use crate::run::observe::summary::grouped;
use crate::units::SAMPLE_RECORDS;

/// Write a first pipeline for a data file or a topic.
///
/// Reads a sample of the records, finds out their format and their columns, and writes a pipeline that prints them: it
/// runs as it is, and every key of it can be changed. Where values of one field are of several types a comment says so.
/// No group is joined, and nothing of the topic or the file is changed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  pipe init orders.jsonl
  pipe init orders --brokers localhost:9092
  pipe init orders --brokers kafka:9093 --property security.protocol=SASL_SSL \\
      --property sasl.mechanism=SCRAM-SHA-512 --property sasl.username=me \\
      --property 'sasl.password=${file:/run/secrets/kafka}'
Then:
  pipe check pipeline.yaml
  pipe run --until-end pipeline.yaml")]
pub struct Args {
    /// A data file, or with `--brokers` a topic
    #[arg(value_name = "DATA|TOPIC", value_hint = ValueHint::FilePath)]
    place: String,
    #[command(flatten)]
    how: How,
    /// The pipeline file to write
    #[arg(short, long, value_name = "FILE", default_value = "pipeline.yaml", value_hint = ValueHint::FilePath)]
    out: PathBuf,
    /// Write over a file that is there
    #[arg(long)]
    force: bool,
    /// Look at so many records at most
    #[arg(long, value_name = "NUMBER", default_value_t = SAMPLE_RECORDS, value_parser = clap::value_parser!(u64).range(1..))]
    records: u64,
}

/// Writes it, and says what is next.
pub fn run(args: &Args) -> Result<ExitCode> {
    let out = args.out.display();
    if args.how.brokers.is_none() && is_pipeline(Path::new(&args.place)) {
        let message = format!("`{}` is a pipeline file already", line(&args.place));
        return Err(Error::user(Code::C005, message).help("name a data file, or a topic with `--brokers`"));
    }
    if !args.force && args.out.symlink_metadata().is_ok() {
        return Err(Error::user(Code::C001, format!("`{out}` is there already, and is left as it is"))
            .help("name another file with `--out`, or say `--force` to write over it"));
    }
    let found = args.how.find(&args.place)?;
    let sample = found.read(args.records, From::Spread)?;
    let Some(draft) = found.draft else { return Err(Error::internal("no draft of a data file")) };
    if let Some(property) = draft.plain_secret() {
        let message = format!("`{property}` would stand in `{out}` in plain text");
        let help = format!(
            "put it into a file that only you can read: `--property '{property}=${{file:/run/secrets/kafka}}'`"
        );
        return Err(Error::user(Code::P010, message).help(help));
    }
    let mut draft = draft.into_folder(args.out.parent().unwrap_or(Path::new("")))?;
    draft.learn(&sample);
    // Of records without fields, and of files that say their columns themselves, there are none to write.
    let declares = matches!(sample.format.name.as_str(), "json" | "csv");
    let fields = if declares { look(&sample)?.1.fields } else { Vec::new() };
    let text = head(&draft.place(), &sample, &fields) + &draft.text(&entries(&fields, Comments::Doubts));
    write(&args.out, &text, args.force)?;
    if let Some(note) = &sample.note {
        say(&format!("{note}\n"));
    }
    Out::new().print(&format!(
        "{out}: the pipeline `{}` reads {}{}\nnext:\n  pipe check {out}\n  pipe run --until-end {out}\n",
        draft.name,
        line(&draft.place()),
        counted(&fields),
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn counted(fields: &[Field]) -> String {
    let doubtful = fields.iter().filter(|field| field.disagrees).count();
    match (fields.len(), doubtful) {
        (0, _) => String::new(),
        (all, 0) => format!(", {all} columns"),
        (all, doubtful) => format!(", {all} columns; the types of {doubtful} disagree: see the comments"),
    }
}

/// What the file begins with.
fn head(place: &str, sample: &Sample, fields: &[Field]) -> String {
    let records = sample.records.len().max(sample.rows.iter().map(|rows| rows.num_rows()).sum());
    let mut text = format!(
        "# Made by `pipe init` of {}, by {} of its records.\n# `pipe schema` has every key; editors complete them with it.\n",
        line(place),
        grouped(records as u64)
    );
    if fields.iter().any(|field| field.disagrees && !field.ty.contains("json")) {
        text.push_str(
            "# Where types disagree, a record whose value does not fit is a dead letter with its cause.\n",
        );
    }
    text
}

fn write(path: &Path, text: &str, force: bool) -> Result<()> {
    let failed = |e: std::io::Error| {
        Error::external(Code::C001, format!("`{}` cannot be written: {e}", path.display()))
            .help("is its folder there, and may you write to it?")
    };
    let mut options = OpenOptions::new();
    options.write(true).create(force).truncate(force).create_new(!force);
    let mut file = options.open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)
}
