//! Workloads of the benchmarks, and how their cost is read.

pub mod columns;
pub mod contest;
pub mod drain;
pub mod fetch;
pub mod goals;
pub mod measure;
pub mod processes;
pub mod sink;
pub mod table;
pub mod turns;

use std::error::Error;
use std::fmt::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

/// Partitions of every topic: as many as the lanes of a worker could share; all programs read all of them.
pub const PARTITIONS: i32 = 4;

/// How a benchmark ends: an error is told under its name.
pub fn ended(name: &str, result: Result<(), Box<dyn Error>>) -> ExitCode {
    if let Err(error) = result {
        eprintln!("{name}: {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// The options of the command line, each a name and its value. The error names one that lacks its value.
pub fn options() -> Result<Vec<(String, String)>, Box<dyn Error>> {
    let mut given = std::env::args().skip(1);
    let mut all = Vec::new();
    while let Some(name) = given.next() {
        let value = given.next().ok_or_else(|| format!("{name} wants a value"))?;
        all.push((name, value));
    }
    Ok(all)
}

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

const COUNTRIES: [&str; 20] = [
    "DE", "US", "FR", "GB", "PL", "CZ", "AT", "CH", "NL", "BE", "IT", "ES", "PT", "SE", "NO", "DK", "FI",
    "IE", "JP", "BR",
];
const REFERRERS: [&str; 5] = ["abc", "mail", "ads", "direct", "search"];
const AGENTS: [&str; 6] = [
    "Mozilla/5.0 (X11; Linux x86_64) Chrome/126.0 Safari/537.36",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Firefox/127.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) Mobile/15E148",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_5) Version/17.5 Safari/605.1.15",
    "Mozilla/5.0 (Linux; Android 14; Pixel 8) Chrome/126.0 Mobile",
    "curl/8.5.0 (x86_64-pc-linux-gnu) libcurl/8.5.0 OpenSSL/3.0.13",
];

/// What the filter job makes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is dropped.
    Fine,
    /// `status >= 500` or `latency_ms > 100`: it is kept.
    Bad,
    /// Kept, and `latency_ms > 250`: marked as slow.
    Slow,
}

/// Web requests of 196 bytes on average, the same ones in every run: the first 2,000,000 hold 195,294 that are kept
/// and 74,841 of those slow.
pub struct Requests {
    numbers: Numbers,
    record: String,
    at: u64,
    /// What is added to each request's address, for longer records.
    padding: String,
}

impl Default for Requests {
    fn default() -> Self {
        Self::padded(0)
    }
}

impl Requests {
    /// Requests that are longer by so many bytes.
    pub fn padded(bytes: usize) -> Self {
        let numbers = Numbers(0x9E37_79B9_7F4A_7C15);
        let padding = "/0123456789abcde".chars().cycle().take(bytes).collect();
        Self { numbers, record: String::with_capacity(256 + bytes), at: 0, padding }
    }

    /// The next one, and what the filter job makes of it.
    pub fn make(&mut self) -> (&str, Verdict) {
        let Self { numbers, record, at, padding } = self;
        let ts = 1_764_000_000_000 + *at / 2 + numbers.below(2_000);
        *at += 1;
        let (user, country) = (numbers.below(100_000), COUNTRIES[numbers.below(20) as usize]);
        let status = match numbers.below(100) {
            0..=3 => 500 + numbers.below(4),
            4..=8 => 404,
            9..=10 => 302,
            _ => 200,
        };
        // Tenths of a millisecond.
        let latency =
            if numbers.below(100) < 6 { 1_001 + numbers.below(4_000) } else { 1 + numbers.below(999) };
        let (page, referrer) = (numbers.below(10_000), REFERRERS[numbers.below(5) as usize]);
        let (bytes, agent) = (numbers.below(50_000), AGENTS[numbers.below(6) as usize]);
        let (whole, tenth) = (latency / 10, latency % 10);
        record.clear();
        // Writing to a string cannot fail.
        let _ = write!(
            record,
            "{{\"ts\":{ts},\"user_id\":\"u-{user:06}\",\"country\":\"{country}\",\"url\":\"/p/{page}{padding}?ref={referrer}\",\
             \"status\":{status},\"latency_ms\":{whole}.{tenth},\"bytes\":{bytes},\"ua\":\"{agent}\"}}"
        );
        let verdict = match (status >= 500, latency) {
            (true, ..=2_500) | (false, 1_001..=2_500) => Verdict::Bad,
            (_, 2_501..) => Verdict::Slow,
            _ => Verdict::Fine,
        };
        (record, verdict)
    }
}

/// What was written to a topic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Records.
    pub records: u64,
    /// Those that the filter job keeps.
    pub kept: u64,
    /// Those of them that it marks as slow.
    pub slow: u64,
}

/// Writes `count` of the requests to a topic, without keys, round robin over its partitions.
pub fn load(
    brokers: &str,
    topic: &str,
    mut requests: Requests,
    count: u64,
    compression: &str,
) -> Result<Loaded, KafkaError> {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("queue.buffering.max.messages", "500000")
        .set("compression.type", compression)
        .set("linger.ms", "20")
        .set("batch.num.messages", "10000")
        .create()?;
    let mut loaded = Loaded::default();
    for i in 0..count {
        let (record, verdict) = requests.make();
        loaded.records += 1;
        loaded.kept += u64::from(verdict != Verdict::Fine);
        loaded.slow += u64::from(verdict == Verdict::Slow);
        let partition = (i % PARTITIONS as u64) as i32;
        send(&producer, BaseRecord::to(topic).partition(partition).payload(record.as_bytes()))?;
    }
    producer.flush(Duration::from_secs(120))?;
    Ok(loaded)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_requests_are_those_that_the_other_programs_were_measured_with() {
        let mut requests = Requests::default();
        let (mut kept, mut slow, mut bytes) = (0, 0, 0);
        for _ in 0..2_000_000 {
            let (record, verdict) = requests.make();
            bytes += record.len();
            kept += u32::from(verdict != Verdict::Fine);
            slow += u32::from(verdict == Verdict::Slow);
        }
        assert_eq!((kept, slow, bytes / 2_000_000), (195_294, 74_841, 196));
        assert_eq!(Requests::padded(800).make().0.len(), Requests::default().make().0.len() + 800);
    }
}
