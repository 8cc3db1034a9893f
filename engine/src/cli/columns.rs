//! `pipe columns`: what a sample says of the fields of records, as the `columns:` of a format.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use super::load::EXIT_WRONG;
use super::sample::{Found, From, Sample, Where};
use super::say;
use super::text::{Out, cut, line};
use crate::config::edit::{self, Entry};
use crate::error::{Code, Error, Result};
use crate::format::profile::{Field, Profile, Suggested};
use crate::run::observe::summary::grouped;
use crate::units::SAMPLE_RECORDS;

/// Print the columns that a sample of records suggests.
///
/// Reads some records and prints, for each of their fields, a type that holds what was seen, with its share of the
/// records, the types of its values, its widest value and an example. Of a topic it reads each partition's first and
/// last records, without joining a group; of a file the first ones. Nothing is committed.
///
/// A field whose values are of several types is marked: no single type but one that takes anything holds them all.
/// All columns allow nulls, because a sample is not the whole topic.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  pipe columns orders.jsonl
  pipe columns orders --brokers localhost:9092
  pipe columns pipeline.yaml                  # its only source
  pipe columns pipeline.yaml orders --write   # and into the file, its comments kept")]
pub struct Args {
    #[command(flatten)]
    at: Where,
    /// Look at so many records at most
    #[arg(long, value_name = "NUMBER", default_value_t = SAMPLE_RECORDS, value_parser = clap::value_parser!(u64).range(1..))]
    records: u64,
    /// Put the columns that are not declared yet into the pipeline file, and leave all else in it as it is. Examples
    /// are left out: they are somebody's data
    #[arg(long)]
    write: bool,
}

