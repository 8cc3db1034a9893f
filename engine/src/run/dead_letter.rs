//! The writer of dead letters: a terminal behind every decoder, stage and sink, with their barriers aligned. What
//! it cannot write stops the pipeline: nothing is dropped silently.

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
use crate::metrics;
use crate::sink::dead_letter::{File, Letter, headers_type, schema};
use crate::sink::{Refused, Sink};
use crate::units::{DEAD_LETTER_MESSAGE_BYTES_MAX, Epoch};

/// Where dead letters are written.
pub(super) enum Writer {
    /// JSON lines, appended to one file.
    File(File),
    /// A Kafka sink.
    Kafka(Box<dyn Sink>),
}

/// The node.
pub(super) struct Node {
    pub pipeline: String,
    pub terminal: usize,
    pub writer: Writer,
    pub inputs: Inputs<Vec<Failure>>,
    pub signals: Arc<Signals>,
    pub events: crossbeam_channel::Sender<Event>,
    pub stats: Arc<metrics::Worker>,
    pub clock: Arc<dyn Clock>,
    /// Letters taken since the last prepare.
    pub pending: u64,
}

const IDLE: Duration = Duration::from_millis(100);
const PAUSE: Duration = Duration::from_millis(200);

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
                    self.pending = 0;
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
        self.pending += failures.len() as u64;
        failures.iter().for_each(crate::trace::failed);
        if let Writer::File(file) = &mut self.writer {
            for failure in failures {
                file.append(&letter(&self.pipeline, failure, now))?;
            }
            return Ok(());
        }
        let batch = records(&self.pipeline, failures, now)?;
        self.retry(|sink, refused| sink.write(&batch, refused))?;
        Ok(())
    }

    fn prepare(&mut self, epoch: Epoch) -> Result<(), Halt> {
        let generation = self.inputs.generation();
        let pending = std::mem::take(&mut self.pending);
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
        loop {
            let mut refused = Vec::new();
            let result = call(sink.as_mut(), &mut refused);
            if let Some(first) = refused.first() {
                let (batch, offset) = (&first.origin.batch, first.origin.offset());
                let place = format!("{}/{} at {offset}", batch.topic, batch.partition);
                return Err(Error::external(Code::K004, format!("the dead letter was refused: {}", first.reason))
                    .context(place)
                    .help("raise `max.message.bytes` of the dead-letter topic, or name another under `dead_letters`")
                    .into());
            }
            match result {
                Ok(done) => return Ok(Some(done)),
                Err(error) if !error.is_passing() => return Err(error.context("dead letters").into()),
                Err(error) => tracing::debug!(%error, "dead letters wait"),
            }
            if self.signals.is_down() {
                return Err(Halt::Disconnected);
            }
            if self.signals.generation.get() > self.inputs.generation() {
                return Ok(None);
            }
            std::thread::sleep(PAUSE);
        }
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
fn headers(origin: &Origin) -> Vec<(&[u8], Option<&[u8]>)> {
    let Some(headers) = &origin.batch.headers else { return Vec::new() };
    let range = headers.offsets[origin.row] as usize..headers.offsets[origin.row + 1] as usize;
    range
        .map(|i| (headers.names.value(i), headers.values.is_valid(i).then(|| headers.values.value(i))))
        .filter(|(name, _)| !name.starts_with(b"pipe.error."))
        .collect()
}

/// The `pipe.error.*` headers of a failure.
fn causes(pipeline: &str, failure: &Failure) -> Vec<(&'static str, String)> {
    let batch = &failure.origin.batch;
    let mut causes = vec![
        ("pipe.error.pipeline", pipeline.to_owned()),
        ("pipe.error.stage", failure.node.to_string()),
        ("pipe.error.kind", failure.kind.as_str().to_owned()),
        ("pipe.error.message", cut(&failure.message).to_owned()),
        ("pipe.error.topic", batch.topic.to_string()),
        ("pipe.error.partition", batch.partition.to_string()),
        ("pipe.error.offset", failure.origin.offset().to_string()),
        ("pipe.error.attempt", failure.attempt.to_string()),
    ];
    if let Some(digest) = &failure.component {
        causes.push(("pipe.error.component", digest.to_string()));
    }
    if let Some(times) = &batch.timestamps {
        causes.push(("pipe.error.timestamp", times[failure.origin.row].to_string()));
    }
    causes
}

/// A line of the dead-letter file.
fn letter<'a>(pipeline: &'a str, failure: &'a Failure, now: i64) -> Letter<'a> {
    let batch = &failure.origin.batch;
    Letter {
        pipeline,
        stage: &failure.node,
        component: failure.component.as_deref(),
        kind: failure.kind.as_str(),
        message: cut(&failure.message),
        topic: &batch.topic,
        partition: batch.partition,
        offset: failure.origin.offset(),
        timestamp: batch.timestamps.as_ref().map(|times| times[failure.origin.row]),
        attempt: failure.attempt,
        failed_at: now,
        key: key(&failure.origin).map(Into::into),
        // A row that cannot even be written as JSON still leaves its place and cause.
        value: value(&failure.origin).unwrap_or_default().map(Into::into),
        headers: headers(&failure.origin)
            .into_iter()
            .map(|(name, value)| (String::from_utf8_lossy(name).into_owned(), value.map(Into::into)))
            .collect(),
    }
}

/// Failures as rows of the dead letters' columns.
fn records(pipeline: &str, failures: &[Failure], now: i64) -> Result<Batch> {
    let mut keys = BinaryBuilder::new();
    let mut values = BinaryBuilder::new();
    let mut lists = header_builder()?;
    for failure in failures {
        keys.append_option(key(&failure.origin));
        values.append_option(value(&failure.origin)?);
        let entries = lists.values();
        for (name, value) in headers(&failure.origin) {
            append_header(entries, &String::from_utf8_lossy(name), value)?;
        }
        for (name, value) in causes(pipeline, failure) {
            append_header(entries, name, Some(value.as_bytes()))?;
        }
        lists.append(true);
    }
    let times = TimestampMillisecondArray::from_value(now, failures.len()).with_timezone("UTC");
    let columns: Vec<ArrayRef> =
        vec![Arc::new(keys.finish()), Arc::new(values.finish()), Arc::new(lists.finish()), Arc::new(times)];
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
