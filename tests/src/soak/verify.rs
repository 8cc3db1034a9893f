//! Counts: is every input where it must be, once, and in order? Pure, and nothing of the engine is used.
//!
//! Where a record must end is worked out from its kind here, in Rust; the pipeline says it in YAML. Inputs go in
//! first, then what the outputs hold, then [`Verifier::finish`] counts.

use std::collections::BTreeMap;

use serde_json::Value;

use super::topology::Shape;

/// Examples of each fault that are kept: a run that loses everything must still print little.
const EXAMPLES_MAX: u64 = 5;

/// A record as it lies in a topic.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// Its topic.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Its key.
    pub key: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
    /// Its headers.
    pub headers: BTreeMap<String, String>,
}

/// What a value says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    /// `None`: something that is no number.
    kind: Option<i64>,
    key: String,
    seq: i64,
}

#[derive(Debug)]
struct Input {
    row: Row,
    topic: String,
    partition: i32,
    offset: i64,
}

/// Where an input must end.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// In the outputs of these indices.
    Outputs(&'static [usize]),
    /// In the dead letters, for this cause.
    Letters(&'static str),
}

fn fate(shape: Shape, kind: Option<i64>) -> Fate {
    match (shape, kind) {
        (Shape::Simple, Some(kind)) if kind >= 300 => Fate::Outputs(&[0]),
        (Shape::Simple, _) => Fate::Outputs(&[]),
        (Shape::Complex, None) => Fate::Letters("decode"),
        (Shape::Complex, Some(7)) => Fate::Letters("rejected"),
        (Shape::Complex, Some(9)) => Fate::Letters("stage_error"),
        (Shape::Complex, Some(13)) => Fate::Letters("trap"),
        (Shape::Complex, Some(kind)) if kind < 400 => Fate::Outputs(&[0, 2]),
        (Shape::Complex, Some(kind)) if kind < 800 => Fate::Outputs(&[1, 2]),
        (Shape::Complex, Some(_)) => Fate::Outputs(&[2]),
    }
}

/// What was counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Inputs.
    pub records: u64,
    /// Places where an input should be and is not.
    pub lost: u64,
    /// Times that an input came again to a place where it was already.
    pub duplicated: u64,
    /// Records behind a later one of their key, or in another partition than their key's.
    pub out_of_order: u64,
    /// Records where they must not be, that no input accounts for, or that were changed.
    pub misplaced: u64,
    /// The first of each that is wrong, in words.
    pub examples: Vec<String>,
}

/// Takes what the topics hold.
pub struct Verifier {
    shape: Shape,
    inputs: BTreeMap<u64, Input>,
    /// For each place (outputs, then dead letters) how often each input was there.
    seen: Vec<BTreeMap<u64, u32>>,
    /// For each output and key: the partition, and the highest number so far.
    last: BTreeMap<(usize, String), (i32, i64)>,
    counts: Counts,
}

impl Verifier {
    /// Of a topology with so many outputs.
    pub fn new(shape: Shape, outputs: usize) -> Self {
        let seen = vec![BTreeMap::new(); outputs + 1];
        Self { shape, inputs: BTreeMap::new(), seen, last: BTreeMap::new(), counts: Counts::default() }
    }

    /// Takes a record of an input topic, in order. An error says that the input itself is not sound: then nothing
    /// can be said about the output.
    pub fn input(&mut self, found: Found) -> Result<(), String> {
        let at = place(&found);
        let (id, row) = parse(&found.value).ok_or_else(|| format!("{at}: no record of ours"))?;
        let input = Input { row, topic: found.topic, partition: found.partition, offset: found.offset };
        match self.inputs.insert(id, input) {
            None => Ok(()),
            Some(_) => Err(format!("{at}: the input {id} was produced twice")),
        }
    }

