//! `pipe dead-letters replay`.

use std::collections::{BTreeSet, HashSet};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::list::{Others, Sums};
use super::text::{Out, line};
use super::{Filter, Letters, Progress, Where, wrong};
use crate::cli::load::{Form, plan_loaded, rendered, stage_folders};
use crate::cli::logs::{self, LogFormat};
use crate::clock::{Clock, SystemClock};
use crate::config::{load, suggestion};
use crate::error::{Code, Error, Result};
use crate::plan::{DeadLetters, Plan, schema};
use crate::run::replay::{Round, size};
use crate::run::replayed::{Identity, Replayed};
use crate::run::summary::grouped;
use crate::run::{self, Options, Stopper};
use crate::sink::dead_letter::{File, Found, Letter, Reader};
use crate::stage::HostOptions;
use crate::units::{REPLAY_ROUND_BYTES, REPLAY_ROUND_LETTERS};

/// Send the records behind dead letters through the pipeline again.
///
/// Without `--execute` it only says what it would do. The original records go through decoder, stages and sinks as if
/// they were read again where they were read first; with `--from-stage` only the failed stage and what is downstream
/// of it get rows, so that other sinks see no repeats. What fails again becomes a dead letter again, its attempt one
/// higher.
///
/// Delivery is at least once. What was replayed is remembered in the state folder, and left out the next time. It
/// works while the pipeline's workers run.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  pipe dead-letters replay pipeline.yaml --kind trap --since 1d
  pipe dead-letters replay pipeline.yaml --kind trap --since 1d --execute
  pipe dead-letters replay pipeline.yaml --from-stage=late --component late=late-mended.wasm --execute

Exit codes: 0 done (what failed again is told), 1 failed while running, 2 the pipeline or the command line is wrong.")]
pub struct Args {
    #[command(flatten)]
    at: Where,
    #[command(flatten)]
    filter: Filter,
    /// Do it
    #[arg(long)]
    execute: bool,
    /// What the records go through; `--from-stage` is the other way
    #[arg(long, value_name = "WHAT", value_parser = ["pipeline"], conflicts_with = "from_stage")]
    through: Option<String>,
    /// Only through the source, stage or sink of this name, for the letters that failed there, and what is
    /// downstream of it; without a name: each letter from where it failed
    #[arg(long, value_name = "NAME", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    from_stage: Option<String>,
    /// Another component for a stage, for this replay: `--component late=late-mended.wasm`
    #[arg(long, value_name = "STAGE=FILE", value_parser = component)]
    component: Vec<(String, PathBuf)>,
    /// Also what has been replayed before
    #[arg(long)]
    again: bool,
    /// Folder that remembers what was replayed [default: .pipe beside the pipeline]
    #[arg(long, value_name = "FOLDER")]
    state: Option<PathBuf>,
    /// How logs look on standard error
    #[arg(long, value_enum, default_value = "auto", value_name = "FORMAT")]
    log_format: LogFormat,
}

fn component(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((stage, path)) if !stage.is_empty() && !path.is_empty() => Ok((stage.to_owned(), path.into())),
        _ => Err("`STAGE=FILE` was expected, such as `late=late-mended.wasm`".to_owned()),
    }
}

/// What of the plan a replay uses.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Way {
    Whole,
    From(String),
}

/// A command under way.
struct Command<'a> {
    args: &'a Args,
    host: HostOptions,
    letters: Letters,
    known: Replayed,
    /// What failed later is not of this replay.
    started: i64,
    stop: Stop,
}

/// What letters would be, or were, replayed.
#[derive(Default)]
struct Tally {
    chosen: Sums,
    others: Others,
    before: u64,
    repeats: u64,
    homeless: u64,
    failed_again: u64,
}

