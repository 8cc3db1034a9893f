//! `pipe offsets`: what is shown, what a reset does and what it refuses.

use pipe_tests::kafka::{self, Broker, unique};
use serde_json::Value;

use super::offsets::cut;
use super::{LONG, Pipeline, Record, Writer, committed, copy, patiently};

/// What `pipe offsets show --json` says of each partition.
fn shown(pipeline: &Pipeline, args: &[&str]) -> Vec<Value> {
    let (code, out, err) = pipeline.command(&["offsets", "show"], &[args, &["--json"]].concat());
    assert_eq!(code, Some(0), "{err}");
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn numbers(row: &Value) -> [Option<i64>; 4] {
    ["committed", "start", "end", "lag"].map(|key| row[key].as_i64())
}

/// What a reset printed to standard output, and that it went well.
fn reset(pipeline: &Pipeline, args: &[&str]) -> String {
    let (code, out, err) = pipeline.command(&["offsets", "reset"], args);
    assert_eq!(code, Some(0), "{out}{err}");
    out
}

fn refused(pipeline: &Pipeline, args: &[&str], code: i32, parts: &[&str]) {
    let (found, out, err) = pipeline.command(&["offsets", "reset"], args);
    assert_eq!(found, Some(code), "{out}{err}");
    for part in parts {
        assert!(err.contains(part), "`{part}` is not in:\n{err}");
    }
}

/// A pipeline that has read 100 records of each of three partitions, 50 each of which came since.
fn behind(broker: &Broker) -> (Pipeline, String, String) {
    let [name, from, to] = ["behind", "from", "to"].map(unique);
    broker.topic(&from, 3);
    broker.topic(&to, 3);
    let writer = Writer::new(broker);
    writer.numbers(&from, 3, 0..100);
    let pipeline = Pipeline::new(broker, &copy(&name, &from, &to));
    pipeline.run().ok();
    // A minute later.
    for n in 100..150 {
        for p in 0..3 {
            let record = Record::new(p, format!(r#"{{"p":{p},"n":{n}}}"#));
            writer.write(&from, &Record { timestamp: record.timestamp + 60_000, ..record });
        }
    }
    writer.flush();
    (pipeline, name, from)
}

#[test]
fn show_says_where_each_partition_is() {
    let broker = kafka::shared();
    let (pipeline, name, from) = behind(broker);
    cut(broker, &from, 120);
    let rows = shown(&pipeline, &[]);
    assert_eq!(rows.len(), 3);
    assert_eq!(numbers(&rows[0]), [Some(100), Some(120), Some(150), None]);
    assert_eq!(numbers(&rows[1]), [Some(100), Some(0), Some(150), Some(50)]);
    let said: Vec<bool> = rows.iter().map(|row| row["out_of_range"].as_bool().unwrap()).collect();
    assert_eq!(said, [true, false, false]);
    assert!(rows.iter().all(|row| row["topic"] == *from && row["source"] == "in"), "{rows:?}");
    let (code, out, _) = pipeline.command(&["offsets", "show"], &[]);
    assert_eq!(code, Some(0));
    for part in [
        &format!("group {name} on"),
        "Empty",
        "COMMITTED",
        "out of range: below the log's start",
        "3 partitions, lag 100, 1 out of range",
    ] {
        assert!(out.contains(part), "`{part}` is not in:\n{out}");
    }
    let some = shown(&pipeline, &["--topic", &from, "--partition", "2"]);
    assert_eq!((some.len(), &some[0]["partition"]), (1, &2.into()));
    // A group that never was.
    let other = Pipeline::new(broker, &copy(&unique("never"), &from, &from.replace("from", "to")));
    let rows = shown(&other, &[]);
    assert!(rows.iter().all(|row| row["committed"].is_null() && row["out_of_range"] == false), "{rows:?}");
    let (_, out, _) = other.command(&["offsets", "show"], &[]);
    assert!(out.contains("not there yet") && out.contains("nothing committed"), "{out}");
}

#[test]
fn a_reset_says_what_it_would_do_and_does_it_when_told() {
    let broker = kafka::shared();
    let (pipeline, name, from) = behind(broker);
    let held = || committed(broker, &name, &from, 3).into_values().collect::<Vec<_>>();
    let said = reset(&pipeline, &["--to", "earliest"]);
    for part in ["reads 100 again", "nothing was done: add `--execute`", &from] {
        assert!(said.contains(part), "`{part}` is not in:\n{said}");
    }
    assert_eq!(held(), [100; 3], "a dry run changes nothing");
    let said = reset(&pipeline, &["--to", "latest", "--partition", "1", "--execute"]);
    assert!(said.contains("skips 50") && said.contains("1 offset set"), "{said}");
    assert_eq!(held(), [100, 150, 100]);
    // The first record that is not older.
    reset(&pipeline, &["--to", "2023-11-14T22:13:21Z", "--partition", "1", "--execute"]);
    reset(&pipeline, &["--to", "2023-11-14T22:13:20Z", "--partition", "2", "--execute"]);
    assert_eq!(held(), [100, 100, 0]);
    reset(&pipeline, &["--to", "1h", "--partition", "2", "--topic", &from, "--execute"]);
    reset(&pipeline, &["--to", "140", "--partition", "0", "--execute"]);
    assert_eq!(held(), [140, 100, 150]);
    let said = reset(&pipeline, &["--to", "140", "--partition", "0", "--execute"]);
    assert!(said.contains("1 partitions are there already") && said.contains("nothing to do"), "{said}");
    // A worker goes on there.
    assert_eq!(pipeline.run().ok().count("sources", "in", "read"), 10 + 50);
    assert_eq!(held(), [150; 3]);
    reset(&pipeline, &["--to", "earliest", "--execute"]);
    assert_eq!(pipeline.run().ok().count("sources", "in", "read"), 450);
    // What was deleted is not read again.
    cut(broker, &from, 120);
    let args = ["--to", "119", "--partition", "0"];
    refused(&pipeline, &args, 2, &["S005", &format!("{from}/0 holds 120 to 150, not 119")]);
    reset(&pipeline, &["--to", "earliest", "--execute"]);
    assert_eq!(held(), [120, 0, 0]);
    assert_eq!(shown(&pipeline, &[])[0]["out_of_range"], false);
}

#[test]
fn what_is_not_there_is_named_and_nothing_is_changed() {
    let broker = kafka::shared();
    let (pipeline, name, from) = behind(broker);
    let near = format!("{}x", &from);
    refused(&pipeline, &["--to", "latest", "--topic", &near], 2, &["S005", &near, &from]);
    refused(&pipeline, &["--to", "latest", "--partition", "3"], 2, &["S005", "no partition 3"]);
    refused(&pipeline, &["--to", "soon"], 2, &["earliest", "latest", "2h"]);
    refused(&pipeline, &[], 2, &["--to"]);
    assert_eq!(committed(broker, &name, &from, 3).into_values().collect::<Vec<_>>(), [100; 3]);
    let missing = Pipeline::new(broker, &copy(&name, &unique("not-there"), &from));
    refused(&missing, &["--to", "latest"], 1, &["S003"]);
    let nowhere = format!("127.0.0.1:{}", kafka::free_port());
    let away = Pipeline::at(nowhere.clone(), &copy(&name, &from, &from.replace("from", "to")));
    refused(&away, &["--to", "latest"], 1, &["S005", &nowhere]);
}

#[test]
fn a_group_that_lives_is_refused_and_its_members_are_named() {
    let broker = kafka::shared();
    let (pipeline, name, from) = behind(broker);
    let mut worker = pipeline.start(&[]);
    worker.says("\"partition assigned\"");
    patiently(LONG, "all is committed", || {
        committed(broker, &name, &from, 3).into_values().all(|at| at == 150)
    });
    let args = ["--to", "earliest", "--execute"];
    refused(
        &pipeline,
        &args,
        1,
        &["S005", "is live", &name, "pipe at 127.0.0.1", "stop the pipeline's workers"],
    );
    let said = reset(&pipeline, &["--to", "earliest"]);
    assert!(said.contains("would be refused") && said.contains("pipe at 127.0.0.1"), "{said}");
    let (_, out, _) = pipeline.command(&["offsets", "show"], &[]);
    assert!(out.contains("1 member") && out.contains("pipe at 127.0.0.1"), "{out}");
    assert!(shown(&pipeline, &[]).iter().all(|row| row["lag"] == 0));
    assert!(committed(broker, &name, &from, 3).into_values().all(|at| at == 150));
    worker.stop();
    assert!(reset(&pipeline, &args).contains("3 offsets set"));
    assert!(committed(broker, &name, &from, 3).into_values().all(|at| at == 0));
}

#[test]
fn without_a_kafka_source_there_is_no_group_and_it_says_what_to_use() {
    let yaml = "
name: files
sources:
  lines: { file: { path: in.jsonl }, format: raw }
sinks:
  out: { from: lines, blackhole: {} }
";
    // No broker is asked.
    let pipeline = Pipeline::at("127.0.0.1:1".into(), yaml);
    for command in ["show", "reset"] {
        let args: &[&str] = if command == "reset" { &["--to", "earliest"] } else { &[] };
        let (code, out, err) = pipeline.command(&["offsets", command], args);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{err}");
        for part in ["S005", "no Kafka source", "`lines` (file)", "pipe run --fresh"] {
            assert!(err.contains(part), "`{part}` is not in:\n{err}");
        }
    }
}
