//! A lane of a stage: call it a batch at a time, send what it emits, retry a failed batch once on a fresh instance,
//! then search it for the rows that fail.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{BooleanBufferBuilder, RecordBatch};

use super::Halt;
use super::bisect::Search;
use super::circuit_breaker::{Breaker, Change};
use crate::batch::{Batch, Failure, FailureKind, Origin, Selection, Tombstones, bytes_of};
use crate::channel::{self, Inputs, Message, Sender};
use crate::clock::Clock;
use crate::config::spec::OnFailure;
use crate::error::{Code, Error};
use crate::metrics;
use crate::progress::Doing;
use crate::run::signals::Signals;
use crate::stage::{Bound, CallFailure, Emission, Instance, Outcome};
use crate::trace::BatchSpan;
use crate::units::STAGE_SEARCH_TIME_DIVISOR;

/// One lane of one stage.
pub(in crate::run) struct Lane {
    /// Name of the stage.
    pub name: Arc<str>,
    pub bound: Bound,
    /// Made when first needed and after every failure.
    pub instance: Option<Instance>,
    pub inputs: Inputs<Batch>,
    /// For each port its edges.
    pub outputs: Vec<Vec<Sender<Batch>>>,
    pub failures: Sender<Vec<Failure>>,
    pub on_failure: OnFailure,
    pub stats: Arc<metrics::Stage>,
    pub signals: Arc<Signals>,
    pub clock: Arc<dyn Clock>,
    pub breaker: Breaker,
    /// When a failure was logged last, and its cause.
    pub told: Option<(Duration, String)>,
}

/// Between two lines about failures of one stage.
const LOG: Duration = Duration::from_secs(10);
const WAIT: Duration = Duration::from_secs(1);
/// A pause looks this often whether the worker ends or goes back.
const REST: Duration = Duration::from_millis(10);

impl Lane {
    pub fn run(mut self) -> Result<(), Halt> {
        loop {
            let event = self.inputs.next(WAIT)?;
            let generation = self.inputs.generation();
            match event {
                channel::Event::Data(_, batch) => self.batch(&batch)?,
                channel::Event::Idle => {}
                channel::Event::Watermark(at) => {
                    for output in self.outputs.iter().flatten() {
                        output.send(generation, Message::Watermark(at))?;
                    }
                }
                channel::Event::Barrier(epoch) => {
                    for output in self.outputs.iter().flatten() {
                        output.send(generation, Message::Barrier(epoch))?;
                    }
                    self.failures.send(generation, Message::Barrier(epoch))?;
                }
                // What an instance did for rows that come again is void with it.
                channel::Event::Rewound(_) => self.instance = None,
                channel::Event::End => {
                    for output in self.outputs.iter().flatten() {
                        output.send(generation, Message::End)?;
                    }
                    return Ok(self.failures.send(generation, Message::End)?);
                }
            }
        }
    }

    pub(in crate::run) fn batch(&mut self, batch: &Batch) -> Result<(), Halt> {
        if batch.origins.is_empty() {
            return self.pass(batch);
        }
        let time = self.bound.limits().time;
        let first = match self.call(batch, time) {
            Ok(outcome) => return self.emit(batch, outcome),
            Err(failure) => failure,
        };
        self.failed_at(batch, &first);
        match self.call(batch, time) {
            Ok(outcome) => self.emit(batch, outcome),
            Err(failure) => self.search(batch, failure),
        }
    }

    /// A line in the log, at most one in a while: a stage may fail thousands of times a second.
    fn failed_at(&mut self, batch: &Batch, failure: &CallFailure) {
        let now = self.clock.now();
        if self.told.as_ref().is_some_and(|(told, _)| now < *told + LOG) {
            return;
        }
        self.told = Some((now, failure.message.clone()));
        let (kind, reason, rows) = (failure.kind.as_str(), &*failure.message, batch.len());
        let first = (!batch.origins.is_empty()).then(|| batch.origins.get(0));
        let topic = first.as_ref().map(|origin| &*origin.batch.topic);
        let partition = first.as_ref().map(|origin| origin.batch.partition);
        let offset = first.as_ref().map(Origin::offset);
        tracing::warn!(
            kind,
            reason,
            rows,
            topic,
            partition,
            offset,
            "a batch failed; looking for the rows that fail"
        );
    }

