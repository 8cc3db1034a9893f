//! Formats: how the bytes of a record, or a whole file, become columns and back. One file here and one line in
//! [`FORMATS`] each.

mod accept;
pub mod arrow_ipc;
mod columns;
pub mod container;
pub mod csv;
mod fit;
pub mod json;
pub mod original;
pub mod parquet;
pub mod profile;
pub mod raw;
mod sample;
mod text;
mod time;
mod write;

use std::io::{self, Write};
use std::sync::Arc;

use ::arrow::array::{BooleanArray, BooleanBufferBuilder, RecordBatch};
use ::arrow::datatypes::SchemaRef;
use ::arrow::error::ArrowError;
use schemars::{Schema, SchemaGenerator};
use serde_json::Value;

use self::accept::Accept;
use crate::batch::Payload;
use crate::codec::{Decoded, Decoder, Format};
use crate::error::{Code, Error, Result};
use crate::problem::Problem;
use crate::units::RECORD_BYTES_MAX;

/// Every format, in alphabetical order.
pub static FORMATS: &[&FormatKind] =
    &[&arrow_ipc::KIND, &csv::KIND, &json::KIND, &original::KIND, &parquet::KIND, &raw::KIND];

/// A kind of format.
pub struct FormatKind {
    /// The key in the pipeline file.
    pub name: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// YAML of a `format:` value; a test parses and plans it.
    pub example: &'static str,
    /// JSON Schema of its options.
    pub options: fn(&mut SchemaGenerator) -> Schema,
    /// Extensions of files it is taken for when `format:` is absent.
    pub extensions: &'static [&'static str],
    /// Whether a source can use it.
    pub reads: bool,
    /// What an extension says of an option that is not given: extension, key, value.
    pub by_extension: &'static [(&'static str, &'static str, &'static str)],
    /// Resolves the options (the value under the format's key; `{}` when only its name was given).
    pub prepare: fn(&Value) -> Result<Arc<dyn Format>, Vec<Problem>>,
}

/// Reads options and gathers every mistake in them.
struct Options<'a> {
    value: &'a Value,
    problems: Vec<Problem>,
}

impl<'a> Options<'a> {
    /// Options of these keys only.
    fn new(value: &'a Value, keys: &[&str]) -> Self {
        let mut problems = Vec::new();
        match value {
            Value::Object(map) => {
                for key in map.keys().filter(|key| !keys.contains(&key.as_str())) {
                    let known = keys.join(", ");
                    let problem =
                        Problem::new(Code::C003, format!("/{key}"), format!("there is no option `{key}`"));
                    let help = if known.is_empty() {
                        "it takes no options".into()
                    } else {
                        format!("it takes {known}")
                    };
                    problems.push(problem.help(help));
                }
            }
            _ => problems.push(Problem::new(Code::C005, "", "options are a mapping")),
        }
        Self { value, problems }
    }

    fn problem(&mut self, pointer: &str, code: Code, message: &str) {
        self.problems.push(Problem::new(code, pointer, message));
    }

    /// Columns, and what is accepted in them; `text_only`: the format has only text.
    fn columns(&mut self, text_only: bool) -> (Option<SchemaRef>, Accept) {
        let read = accept::read(self.value, text_only);
        self.problems.extend(read.problems);
        (read.columns, read.accept)
    }

    fn flag(&mut self, key: &str, default: bool) -> bool {
        match self.value.get(key) {
            None | Some(Value::Null) => default,
            Some(Value::Bool(flag)) => *flag,
            Some(other) => {
                self.problem(
                    &format!("/{key}"),
                    Code::C005,
                    &format!("true or false was expected, not {other}"),
                );
                default
            }
        }
    }

