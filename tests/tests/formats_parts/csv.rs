//! CSV as records: fields, quotes, nulls and types, as `docs/formats.md` says. Each Kafka value is one record.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, StringArray};
use serde_json::{Value, json};

use super::{columns, decode, encode, format, rows, verdict};

const TYPES: &str = r#"{"i": "int64", "s": "utf8", "f": "float64"}"#;

fn row(record: &[u8]) -> Result<Value, String> {
    let schema = columns(&serde_json::from_str(TYPES).unwrap());
    verdict(&format("csv", &json!({})), &schema, record, [b"1,before,1", b"2,\"af\"\"ter\",2"])
}

fn text(record: &[u8]) -> Value {
    row(record).unwrap_or_else(|e| panic!("{}: {e}", String::from_utf8_lossy(record)))["s"].clone()
}

#[test]
fn fields_and_quotes() {
    for (record, expected) in [
        (&b"1,x,1"[..], json!("x")),
        (b"\"1\",\"x\",\"1\"", json!("x")),
        (b"1,\"a,b\",1", json!("a,b")),
        (b"1,\"say \"\"hi\"\"\",1", json!("say \"hi\"")),
        (b"1,\"\"\"\",1", json!("\"")),
        (b"1,\"two\nlines\",1", json!("two\nlines")),
        (b"1,\"two\r\nlines\r\",1", json!("two\r\nlines\r")),
        (b"1,,1", Value::Null),
        (b"1,\"\",1", json!("")),
        (b"1, x ,1", json!(" x ")),
        (b"1,\" x \",1", json!(" x ")),
        // A quote that does not open a field is a sign like others.
        (b"1, \"x\",1", json!(" \"x\"")),
        (b"1,5\" pipe,1", json!("5\" pipe")),
        (b"1,=1+2,1", json!("=1+2")),
        (b"1,\"@cmd\",1", json!("@cmd")),
        (b"1,-,1", json!("-")),
        (b"1,NULL,1", json!("NULL")),
        (b"1,\\N,1", json!("\\N")),
        (b"1,\\\"a,1", json!("\\\"a")),
        (b"1,#no comment,1", json!("#no comment")),
        ("1,\u{feff}\u{1f600},1".as_bytes(), json!("\u{feff}\u{1f600}")),
        (b"1,x\0,1", json!("x\0")),
        // The line end of a value from Kafka is none of its text.
        (b"1,x,1\n", json!("x")),
        (b"1,x,1\r\n", json!("x")),
        (b"1,x,1\r", json!("x")),
    ] {
        assert_eq!(text(record), expected, "{}", String::from_utf8_lossy(record));
    }
    assert_eq!(row(b"1,x,").unwrap(), json!({"i": 1, "s": "x", "f": null}));
    assert_eq!(row(b",,").unwrap(), json!({"i": null, "s": null, "f": null}));
}

#[test]
fn ragged_and_broken_records_are_rejected_alone() {
    for (record, part) in [
        (&b""[..], "3 fields were expected, not 1"),
        (b"1,x", "3 fields were expected, not 2"),
        (b"1,x,1,", "3 fields were expected, not 4"),
        (b"1;x;1", "3 fields were expected, not 1"),
        (b"1,\"x,1", "a quote is never closed"),
        (b"1,\"x,1\n2,y,2", "a quote is never closed; the record goes on for 2 lines"),
        (b"1,\"x\"y,1", "a closing quote is followed by more text"),
        (b"1,\"x\" ,1", "a closing quote is followed by more text"),
        (b"1,x,1\n2,y,2", "a line end outside quotes"),
        (b"1,x\ry,1", "a line end outside quotes"),
        (b"1,x,1\n\n", "a line end outside quotes"),
        (b"1,\xff,1", "column `s`: not UTF-8"),
        (b"z,x,1", "column `i`: int64 was expected, not `z`"),
        (b"1.0,x,1", "column `i`: int64 was expected, not `1.0`"),
        (b"9223372036854775808,x,1", "column `i`: 9223372036854775808 is out of range for int64"),
        (b"1,x,1e999", "column `f`: 1e999 is out of range for float64"),
        ("\u{feff}1,x,1".as_bytes(), "column `i`"),
    ] {
        let fault = row(record).unwrap_err();
        assert!(fault.contains(part), "{}: {fault}", String::from_utf8_lossy(record));
    }
}

fn value(data_type: &str, field: &str) -> Result<Value, String> {
    let schema = columns(&json!({"x": data_type, "y": "utf8"}));
    let record = format!("{field},y");
    let row = verdict(&format("csv", &json!({})), &schema, record.as_bytes(), [b",", b",\"\""])?;
    Ok(row["x"].clone())
}