    /// A stage that was busy with nothing but failures for long enough is broken; its rows are not bad.
    fn check_broken(&self, failure: &CallFailure) -> Result<(), Halt> {
        let Some((calls, busy)) = self.breaker.broken() else { return Ok(()) };
        let text = format!(
            "the last {calls} calls have all failed, over {} s, now with {}: {}",
            busy.as_secs(),
            failure.kind.as_str(),
            failure.message
        );
        Err(Error::user(Code::W003, text)
            .context(format!("stage `{}`", self.name))
            .help("mend the stage, or filter such rows before it; lower `limits.time` where it loops, raise it where it is slow; what is not committed comes again")
            .into())
    }

    /// Rests before a fresh instance is tried while failures follow each other. A worker that drains, ends or goes
    /// back does not wait.
    fn rest(&mut self) {
        let pause = self.breaker.pause();
        let mut left = pause;
        while !left.is_zero() && !self.signals.is_ending() && !self.is_void() {
            let part = left.min(REST);
            std::thread::sleep(part);
            left -= part;
        }
        self.breaker.rested(pause - left);
    }

    /// Whether the rows that are being worked on come again, or nobody waits for them.
    fn is_void(&self) -> bool {
        self.signals.is_down() || self.signals.generation.get() > self.inputs.generation()
    }

    /// One call; after a failure the instance is gone.
    fn call(&mut self, batch: &Batch, time: Duration) -> Result<Outcome, CallFailure> {
        self.rest();
        let begin = self.clock.now();
        let result = self.call_once(batch, time);
        let change = match &result {
            Ok(_) => self.breaker.succeeded(),
            Err(_) => self.breaker.failed(self.clock.now() - begin),
        };
        match (change, &result) {
            (Some(Change::Opened), Err(failure)) => {
                self.stats.breaker_open.step(true);
                // The log has a cause once.
                let told = self.told.as_ref().is_some_and(|(_, reason)| *reason == failure.message);
                let (kind, reason) = (failure.kind.as_str(), (!told).then_some(&*failure.message));
                tracing::warn!(kind, reason, "nothing but failures: each call now waits a little");
            }
            (Some(Change::Closed), _) => {
                self.stats.breaker_open.step(false);
                tracing::info!("a call succeeded again: no more waiting");
            }
            _ => {}
        }
        if let (Err(failure), Some(pulse)) = (&result, self.inputs.pulse()) {
            match self.breaker.is_open() {
                true => pulse.retrying(&format_args!(
                    "nothing but failures, now with {}: {}",
                    failure.kind.as_str(),
                    failure.message
                )),
                // Each call is a step: a search through many rows that fail is slow, not stuck.
                false => pulse.now(Doing::Working),
            }
        } else if let (Some(Change::Closed), Some(pulse)) = (change, self.inputs.pulse()) {
            pulse.now(Doing::Working);
        }
        result
    }

