//! What must hold of records that are read and written again with all that nobody declared, for tests and for fuzzing.
//! Another reader judges: serde_json, member by member.

#![expect(clippy::unwrap_used, reason = "where a law is broken, the test or the fuzz target panics")]

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray, StructArray};
use arrow::datatypes::{DataType, Field, Fields, Schema};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::json;
use serde_json::value::RawValue;

use super::KIND;
use super::merge::REST;
use crate::batch::{Batch, Payload};
use crate::codec::{Decoded, Format};
use crate::datatype;

/// The members of an object in their order: names, and values as they are written.
struct Members<'a>(Vec<(String, &'a str)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((key, value)) = map.next_entry::<&RawValue, &RawValue>()? {
                    // Half of a surrogate pair is no name.
                    let name = serde_json::from_str(key.get()).unwrap_or_else(|_| key.get().to_owned());
                    members.push((name, value.get()));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(All)
    }
}

fn members(text: &str) -> Vec<(String, &str)> {
    serde_json::from_str::<Members<'_>>(text).unwrap_or_else(|e| panic!("{text}: {e}")).0
}

/// Columns of kinds that matter to what is beside them.
fn columns() -> serde_json::Value {
    json!({ "i": "int64", "s": "utf8", "g": "struct(x: float64, h: struct(y: int64))", "l": "json", "w": "json" })
}

fn decoded(format: &Arc<dyn Format>, records: &[Vec<u8>]) -> Decoded {
    let mut decoder = format.decoder(format.schema().unwrap()).unwrap();
    decoder.decode(&Payload::Values(BinaryArray::from_iter_values(records))).unwrap()
}

fn encoded(records: &RecordBatch, explicit_nulls: bool) -> Vec<Vec<u8>> {
    let format = (KIND.prepare)(&json!({ "explicit_nulls": explicit_nulls })).unwrap();
    let values =
        format.encoder(records.schema()).unwrap().encode(&Batch::of_columns(records.clone())).unwrap();
    values.iter().map(|value| value.unwrap().to_vec()).collect()
}

/// Records are taken or not whatever becomes of what nobody declared; and those that are taken are written with it, to
/// the byte and in its order, behind the same declared values.
pub fn keeps(records: &[Vec<u8>]) {
    let format =
        |unknown: &str| (KIND.prepare)(&json!({ "columns": columns(), "unknown": unknown })).unwrap();
    let (keep, drop) = (format("keep"), format("drop"));
    let (kept, dropped) = (decoded(&keep, records), decoded(&drop, records));
    let mut good = Vec::new();
    for (row, record) in records.iter().enumerate() {
        let was_bad = |of: &Decoded| of.bad.iter().find(|bad| bad.row as usize == row).cloned();
        match (was_bad(&kept), was_bad(&dropped)) {
            (None, None) => good.push(std::str::from_utf8(record).unwrap()),
            (Some(bad), None) => {
                assert!(bad.message.contains("deeper"), "{bad:?}");
                return;
            }
            (bad, other) => assert_eq!(bad, other),
        }
    }
    let declared: Vec<usize> = (0..dropped.records.num_columns()).collect();
    assert_eq!(kept.records.project(&declared).unwrap().columns(), dropped.records.columns());
    for explicit_nulls in [false, true] {
        let lines = encoded(&kept.records, explicit_nulls);
        let again = decoded(&drop, &lines);
        assert_eq!(again.bad, [], "{lines:?}");
        assert_eq!(again.records, dropped.records);
        for (record, line) in good.iter().zip(&lines) {
            same_rest(record, std::str::from_utf8(line).unwrap(), dropped.records.schema_ref().fields());
        }
    }
}

/// What the fields of an object do not name is the same in both, value by value.
fn same_rest(given: &str, written: &str, fields: &Fields) {
    let (given, written) = (members(given), members(written));
    let beside = |all: &[(String, &str)]| -> Vec<(String, String)> {
        let beside = all.iter().filter(|(name, _)| fields.iter().all(|field| field.name() != name));
        beside.map(|(name, value)| (name.clone(), (*value).to_owned())).collect()
    };
    assert_eq!(beside(&given), beside(&written));
    for field in fields {
        let value = |all: &[(String, &str)]| -> Option<String> {
            all.iter().find(|(name, _)| name == field.name()).map(|(_, value)| (*value).to_owned())
        };
        let (Some(given), Some(written)) = (value(&given), value(&written)) else { continue };
        match field.data_type() {
            DataType::Struct(inner) if given.starts_with('{') => same_rest(&given, &written, inner),
            _ if datatype::is_json(field) => assert_eq!(given, written),
            _ => {}
        }
    }
}

/// Whatever a stage puts into `_rest`, a row is one JSON object, on one line in a file, with its columns as they are.
pub fn merges(text: &str) {
    let inner = Fields::from(vec![Field::new("x", DataType::Int64, true)]);
    let one: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let group = StructArray::new(inner.clone(), vec![one.clone()], None);
    let fields = vec![
        Field::new("i", DataType::Int64, true),
        Field::new("g", DataType::Struct(inner), true),
        datatype::json("w", true),
        datatype::json(REST, true),
    ];
    let texts: ArrayRef = Arc::new(StringArray::from(vec![text]));
    let records =
        RecordBatch::try_new(Arc::new(Schema::new(fields)), vec![one, Arc::new(group), texts.clone(), texts]);
    let records = records.unwrap();
    let lines = encoded(&records, false);
    let line = std::str::from_utf8(&lines[0]).unwrap();
    let written = members(line);
    let of = |name: &str| {
        written.iter().filter(|(own, _)| own == name).map(|(_, value)| *value).collect::<Vec<_>>()
    };
    assert_eq!(of("i"), ["1"], "{line}");
    assert_eq!((of("g").len(), of("w").len()), (1, 1), "{line}");
    assert_eq!(members(of("g")[0])[0], ("x".to_owned(), "1"), "{line}");
    if let Ok(Members(rest)) = serde_json::from_str::<Members<'_>>(text) {
        let names = ["i", "g", "w"];
        let beside = |all: &[(String, &str)]| -> Vec<(String, String)> {
            let beside = all.iter().filter(|(name, _)| !names.contains(&name.as_str()));
            beside.map(|(name, value)| (name.clone(), (*value).to_owned())).collect()
        };
        assert_eq!(beside(&rest), beside(&written), "{line}");
    }
    let format = (KIND.prepare)(&json!({})).unwrap();
    let file = file_of(&format, &records);
    assert_eq!(file.iter().filter(|byte| **byte == b'\n').count(), 1, "{text}");
    assert!(!file.contains(&b'\r'), "{text}");
    assert_eq!(members(std::str::from_utf8(&file).unwrap()).len(), written.len());
}

/// The rows as a file has them.
fn file_of(format: &Arc<dyn Format>, records: &RecordBatch) -> Vec<u8> {
    #[derive(Clone, Default)]
    struct Shared(Arc<std::sync::Mutex<Vec<u8>>>);
    impl std::io::Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let out = Shared::default();
    let mut writer = format.writer(records.schema(), Box::new(out.clone())).unwrap();
    writer.write(&Batch::of_columns(records.clone())).unwrap();
    writer.finish().unwrap();
    out.0.lock().unwrap().clone()
}
