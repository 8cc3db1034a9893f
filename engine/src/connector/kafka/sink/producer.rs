//! The producer that the lanes of a worker share, and the thread that serves its reports.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, Producer as _, ProducerContext};

use super::delivery_reports::{Ledger, Ticket};
use crate::connector::kafka::client::{self, Cluster, Voice};
use crate::error::{Code, Error, Result};
use crate::units::{
    KAFKA_CONNECT_AGAIN, KAFKA_CONNECT_ASK, KAFKA_CONNECT_ASKS, KAFKA_QUEUE_BYTES, KAFKA_QUEUE_RECORDS,
};

/// The producer's context: reports go to the ledger of the lane that wrote the record.
pub(super) struct Reports {
    voice: Voice,
    ledgers: Vec<Arc<Ledger>>,
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.voice.say(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.voice.report(&error, reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, opaque: usize) {
        let ticket = Ticket::unpack(opaque);
        let failure = match result {
            Ok(_) => None,
            Err((error, _)) => Some(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail)),
        };
        if let Some(ledger) = self.ledgers.get(ticket.lane) {
            ledger.report(ticket, failure);
        }
    }
}

/// A producer with its thread. The last lane that drops it ends both.
pub(super) struct Producer {
    pub(super) client: Arc<BaseProducer<Reports>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What a producer is for.
#[derive(Clone, Copy)]
pub(super) enum Purpose<'a> {
    /// Topics, of which one is known already where there is a name. It never gives a record up: each is delivered, or
    /// refused by the cluster.
    Topics(Option<&'a str>),
    /// Transactions, with these properties, and a topic that they write.
    Transactions(&'a [(&'a str, &'a str)], Option<&'a str>),
}

/// What a producer holds. librdkafka takes no record that is larger than its queue, not even alone: it would wait for
/// ever.
fn queue_bytes(cluster: &Cluster) -> usize {
    cluster.message_bytes().saturating_mul(2).max(KAFKA_QUEUE_BYTES)
}

impl Producer {
    /// A producer.
    pub(super) fn new(
        cluster: &Cluster,
        node: &str,
        purpose: Purpose<'_>,
        ledgers: Vec<Arc<Ledger>>,
    ) -> Result<Self> {
        let mut config = cluster.config(&[
            ("linger.ms", "5"),
            ("queue.buffering.max.messages", &KAFKA_QUEUE_RECORDS.to_string()),
            ("queue.buffering.max.kbytes", &(queue_bytes(cluster) / 1024).to_string()),
        ]);
        config.set("enable.idempotence", "true").set("acks", "all").set("partitioner", "murmur2_random");
        let topic = match purpose {
            Purpose::Topics(topic) => {
                // Without an end: a time-out would give a record up while the broker is away, and break the order. A
                // transaction ends when its time is up, and with it all that was not delivered.
                config.set("message.timeout.ms", "0");
                topic.map(str::to_owned)
            }
            Purpose::Transactions(own, topic) => {
                for (name, value) in own {
                    config.set(*name, *value);
                }
                topic.map(str::to_owned)
            }
        };
        let client: BaseProducer<Reports> = config
            .create_with_context(Reports { voice: Voice::new(node), ledgers })
            .map_err(|e| client::error(Code::K001, "the producer cannot be made", &e))?;
        let client = Arc::new(client);
        let stop = Arc::new(AtomicBool::new(false));
        let (served, ended) = (Arc::clone(&client), Arc::clone(&stop));
        let thread = std::thread::Builder::new().name(format!("{node}-reports")).spawn(move || {
            // An idempotent producer looks for its id half a second after it was made, or when it is told of a topic.
            // The question for it may be lost with the first connection, which is given up for those to the brokers that
            // it names: so it is told several times.
            if let Some(topic) = topic {
                let ended = || ended.load(Ordering::Acquire);
                connect(&served, &topic, ended);
                for _ in (0..KAFKA_CONNECT_AGAIN).take_while(|_| !ended()) {
                    served.poll(KAFKA_CONNECT_ASK);
                    let _ = served.client().fetch_metadata(Some(&topic), KAFKA_CONNECT_ASK);
                }
            }
            while !ended.load(Ordering::Acquire) {
                served.poll(Duration::from_millis(100));
            }
        });
        let thread =
            thread.map_err(|e| Error::external(Code::K001, format!("no thread can be started: {e}")))?;
        Ok(Self { client, stop, thread: Some(thread) })
    }

    /// Waits a moment for a connection.
    pub(super) fn connect(&self, topic: &str) {
        connect(&self.client, topic, || false);
    }

    /// The error after which a producer takes nothing any more, if there was one.
    pub(super) fn fatal(&self) -> Option<Error> {
        let (code, reason) = self.client.client().fatal_error()?;
        Some(Error::external(Code::K002, format!("the producer failed for good: {code}: {reason}")))
    }

    /// The last thing that went wrong with the connection.
    pub(super) fn last_error(&self) -> Option<String> {
        self.client.context().voice.last_error()
    }
}

/// Asks a broker for a topic, which makes a connection. Of one that is made meanwhile librdkafka may take no notice for
/// as long as it was told to wait: so it is asked often. Whoever needs the connection finds out why there is none.
fn connect(client: &BaseProducer<Reports>, topic: &str, stop: impl Fn() -> bool) {
    for _ in 0..KAFKA_CONNECT_ASKS {
        if stop() || client.client().fetch_metadata(Some(topic), KAFKA_CONNECT_ASK).is_ok() {
            return;
        }
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // It ends within one poll; a panic there has nothing left to tell.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::kafka::client::Properties;

    #[test]
    fn a_queue_has_room_for_the_largest_record() {
        let of = |properties: &[(&str, &str)]| {
            let all = properties.iter().map(|(name, value)| ((*name).to_owned(), serde_json::json!(value)));
            let properties: Properties =
                serde_json::from_value(serde_json::Value::Object(all.collect())).unwrap();
            queue_bytes(&Cluster::new("b:1", &properties, &mut Vec::new()))
        };
        assert_eq!(of(&[]), KAFKA_QUEUE_BYTES);
        assert_eq!(of(&[("message.max.bytes", "100000000")]), 200_000_000);
    }
}
