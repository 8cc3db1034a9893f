//! A lane of a source: poll, decode, send; barriers when the coordinator asks for them.

use std::sync::Arc;
use std::time::Duration;

use super::decode::{Decode, Decoded};
use super::{Halt, Turned};
use crate::batch::{Batch, Failure, FailureKind, Origin, SourceBatch, bytes_of};
use crate::budget::Budget;
use crate::channel::{Message, Sender};
use crate::codec::{BadRow, Undeclared};
use crate::config::spec::OnFailure;
use crate::connector::position::{Partition, Positions};
use crate::connector::source::{Polled, Reader};
use crate::error::{Code, Error};
use crate::metrics;
use crate::progress::{Doing, Pulse};
use crate::repeats::Repeats;
use crate::run::signals::{Event, Signals};
use crate::trace::Sampler;
use crate::units::{EPOCH_BATCHES_MIN, Epoch, Generation, SOURCE_IDLE};
use crate::wake::Wake;

/// One lane of one source.
pub(in crate::run) struct Lane {
    /// Name of the source.
    pub name: Arc<str>,
    /// Index of the source in the plan.
    pub source: usize,
    /// Number of this lane among all lanes of all sources: its identity in the epoch machine.
    pub lane: usize,
    pub reader: Box<dyn Reader>,
    /// Rung when there is something to look at: the reader's own bell, where it has one.
    pub wake: Arc<Wake>,
    pub is_woken: bool,
    pub decode: Decode,
    pub on_failure: OnFailure,
    pub outputs: Vec<Sender<Batch>>,
    pub failures: Sender<Vec<Failure>>,
    pub signals: Arc<Signals>,
    pub events: crossbeam_channel::Sender<Event>,
    pub stats: Arc<metrics::Source>,
    pub accepted: Arc<metrics::Accepted>,
    pub pulse: Arc<Pulse>,
    pub budget: Arc<Budget>,
    /// Finds the records that belong to a trace; `None`: traces are not followed.
    pub sampler: Option<Sampler>,
    /// Positions read to since the last barrier.
    pub positions: Positions,
    /// Bytes of originals read since then.
    pub taken: u64,
    /// All that it may read for this epoch is read, and the coordinator was told.
    pub full: bool,
    /// The last epoch whose barrier was sent.
    pub injected: Epoch,
    pub generation: Generation,
    pub at_end: bool,
    /// The last barrier was sent; the end follows when its epoch has committed, as a rewind may come before that.
    pub ended: bool,
}

/// A barrier waits for at most this long behind what cannot be woken.
const POLL_WAIT: Duration = Duration::from_millis(5);
/// Pause after a read that failed for a passing reason.
const READ_PAUSE: Duration = Duration::from_millis(500);

impl Lane {
    pub fn run(mut self) -> Result<(), Halt> {
        let wait = if self.is_woken { SOURCE_IDLE } else { POLL_WAIT };
        let mut heard = 0;
        loop {
            match self.turn(wait)? {
                Turned::On | Turned::Idle => {}
                // Nothing is read until the coordinator says so.
                Turned::Pause(_) if self.ended || self.at_end || self.full => {
                    self.wake.wait(&mut heard, SOURCE_IDLE);
                }
                Turned::Pause(pause) => std::thread::sleep(pause),
                Turned::End => return Ok(()),
            }
        }
    }

