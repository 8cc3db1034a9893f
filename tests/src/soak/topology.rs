//! The two pipelines that are put to the proof, their topics and their records.
//!
//! A record is `{"kind": .., "id": .., "key": .., "seq": ..}`: where it must end follows from its kind (the verifier
//! works that out by itself), `id` is its number among all, `seq` its number among those of its key.

use rand::Rng;
use rand::rngs::StdRng;

use super::{Options, Site};

/// Partitions of an input topic: more than workers, so that each has some and a rebalance moves some.
pub const INPUT_PARTITIONS: i32 = 4;
/// Partitions of an output topic: another number, so that every worker writes to every one.
pub const OUTPUT_PARTITIONS: i32 = 3;
/// Keys of an input topic.
const KEYS: i32 = 32;

/// Which pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One topic, a filter, one topic.
    Simple,
    /// Two topics, a stage that fails on some rows in each way, fan-out, a route with two ports, three topics, and
    /// dead letters.
    Complex,
}

/// A pipeline of one run: its name is the group's.
#[derive(Debug, Clone)]
pub struct Topology {
    /// Which.
    pub shape: Shape,
    /// The pipeline's name.
    pub name: String,
    /// Input topics.
    pub inputs: Vec<String>,
    /// Output topics: `out`, or `low`, `high` and `all`.
    pub outputs: Vec<String>,
    /// Where dead letters go; `Simple` has none.
    pub letters: Option<String>,
}

impl Topology {
    /// Names that no other run on the broker has.
    pub fn new(shape: Shape, name: &str) -> Self {
        let topics = |names: &[&str]| names.iter().map(|n| format!("{name}-{n}")).collect();
        let (inputs, outputs) = match shape {
            Shape::Simple => (topics(&["in"]), topics(&["out"])),
            Shape::Complex => (topics(&["a", "b"]), topics(&["low", "high", "all"])),
        };
        let letters = (shape == Shape::Complex).then(|| format!("{name}.dead-letters"));
        Self { shape, name: name.to_owned(), inputs, outputs, letters }
    }

    /// Makes its topics.
    pub fn make_topics(&self, site: Site<'_>) {
        self.inputs.iter().for_each(|topic| site.topic(topic, INPUT_PARTITIONS));
        self.outputs.iter().chain(&self.letters).for_each(|topic| site.topic(topic, OUTPUT_PARTITIONS));
    }

    /// All input partitions.
    pub fn input_partitions(&self) -> Vec<(String, i32)> {
        partitions(&self.inputs, INPUT_PARTITIONS)
    }

    /// All partitions of the output topics.
    pub fn output_partitions(&self) -> Vec<(String, i32)> {
        partitions(&self.outputs, OUTPUT_PARTITIONS)
    }

    /// The pipeline file.
    pub fn pipeline(&self, options: &Options) -> String {
        let Options { guarantee, commit_interval, .. } = options;
        let session = super::schedule::SESSION.as_millis();
        // With the other protocol the broker says both: see `kafka::Broker`.
        let mut member = match options.protocol.as_str() {
            "classic" => format!("session.timeout.ms: {session}, heartbeat.interval.ms: 500"),
            other => format!("group.protocol: {other}"),
        };
        if options.fixed {
            member += ", group.instance.id: \"${WORKER}\"";
        }
        // By this a link knows whose connection it is.
        let client = "client.id: \"${WORKER}\"";
        let source = |topic: &str| {
            format!(
                "{{ kafka: {{ brokers: \"${{KAFKA_BROKERS}}\", topics: [{topic}], \
                 properties: {{ {client}, {member} }} }}, \
                 format: {{ json: {{ columns: {{ kind: int64, id: int64, key: utf8, seq: int64 }} }} }} }}"
            )
        };
        let sink = |from: &str, topic: &str| {
            format!(
                "{{ from: {from}, kafka: {{ brokers: \"${{KAFKA_BROKERS}}\", topic: {topic}, key: key, \
                 properties: {{ {client} }} }}, format: json }}"
            )
        };
        let nodes = match self.shape {
            Shape::Simple => format!(
                "sources:\n  in: {}\n\
                 stages:\n  kept: {{ from: in, use: filter, config: {{ all: [{{ column: kind, op: ge, value: 300 }}] }} }}\n\
                 sinks:\n  out: {}\n",
                source(&self.inputs[0]),
                sink("kept", &self.outputs[0]),
            ),
            Shape::Complex => {
                let fails = crate::root().join("tests/guests/prebuilt/fails.wasm");
                format!(
                    "sources:\n  a: {}\n  b: {}\n\
                     stages:\n\
                     \x20 touchy: {{ from: [a, b], wasm: \"{}\", config: {{ mode: \"trap=13,error=9,reject=7\" }} }}\n\
                     \x20 sorted:\n    from: touchy\n    use: route\n    config:\n      column: kind\n      routes:\n\
                     \x20       - {{ port: low, op: lt, value: 400 }}\n\
                     \x20       - {{ port: high, op: lt, value: 800 }}\n\
                     sinks:\n  low: {}\n  high: {}\n  all: {}\n",
                    source(&self.inputs[0]),
                    source(&self.inputs[1]),
                    fails.display(),
                    sink("sorted.low", &self.outputs[0]),
                    sink("sorted.high", &self.outputs[1]),
                    sink("touchy", &self.outputs[2]),
                )
            }
        };
        format!(
            "name: {}\n{nodes}lanes: 2\n\
             delivery: {{ guarantee: {guarantee}, commit_interval: {commit_interval} }}\n",
            self.name
        )
    }
}

fn partitions(topics: &[String], count: i32) -> Vec<(String, i32)> {
    topics.iter().flat_map(|topic| (0..count).map(|p| (topic.clone(), p))).collect()
}

/// A record to be produced.
#[derive(Debug)]
pub struct Record {
    /// Index of its input topic.
    pub topic: usize,
    /// Its partition: all records of a key are in one.
    pub partition: i32,
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// Makes the records of a run, one after the other.
pub struct Records {
    random: StdRng,
    shape: Shape,
    next: u64,
    /// For each topic and key its next number.
    sequences: Vec<Vec<u64>>,
}

impl Records {
    /// The records of a topology; `random` decides about keys and kinds.
    pub fn new(topology: &Topology, random: StdRng) -> Self {
        let sequences = vec![vec![0; KEYS as usize]; topology.inputs.len()];
        Self { random, shape: topology.shape, next: 0, sequences }
    }

    /// How many there are so far.
    pub fn count(&self) -> u64 {
        self.next
    }

    /// The next one.
    pub fn make(&mut self) -> Record {
        let topic = self.random.random_range(0..self.sequences.len());
        let number = self.random.random_range(0..KEYS);
        let kind = self.random.random_range(0..1000);
        let sequence = &mut self.sequences[topic][number as usize];
        let (id, seq) = (self.next, *sequence);
        *sequence += 1;
        self.next += 1;
        // A key is of one topic: between two topics there is no order.
        let key = format!("{topic}-{number}");
        // What cannot be decoded is one more way to fail.
        let broken = self.shape == Shape::Complex && kind == 99;
        let kind = if broken { "\"broken\"".to_owned() } else { kind.to_string() };
        let value = format!(r#"{{"kind":{kind},"id":{id},"key":"{key}","seq":{seq}}}"#);
        Record { topic, partition: number % INPUT_PARTITIONS, key, value }
    }
}
