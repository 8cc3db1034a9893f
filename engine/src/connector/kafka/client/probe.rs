//! Looks at a cluster before a source or a sink starts: is it there, has it the topic, where do partitions end.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::FromClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;

use super::{Cluster, Meaning, Topics, Voice, code_of, meaning, reason};
use crate::clock::{Clock, SystemClock};
use crate::error::{Code, Error, Result};
use crate::repeats::Repeats;
use crate::units::{
    KAFKA_ABSENT, KAFKA_BOOT, KAFKA_MEMBERS_ASK, KAFKA_METADATA_ASK, KAFKA_OPEN_TIMEOUT, KAFKA_RETRY_PAUSE,
};

/// Topics with the number of their partitions.
pub type Known = BTreeMap<Arc<str>, i32>;

/// The members of a consumer group.
#[derive(Debug, Default)]
pub struct Members {
    /// `consumer`, or what else such groups are used for (`connect`).
    pub kind: String,
    /// By which assignor they share partitions; empty while they agree on it.
    pub assignor: String,
    /// Client id and host of each.
    pub clients: Vec<(String, String)>,
}

/// A client without a group, for questions. Its log lines go to the node's voice.
pub struct Probe {
    client: BaseConsumer<Voice>,
    brokers: String,
    code: Code,
    clock: SystemClock,
}

/// What the cluster says of a topic.
enum Look {
    /// It is there, with so many partitions.
    There(i32),
    Absent,
    /// It cannot say now, for this reason.
    Unclear(RDKafkaErrorCode),
}

impl Probe {
    /// A client; nothing is asked yet. `code` is that of the errors that say "cannot be opened".
    pub fn new(cluster: &Cluster, node: &str, code: Code) -> Result<Self> {
        let client = cluster
            .outside()
            .config(&[("isolation.level", "read_committed")])
            .create_with_context(Voice::new(node))
            .map_err(|e| super::error(code, "the client cannot be made", &e))?;
        Ok(Self { client, brokers: cluster.brokers().to_owned(), code, clock: SystemClock::default() })
    }

    /// Number of partitions of a topic; `None` when the cluster has no such topic. News of one that was just made takes a
    /// moment to reach every broker, and another answers each time: so brokers must have said it for [`KAFKA_ABSENT`]. A
    /// topic without a leader is waited for as long as a cluster that boots ([`KAFKA_BOOT`]).
    pub fn partitions(&self, topic: &str) -> Result<Option<i32>> {
        let begin = self.clock.now();
        let mut absent = None;
        loop {
            let look = self.look(topic, KAFKA_OPEN_TIMEOUT)?;
            let now = self.clock.now();
            match look {
                Look::There(count) => return Ok(Some(count)),
                Look::Absent => {
                    let since = *absent.get_or_insert(now);
                    if now - since >= KAFKA_ABSENT {
                        return Ok(None);
                    }
                    if since == now {
                        let wait = humantime::format_duration(KAFKA_ABSENT).to_string();
                        tracing::info!(topic, wait, "the topic does not exist, or not yet: asking again");
                    }
                }
                Look::Unclear(code) => {
                    absent = None;
                    if now - begin >= KAFKA_BOOT {
                        let message = format!("topic `{topic}` on {} cannot be used: {code}", self.brokers);
                        return Err(Error::external(self.code, message).help(reason(code)));
                    }
                    self.waits(&format!("topic `{topic}` cannot be used yet: {code}"));
                }
            }
            std::thread::sleep(KAFKA_RETRY_PAUSE);
        }
    }

    /// The same by two looks at most: for whoever is as well without the topic.
    pub fn partitions_now(&self, topic: &str) -> Result<Option<i32>> {
        for pause in [KAFKA_RETRY_PAUSE, Duration::ZERO] {
            if let Look::There(count) = self.look(topic, KAFKA_OPEN_TIMEOUT)? {
                return Ok(Some(count));
            }
            std::thread::sleep(pause);
        }
        Ok(None)
    }

