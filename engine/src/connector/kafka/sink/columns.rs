//! Which columns of a row become the record's key, headers and timestamp, and which its value.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, ListArray, RecordBatch, TimestampMillisecondArray,
};
use arrow::compute::{can_cast_types, cast};
use arrow::datatypes::{DataType, Int64Type, Schema, SchemaRef, TimeUnit, TimestampMillisecondType};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use rdkafka::message::{Header, OwnedHeaders};

use super::options::Options;
use crate::batch::headers_type;
use crate::config::spec::Inputs;
use crate::dead_letter::HEADERS;
use crate::error::{Code, Error, Result};
use crate::problem::Problem;

/// The parts of a row.
pub(super) struct Columns {
    /// The column that is the key, where one is.
    pub(super) key: Option<usize>,
    /// The columns that are the key together, and what the format encodes of them.
    pub(super) keys: Option<(Vec<usize>, SchemaRef)>,
    pub(super) headers: Option<usize>,
    timestamp: Option<(usize, Arc<str>)>,
    value: Vec<usize>,
    /// Columns of the value.
    pub(super) value_schema: SchemaRef,
    /// Whether key, headers and time are those of the original record.
    pub(super) original: bool,
}

/// The parts of a batch.
pub(super) struct Parts {
    key: Option<BinaryArray>,
    headers: Option<ListArray>,
    timestamp: Option<Times>,
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
        let given = options.key.as_ref().map_or(&[][..], Inputs::names);
        let one = if let [one] = given { Some(one.clone()) } else { None };
        let key = find("/key", &one, is_key, "a number, a boolean, a time, text or bytes");
        let mut keys = Vec::new();
        for (at, name) in given.iter().enumerate().filter(|_| given.len() > 1) {
            keys.extend(find(&format!("/key/{at}"), &Some(name.clone()), |_| true, ""));
        }
        let timestamp = find("/timestamp", &options.timestamp, is_time, "a timestamp");
        let timestamp = timestamp.map(|at| (at, schema.field(at).name().as_str().into()));
        let named = find("/headers", &options.headers, is_headers, "a list of {name: utf8, value: binary}");
        let implied = || schema.index_of(HEADERS).ok().filter(|&at| is_headers(schema.field(at).data_type()));
        let headers = named.or_else(|| options.headers.is_none().then(implied).flatten());
        if let Some(twice) = given.iter().enumerate().find(|(at, name)| given[..*at].contains(name)) {
            let message = format!("`{}` is named twice", twice.1);
            problems.push(Problem::new(Code::C005, format!("/key/{}", twice.0), message));
        } else if options.key.is_some() && given.is_empty() {
            problems.push(Problem::new(Code::C005, "/key", "no column is named"));
        }
        let hidden = |at: &usize| schema.field(*at).name().starts_with('_');
        let mut apart: Vec<usize> = key.iter().chain(&keys).copied().filter(hidden).collect();
        apart.extend(headers.into_iter().chain(timestamp.as_ref().map(|(at, _)| *at)));
        let value: Vec<usize> = (0..schema.fields().len()).filter(|at| !apart.contains(at)).collect();
        let value_schema = Arc::new(schema.project(&value).ok()?);
        let key_schema = Arc::new(schema.project(&keys).ok()?);
        let keys = (!keys.is_empty()).then_some((keys, key_schema));
        (problems.len() == before).then_some(Self {
            key,
            keys,
            headers,
            timestamp,
            value,
            value_schema,
            original: false,
        })
    }

    /// Those of records that are written as they came: no column is a part of one.
    pub(super) fn originals(
        options: &Options,
        schema: &SchemaRef,
        problems: &mut Vec<Problem>,
    ) -> Option<Self> {
        let Options { key, headers, timestamp, .. } = options;
        let given =
            [("/key", key.is_some()), ("/headers", headers.is_some()), ("/timestamp", timestamp.is_some())];
        let before = problems.len();
        problems.extend(given.into_iter().filter(|(_, given)| *given).map(|(pointer, _)| {
            let message = "the format `original` writes the key, headers and time that the record came with";
            Problem::new(Code::P009, pointer, message).help("leave it out, or name another format")
        }));
        let value = (0..schema.fields().len()).collect();
        let value_schema = Arc::clone(schema);
        let own = Self {
            key: None,
            keys: None,
            headers: None,
            timestamp: None,
            value,
            value_schema,
            original: true,
        };
        (problems.len() == before).then_some(own)
    }

    /// What the format is to encode as the key of each row, where it is several columns.
    pub(super) fn key_rows(&self, records: &RecordBatch) -> Result<Option<RecordBatch>> {
        let fail = |e| Error::internal(format!("a key cannot be taken from a row: {e}"));
        self.keys.as_ref().map(|(columns, _)| records.project(columns).map_err(fail)).transpose()
    }

    /// Cuts a batch into its parts.
    pub(super) fn split(&self, records: &RecordBatch) -> Result<Parts> {
        let column = |at: &Option<usize>| at.map(|at| records.column(at));
        let fail = |e| Error::internal(format!("a column cannot be taken from a row: {e}"));
        Ok(Parts {
            key: column(&self.key).map(key_bytes).transpose()?,
            headers: column(&self.headers).map(|c| c.as_list::<i32>().clone()),
            timestamp: self
                .timestamp
                .as_ref()
                .map(|(at, name)| Times::new(records.column(*at), name))
                .transpose()
                .map_err(fail)?,
            value: records.project(&self.value).map_err(fail)?,
        })
    }
}

