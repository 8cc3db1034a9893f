//! Batch consumption from one partition's queue, and commits that do not block: the only `unsafe` code of the Kafka
//! source.
//!
//! librdkafka hands over batches only through its C interface (`rd_kafka_consume_batch_queue`). [`Queue`] wraps one
//! partition's queue and keeps its consumer alive. Messages that were taken and not yet visited stay in the queue's
//! `held`, so that a batch can be cut at any record without copying the rest.

#![expect(unsafe_code, reason = "librdkafka consumes batches only through its C interface")]

use std::collections::VecDeque;
use std::ffi::{CStr, CString};
use std::ptr;
use std::slice;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as rd;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use crate::connector::kafka::client;
use crate::connector::position::Partition;
use crate::units::KAFKA_PULL_RECORDS;

/// One thing that a partition's queue gave, in order.
pub(super) enum Item<'a> {
    /// A record.
    Record(Record<'a>),
    /// An error of this partition, and the offset at which it came.
    Fault(RDKafkaErrorCode, i64, String),
}

/// A record, borrowed from librdkafka.
pub(super) struct Record<'a> {
    pub(super) offset: i64,
    /// Milliseconds since 1970; -1 where the record has none.
    pub(super) timestamp: i64,
    pub(super) key: Option<&'a [u8]>,
    /// Null is a tombstone.
    pub(super) value: Option<&'a [u8]>,
    headers: Option<&'a rd::rd_kafka_headers_t>,
}

/// What a visitor says about an item.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Visit {
    /// Taken: the next one.
    Taken,
    /// Not taken, and no more for now; it will be shown again.
    Full,
}

/// The queue of one partition.
pub(super) struct Queue<C: ConsumerContext + 'static> {
    queue: ptr::NonNull<rd::rd_kafka_queue_t>,
    /// Taken from librdkafka and not visited yet.
    held: VecDeque<Message>,
    /// Room for one batch of pointers.
    batch: Vec<*mut rd::rd_kafka_message_t>,
    /// Declared last, so dropped last: it keeps the consumer, and with it the client, alive.
    _split: PartitionQueue<C>,
}

// SAFETY: librdkafka's queues may be used from any thread; `Queue` is used by one at a time (`&mut`).
unsafe impl<C: ConsumerContext + 'static> Send for Queue<C> {}

/// An owned message.
struct Message(ptr::NonNull<rd::rd_kafka_message_t>);

impl Drop for Message {
    fn drop(&mut self) {
        // SAFETY: the pointer came from `rd_kafka_consume_batch_queue` and is destroyed once, here.
        unsafe { rd::rd_kafka_message_destroy(self.0.as_ptr()) }
    }
}

impl<C: ConsumerContext + 'static> Queue<C> {
    /// Splits the partition off the consumer's own queue; `wake` is called when it becomes non-empty. To be called
    /// before the partition is assigned. `None` when librdkafka does not know the partition.
    pub(super) fn split(
        consumer: &Arc<BaseConsumer<C>>,
        topic: &str,
        partition: i32,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> Option<Self> {
        let mut split = consumer.split_partition_queue(topic, partition)?;
        split.set_nonempty_callback(wake);
        let topic = CString::new(topic).ok()?;
        // SAFETY: the client is alive as `consumer` is; librdkafka copies nothing from `topic` beyond the call and
        // returns a counted reference of its own, which `Drop` gives back.
        let queue = unsafe {
            rd::rd_kafka_queue_get_partition(consumer.client().native_ptr(), topic.as_ptr(), partition)
        };
        let queue = ptr::NonNull::new(queue)?;
        Some(Self {
            queue,
            held: VecDeque::new(),
            batch: vec![ptr::null_mut(); KAFKA_PULL_RECORDS],
            _split: split,
        })
    }

    /// Shows at most `rows` items to `visit`, without waiting, until it says [`Visit::Full`] or there is none.
    /// Returns whether there may be more.
    pub(super) fn drain(&mut self, mut rows: usize, mut visit: impl FnMut(Item<'_>) -> Visit) -> bool {
        while rows > 0 {
            if self.held.is_empty() && !self.pull() {
                return false;
            }
            while let Some(message) = self.held.front() {
                if rows == 0 || visit(message.item()) == Visit::Full {
                    return true;
                }
                rows -= 1;
                self.held.pop_front();
            }
        }
        true
    }

    /// Whether something was taken from librdkafka and not visited yet.
    pub(super) fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// Drops what was taken and not visited.
    pub(super) fn forget(&mut self) {
        self.held.clear();
    }

    /// Takes the next messages from librdkafka; returns whether there was one.
    fn pull(&mut self) -> bool {
        // SAFETY: the queue is alive; `batch` has room for as many pointers as are asked for; with a time-out of 0
        // the call does not block.
        let count = unsafe {
            rd::rd_kafka_consume_batch_queue(
                self.queue.as_ptr(),
                0,
                self.batch.as_mut_ptr(),
                self.batch.len(),
            )
        };
        let count = usize::try_from(count).unwrap_or(0).min(self.batch.len());
        self.held.extend(self.batch[..count].iter().filter_map(|&m| ptr::NonNull::new(m)).map(Message));
        count > 0
    }
}

impl<C: ConsumerContext + 'static> Drop for Queue<C> {
    fn drop(&mut self) {
        self.held.clear();
        // SAFETY: the reference came from `rd_kafka_queue_get_partition`, is given back once, and the client is
        // still alive: `_split` holds it and is dropped after this.
        unsafe { rd::rd_kafka_queue_destroy(self.queue.as_ptr()) }
    }
}

