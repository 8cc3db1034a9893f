//! The Kafka source and sink against a real Apache Kafka broker.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails it by panicking")]

mod kafka_parts;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, BinaryArray, ListBuilder, StringArray, StructBuilder};
use arrow::array::{BinaryBuilder, RecordBatch, StringBuilder, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use kafka_parts::{Plain, Worker, Writer, batch, drain, numbers, patiently, plain, sinks, sinks_for, source};
use pipe_engine::batch::Tombstones;
use pipe_engine::connector::position::{Partition, Positions};
use pipe_engine::connector::source::{Open, Polled};
use pipe_engine::error::Code;
use pipe_engine::units::Epoch;
use pipe_tests::kafka::{self, Broker, unique};
use rdkafka::producer::Producer;
use serde_json::json;

fn reading(broker: &Broker, topics: &[&str]) -> serde_json::Value {
    json!({ "brokers": broker.address(), "topics": topics })
}

#[test]
fn a_topic_is_read_to_its_end_with_all_its_parts() {
    let broker = kafka::shared();
    let (topic, empty) = (unique("parts"), unique("empty"));
    broker.topic(&topic, 3);
    broker.topic(&empty, 2);
    let writer = Writer::new(broker);
    let mut expected = Vec::new();
    for n in 0..3_000_i64 {
        let partition = (n % 2) as i32;
        let record = Plain {
            partition,
            offset: n / 2,
            timestamp: 1_700_000_000_000 + n,
            key: (n % 3 != 0).then(|| format!("k{n}").into_bytes()),
            value: (n % 7 != 0).then(|| vec![b'x'; (n % 900) as usize]),
            headers: if n % 5 == 0 {
                vec![
                    (b"a".to_vec(), Some(vec![0xff, 0])),
                    (b"a".to_vec(), None),
                    (b"b".to_vec(), Some(vec![])),
                ]
            } else {
                Vec::new()
            },
        };
        writer.write(&topic, &record);
        expected.push(((topic.clone(), partition, n / 2), record));
    }
    writer.flush();
    let prepared = source(&unique("group"), &reading(broker, &[&topic, &empty]));
    assert_eq!(prepared.cluster(), Some(broker.address()));
    let batches = Worker::start(&*prepared, 2, true).unwrap().finish().unwrap();
    assert!(batches.iter().all(|b| (1..=500).contains(&b.len())));
    let mut read = plain(&batches);
    assert_eq!(read.len(), expected.len());
    for (at, record) in expected {
        assert_eq!(read.remove(&at), Some(record), "{at:?}");
    }
}

#[test]
fn a_group_goes_on_where_it_committed_and_latest_starts_at_the_end() {
    let broker = kafka::shared();
    let topic = unique("resume");
    broker.topic(&topic, 4);
    let writer = Writer::new(broker);
    writer.numbers(&topic, 4, 0..1_000);
    let pipeline = unique("group");
    let run = |options| Worker::start(&*source(&pipeline, &options), 3, true).unwrap().finish().unwrap();
    assert_eq!(numbers(&run(reading(broker, &[&topic]))), (0..1_000).collect::<Vec<_>>());
    assert!(run(reading(broker, &[&topic])).is_empty());
    writer.numbers(&topic, 4, 1_000..1_500);
    assert_eq!(numbers(&run(reading(broker, &[&topic]))), (1_000..1_500).collect::<Vec<_>>());
    let latest = json!({ "brokers": broker.address(), "topics": [topic], "start": "latest" });
    let fresh = source(&unique("latest"), &latest);
    assert!(Worker::start(&*fresh, 1, true).unwrap().finish().unwrap().is_empty());
}

#[test]
fn the_end_is_found_behind_transaction_markers_and_before_an_open_transaction() {
    let broker = kafka::shared();
    let topic = unique("markers");
    broker.topic(&topic, 2);
    let id = unique("tx");
    let writer = Writer::transactional(broker, &id);
    let wait = Duration::from_secs(20);
    writer.producer().init_transactions(wait).unwrap();
    for (round, commit) in [(0, true), (1, false), (2, true), (3, false)] {
        writer.producer().begin_transaction().unwrap();
        writer.numbers(&topic, 2, round * 100..round * 100 + 100);
        if commit {
            writer.producer().commit_transaction(wait).unwrap();
        } else {
            writer.producer().abort_transaction(wait).unwrap();
        }
    }
    let expected: Vec<i64> = (0..100).chain(200..300).collect();
    assert_eq!(numbers(&drain(broker, &topic)), expected);
    writer.producer().begin_transaction().unwrap();
    writer.numbers(&topic, 2, 900..910);
    assert_eq!(numbers(&drain(broker, &topic)), expected);
    writer.producer().abort_transaction(wait).unwrap();
}

#[test]
fn a_second_worker_takes_over_half_and_nothing_is_lost_or_read_twice() {
    let broker = kafka::shared();
    let topic = unique("rebalance");
    broker.topic(&topic, 8);
    let writer = Writer::new(broker);
    writer.numbers(&topic, 8, 0..2_000);
    let prepared = source(&unique("group"), &reading(broker, &[&topic]));
    let first = Worker::start(&*prepared, 2, false).unwrap();
    let mut batches = vec![first.batches.recv_timeout(Duration::from_secs(20)).unwrap()];
    let second = Worker::start(&*prepared, 2, false).unwrap();
    let mut from_second = 0;
    let started = Instant::now();
    let mut written = 2_000;
    while from_second < 500 {
        assert!(started.elapsed() < Duration::from_secs(40), "the second worker got {from_second}");
        writer.numbers(&topic, 8, written..written + 200);
        written += 200;
        batches.extend(first.batches.try_iter());
        let more: Vec<_> = second.batches.try_iter().collect();
        from_second += more.iter().map(|b| b.len()).sum::<usize>();
        batches.extend(more);
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(first.fake.drains.load(Ordering::SeqCst) >= 1, "what was revoked was drained");
    assert_eq!(first.fake.rewinds.load(Ordering::SeqCst), 0);
    // The first one leaves: its partitions go to the second, which reads on where it committed.
    batches.extend(first.stop().unwrap());
    let mut count: usize = batches.iter().map(|b| b.len()).sum();
    while count < written as usize {
        assert!(started.elapsed() < Duration::from_secs(80), "{count} of {written}");
        let more: Vec<_> = second.batches.recv_timeout(Duration::from_secs(30)).into_iter().collect();
        count += more.iter().map(|b| b.len()).sum::<usize>();
        batches.extend(more);
    }
    batches.extend(second.stop().unwrap());
    assert_eq!(numbers(&batches), (0..written).collect::<Vec<_>>());
}

/// Reads until so many records are here, for a while at most.
fn gather(worker: &Worker, count: usize, batches: &mut Vec<pipe_engine::batch::SourceBatch>) {
    let started = Instant::now();
    while batches.iter().map(|b| b.len()).sum::<usize>() < count {
        assert!(started.elapsed() < Duration::from_secs(60), "less than {count} records came");
        batches.extend(worker.batches.recv_timeout(Duration::from_secs(1)).ok());
    }
}

#[test]
fn a_pattern_reads_topics_that_come_while_it_runs() {
    let broker = kafka::shared();
    let prefix = unique("pattern");
    let (first, second, third) = (format!("{prefix}-a"), format!("{prefix}-b"), format!("{prefix}-c"));
    broker.topic(&first, 2);
    broker.topic(&second, 2);
    broker.topic(&format!("other-{prefix}"), 1);
    let writer = Writer::new(broker);
    writer.numbers(&first, 2, 0..100);
    writer.numbers(&second, 2, 100..200);
    writer.numbers(&format!("other-{prefix}"), 1, 900..950);
    let options = |start: &str| {
        json!({ "brokers": broker.address(), "topics": [format!("^{prefix}-[a-z]$")], "start": start,
            "properties": { "topic.metadata.refresh.interval.ms": 500 } })
    };
    let group = unique("group");
    let all = Worker::start(&*source(&group, &options("earliest")), 2, false).unwrap();
    let late = Worker::start(&*source(&unique("late"), &options("latest")), 1, false).unwrap();
    let (mut batches, mut of_late) = (Vec::new(), Vec::new());
    gather(&all, 200, &mut batches);
    broker.topic(&third, 3);
    writer.numbers(&third, 3, 200..300);
    gather(&all, 300, &mut batches);
    // What is there already is skipped as `latest` says, what comes later is not.
    gather(&late, 100, &mut of_late);
    of_late.extend(late.stop().unwrap());
    assert!((200..300).all(|n| numbers(&of_late).contains(&n)));
    batches.extend(all.stop().unwrap());
    assert_eq!(numbers(&batches), (0..300).collect::<Vec<_>>());
    // The committed positions are those of every topic, and an end is found for each.
    writer.numbers(&third, 3, 300..310);
    let rest = Worker::start(&*source(&group, &options("earliest")), 2, true).unwrap().finish().unwrap();
    assert_eq!(numbers(&rest), (300..310).collect::<Vec<_>>());
}

#[test]
fn a_pattern_that_nothing_matches_ends_where_the_end_was_asked_for() {
    let options = reading(kafka::shared(), &[&format!("^{}-.*", unique("nothing"))]);
    let worker = Worker::start(&*source(&unique("group"), &options), 2, true).unwrap();
    assert!(worker.finish().unwrap().is_empty());
}

#[test]
fn a_rewind_reads_again_from_the_given_positions() {
    let broker = kafka::shared();
    let topic = unique("rewind");
    broker.topic(&topic, 1);
    Writer::new(broker).numbers(&topic, 1, 0..3_000);
    let prepared = source(&unique("group"), &reading(broker, &[&topic]));
    let fake = Arc::new(kafka_parts::Fake::default());
    let mut opened = prepared
        .open(Open {
            lanes: 1,
            worker: "w".into(),
            until_end: true,
            room: kafka_parts::room(),
            held: 1 << 20,
            resume: Positions::new(),
            kept: Vec::new(),
            runtime: fake,
            consumers: Arc::default(),
        })
        .unwrap();
    let control = Arc::clone(&opened.control);
    let next = |opened: &mut pipe_engine::connector::source::Opened| {
        let started = Instant::now();
        loop {
            control.poll(Duration::from_millis(5)).unwrap();
            match opened.readers[0].poll(Duration::from_millis(5)).unwrap() {
                Polled::Batch(batch) => return Some(batch),
                Polled::Idle => assert!(started.elapsed() < Duration::from_secs(20)),
                Polled::End => return None,
            }
        }
    };
    assert_eq!(next(&mut opened).unwrap().offsets[0], 0);
    assert_eq!(next(&mut opened).unwrap().offsets[0], 500);
    let partition = Partition { topic: topic.as_str().into(), partition: 0 };
    opened.readers[0].rewind(&Positions::from([(partition.clone(), 123)])).unwrap();
    assert_eq!(next(&mut opened).unwrap().offsets[0], 123);
    opened.readers[0].rewind(&Positions::new()).unwrap();
    let mut batches = Vec::new();
    while let Some(batch) = next(&mut opened) {
        batches.push(batch);
    }
    assert_eq!(numbers(&batches), (0..3_000).collect::<Vec<_>>());
    let progress = opened.control.progress();
    assert!(progress.joined && progress.partitions.iter().all(|p| p.lag == Some(0)), "{progress:?}");
    // Also from the end: the last epoch may still be on its way when partitions are lost.
    opened.readers[0].rewind(&Positions::from([(partition, 2_900)])).unwrap();
    assert_eq!(next(&mut opened).unwrap().offsets[0], 2_900);
    assert!(next(&mut opened).is_none());
    opened.control.close().unwrap();
}

#[test]
fn a_committed_offset_outside_the_log_is_an_error_that_names_it() {
    let broker = kafka::shared();
    let topic = unique("outside");
    broker.topic(&topic, 1);
    let writer = Writer::new(broker);
    writer.numbers(&topic, 1, 0..100);
    let pipeline = unique("group");
    let prepared = source(&pipeline, &reading(broker, &[&topic]));
    Worker::start(&*prepared, 1, true).unwrap().finish().unwrap();
    let group =
        ["--group", &pipeline, "--topic", &topic, "--reset-offsets", "--shift-by", "-50", "--execute"];
    broker.tool("org.apache.kafka.tools.consumer.group.ConsumerGroupCommand", &group);
    writer.numbers(&topic, 1, 100..200);
    let file = tempfile::NamedTempFile::new().unwrap();
    let cut = json!({ "partitions": [{ "topic": topic, "partition": 0, "offset": 150 }], "version": 1 });
    std::fs::write(file.path(), cut.to_string()).unwrap();
    let path = file.path().to_str().unwrap();
    broker.tool("org.apache.kafka.tools.DeleteRecordsCommand", &["--offset-json-file", path]);
    let error = Worker::start(&*prepared, 1, true).unwrap().finish().err().unwrap();
    assert_eq!(error.code(), Code::S004, "{error}");
    for part in [format!("{topic}/0"), "offset 50".into(), "150 to 200".into()] {
        assert!(error.message().contains(&part), "{error}");
    }
}

#[test]
fn no_broker_and_a_missing_topic_are_clear_errors() {
    let broker = kafka::shared();
    let nowhere = format!("127.0.0.1:{}", kafka::free_port());
    let started = Instant::now();
    let dead = source("p", &json!({ "brokers": nowhere, "topics": ["t"] }));
    let error = Worker::start(&*dead, 1, false).err().unwrap();
    assert_eq!(error.code(), Code::S001, "{error}");
    assert!(error.message().contains(&nowhere) && error.help_text().is_some(), "{error}");
    assert!(started.elapsed() < Duration::from_secs(15));
    let topic = unique("missing");
    let error = Worker::start(&*source("p", &reading(broker, &[&topic])), 1, false).err().unwrap();
    assert_eq!(error.code(), Code::S003, "{error}");
    assert!(error.message().contains(&topic) && error.message().contains(&broker.address()), "{error}");
    let schema = value_schema();
    let error = sinks(&json!({ "brokers": broker.address(), "topic": topic }), &schema, 1).err().unwrap();
    assert_eq!(error.code(), Code::K001, "{error}");
    assert!(error.message().contains(&topic), "{error}");
}

fn value_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("_value", DataType::Binary, true)]))
}

