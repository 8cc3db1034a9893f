//! The fast way of decoding against the slow one: the same rows, the same rejections, the same words.

use proptest::prelude::*;

use super::fast;
use super::ways::{compare, schema};
use super::whole;
use crate::format::columns::Columns;

/// Texts of values: right ones, edges of types, and what is not JSON.
const VALUES: &[&str] = &[
    "0",
    "-0",
    "7",
    "-7",
    "00",
    "01",
    "-01",
    "-",
    "+1",
    "1.",
    ".5",
    "1.5",
    "-1.5",
    "-0.0",
    "0.1",
    "1e5",
    "1E+2",
    "1e",
    "1e-",
    "1e-400",
    "1e400",
    "127",
    "128",
    "-128",
    "-129",
    "65535",
    "2147483648",
    "12345678",
    "123456789",
    "1234567890123",
    "123456789012345678",
    "-123456789012345678",
    "1234567890123456789",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "9007199254740993",
    "9007199254740992.5",
    "0.30000000000000004",
    "123456789.12345678",
    "0.000000000000000001",
    "3.4028236e38",
    "1.00000005960464477539062501",
    "99999999999999999999999999999999999999",
    "true",
    "false",
    "null",
    "tru",
    "nulll",
    "True",
    "NaN",
    "\"\"",
    "\"x\"",
    "\"a longer one, of more than sixteen bytes\"",
    "\"caf\u{e9} \u{1f600}\"",
    "\"\\u0041\"",
    "\"\\ud800\"",
    "\"\\ud83d\\ude00\"",
    "\"\\x\"",
    "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
    "\"\\u12\"",
    "\"tab\t\"",
    "\"\u{7f}\"",
    "\"open",
    "\"2026-02-28T01:02:03Z\"",
    "\"1.25\"",
    "\"0aff\"",
    "[]",
    "[ ]",
    "[1,2]",
    "[1, null , 3]",
    "[1,]",
    "[,1]",
    "[1 2]",
    "[\"x\"]",
    "[[1],[2]]",
    "[{\"x\":1.5},{}]",
    "{}",
    "{ }",
    "{\"x\":1.5}",
    "{\"x\":1,\"x\":2}",
    "{\"x\":1,}",
    "{\"x\"}",
    "{\"y\":[{\"z\":{}}],\"x\":2}",
    "{\"k\":1,\"l\":null}",
    "{\"k\":1,\"\\u006b\":2}",
    "{\"k\":[}",
    "[{]}",
    "{1:2}",
];

const KEYS: &[&str] = &[
    "\"i\"",
    "\"n\"",
    "\"u\"",
    "\"f\"",
    "\"h\"",
    "\"s\"",
    "\"b\"",
    "\"t\"",
    "\"g\"",
    "\"l\"",
    "\"o\"",
    "\"m\"",
    "\"d\"",
    "\"w\"",
    "\"x\"",
    "\"unknown\"",
    "\"caf\u{e9}\"",
    "\"\\u0069\"",
    "\"\\ud800\"",
    "\"\"",
    "\"i",
    "i",
    "1",
];

const BLANKS: &[&str] = &["", "", "", "", "", " ", "\n\t ", "\r"];

/// One text of a list.
fn one(texts: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    prop::sample::select(texts)
}

/// A member: mostly of a declared key with a value that may fit it.
fn member() -> impl Strategy<Value = String> {
    let fitting = prop_oneof![
        (one(&["\"i\"", "\"f\"", "\"h\"", "\"t\"", "\"d\"", "\"x\""]), one(&VALUES[..6])),
        (
            one(&["\"i\"", "\"u\"", "\"f\"", "\"d\"", "\"unknown\""]),
            one(&["1234567890123", "12", "0", "null", "123456"])
        ),
        (one(&["\"f\"", "\"h\"", "\"x\""]), one(&["1.5", "-0.25", "1e5", "123.456", "0.1", "99999999.99"])),
        (
            one(&["\"s\"", "\"w\"", "\"unknown\""]),
            one(&["\"\"", "\"x\"", "\"caf\u{e9}\"", "\"\\n\"", "\"\\ud83d\\ude00\""])
        ),
        (
            one(&["\"g\"", "\"unknown\""]),
            one(&["{\"x\":1.5}", "{}", "{\"y\":[{\"z\":\"s\"},null]}", "{\"q\":[[]],\"x\":2}"])
        ),
        (one(&["\"l\"", "\"unknown\""]), one(&["[]", "[1,2]", "[1, null ,3]"])),
        (one(&["\"m\"", "\"o\"", "\"b\""]), one(&["{\"k\":1}", "[1,2]", "true", "false", "null"])),
    ];
    let any = (one(KEYS), one(VALUES));
    let blank = || one(BLANKS);
    (prop_oneof![12 => fitting, 1 => any], blank(), blank(), blank(), blank())
        .prop_map(|((key, value), a, b, c, d)| format!("{a}{key}{b}:{c}{value}{d}"))
}

