//! A lane of a stage: call it a batch at a time, send what it emits, retry a failed batch once on a fresh instance,
//! then bisect it down to the rows that fail.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::BooleanBufferBuilder;

use super::{Halt, Signals};
use crate::batch::{Batch, Failure, FailureKind, Selection};
use crate::channel::{self, Inputs, Message, Sender};
use crate::clock::Clock;
use crate::config::spec::OnFailure;
use crate::error::{Code, Error};
use crate::metrics;
use crate::stage::{Bound, CallFailure, Instance, Outcome};
use crate::trace::BatchSpan;
use crate::units::STAGE_FAILING_MAX;

/// One lane of one stage.
pub(super) struct Lane {
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
    /// Since when no call has succeeded.
    pub failing: Option<Duration>,
    /// When a failure was logged last.
    pub told: Option<Duration>,
}

/// Between two lines about failures of one stage.
const LOG: Duration = Duration::from_secs(10);
const WAIT: Duration = Duration::from_secs(1);

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

    fn batch(&mut self, batch: &Batch) -> Result<(), Halt> {
        self.stats.rows_in.add(batch.len() as u64);
        let first = match self.call(batch) {
            Ok(outcome) => return self.emit(batch, outcome),
            Err(failure) => failure,
        };
        self.failed_at(batch, &first);
        match self.call(batch) {
            Ok(outcome) => self.emit(batch, outcome),
            Err(failure) => self.bisect(batch, failure),
        }
    }

    /// A line in the log, at most one in a while: a stage may fail thousands of times a second.
    fn failed_at(&mut self, batch: &Batch, failure: &CallFailure) {
        let now = self.clock.now();
        if self.told.is_some_and(|told| now < told + LOG) {
            return;
        }
        self.told = Some(now);
        let (kind, message, rows) = (failure.kind.as_str(), &*failure.message, batch.len());
        tracing::warn!(
            stage = &*self.name,
            kind,
            message,
            rows,
            "a batch failed; looking for the rows that fail"
        );
    }

    /// Nothing but failures for a minute is a stage that is broken, not rows that are bad.
    fn check_breaker(&self, failure: &CallFailure) -> Result<(), Halt> {
        let Some(since) = self.failing.filter(|since| self.clock.now() > *since + STAGE_FAILING_MAX) else {
            return Ok(());
        };
        let seconds = (self.clock.now() - since).as_secs();
        let text = format!(
            "every call has failed for {seconds} s, now with {}: {}",
            failure.kind.as_str(),
            failure.message
        );
        Err(Error::user(Code::W003, text)
            .context(format!("stage `{}`", self.name))
            .help("mend the stage or raise its limits; what is not committed comes again")
            .into())
    }

    /// One call; after a failure the instance is gone.
    fn call(&mut self, batch: &Batch) -> Result<Outcome, CallFailure> {
        let instance = match &mut self.instance {
            Some(instance) => instance,
            empty => {
                self.stats.instances.add(1);
                empty.insert(self.bound.instantiate()?)
            }
        };
        self.stats.calls.add(1);
        let span = BatchSpan::begin(&batch.origins, &self.name);
        let result = instance.process(&batch.records);
        if let Some(span) = span {
            span.end(result.as_ref().err().map(|failure| (failure.kind.as_str(), &*failure.message)));
        }
        self.stats.memory_peak.raise(instance.memory_peak() as u64);
        match &result {
            Ok(outcome) => {
                let cost = outcome.cost;
                self.stats.copy_in_ns.add(cost.copy_in.as_nanos() as u64);
                self.stats.guest_ns.add(cost.guest.as_nanos() as u64);
                self.stats.copy_out_ns.add(cost.copy_out.as_nanos() as u64);
                self.stats.validate_ns.add(cost.validate.as_nanos() as u64);
                self.failing = None;
            }
            Err(_) => {
                self.failing.get_or_insert(self.clock.now());
                self.stats.failed_calls.add(1);
                self.instance = None;
            }
        }
        result
    }

    /// Halves a batch that failed until the rows that fail are alone; the others go on, in order.
    fn bisect(&mut self, batch: &Batch, failure: CallFailure) -> Result<(), Halt> {
        // Parts still to be looked at, the first on top; a part whose failure is known is not called again.
        let mut parts = vec![(0, batch.len(), Some(failure))];
        let mut failed = Vec::new();
        while let Some((offset, len, known)) = parts.pop() {
            if self.signals.is_down() {
                return Err(Halt::Disconnected);
            }
            if self.signals.generation.get() > self.inputs.generation() {
                // A rewind: these rows come again.
                return Ok(());
            }
            let part = batch.slice(offset, len);
            let failure = match known {
                Some(failure) => failure,
                None => match self.call(&part) {
                    Ok(outcome) => {
                        self.emit(&part, outcome)?;
                        continue;
                    }
                    Err(failure) => failure,
                },
            };
            self.check_breaker(&failure)?;
            if len > 1 {
                let half = len / 2;
                parts.push((offset + half, len - half, None));
                parts.push((offset, half, None));
            } else if len == 1 {
                failed.push((part, failure));
            }
        }
        self.stats.failed.add(failed.len() as u64);
        let failures =
            failed.iter().map(|(row, f)| self.failure(row, 0, f.kind, f.message.clone(), 2)).collect();
        self.dispose(failures)
    }

    fn emit(&mut self, batch: &Batch, outcome: Outcome) -> Result<(), Halt> {
        let generation = self.inputs.generation();
        let reached = reached(batch.len(), &outcome);
        let rejected = outcome.rejections.len();
        self.stats.reached.add(reached as u64);
        self.stats.rejected.add(rejected as u64);
        self.stats.filtered.add((batch.len() - reached - rejected) as u64);
        for emission in outcome.emissions {
            let rows = Batch::new(emission.records, batch.origins.select(&emission.selection));
            if rows.is_empty() {
                continue;
            }
            self.stats.rows_out.add(rows.len() as u64);
            if let Some((last, others)) = self.outputs[emission.port].split_last() {
                for output in others {
                    output.send(generation, Message::Data(rows.clone()))?;
                }
                last.send(generation, Message::Data(rows))?;
            }
        }
        if outcome.rejections.is_empty() {
            return Ok(());
        }
        let failures = outcome
            .rejections
            .into_iter()
            .map(|r| self.failure(batch, r.row as usize, FailureKind::Rejected, r.reason, 1))
            .collect();
        self.dispose(failures)
    }

    fn failure(
        &self,
        batch: &Batch,
        row: usize,
        kind: FailureKind,
        message: String,
        attempt: u32,
    ) -> Failure {
        let component = Some(Arc::clone(self.bound.component().digest()));
        Failure {
            origin: batch.origins.get(row),
            node: Arc::clone(&self.name),
            component,
            kind,
            message,
            attempt,
        }
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
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use arrow::array::{BinaryArray, Int64Array, RecordBatch};
    use serde_json::json;

    use super::*;
    use crate::batch::{Origins, Payload, SourceBatch};
    use crate::channel::edge;
    use crate::metrics::Meter;
    use crate::stage::{Host, HostOptions, Limits};

    /// Each look at it takes a second.
    #[derive(Default)]
    struct Hasty(AtomicU64);

    impl Clock for Hasty {
        fn now(&self) -> Duration {
            Duration::from_secs(self.0.fetch_add(1, Ordering::Relaxed))
        }
        fn unix_ms(&self) -> i64 {
            0
        }
    }

    fn batch(rows: i64) -> Batch {
        let values = BinaryArray::from_iter_values((0..rows).map(|n| n.to_string()));
        let source = SourceBatch {
            source: "in".into(),
            topic: "t".into(),
            partition: 0,
            offsets: (0..rows).collect(),
            timestamps: None,
            keys: None,
            headers: None,
            payload: Payload::Values(values),
            next: rows,
            trace: None,
        };
        let column = Arc::new(Int64Array::from_iter_values(0..rows)) as _;
        let records = RecordBatch::try_from_iter([("a", column)]).unwrap();
        Batch::new(records, Origins::whole(Arc::new(source)))
    }

    #[test]
    fn a_stage_that_only_fails_stops_the_worker_with_its_name() {
        let guest = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/guests/prebuilt/hostile.wasm");
        let host = Host::new(HostOptions::default()).unwrap();
        let component = host.load(guest.as_ref()).unwrap();
        let limits = Limits::defaults_for(component.bytes());
        let bound = component.bind("bad", &batch(0).schema(), &json!({ "mode": "trap" }), &limits).unwrap();
        let (signals, clock) = (Arc::new(Signals::default()), Arc::new(Hasty::default()));
        let meter = Meter::new("p");
        let current = Arc::clone(&signals.generation);
        let (failures, _letters) = edge(meter.edge("letters"), clock.clone(), Arc::clone(&current));
        let (sender, receiver) = edge(meter.edge("in -> bad"), clock.clone(), Arc::clone(&current));
        let stats = meter.stage("bad");
        let lane = Lane {
            name: "bad".into(),
            outputs: bound.ports().iter().map(|_| Vec::new()).collect(),
            bound,
            instance: None,
            inputs: Inputs::new(vec![receiver], current),
            failures,
            on_failure: OnFailure::DeadLetter,
            stats: Arc::clone(&stats),
            signals,
            clock,
            failing: None,
            told: None,
        };
        sender.send(crate::units::Generation(0), Message::Data(batch(1_000))).unwrap();
        let Err(Halt::Failed(error)) = lane.run() else { panic!("it goes on") };
        assert_eq!(error.code(), Code::W003);
        assert!(error.to_string().contains("stage `bad`") && error.to_string().contains("trap"), "{error}");
        assert!(stats.calls.get() < 200, "it was not bisected to the end: {} calls", stats.calls.get());
    }
}
