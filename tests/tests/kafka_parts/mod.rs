//! What the tests of the Kafka source and sink share: a format of raw bytes, a runtime that drains by committing,
//! a worker that reads with threads as the real one does.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use pipe_engine::batch::{Batch, Headers, Origins, Payload, SourceBatch};
use pipe_engine::codec::{Decoder, Encoder, Format, Layout, RowWriter};
use pipe_engine::connector::position::{Partition, Positions};
use pipe_engine::connector::sink::{self, Sink};
use pipe_engine::connector::source::{self, Control, Open, Polled, Reader, Room, Runtime};
use pipe_engine::error::{Error, Result};
use pipe_tests::kafka::Broker;
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::Value;

/// One byte string a record, in the only column.
pub(crate) struct Raw;

struct RawEncoder;

impl Format for Raw {
    fn layout(&self) -> Layout {
        Layout::Lines
    }
    fn schema(&self) -> Option<SchemaRef> {
        Some(Arc::new(Schema::new(vec![Field::new("value", DataType::Binary, true)])))
    }
    fn infer(&self, _: &Path) -> Result<SchemaRef> {
        Err(Error::internal("not for files"))
    }
    fn decoder(&self, _: SchemaRef) -> Result<Box<dyn Decoder>> {
        Err(Error::internal("the source does not decode"))
    }
    fn encoder(&self, _: SchemaRef) -> Result<Box<dyn Encoder>> {
        Ok(Box::new(RawEncoder))
    }
    fn writer(&self, _: SchemaRef, _: Box<dyn Write + Send>) -> Result<Box<dyn RowWriter>> {
        Err(Error::internal("not for files"))
    }
    fn extension(&self) -> &'static str {
        "raw"
    }
}

impl Encoder for RawEncoder {
    fn encode(&mut self, batch: &Batch) -> Result<BinaryArray> {
        Ok(batch.records.column(0).as_binary::<i32>().clone())
    }
}

/// The source with these options.
pub(crate) fn source(pipeline: &str, options: &Value) -> Box<dyn source::Prepared> {
    let format: Arc<dyn Format> = Arc::new(Raw);
    let settings = source::Settings {
        pipeline,
        name: "in",
        base: Path::new("."),
        options,
        format: Some(&format),
        own: &[],
    };
    (pipe_engine::connector::kafka::source::KIND.prepare)(&settings).unwrap_or_else(|p| panic!("{p:?}"))
}

/// The sinks of a worker with these options over these columns.
pub(crate) fn sinks(options: &Value, schema: &SchemaRef, lanes: usize) -> Result<Vec<Box<dyn Sink>>> {
    sinks_for(options, schema, lanes, false)
}

/// The same, and whether they write dead letters.
pub(crate) fn sinks_for(
    options: &Value,
    schema: &SchemaRef,
    lanes: usize,
    letters: bool,
) -> Result<Vec<Box<dyn Sink>>> {
    let format: Arc<dyn Format> = Arc::new(Raw);
    let settings = sink::Settings {
        pipeline: "p",
        name: "out",
        base: Path::new("."),
        options,
        format: Some(&format),
        schema,
    };
    let prepared =
        (pipe_engine::connector::kafka::sink::KIND.prepare)(&settings).unwrap_or_else(|p| panic!("{p:?}"));
    prepared.open(&sink::Open {
        lanes,
        worker: "w".into(),
        transaction: None,
        traced: false,
        letters,
        whole: false,
    })
}

/// Drains by committing everything that was handed out, from another thread as the committer does.
#[derive(Default)]
pub(crate) struct Fake {
    pub(crate) positions: Arc<Mutex<Positions>>,
    pub(crate) control: OnceLock<Arc<dyn Control>>,
    pub(crate) drains: AtomicUsize,
    pub(crate) rewinds: AtomicUsize,
}

impl Fake {
    pub(crate) fn commit(&self) -> Result<()> {
        let positions = self.positions.lock().unwrap().clone();
        self.control.get().unwrap().commit(&positions)
    }
}

impl Runtime for Fake {
    fn drain(&self, _: Duration) -> bool {
        self.drains.fetch_add(1, Ordering::SeqCst);
        std::thread::scope(|s| s.spawn(|| self.commit().is_ok()).join().unwrap())
    }
    fn rewind(&self, _: &str) {
        self.rewinds.fetch_add(1, Ordering::SeqCst);
    }
}

