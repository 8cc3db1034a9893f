//! `pipe offsets reset`.

use std::fmt::Write as _;
use std::process::ExitCode;

use super::{Group, Row, Where, wrong};
use crate::cli::dead_letters::time;
use crate::cli::text::{Out, line, moment, table};
use crate::connector::kafka::client::Place;
use crate::error::{Code, Error, Result};
use crate::run::observe::summary::{counted, grouped};

/// Set the committed offsets of a pipeline that does not run.
///
/// Without `--execute` it only says what it would do. Back means that records are read and written again, forward
/// that records are skipped; both are told with their numbers. A group with members is refused, as its offsets are
/// theirs: stop the workers first.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  pipe offsets reset pipeline.yaml --to earliest
  pipe offsets reset pipeline.yaml --to 2026-11-24T08:00:00Z --execute
  pipe offsets reset pipeline.yaml --to 2h --topic orders --execute
  pipe offsets reset pipeline.yaml --to 41200 --topic orders --partition 3 --execute

Exit codes: 0 done, 1 the group is live or the cluster refuses, 2 the pipeline or the command line is wrong.")]
pub struct Args {
    #[command(flatten)]
    at: Where,
    /// Where reading goes on: `earliest` and `latest` (the log's start and end), the first record since a time
    /// (`2026-11-24T08:00:00Z`, or `2h` for two hours ago), or an offset that the log holds
    #[arg(long, value_name = "WHERE", value_parser = to)]
    to: To,
    /// Do it
    #[arg(long)]
    execute: bool,
}

/// Where to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum To {
    Earliest,
    Latest,
    /// Milliseconds since 1970.
    Time(i64),
    Offset(i64),
}

fn to(text: &str) -> Result<To, String> {
    match text {
        "earliest" => Ok(To::Earliest),
        "latest" => Ok(To::Latest),
        _ if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => {
            text.parse().map(To::Offset).map_err(|_| "an offset is less than 2^63".to_owned())
        }
        _ => time(text).map(To::Time).map_err(|e| format!("`earliest`, `latest`, an offset, or {e}")),
    }
}

/// A partition whose offset changes.
struct Change<'a> {
    row: &'a Row,
    to: i64,
}

/// Resets, or says what would be.
pub fn run(args: &Args) -> Result<ExitCode> {
    let Some(found) = args.at.find()? else { return Ok(wrong()) };
    let mut out = Out::new();
    if let To::Time(at) = args.to {
        out.print(&format!("to the first records since {}\n", moment(at)))?;
    }
    let mut all = Vec::new();
    for group in &found.groups {
        all.push((group, changes(group, args.to)?));
    }
    if args.execute {
        // Before any is changed: of several clusters either all are or none.
        for (group, _) in &all {
            refuse_live(group)?;
        }
    }
    let mut count = 0;
    for (group, changes) in &all {
        count += changes.len();
        out.print(&format!("{}\n{}", group.describe(&found.pipeline), intention(group, changes)))?;
        if args.execute && !changes.is_empty() {
            let list: Vec<(Place, i64)> = changes.iter().map(|c| (c.row.place.clone(), c.to)).collect();
            group.offsets.commit(&list)?;
        }
    }
    let live = all.iter().find_map(|(group, _)| refuse_live(group).err());
    out.print(&match (count, args.execute, live) {
        (0, ..) => "nothing to do\n".to_owned(),
        (n, true, _) => format!("{} set\n", counted(n as u64, "offset")),
        (_, false, None) => "nothing was done: add `--execute` to do it\n".to_owned(),
        (_, false, Some(why)) => format!("nothing was done, and `--execute` would be refused: {why}\n"),
    })?;
    Ok(ExitCode::SUCCESS)
}

fn refuse_live(group: &Group) -> Result<()> {
    let members = &group.membership.members;
    if members.is_empty() {
        return Ok(());
    }
    let shown: Vec<String> = members.iter().map(|member| line(member)).collect();
    Err(group.offsets.live(&shown))
}

/// The partitions whose offset changes.
fn changes(group: &Group, to: To) -> Result<Vec<Change<'_>>> {
    let places: Vec<Place> = group.rows.iter().map(|row| row.place.clone()).collect();
    let times = match to {
        To::Time(at) if !places.is_empty() => group.offsets.at(&places, at)?,
        _ => vec![None; places.len()],
    };
    let mut changes = Vec::new();
    for (row, time) in group.rows.iter().zip(times) {
        let to = target(row, to, time)?;
        if row.committed != Some(to) {
            changes.push(Change { row, to });
        }
    }
    Ok(changes)
}

