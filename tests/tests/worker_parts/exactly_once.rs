//! Exactly once from Kafka to Kafka, beside the crash proof (`soak`): what a cluster refuses, who has whose identity,
//! transactions that take too long, pipelines that are changed in between.

use std::collections::BTreeMap;
use std::time::Duration;

use pipe_tests::kafka::{self, Broker, unique};
use serde_json::json;

use super::failures::raw;
use super::group::Stream;
use super::{
    LONG, Pipeline, Record, Writer, committed, copy, patiently, records, records_committed, topic_with,
};

pub(super) const EXACTLY: &str = "delivery: { guarantee: exactly_once }\n";

/// How often each `n` of each partition `p` is in a topic, as those see it who wait for commits; in order.
pub(super) fn seen(broker: &Broker, topic: &str) -> BTreeMap<i64, Vec<i64>> {
    let mut seen: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    for record in records_committed(broker, topic) {
        let json = record.json();
        seen.entry(json["p"].as_i64().unwrap()).or_default().push(json["n"].as_i64().unwrap());
    }
    seen
}

/// Each partition's numbers once and in order.
pub(super) fn once(partitions: i64, count: i64) -> BTreeMap<i64, Vec<i64>> {
    (0..partitions).map(|p| (p, (0..count).collect())).collect()
}

#[test]
fn records_that_the_topic_refuses_are_dead_lettered_alone_and_nothing_comes_twice() {
    let broker = kafka::shared();
    let [name, from, small] = ["once-large", "from", "small"].map(unique);
    broker.topic(&from, 1);
    topic_with(broker, &small, "max.message.bytes=3000");
    let writer = Writer::new(broker);
    // Within one request of the producer.
    let large = BTreeMap::from([(77, 10_000), (79, 5_000)]);
    for n in 0..200 {
        let x = "x".repeat(large.get(&n).copied().unwrap_or(1));
        writer.write(&from, &Record::new(0, json!({ "n": n, "x": x }).to_string()));
    }
    writer.flush();
    let yaml = format!("{EXACTLY}{}", raw(&name, &from, &small));
    let end = Pipeline::new(broker, &yaml).run().ok();
    assert!(end.log.contains("going back to what is committed"), "{}", end.log);
    let letters = records_committed(broker, &format!("{name}.dead-letters"));
    let offsets: Vec<_> = letters.iter().map(|l| l.header("pipe.error.offset").unwrap()).collect();
    assert_eq!(offsets, ["77", "79"]);
    assert!(letters.iter().all(|l| l.header("pipe.error.stage").as_deref() == Some("out")));
    let found: Vec<i64> =
        records_committed(broker, &small).iter().map(|r| r.json()["n"].as_i64().unwrap()).collect();
    assert_eq!(found, (0..200).filter(|n| !large.contains_key(n)).collect::<Vec<_>>(), "once, in order");
    assert_eq!(committed(broker, &name, &from, 1)[&0], 200);
}

#[test]
fn a_record_too_large_for_the_client_is_found_before_it_spoils_the_transaction() {
    let broker = kafka::shared();
    let [name, from, to] = ["once-client", "from", "to"].map(unique);
    broker.topic(&from, 1);
    broker.topic(&to, 1);
    let writer = Writer::new(broker);
    for n in 0..100 {
        let x = "x".repeat(if n == 50 { 20_000 } else { 1 });
        writer.write(&from, &Record::new(0, json!({ "n": n, "x": x }).to_string()));
    }
    writer.flush();
    let limit = "compression: none, properties: { message.max.bytes: 10000 }";
    let yaml = format!("{EXACTLY}{}", raw(&name, &from, &to).replace("compression: none", limit));
    let end = Pipeline::new(broker, &yaml).run().ok();
    assert!(!end.log.contains("going back"), "{}", end.log);
    assert_eq!([end.count("sinks", "out", "written"), end.count("sinks", "out", "dead_lettered")], [99, 1]);
    assert_eq!(records_committed(broker, &to).len(), 99);
}

