//! A real Apache Kafka broker for tests: started on free loopback ports in a temporary folder, and ended with the
//! test, whatever becomes of it.
//!
//! The broker is the child of a small shell that waits on its standard input. The input closes when the [`Broker`]
//! is dropped, and also when this process dies in any way: the shell then kills the broker by its process id and
//! removes the folder.

#![expect(clippy::expect_used, reason = "a helper of a test fails it by panicking")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use pipe_engine::connector::kafka::client::{Cluster, Properties, create_topic};
use pipe_engine::error::Code;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

/// User of the SASL_SSL listener.
pub const USER: &str = "alice";
/// Its password.
pub const PASSWORD: &str = "alice-secret";
const STORE_PASSWORD: &str = "pipe-test";

/// Starts a broker and answers for its end: see the module's text.
const SUPERVISOR: &str = r#"
"$@" >>"$DIR/broker.log" 2>&1 </dev/null &
pid=$!
echo $pid
read -r word
if [ "$word" = stop ]; then kill $pid; else kill -9 $pid; fi
wait $pid 2>/dev/null
if [ "$word" != stop ] && [ "$word" != crash ]; then rm -rf "$DIR"; fi
"#;

/// A broker with a plaintext and a SASL_SSL listener (SCRAM-SHA-512).
pub struct Broker {
    folder: PathBuf,
    plain: u16,
    sasl: u16,
    /// Whether the JVM compiles it as it would in production; tests want a quick start instead.
    compiled: bool,
    process: Process,
}

/// The process of a broker, and the shell that answers for its end.
#[derive(Default)]
pub(crate) struct Process(Mutex<Option<(Child, u32)>>);

impl Process {
    /// Starts it; its folder is removed when this process dies or says so.
    pub(crate) fn start(&self, java: &Command, folder: &Path) {
        let mut command = Command::new("sh");
        command.args(["-c", SUPERVISOR, "supervisor"]).arg(java.get_program()).args(java.get_args());
        command.env("DIR", folder).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("sh");
        let mut line = String::new();
        let output = child.stdout.take().expect("piped");
        BufReader::new(output).read_line(&mut line).expect("the process id");
        let pid = line.trim().parse().expect("a number");
        *self.0.lock().expect("no panic before") = Some((child, pid));
    }

    /// `stop` ends it in order, `crash` kills it, and anything else removes its folder as well.
    pub(crate) fn end(&self, word: &str) {
        let Some((mut child, _)) = self.0.lock().expect("no panic before").take() else { return };
        if let Some(mut input) = child.stdin.take() {
            let _ = writeln!(input, "{word}");
        }
        let _ = child.wait();
    }

    /// Its process, if it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.0.lock().expect("no panic before").as_ref().map(|(_, pid)| *pid)
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.pid().expect("it runs").to_string();
        run("kill", Command::new("kill").args([name, &pid]));
    }
}

/// The folder of Kafka's jars; fetched when they are not there.
pub fn jars() -> &'static Path {
    static JARS: OnceLock<PathBuf> = OnceLock::new();
    JARS.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/kafka.sh");
        let output =
            Command::new(script).arg("fetch").stderr(Stdio::inherit()).output().expect("kafka.sh runs");
        assert!(output.status.success(), "Kafka's jars cannot be fetched");
        PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
    })
}

/// The broker that all tests of one binary share. It ends with the process.
pub fn shared() -> &'static Broker {
    static SHARED: OnceLock<Broker> = OnceLock::new();
    SHARED.get_or_init(Broker::start)
}

/// A port that was free a moment ago, and that this process is not given again. It lies below the range from which
/// the system gives ports to clients: a client that asks a stopped broker's port again and again could otherwise be
/// given just that port, be connected to itself, and keep the broker from coming back.
pub fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut given = GIVEN.lock().expect("no panic before");
    loop {
        let port = rand::random_range(10_000..32_000);
        if !given.contains(&port) && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            given.insert(port);
            return port;
        }
    }
}

pub(crate) fn java() -> Command {
    let mut java = Command::new("java");
    java.args([
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    ]);
    java.arg("-cp").arg(jars().join("*"));
    java
}

