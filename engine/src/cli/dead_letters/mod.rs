//! `pipe dead-letters`: what failed, and sending it through again.

mod execute;
mod list;
mod scan;
mod selection;
mod show;
mod stop;

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use clap::builder::PossibleValuesParser;

use super::load::{EXIT_WRONG, Form, rendered_draft};
use crate::batch::FailureKind;
use crate::clock::{Clock, SystemClock};
use crate::config::{Loaded, load};
use crate::dead_letter::{Letter, Place, Reader, open_file};
use crate::error::{Code, Error, Result};
use crate::plan::{self, DeadLetters, Tables};
use crate::stage::HostOptions;

/// Looks at dead letters: list them, show one, replay them.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    List(list::Args),
    Show(show::Args),
    Replay(selection::Args),
}

/// Runs one of the commands.
pub fn run(command: &Command, host: HostOptions) -> Result<ExitCode> {
    match command {
        Command::List(args) => list::run(args),
        Command::Show(args) => show::run(args),
        Command::Replay(args) => execute::run(args, host),
    }
}

/// Where the letters are.
#[derive(Debug, clap::Args)]
struct Where {
    /// The pipeline file: it says where the dead letters are.
    #[arg(default_value = "pipeline.yaml", value_name = "PIPELINE")]
    file: PathBuf,
    /// Overrides a key of the file: `--set lanes=2`. Variables are expanded as in the file.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Read this file of dead letters, not the topic or file that the pipeline names
    #[arg(long, value_name = "FILE")]
    letters: Option<PathBuf>,
}

/// Which letters.
#[derive(Debug, Default, clap::Args)]
struct Filter {
    /// Only letters of this source, stage or sink; may be given several times
    #[arg(long, value_name = "NAME")]
    stage: Vec<String>,
    /// Only failures of this kind; may be given several times
    #[arg(long, value_name = "KIND", value_parser = PossibleValuesParser::new(FailureKind::ALL.iter().map(|k| k.as_str())))]
    kind: Vec<String>,
    /// Only what failed since then: `2026-11-24T08:00:00Z`, or `2h` for two hours ago
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<i64>,
    /// Only what failed before then
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<i64>,
    /// At most so many letters: the first ones
    #[arg(long, value_name = "NUMBER")]
    limit: Option<u64>,
}

/// A moment in milliseconds since 1970: RFC 3339, or how long ago.
pub(super) fn time(text: &str) -> Result<i64, String> {
    if let Ok(ago) = humantime::parse_duration(text) {
        let ago = i64::try_from(ago.as_millis()).unwrap_or(i64::MAX);
        return Ok(SystemClock::default().unix_ms().saturating_sub(ago));
    }
    let at = humantime::parse_rfc3339_weak(text)
        .map_err(|_| "a time such as `2026-11-24T08:00:00Z`, or how long ago, such as `2h`".to_owned())?;
    let since = at.duration_since(UNIX_EPOCH).map_err(|_| "a time after 1970".to_owned())?;
    i64::try_from(since.as_millis()).map_err(|_| "a time that is not that far away".to_owned())
}

impl Filter {
    /// Refuses times between which nothing lies.
    fn check(&self) -> Result<()> {
        match (self.since, self.until) {
            (Some(since), Some(until)) if since >= until => {
                Err(Error::user(Code::K005, "`--since` is not before `--until`")
                    .help("`--since 2h --until 1h` is the hour before the last one"))
            }
            _ => Ok(()),
        }
    }

    /// Whether a letter of this pipeline is wanted.
    fn takes(&self, letter: &Letter) -> bool {
        let line = &letter.line;
        (self.stage.is_empty() || self.stage.iter().any(|name| *name == line.stage))
            && (self.kind.is_empty() || self.kind.iter().any(|kind| *kind == line.kind))
            && self.since.is_none_or(|since| line.failed_at >= since)
            && self.until.is_none_or(|until| line.failed_at < until)
    }
}

/// The dead letters of a pipeline.
struct Letters {
    /// Name of the pipeline.
    pipeline: String,
    /// Names of its sources, stages and sinks.
    names: Vec<String>,
    /// Folder of the pipeline file.
    base: PathBuf,
    place: DeadLetters,
}

