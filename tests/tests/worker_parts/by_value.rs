//! A Kafka sink whose topic comes from values: each row is in its own topic, in order, or a dead letter that says why; no
//! topic is made. And what `pipe init`, `columns` and `peek` see of a topic, without a group.

use std::collections::BTreeMap;

use pipe_tests::kafka::{self, unique};
use serde_json::{Value, json};

use super::exactly_once::EXACTLY;
use super::{Pipeline, Record, Writer, records_committed};

fn by_tenant(name: &str, from: &str, prefix: &str, more: &str) -> String {
    format!(
        r#"
name: {name}
sources:
  in:
    kafka: {{ brokers: "${{KAFKA_BROKERS}}", topics: [{from}] }}
    format: {{ json: {{ columns: {{ tenant: utf8, n: int64 }} }} }}
sinks:
  out:
    from: in
    kafka:
      brokers: "${{KAFKA_BROKERS}}"
      topic: "{prefix}-{{tenant}}"
      topics: ["^{prefix}-[a-z0-9]+$"]
      topics_max: 3
      key: [tenant, n]
    format: json
batch: {{ rows: 64 }}
{more}
"#
    )
}

#[test]
fn rows_go_where_their_values_say_and_hostile_ones_are_dead_letters() {
    let broker = kafka::shared();
    for guarantee in ["", EXACTLY] {
        let [name, from, prefix] = ["by-value", "from", "to"].map(unique);
        broker.topic(&from, 2);
        for tenant in ["a", "b", "c", "d"] {
            broker.topic(&format!("{prefix}-{tenant}"), 1);
        }
        let writer = Writer::new(broker);
        let long = "x".repeat(300);
        let bad = [
            (json!({ "n": 1 }), "the column `tenant` is null"),
            (json!({ "tenant": "", "n": 2 }), "the column `tenant` is empty"),
            (json!({ "tenant": "../x", "n": 3 }), "not a topic's name"),
            (json!({ "tenant": long, "n": 4 }), "not a topic's name"),
            (json!({ "tenant": "A", "n": 5 }), "not among `topics:`"),
            (json!({ "tenant": "nowhere", "n": 6 }), "does not exist"),
            (json!({ "tenant": "d", "n": 7 }), "one more than 3"),
        ];
        for n in 0..600 {
            let tenant = ["a", "b", "c"][n % 3];
            writer.write(&from, &Record::new(0, json!({ "tenant": tenant, "n": n }).to_string()));
            // One that does not exist is looked for while there is still room for it.
            let now = |value: &Value| match value["tenant"] == "nowhere" {
                true => n == 1,
                false => n == 300,
            };
            for (value, _) in bad.iter().filter(|(value, _)| now(value)) {
                writer.write(&from, &Record::new(0, value.to_string()));
            }
        }
        writer.flush();
        let end = Pipeline::new(broker, &by_tenant(&name, &from, &prefix, guarantee)).run().ok();
        let counts = ["received", "written", "dead_lettered"].map(|what| end.count("sinks", "out", what));
        assert_eq!(counts, [607, 600, 7], "{guarantee}");
        for (at, tenant) in ["a", "b", "c"].into_iter().enumerate() {
            let found = records_committed(broker, &format!("{prefix}-{tenant}"));
            let numbers: Vec<i64> = found.iter().map(|r| r.json()["n"].as_i64().unwrap()).collect();
            let expected: Vec<i64> = (0..600).filter(|n| n % 3 == at as i64).collect();
            assert_eq!(numbers, expected, "each once and in order: {guarantee}");
            let key = String::from_utf8(found[0].key.clone().unwrap()).unwrap();
            assert_eq!(key, json!({ "tenant": tenant, "n": at }).to_string());
        }
        assert!(records_committed(broker, &format!("{prefix}-d")).is_empty());
        let letters = records_committed(broker, &format!("{name}.dead-letters"));
        let causes: BTreeMap<i64, String> = letters
            .iter()
            .map(|letter| {
                (letter.json()["n"].as_i64().unwrap(), letter.header("pipe.error.message").unwrap())
            })
            .collect();
        assert_eq!(causes.len(), bad.len());
        for (value, why) in &bad {
            let cause = &causes[&value["n"].as_i64().unwrap()];
            assert!(cause.contains(why) && cause.len() < 300, "{why}: {cause}");
        }
    }
}

