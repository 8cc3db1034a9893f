//! The main job: topic to topics and Parquet, every record accounted for by tools that are not ours.

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use pipe_tests::kafka::{self, PASSWORD, USER, unique};
use serde_json::Value;

use super::{Pipeline, Record, Writer, copy, each, numbers, records, text};

/// Rows of the flights, as the file has them.
fn flights() -> Vec<(String, Value)> {
    let lines = text(&pipe_tests::root().join("pipelines/data/flights.jsonl"));
    lines.lines().map(|line| (line.to_owned(), serde_json::from_str(line).unwrap())).collect()
}

/// What the console consumer printed: `key<TAB>value`, sorted.
fn sorted(lines: &[String]) -> Vec<(String, String)> {
    let parsed = lines.iter().map(|line| {
        let (key, value) = line.split_once('\t').unwrap();
        let value: Value = serde_json::from_str(value).unwrap();
        (key.to_owned(), value.to_string())
    });
    let mut all: Vec<_> = parsed.collect();
    all.sort();
    all
}

#[test]
fn the_flights_go_through_stages_to_two_topics_and_parquet() {
    let broker = kafka::shared();
    let [name, source, hubs, others] = ["job", "flights", "hubs", "others"].map(unique);
    for topic in [&source, &hubs, &others] {
        broker.topic(topic, 4);
    }
    let flights = flights();
    let lines: String = flights.iter().enumerate().map(|(n, (line, _))| format!("{n}:{line}\n")).collect();
    broker.console_produce(&source, &lines);
    let yaml = text(&pipe_tests::root().join("pipelines/flights-kafka.yaml"))
        .replace("name: flights-kafka", &format!("name: {name}\nlanes: 2"))
        .replace("topics: [flights]", &format!("topics: [{source}]"))
        .replace("topic: late-hubs", &format!("topic: {hubs}"))
        .replace("topic: late-others", &format!("topic: {others}"));
    let pipeline = Pipeline::new(broker, &yaml);
    let end = pipeline.run().ok();

    let late: Vec<&Value> =
        flights.iter().map(|(_, v)| v).filter(|v| v["delay"].as_i64() > Some(15)).collect();
    let (all, count) = (flights.len() as u64, late.len() as u64);
    let expected = |of_hubs: bool| {
        let is_hub = |v: &Value| ["ATL", "DFW", "ORD"].contains(&v["origin"].as_str().unwrap());
        let mine = late.iter().filter(|v| is_hub(v) == of_hubs);
        let mut all: Vec<_> =
            mine.map(|v| (v["origin"].as_str().unwrap().to_owned(), v.to_string())).collect();
        all.sort();
        all
    };
    for (topic, of_hubs) in [(&hubs, true), (&others, false)] {
        let expected = expected(of_hubs);
        assert!(expected.len() > 50);
        let found = broker.console(topic, expected.len(), &["--property", "print.key=true"]);
        assert_eq!(sorted(&found), expected);
        assert_eq!(records(broker, topic).len(), expected.len(), "nothing more is there");
    }
    let (mut rows, mut delay) = (0, 0);
    for file in std::fs::read_dir(pipeline.folder.path().join("archive")).unwrap() {
        let file = std::fs::File::open(file.unwrap().path()).unwrap();
        for batch in ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap() {
            let batch = batch.unwrap();
            rows += batch.num_rows() as u64;
            let delays = batch.column_by_name("delay").unwrap().as_primitive::<Int64Type>();
            delay += delays.iter().flatten().sum::<i64>();
        }
    }
    assert_eq!((rows, delay), (count, late.iter().map(|v| v["delay"].as_i64().unwrap()).sum()));

    assert_eq!(
        [end.count("sources", "flights", "read"), end.count("sources", "flights", "decoded")],
        [all; 2]
    );
    assert_eq!(end.count("stages", "late", "filtered"), all - count);
    assert_eq!(end.count("stages", "by_airport", "reached"), count);
    assert_eq!(
        end.count("sinks", "late_hubs", "written") + end.count("sinks", "late_others", "written"),
        count
    );
    assert_eq!(end.count("sinks", "archive", "written"), count);
    let group = broker.tool(
        "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
        &["--describe", "--group", &name],
    );
    let lags: Vec<&str> =
        group.lines().filter(|l| l.contains(&source)).filter_map(|l| l.split_whitespace().nth(5)).collect();
    assert_eq!(lags, ["0"; 4], "{group}");
    let ends: u64 = group
        .lines()
        .filter(|l| l.contains(&source))
        .filter_map(|l| l.split_whitespace().nth(3)?.parse::<u64>().ok())
        .sum();
    assert_eq!(ends, all, "{group}");
}

