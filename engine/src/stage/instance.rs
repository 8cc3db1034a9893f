//! A running stage: one batch in, a validated outcome out.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use wasmtime::Store;

use super::bind::{Bound, Column};
use super::invoke::{answer, arm};
use super::lift::{self, Arrays};
use super::lower::Lowered;
use super::outcome::{CallFailure, Cost, Emission, Outcome};
use super::select::{self, Rejection, Selector};
use super::state::State;
use super::wit::exports::pipe::stage::transform as wit;
use super::wit::pipe::stage::arrow::RecordBatch as WitBatch;
use crate::batch::{FailureKind, Origin};
use crate::clock::{Clock, SystemClock};

/// One instance: used by one thread at a time, thrown away after any failure.
pub struct Instance {
    bound: Bound,
    store: Store<State>,
    transform: wit::Guest,
    scratch: Lowered,
    clock: SystemClock,
}

impl Bound {
    /// A fresh instance, bound and ready for batches.
    pub fn instantiate(&self) -> Result<Instance, CallFailure> {
        let (store, transform) = self.start()?;
        Ok(Instance::new(self.clone(), store, transform))
    }
}

impl Instance {
    fn new(bound: Bound, store: Store<State>, transform: wit::Guest) -> Self {
        Self { bound, store, transform, scratch: Lowered::default(), clock: SystemClock::default() }
    }

    /// Runs the stage on a batch. After an error the instance must be dropped.
    pub fn process(&mut self, input: &RecordBatch) -> Result<Outcome, CallFailure> {
        self.process_within(self.bound.limits().time, input)
    }

    /// The same with another limit of time.
    pub fn process_within(&mut self, time: Duration, input: &RecordBatch) -> Result<Outcome, CallFailure> {
        #[cfg(feature = "native-stage")]
        if let Some(native) = self.bound.native().get() {
            return native(input);
        }
        let begin = self.clock.now();
        self.scratch.clear();
        for (column, ty) in self.bound.reads_with_types() {
            let array = lift::to_crossing(input.column(column), ty);
            array.and_then(|array| self.scratch.push(&array)).map_err(|message| CallFailure {
                kind: FailureKind::StageError,
                message: format!("column {column} cannot be given to the stage: {message}"),
            })?;
        }
        let rows = input.num_rows();
        let borrowed = self.scratch.borrow();
        let arrays = borrowed.arrays();
        let batch = WitBatch { length: rows as u32, arrays: &arrays };
        let lowered = self.clock.now();
        arm(&mut self.store, time);
        let result = self.transform.call_process(&mut self.store, batch);
        let outcome = answer(&self.store, result)?;
        let called = self.clock.now();
        let mut outcome = Checked::new(&self.bound, input).outcome(outcome, &self.clock)?;
        let copy_out = outcome.cost.copy_out;
        let validate = (self.clock.now() - called).saturating_sub(copy_out);
        outcome.cost = Cost { copy_in: lowered - begin, guest: called - lowered, copy_out, validate };
        Ok(outcome)
    }

    /// The rows that it gets next begin with this original: its log lines say so.
    pub fn about(&mut self, origin: Option<Origin>) {
        self.store.data().guest_log().about(origin);
    }

    /// Log lines that were left out since this was asked last, because there were too many.
    pub fn take_suppressed(&mut self) -> u64 {
        self.store.data().guest_log().take_suppressed()
    }

    /// Peak of its memories and tables, in bytes.
    pub fn memory_peak(&self) -> usize {
        self.store.data().meter.peak()
    }
}

/// The checks of one answer against its binding and input.
struct Checked<'a> {
    bound: &'a Bound,
    input: &'a RecordBatch,
    /// Rows and bytes that are left for this call.
    rows: usize,
    bytes: usize,
    copy_out: Duration,
}

impl<'a> Checked<'a> {
    fn new(bound: &'a Bound, input: &'a RecordBatch) -> Self {
        let limits = bound.limits();
        Self { bound, input, rows: limits.rows, bytes: limits.output_bytes, copy_out: Duration::ZERO }
    }

    fn outcome(mut self, outcome: wit::Outcome, clock: &SystemClock) -> Result<Outcome, CallFailure> {
        let rows = self.input.num_rows();
        let rejections = select::rejections(outcome.rejections, rows).map_err(CallFailure::invalid)?;
        let ports = self.bound.ports();
        let mut seen = vec![false; ports.len()];
        let mut emissions = Vec::with_capacity(outcome.emissions.len().min(ports.len()));
        for emission in outcome.emissions {
            let port = emission.output as usize;
            let Some(seen) = seen.get_mut(port) else {
                return Err(CallFailure::invalid(format!("output {port} of {} is emitted", ports.len())));
            };
            let name = &ports[port].name;
            if std::mem::replace(seen, true) {
                return Err(CallFailure::invalid(format!("port `{name}` is emitted twice")));
            }
            let emission = self
                .emission(emission, &rejections, clock)
                .map_err(|message| CallFailure::invalid(format!("port `{name}`: {message}")))?;
            emissions.push(emission);
        }
        emissions.sort_by_key(|emission: &Emission| emission.port);
        let cost = Cost { copy_out: self.copy_out, ..Cost::default() };
        Ok(Outcome { emissions, rejections, cost })
    }

    fn emission(
        &mut self,
        emission: wit::Emission,
        rejections: &[Rejection],
        clock: &SystemClock,
    ) -> Result<Emission, String> {
        let port = emission.output as usize;
        let input_rows = self.input.num_rows();
        let (selection, rows) = select::selection(emission.rows, input_rows)?;
        select::disjoint(&selection, rejections, input_rows)?;
        self.rows = self
            .rows
            .checked_sub(rows)
            .ok_or_else(|| format!("the call returns more than {} rows", self.bound.limits().rows))?;
        let schema = &self.bound.ports()[port].schema;
        let columns = self.bound.columns(port);
        let selector = Selector::new(&selection, columns.len());
        let mut computed = Arrays::new(emission.computed, self.bound.limits().output_bytes);
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(columns.len());
        for (column, field) in columns.iter().zip(schema.fields()) {
            arrays.push(match column {
                Column::Passed(index) => selector.apply(self.input.column(*index), &mut self.bytes)?,
                Column::Computed => {
                    let begin = clock.now();
                    let array = lift::column(field, rows, &mut computed)
                        .map_err(|e| format!("column `{}`: {e}", field.name()))?;
                    self.copy_out += clock.now() - begin;
                    array
                }
            });
        }
        if computed.left() > 0 {
            return Err(format!("{} arrays too many are returned", computed.left()));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let records = RecordBatch::try_new_with_options(Arc::clone(schema), arrays, &options)
            .map_err(|e| e.to_string())?;
        Ok(Emission { port, selection, records })
    }
}