fn values(range: std::ops::Range<i64>) -> pipe_engine::batch::Batch {
    let values: Vec<String> = range.map(|n| n.to_string()).collect();
    let values = BinaryArray::from_iter_values(values.iter());
    batch(vec![("_value", Arc::new(values.clone()) as ArrayRef)], values)
}

fn dead_letter_like() -> RecordBatch {
    let fields = Fields::from(vec![
        Field::new("name", DataType::Utf8, false),
        Field::new("value", DataType::Binary, true),
    ]);
    let entry = StructBuilder::new(
        fields.clone(),
        vec![Box::new(StringBuilder::new()), Box::new(BinaryBuilder::new())],
    );
    let mut headers = ListBuilder::new(entry).with_field(Field::new("item", DataType::Struct(fields), false));
    let add = |headers: &mut ListBuilder<StructBuilder>, name: &str, value: Option<&[u8]>| {
        headers.values().field_builder::<StringBuilder>(0).unwrap().append_value(name);
        headers.values().field_builder::<BinaryBuilder>(1).unwrap().append_option(value);
        headers.values().append(true);
    };
    add(&mut headers, "pipe.error.kind", Some(b"decode"));
    add(&mut headers, "none", None);
    headers.append(true);
    headers.append(false);
    headers.append(true);
    let key: ArrayRef = Arc::new(BinaryArray::from_opt_vec(vec![Some(b"a"), None, Some(&[0xff])]));
    let value: ArrayRef = Arc::new(BinaryArray::from_opt_vec(vec![Some(b"one"), None, Some(b"")]));
    let time = TimestampMillisecondArray::from(vec![1_600_000_000_000, 2, 3]).with_timezone("UTC");
    RecordBatch::try_new(
        pipe_engine::dead_letter::schema(),
        vec![key, value, Arc::new(headers.finish()), Arc::new(time)],
    )
    .unwrap()
}

