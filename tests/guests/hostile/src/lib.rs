//! A guest that misbehaves on purpose. `config` is `{"mode": "..."}`; the host's tests say what must come of each.
//!
//! Its input is one `int64` column. Its outputs are `out`, which has the computed columns of the mode, and `other`,
//! which passes the input.

mod arrays;
mod excess;

use arrays::{boolean, dictionary, int64, list_of_int64, utf8};

wit_bindgen::generate!({ path: "../../../wit", world: "stage" });

use exports::pipe::stage::transform::{
    Binding, Description, Emission, Field, Guest, Outcome, Output, OutputColumn, Passed, RecordBatch,
    Rejection, Schema, Selection,
};
use pipe::stage::arrow::{Array, DataType, DictionaryType, IndexType};
use pipe::stage::host::{Level, log};
use std::cell::RefCell;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};

thread_local! {
    static MODE: RefCell<String> = const { RefCell::new(String::new()) };
    static CALLS: RefCell<u32> = const { RefCell::new(0) };
}

struct Hostile;

fn forever() -> ! {
    let mut n = 0u64;
    loop {
        n = black_box(n.wrapping_add(1));
    }
}

#[inline(never)]
fn overflow(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    if black_box(true) { overflow(depth + 1) + frame[depth as usize % 64] } else { depth }
}

/// Uses up the host's stack of calls rather than the guest's own stack, which lies in its memory.
#[inline(never)]
fn recurse(depth: u64) -> u64 {
    static STOP: AtomicBool = AtomicBool::new(false);
    if STOP.load(Ordering::Relaxed) { depth } else { recurse(depth + 1).wrapping_mul(31) ^ depth }
}

fn hoard() -> ! {
    let mut hoard = Vec::new();
    loop {
        hoard.push(black_box(vec![1u8; 1 << 20]));
    }
}

fn field(name: &str, data_type: DataType, nullable: bool, children: u32) -> Field {
    Field { name: name.into(), data_type, nullable, children, metadata: Vec::new() }
}

/// The value of `"mode"`, and the number after it if it ends in `=n`.
fn mode(config: &str) -> String {
    let value = config.split("\"mode\"").nth(1).and_then(|rest| rest.split('"').nth(1));
    value.unwrap_or_default().to_owned()
}

/// The computed columns of port `out` in a mode.
fn columns(mode: &str) -> Vec<OutputColumn> {
    if let Some(columns) = excess::columns(mode) {
        return columns;
    }
    let computed = |fields| vec![OutputColumn::Computed(fields)];
    match mode {
        "utf8"
        | "offsets-out-of-range"
        | "offsets-back"
        | "offsets-first"
        | "invalid-utf8"
        | "split-character"
        | "offsets-short" => computed(vec![field("c", DataType::Utf8, true, 0)]),
        "list" | "list-child-short" | "list-child-missing" | "aliased" => {
            computed(vec![field("c", DataType::List, true, 1), field("item", DataType::Int64, true, 0)])
        }
        "dictionary" | "keys-out-of-range" => {
            let keys = DictionaryType { keys: IndexType::Int32, ordered: false };
            computed(vec![
                field("c", DataType::Dictionary(keys), true, 1),
                field("values", DataType::Utf8, true, 0),
            ])
        }
        "boolean" | "boolean-bits" => computed(vec![field("c", DataType::Boolean, true, 0)]),
        "nulls-in-required" => computed(vec![field("c", DataType::Int64, false, 0)]),
        "decimal-too-large" => {
            let ty = pipe::stage::arrow::DecimalType { precision: 3, scale: 0 };
            computed(vec![field("c", DataType::Decimal128(ty), true, 0)])
        }
        "giant-of-nulls" => computed(vec![
            field("c", DataType::FixedSizeList(1 << 30), true, 1),
            field("item", DataType::Null, true, 0),
        ]),
        "int64"
        | "length-lies"
        | "length-short"
        | "null-count-lies"
        | "null-count-without-bitmap"
        | "validity-size"
        | "validity-bits"
        | "values-short"
        | "values-long"
        | "no-buffers"
        | "many-buffers"
        | "array-missing"
        | "array-extra" => computed(vec![field("c", DataType::Int64, true, 0)]),
        _ => vec![OutputColumn::Passed(Passed { index: 0, name: None })],
    }
}

