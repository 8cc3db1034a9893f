//! One program for all fuzz targets; `PIPE_FUZZ` names the one. Built and run by `scripts/fuzz.sh`.
#![no_main]

mod config;
mod container;
mod records;

use std::cell::RefCell;
use std::panic;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

type Target = fn(&[u8]);

/// Every target; a folder of its name in `corpus/` holds its first inputs.
const TARGETS: &[(&str, Target)] = &[
    ("arrow_ipc", container::arrow_ipc),
    ("bind", pipe_engine::stage::fuzzing::binding),
    ("csv", records::csv),
    ("json", records::json),
    ("json_keep", records::json_keep),
    ("json_merge", records::json_merge),
    ("json_ways", records::json_ways),
    ("letters", container::letters),
    ("lift", records::lift),
    ("parquet", container::parquet),
    ("pipeline", config::pipeline),
    ("raw", records::raw),
];

static TARGET: OnceLock<Target> = OnceLock::new();

thread_local! {
    /// What the last panic said: one that is caught is the engine's own business.
    static SAID: RefCell<String> = const { RefCell::new(String::new()) };
}

fn select() {
    let name = std::env::var("PIPE_FUZZ").unwrap_or_default();
    let known = TARGETS.iter().find(|(known, _)| *known == name);
    let Some((_, target)) = known else { panic!("PIPE_FUZZ={name} is no target") };
    TARGET.get_or_init(|| *target);
    panic::set_hook(Box::new(|info| SAID.set(info.to_string())));
}

fuzz_target!(init: select(), |bytes: &[u8]| {
    let Some(target) = TARGET.get() else { return };
    if panic::catch_unwind(|| target(bytes)).is_err() {
        SAID.with_borrow(|said| eprintln!("{said}"));
        std::process::abort();
    }
});