#[test]
fn a_sink_writes_keys_headers_timestamps_and_tombstones_and_makes_its_topic() {
    let broker = kafka::shared();
    let topic = unique("dead-letters");
    let options = json!({
        "brokers": broker.address(), "topic": topic, "key": "_key", "timestamp": "_timestamp",
        "create": true, "partitions": 1,
    });
    let records = dead_letter_like();
    let mut lanes = sinks_for(&options, &records.schema(), 2, true).unwrap();
    let originals = BinaryArray::from_opt_vec(vec![Some(b"x"), Some(b"y"), Some(b"z")]);
    let schema = records.schema();
    let names = schema.fields().iter().map(|f| f.name().as_str());
    let columns = names.zip(records.columns().iter().cloned()).collect();
    let mut rows = batch(columns, originals);
    rows.records = records.clone();
    let mut refused = Vec::new();
    lanes[1].write(&rows, &mut refused).unwrap();
    let prepared = patiently(|| lanes[1].prepare(Epoch(1), &mut refused));
    assert_eq!((prepared.rows, prepared.bytes, refused.len()), (3, 5, 0));
    assert_eq!(patiently(|| lanes[0].prepare(Epoch(1), &mut refused)).rows, 0);
    let read: Vec<Plain> = plain(&drain(broker, &topic)).into_values().collect();
    assert_eq!(read.len(), 3);
    assert_eq!(
        read[0].headers,
        [(b"pipe.error.kind".to_vec(), Some(b"decode".to_vec())), (b"none".to_vec(), None),]
    );
    assert_eq!((read[0].key.as_deref(), read[0].value.as_deref()), (Some(&b"a"[..]), Some(&b"one"[..])));
    assert_eq!((read[1].key.as_deref(), read[1].value.as_deref()), (None, None));
    assert_eq!((read[2].key.as_deref(), read[2].value.as_deref()), (Some(&[0xff][..]), Some(&b""[..])));
    assert_eq!(read.iter().map(|r| r.timestamp).collect::<Vec<_>>(), [1_600_000_000_000, 2, 3]);
    let text = broker.console(&topic, 3, &["--property", "print.key=true"]);
    assert_eq!(text[0], "a\tone");
}

