//! What a record costs as JSON: decoded to columns and encoded from them, beside arrow-json and serde_json.
//!
//! All of them take turns on the same records. A turn takes a millisecond, so that on a busy machine most turns are
//! interrupted by nobody: what is printed is the lower quartile, and the ratios are what is worth reading.

use std::hint::black_box;
use std::time::Instant;

use arrow::array::{AsArray, BinaryArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type, SchemaRef};
use arrow::json::{LineDelimitedWriter, ReaderBuilder};
use pipe_benches::goals::{Goal, goal};
use pipe_benches::{Requests, request_schema};
use pipe_engine::batch::{Batch, Payload};
use pipe_engine::format::json::KIND;
use serde::{Deserialize, Serialize};
use serde_json::json;

const ROWS: usize = 8_192;
/// Each of them is a batch by every contestant.
const ROUNDS: usize = 300;
/// Two of the eight fields of a record.
const QUARTER: [&str; 2] = ["status", "latency_ms"];

/// The columns as a program without Arrow has them.
#[derive(Deserialize, Serialize)]
struct Request<'a> {
    ts: i64,
    user_id: &'a str,
    country: &'a str,
    url: &'a str,
    status: i64,
    latency_ms: f64,
    bytes: i64,
}

/// A contestant: its name and a batch's work.
type Contestant<'a> = (&'static str, Box<dyn FnMut() + 'a>);

/// The lower quartile.
fn quartile(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 4]
}

/// Prints what each contestant takes for a record, and how many times as long as the first one should take.
fn compare(title: &str, mut contestants: Vec<Contestant<'_>>, goals: &[Goal]) {
    let mut rounds: Vec<Vec<f64>> = Vec::new();
    for round in 0..ROUNDS + ROUNDS / 10 {
        let mut spent = vec![0.0; contestants.len()];
        // Who is first changes, so that nobody always finds the caches as one certain other left them.
        for turn in 0..contestants.len() {
            let at = (turn + round) % contestants.len();
            let start = Instant::now();
            (contestants[at].1)();
            spent[at] = start.elapsed().as_nanos() as f64 / ROWS as f64;
        }
        rounds.push(spent);
    }
    let counted = &rounds[ROUNDS / 10..];
    println!("{title}");
    let goals = std::iter::once(&Goal::None).chain(goals);
    let nanos = |at: usize| quartile(counted.iter().map(|round| round[at]).collect());
    for ((at, (name, _)), wanted) in contestants.iter().enumerate().zip(goals) {
        println!("  {name:<24} {:7.1} ns/record", nanos(at));
        if at > 0 {
            goal(&format!("speed, {title}: pipe / {name}"), nanos(at) / nanos(0), "", *wanted, "");
        }
    }
}

fn requests() -> BinaryArray {
    let mut requests = Requests::default();
    BinaryArray::from_iter_values((0..ROWS).map(|_| requests.make().0.to_owned()))
}

fn pipe_decoder<'a>(schema: SchemaRef, payload: &'a Payload) -> Box<dyn FnMut() + 'a> {
    let format = (KIND.prepare)(&json!({})).unwrap_or_else(|problems| panic!("{problems:?}"));
    let mut decoder = format.decoder(schema).expect("the columns can be decoded");
    Box::new(move || {
        let decoded = decoder.decode(black_box(payload)).expect("records are JSON");
        assert_eq!(decoded.records.num_rows(), ROWS);
    })
}

fn arrow_decoder<'a>(schema: SchemaRef, records: &'a BinaryArray) -> Box<dyn FnMut() + 'a> {
    let mut twin = ReaderBuilder::new(schema).with_batch_size(ROWS).build_decoder().expect("a decoder");
    Box::new(move || {
        for record in black_box(records).iter().flatten() {
            twin.decode(record).expect("records are JSON");
        }
        let batch = twin.flush().expect("records are JSON").map_or(0, |batch| batch.num_rows());
        assert_eq!(batch, ROWS);
    })
}

