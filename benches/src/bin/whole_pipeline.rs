//! Whole pipelines beside their native twins, over a real broker, and the memory of a worker at full rate.
//!
//! `whole_pipeline [--records N] [--rounds R] [--only JOB,JOB] [--memory N,N..] [--history FILE]`: five jobs with
//! records of 200 bytes and of 1 kB, uncompressed and LZ4 on both sides, at least once and exactly once. The runs
//! alternate, each with a consumer group and output topics of its own, so that whatever else the machine does meets
//! both alike: read the ratio.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use pipe_benches::contest::{built, pipe};
use pipe_benches::measure::{Cost, append, machine, run};
use pipe_benches::sink::committed;
use pipe_benches::{Loaded, PARTITIONS, Requests, ended, load, options};
use pipe_tests::kafka::Broker;
use serde_json::{Value, json};

/// A pipeline: its name, the job of the twin, its sources' format, its stages, and what its sinks write.
struct Job {
    name: &'static str,
    twin: &'static str,
    format: &'static str,
    stages: &'static str,
    /// For each sink what it reads.
    sinks: &'static [&'static str],
    /// Records of each output.
    expected: fn(&Loaded) -> u64,
}

const COLUMNS: &str = "{ json: { columns: { ts: int64, user_id: utf8, country: utf8, url: utf8, status: int64, \
                       latency_ms: float64, bytes: int64 } } }";
const FILTER: &str = "
  bad:
    from: in
    use: filter
    config: { any: [{ column: status, op: ge, value: 500 }, { column: latency_ms, op: gt, value: 100 }] }";
const MAP: &str = "
  masked:
    from: in
    use: redact
    config: { rules: [{ column: country, action: mask }, { column: url, action: mask, keep_first: 3 }] }";
const THREE: &str = "
  valid: { from: in, use: filter, config: { all: [{ column: status, op: ge, value: 100 }] } }
  masked:
    from: valid
    use: redact
    config: { rules: [{ column: country, action: mask }, { column: url, action: mask, keep_first: 3 }] }
  bad: { from: masked, use: bad-requests, config: { failed_from: 500, kept_above_ms: 100, slow_above_ms: 250 } }";

const JOBS: &[Job] = &[
    Job { name: "raw", twin: "raw", format: "raw", stages: "", sinks: &["in"], expected: |l| l.records },
    Job {
        name: "filter",
        twin: "filter",
        format: COLUMNS,
        stages: FILTER,
        sinks: &["bad"],
        expected: |l| l.kept,
    },
    Job {
        name: "map",
        twin: "map",
        format: COLUMNS,
        stages: MAP,
        sinks: &["masked"],
        expected: |l| l.records,
    },
    Job {
        name: "three",
        twin: "three",
        format: COLUMNS,
        stages: THREE,
        sinks: &["bad"],
        expected: |l| l.kept,
    },
    Job {
        name: "fan-out",
        twin: "filter",
        format: COLUMNS,
        stages: FILTER,
        sinks: &["bad", "bad"],
        expected: |l| l.kept,
    },
];

const MEMORY: &str = r#"
name: memory
sources:
  requests:
    generate: { count: COUNT, seed: 1, partitions: 4 }
stages:
  served:
    from: requests
    use: filter
    config:
      all: [{ column: status, op: lt, value: 600 }]
  by_status:
    from: served
    use: route
    config:
      column: status
      routes: [{ port: failed, op: ge, value: 500 }]
      default: fine
  slow:
    from: by_status.fine
    use: slow
    config: { threshold_ms: 1 }
sinks:
  of_slow:
    from: slow
    blackhole: {}
  of_failed:
    from: by_status.failed
    blackhole: {}
"#;

struct Args {
    records: u64,
    rounds: usize,
    only: Vec<String>,
    memory: Vec<u64>,
    history: Option<PathBuf>,
}

