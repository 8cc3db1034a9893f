//! A lane of a sink: write, prepare on barriers, hand refused records to the dead letters; passing failures are
//! tried again while backpressure holds the source.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff};

use super::{Halt, Turned, turn_until_end};
use crate::batch::{Batch, Failure, FailureKind};
use crate::channel::{self, Inputs, Message, Sender};
use crate::clock::Clock;
use crate::config::spec::OnFailure;
use crate::connector::commit::Prepare;
use crate::connector::sink::{Refused, Sink};
use crate::error::{Code, Error, Result};
use crate::metrics;
use crate::progress::Doing;
use crate::run::commit::write_gate::{Entry, Gate};
use crate::run::signals::{Event, Signals};
use crate::units::{Epoch, Generation, SINK_IDLE};

/// One lane of one sink.
pub(in crate::run) struct Lane {
    /// Name of the sink.
    pub name: Arc<str>,
    /// Its identity in the epoch machine.
    pub terminal: usize,
    pub sink: Box<dyn Sink>,
    pub inputs: Inputs<Batch>,
    pub failures: Sender<Vec<Failure>>,
    pub on_failure: OnFailure,
    pub signals: Arc<Signals>,
    pub events: crossbeam_channel::Sender<Event>,
    pub stats: Arc<metrics::Sink>,
    pub clock: Arc<dyn Clock>,
    /// Rows taken since the last prepare, and what became of some of them.
    pub pending: Pending,
    pub work: Option<Work>,
    pub turn: Turn,
    /// A breakage on purpose: what is refused is counted at once, and again when it comes again.
    #[cfg(test)]
    pub counts_at_once: bool,
}

/// Whose turn it is to write, where all terminals share a transaction.
pub(in crate::run) struct Turn {
    /// `None`: each sink writes for itself, at any time.
    pub gate: Option<Arc<Gate>>,
    /// The epoch of the rows that come now.
    pub epoch: Epoch,
    /// Waits this long for it at once.
    pub wait: Duration,
}

impl Turn {
    /// Before the first epoch.
    pub fn new(gate: Option<Arc<Gate>>) -> Self {
        Self { gate, epoch: Epoch(1), wait: TURN_WAIT }
    }

    /// A barrier was prepared: what comes now is of the next epoch.
    pub fn next(&mut self, prepared: Epoch) {
        self.epoch = prepared.next();
    }

    /// The worker went back: which epoch comes now.
    pub fn rewound(&mut self, signals: &Signals) {
        let rewind = signals.rewind.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.epoch = rewind.1.next();
    }

    /// Asks to write a row of this generation; waits a moment for the turn.
    pub fn enter(&self, generation: Generation) -> Option<Entry<'_>> {
        Some(self.gate.as_ref()?.enter(generation, self.epoch, self.wait))
    }
}

/// Whoever waits for its turn looks up this often whether the worker is coming down.
const TURN_WAIT: Duration = Duration::from_millis(50);
/// And whoever found out that its work is void this often whether the worker has gone back.
pub(in crate::run) const VOID_WAIT: Duration = Duration::from_millis(5);

/// Rows taken since the last prepare.
#[derive(Default)]
pub(in crate::run) struct Pending {
    received: u64,
    refused: u64,
    letters: Vec<Refused>,
}

const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// A hiccup is not worth a line; half a second of failing is.
const PAUSES_BEFORE_LOG: u32 = 5;
/// A sink that keeps failing is logged this often, in pauses.
const PAUSES_A_LOG_LINE: u32 = 10;

/// What a lane has in hand until the sink has done it, or a rewind made it void.
pub(in crate::run) struct Work {
    what: What,
    begin: Duration,
    pauses: ExponentialBackoff,
    paused: u32,
    /// The transaction is void: the worker is to go back, and this with it.
    void: bool,
}

enum What {
    Write(Batch),
    Idle,
    Prepare(Epoch),
}

