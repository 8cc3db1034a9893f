//! Where the time of a program by hand goes: the same program cut off after each of its parts.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::BaseConsumer;
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde::{Deserialize, Serialize};

use super::{Result, Tally};
use crate::send;

/// How far the program goes. Each does all that stands before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Records are taken and dropped: fetch, parse, an object a record.
    Consume,
    /// Each is read as JSON into a struct that borrows its texts.
    Decode,
    /// A tenth is kept and written as JSON.
    Encode,
    /// And that is produced, keyed, with lz4.
    Produce,
}

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

/// Runs the program up to a part.
pub fn run(part: Part, consumer: &BaseConsumer, records: u64, brokers: &str, output: &str) -> Result<Tally> {
    let mut tally = Tally::new(false);
    let mut producer = None;
    if part == Part::Produce {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers).set("enable.idempotence", "true");
        producer = Some(config.set("compression.type", "lz4").create::<BaseProducer>()?);
    }
    let mut line = Vec::new();
    while tally.records < records {
        let Some(message) = consumer.poll(Duration::from_millis(50)) else { continue };
        let message = message?;
        tally.add(message.offset(), 0, None, message.payload());
        let Some(payload) = message.payload().filter(|_| part >= Part::Decode) else { continue };
        let request: Request<'_> = serde_json::from_slice(payload)?;
        let keep = request.status >= 500 || request.latency_ms > 100.0;
        if !std::hint::black_box(keep) || part < Part::Encode {
            continue;
        }
        line.clear();
        serde_json::to_writer(&mut line, &request)?;
        if let Some(producer) = &producer {
            send(producer, BaseRecord::to(output).key(request.user_id.as_bytes()).payload(&line[..]))?;
            if tally.records.is_multiple_of(1_024) {
                producer.poll(Duration::ZERO);
            }
        }
    }
    if let Some(producer) = producer {
        producer.flush(Duration::from_secs(60))?;
    }
    Ok(tally)
}
