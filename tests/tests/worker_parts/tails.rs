//! Ends that are hard to find: control records, idle partitions, records that were deleted.

use std::time::Duration;

use pipe_tests::kafka::{self, unique};
use rdkafka::producer::Producer as _;

use super::{Pipeline, Record, Writer, committed, copy, each, numbers, records};

#[test]
fn a_tail_of_transaction_markers_and_idle_partitions_end() {
    let broker = kafka::shared();
    let [name, from, to] = ["tail", "from", "to"].map(unique);
    broker.topic(&from, 4);
    broker.topic(&to, 4);
    let writer = Writer::transactional(broker, &unique("tx"));
    let wait = Duration::from_secs(20);
    for (round, commits) in [(0, true), (1, false), (1, true), (2, false)] {
        writer.0.begin_transaction().unwrap();
        // The last two partitions stay empty.
        writer.numbers(&from, 2, round * 100..round * 100 + 100);
        if commits {
            writer.0.commit_transaction(wait).unwrap();
        } else {
            writer.0.abort_transaction(wait).unwrap();
        }
    }
    let pipeline = Pipeline::new(broker, &copy(&name, &from, &to));
    let end = pipeline.run().ok();
    assert_eq!(end.count("sources", "in", "read"), 400);
    assert_eq!(numbers(broker, &to), (each(2, 200), 0));
    // Again, from what is committed: nothing is left, and the worker ends all the same.
    let end = pipeline.run().ok();
    assert_eq!(end.count("sources", "in", "read"), 0);
    assert_eq!(records(broker, &to).len(), 400);
}

#[test]
fn a_committed_offset_below_the_log_is_an_error_and_a_log_that_was_emptied_is_not() {
    let broker = kafka::shared();
    let [name, from, to] = ["deleted", "from", "to"].map(unique);
    broker.topic(&from, 1);
    broker.topic(&to, 1);
    let writer = Writer::new(broker);
    writer.numbers(&from, 1, 0..100);
    let pipeline = Pipeline::new(broker, &copy(&name, &from, &to));
    pipeline.run().ok();
    assert_eq!(committed(broker, &name, &from, 1)[&0], 100);
    writer.numbers(&from, 1, 100..200);
    let request = pipeline.folder.path().join("delete.json");
    let delete = |offset: i64| {
        let text =
            format!(r#"{{"version":1,"partitions":[{{"topic":"{from}","partition":0,"offset":{offset}}}]}}"#);
        std::fs::write(&request, text).unwrap();
        let file = request.display().to_string();
        broker.tool("org.apache.kafka.tools.DeleteRecordsCommand", &["--offset-json-file", &file]);
    };
    delete(150);
    let end = pipeline.run().failed("S004", &format!("{from}/0 would be at offset 100"));
    assert!(end.took < Duration::from_secs(15), "{:?}", end.took);
    // All records are gone: a new group has nothing to do, and does not wait for it.
    delete(200);
    let other = Pipeline::new(broker, &copy(&unique("deleted"), &from, &to));
    assert_eq!(other.run().ok().count("sources", "in", "read"), 0);
    writer.write(&from, &Record::new(0, r#"{"p":0,"n":100}"#));
    writer.flush();
    assert_eq!(other.run().ok().count("sources", "in", "read"), 1);
}
