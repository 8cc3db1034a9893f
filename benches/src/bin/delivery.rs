//! What exactly once costs: throughput beside at least once in one run, and the latency at a steady rate as those see
//! it who wait for commits, beside Kafka Streams where it is built.
//!
//! `delivery [--records N] [--rounds R] [--interval TIME] [--rate N] [--seconds S] [--set KEY=VALUE] [--history FILE]`.
//! The runs alternate over one topic; every output is counted by a consumer that reads what is committed.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use pipe_benches::contest::{CONTESTANTS, Place, streams};
use pipe_benches::goals::{Goal, goal};
use pipe_benches::measure::{Cost, append, machine, run};
use pipe_benches::sink::{committed, reader};
use pipe_benches::{PARTITIONS, Requests, ended, load, options, send};
use pipe_tests::kafka::Broker;
use rdkafka::ClientConfig;
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::{Value, json};

/// Every record goes through a stage and is written: the most that a sink can have to do.
const PIPELINE: &str = r#"
name: NAME
delivery: { guarantee: GUARANTEE, commit_interval: INTERVAL }
sources:
  in:
    kafka: { brokers: "BROKERS", topics: [INPUT] }
    format: { json: { columns: { ts: int64, user_id: utf8, status: int64 } } }
stages:
  all: { from: in, use: filter, config: { all: [{ column: ts, op: gt, value: 0 }] } }
sinks:
  out: { from: all, kafka: { brokers: "BROKERS", topic: NAME, key: user_id }, format: json }
"#;

/// What the latency at least once should be.
const P99_MS: f64 = 20.0;

struct Args {
    records: u64,
    rounds: usize,
    interval: String,
    rate: u64,
    seconds: u64,
    /// Given on to the workers.
    set: Vec<String>,
    history: Option<PathBuf>,
}

fn args() -> Result<Args, Box<dyn Error>> {
    let (interval, history) = ("100ms".to_owned(), None);
    let mut args =
        Args { records: 10_000_000, rounds: 3, interval, rate: 50_000, seconds: 20, set: vec![], history };
    for (name, value) in options()? {
        match name.as_str() {
            "--records" => args.records = value.parse()?,
            "--rounds" => args.rounds = value.parse()?,
            "--interval" => args.interval = value,
            "--rate" => args.rate = value.parse()?,
            "--seconds" => args.seconds = value.parse()?,
            "--set" => args.set.extend(["--set".to_owned(), value]),
            "--history" => args.history = Some(value.into()),
            other => return Err(format!("there is no option {other}").into()),
        }
    }
    Ok(args)
}

fn main() -> ExitCode {
    ended("delivery", args().and_then(|args| bench(&args)))
}

fn bench(args: &Args) -> Result<(), Box<dyn Error>> {
    let folder = tempfile::Builder::new().prefix("pipe-delivery-").tempdir()?;
    let broker = Broker::start_compiled();
    let machine = machine();
    println!("machine: {machine}");
    let throughput = throughput(args, folder.path(), &broker)?;
    let latency = latency(args, folder.path(), &broker)?;
    if let Some(history) = &args.history {
        let figures = json!({"interval": args.interval, "throughput": throughput, "latency": latency});
        let line = json!({"machine": machine, "delivery": figures});
        append(history, &line)?;
    }
    Ok(())
}

/// A worker, with `pipe` of this build.
fn worker(
    args: &Args,
    folder: &Path,
    brokers: &str,
    names: [&str; 3],
    more: &[&str],
) -> Result<Command, Box<dyn Error>> {
    let [guarantee, input, name] = names;
    let file = folder.join(format!("{name}.yaml"));
    let text = PIPELINE.replace("BROKERS", brokers).replace("INTERVAL", &args.interval);
    fs::write(&file, text.replace("GUARANTEE", guarantee).replace("INPUT", input).replace("NAME", name))?;
    let mut command = Command::new(std::env::current_exe()?.with_file_name("pipe"));
    command.arg("run").arg(&file).args(more).args(&args.set).args(["--admin", "off", "--worker-id", "bench"]);
    command.env("PIPE_STAGES", pipe_tests::stages());
    Ok(command)
}

fn throughput(args: &Args, folder: &Path, broker: &Broker) -> Result<Value, Box<dyn Error>> {
    let brokers = broker.address();
    broker.topic("requests", PARTITIONS);
    load(&brokers, "requests", Requests::default(), args.records, "none")?;
    let mut costs: [Vec<Cost>; 2] = Default::default();
    // The round 0 fills caches, and is not counted.
    for round in 0..=args.rounds {
        for (guarantee, costs) in ["at_least_once", "exactly_once"].into_iter().zip(&mut costs) {
            let name = format!("{}-{round}", guarantee.replace('_', "-"));
            broker.topic(&name, PARTITIONS);
            let names = [guarantee, "requests", &name];
            let cost = run(&mut worker(args, folder, &brokers, names, &["--until-end"])?)?;
            let seen = committed(&brokers, &name)?;
            if seen != args.records {
                return Err(format!("{name}: {seen} records are committed, not {}", args.records).into());
            }
            if round > 0 {
                let (rate, cpu) = (cost.rate(args.records), cost.cpu_per_million(args.records));
                println!("{name:<18} {rate:>9.0} records/s {cpu:>6.2} CPU s/M {:>6.0} MiB", cost.peak_mib());
                costs.push(cost);
            }
        }
    }
    let rates = costs.map(|costs| costs.iter().map(|c| c.rate(args.records)).collect::<Vec<f64>>());
    let [least, exactly] = rates.clone().map(|mut rates| middle(&mut rates));
    println!("median: {least:.0} and {exactly:.0} records/s");
    let what = "records/s, every record written: exactly once / at least once";
    goal(what, exactly / least, "", Goal::AtLeast(0.95), "");
    Ok(json!({"records": args.records, "at_least_once": rates[0], "exactly_once": rates[1]}))
}

