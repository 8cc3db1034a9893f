//! Tests of the whole stage: what it does to columns, and what it says of mistakes.

use pipe_stage::Read;
use pipe_stage::testing::{Input, Results, run};

use super::*;

const KEY: &str = r#""key":"a key of many bytes""#;

fn input() -> Input {
    Input::new()
        .column::<str>("name", [Some("Ada Lovelace"), None])
        .column::<str>("note", [Some("mail ada@example.org from 10.1.2.3"), Some("nothing")])
        .column::<i64>("id", [Some(42), None])
        .column::<f64>("salary", [Some(1.5), Some(2.5)])
        .lists::<str>("tags", [Some(vec![Some("x")]), None])
}

fn redact(rules: &str) -> Results {
    run::<RedactStage>(&input(), &format!(r#"{{"rules":[{rules}],{KEY}}}"#)).unwrap()
}

fn texts(results: &Results, column: &str) -> Vec<Option<String>> {
    let all = |v: <str as Read>::View<'_>| v.iter().map(|t| t.map(str::to_owned)).collect();
    results.computed::<str, _>("redacted", column, all).unwrap()
}

#[test]
fn whole_columns_are_masked_hashed_replaced_cleared_and_removed() {
    let results = redact(
        r#"{"column":"name","action":"mask","keep_last":4},{"columns":["salary","tags"],"action":"clear"},
           {"column":"id","action":"hash","length":16},{"column":"note","action":"remove"}"#,
    );
    assert_eq!(results.columns("redacted").join(" "), "name id salary tags");
    assert_eq!(texts(&results, "name"), [Some("********lace".into()), None]);
    // HMAC-SHA-256 of `42` under that key, by another program.
    assert_eq!(texts(&results, "id"), [Some(HASH_OF_42[..16].into()), None]);
    let nulls = results.computed::<f64, _>("redacted", "salary", |v| v.iter().collect::<Vec<_>>()).unwrap();
    assert_eq!(nulls, [None, None]);
    let (field, arrays) = results.computed_arrays("redacted", "tags").unwrap();
    assert_eq!((field.type_name().as_str(), arrays[0].null_count, arrays[1].length), ("list(utf8)", 2, 0));
}

const HASH_OF_42: &str = "09c2645301eddbdb33771dd7263a4301f2fbbfe89bd1f8d7c6a41e5a918df471";

#[test]
fn an_integer_and_its_text_have_one_hash() {
    let input = Input::new()
        .column::<i8>("a", [Some(42)])
        .column::<str>("b", [Some("42")])
        .column::<[u8]>("c", [Some(b"42".as_slice())]);
    let config = format!(r#"{{"rules":[{{"columns":["a","b","c"],"action":"hash"}}],{KEY}}}"#);
    let results = run::<RedactStage>(&input, &config).unwrap();
    for column in ["a", "b", "c"] {
        assert_eq!(texts(&results, column), [Some(HASH_OF_42.into())], "{column}");
    }
}

#[test]
fn what_patterns_find_is_changed_rule_by_rule() {
    let results = redact(
        r#"{"column":"note","find":["email"],"action":"hash","length":16},
           {"column":"note","find":["ipv4"],"action":"replace","with":"<ip>"},
           {"column":"note","pattern":"from ","action":"remove"}"#,
    );
    let note = texts(&results, "note")[0].clone().unwrap();
    assert!(note.starts_with("mail ") && note.ends_with(" <ip>") && note.len() == 5 + 16 + 5, "{note}");
    assert_eq!(texts(&results, "note")[1].as_deref(), Some("nothing"));
    // Columns that are not redacted never enter the sandbox.
    let config = format!(r#"{{"rules":[{{"column":"note","find":["email"],"action":"mask"}}],{KEY}}}"#);
    let (_, binding) = pipe_stage::testing::bind::<RedactStage>(&input(), &config).unwrap();
    assert_eq!(binding.reads, [1]);
}

#[test]
fn a_mistake_is_told_in_words() {
    for (rules, word) in [
        ("", "at least one"),
        (r#"{"action":"mask"}"#, "rules[0]: each rule needs either"),
        (r#"{"column":"nam","action":"mask"}"#, "did you mean `name`?"),
        (r#"{"column":"id","action":"mask"}"#, "`id` is int64; `mask` is for utf8"),
        (r#"{"column":"salary","action":"hash"}"#, "`hash` is for utf8, binary and integers"),
        (r#"{"column":"id","find":["email"],"action":"hash"}"#, "look into utf8"),
        (r#"{"column":"name","action":"mask","with":"**"}"#, "one character"),
        (r#"{"column":"name","action":"mask","length":16}"#, "`length` is for `hash`"),
        (r#"{"column":"name","action":"hash","length":8}"#, "16 to 64"),
        (r#"{"column":"name","action":"hash","keep_last":1}"#, "are for `mask`"),
        (r#"{"column":"name","action":"clear","with":"x"}"#, "`with` is for"),
        (r#"{"column":"name","action":"clear","find":["email"]}"#, "`remove` cuts out"),
        (r#"{"column":"name","action":"replace"}"#, "needs a text `with`"),
        (r#"{"column":"name","action":"mask","find":[]}"#, "`find` needs at least one"),
        (r#"{"column":"name","action":"mask"},{"column":"name","action":"hash"}"#, "cannot be again"),
        (r#"{"column":"name","action":"mask"},{"column":"name","action":"remove"}"#, "removed by another"),
        (r#"{"column":"name","action":"shred"}"#, "none of mask, hash"),
    ] {
        let error =
            run::<RedactStage>(&input(), &format!(r#"{{"rules":[{rules}],{KEY}}}"#)).unwrap_err().to_string();
        assert!(error.contains(word), "{rules}: {error}");
    }
    let unkeyed = run::<RedactStage>(&input(), r#"{"rules":[{"column":"id","action":"hash"}]}"#).unwrap_err();
    assert!(unkeyed.to_string().contains("`hash` needs a `key`"));
    let schema: serde_json::Value = serde_json::from_str(&Redact::schema()).unwrap();
    assert_eq!(schema["required"][0], "rules");
}
