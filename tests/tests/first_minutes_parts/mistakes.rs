//! `pipe check` tells every mistake of a file at once, also behind a broken node, and not what follows from one.

use pipe_tests::command::{Ended, Scratch};

use super::guest;

/// The places, codes and messages that `check` prints, without the file's name.
fn told(ended: &Ended) -> Vec<String> {
    let errors = ended.stderr.lines().filter_map(|line| line.strip_prefix("pipeline.yaml:"));
    errors.map(str::to_owned).collect()
}

/// Checks a pipeline: exactly these mistakes, each by its line, its code and a word.
#[track_caller]
fn check(pipeline: &str, expected: &[(usize, &str, &str)]) {
    let scratch = Scratch::new(pipeline);
    scratch.write("in.jsonl", "{\"n\":1,\"s\":\"a\"}\n");
    let ended = scratch.pipe(&["check"]);
    assert_eq!(ended.code, 2, "{}", ended.stderr);
    let told = told(&ended);
    let meets = |line: &String, (at, code, word): &(usize, &str, &str)| {
        line.starts_with(&format!("{at}:"))
            && line.contains(&format!("error {code}: "))
            && line.contains(word)
    };
    for each in expected {
        assert!(told.iter().any(|line| meets(line, each)), "{each:?} is not told:\n{}", ended.stderr);
    }
    for line in &told {
        assert!(expected.iter().any(|each| meets(line, each)), "too much is told: {line}\n{}", ended.stderr);
    }
    assert_eq!(told.len(), expected.len(), "{}", ended.stderr);
}

#[test]
fn a_misspelled_stage_is_told_beside_the_mistakes_before_and_behind_it() {
    check(
        "\
name: p
sources:
  in: { file: { path: absent.jsonl }, format: json }
stages:
  few: { from: in, use: fliter, config: { all: [] } }
  more: { from: few, use: filter, config: { al: [{ column: n, op: gt, value: 1 }] } }
  last: { from: more, wasm: absent.wasm, grants: { folders: { data: . } } }
sinks:
  out: { from: last, kafka: { brokers: b, topic: \"a b\" } }
  table: { from: few, stdout: {}, format: parquet }
  raw: { from: last, file: { path: out }, format: { csv: { delimiter: \"ab\" } } }
",
        &[
            (3, "S001", "absent.jsonl"),
            (5, "P004", "did you mean `filter`?"),
            (6, "C003", "did you mean `all`?"),
            (7, "P004", "absent.wasm"),
            (7, "P012", "an absolute path"),
            (9, "C005", "`a b` is not a topic's name"),
            (10, "P009", "parquet"),
            (11, "C005", "one ASCII sign"),
        ],
    );
}

#[test]
fn what_follows_from_a_mistake_is_not_told() {
    // A column that the broken source would have had; a port of a stage that is not known; inputs that are misspelled.
    check(
        &format!(
            "\
name: p
sources:
  in: {{ file: {{ path: in.jsonl }}, format: {{ json: {{ columns: {{ n: int46 }} }} }} }}
  ok: {{ file: {{ path: in.jsonl }} }}
stages:
  few: {{ from: in, use: filter, config: {{ all: [{{ column: zzz, op: gt, value: 1 }}] }} }}
  same: {{ from: okk, wasm: {} }}
  split: {{ from: few, use: ruote }}
  late: {{ form: split.odd, use: filter, config: {{ all: [{{ column: n, op: gt, value: 1 }}] }} }}
sinks:
  out: {{ from: few, kafka: {{ brokers: b, topic: t, key: zzz }} }}
  odd: {{ from: late, file: {{ path: out }}, fomat: json }}
  even: {{ from: same, blackhole: }}
",
            guest("identity.wasm")
        ),
        &[
            (3, "C009", "did you mean `int64`?"),
            (7, "P001", "did you mean `ok`?"),
            (8, "P004", "did you mean `route`?"),
            (9, "C003", "did you mean `from`?"),
            (12, "C003", "did you mean `format`?"),
        ],
    );
}

#[test]
fn a_part_with_a_mistake_hides_no_other() {
    check(
        "\
name: p
sources:
  in: { file: { path: in.jsonl }, metadata: [nothing], on_failure: explode }
stages:
  few: { from: 3, uses: filter, limits: { memory: much } }
  more: { from: in, use: fliter, config: { a: \"${UNSET}\" } }
  less: { use: smaple }
sinks:
  out: { from: [few, more, less], file: { path: out, roll: { size: big } }, format: jsn }
delivery: { guarantee: exactly_once }
dead_letters: { fle: { path: x } }
",
        &[
            (3, "C005", "`nothing`"),
            (3, "C005", "`explode`"),
            (5, "C005", "`3`"),
            (5, "C003", "did you mean `use`?"),
            (5, "C005", "`much`"),
            (6, "P004", "did you mean `filter`?"),
            (6, "C006", "UNSET"),
            (7, "C004", "`from` is missing"),
            (7, "P004", "did you mean `sample`?"),
            (9, "C005", "`big`"),
            (9, "C005", "`jsn`"),
            (11, "C003", "did you mean `file`?"),
        ],
    );
}

#[test]
fn promises_are_looked_at_beside_other_mistakes() {
    check(
        "\
name: p
sources:
  a: { kafka: { brokers: b, topics: [t] }, format: raw }
  b: { kafka: { brokers: b, topics: [t] }, format: raw }
stages:
  few: { from: [a, b], use: fliter }
sinks:
  out: { from: few, kafka: { brokers: other, topic: u } }
  file: { from: b, file: { path: out }, format: raw }
delivery: { guarantee: exactly_once }
memory: 1MiB
",
        &[
            (4, "P009", "both read `t`"),
            (6, "P004", "did you mean `filter`?"),
            (9, "P007", "takes no part in a transaction"),
        ],
    );
}
