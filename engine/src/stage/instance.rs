//! A running stage: one batch in, a validated outcome out.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use wasmtime::{FrameInfo, PoolConcurrencyLimitError, Store, Trap, WasmBacktrace};

use super::bind::{Bound, Column};
use super::frames;
use super::lift::{self, Arrays};
use super::log::{Log, plain};
use super::lower::Lowered;
use super::select::{self, Selector};
use super::state::State;
use super::wit::exports::pipe::stage::transform as wit;
use super::wit::pipe::stage::arrow::RecordBatch as WitBatch;
use crate::batch::{FailureKind, Origin, Selection};
use crate::clock::{Clock, SystemClock};
use crate::error::{Code, Error};
use crate::secret::cut;
use crate::units;

/// Bytes of a function's name in a cause.
const FUNCTION_BYTES_MAX: usize = 200;

/// One instance: used by one thread at a time, thrown away after any failure.
pub struct Instance {
    bound: Bound,
    store: Store<State>,
    transform: wit::Guest,
    scratch: Lowered,
    clock: SystemClock,
}

/// Why a whole batch failed.
#[derive(Debug, Clone)]
pub struct CallFailure {
    /// The kind.
    pub kind: FailureKind,
    /// The cause in words.
    pub message: String,
}

/// What a stage made of a batch, validated.
#[derive(Debug)]
pub struct Outcome {
    /// At most one a port, in order of ports.
    pub emissions: Vec<Emission>,
    /// Rows that the stage refused, in order of rows; disjoint from every selection.
    pub rejections: Vec<Rejection>,
    /// Where the time went.
    pub cost: Cost,
}

/// The rows of one port.
#[derive(Debug)]
pub struct Emission {
    /// Index of the port.
    pub port: usize,
    /// Which input rows they came from.
    pub selection: Selection,
    /// The rows; the schema is the port's.
    pub records: RecordBatch,
}

/// A refused row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Row of the input.
    pub row: u32,
    /// Why.
    pub reason: String,
}

/// Where the time of a call went.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cost {
    /// Bringing the columns into the form in which they cross.
    pub copy_in: Duration,
    /// The call: the copy into the guest, the guest itself, the copy out of it. They are one call of wasmtime, which
    /// cannot be timed apart.
    pub guest: Duration,
    /// Building Arrow's arrays from what came back, with the checks of their content.
    pub copy_out: Duration,
    /// Checking selections and rejections, and selecting the passed columns.
    pub validate: Duration,
}

impl CallFailure {
    /// What the stage returned cannot be used.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        let message = plain(&message.into(), units::DEAD_LETTER_MESSAGE_BYTES_MAX);
        Self { kind: FailureKind::InvalidOutput, message }
    }

    /// The same as an error of the pipeline, for what happens before it runs.
    pub(super) fn into_error(self) -> Error {
        let code = match self.kind {
            FailureKind::Trap => Code::W004,
            FailureKind::Deadline => Code::W005,
            FailureKind::OutOfMemory => Code::W006,
            FailureKind::InvalidOutput => Code::W007,
            _ => Code::W003,
        };
        let help = match self.kind {
            FailureKind::Deadline => "raise `limits.time`, or look for an endless loop",
            FailureKind::OutOfMemory => "raise `limits.memory`",
            _ => return Error::user(code, self.message),
        };
        Error::user(code, self.message).help(help)
    }
}

