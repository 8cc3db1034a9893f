//! The runtime with a source and a sink in memory: everything but IO is the real thing.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use arrow::array::{Array, BinaryArray, BooleanArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use schemars::{Schema as JsonSchema, SchemaGenerator};

use super::*;
use crate::batch::{Batch, Item, Payload, SourceBatch};
use crate::clock::SystemClock;
use crate::codec::{BadRow, Decoded, Decoder, Encoder, Format, Layout, RowWriter};
use crate::config::spec::{Guarantee, OnFailure, OnTombstone};
use crate::connector::commit::Prepare;
use crate::connector::position::{self, Partition, Replay};
use crate::connector::sink::{self, Delivery, Refused, SinkKind};
use crate::connector::source::{self, Control, Opened, Polled, Reader, Room, SourceKind};
use crate::error::{Code, Result};
use crate::plan::memory::Division;
use crate::plan::{DeadLetters, Output, SinkNode, SourceNode};
use crate::sync::lock;
use crate::units::Epoch;

mod rewinds;

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]))
}

/// Numbers as text; anything else is a bad row.
struct Numbers;

impl Format for Numbers {
    fn layout(&self) -> Layout {
        Layout::Lines
    }
    fn schema(&self) -> Option<SchemaRef> {
        Some(schema())
    }
    fn infer(&self, _: &Path) -> Result<SchemaRef> {
        Ok(schema())
    }
    fn decoder(&self, _: SchemaRef) -> Result<Box<dyn Decoder>> {
        Ok(Box::new(Numbers))
    }
    fn encoder(&self, _: SchemaRef) -> Result<Box<dyn Encoder>> {
        Err(Error::internal("not needed"))
    }
    fn writer(&self, _: SchemaRef, _: Box<dyn Write + Send>) -> Result<Box<dyn RowWriter>> {
        Err(Error::internal("not needed"))
    }
    fn extension(&self) -> &'static str {
        "txt"
    }
}

impl Decoder for Numbers {
    fn decode(&mut self, payload: &Payload) -> Result<Decoded> {
        let Payload::Values(values) = payload else { return Err(Error::internal("bytes")) };
        let parsed: Vec<Option<i64>> =
            values.iter().map(|v| std::str::from_utf8(v.unwrap()).unwrap().parse().ok()).collect();
        let bad = parsed.iter().enumerate().filter(|(_, p)| p.is_none());
        let bad = bad.map(|(row, _)| BadRow { row: row as u32, message: "not a number".into() }).collect();
        let good = BooleanArray::from(parsed.iter().map(Option::is_some).collect::<Vec<_>>());
        let rows = Int64Array::from(parsed.into_iter().flatten().collect::<Vec<_>>());
        let records = RecordBatch::try_new(schema(), vec![Arc::new(rows)]).unwrap();
        Ok(Decoded { records, good: Some(good), bad })
    }
}

/// What the test sees of a run.
#[derive(Default)]
pub(super) struct World {
    /// Rows prepared by the sink, in order, by partition.
    written: Mutex<BTreeMap<i32, Vec<i64>>>,
    committed: Mutex<position::Positions>,
    closed: AtomicBool,
    runtime: Mutex<Option<Arc<dyn source::Runtime>>>,
    polled: AtomicU64,
    calls: AtomicUsize,
    /// While it is set no epoch can be prepared.
    pub held: AtomicBool,
    /// While it is set a write does not return.
    pub hangs: AtomicBool,
    /// What the source says of itself.
    pub progress: Mutex<Option<position::Progress>>,
}

