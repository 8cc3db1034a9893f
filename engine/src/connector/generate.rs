//! Makes web requests up: seeded, so that every run gives the same records; at a rate; some of them broken on demand.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::BinaryBuilder;
use arrow::datatypes::SchemaRef;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::position::{Partition, Positions, Replay};
use super::source::{Open, Opened, Polled, Prepared, Reader, Room, Settings, SourceKind, Ungrouped};
use crate::batch::{Payload, SourceBatch};
use crate::clock::{Clock, SystemClock};
use crate::codec;
use crate::error::{Code, Error, Result};
use crate::problem::Problem;

/// The kind.
pub static KIND: SourceKind = SourceKind {
    name: "generate",
    summary: "Makes web requests up: the same ones for the same seed, at a rate, some broken on demand.",
    example: "generate: { seed: 7, count: 1000, rate: 500, bad_rows: 0.01 }\n",
    options: |generator| generator.subschema_for::<Options>(),
    replay: Replay::State,
    metadata: &["key", "offset", "partition", "timestamp", "topic"],
    needs_format: true,
    default_format: Some(default_format),
    prepare,
};

/// Options of `generate`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Options {
    /// Other seeds give other records.
    #[serde(default = "default_seed")]
    seed: u64,
    /// Records over all partitions; without it there is no end.
    #[serde(default)]
    count: Option<u64>,
    /// Records a second over all partitions; without it as fast as they are taken.
    #[serde(default)]
    #[schemars(range(min = 0.001))]
    rate: Option<f64>,
    /// Share of records that are broken JSON.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    bad_rows: f64,
    /// Partitions, spread over the lanes.
    #[serde(default = "default_partitions")]
    #[schemars(range(min = 1, max = 1024))]
    partitions: i32,
}

fn default_seed() -> u64 {
    1
}

fn default_partitions() -> i32 {
    1
}

/// The records are JSON with these columns; another format or other columns may be declared over them.
fn default_format() -> (&'static str, Value) {
    let columns = json!({
        "ts": "timestamp(ms, UTC)", "user_id": "utf8", "method": "utf8", "path": "utf8", "status": "int32",
        "latency_ms": "float64", "bytes": "int64", "country": "utf8", "ua": "utf8",
    });
    // They are all that it makes.
    ("json", json!({ "columns": columns, "unknown": "drop" }))
}

struct Generate {
    options: Options,
    name: Arc<str>,
    schema: SchemaRef,
}

fn prepare(settings: &Settings<'_>) -> Result<Box<dyn Prepared>, Vec<Problem>> {
    let options: Options = codec::options(settings.options)?;
    let mut problems = Vec::new();
    if !(0.0..=1.0).contains(&options.bad_rows) {
        problems.push(Problem::new(Code::C005, "/bad_rows", "a share lies between 0 and 1"));
    }
    if options.rate.is_some_and(|rate| rate <= 0.0 || !rate.is_finite()) {
        problems.push(Problem::new(Code::C005, "/rate", "a rate is greater than 0"));
    }
    if !(1..=1024).contains(&options.partitions) {
        problems.push(Problem::new(Code::C005, "/partitions", "1 to 1024 partitions"));
    }
    let schema = settings.format.and_then(|format| format.schema());
    let Some(schema) = schema else {
        problems.push(Problem::new(Code::C004, "", "the format must declare its columns, or be left out"));
        return Err(problems);
    };
    match problems.is_empty() {
        true => Ok(Box::new(Generate { options, name: Arc::from(settings.name), schema })),
        false => Err(problems),
    }
}

impl Prepared for Generate {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn describe(&self) -> String {
        let count = self.options.count.map_or("endless".to_owned(), |count| format!("{count}"));
        let rate = self.options.rate.map_or(String::new(), |rate| format!(", {rate} a second"));
        format!("{count} web requests from seed {}{rate}", self.options.seed)
    }

    fn ends(&self) -> bool {
        self.options.count.is_some()
    }

    fn open(&self, open: Open) -> Result<Opened> {
        if open.until_end && self.options.count.is_none() {
            let error = Error::user(Code::S001, "records without a `count` have no end");
            return Err(error.help("give `count`, or leave `--until-end` out"));
        }
        let clock = Arc::new(SystemClock::default());
        let reader = |lane: usize| -> Box<dyn Reader> {
            let partitions = (0..self.options.partitions)
                .filter(|partition| *partition as usize % open.lanes == lane)
                .map(|number| self.partition(number, &open.resume))
                .collect();
            Box::new(Lane {
                options: self.options.clone(),
                name: Arc::clone(&self.name),
                partitions,
                room: open.room,
                clock: Arc::clone(&clock),
                turn: 0,
            })
        };
        Ok(Opened { readers: (0..open.lanes).map(reader).collect(), control: Arc::new(Ungrouped) })
    }
}

impl Generate {
    fn partition(&self, number: i32, resume: &Positions) -> Numbered {
        let id = Partition { topic: Arc::clone(&self.name), partition: number };
        let next = resume.get(&id).copied().unwrap_or(0);
        let (all, share) = (self.options.partitions as u64, number as u64);
        let end = self.options.count.map(|count| (count / all + u64::from(share < count % all)) as i64);
        Numbered { id, found: next, next, end }
    }
}

