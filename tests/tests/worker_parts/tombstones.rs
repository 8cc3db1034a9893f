//! Tombstones of a compacted topic: each delete reaches every keyed sink, in its place among the updates of its key. And
//! times that cannot be those of a record.

use pipe_tests::kafka::{self, Broker, unique};
use serde_json::json;

use super::{LONG, Pipeline, Record, Writer, patiently, records, records_committed};

/// Stages that filter, fail on a row, add a constant and divide, in front of two keyed topics.
fn pipeline(names: &[String; 4], more: &str) -> String {
    let [name, from, out, other] = names;
    let fails = pipe_tests::root().join("tests/guests/prebuilt/fails.wasm");
    let kafka = r#"kafka: { brokers: "${KAFKA_BROKERS}", key: _key, timestamp: _timestamp, topic: "#;
    format!(
        r#"
name: {name}
sources:
  in:
    kafka: {{ brokers: "${{KAFKA_BROKERS}}", topics: [{from}], properties: {{ session.timeout.ms: 6000, heartbeat.interval.ms: 500 }} }}
    format: {{ json: {{ columns: {{ n: "int64!" }} }} }}
    metadata: [key, timestamp, headers]
    on_tombstone: pass
stages:
  kept: {{ from: in, use: filter, config: {{ all: [{{ column: n, op: ge, value: 0 }}] }} }}
  touchy: {{ from: kept, wasm: "{}", config: {{ mode: "trap=13,reject=14" }} }}
  marked: {{ from: touchy, use: select, config: {{ constants: {{ region: eu }} }} }}
  split: {{ from: marked, use: route, config: {{ column: region, routes: [{{ port: eu, values: [eu] }}], default: others }} }}
sinks:
  out: {{ from: split.eu, {kafka}{out} }}, format: json }}
  other: {{ from: split.others, {kafka}{other} }}, format: json }}
batch: {{ rows: 64 }}
{more}
"#,
        fails.display()
    )
}

/// Updates and deletes of a few keys, all with times of their own; some updates are filtered, some fail.
fn updates(partitions: i32, each: i64) -> Vec<Record> {
    let record = |n: i64, partition: i32| {
        let key = Some(format!("{partition}-{}", n * n % 7).into_bytes());
        let number = match n % 20 {
            3 => -1,
            9 if n % 200 == 9 => 13,
            11 => 14,
            _ => 1_000 + n,
        };
        let value = (n * n % 3 != 1).then(|| json!({ "n": number }).to_string().into_bytes());
        let headers = if n % 5 == 0 { vec![("h".to_owned(), Some(vec![0xff]))] } else { Vec::new() };
        Record { partition, timestamp: 1_700_000_000_000 + n, key, value, headers, ..Record::default() }
    };
    (0..each).flat_map(|n| (0..partitions).map(move |partition| record(n, partition))).collect()
}

