//! What a setting is worth: workers that have one of them changed, in turns with one that has none, over one topic.
//!
//! `settings [--records N] [--rounds R] [--only NAME,NAME] [--history FILE]`: ratios to the defaults in the same rounds,
//! of records a second and of CPU. The topic is as large as gives a run some seconds; all of it is written again.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use pipe_benches::contest::pipe;
use pipe_benches::measure::{Cost, append, machine, rounded, run};
use pipe_benches::{PARTITIONS, Requests, ended, load, options, records_in};
use pipe_tests::kafka::Broker;
use serde_json::{Value, json};

/// Every record goes through a stage and is written: the most that both clients can have to do.
const PIPELINE: &str = r#"
name: NAME
sources:
  in:
    kafka: { brokers: "BROKERS", topics: [requests], properties: {} }
    format: { json: { columns: { ts: int64, user_id: utf8, status: int64 } } }
stages:
  all: { from: in, use: filter, config: { all: [{ column: ts, op: gt, value: 0 }] } }
sinks:
  out: { from: all, kafka: { brokers: "BROKERS", topic: NAME, key: user_id, properties: {} }, format: json }
"#;

const SOURCE: &str = "sources.in.kafka.properties.";
const SINK: &str = "sinks.out.kafka.";

/// A name, whose property it is, and the setting.
const SETTINGS: &[(&str, &str, &str)] = &[
    ("as it comes", "", ""),
    ("the same again", "", ""),
    ("fetch.queue.backoff.ms: 1000 (librdkafka's)", SOURCE, "\"fetch.queue.backoff.ms\"=1000"),
    ("queued.max.messages.kbytes: 4096", SOURCE, "\"queued.max.messages.kbytes\"=4096"),
    ("queued.max.messages.kbytes: 65536 (librdkafka's)", SOURCE, "\"queued.max.messages.kbytes\"=65536"),
    ("queued.min.messages: 2000", SOURCE, "\"queued.min.messages\"=2000"),
    ("queued.min.messages: 4000", SOURCE, "\"queued.min.messages\"=4000"),
    ("queued.min.messages: 8000", SOURCE, "\"queued.min.messages\"=8000"),
    ("queued.min.messages: 100000 (librdkafka's)", SOURCE, "\"queued.min.messages\"=100000"),
    ("fetch.message.max.bytes: 256 KiB", SOURCE, "\"fetch.message.max.bytes\"=262144"),
    ("fetch.message.max.bytes: 4 MiB", SOURCE, "\"fetch.message.max.bytes\"=4194304"),
    ("fetch.min.bytes: 256 KiB", SOURCE, "\"fetch.min.bytes\"=262144"),
    ("check.crcs: true", SOURCE, "\"check.crcs\"=true"),
    ("linger.ms: 0", SINK, "properties.\"linger.ms\"=0"),
    ("linger.ms: 50", SINK, "properties.\"linger.ms\"=50"),
    ("batch.size: 200000", SINK, "properties.\"batch.size\"=200000"),
    ("batch.num.messages: 1000", SINK, "properties.\"batch.num.messages\"=1000"),
    ("compression: none", SINK, "compression=none"),
    ("compression: zstd", SINK, "compression=zstd"),
    ("batch.rows: 1024", "batch.", "rows=1024"),
    ("batch.rows: 32768, 8 MiB", "", "batch={rows: 32768, bytes: 8MiB}"),
    ("memory: 160MiB", "", "memory=160MiB"),
    ("memory: 256MiB", "", "memory=256MiB"),
    ("lanes: 2", "", "lanes=2"),
];

struct Args {
    records: u64,
    rounds: usize,
    only: Vec<String>,
    history: Option<PathBuf>,
}

fn main() -> ExitCode {
    ended("settings", args().and_then(|args| bench(&args)))
}

