//! A mock cluster, a worker that copies from a topic to a topic on it, and what came out.

use std::collections::BTreeMap;
use std::fs::File;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use pipe_tests::command::{Scratch, signal};
use pipe_tests::http;
use pipe_tests::kafka::free_port;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use rdkafka::types::RDKafkaApiKey;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

const PARTITIONS: i32 = 3;
/// Numbers that each partition gets for a case.
const NUMBERS: i64 = 20;
/// The longest that a case may take: more is a hang. librdkafka gives up a client that is not let in after twice its
/// transaction's time-out.
const CASE_MAX: Duration = Duration::from_secs(40);

const PIPELINE: &str = r#"
name: mock
delivery: { guarantee: exactly_once, commit_interval: 50ms }
sources:
  in:
    kafka:
      brokers: "${KAFKA_BROKERS}"
      topics: [from]
      properties: { session.timeout.ms: 6000, heartbeat.interval.ms: 300, fetch.wait.max.ms: 20 }
    format: { json: { columns: { p: int64, n: int64 } } }
sinks:
  out:
    from: in
    kafka: { brokers: "${KAFKA_BROKERS}", topic: to, key: p, properties: { reconnect.backoff.max.ms: 300 } }
    format: json
dead_letters: { kafka: { topic: letters, properties: { reconnect.backoff.max.ms: 300 } } }
lanes: 2
"#;

pub(crate) type Cluster = MockCluster<'static, DefaultProducerContext>;

/// What a worker did about an error.
#[derive(Debug)]
pub(crate) enum Did {
    /// It went on, and went back this often.
    Went(u64),
    /// It ended; the last line of its log.
    Stopped(String),
    /// It did not come to an end with it, or a number was passed over.
    Failed(String),
}

/// The cluster and what is around it.
pub(crate) struct Bench {
    worker: Option<Worker>,
    scratch: Scratch,
    /// Of the writer.
    config: ClientConfig,
    writer: BaseProducer,
    output: Output,
    /// Numbers that each partition of the input has.
    sent: i64,
    /// Dropped after its clients.
    cluster: Cluster,
}

struct Worker {
    child: Child,
    admin: String,
}

/// What the worker says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    commits: u64,
    rewinds: u64,
    in_flight: u64,
}

const NOTHING: State = State { commits: 0, rewinds: 0, in_flight: 0 };

