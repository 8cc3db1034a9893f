//! The writer of dead letters: a terminal behind every decoder, stage and sink, with their barriers aligned. What
//! it cannot write stops the pipeline: nothing is dropped silently.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::sink::{Turn, VOID_WAIT};
use super::{Halt, Turned, turn_until_end};
use crate::batch::{Batch, Failure, bytes_of};
use crate::channel::{self, Inputs};
use crate::clock::Clock;
use crate::connector::commit::Prepare;
use crate::connector::sink::Sink;
use crate::dead_letter::{File, Scribe};
use crate::error::{Code, Error, Result};
use crate::metrics;
use crate::run::commit::write_gate::Entry;
use crate::run::signals::{Event, Signals};
use crate::units::{Epoch, SINK_IDLE};

/// Where dead letters are written.
pub(in crate::run) enum Writer {
    /// JSON lines, appended to one file.
    File(File),
    /// A Kafka sink.
    Kafka(Box<dyn Sink>),
}

/// The node.
pub(in crate::run) struct Node {
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
    pub work: Option<Work>,
    pub turn: Turn,
}

const PAUSE: Duration = Duration::from_millis(200);
/// A topic that takes nothing is logged this often, in pauses: every ten seconds.
const PAUSES_A_LOG_LINE: u64 = 50;

/// What the node has in hand until it is done, or a rewind made it void.
pub(in crate::run) struct Work {
    what: What,
    paused: u64,
    /// The transaction is void: the worker is to go back, and this with it.
    void: bool,
}

enum What {
    Write(Batch),
    Prepare(Epoch),
}

impl Node {
    pub fn run(mut self) -> Result<(), Halt> {
        turn_until_end(|| self.turn(SINK_IDLE))
    }

    /// One turn of the loop: goes on with what is in hand, else takes what comes within `wait`.
    pub fn turn(&mut self, wait: Duration) -> Result<Turned, Halt> {
        if let Some(work) = self.work.take() {
            return self.attempt(work);
        }
        let wait = match &self.writer {
            Writer::Kafka(sink) => wait.min(sink.idles()),
            Writer::File(_) => wait,
        };
        match self.inputs.next(wait)? {
            channel::Event::Data(_, failures) => return self.write(&failures),
            channel::Event::Idle => {
                if let Writer::Kafka(sink) = &mut self.writer {
                    sink.idle()?;
                }
                return Ok(Turned::Idle);
            }
            channel::Event::Watermark(_) => {}
            channel::Event::Barrier(epoch) => return self.prepare(epoch),
            channel::Event::Rewound(_) => {
                self.pending.clear();
                self.turn.rewound(&self.signals);
                match &mut self.writer {
                    Writer::Kafka(sink) => sink.abort()?,
                    Writer::File(file) => file.abort()?,
                }
            }
            channel::Event::End => {
                if let Writer::Kafka(sink) = &mut self.writer {
                    sink.close()?;
                }
                return Ok(Turned::End);
            }
        }
        Ok(Turned::On)
    }

    fn write(&mut self, failures: &[Failure]) -> Result<Turned, Halt> {
        let now = self.clock.unix_ms();
        for failure in failures {
            *self.pending.entry((Arc::clone(&failure.node), failure.kind.as_str())).or_default() += 1;
        }
        failures.iter().for_each(crate::trace::failed);
        if let Writer::File(file) = &mut self.writer {
            for failure in failures {
                file.append(&self.scribe.line(failure, now))?;
            }
            return Ok(Turned::On);
        }
        let letters = self.scribe.records(failures, now)?;
        letters.origins.charge(bytes_of(&letters.records));
        let what = What::Write(letters);
        self.attempt(Work { what, paused: 0, void: false })
    }

    fn prepare(&mut self, epoch: Epoch) -> Result<Turned, Halt> {
        if let Writer::File(file) = &mut self.writer {
            let written = file.sync()?;
            return self.prepared(epoch, written);
        }
        self.attempt(Work { what: What::Prepare(epoch), paused: 0, void: false })
    }

