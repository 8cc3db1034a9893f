//! A cluster of three real brokers whose network a test can cut.
//!
//! Each broker is a controller as well (KRaft). Every way between two of them is a [`Link`] of its own: a broker looks the
//! others up by name in a hosts file that only it reads, and finds for each an address at which a link listens. So broker 1
//! reaches broker 2 by another link than broker 3 does, the controllers' traffic included. Workers reach each broker by a
//! link, too; the test itself reaches all brokers directly.

#![expect(clippy::expect_used, reason = "a helper of a test fails it by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pipe_engine::connector::kafka::client::{Properties, create_topic};
use pipe_engine::error::Code;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::kafka::{Process, free_port, java, run};
use crate::proxy::{Flow, Link};

/// How many brokers there are; they are numbered from 0 here, and from 1 in Kafka.
pub const BROKERS: usize = 3;
/// All of them must be up, and in sync, after this long.
const UP: Duration = Duration::from_secs(300);
/// Partitions of the topics in which Kafka keeps offsets and transactions.
const OWN_PARTITIONS: i32 = 4;

/// Whose coordinator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// That of a consumer group.
    Group,
    /// That of a transactional id.
    Transaction,
}

/// Three brokers.
pub struct Cluster {
    nodes: Vec<Node>,
    /// From one broker to another: that of brokers, and that of controllers.
    between: BTreeMap<(usize, usize), [Link; 2]>,
    folder: PathBuf,
}

struct Node {
    folder: PathBuf,
    ports: Ports,
    /// By which workers reach it.
    workers: Link,
    process: Process,
}

#[derive(Debug, Clone, Copy)]
struct Ports {
    direct: u16,
    workers: u16,
    brokers: u16,
    controller: u16,
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Where broker `from` finds broker `to`.
fn seen(from: usize, to: usize) -> Ipv4Addr {
    if from == to { Ipv4Addr::LOCALHOST } else { Ipv4Addr::new(127, 1, 1 + from as u8, 1 + to as u8) }
}

fn link(from: SocketAddr, to: SocketAddr) -> Link {
    Link::new(from, to).expect("a link")
}

impl Cluster {
    /// Starts three brokers; returns when all are up.
    pub fn start() -> Self {
        let cluster = Self::make();
        (0..BROKERS).for_each(|n| cluster.resume(n));
        cluster.wait_until("all brokers are there and in sync", || cluster.is_whole());
        cluster
    }

    /// Starts all but one, of which the cluster has never heard until [`Self::resume`].
    pub fn start_without(late: usize) -> Self {
        let cluster = Self::make();
        (0..BROKERS).filter(|n| *n != late).for_each(|n| cluster.resume(n));
        cluster.wait_until("two brokers are there", || {
            let metadata = cluster.client().fetch_metadata(None, Duration::from_secs(2));
            metadata.is_ok_and(|metadata| metadata.brokers().len() == BROKERS - 1)
        });
        cluster
    }

    fn make() -> Self {
        let folder = tempfile::Builder::new().prefix("pipe-cluster-").tempdir().expect("a folder").keep();
        let nodes: Vec<Node> = (0..BROKERS)
            .map(|n| {
                let [direct, workers, brokers, controller] = [(); 4].map(|()| free_port());
                let folder = folder.join(format!("b{}", n + 1));
                std::fs::create_dir(&folder).expect("a folder");
                let ports = Ports { direct, workers, brokers, controller };
                let workers = link(local(free_port()), local(workers));
                Node { folder, ports, workers, process: Process::default() }
            })
            .collect();
        let mut between = BTreeMap::new();
        for (from, to) in pairs() {
            let ports = nodes[to].ports;
            let links = [ports.brokers, ports.controller]
                .map(|port| link((seen(from, to), port).into(), local(port)));
            between.insert((from, to), links);
        }
        let cluster = Self { nodes, between, folder };
        std::thread::scope(|scope| {
            let cluster = &cluster;
            (0..BROKERS).for_each(|n| drop(scope.spawn(move || cluster.format(n))));
        });
        cluster
    }

    fn format(&self, n: usize) {
        let folder = &self.nodes[n].folder;
        std::fs::write(folder.join("server.properties"), self.properties(n)).expect("written");
        let own = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let mut hosts = format!("127.0.0.1 localhost\n127.0.0.1 {}\n", own.trim());
        (0..BROKERS).for_each(|to| hosts += &format!("{} b{}\n", seen(n, to), to + 1));
        std::fs::write(folder.join("hosts"), hosts).expect("written");
        let mut format = java();
        format.args(["kafka.tools.StorageTool", "format", "-t", "4L6g3nShT-eMCtK--X86sw", "-c"]);
        run("format", format.arg(folder.join("server.properties")));
    }

