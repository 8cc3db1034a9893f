//! Hostile guests, each in a whole pipeline beside a healthy stage, in a worker of its own.
//!
//! For each: the worker neither panics nor hangs and stays within its memory, the sums balance, the healthy branch
//! has every row in order, every hostile row is accounted for, and the operator sees the cause. The result is the
//! table of `docs/hostile-guests.md`; `PIPE_BLESS=1` writes it, and the review is `git diff`.

#[path = "hostile_parts/cases.rs"]
mod cases;
#[path = "hostile_parts/forged.rs"]
mod forged;

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use pipe_tests::hostile::{Case, run};

/// Workers at a time: each waits for deadlines most of its life.
const AT_ONCE: usize = 3;
/// The promise.
const AT_LEAST: usize = 40;

const HEAD: &str = "# Hostile guests

What `pipe` makes of guests that misbehave on purpose. `tests/tests/hostile.rs` runs each in a whole pipeline beside a
healthy stage and writes this page (`PIPE_BLESS=1`). In every case the worker goes on, its memory stays bounded, the
sums balance and the healthy branch has every row in order. The rows of a case are few: a stage that is busy with
nothing but failures for a minute, over at least 100 calls, stops the worker on purpose
([W003](errors.md#w003-a-stage-failed-a-batch)), and again after a restart, as those rows come again.

| guest | what happened | what the operator saw |
|---|---|---|
";

#[test]
fn hostile_guests_are_contained_and_named() {
    let mut all: Vec<Case> = cases::cases();
    all.extend(forged::cases());
    if let Ok(only) = std::env::var("PIPE_HOSTILE") {
        all.retain(|case| case.name.contains(&only));
    }
    // Built once, before the threads ask for it.
    drop(pipe_tests::pipe());
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let Some((at, case)) = {
            let at = next.fetch_add(1, Ordering::Relaxed);
            all.get(at).map(|case| (at, case))
        } {
            done.push((at, run(case)));
        }
        done
    };
    let mut results = thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|t| t.join().unwrap()).collect::<Vec<_>>()
    });
    results.sort_by_key(|(at, _)| *at);
    let (lines, wrong): (Vec<_>, Vec<_>) = results.into_iter().map(|(_, r)| r).partition(Result::is_ok);
    let table: String = lines.into_iter().flatten().map(|line| format!("{line}\n")).collect();
    println!("{table}");
    let wrong: Vec<String> = wrong.into_iter().filter_map(Result::err).collect();
    assert!(wrong.is_empty(), "{} guests are not contained:\n{}", wrong.len(), wrong.join("\n\n"));
    if std::env::var_os("PIPE_HOSTILE").is_none() {
        assert!(all.len() >= AT_LEAST, "{} guests", all.len());
        compare(&format!("{HEAD}{table}"));
    }
}

fn compare(page: &str) {
    let file = pipe_tests::root().join("docs/hostile-guests.md");
    if std::env::var_os("PIPE_BLESS").is_some() {
        fs::write(&file, page).unwrap();
    }
    let told = fs::read_to_string(&file).unwrap_or_default();
    for (line, told) in page.lines().zip(told.lines().chain(std::iter::repeat(""))) {
        assert_eq!(line, told, "docs/hostile-guests.md is not what happens: PIPE_BLESS=1 writes it");
    }
    assert_eq!(page.lines().count(), told.lines().count(), "docs/hostile-guests.md has other lines");
}
