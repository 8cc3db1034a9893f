//! Several Kafka sources in one pipeline: one consumer of the group for all of them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use pipe_tests::kafka::{self, Broker, unique};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::producer::{BaseProducer, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::exactly_once::{once, seen};
use super::group::Stream;
use super::{
    End, LONG, Pipeline, Record, Worker, Writer, committed, copy, each, numbers, patiently, records_committed,
};

/// Copies two topics to two others, each with a source and a sink of its own.
fn two(name: &str, guarantee: &str, topics: &[String; 4]) -> String {
    let [a, b, to_a, to_b] = topics;
    let source = |topic: &str| {
        format!(
            "{{ kafka: {{ brokers: \"${{KAFKA_BROKERS}}\", topics: [{topic}], properties: {{ session.timeout.ms: 6000, \
             heartbeat.interval.ms: 500 }} }}, format: {{ json: {{ columns: {{ p: int64, n: int64 }} }} }} }}"
        )
    };
    let sink = |from: &str, topic: &str| {
        format!(
            "{{ from: {from}, kafka: {{ brokers: \"${{KAFKA_BROKERS}}\", topic: {topic}, key: p }}, format: json }}"
        )
    };
    format!(
        "name: {name}\ndelivery: {{ guarantee: {guarantee} }}\nlanes: 2\nsources:\n  a: {}\n  b: {}\nsinks:\n  out-a: {}\n  \
         out-b: {}\n",
        source(a),
        source(b),
        sink("a", to_a),
        sink("b", to_b)
    )
}

/// Restarts each of three workers in turn under load; the ends of all, in order, and how many numbers there are.
fn roll(
    broker: &'static Broker,
    pipeline: &Pipeline,
    name: &str,
    topics: &[String; 4],
) -> (Vec<End>, [i64; 2]) {
    let streams = [&topics[0], &topics[1]].map(|topic| Stream::start(broker, topic, 6));
    let ready = |worker: &mut Worker| worker.says("\"partition assigned\"");
    let mut workers: Vec<Worker> = (0..3).map(|_| pipeline.start(&[])).collect();
    workers.iter_mut().for_each(ready);
    let mut ends = Vec::new();
    for worker in &mut workers {
        std::thread::sleep(Duration::from_millis(500));
        let started = Instant::now();
        // The new one comes while the old one leaves: several rebalances follow each other.
        let new = pipeline.start(&[]);
        ends.push(std::mem::replace(worker, new).stop());
        ready(worker);
        println!("a restart took {:?}", started.elapsed());
    }
    let counts = streams.map(Stream::end);
    patiently(LONG, "all is committed", || {
        let is_at = |i: usize| {
            let at = committed(broker, name, &topics[i], 6);
            at.values().filter(|&&at| at >= counts[i]).count() == 6
        };
        is_at(0) && is_at(1)
    });
    ends.extend(workers.into_iter().map(Worker::stop));
    (ends, counts)
}

/// Whatever was revoked was drained, and nobody went back.
fn check_logs(ends: &[End]) {
    for end in ends {
        let told = |l: &&str| l.contains("revoked") || l.contains("lost") || l.contains("commit failed");
        end.log.lines().filter(told).for_each(|line| println!("{line}"));
    }
    for end in ends {
        assert!(!end.log.contains("\"drained\":false"), "{}", end.log);
        assert!(!end.log.contains("partitions lost"), "{}", end.log);
        assert_eq!(end.summary()["rewinds"], 0, "{}", end.log);
    }
    assert!(ends.iter().any(|end| end.log.contains("\"drained\":true")), "nothing was revoked");
}

#[test]
fn a_rolling_restart_of_workers_with_two_sources_drains_what_is_revoked() {
    let broker = kafka::shared();
    let name = unique("several");
    let topics = ["a", "b", "to-a", "to-b"].map(unique);
    topics.iter().for_each(|topic| broker.topic(topic, 6));
    let pipeline = Pipeline::new(broker, &two(&name, "at_least_once", &topics));
    let (ends, counts) = roll(broker, &pipeline, &name, &topics);
    check_logs(&ends);
    for (to, count) in topics[2..].iter().zip(counts) {
        assert_eq!(numbers(broker, to), (each(6, count), 0), "nothing twice");
    }
}