#[test]
fn types() {
    for (data_type, field, expected) in [
        ("int8", " -5\t", json!(-5)),
        ("int8", "\" 5\"", json!(5)),
        ("int8", "\"\"", Value::Null),
        ("int8", "  ", Value::Null),
        ("uint64", "18446744073709551615", json!(u64::MAX)),
        ("float64", " 1.5e3 ", json!(1500.0)),
        ("float64", ".5", json!(0.5)),
        ("float64", "NaN", Value::Null),
        ("boolean", "TRUE", json!(true)),
        ("boolean", "false", json!(false)),
        ("decimal128(10, 2)", "12.30", json!("12.30")),
        ("decimal128(10, 2)", "\"12.3\"", json!("12.30")),
        ("timestamp(ms, UTC)", "2026-01-31T12:00:00Z", json!("2026-01-31T12:00:00Z")),
        ("timestamp(ms, UTC)", "1769860800000", json!("2026-01-31T12:00:00Z")),
        ("date32", "2026-01-31", json!("2026-01-31")),
        ("time64(us)", "12:30", json!("12:30:00")),
        ("duration(s)", "-PT5S", json!("-PT5S")),
        ("binary", "00ff", json!("00ff")),
        ("binary", "\"\"", json!("")),
        ("dictionary(int32, utf8)", " a", json!(" a")),
        ("null", "", Value::Null),
    ] {
        assert_eq!(value(data_type, field), Ok(expected), "{field} as {data_type}");
    }
    for (data_type, field) in [
        ("int8", "128"),
        ("int8", "1_0"),
        ("int8", "0x1"),
        ("int8", "1 2"),
        ("boolean", "yes"),
        ("boolean", "1"),
        ("float64", "1\"5"),
        ("float32", "1e39"),
        ("decimal128(10, 2)", "1.005"),
        ("date32", "20260131"),
        ("date32", "31.01.2026"),
        ("timestamp(s)", "1.5"),
        ("binary", "zz"),
        ("null", "0"),
    ] {
        value(data_type, field).expect_err(&format!("{field} as {data_type}"));
    }
}

#[test]
fn what_needs_quotes_has_them() {
    let texts = ["a", "", " a", "a\t", "a,b", "a\"b", "a\nb", "\r", "\u{feff}a", "=1", "a;b", "NULL"];
    let s: ArrayRef = Arc::new(StringArray::from_iter(texts.into_iter().map(Some).chain([None])));
    let t: ArrayRef = Arc::new(StringArray::from(vec!["t"; texts.len() + 1]));
    let schema = columns(&json!({"s": "utf8", "t": "utf8"}));
    let records = RecordBatch::try_new(schema.clone(), vec![s, t]).unwrap();
    let csv = format("csv", &json!({}));
    let encoded = encode(&csv, &records);
    let lines: Vec<&str> = encoded.iter().map(|line| std::str::from_utf8(line).unwrap()).collect();
    let expected = [
        "a,t",
        "\"\",t",
        "\" a\",t",
        "\"a\t\",t",
        "\"a,b\",t",
        "\"a\"\"b\",t",
        "\"a\nb\",t",
        "\"\r\",t",
        "\"\u{feff}a\",t",
        "=1,t",
        "a;b,t",
        "NULL,t",
        ",t",
    ];
    assert_eq!(lines, expected);
    let values: Vec<_> = encoded.iter().map(|line| Some(line.as_slice())).collect();
    assert_eq!(decode(&csv, &schema, &values).records, records);
    let semicolons = encode(&format("csv", &json!({"delimiter": ";", "quote": "'"})), &records.slice(10, 1));
    assert_eq!(semicolons, [b"'a;b';t"]);
}

/// A table of one column has no way to write a null but a quoted empty field: an empty line is no record.
#[test]
fn a_single_column() {
    let csv = format("csv", &json!({}));
    for (data_type, back) in [("int64", true), ("utf8", false), ("boolean", true)] {
        let schema = columns(&json!({ "x": data_type }));
        let nulls = arrow::array::new_null_array(schema.field(0).data_type(), 2);
        let records = RecordBatch::try_new(schema.clone(), vec![nulls]).unwrap();
        let lines = encode(&csv, &records);
        assert_eq!(lines, [b"\"\"", b"\"\""]);
        let values: Vec<_> = lines.iter().map(|line| Some(line.as_slice())).collect();
        let read = decode(&csv, &schema, &values).records;
        assert_eq!(read.column(0).null_count() == 2, back, "{data_type}: an empty text stands for the null");
    }
    let schema = columns(&json!({"x": "utf8"}));
    let read = decode(&csv, &schema, &[Some(b""), Some(b"  "), Some(b"a"), None]);
    assert_eq!(
        rows(&read.records),
        [json!({"x": null}), json!({"x": "  "}), json!({"x": "a"}), json!({"x": null})]
    );
}

#[test]
fn columns_that_csv_cannot_hold_are_refused_before_a_row() {
    let csv = format("csv", &json!({}));
    for types in
        [json!({"x": "list(int8)"}), json!({"x": {"a": "int8"}}), json!({"x": "timestamp(s, Mars/Olympus)"})]
    {
        let problem = csv.encoder(columns(&types)).err().map(|e| e.code().to_string());
        assert_eq!(problem.as_deref(), Some("P009"), "{types}");
    }
}
