//! The writer of dead letters: a terminal behind every decoder, stage and sink, with their barriers aligned. What
//! it cannot write stops the pipeline: nothing is dropped silently.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::gate::Entry;
use super::scribe::Scribe;
use super::sink::{Turn, VOID_WAIT};
use super::{Event, Halt, Signals};
use crate::batch::Failure;
use crate::channel::{self, Inputs};
use crate::clock::Clock;
use crate::error::{Code, Error, Result};
use crate::metrics;
use crate::sink::dead_letter::File;
use crate::sink::{Refused, Sink};
use crate::units::Epoch;

/// Where dead letters are written.
pub(super) enum Writer {
    /// JSON lines, appended to one file.
    File(File),
    /// A Kafka sink.
    Kafka(Box<dyn Sink>),
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
    pub turn: Turn,
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
                    self.turn.rewound(&self.signals);
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
        failures.iter().for_each(crate::trace::failed);
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
        self.turn.next(epoch);
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
        let generation = self.inputs.generation();
        for paused in 0u64.. {
            let mut refused = Vec::new();
            let result = match self.turn.enter(generation) {
                Some(Entry::Void) => return Ok(None),
                Some(Entry::Wait) if self.signals.is_down() => return Err(Halt::Disconnected),
                Some(Entry::Wait) => continue,
                // While it is inside nothing is committed or given up.
                Some(Entry::Inside(_)) | None => call(sink.as_mut(), &mut refused),
            };
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
                Err(error) if error.is_stale() => {
                    let event = Event::Rewind { of: Some(generation), reason: error.to_string() };
                    self.events.send(event).map_err(|_| Halt::Disconnected)?;
                    while self.signals.generation.get() <= generation && !self.signals.is_down() {
                        std::thread::sleep(VOID_WAIT);
                    }
                    return Ok(None);
                }
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