fn args() -> Result<Args, Box<dyn Error>> {
    let memory = vec![1_000_000, 20_000_000];
    let mut args = Args { records: 1_000_000, rounds: 3, only: vec![], memory, history: None };
    for (name, value) in options()? {
        let list = || value.split(',').filter(|word| !word.is_empty()).map(str::to_owned);
        match name.as_str() {
            "--records" => args.records = value.parse()?,
            "--rounds" => args.rounds = value.parse()?,
            "--only" => args.only = list().collect(),
            "--memory" => args.memory = list().map(|n| n.parse()).collect::<Result<_, _>>()?,
            "--history" => args.history = Some(value.into()),
            other => return Err(format!("there is no option {other}").into()),
        }
    }
    Ok(args)
}

fn main() -> ExitCode {
    ended("whole_pipeline", args().and_then(|args| bench(&args)))
}

fn bench(args: &Args) -> Result<(), Box<dyn Error>> {
    let folder = tempfile::Builder::new().prefix("pipe-bench-").tempdir()?;
    let machine = machine();
    println!("machine: {machine}");
    let whole = if args.records > 0 { whole(args, folder.path())? } else { Value::Null };
    let memory = memory(&args.memory, folder.path())?;
    if let Some(history) = &args.history {
        let line = json!({"machine": machine, "whole": whole, "memory": memory});
        append(history, &line)?;
    }
    Ok(())
}

/// A worker, with `pipe` of this build, that drains its sources and ends.
fn worker(folder: &Path, name: &str, text: &str) -> Result<Command, Box<dyn Error>> {
    let mut command = pipe(folder, name, text)?;
    command.arg("--until-end");
    Ok(command)
}

/// The ways in which each job is run.
const WAYS: [&str; 3] = ["twin", "at_least_once", "exactly_once"];

fn whole(args: &Args, folder: &Path) -> Result<Value, Box<dyn Error>> {
    let broker = Broker::start_compiled();
    println!("{} records; CPU s/M and k records/s, medians of {} rounds", args.records, args.rounds);
    println!("{:<26} {:>16} {:>26} {:>26}", "", "twin", "at least once, ratio", "exactly once, ratio");
    let mut all = Vec::new();
    for (size, padding) in [("200b", 0), ("1kb", 800)] {
        for compression in ["none", "lz4"] {
            let input = format!("in-{size}-{compression}");
            broker.topic(&input, PARTITIONS);
            let requests = Requests::padded(padding);
            let loaded = load(&broker.address(), &input, requests, args.records, compression)?;
            for job in
                JOBS.iter().filter(|job| args.only.is_empty() || args.only.iter().any(|n| n == job.name))
            {
                let name = format!("{} {size} {compression}", job.name);
                let mut costs: [Vec<Cost>; 3] = Default::default();
                // The first round of a job fills the cache of compiled components, and is not counted.
                let first = if padding == 0 && compression == "none" { 0 } else { 1 };
                for round in first..=args.rounds {
                    for (way, costs) in WAYS.into_iter().zip(&mut costs) {
                        let run = Run { job, way, input: &input, compression, round, loaded };
                        let cost = run.take(&broker, folder).map_err(|e| format!("{name}, {way}: {e}"))?;
                        if round > 0 {
                            costs.push(cost);
                        }
                    }
                }
                all.push(compared(&name, &costs, args.records));
                let outputs = format!("{}-{input}-.*", job.name);
                broker.tool("org.apache.kafka.tools.TopicCommand", &["--delete", "--topic", &outputs]);
            }
        }
    }
    Ok(json!({"records": args.records, "pipelines": all}))
}

struct Run<'a> {
    job: &'a Job,
    way: &'a str,
    input: &'a str,
    compression: &'a str,
    round: usize,
    loaded: Loaded,
}