/// Replays, or says what would be.
pub fn run(args: &Args, host: HostOptions) -> Result<ExitCode> {
    logs::start(args.log_format);
    let Some(letters) = Letters::find(&args.at)? else { return Ok(wrong()) };
    let state = args.state.clone().unwrap_or_else(|| letters.base.join(".pipe"));
    let known = match args.execute {
        true => Replayed::open(&state, &letters.pipeline)?,
        false => Replayed::look(&state, &letters.pipeline)?,
    };
    let started = SystemClock::default().unix_ms();
    let mut command = Command { args, host, letters, known, started, stop: Stop::default() };
    let Some(plan) = command.plan()? else { return Ok(wrong()) };
    let names = Names::of(&plan);
    let survey = command.survey(&names)?;
    let ways = command.ways(&names, &survey)?;
    Out::new().print(&command.intention(&survey, &ways, plan)?)?;
    if !args.execute || survey.chosen.all() == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    command.stop.listen()?;
    let mut done = Tally::default();
    for way in &ways {
        command.execute(way, &names, &mut done)?;
    }
    let mut text = format!("replayed {} dead letters\n", grouped(done.chosen.all()));
    if done.failed_again > 0 {
        let _ = writeln!(text, "{} rows failed again and are dead letters again", grouped(done.failed_again));
    }
    if command.stop.asked() {
        text.push_str("stopped before the end; the same command goes on\n");
    }
    Out::new().print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Names of a plan's nodes.
struct Names {
    sources: Vec<String>,
    all: Vec<String>,
}

impl Names {
    fn of(plan: &Plan) -> Self {
        let sources: Vec<String> = plan.sources.iter().map(|s| s.name.to_string()).collect();
        let stages = plan.stages.iter().map(|s| s.name.to_string());
        let sinks = plan.sinks.iter().map(|s| s.name.to_string());
        Self { all: sources.iter().cloned().chain(stages).chain(sinks).collect(), sources }
    }

    /// The source that a letter's record came from. Letters of the first version do not say it.
    fn source<'a>(&'a self, letter: &Letter) -> Option<&'a str> {
        let by_name = |name: &str| self.sources.iter().find(|s| *s == name).map(String::as_str);
        match (&letter.line.source, self.sources.as_slice()) {
            (Some(name), _) => by_name(name),
            (None, [only]) => Some(only),
            (None, _) => by_name(&letter.line.stage),
        }
    }
}

