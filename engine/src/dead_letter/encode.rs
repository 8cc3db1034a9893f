//! Failures to dead letters: the original record, byte for byte, and the cause.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryBuilder, ListBuilder, RecordBatch, StringBuilder, StructBuilder,
    TimestampMillisecondArray,
};
use arrow::datatypes::{DataType, Fields};

use super::{Bytes, Line, cause, schema, split, told};
use crate::batch::{Batch, Failure, Header, Origin, Origins, Payload, Selection, headers_type};
use crate::codec::Format;
use crate::error::{Error, Result};
use crate::secret;
use crate::units::DEAD_LETTER_MESSAGE_BYTES_MAX;

/// How often records have failed before, by source, topic, partition and offset: what a replay knows of its records.
#[derive(Debug, Default)]
pub struct Attempts(HashMap<(Arc<str>, Arc<str>, i32, i64), u32>);

impl Attempts {
    /// Notes a record's attempts; the most of several count.
    pub fn note(&mut self, source: &Arc<str>, topic: &Arc<str>, partition: i32, offset: i64, attempts: u32) {
        let known = self.0.entry((Arc::clone(source), Arc::clone(topic), partition, offset)).or_default();
        *known = attempts.max(*known);
    }

    fn of(&self, origin: &Origin) -> u32 {
        if self.0.is_empty() {
            return 0;
        }
        let batch = &origin.batch;
        let place = (Arc::clone(&batch.source), Arc::clone(&batch.topic), batch.partition, origin.offset());
        self.0.get(&place).copied().unwrap_or(0)
    }
}

/// Makes letters of failures.
pub struct Scribe {
    /// Name of the pipeline.
    pub pipeline: String,
    /// How often records have failed before.
    pub attempts: Arc<Attempts>,
    /// Writes the original of a row that came as columns.
    pub rows: Arc<dyn Format>,
    /// By source what the header of its files names the fields of a record.
    pub columns: BTreeMap<Arc<str>, Vec<String>>,
}

impl Scribe {
    /// The number of this failure among those of its record.
    fn attempt(&self, failure: &Failure) -> u32 {
        self.attempts.of(&failure.origin).max(told_attempts(&failure.origin)).saturating_add(1)
    }

    /// The `pipe.error.*` headers of a failure. The pipeline's name is the first: it is where they begin.
    fn causes(&self, failure: &Failure) -> Vec<(&'static str, String)> {
        let batch = &failure.origin.batch;
        let mut causes = vec![
            (cause::PIPELINE, self.pipeline.clone()),
            (cause::SOURCE, batch.source.to_string()),
            (cause::STAGE, failure.node.to_string()),
            (cause::KIND, failure.kind.as_str().to_owned()),
            (cause::MESSAGE, message(failure)),
            (cause::TOPIC, batch.topic.to_string()),
            (cause::PARTITION, batch.partition.to_string()),
            (cause::OFFSET, failure.origin.offset().to_string()),
            (cause::ATTEMPT, self.attempt(failure).to_string()),
        ];
        if let Some(digest) = &failure.component {
            causes.push((cause::COMPONENT, digest.to_string()));
        }
        if let Some(times) = &batch.timestamps {
            causes.push((cause::TIMESTAMP, times[failure.origin.row].to_string()));
        }
        if let Some(columns) = self.columns.get(&batch.source) {
            causes.push((cause::COLUMNS, serde_json::json!(columns).to_string()));
        }
        causes
    }

    /// A line of the dead-letter file.
    pub fn line<'a>(&'a self, failure: &'a Failure, now: i64) -> Line<'a> {
        let batch = &failure.origin.batch;
        Line {
            pipeline: self.pipeline.as_str().into(),
            source: Some((&*batch.source).into()),
            stage: (&*failure.node).into(),
            component: failure.component.as_deref().map(Into::into),
            kind: failure.kind.as_str().into(),
            message: message(failure).into(),
            topic: (&*batch.topic).into(),
            partition: batch.partition,
            offset: failure.origin.offset(),
            timestamp: batch.timestamps.as_ref().map(|times| times[failure.origin.row]),
            columns: self.columns.get(&batch.source).map(|names| names.as_slice().into()),
            attempt: self.attempt(failure),
            failed_at: now,
            key: key(&failure.origin).map(Into::into),
            // A row that cannot even be written as JSON still leaves its place and cause.
            value: self.value(&failure.origin).unwrap_or_default().map(Into::into),
            headers: headers(&failure.origin)
                .into_iter()
                .map(|(name, value)| (Bytes::from(name), value.map(Into::into)))
                .collect(),
        }
    }

