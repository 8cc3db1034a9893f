//! The writer of dead letters: a terminal behind every decoder, stage and sink, with their barriers aligned. What
//! it cannot write stops the pipeline: nothing is dropped silently.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    Array, ArrayRef, BinaryBuilder, ListBuilder, RecordBatch, StringBuilder, StructBuilder,
    TimestampMillisecondArray,
};
use arrow::datatypes::{DataType, Fields};

use super::{Event, Halt, Signals};
use crate::batch::{Batch, Failure, Origin, Origins, Payload, Selection};
use crate::channel::{self, Inputs};
use crate::clock::Clock;
use crate::error::{Code, Error, Result};
use crate::format::json;
use crate::kafka;
use crate::metrics;
use crate::sink::dead_letter::{Bytes, File, Line, cause, headers_type, schema};
use crate::sink::{Refused, Sink};
use crate::units::{DEAD_LETTER_MESSAGE_BYTES_MAX, Epoch};

/// Where dead letters are written.
pub(super) enum Writer {
    /// JSON lines, appended to one file.
    File(File),
    /// A Kafka sink.
    Kafka(Box<dyn Sink>),
}

/// How often records have failed before, by source, topic, partition and offset: what a replay knows of its records.
#[derive(Debug, Default)]
pub struct Attempts(HashMap<(Arc<str>, Arc<str>, i32, i64), u32>);

impl Attempts {
    /// Notes a record's attempts; the most of several count.
    pub fn note(&mut self, source: &Arc<str>, topic: &Arc<str>, partition: i32, offset: i64, attempts: u32) {
        let known = self.0.entry((Arc::clone(source), Arc::clone(topic), partition, offset)).or_default();
        *known = attempts.max(*known);
    }

    fn of(&self, origin: &Origin) -> u32 {
        if self.0.is_empty() {
            return 0;
        }
        let batch = &origin.batch;
        let place = (Arc::clone(&batch.source), Arc::clone(&batch.topic), batch.partition, origin.offset());
        self.0.get(&place).copied().unwrap_or(0)
    }
}

/// Makes letters of failures.
pub(super) struct Scribe {
    pub pipeline: String,
    pub attempts: Arc<Attempts>,
}

/// The node.
pub(super) struct Node {
    pub scribe: Scribe,
    pub terminal: usize,
    pub writer: Writer,
    pub inputs: Inputs<Vec<Failure>>,
    pub signals: Arc<Signals>,
    pub events: crossbeam_channel::Sender<Event>,
    pub stats: Arc<metrics::Worker>,
    pub clock: Arc<dyn Clock>,
    pub causes: Arc<metrics::Letters>,
    /// Letters taken since the last prepare, by node and kind of failure.
    pub pending: BTreeMap<(Arc<str>, &'static str), u64>,
}

const IDLE: Duration = Duration::from_millis(100);
const PAUSE: Duration = Duration::from_millis(200);
/// A topic that takes nothing is logged this often, in pauses: every ten seconds.
const PAUSES_A_LOG_LINE: u64 = 50;

impl Node {
    pub fn run(mut self) -> Result<(), Halt> {
        loop {
            match self.inputs.next(IDLE)? {
                channel::Event::Data(_, failures) => self.write(&failures)?,
                channel::Event::Idle => match &mut self.writer {
                    Writer::Kafka(sink) => sink.idle()?,
                    Writer::File(_) => {}
                },
                channel::Event::Watermark(_) => {}
                channel::Event::Barrier(epoch) => self.prepare(epoch)?,
                channel::Event::Rewound(_) => {
                    self.pending.clear();
                    match &mut self.writer {
                        Writer::Kafka(sink) => sink.abort()?,
                        Writer::File(file) => file.abort()?,
                    }
                }
                channel::Event::End => {
                    return match &mut self.writer {
                        Writer::Kafka(sink) => Ok(sink.close()?),
                        Writer::File(_) => Ok(()),
                    };
                }
            }
        }
    }

    fn write(&mut self, failures: &[Failure]) -> Result<(), Halt> {
        let now = self.clock.unix_ms();
        for failure in failures {
            *self.pending.entry((Arc::clone(&failure.node), failure.kind.as_str())).or_default() += 1;
        }
        if let Writer::File(file) = &mut self.writer {
            for failure in failures {
                file.append(&self.scribe.line(failure, now))?;
            }
            return Ok(());
        }
        let batch = self.scribe.records(failures, now)?;
        self.retry(|sink, refused| sink.write(&batch, refused))?;
        Ok(())
    }

