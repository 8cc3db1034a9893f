//! Attacks through WASI 0.2, which is there for interpreters with nothing behind it. `config` is `{"mode": "..."}`.
//!
//! Its input is one `int64` column, which it passes on; it traps where it gets something that it should not.

wit_bindgen::generate!({ path: ["../../../wit", "wit"], world: "hostile:wasi/guest", generate_all });

use exports::pipe::stage::transform::{
    Binding, Description, Emission, Field, Guest, Outcome, Output, OutputColumn, Passed, RecordBatch, Schema,
    Selection,
};
use pipe::stage::arrow::{Array, DataType};
use std::cell::RefCell;
use std::hint::black_box;
use wasi::cli::{environment, exit, stderr, stdin, stdout};
use wasi::clocks::monotonic_clock::{now, subscribe_duration, subscribe_instant};
use wasi::filesystem::preopens::get_directories;
use wasi::io::poll::{Pollable, poll};
use wasi::random::insecure::get_insecure_random_bytes;
use wasi::random::random::{get_random_bytes, get_random_u64};

#[link(wasm_import_module = "wasi:io/poll@0.2.6")]
unsafe extern "C" {
    #[link_name = "[resource-drop]pollable"]
    fn drop_pollable(handle: i32);
    #[link_name = "[method]pollable.block"]
    fn block_pollable(handle: i32);
    #[link_name = "poll"]
    fn raw_poll(list: *const u32, len: usize, result: *mut u8);
}

thread_local! {
    static MODE: RefCell<String> = const { RefCell::new(String::new()) };
    /// What was leaked, so that it lives as long as the instance.
    static KEPT: RefCell<Vec<Pollable>> = const { RefCell::new(Vec::new()) };
}

struct Hostile;

/// An hour, in nanoseconds.
const HOUR: u64 = 3_600_000_000_000;

fn mode(config: &str) -> String {
    let value = config.split("\"mode\"").nth(1).and_then(|rest| rest.split('"').nth(1));
    value.unwrap_or_default().to_owned()
}

/// Ends the call, because the host gave what it should not.
fn unless(refused: bool) {
    if !refused {
        core::arch::wasm32::unreachable();
    }
}

fn time(mode: &str) {
    match mode {
        "sleep" => subscribe_duration(HOUR).block(),
        "sleep-for-ever" => subscribe_instant(u64::MAX).block(),
        "sleep-in-poll" => {
            let all: Vec<Pollable> = (0..100).map(|n| subscribe_duration(HOUR * n)).collect();
            poll(&all.iter().collect::<Vec<_>>());
        }
        "sleep-in-a-loop" => loop {
            subscribe_duration(HOUR).block();
        },
        "busy-wait" => {
            let until = now().saturating_add(HOUR);
            while now() < until {}
        }
        "pollables" => KEPT.with_borrow_mut(|kept| kept.extend((0..1_000_000).map(subscribe_duration))),
        // A few in each call: the sum over the calls of an instance counts.
        "pollables-slowly" => KEPT.with_borrow_mut(|kept| kept.extend((0..400).map(subscribe_duration))),
        "poll-nothing" => drop(poll(&[])),
        "poll-a-million-times-one" => {
            let one = subscribe_duration(HOUR);
            drop(poll(&vec![&one; 1_000_000]));
        }
        "poll-out-of-bounds" => {
            let mut result = [0u8; 8];
            // SAFETY: none; the list lies outside of the memory, and the host has to notice.
            unsafe { raw_poll(0xffff_fff0 as *const u32, 1 << 28, result.as_mut_ptr()) };
        }
        _ => {}
    }
}

fn handles(mode: &str) {
    let stolen = subscribe_duration(HOUR).take_handle() as i32;
    // SAFETY: none; each of these handles is wrong, and the host has to notice.
    unsafe {
        match mode {
            "drop-twice" => {
                drop_pollable(stolen);
                drop_pollable(stolen);
            }
            "drop-what-is-not-mine" => drop_pollable(0x7fff_ffff),
            "use-after-drop" => {
                drop_pollable(stolen);
                block_pollable(stolen);
            }
            "handle-of-another-type" => block_pollable(stdout::get_stdout().take_handle() as i32),
            _ => {}
        }
    }
}

