//! `pipe offsets`: what a pipeline's consumer group has committed, and setting it.

mod reset;
mod show;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use super::load::{EXIT_WRONG, Form, rendered_draft};
use crate::config::{load, suggestion};
use crate::connector::kafka::client::{Known, Membership, Offsets, Place};
use crate::error::{Code, Error, Result};
use crate::plan::{self, Kept, Tables};
use crate::secret;

/// Looks at committed offsets, and sets them.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    Show(show::Args),
    Reset(reset::Args),
}

/// Runs one of the commands.
pub fn run(command: &Command) -> Result<ExitCode> {
    match command {
        Command::Show(args) => show::run(args),
        Command::Reset(args) => reset::run(args),
    }
}

/// The pipeline, and what of it.
#[derive(Debug, clap::Args)]
struct Where {
    /// The pipeline file: it says which topics are read, and its name is the consumer group.
    #[arg(default_value = "pipeline.yaml", value_name = "PIPELINE", value_hint = clap::ValueHint::FilePath)]
    file: PathBuf,
    /// Overrides a key of the file: `--set lanes=2`.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Only this topic; may be given several times [default: all that the pipeline reads]
    #[arg(long, value_name = "TOPIC")]
    topic: Vec<String>,
    /// Only this partition of the topics; may be given several times [default: all]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(i32).range(0..))]
    partition: Vec<i32>,
}

/// A partition and its offsets.
struct Row {
    source: Arc<str>,
    place: Place,
    committed: Option<i64>,
    start: i64,
    end: i64,
}

impl Row {
    /// Whether the log does not hold the committed offset.
    fn is_outside(&self) -> bool {
        self.committed.is_some_and(|at| at < self.start || at > self.end)
    }

    /// Offsets between what is committed and the end; `None` where the one says nothing about the other.
    fn lag(&self) -> Option<i64> {
        self.committed.filter(|_| !self.is_outside()).map(|at| self.end - at)
    }
}

/// The group on one cluster, with the partitions of the sources that read there.
struct Group {
    offsets: Offsets,
    brokers: String,
    membership: Membership,
    rows: Vec<Row>,
}

/// What a command works on.
struct Found {
    /// Name of the pipeline and so of the group.
    pipeline: String,
    groups: Vec<Group>,
}

impl Where {
    /// Finds the groups and asks their clusters; `None` when the pipeline file is wrong, which has been printed.
    fn find(&self) -> Result<Option<Found>> {
        let loaded = load(&self.file, &plan::schema::pipeline(), &self.set)?;
        let kept = plan::positions(&Tables::default(), &loaded.draft, &loaded.document.base());
        let (kept, problems) = match kept {
            Ok(kept) => (kept, Vec::new()),
            Err(problems) => (Vec::new(), problems),
        };
        let (text, wrong) = rendered_draft(&self.file, &loaded, &problems, Form::Auto);
        eprint!("{}", secret::hide(&text));
        if wrong {
            return Ok(None);
        }
        let pipeline = loaded.draft.name;
        let (followed, others): (Vec<_>, Vec<_>) = kept.into_iter().partition(|kept| kept.group.is_some());
        if followed.is_empty() {
            let message =
                format!("the pipeline `{pipeline}` has no Kafka source: no consumer group holds its offsets");
            return Err(Error::user(Code::S005, message).help(elsewhere(&others)));
        }
        if !others.is_empty() {
            eprintln!("{}", elsewhere(&others));
        }
        self.ask(pipeline, followed).map(Some)
    }

    fn ask(&self, pipeline: String, followed: Vec<Kept>) -> Result<Found> {
        let mut topics: Vec<String> = Vec::new();
        let mut groups = Vec::new();
        for Kept { source, group, .. } in followed {
            let Some((cluster, wanted)) = group else { continue };
            let offsets = Offsets::new(&cluster, &pipeline, &source)?;
            let known = offsets.known(&wanted)?;
            topics.extend(known.keys().map(|topic| topic.to_string()));
            let rows = self.rows(&offsets, &source.into(), &known)?;
            let membership = offsets.membership()?;
            groups.push(Group { offsets, brokers: cluster.brokers().to_owned(), membership, rows });
        }
        self.check(&pipeline, &topics, &groups)?;
        Ok(Found { pipeline, groups })
    }

    fn rows(&self, offsets: &Offsets, source: &Arc<str>, known: &Known) -> Result<Vec<Row>> {
        let mut places = Vec::new();
        for (topic, &count) in known {
            if self.topic.is_empty() || self.topic.iter().any(|name| **name == **topic) {
                let partitions = 0..count;
                let chosen = |n: &i32| self.partition.is_empty() || self.partition.contains(n);
                places.extend(partitions.filter(chosen).map(|n| (Arc::clone(topic), n)));
            }
        }
        let committed = if places.is_empty() { Vec::new() } else { offsets.committed(&places)? };
        let row = |(place, committed): (Place, Option<i64>)| {
            let (start, end) = offsets.ends(&place)?;
            Ok(Row { source: Arc::clone(source), place, committed, start, end })
        };
        places.into_iter().zip(committed).map(row).collect()
    }

    /// Whatever was chosen is there.
    fn check(&self, pipeline: &str, topics: &[String], groups: &[Group]) -> Result<()> {
        for topic in &self.topic {
            if !topics.contains(topic) {
                let message = format!("`--topic`: the pipeline `{pipeline}` does not read `{topic}`");
                let help = suggestion(topic, topics.iter().map(String::as_str), "topics");
                return Err(Error::user(Code::S005, message).help(help));
            }
        }
        for partition in &self.partition {
            if !groups.iter().flat_map(|group| &group.rows).any(|row| row.place.1 == *partition) {
                let message = format!("`--partition`: there is no partition {partition}");
                return Err(Error::user(Code::S005, message).help("`pipe offsets show` lists them"));
            }
        }
        Ok(())
    }
}

/// What holds for sources without a group.
fn elsewhere(others: &[Kept]) -> String {
    let named: Vec<String> = others.iter().map(|kept| format!("`{}` ({})", kept.source, kept.kind)).collect();
    format!(
        "the state folder keeps the position of {}: `pipe run --fresh` starts over, without it a run goes on",
        named.join(", ")
    )
}

impl Group {
    /// `group orders on localhost:9092: Stable, 2 members`
    fn describe(&self, pipeline: &str) -> String {
        let Membership { state, members } = &self.membership;
        let state = if state.is_empty() { "not there yet" } else { state };
        let count = match members.len() {
            0 => String::new(),
            1 => ", 1 member".to_owned(),
            n => format!(", {n} members"),
        };
        format!("group {pipeline} on {}: {state}{count}", self.brokers)
    }
}

/// The exit code of a pipeline file that is wrong.
fn wrong() -> ExitCode {
    ExitCode::from(EXIT_WRONG)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(committed: Option<i64>, start: i64, end: i64) -> Row {
        Row { source: "in".into(), place: ("t".into(), 0), committed, start, end }
    }

    #[test]
    fn a_lag_is_told_where_there_is_one() {
        for (committed, start, end, outside, lag) in [
            (Some(10), 0, 30, false, Some(20)),
            (Some(0), 0, 30, false, Some(30)),
            (Some(30), 0, 30, false, Some(0)),
            (Some(10), 20, 30, true, None),
            (Some(31), 0, 30, true, None),
            (None, 0, 30, false, None),
        ] {
            let row = row(committed, start, end);
            assert_eq!((row.is_outside(), row.lag()), (outside, lag), "{committed:?} {start} {end}");
        }
    }
}
