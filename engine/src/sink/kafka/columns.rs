//! Which columns of a row become the record's key, headers and timestamp, and which its value.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, ListArray, RecordBatch, TimestampMillisecondArray,
};
use arrow::compute::{can_cast_types, cast};
use arrow::datatypes::{DataType, Schema, SchemaRef, TimeUnit, TimestampMillisecondType};
use rdkafka::message::{Header, OwnedHeaders};

use super::Options;
use crate::batch::{Origins, Payload};
use crate::codec::Problem;
use crate::error::{Code, Error, Result};
use crate::sink::dead_letter::{HEADERS, headers_type};
use crate::trace::{Outgoing, TRACEPARENT, TRACESTATE};

/// The parts of a row.
pub(super) struct Columns {
    key: Option<usize>,
    headers: Option<usize>,
    timestamp: Option<usize>,
    value: Vec<usize>,
    /// Columns of the value.
    pub(super) value_schema: SchemaRef,
}

/// The parts of a batch.
pub(super) struct Parts {
    key: Option<BinaryArray>,
    headers: Option<ListArray>,
    timestamp: Option<TimestampMillisecondArray>,
    /// What the format encodes.
    pub(super) value: RecordBatch,
}

impl Columns {
    /// Finds the columns that the options name; mistakes are added to `problems`.
    pub(super) fn new(options: &Options, schema: &Schema, problems: &mut Vec<Problem>) -> Option<Self> {
        let before = problems.len();
        let mut find = |pointer: &str, name: &Option<String>, fits: fn(&DataType) -> bool, wanted: &str| {
            let name = name.as_ref()?;
            let Ok(at) = schema.index_of(name) else {
                let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
                problems.push(
                    Problem::new(Code::P008, pointer, format!("there is no column `{name}`"))
                        .help(format!("the columns are {}", names.join(", "))),
                );
                return None;
            };
            let kind = schema.field(at).data_type();
            if !fits(kind) {
                problems.push(Problem::new(
                    Code::P008,
                    pointer,
                    format!("column `{name}` is {kind}, wanted is {wanted}"),
                ));
            }
            Some(at)
        };
        let key = find("/key", &options.key, is_key, "a number, a boolean, a time, text or bytes");
        let timestamp = find("/timestamp", &options.timestamp, is_time, "a timestamp");
        let named = find("/headers", &options.headers, is_headers, "a list of {name: utf8, value: binary}");
        let implied = || schema.index_of(HEADERS).ok().filter(|&at| is_headers(schema.field(at).data_type()));
        let headers = named.or_else(|| options.headers.is_none().then(implied).flatten());
        let hidden_key = key.filter(|&at| schema.field(at).name().starts_with('_'));
        let apart = [hidden_key, headers, timestamp];
        let value: Vec<usize> = (0..schema.fields().len()).filter(|&at| !apart.contains(&Some(at))).collect();
        let value_schema = Arc::new(schema.project(&value).ok()?);
        (problems.len() == before).then_some(Self { key, headers, timestamp, value, value_schema })
    }

    /// Cuts a batch into its parts.
    pub(super) fn split(&self, records: &RecordBatch) -> Result<Parts> {
        let column = |at: &Option<usize>| at.map(|at| records.column(at));
        let fail = |e| Error::internal(format!("a column cannot be taken from a row: {e}"));
        Ok(Parts {
            key: column(&self.key).map(key_bytes).transpose()?,
            headers: column(&self.headers).map(|c| c.as_list::<i32>().clone()),
            timestamp: column(&self.timestamp)
                .map(|c| cast(c, &DataType::Timestamp(TimeUnit::Millisecond, None)))
                .transpose()
                .map_err(fail)?
                .map(|c| c.as_primitive::<TimestampMillisecondType>().clone()),
            value: records.project(&self.value).map_err(fail)?,
        })
    }
}

impl Parts {
    /// Whether the records are key and value and nothing else.
    pub(super) fn is_bare(&self) -> bool {
        self.headers.is_none() && self.timestamp.is_none()
    }

    /// Those of no row.
    pub(super) fn none() -> Self {
        Self {
            key: None,
            headers: None,
            timestamp: None,
            value: RecordBatch::new_empty(Arc::new(Schema::empty())),
        }
    }

    /// Bytes of keys and headers.
    pub(super) fn bytes(&self) -> usize {
        let keys = self.key.as_ref().map_or(0, Array::get_array_memory_size);
        keys + self.headers.as_ref().map_or(0, Array::get_array_memory_size)
    }

    pub(super) fn key(&self, row: usize) -> Option<&[u8]> {
        self.key.as_ref().filter(|k| k.is_valid(row)).map(|k| k.value(row))
    }

    pub(super) fn timestamp(&self, row: usize) -> Option<i64> {
        // librdkafka takes 0 for "now" and nothing below it.
        self.timestamp.as_ref().filter(|t| t.is_valid(row)).map(|t| t.value(row)).filter(|&t| t > 0)
    }

