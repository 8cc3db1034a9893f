//! Workloads of the benchmarks.

pub mod columns;
pub mod measure;
pub mod turns;

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

/// Columns of a web request as the whole-pipeline benchmark declares them.
pub fn request_schema() -> SchemaRef {
    let column = |name: &str, of: DataType| Field::new(name, of, true);
    Arc::new(Schema::new(vec![
        column("ts", DataType::Int64),
        column("user_id", DataType::Utf8),
        column("country", DataType::Utf8),
        column("url", DataType::Utf8),
        column("status", DataType::Int64),
        column("latency_ms", DataType::Float64),
        column("bytes", DataType::Int64),
    ]))
}

/// A small generator of pseudo-random numbers (xorshift64*), so that every run has the same records.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) % limit
    }
}

const COUNTRIES: [&str; 8] = ["DE", "US", "FR", "GB", "PL", "CZ", "JP", "BR"];
const AGENTS: [&str; 3] = [
    "Mozilla/5.0 (X11; Linux x86_64) Chrome/126.0 Safari/537.36",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Firefox/127.0",
    "curl/8.5.0 (x86_64-pc-linux-gnu) libcurl/8.5.0 OpenSSL/3.0.13",
];

/// Web requests of about 200 bytes, the same ones in every run.
pub struct Requests {
    numbers: Numbers,
    record: String,
    at: u64,
}

impl Default for Requests {
    fn default() -> Self {
        Self { numbers: Numbers(0x9E37_79B9_7F4A_7C15), record: String::with_capacity(256), at: 0 }
    }
}

impl Requests {
    /// The next one, and whether it has `status >= 500` or `latency_ms > 100` (about a tenth has).
    pub fn make(&mut self) -> (&str, bool) {
        let Self { numbers, record, at } = self;
        let status = match numbers.below(100) {
            0..=3 => 500 + numbers.below(4),
            4..=8 => 404,
            _ => 200,
        };
        // Tenths of a millisecond.
        let latency =
            if numbers.below(100) < 6 { 1_001 + numbers.below(4_000) } else { 1 + numbers.below(999) };
        let (user, country) = (numbers.below(100_000), COUNTRIES[numbers.below(8) as usize]);
        let (page, bytes, agent) =
            (numbers.below(10_000), numbers.below(50_000), AGENTS[numbers.below(3) as usize]);
        let (whole, tenth) = (latency / 10, latency % 10);
        let ts = 1_764_000_000_000 + *at / 2;
        *at += 1;
        record.clear();
        // Writing to a string cannot fail.
        let _ = write!(
            record,
            "{{\"ts\":{ts},\"user_id\":\"u-{user:06}\",\"country\":\"{country}\",\"url\":\"/p/{page}?ref=mail\",\
             \"status\":{status},\"latency_ms\":{whole}.{tenth},\"bytes\":{bytes},\"ua\":\"{agent}\"}}"
        );
        (record, status >= 500 || latency > 1_000)
    }
}

/// Writes `count` of [`Requests`] to a topic, without keys, round robin over `partitions`. Answers how many of them
/// the filter of the benchmark keeps.
pub fn load(brokers: &str, topic: &str, partitions: i32, count: u64) -> Result<u64, KafkaError> {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("queue.buffering.max.messages", "500000")
        .set("linger.ms", "20")
        .set("batch.num.messages", "10000")
        .create()?;
    let mut requests = Requests::default();
    let mut kept = 0;
    for i in 0..count {
        let (record, keeps) = requests.make();
        kept += u64::from(keeps);
        send(&producer, BaseRecord::to(topic).partition(i as i32 % partitions).payload(record.as_bytes()))?;
    }
    producer.flush(Duration::from_secs(120))?;
    Ok(kept)
}

/// Sends, waiting for room in the producer's queue.
pub fn send(producer: &BaseProducer, record: BaseRecord<'_, [u8], [u8]>) -> Result<(), KafkaError> {
    let mut next = record;
    loop {
        match producer.send(next) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                producer.poll(Duration::from_millis(5));
                next = back;
            }
            Err((error, _)) => return Err(error),
        }
    }
}

/// Records that a topic holds, by the ends of its partitions.
pub fn records_in(brokers: &str, topic: &str) -> Result<u64, KafkaError> {
    let wait = Duration::from_secs(10);
    let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", brokers).create()?;
    let metadata = consumer.fetch_metadata(Some(topic), wait)?;
    let mut records = 0;
    for partition in metadata.topics().iter().flat_map(|t| t.partitions()) {
        let (low, high) = consumer.fetch_watermarks(topic, partition.id(), wait)?;
        records += (high - low) as u64;
    }
    Ok(records)
}