pub(crate) fn room() -> Room {
    Room { rows: 500, bytes: 1 << 20, lane_bytes: usize::MAX, age: Duration::from_millis(20), eager: false }
}

/// A running source: a thread a lane that sends what it reads, and one that polls the control.
pub(crate) struct Worker {
    pub(crate) fake: Arc<Fake>,
    pub(crate) batches: mpsc::Receiver<SourceBatch>,
    stop: Arc<AtomicBool>,
    readers: Vec<JoinHandle<Result<()>>>,
    poller: JoinHandle<Result<()>>,
}

impl Worker {
    pub(crate) fn start(prepared: &dyn source::Prepared, lanes: usize, until_end: bool) -> Result<Self> {
        let fake = Arc::new(Fake::default());
        let opened = prepared.open(Open {
            lanes,
            worker: "w".into(),
            until_end,
            room: room(),
            held: 1 << 20,
            resume: Positions::new(),
            kept: Vec::new(),
            runtime: Arc::clone(&fake) as Arc<dyn Runtime>,
            consumers: Arc::default(),
        })?;
        assert!(fake.control.set(Arc::clone(&opened.control)).is_ok());
        let stop = Arc::new(AtomicBool::new(false));
        let (sender, batches) = mpsc::channel();
        let readers = opened
            .readers
            .into_iter()
            .map(|reader| {
                let (sender, fake, stop) = (sender.clone(), Arc::clone(&fake), Arc::clone(&stop));
                std::thread::spawn(move || read(reader, &sender, &fake, &stop))
            })
            .collect();
        let (control, stopped) = (opened.control, Arc::clone(&stop));
        let poller = std::thread::spawn(move || {
            while !stopped.load(Ordering::SeqCst) {
                control.poll(Duration::from_millis(50))?;
            }
            Ok(())
        });
        Ok(Self { fake, batches, stop, readers, poller })
    }

    /// Waits for the readers' ends (`until_end`), commits, closes, returns what was read.
    pub(crate) fn finish(mut self) -> Result<Vec<SourceBatch>> {
        for reader in self.readers.drain(..) {
            reader.join().unwrap()?;
        }
        self.close()
    }

    /// Stops, commits what was read, closes.
    pub(crate) fn stop(mut self) -> Result<Vec<SourceBatch>> {
        self.stop.store(true, Ordering::SeqCst);
        for reader in self.readers.drain(..) {
            reader.join().unwrap()?;
        }
        self.close()
    }

    fn close(self) -> Result<Vec<SourceBatch>> {
        self.fake.commit()?;
        self.stop.store(true, Ordering::SeqCst);
        self.poller.join().unwrap()?;
        self.fake.control.get().unwrap().close()?;
        Ok(self.batches.try_iter().collect())
    }
}

fn read(
    mut reader: Box<dyn Reader>,
    sender: &mpsc::Sender<SourceBatch>,
    fake: &Fake,
    stop: &AtomicBool,
) -> Result<()> {
    while !stop.load(Ordering::SeqCst) {
        // The lock makes "handed out" and "counted" one step, as the lane's own thread does for the real runtime.
        let mut positions = fake.positions.lock().unwrap();
        match reader.poll(Duration::from_millis(5))? {
            Polled::Batch(batch) => {
                let partition = Partition { topic: Arc::clone(&batch.topic), partition: batch.partition };
                positions.insert(partition, batch.next);
                drop(positions);
                let _ = sender.send(batch);
            }
            Polled::Idle => {
                drop(positions);
                std::thread::sleep(Duration::from_millis(2));
            }
            Polled::End => return Ok(()),
        }
    }
    Ok(())
}

/// A record as the tests write and compare it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Plain {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) timestamp: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// The records of batches, by topic, partition and offset.
pub(crate) fn plain(batches: &[SourceBatch]) -> BTreeMap<(String, i32, i64), Plain> {
    let mut all = BTreeMap::new();
    for batch in batches {
        let Payload::Values(values) = &batch.payload else { panic!("bytes were expected") };
        for row in 0..batch.len() {
            let record = Plain {
                partition: batch.partition,
                offset: batch.offsets[row],
                timestamp: batch.timestamps.as_ref().unwrap()[row],
                key: batch.keys.as_ref().and_then(|k| bytes(k, row)),
                value: bytes(values, row),
                headers: batch.headers.as_ref().map_or(Vec::new(), |h| headers(h, row)),
            };
            let at = (batch.topic.to_string(), batch.partition, batch.offsets[row]);
            assert!(all.insert(at, record).is_none(), "a record came twice");
        }
    }
    all
}