#[test]
fn keys_go_to_the_partitions_of_the_java_client() {
    let broker = kafka::shared();
    let topic = unique("partitioner");
    broker.topic(&topic, 7);
    let keys: Vec<String> = (0..200).map(|n| format!("key-{}", n * n)).collect();
    // Kafka's own producer writes the odd half, the sink all of them: each key must find one partition.
    let java: String = keys.iter().map(|k| format!("{k}:java\n")).collect();
    broker.console_produce(&topic, &java);
    let options =
        json!({ "brokers": broker.address(), "topic": topic, "key": "_key", "compression": "zstd" });
    let key: ArrayRef = Arc::new(StringArray::from(keys.clone()));
    let value = BinaryArray::from_iter_values(keys.iter().map(|_| b"pipe"));
    let rows = batch(vec![("_key", key), ("_value", Arc::new(value.clone()))], value);
    let mut lanes = sinks(&options, &rows.schema(), 1).unwrap();
    let mut refused = Vec::new();
    lanes[0].write(&rows, &mut refused).unwrap();
    patiently(|| lanes[0].prepare(Epoch(1), &mut refused));
    let mut of = std::collections::BTreeMap::new();
    let read = plain(&drain(broker, &topic));
    assert_eq!(read.len(), 400);
    for record in read.into_values() {
        let writer = String::from_utf8(record.value.unwrap()).unwrap();
        of.entry(record.key.unwrap()).or_insert_with(Vec::new).push((record.partition, writer));
    }
    for (key, written) in of {
        assert_eq!(written.len(), 2, "{key:?}");
        assert_eq!(written[0].0, written[1].0, "{key:?} {written:?}");
        assert_ne!(written[0].1, written[1].1);
    }
}

