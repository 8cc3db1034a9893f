//! The crash proof: several workers of one pipeline on a real broker, or on a cluster of three, killed again and again while input keeps
//! coming; then a reader counts whether every input is where it must be, once and in order.
//!
//! What is done when follows from a seed ([`schedule`]), the counting is pure and knows nothing of the engine
//! ([`verify`]), and how long things took is printed, never asserted ([`watch`]).

mod acts;
pub mod produce;
pub mod read;
pub mod report;
pub mod schedule;
pub mod site;
pub mod topology;
pub mod verify;
pub mod watch;
pub mod workers;

use std::path::Path;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::kafka::unique;
use produce::Input;
use read::Isolation;
use report::Deeds;
pub use report::Report;
pub use site::Site;
use topology::{INPUT_PARTITIONS, OUTPUT_PARTITIONS, Shape, Topology};
use verify::Verifier;
use watch::{History, Watch};
use workers::Crew;

/// What goes wrong in the harness itself is told in words.
pub type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

/// Everything must move, and in the end be committed, after this long: several sessions and rebalances.
const SETTLE: Duration = Duration::from_secs(120);
/// Transactions of the dead must be over after this long: their time-out, and the broker's sweep.
const TRANSACTIONS: Duration = Duration::from_secs(90);
/// One question to the broker.
const ASK: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(200);

/// What to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which pipeline.
    pub shape: Shape,
    /// How many times a worker is killed.
    pub kills: u32,
    /// How many workers there are.
    pub workers: usize,
    /// What everything follows from.
    pub seed: u64,
    /// `exactly_once` or `at_least_once`: repeats are no fault of the second.
    pub guarantee: String,
    /// As in the pipeline file.
    pub commit_interval: String,
    /// `group.protocol` of the workers: `classic` or `consumer`.
    pub protocol: String,
    /// Whether the workers are static members; with `consumer` one that was killed is not let in for a session.
    pub fixed: bool,
    /// Whether workers and the broker are frozen, the broker is killed and workers are restarted in turn, too.
    pub faults: bool,
    /// Records a second.
    pub rate: u32,
    /// Whether the logs are kept even if all is well.
    pub keep: bool,
}

impl Options {
    /// Three workers, exactly once, 100 ms, no other faults.
    pub fn new(shape: Shape, kills: u32, seed: u64) -> Self {
        let (guarantee, commit_interval) = ("exactly_once".to_owned(), "100ms".to_owned());
        let protocol = "classic".to_owned();
        Self {
            shape,
            kills,
            workers: 3,
            seed,
            guarantee,
            commit_interval,
            protocol,
            fixed: false,
            faults: false,
            rate: 1_000,
            keep: false,
        }
    }
}

/// A run in progress.
struct Run<'a> {
    options: &'a Options,
    site: Site<'a>,
    topology: Topology,
    crew: Crew,
    start: Instant,
    deeds: Deeds,
    /// A broker that is away, and when it is to be started again.
    away: Option<(usize, Instant)>,
}

/// Runs it. When anything is wrong, the logs of the workers and the brokers are kept, and it says where.
pub fn run<'a>(options: &Options, site: impl Into<Site<'a>>) -> Result<Report> {
    let site = site.into();
    let topology = Topology::new(options.shape, &unique("soak"));
    topology.make_topics(site);
    let folder = tempfile::Builder::new().prefix("pipe-soak-").tempdir()?;
    let pipeline = topology.pipeline(options);
    std::fs::write(folder.path().join("pipeline.yaml"), pipeline)?;
    let result = {
        let mut crew = Crew::new(folder.path(), site.workers_address(), options.workers);
        // Of several brokers one is always there.
        crew.refusals = matches!(site, Site::One(_));
        let start = Instant::now();
        let mut run = Run { options, site, topology, crew, start, deeds: Deeds::default(), away: None };
        let Options { shape, kills, seed, protocol, fixed, .. } = options;
        let members = if *fixed { "static" } else { "dynamic" };
        run.say(&format!("{shape:?}, {kills} kills, seed {seed}, protocol {protocol}, {members} members"));
        run.whole()
    };
    if options.keep || result.as_ref().map_or(true, |report| !report.problems.is_empty()) {
        println!("the logs are kept in {}", keep(folder, site)?);
    }
    result
}

fn keep(folder: tempfile::TempDir, site: Site<'_>) -> Result<String> {
    let folder = folder.keep();
    site.keep_logs(&folder);
    Ok(Path::display(&folder).to_string())
}