/// The array (or arrays) of the computed column, right or wrong as the mode says.
fn computed(mode: &str, rows: u32) -> Vec<Array> {
    if let Some(arrays) = excess::arrays(mode, rows) {
        return arrays;
    }
    let n = rows as usize;
    let mut a = int64(n);
    match mode {
        "int64" => {}
        "length-lies" => a.length = u32::MAX,
        "length-short" => a.length = rows.saturating_sub(1),
        "null-count-lies" => {
            a.buffers[0] = vec![0xff; n.div_ceil(8)];
            if rows % 8 != 0 {
                *a.buffers[0].last_mut().unwrap() = (1 << (rows % 8)) - 1;
            }
            a.null_count = 1;
        }
        "null-count-without-bitmap" => a.null_count = rows,
        "validity-size" => a.buffers[0] = vec![0xff; n.div_ceil(8) + 1],
        "validity-bits" => a.buffers[0] = vec![0xff; n.div_ceil(8)],
        "values-short" => drop(a.buffers[1].pop()),
        "values-long" => a.buffers[1].push(0),
        "no-buffers" => a.buffers.clear(),
        "many-buffers" => a.buffers.push(Vec::new()),
        "array-missing" => return Vec::new(),
        "array-extra" => return vec![a.clone(), a],
        "nulls-in-required" => {
            a.buffers[0] = vec![0; n.div_ceil(8)];
            a.null_count = rows;
        }
        "utf8" => return vec![utf8(n)],
        "offsets-out-of-range" => return vec![arrays::offset(utf8(n), n, 1 << 30)],
        "offsets-back" => return vec![arrays::offset(utf8(n), 1, 1 << 20)],
        "offsets-first" => return vec![arrays::offset(utf8(n), 0, 1)],
        "offsets-short" => {
            a = utf8(n);
            a.buffers[1].truncate(4);
        }
        "invalid-utf8" => {
            a = utf8(n);
            a.buffers[2][0] = 0xff;
        }
        "split-character" => {
            // Each row has two bytes: a character of three bytes lies over the border of the first two rows.
            a = utf8(n);
            a.buffers[2][..4].copy_from_slice("a\u{20ac}".as_bytes());
        }
        "list" => return list_of_int64(n),
        "list-child-short" => {
            let mut list = list_of_int64(n);
            list[1] = int64(n);
            return list;
        }
        "list-child-missing" => return list_of_int64(n)[..1].to_vec(),
        "dictionary" => return dictionary(n, 0),
        "keys-out-of-range" => return dictionary(n, 7),
        "aliased" => return vec![arrays::aliased()],
        "boolean" => return vec![boolean(n, 0)],
        "boolean-bits" => return vec![boolean(n, 0xff)],
        "decimal-too-large" => {
            a.buffers[1] = (0..n).flat_map(|_| 1000i128.to_le_bytes()).collect();
        }
        "giant-of-nulls" => {
            let all = rows.saturating_mul(1 << 30);
            let nulls = Array { length: all, null_count: all, buffers: vec![Vec::new()] };
            return vec![Array { length: rows, null_count: 0, buffers: vec![Vec::new()] }, nulls];
        }
        _ => return Vec::new(),
    }
    vec![a]
}

/// Selections and rejections, right or wrong as the mode says.
fn rows(mode: &str, rows: u32) -> (Selection, Vec<u32>) {
    let bytes = (rows as usize).div_ceil(8);
    match mode {
        "mask-short" => (Selection::Mask(vec![0; bytes.saturating_sub(1)]), vec![]),
        "mask-long" => (Selection::Mask(vec![0; bytes + 1]), vec![]),
        "mask-bits" => (Selection::Mask(vec![0xff; bytes]), vec![]),
        "take-out-of-range" => (Selection::Take(vec![0, rows]), vec![]),
        "take-too-many" => (Selection::Take(vec![0; 2 << 20]), vec![]),
        "take-twice" => (Selection::Take(vec![rows - 1, 0, 0]), vec![]),
        "reject-twice" => (Selection::Mask(vec![0; bytes]), vec![1, 0, 1]),
        "reject-out-of-range" => (Selection::Mask(vec![0; bytes]), vec![rows]),
        "reject-selected-mask" => (Selection::Mask([vec![1], vec![0; bytes - 1]].concat()), vec![0]),
        "reject-selected-take" => (Selection::Take(vec![1, 0]), vec![0]),
        "every-row-reject" => (Selection::EveryRow, vec![0]),
        "reject" => (Selection::Take((1..rows).collect()), vec![0]),
        _ => (Selection::EveryRow, vec![]),
    }
}

fn emissions(mode: &str, first: Emission) -> Vec<Emission> {
    let again = |output| Emission { output, rows: Selection::EveryRow, computed: Vec::new() };
    match mode {
        "emit-twice" => vec![first, again(0)],
        "emit-unknown" => vec![first, again(2)],
        "emit-backwards" => vec![again(1), first],
        _ => vec![first],
    }
}

