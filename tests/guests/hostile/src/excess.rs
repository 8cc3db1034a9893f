//! Modes that were added with the suite of whole pipelines (`tests/tests/hostile.rs`): excess in size and number, text
//! that is none, memory that misleads, recursion through the host.

use std::cell::{Cell, RefCell};
use std::hint::black_box;

use super::arrays::{int64, utf8};
use super::exports::pipe::stage::transform::{
    Binding, Emission, Outcome, Output, OutputColumn, Passed, RecordBatch, Rejection, Selection,
};
use super::field;
use super::pipe::stage::arrow::{Array, DataType, TimeUnit, TimestampType};
use super::pipe::stage::host::{Level, log};

thread_local! {
    static CALLS: Cell<u32> = const { Cell::new(0) };
    static LEAK: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

fn passed(index: u32) -> OutputColumn {
    OutputColumn::Passed(Passed { index, name: None })
}

fn computed(name: &str, data_type: DataType) -> OutputColumn {
    OutputColumn::Computed(vec![field(name, data_type, true, 0)])
}

/// The columns of port `out` in a mode of this module.
pub fn columns(mode: &str) -> Option<Vec<OutputColumn>> {
    Some(match mode {
        "bind-100000-nested" => {
            let mut fields = vec![field("l", DataType::Struct, true, 1); 100_000];
            fields.push(field("i", DataType::Int8, true, 0));
            vec![OutputColumn::Computed(fields)]
        }
        "bind-100000-wide" => {
            let mut fields = vec![field("s", DataType::Struct, true, 100_000)];
            fields.extend((0..100_000).map(|n| field(&n.to_string(), DataType::Int8, true, 0)));
            vec![OutputColumn::Computed(fields)]
        }
        "bind-100000-columns" => (0..100_000).map(|n| computed(&n.to_string(), DataType::Int8)).collect(),
        "bind-100000-passed" => (0..100_000)
            .map(|n| OutputColumn::Passed(Passed { index: 0, name: Some(n.to_string()) }))
            .collect(),
        "bind-children-4-billion" => {
            vec![OutputColumn::Computed(vec![field("s", DataType::Struct, true, u32::MAX)])]
        }
        "bind-huge-name" => vec![computed(&"n".repeat(8 << 20), DataType::Int8)],
        "bind-huge-metadata" => {
            let mut huge = field("m", DataType::Int8, true, 0);
            huge.metadata = (0..100_000).map(|n| (n.to_string(), "x".to_owned())).collect();
            vec![OutputColumn::Computed(vec![huge])]
        }
        "bind-zone" => vec![computed(
            "t",
            DataType::Timestamp(TimestampType {
                unit: TimeUnit::Second,
                timezone: Some("../../../etc/passwd".into()),
            }),
        )],
        "other-type" | "unaligned" | "computed-too-long" | "computed-too-short" => {
            vec![computed("c", DataType::Int64)]
        }
        "zone-of-nowhere" => vec![computed(
            "t",
            DataType::Timestamp(TimestampType {
                unit: TimeUnit::Second,
                timezone: Some("Nowhere/At-All".into()),
            }),
        )],
        "year-of-no-calendar" => {
            vec![computed("t", DataType::Timestamp(TimestampType { unit: TimeUnit::Second, timezone: None }))]
        }
        "nan" => vec![computed("f", DataType::Float64)],
        "binary" => vec![computed("b", DataType::Binary)],
        _ => return None,
    })
}

/// The whole answer of `bind` in a mode of this module.
pub fn binding(mode: &str) -> Option<Binding> {
    let out = |name: String| Output { name, columns: vec![passed(0)] };
    Some(match mode {
        "bind-reads-a-million" => Binding { reads: vec![0; 1_000_000], outputs: vec![out("out".into())] },
        "bind-100000-ports" => {
            Binding { reads: vec![], outputs: (0..100_000).map(|n| out(format!("p{n}"))).collect() }
        }
        "bind-huge-port-name" => Binding { reads: vec![], outputs: vec![out("p".repeat(8 << 20))] },
        "bind-escapes" => Binding { reads: vec![], outputs: vec![out("\x1b[2J\n{\"forged\":1}".into())] },
        _ => return None,
    })
}

/// A vector at an odd address: no more than the contract allows, and what a host must copy.
fn at_odd_address(bytes: &[u8]) -> Vec<u8> {
    let mut whole = vec![0u8; bytes.len() + 2];
    let shift = 1 - (whole.as_ptr() as usize) % 2;
    whole[shift..shift + bytes.len()].copy_from_slice(bytes);
    let start = whole.leak()[shift..].as_mut_ptr();
    // SAFETY: the vector lies within memory that is leaked; the bindings do not free what they return.
    unsafe { Vec::from_raw_parts(start, bytes.len(), bytes.len()) }
}

/// The computed arrays of a mode of this module.
pub fn arrays(mode: &str, rows: u32) -> Option<Vec<Array>> {
    let n = rows as usize;
    let eight = |word: [u8; 8]| Array { length: rows, null_count: 0, buffers: vec![vec![], word.repeat(n)] };
    Some(vec![match mode {
        "other-type" => utf8(n),
        "unaligned" => {
            let mut array = int64(n);
            array.buffers[1] = at_odd_address(&array.buffers[1]);
            array
        }
        "computed-too-long" => int64(n + 1),
        "computed-too-short" => int64(n - 1),
        "zone-of-nowhere" | "year-of-no-calendar" => eight((i64::MAX - 7).to_le_bytes()),
        "nan" => eight(f64::NAN.to_le_bytes()),
        "binary" => Array { buffers: vec![vec![], offsets(n), vec![0xff; n]], length: rows, null_count: 0 },
        _ => return None,
    }])
}

fn offsets(rows: usize) -> Vec<u8> {
    (0..=rows as i32).flat_map(i32::to_le_bytes).collect()
}

fn all(output: u32) -> Emission {
    Emission { output, rows: Selection::EveryRow, computed: vec![] }
}

fn reject_first(reason: String) -> Outcome {
    Outcome { emissions: vec![], rejections: vec![Rejection { row: 0, reason }] }
}

/// Text that is not UTF-8, as no safe program could return it.
fn not_text(bytes: &'static [u8]) -> String {
    // SAFETY: none; the text is only handed to the host.
    unsafe { String::from_utf8_unchecked(bytes.to_vec()) }
}

/// What `process` answers in a mode of this module.
pub fn process(mode: &str, input: &RecordBatch) -> Option<Result<Outcome, String>> {
    let rows = input.length;
    let outcome = |emissions, rejections| Outcome { emissions, rejections };
    Some(match mode {
        "error-of-48-mib" => Err("e".repeat(48 << 20)),
        "error-of-escapes" => Err("\x1b[2J\n{\"level\":\"INFO\"}\r\0\u{202e}end".into()),
        "error-not-utf8" => Err(not_text(b"\xff\xfe")),
        "error-empty" => Err(String::new()),
        "reason-of-8-mib" => Ok(reject_first("r".repeat(8 << 20))),
        "reason-of-48-mib" => Ok(reject_first("r".repeat(48 << 20))),
        "reason-not-utf8" => Ok(reject_first(not_text(b"\xc3\x28"))),
        "reason-of-escapes" => Ok(reject_first("\x1b[31m\n\"}\0\u{7f}".into())),
        "reject-all" => {
            let reject = |row| Rejection { row, reason: "all of them".into() };
            Ok(outcome(vec![], (0..rows).map(reject).collect()))
        }
        "reject-a-million" => {
            let reject = |n: u32| Rejection { row: n % rows, reason: String::new() };
            Ok(outcome(vec![], (0..1_000_000).map(reject).collect()))
        }
        "emit-a-million" => Ok(outcome((0..1_000_000).map(|n| all(n % 2)).collect(), vec![])),
        "emit-nothing" => Ok(outcome(vec![], vec![])),
        "computed-for-passed" => {
            let computed = vec![int64(rows as usize)];
            Ok(outcome(vec![Emission { output: 1, rows: Selection::EveryRow, computed }], vec![]))
        }
        "take-the-limit" => {
            // Rows for both ports: each is within the limit, their sum is not.
            let half =
                |output| Emission { output, rows: Selection::Take(vec![0; 600_000]), computed: vec![] };
            Ok(outcome(vec![half(0), half(1)], vec![]))
        }
        _ => return state(mode, rows),
    })
}

/// Modes that do something before they answer properly, or that remember.
fn state(mode: &str, rows: u32) -> Option<Result<Outcome, String>> {
    let calls = CALLS.get();
    CALLS.set(calls + 1);
    let mut emissions = vec![all(0)];
    match mode {
        "log-flood-of-errors" => (0..100_000).for_each(|n| log(Level::Error, &format!("line {n}"))),
        "log-of-escapes" => log(Level::Error, "\x1b[2J\n{\"level\":\"ERROR\",\"message\":\"forged\"}\r\0"),
        "log-not-utf8" => log(Level::Error, &not_text(b"\xff")),
        "recurse-through-host" => drop(black_box(recurse(0))),
        // Hours of growing and shrinking, scaled: a guest's memory never gives pages back, and must not need more.
        "pump" => (1..=20).for_each(|n| drop(black_box(vec![1u8; n << 17]))),
        "leak-slowly" => LEAK.with_borrow_mut(|leak| leak.push(vec![1; 4 << 20])),
        // On a second look the same rows are not selected any more.
        "answers-otherwise" if calls % 2 == 1 => emissions[0].rows = Selection::Take(vec![]),
        "answers-otherwise" => {}
        "good-then-trap" if calls > 0 => core::arch::wasm32::unreachable(),
        "good-then-trap" => {}
        "rows-grow" => emissions[0].rows = Selection::Take((0..rows).chain(0..rows).collect()),
        _ => return None,
    }
    Some(Ok(Outcome { emissions, rejections: vec![] }))
}

#[inline(never)]
fn recurse(depth: u32) -> u32 {
    log(Level::Debug, "deeper");
    if black_box(true) { recurse(depth + 1) + black_box(depth) } else { depth }
}
