//! What the decoder promises: bad rows alone are rejected, whatever they are; what was encoded decodes to itself.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, RecordBatch};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::SchemaRef;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::batch::{Batch, Payload};
use crate::codec::Decoded;
use crate::datatype;
use crate::units::RECORD_BYTES_MAX;

fn decode_all(columns: &Value, records: Vec<Option<&[u8]>>) -> Decoded {
    let format = (super::KIND.prepare)(&json!({"columns": columns})).unwrap();
    let mut decoder = format.decoder(format.schema().unwrap()).unwrap();
    let decoded = decoder.decode(&Payload::Values(BinaryArray::from_opt_vec(records.clone()))).unwrap();
    assert_eq!(decoded.records.num_rows() + decoded.bad.len(), records.len());
    let good = decoded.good.as_ref().map_or(records.len(), |mask| mask.true_count());
    assert_eq!(good, decoded.records.num_rows());
    decoded
}

/// The message with which a record is rejected between two good ones.
fn reject(columns: &Value, record: &[u8]) -> String {
    let decoded = decode_all(columns, vec![None, Some(record), None]);
    assert_eq!(decoded.bad.len(), 1, "{}", String::from_utf8_lossy(record));
    assert_eq!(decoded.bad[0].row, 1);
    decoded.bad[0].message.clone()
}

/// Rows as JSON with explicit nulls.
fn rows(records: &RecordBatch) -> Vec<Value> {
    let format = (super::KIND.prepare)(&json!({"explicit_nulls": true})).unwrap();
    let lines =
        format.encoder(records.schema()).unwrap().encode(&Batch::of_columns(records.clone())).unwrap();
    lines.iter().map(|line| serde_json::from_slice(line.unwrap()).unwrap()).collect()
}

fn accept(columns: &Value, record: &str) -> Value {
    let decoded = decode_all(columns, vec![Some(record.as_bytes())]);
    assert!(decoded.bad.is_empty(), "{record}: {:?}", decoded.bad);
    rows(&decoded.records).remove(0)
}

#[test]
fn every_kind_of_bad_record_is_rejected_alone() {
    let columns = json!({"a": "int8", "s": "utf8", "t": "list(int64)", "g": {"x": "float32"}, "b": "binary"});
    let deep = |n: usize| [b"{\"t\":".to_vec(), vec![b'['; n], vec![b']'; n], b"}".to_vec()].concat();
    for (record, part) in [
        (&b""[..], "EOF while parsing a value"),
        (b"{", "EOF while parsing an object"),
        (b"[]", "invalid type: sequence, expected a JSON object"),
        (b"null", "invalid type: null, expected a JSON object"),
        (b"3", "invalid type: integer `3`, expected a JSON object"),
        (b"{} x", "trailing characters at line 1 column 4"),
        (b"{}{}", "trailing characters"),
        (b"{\"a\":\"1\"}", "column `a`: int8 was expected, not the string `1`"),
        (b"{\"a\":1.0}", "column `a`: int8 was expected, not the number `1.0`"),
        (b"{\"a\":1e1}", "column `a`: int8 was expected, not the number `1e1`"),
        (b"{\"a\":128}", "column `a`: 128 is out of range for int8"),
        (b"{\"a\":18446744073709551616}", "column `a`: 18446744073709551616 is out of range for int8"),
        (b"{\"a\":1,\"a\":1}", "column `a`: the key occurs twice"),
        (b"{\"a\":null,\"a\":1}", "column `a`: the key occurs twice"),
        (b"{\"g\":{\"x\":true}}", "column `g.x`"),
        (b"{\"g\":{\"x\":1e39}}", "column `g.x`: 1e39 is out of range for float32"),
        (b"{\"g\":{\"x\":1e999}}", "column `g.x`"),
        (b"{\"g\":[]}", "column `g`: struct(x: float32) was expected, not an array"),
        (b"{\"t\":[1,2,\"x\"]}", "column `t[2]`"),
        (b"{\"t\":[1,2", "column `t[2]`: EOF while parsing a list"),
        (b"{\"s\":{}}", "column `s`: utf8 was expected, not an object"),
        (b"{\"s\":\"\xff\"}", "the record is not UTF-8 (byte 7)"),
        (b"{\"u\":\"\xff\"}", "the record is not UTF-8 (byte 7)"),
        (b"{\"u\":[1,]}", "at line 1 column 9"),
        (b"{\"s\":\"\\ud800\"}", "column `s`"),
        (b"{\"s\":\"a\nb\"}", "column `s`: control character"),
        (b"{\"b\":\"0\"}", "column `b`: an odd number"),
        (b"{\"b\":\"0g\"}", "column `b`: hexadecimal"),
        (b"{\"a\":NaN}", "column `a`"),
        (&deep(10_000), "column `t[0]`: int64 was expected, not an array"),
        (&vec![b'['; 10_000], "expected a JSON object"),
    ] {
        let message = reject(&columns, record);
        assert!(
            message.contains(part),
            "{}: {message}",
            String::from_utf8_lossy(&record[..record.len().min(80)])
        );
    }
    let message = reject(&columns, &vec![b' '; RECORD_BYTES_MAX + 1]);
    assert!(message.starts_with("D002"), "{message}");
    let message = reject(&json!({"a": "map(utf8, int64!)"}), b"{\"a\":{\"k\":null}}");
    assert!(message.contains("`a.value`"), "{message}");
}

