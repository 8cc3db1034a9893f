//! What a stage that misbehaves costs the others: the latency of a healthy stage's batches, from entering its queue to
//! leaving it, while a neighbour in the same worker's host does nothing, works properly, or is hostile.
//!
//! `neighbours [--batches N] [--every MS]`. A batch of 8,192 rows enters every 4 ms, whether the one before is done or
//! not. The healthy stage has a source of its own: behind a common source a neighbour that is slow holds the others
//! back by design, because a full edge blocks its sender. Printed, never asserted: read the ratios.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{Duration, Instant};

use arrow::array::{Array, Float64Array, Int64Array, RecordBatch};
use pipe_benches::measure::machine;
use pipe_benches::{ended, options};
use pipe_engine::stage::{Bound, Component, Host, HostOptions, Limits};
use serde_json::{Value, json};

/// Name in the table, component, mode; an empty component: nobody.
const NEIGHBOURS: &[(&str, &str, &str)] = &[
    ("nobody", "", ""),
    ("works as hard", "identity", ""),
    ("endless loop", "hostile", "loop"),
    ("trap on every call", "hostile", "trap"),
    ("memory hoard", "hostile", "hoard"),
    ("memory pump", "hostile", "pump"),
    ("log flood", "hostile", "log-flood-of-errors"),
    ("error of 8 MiB", "hostile", "huge-error"),
    ("answers that lie", "hostile", "values-short"),
    ("sleeps for ever", "hostile-wasi", "sleep-in-a-loop"),
    ("random bytes for ever", "hostile-wasi", "random-for-ever"),
    ("a million pollables", "hostile-wasi", "pollables"),
];

const ROWS: usize = 8_192;

fn main() -> ExitCode {
    ended("neighbours", bench())
}

fn bench() -> Result<(), Box<dyn Error>> {
    let (mut batches, mut every) = (2_000, Duration::from_millis(4));
    for (name, value) in options()? {
        let value: u64 = value.parse()?;
        match name.as_str() {
            "--batches" => batches = value as usize,
            "--every" => every = Duration::from_millis(value),
            other => return Err(format!("there is no option {other}").into()),
        }
    }
    // Where the lines of a flood go, as in a worker whose standard error is a file.
    tracing_to_nowhere();
    println!("machine: {}", machine());
    println!("a batch of {ROWS} rows every {} ms, {batches} batches", every.as_millis());
    let host = Host::new(HostOptions::default())?;
    let healthy = bind(&load(&host, "crossing")?, &columns(), "")?;
    let components = ["identity", "hostile", "hostile-wasi"].map(|name| (name, load(&host, name)));
    println!(
        "{:<22} {:>9} {:>9} {:>9} {:>7} {:>12}",
        "neighbour", "p50 us", "p99 us", "max us", "ratio", "its calls/s"
    );
    let mut idle = None;
    for (name, component, mode) in NEIGHBOURS {
        let neighbour = match components.iter().find(|(known, _)| known == component) {
            Some((_, Ok(loaded))) => Some(bind(loaded, &numbers(), mode)?),
            Some((_, Err(e))) => return Err(e.to_string().into()),
            None => None,
        };
        let (mut times, calls) = beside(&healthy, neighbour, batches, every)?;
        times.sort_unstable();
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
        let p99 = at(0.99);
        let ratio = p99.as_secs_f64() / idle.get_or_insert(p99).as_secs_f64();
        let us = |time: Duration| time.as_micros();
        println!(
            "{name:<22} {:>9} {:>9} {:>9} {ratio:>7.2} {calls:>12.0}",
            us(at(0.5)),
            us(p99),
            us(at(1.0))
        );
    }
    Ok(())
}

fn tracing_to_nowhere() {
    let file = std::fs::OpenOptions::new().write(true).open("/dev/null");
    if let Ok(file) = file {
        // A second start keeps the first.
        let _ = tracing_subscriber::fmt().json().with_writer(Arc::new(file)).try_init();
    }
}

fn load(host: &Arc<Host>, name: &str) -> Result<Component, Box<dyn Error>> {
    let path: PathBuf = pipe_tests::root().join(format!("tests/guests/prebuilt/{name}.wasm"));
    Ok(host.load(&path)?)
}

fn bind(component: &Component, batch: &RecordBatch, mode: &str) -> Result<Bound, Box<dyn Error>> {
    let limits = Limits { time: Duration::from_millis(50), ..Limits::defaults_for(component.bytes()) };
    let config: Value = if mode.is_empty() { json!({}) } else { json!({ "mode": mode }) };
    Ok(component.bind("stage", &batch.schema(), &config, &limits)?)
}

fn columns() -> RecordBatch {
    let status: Arc<dyn Array> = Arc::new(Int64Array::from_iter_values((0..ROWS as i64).map(|n| n % 600)));
    let latency: Arc<dyn Array> = Arc::new(Float64Array::from_iter_values((0..ROWS).map(|n| n as f64 / 7.0)));
    RecordBatch::try_from_iter([("status", status), ("latency_ms", latency)])
        .unwrap_or_else(|e| panic!("{e}"))
}

fn numbers() -> RecordBatch {
    let column: Arc<dyn Array> = Arc::new(Int64Array::from_iter_values(0..ROWS as i64));
    RecordBatch::try_from_iter([("a", column)]).unwrap_or_else(|e| panic!("{e}"))
}

/// The latencies of the healthy stage's batches, and the neighbour's calls a second.
fn beside(
    healthy: &Bound,
    neighbour: Option<Bound>,
    batches: usize,
    every: Duration,
) -> Result<(Vec<Duration>, f64), Box<dyn Error>> {
    let over = AtomicBool::new(false);
    let instance = healthy.instantiate().map_err(|e| e.message)?;
    thread::scope(|scope| {
        let other = neighbour.map(|bound| scope.spawn(|| misbehave(bound, &over)));
        let (sender, receiver) = sync_channel::<(Instant, RecordBatch)>(batches);
        let (leave, left) = sync_channel::<Instant>(batches);
        let mut instance = instance;
        scope.spawn(move || {
            while let Ok((entered, batch)) = receiver.recv() {
                if instance.process(&batch).is_err() || leave.send(entered).is_err() {
                    return;
                }
            }
        });
        let sink = scope.spawn(move || left.iter().map(|entered| entered.elapsed()).collect::<Vec<_>>());
        let (batch, started) = (columns(), Instant::now());
        for n in 0..batches as u32 {
            thread::sleep((every * n).saturating_sub(started.elapsed()));
            sender.send((Instant::now(), batch.clone()))?;
        }
        drop(sender);
        let times = sink.join().map_err(|_| "the sink panicked")?;
        over.store(true, Ordering::Relaxed);
        let calls = other.and_then(|thread| thread.join().ok()).unwrap_or(0);
        if times.len() != batches {
            return Err(format!("{} of {batches} batches came out", times.len()).into());
        }
        Ok((times, calls as f64 / started.elapsed().as_secs_f64()))
    })
}

/// As the worker does with a stage that fails: a fresh instance after every failure, and the next batch.
fn misbehave(bound: Bound, over: &AtomicBool) -> u64 {
    let (batch, mut calls, mut instance) = (numbers(), 0, None);
    while !over.load(Ordering::Relaxed) {
        calls += 1;
        let mut current = match instance.take() {
            Some(current) => current,
            None => match bound.instantiate() {
                Ok(fresh) => fresh,
                Err(_) => continue,
            },
        };
        if current.process(&batch).is_ok() {
            instance = Some(current);
        }
    }
    calls
}