    /// One of a few words.
    fn word(&mut self, key: &str, allowed: &[&str], default: &'a str) -> &'a str {
        match self.value.get(key) {
            None | Some(Value::Null) => default,
            Some(Value::String(word)) if allowed.contains(&word.as_str()) => word,
            Some(other) => {
                let message = format!("one of {} was expected, not {other}", allowed.join(", "));
                self.problem(&format!("/{key}"), Code::C005, &message);
                default
            }
        }
    }

    /// Whether a key has a value.
    fn is_given(&self, key: &str) -> bool {
        self.value.get(key).is_some_and(|value| !value.is_null())
    }

    /// A single ASCII sign.
    fn sign(&mut self, key: &str) -> Option<u8> {
        match self.value.get(key) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) if text.len() == 1 && !matches!(text.as_str(), "\n" | "\r") => {
                Some(text.as_bytes()[0])
            }
            Some(other) => {
                self.problem(
                    &format!("/{key}"),
                    Code::C005,
                    &format!("one ASCII sign was expected, not {other}"),
                );
                None
            }
        }
    }

    /// A number of things, none by default.
    fn count(&mut self, key: &str) -> u32 {
        match self.value.get(key) {
            None | Some(Value::Null) => 0,
            Some(other) => match other.as_u64().and_then(|count| u32::try_from(count).ok()) {
                Some(count) => count,
                None => {
                    let message = format!("a whole number up to {} was expected, not {other}", u32::MAX);
                    self.problem(&format!("/{key}"), Code::C005, &message);
                    0
                }
            },
        }
    }

    /// One text or several.
    fn words(&mut self, key: &str) -> Vec<String> {
        let (values, one) = match self.value.get(key) {
            None | Some(Value::Null) => return Vec::new(),
            Some(Value::Array(values)) => (values.as_slice(), false),
            Some(value) => (std::slice::from_ref(value), true),
        };
        let mut words = Vec::new();
        for (i, value) in values.iter().enumerate() {
            match value {
                Value::String(word) => words.push(word.clone()),
                other => {
                    let at = if one { format!("/{key}") } else { format!("/{key}/{i}") };
                    self.problem(&at, Code::C005, &format!("a text was expected, not {other}"));
                }
            }
        }
        if values.is_empty() {
            self.problem(&format!("/{key}"), Code::C005, "at least one text was expected");
        }
        words
    }

    fn done(self, format: impl Format + 'static) -> Result<Arc<dyn Format>, Vec<Problem>> {
        if self.problems.is_empty() { Ok(Arc::new(format)) } else { Err(self.problems) }
    }
}

/// Which rows of a source batch were good: nothing is kept until the first bad one.
struct Good {
    rows: usize,
    good: usize,
    mask: Option<BooleanBufferBuilder>,
}

impl Good {
    fn new(rows: usize) -> Self {
        Self { rows, good: 0, mask: None }
    }

    /// Good rows so far.
    fn count(&self) -> usize {
        self.good
    }

    fn push(&mut self) {
        self.good += 1;
        if let Some(mask) = &mut self.mask {
            mask.append(true);
        }
    }

    fn skip(&mut self) {
        let (rows, good) = (self.rows, self.good);
        let mask = self.mask.get_or_insert_with(|| {
            let mut mask = BooleanBufferBuilder::new(rows);
            mask.append_n(good, true);
            mask
        });
        mask.append(false);
    }

    fn finish(self) -> Option<BooleanArray> {
        self.mask.map(|mut mask| BooleanArray::new(mask.finish(), None))
    }
}

/// Refuses a record beyond the limit. A source may have cut it there.
fn too_large(record: &[u8]) -> Result<(), String> {
    if record.len() > RECORD_BYTES_MAX {
        return Err(format!("{}: the record is larger than {RECORD_BYTES_MAX} bytes", Code::D002));
    }
    Ok(())
}

/// The error of asking a container for single records.
fn only_container(name: &str) -> Error {
    Error::user(Code::P009, format!("{name} holds whole files, not single records"))
        .help("use it with a `file` source or sink")
}

/// The decoder of containers: their rows are columns already.
struct Rows(SchemaRef);

impl Decoder for Rows {
    fn decode(&mut self, payload: &Payload) -> Result<Decoded> {
        match payload {
            Payload::Rows(rows) if rows.schema().fields() == self.0.fields() => {
                let records = RecordBatch::try_new(self.0.clone(), rows.columns().to_vec())
                    .map_err(|e| Error::internal(format!("rows do not fit their schema: {e}")))?;
                Ok(Decoded { records, good: None, bad: Vec::new() })
            }
            Payload::Rows(_) => Err(Error::internal("rows were not fitted to the columns of their source")),
            Payload::Values(_) => Err(only_container("this format")),
        }
    }
}

/// A failed write. A full disk may be emptied, so it passes.
fn written<T>(result: Result<T, ArrowError>) -> Result<T> {
    result.map_err(|e| match e {
        ArrowError::IoError(_, e) => write_failed(&e),
        ArrowError::ExternalError(e) => match e.downcast_ref::<io::Error>() {
            Some(e) => write_failed(e),
            None => Error::external(Code::K002, format!("rows cannot be written: {e}")),
        },
        e => Error::user(Code::K002, format!("rows cannot be written: {e}")),
    })
}