struct Numbered {
    id: Partition,
    /// Where the lane found it.
    found: i64,
    next: i64,
    end: Option<i64>,
}

struct Lane {
    options: Options,
    name: Arc<str>,
    partitions: Vec<Numbered>,
    room: Room,
    clock: Arc<SystemClock>,
    turn: usize,
}

/// 2026-01-01T00:00:00Z; a record a millisecond follows, with up to 2 s of disorder.
const FIRST_TS: i64 = 1_767_225_600_000;
const METHODS: [&str; 5] = ["GET", "GET", "GET", "POST", "PUT"];
const COUNTRIES: [&str; 12] = ["DE", "US", "FR", "GB", "PL", "CZ", "AT", "CH", "NL", "ES", "JP", "BR"];
const AGENTS: [&str; 4] = [
    "Mozilla/5.0 (X11; Linux x86_64) Firefox/146.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/143.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 19_1 like Mac OS X) Mobile",
    "curl/8.17.0",
];

impl Lane {
    /// How many records may be made now, so that the rate holds over the time since the start.
    fn allowance(&self, partition: &Numbered) -> i64 {
        let Some(rate) = self.options.rate else { return i64::MAX };
        let due = self.clock.now().as_secs_f64() * rate / f64::from(self.options.partitions);
        due as i64 - (partition.next - partition.found)
    }

    fn batch(&self, partition: &Numbered, rows: i64) -> SourceBatch {
        let (mut keys, mut values) = (BinaryBuilder::new(), BinaryBuilder::new());
        let mut times = Vec::new();
        let mut at = partition.next;
        let (mut json, mut user) = (Vec::with_capacity(256), Vec::new());
        let mut bytes = 0;
        while at < partition.next + rows && bytes < self.room.bytes {
            let mut random = SmallRng::seed_from_u64(mix(self.options.seed, partition.id.partition, at));
            json.clear();
            let ts = self.record(&mut random, at, &mut json, &mut user);
            if random.random_bool(self.options.bad_rows) {
                json.truncate(json.len() / 2);
            }
            bytes += json.len() + user.len();
            keys.append_value(&user);
            values.append_value(&json);
            times.push(ts);
            at += 1;
        }
        SourceBatch {
            source: Arc::clone(&self.name),
            topic: Arc::clone(&partition.id.topic),
            partition: partition.id.partition,
            offsets: (partition.next..at).collect::<Vec<_>>().into(),
            timestamps: Some(times.into()),
            keys: Some(keys.finish()),
            headers: None,
            payload: Payload::Values(values.finish()),
            next: at,
            trace: None,
            hold: None,
        }
    }

    fn record(&self, random: &mut SmallRng, at: i64, json: &mut Vec<u8>, user: &mut Vec<u8>) -> i64 {
        let page: i32 = random.random_range(0..10_000);
        let number: i32 = random.random_range(0..100_000);
        let status: i32 = match random.random_range(0..100) {
            0..=3 => 500,
            4..=8 => 404,
            9..=10 => 302,
            _ => 200,
        };
        let slow = random.random_range(0..100) < 6;
        let tenths: i32 =
            if slow { random.random_range(1_000..5_000) } else { random.random_range(1..1_000) };
        let ts = FIRST_TS + at + random.random_range(0..2_000);
        let method = METHODS[random.random_range(0..METHODS.len())];
        let bytes: i64 = random.random_range(0..50_000);
        let country = COUNTRIES[random.random_range(0..COUNTRIES.len())];
        let agent = AGENTS[random.random_range(0..AGENTS.len())];
        user.clear();
        digits(user, 1_000_000 + i64::from(number));
        // The million keeps the zeros in front of six digits.
        user.splice(..1, *b"u-");
        // By hand: a serialiser takes longer than all the rest, and benchmarks begin here.
        json.extend_from_slice(b"{\"ts\":");
        digits(json, ts);
        json.extend_from_slice(b",\"user_id\":\"");
        json.extend_from_slice(user);
        json.extend_from_slice(b"\",\"method\":\"");
        json.extend_from_slice(method.as_bytes());
        json.extend_from_slice(b"\",\"path\":\"/p/");
        digits(json, page.into());
        json.extend_from_slice(b"\",\"status\":");
        digits(json, status.into());
        json.extend_from_slice(b",\"latency_ms\":");
        digits(json, (tenths / 10).into());
        json.push(b'.');
        digits(json, (tenths % 10).into());
        json.extend_from_slice(b",\"bytes\":");
        digits(json, bytes);
        json.extend_from_slice(b",\"country\":\"");
        json.extend_from_slice(country.as_bytes());
        json.extend_from_slice(b"\",\"ua\":\"");
        json.extend_from_slice(agent.as_bytes());
        json.extend_from_slice(b"\"}");
        ts
    }
}

/// Appends the digits of a number that is not negative.
fn digits(out: &mut Vec<u8>, mut number: i64) {
    let (mut text, mut at) = ([0; 20], 20);
    loop {
        at -= 1;
        text[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return out.extend_from_slice(&text[at..]);
        }
    }
}