impl Letters {
    /// Finds them; `None` when the pipeline file is wrong, which has been printed.
    fn find(at: &Where) -> Result<Option<Self>> {
        let loaded = load(&at.file, &plan::schema::pipeline(), &at.set)?;
        let working =
            std::env::current_dir().map_err(|e| Error::internal(format!("no working folder: {e}")))?;
        Ok(Self::of(&at.file, &loaded, &working, at.letters.as_deref()))
    }

    fn of(file: &Path, loaded: &Loaded, working: &Path, other: Option<&Path>) -> Option<Self> {
        let base = loaded.document.base();
        let found = plan::dead_letters(&Tables::default(), &loaded.draft, &base, working);
        let (place, problems) = match found {
            Ok(place) => (Some(place), Vec::new()),
            Err(problems) => (None, problems),
        };
        let (text, wrong) = rendered_draft(file, loaded, &problems, Form::Auto);
        eprint!("{text}");
        let place = match other {
            Some(path) => Some(DeadLetters::File(working.join(path))),
            None => place,
        };
        let draft = &loaded.draft;
        let names =
            draft.sources.keys().chain(draft.stages.keys()).chain(draft.sinks.keys()).cloned().collect();
        place.filter(|_| !wrong).map(|place| Self { pipeline: draft.name.clone(), names, base, place })
    }

    /// A line for each name that was asked for, is not in the pipeline and has no letter: it may be mistyped.
    fn strangers(&self, filter: &Filter, found: &list::Sums) -> String {
        let known = |name: &String| self.names.contains(name) || found.stages().any(|stage| stage == name);
        let mut out = String::new();
        for name in filter.stage.iter().filter(|name| !known(name)) {
            let (name, names) = (crate::cli::text::line(name), self.names.join(", "));
            let _ = writeln!(out, "the pipeline has no source, stage or sink `{name}`; it has {names}");
        }
        out
    }

    /// Where they are, in words.
    fn describe(&self) -> String {
        self.place.to_string()
    }

    /// Reads them, all or from a place on; `None`: there is no such topic or file yet.
    fn open(&self, from: Option<Place>) -> Result<Option<Box<dyn Reader>>> {
        match &self.place {
            DeadLetters::File(path) => open_file(path, from),
            DeadLetters::Kafka(_, topic) => topic.open(from),
        }
    }
}

/// A line on the terminal while a long read says nothing; a line in the log now and then where there is none.
struct Progress {
    clock: SystemClock,
    terminal: bool,
    next: Duration,
    shown: bool,
}

impl Progress {
    fn new() -> Self {
        let terminal = std::io::stderr().is_terminal();
        let mut progress =
            Self { clock: SystemClock::default(), terminal, next: Duration::ZERO, shown: false };
        progress.next = progress.interval();
        progress
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(if self.terminal { 1 } else { 10 })
    }

    fn tell(&mut self, reader: &dyn Reader) {
        let now = self.clock.now();
        if now < self.next {
            return;
        }
        self.next = now + self.interval();
        let (done, all) = reader.progress();
        let percent = (done * 100).checked_div(all).unwrap_or(100);
        if self.terminal {
            eprint!("\r\x1b[2Kreading: {percent} %");
            self.shown = true;
        } else {
            eprintln!("reading: {percent} %");
        }
    }

    /// Takes the line away, before something is printed.
    fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            eprint!("\r\x1b[2K");
        }
    }
}

/// The exit code of a pipeline file that is wrong.
fn wrong() -> ExitCode {
    ExitCode::from(EXIT_WRONG)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_moments_or_how_long_ago() {
        let now = SystemClock::default().unix_ms();
        let ago = time("2h").unwrap();
        assert!((now - 2 * 3_600_000 - ago).abs() < 60_000, "{ago}");
        assert_eq!(time("2023-11-14T22:13:20Z"), Ok(1_700_000_000_000));
        assert_eq!(time("2023-11-14 22:13:20"), Ok(1_700_000_000_000));
        for wrong in ["yesterday", "", "2023-13-01T00:00:00Z", "1900-01-01T00:00:00Z"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }
}
