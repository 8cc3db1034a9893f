//! Offsets that the log does not hold, each with each policy; and what else a log may do to its readers: lose records
//! in the middle, end in control records, be made anew, get more partitions.

use std::collections::BTreeMap;
use std::time::Duration;

use pipe_tests::kafka::{self, Broker, unique};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::producer::Producer as _;
use rdkafka::{Offset, TopicPartitionList};
use serde_json::Value;

use super::probes::{ARGS, address, values};
use super::{LONG, Pipeline, Record, Worker, Writer, committed, copy, patiently, records, topic_with};

/// The policies, in the order of the pipelines of [`Each`].
const POLICIES: [&str; 3] = ["fail", "earliest", "latest"];

/// Deletes the records of partition 0 below an offset.
pub(super) fn cut(broker: &Broker, topic: &str, offset: i64) {
    let request = tempfile::NamedTempFile::new().unwrap();
    let text =
        format!(r#"{{"version":1,"partitions":[{{"topic":"{topic}","partition":0,"offset":{offset}}}]}}"#);
    std::fs::write(request.path(), text).unwrap();
    let path = request.path().to_str().unwrap();
    broker.tool("org.apache.kafka.tools.DeleteRecordsCommand", &["--offset-json-file", path]);
}

/// Commits an offset for a group without members.
fn commit(broker: &Broker, group: &str, topic: &str, offset: i64) {
    let mut config = rdkafka::ClientConfig::new();
    let config = config.set("bootstrap.servers", broker.address()).set("group.id", group);
    let consumer: BaseConsumer = config.create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Offset(offset)).unwrap();
    consumer.commit(&list, CommitMode::Sync).unwrap();
}

fn delete(broker: &Broker, topic: &str) {
    broker.tool("org.apache.kafka.tools.TopicCommand", &["--delete", "--topic", topic]);
}

/// A pipeline for each policy; all read one topic, each has a topic to write to.
struct Each {
    from: String,
    names: [String; 3],
    to: [String; 3],
    pipelines: [Pipeline; 3],
}

impl Each {
    fn new(broker: &Broker) -> Self {
        let from = unique("from");
        broker.topic(&from, 1);
        let names = POLICIES.map(unique);
        let to = POLICIES.map(|policy| unique(&format!("to-{policy}")));
        let pipelines = [0, 1, 2].map(|n| {
            broker.topic(&to[n], 1);
            let yaml = copy(&names[n], &from, &to[n]);
            let topics = format!("topics: [{from}]");
            assert!(yaml.contains(&topics), "{yaml}");
            let with = format!("{topics}, out_of_range: {}", POLICIES[n]);
            // Nothing of these tests is about a session that ends.
            let yaml =
                yaml.replace(&topics, &with).replace("session.timeout.ms: 6000", "session.timeout.ms: 30000");
            Pipeline::new(broker, &yaml)
        });
        Self { from, names, to, pipelines }
    }

    fn committed(&self, broker: &Broker, n: usize) -> i64 {
        committed(broker, &self.names[n], &self.from, 1)[&0]
    }

    /// The numbers that came through.
    fn written(&self, broker: &Broker, n: usize) -> Vec<i64> {
        records(broker, &self.to[n]).iter().map(|r| r.json()["n"].as_i64().unwrap()).collect()
    }
}

/// `from`, `to` and `skipped` of the warnings that a log holds.
fn jumps(log: &str) -> Vec<(i64, i64, i64)> {
    let warned = log.lines().filter(|line| line.contains("the log does not hold the next offset"));
    let numbers = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!((&line["level"], &line["partition"]), (&"WARN".into(), &0.into()), "{line}");
        assert!(line["topic"].is_string() && line["node"] == "in", "{line}");
        let number = |key: &str| line[key].as_i64().unwrap();
        (number("from"), number("to"), number("skipped"))
    };
    warned.map(numbers).collect()
}