/// How the pieces behave.
#[derive(Clone, Debug)]
pub(super) struct Script {
    pub records: i64,
    pub lanes: usize,
    pub rows: usize,
    /// Every n-th record is not a number; 0: none.
    pub bad_every: i64,
    /// Every n-th record is refused by the sink; 0: none.
    pub refuse_every: i64,
    /// Every n-th call of the sink fails for a passing reason; 0: none.
    pub stumble_every: usize,
    /// The sink fails for good, or panics, at this call.
    pub fail_at: Option<usize>,
    pub panic_at: Option<usize>,
    pub ends: bool,
    pub on_failure: OnFailure,
    /// Every n-th record is a tombstone; 0: none.
    pub gone_every: i64,
    pub on_tombstone: OnTombstone,
    /// A pause behind each batch, so that a run takes long enough to be disturbed.
    pub pause: Duration,
    /// How much a lane may have under way.
    pub memory: Option<Division>,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            records: 1_000,
            lanes: 2,
            rows: 100,
            bad_every: 0,
            refuse_every: 0,
            stumble_every: 0,
            fail_at: None,
            panic_at: None,
            ends: true,
            on_failure: OnFailure::DeadLetter,
            gone_every: 0,
            on_tombstone: OnTombstone::Pass,
            pause: Duration::ZERO,
            memory: None,
        }
    }
}

struct Memory {
    script: Script,
    world: Arc<World>,
}

impl source::Prepared for Memory {
    fn schema(&self) -> SchemaRef {
        schema()
    }
    fn describe(&self) -> String {
        "memory".into()
    }
    fn open(&self, open: source::Open) -> Result<Opened> {
        *lock(&self.world.runtime) = Some(open.runtime);
        let reader = |lane: usize| {
            let at = Partition { topic: Arc::from("t"), partition: lane as i32 };
            let start = open.resume.get(&at).copied().unwrap_or(0);
            let (script, world) = (self.script.clone(), Arc::clone(&self.world));
            Box::new(MemoryReader { script, world, at, start, next: start }) as Box<dyn Reader>
        };
        let readers = (0..open.lanes).map(reader).collect();
        Ok(Opened { readers, control: Arc::new(MemoryControl(Arc::clone(&self.world))) })
    }
}

struct MemoryReader {
    script: Script,
    world: Arc<World>,
    at: Partition,
    start: i64,
    next: i64,
}

impl Reader for MemoryReader {
    fn poll(&mut self, wait: Duration) -> Result<Polled> {
        if self.next >= self.script.records {
            if self.script.ends {
                return Ok(Polled::End);
            }
            std::thread::sleep(wait);
            return Ok(Polled::Idle);
        }
        std::thread::sleep(self.script.pause);
        let end = (self.next + self.script.rows as i64).min(self.script.records);
        let bad = |n: i64| self.script.bad_every > 0 && n % self.script.bad_every == 0;
        let gone = |n: &i64| self.script.gone_every > 0 && n % self.script.gone_every == 3;
        let text = |n: i64| if bad(n) { b"?".to_vec() } else { n.to_string().into_bytes() };
        let values = (self.next..end).map(|n| (!gone(&n)).then(|| text(n)));
        let batch = SourceBatch {
            source: Arc::from("in"),
            topic: Arc::clone(&self.at.topic),
            partition: self.at.partition,
            offsets: (self.next..end).collect::<Vec<_>>().into(),
            timestamps: None,
            keys: None,
            headers: None,
            payload: Payload::Values(values.collect::<BinaryArray>()),
            next: end,
            trace: None,
            hold: None,
        };
        self.next = end;
        self.world.polled.fetch_add(batch.len() as u64, Ordering::Relaxed);
        Ok(Polled::Batch(batch))
    }

    fn rewind(&mut self, to: &position::Positions) -> Result<()> {
        self.next = to.get(&self.at).copied().unwrap_or(self.start);
        Ok(())
    }
}

struct MemoryControl(Arc<World>);

