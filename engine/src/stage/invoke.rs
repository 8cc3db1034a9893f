//! A call into a guest: its deadline, its answer, and what an error of Wasmtime means.

use std::time::Duration;

use wasmtime::{FrameInfo, PoolConcurrencyLimitError, Store, Trap, WasmBacktrace};

use super::frames;
use super::log::{Log, plain};
use super::outcome::CallFailure;
use super::state::State;
use crate::batch::FailureKind;
use crate::secret::cut;
use crate::units;

/// Bytes of a function's name in a cause.
const FUNCTION_BYTES_MAX: usize = 200;

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
