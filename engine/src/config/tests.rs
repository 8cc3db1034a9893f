//! A file with many mistakes, through load and plan, with tables and a binder that need neither Wasm nor network.

use std::path::Path;

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::report::{Style, render};
use super::{Variables, load_text};
use crate::plan::fake;

fn check(text: &str, set: &[&str], expected: &Expect) {
    let set: Vec<String> = set.iter().map(|s| (*s).to_owned()).collect();
    expected.assert_eq(&fake::check(text, &set));
}

const GOOD: &str = "
name: good
sources:
  in: { test: { columns: [a, b] } }
stages:
  s: { from: in, wasm: two-ports }
sinks:
  out: { from: s, test: }
  other: { from: s.other, test: {} }
lanes: ${LANES:-2}
";

#[test]
fn a_good_file_gives_a_plan() {
    check(GOOD, &[], &expect![[r#"
        pipeline good
        source in: test
          columns: a: Int64, b: Int64
        stage s <- in
          port out: a: Int64, b: Int64
          port other: a: Int64, b: Int64
        sink out <- s.out: test
          columns: a: Int64, b: Int64
        sink other <- s.other: test
          columns: a: Int64, b: Int64
        delivery: at least once, committed every 30s; lanes: 2
        dead letters: file /working/good.dead-letters.jsonl
        flowchart LR
          n_in(["in"])
          n_s["s"]
          n_out[("out")]
          n_other[("other")]
          n_in --> n_s
          n_s -->|out| n_out
          n_s -->|other| n_other
    "#]]);
    check(GOOD, &["lanes=300"], &expect![[r#"
        p.yaml: error C005: `300` is above the greatest value, 256 (it was given by `--set lanes=..`)
    "#]]);
}

#[test]
fn every_mistake_of_a_file_is_reported() {
    let text = "
name: Bad Name
surces: {}
sources:
  in: { test: { columns: [a], colour: red } }
  in: { test: { columns: [a] } }
  bad: { tset: {} }
stages:
  a: { from: b, wasm: one }
  b: { from: a, wasm: one }
  alone: { wasm: one }
  both: { from: in, wasm: one, use: filter, limits: { memory: much } }
  lost: { from: inn, wasm: one, on_failure: explode }
sinks:
  out: { from: [in, both], test: { level: ${UNSET} } }
  in: { from: lost.nowhere, test: }
delivery: { guarantee: exactly_once, commit_interval: soon }
";
    check(text, &["lanes"], &expect![[r#"
        p.yaml:6:3: error C007: `in` is given twice (the first is in line 5; keep one of them)
        p.yaml:15:44: error C002: while parsing a flow mapping, did not find expected ',' or '}'
    "#]]);
}

#[test]
fn what_is_not_a_pipeline_is_said() {
    check("", &[], &expect![[r#"
        p.yaml:1:1: error C002: the file is empty
    "#]]);
    check("- a\n", &[], &expect![[r#"
        p.yaml:1:1: error C002: a pipeline is a mapping that begins with `name:`
    "#]]);
    check("a: [\n", &[], &expect![[r#"
        p.yaml:2:1: error C002: while parsing a node, did not find expected node content
    "#]]);
    check("a: 1\n---\nb: 2\n", &[], &expect![[r#"
        p.yaml:2:1: error C002: a second YAML document begins here; a file holds one
    "#]]);
}

#[test]
fn secrets_are_not_printed() {
    let get = |_: &str| Some("hunter2".to_owned());
    let variables = Variables { get: &get, base: Path::new(".") };
    let schema = crate::plan::schema::pipeline();
    let loaded = load_text(Path::new("p.yaml"), "name: x\nlanes: ${PW}\n", &schema, &[], &variables).unwrap();
    let shown = render(Path::new("p.yaml"), "", &loaded.diagnose(&[], &[]), Style::Plain, false);
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(shown.contains("p.yaml:2:8: error C005: a whole number was expected, not the text `${PW}`"), "{shown}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn no_text_makes_it_panic(text in "([a-z]{1,3}: |- |\\[|\\]|\\{|\\}|&a |\\*a|\\$\\{|!!int |\n|  |['\"|>#%@`]|\\PC){0,60}") {
        let get = |_: &str| None;
        let variables = Variables { get: &get, base: Path::new(".") };
        let schema = serde_json::json!({ "type": "object", "properties": { "name": { "type": "string" } } });
        let loaded = load_text(Path::new("p"), &text, &schema, &[], &variables).unwrap();
        for style in [Style::Pretty, Style::Plain, Style::Json] {
            render(Path::new("p"), &text, &loaded.diagnose(&[], &[]), style, false);
        }
    }
}