#[test]
fn only_the_record_that_is_too_large_is_refused() {
    let broker = kafka::shared();
    let topic = unique("large");
    broker.topic(&topic, 1);
    let limit = ["--alter", "--topic", &topic, "--add-config", "max.message.bytes=2000"];
    broker.tool("kafka.admin.ConfigCommand", &limit);
    // One is larger than the client's own bound, one only than the topic's.
    let sizes = [10, 900, 100, 5_000, 20, 3_000_000, 30];
    let value = BinaryArray::from_iter_values(sizes.iter().map(|&n| vec![b'x'; n]));
    let rows = batch(vec![("_value", Arc::new(value.clone()) as ArrayRef)], value);
    let options = json!({ "brokers": broker.address(), "topic": topic, "compression": "none" });
    let mut lanes = sinks(&options, &rows.schema(), 1).unwrap();
    let mut refused = Vec::new();
    lanes[0].write(&rows, &mut refused).unwrap();
    let prepared = patiently(|| lanes[0].prepare(Epoch(1), &mut refused));
    let mut rejected: Vec<usize> = refused.iter().map(|r| r.origin.row).collect();
    rejected.sort_unstable();
    assert_eq!(rejected, [3, 5], "{refused:?}");
    assert_eq!((prepared.rows, prepared.bytes), (5, 1_060));
    let mut read: Vec<usize> =
        plain(&drain(broker, &topic)).into_values().map(|r| r.value.unwrap().len()).collect();
    read.sort_unstable();
    assert_eq!(read, [10, 20, 30, 100, 900]);
}

