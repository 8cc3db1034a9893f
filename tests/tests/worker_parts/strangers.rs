//! Other programs in the consumer group of a pipeline.

use std::time::{Duration, Instant};

use pipe_tests::kafka::{self, Broker, unique};
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::{LONG, Pipeline, copy};

/// Another program of this group, once it has its partitions.
fn stranger(broker: &Broker, group: &str, topic: &str, assignor: &str) -> BaseConsumer {
    let mut config = super::config(broker);
    config.set("group.id", group).set("client.id", "billing");
    config.set("partition.assignment.strategy", assignor).set("enable.auto.commit", "false");
    let consumer: BaseConsumer = config.create().unwrap();
    consumer.subscribe(&[topic]).unwrap();
    let begin = Instant::now();
    while consumer.assignment().unwrap().count() == 0 {
        assert!(begin.elapsed() < LONG, "it is given nothing");
        let _ = consumer.poll(Duration::from_millis(100));
    }
    consumer
}

#[test]
fn a_group_that_cannot_be_joined_is_named_with_those_who_are_in_it() {
    let broker = kafka::shared();
    let [name, from, to] = ["taken", "from", "to"].map(unique);
    broker.topic(&from, 2);
    broker.topic(&to, 2);
    let _other = stranger(broker, &name, &from, "range");
    let end = Pipeline::new(broker, &copy(&name, &from, &to)).run();
    end.failed("S002", &format!("group `{name}`: the consumer group is in use by `billing` at 127.0.0.1"));
}

#[test]
fn who_shares_the_partitions_is_warned_of() {
    let broker = kafka::shared();
    let [name, from, to] = ["shared", "from", "to"].map(unique);
    broker.topic(&from, 2);
    broker.topic(&to, 2);
    let other = stranger(broker, &name, &from, "cooperative-sticky");
    let pipeline = Pipeline::new(broker, &copy(&name, &from, &to));
    let mut worker = pipeline.start(&[]);
    worker.says("another program is in this consumer group");
    assert!(worker.log().contains("\"billing\""), "{}", worker.log());
    drop(other);
    worker.stop();
}