impl Message {
    fn item(&self) -> Item<'_> {
        let message = self.0.as_ptr();
        // As a number: librdkafka hands on what a broker sent, and a later one has codes that the enumeration has not.
        // SAFETY: the message is alive until `self` is dropped, nobody writes to these fields, and the code is an `int`.
        let (code, offset) = unsafe { ((&raw const (*message).err).cast::<i32>().read(), (*message).offset) };
        match code {
            // SAFETY: as above; with this code the message is a valid one.
            0 => Item::Record(self.record(unsafe { self.0.as_ref() })),
            code => {
                // SAFETY: for a message with an error librdkafka returns a NUL-terminated text that lives as long
                // as the message.
                let text = unsafe { rd::rd_kafka_message_errstr(self.0.as_ptr()) };
                let text = if text.is_null() {
                    String::new()
                } else {
                    // SAFETY: as above, and it is not null.
                    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
                };
                Item::Fault(client::known(code), offset, text)
            }
        }
    }

    fn record<'a>(&'a self, message: &'a rd::rd_kafka_message_t) -> Record<'a> {
        let mut kind = rd::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is a consumed one and alive; `kind` is written only during the call.
        let timestamp = unsafe { rd::rd_kafka_message_timestamp(self.0.as_ptr(), &raw mut kind) };
        // Records of the oldest format have none, and librdkafka does not say so by the number.
        let none = kind == rd::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        let timestamp = if none { -1 } else { timestamp };
        let mut headers = ptr::null_mut();
        // SAFETY: as above. The headers, when there are any, belong to the message and live as long.
        let found = unsafe { rd::rd_kafka_message_headers(self.0.as_ptr(), &raw mut headers) };
        let has_headers = found == rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
        Record {
            offset: message.offset,
            timestamp,
            // SAFETY: librdkafka's key and payload are null or point to as many bytes as their length says, and
            // live as long as the message.
            key: unsafe { bytes(message.key, message.key_len) },
            // SAFETY: as above.
            value: unsafe { bytes(message.payload, message.len) },
            // SAFETY: null, or a pointer that lives as long as the message.
            headers: if has_headers { unsafe { headers.as_ref() } } else { None },
        }
    }
}

impl Record<'_> {
    /// Shows name and value of each header, in order; a null value is `None`.
    pub(super) fn each_header(&self, mut show: impl FnMut(&[u8], Option<&[u8]>)) {
        let Some(headers) = self.headers else { return };
        let mut at = 0;
        loop {
            let (mut name, mut value, mut len) = (ptr::null(), ptr::null(), 0);
            // SAFETY: the headers live as long as `self`; the results are written only during the call.
            let found = unsafe {
                rd::rd_kafka_header_get_all(headers, at, &raw mut name, &raw mut value, &raw mut len)
            };
            if found != rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR || name.is_null() {
                return;
            }
            // SAFETY: the name is NUL-terminated, the value null or of `len` bytes; both live with the headers.
            unsafe { show(CStr::from_ptr(name).to_bytes(), bytes(value, len)) };
            at += 1;
        }
    }

    /// Bytes of key and value.
    pub(super) fn len(&self) -> usize {
        self.key.map_or(0, <[u8]>::len) + self.value.map_or(0, <[u8]>::len)
    }
}

/// Null: `None`.
///
/// # Safety
///
/// A pointer that is not null points to `len` bytes that live for `'a` and are not written to.
unsafe fn bytes<'a>(at: *const std::ffi::c_void, len: usize) -> Option<&'a [u8]> {
    // SAFETY: the caller's promise.
    (!at.is_null()).then(|| unsafe { slice::from_raw_parts(at.cast::<u8>(), len) })
}

/// A commit on its way. librdkafka's own blocking commit waits for a whole session time-out when the broker is away.
pub(super) struct Commit<C: ConsumerContext + 'static> {
    /// Where the answer comes.
    queue: ptr::NonNull<rd::rd_kafka_queue_t>,
    /// Declared last, so dropped last: the queue belongs to the client.
    consumer: Arc<BaseConsumer<C>>,
}

// SAFETY: librdkafka's queues may be used from any thread.
unsafe impl<C: ConsumerContext + 'static> Send for Commit<C> {}