#[test]
fn keys_that_begin_alike_are_told_apart() {
    let keys = ["k", "a_key_of_seventeen", "a_key_of_seventeex", "a_key_of_s", "a_key_of_seventeen_and_more"];
    let columns = json!({"k": "int64", "a_key_of_seventeen": "utf8", "a_key_of_s": "utf8"});
    let line = |order: [usize; 5], text: &str| {
        let fields = order.map(|at| match at {
            0 => r#""k":7"#.to_owned(),
            _ => format!(r#""{}":"{}{text}""#, keys[at], at),
        });
        format!("{{{}}}", fields.join(","))
    };
    let texts = (0..40).map(|length| "0123456789".chars().cycle().take(length).collect::<String>());
    let lines: Vec<String> = texts
        .clone()
        .flat_map(|text| {
            [[0, 1, 2, 3, 4], [0, 1, 2, 3, 4], [2, 1, 4, 3, 0], [0, 4, 2, 3, 1]]
                .map(|order| line(order, &text))
        })
        .collect();
    let decoded = decode_all(&columns, lines.iter().map(|line| Some(line.as_bytes())).collect());
    assert!(decoded.bad.is_empty(), "{:?}", decoded.bad);
    let expected: Vec<Value> = texts
        .flat_map(|text| {
            let row =
                json!({"k": 7, "a_key_of_seventeen": format!("1{text}"), "a_key_of_s": format!("3{text}")});
            vec![row; 4]
        })
        .collect();
    assert_eq!(rows(&decoded.records), expected);
}

#[test]
fn unknown_fields_are_skipped_however_deep() {
    let columns = json!({"a": "int64"});
    let nested =
        format!("{{\"u\":{}1{},\"a\":7,\"v\":\"\\ud83d\\ude00\"}}", "[".repeat(10_000), "]".repeat(10_000));
    assert_eq!(accept(&columns, &nested), json!({"a": 7}));
    assert_eq!(accept(&columns, "{\"u\":1,\"u\":2}"), json!({"a": null}));
}

#[test]
fn values_keep_their_meaning() {
    let columns = json!({
        "i": "int64", "u": "uint64", "f": "float64", "s": "utf8", "ts": "timestamp(ms, UTC)", "d": "date32",
        "dec": "decimal128(30, 2)", "m": "map(utf8, int64)", "w": "dictionary(int8, utf8)", "t": "time64(us)",
    });
    let record = r#"{"u":18446744073709551615,"i":-9223372036854775808,"f":0.1,"s":"\u0000\"","ts":1500,
        "d":"2026-02-28","dec":"1234567890123456789012345678.05","m":{"a":1,"b":2},"w":"x","t":"01:02:03.5"}"#;
    let expected = json!({
        "i": i64::MIN, "u": u64::MAX, "f": 0.1, "s": "\0\"", "ts": "1970-01-01T00:00:01.500Z", "d": "2026-02-28",
        "dec": "1234567890123456789012345678.05", "m": {"a": 1, "b": 2}, "w": "x", "t": "01:02:03.500",
    });
    let got = accept(&columns, record);
    for (key, value) in expected.as_object().unwrap() {
        if key != "t" {
            assert_eq!(&got[key], value, "{key}");
        }
    }
    assert!(got["t"].as_str().unwrap().starts_with("01:02:03.5"));
    assert_eq!(accept(&json!({"x": "decimal128(5, 2)"}), "{\"x\":1.25}")["x"], "1.25");
    assert!(reject(&json!({"x": "decimal128(5, 2)"}), b"{\"x\":1.255}").contains("column `x`"));
    let wide = json!({"x": "decimal128(38, 2)"});
    let digits = "-123456789012345678901234567890123456.78";
    assert_eq!(
        accept(&wide, &format!("{{\"x\":{digits}}}"))["x"],
        digits,
        "a number keeps all of its digits"
    );
    assert_eq!(accept(&json!({"i": "int64", "u": "uint8"}), "{\"i\":-0,\"u\":-0}"), json!({"i": 0, "u": 0}));
    // Between two floats: by way of a double it would be rounded twice.
    let f = accept(&json!({"f": "float32"}), "{\"f\":1.00000005960464477539062501}");
    assert_eq!(f["f"].as_f64().unwrap() as f32, 1.000_000_1);
    let twice = reject(&json!({"m": "map(utf8, int8)"}), b"{\"m\":{\"a\":1,\"\\u0061\":2}}");
    assert!(twice.starts_with("column `m`: a key occurs twice"), "{twice}");
    let m = json!({"m": "map(int8, utf8)", "n": "map(date32, int8)"});
    let record = json!({"m": {"-1": "x", "2": null}, "n": {"2026-01-31": 1}});
    assert_eq!(accept(&m, &record.to_string()), record, "a null value of a map is kept");
}

