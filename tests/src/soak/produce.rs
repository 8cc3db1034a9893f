//! The input: produced by a thread of its own all the while, at a steady rate.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::Result;
use super::topology::{Records, Topology};

/// After a pause of the broker no more than this much time is caught up with at once.
const BEHIND_MAX: Duration = Duration::from_secs(2);
/// The last records must be in Kafka after this long.
const FLUSH: Duration = Duration::from_secs(60);

/// Produces until it is told to stop.
pub struct Input {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<u64>>>,
}

impl Input {
    /// Starts with so many records a second.
    pub fn start(brokers: &str, topology: &Topology, rate: u32, random: StdRng) -> Result<Self> {
        // Idempotent and without a time-out: each record is in the topic once, in order, whatever the broker goes
        // through. The verifier checks that, too.
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("enable.idempotence", "true")
            .set("message.timeout.ms", "0")
            .set("linger.ms", "5")
            .set("reconnect.backoff.max.ms", "500")
            .set_log_level(rdkafka::config::RDKafkaLogLevel::Emerg)
            .create()?;
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, topology) = (Arc::clone(&stop), topology.clone());
        let thread = std::thread::spawn(move || {
            let mut records = Records::new(&topology, random);
            let mut clock = Instant::now();
            let each = Duration::from_secs(1) / rate;
            while !stopped.load(Ordering::SeqCst) {
                clock = clock.max(Instant::now().checked_sub(BEHIND_MAX).unwrap_or(clock));
                while clock < Instant::now() {
                    let record = records.make();
                    write(&producer, &topology.inputs[record.topic], &record)?;
                    clock += each;
                }
                producer.poll(Duration::from_millis(10));
            }
            producer.flush(FLUSH)?;
            Ok(records.count())
        });
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Stops; returns how many records there are.
    pub fn end(mut self) -> Result<u64> {
        self.stop.store(true, Ordering::SeqCst);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            _ => Err("the thread of the input panicked".into()),
        }
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

fn write(producer: &BaseProducer, topic: &str, record: &super::topology::Record) -> Result<()> {
    let mut message =
        BaseRecord::to(topic).partition(record.partition).key(&record.key).payload(&record.value);
    while let Err((error, back)) = producer.send(message) {
        match error {
            KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) => {
                producer.poll(Duration::from_millis(50));
                message = back;
            }
            other => return Err(other.into()),
        }
    }
    Ok(())
}
