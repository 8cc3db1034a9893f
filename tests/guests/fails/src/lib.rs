//! A guest that fails on the rows that its configuration names, each in its way, and passes all others on.
//!
//! `config` is `{"mode": "trap=13,error=7"}`: whenever the first column (`int64`) of a batch holds 13, the call traps.
//! The ways are `error`, `trap`, `panic` (with a message, as the SDK has it), `loop`, `hoard` (memory), `invalid` (a selection out of range), `reject` (that row
//! alone), and `tired=n`: the n-th call of an instance traps, whatever it is given.

wit_bindgen::generate!({ path: "../../../wit", world: "stage" });

use std::cell::{Cell, RefCell};
use std::hint::black_box;

use pipe::stage::host;

use exports::pipe::stage::transform::{
    Binding, Description, Emission, Guest, Outcome, Output, OutputColumn, Passed, RecordBatch, Rejection,
    Schema, Selection,
};

thread_local! {
    static RULES: RefCell<Vec<(String, i64)>> = const { RefCell::new(Vec::new()) };
    static CALLS: Cell<i64> = const { Cell::new(0) };
}

struct Fails;

/// The value of `"mode"` as pairs.
fn rules(config: &str) -> Vec<(String, i64)> {
    let mode = config.split("\"mode\"").nth(1).and_then(|rest| rest.split('"').nth(1)).unwrap_or_default();
    let rule = |text: &str| {
        let (way, value) = text.split_once('=')?;
        Some((way.trim().to_owned(), value.trim().parse().ok()?))
    };
    mode.split(',').filter_map(rule).collect()
}

/// Number of columns: fields lie in pre-order, children behind their parent.
fn columns(schema: &Schema) -> u32 {
    let (mut at, mut count) = (0, 0);
    while at < schema.fields.len() {
        let mut left = 1;
        while left > 0 && at < schema.fields.len() {
            left += schema.fields[at].children as usize;
            left -= 1;
            at += 1;
        }
        count += 1;
    }
    count
}

/// A function of its own, so that a backtrace has it.
#[inline(never)]
fn dislike(value: i64) -> ! {
    panic!("{value} is too much")
}

fn fail(way: &str, value: i64, rows: u32) -> Option<Result<Outcome, String>> {
    match way {
        "error" => return Some(Err(format!("{value} is not liked"))),
        "trap" => core::arch::wasm32::unreachable(),
        "panic" => dislike(value),
        "loop" => loop {
            black_box(value);
        },
        "hoard" => {
            let mut hoard = Vec::new();
            loop {
                hoard.push(black_box(vec![1u8; 1 << 20]));
            }
        }
        "invalid" => {
            let emission = Emission { output: 0, rows: Selection::Take(vec![rows]), computed: Vec::new() };
            return Some(Ok(Outcome { emissions: vec![emission], rejections: Vec::new() }));
        }
        _ => {}
    }
    None
}

impl Guest for Fails {
    fn describe() -> Description {
        Description {
            name: "fails".into(),
            version: "0.1.0".into(),
            summary: "Fails on the rows that its configuration names.".into(),
            config_schema: r#"{"type":"object","properties":{"mode":{"type":"string"}},"required":["mode"],
                "additionalProperties":false}"#
                .into(),
            sdk: "wit-bindgen".into(),
        }
    }

    fn bind(input: Schema, config: String) -> Result<Binding, String> {
        RULES.set(rules(&config));
        std::panic::set_hook(Box::new(|info| host::log(host::Level::Error, &info.to_string())));
        let passed = |index| OutputColumn::Passed(Passed { index, name: None });
        let out = Output { name: "out".into(), columns: (0..columns(&input)).map(passed).collect() };
        Ok(Binding { reads: vec![0], outputs: vec![out] })
    }

    fn process(input: RecordBatch) -> Result<Outcome, String> {
        let rules = RULES.with_borrow(Clone::clone);
        let calls = CALLS.get() + 1;
        CALLS.set(calls);
        if rules.iter().any(|(way, n)| way == "tired" && *n == calls) {
            core::arch::wasm32::unreachable();
        }
        let (values, _) = input.arrays[0].buffers[1].as_chunks::<8>();
        let mut mask = vec![0u8; values.len().div_ceil(8)];
        let mut rejections = Vec::new();
        for (row, word) in values.iter().enumerate() {
            let value = i64::from_le_bytes(*word);
            let mut ways = rules.iter().filter(|(_, n)| *n == value).map(|(way, _)| way.as_str());
            match ways.find(|way| *way != "tired") {
                None => mask[row / 8] |= 1 << (row % 8),
                Some("reject") => {
                    rejections.push(Rejection { row: row as u32, reason: format!("{value} is refused") });
                }
                Some(way) => {
                    if let Some(end) = fail(way, value, input.length) {
                        return end;
                    }
                }
            }
        }
        let emission = Emission { output: 0, rows: Selection::Mask(mask), computed: Vec::new() };
        Ok(Outcome { emissions: vec![emission], rejections })
    }
}

export!(Fails);
