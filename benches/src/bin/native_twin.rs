//! The benchmarks' work by hand: rdkafka, no Wasm, no runtime. It is the ceiling, not a system.
//!
//! `native_twin JOB BROKERS IN OUT[,OUT] GROUP [COMPRESSION]` drains IN to its end, flushes and commits every second.
//! JOB is `raw` (bytes through), `sonic` (the filter job with sonic-rs on structs), or with arrow-json and Arrow's
//! kernels `arrow` (the filter job), `filter`, `map` (masks two columns), `three` (filter, mask, filter job).

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringBuilder};
use arrow::compute::filter_record_batch;
use arrow::compute::kernels::boolean::or;
use arrow::compute::kernels::cmp::{gt, gt_eq};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, Schema};
use arrow::json::reader::Decoder;
use arrow::json::{LineDelimitedWriter, ReaderBuilder};
use pipe_benches::{records_in, request_schema, send};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde::{Deserialize, Serialize};

const ROWS: usize = 8_192;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().collect();
    let [_, job, brokers, input, outputs, group, more @ ..] = args.as_slice() else {
        return Err("usage: native_twin JOB BROKERS IN OUT[,OUT] GROUP [COMPRESSION]".into());
    };
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", group)
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false")
        // The default of 1 s stalls a fast consumer.
        .set("fetch.queue.backoff.ms", "10")
        .create()?;
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("enable.idempotence", "true")
        .set("compression.type", more.first().map_or("none", String::as_str))
        .create()?;
    let mut left = records_in(brokers, input)?;
    consumer.subscribe(&[input])?;
    let mut out = Out { producer, topics: outputs.split(',').map(str::to_owned).collect() };
    let mut work = work(job)?;
    let (mut taken, mut flushed) = (0_u64, Instant::now());
    while left > 0 {
        let message = consumer.poll(Duration::from_millis(50)).transpose()?;
        if let Some(message) = &message {
            work.take(message.key(), message.payload().unwrap_or_default(), &mut out)?;
            taken += 1;
            left -= 1;
        }
        if message.is_none() || left == 0 {
            work.flush(&mut out)?;
        }
        if taken % 512 == 0 || message.is_none() || left == 0 {
            out.producer.poll(Duration::ZERO);
            if flushed.elapsed() > Duration::from_secs(1) || left == 0 {
                work.flush(&mut out)?;
                out.producer.flush(Duration::from_secs(60))?;
                if taken > 0 {
                    consumer.commit_consumer_state(CommitMode::Sync)?;
                }
                flushed = Instant::now();
            }
        }
    }
    Ok(())
}

/// The topics that are written.
struct Out {
    producer: BaseProducer,
    topics: Vec<String>,
}

impl Out {
    fn write(&mut self, key: Option<&[u8]>, payload: &[u8]) -> Result<(), Box<dyn Error>> {
        for topic in &self.topics {
            let record = BaseRecord::to(topic).payload(payload);
            send(&self.producer, if let Some(key) = key { record.key(key) } else { record })?;
        }
        Ok(())
    }
}

/// What is done with the records.
trait Work {
    fn take(&mut self, key: Option<&[u8]>, payload: &[u8], out: &mut Out) -> Result<(), Box<dyn Error>>;
    /// Writes what was held back.
    fn flush(&mut self, _out: &mut Out) -> Result<(), Box<dyn Error>> {
        Ok(())
    }
}

fn work(job: &str) -> Result<Box<dyn Work>, Box<dyn Error>> {
    let step: Step = match job {
        "raw" => return Ok(Box::new(Raw)),
        "sonic" => return Ok(Box::new(Sonic::default())),
        "arrow" => |batch| marked(&bad(batch)?),
        "filter" => bad,
        "map" => masked,
        "three" => |batch| {
            let valid = gt_eq(batch.column(4).as_primitive::<Int64Type>(), &Int64Array::new_scalar(100))?;
            marked(&bad(&masked(&filter_record_batch(batch, &valid)?)?)?)
        },
        other => return Err(format!("there is no job {other}").into()),
    };
    let decoder = ReaderBuilder::new(request_schema()).with_batch_size(ROWS).build_decoder()?;
    Ok(Box::new(Batches { decoder, rows: 0, step }))
}

struct Raw;

