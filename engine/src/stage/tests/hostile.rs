//! What a guest does on purpose, and what the host makes of it: a typed failure, and a host that goes on.

use std::time::Duration;

use serde_json::json;

use super::guests::{limits, load, numbers};
use crate::batch::{FailureKind, Selection};
use crate::clock::{Clock, SystemClock};
use crate::error::Code;
use crate::stage::{Bound, CallFailure, Instance, Limits, Outcome};

fn bind(mode: &str, limits: &Limits) -> crate::error::Result<Bound> {
    load("hostile").bind("hostile", &numbers(0).schema(), &json!({ "mode": mode }), limits)
}

fn short() -> Limits {
    Limits { time: Duration::from_millis(50), ..limits() }
}

fn run(mode: &str, limits: &Limits) -> Result<(Outcome, Instance), CallFailure> {
    let mut instance = bind(mode, limits).unwrap().instantiate().unwrap();
    instance.process(&numbers(11)).map(|outcome| (outcome, instance))
}

#[test]
fn each_fault_has_its_kind_and_the_host_goes_on() {
    use FailureKind::*;
    let cases = [
        ("trap", Trap, "unreachable"),
        ("panic", Trap, "unreachable"),
        ("recurse", Trap, "stack"),
        ("overflow", Trap, "out of bounds"),
        ("hoard", OutOfMemory, "memory"),
        ("loop", Deadline, "in time"),
        ("error", StageError, "not liked"),
        ("huge-error", StageError, "eee"),
        ("huge-reasons", InvalidOutput, "too much data"),
        ("aliased", InvalidOutput, "too much data"),
        ("length-lies", InvalidOutput, "rows"),
        ("length-short", InvalidOutput, "10 rows instead of 11"),
        ("null-count-lies", InvalidOutput, "nulls are declared"),
        ("null-count-without-bitmap", InvalidOutput, "no validity bitmap"),
        ("validity-size", InvalidOutput, "3 bytes instead of 2"),
        ("validity-bits", InvalidOutput, "past row 11"),
        ("values-short", InvalidOutput, "87 bytes of values instead of 88"),
        ("values-long", InvalidOutput, "89 bytes of values instead of 88"),
        ("no-buffers", InvalidOutput, "no buffers"),
        ("many-buffers", InvalidOutput, "too many buffers"),
        ("array-missing", InvalidOutput, "missing"),
        ("array-extra", InvalidOutput, "1 arrays too many"),
        ("nulls-in-required", InvalidOutput, "not nullable"),
        ("decimal-too-large", InvalidOutput, "1000"),
        ("offsets-out-of-range", InvalidOutput, "22 bytes of text instead of"),
        ("offsets-back", InvalidOutput, "follows"),
        ("offsets-first", InvalidOutput, "the first offset is 1"),
        ("offsets-short", InvalidOutput, "bytes of offsets"),
        ("invalid-utf8", InvalidOutput, "UTF"),
        ("split-character", InvalidOutput, "within a character"),
        ("list-child-short", InvalidOutput, "11 rows instead of 22"),
        ("list-child-missing", InvalidOutput, "missing"),
        ("keys-out-of-range", InvalidOutput, "7"),
        ("boolean-bits", InvalidOutput, "past row 11"),
        ("mask-short", InvalidOutput, "1 bytes instead of 2"),
        ("mask-long", InvalidOutput, "3 bytes instead of 2"),
        ("mask-bits", InvalidOutput, "past row 11"),
        ("take-out-of-range", InvalidOutput, "row 11 of 11"),
        ("take-too-many", InvalidOutput, "more than"),
        ("reject-twice", InvalidOutput, "row 1 is rejected twice"),
        ("reject-out-of-range", InvalidOutput, "row 11 of 11"),
        ("reject-selected-mask", InvalidOutput, "row 0 is both"),
        ("reject-selected-take", InvalidOutput, "row 0 is both"),
        ("every-row-reject", InvalidOutput, "every-row"),
        ("emit-twice", InvalidOutput, "emitted twice"),
        ("emit-unknown", InvalidOutput, "output 2 of 2"),
    ];
    for (mode, kind, part) in cases {
        let limits = match mode {
            "loop" => short(),
            // It must be able to hold what it says.
            "huge-reasons" => Limits { memory_bytes: 256 << 20, ..limits() },
            _ => limits(),
        };
        let failure = run(mode, &limits).err().unwrap_or_else(|| panic!("{mode} is accepted"));
        assert_eq!(failure.kind, kind, "{mode}: {}", failure.message);
        assert!(failure.message.contains(part), "{mode}: {}", failure.message);
        assert!(failure.message.len() <= crate::units::DEAD_LETTER_MESSAGE_BYTES_MAX + 100, "{mode}");
        assert!(run("good", &limits).is_ok(), "after {mode}");
    }
}

#[test]
fn what_is_right_is_accepted() {
    for mode in ["int64", "utf8", "list", "dictionary", "boolean"] {
        let (outcome, _) = run(mode, &limits()).unwrap_or_else(|e| panic!("{mode}: {}", e.message));
        assert_eq!(outcome.emissions[0].records.num_rows(), 11, "{mode}");
    }
}

