//! What a newcomer meets in the first ten minutes, with the real binary: mistakes told at once, a run that CI can judge,
//! components that are built and compiled.

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
            for part in ["2 rows went to the dead letters", &place.to_string_lossy(), "pipe dead-letters list"] {
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