    /// The headers of a row; those of its trace take the place of the row's own of these names.
    pub(super) fn headers(&self, row: usize, trace: Option<&Outgoing>) -> Option<OwnedHeaders> {
        let headers = self.own_headers(row, trace.is_some());
        let Some(trace) = trace else { return headers };
        let headers = headers.unwrap_or_default();
        let headers = headers.insert(Header { key: TRACEPARENT, value: Some(&trace.parent()) });
        Some(match &trace.state {
            Some(state) => headers.insert(Header { key: TRACESTATE, value: Some(&**state) }),
            None => headers,
        })
    }

    fn own_headers(&self, row: usize, traced: bool) -> Option<OwnedHeaders> {
        let list = self.headers.as_ref().filter(|h| h.is_valid(row))?.value(row);
        let entries = list.as_struct_opt().filter(|e| !e.is_empty())?;
        let names = entries.column(0).as_string_opt::<i32>()?;
        let values = entries.column(1).as_binary_opt::<i32>()?;
        let mut headers = OwnedHeaders::new_with_capacity(entries.len());
        for at in 0..entries.len() {
            let name = names.value(at);
            if traced && [TRACEPARENT, TRACESTATE].contains(&name) {
                continue;
            }
            let value = values.is_valid(at).then(|| values.value(at));
            headers = headers.insert(Header { key: name, value });
        }
        Some(headers)
    }

    /// Whether the row is a tombstone: its original's value was null, and nothing was put in its place.
    pub(super) fn is_tombstone(&self, row: usize, origins: &Origins) -> bool {
        // Hardly ever so, and looked at first: an origin costs a counted reference.
        if !self.value.columns().iter().all(|c| c.is_null(row)) {
            return false;
        }
        let origin = origins.get(row);
        match &origin.batch.payload {
            Payload::Values(values) => values.is_null(origin.row),
            Payload::Rows(_) => false,
        }
    }
}

fn is_key(kind: &DataType) -> bool {
    matches!(
        kind,
        DataType::Binary | DataType::LargeBinary | DataType::FixedSizeBinary(_) | DataType::BinaryView
    ) || (!kind.is_nested() && *kind != DataType::Null && can_cast_types(kind, &DataType::Utf8))
}

fn is_time(kind: &DataType) -> bool {
    matches!(kind, DataType::Timestamp(..))
}

fn is_headers(kind: &DataType) -> bool {
    match (kind, headers_type()) {
        (DataType::List(a), DataType::List(b)) => a.data_type() == b.data_type(),
        _ => false,
    }
}

/// Bytes as they are, all else in its text form.
fn key_bytes(column: &ArrayRef) -> Result<BinaryArray> {
    let fail = |e| Error::internal(format!("a key cannot be written: {e}"));
    let text = match column.data_type() {
        DataType::Binary | DataType::LargeBinary | DataType::FixedSizeBinary(_) | DataType::BinaryView => {
            Arc::clone(column)
        }
        _ => cast(column, &DataType::Utf8).map_err(fail)?,
    };
    Ok(cast(&text, &DataType::Binary).map_err(fail)?.as_binary::<i32>().clone())
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StringArray};
    use arrow::datatypes::Field;

    use super::*;

    fn options(value: serde_json::Value) -> Options {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn hidden_columns_leave_the_value() {
        let time = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
        let schema = Schema::new(vec![
            Field::new("id", DataType::Int64, true),
            Field::new("_key", DataType::Binary, true),
            Field::new("_headers", headers_type(), true),
            Field::new("at", time, true),
        ]);
        let value = |o: serde_json::Value| -> Vec<String> {
            let mut problems = Vec::new();
            let columns = Columns::new(&options(o), &schema, &mut problems).unwrap();
            columns.value_schema.fields().iter().map(|f| f.name().clone()).collect()
        };
        let base = |extra: serde_json::Value| {
            let mut all = serde_json::json!({"brokers": "a:1", "topic": "t"});
            all.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            all
        };
        assert_eq!(value(base(serde_json::json!({"key": "id"}))), ["id", "_key", "at"]);
        assert_eq!(value(base(serde_json::json!({"key": "_key", "timestamp": "at"}))), ["id"]);
        let mut problems = Vec::new();
        let wrong = options(base(serde_json::json!({"key": "_headers", "timestamp": "id", "headers": "no"})));
        assert!(Columns::new(&wrong, &schema, &mut problems).is_none());
        let pointers: Vec<&str> = problems.iter().map(|p| p.pointer.as_str()).collect();
        assert_eq!(pointers, ["/key", "/timestamp", "/headers"]);
    }

    #[test]
    fn keys_are_text_or_bytes() {
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(-7), None]));
        let keys = key_bytes(&numbers).unwrap();
        assert_eq!(keys.value(0), b"-7");
        assert!(keys.is_null(1));
        let text: ArrayRef = Arc::new(StringArray::from(vec!["a b"]));
        assert_eq!(key_bytes(&text).unwrap().value(0), b"a b");
        let bytes: ArrayRef = Arc::new(BinaryArray::from(vec![&[0xff_u8, 0][..]]));
        assert_eq!(key_bytes(&bytes).unwrap().value(0), [0xff, 0]);
    }
}