impl Instance {
    pub(super) fn new(bound: Bound, store: Store<State>, transform: wit::Guest) -> Self {
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

/// Sets the deadline of the next call.
pub(super) fn arm(store: &mut Store<State>, time: Duration) {
    // The tick that is under way counts for nothing, so one more.
    let ticks = time.as_nanos().div_ceil(units::STAGE_TICK.as_nanos()) + 1;
    let ticks = u64::try_from(ticks).unwrap_or(u64::MAX / 2).min(u64::MAX / 2);
    store.set_epoch_deadline(ticks);
    store.data().ticker.need(ticks);
    store.data_mut().meter.begin();
}

/// The answer of a call, or why there is none.
pub(super) fn answer<T>(
    store: &Store<State>,
    result: wasmtime::Result<Result<T, String>>,
) -> Result<T, CallFailure> {
    let error = match result {
        Ok(answer) => {
            store.data().guest_log().call_ended();
            match answer {
                Ok(answer) => return Ok(answer),
                Err(message) => CallFailure {
                    kind: FailureKind::StageError,
                    message: plain(&message, units::DEAD_LETTER_MESSAGE_BYTES_MAX),
                },
            }
        }
        Err(error) => failure(&error, &mut store.data().guest_log()),
    };
    if store.data().meter.refused() && error.kind != FailureKind::Deadline {
        let message = format!("it asked for more memory than its limit; {}", error.message);
        return Err(CallFailure { kind: FailureKind::OutOfMemory, message });
    }
    Err(error)
}

/// What wasmtime's error means. A trap of the guest carries a backtrace; an error without one was found while its
/// results were lifted.
fn failure(error: &wasmtime::Error, log: &mut Log) -> CallFailure {
    if let Some(full) = error.downcast_ref::<PoolConcurrencyLimitError>() {
        return CallFailure { kind: FailureKind::OutOfMemory, message: format!("the pool is full: {full}") };
    }
    let backtrace = error.downcast_ref::<WasmBacktrace>();
    let kind = match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => FailureKind::Deadline,
        Some(
            Trap::InvalidChar
            | Trap::StringOutOfBounds
            | Trap::ListOutOfBounds
            | Trap::InvalidDiscriminant
            | Trap::UnalignedPointer,
        ) => FailureKind::InvalidOutput,
        Some(_) => FailureKind::Trap,
        None if backtrace.is_some() => FailureKind::Trap,
        None => FailureKind::InvalidOutput,
    };
    let root = error.root_cause().to_string();
    let message = match kind {
        FailureKind::Deadline => "it did not answer in time".to_owned(),
        FailureKind::InvalidOutput => format!("what it returned cannot be read: {root}"),
        _ => {
            let frames = backtrace.map(WasmBacktrace::frames).unwrap_or_default();
            let function = frames.iter().filter_map(FrameInfo::func_name).find_map(frames::of_author);
            trap(&log.trapped(), function.as_deref(), &root)
        }
    };
    // Where it was no trap, what the stage said is a line like others.
    log.call_ended();
    CallFailure { kind, message: plain(&message, units::DEAD_LETTER_MESSAGE_BYTES_MAX) }
}

/// The cause of a trap in words: what the stage said last, the first function of its author, what wasmtime says.
fn trap(said: &[String], function: Option<&str>, root: &str) -> String {
    let said = cause(said);
    match (said.is_empty(), function) {
        (true, None) => root.to_owned(),
        (true, Some(function)) => format!("{root} in `{}`", cut(function, FUNCTION_BYTES_MAX)),
        (false, None) => format!("{said} ({root})"),
        (false, Some(function)) => format!("{said} (in `{}`; {root})", cut(function, FUNCTION_BYTES_MAX)),
    }
}

/// What a panic of Rust says, in one line and without its advice; the lines of other languages as they are. It is not said to
/// have "panicked": who searches the log for that looks for the engine's own panics.
fn cause(said: &[String]) -> String {
    let lines = said.iter().flat_map(|text| text.lines()).map(str::trim_end);
    let lines: Vec<&str> =
        lines.filter(|l| !l.is_empty() && !l.starts_with("note: run with `RUST_BACKTRACE")).collect();
    match lines.split_first() {
        Some((first, rest)) => match first.split_once("panicked at ") {
            Some((_, place)) => format!("panic at {}", [&[place][..], rest].concat().join(" ")),
            None => lines.join("\n"),
        },
        None => String::new(),
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

#[cfg(test)]
mod tests {
    use super::trap;

    #[test]
    fn the_cause_of_a_trap_is_what_was_said_where_and_what_wasm_says() {
        let root = "wasm trap: unreachable";
        let said = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
        assert_eq!(trap(&[], None, root), root);
        assert_eq!(trap(&[], Some("late::work"), root), "wasm trap: unreachable in `late::work`");
        let panic = said(&["panicked at src/lib.rs:7:9:\nindex out of bounds: the length is 1"]);
        assert_eq!(
            trap(&panic, Some("late::work"), root),
            "panic at src/lib.rs:7:9: index out of bounds: the length is 1 (in `late::work`; wasm trap: unreachable)"
        );
        let of_std = said(&[
            "",
            "thread '<unnamed>' (1) panicked at src/lib.rs:7:9:",
            "no",
            "note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace",
        ]);
        assert_eq!(trap(&of_std, None, root), "panic at src/lib.rs:7:9: no (wasm trap: unreachable)");
        let python = said(&[
            "Traceback (most recent call last):",
            "  File \"app.py\", line 3, in process",
            "ValueError: no",
        ]);
        assert!(trap(&python, None, root).contains(", in process\nValueError: no (wasm trap: unreachable)"));
    }
}