#[test]
fn a_rolling_restart_of_workers_with_two_sources_keeps_exactly_once() {
    let broker = kafka::shared();
    let name = unique("several-once");
    let topics = ["a", "b", "to-a", "to-b"].map(unique);
    topics.iter().for_each(|topic| broker.topic(topic, 6));
    let pipeline = Pipeline::new(broker, &two(&name, "exactly_once", &topics));
    let (ends, counts) = roll(broker, &pipeline, &name, &topics);
    // A commit that falls into a rebalance is refused and done again, so going back is no mistake here.
    for end in &ends {
        assert!(!end.log.contains("\"drained\":false"), "{}", end.log);
        assert!(!end.log.contains("partitions lost"), "{}", end.log);
    }
    for (to, count) in topics[2..].iter().zip(counts) {
        assert_eq!(seen(broker, to), once(6, count), "once, in order");
    }
}

#[test]
fn sources_of_one_cluster_are_one_member_and_count_for_themselves() {
    let broker = kafka::shared();
    let name = unique("several-one");
    let topics = ["a", "b", "to-a", "to-b"].map(unique);
    for (topic, partitions) in topics.iter().zip([3, 2, 3, 2]) {
        broker.topic(topic, partitions);
    }
    let writer = Writer::new(broker);
    writer.numbers(&topics[0], 3, 0..100);
    writer.numbers(&topics[1], 2, 0..50);
    // The second one begins at the end: options are each source's own.
    let yaml = two(&name, "at_least_once", &topics)
        .replace(&format!("topics: [{}],", topics[1]), &format!("topics: [{}], start: latest,", topics[1]));
    let pipeline = Pipeline::new(broker, &yaml);
    let worker = pipeline.start(&[]);
    patiently(LONG, "all are assigned", || worker.log().matches("\"partition assigned\"").count() == 5);
    writer.numbers(&topics[1], 2, 50..80);
    patiently(LONG, "all is committed", || {
        committed(broker, &name, &topics[0], 3).values().filter(|&&at| at == 100).count() == 3
            && committed(broker, &name, &topics[1], 2).values().filter(|&&at| at == 80).count() == 2
    });
    let groups = broker.tool(
        "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
        &["--describe", "--members", "--group", &name],
    );
    assert_eq!(groups.lines().filter(|line| line.starts_with(&name)).count(), 1, "{groups}");
    let (_, shown, _) = pipeline.command(&["offsets", "show"], &[]);
    for topic in &topics[..2] {
        assert!(shown.contains(topic.as_str()), "{shown}");
    }
    let end = worker.stop();
    assert_eq!([end.count("sources", "a", "read"), end.count("sources", "b", "read")], [300, 60]);
    assert_eq!([end.count("sinks", "out-a", "written"), end.count("sinks", "out-b", "written")], [300, 60]);
}

/// An open transaction of nobody that works any more: it holds the group's offset of the topic's partition 0.
fn hold(broker: &Broker, group: &str, topic: &str, at: i64) -> BaseProducer {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", broker.address())
        .set("transactional.id", unique("gone"))
        .set("transaction.timeout.ms", "200000")
        .create()
        .unwrap();
    producer.init_transactions(LONG).unwrap();
    producer.begin_transaction().unwrap();
    let member: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", broker.address())
        .set("group.id", group)
        .create()
        .unwrap();
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(topic, 0, Offset::Offset(at)).unwrap();
    producer.send_offsets_to_transaction(&offsets, &member.group_metadata().unwrap(), LONG).unwrap();
    producer
}