    fn call_once(&mut self, batch: &Batch, time: Duration) -> Result<Outcome, CallFailure> {
        let instance = match &mut self.instance {
            Some(instance) => instance,
            empty => {
                self.stats.instances.add(1);
                empty.insert(self.bound.instantiate()?)
            }
        };
        self.stats.calls.add(1);
        instance.about((!batch.origins.is_empty()).then(|| batch.origins.get(0)));
        let span = BatchSpan::begin(&batch.origins, &self.name);
        let begin = self.clock.now();
        let result = instance.process_within(time, &batch.records);
        // An instance that has nothing to do keeps no batch.
        instance.about(None);
        if let Some(span) = span {
            span.end(result.as_ref().err().map(|failure| (failure.kind.as_str(), &*failure.message)));
        }
        self.stats.log_suppressed.add(instance.take_suppressed());
        self.stats.memory_peak.raise(instance.memory_peak() as u64);
        match &result {
            Ok(outcome) => {
                let cost = outcome.cost;
                self.stats.copy_in_ns.add(cost.copy_in.as_nanos() as u64);
                self.stats.guest_ns.add(cost.guest.as_nanos() as u64);
                self.stats.copy_out_ns.add(cost.copy_out.as_nanos() as u64);
                self.stats.validate_ns.add(cost.validate.as_nanos() as u64);
                let all = cost.copy_in + cost.guest + cost.copy_out + cost.validate;
                self.stats.call_ns.record(all.as_nanos() as u64);
            }
            Err(_) => {
                let time = (self.clock.now() - begin).as_nanos() as u64;
                self.stats.guest_ns.add(time);
                self.stats.call_ns.record(time);
                self.stats.failed_calls.add(1);
                self.instance = None;
            }
        }
        result
    }

    /// Finds the rows of a batch that fail; the others go on, in order. A row is given up when it has failed alone on
    /// a fresh instance: one that others have used may be at fault itself.
    fn search(&mut self, batch: &Batch, failure: CallFailure) -> Result<(), Halt> {
        let time = self.bound.limits().time;
        let mut search = Search::new(batch.len(), failure);
        let mut failed = Vec::new();
        while let Some(mut part) = search.next(failed.len()) {
            if self.signals.is_down() {
                return Err(Halt::Disconnected);
            }
            if self.is_void() {
                // A rewind: these rows come again.
                return Ok(());
            }
            let rows = batch.slice(part.offset, part.len);
            let mut failure = part.known.take();
            while failure.is_none() {
                let fresh = self.instance.is_none();
                let time = if part.hasty { time / STAGE_SEARCH_TIME_DIVISOR } else { time };
                match self.call(&rows, time) {
                    Ok(outcome) => {
                        self.emit(&rows, outcome)?;
                        break;
                    }
                    Err(found) => failure = (fresh || part.len > 1).then_some(found),
                }
            }
            let Some(failure) = failure else { continue };
            self.check_broken(&failure)?;
            if part.len > 1 {
                search.halve(&part, failed.len());
            } else {
                self.pass(&rows)?;
                failed.push((rows, failure));
            }
        }
        self.stats.rows_in.add(failed.len() as u64);
        self.stats.failed.add(failed.len() as u64);
        let failures = failed.into_iter().map(|(row, f)| self.failure(&row, 0, f.kind, f.message)).collect();
        self.dispose(failures)
    }

    fn emit(&mut self, batch: &Batch, outcome: Outcome) -> Result<(), Halt> {
        let disorders = |emission: &Emission| !emission.selection.keeps_order();
        if batch.tombstones().is_some() && outcome.emissions.iter().any(disorders) {
            // Among rows in another order a tombstone has no place: it has one between two batches.
            return batch.parts().iter().try_for_each(|part| self.batch(part));
        }
        let reached = reached(batch.len(), &outcome);
        let rejected = outcome.rejections.len();
        let gone = batch.tombstones().map_or(0, Tombstones::len);
        // Counted with what became of them: rows that a rewind takes back are in neither.
        self.stats.rows_in.add(batch.count() as u64);
        self.stats.reached.add((reached + gone) as u64);
        self.stats.rejected.add(rejected as u64);
        self.stats.filtered.add((batch.len() - reached - rejected) as u64);
        let mut silent: Vec<usize> = batch.tombstones().map_or(0..0, |_| 0..self.outputs.len()).collect();
        for Emission { port, records, selection } in outcome.emissions {
            silent.retain(|other| *other != port);
            let tombstones = batch.tombstones().map(|tombstones| tombstones.among(&selection));
            let rows = Batch::new(records, batch.origins.select(&selection)).with_tombstones(tombstones);
            self.send(port, rows)?;
        }
        silent.into_iter().try_for_each(|port| self.send_tombstones(port, batch))?;
        if outcome.rejections.is_empty() {
            return Ok(());
        }
        let failures = outcome
            .rejections
            .into_iter()
            .map(|r| self.failure(batch, r.row as usize, FailureKind::Rejected, r.reason))
            .collect();
        self.dispose(failures)
    }

