//! Guests that were compiled: modes of `tests/guests/hostile` and `tests/guests/hostile-wasi`.

use pipe_tests::hostile::Expect::{self, Chance, Letters, Passes, Refused, Rows, SomeLetters};
use pipe_tests::hostile::{Case, Guest};

/// Guest, mode, what must come of it, part of what the operator sees, its name in the table.
type Line = (&'static str, &'static str, Expect, &'static str, &'static str);

const HOSTILE: &str = "hostile";
const WASI: &str = "hostile-wasi";
/// Two batches.
const ROWS: usize = 12;

/// Calls that do not come back, or come back as a trap.
const CALLS: &[Line] = &[
    (HOSTILE, "loop", Letters("deadline"), "did not answer in time", "an endless loop"),
    (HOSTILE, "trap", Letters("trap"), "unreachable", "a trap on every call"),
    (HOSTILE, "trap-every=1000", SomeLetters("trap", 3), "unreachable", "a trap on every 1,000th row"),
    (
        HOSTILE,
        "good-then-trap",
        Passes,
        "a batch failed",
        "a trap on every call of an instance but the first",
    ),
    (HOSTILE, "panic", Letters("trap"), "unreachable", "a panic"),
    (HOSTILE, "recurse", Letters("trap"), "stack", "recursion without end"),
    (HOSTILE, "overflow", Letters("trap"), "out of bounds", "its own stack overflows"),
    (HOSTILE, "recurse-through-host", Chance(&["trap", "deadline"]), "", "recursion through the host's log"),
    (HOSTILE, "hoard", Chance(&["out_of_memory", "deadline"]), "", "memory without end"),
    (HOSTILE, "leak-slowly", Passes, "", "memory leaked over many calls"),
    (HOSTILE, "pump", Passes, "", "memory grown and dropped 2,000 times"),
    (HOSTILE, "error", Letters("stage_error"), "not liked", "an error"),
    (HOSTILE, "answers-otherwise", Rows(6), "", "another answer to each call of an instance"),
];

/// Text that is too long, or no text.
const TEXT: &[Line] = &[
    (HOSTILE, "huge-error", Letters("stage_error"), "eee", "an error of 8 MiB"),
    (HOSTILE, "error-of-48-mib", Chance(&["invalid_output", "deadline"]), "", "an error of 48 MiB"),
    (
        HOSTILE,
        "error-of-escapes",
        Letters("stage_error"),
        "end",
        "an error that drives terminals and forges log lines",
    ),
    (HOSTILE, "error-not-utf8", Letters("invalid_output"), "utf-8", "an error that is no UTF-8"),
    (HOSTILE, "error-empty", Letters("stage_error"), "", "an error without words"),
    (HOSTILE, "reason-of-8-mib", Chance(&["rejected", "deadline"]), "", "a rejection of 8 MiB"),
    (HOSTILE, "reason-of-48-mib", Chance(&["invalid_output", "deadline"]), "", "a rejection of 48 MiB"),
    (HOSTILE, "huge-reasons", Chance(&["rejected", "deadline"]), "", "8 MiB of reason for each row"),
    (HOSTILE, "reason-not-utf8", Letters("invalid_output"), "utf-8", "a rejection that is no UTF-8"),
    (HOSTILE, "reason-of-escapes", Chance(&["rejected"]), "", "a rejection that drives terminals"),
    (
        HOSTILE,
        "log-flood-of-errors",
        Chance(&["deadline"]),
        "log lines of the stage were suppressed",
        "100,000 log lines a call",
    ),
    (HOSTILE, "log-huge", Chance(&["deadline"]), "", "a log line of 8 MiB"),
    (HOSTILE, "log-of-escapes", Passes, "", "log lines that drive terminals and forge lines"),
    (HOSTILE, "log-not-utf8", Letters("trap"), "utf-8", "a log line that is no UTF-8"),
];

