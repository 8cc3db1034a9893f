//! The whole-pipeline benchmark's work by hand: rdkafka, arrow-json, Arrow's kernels; no Wasm, no runtime.
//!
//! `native_twin BROKERS IN OUT GROUP`: drains IN to its end, keeps requests with `status >= 500` or
//! `latency_ms > 100`, writes them as JSON to OUT keyed by `user_id`, flushes and commits every second.

use std::error::Error;
use std::time::{Duration, Instant};

use arrow::array::{AsArray, Float64Array, Int64Array, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::compute::kernels::boolean::or;
use arrow::compute::kernels::cmp::{gt, gt_eq};
use arrow::datatypes::{Float64Type, Int64Type};
use arrow::json::{LineDelimitedWriter, ReaderBuilder};
use pipe_benches::{records_in, request_schema, send};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

const ROWS: usize = 8_192;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().collect();
    let [_, brokers, input, output, group] = args.as_slice() else {
        return Err("usage: native_twin BROKERS IN OUT GROUP".into());
    };
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", group)
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false")
        // The default of 1 s stalls a fast consumer.
        .set("fetch.queue.backoff.ms", "10")
        .create()?;
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", brokers).set("enable.idempotence", "true").create()?;
    let mut left = records_in(brokers, input)?;
    consumer.subscribe(&[input])?;
    let mut decoder = ReaderBuilder::new(request_schema()).with_batch_size(ROWS).build_decoder()?;
    let (mut rows, mut flushed) = (0, Instant::now());
    while left > 0 {
        let message = match consumer.poll(Duration::from_millis(50)) {
            Some(message) => Some(message?),
            None => None,
        };
        if let Some(message) = &message {
            decoder.decode(message.payload().unwrap_or_default())?;
            rows += 1;
            left -= 1;
        }
        if rows == ROWS || (message.is_none() && rows > 0) || left == 0 {
            if let Some(batch) = decoder.flush()? {
                write(&producer, output, &batch)?;
            }
            rows = 0;
            producer.poll(Duration::ZERO);
            if flushed.elapsed() > Duration::from_secs(1) || left == 0 {
                producer.flush(Duration::from_secs(60))?;
                consumer.commit_consumer_state(CommitMode::Sync)?;
                flushed = Instant::now();
            }
        }
    }
    Ok(())
}

fn write(producer: &BaseProducer, topic: &str, batch: &RecordBatch) -> Result<(), Box<dyn Error>> {
    let errors = gt_eq(batch.column(4).as_primitive::<Int64Type>(), &Int64Array::new_scalar(500))?;
    let slow = gt(batch.column(5).as_primitive::<Float64Type>(), &Float64Array::new_scalar(100.0))?;
    let kept = filter_record_batch(batch, &or(&errors, &slow)?)?;
    if kept.num_rows() == 0 {
        return Ok(());
    }
    let mut writer = LineDelimitedWriter::new(Vec::with_capacity(kept.num_rows() * 200));
    writer.write(&kept)?;
    writer.finish()?;
    let lines = writer.into_inner();
    let users = kept.column(1).as_string::<i32>();
    for (row, line) in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).enumerate() {
        send(producer, BaseRecord::to(topic).key(users.value(row).as_bytes()).payload(line))?;
    }
    Ok(())
}