#[test]
fn below_the_log_each_policy_does_what_it_says() {
    let broker = kafka::shared();
    let each = Each::new(broker);
    let writer = Writer::new(broker);
    writer.numbers(&each.from, 1, 0..100);
    each.pipelines.iter().for_each(|pipeline| drop(pipeline.run().ok()));
    writer.numbers(&each.from, 1, 100..200);
    cut(broker, &each.from, 150);
    let [fail, earliest, latest] = &each.pipelines;
    let end =
        fail.run().failed("S004", &format!("{}/0 would be at offset 100, the log holds 150", each.from));
    assert!(end.took < Duration::from_secs(15) && end.log.contains("pipe offsets reset"), "{}", end.log);
    assert_eq!(each.committed(broker, 0), 100);
    let end = earliest.run().ok();
    assert_eq!((jumps(&end.log), end.count("sources", "in", "read")), (vec![(100, 150, 50)], 50));
    let end = latest.run().ok();
    assert_eq!((jumps(&end.log), end.count("sources", "in", "read")), (vec![(100, 200, 100)], 0));
    // The jump is remembered though no record followed it: what comes while nobody reads is not jumped over.
    assert_eq!((each.committed(broker, 1), each.committed(broker, 2)), (200, 200));
    writer.numbers(&each.from, 1, 200..210);
    for pipeline in [earliest, latest] {
        let end = pipeline.run().ok();
        assert_eq!((jumps(&end.log), end.count("sources", "in", "read")), (vec![], 10));
    }
    assert_eq!(each.written(broker, 1), (0..100).chain(150..210).collect::<Vec<_>>());
    assert_eq!(each.written(broker, 2), (0..100).chain(200..210).collect::<Vec<_>>());
}

#[test]
fn past_the_log_each_policy_does_what_it_says() {
    let broker = kafka::shared();
    let each = Each::new(broker);
    Writer::new(broker).numbers(&each.from, 1, 0..30);
    // Kafka forgets the offsets of a topic that is deleted, but what a worker of the old topic commits then stays.
    each.names.iter().for_each(|name| commit(broker, name, &each.from, 100));
    let [fail, earliest, latest] = &each.pipelines;
    let part = format!("{}/0 would be at offset 100, the log holds 0 to 30", each.from);
    fail.run().failed("S004", &part);
    let end = earliest.run().ok();
    assert_eq!((jumps(&end.log), end.count("sources", "in", "read")), (vec![(100, 0, 0)], 30));
    let end = latest.run().ok();
    assert_eq!((jumps(&end.log), end.count("sources", "in", "read")), (vec![(100, 30, 30)], 0));
    assert_eq!([0, 1, 2].map(|n| each.committed(broker, n)), [100, 30, 30]);
    assert_eq!(each.written(broker, 1), (0..30).collect::<Vec<_>>());
}

#[test]
fn a_worker_that_retention_overtakes_does_what_its_policy_says() {
    let broker = kafka::shared();
    let each = Each::new(broker);
    let writer = Writer::new(broker);
    writer.numbers(&each.from, 1, 0..100);
    let mut workers = [0, 1, 2].map(|n| each.pipelines[n].start(ARGS));
    let at: Vec<String> = workers.iter_mut().map(address).collect();
    patiently(LONG, "all is committed", || {
        each.names.iter().all(|name| committed(broker, name, &each.from, 1).get(&0) == Some(&100))
    });
    workers.iter().for_each(|worker| worker.signal("-STOP"));
    // What is fetched already is of the first of these batches at most.
    for n in 0..18 {
        writer.numbers(&each.from, 1, 100 + n * 50..150 + n * 50);
    }
    cut(broker, &each.from, 900);
    workers.iter().for_each(|worker| worker.signal("-CONT"));
    let [fail, mut earliest, mut latest] = workers;
    let end = fail.wait(LONG).failed("S004", &format!("{}/0 would be at offset", each.from));
    assert!(end.log.contains("pipe offsets reset"), "{}", end.log);
    for worker in [&mut earliest, &mut latest] {
        worker.says("the log does not hold the next offset");
    }
    writer.numbers(&each.from, 1, 1_000..1_010);
    for (n, worker, to) in [(1, earliest, 900), (2, latest, 1_000)] {
        patiently(LONG, "it has read all that follows", || each.committed(broker, n) == 1_010);
        let found = jumps(&worker.log());
        let [(from, went, skipped)] = found[..] else { panic!("{found:?}") };
        assert!((100..900).contains(&from) && went == to && skipped == to - from, "{found:?}");
        patiently(LONG, "it is counted", || values(&at[n], "pipe_source_offset_jumps_total") == [1.0]);
        assert_eq!(values(&at[n], "pipe_source_offset_jumped_records_total"), [skipped as f64]);
        // What was read before the gap came through, once, and nothing else is missing.
        let written = each.written(broker, n);
        assert_eq!(written, (0..from).chain(to..1_010).collect::<Vec<_>>());
        worker.stop();
    }
}

