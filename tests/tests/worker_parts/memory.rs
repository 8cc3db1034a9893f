//! One number bounds the memory of a worker, however fast records come and however slow they go.

use std::time::Duration;

use pipe_tests::kafka::{self, Broker, unique};

use super::probes::{address, values};
use super::{LONG, Pipeline, Record, Worker, Writer, committed, patiently, records};

/// Partitions, and records of each: about 2 KB each, many times what may be under way.
const PARTITIONS: i32 = 3;
const RECORDS: i64 = 20_000;
const MEMORY_MIB: u64 = 128;

/// MiB of the most memory that a process has had so far.
fn peak_mib(worker: &Worker) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", worker.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

#[test]
fn a_sink_that_takes_nothing_fills_no_more_memory_than_was_given() {
    let (broker, slow) = (kafka::shared(), Broker::start());
    let [name, from, to] = ["memory", "from", "to"].map(unique);
    broker.topic(&from, PARTITIONS);
    slow.topic(&to, PARTITIONS);
    let slow_at = slow.address();
    let yaml = format!(
        r#"
name: {name}
memory: {MEMORY_MIB}MiB
sources:
  in:
    kafka: {{ brokers: "${{KAFKA_BROKERS}}", topics: [{from}] }}
    format: {{ json: {{ columns: {{ p: int64, n: int64, pad: utf8 }} }} }}
stages:
  all:
    from: in
    use: filter
    config: {{ all: [{{ column: n, op: ge, value: 0 }}] }}
    limits: {{ memory: 16MiB }}
sinks:
  out:
    from: all
    kafka: {{ brokers: "{slow_at}", topic: {to}, key: p }}
    format: json
"#
    );
    let pipeline = Pipeline::new(broker, &yaml);
    let mut worker = pipeline.start(&["--admin", "127.0.0.1:0"]);
    let at = address(&mut worker);
    worker.says("\"partition assigned\"");
    slow.freeze();
    // Only now, so that nothing has gone through before.
    let writer = Writer::new(broker);
    let pad: String = (0..2_000).map(|i| char::from(b'a' + (i * 7 % 26) as u8)).collect();
    for n in 0..RECORDS {
        for p in 0..PARTITIONS {
            let json = format!(r#"{{"p":{p},"n":{n},"pad":"{n}{pad}"}}"#);
            writer.write(&from, &Record::new(p, json));
        }
    }
    writer.flush();
    let one = |metric: &str| values(&at, metric)[0];
    let read = || one("pipe_source_read_records_total");
    let mut last = 0.0;
    // For memory, or for room behind it: of what it has read the stage and the sink take their share later, so a batch more
    // may have found room.
    let waits = || {
        let behind = values(&at, "pipe_edge_blocked_seconds_total").into_iter().fold(0.0, f64::max);
        one("pipe_source_memory_wait_seconds_total").max(behind)
    };
    patiently(LONG, "its source waits", || {
        std::thread::sleep(Duration::from_millis(500));
        let before = std::mem::replace(&mut last, read());
        last > 0.0 && last == before && waits() > 0.4
    });
    let (under_way, all) = (one("pipe_source_in_flight_bytes"), i64::from(PARTITIONS) * RECORDS);
    println!("{last} records read, {under_way} bytes under way, {} MiB of {MEMORY_MIB}", peak_mib(&worker));
    assert!(last < all as f64 / 2.0, "{last} records read");
    slow.thaw();
    patiently(LONG, "all is committed", || {
        committed(broker, &name, &from, PARTITIONS).values().filter(|&&at| at == RECORDS).count() == 3
    });
    patiently(LONG, "all memory is given back", || one("pipe_source_in_flight_bytes") == 0.0);
    let peak = peak_mib(&worker);
    println!("{peak} MiB at most of {MEMORY_MIB}");
    assert!(peak <= MEMORY_MIB, "{peak} MiB of {MEMORY_MIB}");
    let end = worker.stop();
    assert_eq!(end.count("sources", "in", "read") as i64, all);
    assert_eq!(end.count("sinks", "out", "written") as i64, all);
    assert_eq!(records(&slow, &to).len() as i64, all, "none twice");
}