impl Control for MemoryControl {
    fn poll(&self, wait: Duration) -> Result<()> {
        std::thread::sleep(wait.min(Duration::from_millis(5)));
        Ok(())
    }
    fn commit(&self, positions: &position::Positions) -> Result<()> {
        let mut committed = lock(&self.0.committed);
        for (at, next) in positions {
            let before = committed.insert(at.clone(), *next).unwrap_or(0);
            assert!(*next >= before, "a commit never goes back");
            // What is committed is durable: every record below it was written, dead-lettered or refused.
            let written = lock(&self.0.written).get(&at.partition).and_then(|w| w.iter().max().copied());
            assert!(written.is_some() || *next <= 1, "committed {next} with nothing written");
        }
        Ok(())
    }
    fn progress(&self) -> position::Progress {
        lock(&self.0.progress).clone().unwrap_or(position::Progress { joined: true, ..Default::default() })
    }
    fn close(&self) -> Result<()> {
        self.0.closed.store(true, Ordering::Relaxed);
        Ok(())
    }
}

struct MemorySink {
    script: Script,
    world: Arc<World>,
    pending: Vec<(i32, i64)>,
}

impl sink::Prepared for Memory {
    fn describe(&self) -> String {
        "memory".into()
    }
    fn open(&self, open: &sink::Open) -> Result<Vec<Box<dyn sink::Sink>>> {
        let sink = || MemorySink {
            script: self.script.clone(),
            world: Arc::clone(&self.world),
            pending: Vec::new(),
        };
        Ok((0..open.lanes).map(|_| Box::new(sink()) as Box<dyn sink::Sink>).collect())
    }
}

impl MemorySink {
    fn stumble(&self) -> Result<()> {
        let call = self.world.calls.fetch_add(1, Ordering::Relaxed) + 1;
        if self.script.fail_at == Some(call) {
            return Err(Error::external(Code::K002, "the disk is gone"));
        }
        assert!(self.script.panic_at != Some(call), "planted panic");
        if self.script.stumble_every > 0 && call.is_multiple_of(self.script.stumble_every) {
            return Err(Error::passing(Code::K002, "try again"));
        }
        Ok(())
    }
}

impl sink::Sink for MemorySink {
    fn write(&mut self, batch: &Batch, refused: &mut Vec<Refused>) -> Result<()> {
        self.stumble()?;
        while self.world.hangs.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(1));
        }
        let origins = batch.all_origins();
        for (at, item) in batch.items().into_iter().enumerate() {
            let origin = origins.get(at);
            let n = origin.offset();
            if let Item::Row(row) = item {
                let column = batch.records.column(0).as_any().downcast_ref::<Int64Array>().unwrap();
                assert_eq!(column.value(row), n);
            }
            if self.script.refuse_every > 0 && n % self.script.refuse_every == 1 {
                refused.push(Refused { origin, reason: "refused".into() });
            } else {
                self.pending.push((origin.batch.partition, n));
            }
        }
        Ok(())
    }
    fn prepare(&mut self, _: Epoch, _: &mut Vec<Refused>) -> Result<Prepare> {
        self.stumble()?;
        if self.world.held.load(Ordering::Relaxed) {
            return Err(Error::passing(Code::K002, "held"));
        }
        let mut written = lock(&self.world.written);
        let rows = self.pending.len() as u64;
        for (partition, n) in self.pending.drain(..) {
            written.entry(partition).or_default().push(n);
        }
        Ok(Prepare { rows, bytes: rows * 8 })
    }
    fn abort(&mut self) -> Result<()> {
        self.pending.clear();
        Ok(())
    }
    fn close(&mut self) -> Result<()> {
        Ok(())
    }
}

fn no_options(_: &mut SchemaGenerator) -> JsonSchema {
    JsonSchema::default()
}

static SOURCE: SourceKind = SourceKind {
    name: "memory",
    summary: "",
    example: "",
    options: no_options,
    replay: Replay::State,
    metadata: &[],
    needs_format: true,
    default_format: None,
    prepare: |_| Err(Vec::new()),
};
static SINK: SinkKind = SinkKind {
    name: "memory",
    summary: "",
    example: "",
    options: no_options,
    delivery: Delivery::AtLeastOnce,
    default_format: None,
    needs_format: false,
    durable_on_close: false,
    prepare: |_| Err(Vec::new()),
};