/// Prints them, or writes them.
pub fn run(args: &Args) -> Result<ExitCode> {
    let Some(found) = args.at.find()? else { return Ok(ExitCode::from(EXIT_WRONG)) };
    if args.write && found.pipeline.is_none() {
        return Err(Error::user(Code::C004, "`--write` needs a pipeline file")
            .help(format!("`pipe init {}` makes one", line(&args.at.place))));
    }
    let sample = found.read(args.records, From::Spread)?;
    let (profile, suggested) = look(&sample)?;
    say(&remarks(&sample, &profile, &suggested));
    match (&found.pipeline, args.write) {
        (Some(path), true) => write(path, &found, &sample, &suggested),
        _ => {
            let lines = edit::block(&entries(&suggested.fields, Comments::All), 2).join("\n");
            Out::new().print(&crate::secret::hide(&format!("columns:\n{lines}\n")))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// What is said of a column behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comments {
    /// All that is known, an example included.
    All,
    /// The same without what is somebody's data.
    Figures,
    /// Only what wants a decision.
    Doubts,
}

/// The fields of a sample.
pub(super) fn look(sample: &Sample) -> Result<(Profile, Suggested)> {
    let mut profile = Profile::default();
    match sample.format.name.as_str() {
        "json" => sample.records.iter().filter_map(|record| record.value.as_deref()).for_each(|value| {
            profile.see_json(value);
        }),
        "csv" => sample.rows.iter().for_each(|rows| profile.see_texts(rows)),
        "raw" => {
            let note = sample.note.as_ref().map_or(String::new(), |note| format!(": {note}"));
            let message =
                format!("the records of {} have no fields that can be told apart{note}", line(&sample.of));
            return Err(Error::user(Code::S002, message).help(
                "`format: raw` reads each whole, as the column `value`; where they are JSON or CSV say `--format json` or \
                 `--format csv`",
            ));
        }
        _ => sample.rows.iter().for_each(|rows| profile.see_rows(rows)),
    }
    let suggested = profile.suggest();
    if suggested.fields.is_empty() {
        let looked = match profile.others() {
            0 => "holds no record".to_owned(),
            others => {
                format!("holds no JSON object with a field: {} records were looked at", grouped(others))
            }
        };
        let message = format!("{} {looked}", line(&sample.of));
        return Err(Error::user(Code::S002, message)
            .help("`pipe peek` shows what is there; `--format` says how to read it"));
    }
    Ok((profile, suggested))
}

/// What is worth knowing beside the columns.
fn remarks(sample: &Sample, profile: &Profile, suggested: &Suggested) -> String {
    let mut out =
        format!("{}: {} records looked at", line(&sample.of), grouped(profile.records() + profile.others()));
    let bad = profile.others() + sample.bad.0;
    if bad > 0 {
        let _ = write!(out, ", {} of them not {}", grouped(bad), sample.format.name);
    }
    if sample.is_cut {
        out.push_str("; more would take too much memory");
    }
    out.push('\n');
    if let Some(first) = &sample.bad.1 {
        let _ = writeln!(out, "the first of these: {}", cut(first, 200));
    }
    if suggested.left_out > 0 {
        let _ = writeln!(
            out,
            "{} further members of objects with too many names were left out",
            suggested.left_out
        );
    }
    out
}

/// The columns as they are written.
pub(super) fn entries(fields: &[Field], comments: Comments) -> Vec<Entry> {
    let entry = |field: &Field| Entry {
        name: field.name.clone(),
        ty: field.ty.clone(),
        fields: entries(&field.fields, comments),
        comment: comment(field, comments),
    };
    fields.iter().map(entry).collect()
}

/// A share in words: never "all" for less, nor nothing for some.
fn share(part: u64, of: u64) -> String {
    if part >= of {
        return "all".to_owned();
    }
    let percent = part as f64 * 100.0 / of as f64;
    match percent {
        p if p < 0.1 => "less than 0.1 %".to_owned(),
        p if !(1.0..=99.0).contains(&p) => format!("{:.1} %", (p * 10.0).floor() / 10.0),
        p => format!("{p:.0} %"),
    }
}

fn comment(field: &Field, comments: Comments) -> String {
    let values: u64 = field.kinds.iter().map(|(_, count)| count).sum();
    let kinds = || {
        let each = field.kinds.iter().map(|(kind, count)| format!("{kind} {}", share(*count, values)));
        each.collect::<Vec<_>>().join(", ")
    };
    let mut parts = Vec::new();
    if comments != Comments::Doubts {
        parts.push(format!("in {}", share(field.share.0, field.share.1)));
    }
    if field.disagrees {
        parts.push(format!("types disagree: {}", kinds()));
    } else if field.kinds.iter().all(|(kind, _)| kind == "null") {
        parts.push("nothing but nulls".to_owned());
    } else if field.kinds.len() > 1 && comments != Comments::Doubts {
        parts.push(kinds());
    }
    if comments != Comments::Doubts {
        if let Some(moment) = field.moment {
            parts.push(format!("`{moment}` fits too"));
        }
        let plain = field.fields.is_empty() && field.widest > 0;
        if plain {
            parts.push(format!("up to {} B", grouped(field.widest as u64)));
        }
        if let Some(example) = field.example.as_ref().filter(|_| plain && comments == Comments::All) {
            parts.push(format!("such as {}", cut(example, 40)));
        }
    }
    parts.join("; ")
}

/// Puts the columns into the pipeline file.
fn write(path: &Path, found: &Found, sample: &Sample, suggested: &Suggested) -> Result<ExitCode> {
    let format = sample.format.name.as_str();
    if !matches!(format, "json" | "csv") {
        let message = format!("files of the format `{format}` say their columns themselves");
        return Err(Error::user(Code::P009, message).help("leave `--write` out to see them"));
    }
    let unread =
        |e: std::io::Error| Error::user(Code::C001, format!("`{}` cannot be read: {e}", path.display()));
    let text = std::fs::read_to_string(path).map_err(unread)?;
    let entries = entries(&suggested.fields, Comments::Figures);
    let edited = edit::add_columns(&text, &found.source, format, &entries).map_err(|why| {
        let lines = edit::block(&entries, 2).join("\n");
        let message = format!("`{}` is left as it is: {why}", path.display());
        let help = format!(
            "put this under `format: {{ {format}: .. }}` of the source `{}`:\ncolumns:\n{lines}",
            found.source
        );
        Error::user(Code::C005, message).help(help)
    })?;
    if edited.added.is_empty() {
        say(&format!("{}: all {} columns are declared, nothing to add\n", path.display(), entries.len()));
        return Ok(ExitCode::SUCCESS);
    }
    replace(path, &text, &edited.text)?;
    let names: Vec<String> = edited.added.iter().map(|name| cut(name, 40)).collect();
    let names = cut(&names.join(", "), 300);
    let text = format!(
        "{}: {} columns added to the source `{}`: {names}\nlook at them, then: pipe check {}\n",
        path.display(),
        edited.added.len(),
        found.source,
        path.display()
    );
    Out::new().print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Replaces the text of a file at once: a reader finds the old text or the new one, never a part.
fn replace(path: &Path, old: &str, new: &str) -> Result<()> {
    let failed = |e: std::io::Error| {
        Error::external(Code::C001, format!("`{}` cannot be written: {e}", path.display()))
            .help("it is as it was; check its permissions and those of its folder")
    };
    // A link stays one.
    let path = path.canonicalize().map_err(failed)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    std::io::Write::write_all(&mut file, new.as_bytes()).map_err(failed)?;
    let permissions = std::fs::metadata(&path).map_err(failed)?.permissions();
    file.as_file().set_permissions(permissions).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    if std::fs::read_to_string(&path).map_err(failed)? != old {
        return Err(Error::external(Code::C001, format!("`{}` was changed meanwhile", path.display()))
            .help("it is as the other one left it; run this again"));
    }
    file.persist(&path).map_err(|e| failed(e.error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_never_more_than_it_is() {
        for (part, of, words) in [
            (10, 10, "all"),
            (9_999, 10_000, "99.9 %"),
            (1, 2, "50 %"),
            (1, 10_000, "less than 0.1 %"),
            (5, 1_000, "0.5 %"),
            (0, 0, "all"),
        ] {
            assert_eq!(share(part, of), words, "{part} of {of}");
        }
    }

    #[test]
    fn a_comment_is_one_line_whatever_the_example_is() {
        let field = Field {
            name: "a".into(),
            ty: "utf8".into(),
            fields: Vec::new(),
            share: (2, 3),
            kinds: vec![("utf8".into(), 1), ("null".into(), 1)],
            widest: 1_234,
            example: Some("\"x\u{1b}[2J\n# \u{202e}\u{2028}\"".into()),
            disagrees: false,
            moment: None,
        };
        let text = comment(&field, Comments::All);
        assert!(text.starts_with("in 67 %; utf8 50 %, null 50 %; up to 1,234 B; such as "), "{text}");
        assert!(!text.chars().any(|c| c.is_control() || matches!(c, '\u{202e}' | '\u{2028}')), "{text}");
        assert!(!comment(&field, Comments::Figures).contains("such as"));
        assert_eq!(comment(&field, Comments::Doubts), "");
    }
}
