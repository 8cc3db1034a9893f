//! What a newcomer meets in the first ten minutes, with the real binary: mistakes told at once, a run that CI can judge,
//! components that are built and compiled.

#[path = "first_minutes_parts/mistakes.rs"]
mod mistakes;
#[path = "first_minutes_parts/pages.rs"]
mod pages;
#[path = "first_minutes_parts/sample.rs"]
mod sample;

use pipe_tests::command::{Ended, Scratch};
use serde_json::Value;

/// Five records, two of which are not JSON.
const LINES: &str = "{\"n\":1}\nnonsense\n{\"n\":2}\n{\"n\":\n{\"n\":3}\n";

fn with_bad_lines(on_failure: &str) -> Scratch {
    let scratch = Scratch::new(&format!(
        "name: p\nsources:\n  in:\n    file: {{ path: in.jsonl }}\n    format: {{ json: {{ columns: {{ n: int64 }} }} }}\n    \
         on_failure: {on_failure}\nsinks:\n  out: {{ from: in, file: {{ path: out }}, format: json }}\n"
    ));
    scratch.write("in.jsonl", LINES);
    scratch
}

/// The last log line, which says why the run failed.
fn last(ended: &Ended) -> Value {
    let line = ended.stderr.lines().last().unwrap_or_default();
    serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}:\n{}", ended.stderr))
}

#[test]
fn dead_letters_fail_a_run_where_they_are_more_than_allowed() {
    for (args, code) in [
        (&[][..], 0),
        (&["--fail-on-dead-letters"], 1),
        (&["--fail-on-dead-letters", "pipeline.yaml"], 1),
        (&["--fail-on-dead-letters=1"], 1),
        (&["--fail-on-dead-letters", "1", "pipeline.yaml"], 1),
        (&["--fail-on-dead-letters=2"], 0),
        (&["pipeline.yaml", "--fail-on-dead-letters", "2"], 0),
    ] {
        let scratch = with_bad_lines("dead_letter");
        let ended = scratch.run(args);
        ended.says(code, &[]);
        assert_eq!(ended.summary()["sinks"][0]["written"], 3, "{args:?}: the other rows are written");
        assert_eq!((scratch.lines("out").len(), scratch.letters("p").len()), (3, 2), "{args:?}");
        if code == 1 {
            let line = last(&ended);
            assert_eq!(line["code"], "X017", "{line}");
            let message = line["message"].as_str().unwrap();
            let place = scratch.path("p.dead-letters.jsonl").canonicalize().unwrap();
            for part in
                ["2 rows went to the dead letters", &place.to_string_lossy(), "pipe dead-letters list"]
            {
                assert!(message.contains(part), "`{part}` is not in: {message}");
            }
        }
        // What it read is committed: the next run has nothing to do, and nothing new failed.
        let again = scratch.run(&["--fail-on-dead-letters"]);
        again.says(0, &[]);
        assert_eq!(again.summary()["sources"][0]["read"], 0, "{args:?}");
    }
    let skipped = with_bad_lines("skip").run(&["--fail-on-dead-letters"]);
    skipped.says(0, &[]);
    assert_eq!(skipped.summary()["sources"][0]["skipped"], 2);
    let wrong = with_bad_lines("skip").run(&["--fail-on-dead-letters=many"]);
    wrong.says(2, &["--fail-on-dead-letters", "many"]);
}

#[test]
fn the_sums_are_an_object_in_json_and_words_in_text() {
    let ended = with_bad_lines("dead_letter").run(&[]);
    let line: Value = serde_json::from_str(ended.stderr.lines().last().unwrap()).unwrap();
    assert_eq!(line["message"], "done");
    assert_eq!(line["summary"]["pipeline"], "p");
    assert_eq!(line["summary"]["dead_letters"], serde_json::json!([2, 2]));
    let ended = with_bad_lines("dead_letter").run(&["--log-format", "text"]);
    ended.says(0, &[", 1 commit\n", "every record is accounted for"]);
}

fn guest(name: &str) -> String {
    pipe_tests::root().join("tests/guests/prebuilt").join(name).canonicalize().unwrap().display().to_string()
}

/// One stage, which nothing has compiled yet.
fn uncompiled() -> Scratch {
    let scratch = Scratch::new(&format!(
        "name: p\nsources:\n  in:\n    generate: {{ count: 3 }}\nstages:\n  same: {{ \
         from: in, wasm: {} }}\nsinks:\n  out: {{ from: same, blackhole: }}\n",
        guest("identity.wasm")
    ));
    std::fs::create_dir(scratch.path("same")).unwrap();
    let manifest = "name='same'\nlanguage='rust'\nworld='pipe:stage/stage@0.1.0'\nsummary='The same.'\n";
    scratch.write("same/stage.toml", manifest);
    scratch
}