/// What is to be in the two topics of a partition's records, in order; and how many dead letters there are.
fn expected(given: &[Record], partition: i32) -> (Vec<Record>, Vec<Record>, usize) {
    let mine = || given.iter().filter(|record| record.partition == partition);
    let number = |record: &Record| record.value.as_ref().map(|_| record.json()["n"].as_i64().unwrap());
    let is_bad = |record: &&Record| number(record).is_some_and(|n| n == 13 || n == 14);
    let written = |record: &Record| {
        let value = number(record).map(|n| format!(r#"{{"n":{n},"region":"eu"}}"#).into_bytes());
        Record { value, ..record.clone() }
    };
    let out = mine().filter(|record| !is_bad(record) && number(record) != Some(-1)).map(written).collect();
    let gone = mine().filter(|record| record.value.is_none()).cloned().collect();
    (out, gone, mine().filter(is_bad).count())
}

/// The records of a partition of the input as they lie in a topic, without their places there.
fn of_partition(all: &[Record], partition: i32) -> Vec<Record> {
    let key = format!("{partition}-");
    let mine = all.iter().filter(|r| r.key.as_ref().unwrap().starts_with(key.as_bytes()));
    mine.map(|r| Record { partition, offset: 0, ..r.clone() }).collect()
}

fn topics(broker: &Broker) -> [String; 4] {
    let names = ["tombstones", "from", "out", "other"].map(unique);
    broker.topic(&names[1], 2);
    broker.topic(&names[2], 1);
    broker.topic(&names[3], 1);
    names
}

fn write(broker: &Broker, topic: &str, given: &[Record]) {
    let writer = Writer::new(broker);
    given.iter().for_each(|record| writer.write(topic, record));
    writer.flush();
}

#[test]
fn deletes_reach_every_keyed_sink_in_their_place_past_filters_failures_and_ports() {
    let broker = kafka::shared();
    let given = updates(2, 600);
    let names = topics(broker);
    write(broker, &names[1], &given);
    let end = Pipeline::new(broker, &pipeline(&names, "lanes: 2")).run().ok();
    let (out, other) = (records(broker, &names[2]), records(broker, &names[3]));
    let mut failed = 0;
    for partition in 0..2 {
        let (updated, gone, bad) = expected(&given, partition);
        assert!(updated.len() > 300 && gone.len() > 100 && bad > 10);
        assert_eq!(of_partition(&out, partition), updated);
        assert_eq!(
            of_partition(&other, partition),
            gone,
            "what is routed elsewhere may have been here before"
        );
        failed += bad;
    }
    let count = |group, name, what| end.count(group, name, what) as usize;
    assert_eq!((count("sources", "in", "read"), count("sources", "in", "decoded")), (1_200, 1_200));
    let touchy = count("stages", "touchy", "rejected") + count("stages", "touchy", "failed");
    assert_eq!((touchy, count("stages", "kept", "filtered")), (failed, 1_200 - failed - out.len()));
    assert_eq!(
        (count("sinks", "out", "written"), count("sinks", "other", "received")),
        (out.len(), other.len())
    );
}

#[test]
fn under_exactly_once_a_killed_worker_leaves_each_delete_once_and_in_its_place() {
    let broker = kafka::shared();
    let given = updates(2, 2_000);
    let names = topics(broker);
    let more = "delivery: { guarantee: exactly_once, commit_interval: 20ms }";
    let pipeline = Pipeline::new(broker, &pipeline(&names, more));
    let mut parts = given.chunks(given.len() / 3);
    for part in parts.by_ref().take(2) {
        let before = records(broker, &names[2]).len();
        write(broker, &names[1], part);
        let worker = pipeline.start(&["--worker-id", "w"]);
        patiently(LONG, "some of it is written", || records(broker, &names[2]).len() > before + 20);
        worker.kill();
    }
    parts.for_each(|part| write(broker, &names[1], part));
    let worker = pipeline.start(&["--worker-id", "w"]);
    let all: usize = (0..2).map(|partition| expected(&given, partition).0.len()).sum();
    patiently(LONG, "all is committed", || records_committed(broker, &names[2]).len() >= all);
    worker.stop();
    let (out, other) = (records_committed(broker, &names[2]), records_committed(broker, &names[3]));
    for partition in 0..2 {
        let (updated, gone, _) = expected(&given, partition);
        assert_eq!(of_partition(&out, partition), updated);
        assert_eq!(of_partition(&other, partition), gone);
    }
}

#[test]
fn a_source_says_what_becomes_of_tombstones_that_do_not_pass() {
    let broker = kafka::shared();
    let [from] = ["from"].map(unique);
    broker.topic(&from, 1);
    let writer = Writer::new(broker);
    let key = Some(b"k".to_vec());
    let update = Record { key: key.clone(), ..Record::new(0, r#"{"n":1}"#) };
    let delete = Record { value: None, ..update.clone() };
    for record in [&update, &delete] {
        writer.write(&from, record);
    }
    writer.flush();
    // By the source and the sink: what is written, and the letters.
    let (value, row) = (|| update.value.clone(), || Some(b"{}".to_vec()));
    let cases = [
        ("", "key: _key", vec![value(), None], 0),
        ("", "key: n", vec![value()], 1),
        ("", "properties: { linger.ms: 1 }", vec![value()], 1),
        ("on_tombstone: skip", "key: _key", vec![value()], 0),
        ("on_tombstone: dead_letter", "key: _key", vec![value()], 1),
        ("on_tombstone: row", "key: _key", vec![value(), row()], 0),
        ("", "key: _key, tombstones: false", vec![value(), row()], 0),
    ];
    for (on_tombstone, sink, written, letters) in cases {
        let [name, out] = ["policy", "out"].map(unique);
        broker.topic(&out, 1);
        let yaml = format!(
            r#"
name: {name}
sources:
  in:
    kafka: {{ brokers: "${{KAFKA_BROKERS}}", topics: [{from}] }}
    format: {{ json: {{ columns: {{ n: int64 }} }} }}
    metadata: [key]
    {on_tombstone}
sinks:
  out: {{ from: in, kafka: {{ brokers: "${{KAFKA_BROKERS}}", topic: {out}, {sink} }}, format: json }}
"#
        );
        let end = Pipeline::new(broker, &yaml).run().ok();
        let found: Vec<Option<Vec<u8>>> = records(broker, &out).into_iter().map(|r| r.value).collect();
        let case = format!("{on_tombstone}, {sink}");
        if sink.contains("_key") {
            assert_eq!(found, written, "{case}");
        } else {
            assert_eq!(found.len(), written.len(), "{case}");
        }
        let skipped = u64::from(on_tombstone.ends_with("skip"));
        assert_eq!(end.count("sources", "in", "skipped"), skipped, "{case}");
        assert_eq!(end.count("sources", "in", "dead_lettered"), letters, "{case}");
        if letters > 0 {
            let letter = records(broker, &format!("{name}.dead-letters")).pop().unwrap();
            assert_eq!((letter.key.as_ref(), letter.value.as_ref()), (key.as_ref(), None), "{case}");
            assert!(letter.header("pipe.error.message").unwrap().contains("tombstone"), "{case}");
        }
    }
}

#[test]
fn a_time_that_no_record_can_have_is_a_dead_letter_with_column_and_value() {
    let broker = kafka::shared();
    let now =
        || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
    for guarantee in ["at_least_once", "exactly_once"] {
        let [name, from, out] = ["times", "from", "out"].map(unique);
        broker.topic(&from, 1);
        broker.topic(&out, 1);
        let writer = Writer::new(broker);
        let times = [
            Some("1969-12-31T23:59:59.999Z"),
            Some("1970-01-01T00:00:00.000Z"),
            Some("1970-01-01T00:00:00.001Z"),
            None,
            Some("0001-01-01T00:00:00Z"),
            Some("2020-01-02T03:04:05.006Z"),
        ];
        for (n, at) in times.iter().enumerate() {
            writer.write(&from, &Record::new(0, json!({ "n": n, "at": at }).to_string()));
        }
        writer.flush();
        let yaml = format!(
            r#"
name: {name}
sources:
  in:
    kafka: {{ brokers: "${{KAFKA_BROKERS}}", topics: [{from}] }}
    format: {{ json: {{ columns: {{ n: int64, at: "timestamp(ms, UTC)" }} }} }}
sinks:
  out: {{ from: in, kafka: {{ brokers: "${{KAFKA_BROKERS}}", topic: {out}, timestamp: at }}, format: json }}
delivery: {{ guarantee: {guarantee} }}
"#
        );
        let before = now();
        let end = Pipeline::new(broker, &yaml).run().ok();
        assert_eq!(
            (end.count("sinks", "out", "written"), end.count("sinks", "out", "dead_lettered")),
            (3, 3)
        );
        let found = records_committed(broker, &out);
        let number = |record: &Record| record.json()["n"].as_i64().unwrap();
        assert_eq!(found.iter().map(number).collect::<Vec<_>>(), [2, 3, 5]);
        assert_eq!((found[0].timestamp, found[2].timestamp), (1, 1_577_934_245_006));
        assert!((before..=now()).contains(&found[1].timestamp), "null is the time of writing");
        let letters = records_committed(broker, &format!("{name}.dead-letters"));
        let told: Vec<String> = letters.iter().map(|l| l.header("pipe.error.message").unwrap()).collect();
        assert_eq!(told.len(), 3);
        for (told, value) in
            told.iter().zip(["1969-12-31T23:59:59.999Z", "1970-01-01T00:00:00Z", "0001-01-01"])
        {
            assert!(told.contains(value) && told.contains("column `at`"), "{told}");
        }
    }
}

#[test]
fn check_refuses_to_pass_what_a_node_cannot_and_names_it() {
    let stage = |name: &str| pipe_tests::stages().join(format!("{name}.wasm"));
    let check = |on_tombstone: &str, stages: &str, sinks: &str| {
        let yaml = format!(
            r#"
name: p
sources:
  in:
    kafka: {{ brokers: "b:1", topics: [t] }}
    format: {{ json: {{ columns: {{ id: int64, items: list(int64) }} }} }}
    metadata: [key, headers]
    {on_tombstone}
stages: {{ {stages} }}
sinks: {{ {sinks} }}
"#
        );
        let pipeline = Pipeline::at("b:1".to_owned(), &yaml);
        let (code, out, err) = pipeline.command(&["explain"], &[]);
        (code, format!("{out}{err}"))
    };
    let kafka = |from: &str, key: &str| {
        format!(r#"out: {{ from: {from}, kafka: {{ brokers: "b:1", topic: o, {key} }}, format: json }}"#)
    };
    let explode = format!(
        r#"many: {{ from: in, wasm: "{}", config: {{ column: items }} }}"#,
        stage("explode").display()
    );
    let config = "config: { cast: { _key: utf8 } }";
    let cast = format!(r#"text: {{ from: in, wasm: "{}", {config} }}"#, stage("select").display());
    let renamed = cast.replace("cast: { _key: utf8 }", "rename: { _key: k }, drop: [_headers]");
    let cases = [
        (explode, kafka("many", "key: _key"), "the stage `many` makes several rows of one"),
        (cast, kafka("text", "key: _key"), "`text` computes it"),
        (String::new(), kafka("in", "key: id"), "the sink `out`, `id`, is not the record's own"),
        (String::new(), kafka("in", "headers: _headers"), "the sink `out` writes no key"),
        (
            String::new(),
            format!("{}, files: {{ from: in, file: {{ path: o }}, format: json }}", kafka("in", "key: _key")),
            "the sink `files` of kind `file` cannot delete",
        ),
    ];
    for (stages, sinks, told) in &cases {
        let (code, text) = check("on_tombstone: pass", stages, sinks);
        assert!(code == Some(2) && text.contains("P009") && text.contains(told), "{text}");
        let (code, text) = check("", stages, sinks);
        assert!(code == Some(0) && text.contains("in: its tombstones are dead letters"), "{text}");
    }
    // A key under another name is the same key.
    let (code, text) = check("on_tombstone: pass", &renamed, &kafka("text", "key: k"));
    assert!(code == Some(0) && text.contains("in: its tombstones pass every stage"), "{text}");
    let (code, text) = check("on_tombstone: skips", "", &kafka("in", "key: _key"));
    assert!(code == Some(2) && text.contains("did you mean `skip`?"), "{text}");
    let (code, text) = check("", "", &kafka("in", "key: _key, tombstones: false"));
    assert!(code == Some(0) && text.contains("P010") && text.contains("on_tombstone: row"), "{text}");
}
