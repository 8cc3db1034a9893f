//! Batch production: the only `unsafe` code of the Kafka sink.
//!
//! One call for many records saves a look-up of the topic and a lock for each. `rd_kafka_produce_batch` knows neither
//! headers nor timestamps; records that have them go one by one through rdkafka.

#![expect(unsafe_code, reason = "librdkafka produces batches only through its C interface")]

use std::ffi::{CString, c_int};
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as rd;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{BaseProducer, PARTITION_UA, Producer, ProducerContext};
use rdkafka::util::IntoOpaque;

/// A topic's handle of one producer.
pub(super) struct Topic<C: ProducerContext + 'static> {
    topic: ptr::NonNull<rd::rd_kafka_topic_t>,
    /// Keeps the client alive; dropped after `topic` was given back.
    _producer: Arc<BaseProducer<C>>,
}

// SAFETY: librdkafka's topic handles are counted and locked, for use from any thread.
unsafe impl<C: ProducerContext + 'static> Send for Topic<C> {}

/// A record to produce, borrowed.
pub(super) struct Record<'a> {
    pub(super) key: Option<&'a [u8]>,
    /// `None`: a tombstone.
    pub(super) value: Option<&'a [u8]>,
    /// Comes back with the delivery report.
    pub(super) opaque: usize,
}

/// Has a client send what it holds without waiting for company (`linger.ms`); returns when all of it is reported, or
/// after `wait`, and whether all of it is. rdkafka's own `flush` asks for it for no time at all, which brokers' threads
/// may not notice, and then polls for reports that the client's own thread takes: it returns 100 ms late.
pub(super) fn send_now<C: ProducerContext + 'static>(producer: &BaseProducer<C>, wait: Duration) -> bool {
    let wait = c_int::try_from(wait.as_millis()).unwrap_or(c_int::MAX);
    // SAFETY: the client is alive as `producer` is. Reports are events here, so this call takes none.
    let outcome = unsafe { rd::rd_kafka_flush(producer.client().native_ptr(), wait) };
    outcome == rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
}

impl<C: ProducerContext<DeliveryOpaque = usize> + 'static> Topic<C> {
    /// The handle of a topic, written with this compression; `None` when librdkafka refuses one of the two. Records
    /// that are produced by the topic's name are written so too, while the handle lives.
    pub(super) fn new(producer: &Arc<BaseProducer<C>>, name: &str, compression: &str) -> Option<Self> {
        let (name, compression) = (CString::new(name).ok()?, CString::new(compression).ok()?);
        let client = producer.client().native_ptr();
        // SAFETY: the client is alive as `producer` is; the configuration is a copy of its own for topics.
        let config = unsafe { rd::rd_kafka_default_topic_conf_dup(client) };
        // SAFETY: `config` was made above; key and value are NUL-terminated and copied; without room for a message
        // none is written.
        let set = unsafe {
            rd::rd_kafka_topic_conf_set(
                config,
                c"compression.codec".as_ptr(),
                compression.as_ptr(),
                ptr::null_mut(),
                0,
            )
        };
        if set != rd::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK {
            // SAFETY: `config` was made above and given to nobody.
            unsafe { rd::rd_kafka_topic_conf_destroy(config) };
            return None;
        }
        // SAFETY: the client is alive, the name is copied, and `config` is given away.
        let topic = unsafe { rd::rd_kafka_topic_new(client, name.as_ptr(), config) };
        Some(Self { topic: ptr::NonNull::new(topic)?, _producer: Arc::clone(producer) })
    }

    /// Gives records to the producer, which copies them, and shows the outcome of each in order.
    pub(super) fn produce<'a>(
        &self,
        records: impl Iterator<Item = Record<'a>>,
        mut show: impl FnMut(Result<(), RDKafkaErrorCode>),
    ) {
        let mut messages: Vec<rd::rd_kafka_message_t> = records
            .map(|record| {
                let (payload, len) = parts(record.value);
                let (key, key_len) = parts(record.key);
                rd::rd_kafka_message_t {
                    err: rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR,
                    rkt: ptr::null_mut(),
                    partition: PARTITION_UA,
                    payload,
                    len,
                    key,
                    key_len,
                    offset: 0,
                    _private: record.opaque.into_ptr(),
                }
            })
            .collect();
        let count = c_int::try_from(messages.len()).unwrap_or(c_int::MAX);
        // SAFETY: topic and client are alive; with `F_COPY` librdkafka copies key and payload during the call and
        // frees neither; it writes only the `err` of the `count` messages.
        unsafe {
            rd::rd_kafka_produce_batch(
                self.topic.as_ptr(),
                PARTITION_UA,
                rd::RD_KAFKA_MSG_F_COPY,
                messages.as_mut_ptr(),
                count,
            );
        }
        for message in &messages {
            show(match message.err {
                rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
                code => Err(code.into()),
            });
        }
    }
}

impl<C: ProducerContext + 'static> Drop for Topic<C> {
    fn drop(&mut self) {
        // SAFETY: the handle came from `rd_kafka_topic_new`, is given back once, and the client is still alive.
        unsafe { rd::rd_kafka_topic_destroy(self.topic.as_ptr()) }
    }
}

/// Pointer and length; null where there is nothing.
fn parts(bytes: Option<&[u8]>) -> (*mut std::ffi::c_void, usize) {
    bytes.map_or((ptr::null_mut(), 0), |b| (b.as_ptr().cast_mut().cast(), b.len()))
}
