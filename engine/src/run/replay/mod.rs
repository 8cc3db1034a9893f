//! Dead letters as a source: the records behind them go through a plan again, as if they were read where they were
//! read first.
//!
//! A [`Round`] is a bounded number of letters in memory. They are sorted by source and place, so that the order in a
//! partition is kept and batches are as long as they can be, and handed out by a source that stands in the place of
//! the plan's own.

pub mod journal;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow::array::{Array, BinaryBuilder, RecordBatch};
use arrow::datatypes::SchemaRef;

use crate::batch::{Headers, Payload, SourceBatch};
use crate::codec::Layout;
use crate::config::spec::Guarantee;
use crate::connector::position::{Positions, Replay};
use crate::connector::source::{self, Open, Opened, Polled, Reader, Room, SourceKind, Ungrouped};
use crate::dead_letter::{Attempts, Bytes, Letter};
use crate::error::{Code, Error, Result};
use crate::format::json;
use crate::plan::Plan;

/// In a plan in the place of a source's own kind: its positions are nobody's to keep.
static KIND: SourceKind = SourceKind {
    name: "dead-letters",
    summary: "Records of dead letters.",
    example: "",
    options: |_| schemars::json_schema!({}),
    replay: Replay::Group,
    metadata: &[],
    needs_format: false,
    default_format: None,
    prepare: |_| Err(Vec::new()),
};

/// Letters that are replayed together.
#[derive(Default)]
pub struct Round {
    letters: BTreeMap<String, Vec<Letter>>,
    handed: BTreeMap<String, Arc<AtomicUsize>>,
    attempts: Attempts,
}

impl Round {
    /// Adds a letter of a source.
    pub fn add(&mut self, source: &str, letter: Letter) {
        self.letters.entry(source.to_owned()).or_default().push(letter);
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.letters.is_empty()
    }

    /// Puts the letters in the place of the plan's sources, one lane, and answers what `Options::attempts` is to be.
    pub fn load(&mut self, plan: &mut Plan) -> Result<Arc<Attempts>> {
        plan.lanes = 1;
        // What a run before has written stands under the name that the file gives.
        plan.commits_as_told = true;
        // No group holds what was replayed: the state folder does.
        plan.guarantee = Guarantee::AtLeastOnce;
        for node in &mut plan.sources {
            let letters = self.letters.entry(node.name.to_string()).or_default();
            // The order of the file where places are equal: a record that failed twice is one record.
            letters.sort_by(|a, b| place(a).cmp(&place(b)));
            let (schema, name) = (node.prepared.schema(), Arc::clone(&node.name));
            let header = node.format.as_ref().and_then(|format| format.header());
            if let Some(letter) = letters.iter().find(|letter| !fits(letter, header)) {
                return Err(unreadable(letter, "the header of the source's file was changed"));
            }
            let columns = node.format.as_ref().is_some_and(|f| f.layout() == Layout::Container);
            let batches = batches(&name, letters, columns.then_some(&schema), plan.room, &mut self.attempts)?;
            let handed = Arc::new(AtomicUsize::new(0));
            self.handed.insert(node.name.to_string(), Arc::clone(&handed));
            node.prepared = Box::new(Letters { schema, batches: Mutex::new(batches), handed });
            node.kind = &KIND;
        }
        Ok(Arc::new(std::mem::take(&mut self.attempts)))
    }

    /// The letters that were handed to the plan: all, unless it was stopped before.
    pub fn handed(&self) -> impl Iterator<Item = &Letter> {
        self.letters.iter().flat_map(|(source, letters)| {
            let handed = self.handed.get(source).map_or(0, |handed| handed.load(Ordering::Acquire));
            letters.iter().take(handed)
        })
    }
}

/// Whether a letter's record can be read under the header that its source's file has now. One of a record that names
/// its columns, or of the first version, tells none.
pub fn fits(letter: &Letter, header: Option<&[String]>) -> bool {
    letter.line.columns.as_deref().is_none_or(|columns| Some(columns) == header)
}

/// Where the record was read.
fn place(letter: &Letter) -> (&str, i32, i64) {
    (&letter.line.topic, letter.line.partition, letter.line.offset)
}

