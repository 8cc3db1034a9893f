//! What the sandbox costs a whole pipeline: the same worker with its stage in Wasm and with the stage's work as native
//! code in its place, in turns within one process.
//!
//! `native_stage [--records N] [--rounds R] [--brokers ADDRESS|own] [--spin-rows N] [--history FILE]`
//!
//! - generate, filter, blackhole; and with a broker Kafka, JSON, filter, JSON, Kafka: CPU seconds, Wasm over native
//! - generate, a stage that computes long, blackhole in two lanes, beside two threads with nothing but the loop:
//!   rows a second
//!
//! Counts of 0 leave a part out.

use std::error::Error;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch,
};
use arrow::compute::kernels::boolean::or_kleene;
use arrow::compute::kernels::cmp::{gt, gt_eq};
use arrow::compute::{filter_record_batch, prep_null_mask_filter};
use arrow::datatypes::{DataType, Int64Type};
use pipe_benches::goals::{Goal, goal};
use pipe_benches::measure::{append, machine, own_cpu, rounded};
use pipe_benches::{Requests, ended, load, options, records_in};
use pipe_engine::batch::{FailureKind, Selection};
use pipe_engine::cli::load::{Form, plan_file_with, rendered};
use pipe_engine::clock::SystemClock;
use pipe_engine::connector::kafka::client::{Cluster, Properties, create_topic};
use pipe_engine::error::Code;
use pipe_engine::run::{self, Options};
use pipe_engine::stage::{CallFailure, Cost, Emission, HostOptions, Native, Outcome};
use pipe_tests::kafka::{Broker, unique};
use serde_json::{Value, json};

const FILTER: &str = r#"
stages:
  bad:
    from: requests
    use: filter
    config:
      any: [{ column: status, op: ge, value: 500 }, { column: latency_ms, op: gt, value: 100 }]
"#;

const GENERATE: &str = r#"
name: native-stage
sources:
  requests:
    generate: { count: COUNT, seed: 1, partitions: 4 }
sinks:
  out: { from: bad, blackhole: {} }
"#;

const KAFKA: &str = r#"
name: GROUP
sources:
  requests:
    kafka: { brokers: "BROKERS", topics: [INPUT] }
    format:
      json:
        columns: { ts: int64, user_id: utf8, country: utf8, url: utf8, status: int64, latency_ms: float64, bytes: int64 }
sinks:
  out:
    from: bad
    kafka: { brokers: "BROKERS", topic: "OUTPUT", key: user_id }
    format: json
"#;

const SPIN: &str = r#"
name: native-spin
lanes: 2
sources:
  requests:
    generate: { count: COUNT, seed: 1, partitions: 2 }
stages:
  spin: { from: requests, wasm: "GUEST", config: { mode: spin, rounds: ROUNDS } }
sinks:
  out: { from: spin, blackhole: {} }
"#;

/// Multiplications a row of the stage that computes long: some ten microseconds, so that making and decoding a record
/// is a few hundredths of it.
const SPIN_ROUNDS: u32 = 8_192;
const PARTITIONS: i32 = 4;

struct Args {
    records: u64,
    rounds: usize,
    brokers: Option<String>,
    spin_rows: u64,
    history: Option<PathBuf>,
}

fn args() -> Result<Args, Box<dyn Error>> {
    let mut args = Args { records: 4_000_000, rounds: 5, brokers: None, spin_rows: 400_000, history: None };
    for (name, value) in options()? {
        match name.as_str() {
            "--records" => args.records = value.parse()?,
            "--rounds" => args.rounds = value.parse()?,
            "--brokers" => args.brokers = Some(value),
            "--spin-rows" => args.spin_rows = value.parse()?,
            "--history" => args.history = Some(value.into()),
            other => return Err(format!("there is no option {other}").into()),
        }
    }
    Ok(args)
}

fn main() -> ExitCode {
    ended("native_stage", args().and_then(|args| bench(&args)))
}

fn bench(args: &Args) -> Result<(), Box<dyn Error>> {
    let folder = tempfile::Builder::new().prefix("pipe-native-").tempdir()?;
    let machine = machine();
    println!("machine: {machine}");
    let mut figures = json!({"machine": machine});
    if args.records > 0 {
        figures["native_stage"]["generate"] = generate(args, folder.path())?;
        if let Some(brokers) = &args.brokers {
            figures["native_stage"]["kafka"] = kafka(args, brokers, folder.path())?;
        }
    }
    if args.spin_rows > 0 {
        figures["native_stage"]["spin"] = spin(args, folder.path())?;
    }
    match &args.history {
        Some(history) => Ok(append(history, &figures)?),
        None => Ok(()),
    }
}

