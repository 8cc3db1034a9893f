//! Several workers of one group: they come, go, and die, and nothing is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use pipe_tests::kafka::{self, Broker, unique};

use super::{LONG, Pipeline, Writer, committed, copy, each, numbers, patiently, records};

/// Writes numbers to a topic until it is told to stop; returns how many there are of each partition.
pub(super) struct Stream {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<i64>,
}

impl Stream {
    pub(super) fn start(broker: &'static Broker, topic: &str, partitions: i32) -> Self {
        let writer = Writer::new(broker);
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, topic) = (Arc::clone(&stop), topic.to_owned());
        let thread = std::thread::spawn(move || {
            let mut n = 0;
            while !stopped.load(Ordering::SeqCst) {
                writer.numbers(&topic, partitions, n..n + 20);
                n += 20;
                std::thread::sleep(Duration::from_millis(20));
            }
            n
        });
        Self { stop, thread }
    }

    pub(super) fn end(self) -> i64 {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().unwrap()
    }
}

/// Number of partitions that a worker's log says it was given.
pub(super) fn assigned(log: &str) -> usize {
    log.matches("\"partition assigned\"").count()
}

#[test]
fn workers_come_and_go_in_order_and_nothing_comes_twice() {
    let broker = kafka::shared();
    let [name, from, to] = ["scale", "from", "to"].map(unique);
    broker.topic(&from, 6);
    broker.topic(&to, 6);
    let pipeline = Pipeline::new(broker, &copy(&name, &from, &to));
    let stream = Stream::start(broker, &from, 6);
    let mut first = pipeline.start(&[]);
    patiently(LONG, "the first has all partitions", || assigned(&first.log()) == 6);
    let mut second = pipeline.start(&[]);
    second.says("\"partition assigned\"");
    first.says("\"partitions revoked\"");
    let mut third = pipeline.start(&[]);
    third.says("\"partition assigned\"");
    std::thread::sleep(Duration::from_millis(500));
    let second = second.stop();
    std::thread::sleep(Duration::from_millis(500));
    let first = first.stop();
    patiently(LONG, "the third has all partitions", || assigned(&third.log()) >= 6);
    let count = stream.end();
    patiently(LONG, "all is committed", || {
        committed(broker, &name, &from, 6).values().all(|&at| at == count)
    });
    let third = third.stop();
    // A revoke drained what was read, so the next owner went on exactly there.
    assert!(
        !first.log.contains("\"drained\":false") && first.log.contains("\"drained\":true"),
        "{}",
        first.log
    );
    assert_eq!(numbers(broker, &to), (each(6, count), 0));
    let written: u64 = [&first, &second, &third].map(|end| end.count("sinks", "out", "written")).iter().sum();
    assert_eq!(written, 6 * count as u64);
    for end in [first, second, third] {
        assert_eq!(end.summary()["rewinds"], 0);
    }
}

#[test]
fn a_killed_worker_loses_nothing() {
    let broker = kafka::shared();
    let [name, from, to] = ["kill", "from", "to"].map(unique);
    broker.topic(&from, 4);
    broker.topic(&to, 4);
    let pipeline = Pipeline::new(broker, &copy(&name, &from, &to));
    let stream = Stream::start(broker, &from, 4);
    let mut first = pipeline.start(&[]);
    first.says("\"partition assigned\"");
    let mut second = pipeline.start(&[]);
    second.says("\"partition assigned\"");
    std::thread::sleep(Duration::from_millis(700));
    second.kill();
    // The group finds out when its session is over.
    patiently(LONG, "the first has taken over", || assigned(&first.log()) >= 6);
    let count = stream.end();
    patiently(LONG, "all is committed", || {
        committed(broker, &name, &from, 4).values().all(|&at| at == count)
    });
    first.stop();
    let (found, repeats) = numbers(broker, &to);
    assert_eq!(found, each(4, count));
    // What was not committed when it died: a few epochs of 100 ms.
    println!("{repeats} of {} records came twice", 4 * count);
    assert!(repeats < 2_500, "{repeats} of {} records came twice", 4 * count);
}

#[test]
fn a_stopped_run_goes_on_without_gap_or_repeat_and_a_killed_one_without_gap() {
    let broker = kafka::shared();
    let [name, from, to] = ["resume", "from", "to"].map(unique);
    broker.topic(&from, 3);
    broker.topic(&to, 3);
    let pipeline = Pipeline::new(broker, &copy(&name, &from, &to));
    let stream = Stream::start(broker, &from, 3);
    let written = || records(broker, &to).len() as i64;
    let done = || committed(broker, &name, &from, 3).values().sum::<i64>();
    // However slow the machine is: each run has written something before it ends.
    let goes_on = |before: i64| patiently(LONG, "it goes on", || written() > before);
    for _ in 0..2 {
        let before = written();
        let worker = pipeline.start(&[]);
        goes_on(before);
        let end = worker.stop();
        assert!(end.took < Duration::from_secs(15), "{:?}", end.took);
        assert_eq!(done(), written(), "committed = written");
    }
    assert_eq!(numbers(broker, &to).1, 0);
    let before = written();
    let worker = pipeline.start(&[]);
    goes_on(before);
    worker.kill();
    // What it had sent may reach the topic after its death.
    let mut left = written();
    patiently(LONG, "nothing more comes", || {
        std::thread::sleep(Duration::from_millis(200));
        std::mem::replace(&mut left, written()) == left
    });
    let uncommitted = left - done();
    let count = stream.end();
    pipeline.run().ok();
    let (found, repeats) = numbers(broker, &to);
    // Once more comes what was written and not committed, and nothing else.
    assert_eq!(repeats as i64, uncommitted, "{count} a partition");
    assert_eq!(found, each(3, count));
}