fn decode() {
    let records = requests();
    let payload = Payload::Values(records.clone());
    let structs = || {
        for record in black_box(&records).iter().flatten() {
            black_box(serde_json::from_slice::<Request<'_>>(record).expect("records are JSON"));
        }
    };
    compare(
        "decode, 7 of 8 fields",
        vec![
            ("pipe", pipe_decoder(request_schema(), &payload)),
            ("arrow-json", arrow_decoder(request_schema(), &records)),
            ("serde_json, a struct", Box::new(structs)),
        ],
        &[Goal::AtLeast(2.0), Goal::None],
    );
    let fields = QUARTER.map(|name| request_schema().index_of(name).expect("a column"));
    let quarter = SchemaRef::new(request_schema().project(&fields).expect("columns"));
    compare(
        "decode, 2 of 8 fields",
        vec![
            ("pipe", pipe_decoder(quarter.clone(), &payload)),
            ("arrow-json", arrow_decoder(quarter, &records)),
        ],
        &[Goal::AtLeast(3.0)],
    );
}

fn encode() {
    let format = (KIND.prepare)(&json!({})).unwrap_or_else(|problems| panic!("{problems:?}"));
    let mut decoder = format.decoder(request_schema()).expect("the columns can be decoded");
    let batch: RecordBatch = decoder.decode(&Payload::Values(requests())).expect("records are JSON").records;
    let rows = Batch::of_columns(batch.clone());
    let mut encoder = format.encoder(request_schema()).expect("the columns can be encoded");
    let pipe = || {
        black_box(encoder.encode(black_box(&rows)).expect("rows are encoded"));
    };
    let twin = || {
        let mut writer = LineDelimitedWriter::new(Vec::with_capacity(ROWS * 200));
        writer.write(black_box(&batch)).expect("rows are encoded");
        writer.finish().expect("rows are encoded");
        black_box(writer.into_inner());
    };
    let text = |at: usize| batch.column(at).as_string::<i32>();
    let whole = |at: usize| batch.column(at).as_primitive::<Int64Type>();
    let (ts, user, country, url, status) = (whole(0), text(1), text(2), text(3), whole(4));
    let (latency, bytes) = (batch.column(5).as_primitive::<Float64Type>(), whole(6));
    let structs = || {
        let mut out = Vec::with_capacity(ROWS * 200);
        for row in 0..black_box(ts).len() {
            let request = Request {
                ts: ts.value(row),
                user_id: user.value(row),
                country: country.value(row),
                url: url.value(row),
                status: status.value(row),
                latency_ms: latency.value(row),
                bytes: bytes.value(row),
            };
            serde_json::to_writer(&mut out, &request).expect("rows are encoded");
        }
        black_box(out);
    };
    compare(
        "encode, 7 fields",
        vec![
            ("pipe", Box::new(pipe)),
            ("arrow-json", Box::new(twin)),
            ("serde_json, a struct", Box::new(structs)),
        ],
        &[Goal::AtLeast(3.0), Goal::AtLeast(1.0)],
    );
}

/// Two of the eight fields are declared: decoded and encoded with the six others kept, and with them dropped.
fn rest() {
    let payload = Payload::Values(requests());
    let columns = json!({ "status": "int64", "latency_ms": "float64" });
    let through = |unknown: &str| -> Box<dyn FnMut() + '_> {
        let options = json!({ "columns": columns, "unknown": unknown });
        let format = (KIND.prepare)(&options).unwrap_or_else(|problems| panic!("{problems:?}"));
        let schema = format.schema().expect("columns are declared");
        let mut decoder = format.decoder(schema.clone()).expect("the columns can be decoded");
        let mut encoder = format.encoder(schema).expect("the columns can be encoded");
        let payload = &payload;
        Box::new(move || {
            let decoded = decoder.decode(black_box(payload)).expect("records are JSON");
            assert_eq!(decoded.records.num_rows(), ROWS);
            let rows = Batch::of_columns(decoded.records);
            black_box(encoder.encode(black_box(&rows)).expect("rows are encoded"));
        })
    };
    compare(
        "decode and encode, 2 of 8 fields declared",
        vec![("six dropped", through("drop")), ("six kept", through("keep"))],
        &[Goal::AtMost(1.4)],
    );
}

fn main() {
    decode();
    encode();
    rest();
}