pub(crate) fn run(what: &str, command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).output().expect(what);
    assert!(
        output.status.success(),
        "{what}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

impl Broker {
    /// Starts a broker; returns when it answers.
    pub fn start() -> Self {
        Self::start_as(false, "")
    }

    /// Starts one with further lines of its configuration, of which the last of a key counts.
    pub fn start_with(lines: &str) -> Self {
        Self::start_as(false, lines)
    }

    /// Starts one with the JVM's own compiler and collector and a gigabyte of heap: for benchmarks.
    pub fn start_compiled() -> Self {
        Self::start_as(true, "")
    }

    fn start_as(compiled: bool, lines: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("pipe-kafka-").tempdir().expect("a folder").keep();
        let (plain, sasl, controller) = (free_port(), free_port(), free_port());
        let broker = Self { folder, plain, sasl, compiled, process: Process::default() };
        broker.make_certificate();
        let properties = broker.properties(controller) + lines;
        std::fs::write(broker.path("server.properties"), properties).expect("written");
        run(
            "format",
            java()
                .args(["kafka.tools.StorageTool", "format", "-t", "4L6g3nShT-eMCtK--X86sw", "-c"])
                .arg(broker.path("server.properties"))
                .args(["--add-scram", &format!("SCRAM-SHA-512=[name={USER},password={PASSWORD}]")]),
        );
        broker.resume_from_stop();
        broker
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// What it prints, as long as it is there.
    pub fn log(&self) -> PathBuf {
        self.path("broker.log")
    }

    fn make_certificate(&self) {
        let store = self.path("store.p12");
        let keytool = || {
            let mut command = Command::new("keytool");
            command.args(["-alias", "broker", "-storepass", STORE_PASSWORD, "-keystore"]).arg(&store);
            command
        };
        run(
            "keytool -genkeypair",
            keytool()
                .args(["-genkeypair", "-keyalg", "EC", "-storetype", "PKCS12", "-validity", "365"])
                .args(["-dname", "CN=localhost", "-ext", "SAN=dns:localhost,ip:127.0.0.1"]),
        );
        run("keytool -exportcert", keytool().args(["-exportcert", "-rfc", "-file"]).arg(self.certificate()));
    }

    fn properties(&self, controller: u16) -> String {
        let (plain, sasl) = (self.plain, self.sasl);
        let (data, store) = (self.path("data"), self.path("store.p12"));
        let (data, store) = (data.display(), store.display());
        let listeners = format!("PLAINTEXT://127.0.0.1:{plain},SASL_SSL://127.0.0.1:{sasl}");
        format!(
            "process.roles=broker,controller\n\
             node.id=1\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\n\
             listeners={listeners},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners={listeners}\n\
             controller.listener.names=CONTROLLER\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL\n\
             sasl.enabled.mechanisms=SCRAM-SHA-512\n\
             listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=\
             org.apache.kafka.common.security.scram.ScramLoginModule required;\n\
             ssl.keystore.type=PKCS12\n\
             ssl.keystore.location={store}\n\
             ssl.keystore.password={STORE_PASSWORD}\n\
             log.dirs={data}\n\
             offsets.topic.replication.factor=1\n\
             offsets.topic.num.partitions=4\n\
             transaction.state.log.replication.factor=1\n\
             transaction.state.log.min.isr=1\n\
             transaction.state.log.num.partitions=4\n\
             group.initial.rebalance.delay.ms=0\n\
             group.min.session.timeout.ms=1000\n\
             group.consumer.min.session.timeout.ms=1000\n\
             group.consumer.session.timeout.ms=6000\n\
             group.consumer.min.heartbeat.interval.ms=500\n\
             group.consumer.heartbeat.interval.ms=500\n\
             auto.create.topics.enable=false\n\
             log.cleaner.backoff.ms=500\n\
             log.retention.ms=-1\n"
        )
    }

    /// `host:port` of the plaintext listener.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.plain)
    }

    /// `host:port` of the SASL_SSL listener.
    pub fn sasl_address(&self) -> String {
        format!("localhost:{}", self.sasl)
    }

    /// The broker's certificate, for `ssl.ca.location`.
    pub fn certificate(&self) -> PathBuf {
        self.path("broker.pem")
    }

    /// Starts it again after [`Self::stop`] or [`Self::crash`], on the same ports with the same data.
    pub fn resume_from_stop(&self) {
        let mut java = if self.compiled { Command::new("java") } else { java() };
        if self.compiled {
            java.args(["-Xms1g", "-Xmx1g", "-cp"]).arg(jars().join("*"));
        } else {
            java.arg("-Xmx512m");
        }
        java.arg("kafka.Kafka").arg(self.path("server.properties"));
        self.process.start(&java, &self.folder);
        self.wait_until_up();
    }

    fn wait_until_up(&self) {
        let started = Instant::now();
        let client: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.address())
            .set("reconnect.backoff.max.ms", "200")
            .set_log_level(rdkafka::config::RDKafkaLogLevel::Emerg)
            .create()
            .expect("a client");
        while client.fetch_metadata(None, Duration::from_secs(1)).is_err() {
            if started.elapsed() > Duration::from_secs(60) {
                let log = std::fs::read_to_string(self.log()).unwrap_or_default();
                panic!("the broker did not start:\n{log}");
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Ends it in order; the data stay.
    pub fn stop(&self) {
        self.process.end("stop");
    }

    /// Kills it; the data stay.
    pub fn crash(&self) {
        self.process.end("crash");
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.pid().expect("it runs")
    }

    /// Freezes it (SIGSTOP): connections stay open and nothing answers.
    pub fn freeze(&self) {
        self.process.signal("-STOP");
    }

    /// Ends a [`Self::freeze`].
    pub fn thaw(&self) {
        self.process.signal("-CONT");
    }

    /// Makes a topic and waits until it can be seen.
    pub fn topic(&self, name: &str, partitions: i32) {
        let cluster = Cluster::new(&self.address(), &Properties::new(), &mut Vec::new());
        create_topic(&cluster, name, partitions, 1, Code::K001).expect("a topic");
        let client: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", self.address()).create().expect("a client");
        for _ in 0..100 {
            let metadata = client.fetch_metadata(Some(name), Duration::from_secs(5)).expect("metadata");
            if metadata.topics().iter().any(|t| t.partitions().len() == partitions as usize) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("topic {name} does not appear");
    }

    /// Runs one of Kafka's own tools against it and returns what it printed.
    pub fn tool(&self, class: &str, args: &[&str]) -> String {
        let output =
            run(class, java().args(["-Xmx256m", class, "--bootstrap-server", &self.address()]).args(args));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Writes lines `key:value` with Kafka's console producer.
    pub fn console_produce(&self, topic: &str, lines: &str) {
        let file = self.path(&format!("{topic}.txt"));
        std::fs::write(&file, lines).expect("written");
        let input = std::fs::File::open(&file).expect("just written");
        let mut command = java();
        command.args(["-Xmx256m", "org.apache.kafka.tools.ConsoleProducer", "--bootstrap-server"]);
        command.args([&self.address(), "--topic", topic]);
        command.args(["--property", "parse.key=true", "--property", "key.separator=:"]);
        let output = command.stdin(input).output().expect("java");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// The first records of a topic as Kafka's console consumer prints them, one a line.
    pub fn console(&self, topic: &str, records: usize, extra: &[&str]) -> Vec<String> {
        let count = records.to_string();
        let mut args =
            vec!["--topic", topic, "--from-beginning", "--timeout-ms", "20000", "--max-messages", &count];
        args.extend(extra);
        let text = self.tool("org.apache.kafka.tools.consumer.ConsoleConsumer", &args);
        text.lines().map(str::to_owned).collect()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.process.end("remove");
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A name that no other test of this run uses.
pub fn unique(prefix: &str) -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{prefix}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A broker in an `Arc`, for tests that break it.
pub fn own() -> Arc<Broker> {
    Arc::new(Broker::start())
}