fn latency(args: &Args, folder: &Path, broker: &Broker) -> Result<Value, Box<dyn Error>> {
    let mut all = BTreeMap::new();
    let has_streams = CONTESTANTS.iter().any(|c| c.name == "streams" && c.is_built());
    if !has_streams {
        println!("Kafka Streams is not built (scripts/rivals.sh) and left out");
    }
    // Streams' own producer waits 100 ms for a full batch: as it comes, and as ours and `pipe`'s are set.
    let systems = ["at_least_once", "exactly_once", "streams", "streams_5_ms"];
    for system in systems.into_iter().filter(|system| has_streams || !system.starts_with("streams")) {
        let input = format!("paced-{system}");
        let output = format!("latency-{}", system.replace('_', "-"));
        broker.topic(&input, PARTITIONS);
        broker.topic(&output, PARTITIONS);
        let (brokers, folder) = (broker.address(), folder.to_owned());
        let mut command = if system.starts_with("streams") {
            let place = Place { brokers, input: input.clone(), output: output.clone(), folder };
            let mut command = streams("all", "at_least_once", &place);
            if system == "streams_5_ms" {
                command.arg("producer.linger.ms=5");
            }
            command
        } else {
            worker(args, &folder, &brokers, [system, &input, &output], &[])?
        };
        let worker =
            Running(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
        let mut micros = paced(args, &broker.address(), &input, &output)?;
        drop(worker);
        micros.sort_unstable();
        let at = |share: f64| {
            micros.get((micros.len() as f64 * share) as usize).copied().unwrap_or(0) as f64 / 1e3
        };
        let figures @ [p50, p99, p999] = [at(0.5), at(0.99), at(0.999)];
        println!(
            "{system:<14} {} records/s, end to end p50 {p50:.1} ms, p99 {p99:.1} ms, p99.9 {p999:.1} ms",
            args.rate
        );
        all.insert(system, figures);
    }
    let streams = all.iter().filter(|(name, _)| name.starts_with("streams")).map(|(_, figures)| figures[1]);
    let limit = streams.fold(P99_MS, f64::min);
    let p99 = all["at_least_once"][1];
    let what = format!("p99 end to end at {} records/s, at least once", args.rate);
    goal(&what, p99, "ms", Goal::AtMost(limit), "(20 ms, and Kafka Streams')");
    Ok(json!({"rate": args.rate, "ms_p50_p99_p999": all}))
}

/// A worker that ends with this.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It is a child of ours; one that has ended already needs no end.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros() as u64)
}

/// Writes records at an even rate, each with its time, and reads them back: microseconds between the two, those of the
/// first quarter left out.
fn paced(args: &Args, brokers: &str, input: &str, output: &str) -> Result<Vec<u64>, Box<dyn Error>> {
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", brokers).set("linger.ms", "5").create()?;
    let total = args.rate * args.seconds;
    let consumer = reader(brokers, output, &[("fetch.wait.max.ms", "5")])?;
    let reading = std::thread::spawn(move || {
        let (mut found, mut last) = (Vec::new(), Instant::now());
        while (found.len() as u64) < total && last.elapsed() < Duration::from_secs(30) {
            let Some(Ok(message)) = consumer.poll(Duration::from_millis(20)) else { continue };
            last = Instant::now();
            let sent = message.payload().and_then(|p| serde_json::from_slice::<Value>(p).ok());
            found.push(now().saturating_sub(sent.and_then(|v| v["ts"].as_u64()).unwrap_or(0)));
        }
        found
    });
    // The group has its partitions by then.
    std::thread::sleep(Duration::from_secs(6));
    let begin = Instant::now();
    for n in 0..total {
        let due = Duration::from_nanos(n * 1_000_000_000 / args.rate);
        if let Some(early) = due.checked_sub(begin.elapsed()) {
            producer.poll(Duration::ZERO);
            std::thread::sleep(early.min(Duration::from_millis(1)));
        }
        let text = format!(r#"{{"ts":{},"user_id":"u-{n:06}","status":200,"url":"/p/{n}?ref=mail"}}"#, now());
        send(&producer, BaseRecord::to(input).partition((n % 4) as i32).payload(text.as_bytes()))?;
    }
    producer.flush(Duration::from_secs(30))?;
    let found = reading.join().map_err(|_| "the reader panicked")?;
    if found.len() as u64 != total {
        return Err(format!("{output}: {} of {total} records came", found.len()).into());
    }
    Ok(found[found.len() / 4..].to_vec())
}

fn middle(rates: &mut [f64]) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or(f64::NAN)
}