#[test]
fn required_columns_reject_what_lacks_them() {
    let format = (super::KIND.prepare)(&json!({"columns": {"a": "int64!"}})).unwrap();
    let mut decoder = format.decoder(format.schema().unwrap()).unwrap();
    let values =
        BinaryArray::from_opt_vec(vec![Some(b"{}"), None, Some(b"{\"a\":null}"), Some(b"{\"a\":1}")]);
    let decoded = decoder.decode(&Payload::Values(values)).unwrap();
    assert_eq!(decoded.bad.iter().map(|b| b.row).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(decoded.bad[0].message, "column `a`: the column is required but missing");
    assert_eq!(decoded.records.num_rows(), 1);
}

#[test]
fn a_full_dictionary_rejects_rows_and_the_next_batch_starts_anew() {
    let format = (super::KIND.prepare)(&json!({"columns": {"w": "dictionary(int8, utf8)"}})).unwrap();
    let mut decoder = format.decoder(format.schema().unwrap()).unwrap();
    let records: Vec<String> = (0..130).map(|i| format!("{{\"w\":\"{i}\"}}")).collect();
    let values = || Payload::Values(BinaryArray::from_iter_values(records.iter()));
    for _ in 0..2 {
        let decoded = decoder.decode(&values()).unwrap();
        assert_eq!(decoded.records.num_rows(), 128);
        assert!(decoded.bad[0].message.contains("more distinct words"));
    }
    // The words of rows that are rejected take no room from their neighbours.
    let format =
        (super::KIND.prepare)(&json!({"columns": {"w": "dictionary(int8, utf8)", "n": "int8"}})).unwrap();
    let mut decoder = format.decoder(format.schema().unwrap()).unwrap();
    let bad = (0..300).map(|i| format!("{{\"w\":\"bad {i}\",\"n\":200}}"));
    let good = (0..128).map(|i| format!("{{\"w\":\"{i}\",\"n\":0}}"));
    let values = BinaryArray::from_iter_values(bad.chain(good));
    let decoded = decoder.decode(&Payload::Values(values)).unwrap();
    assert_eq!((decoded.bad.len(), decoded.records.num_rows()), (300, 128));
}

#[test]
fn bytes_that_are_no_text_spoil_only_their_own_record() {
    let format = (super::KIND.prepare)(&json!({"columns": {"s": "utf8"}})).unwrap();
    let mut decoder = format.decoder(format.schema().unwrap()).unwrap();
    let records: [&[u8]; 7] = [
        b"{\"s\":\"left out by the slice\"}\xff",
        "{\"s\":\"caf\u{e9}\"}".as_bytes(),
        // Together the next two are text, neither is alone.
        b"{\"s\":\"\xc3",
        b"\xa9\"}",
        b"{\"s\":\"\xff\"}",
        b"{\"other\":\"\xff\",\"s\":\"fine\"}",
        b"{\"s\":\"last\"}",
    ];
    let all = BinaryArray::from_iter_values(records);
    let mut bad_rows = |values: BinaryArray| {
        let decoded = decoder.decode(&Payload::Values(values)).unwrap();
        (decoded.bad.iter().map(|bad| bad.row).collect::<Vec<_>>(), decoded.records.num_rows())
    };
    assert_eq!(bad_rows(all.slice(1, 3)), (vec![1, 2], 1));
    assert_eq!(bad_rows(all.slice(1, 6)), (vec![1, 2, 3, 4], 2));
    assert_eq!(bad_rows(all.slice(6, 1)), (vec![], 1));
    assert_eq!(bad_rows(all.slice(6, 0)), (vec![], 0));
}

/// A type of every shape, each with values that any text of its kind spells.
fn shapes() -> Vec<(&'static str, fn(u64) -> Value)> {
    vec![
        ("null", |_| Value::Null),
        ("boolean", |n| json!(n % 2 == 0)),
        ("int8", |n| json!(n as i8)),
        ("int16", |n| json!(n as i16)),
        ("int32", |n| json!(n as i32)),
        ("int64", |n| json!(n as i64)),
        ("uint8", |n| json!(n as u8)),
        ("uint16", |n| json!(n as u16)),
        ("uint32", |n| json!(n as u32)),
        ("uint64", |n| json!(n)),
        ("float16", |n| json!(f64::from((n % 2048) as u32))),
        ("float32", |n| json!(f64::from(f32::from_bits(n as u32 & 0xff7f_ffff)))),
        ("float64", |n| json!(f64::from_bits(n & 0xffef_ffff_ffff_ffff))),
        ("utf8", |n| json!(char::from_u32(n as u32 % 0xd800).map(|c| format!("{c}\"\\\n{n}")))),
        ("large_utf8", |n| json!(n.to_string())),
        ("binary", |n| json!(format!("{n:016x}"))),
        ("large_binary", |n| json!(format!("{:02x}", n as u8))),
        ("fixed_size_binary(8)", |n| json!(format!("{n:016x}"))),
        ("date32", |n| json!((n % 100_000) as i32)),
        ("date64", |n| json!((n % 100_000) as i64 * 86_400_000)),
        ("time32(s)", |n| json!(n % 86_400)),
        ("time32(ms)", |n| json!(n % 86_400_000)),
        ("time64(us)", |n| json!(n % 86_400_000_000)),
        ("time64(ns)", |n| json!(n % 86_400_000_000_000)),
        ("timestamp(s)", |n| json!((n % 4_000_000_000) as i64 - 1_000_000_000)),
        ("timestamp(ms, UTC)", |n| json!((n % 4_000_000_000_000) as i64 - 1_000_000_000_000)),
        ("timestamp(us, +05:30)", |n| json!((n % 4_000_000_000_000_000) as i64 - 1_000_000_000_000_000)),
        ("timestamp(ns)", |n| json!(n as i64 / 2)),
        ("duration(s)", |n| json!(n as i32)),
        ("duration(ms)", |n| json!((n as i64) / 1_000_000)),
        ("duration(us)", |n| json!((n as i64) / 1_000)),
        ("duration(ns)", |n| json!((n as i64) / 2)),
        ("decimal128(38, 5)", |n| json!(format!("-{n}.{:05}", n % 100_000))),
        ("decimal256(70, 0)", |n| json!(format!("{n}{n}{n}"))),
        ("list(int64)", |n| (0..n % 4).map(|i| if i == 1 { Value::Null } else { json!(i) }).collect()),
        ("large_list(utf8)", |n| (0..n % 3).map(|i| json!(i.to_string())).collect()),
        ("fixed_size_list(int8, 2)", |n| json!([n as i8, null])),
        ("map(utf8, list(int64))", |n| json!({ n.to_string(): [n % 7], "k": [] })),
        ("dictionary(int16, utf8)", |n| json!((n % 5).to_string())),
        (
            "struct(x: int64!, y: list(struct(z: utf8)))",
            |n| json!({"x": n as i32, "y": [{"z": "s"}, null, {}]}),
        ),
    ]
}

fn columns() -> Value {
    let named = shapes().into_iter().enumerate();
    named.map(|(i, (text, _))| (format!("c{i}"), json!(text))).collect::<serde_json::Map<_, _>>().into()
}

/// A record: some columns are missing, some null.
fn record(seed: &[u64]) -> Vec<u8> {
    let mut record = serde_json::Map::new();
    for ((i, (_, make)), n) in shapes().into_iter().enumerate().zip(seed) {
        match n % 5 {
            0 => {}
            1 => drop(record.insert(format!("c{i}"), Value::Null)),
            _ => drop(record.insert(format!("c{i}"), make(*n))),
        }
    }
    Value::Object(record).to_string().into_bytes()
}

fn seeds(rows: usize) -> impl Strategy<Value = Vec<Vec<u64>>> {
    let columns = shapes().len();
    prop::collection::vec(prop::collection::vec(any::<u64>(), columns..=columns), 0..rows)
}

fn schema() -> SchemaRef {
    datatype::columns(&columns()).unwrap()
}

fn decode(records: &[Vec<u8>]) -> Decoded {
    decode_all(&columns(), records.iter().map(|r| Some(r.as_slice())).collect())
}

/// The lines that arrow-json's own writer makes, with our spellings.
fn lines_of_arrow(records: &RecordBatch, explicit_nulls: bool) -> Vec<u8> {
    let mut lines = Vec::new();
    let mut writer =
        super::encode::builder(explicit_nulls).build::<_, arrow::json::writer::LineDelimited>(&mut lines);
    writer.write(records).unwrap();
    writer.finish().unwrap();
    drop(writer);
    lines
}

/// Rows and files of rows are written as arrow-json writes them, byte by byte.
fn same_bytes(records: &RecordBatch) {
    for explicit_nulls in [false, true] {
        let format = (super::KIND.prepare)(&json!({ "explicit_nulls": explicit_nulls })).unwrap();
        let encoded =
            format.encoder(records.schema()).unwrap().encode(&Batch::of_columns(records.clone())).unwrap();
        let ours: Vec<u8> = encoded.iter().flat_map(|line| [line.unwrap(), b"\n"].concat()).collect();
        let theirs = lines_of_arrow(records, explicit_nulls);
        assert_eq!(String::from_utf8(ours).unwrap(), String::from_utf8(theirs.clone()).unwrap());
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut writer = format.writer(records.schema(), Box::new(file.reopen().unwrap())).unwrap();
        writer.write(&Batch::of_columns(records.clone())).unwrap();
        writer.finish().unwrap();
        assert_eq!(writer.bytes(), theirs.len() as u64);
        assert_eq!(std::fs::read(file.path()).unwrap(), theirs);
    }
}

#[test]
fn texts_and_numbers_at_their_edges_are_written_as_arrow_json_does() {
    let texts: Vec<String> = (0..300u32)
        .filter_map(char::from_u32)
        .map(|sign| format!("{}{sign}{}", "x".repeat(sign as usize % 40), "y".repeat(sign as usize % 3)))
        .collect();
    let powers = (0..20).flat_map(|n| [10u64.pow(n), 10u64.pow(n) - 1]).chain([u64::MAX, 99, 101, 12_345]);
    let whole: Vec<u64> = powers.cycle().take(texts.len()).collect();
    let floats: Vec<f64> = (0..texts.len())
        .map(|n| match n % 6 {
            0 => whole[n] as f64 / 1e3,
            1 => -(n as f64) / 10.0,
            2 => n as f64 * 1.1,
            3 => 10f64.powi(n as i32 % 30 - 15),
            4 => [0.0, -0.0, f64::NAN, f64::INFINITY, f64::MIN_POSITIVE, 99_999_999.999, 100_000_000.0, 1e-3]
                [n / 6 % 8],
            _ => f64::from_bits((n as u64).wrapping_mul(0x0123_4567_89ab_cdef)),
        })
        .collect();
    let signed: Vec<i64> = whole.iter().map(|n| (*n as i64).wrapping_neg()).collect();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("a \"key\" of more than sixteen bytes\n", Arc::new(arrow::array::StringArray::from(texts))),
        ("u", Arc::new(arrow::array::UInt64Array::from(whole.clone()))),
        ("i", Arc::new(arrow::array::Int64Array::from(signed))),
        ("n", Arc::new(arrow::array::Int8Array::from_iter_values(whole.iter().map(|n| *n as i8)))),
        ("f", Arc::new(arrow::array::Float64Array::from(floats))),
        (
            "g",
            Arc::new(arrow::array::Float32Array::from_iter_values(whole.iter().map(|n| *n as f32 / 100.0))),
        ),
    ];
    let records = RecordBatch::try_from_iter(columns).unwrap();
    same_bytes(&records);
    same_bytes(&records.slice(7, 50));
    same_bytes(&records.slice(3, 0));
    let long =
        arrow::array::StringArray::from(vec!["z".repeat(100_000), "\u{1}".repeat(100_000), String::new()]);
    same_bytes(&RecordBatch::try_from_iter([("s", Arc::new(long) as ArrayRef)]).unwrap());
}