/// What something took: CPU time, time on the clock, and how many rows came of it.
#[derive(Clone, Copy)]
struct Spent {
    cpu: Duration,
    wall: Duration,
    rows: u64,
}

fn spent(work: impl FnOnce() -> Result<u64, Box<dyn Error>>) -> Result<Spent, Box<dyn Error>> {
    let (cpu, begin) = (own_cpu(), Instant::now());
    let rows = work()?;
    Ok(Spent { cpu: own_cpu() - cpu, wall: begin.elapsed(), rows })
}

/// Runs a pipeline to its end, its one stage natively where that is given. Planning and compiling do not count.
fn worker(folder: &Path, pipeline: &str, native: Option<Native>) -> Result<Spent, Box<dyn Error>> {
    let file = folder.join("pipeline.yaml");
    std::fs::write(&file, pipeline)?;
    let host = HostOptions { cache: Some(folder.join("cache")) };
    let planned = plan_file_with(&file, &[], host, vec![pipe_tests::stages()])?;
    let wrong = rendered(&file, &planned, Form::Plain);
    let plan = planned.plan.ok_or(wrong)?;
    if let Some(native) = native {
        plan.stages[0].bound.natively(native);
    }
    let options =
        Options { until_end: true, fresh: true, state: Some(folder.join("state")), ..Options::default() };
    spent(|| {
        let (summary, result) = run::start(plan, &options, Arc::new(SystemClock::default()))?.wait();
        result?;
        Ok(summary.stages.iter().map(|stage| stage.rows_out).sum())
    })
}

/// What native code says that fails.
fn failed(error: impl std::fmt::Display) -> CallFailure {
    CallFailure { kind: FailureKind::StageError, message: error.to_string() }
}