/// One seed a record, so that reading can go on anywhere (SplitMix64's finaliser).
fn mix(seed: u64, partition: i32, at: i64) -> u64 {
    let mut x = seed ^ (u64::from(partition as u32) << 40) ^ (at as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

impl Reader for Lane {
    fn poll(&mut self, wait: Duration) -> Result<Polled> {
        let partitions = self.partitions.len();
        for i in 0..partitions {
            let index = (self.turn + i) % partitions;
            let partition = &self.partitions[index];
            let left = partition.end.map_or(i64::MAX, |end| end - partition.next);
            let rows = left.min(self.allowance(partition)).min(self.room.rows as i64);
            if rows <= 0 {
                continue;
            }
            let batch = self.batch(partition, rows);
            self.partitions[index].next = batch.next;
            self.turn = index + 1;
            return Ok(Polled::Batch(batch));
        }
        if self.partitions.iter().all(|p| p.end.is_some_and(|end| p.next >= end)) {
            return Ok(Polled::End);
        }
        std::thread::sleep(wait);
        Ok(Polled::Idle)
    }

    fn rewind(&mut self, to: &Positions) -> Result<()> {
        for partition in &mut self.partitions {
            partition.next = to.get(&partition.id).copied().unwrap_or(partition.found);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(options: &Options, room_rows: usize) -> Lane {
        let schema = Arc::new(arrow::datatypes::Schema::empty());
        let generate = Generate { options: options.clone(), name: Arc::from("g"), schema };
        let partitions = (0..options.partitions).map(|n| generate.partition(n, &Positions::new())).collect();
        let room = Room {
            rows: room_rows,
            bytes: 1 << 20,
            lane_bytes: usize::MAX,
            age: Duration::from_millis(1),
            eager: false,
        };
        let clock = Arc::new(SystemClock::default());
        Lane { options: options.clone(), name: Arc::from("g"), partitions, room, clock, turn: 0 }
    }

    fn options() -> Options {
        Options { seed: 7, count: Some(1_001), rate: None, bad_rows: 0.0, partitions: 2 }
    }

    /// Values by partition, in order.
    fn all(lane: &mut Lane) -> Vec<(i32, i64, Vec<u8>)> {
        let mut records = Vec::new();
        while let Polled::Batch(batch) = lane.poll(Duration::ZERO).unwrap() {
            let Payload::Values(values) = &batch.payload else { panic!("bytes") };
            assert_eq!(batch.next, batch.offsets[batch.len() - 1] + 1);
            records.extend(
                (0..batch.len()).map(|i| (batch.partition, batch.offsets[i], values.value(i).to_vec())),
            );
        }
        records.sort();
        records
    }

    #[test]
    fn the_same_seed_gives_the_same_records_whatever_the_batches() {
        let records = all(&mut lane(&options(), 10));
        assert_eq!(records.len(), 1_001);
        assert_eq!(records, all(&mut lane(&options(), 777)));
        assert_ne!(records, all(&mut lane(&Options { seed: 8, ..options() }, 10)));
        assert!(records.iter().all(|(_, _, json)| serde_json::from_slice::<Value>(json).is_ok()));
    }

    /// What a serialiser would make of the same values.
    #[test]
    fn records_are_written_as_serde_json_writes_them() {
        #[derive(Deserialize, serde::Serialize)]
        struct Request {
            ts: i64,
            user_id: String,
            method: String,
            path: String,
            status: i32,
            latency_ms: f64,
            bytes: i64,
            country: String,
            ua: String,
        }
        for (_, _, json) in all(&mut lane(&options(), 100)) {
            let request: Request = serde_json::from_slice(&json).unwrap();
            assert_eq!(request.user_id.len(), 8);
            assert_eq!(serde_json::to_string(&request).unwrap(), String::from_utf8(json).unwrap());
        }
    }

    #[test]
    fn reading_goes_on_where_it_is_told() {
        let mut lane = lane(&options(), 10);
        let first = all(&mut lane);
        let id = Partition { topic: Arc::from("g"), partition: 1 };
        lane.rewind(&Positions::from([(id, 490)])).unwrap();
        let again = all(&mut lane);
        let expected: Vec<_> = first.into_iter().filter(|(p, at, _)| *p == 0 || *at >= 490).collect();
        assert_eq!(again, expected);
    }

    #[test]
    fn about_the_asked_share_is_broken() {
        let records = all(&mut lane(&Options { bad_rows: 0.2, ..options() }, 100));
        let bad =
            records.iter().filter(|(_, _, json)| serde_json::from_slice::<Value>(json).is_err()).count();
        assert!((120..280).contains(&bad), "{bad} of 1001");
    }

    #[test]
    fn a_rate_holds_back() {
        let mut lane = lane(&Options { rate: Some(2.0), ..options() }, 100);
        assert!(matches!(lane.poll(Duration::ZERO).unwrap(), Polled::Idle));
        assert_eq!(lane.allowance(&lane.partitions[0]), 0);
    }
}