/// Selections and rejections that contradict.
const ROWS_OF: &[Line] = &[
    (HOSTILE, "mask-short", Letters("invalid_output"), "mask", "a mask that is too short"),
    (HOSTILE, "mask-long", Letters("invalid_output"), "mask", "a mask that is too long"),
    (HOSTILE, "mask-bits", Letters("invalid_output"), "past row", "mask bits past the end"),
    (HOSTILE, "take-out-of-range", Letters("invalid_output"), "", "a take index out of range"),
    (HOSTILE, "take-too-many", Letters("invalid_output"), "rows", "2,097,152 rows taken"),
    (
        HOSTILE,
        "take-the-limit",
        Letters("invalid_output"),
        "rows",
        "rows over two ports beyond the limit of their sum",
    ),
    (HOSTILE, "rows-grow", Rows(24), "", "every row twice"),
    (HOSTILE, "reject-twice", Letters("invalid_output"), "is rejected", "a row rejected twice"),
    (HOSTILE, "reject-out-of-range", Letters("invalid_output"), "", "a rejected row out of range"),
    (
        HOSTILE,
        "reject-selected-mask",
        Letters("invalid_output"),
        "both rejected and selected",
        "a row both rejected and selected by a mask",
    ),
    (
        HOSTILE,
        "reject-selected-take",
        Letters("invalid_output"),
        "row 1 of 1",
        "a row both rejected and taken",
    ),
    (HOSTILE, "every-row-reject", Letters("invalid_output"), "every-row", "every row selected, one rejected"),
    (HOSTILE, "reject-all", Letters("rejected"), "all of them", "every row rejected"),
    (HOSTILE, "reject-a-million", Letters("invalid_output"), "", "a million rejections"),
    (HOSTILE, "emit-twice", Letters("invalid_output"), "emitted twice", "two emissions for one port"),
    (
        HOSTILE,
        "emit-unknown",
        Letters("invalid_output"),
        "output 2 of 2",
        "an emission for a port that is not there",
    ),
    (HOSTILE, "emit-a-million", Chance(&["invalid_output", "deadline"]), "", "a million emissions"),
    (HOSTILE, "emit-nothing", Rows(0), "", "no emission at all"),
];

/// Arrays that lie.
const ARRAYS: &[Line] = &[
    (HOSTILE, "length-lies", Letters("invalid_output"), "rows", "an array's length of 4,294,967,295"),
    (
        HOSTILE,
        "length-short",
        Letters("invalid_output"),
        "rows instead of",
        "an array's length one too small",
    ),
    (
        HOSTILE,
        "computed-too-long",
        Letters("invalid_output"),
        "rows instead of",
        "a computed column that is too long",
    ),
    (
        HOSTILE,
        "computed-too-short",
        Letters("invalid_output"),
        "rows instead of",
        "a computed column that is too short",
    ),
    (HOSTILE, "null-count-lies", Letters("invalid_output"), "nulls are declared", "a null count that lies"),
    (
        HOSTILE,
        "null-count-without-bitmap",
        Letters("invalid_output"),
        "no validity bitmap",
        "nulls without a bitmap",
    ),
    (
        HOSTILE,
        "validity-size",
        Letters("invalid_output"),
        "bytes instead of",
        "a validity bitmap of the wrong size",
    ),
    (HOSTILE, "validity-bits", Letters("invalid_output"), "past row", "validity bits past the end"),
    (HOSTILE, "values-short", Letters("invalid_output"), "bytes of values", "values cut short"),
    (HOSTILE, "values-long", Letters("invalid_output"), "bytes of values", "values with bytes behind them"),
    (HOSTILE, "no-buffers", Letters("invalid_output"), "no buffers", "an array without buffers"),
    (
        HOSTILE,
        "many-buffers",
        Letters("invalid_output"),
        "too many buffers",
        "an array with a buffer too many",
    ),
    (HOSTILE, "array-missing", Letters("invalid_output"), "missing", "a computed array that is missing"),
    (HOSTILE, "array-extra", Letters("invalid_output"), "too many", "a computed array too many"),
    (HOSTILE, "computed-for-passed", Letters("invalid_output"), "", "an array for a port that computes none"),
    (HOSTILE, "other-type", Letters("invalid_output"), "", "an array of another type than declared"),
    (
        HOSTILE,
        "nulls-in-required",
        Letters("invalid_output"),
        "not nullable",
        "nulls in a column without nulls",
    ),
    (HOSTILE, "decimal-too-large", Letters("invalid_output"), "1000", "a decimal beyond its precision"),
    (HOSTILE, "giant-of-nulls", Refused("W007"), "one row", "bind: fixed-size lists of 2^30 nulls"),
    (HOSTILE, "offsets-out-of-range", Letters("invalid_output"), "bytes of text", "offsets out of range"),
    (HOSTILE, "offsets-back", Letters("invalid_output"), "bytes of text", "offsets that go back"),
    (HOSTILE, "offsets-first", Letters("invalid_output"), "first offset", "a first offset that is not 0"),
    (HOSTILE, "offsets-short", Letters("invalid_output"), "offsets", "offsets cut short"),
    (HOSTILE, "invalid-utf8", Letters("invalid_output"), "", "a column of text that is no UTF-8"),
    (
        HOSTILE,
        "list-child-short",
        Letters("invalid_output"),
        "rows instead of",
        "a list whose child is too short",
    ),
    (HOSTILE, "list-child-missing", Letters("invalid_output"), "missing", "a list without its child"),
    (HOSTILE, "keys-out-of-range", Letters("invalid_output"), "", "dictionary keys out of range"),
    (HOSTILE, "boolean-bits", Letters("invalid_output"), "past row", "booleans with bits past the end"),
    (HOSTILE, "aliased", Letters("invalid_output"), "too much data", "4,096 lists on the same 16 MiB"),
    (HOSTILE, "zone-of-nowhere", Refused("P009"), "zone", "a time zone that does not exist"),
    (HOSTILE, "year-of-no-calendar", Passes, "", "times outside of every calendar"),
    (HOSTILE, "nan", Passes, "", "numbers that JSON does not have"),
    (HOSTILE, "binary", Passes, "", "bytes that are no text"),
];