#[test]
fn a_full_queue_holds_the_lane_back_and_keeps_the_order() {
    let broker = kafka::shared();
    let topic = unique("full");
    broker.topic(&topic, 1);
    let options = json!({ "brokers": broker.address(), "topic": topic,
        "properties": { "queue.buffering.max.messages": 100 } });
    let mut lanes = sinks(&options, &value_schema(), 2).unwrap();
    let mut refused = Vec::new();
    patiently(|| lanes[0].write(&values(0..5_000), &mut refused));
    assert_eq!(patiently(|| lanes[0].prepare(Epoch(1), &mut refused)).rows, 5_000);
    let read =
        plain(&drain(broker, &topic)).into_values().map(|r| String::from_utf8(r.value.unwrap()).unwrap());
    assert!(read.eq((0..5_000).map(|n| n.to_string())));
    // Nothing answers: the calls come back with a passing error, and go on where they stopped.
    let own = kafka::own();
    own.topic(&topic, 1);
    let options = json!({ "brokers": own.address(), "topic": topic,
        "properties": { "queue.buffering.max.messages": 100 } });
    let mut lanes = sinks(&options, &value_schema(), 1).unwrap();
    patiently(|| lanes[0].write(&values(0..10), &mut refused));
    own.freeze();
    let part = values(10..1_000);
    let started = Instant::now();
    let error = lanes[0].write(&part, &mut refused).err().unwrap();
    assert!(error.is_passing() && started.elapsed() < Duration::from_secs(3), "{error}");
    own.thaw();
    patiently(|| lanes[0].write(&part, &mut refused));
    assert_eq!(patiently(|| lanes[0].prepare(Epoch(1), &mut refused)).rows, 1_000);
    assert_eq!(numbers(&drain(&own, &topic)), (0..1_000).collect::<Vec<_>>());
    assert!(refused.is_empty());
}

#[test]
fn a_row_of_nulls_is_no_tombstone_and_tombstones_lie_in_their_places() {
    let broker = kafka::shared();
    let topic = unique("tombstones");
    broker.topic(&topic, 1);
    let value: ArrayRef = Arc::new(BinaryArray::from_opt_vec(vec![Some(b"a"), None, Some(b"")]));
    let rows = batch(vec![("_value", value)], BinaryArray::from_opt_vec(vec![None, None, Some(b"{}")]));
    let gone = Tombstones::new(vec![0, 2], rows.origins.slice(0, 2));
    let rows = rows.with_tombstones(Some(gone));
    let options = json!({ "brokers": broker.address(), "topic": topic });
    let mut lanes = sinks(&options, &rows.schema(), 1).unwrap();
    let mut refused = Vec::new();
    lanes[0].write(&rows, &mut refused).unwrap();
    assert_eq!(patiently(|| lanes[0].prepare(Epoch(1), &mut refused)).rows, 5);
    let read: Vec<Option<Vec<u8>>> = plain(&drain(broker, &topic)).into_values().map(|r| r.value).collect();
    assert_eq!(read, [None, Some(b"a".to_vec()), Some(vec![]), None, Some(vec![])]);
}

