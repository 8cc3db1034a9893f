//! What it costs to cross into a stage and out of it: by language, type, number of columns and size of a batch, split
//! by guests that do less; the goals; and what a start costs.
//!
//! `cargo bench --bench crossing -- [--history FILE] [--goals]`: `--goals` leaves the large table out.

use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::buffer::{BooleanBuffer, Buffer};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Float64Type, Int64Type};
use pipe_benches::columns::{KINDS, batch, buffers, guest, requests, start};
use pipe_benches::goals::{Goal, goal};
use pipe_benches::measure::{append, machine, rounded};
use pipe_benches::turns::{Contestant, nanoseconds};
use pipe_engine::stage::{Cost, Host, HostOptions, Instance, Limits};
use serde_json::{Map, Value, json};

const ROWS: [usize; 4] = [64, 1_024, 8_192, 65_536];
const COLUMNS: [usize; 4] = [1, 2, 8, 32];
const LANGUAGES: [&str; 3] = ["rust", "javascript", "python"];
/// How long a goal's contestants take turns, and a cell's of the table.
const LONG: Duration = Duration::from_secs(2);
const SHORT: Duration = Duration::from_millis(60);

fn instance(host: &Arc<Host>, language: &str, mode: &str, batch: &RecordBatch) -> Instance {
    let started = start(host, language, &json!({ "mode": mode }), batch);
    started.unwrap_or_else(|error| panic!("{language}, {mode}: {error}"))
}

/// One call a batch, everything that the host does for it included.
fn calls<'a>(mut instance: Instance, batch: &'a RecordBatch) -> Contestant<'a> {
    Box::new(move || {
        black_box(instance.process(black_box(batch)).expect("the guest answers"));
    })
}

/// The yardstick: the bytes that cross, copied once into memory that is there already.
fn memcpy<'a>(batch: &RecordBatch) -> Contestant<'a> {
    let from = buffers(batch);
    let mut to = from.clone();
    Box::new(move || {
        for (to, from) in to.iter_mut().zip(&from) {
            to.copy_from_slice(black_box(from));
        }
        black_box(&mut to);
    })
}

/// What the guest `crossing` does in its mode `filter`, natively: the same loop into a mask, and Arrow's filter.
fn filter(batch: &RecordBatch) -> RecordBatch {
    let status = batch.column(0).as_primitive::<Int64Type>().values();
    let latency = batch.column(1).as_primitive::<Float64Type>().values();
    let keep = |status: i64, latency: f64| u8::from((status >= 500) | (latency > 100.0));
    let mut mask = Vec::with_capacity(batch.num_rows().div_ceil(64) * 8);
    let mut push = |answers: &[u8; 64]| {
        let mut word = 0;
        for (at, eight) in answers.as_chunks::<8>().0.iter().enumerate() {
            word |= (u64::from_le_bytes(*eight).wrapping_mul(0x0102_0408_1020_4080) >> 56) << (at * 8);
        }
        mask.extend_from_slice(&word.to_le_bytes());
    };
    let ((whole_a, rest_a), (whole_b, rest_b)) = (status.as_chunks::<64>(), latency.as_chunks::<64>());
    for (status, latency) in whole_a.iter().zip(whole_b) {
        push(&std::array::from_fn(|row| keep(status[row], latency[row])));
    }
    if !rest_a.is_empty() {
        let mut answers = [0u8; 64];
        for (answer, (status, latency)) in answers.iter_mut().zip(rest_a.iter().zip(rest_b)) {
            *answer = keep(*status, *latency);
        }
        push(&answers);
    }
    let bits = BooleanBuffer::new(Buffer::from_vec(mask), 0, batch.num_rows());
    filter_record_batch(batch, &BooleanArray::new(bits, None)).expect("a mask of the batch's length")
}

/// A row of the table: what is measured, what is wanted, and whether it is there.
struct Goals(Map<String, Value>);

impl Goals {
    fn print(&mut self, what: &str, value: f64, unit: &str, most: f64, more: &str) {
        goal(&format!("crossing: {what}"), value, unit, Goal::AtMost(most), more);
        self.0.insert(what.to_owned(), json!([rounded(value), most]));
    }
}