/// A worker ends or goes on with the records of a topic that was made anew; says which.
fn made_anew(each: &Each, broker: &Broker, n: usize, worker: Worker) -> String {
    let mut ended = None;
    let mut worker = Some(worker);
    patiently(LONG, "it ends, or reads the new topic", || {
        if worker.as_mut().is_some_and(|worker| worker.has_ended()) {
            ended = worker.take().map(|worker| worker.wait(LONG));
        }
        ended.is_some() || each.written(broker, n).contains(&1_029)
    });
    match (ended, worker) {
        (Some(end), _) => {
            assert_eq!(end.code, Some(1), "{}", end.log);
            let last = end.log.lines().last().unwrap_or_default();
            assert!(last.contains("S003") || last.contains("S004"), "{}", end.log);
            last.to_owned()
        }
        (None, worker) => {
            worker.unwrap().stop();
            "it goes on".to_owned()
        }
    }
}

#[test]
fn a_topic_made_anew_under_a_worker_hangs_nothing_and_a_new_start_reads_it() {
    let broker = kafka::shared();
    let each = Each::new(broker);
    Writer::new(broker).numbers(&each.from, 1, 0..100);
    let workers = [0, 1, 2].map(|n| each.pipelines[n].start(&[]));
    patiently(LONG, "all is committed", || {
        each.names.iter().all(|name| committed(broker, name, &each.from, 1).get(&0) == Some(&100))
    });
    delete(broker, &each.from);
    broker.topic(&each.from, 1);
    Writer::new(broker).numbers(&each.from, 1, 1_000..1_030);
    for (n, worker) in workers.into_iter().enumerate() {
        println!("{}: {}", POLICIES[n], made_anew(&each, broker, n, worker));
    }
    each.pipelines[1].run().ok();
    assert_eq!(each.written(broker, 1), (0..100).chain(1_000..1_030).collect::<Vec<_>>());
}

/// librdkafka sees that the topic has another id and goes on with the old offset; nothing tells its user.
#[test]
fn limitation_a_topic_made_anew_that_has_grown_past_the_offset_is_read_on_there() {
    let broker = kafka::shared();
    let each = Each::new(broker);
    Writer::new(broker).numbers(&each.from, 1, 0..100);
    let worker = each.pipelines[1].start(&[]);
    patiently(LONG, "all is committed", || {
        committed(broker, &each.names[1], &each.from, 1).get(&0) == Some(&100)
    });
    worker.signal("-STOP");
    delete(broker, &each.from);
    broker.topic(&each.from, 1);
    Writer::new(broker).numbers(&each.from, 1, 1_000..1_200);
    worker.signal("-CONT");
    patiently(LONG, "it goes on", || each.written(broker, 1).contains(&1_199));
    let end = worker.stop();
    assert!(jumps(&end.log).is_empty());
    assert_eq!(each.written(broker, 1), (0..100).chain(1_100..1_200).collect::<Vec<_>>());
}

