//! `pipe dead-letters` on a topic: beside a running worker, with control records in the log, and letters of letters.

use pipe_tests::kafka::{self, unique};
use rdkafka::producer::Producer;
use serde_json::Value;

use super::failures::{good, letters_pipeline, mixed, raw};
use super::{LONG, Pipeline, Record, Writer, patiently, records};

fn list(pipeline: &Pipeline, args: &[&str]) -> Vec<Value> {
    let (code, out, err) = pipeline.command(&["dead-letters", "list"], &[&["--json"], args].concat());
    assert_eq!(code, Some(0), "{err}");
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn replay(pipeline: &Pipeline, args: &[&str]) -> String {
    let (code, out, err) = pipeline.command(&["dead-letters", "replay"], args);
    assert_eq!(code, Some(0), "{out}{err}");
    out
}

#[test]
fn letters_are_listed_and_replayed_while_the_worker_runs() {
    let broker = kafka::shared();
    let [name, from, out] = ["replayed", "from", "out"].map(unique);
    broker.topic(&from, 1);
    broker.topic(&out, 1);
    let (given, kinds) = mixed();
    let writer = Writer::new(broker);
    given.iter().for_each(|record| writer.write(&from, record));
    writer.flush();
    let pipeline = Pipeline::new(broker, &letters_pipeline(&name, &from, &out, "dead_letter"));
    assert!(list(&pipeline, &[]).is_empty(), "there is no topic yet");
    let worker = pipeline.start(&[]);
    let topic = format!("{name}.dead-letters");
    patiently(LONG, "the letters are there", || list(&pipeline, &[]).len() == kinds.len());

    // A letter that is none, and control records at the end of the log.
    let other = Writer::transactional(broker, &unique("tx"));
    other.0.begin_transaction().unwrap();
    other.write(&topic, &Record::new(0, "not ours"));
    other.flush();
    other.0.commit_transaction(LONG).unwrap();
    other.0.begin_transaction().unwrap();
    other.write(&topic, &Record::new(0, "never was"));
    other.flush();
    other.0.abort_transaction(LONG).unwrap();
    let (code, table, err) = pipeline.command(&["dead-letters", "list"], &[]);
    assert_eq!(code, Some(0));
    assert!(
        table.contains("5 dead letters in topic") && err.contains("1 records are no dead letters"),
        "{table}{err}"
    );

    // Each letter is its record, byte for byte.
    for letter in list(&pipeline, &[]) {
        let original = &given[letter["offset"].as_u64().unwrap() as usize];
        assert_eq!(letter["kind"], kinds[&letter["offset"].as_i64().unwrap()]);
        assert_eq!(letter["key"].is_null(), original.key.is_none(), "{letter}");
        assert_eq!(letter["value"].is_null(), original.value.is_none(), "{letter}");
        assert_eq!(letter["timestamp"], original.timestamp);
    }
    let tombstone = &list(&pipeline, &["--kind", "rejected"])[1];
    assert_eq!(
        (&tombstone["offset"], &tombstone["value"], &tombstone["key"]),
        (&70.into(), &Value::Null, &"gone".into())
    );
    assert_eq!(tombstone["headers"].as_array().unwrap().len(), 4, "{tombstone}");
    let (code, shown, err) =
        pipeline.command(&["dead-letters", "show"], &[tombstone["place"].as_str().unwrap()]);
    assert!(
        code == Some(0) && shown.contains("value      null") && shown.contains("hex ff0078"),
        "{shown}{err}"
    );
    let (code, _, err) = pipeline.command(&["dead-letters", "show"], &["0/9999"]);
    assert!(code == Some(2) && err.contains("K005"), "{err}");

    // The trap is mended, the others fail again.
    let before = records(broker, &out).len();
    let mended = "stages.touchy.config.mode=trap-on=99";
    let dry = replay(&pipeline, &["--set", mended]);
    assert!(dry.contains("would replay 5"), "{dry}");
    assert_eq!(records(broker, &out).len(), before);
    let done = replay(&pipeline, &["--set", mended, "--execute"]);
    assert!(done.contains("replayed 5") && done.contains("4 rows failed again"), "{done}");
    assert_eq!(records(broker, &out).len(), before + 1);
    let again = list(&pipeline, &[]);
    assert_eq!(again.len(), 9);
    let second: Vec<&Value> = again.iter().filter(|letter| letter["attempt"] == 2).collect();
    assert_eq!(second.len(), 4);
    // The record of a letter is that of the first one: where it was read first, with the same bytes.
    for letter in &second {
        let first = again.iter().find(|l| l["attempt"] == 1 && l["offset"] == letter["offset"]).unwrap();
        for part in ["topic", "partition", "timestamp", "key", "value", "headers", "kind", "stage"] {
            assert_eq!(first[part], letter[part], "{part}");
        }
    }
    let dry = replay(&pipeline, &[]);
    assert!(dry.contains("would replay 4") && dry.contains("5 were replayed before"), "{dry}");

    // The worker went on all the while, and goes on.
    writer.write(&from, &good(300));
    writer.flush();
    patiently(LONG, "the worker still works", || records(broker, &out).len() == before + 2);
    worker.stop();
}

#[test]
fn a_letter_of_a_letter_does_not_grow() {
    let broker = kafka::shared();
    let [first, second, third, from, out] = ["one", "two", "three", "from", "out"].map(unique);
    broker.topic(&from, 1);
    broker.topic(&out, 1);
    let writer = Writer::new(broker);
    let header = ("own".to_owned(), Some(b"kept".to_vec()));
    writer.write(&from, &Record { headers: vec![header.clone()], ..Record::new(0, "not json") });
    writer.flush();
    let mut read = from;
    let mut shapes = Vec::new();
    for (attempt, name) in [&first, &second, &third].into_iter().enumerate() {
        Pipeline::new(broker, &raw(name, &read, &out)).run().ok();
        let topic = format!("{name}.dead-letters");
        let letters = records(broker, &topic);
        assert_eq!(letters.len(), 1);
        let letter = &letters[0];
        assert_eq!(letter.value.as_deref(), Some(b"not json".as_slice()));
        assert!(letter.headers.contains(&header));
        assert_eq!(letter.header("pipe.error.attempt").unwrap(), (attempt + 1).to_string());
        assert_eq!(letter.header("pipe.error.pipeline").unwrap(), *name);
        assert_eq!(letter.header("pipe.error.topic").unwrap(), read);
        let mut names: Vec<String> = letter.headers.iter().map(|(name, _)| name.clone()).collect();
        names.sort();
        shapes.push(names);
        read = topic;
    }
    assert_eq!(shapes[0], shapes[2], "headers are replaced, not added");
}