impl Command<'_> {
    /// The plan, with the components that were named.
    fn plan(&self) -> Result<Option<Plan>> {
        let file = &self.args.at.file;
        let mut loaded = load(file, &schema::pipeline(), &self.args.at.set)?;
        let stages = &mut loaded.draft.stages;
        for (name, path) in &self.args.component {
            let names: Vec<String> = stages.keys().cloned().collect();
            let Some(stage) = stages.get_mut(name) else {
                let text = format!("`--component`: there is no stage `{name}`");
                let help = suggestion(name, names.iter().map(String::as_str), "stages");
                return Err(Error::user(Code::K006, text).help(help));
            };
            if let Some(stage) = stage {
                // Not relative to the pipeline file: it was named on the command line.
                let absolute = std::path::absolute(path).unwrap_or_else(|_| path.clone());
                stage.wasm = Some(absolute.to_string_lossy().into_owned());
                stage.ready_made = None;
            }
        }
        let planned = plan_loaded(loaded, self.host.clone(), stage_folders())?;
        eprint!("{}", rendered(file, &planned, Form::Auto));
        Ok(planned.plan)
    }

    /// Whether a letter is one that the filters and `--from-stage` choose.
    fn chooses(&self, way: Option<&Way>, letter: &Letter) -> bool {
        let named = self.args.from_stage.as_deref().filter(|name| !name.is_empty());
        let of = match (way, named) {
            (Some(Way::From(name)), _) => letter.line.stage == *name,
            (_, Some(name)) => letter.line.stage == name,
            _ => true,
        };
        of && self.args.filter.takes(letter) && letter.line.failed_at <= self.started
    }

    /// Through the whole pipeline a record counts once, from a stage once for each stage.
    fn identity(&self, letter: &Letter) -> Identity {
        letter.line.identity(self.args.from_stage.is_some())
    }

    fn survey(&self, names: &Names) -> Result<Tally> {
        let Some(mut scan) = Scan::new(&self.letters)? else { return Ok(Tally::default()) };
        while scan.next(self, None, names)?.is_some() {}
        Ok(scan.tally)
    }

    fn ways(&self, names: &Names, survey: &Tally) -> Result<Vec<Way>> {
        let wanted: BTreeSet<&str> = match self.args.from_stage.as_deref() {
            None => return Ok(vec![Way::Whole]),
            Some("") => survey.chosen.stages().collect(),
            Some(name) => BTreeSet::from([name]),
        };
        let way = |name: &str| match names.all.iter().any(|own| own == name) {
            true => Ok(Way::From(name.to_owned())),
            false => {
                let text = format!("the pipeline has no source, stage or sink `{}`", line(name));
                let help = suggestion(name, names.all.iter().map(String::as_str), "names");
                Err(Error::user(Code::K006, text).help(help))
            }
        };
        wanted.into_iter().map(way).collect()
    }

    /// What will be, or would be, done.
    fn intention(&self, survey: &Tally, ways: &[Way], plan: Plan) -> Result<String> {
        let mut out = String::new();
        let verb = if self.args.execute { "replaying" } else { "would replay" };
        let (all, place) = (grouped(survey.chosen.all()), line(&self.letters.describe()));
        let _ = writeln!(out, "{verb} {all} dead letters of {place}");
        out.push_str(&survey.chosen.text());
        let mut plan = Some(plan);
        for way in ways {
            let part = match way {
                Way::Whole => plan.take(),
                Way::From(name) => self.plan()?.and_then(|plan| plan.only(name)),
            };
            let Some(part) = part else { continue };
            let names = |all: Vec<&str>| if all.is_empty() { "none".to_owned() } else { all.join(", ") };
            let stages = names(part.stages.iter().map(|s| &*s.name).collect());
            let sinks = names(part.sinks.iter().map(|s| &*s.name).collect());
            let from = match way {
                Way::Whole => "the whole pipeline".to_owned(),
                Way::From(name) => format!("`{name}` and what is downstream of it"),
            };
            let _ = writeln!(out, "through {from}: stages {stages}; sinks {sinks}");
        }
        let mut note = |count: u64, text: &str| {
            if count > 0 {
                let _ = writeln!(out, "{} {text}", grouped(count));
            }
        };
        note(survey.before, "were replayed before and are left out (`--again` takes them too)");
        note(survey.repeats, "are further letters of the same records: each record goes once");
        note(survey.homeless, "came from a source that the pipeline does not have; they are left out");
        out.push_str(&survey.others.text());
        if !self.args.execute && survey.chosen.all() > 0 {
            out.push_str("nothing was done: add `--execute` to do it\n");
        }
        Ok(out)
    }

    /// Replays in rounds, each of which ends with what it did remembered.
    fn execute(&mut self, way: &Way, names: &Names, done: &mut Tally) -> Result<()> {
        let Some(mut scan) = Scan::new(&self.letters)? else { return Ok(()) };
        while !self.stop.asked() {
            let (mut round, mut count, mut bytes) = (Round::default(), 0, 0);
            while count < REPLAY_ROUND_LETTERS && bytes < REPLAY_ROUND_BYTES {
                let Some((source, letter)) = scan.next(self, Some(way), names)? else { break };
                count += 1;
                bytes += size(&letter);
                round.add(source, letter);
            }
            scan.progress.clear();
            if round.is_empty() {
                break;
            }
            done.failed_again += self.round(way, &mut round)?;
            let mut handed: Vec<Identity> = round.handed().map(|letter| self.identity(letter)).collect();
            round.handed().for_each(|letter| done.chosen.add(letter));
            handed.append(&mut scan.repeats);
            self.known.add(handed.into_iter())?;
        }
        Ok(())
    }

    /// One run of the plan; answers how many rows failed again.
    fn round(&self, way: &Way, round: &mut Round) -> Result<u64> {
        let plan = self.plan()?.and_then(|plan| match way {
            Way::Whole => Some(plan),
            Way::From(name) => plan.only(name),
        });
        let Some(mut plan) = plan else {
            return Err(Error::user(Code::K006, "the pipeline file was changed while it was replayed"));
        };
        if let DeadLetters::File(path) = &mut plan.dead_letters
            && File::is_taken(path)
        {
            let other = path.with_extension("replay.jsonl");
            eprintln!(
                "a worker writes to {}: what fails again goes to {} (`--letters` reads it)",
                path.display(),
                other.display()
            );
            *path = other;
        }
        let attempts = round.load(&mut plan)?;
        let options = Options { until_end: true, attempts, ..Options::default() };
        let running = run::start(plan, &options, Arc::new(SystemClock::default()))?;
        self.stop.watch(Some(running.stopper()));
        let (summary, result) = running.wait();
        self.stop.watch(None);
        eprintln!("{summary}");
        result.map(|()| summary.dead_letters.1)
    }
}