/// Answers of `bind` that cannot be.
const BIND: &[Line] = &[
    (HOSTILE, "bind-loop", Refused("W005"), "in time", "bind: an endless loop"),
    (HOSTILE, "bind-trap", Refused("W004"), "unreachable", "bind: a trap"),
    (HOSTILE, "bind-hoard", Refused("W006"), "memory", "bind: memory without end"),
    (HOSTILE, "bind-error", Refused("P005"), "does not suit", "bind: an error"),
    (HOSTILE, "bind-reads", Refused("W007"), "column 7", "bind: reads a column that is not there"),
    (HOSTILE, "bind-reads-a-million", Refused("W007"), "twice", "bind: reads a million times the same"),
    (HOSTILE, "bind-passed", Refused("W007"), "column 3", "bind: passes a column that is not there"),
    (HOSTILE, "bind-port-twice", Refused("W007"), "two ports", "bind: duplicate ports"),
    (HOSTILE, "bind-port-name", Refused("W007"), "kebab-case", "bind: a port's name that is none"),
    (HOSTILE, "bind-huge-port-name", Refused("W007"), "", "bind: a port's name of 8 MiB"),
    (HOSTILE, "bind-escapes", Refused("W007"), "kebab-case", "bind: a port's name that drives terminals"),
    (HOSTILE, "bind-no-output", Refused("W007"), "0 outputs", "bind: no port"),
    (HOSTILE, "bind-100000-ports", Refused("W007"), "100000 outputs", "bind: 100,000 ports"),
    (HOSTILE, "bind-column-twice", Refused("W007"), "two columns", "bind: duplicate columns"),
    (HOSTILE, "bind-100000-nested", Refused("W007"), "deeper", "bind: 100,000 nested fields"),
    (HOSTILE, "bind-100000-wide", Refused("W007"), "fields", "bind: 100,000 wide fields"),
    (
        HOSTILE,
        "bind-100000-columns",
        Refused("W007"),
        "more than 4096 fields",
        "bind: 100,000 computed columns",
    ),
    (
        HOSTILE,
        "bind-100000-passed",
        Refused("W007"),
        "more than 4096 fields",
        "bind: one column passed 100,000 times",
    ),
    (HOSTILE, "bind-children", Refused("W007"), "ends before", "bind: a count of children that lies"),
    (
        HOSTILE,
        "bind-children-4-billion",
        Refused("W007"),
        "ends before",
        "bind: a count of children of 4,294,967,295",
    ),
    (HOSTILE, "bind-huge-name", Refused("W007"), "longer than", "bind: a column's name of 8 MiB"),
    (HOSTILE, "bind-huge-metadata", Refused("W007"), "metadata", "bind: 100,000 entries of metadata"),
    (HOSTILE, "bind-zone", Refused("P009"), "", "bind: a time zone that is a path"),
];

