//! Exactly once into a cluster that takes little: a broker's own quota of bytes a second, met at the start and in between.

use std::time::Duration;

use pipe_tests::kafka::{self, Broker, unique};
use serde_json::json;

use super::exactly_once::{EXACTLY, once, seen};
use super::{Pipeline, Record, Worker, Writer, committed, copy, patiently};

const PARTITIONS: i32 = 2;
/// A record as it is written, in bytes.
const RECORD: usize = 1_000;

/// Bounds what a client may write, in bytes a second; `None`: it is unbounded again.
fn quota(broker: &Broker, client: &str, bytes: Option<u32>) {
    let setting =
        bytes.map_or("producer_byte_rate".to_owned(), |bytes| format!("producer_byte_rate={bytes}"));
    let change = if bytes.is_some() { "--add-config" } else { "--delete-config" };
    let of = ["--entity-type", "clients", "--entity-name", client];
    broker.tool("kafka.admin.ConfigCommand", &[&["--alter", change, &setting], &of[..]].concat());
}

/// Records of a kilobyte, numbered in each partition.
fn fill(broker: &Broker, topic: &str, numbers: std::ops::Range<i64>) {
    let writer = Writer::new(broker);
    for n in numbers {
        for p in 0..PARTITIONS {
            let x = "x".repeat(RECORD - 30);
            let key = Some(p.to_string().into_bytes());
            writer.write(
                topic,
                &Record { key, ..Record::new(p, json!({ "p": p, "n": n, "x": x }).to_string()) },
            );
        }
    }
    writer.flush();
}

/// A worker that writes as a client of this name, uncompressed, so that a quota is a rate of records.
fn pipeline(broker: &Broker, [name, from, to]: &[String; 3], client: &str) -> Pipeline {
    let sink = format!("key: p, compression: none, properties: {{ client.id: {client} }} }}");
    let yaml = format!("{EXACTLY}{}", copy(name, from, to))
        .replace("{ p: int64, n: int64 }", "{ p: int64, n: int64, x: utf8 }")
        .replace("key: p }", &sink);
    Pipeline::new(broker, &yaml)
}

fn wait_for(broker: &Broker, [name, from, _]: &[String; 3], count: i64, worker: &mut Worker) {
    patiently(Duration::from_secs(150), "all is committed", || {
        assert!(!worker.has_ended(), "{}", worker.log());
        let committed = committed(broker, name, from, PARTITIONS);
        committed.values().filter(|&&at| at == count).count() == PARTITIONS as usize
    });
}

fn went_back(log: &str) -> usize {
    log.matches("going back to what is committed").count()
}

#[test]
fn epochs_get_as_small_as_a_quota_wants_and_as_large_as_before_without_it() {
    let broker = kafka::shared();
    let topics = ["quota", "from", "to"].map(unique);
    let client = unique("limited");
    broker.topic(&topics[1], PARTITIONS);
    broker.topic(&topics[2], PARTITIONS);
    let pipeline = pipeline(broker, &topics, &client);
    let mut worker = pipeline.start(&["--worker-id", "w"]);
    worker.says("\"partition assigned\"");
    // Epochs have become large by the time the quota comes.
    fill(broker, &topics[1], 0..20_000);
    wait_for(broker, &topics, 20_000, &mut worker);
    assert_eq!(went_back(&worker.log()), 0);
    // What is read in an interval takes longer than the ten seconds of a transaction now.
    quota(broker, &client, Some(400_000));
    fill(broker, &topics[1], 20_000..28_000);
    wait_for(broker, &topics, 28_000, &mut worker);
    let log = worker.log();
    let limited = went_back(&log);
    println!("under the quota: {limited} times back");
    assert!(limited <= 6, "an epoch that takes too long is cut, not done again for ever: {limited}\n{log}");
    assert!(!log.contains("which is raised"), "smaller epochs, and no longer time-outs:\n{log}");
    quota(broker, &client, None);
    fill(broker, &topics[1], 28_000..48_000);
    wait_for(broker, &topics, 48_000, &mut worker);
    let end = worker.stop();
    assert_eq!(went_back(&end.log), limited, "{}", end.log);
    assert_eq!(seen(broker, &topics[2]), once(i64::from(PARTITIONS), 48_000));
}

#[test]
fn a_worker_that_starts_under_a_quota_comes_through() {
    let broker = kafka::shared();
    let topics = ["quota-start", "from", "to"].map(unique);
    let client = unique("limited");
    broker.topic(&topics[1], PARTITIONS);
    broker.topic(&topics[2], PARTITIONS);
    quota(broker, &client, Some(200_000));
    fill(broker, &topics[1], 0..3_000);
    let pipeline = pipeline(broker, &topics, &client);
    let mut worker = pipeline.start(&["--worker-id", "w"]);
    wait_for(broker, &topics, 3_000, &mut worker);
    let end = worker.stop();
    assert!(went_back(&end.log) <= 6, "{}", end.log);
    assert_eq!(seen(broker, &topics[2]), once(i64::from(PARTITIONS), 3_000));
}
