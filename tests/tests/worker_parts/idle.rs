//! A worker without records: how often its threads wake, and that it is as quick as any other when a record comes.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use pipe_tests::kafka::{self, unique};

use super::exactly_once::EXACTLY;
use super::{LONG, Pipeline, Worker, Writer, committed, copy, each, numbers, patiently};

/// So long they are watched.
const WATCHED: Duration = Duration::from_secs(8);
/// Times a second, as the issue of it says: of the coordinator, and of all threads that are ours.
const COORDINATOR: f64 = 20.0;
const OURS: f64 = 50.0;
/// The thread that ends calls of stages which take too long, as the kernel cuts its name.
const TICKER: &str = "pipe-wasm-epoch";

/// What a process has done so far.
struct Seen {
    at: Instant,
    /// Voluntary switches by the names of the threads.
    switches: BTreeMap<String, u64>,
    /// Nanoseconds on a core.
    cpu: u64,
}

impl Seen {
    fn of(worker: &Worker) -> Self {
        let (mut switches, mut cpu) = (BTreeMap::new(), 0);
        for task in fs::read_dir(format!("/proc/{}/task", worker.id())).unwrap() {
            let task = task.unwrap().path();
            // A thread may end between the two.
            let Ok(name) = fs::read_to_string(task.join("comm")) else { continue };
            let Ok(status) = fs::read_to_string(task.join("status")) else { continue };
            let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            *switches.entry(name.trim().to_owned()).or_default() +=
                count.unwrap().trim().parse::<u64>().unwrap();
            let spent = fs::read_to_string(task.join("schedstat")).unwrap_or_default();
            cpu += spent.split_whitespace().next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
        }
        Self { at: Instant::now(), switches, cpu }
    }

    /// Wake-ups a second by thread since an earlier look, and the share of a core.
    fn since(&self, before: &Self) -> (BTreeMap<&str, f64>, f64) {
        let seconds = (self.at - before.at).as_secs_f64();
        let rate = |(name, count): (&String, &u64)| {
            count.saturating_sub(before.switches.get(name).copied().unwrap_or(0)) as f64 / seconds
        };
        let rates = self.switches.iter().map(|found| (found.0.as_str(), rate(found))).collect();
        (rates, self.cpu.saturating_sub(before.cpu) as f64 / 1e9 / seconds)
    }
}

/// Whether a thread is the engine's: librdkafka names its own `rdk:`, and Tokio's serves the probes.
fn is_ours(name: &str) -> bool {
    !name.starts_with("rdk:") && name != "admin"
}

/// Looks at workers for a while, all at once; prints what was seen, and answers rates by thread.
fn watch(workers: &[(&str, &Worker)]) -> Vec<BTreeMap<String, f64>> {
    let before: Vec<Seen> = workers.iter().map(|(_, worker)| Seen::of(worker)).collect();
    std::thread::sleep(WATCHED);
    let mut all = Vec::new();
    for ((what, worker), before) in workers.iter().zip(&before) {
        let after = Seen::of(worker);
        let (rates, core) = after.since(before);
        let sum = |ours: bool| -> f64 {
            rates.iter().filter(|(name, _)| is_ours(name) == ours).map(|(_, rate)| rate).sum()
        };
        println!(
            "{what}: ours {:.1}/s, others {:.1}/s, {:.2} % of a core",
            sum(true),
            sum(false),
            core * 100.0
        );
        rates
            .iter()
            .filter(|(_, rate)| **rate > 0.1)
            .for_each(|(name, rate)| println!("    {name:16} {rate:6.1}/s"));
        all.push(rates.into_iter().map(|(name, rate)| (name.to_owned(), rate)).collect());
    }
    all
}

#[test]
fn an_idle_worker_wakes_for_little_and_takes_what_comes_at_once() {
    let broker = kafka::shared();
    let one = |yaml: String| yaml.replace("lanes: 2", "lanes: 1");
    let kinds = [
        ("at least once", String::new(), 1),
        ("exactly once", EXACTLY.to_owned(), 1),
        ("four lanes", String::new(), 4),
    ];
    let topics: Vec<[String; 3]> = kinds.iter().map(|_| ["idle", "from", "to"].map(unique)).collect();
    let mut running = Vec::new();
    for ((_, delivery, lanes), [name, from, to]) in kinds.iter().zip(&topics) {
        broker.topic(from, 4);
        broker.topic(to, 4);
        let yaml = format!("{delivery}{}", one(copy(name, from, to)))
            .replace("lanes: 1", &format!("lanes: {lanes}"));
        let pipeline = Pipeline::new(broker, &yaml);
        let mut worker = pipeline.start(&["--admin", "127.0.0.1:0"]);
        worker.says("\"partition assigned\"");
        running.push((pipeline, worker));
    }
    let writer = Writer::new(broker);
    let all_committed = |count: i64| {
        for [name, from, _] in &topics {
            patiently(LONG, "all is committed", || {
                committed(broker, name, from, 4).values().filter(|&&at| at == count).count() == 4
            });
        }
    };
    topics.iter().for_each(|[_, from, _]| writer.numbers(from, 4, 0..100));
    all_committed(100);
    let watched: Vec<(&str, &Worker)> =
        kinds.iter().zip(&running).map(|((what, ..), (_, worker))| (*what, worker)).collect();
    // The clock of the stages rests when the time is over that the last call might have taken: that of a start, ten seconds.
    patiently(LONG, "the clock of the stages rests", || {
        let ticks = || watched.iter().map(|(_, worker)| Seen::of(worker).switches[TICKER]).sum::<u64>();
        let before = ticks();
        std::thread::sleep(Duration::from_millis(500));
        ticks() == before
    });
    for (rates, (what, _, lanes)) in watch(&watched).into_iter().zip(&kinds) {
        let coordinator = rates["coordinator"];
        assert!(coordinator < COORDINATOR, "{what}: the coordinator wakes {coordinator} times a second");
        let ours: f64 = rates.iter().filter(|(name, _)| is_ours(name)).map(|(_, rate)| rate).sum();
        // A lane has four threads: a source's, two of stages, a sink's.
        let most = OURS + f64::from(lanes - 1) * 5.0;
        assert!(ours < most, "{what}: the engine's threads wake {ours} times a second");
    }
    topics.iter().for_each(|[_, from, _]| writer.numbers(from, 4, 100..200));
    all_committed(200);
    for ((_, worker), [_, _, to]) in running.into_iter().zip(&topics) {
        worker.stop();
        assert_eq!(numbers(broker, to), (each(4, 200), 0));
    }
}