/// The error of an output that cannot be written.
fn write_failed(e: &io::Error) -> Error {
    let message = format!("the output cannot be written: {e}");
    match e.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::Interrupted => {
            Error::passing(Code::K002, message)
        }
        _ => Error::external(Code::K002, message),
    }
}

/// An output that counts its bytes.
struct Count {
    out: Box<dyn Write + Send>,
    bytes: u64,
}

impl Count {
    fn new(out: Box<dyn Write + Send>) -> Self {
        Self { out, bytes: 0 }
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use ::arrow::array::{Array, Float64Array, Int64Array, StringArray, TimestampMillisecondArray};
    use ::arrow::datatypes::{DataType, Field, Schema, TimeUnit};

    use super::*;
    use crate::batch::Batch;
    use crate::codec::Limits;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn sample() -> RecordBatch {
        let time = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
        let schema = Schema::new(vec![
            Field::new("n", DataType::Int64, true),
            Field::new("f", DataType::Float64, true),
            Field::new("s", DataType::Utf8, true),
            Field::new("t", time, true),
        ]);
        let times =
            TimestampMillisecondArray::from(vec![Some(1_500), None, Some(-1), Some(0)]).with_timezone("UTC");
        RecordBatch::try_new(
            Arc::new(schema),
            vec![
                Arc::new(Int64Array::from(vec![Some(i64::MIN), None, Some(0), Some(7)])),
                Arc::new(Float64Array::from(vec![Some(0.1), Some(-1e300), None, Some(2.0)])),
                Arc::new(StringArray::from(vec![Some("a,\"b\"\nc"), None, Some("'"), Some("x")])),
                Arc::new(times),
            ],
        )
        .unwrap()
    }

    /// Each format that holds several columns writes a file, and reads the same rows from any row on.
    #[test]
    fn files_hold_what_was_written() {
        let rows = sample();
        let dir = tempfile::tempdir().unwrap();
        for kind in FORMATS.iter().filter(|kind| !["original", "raw"].contains(&kind.name)) {
            let format = (kind.prepare)(&serde_json::json!({})).unwrap();
            let out = Shared::default();
            let mut writer = format.writer(rows.schema(), Box::new(out.clone())).unwrap();
            let batch = Batch::of_columns(rows.clone());
            writer.write(&batch).unwrap();
            writer.write(&batch.slice(1, 2)).unwrap();
            assert!(writer.bytes() > 0, "{}", kind.name);
            writer.finish().unwrap();
            drop(writer);
            let path = dir.path().join(format!("a.{}", format.extension()));
            std::fs::write(&path, &*out.0.lock().unwrap()).unwrap();
            let schema = format.infer(&path).unwrap();
            assert_eq!(schema.fields().len(), 4, "{}", kind.name);
            if format.layout() != crate::codec::Layout::Container {
                continue;
            }
            assert_eq!(schema.fields(), rows.schema().fields(), "{}", kind.name);
            let limits = Limits { rows: 2, bytes: 1 << 20, held: 1 << 20 };
            let mut reader = format.reader(&path, 3, &schema, limits).unwrap();
            let mut read = Vec::new();
            while let Some(batch) = reader.next().unwrap() {
                assert!(batch.num_rows() <= 2);
                read.push(batch);
            }
            let read = ::arrow::compute::concat_batches(&schema, &read).unwrap();
            let all = ::arrow::compute::concat_batches(&rows.schema(), &[rows.slice(3, 1), rows.slice(1, 2)])
                .unwrap();
            assert_eq!(read.columns(), all.columns(), "{}", kind.name);
            let mut behind = format.reader(&path, 99, &schema, limits).unwrap();
            assert!(behind.next().unwrap().is_none(), "{}", kind.name);
            std::fs::write(&path, b"not a file of columns").unwrap();
            assert_eq!(format.infer(&path).unwrap_err().code(), Code::S002);
        }
    }

    #[test]
    fn csv_decodes_what_it_encodes() {
        let rows = sample();
        let columns =
            serde_json::json!({"n": "int64", "f": "float64", "s": "utf8", "t": "timestamp(ms, UTC)"});
        let format = (csv::KIND.prepare)(&serde_json::json!({ "columns": columns })).unwrap();
        let values = format.encoder(rows.schema()).unwrap().encode(&Batch::of_columns(rows.clone())).unwrap();
        assert_eq!(values.len(), 4);
        let decoded = format.decoder(rows.schema()).unwrap().decode(&Payload::Values(values)).unwrap();
        assert!(decoded.bad.is_empty(), "{:?}", decoded.bad);
        assert_eq!(decoded.records, rows);
    }
}