    fn prepare(&mut self, epoch: Epoch) -> Result<(), Halt> {
        let generation = self.inputs.generation();
        let causes = std::mem::take(&mut self.pending);
        let pending = causes.values().sum::<u64>();
        let written = match &mut self.writer {
            Writer::File(file) => file.sync()?,
            Writer::Kafka(_) => match self.retry(|sink, refused| sink.prepare(epoch, refused))? {
                Some(done) => done.rows,
                None => return Ok(()),
            },
        };
        if written != pending {
            return Err(Error::internal(format!("{written} of {pending} dead letters were written")).into());
        }
        self.stats.dead_letters_received.add(pending);
        self.stats.dead_letters_written.add(written);
        for ((node, kind), letters) in causes {
            self.causes.add(&node, kind, letters);
        }
        let event = Event::Prepared { generation, terminal: self.terminal, epoch };
        self.events.send(event).map_err(|_| Halt::Disconnected)
    }

    /// Calls the Kafka sink until it succeeds; `None` when a rewind made the work void. A refused dead letter stops
    /// the pipeline.
    fn retry<T>(
        &mut self,
        mut call: impl FnMut(&mut dyn Sink, &mut Vec<Refused>) -> Result<T>,
    ) -> Result<Option<T>, Halt> {
        let Writer::Kafka(sink) = &mut self.writer else {
            return Err(Error::internal("a file is not tried again").into());
        };
        for paused in 0u64.. {
            let mut refused = Vec::new();
            let result = call(sink.as_mut(), &mut refused);
            if let Some(first) = refused.first() {
                let (batch, offset) = (&first.origin.batch, first.origin.offset());
                let place = format!("{}/{} at {offset}", batch.topic, batch.partition);
                return Err(Error::external(Code::K004, format!("the dead letter was refused: {}", first.reason))
                    .context(place)
                    .help(
                        "raise `max.message.bytes` of the dead-letter topic, or name another under `dead_letters`, \
                         and start again: nothing from there on was committed",
                    )
                    .into());
            }
            match result {
                Ok(done) => return Ok(Some(done)),
                Err(error) if !error.is_passing() => {
                    return Err(error.coded(Code::K004).context("dead letters").into());
                }
                Err(error) => {
                    if paused % PAUSES_A_LOG_LINE == PAUSES_A_LOG_LINE - 1 {
                        tracing::warn!(%error, "dead letters cannot be written now; trying again");
                    }
                    if let Some(pulse) = self.inputs.pulse() {
                        pulse.retrying(&error);
                    }
                }
            }
            if self.signals.is_down() {
                return Err(Halt::Disconnected);
            }
            if self.signals.generation.get() > self.inputs.generation() {
                return Ok(None);
            }
            std::thread::sleep(PAUSE);
        }
        Ok(None)
    }
}

impl Scribe {
    /// The number of this failure among those of its record.
    fn attempt(&self, failure: &Failure) -> u32 {
        self.attempts.of(&failure.origin).max(told_attempts(&failure.origin)).saturating_add(1)
    }

    /// The `pipe.error.*` headers of a failure.
    fn causes(&self, failure: &Failure) -> Vec<(&'static str, String)> {
        let batch = &failure.origin.batch;
        let mut causes = vec![
            (cause::PIPELINE, self.pipeline.clone()),
            (cause::SOURCE, batch.source.to_string()),
            (cause::STAGE, failure.node.to_string()),
            (cause::KIND, failure.kind.as_str().to_owned()),
            (cause::MESSAGE, cut(&failure.message).to_owned()),
            (cause::TOPIC, batch.topic.to_string()),
            (cause::PARTITION, batch.partition.to_string()),
            (cause::OFFSET, failure.origin.offset().to_string()),
            (cause::ATTEMPT, self.attempt(failure).to_string()),
        ];
        if let Some(digest) = &failure.component {
            causes.push((cause::COMPONENT, digest.to_string()));
        }
        if let Some(times) = &batch.timestamps {
            causes.push((cause::TIMESTAMP, times[failure.origin.row].to_string()));
        }
        causes
    }

    /// A line of the dead-letter file.
    fn line<'a>(&'a self, failure: &'a Failure, now: i64) -> Line<'a> {
        let batch = &failure.origin.batch;
        Line {
            pipeline: self.pipeline.as_str().into(),
            source: Some((&*batch.source).into()),
            stage: (&*failure.node).into(),
            component: failure.component.as_deref().map(Into::into),
            kind: failure.kind.as_str().into(),
            message: cut(&failure.message).into(),
            topic: (&*batch.topic).into(),
            partition: batch.partition,
            offset: failure.origin.offset(),
            timestamp: batch.timestamps.as_ref().map(|times| times[failure.origin.row]),
            attempt: self.attempt(failure),
            failed_at: now,
            key: key(&failure.origin).map(Into::into),
            // A row that cannot even be written as JSON still leaves its place and cause.
            value: value(&failure.origin).unwrap_or_default().map(Into::into),
            headers: headers(&failure.origin)
                .into_iter()
                .map(|(name, value)| (Bytes::from(name), value.map(Into::into)))
                .collect(),
        }
    }

