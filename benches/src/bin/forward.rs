//! What it costs to forward records with all of their fields, beside a job that writes seven columns of eight fields.
//!
//! `forward [--records N] [--rounds R]`: a topic into another one, past a filter that keeps a tenth and past none, by
//! four ways that take turns: seven columns as JSON (`json`, and once more for the noise), two columns and the rest
//! (`unknown: keep`), and `format: original`. Read the ratios.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use pipe_benches::contest::pipe;
use pipe_benches::goals::{Goal, goal};
use pipe_benches::measure::{machine, run};
use pipe_benches::sink::committed;
use pipe_benches::{Loaded, PARTITIONS, Requests, ended, load, options};
use pipe_tests::kafka::Broker;

const SEVEN: &str = "unknown: drop, columns: { ts: int64, user_id: utf8, country: utf8, url: utf8, status: int64, latency_ms: \
                     float64, bytes: int64 }";
const TWO: &str = "columns: { status: int64, latency_ms: float64 }";

/// A way: its name, the options of the source's format, that of the sink, what its CPU should be beside the first's.
type Way = (&'static str, String, &'static str, Goal);

fn ways() -> Vec<Way> {
    let two = |unknown: &str| format!("unknown: {unknown}, {TWO}");
    vec![
        ("json", SEVEN.to_owned(), "json", Goal::None),
        ("json-again", SEVEN.to_owned(), "json", Goal::None),
        ("keep", two("keep"), "json", Goal::None),
        ("original", two("drop"), "original", Goal::AtMost(0.9)),
    ]
}

fn main() -> ExitCode {
    ended("forward", bench())
}

fn bench() -> Result<(), Box<dyn Error>> {
    let (mut records, mut rounds) = (2_000_000, 3);
    for (name, value) in options()? {
        match name.as_str() {
            "--records" => records = value.parse()?,
            "--rounds" => rounds = value.parse()?,
            other => return Err(format!("there is no option {other}").into()),
        }
    }
    println!("machine: {}", machine());
    let folder = tempfile::Builder::new().prefix("pipe-bench-").tempdir()?;
    let broker = Broker::start_compiled();
    broker.topic("in", PARTITIONS);
    let loaded = load(&broker.address(), "in", Requests::padded(0), records, "none")?;
    for (job, from, expected) in
        [("forward all", "in", loaded.records), ("forward a tenth", "bad", loaded.kept)]
    {
        let ways = ways();
        let mut spent: Vec<Vec<f64>> = vec![Vec::new(); ways.len()];
        // Round 0 fills the caches.
        for round in 0..=rounds {
            for turn in 0..ways.len() {
                let at = (turn + round) % ways.len();
                let cost = take(
                    &broker,
                    folder.path(),
                    &ways[at],
                    from,
                    &format!("{from}-{round}"),
                    expected,
                    &loaded,
                )?;
                if round > 0 {
                    spent[at].push(cost);
                }
            }
        }
        let median = |at: usize| {
            let mut all = spent[at].clone();
            all.sort_by(f64::total_cmp);
            all[all.len() / 2]
        };
        println!("{job}");
        for (at, (name, .., wanted)) in ways.iter().enumerate() {
            println!("  {name:<12} {:6.2} CPU s/M", median(at));
            if at > 0 {
                goal(&format!("CPU, {job}: {name} / json"), median(at) / median(0), "", *wanted, "");
            }
        }
    }
    Ok(())
}

/// One run: CPU seconds for a million records that were read.
fn take(
    broker: &Broker,
    folder: &Path,
    (name, source, sink, _): &Way,
    from: &str,
    run_of: &str,
    expected: u64,
    loaded: &Loaded,
) -> Result<f64, Box<dyn Error>> {
    let (brokers, group) = (broker.address(), format!("{name}-{run_of}"));
    broker.topic(&group, PARTITIONS);
    let stages = if from == "in" { "" } else { FILTER };
    let text = format!(
        "name: {group}\nsources:\n  in:\n    kafka: {{ brokers: \"{brokers}\", topics: [in] }}\n    format: {{ json: {{ {source} }} \
         }}\n{stages}sinks:\n  out:\n    from: {from}\n    kafka: {{ brokers: \"{brokers}\", topic: {group}, compression: none \
         }}\n    format: {sink}\n"
    );
    let mut command = pipe(folder, &group, &text)?;
    let cost = run(command.arg("--until-end"))?;
    let written = committed(&brokers, &group)?;
    if written != expected {
        return Err(format!("{group} wrote {written} records, not {expected}").into());
    }
    broker.tool("org.apache.kafka.tools.TopicCommand", &["--delete", "--topic", &group]);
    Ok(cost.cpu_per_million(loaded.records))
}

const FILTER: &str = "stages:
  bad:
    from: in
    use: filter
    config: { any: [{ column: status, op: ge, value: 500 }, { column: latency_ms, op: gt, value: 100 }] }
";