impl Bench {
    pub(crate) fn new() -> Self {
        let cluster = MockCluster::new(3).unwrap();
        cluster.create_topic("from", PARTITIONS, 1).unwrap();
        cluster.create_topic("to", PARTITIONS, 1).unwrap();
        cluster.create_topic("letters", 1, 1).unwrap();
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", cluster.bootstrap_servers()).set("linger.ms", "0");
        config.set("reconnect.backoff.max.ms", "300");
        config.set_log_level(rdkafka::config::RDKafkaLogLevel::Emerg);
        let writer = config.create().unwrap();
        let output = Output::new(&config);
        Self { cluster, scratch: Scratch::new(PIPELINE), config, writer, output, worker: None, sent: 0 }
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.scratch.path("log")).unwrap_or_default()
    }

    fn start(&mut self) {
        let log = File::create(self.scratch.path("log")).unwrap();
        let admin = format!("127.0.0.1:{}", free_port());
        let run = ["run", "--log-format", "json", "--worker-id", "w", "--admin", &admin];
        let mut command = self.scratch.command(&run);
        command.env("KAFKA_BROKERS", self.cluster.bootstrap_servers()).env_remove("RUST_LOG");
        command.stdout(Stdio::null()).stderr(log);
        self.worker = Some(Worker { child: command.spawn().unwrap(), admin });
    }

    /// A worker that runs and has committed all that there is.
    pub(crate) fn steady(&mut self) {
        if self.worker.is_none() {
            self.start();
            self.write(NUMBERS);
            match self.settle(NOTHING) {
                Did::Went(_) => {}
                other => panic!("it does not start: {other:?}:\n{}", self.log()),
            }
        }
    }

    /// Starts a worker on a cluster that was changed before.
    pub(crate) fn begin(&mut self, change: impl FnOnce(&Cluster)) -> Did {
        change(&self.cluster);
        self.start();
        self.wait(NOTHING).map_or_else(|did| did, |state| Did::Went(state.rewinds))
    }

    /// Starts a worker on a cluster that was changed before, and undoes the change after a while.
    pub(crate) fn begin_for(&mut self, time: Duration, change: impl Fn(&Cluster, bool)) -> Did {
        self.write(NUMBERS);
        change(&self.cluster, false);
        self.start();
        std::thread::sleep(time);
        change(&self.cluster, true);
        self.settle(NOTHING)
    }

    /// Gives new records and changes the cluster at the same instant, and waits for what becomes of it.
    pub(crate) fn disturb(&mut self, change: impl FnOnce(&Cluster)) -> Did {
        let before = self.pause();
        change(&self.cluster);
        self.signal("CONT");
        self.settle(before)
    }

    /// The same with a change that is undone after a while.
    pub(crate) fn disturb_for(&mut self, time: Duration, change: impl Fn(&Cluster, bool)) -> Did {
        let before = self.pause();
        change(&self.cluster, false);
        self.signal("CONT");
        std::thread::sleep(time);
        change(&self.cluster, true);
        self.settle(before)
    }

    /// Takes back what was not asked for.
    pub(crate) fn calm(&self, calls: impl Iterator<Item = RDKafkaApiKey>) {
        calls.for_each(|call| self.cluster.clear_request_errors(call));
    }

    /// Stops the worker, so that what comes meets its requests and not those of the writer, and writes.
    fn pause(&mut self) -> State {
        let before = self.worker.as_ref().and_then(Worker::state).expect("a worker that answers");
        self.signal("STOP");
        self.write(NUMBERS);
        before
    }

    fn signal(&self, name: &str) {
        signal(&self.worker.as_ref().expect("a worker").child, name);
    }

    /// The writer is librdkafka, too, and may not notice that a broker is back: then another one writes all again, for
    /// numbers may repeat.
    fn write(&mut self, numbers: i64) {
        let started = Instant::now();
        loop {
            for n in self.sent..self.sent + numbers {
                for p in 0..PARTITIONS {
                    let (key, value) = (p.to_string(), format!(r#"{{"p":{p},"n":{n}}}"#));
                    self.writer.send(BaseRecord::to("from").partition(p).key(&key).payload(&value)).unwrap();
                }
            }
            if self.writer.flush(SILENCE).is_ok() {
                break;
            }
            assert!(started.elapsed() < CASE_MAX, "nothing can be written");
            self.writer = self.config.create().unwrap();
        }
        self.sent += numbers;
    }

    /// Waits until everything is in the output and committed, or the worker has ended.
    fn settle(&mut self, before: State) -> Did {
        let quiet = match self.wait(before) {
            Ok(quiet) => quiet,
            Err(did) => return did,
        };
        // It looks the same while the worker goes back after an earlier commit: what comes now is committed only when
        // that is over.
        self.write(1);
        self.wait(quiet).map_or_else(|did| did, |state| Did::Went(state.rewinds - before.rewinds))
    }

    /// Waits until everything is in the output, something is committed and nothing is on its way.
    fn wait(&mut self, before: State) -> Result<State, Did> {
        let (started, mut since) = (Instant::now(), Instant::now());
        let mut last = Some(before);
        loop {
            self.output.poll(Duration::from_millis(20));
            let worker = self.worker.as_mut().expect("a worker");
            if let Some(status) = worker.child.try_wait().unwrap() {
                self.worker = None;
                let log = self.log();
                assert_eq!(status.code(), Some(1), "{log}");
                assert!(!log.contains("panicked"), "{log}");
                return Err(Did::Stopped(log.lines().last().unwrap_or_default().to_owned()));
            }
            let state = worker.state();
            if state != last {
                (last, since) = (state, Instant::now());
            }
            // Two intervals between commits in which nothing has changed.
            if let Some(state) = state
                && state.commits > before.commits
                && state.in_flight == 0
                && self.output.has_all(self.sent)
                && since.elapsed() > Duration::from_millis(120)
            {
                return Ok(state);
            }
            if let Some(wrong) = self.output.wrong.take() {
                return Err(Did::Failed(wrong));
            }
            if started.elapsed() > CASE_MAX {
                let (sent, seen) = (self.sent, &self.output.seen);
                return Err(Did::Failed(format!(
                    "a hang: {state:?} after {before:?}, {sent} sent, seen {seen:?}"
                )));
            }
        }
    }

    /// Ends the worker in order: it drains and commits.
    pub(crate) fn stop(&mut self) {
        let Some(mut worker) = self.worker.take() else { return };
        signal(&worker.child, "TERM");
        let started = Instant::now();
        loop {
            if let Some(status) = worker.child.try_wait().unwrap() {
                assert_eq!(status.code(), Some(0), "{}", self.log());
                return;
            }
            assert!(started.elapsed() < CASE_MAX, "it does not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Worker {
    fn state(&self) -> Option<State> {
        let body = http::get(&self.admin, "/metrics").ok()?.body;
        let sum = |name: &str| {
            let of_it = |line: &&str| line.strip_prefix(name).is_some_and(|l| l.starts_with(['{', ' ']));
            let values =
                body.lines().filter(of_it).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
            values.sum::<f64>() as u64
        };
        Some(State {
            commits: sum("pipe_commits_total"),
            rewinds: sum("pipe_rewinds_total"),
            in_flight: sum("pipe_epochs_in_flight"),
        })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // A child that has ended is not there any more: then both do nothing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Silence after which the output is read, or the input written, anew. Reader and writer are librdkafka, too: of a broker
/// that was away they may not notice that it is back.
const SILENCE: Duration = Duration::from_secs(5);

/// The output topic, read as it grows. The mock cluster shows what is not committed, too.
struct Output {
    config: ClientConfig,
    consumer: BaseConsumer,
    heard: Instant,
    /// For each partition of the input the number that must come next at most, and the one that came last.
    seen: BTreeMap<i64, (i64, i64)>,
    /// A number that was passed over: lost, or out of order.
    wrong: Option<String>,
}

impl Output {
    fn new(config: &ClientConfig) -> Self {
        let mut config = config.clone();
        config.remove("linger.ms");
        // Of a group, because librdkafka takes no assignment without one.
        config.set("group.id", "the-test-itself").set("fetch.wait.max.ms", "20");
        let consumer: BaseConsumer = config.create().unwrap();
        let mut list = TopicPartitionList::new();
        for p in 0..PARTITIONS {
            list.add_partition_offset("to", p, Offset::Beginning).unwrap();
        }
        consumer.assign(&list).unwrap();
        Self { config, consumer, heard: Instant::now(), seen: BTreeMap::new(), wrong: None }
    }

    /// Reads what is there.
    fn poll(&mut self, wait: Duration) {
        if self.heard.elapsed() > SILENCE {
            *self = Self::new(&self.config);
        }
        let started = Instant::now();
        while started.elapsed() < wait {
            let Some(Ok(message)) = self.consumer.poll(wait.saturating_sub(started.elapsed())) else {
                continue;
            };
            let json: serde_json::Value = serde_json::from_slice(message.payload().unwrap()).unwrap();
            let (p, n) = (json["p"].as_i64().unwrap(), json["n"].as_i64().unwrap());
            self.heard = Instant::now();
            let (next, last) = self.seen.entry(p).or_insert((0, -1));
            if n > *next {
                self.wrong = Some(format!("of partition {p} came {n} after {last}, and {next} was next"));
            }
            *next = (*next).max(n + 1);
            *last = n;
        }
    }

    fn has_all(&self, sent: i64) -> bool {
        (0..i64::from(PARTITIONS)).all(|p| self.seen.get(&p) == Some(&(sent, sent - 1)))
    }
}