/// Whole blocks are moved: every length of a key and of a text, beside columns whose lengths nobody knows before.
#[test]
fn keys_and_texts_of_every_length_are_written_as_arrow_json_does() {
    use arrow::array::{BinaryArray, StringArray};
    let lengths = (0..=200).chain(1_020..=1_030).chain([70_000]);
    let texts: Vec<String> =
        lengths.map(|length| "abcdefghij".chars().cycle().take(length).collect()).collect();
    let some = |keep: fn(usize) -> bool, text: fn(&str) -> String| {
        let cells = texts.iter().enumerate().map(|(at, t)| keep(at).then(|| text(t)));
        StringArray::from(cells.collect::<Vec<_>>())
    };
    for key in (1..70).step_by(4) {
        let name = |sign: &str| sign.repeat(key);
        let columns: Vec<(String, ArrayRef)> = vec![
            (name("p"), Arc::new(some(|at| at % 7 != 0, str::to_owned))),
            (name("e"), Arc::new(some(|at| at % 5 != 0, |text| format!("\"{text}\n")))),
            (
                name("b"),
                Arc::new(BinaryArray::from_iter(texts.iter().map(|t| (t.len() % 3 != 0).then_some(t)))),
            ),
            (name("s"), Arc::new(some(|_| true, |text| text.chars().take(9).collect()))),
            (
                name("f"),
                Arc::new(arrow::array::Float64Array::from_iter_values((0..texts.len()).map(|n| {
                    [99_999.999, 100_000.0, 99_999.95, 1e-7, 0.5, 12_345_678.125, 1.0 / 3.0][n % 7]
                        * (n as f64 - 90.0)
                }))),
            ),
        ];
        let records = RecordBatch::try_from_iter(columns).unwrap();
        same_bytes(&records);
        same_bytes(&records.slice(1, 30));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn rows_are_written_as_arrow_json_does(seeds in seeds(12), from in 0..4usize) {
        let records = decode(&seeds.iter().map(|s| record(s)).collect::<Vec<_>>()).records;
        same_bytes(&records);
        let from = from.min(records.num_rows());
        same_bytes(&records.slice(from, records.num_rows() - from));
    }

    #[test]
    fn doubles_are_written_as_arrow_json_does(bits in prop::collection::vec(any::<u64>(), 40), scale in 0..7i32) {
        let scaled = bits.iter().map(|bits| (*bits as i64 >> (bits % 50)) as f64 / 10f64.powi(scale));
        let floats = scaled.chain(bits.iter().map(|bits| f64::from_bits(*bits)));
        let floats = Arc::new(arrow::array::Float64Array::from_iter_values(floats)) as ArrayRef;
        same_bytes(&RecordBatch::try_from_iter([("f", floats)]).unwrap());
    }

    #[test]
    fn decode_of_encode_is_the_same(seeds in seeds(12)) {
        let records: Vec<Vec<u8>> = seeds.iter().map(|s| record(s)).collect();
        let first = decode(&records);
        prop_assert!(first.bad.is_empty(), "{:?}", first.bad);
        for explicit_nulls in [false, true] {
            let format = (super::KIND.prepare)(&json!({"explicit_nulls": explicit_nulls})).unwrap();
            let encoded = format.encoder(schema()).unwrap().encode(&Batch::of_columns(first.records.clone())).unwrap();
            prop_assert_eq!(encoded.null_count(), 0);
            let lines: Vec<Vec<u8>> = encoded.iter().map(|line| line.unwrap().to_vec()).collect();
            let second = decode(&lines);
            prop_assert!(second.bad.is_empty(), "{:?}", second.bad);
            prop_assert_eq!(&first.records, &second.records);
        }
    }

    /// A record broken anywhere is rejected or not, and its neighbours decode as they do alone.
    #[test]
    fn a_broken_record_never_touches_its_neighbours(
        seeds in seeds(8),
        cut in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        which in any::<prop::sample::Index>(),
    ) {
        prop_assume!(!seeds.is_empty());
        let mut records: Vec<Vec<u8>> = seeds.iter().map(|s| record(s)).collect();
        let at = which.index(records.len());
        let place = cut.index(records[at].len());
        if byte.is_multiple_of(2) { records[at].truncate(place) } else { records[at][place] = byte }
        let together = decode(&records);
        let alone: Vec<RecordBatch> = records.iter().map(|r| decode(std::slice::from_ref(r)).records).collect();
        let alone = concat_batches(&schema(), &alone).unwrap();
        prop_assert_eq!(rows(&together.records), rows(&alone));
        prop_assert!(together.bad.iter().all(|bad| bad.row as usize == at));
        for column in together.records.columns() {
            column.to_data().validate_full().unwrap();
        }
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), text in "[\\[\\]{}:,\"\\\\a-c0-9.e-]{0,40}") {
        decode(&[bytes, text.into_bytes()]);
    }
}

#[test]
fn a_slice_encodes_as_its_own_rows() {
    let batch = decode(&(0..9).map(|i| record(&vec![i * 7 + 2; shapes().len()])).collect::<Vec<_>>()).records;
    let all = rows(&batch);
    assert_eq!(rows(&batch.slice(3, 4)), all[3..7]);
    let mask: ArrayRef = Arc::new((0..9).map(|i| Some(i % 2 == 0)).collect::<arrow::array::BooleanArray>());
    let even = filter_record_batch(&batch, mask.as_boolean()).unwrap();
    assert_eq!(rows(&even), all.into_iter().step_by(2).collect::<Vec<_>>());
}
