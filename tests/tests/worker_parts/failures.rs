//! Failures of data: each record that fails lies in the dead letters as it was, and nothing else does.

use std::collections::BTreeMap;

use pipe_tests::kafka::{self, unique};
use serde_json::json;

use super::{Pipeline, Record, Writer, committed, records, topic_with};

/// Rows of `{"n": .., "line": ..}` whose line is an access log's.
pub(super) fn good(n: i64) -> Record {
    let line = r#"198.51.100.1 - - [24/Nov/2026:02:10:20 +0000] "GET / HTTP/1.1" 200 3284 "-" "x""#;
    Record::new(0, json!({ "n": n, "line": line }).to_string())
}

pub(super) fn letters_pipeline(name: &str, from: &str, out: &str, on_failure: &str) -> String {
    let hostile = pipe_tests::root().join("tests/guests/prebuilt/hostile.wasm");
    let hostile = hostile.display();
    format!(
        r#"
name: {name}
sources:
  in:
    kafka: {{ brokers: "${{KAFKA_BROKERS}}", topics: [{from}] }}
    format: {{ json: {{ columns: {{ n: int64, line: utf8 }} }} }}
    on_failure: {on_failure}
    on_tombstone: row
stages:
  lines: {{ from: in, use: parse-log, config: {{ column: line }}, on_failure: {on_failure} }}
  touchy: {{ from: lines, wasm: "{hostile}", config: {{ mode: "trap-on=13" }}, on_failure: {on_failure} }}
sinks:
  out: {{ from: touchy.out, kafka: {{ brokers: "${{KAFKA_BROKERS}}", topic: {out} }}, format: json }}
  other: {{ from: touchy.other, blackhole: {{}} }}
"#
    )
}

