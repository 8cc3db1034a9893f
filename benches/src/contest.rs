//! Who takes part in the comparisons: how each program is started for a job.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::sink::Count;

/// What is to be done with the records of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Job {
    /// Keep requests with `status >= 500` or `latency_ms > 100`, add `slow`, drop `ua`, key them by `user_id`.
    Filter,
    /// Write the bytes as they are.
    Raw,
}

impl Job {
    /// How the output is counted.
    pub fn count(self) -> Count {
        if self == Self::Filter { Count::Read } else { Count::Ends }
    }
}

/// Where a contestant finds its work.
pub struct Place {
    /// Address of the broker.
    pub brokers: String,
    /// Topic that is read.
    pub input: String,
    /// Topic that is written; also the name of the consumer group.
    pub output: String,
    /// For what the program writes to the disk.
    pub folder: PathBuf,
}

/// One of those that are compared.
#[derive(Debug)]
pub struct Contestant {
    /// Short, for tables and `--only`.
    pub name: &'static str,
    /// What it is.
    pub what: &'static str,
    /// What it does.
    pub job: Job,
    program: Program,
}

#[derive(Debug, Clone, Copy)]
enum Program {
    /// `pipe` with this guarantee.
    Pipe(&'static str),
    /// `native_twin` with this job.
    Twin(&'static str),
    /// Kafka Streams with this guarantee.
    Streams(&'static str),
    /// Flink with this guarantee.
    Flink(&'static str),
    /// FusionVault with its Wasm step.
    FusionVault,
}

const fn contestant(name: &'static str, what: &'static str, job: Job, program: Program) -> Contestant {
    Contestant { name, what, job, program }
}

/// All of them, in the order in which they take their turns.
pub const CONTESTANTS: &[Contestant] = &[
    contestant(
        "pipe",
        "filter and `slow` in one Wasm stage, at least once",
        Job::Filter,
        Program::Pipe("at_least_once"),
    ),
    contestant(
        "pipe-again",
        "the same: what two equal programs differ by",
        Job::Filter,
        Program::Pipe("at_least_once"),
    ),
    contestant(
        "pipe-eos",
        "the same, exactly once, commits every 100 ms",
        Job::Filter,
        Program::Pipe("exactly_once"),
    ),
    contestant("twin-arrow", "by hand: rdkafka, arrow-json, kernels", Job::Filter, Program::Twin("arrow")),
    contestant("twin-sonic", "by hand: rdkafka, sonic-rs on structs", Job::Filter, Program::Twin("sonic")),
    contestant("streams", "Kafka Streams, at least once", Job::Filter, Program::Streams("at_least_once")),
    contestant(
        "streams-eos",
        "Kafka Streams, exactly once, its 100 ms",
        Job::Filter,
        Program::Streams("exactly_once_v2"),
    ),
    contestant("flink", "Flink without checkpoints", Job::Filter, Program::Flink("NONE")),
    contestant(
        "flink-eos",
        "Flink, exactly once, a checkpoint a second",
        Job::Filter,
        Program::Flink("EXACTLY_ONCE"),
    ),
    contestant("fusionvault", "FusionVault with its Wasm step", Job::Filter, Program::FusionVault),
    contestant("pipe-raw", "`format: raw`, no stage", Job::Raw, Program::Pipe("at_least_once")),
    contestant("loop-raw", "by hand: rdkafka, consumer to producer", Job::Raw, Program::Twin("raw")),
];

const PIPELINE: &str = r#"
name: NAME
delivery: { guarantee: GUARANTEE, commit_interval: 100ms }
sources:
  in:
    kafka: { brokers: "BROKERS", topics: [INPUT] }
    format:
      json:
        columns: { ts: int64, user_id: utf8, country: utf8, url: utf8, status: int64, latency_ms: float64, bytes: int64 }
stages:
  bad: { from: in, use: bad-requests, config: { failed_from: 500, kept_above_ms: 100, slow_above_ms: 250 } }
sinks:
  out: { from: bad, kafka: { brokers: "BROKERS", topic: NAME, key: user_id, compression: none }, format: json }
"#;

const RAW: &str = r#"
name: NAME
delivery: { guarantee: GUARANTEE, commit_interval: 100ms }
sources:
  in: { kafka: { brokers: "BROKERS", topics: [INPUT] }, format: raw }
sinks:
  out: { from: in, kafka: { brokers: "BROKERS", topic: NAME, compression: none }, format: raw }
"#;

impl Contestant {
    /// Whether its program has been built.
    pub fn is_built(&self) -> bool {
        match self.program {
            Program::Pipe(_) | Program::Twin(_) => true,
            Program::Streams(_) => rivals("streams/target/streams-1.jar").is_file(),
            Program::Flink(_) => rivals("flink/target/flink-1.jar").is_file(),
            Program::FusionVault => fusionvault().is_file(),
        }
    }

    /// Whether it runs on a JVM: those are run with fewer records, too, as their start weighs most there.
    pub fn is_java(&self) -> bool {
        matches!(self.program, Program::Streams(_) | Program::Flink(_))
    }

    /// The command that does the work.
    pub fn command(&self, place: &Place) -> io::Result<Command> {
        let Place { brokers, input, output, folder } = place;
        Ok(match self.program {
            Program::Pipe(guarantee) => {
                let text = if self.job == Job::Raw { RAW } else { PIPELINE };
                let text = text.replace("BROKERS", brokers).replace("GUARANTEE", guarantee);
                pipe(folder, output, &text.replace("INPUT", input).replace("NAME", output))?
            }
            Program::Twin(job) => {
                let mut twin = Command::new(built("native_twin")?);
                twin.args([job, brokers, input, output, output]);
                twin
            }
            Program::Streams(guarantee) => streams("filter", guarantee, place),
            Program::Flink(guarantee) => {
                let mut java = java("flink", folder);
                java.args(
                    ["java.util", "java.lang", "java.time"]
                        .map(|p| format!("--add-opens=java.base/{p}=ALL-UNNAMED")),
                );
                java.args(["rivals.Flink", brokers, input, output, output, guarantee]);
                java
            }
            Program::FusionVault => {
                let mut program = Command::new(fusionvault());
                program.args(["run", brokers, input, output]).arg(folder);
                program
            }
        })
    }
}

/// Kafka Streams with a job and a guarantee.
pub fn streams(job: &str, guarantee: &str, place: &Place) -> Command {
    let mut java = java("streams", &place.folder);
    java.args(["rivals.Streams", job, &place.brokers, &place.input, &place.output, &place.output, guarantee]);
    java
}

/// `pipe run` with the text of a pipeline that gets this name.
pub fn pipe(folder: &Path, name: &str, text: &str) -> io::Result<Command> {
    let file = folder.join(format!("{name}.yaml"));
    fs::write(&file, text)?;
    let mut command = Command::new(built("pipe")?);
    command.arg("run").arg(&file).args(["--admin", "off", "--worker-id", "bench"]);
    command.env("PIPE_STAGES", pipe_tests::stages());
    Ok(command)
}

/// A program of this build.
pub fn built(name: &str) -> io::Result<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name(name))
}

fn java(name: &str, folder: &Path) -> Command {
    let target = rivals(name).join("target");
    let classes =
        format!("{}:{}", target.join(format!("{name}-1.jar")).display(), target.join("libs/*").display());
    let mut java = Command::new("java");
    java.args(["-Xmx1g", "-cp", &classes]).arg(format!("-Djava.io.tmpdir={}", folder.display()));
    java
}

fn rivals(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("rivals").join(path)
}

fn fusionvault() -> PathBuf {
    rivals("fusionvault/target/release/rival-fusionvault")
}
