//! WASI is there and empty: a guest that reaches for everything gets nothing, and never makes the host wait.

use std::time::Duration;

use serde_json::json;

use super::guests::{limits, load, numbers};
use crate::clock::{Clock, SystemClock};
use crate::stage::Limits;

#[test]
fn wasi_gives_nothing_and_never_waits() {
    let component = load("wasi");
    assert!(component.imports().iter().any(|name| name.starts_with("wasi:filesystem/")));
    let bound = component.bind("wasi", &numbers(0).schema(), &json!({}), &limits()).unwrap();
    assert!(bound.reads().is_empty());
    let begin = SystemClock::default();
    let outcome = bound.instantiate().unwrap().process(&numbers(10)).unwrap();
    assert!(begin.now() < Duration::from_secs(30), "a sleep of an hour returns at once");
    let reasons: Vec<&str> = outcome.rejections.iter().map(|r| r.reason.as_str()).collect();
    assert_eq!(
        reasons,
        [
            "file=denied",
            "folder=denied",
            "write=denied",
            "tcp=denied",
            "udp=denied",
            "env=0",
            "args=0",
            "stdin=Some(0)",
            "slept=false",
            "clock=true",
        ]
    );
}

#[test]
fn a_component_with_an_adapter_needs_no_pool_of_its_own() {
    let component = load("wasi");
    let description = component.describe(&Limits::defaults_for(component.bytes())).unwrap();
    assert_eq!(description.name, "wasi");
}