/// Batches of one partition each, offsets rising.
fn batches(
    source: &Arc<str>,
    letters: &[Letter],
    columns: Option<&SchemaRef>,
    room: Room,
    attempts: &mut Attempts,
) -> Result<Vec<SourceBatch>> {
    let mut batches = Vec::new();
    let mut begin = 0;
    while begin < letters.len() {
        let (topic, partition, mut last) = place(&letters[begin]);
        let mut bytes = size(&letters[begin]);
        let more = letters[begin + 1..].iter().take(room.rows.max(1) - 1).take_while(|letter| {
            let (next_topic, next_partition, offset) = place(letter);
            bytes += size(letter);
            let fits =
                (next_topic, next_partition) == (topic, partition) && offset > last && bytes <= room.bytes;
            last = last.max(offset);
            fits
        });
        let end = begin + 1 + more.count();
        let part = &letters[begin..end];
        let topic: Arc<str> = topic.into();
        for letter in part {
            attempts.note(source, &topic, partition, letter.line.offset, letter.line.attempt);
        }
        batches.push(batch(source, topic, part, columns)?);
        begin = end;
    }
    Ok(batches)
}

/// Bytes of the record that a letter holds.
pub fn size(letter: &Letter) -> usize {
    let bytes = |b: &Option<Bytes>| b.as_ref().map_or(0, |b| b.as_slice().len());
    let line = &letter.line;
    let headers: usize = line.headers.iter().map(|(name, value)| name.as_slice().len() + bytes(value)).sum();
    bytes(&line.key) + bytes(&line.value) + headers
}

fn batch(
    source: &Arc<str>,
    topic: Arc<str>,
    letters: &[Letter],
    columns: Option<&SchemaRef>,
) -> Result<SourceBatch> {
    let binary = |part: fn(&Letter) -> Option<&Bytes>| {
        let mut builder = BinaryBuilder::new();
        letters.iter().for_each(|letter| builder.append_option(part(letter).map(Bytes::as_slice)));
        builder.finish()
    };
    let payload = match columns {
        Some(schema) => Payload::Rows(rows(schema, letters)?),
        None => Payload::Values(binary(|letter| letter.line.value.as_ref())),
    };
    let keys = binary(|letter| letter.line.key.as_ref());
    let times: Vec<i64> = letters.iter().map(|letter| letter.line.timestamp.unwrap_or(-1)).collect();
    Ok(SourceBatch {
        source: Arc::clone(source),
        topic,
        partition: letters[0].line.partition,
        offsets: letters.iter().map(|letter| letter.line.offset).collect(),
        timestamps: times.iter().any(|time| *time >= 0).then(|| times.into()),
        keys: (keys.null_count() < keys.len()).then_some(keys),
        headers: headers(letters),
        payload,
        next: letters[letters.len() - 1].line.offset + 1,
        trace: None,
        hold: None,
    })
}

fn headers(letters: &[Letter]) -> Option<Headers> {
    let (mut offsets, mut names, mut values) = (vec![0], BinaryBuilder::new(), BinaryBuilder::new());
    for letter in letters {
        for (name, value) in &letter.line.headers {
            names.append_value(name.as_slice());
            values.append_option(value.as_ref().map(Bytes::as_slice));
        }
        let end = offsets[offsets.len() - 1] + i32::try_from(letter.line.headers.len()).unwrap_or(i32::MAX);
        offsets.push(end);
    }
    let names = names.finish();
    (!names.is_empty()).then(|| Headers { offsets: offsets.into(), names, values: values.finish() })
}

/// Rows of a file of columns, which its letters hold as JSON.
fn rows(schema: &SchemaRef, letters: &[Letter]) -> Result<RecordBatch> {
    // What a letter has beside its columns was the column of what nobody declared, if there is one.
    let keeps = schema.fields().last().is_some_and(|last| json::is_rest(last));
    let format = (json::KIND.prepare)(&serde_json::json!({ "unknown": if keeps { "keep" } else { "drop" } }))
        .map_err(|_| Error::internal("the format json has no `unknown`"))?;
    let mut values = BinaryBuilder::new();
    for letter in letters {
        let Some(value) = &letter.line.value else {
            return Err(unreadable(letter, "its row could not be written as JSON"));
        };
        values.append_value(value.as_slice());
    }
    let decoded = format.decoder(Arc::clone(schema))?.decode(&Payload::Values(values.finish()))?;
    match decoded.bad.first() {
        None => Ok(decoded.records),
        Some(bad) => Err(unreadable(&letters[bad.row as usize], &bad.message)),
    }
}

fn unreadable(letter: &Letter, why: &str) -> Error {
    let text = format!("the letter {} cannot be made a row of its source's file again: {why}", letter.place);
    Error::user(Code::K006, text).help("replay the file itself, or leave this letter out by the filters")
}

/// A source of letters in the place of another.
struct Letters {
    schema: SchemaRef,
    batches: Mutex<Vec<SourceBatch>>,
    handed: Arc<AtomicUsize>,
}

impl source::Prepared for Letters {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn describe(&self) -> String {
        "dead letters".to_owned()
    }

