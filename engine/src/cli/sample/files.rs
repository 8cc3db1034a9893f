//! Records of files: the file source reads them, from their start, and keeps no position.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, RecordBatch};
use serde_json::{Map, Value, json};

use super::{Found, Sample, first};
use crate::batch::{Payload, SourceBatch};
use crate::codec::Format;
use crate::config::spec::KindSpec;
use crate::connector::file;
use crate::connector::kafka::client::scan::Record;
use crate::connector::kafka::source::Consumers;
use crate::connector::position::Positions;
use crate::connector::source::{Open, Polled, Prepared, Reader, Room, Runtime, Settings};
use crate::error::{Code, Error, Result};
use crate::format::FORMATS;
use crate::units::{CONTAINER_HELD_BYTES, SAMPLE_BYTES_MAX};

/// Rows and bytes of one batch: a small sample reads little.
const BATCH: (usize, usize) = (1_024, 4 << 20);
const WAIT: Duration = Duration::from_millis(100);

/// A runtime that answers nothing: a source of files asks for nothing.
struct Nobody;

impl Runtime for Nobody {
    fn drain(&self, _: Duration) -> bool {
        true
    }

    fn rewind(&self, _: &str) {}
}

/// Makes a format of its options; the mistakes are those of the pipeline file.
fn prepare_format(name: &str, options: &Value) -> Result<Arc<dyn Format>> {
    let kind = FORMATS.iter().find(|kind| kind.name == name);
    let kind = kind.ok_or_else(|| Error::user(Code::C005, format!("there is no format `{name}`")))?;
    (kind.prepare)(options).map_err(first)
}

fn prepare_source(options: &Value, base: &Path, format: &Arc<dyn Format>) -> Result<Box<dyn Prepared>> {
    let settings = Settings { pipeline: "look", name: "look", base, options, format: Some(format), own: &[] };
    (file::source::KIND.prepare)(&settings).map_err(first)
}

/// The options with these columns, or without any.
fn with_columns(options: &Value, columns: Option<Value>) -> Value {
    let mut options = options.as_object().cloned().unwrap_or_default();
    options.shift_remove("columns");
    if let Some(columns) = columns {
        options.insert("columns".to_owned(), columns);
    }
    Value::Object(options)
}

/// Reads the first records.
pub(super) fn read(found: &Found, options: &Value, base: &Path, records: u64) -> Result<Sample> {
    let Some(spec) = &found.format else {
        return Err(Error::user(
            Code::C004,
            "the format is missing and the path's extension does not tell it",
        )
        .help("add `format:` to the source, for example `format: json`"));
    };
    let paths = options.get("path").cloned().unwrap_or_default();
    if paths.as_str() == Some("-") {
        return Err(Error::user(
            Code::P009,
            "standard input cannot be looked at: what is read of it is gone",
        )
        .help("write it to a file, and look at that"));
    }
    let name = spec.name.as_str();
    // Nothing is learnt from the records that will be looked at, so that any of them may be wrong.
    let chosen = match name {
        "json" => with_columns(&spec.options, Some(json!({ "value": "utf8" }))),
        "csv" => {
            let plain = prepare_format(name, &with_columns(&spec.options, None))?;
            let source = prepare_source(options, base, &plain)?;
            let each = source.schema();
            let each = each.fields().iter().map(|field| (field.name().clone(), json!("utf8")));
            with_columns(&spec.options, Some(Value::Object(each.collect::<Map<_, _>>())))
        }
        _ => with_columns(&spec.options, None),
    };
    let format = prepare_format(name, &chosen)?;
    let source = prepare_source(options, base, &format)?;
    let mut reader = open(source.as_ref())?;
    let spec = KindSpec { name: spec.name.clone(), options: spec.options.clone() };
    let of = match &paths {
        Value::String(path) => path.clone(),
        other => other.to_string(),
    };
    let mut sample = Sample {
        of,
        format: spec,
        records: Vec::new(),
        rows: Vec::new(),
        bad: (0, None),
        is_file: true,
        is_cut: false,
        note: None,
    };
    let mut decoder = if name == "csv" { Some(format.decoder(source.schema())?) } else { None };
    let (mut left, mut bytes) = (usize::try_from(records).unwrap_or(usize::MAX), 0);
    while left > 0 {
        let batch = match reader.poll(WAIT)? {
            Polled::Batch(batch) => batch,
            Polled::Idle => continue,
            Polled::End => break,
        };
        let rows = batch.len().min(left);
        left -= rows;
        bytes += batch.bytes();
        match &batch.payload {
            Payload::Rows(all) => sample.rows.push(all.slice(0, rows)),
            Payload::Values(_) => sample.records.extend((0..rows).map(|row| record(&batch, row))),
        }
        if let Some(decoder) = &mut decoder {
            let decoded = decoder.decode(&batch.payload)?;
            let bad = decoded.bad.iter().filter(|bad| (bad.row as usize) < rows);
            sample.bad.0 += bad.clone().count() as u64;
            sample.bad.1 = sample.bad.1.or_else(|| bad.map(|bad| bad.message.clone()).next());
            sample.rows.push(good(decoded.records, decoded.bad.len(), batch.len(), rows));
        }
        if bytes >= SAMPLE_BYTES_MAX {
            sample.is_cut = true;
            break;
        }
    }
    Ok(sample)
}

/// The good rows among the first ones; where any is bad, all good ones of the batch.
fn good(rows: RecordBatch, bad: usize, all: usize, wanted: usize) -> RecordBatch {
    let count = if bad == 0 { wanted.min(all) } else { rows.num_rows() };
    rows.slice(0, count.min(rows.num_rows()))
}

fn open(source: &dyn Prepared) -> Result<Box<dyn Reader>> {
    let (rows, bytes) = BATCH;
    let room = Room { rows, bytes, lane_bytes: bytes, age: WAIT, eager: true };
    let consumers =
        Consumers::new("look", [], None).map_err(|_| Error::internal("consumers of no cluster"))?;
    let opened = source.open(Open {
        lanes: 1,
        worker: "look".to_owned(),
        until_end: true,
        room,
        held: CONTAINER_HELD_BYTES,
        resume: Positions::new(),
        kept: Vec::new(),
        runtime: Arc::new(Nobody),
        consumers: Arc::new(consumers),
    })?;
    opened.readers.into_iter().next().ok_or_else(|| Error::internal("a source without a reader"))
}

fn record(batch: &SourceBatch, row: usize) -> Record {
    let value = match &batch.payload {
        Payload::Values(values) if values.is_valid(row) => Some(values.value(row).to_vec()),
        _ => None,
    };
    Record {
        topic: Arc::clone(&batch.topic),
        partition: batch.partition,
        offset: batch.offsets[row],
        timestamp: None,
        key: None,
        value,
        headers: Vec::new(),
    }
}
