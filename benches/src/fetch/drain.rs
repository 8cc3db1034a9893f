//! librdkafka's two ways to hand records over: message by message, and in batches as the Kafka source of the engine
//! takes them.

#![expect(unsafe_code, reason = "librdkafka consumes batches only through its C interface")]

use std::collections::BTreeMap;
use std::ptr;
use std::slice;
use std::time::Duration;

use arrow::array::{Array, BinaryBuilder};
use rdkafka::bindings as rd;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::{Result, Tally};

/// Messages of one call, as the engine has it.
const PULL: usize = 1_024;
/// Rows of a batch.
const ROWS: usize = 8_192;

/// A consumer that reads all partitions from their start, with the settings of the engine, and how many records there
/// are.
pub fn open(brokers: &str, topic: &str) -> Result<(BaseConsumer, u64)> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "fetch-benchmark")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("fetch.queue.backoff.ms", "10")
        .set("queued.max.messages.kbytes", "16384")
        .create()?;
    let wait = Duration::from_secs(10);
    let metadata = consumer.fetch_metadata(Some(topic), wait)?;
    let (mut all, mut records) = (TopicPartitionList::new(), 0);
    for partition in metadata.topics().iter().flat_map(|t| t.partitions()) {
        all.add_partition_offset(topic, partition.id(), Offset::Beginning)?;
        let (low, high) = consumer.fetch_watermarks(topic, partition.id(), wait)?;
        records += (high - low) as u64;
    }
    consumer.assign(&all)?;
    Ok((consumer, records))
}

/// Columns of one partition, as the engine fills them.
#[derive(Default)]
struct Gather {
    offsets: Vec<i64>,
    timestamps: Vec<i64>,
    keys: BinaryBuilder,
    values: BinaryBuilder,
    bytes: usize,
}

impl Gather {
    fn push(&mut self, offset: i64, timestamp: i64, key: Option<&[u8]>, value: Option<&[u8]>) {
        self.offsets.push(offset);
        self.timestamps.push(timestamp);
        self.keys.append_option(key);
        self.values.append_option(value);
        self.bytes += value.map_or(0, <[u8]>::len);
    }

    fn tally(&mut self, tally: &mut Tally) {
        let mut done = std::mem::take(self);
        let (keys, values) = (done.keys.finish(), done.values.finish());
        tally.add_columns(&done.offsets, &done.timestamps, &keys, &values, done.bytes);
        assert_eq!(keys.len(), values.len());
    }
}

/// What becomes of a record: taken into columns, or only counted.
pub struct Taker {
    columns: bool,
    gathers: BTreeMap<i32, Gather>,
    tally: Tally,
}

impl Taker {
    /// One that fills columns, or drops.
    pub fn new(columns: bool, checked: bool) -> Self {
        Self { columns, gathers: BTreeMap::new(), tally: Tally::new(checked) }
    }

    fn take(&mut self, partition: i32, offset: i64, at: i64, key: Option<&[u8]>, value: Option<&[u8]>) {
        if !self.columns {
            return self.tally.add(offset, at, key, value);
        }
        let gather = self.gathers.entry(partition).or_default();
        gather.push(offset, at, key, value);
        if gather.offsets.len() == ROWS {
            gather.tally(&mut self.tally);
        }
    }

    fn left(&self, records: u64) -> bool {
        let held: usize = self.gathers.values().map(|gather| gather.offsets.len()).sum();
        self.tally.records + (held as u64) < records
    }

    fn end(mut self) -> Tally {
        for gather in self.gathers.values_mut() {
            gather.tally(&mut self.tally);
        }
        self.tally
    }
}

/// Message by message.
pub fn poll(consumer: &BaseConsumer, records: u64, mut taker: Taker) -> Result<Tally> {
    while taker.left(records) {
        let Some(message) = consumer.poll(Duration::from_millis(50)) else { continue };
        let message = message?;
        let at = message.timestamp().to_millis().unwrap_or(-1);
        taker.take(message.partition(), message.offset(), at, message.key(), message.payload());
    }
    Ok(taker.end())
}

/// In batches.
pub fn drain(consumer: &BaseConsumer, records: u64, mut taker: Taker) -> Result<Tally> {
    // SAFETY: the client is alive as `consumer` is; the reference that is returned is given back below.
    let queue = unsafe { rd::rd_kafka_queue_get_consumer(consumer.client().native_ptr()) };
    let queue = ptr::NonNull::new(queue).ok_or("a consumer without a queue")?;
    let mut batch = vec![ptr::null_mut(); PULL];
    let mut failed = None;
    while taker.left(records) && failed.is_none() {
        // SAFETY: the queue is alive, and `batch` has room for as many pointers as are asked for.
        let count =
            unsafe { rd::rd_kafka_consume_batch_queue(queue.as_ptr(), 10, batch.as_mut_ptr(), batch.len()) };
        for message in batch.iter().take(usize::try_from(count).unwrap_or(0)) {
            let Some(message) = ptr::NonNull::new(*message) else { continue };
            if let Err(error) = visit(message, &mut taker) {
                failed = Some(error);
            }
            // SAFETY: the message came from the call above and is destroyed once.
            unsafe { rd::rd_kafka_message_destroy(message.as_ptr()) };
        }
    }
    // SAFETY: the reference is given back once, and the client is still alive.
    unsafe { rd::rd_kafka_queue_destroy(queue.as_ptr()) };
    failed.map_or(Ok(()), Err)?;
    Ok(taker.end())
}

fn visit(message: ptr::NonNull<rd::rd_kafka_message_t>, taker: &mut Taker) -> Result<()> {
    // SAFETY: the caller destroys the message after this call, and nobody writes to these fields.
    let fields = unsafe { message.as_ref() };
    if fields.err != rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
        return Err(format!("error {:?} at offset {}", fields.err, fields.offset).into());
    }
    let mut kind = rd::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
    // SAFETY: the message is alive; `kind` is written only during the call.
    let at = unsafe { rd::rd_kafka_message_timestamp(message.as_ptr(), &raw mut kind) };
    let mut headers = ptr::null_mut();
    // SAFETY: as above. The engine asks every record for its headers, so this does.
    let _ = unsafe { rd::rd_kafka_message_headers(message.as_ptr(), &raw mut headers) };
    // SAFETY: key and payload are null or point to as many bytes as their length says, and live as long as the message.
    let (key, value) = unsafe {
        let bytes = |at: *mut std::ffi::c_void, len| {
            (!at.is_null()).then(|| slice::from_raw_parts(at.cast::<u8>().cast_const(), len))
        };
        (bytes(fields.key, fields.key_len), bytes(fields.payload, fields.len))
    };
    taker.take(fields.partition, fields.offset, at, key, value);
    Ok(())
}