fn bytes(array: &BinaryArray, row: usize) -> Option<Vec<u8>> {
    array.is_valid(row).then(|| array.value(row).to_vec())
}

fn headers(headers: &Headers, row: usize) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    let range = headers.offsets[row] as usize..headers.offsets[row + 1] as usize;
    range.map(|i| (headers.names.value(i).to_vec(), bytes(&headers.values, i))).collect()
}

/// Writes with rdkafka's own producer, and waits.
pub(crate) struct Writer(BaseProducer);

impl Writer {
    pub(crate) fn new(broker: &Broker) -> Self {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", broker.address()).set("linger.ms", "5");
        Self(config.create().unwrap())
    }

    pub(crate) fn transactional(broker: &Broker, id: &str) -> Self {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", broker.address()).set("transactional.id", id);
        Self(config.create().unwrap())
    }

    pub(crate) fn producer(&self) -> &BaseProducer {
        &self.0
    }

    pub(crate) fn write(&self, topic: &str, record: &Plain) {
        let mut base: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic).partition(record.partition);
        base.key = record.key.as_deref();
        base.payload = record.value.as_deref();
        base.timestamp = (record.timestamp > 0).then_some(record.timestamp);
        if !record.headers.is_empty() {
            base.headers = Some(record.headers.iter().fold(OwnedHeaders::new(), |h, (name, value)| {
                h.insert(Header { key: std::str::from_utf8(name).unwrap(), value: value.as_ref() })
            }));
        }
        self.0.send(base).map_err(|(e, _)| e).unwrap();
        self.0.poll(Duration::ZERO);
    }

    pub(crate) fn numbers(&self, topic: &str, partitions: i32, range: std::ops::Range<i64>) {
        for n in range {
            let partition = (n % i64::from(partitions)) as i32;
            self.write(
                topic,
                &Plain { partition, value: Some(n.to_string().into_bytes()), ..Plain::default() },
            );
        }
        self.flush();
    }

    pub(crate) fn flush(&self) {
        self.0.flush(Duration::from_secs(30)).unwrap();
    }
}

/// The numbers that [`Writer::numbers`] wrote, sorted.
pub(crate) fn numbers(batches: &[SourceBatch]) -> Vec<i64> {
    let text = |v: Vec<u8>| String::from_utf8(v).unwrap().parse().unwrap();
    let mut all: Vec<i64> = plain(batches).into_values().map(|p| text(p.value.unwrap())).collect();
    all.sort_unstable();
    all
}

/// Everything that a topic holds.
pub(crate) fn drain(broker: &Broker, topic: &str) -> Vec<SourceBatch> {
    let options = serde_json::json!({ "brokers": broker.address(), "topics": [topic] });
    let prepared = source(&pipe_tests::kafka::unique("drain"), &options);
    Worker::start(&*prepared, 1, true).unwrap().finish().unwrap()
}

/// A batch whose originals have these values.
pub(crate) fn batch(columns: Vec<(&str, ArrayRef)>, originals: BinaryArray) -> Batch {
    let records =
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true))).unwrap();
    let len = records.num_rows();
    assert_eq!(originals.len(), len);
    let origin = SourceBatch {
        source: "in".into(),
        topic: "t".into(),
        partition: 0,
        offsets: (0..len as i64).collect::<Vec<_>>().into(),
        timestamps: None,
        keys: None,
        headers: None,
        payload: Payload::Values(originals),
        next: len as i64,
        trace: None,
        hold: None,
    };
    Batch::new(records, Origins::whole(Arc::new(origin)))
}

/// Calls again while the error is a passing one, as the runtime does.
pub(crate) fn patiently<T>(mut call: impl FnMut() -> Result<T>) -> T {
    let started = Instant::now();
    loop {
        match call() {
            Ok(done) => return done,
            Err(e) if e.is_passing() && started.elapsed() < Duration::from_secs(60) => {}
            Err(e) => panic!("{e}"),
        }
    }
}