/// The rows of a mask on the first port, as the host gives them.
fn emit(batch: &RecordBatch, mask: BooleanArray) -> Result<Outcome, CallFailure> {
    let records = filter_record_batch(batch, &mask).map_err(failed)?;
    let emission = Emission { port: 0, selection: Selection::Filter(mask), records };
    Ok(Outcome { emissions: vec![emission], rejections: Vec::new(), cost: Cost::default() })
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef, CallFailure> {
    batch.column_by_name(name).ok_or_else(|| failed(format!("there is no column {name}")))
}

/// `status >= 500` or `latency_ms > 100`, with Arrow's kernels.
fn filter() -> Native {
    Arc::new(|batch| {
        let status = column(batch, "status")?;
        let errors = match status.data_type() {
            DataType::Int32 => gt_eq(status, &Int32Array::new_scalar(500)),
            _ => gt_eq(status, &Int64Array::new_scalar(500)),
        };
        let slow = gt(column(batch, "latency_ms")?, &Float64Array::new_scalar(100.0)).map_err(failed)?;
        let kept = or_kleene(&errors.map_err(failed)?, &slow).map_err(failed)?;
        emit(batch, if kept.null_count() > 0 { prep_null_mask_filter(&kept) } else { kept })
    })
}

fn generate(args: &Args, folder: &Path) -> Result<Value, Box<dyn Error>> {
    let text = GENERATE.replace("COUNT", &args.records.to_string()) + FILTER;
    println!("generate, filter, blackhole: {} records", args.records);
    in_turns("generate", args.rounds, args.records, |native, _| worker(folder, &text, native))
}

fn kafka(args: &Args, brokers: &str, folder: &Path) -> Result<Value, Box<dyn Error>> {
    let own = (brokers == "own").then(Broker::start);
    let brokers = own.as_ref().map_or(brokers.to_owned(), Broker::address);
    let input = unique("native-stage");
    topic(&brokers, &input)?;
    let passing = load(&brokers, &input, Requests::default(), args.records, "none")?.kept;
    println!("Kafka, JSON, filter, JSON, Kafka: {} records, {passing} pass", args.records);
    in_turns("Kafka", args.rounds, args.records, |native, run| {
        let output = format!("{input}-{run}");
        topic(&brokers, &output)?;
        let text = KAFKA.replace("BROKERS", &brokers).replace("INPUT", &input).replace("OUTPUT", &output);
        let spent = worker(folder, &(text.replace("GROUP", &output) + FILTER), native)?;
        match records_in(&brokers, &output)? {
            written if written == passing => Ok(spent),
            written => Err(format!("{written} records were written, not {passing}").into()),
        }
    })
}

/// A topic, once it can be seen.
fn topic(brokers: &str, name: &str) -> Result<(), Box<dyn Error>> {
    create_topic(
        &Cluster::new(brokers, &Properties::new(), &mut Vec::new()),
        name,
        PARTITIONS,
        1,
        Code::K001,
    )?;
    for _ in 0..100 {
        if records_in(brokers, name).is_ok_and(|records| records == 0) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err(format!("topic {name} does not appear").into())
}

/// Runs both kinds in turns, each with a number of its own, the first round uncounted: it fills the caches.
fn in_turns(
    from: &str,
    rounds: usize,
    records: u64,
    mut run: impl FnMut(Option<Native>, usize) -> Result<Spent, Box<dyn Error>>,
) -> Result<Value, Box<dyn Error>> {
    let mut all: [Vec<f64>; 2] = [Vec::new(), Vec::new()];
    let mut kept = None;
    for round in 0..=rounds {
        for turn in 0..2 {
            let kind = (turn + round) % 2;
            let spent = run((kind == 1).then(filter), 2 * round + turn)?;
            if *kept.get_or_insert(spent.rows) != spent.rows {
                return Err("Wasm and native code keep other rows".into());
            }
            let per_million = spent.cpu.as_secs_f64() * 1e6 / records as f64;
            let rate = records as f64 / spent.wall.as_secs_f64();
            println!("  {:<6} {per_million:>6.3} CPU s/M {rate:>10.0} records/s", ["wasm", "native"][kind]);
            if round > 0 {
                all[kind].push(per_million);
            }
        }
    }
    let [wasm, native] = all;
    let ratio = median(&wasm) / median(&native);
    // The same program against itself: how far apart two medians are that should be one.
    let half = |odd: usize| -> Vec<f64> { native.iter().skip(odd).step_by(2).copied().collect() };
    let noise = median(&half(0)) / median(&half(1));
    let what = format!("CPU, stage in Wasm / compiled natively, {from}");
    goal(&what, ratio, "", Goal::AtMost(1.05), &format!("(native over itself {noise:.3})"));
    Ok(
        json!({"records": records, "wasm": figures(&wasm), "native": figures(&native), "ratio": rounded(ratio)}),
    )
}

/// The loop of the guest `crossing` in its mode `spin`.
fn spin_row(value: i64) -> bool {
    let mut number = value as u64;
    for _ in 0..black_box(SPIN_ROUNDS) {
        number = number.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
        number ^= number >> 29;
    }
    number & 1 == 1
}

fn spin(args: &Args, folder: &Path) -> Result<Value, Box<dyn Error>> {
    let guest = pipe_tests::root().join("tests/guests/prebuilt/crossing.wasm");
    let text = SPIN
        .replace("COUNT", &args.spin_rows.to_string())
        .replace("GUEST", &guest.display().to_string())
        .replace("ROUNDS", &SPIN_ROUNDS.to_string());
    println!("generate, {SPIN_ROUNDS} multiplications a row, blackhole, two lanes: {} rows", args.spin_rows);
    let native: Native = Arc::new(|batch| {
        let bytes = column(batch, "bytes")?.as_primitive::<Int64Type>();
        emit(batch, bytes.values().iter().map(|&value| Some(spin_row(value))).collect())
    });
    let kinds = ["wasm in two lanes", "native in two lanes", "two loops"];
    let mut rates: [Vec<f64>; 3] = Default::default();
    for round in 0..args.rounds.max(1) {
        for turn in 0..kinds.len() {
            let kind = (turn + round) % kinds.len();
            let spent = match kind {
                0 => worker(folder, &text, None)?,
                1 => worker(folder, &text, Some(Arc::clone(&native)))?,
                _ => spent(|| Ok(loops(args.spin_rows)))?,
            };
            let rate = args.spin_rows as f64 / spent.wall.as_secs_f64();
            let cores = spent.cpu.as_secs_f64() / spent.wall.as_secs_f64();
            println!("  {:<20} {rate:>10.0} rows/s, {cores:.2} cores", kinds[kind]);
            rates[kind].push(rate);
        }
    }
    let [wasm, native, loops] = rates.each_ref().map(|rates| median(rates));
    let ratio = wasm / loops;
    let more = format!("(native in the same lanes {:.3})", native / loops);
    goal("rows/s, CPU-bound stage in two lanes / two native loops", ratio, "", Goal::AtLeast(0.95), &more);
    let [wasm, native, loops] = rates.each_ref().map(|rates| figures(rates));
    Ok(
        json!({"rows": args.spin_rows, "wasm": wasm, "native": native, "loops": loops, "ratio": rounded(ratio)}),
    )
}

/// Two threads with nothing but the loop; how many rows it kept.
fn loops(rows: u64) -> u64 {
    let lane = |share: i64| (0..share).filter(|&row| spin_row(black_box(row))).count() as u64;
    let (half, rows) = (rows as i64 / 2, rows as i64);
    std::thread::scope(|scope| {
        let other = scope.spawn(move || lane(rows - half));
        lane(half) + other.join().unwrap_or(0)
    })
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn figures(values: &[f64]) -> Vec<f64> {
    values.iter().copied().map(rounded).collect()
}
