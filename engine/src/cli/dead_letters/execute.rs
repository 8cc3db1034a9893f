//! `pipe dead-letters replay`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use super::scan::{Names, Scan, Tally};
use super::selection::{Args, Command, Way};
use super::stop::Stop;
use super::{Letters, wrong};
use crate::cli::load::{Form, plan_loaded, rendered, stage_folders};
use crate::cli::logs;
use crate::cli::run::failed;
use crate::cli::text::{Out, line};
use crate::clock::{Clock, SystemClock};
use crate::config::spec::OnFailure;
use crate::config::{load, suggestion};
use crate::dead_letter::File;
use crate::error::{Code, Error, Result};
use crate::plan::{DeadLetters, Plan, schema};
use crate::run::observe::summary::{counted, grouped};
use crate::run::replay::journal::{Identity, Replayed};
use crate::run::replay::{Round, size};
use crate::run::{self, Options};
use crate::stage::HostOptions;
use crate::units::{REPLAY_ROUND_BYTES, REPLAY_ROUND_LETTERS};

/// Replays, or says what would be.
pub fn run(args: &Args, host: HostOptions) -> Result<ExitCode> {
    logs::start(args.log_format);
    args.filter.check()?;
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
    let ended = ways.iter().try_for_each(|way| command.execute(way, &names, &mut done));
    let mut text = format!("replayed {}\n", counted(done.chosen.all(), "dead letter"));
    if done.failed_again > 0 {
        let _ = writeln!(text, "{} rows failed again and are dead letters again", grouped(done.failed_again));
    }
    if command.stop.asked() || ended.is_err() {
        text.push_str("stopped before the end; the same command goes on\n");
    }
    Out::new().print(&text)?;
    Ok(ended.map_or_else(|error| failed(&error), |()| ExitCode::SUCCESS))
}

impl Command<'_> {
    /// The plan, with the components that were named. What a worker would skip stays a letter: dropping it would be
    /// the end of what was kept.
    fn plan(&self) -> Result<Option<Plan>> {
        let file = &self.args.at.file;
        let mut loaded = load(file, &schema::pipeline(), &self.args.at.set)?;
        let draft = &mut loaded.draft;
        let sources = draft.sources.values_mut().flatten().map(|s| &mut s.on_failure);
        let stages = draft.stages.values_mut().flatten().map(|s| &mut s.on_failure);
        let sinks = draft.sinks.values_mut().flatten().map(|s| &mut s.on_failure);
        for on_failure in sources.chain(stages).chain(sinks).filter(|given| **given == OnFailure::Skip) {
            *on_failure = OnFailure::DeadLetter;
        }
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
        let (all, place) = (counted(survey.chosen.all(), "dead letter"), line(&self.letters.describe()));
        let _ = writeln!(out, "{verb} {all} of {place}");
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
        if let Some((then, now)) = &survey.headers {
            let count = grouped(survey.changed);
            let now = if now.is_empty() { "none".to_owned() } else { format!("`{now}`") };
            let _ = writeln!(
                out,
                "{count} were read under another header (`{then}`) than the source's file has now ({now}) and are left \
                 out: replay them with a file of that header, by `--set sources.<name>.file.path=…`"
            );
        }
        out.push_str(&self.letters.strangers(&self.args.filter, &survey.chosen));
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
                self.known.add(std::mem::take(&mut scan.repeats).into_iter())?;
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
