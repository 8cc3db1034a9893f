//! Which dead letters a replay takes, and through what they go.

use std::path::PathBuf;

use super::stop::Stop;
use super::{Filter, Letters, Where};
use crate::cli::logs::LogFormat;
use crate::dead_letter::Letter;
use crate::run::replay::journal::{Identity, Replayed};
use crate::stage::HostOptions;

/// Send the records behind dead letters through the pipeline again.
///
/// Without `--execute` it only says what it would do. The original records go through decoder, stages and sinks as if
/// they were read again where they were read first; with `--from-stage` only the failed stage and what is downstream
/// of it get rows, so that other sinks see no repeats. What fails again becomes a dead letter again, its attempt one
/// higher, also where the pipeline would skip it.
///
/// Delivery is at least once. What was replayed is remembered in the state folder, and left out the next time. It
/// works while the pipeline's workers run.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  pipe dead-letters replay pipeline.yaml --kind trap --since 1d
  pipe dead-letters replay pipeline.yaml --kind trap --since 1d --execute
  pipe dead-letters replay pipeline.yaml --from-stage=late --component late=late-mended.wasm --execute

Exit codes: 0 done (what failed again is told), 1 failed while running, 2 the pipeline or the command line is wrong.

What `on_failure: skip` would drop becomes a dead letter again; `stop` ends the replay as it ends a run.")]
pub struct Args {
    #[command(flatten)]
    pub(super) at: Where,
    #[command(flatten)]
    pub(super) filter: Filter,
    /// Do it
    #[arg(long)]
    pub(super) execute: bool,
    /// What the records go through; `--from-stage` is the other way
    #[arg(long, value_name = "WHAT", value_parser = ["pipeline"], conflicts_with = "from_stage")]
    pub(super) through: Option<String>,
    /// Only through the source, stage or sink of this name, for the letters that failed there, and what is
    /// downstream of it; without a name: each letter from where it failed
    #[arg(long, value_name = "NAME", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub(super) from_stage: Option<String>,
    /// Another component for a stage, for this replay: `--component late=late-mended.wasm`
    #[arg(long, value_name = "STAGE=FILE", value_parser = component)]
    pub(super) component: Vec<(String, PathBuf)>,
    /// Also what has been replayed before
    #[arg(long)]
    pub(super) again: bool,
    /// Folder that remembers what was replayed [default: .pipe beside the pipeline]
    #[arg(long, value_name = "FOLDER")]
    pub(super) state: Option<PathBuf>,
    /// How logs look on standard error
    #[arg(long, value_enum, default_value = "auto", value_name = "FORMAT")]
    pub(super) log_format: LogFormat,
}

fn component(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((stage, path)) if !stage.is_empty() && !path.is_empty() => Ok((stage.to_owned(), path.into())),
        _ => Err("`STAGE=FILE` was expected, such as `late=late-mended.wasm`".to_owned()),
    }
}

/// What of the plan a replay uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Way {
    Whole,
    From(String),
}

/// A command under way.
pub(super) struct Command<'a> {
    pub args: &'a Args,
    pub(super) host: HostOptions,
    pub letters: Letters,
    pub known: Replayed,
    /// What failed later is not of this replay.
    pub(super) started: i64,
    pub(super) stop: Stop,
}

impl Command<'_> {
    /// Whether a letter is one that the filters and `--from-stage` choose.
    pub fn chooses(&self, way: Option<&Way>, letter: &Letter) -> bool {
        let named = self.args.from_stage.as_deref().filter(|name| !name.is_empty());
        let of = match (way, named) {
            (Some(Way::From(name)), _) => letter.line.stage == *name,
            (_, Some(name)) => letter.line.stage == name,
            _ => true,
        };
        of && self.args.filter.takes(letter) && letter.line.failed_at <= self.started
    }

    /// Through the whole pipeline a record counts once, from a stage once for each stage.
    pub fn identity(&self, letter: &Letter) -> Identity {
        letter.line.identity(self.args.from_stage.is_some())
    }
}