impl Work {
    fn new(what: What, begin: Duration) -> Self {
        let pauses = backon::ExponentialBuilder::default()
            .with_min_delay(PAUSE_MIN)
            .with_max_delay(PAUSE_MAX)
            .with_jitter()
            .without_max_times()
            .build();
        Self { what, begin, pauses, paused: 0, void: false }
    }
}

impl What {
    fn name(&self) -> &'static str {
        match self {
            Self::Write(_) => "writing",
            Self::Idle => "idling",
            Self::Prepare(_) => "preparing",
        }
    }

    fn call(&self, sink: &mut dyn Sink, refused: &mut Vec<Refused>) -> Result<Prepare> {
        match self {
            Self::Write(batch) => sink.write(batch, refused).map(|()| Prepare::default()),
            Self::Idle => sink.idle().map(|()| Prepare::default()),
            Self::Prepare(epoch) => sink.prepare(*epoch, refused),
        }
    }
}

impl Lane {
    pub fn run(mut self) -> Result<(), Halt> {
        turn_until_end(|| self.turn(SINK_IDLE))
    }

    /// One turn of the loop: goes on with what is in hand, else takes what comes within `wait`.
    pub fn turn(&mut self, wait: Duration) -> Result<Turned, Halt> {
        if let Some(work) = self.work.take() {
            return self.attempt(work);
        }
        let what = match self.inputs.next(wait.min(self.sink.idles()))? {
            channel::Event::Data(_, batch) => {
                self.pending.received += batch.count() as u64;
                self.stats.pending.add(batch.count() as u64);
                What::Write(batch)
            }
            channel::Event::Idle => What::Idle,
            channel::Event::Watermark(_) => return Ok(Turned::On),
            channel::Event::Barrier(epoch) => What::Prepare(epoch),
            channel::Event::Rewound(_) => {
                let Pending { received, .. } = std::mem::take(&mut self.pending);
                self.stats.pending.sub(received);
                self.turn.rewound(&self.signals);
                self.sink.abort().map_err(|e| self.place(e))?;
                return Ok(Turned::On);
            }
            channel::Event::End => {
                self.failures.send(self.inputs.generation(), Message::End)?;
                self.sink.close().map_err(|e| self.place(e))?;
                return Ok(Turned::End);
            }
        };
        self.attempt(Work::new(what, self.clock.now()))
    }

    fn place(&self, error: Error) -> Error {
        error.context(format!("sink `{}`", self.name))
    }

    fn prepared(&mut self, epoch: Epoch, done: Prepare) -> Result<(), Halt> {
        let generation = self.inputs.generation();
        let Pending { received, refused, .. } = std::mem::take(&mut self.pending);
        if done.rows + refused != received {
            let rows = done.rows;
            let text =
                format!("of {received} rows {rows} were written and {refused} refused in epoch {epoch}");
            return Err(self.place(Error::internal(text)).into());
        }
        self.stats.pending.sub(received);
        // All terms of the sum at once: rows that a rewind takes back are in none of them.
        self.stats.received.add(received);
        self.stats.written.add(done.rows);
        self.stats.bytes.add(done.bytes);
        #[cfg(test)]
        let refused = if self.counts_at_once { 0 } else { refused };
        self.count_refused(refused);
        self.failures.send(generation, Message::Barrier(epoch))?;
        self.turn.next(epoch);
        let event = Event::Prepared { generation, terminal: self.terminal, epoch };
        self.events.send(event).map_err(|_| Halt::Disconnected)
    }

    /// Refused records to where `on_failure` says.
    fn hand_over(&mut self) -> Result<(), Halt> {
        if self.pending.letters.is_empty() {
            return Ok(());
        }
        let refused = std::mem::take(&mut self.pending.letters);
        let rows = refused.len() as u64;
        self.pending.refused += rows;
        #[cfg(test)]
        self.count_refused(if self.counts_at_once { rows } else { 0 });
        match self.on_failure {
            OnFailure::Skip => {}
            OnFailure::Stop => {
                let first = &refused[0];
                let (batch, offset) = (&first.origin.batch, first.origin.offset());
                let text = format!("{}/{} at {offset}: {}", batch.topic, batch.partition, first.reason);
                return Err(self.place(Error::user(Code::X002, text)).into());
            }
            OnFailure::DeadLetter => {
                let failures: Vec<Failure> = refused.into_iter().map(|r| self.failure(r)).collect();
                failures.iter().for_each(Failure::charge);
                self.failures.send(self.inputs.generation(), Message::Data(failures))?;
            }
        }
        Ok(())
    }

