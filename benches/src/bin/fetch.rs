//! Record batches of fetch responses straight into Arrow buffers, beside librdkafka; and where the time of a program
//! by hand goes, part by part.
//!
//! `fetch [--records N] [--rounds R] [--parts N] [--history FILE]` starts a broker, loads topics of 200-byte and 1 kB
//! records, uncompressed and with lz4, and lets the ways read them in turns, each in a process of its own. One more
//! run of each way sums up every byte of every record: the sums must agree. Figures are nanoseconds of CPU a record
//! from the connection on, user and system, all threads of the process; those of the broker stand apart.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use pipe_benches::ended;
use pipe_benches::fetch::column::{Columns, Copied, Viewed};
use pipe_benches::fetch::drain::{self, Taker};
use pipe_benches::fetch::parts::{self, Part};
use pipe_benches::fetch::wire::Fetcher;
use pipe_benches::fetch::{Tally, batch, cpu, load};
use pipe_benches::measure::{append, machine};
use pipe_tests::kafka::Broker;
use serde_json::{Value, json};

const PARTITIONS: i32 = 4;
/// The ways, in the order in which they take turns; the last two say what columns cost the other two.
const WAYS: &[(&str, &str)] = &[
    ("views", "fetch, CRC, views of the response"),
    ("columns", "fetch, CRC, values copied to columns"),
    ("no-crc", "the same without looking at the CRC"),
    ("drain-columns", "librdkafka in batches to columns: the engine's way"),
    ("poll-columns", "librdkafka by message to columns"),
    ("drain", "librdkafka in batches, dropped"),
    ("poll", "librdkafka by message, dropped"),
];
const PARTS: &[(&str, Part)] = &[
    ("consume", Part::Consume),
    ("decode", Part::Decode),
    ("encode", Part::Encode),
    ("produce", Part::Produce),
];

type Result<T> = std::result::Result<T, Box<dyn Error>>;

struct Args {
    records: u64,
    rounds: usize,
    parts: u64,
    history: Option<PathBuf>,
}

fn main() -> ExitCode {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let done = match given.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--way", way, brokers, topic, checked] => read(way, brokers, topic, checked == "checked"),
        _ => args(&given).and_then(|args| bench(&args)),
    };
    ended("fetch", done)
}

fn args(given: &[String]) -> Result<Args> {
    let mut args = Args { records: 2_000_000, rounds: 5, parts: 2_000_000, history: None };
    for pair in given.chunks(2) {
        let [name, value] = pair else { return Err(format!("{} wants a value", pair[0]).into()) };
        match name.as_str() {
            "--records" => args.records = value.parse()?,
            "--rounds" => args.rounds = value.parse()?,
            "--parts" => args.parts = value.parse()?,
            "--history" => args.history = Some(value.into()),
            other => return Err(format!("there is no option {other}").into()),
        }
    }
    Ok(args)
}

/// One way, in a process of its own; prints what it read and what it cost.
fn read(way: &str, brokers: &str, topic: &str, checked: bool) -> Result<()> {
    let part = PARTS.iter().find(|(name, _)| *name == way).map(|(_, part)| *part);
    let fetches = matches!(way, "views" | "columns" | "no-crc");
    let mut fetcher = if fetches { Some(Fetcher::open(brokers, topic)?) } else { None };
    let client = if fetches { None } else { Some(drain::open(brokers, topic)?) };
    let (before, started) = (cpu::by_thread(), Instant::now());
    let mut apart = Vec::new();
    let tally = match (&mut fetcher, &client) {
        (Some(fetcher), _) => fetched(way, fetcher, checked, &mut apart)?,
        (None, Some((consumer, records))) => match (way, part) {
            ("drain-columns" | "drain", _) => {
                drain::drain(consumer, *records, Taker::new(way == "drain-columns", checked))?
            }
            ("poll-columns" | "poll", _) => {
                drain::poll(consumer, *records, Taker::new(way == "poll-columns", checked))?
            }
            (_, Some(part)) => parts::run(part, consumer, *records, brokers, "parts-output")?,
            _ => return Err(format!("there is no way {way}").into()),
        },
        (None, None) => return Err("nothing to read with".into()),
    };
    let (wall, threads) = (started.elapsed(), cpu::since(&before));
    println!(
        "{}",
        json!({
            "records": tally.records, "bytes": tally.bytes, "checksum": tally.checksum,
            "wall_ns": wall.as_nanos() as u64, "cpu_ns": threads.values().sum::<u64>(), "threads": threads,
            "apart_tenths": quartile(apart),
        })
    );
    Ok(())
}

