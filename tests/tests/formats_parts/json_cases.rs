//! JSON by type: what a column takes and what it refuses, as `docs/formats.md` says.

use serde_json::{Value, json};

use super::{columns, decode, encode, format, rows, verdict};

const GOOD: [&[u8]; 2] = [b"{}", b"{\"unknown\":0}"];

fn value(data_type: &str, text: &str) -> Result<Value, String> {
    let schema = columns(&json!({ "x": data_type }));
    let record = format!("{{\"x\":{text}}}");
    let row = verdict(&format("json", &json!({})), &schema, record.as_bytes(), GOOD)?;
    Ok(row["x"].clone())
}

#[track_caller]
fn takes(data_type: &str, cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        let expected: Value = serde_json::from_str(expected).unwrap();
        assert_eq!(value(data_type, text), Ok(expected), "{text} as {data_type}");
    }
}

#[track_caller]
fn refuses(data_type: &str, cases: &[&str]) {
    for text in cases {
        let fault = value(data_type, text).expect_err(&format!("{text} as {data_type}"));
        assert!(fault.starts_with("column `x"), "{fault}");
    }
}

#[test]
fn numbers() {
    takes("int8", &[("127", "127"), ("-128", "-128"), ("-0", "0")]);
    refuses("int8", &["128", "-129", "1.0", "1e2", "\"1\"", "true", "[1]", "{}"]);
    takes(
        "int64",
        &[("9223372036854775807", "9223372036854775807"), ("-9223372036854775808", "-9223372036854775808")],
    );
    refuses("int64", &["9223372036854775808", "-9223372036854775809", "1e18"]);
    takes("uint64", &[("18446744073709551615", "18446744073709551615"), ("-0", "0")]);
    refuses("uint64", &["18446744073709551616", "-1", "1.5"]);
    takes("float64", &[("1", "1.0"), ("-0", "-0.0")]);
    takes(
        "float64",
        &[("5e-324", "5e-324"), ("1.7976931348623157e308", "1.7976931348623157e308"), ("1e-400", "0.0")],
    );
    takes("float64", &[("9007199254740993", "9007199254740992.0"), ("0.1", "0.1")]);
    refuses("float64", &["1e400", "-1e309", "\"1\"", "\"NaN\"", "\"Infinity\""]);
    refuses("float32", &["3.5e38"]);
    refuses("float16", &["65520"]);
    takes("float16", &[("65504", "65504.0"), ("0.1", "0.099975586")]);
    for text in ["NaN", "Infinity", "-Infinity", "0x10", "01", "+1", ".5", "1.", "1e", "1_000", "--1", "1,0"]
    {
        for data_type in ["float64", "int64", "decimal128(9, 2)"] {
            value(data_type, text).unwrap_err();
        }
    }
}

#[test]
fn decimals_are_exact() {
    let nines = "99999999999999999999999999999999999999";
    takes(
        "decimal128(38, 0)",
        &[(nines, &format!("\"{nines}\"")), (&format!("\"-{nines}\""), &format!("\"-{nines}\""))],
    );
    refuses("decimal128(38, 0)", &[&format!("{nines}9"), "0.1", "1e38", "\"\"", "\"1,5\"", "\" 1\"", "true"]);
    takes(
        "decimal128(5, 2)",
        &[("1.5", "\"1.50\""), ("1.250", "\"1.25\""), ("12e1", "\"120.00\""), ("\"+.5\"", "\"0.50\"")],
    );
    refuses("decimal128(5, 2)", &["1.255", "1000", "1e-3", "1e1000000000", "\"1e-1000000000\""]);
    let wide = "1234567890".repeat(7);
    takes("decimal256(76, 6)", &[(&format!("{wide}.000001"), &format!("\"{wide}.000001\""))]);
    takes("decimal128(5, -2)", &[("12300", "\"12300\"")]);
    refuses("decimal128(5, -2)", &["12350"]);
}