fn cached(scratch: &Scratch, args: &[&str]) -> Ended {
    scratch.command(args).env("PIPE_CACHE", scratch.path("cache")).output().unwrap().into()
}

/// Lines of the log about compiles that begin.
fn compiles(ended: &Ended) -> Vec<Value> {
    let lines = ended.stderr.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let begins = |line: &Value| line["message"].as_str().is_some_and(|text| text.starts_with("compiling "));
    lines.filter(|line| begins(line) && line["expected_seconds"].is_f64()).collect()
}

#[test]
fn a_worker_says_which_stage_it_compiles_and_how_long_that_takes() {
    let scratch = uncompiled();
    let cold = compiles(&cached(&scratch, &["run", "--until-end"]));
    assert_eq!(cold.len(), 1, "{cold:?}");
    let message = cold[0]["message"].as_str().unwrap();
    assert!(message.starts_with("compiling the stage `same` ("), "{message}");
    assert!(message.contains("less than a second, once: the cache keeps the code"), "{message}");
    assert_eq!(compiles(&cached(&scratch, &["run", "--until-end"])), Vec::<Value>::new());
    let without = scratch.command(&["run", "--until-end"]).env("PIPE_CACHE", "").output().unwrap().into();
    assert!(compiles(&without)[0]["message"].as_str().unwrap().contains("at each start"), "{without:?}");
}

#[test]
fn a_stage_that_is_built_is_where_it_was_told_to_be_and_in_the_cache() {
    let scratch = uncompiled();
    let module = guest("identity.wasm");
    for (out, made) in
        [("new/folder/", "new/folder/same.wasm"), ("new", "new/same.wasm"), ("a/b.wasm", "a/b.wasm")]
    {
        let ended = cached(&scratch, &["stage", "build", "same", "--module", &module, "-o", out]);
        ended.says(0, &["machine code: ", "in the cache"]);
        assert!(ended.stdout.starts_with(&format!("{made} ")), "{}", ended.stdout);
        assert_eq!(std::fs::read(scratch.path(made)).unwrap(), std::fs::read(&module).unwrap());
    }
    assert_eq!(compiles(&cached(&scratch, &["run", "--until-end"])), Vec::<Value>::new(), "it was compiled");
    // A cache that cannot be used costs a warning, and the component is there.
    scratch.write("file", "");
    let args = ["stage", "build", "same", "--module", &module, "-o", "other.wasm"];
    let ended: Ended =
        scratch.command(&args).env("PIPE_CACHE", scratch.path("file")).output().unwrap().into();
    ended.says(0, &["W019", "not compiled ahead"]);
    assert!(scratch.path("other.wasm").is_file());
    let help = scratch.pipe(&["stage", "build", "--help"]).stdout;
    assert!(help.contains("in which it is `<name>.wasm`"), "{help}");
    scratch.write("m.wasm", std::fs::read(&module).unwrap());
    let ended = cached(&scratch, &["stage", "build", "same", "--module", "m.wasm"]);
    assert!(ended.stdout.starts_with("same.component.wasm "), "as its help says: {}", ended.stdout);
}

#[test]
fn a_panic_is_in_its_dead_letter_with_the_function_and_once_in_the_log() {
    let scratch = Scratch::new(&format!(
        "name: p\nsources:\n  in:\n    file: {{ path: in.jsonl }}\n    format: {{ json: {{ columns: {{ n: int64 }} }} }}\nstages:\n  \
         picky: {{ from: in, wasm: {}, config: {{ mode: \"panic=13\" }} }}\nsinks:\n  out: {{ from: picky, file: {{ path: out \
         }}, format: json }}\n",
        guest("fails.wasm")
    ));
    scratch.write("in.jsonl", (0..40).map(|n| format!("{{\"n\":{n}}}\n")).collect::<String>());
    let ended = scratch.run(&[]);
    ended.says(0, &[]);
    assert_eq!(scratch.lines("out").len(), 39);
    let letters = scratch.letters("p");
    assert_eq!((letters.len(), &letters[0]["kind"]), (1, &Value::from("trap")));
    let message = letters[0]["message"].as_str().unwrap();
    assert!(message.starts_with("panic at fails/src/lib.rs:"), "{message}");
    for part in [": 13 is too much (in `guest_fails::dislike`; ", "wasm `unreachable` instruction executed)"]
    {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
    assert_eq!(ended.stderr.matches("is too much").count(), 1, "{}", ended.stderr);
    assert!(ended.summary()["stages"][0]["failed"] == 1);
}