/// Fetches to the end. `apart` gets the nanoseconds a record of each record set from bytes to arrays: by the clock, as a
/// set takes a fraction of a millisecond and most are interrupted by nobody.
fn fetched(way: &str, fetcher: &mut Fetcher, checked: bool, apart: &mut Vec<f64>) -> Result<Tally> {
    let mut tally = Tally::new(checked);
    while let Some(all) = fetcher.fetch()? {
        for fetched in all {
            let (before, started) = (tally.records, Instant::now());
            if way == "views" {
                let mut columns = Columns::<Viewed>::default();
                batch::decode(&fetched.records, fetched.from, true, &mut columns)?;
                std::hint::black_box(columns.tally(&mut tally)?);
            } else {
                let mut columns = Columns::<Copied>::default();
                batch::decode(&fetched.records, fetched.from, way == "columns", &mut columns)?;
                std::hint::black_box(columns.tally(&mut tally)?);
            }
            apart.push(started.elapsed().as_nanos() as f64 / (tally.records - before).max(1) as f64);
        }
    }
    Ok(tally)
}

/// The lower quartile in tenths; 0 where there is none.
fn quartile(mut all: Vec<f64>) -> u64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 4).map_or(0, |value| (value * 10.0) as u64)
}

/// What a run printed, and what it cost the broker.
struct Run {
    said: Value,
    broker_ns: u64,
}

impl Run {
    fn number(&self, name: &str) -> u64 {
        self.said[name].as_u64().unwrap_or(0)
    }

    fn a_record(&self, nanos: u64) -> f64 {
        nanos as f64 / self.number("records").max(1) as f64
    }

    /// CPU of the threads whose name begins so, a record.
    fn threads(&self, begins: &str) -> f64 {
        let threads = self.said["threads"].as_object();
        let of = threads.into_iter().flatten().filter(|(name, _)| name.starts_with(begins));
        self.a_record(of.filter_map(|(_, nanos)| nanos.as_u64()).sum())
    }
}

fn run(broker: &Broker, way: &str, topic: &str, checked: &str) -> Result<Run> {
    let before = cpu::of_process(broker.pid());
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--way", way, &broker.address(), topic, checked]).stderr(Stdio::inherit());
    let output = command.output()?;
    if !output.status.success() {
        return Err(format!("{way} of {topic} failed").into());
    }
    let broker_ns = (cpu::of_process(broker.pid()) - before).as_nanos() as u64;
    Ok(Run { said: serde_json::from_slice(&output.stdout)?, broker_ns })
}

fn bench(args: &Args) -> Result<()> {
    let machine = machine();
    println!("machine: {machine}");
    let broker = Broker::start();
    let mut lines = Vec::new();
    for (size, records) in [(200, args.records), (1_000, args.records / 4)] {
        for compression in ["none", "lz4"] {
            let topic = format!("fetch-{size}-{compression}");
            broker.topic(&topic, PARTITIONS);
            load::load(&broker.address(), &topic, PARTITIONS, records, size, compression)?;
            lines.push(ways(&broker, &topic, records, args.rounds)?);
        }
    }
    if args.parts > 0 {
        broker.topic("parts", PARTITIONS);
        broker.topic("parts-output", PARTITIONS);
        pipe_benches::load(
            &broker.address(),
            "parts",
            pipe_benches::Requests::default(),
            args.parts,
            "none",
        )?;
        lines.push(ceiling(&broker, args)?);
    }
    if let Some(history) = &args.history {
        let line = json!({ "machine": machine, "fetch": lines });
        append(history, &line)?;
    }
    Ok(())
}