impl Parts {
    /// The same with these keys; a row all of whose key columns are null has none.
    pub(super) fn with_keys(mut self, rows: &RecordBatch, encoded: &BinaryArray) -> Self {
        let is_some = |row: usize| rows.columns().iter().any(|column| column.is_valid(row));
        let keys = (0..rows.num_rows()).map(|row| is_some(row).then(|| encoded.value(row)));
        self.key = Some(keys.collect());
        self
    }

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

    /// Whether records have a time of their own.
    pub(super) fn has_times(&self) -> bool {
        self.timestamp.is_some()
    }

    /// The time that the record is given; `None`: that of writing.
    pub(super) fn timestamp(&self, row: usize) -> Option<i64> {
        self.timestamp.as_ref()?.of(row)
    }

    /// Why the time of a row cannot be written.
    pub(super) fn unfit(&self, row: usize) -> Option<String> {
        self.timestamp.as_ref()?.unfit(row)
    }

    /// The row's own headers, without these names.
    pub(super) fn headers(&self, row: usize, without: &[&str]) -> Option<OwnedHeaders> {
        let list = self.headers.as_ref().filter(|h| h.is_valid(row))?.value(row);
        let entries = list.as_struct_opt().filter(|e| !e.is_empty())?;
        let names = entries.column(0).as_string_opt::<i32>()?;
        let values = entries.column(1).as_binary_opt::<i32>()?;
        let mut headers = OwnedHeaders::new_with_capacity(entries.len());
        for at in (0..entries.len()).filter(|at| !without.contains(&names.value(*at))) {
            let value = values.is_valid(at).then(|| values.value(at));
            headers = headers.insert(Header { key: names.value(at), value });
        }
        Some(headers)
    }
}

/// A column of times.
struct Times {
    name: Arc<str>,
    /// As the column has them, without its zone.
    given: ArrayRef,
    zoned: bool,
    /// The same in milliseconds; null too where these do not fit.
    millis: TimestampMillisecondArray,
}

impl Times {
    fn new(column: &ArrayRef, name: &Arc<str>) -> Result<Self, ArrowError> {
        let (unit, zoned) = match column.data_type() {
            DataType::Timestamp(unit, zone) => (*unit, zone.is_some()),
            _ => (TimeUnit::Millisecond, false),
        };
        let given = cast(column, &DataType::Timestamp(unit, None))?;
        let millis = cast(&given, &DataType::Timestamp(TimeUnit::Millisecond, None))?;
        let millis = millis.as_primitive::<TimestampMillisecondType>().clone();
        Ok(Self { name: Arc::clone(name), given, zoned, millis })
    }

    fn of(&self, row: usize) -> Option<i64> {
        self.millis.is_valid(row).then(|| self.millis.value(row))
    }

    fn unfit(&self, row: usize) -> Option<String> {
        if self.given.is_null(row) || self.of(row).is_some_and(can_carry) {
            return None;
        }
        Some(cannot_carry(&format!("the value {} of the column `{}`", self.shown(row), self.name)))
    }

    /// A time in words; a number where no calendar has it.
    fn shown(&self, row: usize) -> String {
        let options = FormatOptions::default().with_display_error(false);
        let formatter = ArrayFormatter::try_new(&self.given, &options).ok();
        if let Some(text) = formatter.and_then(|formatter| formatter.value(row).try_to_string().ok()) {
            return if self.zoned { format!("{text}Z") } else { text };
        }
        let number = cast(&self.given.slice(row, 1), &DataType::Int64).ok();
        number.map_or_else(String::new, |number| number.as_primitive::<Int64Type>().value(0).to_string())
    }
}

/// Whether the client can be told this time: to it 0 is the time of writing, and to Kafka nothing lies before that.
pub(super) fn can_carry(millis: i64) -> bool {
    millis > 0
}

/// Why a time cannot be written.
pub(super) fn cannot_carry(what: &str) -> String {
    format!(
        "{what} cannot be the timestamp of a record: Kafka's client takes times after 1970-01-01T00:00:00.000Z, in whole \
         milliseconds of 64 bits"
    )
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
    use arrow::array::{Int64Array, StringArray, TimestampNanosecondArray, TimestampSecondArray};
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
    fn a_time_that_the_client_cannot_carry_is_told_with_its_column_and_value() {
        let unfit = |column: ArrayRef, row: usize| Times::new(&column, &"at".into()).unwrap().unfit(row);
        let millis = |all: Vec<Option<i64>>| -> ArrayRef {
            Arc::new(TimestampMillisecondArray::from(all).with_timezone("UTC"))
        };
        let times = millis(vec![Some(-1), Some(0), None, Some(1), Some(i64::MAX), Some(i64::MIN)]);
        let told = |row| unfit(Arc::clone(&times), row);
        assert!(told(0).unwrap().starts_with("the value 1969-12-31T23:59:59.999Z of the column `at` "));
        assert!(told(1).unwrap().starts_with("the value 1970-01-01T00:00:00Z of the column `at` "));
        assert_eq!([told(2), told(3), told(4)], [None, None, None], "null is the time of writing");
        assert!(told(5).unwrap().contains("-9223372036854775808"), "{:?}", told(5));
        let seconds: ArrayRef = Arc::new(TimestampSecondArray::from(vec![i64::MAX, i64::MAX / 1_000]));
        let far = unfit(Arc::clone(&seconds), 0).unwrap();
        assert!(far.contains("9223372036854775807"), "not the time of writing: {far}");
        assert_eq!(unfit(seconds, 1), None);
        let nanos: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![-1, 999_999, 1_000_000]));
        assert!(unfit(Arc::clone(&nanos), 0).unwrap().contains("1969-12-31T23:59:59.999999999"));
        assert!(unfit(Arc::clone(&nanos), 1).is_some() && unfit(nanos, 2).is_none());
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
