//! What the tests of the whole worker share: a child process that always ends, its log and summary, records written
//! and read by a client that is not the engine's.

mod by_value;
mod coming_from;
mod deleted;
mod exactly_once;
mod failures;
mod group;
mod idle;
mod job;
mod letters;
mod membership;
mod memory;
mod offsets;
mod originals;
mod outage;
mod probes;
mod quota;
mod resets;
mod several;
mod strangers;
mod tails;
mod tombstones;
mod traces;

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pipe_tests::kafka::Broker;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::Value;

/// Longest that any worker of these tests may take for what it is asked.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// A pipeline file in a folder of its own, and the workers that run it.
pub(crate) struct Pipeline {
    pub(crate) folder: tempfile::TempDir,
    file: PathBuf,
    brokers: String,
    /// More variables of the worker's environment.
    pub(crate) variables: Vec<(&'static str, String)>,
}

impl Pipeline {
    pub(crate) fn new(broker: &Broker, yaml: &str) -> Self {
        Self::at(broker.address(), yaml)
    }

    pub(crate) fn at(brokers: String, yaml: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pipeline.yaml");
        std::fs::write(&file, yaml).unwrap();
        Self { folder, file, brokers, variables: Vec::new() }
    }

    /// Starts a worker.
    pub(crate) fn start(&self, args: &[&str]) -> Worker {
        let log = tempfile::NamedTempFile::new_in(self.folder.path()).unwrap();
        let mut command = pipe_tests::pipe();
        command.args(["run", "--log-format", "json"]).args(args).arg(&self.file);
        command.current_dir(self.folder.path()).env("KAFKA_BROKERS", &self.brokers);
        command.env("PIPE_STAGES", pipe_tests::stages()).env("OUT", self.folder.path());
        command.env("PIPE_CACHE", pipe_tests::root().join("target/test-stage-cache"));
        command.env_remove("RUST_LOG").stdin(Stdio::null());
        command.envs(self.variables.iter().map(|(name, value)| (*name, value.as_str())));
        command.stdout(log.reopen().unwrap()).stderr(log.reopen().unwrap());
        Worker { child: command.spawn().unwrap(), log }
    }

    /// Runs another command on the file, such as `dead-letters list`; what it printed, standard error last.
    pub(crate) fn command(&self, command: &[&str], args: &[&str]) -> (Option<i32>, String, String) {
        let mut pipe = pipe_tests::pipe();
        pipe.args(command).arg(&self.file).args(args).current_dir(self.folder.path());
        pipe.env("KAFKA_BROKERS", &self.brokers).env_remove("RUST_LOG").stdin(Stdio::null());
        let output = pipe.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(!err.contains("panicked"), "{err}");
        (output.status.code(), out, err)
    }

    /// Runs a worker with `--until-end` to its end.
    pub(crate) fn run(&self) -> End {
        self.start(&["--until-end"]).wait(LONG)
    }
}

/// A worker that runs; killed by its process id when the test ends before it.
pub(crate) struct Worker {
    child: Child,
    log: tempfile::NamedTempFile,
}

/// How a worker ended.
pub(crate) struct End {
    pub(crate) code: Option<i32>,
    /// All that it printed.
    pub(crate) log: String,
    pub(crate) took: Duration,
}

impl Worker {
    pub(crate) fn log(&self) -> String {
        let mut text = Vec::new();
        self.log.reopen().unwrap().read_to_end(&mut text).unwrap();
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Waits until the log holds a text.
    pub(crate) fn says(&mut self, text: &str) {
        patiently(LONG, &format!("the worker says `{text}`"), || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("it ended with {status} before it said `{text}`:\n{}", self.log());
            }
            self.log().contains(text)
        });
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success(), "kill {name}");
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self, at_most: Duration) -> End {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return End { code: status.code(), log: self.log(), took: started.elapsed() };
            }
            assert!(started.elapsed() < at_most, "the worker did not end in {at_most:?}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Stops it in order.
    pub(crate) fn stop(self) -> End {
        self.signal("-TERM");
        self.wait(LONG).ok()
    }

    /// Kills it.
    pub(crate) fn kill(self) -> End {
        self.signal("-KILL");
        self.wait(LONG)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It has ended already in most tests: then both do nothing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl End {
    /// It ended well and its sums balance.
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "after {:?}:\n{}", self.took, self.log);
        let summary = self.summary();
        for edge in summary["edges"].as_array().unwrap() {
            let n = |key: &str| edge[key].as_u64().unwrap();
            assert_eq!(n("sent"), n("received") + n("dropped"), "{edge}");
        }
        self
    }

    /// It failed with this code, which its last line names, and did not panic.
    pub(crate) fn failed(self, code: &str, text: &str) -> Self {
        assert_eq!(self.code, Some(1), "after {:?}:\n{}", self.took, self.log);
        let last = self.log.lines().last().unwrap_or_default();
        assert!(last.contains(code) && last.contains(text), "{code}, {text}:\n{}", self.log);
        assert!(!self.log.contains("panicked"), "{}", self.log);
        self
    }

    /// The end summary.
    pub(crate) fn summary(&self) -> Value {
        let mut lines = self.log.lines().rev().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.find(|line| line["summary"].is_object()).expect("a summary")["summary"].clone()
    }

    /// A number of the summary: `sinks`, `out`, `written`.
    pub(crate) fn count(&self, group: &str, name: &str, what: &str) -> u64 {
        let summary = self.summary();
        let nodes = summary[group].as_array().unwrap();
        let node = nodes.iter().find(|n| n["name"] == name).unwrap_or_else(|| panic!("{name} in {summary}"));
        node[what].as_u64().unwrap()
    }
}