fn args() -> Result<Args, Box<dyn Error>> {
    let mut args = Args { records: 2_000_000, rounds: 3, only: vec![], history: None };
    for (name, value) in options()? {
        match name.as_str() {
            "--records" => args.records = value.parse()?,
            "--rounds" => args.rounds = value.parse()?,
            "--only" => args.only = value.split(',').map(str::to_owned).collect(),
            "--history" => args.history = Some(value.into()),
            other => return Err(format!("there is no option {other}").into()),
        }
    }
    Ok(args)
}

fn bench(args: &Args) -> Result<(), Box<dyn Error>> {
    let folder = tempfile::Builder::new().prefix("pipe-settings-").tempdir()?;
    let broker = Broker::start_compiled();
    let machine = machine();
    println!("machine: {machine}");
    broker.topic("requests", PARTITIONS);
    load(&broker.address(), "requests", Requests::default(), args.records, "none")?;
    let wanted = |name: &str| args.only.is_empty() || args.only.iter().any(|only| name.starts_with(only));
    let chosen: Vec<_> =
        SETTINGS.iter().enumerate().filter(|(at, (name, ..))| *at == 0 || wanted(name)).collect();
    let mut all: Vec<Vec<Cost>> = vec![Vec::new(); chosen.len()];
    // The round 0 fills caches and warms the broker up, and is not counted.
    for round in 0..=args.rounds {
        for turn in 0..chosen.len() {
            let at = (turn + round) % chosen.len();
            let (number, setting) = chosen[at];
            let cost = once(args, folder.path(), &broker, &format!("settings-{round}-{number}"), setting)?;
            if round > 0 {
                all[at].push(cost);
            }
        }
    }
    println!(
        "{} records; ratios to the defaults, medians of {} rounds (least-most)",
        args.records, args.rounds
    );
    println!("{:<52} {:>20} {:>20} {:>9}", "", "records/s", "CPU", "peak MiB");
    let mut kept = BTreeMap::new();
    for ((_, (name, ..)), costs) in chosen.iter().zip(&all) {
        let each = |of: &dyn Fn(&Cost) -> f64| {
            let mut ratios: Vec<f64> =
                costs.iter().zip(&all[0]).map(|(cost, usual)| of(cost) / of(usual)).collect();
            ratios.sort_by(f64::total_cmp);
            ratios
        };
        let rates = each(&|cost| cost.rate(args.records));
        let cpu = each(&|cost| cost.cpu_per_million(args.records));
        let peak = costs.iter().map(Cost::peak_mib).fold(0.0, f64::max);
        println!("{name:<52} {:>20} {:>20} {peak:>9.0}", shown(&rates), shown(&cpu));
        let lists = [&rates, &cpu].map(|ratios| ratios.iter().map(|r| rounded(*r)).collect::<Vec<_>>());
        kept.insert(*name, json!({"rate": lists[0], "cpu": lists[1], "peak_mib": peak.round()}));
    }
    if let Some(history) = &args.history {
        let figures: Value = json!({"records": args.records, "ratios": kept});
        append(history, &json!({"machine": machine, "settings": figures}))?;
    }
    Ok(())
}

fn once(
    args: &Args,
    folder: &Path,
    broker: &Broker,
    name: &str,
    (_, place, setting): &(&str, &str, &str),
) -> Result<Cost, Box<dyn Error>> {
    broker.topic(name, PARTITIONS);
    let text = PIPELINE.replace("BROKERS", &broker.address()).replace("NAME", name);
    let mut command = pipe(folder, name, &text)?;
    command.arg("--until-end");
    if !setting.is_empty() {
        command.arg("--set").arg(format!("{place}{setting}"));
    }
    let cost = run(&mut command)?;
    match records_in(&broker.address(), name)? {
        written if written == args.records => Ok(cost),
        written => Err(format!("{name}: {written} of {} records were written", args.records).into()),
    }
}

/// The median, the least and the most of sorted ratios.
fn shown(ratios: &[f64]) -> String {
    let at = |index: usize| ratios.get(index).copied().unwrap_or(f64::NAN);
    format!("{:.2} ({:.2}-{:.2})", at(ratios.len() / 2), at(0), at(ratios.len().saturating_sub(1)))
}