#[test]
fn an_abort_forgets_and_the_lane_goes_on() {
    let broker = kafka::shared();
    let topic = unique("abort");
    broker.topic(&topic, 1);
    let options = json!({ "brokers": broker.address(), "topic": topic });
    let mut lanes = sinks(&options, &value_schema(), 1).unwrap();
    let mut refused = Vec::new();
    lanes[0].write(&values(0..1_000), &mut refused).unwrap();
    lanes[0].abort().unwrap();
    lanes[0].write(&values(0..1_000), &mut refused).unwrap();
    assert_eq!(patiently(|| lanes[0].prepare(Epoch(2), &mut refused)).rows, 1_000);
    lanes[0].close().unwrap();
}

#[test]
fn a_broker_that_goes_away_and_returns_loses_nothing() {
    let broker = kafka::own();
    let topic = unique("restart");
    broker.topic(&topic, 2);
    let options = json!({ "brokers": broker.address(), "topic": topic,
        "properties": { "reconnect.backoff.max.ms": 500 } });
    let mut lanes = sinks(&options, &value_schema(), 1).unwrap();
    let reading = json!({ "brokers": broker.address(), "topics": [topic],
        "properties": { "reconnect.backoff.max.ms": 500 } });
    let reader = Worker::start(&*source(&unique("group"), &reading), 2, false).unwrap();
    let mut refused = Vec::new();
    let mut rows = 0;
    let mut write = |from: i64, refused: &mut Vec<_>| {
        for start in (from..from + 5_000).step_by(500) {
            let part = values(start..start + 500);
            patiently(|| lanes[0].write(&part, refused));
        }
        let first = lanes[0].prepare(Epoch(1), refused);
        first.map_or_else(
            |e| {
                assert!(e.is_passing(), "{e}");
                patiently(|| lanes[0].prepare(Epoch(1), refused)).rows
            },
            |p| p.rows,
        )
    };
    rows += write(0, &mut refused);
    let mut batches = vec![reader.batches.recv_timeout(Duration::from_secs(20)).unwrap()];
    broker.stop();
    let again = Arc::clone(&broker);
    let starter = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(2));
        again.resume_from_stop();
    });
    rows += write(5_000, &mut refused);
    starter.join().unwrap();
    broker.freeze();
    std::thread::sleep(Duration::from_secs(1));
    broker.thaw();
    rows += write(10_000, &mut refused);
    assert_eq!((rows, refused.len()), (15_000, 0));
    let started = Instant::now();
    while batches.iter().map(|b| b.len()).sum::<usize>() < 15_000 {
        assert!(started.elapsed() < Duration::from_secs(60));
        batches.extend(reader.batches.recv_timeout(Duration::from_secs(30)).ok());
    }
    batches.extend(reader.stop().unwrap());
    assert_eq!(numbers(&batches), (0..15_000).collect::<Vec<_>>());
}

#[test]
fn sasl_ssl_with_scram() {
    let broker = kafka::shared();
    let topic = unique("scram");
    broker.topic(&topic, 1);
    let properties = |password: &str| {
        json!({
            "security.protocol": "SASL_SSL", "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": kafka::USER, "sasl.password": password,
            "ssl.ca.location": broker.certificate(),
        })
    };
    let writing = json!({ "brokers": broker.sasl_address(), "topic": topic, "properties": properties(kafka::PASSWORD) });
    let mut lanes = sinks(&writing, &value_schema(), 1).unwrap();
    let mut refused = Vec::new();
    lanes[0].write(&values(0..100), &mut refused).unwrap();
    patiently(|| lanes[0].prepare(Epoch(1), &mut refused));
    let reading = |password: &str| {
        let options = json!({ "brokers": broker.sasl_address(), "topics": [topic], "properties": properties(password) });
        source(&unique("scram"), &options)
    };
    let prepared = reading(kafka::PASSWORD);
    assert!(!prepared.describe().contains(kafka::PASSWORD));
    let batches = Worker::start(&*prepared, 1, true).unwrap().finish().unwrap();
    assert_eq!(numbers(&batches), (0..100).collect::<Vec<_>>());
    let error = Worker::start(&*reading("wrong-guess"), 1, true).err().unwrap();
    assert_eq!(error.code(), Code::S001, "{error}");
    assert!(error.message().to_lowercase().contains("authentication"), "{error}");
    assert!(!error.to_string().contains("wrong-guess"), "{error}");
}