impl Run<'_> {
    fn say(&self, text: &str) {
        println!("[{:7.1} s] {text}", self.start.elapsed().as_secs_f64());
    }

    fn whole(&mut self) -> Result<Report> {
        let brokers = self.site.address();
        let seed = self.options.seed;
        let watch = Watch::start(&brokers, &self.topology, self.start)?;
        // Another stream of numbers than the schedule's.
        let random = StdRng::seed_from_u64(!seed);
        let input = Input::start(&brokers, &self.topology, self.options.rate, random)?;
        self.crew.all_up()?;
        self.until(
            "every partition is read",
            SETTLE,
            |history| history.committed.iter().all(|series| series.last().is_some_and(|(_, at)| *at > 0)),
            &watch,
        )?;
        self.say("every partition is read");

        for step in schedule::schedule(seed, self.options.kills, self.options.workers, self.faults()) {
            self.rest(step.wait)?;
            self.act(step.action)?;
        }
        self.whole_again()?;
        let mut report = Report { kills: self.options.kills, seed, ..Report::default() };
        let produced = input.end()?;
        self.say(&format!("{produced} records are produced"));
        self.crew.all_up()?;
        self.committed(&mut report)?;
        let history = watch.history();
        drop(watch);
        self.crew.stop_all()?;
        self.say("the workers have ended");
        report.ended = self.crew.own_ends.len();
        report.problems.append(&mut self.crew.own_ends);
        if self.crew.refused > 0 {
            self.say(&format!("{} starts were refused while no broker was there", self.crew.refused));
        }
        self.transactions(&mut report)?;
        self.count(produced, &mut report)?;
        self.deeds.print(&history);
        if !report.problems.is_empty() {
            report.counts.examples.iter().for_each(|example| println!("  {example}"));
        }
        report.problems.iter().for_each(|problem| println!("PROBLEM: {problem}"));
        Ok(report)
    }

    /// Lets the crew work until something holds.
    fn until(
        &mut self,
        what: &str,
        at_most: Duration,
        holds: impl Fn(&History) -> bool,
        watch: &Watch,
    ) -> Result<()> {
        let started = Instant::now();
        while !holds(&watch.history()) {
            if started.elapsed() > at_most {
                return Err(format!("not within {at_most:?}: {what}").into());
            }
            self.crew.rest(PAUSE)?;
        }
        Ok(())
    }

    /// Waits until the group has committed the ends of the input, and no more than that.
    fn committed(&mut self, report: &mut Report) -> Result<()> {
        let brokers = self.site.address();
        let partitions = self.topology.input_partitions();
        let plain = read::client(&brokers, &self.topology.name, Isolation::Uncommitted)?;
        // This one waits for offsets of open transactions.
        let strict = read::client(&brokers, &self.topology.name, Isolation::Committed)?;
        let started = Instant::now();
        loop {
            let ends = read::ends(&plain, &partitions, ASK);
            let committed = read::committed(&strict, &partitions, ASK);
            match (ends, committed) {
                (Ok(ends), Ok(committed)) if ends == committed => {
                    self.say("everything is committed");
                    return Ok(());
                }
                (ends, committed) if started.elapsed() > SETTLE => {
                    let told = format!(
                        "not within {SETTLE:?}: the input ends at {ends:?}, committed is {committed:?}"
                    );
                    report.problems.push(told);
                    return Ok(());
                }
                _ => self.crew.rest(PAUSE)?,
            }
        }
    }

    /// Waits until no transaction is open: a `read_committed` reader sees to the end of every output.
    fn transactions(&mut self, report: &mut Report) -> Result<()> {
        let brokers = self.site.address();
        let topics: Vec<&String> = self.topology.outputs.iter().chain(&self.topology.letters).collect();
        let partitions: Vec<(String, i32)> =
            topics.into_iter().flat_map(|topic| (0..OUTPUT_PARTITIONS).map(|p| (topic.clone(), p))).collect();
        let plain = read::client(&brokers, "the-verifier", Isolation::Uncommitted)?;
        let strict = read::client(&brokers, "the-verifier", Isolation::Committed)?;
        let started = Instant::now();
        loop {
            let written = read::ends(&plain, &partitions, ASK);
            let visible = read::ends(&strict, &partitions, ASK);
            match (written, visible) {
                (Ok(written), Ok(visible)) if written == visible => return Ok(()),
                (written, visible) if started.elapsed() > TRANSACTIONS => {
                    let told = format!(
                        "a transaction is open for {TRANSACTIONS:?}: {written:?} written, {visible:?} visible"
                    );
                    report.problems.push(told);
                    return Ok(());
                }
                _ => std::thread::sleep(PAUSE),
            }
        }
    }

    fn count(&self, produced: u64, report: &mut Report) -> Result<()> {
        let brokers = self.site.address();
        let mut verifier = Verifier::new(self.options.shape, self.topology.outputs.len());
        let mut unsound = None;
        for topic in &self.topology.inputs {
            read::topic(&brokers, topic, INPUT_PARTITIONS, |found| {
                unsound = unsound.take().or(verifier.input(found).err());
            })?;
        }
        if let Some(unsound) = unsound {
            return Err(format!("the input is not sound: {unsound}").into());
        }
        for (index, topic) in self.topology.outputs.iter().enumerate() {
            read::topic(&brokers, topic, OUTPUT_PARTITIONS, |found| verifier.output(index, &found))?;
        }
        if let Some(topic) = &self.topology.letters {
            read::topic(&brokers, topic, OUTPUT_PARTITIONS, |found| verifier.letter(&found))?;
        }
        report.counts = verifier.finish();
        if report.counts.records != produced {
            let records = report.counts.records;
            return Err(format!("the input is not sound: {produced} produced, {records} there").into());
        }
        // At least once repeats, and what is repeated by several workers at a time has no order.
        report.judge(self.options.guarantee != "at_least_once");
        Ok(())
    }
}