#[test]
fn times() {
    takes(
        "timestamp(ms, UTC)",
        &[
            ("\"2026-01-31T12:00:00.5Z\"", "\"2026-01-31T12:00:00.500Z\""),
            ("\"2026-01-31 14:00:00.500+02:00\"", "\"2026-01-31T12:00:00.500Z\""),
            ("\"2026-01-31T12:00:00.123456789\"", "\"2026-01-31T12:00:00.123Z\""),
            ("1769860800500", "\"2026-01-31T12:00:00.500Z\""),
            ("-1", "\"1969-12-31T23:59:59.999Z\""),
            ("\"2016-12-31T23:59:60Z\"", "\"2017-01-01T00:00:00Z\""),
        ],
    );
    refuses(
        "timestamp(ms, UTC)",
        &[
            "\"yesterday\"",
            "\"\"",
            "1.5",
            "\"1500\"",
            "\"2026-02-30\"",
            "true",
            "9223372036854775808",
            "\"12:30:60\"",
            "\"2026-01-31T12:30:60Z\"",
            "\"2026-01-31T24:00:00Z\"",
        ],
    );
    takes(
        "timestamp(ns)",
        &[("\"2026-01-31T12:00:00.123456789+00:00\"", "\"2026-01-31T12:00:00.123456789\"")],
    );
    refuses("timestamp(ns)", &["\"2262-04-12T00:00:00\"", "\"1677-09-20T00:00:00\""]);
    takes("timestamp(s, +05:30)", &[("\"2026-01-31T12:00:00\"", "\"2026-01-31T12:00:00+05:30\"")]);
    takes("date32", &[("\"2026-01-31\"", "\"2026-01-31\""), ("20484", "\"2026-01-31\"")]);
    refuses("date32", &["\"2026-01-31T00:00:00Z\"", "\"31.01.2026\"", "2147483648"]);
    takes("date64", &[("\"2026-01-31\"", "\"2026-01-31T00:00:00\"")]);
    takes("time32(ms)", &[("\"12:30:00.5\"", "\"12:30:00.500\""), ("86399999", "\"23:59:59.999\"")]);
    refuses("time32(ms)", &["86400000", "-1", "\"24:00:00\"", "\"23:59:60\""]);
    takes("duration(ms)", &[("\"P1DT1.5S\"", "\"PT86401.5S\""), ("-1500", "\"-PT1.5S\"")]);
    refuses("duration(ms)", &["\"1s\"", "\"P1M\""]);
}

#[test]
fn texts_and_binary() {
    takes("utf8", &[("\"\\u0041\\ud83d\\ude00\\/\\u0000\"", "\"A\u{1f600}/\\u0000\""), ("\"\"", "\"\"")]);
    refuses("utf8", &["1", "true", "\"\\ud800\"", "[\"a\"]", "{\"a\":1}"]);
    takes("large_utf8", &[("\"a\"", "\"a\"")]);
    takes("binary", &[("\"00FFab\"", "\"00ffab\""), ("\"\"", "\"\"")]);
    refuses("binary", &["\"0\"", "\"0g\"", "\"AAEC/w==\"", "[0]"]);
    takes("fixed_size_binary(2)", &[("\"0102\"", "\"0102\"")]);
    refuses("fixed_size_binary(2)", &["\"01\"", "\"\""]);
    takes("dictionary(int8, utf8)", &[("\"a\"", "\"a\"")]);
    takes("boolean", &[("true", "true"), ("false", "false")]);
    refuses("boolean", &["0", "1", "\"true\""]);
    takes("null", &[("null", "null")]);
    refuses("null", &["0", "\"\"", "[]"]);
}

#[test]
fn nested() {
    takes("list(list(int8))", &[("[[1],[],null,[null]]", "[[1],[],null,[null]]"), ("[]", "[]")]);
    refuses("list(int8!)", &["[null]", "[1,\"2\"]", "1", "{}"]);
    takes("fixed_size_list(int8, 2)", &[("[1,null]", "[1,null]")]);
    refuses("fixed_size_list(int8, 2)", &["[1]", "[1,2,3]", "[]"]);
    takes("struct(a: int8!, b: utf8)", &[("{\"b\":\"x\",\"c\":[{}],\"a\":1}", "{\"a\":1,\"b\":\"x\"}")]);
    refuses("struct(a: int8!, b: utf8)", &["{}", "{\"a\":null}", "[]", "{\"a\":1,\"\\u0061\":1}"]);
    takes("map(utf8, list(int8))", &[("{\"\":[],\"a\":null,\"b\":[1]}", "{\"\":[],\"a\":null,\"b\":[1]}")]);
    takes("map(int64, boolean)", &[("{\"-1\":true,\"2\":null}", "{\"-1\":true,\"2\":null}")]);
    refuses("map(int64, boolean)", &["{\"x\":true}", "{\"1\":true,\"01\":false}", "[]"]);
    refuses("map(utf8, int8)", &["{\"a\":1,\"a\":1}", "{\"a\":\"1\"}"]);
    let fault = value("list(struct(a: map(utf8, list(int8))))", "[{\"a\":{\"k\":[1,300]}}]").unwrap_err();
    assert!(fault.starts_with("column `x[0].a.value[1]`: 300 is out of range for int8"), "{fault}");
}

