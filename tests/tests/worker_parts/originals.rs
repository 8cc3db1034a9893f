//! Records that leave as they came: value, key, headers and time of each, to the byte, past stages and beside tombstones.

use pipe_tests::kafka::{self, unique};

use super::{LONG, Pipeline, Record, Writer, patiently, records, records_committed};

/// Records with all that one can have; of every fifth the value is a tombstone, of every seventh no JSON.
fn given(each: i64) -> Vec<Record> {
    let record = |n: i64| {
        let text = format!("{{ \"n\" : {n}, \"x\":1.10,\"x\": [ {{}} ],\"b\":\"\\u0061\" }}");
        let value = match n {
            n if n % 5 == 4 => None,
            n if n % 7 == 6 => Some(format!("{text}}}").into_bytes()),
            _ => Some(text.into_bytes()),
        };
        let headers = match n % 3 {
            0 => vec![
                ("h".to_owned(), Some(vec![0xff, 0])),
                ("h".to_owned(), None),
                (String::new(), Some(Vec::new())),
            ],
            _ => Vec::new(),
        };
        let key = (n % 4 != 1).then(|| vec![b'k', (n % 6) as u8, 0xff]);
        Record { timestamp: 1_700_000_000_000 + n, key, value, headers, ..Record::default() }
    };
    (0..each).map(record).collect()
}

fn pipeline(names: &[String; 3], more: &str) -> String {
    let [name, from, out] = names;
    format!(
        r#"
name: {name}
sources:
  in:
    kafka: {{ brokers: "${{KAFKA_BROKERS}}", topics: [{from}], properties: {{ session.timeout.ms: 6000, heartbeat.interval.ms: 500 }} }}
    format: {{ json: {{ columns: {{ n: "int64!" }} }} }}
stages:
  kept: {{ from: in, use: filter, config: {{ all: [{{ column: n, op: ge, value: 30 }}] }} }}
sinks:
  out: {{ from: kept, kafka: {{ brokers: "${{KAFKA_BROKERS}}", topic: {out} }}, format: original }}
batch: {{ rows: 64 }}
{more}
"#
    )
}

/// What is to be in the output: the tombstones, and the good records that the stage keeps.
fn expected(given: &[Record]) -> Vec<Record> {
    let is_kept = |(n, record): &(usize, &Record)| record.value.is_none() || (n % 7 != 6 && *n >= 30);
    given.iter().enumerate().filter(is_kept).map(|(_, record)| record.clone()).collect()
}

fn without_places(records: Vec<Record>) -> Vec<Record> {
    records.into_iter().map(|record| Record { offset: 0, ..record }).collect()
}

#[test]
fn records_leave_as_they_came_under_both_guarantees() {
    let broker = kafka::shared();
    for guarantee in ["at_least_once", "exactly_once"] {
        let names = ["originals", "from", "out"].map(unique);
        broker.topic(&names[1], 1);
        broker.topic(&names[2], 1);
        let given = given(700);
        let writer = Writer::new(broker);
        given.iter().for_each(|record| writer.write(&names[1], record));
        writer.flush();
        let more = format!("delivery: {{ guarantee: {guarantee} }}");
        let end = Pipeline::new(broker, &pipeline(&names, &more)).run().ok();
        let written = expected(&given);
        assert_eq!(without_places(records_committed(broker, &names[2])), written, "{guarantee}");
        assert_eq!(end.count("sinks", "out", "written"), written.len() as u64);
        let letters = records_committed(broker, &format!("{}.dead-letters", names[0]));
        assert_eq!(
            letters.len(),
            given.iter().enumerate().filter(|(n, r)| n % 7 == 6 && r.value.is_some()).count()
        );
    }
}

#[test]
fn a_worker_that_is_killed_repeats_records_and_loses_none() {
    let broker = kafka::shared();
    let names = ["originals", "from", "out"].map(unique);
    broker.topic(&names[1], 1);
    broker.topic(&names[2], 1);
    let given = given(4_000);
    let writer = Writer::new(broker);
    given.iter().for_each(|record| writer.write(&names[1], record));
    writer.flush();
    let pipeline = Pipeline::new(broker, &pipeline(&names, "delivery: { commit_interval: 20ms }"));
    let worker = pipeline.start(&["--worker-id", "w"]);
    patiently(LONG, "some of it is written", || records(broker, &names[2]).len() > 20);
    worker.kill();
    pipeline.run().ok();
    let mut found = without_places(records(broker, &names[2]));
    found.sort_by_key(|record| record.timestamp);
    found.dedup();
    assert_eq!(found, expected(&given));
}

#[test]
fn what_nobody_declared_goes_from_topic_to_topic() {
    let broker = kafka::shared();
    let [name, from, out] = ["kept", "from", "out"].map(unique);
    broker.topic(&from, 1);
    broker.topic(&out, 1);
    let given = given(300);
    let writer = Writer::new(broker);
    given.iter().for_each(|record| writer.write(&from, record));
    writer.flush();
    let yaml = format!(
        r#"
name: {name}
sources:
  in:
    kafka: {{ brokers: "${{KAFKA_BROKERS}}", topics: [{from}] }}
    format: {{ json: {{ unknown: keep, columns: {{ n: "int64!" }} }} }}
    metadata: [key]
stages:
  marked: {{ from: in, use: select, config: {{ constants: {{ region: eu }} }} }}
sinks:
  out: {{ from: marked, kafka: {{ brokers: "${{KAFKA_BROKERS}}", topic: {out}, key: _key }}, format: json }}
"#
    );
    Pipeline::new(broker, &yaml).run().ok();
    let found: Vec<_> = records(broker, &out).into_iter().map(|record| (record.key, record.value)).collect();
    let written = given.iter().enumerate().filter(|(n, record)| record.value.is_none() || n % 7 != 6);
    let expected: Vec<_> = written
        .map(|(n, record)| {
            let text =
                || format!(r#"{{"n":{n},"region":"eu","x":1.10,"x": [ {{}} ],"b":"\u0061"}}"#).into_bytes();
            (record.key.clone(), record.value.as_ref().map(|_| text()))
        })
        .collect();
    assert_eq!(found, expected);
}