fn goals(host: &Arc<Host>) -> Map<String, Value> {
    const ROWS: usize = 8_192;
    let a_row = |nanoseconds: f64| nanoseconds / ROWS as f64;
    let mut goals = Goals(Map::new());
    let numbers = requests(ROWS);
    let expected = filter(&numbers);
    for (language, goal) in [("rust", 0.8), ("javascript", 150.0), ("python", 250.0)] {
        let mut checked = instance(host, language, "filter", &numbers);
        let got = checked.process(&numbers).expect("the guest answers");
        assert_eq!(got.emissions[0].records, expected, "{language} and the native loop agree");
        let mut contestants = vec![
            calls(checked, &numbers),
            calls(instance(host, language, "in", &numbers), &numbers),
            Box::new(|| drop(black_box(filter(black_box(&numbers))))) as Contestant<'_>,
            memcpy(&numbers),
        ];
        let times = nanoseconds(LONG, &mut contestants);
        let [whole, only, native, copied] = [0, 1, 2, 3].map(|at| a_row(times[at]));
        let more = format!("(whole {whole:.2}, in only {only:.2}, native {native:.2}, memcpy {copied:.2})");
        match language {
            "rust" => goals.print("two numeric columns over native", whole - native, "ns/row", goal, &more),
            _ => {
                let mut by_rows = [calls(instance(host, language, "rows", &numbers), &numbers)];
                let by_rows = a_row(nanoseconds(SHORT, &mut by_rows)[0]);
                let more = format!("{more} (row by row {by_rows:.0})");
                goals.print(&format!("the same filter in {language}"), whole, "ns/row", goal, &more);
            }
        }
    }
    for (kind, columns) in [("utf8", 8), ("utf8(60)", 8), ("utf8", 1), ("utf8(60)", 1)] {
        let text = batch(kind, ROWS, columns);
        let mut contestants = vec![
            calls(instance(host, "rust", "in", &text), &text),
            calls(instance(host, "rust", "out", &text), &text),
            memcpy(&text),
        ];
        let times = nanoseconds(LONG, &mut contestants);
        let [only, out, copied] = [0, 1, 2].map(|at| times[at]);
        let name = |what: &str| format!("{columns} x {kind}, {what}");
        let more = |times: f64| format!("({:.2} ns/row, memcpy {:.2})", a_row(times), a_row(copied));
        if columns == 8 {
            goals.print(&name("in only"), only / copied, "x memcpy", 2.0, &more(only));
            goals.print(&name("in and computed out"), out / copied, "x memcpy", 5.0, &more(out));
        } else {
            goals.print(&name("in only"), a_row(only), "ns/row", 8.2, "(a tenth of FusionVault's)");
            goals.print(
                &name("in and computed out"),
                a_row(out),
                "ns/row",
                12.9,
                "(a tenth of FusionVault's)",
            );
        }
    }
    goals.0
}

/// The parts of a call as the host's own clock splits it, the lower quartile of each, in nanoseconds: copy in, guest,
/// copy out, validation.
fn split(mut instance: Instance, batch: &RecordBatch) -> [f64; 4] {
    let costs: Vec<Cost> =
        (0..12).map(|_| instance.process(batch).expect("the guest answers").cost).collect();
    let part = |of: fn(&Cost) -> Duration| {
        let mut all: Vec<Duration> = costs.iter().map(of).collect();
        all.sort();
        all[all.len() / 4].as_nanos() as f64
    };
    [part(|c| c.copy_in), part(|c| c.guest), part(|c| c.copy_out), part(|c| c.validate)]
}

/// Every language, type, number of columns and size of a batch.
fn table(host: &Arc<Host>) {
    println!(
        "\nns a row, but `call` (a batch that brings no column, in us): `in` is the way in (with `host`: before the \
         call), `back` the way out of the guest, `array` making and checking arrays of it, `check` the rest of the \
         checks; whole calls over memcpy of the same bytes"
    );
    println!(
        "{:<11}{:<9}{:>4}{:>7} |{:>8}{:>8}{:>8}{:>8}{:>8}{:>8} |{:>8}{:>8}{:>8}",
        "guest",
        "type",
        "cols",
        "rows",
        "call us",
        "in",
        "host",
        "back",
        "array",
        "check",
        "memcpy",
        "in x",
        "out x"
    );
    for language in LANGUAGES {
        for kind in KINDS {
            for columns in COLUMNS {
                for rows in ROWS {
                    cell(host, language, kind, columns, rows);
                }
            }
        }
    }
}