    fn properties(&self, n: usize) -> String {
        let Ports { direct, workers, brokers, controller } = self.nodes[n].ports;
        let advertised = self.nodes[n].workers.address().port();
        let (id, data) = (n + 1, self.nodes[n].folder.join("data"));
        let data = data.display();
        let voters: Vec<String> =
            (0..BROKERS).map(|n| format!("{0}@b{0}:{1}", n + 1, self.nodes[n].ports.controller)).collect();
        let voters = voters.join(",");
        format!(
            "process.roles=broker,controller\n\
             node.id={id}\n\
             controller.quorum.voters={voters}\n\
             listeners=DIRECT://127.0.0.1:{direct},WORKERS://127.0.0.1:{workers},BROKERS://127.0.0.1:{brokers},\
             CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=DIRECT://127.0.0.1:{direct},WORKERS://127.0.0.1:{advertised},\
             BROKERS://b{id}:{brokers},CONTROLLER://b{id}:{controller}\n\
             controller.listener.names=CONTROLLER\n\
             inter.broker.listener.name=BROKERS\n\
             listener.security.protocol.map=DIRECT:PLAINTEXT,WORKERS:PLAINTEXT,BROKERS:PLAINTEXT,\
             CONTROLLER:PLAINTEXT\n\
             log.dirs={data}\n\
             num.network.threads=2\n\
             num.io.threads=4\n\
             default.replication.factor=3\n\
             min.insync.replicas=2\n\
             offsets.topic.replication.factor=3\n\
             offsets.topic.num.partitions={OWN_PARTITIONS}\n\
             transaction.state.log.replication.factor=3\n\
             transaction.state.log.min.isr=2\n\
             transaction.state.log.num.partitions={OWN_PARTITIONS}\n\
             group.initial.rebalance.delay.ms=0\n\
             group.min.session.timeout.ms=1000\n\
             group.consumer.min.session.timeout.ms=1000\n\
             group.consumer.session.timeout.ms=6000\n\
             group.consumer.min.heartbeat.interval.ms=500\n\
             group.consumer.heartbeat.interval.ms=500\n\
             broker.session.timeout.ms=5000\n\
             broker.heartbeat.interval.ms=1000\n\
             replica.lag.time.max.ms=6000\n\
             leader.imbalance.check.interval.seconds=5\n\
             leader.imbalance.per.broker.percentage=1\n\
             auto.create.topics.enable=false\n\
             log.retention.ms=-1\n"
        )
    }

    /// `host:port` of each broker, reached directly.
    pub fn address(&self) -> String {
        self.addresses(|node| node.ports.direct)
    }

    /// `host:port` of each broker as workers reach it, by the links.
    pub fn workers_address(&self) -> String {
        self.addresses(|node| node.workers.address().port())
    }

    fn addresses(&self, port: impl Fn(&Node) -> u16) -> String {
        self.nodes.iter().map(|node| format!("127.0.0.1:{}", port(node))).collect::<Vec<_>>().join(",")
    }

    /// Copies the brokers' logs into a folder.
    pub fn keep_logs(&self, folder: &Path) {
        for (n, node) in self.nodes.iter().enumerate() {
            let _ =
                std::fs::copy(node.folder.join("broker.log"), folder.join(format!("broker-{}.log", n + 1)));
        }
    }

    /// Starts a broker that was stopped, and does not wait for it.
    pub fn resume(&self, n: usize) {
        let folder = &self.nodes[n].folder;
        let mut java = java();
        java.arg("-Xmx256m").arg(format!("-Djdk.net.hosts.file={}", folder.join("hosts").display()));
        java.arg("kafka.Kafka").arg(folder.join("server.properties"));
        self.nodes[n].process.start(&java, folder);
    }

    /// Ends a broker in order: it gives its leaders away first.
    pub fn stop(&self, n: usize) {
        self.nodes[n].process.end("stop");
    }

    /// Kills a broker.
    pub fn crash(&self, n: usize) {
        self.nodes[n].process.end("crash");
    }

    /// Freezes a broker (SIGSTOP): connections stay open and nothing answers.
    pub fn freeze(&self, n: usize) {
        self.nodes[n].process.signal("-STOP");
    }

    /// Ends a [`Self::freeze`].
    pub fn thaw(&self, n: usize) {
        self.nodes[n].process.signal("-CONT");
    }

    /// What becomes of all that two brokers say to each other.
    pub fn between(&self, a: usize, b: usize, flow: Flow) {
        for pair in [(a, b), (b, a)] {
            self.between[&pair].iter().for_each(|link| link.set(flow));
        }
    }