/// Good records with bad ones between them, and by offset what is wrong with those.
pub(super) fn mixed() -> (Vec<Record>, BTreeMap<i64, &'static str>) {
    let mut all: Vec<Record> = (100..200).map(good).collect();
    let headers = vec![
        ("h".to_owned(), Some(vec![0xff, 0x00, b'x'])),
        ("h".to_owned(), None),
        ("pipe.error.kind".to_owned(), Some(b"the producer's own".to_vec())),
        ("z".to_owned(), Some(Vec::new())),
    ];
    let bytes =
        Record { key: Some(vec![0, 0xfe]), headers: headers.clone(), ..Record::new(0, [b'{', 0xff, 0]) };
    let no_line = Record::new(0, r#"{"n": 5, "line": "not a log's line"}"#);
    let tombstone = Record { key: Some(b"gone".to_vec()), value: None, headers, ..Record::new(0, "") };
    let empty_key = Record { key: Some(Vec::new()), ..Record::new(0, r#"{"n": "seven"}"#) };
    let bad = [
        (10, bytes, "decode"),
        (40, good(13), "trap"),
        (41, no_line, "rejected"),
        (70, tombstone, "rejected"),
        (99, empty_key, "decode"),
    ];
    let mut kinds = BTreeMap::new();
    for (at, record, kind) in bad {
        all[at] = record;
        kinds.insert(at as i64, kind);
    }
    (all, kinds)
}

#[test]
fn what_fails_lies_in_the_default_topic_byte_for_byte() {
    let broker = kafka::shared();
    let [name, from, out] = ["letters", "from", "out"].map(unique);
    broker.topic(&from, 1);
    broker.topic(&out, 1);
    let (given, kinds) = mixed();
    let writer = Writer::new(broker);
    given.iter().for_each(|record| writer.write(&from, record));
    writer.flush();
    let before =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
    let end = Pipeline::new(broker, &letters_pipeline(&name, &from, &out, "dead_letter")).run().ok();

    let mut letters = records(broker, &format!("{name}.dead-letters"));
    letters.sort_by_key(|l| l.header("pipe.error.offset").unwrap().parse::<i64>().unwrap());
    assert_eq!(letters.len(), kinds.len());
    for (letter, (&offset, &kind)) in letters.iter().zip(&kinds) {
        let original = &given[offset as usize];
        assert_eq!((&letter.key, &letter.value), (&original.key, &original.value), "at {offset}");
        assert!(letter.headers.starts_with(&original.headers), "{:?}", letter.headers);
        let header = |name: &str| letter.header(&format!("pipe.error.{name}")).unwrap_or_default();
        assert_eq!(header("kind"), kind, "at {offset}: {}", header("message"));
        assert_eq!([header("pipeline"), header("topic"), header("partition")], [name.as_str(), &from, "0"]);
        assert_eq!(
            (header("offset"), header("timestamp")),
            (offset.to_string(), original.timestamp.to_string())
        );
        let stage = match kind {
            "decode" => "in",
            "trap" => "touchy",
            _ => "lines",
        };
        assert_eq!(header("stage"), stage);
        assert!(!header("message").is_empty());
        assert_eq!([header("source"), header("attempt")], ["in", "1"]);
        assert_eq!(header("component").is_empty(), kind == "decode");
        assert!(letter.timestamp >= before, "retention counts from the failure");
        let kinds = letter.headers.iter().filter(|(name, _)| name == "pipe.error.kind").count();
        assert_eq!(
            kinds,
            1 + usize::from(!original.headers.is_empty()),
            "the letter's, and the record's own"
        );
    }
    assert_eq!(records(broker, &out).len(), given.len() - kinds.len());
    let summary = end.summary();
    assert_eq!(summary["dead_letters"], json!([5, 5]));
    assert_eq!(committed(broker, &name, &from, 1)[&0], given.len() as i64);
}

#[test]
fn skip_counts_and_stop_stops_before_the_bad_record() {
    let broker = kafka::shared();
    let [skip, stop, from, out] = ["skip", "stop", "from", "out"].map(unique);
    broker.topic(&from, 1);
    broker.topic(&out, 1);
    let (given, kinds) = mixed();
    let writer = Writer::new(broker);
    given.iter().for_each(|record| writer.write(&from, record));
    writer.flush();
    let end = Pipeline::new(broker, &letters_pipeline(&skip, &from, &out, "skip")).run().ok();
    assert_eq!(end.count("sources", "in", "skipped"), 2);
    assert_eq!([end.count("stages", "lines", "skipped"), end.count("stages", "touchy", "skipped")], [2, 1]);
    assert_eq!(records(broker, &out).len(), given.len() - kinds.len());
    assert!(records(broker, &format!("{skip}.dead-letters")).is_empty());

    let end = Pipeline::new(broker, &letters_pipeline(&stop, &from, &out, "stop")).run();
    let end = end.failed("X002", &format!("{from}/0 at 10"));
    assert!(end.took.as_secs() < 15, "{:?}", end.took);
    assert!(committed(broker, &stop, &from, 1).get(&0).is_none_or(|&at| at <= 10));
}

pub(super) fn raw(name: &str, from: &str, to: &str) -> String {
    format!(
        r#"
name: {name}
sources:
  in: {{ kafka: {{ brokers: "${{KAFKA_BROKERS}}", topics: [{from}] }}, format: {{ json: {{ columns: {{ n: int64, x: utf8 }} }} }} }}
sinks:
  out: {{ from: in, kafka: {{ brokers: "${{KAFKA_BROKERS}}", topic: {to}, compression: none }}, format: json }}
"#
    )
}

#[test]
fn a_record_too_large_for_the_topic_is_dead_lettered_alone() {
    let broker = kafka::shared();
    let [name, from, small] = ["large", "from", "small"].map(unique);
    broker.topic(&from, 1);
    topic_with(broker, &small, "max.message.bytes=3000");
    let writer = Writer::new(broker);
    for n in 0..200 {
        let x = if n == 77 { "x".repeat(10_000) } else { "x".to_owned() };
        writer.write(&from, &Record::new(0, json!({ "n": n, "x": x }).to_string()));
    }
    writer.flush();
    let end = Pipeline::new(broker, &raw(&name, &from, &small)).run().ok();
    assert_eq!([end.count("sinks", "out", "written"), end.count("sinks", "out", "dead_lettered")], [199, 1]);
    let letters = records(broker, &format!("{name}.dead-letters"));
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].header("pipe.error.offset").as_deref(), Some("77"));
    assert_eq!(letters[0].header("pipe.error.stage").as_deref(), Some("out"));
    assert_eq!(letters[0].json()["x"].as_str().unwrap().len(), 10_000);
    let mut found: Vec<i64> =
        records(broker, &small).iter().map(|r| r.json()["n"].as_i64().unwrap()).collect();
    found.sort_unstable();
    assert_eq!(found, (0..200).filter(|&n| n != 77).collect::<Vec<_>>());
    assert_eq!(committed(broker, &name, &from, 1)[&0], 200);
}

#[test]
fn a_dead_letter_that_cannot_be_written_stops_the_worker_before_it_is_committed() {
    let broker = kafka::shared();
    let [name, from, out] = ["full", "from", "out"].map(unique);
    broker.topic(&from, 1);
    broker.topic(&out, 1);
    topic_with(broker, &format!("{name}.dead-letters"), "max.message.bytes=2000");
    let writer = Writer::new(broker);
    for n in 0..100 {
        // Not JSON, and nothing that compression makes small.
        let noise = (0..9_000_u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40).to_string());
        let x = if n == 50 { noise.collect() } else { format!(r#"{{"n":{n}}}"#) };
        writer.write(&from, &Record::new(0, x));
    }
    writer.flush();
    let letters = format!("{name}.dead-letters");
    let pipeline = Pipeline::new(broker, &raw(&name, &from, &out));
    for _ in 0..2 {
        let end = pipeline.run().failed("K004", &format!("{from}/0 at 50"));
        assert!(end.took.as_secs() < 15, "{:?}", end.took);
        let last = end.log.lines().last().unwrap_or_default();
        assert!(last.contains(&letters) && last.contains("raise `max.message.bytes`"), "{last}");
        assert!(committed(broker, &name, &from, 1).get(&0).is_none_or(|&at| at <= 50));
    }
    // Raised as it says, it goes on and nothing is lost.
    let config = ["--alter", "--topic", &letters, "--add-config", "max.message.bytes=1000000"];
    broker.tool("kafka.admin.ConfigCommand", &config);
    pipeline.run().ok();
    let found = records(broker, &letters);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].header("pipe.error.offset").as_deref(), Some("50"));
    let written: std::collections::BTreeSet<i64> =
        records(broker, &out).iter().map(|r| r.json()["n"].as_i64().unwrap()).collect();
    assert_eq!(written, (0..100).filter(|&n| n != 50).collect());
    assert_eq!(committed(broker, &name, &from, 1)[&0], 100);
}

#[test]
fn a_dead_letter_topic_that_cannot_be_made_is_named_before_anything_is_read() {
    let broker = kafka::shared();
    let [name, from, out] = ["unmade", "from", "out"].map(unique);
    broker.topic(&from, 1);
    broker.topic(&out, 1);
    // Kafka refuses names that differ in `.` and `_` alone.
    broker.topic(&format!("{name}_dead-letters"), 1);
    let end = Pipeline::new(broker, &raw(&name, &from, &out)).run();
    let end = end.failed("K004", &format!("topic `{name}.dead-letters` cannot be created"));
    let last = end.log.lines().last().unwrap_or_default();
    assert!(last.contains("create it by hand") && last.contains("`dead_letters`"), "{last}");
    assert!(records(broker, &out).is_empty());
}