#[test]
fn keys_and_nulls() {
    let schema = columns(&json!({"a": "int8", "": "int8", "A": "int8", "\u{e9}": "int8", "r": "int8!"}));
    let json = format("json", &json!({}));
    let good: [&[u8]; 2] = [b"{\"r\":0}", b"{\"r\":-0}"];
    let row = |record: &str| verdict(&json, &schema, record.as_bytes(), good);
    let full = json!({"a": 1, "": 2, "A": 3, "\u{e9}": 4, "r": 5});
    assert_eq!(row("{\"\\u0061\":1,\"\":2,\"\\u0041\":3,\"\\u00E9\":4,\"r\":5}"), Ok(full));
    assert_eq!(
        row("{\"r\":1,\"x\":1,\"x\":2}"),
        Ok(json!({"a": null, "": null, "A": null, "\u{e9}": null, "r": 1}))
    );
    assert_eq!(row("{\"r\":1,\"a\":null}").unwrap()["a"], Value::Null);
    for (record, part) in [
        ("{}", "column `r`: the column is required but missing"),
        ("{\"r\":null}", "column `r`: null, but the column is required"),
        ("{\"r\":1,\"a\":1,\"a\":1}", "column `a`: the key occurs twice"),
        ("{\"r\":1,\"a\":1,\"\\u0061\":1}", "column `a`: the key occurs twice"),
        ("{\"r\":1,\"a\":null,\"a\":null}", "column `a`: the key occurs twice"),
        ("\u{feff}{\"r\":1}", "expected value"),
        ("{\"r\":1}\0", "trailing characters"),
        ("{\"r\":1,}", "trailing comma"),
        ("{\"r\":1 \"a\":1}", "expected `,` or `}`"),
        ("{\u{a0}\"r\":1}", "key must be a string"),
        ("{'r':1}", "key must be a string"),
        ("{\"r\":1}//", "trailing characters"),
        ("{\"r\":1}{\"r\":1}", "trailing characters"),
        ("{\"u\":\"\u{b}\",\"r\":1}", "control character"),
    ] {
        let fault = row(record).unwrap_err();
        assert!(fault.contains(part), "{record}: {fault}");
    }
    assert_eq!(row(" \t\r\n{ \"r\" \n:\t1 } \r\n").unwrap()["r"], 1);
    let tombstone = decode(&json, &columns(&json!({"a": "int8"})), &[None]);
    assert_eq!(rows(&tombstone.records), [json!({"a": null})]);
}

/// Nulls are left out or written; what JSON has no word for is null.
#[test]
fn how_nulls_are_written() {
    let schema = columns(&json!({"f": "float64", "s": "struct(a: int8)", "l": "list(float32)"}));
    let floats = arrow::array::Float64Array::from(vec![Some(f64::NAN), None, Some(f64::INFINITY)]);
    let mut arrays: Vec<arrow::array::ArrayRef> = vec![std::sync::Arc::new(floats)];
    arrays.extend(schema.fields()[1..].iter().map(|f| arrow::array::new_null_array(f.data_type(), 3)));
    let records = arrow::array::RecordBatch::try_new(schema, arrays).unwrap();
    let short = encode(&format("json", &json!({})), &records);
    assert_eq!(short, [&b"{\"f\":null}"[..], b"{}", b"{\"f\":null}"]);
    let long = encode(&format("json", &json!({"explicit_nulls": true})), &records);
    assert_eq!(long[1], b"{\"f\":null,\"s\":null,\"l\":null}");
}
