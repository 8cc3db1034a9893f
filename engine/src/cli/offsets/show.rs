//! `pipe offsets show`.

use std::fmt::Write as _;
use std::process::ExitCode;

use serde_json::json;

use super::{Found, Group, Row, Where, wrong};
use crate::cli::text::{Out, line, table};
use crate::error::Result;
use crate::run::observe::summary::grouped;

/// Show, for each partition, the committed offset beside where the log starts and ends.
///
/// COMMITTED is the offset of the record that is read next; a partition without one begins where `start:` of the
/// source says. LAG is what is left to read, control records and gaps included. An offset that the log does not hold
/// is marked: records were deleted before they were read, or the topic was made anew; `out_of_range:` of the source
/// says what a worker does then, `pipe offsets reset` sets it by hand.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  pipe offsets show pipeline.yaml
  pipe offsets show pipeline.yaml --topic orders --partition 3
  pipe offsets show pipeline.yaml --json | jq -s 'map(.lag) | add'")]
pub struct Args {
    #[command(flatten)]
    at: Where,
    /// One JSON object a line for each partition; the groups and sums go to standard error
    #[arg(long)]
    json: bool,
}

/// Prints them.
pub fn run(args: &Args) -> Result<ExitCode> {
    let Some(found) = args.at.find()? else { return Ok(wrong()) };
    let mut out = Out::new();
    for group in &found.groups {
        let text = format!("{}\n", group.describe(&found.pipeline));
        let members: String =
            group.membership.members.iter().map(|member| format!("  {}\n", line(member))).collect();
        if args.json {
            eprint!("{text}{members}");
            let lines: String = group.rows.iter().map(json_line).collect();
            out.print(&lines)?;
        } else {
            out.print(&format!("{text}{members}{}", text_table(group)))?;
        }
    }
    let sums = sums(&found);
    if args.json {
        eprint!("{sums}");
    } else {
        out.print(&sums)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What is remarkable about a partition.
fn remark(row: &Row) -> &'static str {
    match row.committed {
        None => "nothing committed",
        Some(at) if at < row.start => "out of range: below the log's start",
        Some(at) if at > row.end => "out of range: past the log's end",
        Some(_) => "",
    }
}

fn text_table(group: &Group) -> String {
    let head = ["SOURCE", "TOPIC", "PARTITION", "COMMITTED", "START", "END", "LAG", ""];
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    let number = |n: Option<i64>| n.map_or("-".to_owned(), |n| n.to_string());
    for row in &group.rows {
        let (topic, partition) = &row.place;
        lines.push(vec![
            row.source.to_string(),
            topic.to_string(),
            partition.to_string(),
            number(row.committed),
            row.start.to_string(),
            row.end.to_string(),
            number(row.lag()),
            remark(row).to_owned(),
        ]);
    }
    table(&lines, &[2, 3, 4, 5, 6])
}

fn json_line(row: &Row) -> String {
    let (topic, partition) = &row.place;
    let value = json!({
        "source": *row.source, "topic": **topic, "partition": partition, "committed": row.committed,
        "start": row.start, "end": row.end, "lag": row.lag(), "out_of_range": row.is_outside(),
    });
    format!("{value}\n")
}

fn sums(found: &Found) -> String {
    let rows = || found.groups.iter().flat_map(|group| &group.rows);
    let lag = rows().filter_map(Row::lag).sum::<i64>();
    let mut out = format!("{} partitions, lag {}", rows().count(), grouped(lag.unsigned_abs()));
    let none = rows().filter(|row| row.committed.is_none()).count();
    let outside = rows().filter(|row| row.is_outside()).count();
    for (count, what) in [(none, "without a committed offset"), (outside, "out of range")] {
        if count > 0 {
            // Writing to a string cannot fail.
            let _ = write!(out, ", {count} {what}");
        }
    }
    out + "\n"
}