    /// Takes a record of the output with this index, each partition in order.
    pub fn output(&mut self, output: usize, found: &Found) {
        let Some((id, row)) = parse(&found.value) else { return self.misplace(found, "no record of ours") };
        let Some(input) = self.inputs.get(&id) else { return self.misplace(found, "no input is this one's") };
        if input.row != row || found.key != row.key.as_bytes() {
            return self.misplace(found, "changed on its way");
        }
        match fate(self.shape, row.kind) {
            Fate::Outputs(outputs) if outputs.contains(&output) => {}
            _ => return self.misplace(found, "it does not belong here"),
        }
        if !self.first(output, id, found) {
            return;
        }
        // Only what comes for the first time has an order: repeats are counted above.
        let last = self.last.entry((output, row.key)).or_insert((found.partition, -1));
        if last.0 != found.partition || row.seq <= last.1 {
            let told = format!("{}: input {id} behind a later one of its key, or astray", place(found));
            last.1 = last.1.max(row.seq);
            self.counts.out_of_order += 1;
            self.example(self.counts.out_of_order, told);
        } else {
            last.1 = row.seq;
        }
    }

    /// Takes a dead letter. They have no order: failures of several stages meet there.
    pub fn letter(&mut self, found: &Found) {
        let Some((id, row)) = parse(&found.value) else { return self.misplace(found, "no record of ours") };
        let Some(input) = self.inputs.get(&id) else { return self.misplace(found, "no input is this one's") };
        if input.row != row || found.key != row.key.as_bytes() {
            return self.misplace(found, "changed on its way");
        }
        let Fate::Letters(cause) = fate(self.shape, row.kind) else {
            return self.misplace(found, "nothing is wrong with it");
        };
        let (partition, offset) = (input.partition.to_string(), input.offset.to_string());
        let wanted =
            [("kind", cause), ("topic", &input.topic), ("partition", &partition), ("offset", &offset)];
        let header = |name: &str| found.headers.get(&format!("pipe.error.{name}")).map(String::as_str);
        let wrong = wanted.iter().find(|(name, value)| header(name) != Some(*value));
        if let Some(why) = wrong.map(|(name, value)| format!("its header `{name}` is not `{value}`")) {
            return self.misplace(found, &why);
        }
        self.first(self.seen.len() - 1, id, found);
    }

    /// Notes that an input is at a place; whether it is there for the first time.
    fn first(&mut self, place_index: usize, id: u64, found: &Found) -> bool {
        let times = self.seen[place_index].entry(id).or_default();
        *times += 1;
        if *times > 1 {
            self.counts.duplicated += 1;
            self.example(self.counts.duplicated, format!("{}: input {id} comes again", place(found)));
            return false;
        }
        true
    }

    fn misplace(&mut self, found: &Found, why: &str) {
        self.counts.misplaced += 1;
        let value = String::from_utf8_lossy(&found.value);
        self.example(self.counts.misplaced, format!("{}: {why}: {value}", place(found)));
    }

    fn example(&mut self, count: u64, text: String) {
        if count <= EXAMPLES_MAX {
            self.counts.examples.push(text);
        }
    }

    /// Counts what is missing, and returns all counts.
    pub fn finish(mut self) -> Counts {
        let letters = self.seen.len() - 1;
        self.counts.records = self.inputs.len() as u64;
        for (id, input) in std::mem::take(&mut self.inputs) {
            let places = match fate(self.shape, input.row.kind) {
                Fate::Outputs(outputs) => outputs.to_vec(),
                Fate::Letters(_) => vec![letters],
            };
            for at in places {
                if self.seen[at].contains_key(&id) {
                    continue;
                }
                let to = if at == letters { "the dead letters".to_owned() } else { format!("output {at}") };
                let Input { topic, partition, offset, .. } = &input;
                self.counts.lost += 1;
                self.example(
                    self.counts.lost,
                    format!("{topic}/{partition} at {offset}: input {id} is not in {to}"),
                );
            }
        }
        self.counts
    }
}

fn place(found: &Found) -> String {
    format!("{}/{} at {}", found.topic, found.partition, found.offset)
}

fn parse(value: &[u8]) -> Option<(u64, Row)> {
    let value: Value = serde_json::from_slice(value).ok()?;
    let row = Row {
        kind: value["kind"].as_i64(),
        key: value["key"].as_str()?.to_owned(),
        seq: value["seq"].as_i64()?,
    };
    Some((value["id"].as_u64()?, row))
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
