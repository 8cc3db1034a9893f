//! What a row costs in each ready-made stage: nanoseconds a row with everything that the host does for it (copy in,
//! guest, validation, copy out, selection), and the component's size. Printed, and asserted by nothing.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Float64Array, Int64Array, ListArray, RecordBatch, StringArray};
use arrow::datatypes::{Int64Type, Schema};
use pipe_engine::stage::{Host, HostOptions, Limits};
use serde_json::{Value, json};

const ROWS: usize = 8_192;
/// How long each is measured: long enough for some hundred batches.
const TIME: Duration = Duration::from_secs(1);

/// A stage, what it is asked to do in words, its configuration and the columns of its input.
struct Case(&'static str, &'static str, Value, &'static [&'static str]);

fn cases() -> Vec<Case> {
    let rules = |rule: Value| json!({ "key": "a key for benchmarks", "rules": [rule] });
    vec![
        Case(
            "filter",
            "int64 > constant",
            json!({"all": [{"column": "n", "op": "gt", "value": 500}]}),
            &["n"],
        ),
        Case(
            "route",
            "two values",
            json!({"column": "n", "routes": [{"port": "a", "values": [1, 2]}], "default": "b"}),
            &["n"],
        ),
        Case("parse-log", "combined lines", json!({}), &["line"]),
        Case("select", "rename and drop", json!({"drop": ["x"], "rename": {"n": "m"}}), &["n", "x"]),
        Case("select", "int64 -> utf8", json!({"cast": {"n": "utf8"}}), &["n"]),
        Case("select", "utf8 -> int64", json!({"cast": {"digits": "int64"}}), &["digits"]),
        Case("select", "utf8 -> decimal128", json!({"cast": {"amount": "decimal128(10, 2)"}}), &["amount"]),
        Case("select", "utf8 -> timestamp", json!({"cast": {"at": "timestamp(ms, UTC)"}}), &["at"]),
        Case("select", "float64 -> utf8", json!({"cast": {"x": "utf8"}}), &["x"]),
        Case("select", "a constant of text", json!({"constants": {"env": "prod"}}), &["n"]),
        Case("redact", "mask", rules(json!({"column": "user", "action": "mask", "keep_last": 4})), &["user"]),
        Case("redact", "hash", rules(json!({"column": "user", "action": "hash"})), &["user"]),
        Case(
            "redact",
            "find email, 60 bytes, 1 row in 10",
            rules(json!({"column": "note", "find": ["email"], "action": "mask"})),
            &["note"],
        ),
        Case(
            "redact",
            "find card and ipv4, same text",
            rules(json!({"column": "note", "find": ["card", "ipv4"], "action": "mask"})),
            &["note"],
        ),
        Case(
            "redact",
            "own pattern, same text",
            rules(json!({"column": "note", "pattern": "token=[a-z0-9]+", "action": "remove"})),
            &["note"],
        ),
        Case("explode", "list of 3 int64, per input row", json!({"column": "list"}), &["list", "n"]),
        Case("sample", "by utf8", json!({"share": 0.1, "by": ["user"]}), &["user", "n"]),
        Case("sample", "by int64", json!({"share": 0.1, "by": ["n"]}), &["n"]),
        Case(
            "extract",
            "3 fields of 110 bytes of JSON",
            json!({"column": "body", "fields": [
            {"path": "$.user.id", "type": "int64"}, {"path": "$.user.name"}, {"path": "$.items[0].price", "type": "float64"}]}),
            &["body"],
        ),
    ]
}

fn column(name: &str) -> ArrayRef {
    let text = |make: &dyn Fn(usize) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values((0..ROWS).map(make)))
    };
    match name {
        "n" => Arc::new(Int64Array::from_iter_values((0..ROWS as i64).map(|n| n * 7 % 1_009))),
        "x" => Arc::new(Float64Array::from_iter_values((0..ROWS).map(|n| n as f64 * 1.37))),
        "list" => Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(
            (0..ROWS as i64).map(|n| Some(vec![Some(n), Some(n + 1), Some(n + 2)])),
        )),
        "digits" => text(&|n| (n * 7919).to_string()),
        "amount" => text(&|n| format!("{}.{:02}", n * 13, n % 100)),
        "at" => text(&|n| format!("2026-01-{:02}T{:02}:{:02}:00.250Z", n % 28 + 1, n % 24, n % 60)),
        "user" => text(&|n| format!("user-{:08}", n * 7919)),
        "note" => text(&|n| match n % 10 {
            0 => format!("order {n} was paid, mail went to someone{n}@example.org today"),
            _ => format!("order {n} was paid and nothing else of note has happened to it"),
        }),
        "line" => text(&|n| {
            format!(
                "203.0.113.{} - - [10/Oct/2026:13:55:36 +0000] \"GET /a/{n} HTTP/1.1\" 200 {n} \"-\" \"curl/8\"",
                n % 250
            )
        }),
        _ => text(&|n| {
            let price = n as f64 / 4.0;
            format!(
                r#"{{"user":{{"id":{n},"name":"name-{n}"}},"items":[{{"sku":"s-{n}","price":{price}}}],"note":"none","ok":true}}"#
            )
        }),
    }
}

fn main() {
    let folder = pipe_tests::root().join("stages/target/components");
    let cache = std::env::temp_dir().join(format!("pipe-bench-stages-{}", std::process::id()));
    let host = Host::new(HostOptions { cache: Some(cache.clone()) }).expect("the engine starts");
    // `cargo test --benches` only asks whether it runs.
    let once = std::env::args().any(|argument| argument == "--test");
    println!("{:<10} {:<36} {:>10} {:>9}", "stage", "does", "ns a row", "bytes");
    for Case(stage, does, config, columns) in cases() {
        let path = folder.join(format!("{stage}.wasm"));
        let bytes = std::fs::metadata(&path).map_or(0, |meta| meta.len());
        let fields: Vec<_> = columns.iter().map(|name| (*name, column(name))).collect();
        let batch = RecordBatch::try_from_iter(fields).expect("columns of one length");
        // As the sources have it: every column may hold nulls.
        let nullable: Vec<_> =
            batch.schema().fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
        let batch = RecordBatch::try_new(Arc::new(Schema::new(nullable)), batch.columns().to_vec())
            .expect("the same");
        let component = host.load(&path).unwrap_or_else(|e| panic!("scripts/guests.sh builds {stage}: {e}"));
        let bound = component.bind(stage, &batch.schema(), &config, &Limits::defaults_for(1));
        let mut instance = bound.and_then(|bound| bound.instantiate()).expect("the stage is bound");
        let mut times = Vec::new();
        let started = Instant::now();
        while times.is_empty() || (!once && started.elapsed() < TIME) {
            let before = Instant::now();
            black_box(instance.process(black_box(&batch)).expect("the stage answers"));
            times.push(before.elapsed());
        }
        // The first have to grow their memory; the median leaves them out.
        times.sort();
        let median = times[times.len() / 2].as_nanos() as f64 / ROWS as f64;
        println!("{stage:<10} {does:<36} {median:>10.1} {bytes:>9}");
    }
    // What a benchmark leaves in the temporary folder is not worth a failure.
    let _ = std::fs::remove_dir_all(cache);
}