impl Run<'_> {
    fn take(&self, broker: &Broker, folder: &Path) -> Result<Cost, Box<dyn Error>> {
        let brokers = broker.address();
        let group = format!("{}-{}-{}-{}", self.job.name, self.input, self.way.replace('_', "-"), self.round);
        let outputs: Vec<String> = (0..self.job.sinks.len()).map(|n| format!("{group}-{n}")).collect();
        outputs.iter().for_each(|output| broker.topic(output, PARTITIONS));
        let mut command = if self.way == "twin" {
            let mut twin = Command::new(built("native_twin")?);
            twin.args([self.job.twin, &brokers, self.input, &outputs.join(","), &group, self.compression]);
            twin
        } else {
            worker(folder, &group, &self.pipeline(&brokers, &group, &outputs))?
        };
        let cost = run(&mut command)?;
        let expected = (self.job.expected)(&self.loaded);
        for output in &outputs {
            let written = committed(&brokers, output)?;
            if written != expected {
                return Err(format!("it wrote {written} records, not {expected}").into());
            }
        }
        Ok(cost)
    }

    fn pipeline(&self, brokers: &str, group: &str, outputs: &[String]) -> String {
        let Self { job, way, input, compression, .. } = self;
        let stages = if job.stages.is_empty() { String::new() } else { format!("stages:{}\n", job.stages) };
        let (format, key) = if job.format == "raw" { ("raw", "") } else { ("json", "key: user_id, ") };
        let sink = |(n, (from, topic)): (usize, (&&str, &String))| {
            format!(
                "  out{n}:\n    from: {from}\n    kafka: {{ brokers: \"{brokers}\", topic: {topic}, {key}compression: \
                 {compression} }}\n    format: {format}\n"
            )
        };
        format!(
            "name: {group}\ndelivery: {{ guarantee: {way}, commit_interval: 100ms }}\nsources:\n  in:\n    kafka: {{ \
             brokers: \"{brokers}\", topics: [{input}] }}\n    format: {}\n{stages}sinks:\n{}",
            job.format,
            job.sinks.iter().zip(outputs).enumerate().map(sink).collect::<String>(),
        )
    }
}

/// Prints a job's medians and the ratios to the twin.
fn compared(name: &str, costs: &[Vec<Cost>; 3], records: u64) -> Value {
    let medians = costs.each_ref().map(|costs| median(costs, &|c| c.cpu_per_million(records)));
    let rates = costs.each_ref().map(|costs| median(costs, &|c| c.rate(records) / 1e3));
    let cell = |at: usize| format!("{:.2} {:>5.0} k", medians[at], rates[at]);
    let of = |at: usize| format!("{}  {:.2} x", cell(at), medians[at] / medians[0]);
    println!("{name:<26} {:>16} {:>26} {:>26}", cell(0), of(1), of(2));
    let each = |at: usize| figures(&costs[at], records);
    json!({
        "name": name,
        "twin": each(0),
        "at_least_once": each(1),
        "exactly_once": each(2),
        "ratio": rounded(medians[1] / medians[0]),
        "ratio_exactly_once": rounded(medians[2] / medians[0]),
    })
}

fn show(name: &str, cost: &Cost, records: u64) {
    println!(
        "{name:<10} {:>6.2} CPU s/M {:>6.2} s {:>10.0} records/s {:>6.0} MiB peak",
        cost.cpu_per_million(records),
        cost.wall.as_secs_f64(),
        cost.rate(records),
        cost.peak_mib(),
    );
}

fn median(costs: &[Cost], figure: &dyn Fn(&Cost) -> f64) -> f64 {
    let mut all: Vec<f64> = costs.iter().map(figure).collect();
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
}

fn rounded(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

fn figures(costs: &[Cost], records: u64) -> Value {
    let each = |figure: &dyn Fn(&Cost) -> f64| costs.iter().map(|c| rounded(figure(c))).collect::<Vec<_>>();
    json!({
        "cpu_s_per_million": each(&|c| c.cpu_per_million(records)),
        "records_per_s": each(&|c| c.rate(records).round()),
        "peak_mib": each(&|c| c.peak_mib()),
    })
}

/// Three stages at full rate without a broker: the peak must not grow with the number of records.
fn memory(counts: &[u64], folder: &Path) -> Result<Value, Box<dyn Error>> {
    let mut all = Vec::new();
    for &count in counts {
        let cost = run(&mut worker(folder, "memory", &MEMORY.replace("COUNT", &count.to_string()))?)?;
        show(&format!("{}k", count / 1000), &cost, count);
        let [first, second] = cost.halves_mib();
        println!(
            "{:<10} median resident {first:.0} MiB in the first half, {second:.0} MiB in the second",
            ""
        );
        let halves = [rounded(first), rounded(second)];
        all.push(json!({"records": count, "figures": figures(&[cost], count), "halves_mib": halves}));
    }
    Ok(Value::Array(all))
}