    /// One turn of the loop; waits at most this long for records.
    pub fn turn(&mut self, wait: Duration) -> Result<Turned, Halt> {
        if self.signals.is_down() {
            return Err(Halt::Disconnected);
        }
        if self.signals.generation.get() > self.generation {
            return self.rewind();
        }
        if self.injected < self.signals.target() {
            self.barrier()?;
            return Ok(Turned::On);
        }
        if self.ended && self.signals.is_over() {
            self.end()?;
            return Ok(Turned::End);
        }
        if self.ended || self.at_end {
            self.pulse.now(Doing::Waiting);
            return Ok(Turned::Pause(POLL_WAIT));
        }
        if self.taken >= self.signals.share() {
            if !std::mem::replace(&mut self.full, true) {
                self.tell(Event::Full { generation: self.generation, barrier: self.injected })?;
            }
            self.pulse.now(Doing::Waiting);
            return Ok(Turned::Pause(POLL_WAIT));
        }
        self.full = false;
        if !self.budget.has_room() {
            // Barriers go on meanwhile: what is under way may need one to come to its end.
            self.pulse.retrying(&"its part of `memory` is under way, and is given back as sinks deliver");
            self.budget.wait(wait.min(POLL_WAIT));
            return Ok(Turned::Idle);
        }
        let part = self.signals.share() / EPOCH_BATCHES_MIN;
        self.reader.narrow(usize::try_from(part).unwrap_or(usize::MAX));
        match self.reader.poll(wait) {
            Ok(Polled::Batch(mut batch)) => {
                self.pulse.now(Doing::Working);
                self.taken += batch.bytes() as u64;
                batch.trace = self.sampler.as_mut().and_then(|sampler| sampler.begin(&batch));
                let hold = self.budget.hold();
                hold.add(batch.taken());
                batch.hold = Some(hold);
                self.batch(Arc::new(batch))?;
            }
            Ok(Polled::Idle) => {
                self.pulse.now(Doing::Waiting);
                return Ok(Turned::Idle);
            }
            Ok(Polled::End) => {
                self.at_end = true;
                self.tell(Event::AtEnd { generation: self.generation, lane: self.lane })?;
            }
            Err(error) if error.is_passing() => {
                if let Some(more) = Repeats::shared().say(&format!("reading failed; trying again: {error}")) {
                    tracing::warn!(%error, "reading failed; trying again{more}");
                }
                self.pulse.retrying(&error);
                self.stats.retries.add(1);
                return Ok(Turned::Pause(READ_PAUSE));
            }
            Err(error) => return Err(Halt::Failed(error.context(format!("source `{}`", self.name)))),
        }
        Ok(Turned::On)
    }

    fn tell(&self, event: Event) -> Result<(), Halt> {
        self.events.send(event).map_err(|_| Halt::Disconnected)
    }

    fn batch(&mut self, batch: Arc<SourceBatch>) -> Result<(), Halt> {
        let at = Partition { topic: Arc::clone(&batch.topic), partition: batch.partition };
        assert!(!batch.is_empty() && batch.next > batch.offsets[batch.len() - 1], "positions move forward");
        if self.positions.get(&at).is_some_and(|&expected| batch.offsets[0] < expected) {
            // A partition was lost and came back before the rewind that goes with it: these records come again.
            let (topic, partition, offset) = (&*batch.topic, batch.partition, batch.offsets[0]);
            tracing::debug!(topic, partition, offset, "a partition goes back");
        }
        self.positions.insert(at, batch.next);
        self.stats.read.add(batch.len() as u64);
        if self.signals.is_awaited() {
            self.tell(Event::Read)?;
        }
        self.stats.bytes.add(batch.bytes() as u64);
        self.stats.batch_rows.record(batch.len() as u64);
        if let Some(last) = batch.timestamps.as_ref().and_then(|times| times.last()) {
            self.stats.event_time_ms.raise(u64::try_from(*last).unwrap_or(0));
        }
        let Decoded { batch: rows, bad, unwanted, skipped } = self.decode.decode(&batch)?;
        rows.origins.charge(bytes_of(&rows.records));
        self.stats.decoded.add(rows.count() as u64);
        self.stats.skipped.add(skipped as u64);
        self.unknown(&batch);
        for (way, values) in self.decode.accepted() {
            self.accepted.add(&self.name, way, values);
        }
        if !bad.is_empty() {
            self.bad_rows(&batch, bad, self.on_failure)?;
        }
        if !unwanted.is_empty() {
            self.bad_rows(&batch, unwanted, OnFailure::DeadLetter)?;
        }
        if !rows.is_empty() {
            for output in &self.outputs {
                output.send(self.generation, Message::Data(rows.clone()))?;
            }
        }
        Ok(())
    }

    /// Counts and tells what no column takes.
    fn unknown(&mut self, batch: &SourceBatch) {
        let unknown = self.decode.unknown();
        self.stats.unknown_fields.add(unknown.fields);
        if unknown.became != Undeclared::Drop {
            self.stats.undeclared_fields.add(unknown.keys.len() as u64);
        }
        for (key, row) in unknown.keys {
            let (source, topic, partition) = (&*self.name, &*batch.topic, batch.partition);
            let offset = batch.offsets[row as usize];
            match unknown.became {
                Undeclared::Drop => tracing::warn!(
                    source,
                    topic,
                    partition,
                    offset,
                    key,
                    "a key is left out: the records from which the columns were guessed do not have it; declare `columns:` \
                     under the format"
                ),
                Undeclared::Keep => tracing::info!(
                    source,
                    topic,
                    partition,
                    offset,
                    key,
                    "a field that nobody declared is kept in `_rest`; this is the first record with it"
                ),
                Undeclared::DeadLetter => tracing::warn!(
                    source,
                    topic,
                    partition,
                    offset,
                    key,
                    "records with a field that nobody declared go to the dead letters; this is the first one"
                ),
            }
        }
    }