/// Reads the letters once and picks those that are to be replayed.
struct Scan {
    reader: Box<dyn Reader>,
    progress: Progress,
    tally: Tally,
    /// Records that were picked, however often they have failed.
    seen: HashSet<Identity>,
    /// Letters of records that were picked by another letter: they are done with it.
    repeats: Vec<Identity>,
}

impl Scan {
    /// `None`: there are no letters yet.
    fn new(letters: &Letters) -> Result<Option<Self>> {
        Ok(letters.open(None)?.map(|reader| Self {
            reader,
            progress: Progress::new(),
            tally: Tally::default(),
            seen: HashSet::new(),
            repeats: Vec::new(),
        }))
    }

    /// The next letter to replay, and its source.
    fn next<'a>(
        &mut self,
        command: &Command<'_>,
        way: Option<&Way>,
        names: &'a Names,
    ) -> Result<Option<(&'a str, Letter)>> {
        let tally = &mut self.tally;
        while tally.chosen.all() < command.args.filter.limit.unwrap_or(u64::MAX) {
            self.progress.tell(self.reader.as_ref());
            let letter = match self.reader.next()? {
                None => break,
                Some(Found::Letter(letter)) => *letter,
                Some(Found::Other(place, why)) => {
                    tally.others.note_strange(&place, &why);
                    continue;
                }
            };
            if letter.line.pipeline != command.letters.pipeline {
                tally.others.note_foreign();
                continue;
            }
            if !command.chooses(way, &letter) {
                continue;
            }
            let identity = command.identity(&letter);
            if !command.args.again && command.known.contains(&identity) {
                tally.before += 1;
                continue;
            }
            let Some(source) = names.source(&letter) else {
                tally.homeless += 1;
                continue;
            };
            if !self.seen.insert(letter.line.record(command.args.from_stage.is_some())) {
                tally.repeats += 1;
                self.repeats.push(identity);
                continue;
            }
            tally.chosen.add(&letter);
            return Ok(Some((source, letter)));
        }
        self.progress.clear();
        Ok(None)
    }
}

/// Ends a replay in order on the first signal, at once on the second.
#[derive(Clone, Default)]
struct Stop {
    asked: Arc<AtomicBool>,
    running: Arc<Mutex<Option<Stopper>>>,
}

impl Stop {
    fn asked(&self) -> bool {
        self.asked.load(Ordering::Acquire)
    }

    fn watch(&self, running: Option<Stopper>) {
        if let (Some(stopper), true) = (&running, self.asked()) {
            stopper.stop();
        }
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = running;
    }

    fn listen(&self) -> Result<()> {
        use signal_hook::consts::{SIGINT, SIGTERM};
        let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])
            .map_err(|e| Error::external(Code::X004, format!("signals cannot be handled: {e}")))?;
        let stop = self.clone();
        std::thread::spawn(move || {
            let mut received = signals.forever();
            if received.next().is_some() {
                stop.asked.store(true, Ordering::Release);
                if let Some(stopper) = &*stop.running.lock().unwrap_or_else(PoisonError::into_inner) {
                    stopper.stop();
                }
            }
            if let Some(signal) = received.next() {
                #[expect(clippy::disallowed_methods, reason = "the second signal asks for it")]
                std::process::exit(128 + signal);
            }
        });
        Ok(())
    }
}