impl<C: ConsumerContext + 'static> Commit<C> {
    /// Sends the positions to the group's coordinator.
    pub(super) fn start(
        consumer: &Arc<BaseConsumer<C>>,
        positions: &TopicPartitionList,
    ) -> Result<Self, RDKafkaErrorCode> {
        let client = consumer.client().native_ptr();
        // SAFETY: the client is alive; the reference that is returned is given back in `Drop`.
        let queue = unsafe { rd::rd_kafka_queue_new(client) };
        let queue = ptr::NonNull::new(queue).ok_or(RDKafkaErrorCode::Fail)?;
        let commit = Self { queue, consumer: Arc::clone(consumer) };
        // SAFETY: client, list and queue are alive during the call; librdkafka copies the list and takes a reference
        // of its own to the queue; there is no callback, so the answer becomes an event of the queue.
        let code = unsafe {
            rd::rd_kafka_commit_queue(client, positions.ptr(), commit.queue.as_ptr(), None, ptr::null_mut())
        };
        match code {
            rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(commit),
            code => Err(code.into()),
        }
    }

    /// Whether this consumer sent it.
    pub(super) fn is_of(&self, consumer: &Arc<BaseConsumer<C>>) -> bool {
        Arc::ptr_eq(&self.consumer, consumer)
    }

    /// The answer, waited for at most this long; `None` when it has not come. To be called until it has come.
    pub(super) fn wait(&self, wait: Duration) -> Option<Result<(), RDKafkaErrorCode>> {
        let millis = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the queue is alive; the event that is returned is ours and destroyed below.
        let event = unsafe { rd::rd_kafka_queue_poll(self.queue.as_ptr(), millis) };
        let event = ptr::NonNull::new(event)?;
        // SAFETY: the event is alive until it is destroyed, once, here.
        let code = unsafe {
            let code = rd::rd_kafka_event_error(event.as_ptr());
            rd::rd_kafka_event_destroy(event.as_ptr());
            code
        };
        match code {
            rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Some(Ok(())),
            code => Some(Err(code.into())),
        }
    }
}

impl<C: ConsumerContext + 'static> Drop for Commit<C> {
    fn drop(&mut self) {
        // SAFETY: the reference came from `rd_kafka_queue_new`, is given back once, and the client is still alive.
        unsafe { rd::rd_kafka_queue_destroy(self.queue.as_ptr()) }
    }
}

/// Member id and generation under which the group knows a consumer now; `None` while it knows it under none.
pub(super) fn membership<C: ConsumerContext>(consumer: &BaseConsumer<C>) -> Option<(String, i32)> {
    // SAFETY: the client is alive as `consumer` is; what is returned is ours and destroyed below.
    let metadata = unsafe { rd::rd_kafka_consumer_group_metadata(consumer.client().native_ptr()) };
    let metadata = ptr::NonNull::new(metadata)?;
    // SAFETY: the metadata are alive until they are destroyed, once, here; the id is a C string of theirs, and copied.
    let (id, generation) = unsafe {
        let id = rd::rd_kafka_consumer_group_metadata_member_id(metadata.as_ptr());
        let id = if id.is_null() { String::new() } else { CStr::from_ptr(id).to_string_lossy().into_owned() };
        let generation = rd::rd_kafka_consumer_group_metadata_generation_id(metadata.as_ptr());
        rd::rd_kafka_consumer_group_metadata_destroy(metadata.as_ptr());
        (id, generation)
    };
    (!id.is_empty() && generation >= 0).then_some((id, generation))
}

/// End of a partition's log as the last fetch saw it, without asking the broker; `None` before the first fetch.
pub(super) fn cached_end<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    partition: &Partition,
) -> Option<i64> {
    let topic = CString::new(&*partition.topic).ok()?;
    let (mut low, mut high) = (-1, -1);
    // SAFETY: the client is alive as `consumer` is; the results are written only during the call.
    let found = unsafe {
        rd::rd_kafka_get_watermark_offsets(
            consumer.client().native_ptr(),
            topic.as_ptr(),
            partition.partition,
            &raw mut low,
            &raw mut high,
        )
    };
    (found == rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0).then_some(high)
}

/// The offset after everything that was taken from the partition's queue, control records included; `None` before
/// the first record.
pub(super) fn position<C: ConsumerContext>(consumer: &BaseConsumer<C>, partition: &Partition) -> Option<i64> {
    let mut list = TopicPartitionList::with_capacity(1);
    list.add_partition(&partition.topic, partition.partition);
    // SAFETY: client and list are alive during the call, which writes only into the list's element.
    let found = unsafe { rd::rd_kafka_position(consumer.client().native_ptr(), list.ptr()) };
    let elements = list.elements();
    match elements.first()?.offset() {
        Offset::Offset(at) if found == rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Some(at),
        _ => None,
    }
}