fn randomness(mode: &str) {
    match mode {
        "random-4-gib" => drop(get_random_bytes(4 << 30)),
        "random-insecure-4-gib" => drop(get_insecure_random_bytes(u64::MAX)),
        "random-for-ever" => loop {
            black_box(get_random_bytes(32 << 10));
        },
        "coin-trap" if get_random_u64() % 2 == 0 => core::arch::wasm32::unreachable(),
        _ => {}
    }
}

fn output(mode: &str) {
    match mode {
        "stdout-flood" => {
            let out = stdout::get_stdout();
            (0..100_000).for_each(|n| drop(out.blocking_write_and_flush(format!("line {n}\n").as_bytes())));
        }
        "stderr-one-line" => {
            let out = stderr::get_stderr();
            (0..16_384).for_each(|_| drop(out.write(&[b'x'; 4096])));
        }
        "stdout-escapes" => {
            let text = b"\x1b[2J\x1b]0;owned\x07{\"level\":\"ERROR\"}\r\nsecond\0line\n";
            drop(stdout::get_stdout().blocking_write_and_flush(text));
        }
        "write-too-much" => drop(stdout::get_stdout().write(&vec![b'x'; 1 << 20])),
        "write-zeroes" => drop(stdout::get_stdout().write_zeroes(1 << 40)),
        "splice-for-ever" => {
            drop(stdout::get_stdout().blocking_splice(&stdin::get_stdin(), u64::MAX));
            unless(stdin::get_stdin().blocking_read(u64::MAX).is_err());
        }
        "streams" => (0..1_000_000).for_each(|_| std::mem::forget(stdout::get_stdout())),
        _ => {}
    }
}

fn reach(mode: &str) {
    match mode {
        "exit-well" => exit::exit(Ok(())),
        "exit-badly" => exit::exit(Err(())),
        "look-around" => unless(
            get_directories().is_empty()
                && environment::get_environment().is_empty()
                && environment::get_arguments().is_empty()
                && environment::initial_cwd().is_none(),
        ),
        _ => {}
    }
}

impl Guest for Hostile {
    fn describe() -> Description {
        Description {
            name: "hostile-wasi".into(),
            version: "0.1.0".into(),
            summary: "Misuses WASI in the way that its configuration names.".into(),
            config_schema: r#"{"type":"object","properties":{"mode":{"type":"string"}}}"#.into(),
            sdk: "wit-bindgen".into(),
        }
    }

    fn bind(_input: Schema, config: String) -> Result<Binding, String> {
        let mode = mode(&config);
        let mut columns = vec![OutputColumn::Passed(Passed { index: 0, name: None })];
        match mode.as_str() {
            "bind-sleep" => subscribe_duration(HOUR).block(),
            "bind-exit" => exit::exit(Err(())),
            "bind-otherwise" => columns.push(OutputColumn::Computed(vec![Field {
                name: format!("c{}", get_random_u64()),
                data_type: DataType::Null,
                nullable: true,
                children: 0,
                metadata: Vec::new(),
            }])),
            _ => {}
        }
        MODE.set(mode);
        Ok(Binding { reads: vec![], outputs: vec![Output { name: "out".into(), columns }] })
    }

    fn process(input: RecordBatch) -> Result<Outcome, String> {
        let mode = MODE.with_borrow(Clone::clone);
        time(&mode);
        handles(&mode);
        randomness(&mode);
        output(&mode);
        reach(&mode);
        let rows = match mode.as_str() {
            "coin-select" if get_random_u64() % 2 == 0 => Selection::Take(Vec::new()),
            _ => Selection::EveryRow,
        };
        let null = Array { length: input.length, null_count: input.length, buffers: vec![] };
        let computed = if mode == "bind-otherwise" { vec![null] } else { vec![] };
        Ok(Outcome { emissions: vec![Emission { output: 0, rows, computed }], rejections: vec![] })
    }
}

export!(Hostile);
