//! The files that `docs/coming-from` shows, word for word but for the names of their topics, on a real broker.

use pipe_tests::kafka::{self, Broker, unique};
use pipe_tests::root;

use super::{Pipeline, Record, Writer, records_committed};

/// Runs an example on these values; what its output holds.
fn run(broker: &Broker, file: &str, [name, output]: [&str; 2], values: &[&str]) -> Vec<Record> {
    let text = std::fs::read_to_string(root().join("pipelines/coming-from").join(file)).unwrap();
    let [group, from, out] = [name, "orders", output].map(unique);
    let text = text
        .replace(&format!("name: {name}"), &format!("name: {group}"))
        .replace("[orders]", &format!("[{from}]"))
        .replace(&format!("topic: {output}"), &format!("topic: {out}"));
    broker.topic(&from, 1);
    broker.topic(&out, 1);
    let writer = Writer::new(broker);
    for (n, value) in values.iter().enumerate() {
        let record = Record {
            key: Some(format!("k{n}").into_bytes()),
            value: Some(value.as_bytes().to_vec()),
            headers: vec![("trace".to_owned(), Some(vec![n as u8, 0xff]))],
            timestamp: 1_700_000_000_000 + n as i64,
            ..Record::default()
        };
        writer.write(&from, &record);
    }
    writer.flush();
    let end = Pipeline::new(broker, &text).run().ok();
    let letters = records_committed(broker, &format!("{group}.dead-letters"));
    assert_eq!(letters.len(), 1, "the record that is no JSON");
    assert_eq!(end.count("sources", "orders", "read"), values.len() as u64);
    records_committed(broker, &out)
}

fn values(records: &[Record]) -> Vec<&str> {
    records.iter().map(|record| std::str::from_utf8(record.value.as_ref().unwrap()).unwrap()).collect()
}

#[test]
fn orders_are_filtered_and_forwarded_as_they_came() {
    let given = [
        r#"{"total": 99.99, "id": 1}"#,
        r#"{ "id":12345678901234567890 ,"total":1e2, "x":1.10 }"#,
        r#"{"id": 3}"#,
        r#"{"total":"#,
        r#"{"total": 250, "lines": [{"sku": "a", "n": 1.0}]}"#,
    ];
    let names = ["large-orders", "large-orders"];
    let out = run(kafka::shared(), "redpanda-connect-forward.yaml", names, &given);
    assert_eq!(values(&out), [given[1], given[4]]);
    for (record, n) in out.iter().zip([1u8, 4]) {
        assert_eq!(record.key.as_deref(), Some(format!("k{n}").as_bytes()));
        assert_eq!(record.headers, [("trace".to_owned(), Some(vec![n, 0xff]))]);
        assert_eq!(record.timestamp, 1_700_000_000_000 + i64::from(n));
    }
}

#[test]
fn one_field_is_masked_and_the_others_are_kept_to_the_byte() {
    let given = [
        r#"{"id":12345678901234567890, "card":"4111111111111111", "x": 1.10}"#,
        r#"{"id":2}"#,
        "{",
        r#"{"note":"\u00e9", "card":null}"#,
    ];
    let names = ["masked-orders", "masked-orders"];
    let out = run(kafka::shared(), "redpanda-connect-mask.yaml", names, &given);
    let expected = [
        r#"{"card":"************1111","id":12345678901234567890,"x": 1.10}"#,
        r#"{"id":2}"#,
        r#"{"note":"\u00e9"}"#,
    ];
    assert_eq!(values(&out), expected);
    for (record, n) in out.iter().zip([0u8, 1, 3]) {
        assert_eq!(record.key.as_deref(), Some(format!("k{n}").as_bytes()));
        assert_eq!(record.headers, [("trace".to_owned(), Some(vec![n, 0xff]))]);
    }
}