#[test]
fn tombstones_headers_and_metadata_of_several_topics_go_through() {
    let broker = kafka::shared();
    let [name, one, two, out] = ["meta", "one", "two", "out"].map(unique);
    broker.topic(&one, 2);
    broker.topic(&two, 1);
    broker.topic(&out, 3);
    let writer = Writer::new(broker);
    let headers = vec![
        ("trace".to_owned(), Some(vec![0xff, 0x00])),
        ("trace".to_owned(), None),
        ("empty".to_owned(), Some(Vec::new())),
    ];
    let key = Some(b"k1".to_vec());
    let full = Record { key: key.clone(), headers: headers.clone(), ..Record::new(1, r#"{"a":7}"#) };
    let tombstone = Record { value: None, ..full.clone() };
    let bare = Record::new(0, r#"{"a":8}"#);
    for record in [&full, &tombstone] {
        writer.write(&one, record);
    }
    writer.write(&two, &bare);
    writer.flush();
    let yaml = format!(
        r#"
name: {name}
sources:
  in:
    kafka: {{ brokers: "${{KAFKA_BROKERS}}", topics: [{one}, {two}], properties: {{ client.id: from-{name}, fetch.min.bytes: 1 }} }}
    format: {{ json: {{ columns: {{ a: int64 }} }} }}
    metadata: [key, headers]
sinks:
  same:
    from: in
    kafka: {{ brokers: "${{KAFKA_BROKERS}}", topic: {out}, key: _key, properties: {{ linger.ms: 1 }} }}
    format: json
"#
    );
    Pipeline::new(broker, &yaml).run().ok();
    let mut found = records(broker, &out);
    found.sort_by_key(|r| (r.key.is_none(), r.partition, r.offset));
    assert_eq!(found.len(), 3, "{found:?}");
    for (found, given) in found.iter().zip([&full, &tombstone, &bare]) {
        assert_eq!((&found.key, &found.value, &found.headers), (&given.key, &given.value, &given.headers));
    }

    let places = format!(
        r#"
name: {}
sources:
  in:
    kafka: {{ brokers: "${{KAFKA_BROKERS}}", topics: [{one}, {two}] }}
    format: raw
    metadata: [topic, partition, offset, timestamp]
    on_tombstone: row
sinks:
  places: {{ from: in, file: {{ path: places }}, format: json }}
"#,
        unique("places")
    );
    let pipeline = Pipeline::new(broker, &places);
    pipeline.run().ok();
    let mut places: Vec<(String, i64, i64)> = Vec::new();
    for file in std::fs::read_dir(pipeline.folder.path().join("places")).unwrap() {
        for line in text(&file.unwrap().path()).lines() {
            let row: Value = serde_json::from_str(line).unwrap();
            assert!(row["_timestamp"].as_str().unwrap().starts_with("2023-11-14T22:13:20"), "{row}");
            let number = |key: &str| row[key].as_i64().unwrap();
            places.push((
                row["_topic"].as_str().unwrap().to_owned(),
                number("_partition"),
                number("_offset"),
            ));
        }
    }
    places.sort();
    assert_eq!(places, [(one.clone(), 1, 0), (one, 1, 1), (two, 0, 0)]);
}

#[test]
fn sasl_ssl_with_scram_end_to_end_and_the_secret_is_never_printed() {
    let broker = kafka::shared();
    let [name, from, to] = ["sasl", "from", "to"].map(unique);
    broker.topic(&from, 3);
    broker.topic(&to, 3);
    Writer::new(broker).numbers(&from, 3, 0..200);
    let security = format!(
        r#"properties: {{ security.protocol: SASL_SSL, sasl.mechanism: SCRAM-SHA-512, sasl.username: {USER},
        sasl.password: "${{file:password.txt}}", ssl.ca.location: "{}" }}"#,
        broker.certificate().display()
    );
    let yaml = copy(&name, &from, &to)
        .replace("properties: { session.timeout.ms: 6000, heartbeat.interval.ms: 500 }", &security)
        .replace("key: p }", &format!("key: p, {security} }}"));
    let pipeline = Pipeline::at(broker.sasl_address(), &yaml);
    let secret = pipeline.folder.path().join("password.txt");
    std::fs::write(&secret, PASSWORD).unwrap();
    let mut worker = pipeline.start(&["--until-end"]);
    worker.says("\"partition assigned\"");
    let end = worker.wait(super::LONG).ok();
    assert!(!end.log.contains(PASSWORD), "the secret is in the log");
    assert_eq!(numbers(broker, &to), (each(3, 200), 0));

    std::fs::write(&secret, "wrong-password").unwrap();
    let end = pipeline.run().failed("K001", "uthentication");
    assert!(end.took.as_secs() <= 15, "{:?}", end.took);
    assert!(!end.log.contains("wrong-password"));
}