    /// Failures as rows of the dead letters' columns.
    fn records(&self, failures: &[Failure], now: i64) -> Result<Batch> {
        let mut keys = BinaryBuilder::new();
        let mut values = BinaryBuilder::new();
        let mut lists = header_builder()?;
        for failure in failures {
            keys.append_option(key(&failure.origin));
            values.append_option(value(&failure.origin)?);
            let entries = lists.values();
            let headers = headers(&failure.origin);
            for (name, value) in &headers {
                append_header(entries, &String::from_utf8_lossy(name), *value)?;
            }
            for (name, bytes) in raw_names(&headers) {
                append_header(entries, &name, Some(bytes))?;
            }
            for (name, value) in self.causes(failure) {
                append_header(entries, name, Some(value.as_bytes()))?;
            }
            lists.append(true);
        }
        let times = TimestampMillisecondArray::from_value(now, failures.len()).with_timezone("UTC");
        let columns: Vec<ArrayRef> = vec![
            Arc::new(keys.finish()),
            Arc::new(values.finish()),
            Arc::new(lists.finish()),
            Arc::new(times),
        ];
        let records = RecordBatch::try_new(schema(), columns)
            .map_err(|e| Error::internal(format!("dead letters do not fit their columns: {e}")))?;
        let origins: Vec<Origins> = failures
            .iter()
            .map(|f| {
                let row = arrow::array::UInt32Array::from_value(f.origin.row as u32, 1);
                Origins::whole(Arc::clone(&f.origin.batch)).select(&Selection::Take(row))
            })
            .collect();
        Ok(Batch::new(records, Origins::concat(&origins)))
    }
}

fn cut(message: &str) -> &str {
    let mut end = message.len().min(DEAD_LETTER_MESSAGE_BYTES_MAX);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    &message[..end]
}

/// Bytes of the original record: its own, or the row as JSON where it came as columns.
fn value(origin: &Origin) -> Result<Option<Vec<u8>>> {
    match &origin.batch.payload {
        Payload::Values(values) => Ok(values.is_valid(origin.row).then(|| values.value(origin.row).to_vec())),
        Payload::Rows(rows) => {
            let format = (json::KIND.prepare)(&serde_json::json!({ "explicit_nulls": true }))
                .map_err(|_| Error::internal("the format json has no `explicit_nulls`"))?;
            let lines = format.encoder(rows.schema())?.encode(&rows.slice(origin.row, 1))?;
            let line = lines.value(0).to_vec();
            Ok(Some(line))
        }
    }
}

fn key(origin: &Origin) -> Option<&[u8]> {
    let keys = origin.batch.keys.as_ref()?;
    keys.is_valid(origin.row).then(|| keys.value(origin.row))
}

/// The original's headers, without those of an earlier failure: a replay replaces them.
fn headers(origin: &Origin) -> Vec<kafka::Header<'_>> {
    all_headers(origin).filter(|(name, _)| !name.starts_with(cause::PREFIX.as_bytes())).collect()
}

fn all_headers(origin: &Origin) -> impl Iterator<Item = kafka::Header<'_>> {
    origin.batch.headers.iter().flat_map(|headers| {
        let range = headers.offsets[origin.row] as usize..headers.offsets[origin.row + 1] as usize;
        range.map(|i| (headers.names.value(i), headers.values.is_valid(i).then(|| headers.values.value(i))))
    })
}

/// Bytes of the headers' names that are not UTF-8, by number: the client that writes them takes text only.
fn raw_names<'a>(headers: &'a [kafka::Header<'_>]) -> impl Iterator<Item = (String, &'a [u8])> {
    let raw = headers.iter().enumerate().filter(|(_, (name, _))| std::str::from_utf8(name).is_err());
    raw.map(|(at, (name, _))| (format!("{}{at}", cause::NAME), *name))
}

/// How often a record has failed before, as the headers of a dead letter say that is read as a record.
fn told_attempts(origin: &Origin) -> u32 {
    let told = all_headers(origin).find(|(name, _)| *name == cause::ATTEMPT.as_bytes());
    let text = told.and_then(|(_, value)| std::str::from_utf8(value?).ok());
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn header_builder() -> Result<ListBuilder<StructBuilder>> {
    let DataType::List(item) = headers_type() else { return Err(Error::internal("headers are a list")) };
    let DataType::Struct(fields) = item.data_type() else { return Err(Error::internal("of structs")) };
    let entries = StructBuilder::new(
        Fields::clone(fields),
        vec![Box::new(StringBuilder::new()), Box::new(BinaryBuilder::new())],
    );
    Ok(ListBuilder::new(entries).with_field(item))
}

fn append_header(entries: &mut StructBuilder, name: &str, value: Option<&[u8]>) -> Result<()> {
    let wrong = || Error::internal("header columns are text and bytes");
    entries.field_builder::<StringBuilder>(0).ok_or_else(wrong)?.append_value(name);
    entries.field_builder::<BinaryBuilder>(1).ok_or_else(wrong)?.append_option(value);
    entries.append(true);
    Ok(())
}