    fn bad_rows(
        &mut self,
        batch: &Arc<SourceBatch>,
        bad: Vec<BadRow>,
        on_failure: OnFailure,
    ) -> Result<(), Halt> {
        match on_failure {
            OnFailure::Skip => self.stats.skipped.add(bad.len() as u64),
            OnFailure::Stop => {
                let first = &bad[0];
                let offset = batch.offsets[first.row as usize];
                let at = match self.reader.line(first.row as usize) {
                    Some(line) => format!("{}, line {line}", batch.topic),
                    None => format!("{}/{} at {offset}", batch.topic, batch.partition),
                };
                let place = format!("source `{}`: {at}", self.name);
                return Err(Error::user(Code::X002, first.message.clone())
                    .context(place)
                    .help("mend the record, or choose `on_failure: dead_letter`")
                    .into());
            }
            OnFailure::DeadLetter => {
                self.stats.dead_lettered.add(bad.len() as u64);
                let failures: Vec<Failure> = bad.into_iter().map(|bad| self.failure(batch, bad)).collect();
                failures.iter().for_each(Failure::charge);
                self.failures.send(self.generation, Message::Data(failures))?;
            }
        }
        Ok(())
    }

    fn failure(&self, batch: &Arc<SourceBatch>, bad: BadRow) -> Failure {
        let message = match self.reader.line(bad.row as usize) {
            Some(line) => in_line(line, &bad.message),
            None => bad.message,
        };
        Failure {
            origin: Origin { batch: Arc::clone(batch), row: bad.row as usize },
            node: Arc::clone(&self.name),
            component: None,
            kind: FailureKind::Decode,
            message,
        }
    }

    /// Sends the next barrier.
    fn barrier(&mut self) -> Result<(), Halt> {
        let epoch = self.injected.next();
        for output in &self.outputs {
            output.send(self.generation, Message::Barrier(epoch))?;
        }
        self.failures.send(self.generation, Message::Barrier(epoch))?;
        let (positions, bytes) = (std::mem::take(&mut self.positions), std::mem::take(&mut self.taken));
        let (generation, lane, source) = (self.generation, self.lane, self.source);
        self.tell(Event::Barrier { generation, lane, epoch, source, positions, bytes })?;
        self.full = false;
        self.injected = epoch;
        self.ended = self.signals.is_last(epoch);
        Ok(())
    }

    fn end(&self) -> Result<(), Halt> {
        for output in &self.outputs {
            output.send(self.generation, Message::End)?;
        }
        self.failures.send(self.generation, Message::End)?;
        Ok(())
    }

    fn rewind(&mut self) -> Result<Turned, Halt> {
        let (generation, epoch, positions) =
            self.signals.rewind.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        let empty = Positions::new();
        match self.reader.rewind(positions.get(self.source).unwrap_or(&empty)) {
            Ok(()) => {}
            Err(error) if error.is_passing() => {
                // The generation stays behind, so that the next turn of the loop tries again.
                if let Some(more) = Repeats::shared().say(&format!("rewinding failed; trying again: {error}"))
                {
                    tracing::warn!(%error, "rewinding failed; trying again{more}");
                }
                self.pulse.retrying(&error);
                self.stats.retries.add(1);
                return Ok(Turned::Pause(READ_PAUSE));
            }
            Err(error) => return Err(error.context(format!("source `{}`: rewinding", self.name)).into()),
        }
        self.generation = generation;
        self.injected = epoch;
        self.positions.clear();
        (self.taken, self.full) = (0, false);
        self.at_end = false;
        self.ended = false;
        Ok(Turned::On)
    }
}

/// A decoder's message with the line of the file: it may say itself where in the record, which is one line, the fault is.
fn in_line(line: u64, message: &str) -> String {
    match message.rsplit_once(" at line 1 column ") {
        Some((what, at)) if at.parse::<u64>().is_ok_and(|at| at > 0) => {
            format!("line {line}, byte {at}: {what}")
        }
        Some((what, "0")) => format!("line {line}: {what}"),
        _ => format!("line {line}: {message}"),
    }
}

#[cfg(test)]
mod tests {
    use super::in_line;

    #[test]
    fn the_place_in_a_record_is_that_in_its_line() {
        assert_eq!(in_line(7, "expected value at line 1 column 2"), "line 7, byte 2: expected value");
        assert_eq!(in_line(7, "expected an object at line 1 column 0"), "line 7: expected an object");
        assert_eq!(in_line(7, "3 fields were expected, not 2"), "line 7: 3 fields were expected, not 2");
    }
}
