//! A file with many mistakes, through load and plan, with tables and a binder that need neither Wasm nor network.

use std::path::Path;

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::report::{Style, render};
use super::{Variables, load_text};
use crate::plan::testing;

fn check(text: &str, set: &[&str], expected: &Expect) {
    let set: Vec<String> = set.iter().map(|s| (*s).to_owned()).collect();
    expected.assert_eq(&testing::check(text, &set));
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
    check(
        GOOD,
        &[],
        &expect![[r#"
            pipeline good
            source in: test
              columns: a: int64, b: int64
            stage s <- in
              port out: a: int64, b: int64
              port other: a: int64, b: int64
            sink out <- s.out: test
              columns: a: int64, b: int64
            sink other <- s.other: test
              columns: a: int64, b: int64
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
        "#]],
    );
    check(
        GOOD,
        &["lanes=300"],
        &expect![[r#"
        p.yaml: error C005: `300` is above the greatest value, 256 (it was given by `--set lanes=..`)
    "#]],
    );
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
  out:
    from: [in, both]
    test:
      level: ${UNSET}
  in: { from: lost.nowhere, test: }
delivery: { guarantee: exactly_once, commit_interval: soon }
";
    check(
        text,
        &["lanes"],
        &expect![[r#"
            p.yaml:2:7: error C005: the text `Bad Name` is not valid here (Name of the pipeline: consumer group, prefix of transactional ids and of the dead-letter topic. It must match ^[a-z0-9][a-z0-9._-]{0,99}$)
            p.yaml:3:1: error C003: unknown key `surces` (did you mean `sources`? keys: name, sources, stages, sinks, delivery, dead_letters, batch, lanes, memory, tracing)
            p.yaml:5:3: error P007: `exactly_once` cannot be had from `in`: no consumer group holds the positions of a source of kind `test` (exactly once is from Kafka to Kafka on one cluster; use `guarantee: at_least_once`, and let readers drop repeats by topic, partition and offset (`metadata:`))
            p.yaml:5:31: error C003: unknown key `colour` (keys: columns)
            p.yaml:6:3: error C007: `in` is given twice (the first is in line 5; keep one of them)
            p.yaml:7:3: error P003: nothing reads `bad` (add a stage or sink with `from: bad`; a sink `blackhole` drops rows on purpose)
            p.yaml:7:10: error C003: unknown key `tset` (did you mean `test`? keys: format, metadata, on_failure, on_tombstone, test, keyless)
            p.yaml:9:14: error P002: a cycle: a -> b -> a (a stage cannot read, even indirectly, what it makes)
            p.yaml:11:3: error C004: `from` is missing (`from`: Its inputs: a source, a stage, a port `stage.port`, or a list of them (a union of equal schemas).)
            p.yaml:11:3: error P003: nothing reads `alone` (add a stage or sink with `from: alone`; a sink `blackhole` drops rows on purpose)
            p.yaml:12:37: error P009: both `wasm` and `use` are given (keep one of them)
            p.yaml:12:63: error C005: the text `much` is not valid here (A number of bytes: `64MiB`, `1.5 GB`, or a bare number. It must match ^\s*[0-9]+(\.[0-9]+)?\s*([kKmMgGtT]([iI]?[bB])?|[bB])?\s*$)
            p.yaml:13:17: error P001: there is no source or stage `inn` (did you mean `in`? sources and stages: in, bad, a, b, alone, both, lost)
            p.yaml:13:45: error C005: the text `explode` is not one of the values allowed here (values: dead_letter, skip, stop)
            p.yaml:18:14: error C006: the variable `UNSET` is not set (set it, or write `${UNSET:-default}`)
            p.yaml:19:3: error C007: `in` is also the name of one of the sources (sources, stages and sinks share one namespace: rename one of the two)
            p.yaml:20:55: error C005: the text `soon` is not valid here (A length of time: `250ms`, `1s`, `5m`, `1h 30m`. It must match ^\s*([0-9]+\s*(ns|us|ms|s|sec|m|min|h|hr|d|day|days)\s*)+$)
            p.yaml: error C008: an override without `=` (write `--set key.key=value`, such as `--set sinks.out.kafka.topic=t`)
        "#]],
    );
}

#[test]
fn edges_are_typed() {
    let text = "
name: edges
sources:
  in: { test: { columns: [a] }, metadata: [key, ofset] }
  two: { test: { columns: [a, _key] }, metadata: [key] }
  ok: { test: { columns: [a] } }
stages:
  s: { from: ok, wasm: two-ports }
  t: { from: s.othr, wasm: one }
  u: { from: ok, wasm: add }
  v: { from: ok, wasm: absent.wasm }
sinks:
  out: { from: [s, u], test: }
  x: { from: ok.port, test: {} }
  y: { from: out, test: {} }
  z: { from: [t, v, in, two], test: {} }
";
    check(
        text,
        &[],
        &expect![[r#"
            p.yaml:4:49: error C005: the text `ofset` is not one of the values allowed here (did you mean `offset`? values: key, offset)
            p.yaml:5:51: error P009: there is already a column `_key` (rename the column or leave this metadata out)
            p.yaml:9:14: error P001: `s` has no port `othr` (did you mean `other`? ports: out, other)
            p.yaml:11:24: error P004: no such component
            p.yaml:13:20: error P006: `u` and `s` have different columns (`added` is only in `u`)
            p.yaml:14:14: error P001: `ok` is a source and has no port `port` (write `from: ok`)
            p.yaml:15:14: error P001: `out` is a sink: nothing comes out of it
        "#]],
    );
    check(
        GOOD,
        &["sinks.other.from=s"],
        &expect![[r#"
        p.yaml:6:3: error P003: nothing reads the port `s.other`: its rows would vanish (add a sink with `from: s.other`; `blackhole` drops rows on purpose)
    "#]],
    );
    check(
        GOOD,
        &["memory=60MiB"],
        &expect![[r#"
        pipeline good
        source in: test
          columns: a: int64, b: int64
        stage s <- in
          port out: a: int64, b: int64
          port other: a: int64, b: int64
        sink out <- s.out: test
          columns: a: int64, b: int64
        sink other <- s.other: test
          columns: a: int64, b: int64
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
    "#]],
    );
    check(
        GOOD,
        &["memory=lots"],
        &expect![[r#"
        p.yaml: error C005: the text `lots` is not valid here (A number of bytes: `64MiB`, `1.5 GB`, or a bare number. It must match ^\s*[0-9]+(\.[0-9]+)?\s*([kKmMgGtT]([iI]?[bB])?|[bB])?\s*$; it was given by `--set memory=..`)
    "#]],
    );
    check(
        GOOD,
        &["delivery.commit_interval=1s", "name.x=1", "dead_letters={ kafka: {} }"],
        &expect![[r#"
            p.yaml: error C004: `brokers` is missing (there is no Kafka source whose brokers could be used; it was given by `--set dead_letters=..`)
            p.yaml: error C008: `name.x`: there is a single value before `x`, not a mapping (write `--set key.key=value`, such as `--set sinks.out.kafka.topic=t`)
        "#]],
    );
    check(
        GOOD,
        &["delivery.commit_interval=1s", "memory=128MiB", "batch.bytes=8MiB"],
        &expect![[r#"
            p.yaml: warning P010: with this `memory` a batch has 1.2 MiB at most, not 8.0 MiB (raise `memory`, lower `lanes`, or lower `batch.bytes`; it was given by `--set batch.bytes=..`)
            p.yaml: warning P010: the sink `out` may write 7200 files an hour (raise `delivery.commit_interval`, or use fewer `lanes`; it was given by `--set delivery.commit_interval=..`)
            p.yaml: warning P010: the sink `other` may write 7200 files an hour (raise `delivery.commit_interval`, or use fewer `lanes`; it was given by `--set delivery.commit_interval=..`)
            pipeline good
            source in: test
              columns: a: int64, b: int64
            stage s <- in
              port out: a: int64, b: int64
              port other: a: int64, b: int64
            sink out <- s.out: test
              columns: a: int64, b: int64
            sink other <- s.other: test
              columns: a: int64, b: int64
            delivery: at least once, committed every 1s; lanes: 2
            dead letters: file /working/good.dead-letters.jsonl
            flowchart LR
              n_in(["in"])
              n_s["s"]
              n_out[("out")]
              n_other[("other")]
              n_in --> n_s
              n_s -->|out| n_out
              n_s -->|other| n_other
        "#]],
    );
}

#[test]
fn a_missing_file_is_said() {
    let schema = serde_json::json!({});
    let loaded = super::load(Path::new("/nowhere/p.yaml"), &schema, &[]).unwrap();
    assert_eq!(loaded.diagnostics[0].code, crate::error::Code::C001);
}

#[test]
fn what_is_not_a_pipeline_is_said() {
    check(
        "",
        &[],
        &expect![[r#"
        p.yaml:1:1: error C002: the file is empty
    "#]],
    );
    check(
        "- a\n",
        &[],
        &expect![[r#"
        p.yaml:1:1: error C002: a pipeline is a mapping that begins with `name:`
    "#]],
    );
    check(
        "a: [\n",
        &[],
        &expect![[r#"
        p.yaml:2:1: error C002: while parsing a node, did not find expected node content
    "#]],
    );
    check(
        "a: 1\n---\nb: 2\n",
        &[],
        &expect![[r#"
        p.yaml:2:1: error C002: a second YAML document begins here; a file holds one
    "#]],
    );
}

#[test]
fn secrets_are_not_printed() {
    let get = |_: &str| Some("hunter2".to_owned());
    let variables = Variables { get: &get, base: Path::new(".") };
    let schema = crate::plan::schema::pipeline();
    let loaded = load_text(Path::new("p.yaml"), "name: x\nlanes: ${PW}\n", &schema, &[], &variables).unwrap();
    let shown = render(Path::new("p.yaml"), "", &loaded.diagnose(&[], &[]), Style::Plain, false);
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(
        shown.contains("p.yaml:2:8: error C005: a whole number was expected, not the text `${PW}`"),
        "{shown}"
    );
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