    fn send(&self, port: usize, rows: Batch) -> Result<(), Halt> {
        if rows.is_empty() {
            return Ok(());
        }
        let generation = self.inputs.generation();
        self.stats.rows_out.add(rows.count() as u64);
        rows.origins.charge(bytes_of(&rows.records));
        if let Some((last, others)) = self.outputs[port].split_last() {
            for output in others {
                output.send(generation, Message::Data(rows.clone()))?;
            }
            last.send(generation, Message::Data(rows))?;
        }
        Ok(())
    }

    /// Tombstones of a batch to a port on which none of its rows leaves.
    fn send_tombstones(&self, port: usize, batch: &Batch) -> Result<(), Halt> {
        let none = RecordBatch::new_empty(Arc::clone(&self.bound.ports()[port].schema));
        let rows = Batch::new(none, batch.origins.slice(0, 0));
        self.send(port, rows.with_tombstones(batch.tombstones().map(Tombstones::alone)))
    }

    /// Tombstones of a batch past the stage: they leave on every port.
    fn pass(&self, batch: &Batch) -> Result<(), Halt> {
        let Some(tombstones) = batch.tombstones() else { return Ok(()) };
        self.stats.rows_in.add(tombstones.len() as u64);
        self.stats.reached.add(tombstones.len() as u64);
        (0..self.outputs.len()).try_for_each(|port| self.send_tombstones(port, batch))
    }

    fn failure(&self, batch: &Batch, row: usize, kind: FailureKind, message: String) -> Failure {
        let component = Some(Arc::clone(self.bound.component().digest()));
        Failure { origin: batch.origins.get(row), node: Arc::clone(&self.name), component, kind, message }
    }

    /// Failed rows to where `on_failure` says.
    fn dispose(&mut self, failures: Vec<Failure>) -> Result<(), Halt> {
        let Some(first) = failures.first() else { return Ok(()) };
        let rows = failures.len() as u64;
        match self.on_failure {
            OnFailure::Skip => self.stats.skipped.add(rows),
            OnFailure::Stop => {
                let (batch, offset) = (&first.origin.batch, first.origin.offset());
                let place = format!("{}/{} at {offset}", batch.topic, batch.partition);
                let text = format!("{}: {}", first.kind.as_str(), first.message);
                let error =
                    Error::user(Code::X002, text).context(place).context(format!("stage `{}`", self.name));
                return Err(error.into());
            }
            OnFailure::DeadLetter => {
                self.stats.dead_lettered.add(rows);
                failures.iter().for_each(Failure::charge);
                self.failures.send(self.inputs.generation(), Message::Data(failures))?;
            }
        }
        Ok(())
    }
}

/// How many input rows reached at least one port.
fn reached(rows: usize, outcome: &Outcome) -> usize {
    match outcome.emissions.as_slice() {
        [] => 0,
        [one] => match &one.selection {
            Selection::All => rows,
            Selection::Filter(mask) => mask.true_count(),
            Selection::Take(_) => union(rows, outcome),
        },
        _ => union(rows, outcome),
    }
}

fn union(rows: usize, outcome: &Outcome) -> usize {
    let mut seen = BooleanBufferBuilder::new(rows);
    seen.append_n(rows, false);
    for emission in &outcome.emissions {
        match &emission.selection {
            Selection::All => return rows,
            Selection::Filter(mask) => mask.values().set_indices().for_each(|row| seen.set_bit(row, true)),
            Selection::Take(indices) => {
                indices.values().iter().for_each(|&row| seen.set_bit(row as usize, true));
            }
        }
    }
    seen.finish().count_set_bits()
}

#[cfg(test)]
#[path = "stage_tests.rs"]
mod tests;
