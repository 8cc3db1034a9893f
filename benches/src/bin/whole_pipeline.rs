//! The whole pipeline beside its native twin, over a real broker, and the memory of a worker at full rate.
//!
//! `whole_pipeline [--records N] [--rounds R] [--memory N,N..] [--history FILE]`. The runs alternate, each with a
//! consumer group and an output topic of its own, so that whatever else the machine does meets both alike: read the
//! ratio. Java must be installed; the broker's jars are fetched where they are not there.

use std::error::Error;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use pipe_benches::measure::{Cost, machine, run};
use pipe_benches::{load, records_in};
use pipe_tests::kafka::Broker;
use serde_json::{Value, json};

/// As many as the lanes of a worker could share; both programs read all of them.
const PARTITIONS: i32 = 4;

const PIPELINE: &str = r#"
name: whole-GROUP
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
    kafka: { brokers: "BROKERS", topic: "OUTPUT", key: user_id }
    format: json
"#;

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
    memory: Vec<u64>,
    history: Option<PathBuf>,
}

fn args() -> Result<Args, Box<dyn Error>> {
    let mut args = Args { records: 2_000_000, rounds: 3, memory: vec![1_000_000, 20_000_000], history: None };
    let mut given = std::env::args().skip(1);
    while let Some(name) = given.next() {
        let value = given.next().ok_or_else(|| format!("{name} wants a value"))?;
        match name.as_str() {
            "--records" => args.records = value.parse()?,
            "--rounds" => args.rounds = value.parse()?,
            "--memory" => {
                args.memory = value.split(',').filter(|n| !n.is_empty()).map(str::parse).collect::<Result<_, _>>()?;
            }
            "--history" => args.history = Some(value.into()),
            other => return Err(format!("there is no option {other}").into()),
        }
    }
    Ok(args)
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = args()?;
    let folder = std::env::temp_dir().join(format!("pipe-whole-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let result = bench(&args, &folder);
    // What stays in the folder for temporary files is small.
    let _ = fs::remove_dir_all(&folder);
    result
}

fn bench(args: &Args, folder: &Path) -> Result<(), Box<dyn Error>> {
    let machine = machine();
    println!("machine: {machine}");
    let whole = if args.rounds > 0 { whole(args, folder)? } else { Value::Null };
    let memory = memory(&args.memory, folder)?;
    if let Some(history) = &args.history {
        let line = json!({"machine": machine, "whole": whole, "memory": memory});
        writeln!(OpenOptions::new().create(true).append(true).open(history)?, "{line}")?;
    }
    Ok(())
}

/// A program of this build.
fn program(name: &str) -> Result<Command, Box<dyn Error>> {
    let path = std::env::current_exe()?.with_file_name(name);
    match path.exists() {
        true => Ok(Command::new(path)),
        false => Err(format!("{} is not built", path.display()).into()),
    }
}

/// A worker that runs a pipeline to its end.
fn worker(folder: &Path, pipeline: &str) -> Result<Command, Box<dyn Error>> {
    let file = folder.join("pipeline.yaml");
    fs::write(&file, pipeline)?;
    let mut command = program("pipe")?;
    command.arg("run").arg(&file).args(["--until-end", "--fresh", "--state"]).arg(folder.join("state"));
    command.env("PIPE_STAGES", pipe_tests::stages());
    Ok(command)
}

fn whole(args: &Args, folder: &Path) -> Result<Value, Box<dyn Error>> {
    let broker = Broker::start();
    let brokers = broker.address();
    broker.topic("requests", PARTITIONS);
    let passing = load(&brokers, "requests", PARTITIONS, args.records)?;
    println!("{} records of about 200 bytes, {passing} pass", args.records);
    let (mut twin, mut pipe) = (Vec::new(), Vec::new());
    // The round 0 fills the page cache and the cache of compiled components, and is not counted.
    for round in 0..=args.rounds {
        for (name, costs) in [("twin", &mut twin), ("pipe", &mut pipe)] {
            let output = format!("{name}-{round}");
            broker.topic(&output, PARTITIONS);
            let mut command = if name == "twin" {
                let mut twin = program("native_twin")?;
                twin.args([&brokers, "requests", &output, &output]);
                twin
            } else {
                let text = PIPELINE.replace("BROKERS", &brokers).replace("OUTPUT", &output);
                worker(folder, &text.replace("GROUP", &output))?
            };
            let cost = run(&mut command)?;
            let written = records_in(&brokers, &output)?;
            if written != passing {
                return Err(format!("{name} wrote {written} records, not {passing}").into());
            }
            if round > 0 {
                show(&output, &cost, args.records);
                costs.push(cost);
            }
        }
    }
    let (of_twin, of_pipe) = (median(&twin, args.records), median(&pipe, args.records));
    println!("median: twin {of_twin:.2}, pipe {of_pipe:.2} CPU s/M records; ratio {:.2}", of_pipe / of_twin);
    Ok(json!({
        "records": args.records,
        "twin": figures(&twin, args.records),
        "pipe": figures(&pipe, args.records),
        "ratio": rounded(of_pipe / of_twin),
    }))
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

fn median(costs: &[Cost], records: u64) -> f64 {
    let mut all: Vec<f64> = costs.iter().map(|cost| cost.cpu_per_million(records)).collect();
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
        let cost = run(&mut worker(folder, &MEMORY.replace("COUNT", &count.to_string()))?)?;
        show(&format!("{}k", count / 1000), &cost, count);
        all.push(json!({"records": count, "figures": figures(&[cost], count)}));
    }
    Ok(Value::Array(all))
}