#[test]
fn of_two_workers_of_one_identity_the_older_one_says_so_and_stops() {
    let broker = kafka::shared();
    let [name, from, to] = ["once-twins", "from", "to"].map(unique);
    broker.topic(&from, 2);
    broker.topic(&to, 2);
    let pipeline = Pipeline::new(broker, &format!("{EXACTLY}{}", copy(&name, &from, &to)));
    let writer = Writer::new(broker);
    let mut older = pipeline.start(&["--worker-id", "twin"]);
    older.says("\"partition assigned\"");
    let mut newer = pipeline.start(&["--worker-id", "twin"]);
    newer.says("\"starting\"");
    let mut sent = 0;
    while !older.has_ended() {
        assert!(sent < 600, "the older one goes on");
        writer.numbers(&from, 2, sent..sent + 10);
        sent += 10;
        std::thread::sleep(Duration::from_millis(100));
    }
    older.wait(LONG).failed("X013", "--worker-id");
    patiently(LONG, "the newer one has all", || {
        committed(broker, &name, &from, 2).values().all(|&at| at == sent)
    });
    newer.stop();
    assert_eq!(seen(broker, &to), once(2, sent));
}

#[test]
fn a_transaction_older_than_its_time_out_is_done_again() {
    let broker = kafka::shared();
    let [name, from, to] = ["once-late", "from", "to"].map(unique);
    broker.topic(&from, 2);
    broker.topic(&to, 2);
    let short = "key: p, properties: { transaction.timeout.ms: 1500 } }";
    let yaml = format!("{EXACTLY}{}", copy(&name, &from, &to).replace("key: p }", short));
    let pipeline = Pipeline::new(broker, &yaml);
    let writer = Writer::new(broker);
    let mut worker = pipeline.start(&["--worker-id", "w"]);
    worker.says("\"partition assigned\"");
    let mut sent = 0;
    for _ in 0..4 {
        for _ in 0..10 {
            writer.numbers(&from, 2, sent..sent + 20);
            sent += 20;
            std::thread::sleep(Duration::from_millis(20));
        }
        // The broker gives up what is open; it looks every ten seconds.
        worker.signal("-STOP");
        std::thread::sleep(Duration::from_secs(4));
        worker.signal("-CONT");
    }
    patiently(LONG, "all is committed", || {
        committed(broker, &name, &from, 2).values().filter(|&&at| at == sent).count() == 2
    });
    worker.stop();
    assert_eq!(seen(broker, &to), once(2, sent));
}

#[test]
fn a_time_out_that_the_cluster_does_not_take_is_an_error_at_the_start() {
    let broker = kafka::shared();
    let [name, from, to] = ["once-long", "from", "to"].map(unique);
    broker.topic(&from, 1);
    broker.topic(&to, 1);
    let long = "key: p, properties: { transaction.timeout.ms: 2000000 } }";
    let yaml = format!("{EXACTLY}{}", copy(&name, &from, &to).replace("key: p }", long));
    let end = Pipeline::new(broker, &yaml).run().failed("X012", "transaction.max.timeout.ms");
    assert!(end.took < Duration::from_secs(20), "{:?}", end.took);
}

#[test]
fn a_changed_pipeline_goes_on_where_the_other_one_stopped() {
    let broker = kafka::shared();
    let [name, from, to] = ["once-changed", "from", "to"].map(unique);
    broker.topic(&from, 3);
    broker.topic(&to, 3);
    let writer = Writer::new(broker);
    let whole = format!("{EXACTLY}{}", copy(&name, &from, &to));
    let without = whole.replace("from: good", "from: in").replace("stages:\n", "").replace("  good: {", "#");
    let versions = [
        whole.clone(),
        whole.replace("lanes: 2", "lanes: 5"),
        whole.replace("once }", "once, commit_interval: 10ms }"),
        without,
        whole.replace("ge, value: 0", "ge, value: -1").replace("once }", "once, commit_interval: 2s }"),
    ];
    let mut sent = 0;
    for (round, yaml) in versions.iter().enumerate() {
        writer.numbers(&from, 3, sent..sent + 200);
        sent += 200;
        let pipeline = Pipeline::new(broker, yaml);
        if round % 2 == 0 {
            pipeline.run().ok();
        } else {
            let mut worker = pipeline.start(&["--worker-id", "w"]);
            worker.says("\"partition assigned\"");
            std::thread::sleep(Duration::from_millis(150));
            worker.kill();
        }
    }
    Pipeline::new(broker, &whole).run().ok();
    // A killed member may still have held a partition.
    patiently(LONG, "all is committed", || {
        Pipeline::new(broker, &whole).run().ok();
        committed(broker, &name, &from, 3).values().filter(|&&at| at == sent).count() == 3
    });
    assert_eq!(seen(broker, &to), once(3, sent));
}

