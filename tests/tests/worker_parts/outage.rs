//! The broker freezes, goes away and returns, or never was there.

use std::time::Duration;

use pipe_tests::kafka::{self, Broker, unique};

use super::{LONG, Pipeline, Writer, committed, copy, each, numbers, patiently};

#[test]
fn without_a_broker_the_error_comes_soon_and_names_it() {
    let address = format!("127.0.0.1:{}", kafka::free_port());
    let end = Pipeline::at(address.clone(), &copy("alone", "from", "to")).run().failed("K001", &address);
    assert!(end.took < Duration::from_secs(15), "{:?}", end.took);
    let only_source = copy("alone", "from", "to");
    let (before, _) = only_source.split_once("  out:").unwrap();
    let yaml = format!(
        "{before}  out: {{ from: good, blackhole: {{}} }}\ndead_letters: {{ file: {{ path: d }} }}\n"
    );
    let end = Pipeline::at(address.clone(), &yaml).run().failed("S001", &address);
    assert!(end.took < Duration::from_secs(15), "{:?}", end.took);
}

#[test]
fn a_missing_topic_is_named() {
    let broker = kafka::shared();
    let [name, from, to] = ["missing", "not-there", "to"].map(unique);
    broker.topic(&to, 1);
    let end = Pipeline::new(broker, &copy(&name, &from, &to)).run();
    let end = end.failed("S003", &format!("topic `{from}` does not exist"));
    assert!(end.took < Duration::from_secs(15), "{:?}", end.took);
    let end = Pipeline::new(broker, &copy(&name, &to, &from)).run();
    end.failed("K001", &format!("topic `{from}` does not exist"));
}

/// What was written before, while and after the broker was ill comes through; returns the repeats and the worker's log.
fn survives(ill: impl FnOnce(&Broker), log: &str) -> (usize, String) {
    let broker = Broker::start();
    let [name, from, to] = ["ill", "from", "to"].map(unique);
    broker.topic(&from, 3);
    broker.topic(&to, 3);
    Writer::new(&broker).numbers(&from, 3, 0..3_000);
    let pipeline = Pipeline::new(&broker, &copy(&name, &from, &to));
    let mut worker = pipeline.start(&[]);
    worker.says("\"partition assigned\"");
    let writer = Writer::new(&broker);
    writer.numbers(&from, 3, 3_000..4_000);
    ill(&broker);
    worker.says(log);
    Writer::new(&broker).numbers(&from, 3, 4_000..5_000);
    patiently(LONG, "all is committed", || {
        let committed = committed(&broker, &name, &from, 3);
        committed.len() == 3 && committed.values().all(|&at| at == 5_000)
    });
    let end = worker.stop();
    assert!(end.took < Duration::from_secs(15), "{:?}", end.took);
    let (found, repeats) = numbers(&broker, &to);
    assert_eq!(found, each(3, 5_000));
    (repeats, end.log)
}

#[test]
fn a_broker_that_stops_and_returns_costs_nothing() {
    let (repeats, log) = survives(
        |broker| {
            broker.stop();
            // Longer than the session: the worker has to let its partitions go, and takes them again.
            std::thread::sleep(Duration::from_secs(8));
            broker.resume_from_stop();
        },
        "\"partitions lost",
    );
    println!("{repeats} records came twice");
    // Consumer and producers fail by connections to the broker's first address, to itself and to the coordinators.
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("Connection refused")).collect();
    assert_eq!(lines.len(), 1, "one connection that fails is one line: {lines:#?}");
}

#[test]
fn a_broker_that_freezes_costs_nothing() {
    let (repeats, _) = survives(
        |broker| {
            broker.freeze();
            std::thread::sleep(Duration::from_secs(3));
            broker.thaw();
        },
        "",
    );
    assert_eq!(repeats, 0, "the session outlives three seconds");
}

#[test]
fn a_worker_can_be_stopped_while_the_broker_is_away() {
    let broker = Broker::start();
    let [name, from, to] = ["away", "from", "to"].map(unique);
    broker.topic(&from, 3);
    broker.topic(&to, 3);
    Writer::new(&broker).numbers(&from, 3, 0..5_000);
    let yaml = copy(&name, &from, &to) + "delivery: { shutdown_timeout: 3s }\n";
    let pipeline = Pipeline::new(&broker, &yaml);
    let mut worker = pipeline.start(&[]);
    worker.says("\"partition assigned\"");
    let mut hurried = pipeline.start(&[]);
    hurried.says("\"partition assigned\"");
    Writer::new(&broker).numbers(&from, 3, 5_000..6_000);
    broker.crash();
    std::thread::sleep(Duration::from_secs(2));
    worker.signal("-TERM");
    hurried.signal("-TERM");
    patiently(LONG, "the first signal is heard", || hurried.log().contains("a second signal ends at once"));
    hurried.signal("-TERM");
    let end = hurried.wait(Duration::from_secs(2));
    assert!(matches!(end.code, Some(0 | 143)), "{}", end.log);
    let end = worker.wait(LONG);
    // All had been committed in time, or the drain ran into its time-out: both are soon.
    assert!(matches!(end.code, Some(0 | 1)), "{}", end.log);
    assert!(end.took < Duration::from_secs(20), "{:?}:\n{}", end.took, end.log);
    broker.resume_from_stop();
    pipeline.run().ok();
    assert_eq!(numbers(&broker, &to).0, each(3, 6_000));
}

#[test]
fn until_end_is_not_reached_while_what_was_lost_has_not_come_back() {
    // The group of a worker that was away is empty; the broker holds its way back for those that may join as well.
    let broker = Broker::start_with("group.initial.rebalance.delay.ms=3000\n");
    let [name, from, to] = ["until-lost", "from", "to"].map(unique);
    broker.topic(&from, 2);
    broker.topic(&to, 2);
    let count = 400_000;
    Writer::new(&broker).numbers(&from, 2, 0..count);
    let pipeline = Pipeline::new(&broker, &copy(&name, &from, &to));
    let mut worker = pipeline.start(&["--until-end"]);
    worker.says("\"partition assigned\"");
    worker.signal("-STOP");
    // The session is 6 s.
    std::thread::sleep(Duration::from_secs(9));
    worker.signal("-CONT");
    let end = worker.wait(LONG).ok();
    assert!(end.log.contains("partitions lost"), "it slept too shortly:\n{}", end.log);
    assert_eq!(numbers(&broker, &to).0, each(2, count));
}