impl Work for Raw {
    fn take(&mut self, key: Option<&[u8]>, payload: &[u8], out: &mut Out) -> Result<(), Box<dyn Error>> {
        out.write(key, payload)
    }
}

#[derive(Default)]
struct Sonic {
    text: Vec<u8>,
}

#[derive(Deserialize)]
struct Request<'a> {
    ts: i64,
    user_id: &'a str,
    country: &'a str,
    url: &'a str,
    status: i64,
    latency_ms: f64,
    bytes: i64,
}

#[derive(Serialize)]
struct Marked<'a> {
    ts: i64,
    user_id: &'a str,
    country: &'a str,
    url: &'a str,
    status: i64,
    latency_ms: f64,
    bytes: i64,
    slow: bool,
}

impl Work for Sonic {
    fn take(&mut self, _: Option<&[u8]>, payload: &[u8], out: &mut Out) -> Result<(), Box<dyn Error>> {
        let Request { ts, user_id, country, url, status, latency_ms, bytes } = sonic_rs::from_slice(payload)?;
        if status >= 500 || latency_ms > 100.0 {
            let slow = latency_ms > 250.0;
            self.text.clear();
            let marked = Marked { ts, user_id, country, url, status, latency_ms, bytes, slow };
            sonic_rs::to_writer(&mut self.text, &marked)?;
            out.write(Some(user_id.as_bytes()), &self.text)?;
        }
        Ok(())
    }
}

type Step = fn(&RecordBatch) -> Result<RecordBatch, Box<dyn Error>>;

/// Rows of JSON in batches.
struct Batches {
    decoder: Decoder,
    rows: usize,
    step: Step,
}

impl Work for Batches {
    fn take(&mut self, _: Option<&[u8]>, payload: &[u8], out: &mut Out) -> Result<(), Box<dyn Error>> {
        self.decoder.decode(payload)?;
        self.rows += 1;
        if self.rows == ROWS { self.flush(out) } else { Ok(()) }
    }

    fn flush(&mut self, out: &mut Out) -> Result<(), Box<dyn Error>> {
        self.rows = 0;
        let Some(batch) = self.decoder.flush()? else { return Ok(()) };
        let batch = (self.step)(&batch)?;
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let mut writer = LineDelimitedWriter::new(Vec::with_capacity(batch.num_rows() * 200));
        writer.write(&batch)?;
        writer.finish()?;
        let lines = writer.into_inner();
        let users = batch.column(1).as_string::<i32>();
        for (row, line) in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).enumerate() {
            out.write(Some(users.value(row).as_bytes()), line)?;
        }
        Ok(())
    }
}

/// `status >= 500` or `latency_ms > 100`.
fn bad(batch: &RecordBatch) -> Result<RecordBatch, Box<dyn Error>> {
    let failed = gt_eq(batch.column(4).as_primitive::<Int64Type>(), &Int64Array::new_scalar(500))?;
    let slow = gt(batch.column(5).as_primitive::<Float64Type>(), &Float64Array::new_scalar(100.0))?;
    Ok(filter_record_batch(batch, &or(&failed, &slow)?)?)
}

/// With a column `slow`.
fn marked(batch: &RecordBatch) -> Result<RecordBatch, Box<dyn Error>> {
    let slow = gt(batch.column(5).as_primitive::<Float64Type>(), &Float64Array::new_scalar(250.0))?;
    let mut fields: Vec<_> = batch.schema().fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new("slow", DataType::Boolean, true)));
    let mut columns = batch.columns().to_vec();
    columns.push(Arc::new(slow));
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

/// `country` all stars, `url` but its first three characters.
fn masked(batch: &RecordBatch) -> Result<RecordBatch, Box<dyn Error>> {
    let mut columns = batch.columns().to_vec();
    for (column, kept) in [(2, 0), (3, 3)] {
        let values = columns[column].as_string::<i32>();
        let mut builder = StringBuilder::with_capacity(values.len(), values.values().len());
        let mut text = String::new();
        for value in values {
            text.clear();
            text.extend(
                value.unwrap_or_default().chars().enumerate().map(|(at, c)| if at < kept { c } else { '*' }),
            );
            builder.append_value(&text);
        }
        columns[column] = Arc::new(builder.finish()) as ArrayRef;
    }
    Ok(RecordBatch::try_new(batch.schema(), columns)?)
}
