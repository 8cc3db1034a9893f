//! Whole pipelines with a hostile stage in one branch and a healthy one in the other, each in a worker of its own.

use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::command::Scratch;

/// A guest and what must come of it.
pub struct Case {
    /// What it is called in the table.
    pub name: &'static str,
    /// Its component.
    pub guest: Guest,
    /// The mode that its configuration names; empty: no configuration.
    pub mode: &'static str,
    /// Records of the source.
    pub rows: usize,
    /// What must come of it.
    pub expect: Expect,
    /// Part of what the operator must see.
    pub saw: &'static str,
}

/// Where a component comes from.
pub enum Guest {
    /// `tests/guests/prebuilt/<name>.wasm`.
    Prebuilt(&'static str),
    /// Made by the test.
    Made(fn() -> Vec<u8>),
    /// The same, compiled anew in every run: with a cache of its own.
    Anew(fn() -> Vec<u8>),
}

/// What must come of a hostile stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// All rows pass.
    Passes,
    /// So many rows come out, and none fails.
    Rows(usize),
    /// All rows are dead-lettered with this kind.
    Letters(&'static str),
    /// So many are, the others pass.
    SomeLetters(&'static str, usize),
    /// Each row passes or is dead-lettered with one of these kinds: which is left to chance, or to how fast the
    /// machine is.
    Chance(&'static [&'static str]),
    /// The pipeline is refused with this code before a record is read.
    Refused(&'static str),
}

/// A worker that has not ended after this long hangs.
const HANGS: Duration = Duration::from_secs(90);
/// Rows of a batch: few, so that searching for the rows that fail takes few calls.
const BATCH: usize = 6;
/// What a stage may use: the limits of `pipeline`, and the instance that is being replaced.
const STAGE_KIB: u64 = 2 * (64 + 16) * 1024;
/// What the worker itself uses, code and compiler included.
const WORKER_KIB: u64 = 160 * 1024;

fn pipeline(mode: &str, ports: bool) -> String {
    let other = if ports { "\n  of_other: { from: bad.other, blackhole: {} }" } else { "" };
    let config =
        if mode.is_empty() { String::new() } else { format!("\n    config: {{ mode: \"{mode}\" }}") };
    format!(
        "name: hostile
sources:
  numbers:
    file: {{ path: in.jsonl }}
    format: {{ json: {{ columns: {{ a: int64 }} }} }}
stages:
  bad:
    from: numbers
    wasm: bad.wasm{config}
    limits: {{ memory: 64MiB, output: 16MiB, time: 250ms }}
  healthy: {{ from: numbers, wasm: healthy.wasm }}
sinks:
  of_bad: {{ from: bad, file: {{ path: out/bad }}, format: json }}
  of_healthy: {{ from: healthy, file: {{ path: out/healthy }}, format: json }}{other}
batch: {{ rows: {BATCH} }}
"
    )
}

/// What a run left behind.
struct Run {
    code: i32,
    said: String,
    peak_kib: u64,
}

/// Runs a case. Answers its line of the table, or everything that was not as it must be.
pub fn run(case: &Case) -> Result<String, String> {
    let scratch = Scratch::new(&pipeline(case.mode, matches!(case.guest, Guest::Prebuilt("hostile"))));
    let lines: String = (0..case.rows).map(|n| format!("{{\"a\":{n}}}\n")).collect();
    scratch.write("in.jsonl", lines);
    let prebuilt = crate::root().join("tests/guests/prebuilt");
    let link = |from: &str, to: &str| {
        let from = prebuilt.join(format!("{from}.wasm"));
        fs::copy(&from, scratch.path(to)).map_err(|e| format!("{}: {e}", from.display()))
    };
    link("identity", "healthy.wasm")?;
    match case.guest {
        Guest::Prebuilt(name) => drop(link(name, "bad.wasm")?),
        Guest::Made(make) | Guest::Anew(make) => scratch.write("bad.wasm", make()),
    }
    let run = work(&scratch, matches!(case.guest, Guest::Anew(_)))?;
    let mut wrong = Vec::new();
    if run.said.contains("panicked") {
        wrong.push("the worker panicked".to_owned());
    }
    if run.peak_kib > WORKER_KIB + STAGE_KIB {
        wrong.push(format!("the worker used {} MiB", run.peak_kib / 1024));
    }
    let (happened, saw) = match case.expect {
        Expect::Refused(code) => refused(&run, code, &mut wrong),
        _ => ran(case, &scratch, &run, &mut wrong),
    };
    if !saw.contains(case.saw) {
        wrong.push(format!("the operator does not see `{}` but `{saw}`", case.saw));
    }
    match wrong.is_empty() {
        true => Ok(format!("| {} | {happened} | {} |", case.name, shown(&saw))),
        false => Err(format!("{}: {}\n{}", case.name, wrong.join("; "), cut(&run.said, 2_000))),
    }
}

/// One worker, from its start to its end or to the bound.
fn work(scratch: &Scratch, anew: bool) -> Result<Run, String> {
    let log = File::create(scratch.path("log")).map_err(|e| e.to_string())?;
    let mut command = scratch.command(&["run", "--until-end"]);
    if anew {
        command.env("PIPE_CACHE", scratch.path("cache"));
    }
    let mut child = command
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .map_err(|e| format!("`pipe` does not start: {e}"))?;
    let started = Instant::now();
    let mut peak_kib = 0;
    let status = loop {
        // Lost with the process, so it is read until then.
        peak_kib = peak_kib.max(peak(child.id()).unwrap_or(0));
        if let Some(status) = child.try_wait().map_err(|e| e.to_string())? {
            break status;
        }
        if started.elapsed() > HANGS {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("the worker hangs:\n{}", read(&scratch.path("log"))));
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    Ok(Run { code: status.code().unwrap_or(-1), said: read(&scratch.path("log")), peak_kib })
}

fn peak(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

fn refused(run: &Run, code: &str, wrong: &mut Vec<String>) -> (String, String) {
    if run.code != 2 {
        wrong.push(format!("it ended with {} instead of 2", run.code));
    }
    let line = run.said.lines().find(|line| line.contains(&format!(" {code}: "))).unwrap_or_default();
    if line.is_empty() {
        wrong.push(format!("it is not refused with {code}"));
    }
    let saw = line.split_once(&format!(" {code}: ")).map_or("", |(_, message)| message);
    (format!("refused before the first record: {code}"), saw.to_owned())
}

/// The checks of a worker that ran to its end.
fn ran(case: &Case, scratch: &Scratch, run: &Run, wrong: &mut Vec<String>) -> (String, String) {
    if run.code != 0 {
        wrong.push(format!("it ended with {} instead of 0", run.code));
        return (String::new(), String::new());
    }
    balanced(run, wrong);
    let healthy = scratch.lines("out/healthy");
    if healthy != (0..case.rows).map(|n| format!("{{\"a\":{n}}}")).collect::<Vec<_>>() {
        wrong.push(format!(
            "the healthy branch has {} rows of {}, or not in order",
            healthy.len(),
            case.rows
        ));
    }
    let passed = scratch.lines("out/bad").len();
    let letters = scratch.letters("hostile");
    let kinds = |kind: &str| {
        letters.iter().all(|letter| {
            (letter["kind"] == kind || letter["kind"] == "deadline")
                && letter["stage"] == "bad"
                && !letter["value"].is_null()
        })
    };
    let rows = case.rows;
    let (right, happened) = match case.expect {
        Expect::Passes => (passed == rows && letters.is_empty(), "all rows pass".to_owned()),
        Expect::Rows(n) => (passed == n && letters.is_empty(), format!("{n} rows come out, none fails")),
        Expect::Letters(kind) => {
            (letters.len() == rows && kinds(kind), format!("all rows are dead letters: {kind}"))
        }
        Expect::SomeLetters(kind, n) => (
            letters.len() == n && passed == rows - n && kinds(kind),
            format!("{n} of {rows} rows are dead letters: {kind}"),
        ),
        Expect::Chance(all) => (
            letters.len() + passed <= rows
                && letters.iter().all(|letter| all.iter().any(|kind| letter["kind"] == *kind)),
            format!("rows pass, or are dead letters: {}", all.join(", ")),
        ),
        Expect::Refused(_) => (false, String::new()),
    };
    if !right {
        let kinds: Vec<&str> = letters.iter().filter_map(|l| l["kind"].as_str()).collect();
        let first = letters.first().map(Value::to_string).unwrap_or_default();
        wrong.push(format!("{passed} of {rows} rows passed, dead letters {kinds:?}: {}", cut(&first, 1_000)));
    }
    if matches!(case.expect, Expect::Chance(_)) {
        // What differs from run to run is not for the table.
        if letters.is_empty() && !run.said.contains(case.saw) {
            wrong.push(format!("the log does not say `{}`", case.saw));
        }
        return (happened, case.saw.to_owned());
    }
    let own = match case.expect {
        Expect::Letters(kind) | Expect::SomeLetters(kind, _) => kind,
        _ => "",
    };
    let letter = letters
        .iter()
        .find(|letter| letter["kind"] == own)
        .and_then(|l| l["message"].as_str())
        .map(str::to_owned);
    (happened, letter.unwrap_or_else(|| logged(&run.said)))
}

/// What the log says of the stage: the first of its own lines, of those that say something about it.
fn logged(said: &str) -> String {
    let lines = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut about = lines.filter(|line| line["stage"] == "bad" || line["seconds"].is_u64());
    about.find_map(|line| line["message"].as_str().map(str::to_owned)).unwrap_or_default()
}

fn balanced(run: &Run, wrong: &mut Vec<String>) {
    let mut lines = run.said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let Some(line) = lines.rfind(|line| line["summary"].is_object()) else {
        return wrong.push("it says no sums".to_owned());
    };
    // The worker has checked its sums, and ends with 1 where they do not balance; here once more, from outside.
    let summary = &line["summary"];
    let number = |of: &Value, term: &str| of[term].as_u64().unwrap_or(u64::MAX / 8);
    for stage in summary["stages"].as_array().into_iter().flatten() {
        let ends =
            ["reached", "filtered", "rejected", "failed"].iter().map(|term| number(stage, term)).sum::<u64>();
        if number(stage, "rows_in") != ends || number(stage, "memory_peak") > 64 << 20 {
            wrong.push(format!("the sums do not balance, or its memory is beyond its limit: {stage}"));
        }
    }
}

fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

/// A message as a cell of a Markdown table: printable, short, without what differs between builds.
fn shown(message: &str) -> String {
    let visible =
        |c: char| if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}') { '\u{fffd}' } else { c };
    let clean: String = message.chars().map(visible).collect();
    let short = cut(&clean, 110);
    let dots = if short.len() < clean.len() { ".." } else { "" };
    // A pipe would end the cell, a backtick the code.
    let cell = format!("{short}{dots}").replace('`', "'").replace('|', "/");
    if cell.is_empty() { "nothing".to_owned() } else { format!("`{cell}`") }
}