    /// Whether a topic that a value names can be written; else why not, in words that follow its name. Two looks at most,
    /// and no topic is made by them. The error is one that may pass: no broker answers, or none can say it now.
    pub fn can_use(&self, topic: &str) -> Result<Result<(), String>> {
        let passing = |message: String| Error::passing(self.code, message);
        for pause in [KAFKA_RETRY_PAUSE, Duration::ZERO] {
            let metadata = self.metadata(Some(topic), KAFKA_METADATA_ASK);
            let metadata = metadata.map_err(|error| passing(error.message().to_owned()))?;
            match self.read(&metadata, topic) {
                Ok(Look::There(_)) => return Ok(Ok(())),
                Ok(Look::Absent) => std::thread::sleep(pause),
                Ok(Look::Unclear(code)) => {
                    return Err(passing(format!("topic `{topic}` cannot be used: {code}")));
                }
                Err(_) => return Ok(Err("may not be seen by this user".to_owned())),
            }
        }
        Ok(Err("does not exist".to_owned()))
    }

    /// Whether one look finds the topic: for whoever makes it otherwise, as one that exists is as good as made.
    pub fn sees(&self, topic: &str) -> Result<bool> {
        Ok(matches!(self.look(topic, KAFKA_OPEN_TIMEOUT)?, Look::There(_)))
    }

    /// Asks for metadata by several questions: the broker that gets the first one may be frozen or cut off, and the next
    /// question goes to another.
    fn metadata(&self, topic: Option<&str>, wait: Duration) -> Result<Metadata> {
        let deadline = self.clock.now() + wait;
        loop {
            let left = deadline.saturating_sub(self.clock.now());
            let error = match self.client.fetch_metadata(topic, left.min(KAFKA_METADATA_ASK)) {
                Ok(metadata) => return Ok(metadata),
                Err(error) => error,
            };
            let may_pass = error.rdkafka_error_code().is_some_and(|code| meaning(code).may_pass());
            if !may_pass || left <= KAFKA_METADATA_ASK {
                return Err(self.unreachable(&error.to_string()));
            }
        }
    }

    fn look(&self, topic: &str, wait: Duration) -> Result<Look> {
        self.read(&self.metadata(Some(topic), wait)?, topic)
    }

    /// What an answer says of a topic.
    fn read(&self, metadata: &Metadata, topic: &str) -> Result<Look> {
        let found = metadata.topics().iter().find(|t| t.name() == topic);
        let count = found.map_or(0, |t| t.partitions().len());
        let Some(code) = found.map(|t| t.error().map(RDKafkaErrorCode::from)) else {
            return Ok(Look::Absent);
        };
        match (code, code.map(meaning)) {
            (None, _) if count > 0 => Ok(Look::There(i32::try_from(count).unwrap_or(i32::MAX))),
            (None, _) | (_, Some(Meaning::Missing)) => Ok(Look::Absent),
            (_, Some(Meaning::Denied)) => {
                let message = format!("this user may not see topic `{topic}` on {}", self.brokers);
                Err(Error::external(self.code, message).help("grant DESCRIBE and READ or WRITE on it"))
            }
            (_, Some(Meaning::Setting)) => {
                Err(Error::user(self.code, format!("`{topic}` is not a valid topic name")))
            }
            (Some(code), _) => Ok(Look::Unclear(code)),
        }
    }

    /// Says that the cluster is waited for.
    fn waits(&self, what: &str) {
        if let Some(more) = Repeats::shared().say(what) {
            let node = self.client.context().node.as_str();
            let wait = humantime::format_duration(KAFKA_BOOT).to_string();
            tracing::warn!(node, wait, "{what}: asking again{more}");
        }
    }