fn cell(host: &Arc<Host>, language: &str, kind: &str, columns: usize, rows: usize) {
    let batch = batch(kind, rows, columns);
    let modes = ["nothing", "in", "out"].map(|mode| calls(instance(host, language, mode, &batch), &batch));
    let mut contestants: Vec<Contestant<'_>> = modes.into_iter().chain([memcpy(&batch)]).collect();
    let times = nanoseconds(SHORT, &mut contestants);
    let [nothing, only, out, copied] = [0, 1, 2, 3].map(|at| times[at]);
    let [lowered, _, lifted, checked] = split(instance(host, language, "out", &batch), &batch);
    let back = out - only - lifted - checked;
    let row = |nanoseconds: f64| nanoseconds / rows as f64;
    println!(
        "{language:<11}{kind:<9}{columns:>4}{rows:>7} |{:>8.2}{:>8.2}{:>8.2}{:>8.2}{:>8.2}{:>8.2} |{:>8.2}{:>8.2}{:>8.2}",
        nothing / 1e3,
        row(only - nothing),
        row(lowered),
        row(back),
        row(lifted),
        row(checked),
        row(copied),
        only / copied,
        out / copied
    );
}

/// The first batch from the cache of compiled components, one more instance, and the memory of an idle one.
fn starting() -> Value {
    let batch = requests(8_192);
    let cache = tempfile::tempdir().expect("a folder");
    let host = Host::new(HostOptions { cache: Some(cache.path().join("cache")) }).expect("the engine starts");
    let bind = || {
        let component = host.load(&guest("rust")).expect("the guest is checked in");
        component.bind("bench", &batch.schema(), &json!({"mode": "filter"}), &Limits::defaults_for(1))
    };
    let bound = bind().expect("the guest binds");
    let mut contestants: Vec<Contestant<'_>> = vec![
        Box::new(|| drop(black_box(bound.instantiate().expect("an instance starts")))),
        Box::new(|| {
            let mut instance = bind().expect("it binds").instantiate().expect("an instance starts");
            black_box(instance.process(&batch).expect("the guest answers"));
        }),
    ];
    let times = nanoseconds(LONG, &mut contestants);
    let before = resident_kib();
    let instances: Vec<Instance> = (0..100)
        .map(|_| {
            let mut instance = bound.instantiate().expect("an instance starts");
            instance.process(&batch).expect("the guest answers");
            instance
        })
        .collect();
    let resident = (resident_kib() - before) / instances.len();
    let (one, first) = (rounded(times[0] / 1e3), rounded(times[1] / 1e3));
    println!("\none more instance {one} us, from the cache to a first batch {first} us");
    println!(
        "an idle instance: {resident} KiB resident, {} KiB of its own",
        instances[0].memory_peak() >> 10
    );
    json!({"instance_us": one, "first_batch_us": first, "resident_kib": resident})
}

fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

fn main() {
    let mut history: Option<PathBuf> = None;
    let mut only_goals = false;
    let mut given = std::env::args().skip(1);
    while let Some(argument) = given.next() {
        match argument.as_str() {
            "--history" => history = given.next().map(PathBuf::from),
            "--goals" => only_goals = true,
            // Cargo's own.
            _ => {}
        }
    }
    // The component of an interpreter takes a minute to compile, so the cache stays from run to run.
    let cache = pipe_tests::root().join("target/bench-stage-cache");
    let host = Host::new(HostOptions { cache: Some(cache) }).expect("the engine starts");
    let machine = machine();
    println!("machine: {machine}");
    let begun = Instant::now();
    let goals = goals(&host);
    let start = starting();
    if !only_goals {
        table(&host);
    }
    println!("crossing: {:.0} s", begun.elapsed().as_secs_f64());
    if let Some(history) = history {
        append(&history, &json!({"machine": machine, "crossing": goals, "start": start})).expect("written");
    }
}
