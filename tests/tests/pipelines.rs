//! Every example of `pipelines/` is accepted by `pipe check`; those without Kafka run, with the real binary.

use std::fs;

use pipe_tests::command::{Ended, Scratch};
use pipe_tests::root;

fn example(name: &str) -> String {
    root().join("pipelines").join(name).to_string_lossy().into_owned()
}

/// Runs an example with its outputs in a scratch folder.
fn run(scratch: &Scratch, name: &str) -> Ended {
    let state = scratch.path("state");
    let args = ["run", "--until-end", "--state", &state.to_string_lossy(), &example(name)];
    let mut command = scratch.command(&args);
    let ended = Ended::from(command.env("OUT", scratch.path("out")).output().unwrap());
    ended.says(0, &[]);
    ended
}

#[test]
fn every_example_is_accepted() {
    let folders =
        ["pipelines", "pipelines/coming-from"].map(|folder| fs::read_dir(root().join(folder)).unwrap());
    let names = folders.into_iter().flatten().map(|entry| entry.unwrap().path());
    let names: Vec<_> = names.filter(|path| path.extension().is_some_and(|e| e == "yaml")).collect();
    assert!(names.len() >= 6);
    for path in names {
        let ended = Scratch::new("").pipe(&["check", &path.to_string_lossy()]);
        ended.says(0, &[]);
        assert!(ended.stdout.contains(": OK"), "{}", ended.stdout);
        assert_eq!(ended.stderr, "", "an example has no warnings");
    }
}

#[test]
fn the_demo_gives_the_known_counts() {
    let scratch = Scratch::new("");
    let ended = run(&scratch, "flights.yaml");
    let summary = ended.summary();
    assert_eq!(summary["sources"][0]["read"], 6000);
    assert_eq!(summary["stages"][0]["reached"], 1344);
    let written: Vec<_> =
        summary["sinks"].as_array().unwrap().iter().map(|s| s["written"].as_u64()).collect();
    assert_eq!(written, [Some(206), Some(1138), Some(206)]);
    assert_eq!(ended.stdout.lines().count(), 206);
    assert!(ended.stdout.lines().all(|l| ["ATL", "DFW", "ORD"].iter().any(|hub| l.contains(hub))));
}

#[test]
fn late_flights_are_forwarded_to_the_byte() {
    let scratch = Scratch::new("");
    let summary = run(&scratch, "forward.yaml").summary();
    let flights = fs::read_to_string(root().join("pipelines/data/flights.jsonl")).unwrap();
    let is_late = |line: &&str| {
        let flight: serde_json::Value = serde_json::from_str(line).unwrap();
        flight["delay"].as_i64().unwrap() > 15
    };
    let late: Vec<&str> = flights.lines().filter(is_late).collect();
    assert_eq!(summary["sinks"][0]["written"].as_u64(), Some(late.len() as u64));
    assert_eq!(scratch.lines("out/forwarded"), late);
}

#[test]
fn late_flights_keep_what_nobody_declared() {
    let scratch = Scratch::new("");
    let summary = run(&scratch, "enrich.yaml").summary();
    let lines = scratch.lines("out/late");
    assert_eq!(summary["sinks"][0]["written"].as_u64(), Some(lines.len() as u64));
    let flights = fs::read_to_string(root().join("pipelines/data/flights.jsonl")).unwrap();
    let flights = flights.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let marked = flights.filter(|flight| flight["delay"].as_i64().unwrap() > 15).map(|mut flight| {
        flight["reason"] = "unknown".into();
        flight
    });
    let written = lines.iter().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    assert!(written.eq(marked));
}

#[test]
fn requests_are_made_up_and_the_slow_ones_printed() {
    let ended = run(&Scratch::new(""), "generate.yaml");
    let summary = ended.summary();
    assert_eq!(summary["sources"][0]["read"], 1000);
    let slow = summary["stages"][0]["reached"].as_u64().unwrap();
    assert!(slow > 0 && slow < 1000);
    assert_eq!(ended.stdout.lines().count() as u64, slow);
}

#[test]
fn an_access_log_becomes_columns() {
    let scratch = Scratch::new("");
    let summary = run(&scratch, "logs.yaml").summary();
    let (read, rejected) = (&summary["sources"][0]["read"], &summary["stages"][0]["rejected"]);
    let lines = fs::read_to_string(root().join("pipelines/data/access.log")).unwrap();
    assert_eq!(read.as_u64(), Some(lines.lines().filter(|l| !l.trim().is_empty()).count() as u64));
    assert_eq!(scratch.letters("logs").len() as u64, rejected.as_u64().unwrap());
    assert!(rejected.as_u64() > Some(0));
    let parsed = scratch.lines("out/requests").len() as u64;
    assert_eq!(parsed, read.as_u64().unwrap() - rejected.as_u64().unwrap());
}
