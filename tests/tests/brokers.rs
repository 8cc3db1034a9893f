//! A cluster of three brokers that boots. What happens to one that is up, the crash proof shows (`soak.rs`).

#![expect(clippy::unwrap_used, reason = "a helper of a test fails it by panicking")]

use std::fs::File;
use std::process::Stdio;

use pipe_tests::cluster::Cluster;
use pipe_tests::command::{Scratch, until};
use pipe_tests::soak::read;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

const RECORDS: usize = 100;

const PIPELINE: &str = r#"
name: early
delivery: { guarantee: exactly_once, commit_interval: 100ms }
sources:
  in:
    kafka: { brokers: "${KAFKA_BROKERS}", topics: [from] }
    format: { json: { columns: { n: int64 } } }
sinks:
  out: { from: in, kafka: { brokers: "${KAFKA_BROKERS}", topic: to }, format: json }
"#;

fn write(brokers: &str) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("enable.idempotence", "true")
        .create()
        .unwrap();
    for n in 0..RECORDS {
        let value = format!(r#"{{"n":{n}}}"#);
        producer.send(BaseRecord::<(), str>::to("from").payload(&value)).unwrap();
    }
    producer.flush(std::time::Duration::from_secs(30)).unwrap();
}

/// With two of three brokers there is no topic of three replicas: not that of the dead letters, and neither Kafka's own
/// for offsets and transactions.
#[test]
fn a_worker_that_starts_before_the_last_broker_waits_for_it_and_says_so_once() {
    let cluster = Cluster::start_without(2);
    ["from", "to"].iter().for_each(|topic| cluster.topic_of(topic, 2, 2));
    write(&cluster.address());
    let scratch = Scratch::new(PIPELINE);
    let args = ["run", "--until-end", "--log-format", "json", "--admin", "off", "--worker-id", "w"];
    let mut command = scratch.command(&args);
    command.env("KAFKA_BROKERS", cluster.workers_address()).env_remove("RUST_LOG");
    command.stdout(Stdio::null()).stderr(File::create(scratch.path("log")).unwrap());
    let mut worker = command.spawn().unwrap();
    let log = || std::fs::read_to_string(scratch.path("log")).unwrap();
    let waits = "the topic cannot be created yet";
    until("it waits for the third broker", || log().contains(waits) || worker.try_wait().unwrap().is_some());
    cluster.resume(2);
    let status = worker.wait().unwrap();
    assert!(status.success(), "{status}:\n{}", log());
    assert_eq!(log().matches(waits).count(), 1, "{}", log());
    let mut found = 0;
    read::topic(&cluster.address(), "to", 2, |_| found += 1).unwrap();
    assert_eq!(found, RECORDS, "{}", log());
}