    /// Asks again while the answer is one that may pass, as while leaders move or brokers boot.
    fn patiently<T>(
        &self,
        what: &str,
        mut ask: impl FnMut() -> Result<T, KafkaError>,
    ) -> Result<T, KafkaError> {
        let deadline = self.clock.now() + KAFKA_BOOT;
        loop {
            let error = match ask() {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let may_pass = error.rdkafka_error_code().is_some_and(|code| meaning(code).may_pass());
            if !may_pass || self.clock.now() >= deadline {
                return Err(error);
            }
            self.waits(&format!("{what}: {error}"));
            std::thread::sleep(KAFKA_RETRY_PAUSE);
        }
    }

    /// All topics that this user may see, with the number of their partitions.
    pub fn topics(&self) -> Result<Vec<(String, i32)>> {
        let metadata = self.metadata(None, KAFKA_OPEN_TIMEOUT)?;
        let sound = metadata.topics().iter().filter(|t| t.error().is_none() && !t.partitions().is_empty());
        let count = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
        Ok(sound.map(|t| (t.name().to_owned(), count(t.partitions().len()))).collect())
    }

    /// The topics that a source reads, as they are now. One that is named and is not there is an error; that no topic
    /// matches a pattern is none.
    pub fn known(&self, topics: &Topics) -> Result<Known> {
        let mut known = Known::new();
        for name in topics.names() {
            let Some(partitions) = self.partitions(name)? else {
                let message = format!("topic `{name}` does not exist on {}", self.brokers);
                return Err(Error::external(Code::S003, message).help(
                    "create it (kafka-topics --create), or correct `topics:`; a source never creates a topic",
                ));
            };
            known.insert(name.into(), partitions);
        }
        if topics.has_patterns() {
            let all = self.topics()?.into_iter();
            known.extend(all.filter(|(name, _)| topics.entry(name).is_some()).map(|(n, c)| (n.into(), c)));
        }
        Ok(known)
    }

    /// Who is in a consumer group; nobody where there is no such group.
    pub fn members(&self, group: &str) -> Result<Members> {
        let what = "a consumer group cannot be seen";
        let found = self
            .client
            .fetch_group_list(Some(group), KAFKA_MEMBERS_ASK)
            .map_err(|e| super::error(self.code, what, &e))?;
        let Some(info) = found.groups().iter().find(|info| info.name() == group) else {
            return Ok(Members::default());
        };
        let clients = info.members().iter().map(|member| {
            (member.client_id().to_owned(), member.client_host().trim_start_matches('/').to_owned())
        });
        let (kind, assignor) = (info.protocol_type().to_owned(), info.protocol().to_owned());
        Ok(Members { kind, assignor, clients: clients.collect() })
    }

    /// First and end offset of a partition; the end is that of what is committed.
    pub fn ends(&self, topic: &str, partition: i32) -> Result<(i64, i64)> {
        let what = format!("the offsets of {topic}/{partition} cannot be read");
        self.patiently(&what, || self.client.fetch_watermarks(topic, partition, KAFKA_OPEN_TIMEOUT))
            .map_err(|e| super::error(self.code, &what, &e))
    }

    /// No broker answered: says which, and why as far as librdkafka knows.
    fn unreachable(&self, why: &str) -> Error {
        // Errors of the connection wait on the client's queue.
        for _ in 0..32 {
            let _ = self.client.poll(Duration::ZERO);
        }
        let last = self.client.context().last_error();
        let reason = last.as_deref().unwrap_or(why);
        let help = "is the broker up, and is the address (`brokers:`) the one it advertises? TLS and SASL are set \
                    under `properties:`";
        Error::external(self.code, format!("no broker of {} answered: {reason}", self.brokers)).help(help)
    }
}

/// Makes a topic; one that exists already is fine. Brokers that boot are waited for: until there are as many as it has
/// replicas, the cluster refuses it.
pub fn create_topic(
    cluster: &Cluster,
    topic: &str,
    partitions: i32,
    replication: i32,
    code: Code,
) -> Result<()> {
    let fail = |e| super::error(code, &format!("topic `{topic}` cannot be created"), &e);
    let admin: AdminClient<DefaultClientContext> =
        AdminClient::from_config(&cluster.config(&[])).map_err(fail)?;
    let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(replication));
    let options = AdminOptions::new()
        .operation_timeout(Some(KAFKA_OPEN_TIMEOUT))
        .request_timeout(Some(KAFKA_OPEN_TIMEOUT));
    let clock = SystemClock::default();
    let deadline = clock.now() + KAFKA_BOOT;
    loop {
        let made = wait(admin.create_topics([&new], &options));
        let why = match made {
            Ok(made) => made.into_iter().find_map(Result::err).map(|(_, why)| why),
            Err(error) => Some(code_of(&error).ok_or_else(|| fail(error))?),
        };
        let Some(why) = why.filter(|why| *why != RDKafkaErrorCode::TopicAlreadyExists) else { return Ok(()) };
        if !meaning(why).may_pass() || clock.now() >= deadline {
            let message = format!("topic `{topic}` cannot be created on {}: {why}", cluster.brokers());
            let help = "create it by hand (kafka-topics --create), grant CREATE, or change `partitions:` and \
                        `replication:`";
            return Err(Error::external(code, message).help(help));
        }
        if let Some(more) = Repeats::shared().say(&format!("create {topic}: {why}")) {
            let wait = humantime::format_duration(KAFKA_BOOT).to_string();
            tracing::warn!(topic, wait, "the topic cannot be created yet: {why}: trying again{more}");
        }
        std::thread::sleep(KAFKA_RETRY_PAUSE);
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for a future on this thread: the admin client is the one asynchronous thing here, and it has a thread of
/// its own that wakes us.
fn wait<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}