#[test]
fn a_template_is_checked_before_anything_runs() {
    let check = |more: &str| {
        let yaml =
            by_tenant("checked", "from", "to", "").replace("      topics: [\"^to-[a-z0-9]+$\"]\n", more);
        Pipeline::at("localhost:9092".into(), &yaml).command(&["check"], &[])
    };
    assert_eq!(check("      topics: [to-a]\n").0, Some(0));
    for (more, word) in [
        ("", "needs `topics:`"),
        ("      topics: [\"^(\"]\n", "C011"),
        ("      topics: [\"^to-\"]\n      create: true\n", "names, not patterns"),
        // Each record would come back.
        ("      topics: [from]\n", "P011"),
    ] {
        let (_, out, err) = check(more);
        assert!(err.contains(word), "`{word}` is not in:\n{out}{err}");
    }
}

#[test]
fn a_topic_is_looked_at_without_a_group() {
    let broker = kafka::shared();
    let from = unique("looked");
    broker.topic(&from, 3);
    let writer = Writer::new(broker);
    for n in 0..300 {
        let odd = if n == 299 { json!("late") } else { json!(n) };
        writer.write(&from, &Record::new(n % 3, json!({ "n": n, "odd": odd }).to_string()));
    }
    writer.flush();
    let pipeline = Pipeline::new(broker, "");
    let address = broker.address();
    let ask = |command: &[&str], args: &[&str]| {
        let mut pipe = pipe_tests::pipe();
        pipe.args(command).args(["--brokers", &address]).args(args).current_dir(pipeline.folder.path());
        let output = pipe.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    // A sample that is smaller than the topic sees both ends of each partition.
    let (code, out, err) = ask(&["columns", &from], &["--records", "30"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("\"n\": int64") && out.contains("types disagree: int64 97 %, utf8 3 %"), "{out}");
    let (code, out, err) = ask(&["peek", &from], &["-n", "6", "--json"]);
    assert_eq!(code, Some(0), "{err}");
    let mut numbers: Vec<i64> = out
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["value"]["n"].as_i64().unwrap())
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (294..300).collect::<Vec<_>>(), "the last ones");
    let (_, out, _) = ask(&["peek", &from], &["-n", "3", "--from", "start"]);
    assert_eq!(out.lines().count(), 4, "{out}");
    assert!(out.starts_with("PLACE  TIME"), "{out}");
    let (code, _, err) = ask(&["peek", &format!("{from}x")], &[]);
    assert!(code == Some(1) && err.contains("does not exist") && err.contains(&from), "{err}");
    let (code, _, err) = ask(&["init", &from], &["--out", "made.yaml"]);
    assert_eq!(code, Some(0), "{err}");
    let made = std::fs::read_to_string(pipeline.folder.path().join("made.yaml")).unwrap();
    let end = Pipeline::new(broker, &made).run().ok();
    assert_eq!(end.count("sources", &from, "read"), 300, "{made}");
    let groups = broker.tool("org.apache.kafka.tools.consumer.group.ConsumerGroupCommand", &["--list"]);
    assert!(!groups.contains("pipe.look"), "a group was joined, or committed to: {groups}");
    let secret = ["--property", "sasl.password=hunter2", "--out", "other.yaml"];
    let (code, _, err) = ask(&["init", &from], &secret);
    assert!(code == Some(2) && err.contains("plain text") && !err.contains("hunter2"), "{err}");
}