#[test]
fn empty_batches_are_no_special_case() {
    for mode in ["int64", "utf8", "list", "dictionary", "boolean", "good"] {
        let mut instance = bind(mode, &limits()).unwrap().instantiate().unwrap();
        let outcome = instance.process(&numbers(0)).unwrap_or_else(|e| panic!("{mode}: {}", e.message));
        assert_eq!(outcome.emissions[0].records.num_rows(), 0, "{mode}");
    }
}

#[test]
fn selections_and_rejections_arrive_in_order() {
    let (outcome, _) = run("reject", &limits()).unwrap();
    assert_eq!(outcome.rejections.len(), 1);
    assert_eq!((outcome.rejections[0].row, outcome.rejections[0].reason.as_str()), (0, "not wanted"));
    assert_eq!(outcome.emissions[0].records, numbers(11).slice(1, 10));
    let (outcome, _) = run("take-twice", &limits()).unwrap();
    let Selection::Take(rows) = &outcome.emissions[0].selection else { panic!("a take") };
    assert_eq!(rows.values(), &[10, 0, 0]);
    let (outcome, _) = run("emit-backwards", &limits()).unwrap();
    assert_eq!(outcome.emissions.iter().map(|e| e.port).collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn a_log_flood_passes_and_is_bounded() {
    for mode in ["log-flood", "log-huge"] {
        assert!(run(mode, &limits()).is_ok(), "{mode}");
    }
}

#[test]
fn a_trap_can_be_searched_for() {
    let bound = bind("trap-on=7", &limits()).unwrap();
    let batch = numbers(11);
    for (from, len, good) in [(0, 11, false), (0, 7, true), (7, 1, false), (8, 3, true)] {
        let result = bound.instantiate().unwrap().process(&batch.slice(from, len));
        assert_eq!(result.is_ok(), good, "{from}+{len}");
    }
}

#[test]
fn faults_of_bind_are_refused_with_a_code() {
    for (mode, code, part) in [
        ("bind-error", Code::P005, "does not suit"),
        ("bind-trap", Code::W004, "unreachable"),
        ("bind-hoard", Code::W006, "memory"),
        ("bind-reads", Code::W007, "column 7 of 1"),
        ("bind-reads-twice", Code::W007, "twice"),
        ("bind-passed", Code::W007, "column 3 of 1"),
        ("bind-port-name", Code::W007, "kebab-case"),
        ("bind-port-twice", Code::W007, "two ports"),
        ("bind-column-twice", Code::W007, "two columns"),
        ("bind-no-output", Code::W007, "0 outputs"),
        ("bind-ports", Code::W007, "1000 outputs"),
        ("bind-deep", Code::W007, "deeper"),
        ("bind-wide", Code::W007, "more than 4096"),
        ("bind-children", Code::W007, "ends before"),
        ("giant-of-nulls", Code::W007, "one row"),
    ] {
        let error = bind(mode, &limits()).err().unwrap_or_else(|| panic!("{mode} is accepted"));
        assert_eq!(error.code(), code, "{mode}: {error}");
        assert!(error.to_string().contains(part), "{mode}: {error}");
    }
}

#[test]
fn endless_loops_before_the_first_batch_end() {
    let begin = SystemClock::default();
    let error = bind("bind-loop", &short()).err().unwrap();
    assert_eq!(error.code(), Code::W005, "{error}");
    let error = load("hostile-describe-loop").describe(&short()).err().unwrap();
    assert_eq!(error.code(), Code::W005, "{error}");
    assert!(begin.now() < Duration::from_secs(30), "{:?}", begin.now());
}

#[test]
fn a_configuration_is_checked_against_the_published_schema_with_all_errors() {
    let config = json!({ "mode": 7, "colour": "red" });
    let error = load("hostile").bind("n", &numbers(0).schema(), &config, &limits()).err().unwrap();
    assert_eq!(error.code(), Code::P005);
    assert!(error.message().contains("mode") && error.message().contains("colour"), "{error}");
    let config = json!({ "x": 1 });
    let error = load("identity").bind("n", &numbers(0).schema(), &config, &limits()).err().unwrap();
    assert!(error.message().contains("no configuration"), "{error}");
}

#[test]
fn memory_is_metered_and_flat() {
    let bound = load("identity").bind("n", &numbers(0).schema(), &json!({}), &limits()).unwrap();
    let mut instance = bound.instantiate().unwrap();
    let batch = numbers(8192);
    for _ in 0..20 {
        instance.process(&batch).unwrap();
    }
    let peak = instance.memory_peak();
    assert!(peak > 64 << 10 && peak < 4 << 20, "{peak}");
    for _ in 0..500 {
        instance.process(&batch).unwrap();
    }
    assert_eq!(instance.memory_peak(), peak);
}

#[test]
fn a_limit_below_the_components_own_memory_is_out_of_memory() {
    let error = bind("good", &Limits { memory_bytes: 64 << 10, ..limits() }).err().unwrap();
    assert_eq!(error.code(), Code::W006, "{error}");
}