fn target(row: &Row, to: To, time: Option<i64>) -> Result<i64> {
    match to {
        To::Earliest => Ok(row.start),
        To::Latest => Ok(row.end),
        // Where all records are older the end is the first place that is not.
        To::Time(_) => Ok(time.unwrap_or(row.end).clamp(row.start, row.end)),
        To::Offset(at) if (row.start..=row.end).contains(&at) => Ok(at),
        To::Offset(at) => {
            let ((topic, partition), start, end) = (&row.place, row.start, row.end);
            let message = format!("the log of {topic}/{partition} holds {start} to {end}, not {at}");
            Err(Error::user(Code::S005, message)
                .help("choose partitions with `--topic` and `--partition`; nothing was changed"))
        }
    }
}

/// What a change means.
fn meaning(change: &Change<'_>) -> String {
    let Change { row, to } = change;
    let count = |n: i64| grouped(n.unsigned_abs());
    match row.committed {
        None => format!("reads {}", count(row.end - to)),
        Some(at) if at > row.end => format!("reads {}", count(row.end - to)),
        Some(at) if *to < at => format!("reads {} again", count(at - to)),
        Some(at) if at < row.start && *to == row.start => format!("{} were deleted", count(to - at)),
        Some(at) => format!("skips {}", count(to - at.max(row.start))),
    }
}

fn intention(group: &Group, changes: &[Change<'_>]) -> String {
    let head = ["SOURCE", "TOPIC", "PARTITION", "FROM", "TO", ""];
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    for change in changes {
        let (topic, partition) = &change.row.place;
        lines.push(vec![
            change.row.source.to_string(),
            topic.to_string(),
            partition.to_string(),
            change.row.committed.map_or("-".to_owned(), |at| at.to_string()),
            change.to.to_string(),
            meaning(change),
        ]);
    }
    let mut out = if changes.is_empty() { String::new() } else { table(&lines, &[2, 3, 4]) };
    let same = group.rows.len() - changes.len();
    if same > 0 {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{} partitions are there already", grouped(same as u64));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(committed: Option<i64>, start: i64, end: i64) -> Row {
        Row { source: "in".into(), place: ("t".into(), 0), committed, start, end }
    }

    #[test]
    fn where_to_go_is_a_word_a_time_or_an_offset() {
        assert_eq!(to("earliest"), Ok(To::Earliest));
        assert_eq!(to("latest"), Ok(To::Latest));
        assert_eq!(to("0"), Ok(To::Offset(0)));
        assert_eq!(to("9223372036854775807"), Ok(To::Offset(i64::MAX)));
        assert_eq!(to("2023-11-14T22:13:20Z"), Ok(To::Time(1_700_000_000_000)));
        assert!(matches!(to("2h"), Ok(To::Time(_))));
        for wrong in ["", "-1", "soon", "9223372036854775808", "Earliest", "1.5"] {
            assert!(to(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_target_lies_in_the_log() {
        let row = row(Some(5), 10, 20);
        for (given, time, at) in [
            (To::Earliest, None, 10),
            (To::Latest, None, 20),
            (To::Offset(10), None, 10),
            (To::Offset(20), None, 20),
            (To::Time(0), Some(12), 12),
            (To::Time(0), Some(3), 10),
            (To::Time(0), None, 20),
        ] {
            assert_eq!(target(&row, given, time).unwrap(), at, "{given:?} {time:?}");
        }
        for given in [9, 21] {
            let error = target(&row, To::Offset(given), None).unwrap_err();
            assert!(error.message().contains("t/0 holds 10 to 20"), "{error}");
        }
    }

    #[test]
    fn a_change_says_what_it_means() {
        for (committed, to, text) in [
            (None, 10, "reads 10"),
            (Some(25), 15, "reads 5"),
            (Some(18), 10, "reads 8 again"),
            (Some(12), 20, "skips 8"),
            (Some(4), 20, "skips 10"),
            (Some(4), 10, "6 were deleted"),
        ] {
            let row = row(committed, 10, 20);
            assert_eq!(meaning(&Change { row: &row, to }), text, "{committed:?} {to}");
        }
    }
}
