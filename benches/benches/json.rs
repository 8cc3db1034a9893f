//! What a record costs as JSON: decoded to columns and encoded from them, beside arrow-json by itself.

use std::hint::black_box;
use std::time::Duration;

use arrow::array::{BinaryArray, RecordBatch};
use arrow::json::{LineDelimitedWriter, ReaderBuilder};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pipe_benches::{Requests, request_schema};
use pipe_engine::batch::Payload;
use pipe_engine::format::json::KIND;
use serde_json::json;

const ROWS: usize = 8_192;

fn requests() -> BinaryArray {
    let mut requests = Requests::default();
    BinaryArray::from_iter_values((0..ROWS).map(|_| requests.make().0.to_owned()))
}

fn decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("json decode");
    group.throughput(Throughput::Elements(ROWS as u64));
    let format = (KIND.prepare)(&json!({})).unwrap_or_else(|problems| panic!("{problems:?}"));
    let mut decoder = format.decoder(request_schema()).expect("the columns can be decoded");
    let payload = Payload::Values(requests());
    group.bench_function("pipe", |b| {
        b.iter(|| {
            let decoded = decoder.decode(black_box(&payload)).expect("records are JSON");
            assert_eq!(decoded.records.num_rows(), ROWS);
        });
    });
    let records = requests();
    let mut twin =
        ReaderBuilder::new(request_schema()).with_batch_size(ROWS).build_decoder().expect("a decoder");
    group.bench_function("arrow-json", |b| {
        b.iter(|| {
            for record in black_box(&records).iter().flatten() {
                twin.decode(record).expect("records are JSON");
            }
            let batch = twin.flush().expect("records are JSON").map_or(0, |batch| batch.num_rows());
            assert_eq!(batch, ROWS);
        });
    });
    group.finish();
}

fn encode(c: &mut Criterion) {
    let mut group = c.benchmark_group("json encode");
    group.throughput(Throughput::Elements(ROWS as u64));
    let format = (KIND.prepare)(&json!({})).unwrap_or_else(|problems| panic!("{problems:?}"));
    let mut decoder = format.decoder(request_schema()).expect("the columns can be decoded");
    let batch: RecordBatch = decoder.decode(&Payload::Values(requests())).expect("records are JSON").records;
    let mut encoder = format.encoder(request_schema()).expect("the columns can be encoded");
    group.bench_function("pipe", |b| {
        b.iter(|| encoder.encode(black_box(&batch)).expect("rows are encoded"));
    });
    group.bench_function("arrow-json", |b| {
        b.iter(|| {
            let mut writer = LineDelimitedWriter::new(Vec::with_capacity(ROWS * 200));
            writer.write(black_box(&batch)).expect("rows are encoded");
            writer.finish().expect("rows are encoded");
            writer.into_inner()
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = decode, encode
}
criterion_main!(benches);