#[test]
fn partitions_that_are_added_are_read_from_their_start() {
    let broker = kafka::shared();
    let [name, from, to] = ["added", "from", "to"].map(unique);
    broker.topic(&from, 1);
    broker.topic(&to, 4);
    Writer::new(broker).numbers(&from, 1, 0..50);
    let yaml = copy(&name, &from, &to).replace("topics:", "start: latest, topics:");
    let yaml = yaml.replace("properties: {", "properties: { topic.metadata.refresh.interval.ms: 500,");
    let pipeline = Pipeline::new(broker, &yaml);
    let mut worker = pipeline.start(&[]);
    worker.says("\"partition assigned\"");
    broker.tool("org.apache.kafka.tools.TopicCommand", &["--alter", "--topic", &from, "--partitions", "4"]);
    // It is there already: this waits until it has so many partitions.
    broker.topic(&from, 4);
    let writer = Writer::new(broker);
    for n in 0..30 {
        for p in 1..4 {
            writer.write(&from, &Record::new(p, format!(r#"{{"p":{p},"n":{n}}}"#)));
        }
    }
    writer.flush();
    patiently(LONG, "all is committed", || {
        committed(broker, &name, &from, 4).into_iter().filter(|&(p, at)| p > 0 && at == 30).count() == 3
    });
    worker.stop();
    let mut found: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    for record in records(broker, &to) {
        let json = record.json();
        found.entry(json["p"].as_i64().unwrap()).or_default().push(json["n"].as_i64().unwrap());
    }
    // `latest` skipped what was there at the start, and only that.
    assert_eq!(found, (1..4).map(|p| (p, (0..30).collect())).collect());
}

#[test]
fn gaps_that_compaction_leaves_are_no_end_and_a_committed_offset_may_lie_in_one() {
    let broker = kafka::shared();
    let [name, from, to] = ["compacted", "from", "to"].map(unique);
    topic_with(broker, &from, "cleanup.policy=compact");
    let settings = "segment.ms=200,min.cleanable.dirty.ratio=0.001,max.compaction.lag.ms=200";
    let args = ["--alter", "--entity-type", "topics", "--entity-name", &from, "--add-config", settings];
    broker.tool("kafka.admin.ConfigCommand", &args);
    broker.topic(&to, 1);
    let writer = Writer::new(broker);
    let now =
        || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
    let write = |n: i64| {
        let key = Some((n % 7).to_string().into_bytes());
        let record = Record::new(0, format!(r#"{{"p":0,"n":{n}}}"#));
        writer.write(&from, &Record { key, timestamp: now(), ..record });
    };
    (0..100).for_each(write);
    writer.flush();
    let pipeline = Pipeline::new(broker, &copy(&name, &from, &to));
    assert_eq!(pipeline.run().ok().count("sources", "in", "read"), 100);
    let mut next = 100;
    patiently(LONG, "the cleaner has been here", || {
        // A segment is closed when a later record comes.
        std::thread::sleep(Duration::from_millis(300));
        (next..next + 7).for_each(write);
        writer.flush();
        next += 7;
        let left = records(broker, &from);
        left.len() < 60 && left[0].offset > 50
    });
    // In the middle of a gap.
    let reset = |to: &str| pipeline.command(&["offsets", "reset"], &["--to", to, "--execute"]);
    assert_eq!(reset("20").0, Some(0), "{:?}", reset("20"));
    let left = records(broker, &from).len() as u64;
    let end = pipeline.run().ok();
    assert!(jumps(&end.log).is_empty() && end.log.contains("\"offset\":20"), "{}", end.log);
    // The cleaner may go on meanwhile.
    let read = end.count("sources", "in", "read");
    assert!(read <= left && read >= 7, "{read} of {left}");
    assert_eq!(committed(broker, &name, &from, 1)[&0], next);
    assert_eq!(pipeline.run().ok().count("sources", "in", "read"), 0);
}

#[test]
fn behind_a_tail_of_markers_and_on_idle_partitions_the_lag_is_none() {
    let broker = kafka::shared();
    let [name, from, to] = ["markers", "from", "to"].map(unique);
    broker.topic(&from, 3);
    broker.topic(&to, 3);
    let writer = Writer::transactional(broker, &unique("tx"));
    for (n, commits) in [(0, true), (1, false), (1, false)] {
        writer.0.begin_transaction().unwrap();
        writer.numbers(&from, 2, n * 50..n * 50 + 50);
        let wait = Duration::from_secs(20);
        let end = if commits { writer.0.commit_transaction(wait) } else { writer.0.abort_transaction(wait) };
        end.unwrap();
    }
    let pipeline = Pipeline::new(broker, &copy(&name, &from, &to));
    let mut worker = pipeline.start(ARGS);
    let at = address(&mut worker);
    patiently(LONG, "the lag is 0 and all is read", || {
        values(&at, "pipe_source_read_records_total") == [100.0]
            && values(&at, "pipe_source_partition_lag_records") == [0.0; 3]
    });
    worker.stop();
    let end = pipeline.run().ok();
    assert_eq!(end.count("sources", "in", "read"), 0);
}