    fn prepared(&mut self, epoch: Epoch, written: u64) -> Result<Turned, Halt> {
        let causes = std::mem::take(&mut self.pending);
        let pending = causes.values().sum::<u64>();
        if written != pending {
            return Err(Error::internal(format!("{written} of {pending} dead letters were written")).into());
        }
        self.stats.dead_letters_received.add(pending);
        self.stats.dead_letters_written.add(written);
        for ((node, kind), letters) in causes {
            self.causes.add(&node, kind, letters);
        }
        self.turn.next(epoch);
        let event = Event::Prepared { generation: self.inputs.generation(), terminal: self.terminal, epoch };
        self.events.send(event).map_err(|_| Halt::Disconnected)?;
        Ok(Turned::On)
    }

    /// Calls the Kafka sink once. What fails for a passing reason stays in hand; what a rewind made void is dropped. A
    /// refused dead letter stops the pipeline.
    fn attempt(&mut self, mut work: Work) -> Result<Turned, Halt> {
        let generation = self.inputs.generation();
        if work.void {
            return self.await_rewind(work);
        }
        let Writer::Kafka(sink) = &mut self.writer else {
            return Err(Error::internal("a file is not tried again").into());
        };
        let mut refused = Vec::new();
        let result = match self.turn.enter(generation) {
            Some(Entry::Void) => return Ok(Turned::On),
            Some(Entry::Wait) if self.signals.is_down() => return Err(Halt::Disconnected),
            Some(Entry::Wait) => {
                self.work = Some(work);
                return Ok(Turned::Idle);
            }
            // While it is inside nothing is committed or given up.
            Some(Entry::Inside(_)) | None => match &work.what {
                What::Write(batch) => sink.write(batch, &mut refused).map(|()| Prepare::default()),
                What::Prepare(epoch) => sink.prepare(*epoch, &mut refused),
            },
        };
        if let Some(first) = refused.first() {
            let (batch, offset) = (&first.origin.batch, first.origin.offset());
            let place = format!("{}/{} at {offset}", batch.topic, batch.partition);
            return Err(Error::external(
                Code::K004,
                format!("the dead letter was refused: {}", first.reason),
            )
            .context(place)
            .help(
                "raise `max.message.bytes` of the dead-letter topic, or name another under `dead_letters`, \
                     and start again: nothing from there on was committed",
            )
            .into());
        }
        let error = match (result, &work.what) {
            (Ok(done), What::Prepare(epoch)) => return self.prepared(*epoch, done.rows),
            (Ok(_), What::Write(_)) => return Ok(Turned::On),
            (Err(error), _) => error,
        };
        if error.is_stale() {
            let event = Event::Rewind { of: Some(generation), reason: error.to_string() };
            self.events.send(event).map_err(|_| Halt::Disconnected)?;
            work.void = true;
            return self.await_rewind(work);
        }
        if !error.is_passing() {
            return Err(error.coded(Code::K004).context("dead letters").into());
        }
        if work.paused % PAUSES_A_LOG_LINE == PAUSES_A_LOG_LINE - 1 {
            tracing::warn!(%error, "dead letters cannot be written now; trying again");
        }
        if let Some(pulse) = self.inputs.pulse() {
            pulse.retrying(&error);
        }
        if self.signals.is_down() {
            return Err(Halt::Disconnected);
        }
        if self.signals.generation.get() > generation {
            return Ok(Turned::On);
        }
        work.paused += 1;
        self.work = Some(work);
        Ok(Turned::Pause(PAUSE))
    }

    /// What is in hand is void; the node goes on when the worker has gone back, or is coming down.
    fn await_rewind(&mut self, work: Work) -> Result<Turned, Halt> {
        if self.signals.generation.get() > self.inputs.generation() || self.signals.is_down() {
            return Ok(Turned::On);
        }
        self.work = Some(work);
        Ok(Turned::Pause(VOID_WAIT))
    }
}
