//! Topics that are deleted while a worker reads or writes them: it ends in seconds and says which one is gone, or goes on
//! where a pattern lets topics come and go.

use std::time::Duration;

use pipe_tests::kafka::{self, Broker, unique};

use super::exactly_once::EXACTLY;
use super::{LONG, Pipeline, Worker, Writer, committed, copy, each, numbers, patiently};

/// So long a worker may take to be sure, on a busy machine.
const SURE: Duration = Duration::from_secs(40);

fn delete(broker: &Broker, topics: &[&str]) {
    let list = topics.join(",");
    broker.tool("org.apache.kafka.tools.TopicCommand", &["--delete", "--topic", &list]);
}

/// A worker that copies from a topic to another and has committed so many numbers of both partitions.
fn running(broker: &Broker, delivery: &str, [name, from, to]: &[String; 3]) -> (Pipeline, Worker) {
    broker.topic(from, 2);
    broker.topic(to, 2);
    Writer::new(broker).numbers(from, 2, 0..100);
    let pipeline = Pipeline::new(broker, &format!("{delivery}{}", copy(name, from, to)));
    let mut worker = pipeline.start(&["--worker-id", "w"]);
    worker.says("\"partition assigned\"");
    patiently(LONG, "all is committed", || {
        committed(broker, name, from, 2).values().filter(|&&at| at == 100).count() == 2
    });
    (pipeline, worker)
}

/// Under both guarantees, side by side.
fn both(broker: &Broker, what: &str) -> Vec<([String; 3], Pipeline, Worker)> {
    ["", EXACTLY]
        .map(|delivery| {
            let topics = [what, "from", "to"].map(unique);
            let (pipeline, worker) = running(broker, delivery, &topics);
            (topics, pipeline, worker)
        })
        .into()
}

#[test]
fn a_sink_whose_topic_is_deleted_ends_the_worker_and_names_it() {
    let broker = kafka::shared();
    let all = both(broker, "no-sink");
    let gone: Vec<&str> = all.iter().map(|([.., to], ..)| to.as_str()).collect();
    delete(broker, &gone);
    for ([_, from, _], ..) in &all {
        Writer::new(broker).numbers(from, 2, 100..200);
    }
    for ([name, from, to], pipeline, worker) in all {
        let end = worker.wait(SURE).failed("K002", &format!("`{to}`"));
        println!("after {:?}", end.took);
        assert!(end.log.contains("does not exist any more"), "{}", end.log);
        // Nothing of what was not written is lost.
        broker.topic(&to, 2);
        pipeline.run().ok();
        let found: Vec<i64> =
            super::records_committed(broker, &to).iter().map(|r| r.json()["n"].as_i64().unwrap()).collect();
        assert!((100..200).all(|n| found.iter().filter(|found| **found == n).count() == 2), "{found:?}");
        assert_eq!(committed(broker, &name, &from, 2).values().copied().collect::<Vec<_>>(), [200, 200]);
    }
}

#[test]
fn a_source_whose_topic_is_deleted_ends_the_worker_and_names_it() {
    let broker = kafka::shared();
    let all = both(broker, "no-source");
    let gone: Vec<&str> = all.iter().map(|([_, from, _], ..)| from.as_str()).collect();
    delete(broker, &gone);
    for ([_, from, to], _, worker) in all {
        let end = worker.wait(SURE).failed("S003", &from);
        println!("after {:?}", end.took);
        assert_eq!(numbers(broker, &to), (each(2, 100), 0));
    }
}

#[test]
fn dead_letters_whose_topic_is_deleted_end_the_worker_and_say_so() {
    let broker = kafka::shared();
    let topics = ["no-letters", "from", "to"].map(unique);
    let [name, from, _] = &topics;
    let (_pipeline, worker) = running(broker, "", &topics);
    delete(broker, &[&format!("{name}.dead-letters")]);
    let writer = Writer::new(broker);
    writer.write(from, &super::Record::new(0, "no JSON"));
    writer.flush();
    worker.wait(SURE).failed("K004", "dead-letters");
}

#[test]
fn a_topic_of_a_pattern_may_go_and_the_others_are_read_on() {
    let broker = kafka::shared();
    for delivery in ["", EXACTLY] {
        let [name, prefix, to] = ["no-match", "many", "to"].map(unique);
        let [one, two] = ["one", "two"].map(|end| format!("{prefix}.{end}"));
        for topic in [&one, &two, &to] {
            broker.topic(topic, 2);
        }
        let writer = Writer::new(broker);
        writer.numbers(&one, 2, 0..100);
        let pattern = format!("\"^{prefix}[.].*\"");
        let pipeline = Pipeline::new(broker, &format!("{delivery}{}", copy(&name, &pattern, &to)));
        let mut worker = pipeline.start(&["--worker-id", "w"]);
        worker.says("\"partition assigned\"");
        let all = |topic: &str, count: i64| {
            patiently(LONG, "all is committed", || {
                committed(broker, &name, topic, 2).values().filter(|&&at| at == count).count() == 2
            });
        };
        all(&one, 100);
        delete(broker, &[&two]);
        // Until the group has noticed, and some time more.
        for round in 1..9 {
            std::thread::sleep(Duration::from_secs(2));
            assert!(!worker.has_ended(), "{}", worker.log());
            writer.numbers(&one, 2, round * 100..(round + 1) * 100);
        }
        all(&one, 900);
        let end = worker.stop();
        let (found, repeats) = numbers(broker, &to);
        assert_eq!(found, each(2, 900), "{}", end.log);
        println!("{repeats} records came twice");
    }
}
