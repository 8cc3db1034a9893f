//! One worker under `perf`: the filter job of the benchmarks over a real broker.
//!
//! `profile [--records N] [--set KEY=VALUE] OUT` writes what perf saw to OUT; what is set is a key of the pipeline.
//! `scripts/profile.sh` makes a flame graph of it.

use std::error::Error;
use std::fs;
use std::process::{Command, ExitCode, Stdio};

use pipe_benches::measure::machine;
use pipe_benches::{Requests, ended, load};
use pipe_tests::kafka::Broker;

const PARTITIONS: i32 = 4;

/// The filter job, as `whole_pipeline` has it.
const PIPELINE: &str = r#"
name: profiled
sources:
  requests:
    kafka: { brokers: "BROKERS", topics: [requests] }
    format:
      json:
        columns: { ts: int64, user_id: utf8, country: utf8, url: utf8, status: int64, latency_ms: float64, bytes: int64 }
stages:
  bad:
    from: requests
    use: filter
    config:
      any: [{ column: status, op: ge, value: 500 }, { column: latency_ms, op: gt, value: 100 }]
sinks:
  out:
    from: bad
    kafka: { brokers: "BROKERS", topic: out, key: user_id }
    format: json
"#;

fn main() -> ExitCode {
    ended("profile", profile())
}

fn profile() -> Result<(), Box<dyn Error>> {
    let (mut records, mut set, mut out) = (4_000_000, Vec::new(), None);
    let mut given = std::env::args().skip(1);
    while let Some(word) = given.next() {
        let mut value = || given.next().ok_or_else(|| format!("{word} needs a value"));
        match word.as_str() {
            "--records" => records = value()?.parse()?,
            "--set" => set.extend([word.clone(), value()?]),
            other if out.is_none() && !other.starts_with('-') => out = Some(word),
            _ => return Err("usage: profile [--records N] [--set KEY=VALUE] OUT".into()),
        }
    }
    let out = out.ok_or("where to? profile OUT")?;
    println!("machine: {}", machine());
    let broker = Broker::start();
    for topic in ["requests", "out"] {
        broker.topic(topic, PARTITIONS);
    }
    load(&broker.address(), "requests", Requests::default(), records, "none")?;
    let folder = tempfile::Builder::new().prefix("pipe-profile-").tempdir()?;
    let file = folder.path().join("pipeline.yaml");
    fs::write(&file, PIPELINE.replace("BROKERS", &broker.address()))?;
    let pipe = std::env::current_exe()?.with_file_name("pipe");
    let run = |command: &mut Command| -> Result<(), Box<dyn Error>> {
        command.env("PIPE_STAGES", pipe_tests::stages()).env("PIPE_CACHE", folder.path().join("cache"));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let status = command.status()?;
        if status.success() { Ok(()) } else { Err(format!("{command:?} ended with {status}").into()) }
    };
    // Compiling a stage is no part of the picture.
    run(Command::new(&pipe).args(["cache", "warm"]).arg(&file))?;
    // By the clock of the processor's time, as virtual machines seldom have counters; stacks by DWARF, as librdkafka and
    // the standard library keep no frame pointers.
    let mut perf = Command::new("perf");
    perf.args([
        "record",
        "-q",
        "-F",
        "499",
        "-e",
        "cpu-clock",
        "--call-graph",
        "dwarf,16384",
        "-o",
        &out,
        "--",
    ]);
    perf.arg(&pipe).args([
        "run",
        "--until-end",
        "--fresh",
        "--log-format",
        "text",
        "--admin",
        "off",
        "--state",
    ]);
    run(perf.arg(folder.path().join("state")).args(set).arg(&file))
}
