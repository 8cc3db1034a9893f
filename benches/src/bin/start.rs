//! From the start of a worker to its first record: a topic with data, a warm cache, one stage; and what it does until
//! then, by its own log.
//!
//! `start [--rounds R] [--records N]`. The clock starts before the process does and ends when a consumer of the output
//! has the first record. Each round is a group of its own, so that there is no old member to wait for.

use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant, SystemTime};

use pipe_benches::goals::{Goal, goal};
use pipe_benches::measure::machine;
use pipe_benches::{Requests, ended, load};
use pipe_tests::kafka::Broker;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::Value;

const PARTITIONS: i32 = 4;

const PIPELINE: &str = r#"
name: NAME
delivery: { guarantee: GUARANTEE }
sources:
  in:
    kafka: { brokers: "BROKERS", topics: [requests] }
    format: { json: { columns: { user_id: utf8, status: int64, latency_ms: float64 } } }
stages:
  bad:
    from: in
    use: filter
    config: { any: [{ column: status, op: ge, value: 500 }, { column: latency_ms, op: gt, value: 100 }] }
sinks:
  out: { from: bad, kafka: { brokers: "BROKERS", topic: NAME, key: user_id }, format: json }
"#;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    ended("start", bench())
}

fn bench() -> Result<()> {
    let (mut rounds, mut records) = (7, 200_000);
    let given: Vec<String> = std::env::args().skip(1).collect();
    for pair in given.chunks(2) {
        match pair {
            [name, value] if name == "--rounds" => rounds = value.parse()?,
            [name, value] if name == "--records" => records = value.parse()?,
            _ => return Err("usage: start [--rounds R] [--records N]".into()),
        }
    }
    println!("machine: {}", machine());
    let broker = Broker::start();
    broker.topic("requests", PARTITIONS);
    load(&broker.address(), "requests", Requests::default(), records, "none")?;
    let folder = tempfile::Builder::new().prefix("pipe-start-").tempdir()?;
    // What it is, its guarantee, whether its topic of dead letters is there already, and the times.
    let mut kinds = [
        ("", "at_least_once", true, Vec::new()),
        (", exactly once", "exactly_once", true, Vec::new()),
        (", for the first time, which makes a topic of dead letters", "at_least_once", false, Vec::new()),
    ];
    for round in 0..=rounds {
        for (at, (what, guarantee, letters, all)) in kinds.iter_mut().enumerate() {
            let name = format!("start-{round}-{at}");
            if *letters {
                broker.topic(&format!("{name}.dead-letters"), PARTITIONS);
            }
            if round == rounds {
                println!("\nthe last start{what}");
            }
            let time = start(&broker, folder.path(), (&name, guarantee), round == rounds)?;
            // Round 0 fills the page cache.
            if round > 0 {
                all.push(time);
            }
        }
    }
    println!();
    for (what, _, letters, mut all) in kinds {
        all.sort();
        let ms: Vec<f64> = all.iter().map(|time| time.as_secs_f64() * 1e3).collect();
        let list: Vec<String> = ms.iter().map(|time| format!("{time:.0}")).collect();
        let median = ms.get(ms.len() / 2).copied().unwrap_or(f64::NAN);
        let what = format!("start{what}, to the first record out");
        let wanted = if letters { Goal::AtMost(500.0) } else { Goal::None };
        goal(&what, median, "ms", wanted, &format!("({})", list.join(" ")));
    }
    Ok(())
}

fn pipe(folder: &Path) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?.with_file_name("pipe"));
    command.env("PIPE_STAGES", pipe_tests::stages()).env("PIPE_CACHE", folder.join("cache"));
    command.env("PIPE_ADMIN", "off").stdin(Stdio::null());
    Ok(command)
}

/// One worker, from its start to its first record; the last one's log is printed.
fn start(broker: &Broker, folder: &Path, (name, guarantee): (&str, &str), told: bool) -> Result<Duration> {
    let brokers = broker.address();
    broker.topic(name, PARTITIONS);
    let file = folder.join(format!("{name}.yaml"));
    fs::write(
        &file,
        PIPELINE.replace("BROKERS", &brokers).replace("NAME", name).replace("GUARANTEE", guarantee),
    )?;
    if !pipe(folder)?.args(["cache", "warm"]).arg(&file).stdout(Stdio::null()).status()?.success() {
        return Err("`pipe cache warm` failed".into());
    }
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &brokers)
        .set("group.id", format!("{name}-reader"))
        .set("fetch.wait.max.ms", "5")
        .create()?;
    let mut partitions = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        partitions.add_partition_offset(name, partition, Offset::Beginning)?;
    }
    consumer.assign(&partitions)?;
    // So that its connections are there.
    while consumer.poll(Duration::from_millis(500)).is_some() {}
    let mut command = pipe(folder)?;
    command.args(["run", "--log-format", "json", "--fresh", "--state"]).arg(folder.join(name)).arg(&file);
    command.env("RUST_LOG", "pipe_engine=debug").stdout(Stdio::null()).stderr(Stdio::piped());
    let (begun, started) = (SystemTime::now(), Instant::now());
    let mut child = command.spawn()?;
    let first = loop {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(_)) => break started.elapsed(),
            _ if started.elapsed() > Duration::from_secs(30) => return Err("no record within 30 s".into()),
            _ => {}
        }
    };
    end(&mut child)?;
    if told {
        steps(&mut child, begun, first)?;
    }
    child.wait()?;
    Ok(first)
}

fn end(child: &mut Child) -> Result<()> {
    Command::new("kill").args(["-TERM", &child.id().to_string()]).status()?;
    Ok(())
}

/// Prints each line of the log up to the first record, and how long after the line before it came.
fn steps(child: &mut Child, begun: SystemTime, first: Duration) -> Result<()> {
    let log = child.stderr.take().ok_or("no log")?;
    let mut before = Duration::ZERO;
    println!("{:>8} {:>8}  what was done by then", "ms", "more");
    for line in BufReader::new(log).lines() {
        let line: Value = serde_json::from_str(&line?)?;
        let at = humantime::parse_rfc3339(line["timestamp"].as_str().unwrap_or_default())?;
        let at = at.duration_since(begun).unwrap_or_default();
        if at > first {
            break;
        }
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        println!(
            "{:8.1} {:8.1}  {}",
            ms(at),
            ms(at.saturating_sub(before)),
            line["message"].as_str().unwrap_or_default()
        );
        before = at;
    }
    println!(
        "{:8.1} {:8.1}  first record out",
        first.as_secs_f64() * 1e3,
        first.saturating_sub(before).as_secs_f64() * 1e3
    );
    Ok(())
}