#[test]
fn the_open_transaction_of_a_dead_worker_is_waited_for_however_long_it_takes() {
    let broker = kafka::shared();
    let [name, from, to] = ["several-held", "from", "to"].map(unique);
    broker.topic(&from, 1);
    broker.topic(&to, 1);
    Writer::new(broker).numbers(&from, 1, 0..10);
    let dead = hold(broker, &name, &from, 4);
    let yaml = format!("delivery: {{ guarantee: exactly_once }}\n{}", copy(&name, &from, &to));
    let pipeline = Pipeline::new(broker, &yaml);
    let mut worker = pipeline.start(&["--until-end"]);
    worker.says("assigned partitions wait");
    // Longer than anything else may take that a rebalance asks for.
    std::thread::sleep(Duration::from_secs(75));
    assert!(!worker.has_ended(), "{}", worker.log());
    assert!(records_committed(broker, &to).is_empty());
    let lines = worker.log().matches("assigned partitions wait").count();
    assert!((2..=4).contains(&lines), "one line every half a minute, not {lines}");
    dead.commit_transaction(LONG).unwrap();
    worker.wait(LONG).ok();
    assert_eq!(seen(broker, &to), BTreeMap::from([(0, (4..10).collect())]), "on where the dead one was");
}

#[test]
fn a_partition_that_waits_for_a_transaction_does_not_keep_the_others() {
    let broker = kafka::shared();
    let [name, from, to] = ["several-one-held", "from", "to"].map(unique);
    broker.topic(&from, 3);
    broker.topic(&to, 3);
    Writer::new(broker).numbers(&from, 3, 0..10);
    let dead = hold(broker, &name, &from, 4);
    let yaml = format!("delivery: {{ guarantee: exactly_once }}\n{}", copy(&name, &from, &to));
    let pipeline = Pipeline::new(broker, &yaml);
    let mut worker = pipeline.start(&[]);
    let all = |from: i64| (from..10).collect::<Vec<_>>();
    let mut expected = BTreeMap::from([(1, all(0)), (2, all(0))]);
    patiently(LONG, "the others are read", || seen(broker, &to) == expected);
    worker.says("1 assigned partitions wait");
    dead.commit_transaction(LONG).unwrap();
    expected.insert(0, all(4));
    patiently(LONG, "that one, too", || seen(broker, &to) == expected);
    worker.stop();
    assert_eq!(seen(broker, &to), expected, "nothing twice");
}

/// How long the next worker waits for its partitions.
fn wait_of(pipeline: &Pipeline) -> Duration {
    let started = Instant::now();
    let mut next = pipeline.start(&[]);
    next.says("\"partition assigned\"");
    let took = started.elapsed();
    next.stop();
    took
}

#[test]
fn a_worker_that_stops_with_an_error_leaves_the_group() {
    let broker = kafka::shared();
    for guarantee in ["at_least_once", "exactly_once"] {
        let [name, from, to] = ["several-left", "from", "to"].map(unique);
        broker.topic(&from, 2);
        broker.topic(&to, 2);
        let yaml = format!("delivery: {{ guarantee: {guarantee} }}\n{}", copy(&name, &from, &to));
        // A member that does not leave is there for half a minute.
        let yaml = yaml.replace("session.timeout.ms: 6000", "session.timeout.ms: 30000");
        let stops = yaml.replace("sources:\n  in:\n", "sources:\n  in:\n    on_failure: stop\n");
        let (stops, goes_on) = (Pipeline::new(broker, &stops), Pipeline::new(broker, &yaml));
        let writer = Writer::new(broker);
        let mut worker = stops.start(&[]);
        worker.says("\"partition assigned\"");
        writer.numbers(&from, 2, 0..100);
        writer.write(&from, &Record::new(0, "broken"));
        writer.flush();
        // A lane fails.
        let end = worker.wait(LONG).failed("X002", "in");
        assert!(!end.log.contains("left behind"), "{}", end.log);
        let took = wait_of(&goes_on);
        println!("{guarantee}: after X002 the next worker had its partitions after {took:?}");
        assert!(took < Duration::from_secs(15), "{took:?}");

        // What was assigned cannot be taken.
        let mut outside = TopicPartitionList::new();
        outside.add_partition_offset(&from, 0, Offset::Offset(5_000)).unwrap();
        let member: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", broker.address())
            .set("group.id", &name)
            .create()
            .unwrap();
        member.commit(&outside, CommitMode::Sync).unwrap();
        drop(member);
        let end = stops.start(&[]).wait(LONG).failed("S004", &from);
        println!("{guarantee}: S004 took {:?}", end.took);
        assert!(!end.log.contains("left behind"), "{}", end.log);
        let elsewhere = yaml.replace("topics:", "out_of_range: earliest, topics:");
        let took = wait_of(&Pipeline::new(broker, &elsewhere));
        println!("{guarantee}: after S004 the next worker had its partitions after {took:?}");
        assert!(took < Duration::from_secs(15), "{took:?}");
    }
}