impl Guest for Hostile {
    fn describe() -> Description {
        if cfg!(feature = "describe-loop") {
            forever();
        }
        Description {
            name: "hostile".into(),
            version: "0.1.0".into(),
            summary: "Misbehaves in the way that its configuration names.".into(),
            config_schema: r#"{"type":"object","properties":{"mode":{"type":"string"}},"required":["mode"],
                "additionalProperties":false}"#
                .into(),
            sdk: "wit-bindgen".into(),
        }
    }

    fn bind(_input: Schema, config: String) -> Result<Binding, String> {
        if cfg!(feature = "describe-loop") {
            forever();
        }
        let mode = mode(&config);
        match mode.as_str() {
            "bind-loop" => forever(),
            "bind-error" => return Err("this input does not suit".into()),
            "bind-trap" => core::arch::wasm32::unreachable(),
            "bind-hoard" => hoard(),
            _ => {}
        }
        if let Some(binding) = excess::binding(&mode) {
            return Ok(binding);
        }
        let passed = |index| OutputColumn::Passed(Passed { index, name: None });
        let mut out = Output { name: "out".into(), columns: columns(&mode) };
        let mut other = Output { name: "other".into(), columns: vec![passed(0)] };
        let mut reads = vec![0];
        match mode.as_str() {
            "bind-reads" => reads = vec![7],
            "bind-reads-twice" => reads = vec![0, 0],
            "bind-passed" => out.columns = vec![passed(3)],
            "bind-port-name" => out.name = "Not Kebab".into(),
            "bind-port-twice" => other.name = "out".into(),
            "bind-column-twice" => out.columns = vec![passed(0), passed(0)],
            "bind-no-output" => return Ok(Binding { reads, outputs: vec![] }),
            "bind-ports" => {
                let port = |n| Output { name: format!("p{n}"), columns: vec![] };
                return Ok(Binding { reads, outputs: (0..1000).map(port).collect() });
            }
            "bind-deep" => {
                let mut fields = vec![field("l", DataType::List, true, 1); 100_000];
                fields.push(field("i", DataType::Int8, true, 0));
                out.columns = vec![OutputColumn::Computed(fields)];
            }
            "bind-wide" => {
                let mut fields = vec![field("s", DataType::Struct, true, 5000)];
                fields.extend((0..5000).map(|n| field(&n.to_string(), DataType::Int8, true, 0)));
                out.columns = vec![OutputColumn::Computed(fields)];
            }
            "bind-children" => {
                out.columns = vec![OutputColumn::Computed(vec![field("l", DataType::List, true, 2)])];
            }
            _ => {}
        }
        MODE.set(mode);
        Ok(Binding { reads, outputs: vec![out, other] })
    }

    fn process(input: RecordBatch) -> Result<Outcome, String> {
        if cfg!(feature = "describe-loop") {
            forever();
        }
        let mode = MODE.with_borrow(Clone::clone);
        CALLS.with_borrow_mut(|calls| *calls += 1);
        match mode.as_str() {
            "loop" => forever(),
            "hoard" => hoard(),
            "trap" => core::arch::wasm32::unreachable(),
            "panic" => panic!("this is a panic of the guest"),
            "recurse" => {
                black_box(recurse(0));
            }
            "overflow" => {
                black_box(overflow(0));
            }
            "error" => return Err("this batch is not liked".into()),
            "huge-error" => return Err("e".repeat(8 << 20)),
            "log-flood" => (0..100_000).for_each(|n| log(Level::Debug, &format!("line {n}"))),
            "log-huge" => log(Level::Debug, &"x".repeat(8 << 20)),
            "huge-reasons" => {
                let reject = |row| Rejection { row, reason: "r".repeat(8 << 20) };
                return Ok(Outcome {
                    emissions: vec![],
                    rejections: (0..input.length).map(reject).collect(),
                });
            }
            mode => match excess::process(mode, &input) {
                Some(answer) => return answer,
                None => trap_on_value(mode, &input),
            },
        }
        let (rows, rejected) = rows(&mode, input.length);
        let first = Emission { output: 0, rows, computed: computed(&mode, input.length) };
        let reject = |row| Rejection { row, reason: "not wanted".into() };
        Ok(Outcome {
            emissions: emissions(&mode, first),
            rejections: rejected.into_iter().map(reject).collect(),
        })
    }
}

/// Mode `trap-on=N`: traps when any value of the first column is N, for the host's search for the bad row; mode
/// `trap-every=N`: when N divides any of them.
fn trap_on_value(mode: &str, input: &RecordBatch) {
    let number = |name| mode.strip_prefix(name).and_then(|n: &str| n.parse::<i64>().ok());
    let (on, every) = (number("trap-on="), number("trap-every="));
    if on.is_none() && every.is_none() {
        return;
    }
    let (values, _) = input.arrays[0].buffers[1].as_chunks::<8>();
    let bad = |value: i64| on == Some(value) || every.is_some_and(|n| value % n == 0);
    if values.iter().any(|word| bad(i64::from_le_bytes(*word))) {
        core::arch::wasm32::unreachable();
    }
}

export!(Hostile);