    /// Failures as rows of the dead letters' columns.
    pub fn records(&self, failures: &[Failure], now: i64) -> Result<Batch> {
        let mut keys = BinaryBuilder::new();
        let mut values = BinaryBuilder::new();
        let mut lists = header_builder()?;
        for failure in failures {
            keys.append_option(key(&failure.origin));
            values.append_option(self.value(&failure.origin)?);
            let entries = lists.values();
            let headers = headers(&failure.origin);
            for (name, value) in &headers {
                append_header(entries, &String::from_utf8_lossy(name), *value)?;
            }
            for (name, value) in self.causes(failure) {
                append_header(entries, name, Some(value.as_bytes()))?;
            }
            for (name, bytes) in raw_names(&headers) {
                append_header(entries, &name, Some(bytes))?;
            }
            lists.append(true);
        }
        let times = TimestampMillisecondArray::from_value(now, failures.len()).with_timezone("UTC");
        let columns: Vec<ArrayRef> = vec![
            Arc::new(keys.finish()),
            Arc::new(values.finish()),
            Arc::new(lists.finish()),
            Arc::new(times),
        ];
        let records = RecordBatch::try_new(schema(), columns)
            .map_err(|e| Error::internal(format!("dead letters do not fit their columns: {e}")))?;
        let origins: Vec<Origins> = failures
            .iter()
            .map(|f| {
                let row = arrow::array::UInt32Array::from_value(f.origin.row as u32, 1);
                Origins::whole(Arc::clone(&f.origin.batch)).select(&Selection::Take(row))
            })
            .collect();
        Ok(Batch::new(records, Origins::concat(&origins)))
    }

    /// Bytes of the original record: its own, or the row as JSON where it came as columns.
    fn value(&self, origin: &Origin) -> Result<Option<Vec<u8>>> {
        match &origin.batch.payload {
            Payload::Values(values) => {
                Ok(values.is_valid(origin.row).then(|| values.value(origin.row).to_vec()))
            }
            Payload::Rows(rows) => {
                let row = Batch::of_columns(rows.slice(origin.row, 1));
                let lines = self.rows.encoder(rows.schema())?.encode(&row)?;
                Ok(Some(lines.value(0).to_vec()))
            }
        }
    }
}

/// The cause in words, as it is kept: without the secrets, which a stage may have been granted and tells.
fn message(failure: &Failure) -> String {
    let mut message = secret::hide(&failure.message).into_owned();
    message.truncate(message.floor_char_boundary(DEAD_LETTER_MESSAGE_BYTES_MAX));
    message
}

fn key(origin: &Origin) -> Option<&[u8]> {
    let keys = origin.batch.keys.as_ref()?;
    keys.is_valid(origin.row).then(|| keys.value(origin.row))
}

/// The record's own headers, without those of an earlier failure where it is a letter: they are replaced.
fn headers(origin: &Origin) -> Vec<Header<'_>> {
    let all: Vec<Header<'_>> = all_headers(origin).collect();
    split(&all).map_or(all, |(originals, _)| originals)
}

fn all_headers(origin: &Origin) -> impl Iterator<Item = Header<'_>> {
    origin.batch.headers.iter().flat_map(|headers| {
        let range = headers.offsets[origin.row] as usize..headers.offsets[origin.row + 1] as usize;
        range.map(|i| (headers.names.value(i), headers.values.is_valid(i).then(|| headers.values.value(i))))
    })
}