#[test]
fn what_is_not_committed_is_not_seen_and_an_end_leaves_nothing_open() {
    let broker = kafka::shared();
    let [name, from, to] = ["once-open", "from", "to"].map(unique);
    broker.topic(&from, 1);
    broker.topic(&to, 1);
    let yaml =
        format!("{EXACTLY}{}", copy(&name, &from, &to)).replace("once }", "once, commit_interval: 10s }");
    let pipeline = Pipeline::new(broker, &yaml);
    let mut worker = pipeline.start(&["--worker-id", "w"]);
    worker.says("\"partition assigned\"");
    Writer::new(broker).numbers(&from, 1, 0..100);
    patiently(LONG, "it is written", || records(broker, &to).len() >= 100);
    assert_eq!(seen(broker, &to), BTreeMap::new(), "it is not committed yet");
    // Stopping commits; readers of what is committed need not wait for a time-out.
    worker.stop();
    assert_eq!(seen(broker, &to), once(1, 100));
    assert_eq!(committed(broker, &name, &from, 1), BTreeMap::from([(0, 100)]));
}

#[test]
fn four_workers_come_and_go_while_records_flow_and_nothing_comes_twice() {
    let broker = kafka::shared();
    let [name, from, to] = ["once-scale", "from", "to"].map(unique);
    broker.topic(&from, 8);
    broker.topic(&to, 8);
    let pipeline = Pipeline::new(broker, &format!("{EXACTLY}{}", copy(&name, &from, &to)));
    let stream = Stream::start(broker, &from, 8);
    let mut workers = Vec::new();
    for id in ["a", "b", "c", "d"] {
        let mut worker = pipeline.start(&["--worker-id", id]);
        worker.says("\"partition assigned\"");
        std::thread::sleep(Duration::from_millis(500));
        workers.push(worker);
    }
    let last = workers.pop().unwrap();
    for worker in workers {
        worker.stop();
        std::thread::sleep(Duration::from_millis(500));
    }
    let count = stream.end();
    patiently(LONG, "all is committed", || {
        committed(broker, &name, &from, 8).values().filter(|&&at| at == count).count() == 8
    });
    last.stop();
    assert_eq!(seen(broker, &to), once(8, count));
}

#[test]
fn what_comes_after_a_start_at_the_end_is_read_though_nothing_was_committed_before_a_crash() {
    let broker = kafka::shared();
    let [name, from, to] = ["once-latest", "from", "to"].map(unique);
    broker.topic(&from, 1);
    broker.topic(&to, 1);
    let writer = Writer::new(broker);
    writer.numbers(&from, 1, 0..5);
    let slow = "delivery: { guarantee: exactly_once, commit_interval: 10s }\n";
    let copy = copy(&name, &from, &to).replace("topics:", "start: latest, topics:");
    let pipeline = Pipeline::new(broker, &format!("{slow}{copy}"));
    let mut first = pipeline.start(&["--worker-id", "w"]);
    first.says("\"partition assigned\"");
    writer.numbers(&from, 1, 5..55);
    std::thread::sleep(Duration::from_secs(1));
    first.kill();
    let mut second = pipeline.start(&["--worker-id", "w"]);
    second.says("\"partition assigned\"");
    writer.numbers(&from, 1, 55..65);
    patiently(LONG, "all is committed", || committed(broker, &name, &from, 1).get(&0) == Some(&65));
    second.stop();
    assert_eq!(seen(broker, &to), BTreeMap::from([(0, (5..65).collect())]));
}