/// A record; few of them are cut, changed or followed by something.
fn record() -> impl Strategy<Value = Vec<u8>> {
    let end = prop_oneof![20 => Just("}"), 1 => Just(""), 1 => Just("} "), 1 => Just("}x"), 1 => Just(",}"), 1 => Just("]")];
    let change = prop_oneof![
        8 => Just(None),
        1 => (any::<prop::sample::Index>(), prop::sample::select(&b"\"\\{}[],:0-.e \x00\xff"[..])).prop_map(Some),
    ];
    (prop::collection::vec(member(), 0..9), end, change).prop_map(|(members, end, change)| {
        let mut record = format!("{{{}{end}", members.join(",")).into_bytes();
        if let Some((at, byte)) = change {
            let at = at.index(record.len());
            record[at] = byte;
        }
        record
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn both_ways_are_one(batches in prop::collection::vec(prop::collection::vec(record(), 0..12), 1..4)) {
        compare(&schema(), &batches);
    }

    #[test]
    fn what_nobody_declared_leaves_as_it_came(batches in prop::collection::vec(prop::collection::vec(record(), 0..12), 1..4)) {
        batches.iter().for_each(|records| whole::keeps(records));
    }

    #[test]
    fn any_rest_makes_a_row_of_json(records in prop::collection::vec(record(), 1..6), text in "[\\[\\]{}:,\"\\\\a-c0-9.e \n_-]{0,40}") {
        records.iter().for_each(|record| whole::merges(&String::from_utf8_lossy(record)));
        whole::merges(&text);
    }

    /// Keys in one order, as most writers have them, with values of every kind.
    #[test]
    fn both_ways_are_one_for_a_writer_of_habits(rows in prop::collection::vec(
        (prop::collection::vec(one(VALUES), 3), prop::collection::vec(any::<bool>(), 3)), 1..40,
    )) {
        let row = |(values, there): &(Vec<&str>, Vec<bool>)| {
            let members = ["f", "unknown", "s"].iter().zip(values).zip(there);
            let given = members.filter(|(_, there)| **there).map(|((key, value), _)| format!("\"{key}\": {value}"));
            format!("{{{}}}", given.collect::<Vec<_>>().join(", ")).into_bytes()
        };
        compare(&schema(), &[rows.iter().map(row).collect()]);
    }

    #[test]
    fn both_ways_are_one_for_every_double(bits in prop::collection::vec(any::<u64>(), 20), decimals in 0..9usize) {
        let texts = bits.iter().flat_map(|bits| {
            let short = *bits as i64 as f64 / 1e9;
            [format!("{{\"f\":{short:.decimals$}}}"), format!("{{\"f\":{:?}}}", f64::from_bits(*bits))]
        });
        compare(&schema(), &[texts.map(String::into_bytes).collect()]);
    }
}

#[test]
fn every_value_meets_every_column() {
    let records: Vec<Vec<u8>> = KEYS
        .iter()
        .flat_map(|key| VALUES.iter().map(move |value| format!("{{{key}:{value}}}").into_bytes()))
        .collect();
    whole::keeps(&records);
    compare(&schema(), &[records.clone(), records]);
}

#[test]
fn large_deep_and_odd_records_are_read_in_both_ways() {
    let keys = |count: usize| (0..count).map(|i| format!("\"k{i}\":{i}")).collect::<Vec<_>>().join(",");
    let nested = |depth: usize| format!("{{\"u\":{}1{},\"i\":7}}", "[".repeat(depth), "]".repeat(depth));
    let escapes: String = (0..=0xffffu32).map(|unit| format!("\\u{unit:04x}")).collect();
    let pairs: String = (0xd800..0xdc00u32).step_by(7).map(|high| format!("\\u{high:04x}\\udc00")).collect();
    let one_by_one = (0..=0xffffu32).step_by(251).map(|unit| format!("{{\"s\":\"\\u{unit:04x}\"}}"));
    let mut records = vec![
        format!("{{{},\"i\":1}}", keys(300)),
        format!("{{{},\"i\":1}}", keys(100_000)),
        format!("{{\"i\":1,\"{}\":2}}", "k".repeat(10_000)),
        format!("{{\"s\":\"{}\"}}", "x".repeat(1 << 20)),
        format!("{{\"u\":\"{escapes}\"}}"),
        format!("{{\"s\":\"{escapes}\"}}"),
        format!("{{\"s\":\"{pairs}\"}}"),
        "{\"x\":1{\"x\":2}".to_owned(),
        "{\"x\":1{\"i\":2}}".to_owned(),
    ];
    records.extend([63, 64, 65, 10_000].map(nested));
    records.extend([63, 64, 65, 10_000].map(|depth| nested(depth).replacen(']', "}", 1)));
    records.extend(one_by_one);
    let records: Vec<Vec<u8>> = records.into_iter().map(String::into_bytes).collect();
    whole::keeps(&records);
    compare(&schema(), &[records.clone(), records]);
}

fn alone<'a>() -> fast::Beside<'a> {
    fast::Beside { watch: None, rest: None, strict: false }
}

#[test]
fn plain_records_need_only_the_fast_way() {
    let mut columns = Columns::new(schema().fields()).unwrap();
    let records = [
        r#"{"i":1764000000000,"s":"u-1","unknown":"Mozilla/5.0 (X11; Linux x86_64)","f":12.5,"g":{"x":1},"l":[1,2]}"#,
        r#"{"i":1764000000001,"s":"\u00e9","unknown":[{"a":"\n"}],"f":1e3,"g":null,"l":[]}"#,
        r#"{"i":1764000000002,"f":-0.5,"m":{"a":1}}"#,
        " { \"f\" : 0.5 , \"i\" : 3 } ",
        "{}",
    ];
    for (row, record) in records.iter().enumerate() {
        assert!(fast::record(record, &mut columns, row, alone()).is_some(), "{record}");
    }
    assert!(fast::record("{\"i\":1.5}", &mut columns, records.len(), alone()).is_none());
}