/// Bytes of the headers' names that are not UTF-8, by number: the client that writes them takes text only.
fn raw_names<'a>(headers: &'a [Header<'_>]) -> impl Iterator<Item = (String, &'a [u8])> {
    let raw = headers.iter().enumerate().filter(|(_, (name, _))| std::str::from_utf8(name).is_err());
    raw.map(|(at, (name, _))| (format!("{}{at}", cause::NAME), *name))
}

/// How often a record has failed before, as the headers of a dead letter say that is read as a record.
fn told_attempts(origin: &Origin) -> u32 {
    let all: Vec<Header<'_>> = all_headers(origin).collect();
    let attempts = split(&all).and_then(|(_, causes)| told(&causes, cause::ATTEMPT)?.parse().ok());
    attempts.unwrap_or(0)
}

fn header_builder() -> Result<ListBuilder<StructBuilder>> {
    let DataType::List(item) = headers_type() else { return Err(Error::internal("headers are a list")) };
    let DataType::Struct(fields) = item.data_type() else { return Err(Error::internal("of structs")) };
    let entries = StructBuilder::new(
        Fields::clone(fields),
        vec![Box::new(StringBuilder::new()), Box::new(BinaryBuilder::new())],
    );
    Ok(ListBuilder::new(entries).with_field(item))
}