    /// What becomes of all that workers and a broker say to each other.
    pub fn to_workers(&self, n: usize, flow: Flow) {
        self.nodes[n].workers.set(flow);
    }

    /// The same for the worker whose clients have this id.
    pub fn to_worker(&self, n: usize, client: &str, flow: Flow) {
        self.nodes[n].workers.set_client(client, flow);
    }

    /// Clients with a connection to a broker by its link.
    pub fn clients(&self, n: usize) -> Vec<String> {
        self.nodes[n].workers.clients()
    }

    fn client(&self) -> BaseConsumer {
        ClientConfig::new()
            .set("bootstrap.servers", self.address())
            .set("reconnect.backoff.max.ms", "200")
            .set_log_level(rdkafka::config::RDKafkaLogLevel::Emerg)
            .create()
            .expect("a client")
    }

    /// Whether all brokers are there, and all replicas of all partitions in sync.
    pub fn is_whole(&self) -> bool {
        self.lagging().is_some_and(|lagging| lagging.is_empty())
    }

    /// The brokers that are away or not in sync; `None` while nobody can say.
    pub fn lagging(&self) -> Option<BTreeSet<usize>> {
        let metadata = self.client().fetch_metadata(None, Duration::from_secs(2)).ok()?;
        let up: BTreeSet<i32> = metadata.brokers().iter().map(|broker| broker.id()).collect();
        let away = (1..=BROKERS as i32).filter(|id| !up.contains(id));
        let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
        let behind = partitions.flat_map(|p| p.replicas().iter().filter(|id| !p.isr().contains(id)).copied());
        Some(away.chain(behind).filter_map(|id| usize::try_from(id - 1).ok()).collect())
    }

    fn wait_until(&self, what: &str, holds: impl Fn() -> bool) {
        let started = Instant::now();
        while !holds() {
            if started.elapsed() > UP {
                let log =
                    |node: &Node| std::fs::read_to_string(node.folder.join("broker.log")).unwrap_or_default();
                let logs: Vec<String> = self.nodes.iter().map(log).collect();
                panic!("waited in vain until {what}:\n{}", logs.join("\n---\n"));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// The broker that leads a partition now.
    pub fn leader(&self, topic: &str, partition: i32) -> Option<usize> {
        let metadata = self.client().fetch_metadata(Some(topic), Duration::from_secs(5)).ok()?;
        let topic = metadata.topics().iter().find(|found| found.name() == topic)?;
        let found = topic.partitions().iter().find(|found| found.id() == partition)?;
        usize::try_from(found.leader() - 1).ok()
    }

    /// The broker that coordinates a group or a transactional id now: the one that leads the partition in which it is kept.
    pub fn coordinator(&self, of: Of, name: &str) -> Option<usize> {
        let topic = match of {
            Of::Group => "__consumer_offsets",
            Of::Transaction => "__transaction_state",
        };
        // As Java hashes a text.
        let hash =
            name.encode_utf16().fold(0_i32, |hash, c| hash.wrapping_mul(31).wrapping_add(i32::from(c)));
        self.leader(topic, (hash & i32::MAX) % OWN_PARTITIONS)
    }

    /// Makes a topic of three replicas and waits until every broker knows it.
    pub fn topic(&self, name: &str, partitions: i32) {
        self.topic_of(name, partitions, BROKERS as i32);
    }

    /// The same with another number of replicas; brokers that do not run are not waited for.
    pub fn topic_of(&self, name: &str, partitions: i32, replicas: i32) {
        let cluster = pipe_engine::connector::kafka::client::Cluster::new(
            &self.address(),
            &Properties::new(),
            &mut Vec::new(),
        );
        create_topic(&cluster, name, partitions, replicas, Code::K001).expect("a topic");
        for node in self.nodes.iter().filter(|node| node.process.pid().is_some()) {
            let client: BaseConsumer = ClientConfig::new()
                .set("bootstrap.servers", format!("127.0.0.1:{}", node.ports.direct))
                .create()
                .expect("a client");
            self.wait_until(&format!("topic {name} is known"), || {
                let metadata = client.fetch_metadata(Some(name), Duration::from_secs(5)).expect("metadata");
                let found = metadata.topics().iter().find(|topic| topic.name() == name);
                let led =
                    found.map_or(0, |topic| topic.partitions().iter().filter(|p| p.leader() > 0).count());
                led == partitions as usize
            });
        }
    }
}

/// All ways from one broker to another.
fn pairs() -> impl Iterator<Item = (usize, usize)> {
    (0..BROKERS).flat_map(|a| (0..BROKERS).filter(move |b| *b != a).map(move |b| (a, b)))
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.nodes.iter().for_each(|node| node.process.end("remove"));
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