    fn count_refused(&self, rows: u64) {
        match self.on_failure {
            OnFailure::Skip => self.stats.skipped.add(rows),
            OnFailure::DeadLetter => self.stats.dead_lettered.add(rows),
            // The first of them ended the worker.
            OnFailure::Stop => {}
        }
    }

    fn failure(&self, refused: Refused) -> Failure {
        Failure {
            origin: refused.origin,
            node: Arc::clone(&self.name),
            component: None,
            kind: FailureKind::Refused,
            message: refused.reason,
        }
    }

    /// Calls the sink once. What fails for a passing reason stays in hand; what a rewind made void is dropped.
    fn attempt(&mut self, mut work: Work) -> Result<Turned, Halt> {
        let generation = self.inputs.generation();
        if work.void {
            return self.await_rewind(work);
        }
        let result = match self.turn.enter(generation) {
            Some(Entry::Void) => return Ok(Turned::On),
            Some(Entry::Wait) => {
                if self.signals.is_down() {
                    return Err(Halt::Disconnected);
                }
                if let Some(pulse) = self.inputs.pulse() {
                    pulse.now(Doing::Blocked);
                }
                self.work = Some(work);
                return Ok(Turned::Idle);
            }
            // While it is inside nothing is committed or given up.
            Some(Entry::Inside(_)) | None => work.what.call(self.sink.as_mut(), &mut self.pending.letters),
        };
        let error = match result {
            Ok(done) => return self.done(&work, done),
            Err(error) => self.place(error),
        };
        if error.is_stale() {
            let event = Event::Rewind { of: Some(generation), reason: error.to_string() };
            self.events.send(event).map_err(|_| Halt::Disconnected)?;
            work.void = true;
            return self.await_rewind(work);
        }
        let what = work.what.name();
        if !error.is_passing() {
            return Err(error.context(what).into());
        }
        if self.signals.is_down() {
            return Err(Halt::Disconnected);
        }
        if self.signals.generation.get() > generation {
            return Ok(Turned::On);
        }
        let paused = work.paused;
        if paused == PAUSES_BEFORE_LOG || (paused.is_multiple_of(PAUSES_A_LOG_LINE) && paused > 0) {
            tracing::warn!(%error, what, "failed for a passing reason; trying again");
        }
        if let Some(pulse) = self.inputs.pulse() {
            pulse.retrying(&error);
        }
        work.paused += 1;
        self.stats.retries.add(1);
        let pause = work.pauses.next().unwrap_or(PAUSE_MAX);
        self.work = Some(work);
        Ok(Turned::Pause(pause))
    }

    /// The sink has done it.
    fn done(&mut self, work: &Work, done: Prepare) -> Result<Turned, Halt> {
        if let (Some(pulse), true) = (self.inputs.pulse(), work.paused > 0) {
            pulse.now(Doing::Working);
        }
        let took = (self.clock.now() - work.begin).as_nanos() as u64;
        match work.what {
            What::Write(_) => {
                self.stats.write_ns.record(took);
                self.hand_over()?;
            }
            What::Idle => return Ok(Turned::Idle),
            What::Prepare(epoch) => {
                self.stats.prepare_ns.record(took);
                self.hand_over()?;
                self.prepared(epoch, done)?;
            }
        }
        Ok(Turned::On)
    }

    /// What is in hand is void; the lane goes on when the worker has gone back.
    fn await_rewind(&mut self, work: Work) -> Result<Turned, Halt> {
        if self.signals.generation.get() > self.inputs.generation() {
            return Ok(Turned::On);
        }
        if self.signals.is_down() {
            return Err(Halt::Disconnected);
        }
        self.work = Some(work);
        Ok(Turned::Pause(VOID_WAIT))
    }
}