/// Waits for a condition.
pub(crate) fn patiently(at_most: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < at_most, "not within {at_most:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A record as it lies in a topic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) timestamp: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Record {
    pub(crate) fn new(partition: i32, value: impl Into<Vec<u8>>) -> Self {
        Self { partition, value: Some(value.into()), timestamp: 1_700_000_000_000, ..Self::default() }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(self.value.as_deref().unwrap()).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        // A letter's own come last.
        let found = self.headers.iter().rfind(|(n, _)| n == name)?;
        found.1.as_ref().map(|value| String::from_utf8_lossy(value).into_owned())
    }
}

fn config(broker: &Broker) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker.address()).set("group.id", "the-tests-themselves");
    config.set_log_level(rdkafka::config::RDKafkaLogLevel::Emerg);
    config
}

/// Writes records.
pub(crate) struct Writer(pub(crate) BaseProducer);

impl Writer {
    pub(crate) fn new(broker: &Broker) -> Self {
        let mut config = config(broker);
        Self(config.set("enable.idempotence", "true").set("linger.ms", "1").create().unwrap())
    }

    pub(crate) fn transactional(broker: &Broker, id: &str) -> Self {
        let writer = Self(config(broker).set("transactional.id", id).create().unwrap());
        writer.0.init_transactions(Duration::from_secs(20)).unwrap();
        writer
    }

    pub(crate) fn write(&self, topic: &str, record: &Record) {
        let mut headers = OwnedHeaders::new();
        for (key, value) in &record.headers {
            headers = headers.insert(Header { key, value: value.as_ref() });
        }
        let mut message: BaseRecord<'_, [u8], [u8]> =
            BaseRecord::to(topic).partition(record.partition).timestamp(record.timestamp);
        message.headers = (!record.headers.is_empty()).then_some(headers);
        message.key = record.key.as_deref();
        message.payload = record.value.as_deref();
        while let Err((error, back)) = self.0.send(message) {
            let full = rdkafka::error::RDKafkaErrorCode::QueueFull;
            assert_eq!(error.rdkafka_error_code(), Some(full));
            self.0.poll(Duration::from_millis(10));
            message = back;
        }
    }

    pub(crate) fn flush(&self) {
        self.0.flush(LONG).unwrap();
    }

