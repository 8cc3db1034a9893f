//! What it costs to cross into a stage: the fixed cost of a batch, the cost of a row beside the same loop run
//! natively, the first batch from the cache, one more instance, and the memory of an idle one.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch};
use arrow::buffer::{BooleanBuffer, Buffer};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use pipe_engine::stage::{Bound, Host, HostOptions, Limits};
use serde_json::json;

fn guest() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/guests/prebuilt/crossing.wasm")
}

fn batch(rows: usize) -> RecordBatch {
    let schema =
        Schema::new(vec![Field::new("a", DataType::Int64, false), Field::new("b", DataType::Int64, false)]);
    let values = |scale: i64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values((0..rows as i64).map(|n| (n * scale) % 1009)))
    };
    RecordBatch::try_new(Arc::new(schema), vec![values(7), values(13)]).expect("two columns of one length")
}

fn bind(host: &Arc<Host>, batch: &RecordBatch) -> Bound {
    let component = host.load(&guest()).expect("the guest is checked in");
    component.bind("bench", &batch.schema(), &json!({}), &Limits::defaults_for(1)).expect("the guest binds")
}

/// What the guest does, natively: the same loop into the same mask, and Arrow's filter.
fn native(batch: &RecordBatch) -> RecordBatch {
    let a = batch.column(0).as_primitive::<Int64Type>().values();
    let b = batch.column(1).as_primitive::<Int64Type>().values();
    let mut mask = vec![0u8; batch.num_rows().div_ceil(8)];
    for (byte, (a, b)) in mask.iter_mut().zip(a.chunks(8).zip(b.chunks(8))) {
        for (bit, (a, b)) in a.iter().zip(b).enumerate() {
            *byte |= u8::from(a.wrapping_mul(2).wrapping_add(*b) > 1000) << bit;
        }
    }
    let bits = BooleanBuffer::new(Buffer::from_vec(mask), 0, batch.num_rows());
    filter_record_batch(batch, &BooleanArray::new(bits, None)).expect("a mask of the batch's length")
}

fn crossing(c: &mut Criterion) {
    let host = Host::new(HostOptions::default()).expect("the engine starts");
    for rows in [0, 1, 64, 1_024, 8_192, 65_536] {
        let batch = batch(rows);
        let mut group = c.benchmark_group(format!("crossing/{rows} rows"));
        group.throughput(Throughput::Elements(rows.max(1) as u64));
        let mut instance = bind(&host, &batch).instantiate().expect("an instance starts");
        let expected = native(&batch);
        let got = instance.process(&batch).expect("the guest answers");
        assert_eq!(got.emissions[0].records, expected, "guest and native loop agree");
        group.bench_function("sandboxed", |b| {
            b.iter(|| instance.process(black_box(&batch)).expect("the guest answers"));
        });
        group.bench_function("native", |b| b.iter(|| native(black_box(&batch))));
        group.finish();
    }
}

fn starting(c: &mut Criterion) {
    let batch = batch(8_192);
    let cache = std::env::temp_dir().join(format!("pipe-bench-{}", std::process::id()));
    let host = Host::new(HostOptions { cache: Some(cache.clone()) }).expect("the engine starts");
    let bound = bind(&host, &batch);
    c.bench_function("start/one more instance", |b| {
        b.iter_batched(|| (), |()| bound.instantiate().expect("an instance starts"), BatchSize::PerIteration);
    });
    c.bench_function("start/from the cache to a first batch", |b| {
        b.iter(|| {
            let mut instance = bind(&host, &batch).instantiate().expect("an instance starts");
            instance.process(&batch).expect("the guest answers")
        });
    });
    println!("idle instance: {} KiB resident, {} KiB of its own memory", resident(&bound, &batch), {
        let mut instance = bound.instantiate().expect("an instance starts");
        instance.process(&batch).expect("the guest answers");
        instance.memory_peak() >> 10
    });
    // What a benchmark leaves in the temporary folder is a few hundred kilobytes, and not worth a failure.
    let _ = std::fs::remove_dir_all(cache);
}

/// KiB of resident memory that one more instance costs after a batch, over a hundred of them.
fn resident(bound: &Bound, batch: &RecordBatch) -> usize {
    let before = resident_kib();
    let instances: Vec<_> = (0..100)
        .map(|_| {
            let mut instance = bound.instantiate().expect("an instance starts");
            instance.process(batch).expect("the guest answers");
            instance
        })
        .collect();
    (resident_kib() - before) / instances.len()
}

fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = crossing, starting
}
criterion_main!(benches);
