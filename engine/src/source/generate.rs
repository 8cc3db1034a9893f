//! `generate`: made-up web requests, the same for the same seed.
//!
//! Each record depends on the seed, its partition (the lane) and its number alone, so that a run resumes anywhere.
//! They are made as JSON bytes: decoding is exercised too, and bad records on demand are broken JSON.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::BinaryArray;
use arrow::buffer::{Buffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;

use crate::batch::{Payload, SourceBatch};
use crate::clock::{Clock, SystemClock};
use crate::codec::Problem;
use crate::error::{Code, Result};
use crate::source::{
    Control, Open, Opened, Partition, Polled, Positions, Prepared, Reader, Replay, Room, Settings, SourceKind,
};

/// Made-up web requests.
pub static KIND: SourceKind = SourceKind {
    name: "generate",
    summary: "Made-up web requests as JSON records, the same for the same seed.",
    example: "generate: { seed: 7, count: 100000, rate: 5000, bad_rows: 0.01 }\n",
    options: |_| {
        schemars::json_schema!({
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "seed": { "description": "What the records depend on.", "type": "integer", "minimum": 0, "default": 0 },
                "count": { "description": "Records over all lanes; endless by default.", "type": "integer", "minimum": 0 },
                "rate": { "description": "Records a second over all lanes; as fast as possible by default.", "type": "number", "exclusiveMinimum": 0 },
                "bad_rows": { "description": "Part of the records that are broken JSON.", "type": "number", "minimum": 0, "maximum": 1, "default": 0 },
            },
        })
    },
    replay: Replay::State,
    metadata: &["topic", "partition", "offset", "timestamp"],
    needs_format: false,
    prepare,
};

/// The columns of the records.
pub fn columns() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![
        Field::new("ts", time, true),
        Field::new("user_id", DataType::Int64, true),
        Field::new("method", DataType::Utf8, true),
        Field::new("path", DataType::Utf8, true),
        Field::new("status", DataType::Int64, true),
        Field::new("latency_ms", DataType::Float64, true),
        Field::new("country", DataType::Utf8, true),
        Field::new("ua", DataType::Utf8, true),
    ]))
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Generate {
    seed: u64,
    count: Option<u64>,
    rate: Option<f64>,
    bad_rows: f64,
}

struct Ready {
    options: Generate,
    schema: SchemaRef,
    node: Arc<str>,
}