    fn open(&self, _: Open) -> Result<Opened> {
        let mut batches = std::mem::take(&mut *self.batches.lock().unwrap_or_else(PoisonError::into_inner));
        batches.reverse();
        let reader = Box::new(Hand { batches, handed: Arc::clone(&self.handed) });
        Ok(Opened { readers: vec![reader], control: Arc::new(Ungrouped) })
    }
}

/// Hands them out; the last batch comes first.
struct Hand {
    batches: Vec<SourceBatch>,
    handed: Arc<AtomicUsize>,
}

impl Reader for Hand {
    fn poll(&mut self, _: Duration) -> Result<Polled> {
        Ok(match self.batches.pop() {
            Some(batch) => {
                self.handed.fetch_add(batch.len(), Ordering::AcqRel);
                Polled::Batch(batch)
            }
            None => Polled::End,
        })
    }

    fn rewind(&mut self, _: &Positions) -> Result<()> {
        // Only a consumer group asks for it, and there is none in a replay.
        Err(Error::internal("a replay has nothing to go back to"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dead_letter::{Line, Place};

    fn letter(topic: &str, partition: i32, offset: i64, value: Option<&[u8]>) -> Letter {
        let line = Line {
            pipeline: "p".into(),
            source: Some("in".into()),
            stage: "s".into(),
            component: None,
            kind: "trap".into(),
            message: "m".into(),
            topic: topic.to_owned().into(),
            partition,
            offset,
            timestamp: Some(5),
            columns: None,
            attempt: 2,
            failed_at: 7,
            key: value.map(Into::into),
            value: value.map(Into::into),
            headers: vec![(vec![0xff].into(), None), (vec![].into(), Some(vec![].into()))],
        };
        Letter { place: Place::Line(offset.unsigned_abs()), line }
    }

    #[test]
    fn batches_keep_partitions_apart_and_offsets_rising() {
        let letters = [
            letter("a", 0, 1, Some(b"x")),
            letter("a", 0, 5, None),
            letter("a", 0, 5, None),
            letter("a", 1, 2, Some(b"")),
            letter("b", 1, 3, Some(b"y")),
        ];
        let room =
            Room { rows: 100, bytes: 1 << 20, lane_bytes: usize::MAX, age: Duration::ZERO, eager: false };
        let mut attempts = Attempts::default();
        let found = batches(&"in".into(), &letters, None, room, &mut attempts).unwrap();
        let shape: Vec<(&str, i32, &[i64], i64)> =
            found.iter().map(|b| (&*b.topic, b.partition, &b.offsets[..], b.next)).collect();
        let expected: [(&str, i32, &[i64], i64); 4] =
            [("a", 0, &[1, 5], 6), ("a", 0, &[5], 6), ("a", 1, &[2], 3), ("b", 1, &[3], 4)];
        assert_eq!(shape, expected);
        let first = &found[0];
        let Payload::Values(values) = &first.payload else { panic!("bytes") };
        assert_eq!((values.value(0), values.is_null(1)), (b"x".as_slice(), true));
        let headers = first.headers.as_ref().unwrap();
        assert_eq!((&headers.offsets[..], headers.names.value(0)), ([0, 2, 4].as_slice(), [0xff].as_slice()));
        assert!(headers.values.is_null(0) && headers.values.value(1).is_empty());
        assert!(found[1].keys.is_none() && found[2].keys.is_some(), "no key, and an empty one");
        let one = Room { rows: 1, ..room };
        assert_eq!(batches(&"in".into(), &letters, None, one, &mut attempts).unwrap().len(), 5);
    }

    #[test]
    fn a_letter_fits_only_the_header_it_was_read_under() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let mut letter = letter("f.csv", 0, 0, Some(b"1,2"));
        assert!(fits(&letter, None) && fits(&letter, Some(&names(&["a", "b"]))));
        letter.line.columns = Some(names(&["b", "a"]).into());
        assert!(fits(&letter, Some(&names(&["b", "a"]))));
        assert!(!fits(&letter, Some(&names(&["a", "b"]))) && !fits(&letter, None));
    }

    #[test]
    fn a_row_of_columns_comes_back_from_its_json() {
        use arrow::datatypes::{DataType, Field, Schema};
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
        let good = letter("f", 0, 0, Some(br#"{"n":7}"#));
        let found = rows(&schema, std::slice::from_ref(&good)).unwrap();
        assert_eq!(found.num_rows(), 1);
        for bad in [letter("f", 0, 1, Some(br#"{"n":"x"}"#)), letter("f", 0, 1, None)] {
            assert_eq!(rows(&schema, &[good.clone(), bad]).err().unwrap().code(), Code::K006);
        }
    }
}