#[test]
fn a_worker_that_was_replaced_leaves_the_group() {
    let broker = kafka::shared();
    let [name, from, to] = ["several-twin", "from", "to"].map(unique);
    broker.topic(&from, 2);
    broker.topic(&to, 2);
    let yaml = format!("delivery: {{ guarantee: exactly_once }}\n{}", copy(&name, &from, &to));
    let yaml = yaml.replace("session.timeout.ms: 6000", "session.timeout.ms: 30000");
    let pipeline = Pipeline::new(broker, &yaml);
    let writer = Writer::new(broker);
    let assigned = |worker: &Worker| worker.log().matches("\"partition assigned\"").count();
    let mut older = pipeline.start(&["--worker-id", "twin"]);
    patiently(LONG, "the older has both", || assigned(&older) == 2);
    let newer = pipeline.start(&["--worker-id", "twin"]);
    let mut sent = 0;
    patiently(LONG, "the older one stops", || {
        writer.numbers(&from, 2, sent..sent + 10);
        sent += 10;
        older.has_ended()
    });
    let started = Instant::now();
    let end = older.wait(LONG).failed("X013", "--worker-id");
    assert!(!end.log.contains("left behind"), "{}", end.log);
    patiently(Duration::from_secs(15), "the newer has both", || assigned(&newer) == 2);
    println!("the newer had all partitions after {:?}", started.elapsed());
    newer.stop();
}

#[test]
fn a_worker_that_is_told_to_end_while_it_starts_ends_in_order() {
    let broker = kafka::shared();
    let [name, from, to] = ["several-early", "from", "to"].map(unique);
    broker.topic(&from, 1);
    broker.topic(&to, 1);
    let yaml = format!("delivery: {{ guarantee: exactly_once }}\n{}", copy(&name, &from, &to));
    let pipeline = Pipeline::new(broker, &yaml);
    for wait in [0, 20, 80] {
        let mut worker = pipeline.start(&[]);
        worker.says("\"starting\"");
        std::thread::sleep(Duration::from_millis(wait));
        let end = worker.stop();
        assert!(end.log.contains("stopping"), "{}", end.log);
        // As the summary says; a worker that the signal had killed would have none.
        assert_eq!(end.count("sinks", "out", "written"), 0);
    }
}

#[test]
fn a_worker_that_waits_for_a_transaction_can_be_stopped_and_leaves_the_group() {
    let broker = kafka::shared();
    let [name, from, to] = ["several-stop", "from", "to"].map(unique);
    broker.topic(&from, 1);
    broker.topic(&to, 1);
    Writer::new(broker).numbers(&from, 1, 0..10);
    let dead = hold(broker, &name, &from, 4);
    let yaml = format!("delivery: {{ guarantee: exactly_once }}\n{}", copy(&name, &from, &to));
    let pipeline =
        Pipeline::new(broker, &yaml.replace("session.timeout.ms: 6000", "session.timeout.ms: 30000"));
    let mut worker = pipeline.start(&[]);
    worker.says("assigned partitions wait");
    let end = worker.stop();
    println!("stopped after {:?}", end.took);
    assert!(end.took < Duration::from_secs(12) && !end.log.contains("left behind"), "{}", end.log);
    dead.abort_transaction(LONG).unwrap();
    let took = wait_of(&pipeline);
    println!("the next one had its partition after {took:?}");
    assert!(took < Duration::from_secs(15), "{took:?}");
}