fn prepare(settings: &Settings<'_>) -> Result<Box<dyn Prepared>, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut options = Generate { seed: 0, count: None, rate: None, bad_rows: 0.0 };
    match settings.options {
        Value::Object(map) => {
            for (key, value) in map {
                let expected = match key.as_str() {
                    "seed" => value.as_u64().map(|v| options.seed = v).ok_or("a number from 0"),
                    "count" => value.as_u64().map(|v| options.count = Some(v)).ok_or("a number from 0"),
                    "rate" => {
                        let rate = value.as_f64().filter(|v| *v > 0.0);
                        rate.map(|v| options.rate = Some(v)).ok_or("a number above 0")
                    }
                    "bad_rows" => {
                        let part = value.as_f64().filter(|v| (0.0..=1.0).contains(v));
                        part.map(|v| options.bad_rows = v).ok_or("a number from 0 to 1")
                    }
                    _ => {
                        let problem = Problem::new(
                            Code::C003,
                            format!("/{key}"),
                            format!("there is no option `{key}`"),
                        );
                        problems.push(problem.help("it takes seed, count, rate, bad_rows"));
                        Ok(())
                    }
                };
                if let Err(expected) = expected {
                    let message = format!("{expected} was expected, not {value}");
                    problems.push(Problem::new(Code::C005, format!("/{key}"), message));
                }
            }
        }
        _ => problems.push(Problem::new(Code::C005, "", "options are a mapping")),
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    // Records are JSON whatever is done with them: another format (`raw`) may look at their bytes.
    let schema = settings.format.and_then(|format| format.schema()).unwrap_or_else(columns);
    Ok(Box::new(Ready { options, schema, node: settings.name.into() }))
}

impl Prepared for Ready {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn describe(&self) -> String {
        let count = self.options.count.map_or("endless".to_owned(), |count| format!("{count} records"));
        format!("generate, seed {}, {count}", self.options.seed)
    }

    fn open(&self, open: Open) -> Result<Opened> {
        let lanes = open.lanes.max(1) as u64;
        let readers = (0..lanes).map(|lane| {
            let partition = Partition { topic: Arc::clone(&self.node), partition: lane as i32 };
            let found = open.resume.get(&partition).copied().unwrap_or(0);
            // The first lanes take one more where the count does not divide.
            let count =
                self.options.count.map(|count| (count / lanes + u64::from(lane < count % lanes)) as i64);
            let lane = Lane {
                options: self.options,
                rate: self.options.rate.map(|rate| rate / lanes as f64),
                partition,
                count,
                found,
                next: found,
                room: open.room,
                clock: Box::new(SystemClock::default()),
                started: None,
            };
            Box::new(lane) as Box<dyn Reader>
        });
        Ok(Opened { readers: readers.collect(), control: Arc::new(NoControl) })
    }
}

struct Lane {
    options: Generate,
    rate: Option<f64>,
    partition: Partition,
    count: Option<i64>,
    found: i64,
    next: i64,
    room: Room,
    clock: Box<dyn Clock>,
    /// When the rate began to count, and at which record.
    started: Option<(Duration, i64)>,
}

impl Lane {
    /// Records that the rate allows now.
    fn due(&mut self) -> i64 {
        let Some(rate) = self.rate else { return i64::MAX };
        let now = self.clock.now();
        let (start, first) = *self.started.get_or_insert((now, self.next));
        // The first record is due at once.
        first + ((now - start).as_secs_f64() * rate) as i64 + 1 - self.next
    }

    fn batch(&mut self, rows: i64) -> SourceBatch {
        let from = self.next;
        let mut data = String::new();
        let mut offsets = vec![0i32];
        let mut timestamps = Vec::new();
        while self.next < from + rows && data.len() < self.room.bytes {
            timestamps.push(record(&self.options, self.partition.partition, self.next, &mut data));
            offsets.push(data.len() as i32);
            self.next += 1;
        }
        let values = Buffer::from_vec(data.into_bytes());
        SourceBatch {
            source: Arc::clone(&self.partition.topic),
            topic: Arc::clone(&self.partition.topic),
            partition: self.partition.partition,
            offsets: (from..self.next).collect(),
            timestamps: Some(timestamps.into()),
            keys: None,
            headers: None,
            payload: Payload::Values(BinaryArray::new(OffsetBuffer::new(offsets.into()), values, None)),
            next: self.next,
        }
    }
}

const METHODS: [&str; 4] = ["GET", "GET", "POST", "DELETE"];
const PATHS: [&str; 6] = ["/", "/login", "/search", "/cart", "/api/v1/items", "/static/app.js"];
const STATUSES: [i64; 8] = [200, 200, 200, 200, 301, 404, 429, 500];
const COUNTRIES: [&str; 7] = ["AT", "BR", "DE", "IN", "JP", "KE", "US"];
const AGENTS: [&str; 3] =
    ["Mozilla/5.0 (X11; Linux x86_64)", "curl/8.5.0", "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0)"];

/// Appends a record; returns its time.
fn record(options: &Generate, partition: i32, number: i64, out: &mut String) -> i64 {
    /// Spreads neighbouring numbers over all seeds (the odd constant nearest to 2^64 divided by the golden ratio).
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
    let place = (partition as u64) << 48 ^ number as u64;
    let mut rng = SmallRng::seed_from_u64(options.seed ^ place.wrapping_mul(SPREAD));
    let mut pick = |words: &[&'static str]| words[rng.random_range(0..words.len())];
    let (method, path, country, agent) = (pick(&METHODS), pick(&PATHS), pick(&COUNTRIES), pick(&AGENTS));
    let status = STATUSES[rng.random_range(0..STATUSES.len())];
    let user = rng.random_range(1..100_000);
    // Long tails, as real latencies have them, in steps of a hundredth.
    let latency = (5.0 / (1.0 - rng.random_range(0.0..0.999_f64)) * 100.0).round() / 100.0;
    // Ten a second since the first of January 2026.
    let time = 1_767_225_600_000 + number * 100 + rng.random_range(0..100);
    let bad = options.bad_rows > 0.0 && rng.random_bool(options.bad_rows);
    // Writing to a string cannot fail.
    let _ = write!(
        out,
        "{{\"ts\":{time},\"user_id\":{user},\"method\":\"{method}\",\"path\":\"{path}\",\"status\":{status},\
         \"latency_ms\":{latency},\"country\":\"{country}\",\"ua\":\"{agent}\"{}",
        if bad { "" } else { "}" }
    );
    time
}

impl Reader for Lane {
    fn poll(&mut self, wait: Duration) -> Result<Polled> {
        let left = self.count.map_or(i64::MAX, |count| count - self.next);
        if left <= 0 {
            return Ok(Polled::End);
        }
        let rows = self.room.rows.max(1) as i64;
        let due = self.due();
        if due <= 0 || (due < rows.min(left) && self.rate.is_some_and(|rate| rate > rows as f64)) {
            // Sleeping in short steps keeps the lane ready for barriers.
            std::thread::sleep(wait.min(self.room.age).max(Duration::from_millis(1)));
        }
        match self.due().min(rows).min(left) {
            ..=0 => Ok(Polled::Idle),
            rows => Ok(Polled::Batch(self.batch(rows))),
        }
    }

    fn rewind(&mut self, to: &Positions) -> Result<()> {
        self.next = to.get(&self.partition).copied().unwrap_or(self.found);
        self.started = None;
        Ok(())
    }
}

/// Nothing is shared: the worker's state folder keeps the positions.
struct NoControl;

impl Control for NoControl {
    fn poll(&self, wait: Duration) -> Result<()> {
        std::thread::sleep(wait);
        Ok(())
    }

    fn commit(&self, _: &Positions) -> Result<()> {
        Ok(())
    }

    fn close(&self) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Runtime;

    struct Alone;

    impl Runtime for Alone {
        fn drain(&self, _: Duration) -> bool {
            true
        }
        fn rewind(&self, _: &str) {}
    }

    fn open(options: &Value, lanes: usize, resume: Positions) -> Opened {
        let base = std::path::Path::new("");
        let settings = Settings { pipeline: "p", name: "made", base, options, format: None };
        let room = Room { rows: 64, bytes: 4096, age: Duration::from_millis(1) };
        let runtime = Arc::new(Alone);
        let open = Open { lanes, worker: "w".into(), until_end: true, room, resume, runtime };
        prepare(&settings).unwrap_or_else(|p| panic!("{p:?}")).open(open).unwrap()
    }

    fn drain(reader: &mut dyn Reader) -> Vec<(i64, Vec<u8>)> {
        let mut records = Vec::new();
        loop {
            match reader.poll(Duration::from_millis(1)).unwrap() {
                Polled::End => return records,
                Polled::Idle => {}
                Polled::Batch(batch) => {
                    assert!(!batch.is_empty());
                    let Payload::Values(values) = &batch.payload else { panic!("values") };
                    records.extend((0..batch.len()).map(|i| (batch.offsets[i], values.value(i).to_vec())));
                }
            }
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_records_from_any_position() {
        let options = serde_json::json!({"seed": 3, "count": 501, "bad_rows": 0.2});
        let mut lanes = open(&options, 2, Positions::new());
        let first = drain(lanes.readers[0].as_mut());
        let second = drain(lanes.readers[1].as_mut());
        assert_eq!((first.len(), second.len()), (251, 250));
        let good = first.iter().filter(|(_, r)| serde_json::from_slice::<Value>(r).is_ok()).count();
        assert!((150..251).contains(&good), "{good} of 251 are good");
        let partition = Partition { topic: "made".into(), partition: 1 };
        let mut resumed = open(&options, 2, Positions::from([(partition.clone(), 100)]));
        assert_eq!(drain(resumed.readers[1].as_mut()), second[100..]);
        resumed.readers[1].rewind(&Positions::from([(partition, 249)])).unwrap();
        assert_eq!(drain(resumed.readers[1].as_mut()), second[249..]);
        resumed.readers[1].rewind(&Positions::new()).unwrap();
        assert_eq!(drain(resumed.readers[1].as_mut()), second[100..]);
    }

    #[test]
    fn a_rate_holds_records_back() {
        let mut opened = open(&serde_json::json!({"rate": 0.001}), 1, Positions::new());
        let Polled::Batch(batch) = opened.readers[0].poll(Duration::ZERO).unwrap() else {
            panic!("one is due")
        };
        assert_eq!(batch.len(), 1);
        assert!(matches!(opened.readers[0].poll(Duration::ZERO).unwrap(), Polled::Idle));
    }

    #[test]
    fn mistakes_are_all_reported() {
        let options = serde_json::json!({"seed": -1, "rate": 0, "bad_rows": 2, "sed": 1});
        let settings = Settings {
            pipeline: "p",
            name: "n",
            base: std::path::Path::new(""),
            options: &options,
            format: None,
        };
        assert_eq!(prepare(&settings).err().unwrap().len(), 4);
    }
}