fn plan(script: &Script, world: &Arc<World>, folder: &Path) -> Plan {
    let memory = || Box::new(Memory { script: script.clone(), world: Arc::clone(world) });
    Plan {
        name: "p".into(),
        base: folder.into(),
        sources: vec![SourceNode {
            name: Arc::from("in"),
            kind: &SOURCE,
            prepared: memory(),
            format: Some(Arc::new(Numbers)),
            metadata: Vec::new(),
            schema: schema(),
            on_failure: script.on_failure,
            on_tombstone: script.on_tombstone,
        }],
        stages: Vec::new(),
        sinks: vec![SinkNode {
            name: Arc::from("out"),
            kind: &SINK,
            inputs: vec![Output::Source(0)],
            input: schema(),
            prepared: memory(),
            format: None,
            on_failure: script.on_failure,
        }],
        dead_letters: DeadLetters::File(folder.join("p.dead-letters.jsonl")),
        guarantee: Guarantee::AtLeastOnce,
        commit_interval: Duration::from_millis(3),
        commits_as_told: true,
        shutdown_timeout: Duration::from_secs(10),
        room: Room {
            rows: script.rows,
            bytes: 1 << 20,
            lane_bytes: usize::MAX,
            age: Duration::from_millis(1),
            eager: false,
        },
        lanes: script.lanes,
        memory: script.memory,
        tracing: None,
        warnings: Vec::new(),
    }
}

pub(super) struct Run {
    pub world: Arc<World>,
    folder: tempfile::TempDir,
    script: Script,
}

impl Run {
    pub fn new(script: Script) -> Self {
        Self { world: Arc::default(), folder: tempfile::tempdir().unwrap(), script }
    }

    fn start(&self) -> Running {
        self.start_at(Arc::new(SystemClock::default()))
    }

    pub fn start_at(&self, clock: Arc<dyn Clock>) -> Running {
        let options = Options { state: Some(self.folder.path().join("state")), ..Options::default() };
        start(plan(&self.script, &self.world, self.folder.path()), &options, clock).unwrap()
    }

    fn letters(&self) -> usize {
        std::fs::read_to_string(self.folder.path().join("p.dead-letters.jsonl")).unwrap().lines().count()
    }

    /// Numbers that should be written for a lane.
    fn expected(&self) -> Vec<i64> {
        let Script { records, bad_every, refuse_every, gone_every, on_tombstone, .. } = self.script;
        let gone = |n: &i64| gone_every > 0 && n % gone_every == 3;
        let passes = |n: &i64| match gone(n) {
            true => on_tombstone == OnTombstone::Pass,
            false => bad_every == 0 || n % bad_every != 0,
        };
        (0..records).filter(|n| passes(n) && (refuse_every == 0 || n % refuse_every != 1)).collect()
    }
}

#[test]
fn every_record_arrives_once_in_order_and_the_sums_balance() {
    let run = Run::new(Script { bad_every: 10, refuse_every: 7, stumble_every: 5, ..Script::default() });
    let (summary, result) = run.start().wait();
    result.unwrap();
    let expected = run.expected();
    let written = lock(&run.world.written).clone();
    assert_eq!(written, BTreeMap::from([(0, expected.clone()), (1, expected.clone())]));
    assert_eq!(run.letters(), 2 * (1_000 - expected.len()));
    assert_eq!(summary.sources[0].read, 2_000);
    assert_eq!(summary.sources[0].dead_lettered, 200);
    assert_eq!(summary.sinks[0].written as usize, 2 * expected.len());
    assert!(run.world.closed.load(Ordering::Relaxed));
    assert!(lock(&run.world.committed).values().all(|next| *next == 1_000));
}

#[test]
fn what_is_skipped_is_counted() {
    let script = Script { bad_every: 10, refuse_every: 7, on_failure: OnFailure::Skip, ..Script::default() };
    let run = Run::new(script);
    let (summary, result) = run.start().wait();
    result.unwrap();
    assert_eq!((summary.sources[0].skipped, summary.dead_letters), (200, (0, 0)));
    assert!(summary.sinks[0].skipped > 0);
    assert_eq!(run.letters(), 0);
}