    /// `{"p": partition, "n": n}` for each partition and number, with the partition as key.
    pub(crate) fn numbers(&self, topic: &str, partitions: i32, numbers: std::ops::Range<i64>) {
        for n in numbers {
            for p in 0..partitions {
                let key = Some(p.to_string().into_bytes());
                self.write(topic, &Record { key, ..Record::new(p, format!(r#"{{"p":{p},"n":{n}}}"#)) });
            }
        }
        self.flush();
    }
}

/// Everything that is in a topic, by partition and in order.
pub(crate) fn records(broker: &Broker, topic: &str) -> Vec<Record> {
    records_of(broker, topic, "read_uncommitted")
}

/// The same as whoever waits for transactions to be committed sees it.
pub(crate) fn records_committed(broker: &Broker, topic: &str) -> Vec<Record> {
    records_of(broker, topic, "read_committed")
}

fn records_of(broker: &Broker, topic: &str, isolation: &str) -> Vec<Record> {
    let mut config = config(broker);
    config.set("isolation.level", isolation).set("enable.auto.commit", "false");
    let consumer: BaseConsumer = config.set("enable.partition.eof", "true").create().unwrap();
    let metadata = consumer.fetch_metadata(Some(topic), LONG).unwrap();
    let mut list = TopicPartitionList::new();
    let mut left = BTreeMap::new();
    for p in metadata.topics()[0].partitions() {
        list.add_partition_offset(topic, p.id(), Offset::Beginning).unwrap();
        left.insert(p.id(), ());
    }
    consumer.assign(&list).unwrap();
    let (mut found, started) = (Vec::new(), Instant::now());
    while !left.is_empty() {
        assert!(started.elapsed() < LONG, "{topic} cannot be read: {left:?}");
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(m)) => found.push(Record {
                partition: m.partition(),
                offset: m.offset(),
                timestamp: m.timestamp().to_millis().unwrap_or(-1),
                key: m.key().map(<[u8]>::to_vec),
                value: m.payload().map(<[u8]>::to_vec),
                headers: m.headers().map_or(Vec::new(), |headers| {
                    headers.iter().map(|h| (h.key.to_owned(), h.value.map(<[u8]>::to_vec))).collect()
                }),
            }),
            Some(Err(rdkafka::error::KafkaError::PartitionEOF(p))) => {
                left.remove(&p);
            }
            _ => {}
        }
    }
    found.sort_by_key(|r| (r.partition, r.offset));
    found
}

/// What the numbers in a topic say: each partition's begin at 0, have no gap but at a repeat, and keep their order.
/// Returns how many there are of each partition, and how many came again.
pub(crate) fn numbers(broker: &Broker, topic: &str) -> (BTreeMap<i64, i64>, usize) {
    let mut next: BTreeMap<i64, i64> = BTreeMap::new();
    let mut repeats = 0;
    for record in records(broker, topic) {
        let json = record.json();
        let (p, n) = (json["p"].as_i64().unwrap(), json["n"].as_i64().unwrap());
        let expected = next.entry(p).or_default();
        assert!(n <= *expected, "{topic}: of partition {p} came {n} where {expected} was next");
        if n == *expected {
            *expected += 1;
        } else {
            repeats += 1;
        }
    }
    (next, repeats)
}

/// `partitions` partitions with `count` numbers each.
pub(crate) fn each(partitions: i64, count: i64) -> BTreeMap<i64, i64> {
    (0..partitions).map(|p| (p, count)).collect()
}

/// Committed offset of a group for each partition of a topic that has one.
pub(crate) fn committed(broker: &Broker, group: &str, topic: &str, partitions: i32) -> BTreeMap<i32, i64> {
    let consumer: BaseConsumer = config(broker).set("group.id", group).create().unwrap();
    let mut list = TopicPartitionList::new();
    for p in 0..partitions {
        list.add_partition(topic, p);
    }
    let mut found = TopicPartitionList::new();
    // A group's coordinator may just be coming up.
    patiently(LONG, "the committed offsets", || {
        consumer.committed_offsets(list.clone(), LONG).map(|answer| found = answer).is_ok()
    });
    found
        .elements()
        .iter()
        .filter_map(|e| Some((e.partition(), e.offset().to_raw().filter(|&o| o >= 0)?)))
        .collect()
}

/// A topic with settings.
pub(crate) fn topic_with(broker: &Broker, topic: &str, setting: &str) {
    let args = ["--create", "--topic", topic, "--partitions", "1", "--config", setting];
    broker.tool("org.apache.kafka.tools.TopicCommand", &args);
}

/// The pipeline that copies numbers from a topic to another through a stage.
pub(crate) fn copy(name: &str, from: &str, to: &str) -> String {
    format!(
        r#"
name: {name}
sources:
  in:
    kafka: {{ brokers: "${{KAFKA_BROKERS}}", topics: [{from}], properties: {{ session.timeout.ms: 6000, heartbeat.interval.ms: 500 }} }}
    format: {{ json: {{ columns: {{ p: int64, n: int64 }} }} }}
stages:
  good: {{ from: in, use: filter, config: {{ all: [{{ column: n, op: ge, value: 0 }}] }} }}
sinks:
  out:
    from: good
    kafka: {{ brokers: "${{KAFKA_BROKERS}}", topic: {to}, key: p }}
    format: json
lanes: 2
"#
    )
}

/// A file of the test's folder.
pub(crate) fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}
