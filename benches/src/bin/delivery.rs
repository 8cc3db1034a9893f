//! What exactly once costs: throughput beside at least once in one run, and the latency at half load as those see it
//! who wait for commits.
//!
//! `delivery [--records N] [--rounds R] [--interval TIME] [--rate N] [--seconds S] [--set KEY=VALUE] [--history FILE]`.
//! The runs alternate over one topic; every output is counted by a consumer that reads what is committed.

use std::error::Error;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use pipe_benches::measure::{Cost, machine, run};
use pipe_benches::{load, send};
use pipe_tests::kafka::Broker;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::{Value, json};

const PARTITIONS: i32 = 4;

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
        Args { records: 2_000_000, rounds: 5, interval, rate: 50_000, seconds: 20, set: vec![], history };
    let mut given = std::env::args().skip(1);
    while let Some(name) = given.next() {
        let value = given.next().ok_or_else(|| format!("{name} wants a value"))?;
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
    match args().and_then(|args| bench(&args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("delivery: {error}");
            ExitCode::FAILURE
        }
    }
}

fn bench(args: &Args) -> Result<(), Box<dyn Error>> {
    let folder = tempfile::Builder::new().prefix("pipe-delivery-").tempdir()?;
    let broker = Broker::start();
    let machine = machine();
    println!("machine: {machine}");
    let throughput = throughput(args, folder.path(), &broker)?;
    let latency = latency(args, folder.path(), &broker)?;
    if let Some(history) = &args.history {
        let figures = json!({"interval": args.interval, "throughput": throughput, "latency": latency});
        let line = json!({"machine": machine, "delivery": figures});
        writeln!(OpenOptions::new().create(true).append(true).open(history)?, "{line}")?;
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
    load(&brokers, "requests", PARTITIONS, args.records)?;
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
    println!("median: {least:.0} and {exactly:.0} records/s; exactly once has {:.3} of it", exactly / least);
    Ok(json!({"records": args.records, "at_least_once": rates[0], "exactly_once": rates[1]}))
}

fn latency(args: &Args, folder: &Path, broker: &Broker) -> Result<Value, Box<dyn Error>> {
    let mut all = serde_json::Map::new();
    for guarantee in ["at_least_once", "exactly_once"] {
        let (input, name) =
            (format!("paced-{guarantee}"), format!("latency-{}", guarantee.replace('_', "-")));
        broker.topic(&input, PARTITIONS);
        broker.topic(&name, PARTITIONS);
        let names = [guarantee, &input, &name];
        let mut command = worker(args, folder, &broker.address(), names, &[])?;
        let worker =
            Running(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
        let mut micros = paced(args, &broker.address(), &input, &name)?;
        drop(worker);
        micros.sort_unstable();
        let at = |share: f64| {
            micros.get((micros.len() as f64 * share) as usize).copied().unwrap_or(0) as f64 / 1e3
        };
        let figures = [at(0.5), at(0.99), at(0.999)];
        let [p50, p99, p999] = figures;
        println!(
            "{guarantee}: {} records/s, end to end p50 {p50:.1} ms, p99 {p99:.1} ms, p99.9 {p999:.1} ms",
            args.rate
        );
        all.insert(guarantee.to_owned(), json!(figures));
    }
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
    let consumer = reader(brokers, output)?;
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

/// Reads what is committed of a topic, from its start.
fn reader(brokers: &str, topic: &str) -> Result<BaseConsumer, KafkaError> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        .set("group.id", "bench-reader")
        .set("enable.auto.commit", "false");
    config.set("isolation.level", "read_committed").set("enable.partition.eof", "true");
    config.set("fetch.wait.max.ms", "5").set("fetch.queue.backoff.ms", "5");
    let consumer: BaseConsumer = config.create()?;
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        list.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&list)?;
    Ok(consumer)
}

/// Records of a topic that are committed.
fn committed(brokers: &str, topic: &str) -> Result<u64, Box<dyn Error>> {
    let consumer = reader(brokers, topic)?;
    let (mut records, mut ended, begin) = (0, 0, Instant::now());
    while ended < PARTITIONS {
        match consumer.poll(Duration::from_secs(1)) {
            Some(Ok(_)) => records += 1,
            Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
            Some(Err(error)) => return Err(error.into()),
            None if begin.elapsed() > Duration::from_secs(60) => {
                return Err(format!("{topic} has no end").into());
            }
            None => {}
        }
    }
    Ok(records)
}

fn middle(rates: &mut [f64]) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or(f64::NAN)
}