#[test]
fn stop_names_the_record_and_commits_nothing_behind_it() {
    let script = Script { bad_every: 500, rows: 10, on_failure: OnFailure::Stop, ..Script::default() };
    let run = Run::new(Script { lanes: 1, ..script });
    let (_, result) = run.start().wait();
    let error = result.unwrap_err();
    assert_eq!(error.code(), Code::X002);
    assert!(error.to_string().contains("t/0 at 0"), "{error}");
    assert!(lock(&run.world.committed).values().all(|next| *next == 0));
}

#[test]
fn a_stop_drains_and_the_next_run_goes_on_without_gap_or_repeat() {
    let script = Script { records: 3_000, rows: 7, pause: Duration::from_micros(300), ..Script::default() };
    let run = Run::new(Script { ends: false, ..script });
    let first = run.start();
    while run.world.polled.load(Ordering::Relaxed) < 500 {
        std::thread::sleep(Duration::from_millis(1));
    }
    first.stopper().stop();
    let (summary, result) = first.wait();
    result.unwrap();
    assert!(summary.sources[0].read < 6_000, "it was stopped midway");
    let mut run = run;
    run.script.ends = true;
    let (_, result) = run.start().wait();
    result.unwrap();
    let expected = run.expected();
    assert_eq!(*lock(&run.world.written), BTreeMap::from([(0, expected.clone()), (1, expected)]));
}

#[test]
fn a_sink_that_fails_for_good_ends_the_worker_with_its_error() {
    let run = Run::new(Script { fail_at: Some(5), lanes: 4, ..Script::default() });
    let (_, result) = run.start().wait();
    let error = result.unwrap_err();
    assert_eq!(error.code(), Code::K002);
    assert!(error.to_string().contains("sink `out`"), "{error}");
}

#[test]
fn a_node_that_panics_ends_the_worker_with_an_error() {
    let run = Run::new(Script { panic_at: Some(5), lanes: 4, ..Script::default() });
    let (_, result) = run.start().wait();
    assert!(result.unwrap_err().to_string().contains("planted panic"));
}

#[test]
fn a_drain_commits_everything_read_so_far() {
    let run = Run::new(Script { records: 300, ends: false, lanes: 1, ..Script::default() });
    let running = run.start();
    while run.world.polled.load(Ordering::Relaxed) < 300 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let runtime = lock(&run.world.runtime).clone().unwrap();
    // The last batch may still be on its way from the reader to the lane: a second drain is behind it for sure.
    assert!(runtime.drain(Duration::from_secs(5)) && runtime.drain(Duration::from_secs(5)));
    assert_eq!(lock(&run.world.committed).values().copied().collect::<Vec<_>>(), [300]);
    running.stopper().stop();
    running.wait().1.unwrap();
    assert!(!runtime.drain(Duration::from_millis(50)), "nobody drains a worker that has ended");
}

/// Whatever is under way, a lane reads nothing more.
fn tight() -> Division {
    Division { lane: 1, ..Division::default() }
}

#[test]
fn a_lane_reads_on_when_what_it_read_is_done_with() {
    let run = Run::new(Script { bad_every: 10, refuse_every: 7, memory: Some(tight()), ..Script::default() });
    run.world.hangs.store(true, Ordering::Relaxed);
    let running = run.start();
    let stats = Arc::clone(&running.stats);
    let in_flight = || stats.sources[0].1.in_flight.get();
    while run.world.polled.load(Ordering::Relaxed) < 200 {
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(run.world.polled.load(Ordering::Relaxed), 200, "one batch of 100 a lane");
    assert!(in_flight() > 200 * 8, "{}", in_flight());
    run.world.hangs.store(false, Ordering::Relaxed);
    running.wait().1.unwrap();
    let expected = run.expected();
    assert_eq!(*lock(&run.world.written), BTreeMap::from([(0, expected.clone()), (1, expected)]));
    assert_eq!(in_flight(), 0, "all was given back");
}