/// All ways over one topic: the sums first, then the rounds.
fn ways(broker: &Broker, topic: &str, records: u64, rounds: usize) -> Result<Value> {
    let mut sums = BTreeMap::new();
    for (way, _) in WAYS {
        let run = run(broker, way, topic, "checked")?;
        sums.insert(*way, ["records", "bytes", "checksum"].map(|name| run.number(name)));
    }
    let first = sums["poll"];
    if first[0] != records || sums.values().any(|sum| *sum != first) {
        return Err(format!("{topic}: {records} records were written, and read: {sums:?}").into());
    }
    let bytes = first[1] as f64 / first[0] as f64;
    println!(
        "\n{topic}: {records} records, values of {bytes:.0} bytes, checksum {:016x} by all ways",
        first[2]
    );
    let names: Vec<&str> = WAYS.iter().map(|(name, _)| *name).collect();
    let turns = turns(broker, topic, &names, rounds)?;
    println!("  {:<52} ns CPU  taken apart  client's threads  records/s   broker ns", "");
    let mut figures = serde_json::Map::new();
    for ((name, what), runs) in WAYS.iter().zip(&turns) {
        let (cpu, rate) = (of(runs, |r| r.a_record(r.number("cpu_ns"))), of(runs, rate));
        let (threads, broker) = (of(runs, |r| r.threads("rdk:")), of(runs, |r| r.a_record(r.broker_ns)));
        let apart = of(runs, |r| r.number("apart_tenths") as f64 / 10.0);
        println!("  {what:<52} {cpu:6.1} {apart:12.1} {threads:17.1} {rate:10.0} {broker:11.1}");
        figures.insert(
            (*name).into(),
            json!({
                "cpu_ns": rounded(cpu), "apart_ns": apart, "client_threads_ns": rounded(threads), "records_per_s": rate.round(),
                "broker_ns": rounded(broker), "all_cpu_ns": all(runs, |r| r.a_record(r.number("cpu_ns"))),
            }),
        );
    }
    Ok(json!({ "topic": topic, "records": records, "ways": figures }))
}

/// Where the time of a program by hand goes: each part is what it costs more to go that far.
fn ceiling(broker: &Broker, args: &Args) -> Result<Value> {
    let names: Vec<&str> = PARTS.iter().map(|(name, _)| *name).collect();
    let turns = turns(broker, "parts", &names, args.rounds)?;
    println!("\na program by hand (rdkafka by message, serde_json, a tenth is kept), ns CPU a record");
    println!(
        "  {:<10} {:>8} {:>8} {:>14} {:>14}",
        "as far as", "whole", "more", "broker threads", "main thread"
    );
    let (mut before, mut figures) = (0.0, serde_json::Map::new());
    for (name, runs) in names.iter().zip(&turns) {
        let whole = of(runs, |r| r.a_record(r.number("cpu_ns")));
        let (broker, main) = (of(runs, |r| r.threads("rdk:")), of(runs, |r| r.threads("main")));
        println!("  {name:<10} {whole:8.1} {:8.1} {broker:14.1} {main:14.1}", whole - before);
        let value = json!({ "cpu_ns": rounded(whole), "client_threads_ns": rounded(broker), "main_ns": rounded(main) });
        figures.insert((*name).to_owned(), value);
        before = whole;
    }
    Ok(json!({ "topic": "parts", "records": args.parts, "parts": figures }))
}

/// Runs of each way, in turns; round 0 fills caches and is not counted.
fn turns(broker: &Broker, topic: &str, ways: &[&str], rounds: usize) -> Result<Vec<Vec<Run>>> {
    let mut all: Vec<Vec<Run>> = ways.iter().map(|_| Vec::new()).collect();
    for round in 0..=rounds {
        for (way, runs) in ways.iter().zip(&mut all) {
            let run = run(broker, way, topic, "counted")?;
            if round > 0 {
                runs.push(run);
            }
        }
    }
    Ok(all)
}

fn rate(run: &Run) -> f64 {
    run.number("records") as f64 * 1e9 / run.number("wall_ns").max(1) as f64
}

/// The median of a figure.
fn of(runs: &[Run], figure: impl Fn(&Run) -> f64) -> f64 {
    let mut all: Vec<f64> = runs.iter().map(figure).collect();
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
}

fn all(runs: &[Run], figure: impl Fn(&Run) -> f64) -> Vec<f64> {
    runs.iter().map(|run| rounded(figure(run))).collect()
}

fn rounded(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}
