//! What is read: web requests with a key, padded to a size, now and then without key or value or with a header.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::Result;
use crate::{Requests, send};

/// Writes `count` records of about `size` bytes.
pub fn load(
    brokers: &str,
    topic: &str,
    partitions: i32,
    count: u64,
    size: usize,
    compression: &str,
) -> Result<()> {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("compression.type", compression)
        .set("queue.buffering.max.messages", "500000")
        .set("linger.ms", "20")
        .set("batch.num.messages", "10000")
        .create()?;
    let mut requests = Requests::default();
    let (mut value, mut state) = (String::new(), 0x9E37_79B9_7F4A_7C15u64);
    for i in 0..count {
        value.clear();
        value.push_str(requests.make().0);
        let room = size.saturating_sub(value.len() + 10);
        if room > 0 {
            value.truncate(value.len() - 1);
            value.push_str(",\"pad\":\"");
            // Letters that no compressor finds again: shrinks as text with numbers and names does, not to nothing.
            for _ in 0..room {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                value.push(char::from(b'a' + (state >> 33) as u8 % 16));
            }
            value.push_str("\"}");
        }
        let key = format!("u-{:06}", i % 100_000);
        let mut record = BaseRecord::<[u8], [u8]>::to(topic).partition(i as i32 % partitions);
        if i % 10 != 9 {
            record = record.key(key.as_bytes());
        }
        if i % 1_000 != 999 {
            record = record.payload(value.as_bytes());
        }
        if i % 100 == 50 {
            let name = Header { key: "trace", value: Some(&b"00-4bf92f3577b34da6"[..]) };
            record = record.headers(OwnedHeaders::new().insert(name));
        }
        send(&producer, record)?;
    }
    producer.flush(Duration::from_secs(120))?;
    Ok(())
}