/// WASI misused.
const OVER_WASI: &[Line] = &[
    ("wasi", "", SomeLetters("rejected", 12), "file=denied", "files, network, environment, an hour's sleep"),
    (WASI, "sleep", Passes, "", "a sleep of an hour"),
    (WASI, "sleep-for-ever", Passes, "", "a sleep of 584 years"),
    (WASI, "sleep-in-poll", Passes, "", "a hundred sleeps through wasi:io/poll"),
    (WASI, "sleep-in-a-loop", Letters("deadline"), "in time", "sleeps of an hour, for ever"),
    (WASI, "busy-wait", Letters("deadline"), "in time", "a busy wait on the clock"),
    (WASI, "pollables", Letters("trap"), "", "a million pollables"),
    (WASI, "pollables-slowly", Passes, "", "pollables leaked over many calls"),
    (WASI, "poll-nothing", Letters("trap"), "", "a poll of nothing"),
    (WASI, "poll-a-million-times-one", Chance(&["trap", "deadline"]), "", "a poll of a million times one"),
    (WASI, "poll-out-of-bounds", Letters("trap"), "", "a poll of a list outside of its memory"),
    (WASI, "drop-twice", Letters("trap"), "", "a handle dropped twice"),
    (WASI, "drop-what-is-not-mine", Letters("trap"), "", "a handle that was never given"),
    (WASI, "use-after-drop", Letters("trap"), "", "a handle used after it was dropped"),
    (WASI, "handle-of-another-type", Letters("trap"), "", "a handle of another type"),
    (WASI, "random-4-gib", Letters("trap"), "", "random bytes of 4 GiB"),
    (WASI, "random-insecure-4-gib", Letters("trap"), "", "insecure random bytes of 16 EiB"),
    (WASI, "random-for-ever", Letters("deadline"), "in time", "random bytes for ever"),
    (WASI, "coin-trap", Chance(&["trap"]), "", "a trap by the toss of a coin"),
    (WASI, "coin-select", Chance(&["trap"]), "", "another answer on replay, by the toss of a coin"),
    (
        WASI,
        "stdout-flood",
        Chance(&["deadline"]),
        "log lines of the stage were suppressed",
        "100,000 lines to standard output",
    ),
    (WASI, "stderr-one-line", Chance(&["deadline"]), "", "a line of 64 MiB to standard error"),
    (WASI, "stdout-escapes", Passes, "", "standard output that drives terminals"),
    (WASI, "write-too-much", Letters("trap"), "", "a write beyond what check-write allows"),
    (WASI, "write-zeroes", Letters("trap"), "", "a write of 1 TiB of zeroes"),
    (WASI, "splice-for-ever", Passes, "", "a splice of 16 EiB"),
    (WASI, "streams", Letters("trap"), "", "a million streams"),
    (WASI, "exit-well", Letters("trap"), "", "exit(0) in the middle of a call"),
    (WASI, "exit-badly", Letters("trap"), "", "exit(1) in the middle of a call"),
    (WASI, "look-around", Passes, "", "preopened folders, environment, arguments"),
    (WASI, "bind-sleep", Passes, "", "bind: a sleep of an hour"),
    (WASI, "bind-exit", Refused("W004"), "", "bind: exit(1)"),
    (WASI, "bind-otherwise", Letters("invalid_output"), "", "bind: another answer at every time"),
];

/// Rows of the source: a few cases need more than two batches.
fn rows(mode: &str) -> usize {
    match mode {
        "trap-every=1000" => 3000,
        "leak-slowly" => 240,
        "pump" => 600,
        "pollables-slowly" => 60,
        _ => ROWS,
    }
}

/// The cases, in the order of the table.
pub fn cases() -> Vec<Case> {
    let case = |&(guest, mode, expect, saw, name): &Line| Case {
        name,
        guest: Guest::Prebuilt(guest),
        mode,
        rows: rows(mode),
        expect,
        saw,
    };
    [CALLS, TEXT, ROWS_OF, ARRAYS, BIND, OVER_WASI].into_iter().flatten().map(case).collect()
}