fn append_header(entries: &mut StructBuilder, name: &str, value: Option<&[u8]>) -> Result<()> {
    let wrong = || Error::internal("header columns are text and bytes");
    entries.field_builder::<StringBuilder>(0).ok_or_else(wrong)?.append_value(name);
    entries.field_builder::<BinaryBuilder>(1).ok_or_else(wrong)?.append_option(value);
    entries.append(true);
    Ok(())
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, BinaryArray};

    use super::*;
    use crate::batch::{FailureKind, Headers, SourceBatch};

    fn failure(headers: &[(&[u8], Option<&[u8]>)]) -> Failure {
        let batch = SourceBatch {
            source: "in".into(),
            topic: "t".into(),
            partition: 3,
            offsets: vec![42].into(),
            timestamps: Some(vec![7].into()),
            keys: Some(BinaryArray::from_opt_vec(vec![Some(b"")])),
            headers: Some(Headers {
                offsets: vec![0, headers.len() as i32].into(),
                names: BinaryArray::from_iter_values(headers.iter().map(|(name, _)| name)),
                values: headers.iter().map(|(_, value)| *value).collect(),
            }),
            payload: Payload::Values(BinaryArray::from_opt_vec(vec![None])),
            next: 43,
            trace: None,
            hold: None,
        };
        Failure {
            origin: Origin { batch: Arc::new(batch), row: 0 },
            node: "s".into(),
            component: Some("abc".into()),
            kind: FailureKind::Trap,
            message: "€".repeat(DEAD_LETTER_MESSAGE_BYTES_MAX),
        }
    }

    fn scribe() -> Scribe {
        let columns = BTreeMap::from([("in".into(), vec!["a,b".to_owned(), "c".to_owned()])]);
        let rows = crate::format::json::explicit_nulls().unwrap();
        Scribe { pipeline: "p".to_owned(), attempts: Arc::default(), rows, columns }
    }

    /// The headers of the one record.
    fn written(scribe: &Scribe, failure: &Failure) -> Vec<(String, Option<Vec<u8>>)> {
        let batch = scribe.records(std::slice::from_ref(failure), 9).unwrap();
        let list = batch.records.column(2).as_list::<i32>().value(0);
        let entries = list.as_struct();
        let (names, values) = (entries.column(0).as_string::<i32>(), entries.column(1).as_binary::<i32>());
        let value = |at: usize| values.is_valid(at).then(|| values.value(at).to_vec());
        (0..entries.len()).map(|at| (names.value(at).to_owned(), value(at))).collect()
    }

    #[test]
    fn a_letter_is_its_record_and_comes_back_from_topic_and_line() {
        let own: [Header<'_>; 4] = [
            (b"h", None),
            (&[0xff, b'x'], Some(b"")),
            (b"h", Some(&[0xfe])),
            (b"pipe.error.kind", Some(b"old")),
        ];
        let failure = failure(&own);
        let headers = written(&scribe(), &failure);
        assert_eq!(
            headers.iter().filter(|(name, _)| name == cause::KIND).count(),
            2,
            "its own and the letter's"
        );
        let borrowed: Vec<Header<'_>> =
            headers.iter().map(|(name, value)| (name.as_bytes(), value.as_deref())).collect();
        let read = Line::of_record(Some(b""), None, &borrowed, 9).unwrap();
        let scribe = scribe();
        let line = scribe.line(&failure, 9);
        assert_eq!(read, line);
        let text = serde_json::to_string(&line).unwrap();
        assert_eq!(serde_json::from_str::<Line<'static>>(&text).unwrap(), line);
        assert!(line.message.len() <= DEAD_LETTER_MESSAGE_BYTES_MAX && line.message.ends_with('€'));
        let names: Vec<&[u8]> = line.headers.iter().map(|(name, _)| name.as_slice()).collect();
        assert_eq!(names, [b"h".as_slice(), &[0xff, b'x'], b"h", b"pipe.error.kind"]);
        assert_eq!(&*line.kind, "trap");
        assert_eq!((&line.value, line.key.as_ref().unwrap().as_slice()), (&None, b"".as_slice()));
    }

    #[test]
    fn a_message_holds_no_secret_not_even_the_begin_of_one() {
        secret::keep("magpie-of-the-scribe");
        let mut failure = failure(&[(b"own", Some(b"magpie-of-the-scribe"))]);
        failure.message = format!("{}magpie-of-the-scribe", "x".repeat(DEAD_LETTER_MESSAGE_BYTES_MAX - 6));
        assert!(
            failure.message[..DEAD_LETTER_MESSAGE_BYTES_MAX].ends_with("magpie"),
            "without hiding it is there"
        );
        let scribe = scribe();
        let headers = written(&scribe, &failure);
        let (_, told) = headers.iter().find(|(name, _)| name == cause::MESSAGE).unwrap();
        for message in
            [&*scribe.line(&failure, 9).message, std::str::from_utf8(told.as_ref().unwrap()).unwrap()]
        {
            assert!(message.ends_with("x***"), "{}", &message[message.len() - 30..]);
        }
        assert_eq!(headers[0].1.as_deref(), Some(b"magpie-of-the-scribe".as_slice()), "the record is kept");
    }

    #[test]
    fn attempts_count_on() {
        let mut scribe = scribe();
        let attempt = |scribe: &Scribe, value: &[u8]| {
            let mut letter = written(scribe, &failure(&[(b"own", None)]));
            letter.retain(|(name, _)| name != cause::ATTEMPT);
            letter.push((cause::ATTEMPT.to_owned(), Some(value.to_vec())));
            let letter: Vec<Header<'_>> =
                letter.iter().map(|(name, value)| (name.as_bytes(), value.as_deref())).collect();
            let again = failure(&letter);
            let headers = written(scribe, &again);
            assert_eq!(headers.len(), letter.len(), "replaced, not added");
            assert_eq!(headers[0], ("own".to_owned(), None));
            scribe.line(&again, 9).attempt
        };
        // A record that only has such a header is no letter.
        let alone: [Header<'_>; 1] = [(b"pipe.error.attempt", Some(b"41"))];
        assert_eq!(scribe.line(&failure(&alone), 9).attempt, 1);
        assert_eq!(attempt(&scribe, b"4"), 5);
        for odd in [b"".as_slice(), b"x", &[0xff], b"-1", b"99999999999"] {
            assert_eq!(attempt(&scribe, odd), 1);
        }
        assert_eq!(attempt(&scribe, u32::MAX.to_string().as_bytes()), u32::MAX);
        let mut attempts = Attempts::default();
        attempts.note(&"in".into(), &"t".into(), 3, 42, 6);
        attempts.note(&"in".into(), &"t".into(), 3, 42, 2);
        scribe.attempts = Arc::new(attempts);
        assert_eq!((attempt(&scribe, b"4"), attempt(&scribe, b"9")), (7, 10));
    }
}
