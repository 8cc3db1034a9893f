//! The filter job and bytes through, in turns with programs written by hand and with other engines, on one broker.
//!
//! `rivals [--records N] [--short N] [--rounds R] [--only a,b] [--history FILE]`: N records (10 million), and the JVM's
//! engines and `pipe` with a short input (2 million), too. Each run has a consumer group and a topic of its own;
//! every record of the filter job is counted by a reader of what is committed, and read back and checked after it.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use pipe_benches::contest::{CONTESTANTS, Contestant, Job, Place};
use pipe_benches::drain::{Figures, Work, drain};
use pipe_benches::measure::{append, machine};
use pipe_benches::sink::read_back;
use pipe_benches::table::{Runs, figures, growth, history, ratios};
use pipe_benches::{Loaded, PARTITIONS, Requests, ended, load, options};
use pipe_tests::kafka::Broker;
use serde_json::{Value, json};

struct Args {
    records: u64,
    /// Where it is not given, 2 million if one of the JVM's takes part.
    short: Option<u64>,
    rounds: usize,
    only: Vec<String>,
    history: Option<PathBuf>,
}

fn args() -> Result<Args, Box<dyn Error>> {
    let mut args = Args { records: 10_000_000, short: None, rounds: 3, only: vec![], history: None };
    for (name, value) in options()? {
        match name.as_str() {
            "--records" => args.records = value.parse()?,
            "--short" => args.short = Some(value.parse()?),
            "--rounds" => args.rounds = value.parse()?,
            "--only" => args.only = value.split(',').map(str::to_owned).collect(),
            "--history" => args.history = Some(value.into()),
            other => return Err(format!("there is no option {other}").into()),
        }
    }
    if let Some(unknown) = args.only.iter().find(|name| CONTESTANTS.iter().all(|c| c.name != name.as_str())) {
        return Err(format!("there is no contestant {unknown}").into());
    }
    Ok(args)
}

fn main() -> ExitCode {
    ended("rivals", args().and_then(|args| bench(&args)))
}

fn bench(args: &Args) -> Result<(), Box<dyn Error>> {
    let folder = tempfile::Builder::new().prefix("pipe-rivals-").tempdir()?;
    let broker = Broker::start_compiled();
    let machine = machine();
    println!("machine: {machine}");
    let mut chosen = Vec::new();
    for contestant in CONTESTANTS {
        let wanted = args.only.is_empty() || args.only.iter().any(|name| name == contestant.name);
        if wanted && contestant.is_built() {
            println!("{:<12} {}", contestant.name, contestant.what);
            chosen.push(contestant);
        } else if wanted {
            println!("{:<12} is not built (scripts/rivals.sh) and left out", contestant.name);
        }
    }
    let mut all = serde_json::Map::new();
    let (long, figures) = contest(args, folder.path(), &broker, ("long", args.records), &chosen)?;
    all.insert("long".to_owned(), figures);
    let default = if chosen.iter().any(|contestant| contestant.is_java()) { 2_000_000 } else { 0 };
    let records = args.short.unwrap_or(default);
    chosen.retain(|c| c.is_java() || matches!(c.name, "pipe" | "pipe-eos"));
    if records > 0 && !chosen.is_empty() {
        let (short, figures) = contest(args, folder.path(), &broker, ("short", records), &chosen)?;
        println!(
            "{} records against {records}, ratios of the medians\n{}",
            args.records,
            growth(&long, &short)
        );
        all.insert("short".to_owned(), figures);
    }
    if let Some(history) = &args.history {
        let line = json!({"machine": machine, "rivals": all});
        append(history, &line)?;
    }
    Ok(())
}

/// Rounds over one input. The goals are those of the long one.
fn contest(
    args: &Args,
    folder: &Path,
    broker: &Broker,
    (input, records): (&str, u64),
    chosen: &[&Contestant],
) -> Result<(Runs, Value), Box<dyn Error>> {
    let brokers = broker.address();
    broker.topic(input, PARTITIONS);
    let loaded = load(&brokers, input, Requests::default(), records, "none")?;
    println!("\n{records} records of 196 bytes on average, {} pass the filter", loaded.kept);
    let mut runs = Runs::new();
    // The round 0 has nobody of the JVM's; it fills the page cache and the cache of compiled components.
    for round in 0..=args.rounds {
        for contestant in chosen.iter().filter(|c| round > 0 || !c.is_java()) {
            let output = format!("{input}-{}-{round}", contestant.name);
            let place = Place {
                brokers: brokers.clone(),
                input: input.to_owned(),
                output,
                folder: folder.to_owned(),
            };
            let figures = turn(contestant, broker, &place, loaded)
                .map_err(|error| format!("{} in round {round}: {error}", contestant.name))?;
            if round > 0 {
                show(&place.output, &figures);
                runs.entry(contestant.name).or_default().push(figures);
            }
        }
    }
    let (text, ratios) = ratios(&runs, input == "long");
    println!("\nmedians (least-most) of {} rounds, {records} records\n{}", args.rounds, self::figures(&runs));
    println!("ratios of the medians (least-most of the rounds)\n{text}");
    let value = json!({"records": records, "runs": history(&runs), "ratios": ratios});
    Ok((runs, value))
}

/// One run of one contestant: its output is right, or it is an error.
fn turn(
    contestant: &Contestant,
    broker: &Broker,
    place: &Place,
    loaded: Loaded,
) -> Result<Figures, Box<dyn Error>> {
    let filter = contestant.job == Job::Filter;
    let expected = if filter { loaded.kept } else { loaded.records };
    broker.topic(&place.output, PARTITIONS);
    let work = Work {
        brokers: &place.brokers,
        broker: broker.pid(),
        output: &place.output,
        records: loaded.records,
        expected,
        count: contestant.job.count(),
    };
    let figures = drain(&mut contestant.command(place)?, &work)?;
    if filter {
        let written = read_back(&place.brokers, &place.output)?;
        if (written.records, written.slow, written.wrong) != (expected, loaded.slow, 0) {
            return Err(format!("it wrote {written:?}, not {loaded:?}").into());
        }
    }
    broker.tool("org.apache.kafka.tools.TopicCommand", &["--delete", "--topic", &place.output]);
    Ok(figures)
}

fn show(name: &str, figures: &Figures) {
    println!(
        "{name:<22} {:>6.2} CPU s/M ({:>5.2} steady) {:>8.0} records/s ({:>8.0} steady) first {:>5.2} s {:>5.0} MiB peak, other load {:.2}",
        figures.cpu,
        figures.cpu_steady,
        figures.rate,
        figures.rate_steady,
        figures.first,
        figures.peak,
        figures.other,
    );
}
