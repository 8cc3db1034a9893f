//! What `accept:` reads, and what it does not: tests of the leniencies in records of JSON.

use arrow::array::RecordBatch;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::KIND;
use super::decode::JsonDecoder;
use crate::batch::{Batch, Payload};
use crate::codec::{Decoded, Decoder};
use crate::format::accept;

/// Decodes in the fast and the slow way, which must agree; with what was counted.
pub(super) fn decode(options: &Value, records: &[Vec<u8>]) -> (Decoded, Vec<(&'static str, u64)>) {
    let read = accept::read(options, false);
    assert!(read.problems.is_empty(), "{:?}", read.problems);
    let schema = read.columns.unwrap();
    let values = || Payload::Values(arrow::array::BinaryArray::from_iter_values(records));
    let [one, other] = [true, false].map(|fast| {
        let mut decoder = JsonDecoder::new(&schema).unwrap().accepting(&read.accept);
        decoder.fast = fast;
        let decoded = decoder.decode(&values()).unwrap();
        let accepted = decoder.accepted();
        (decoded, accepted)
    });
    // As text, because NaN equals nothing.
    let data = |decoded: &Decoded| format!("{:?}", decoded.records);
    assert_eq!(data(&one.0), data(&other.0));
    assert_eq!(one.0.bad, other.0.bad);
    assert_eq!(one.1, other.1);
    for column in one.0.records.columns() {
        column.to_data().validate_full().unwrap();
    }
    one
}

pub(super) fn lines(records: &RecordBatch) -> Vec<String> {
    let format = (KIND.prepare)(&json!({"explicit_nulls": true})).unwrap();
    let lines =
        format.encoder(records.schema()).unwrap().encode(&Batch::of_columns(records.clone())).unwrap();
    lines.iter().map(|line| String::from_utf8(line.unwrap().to_vec()).unwrap()).collect()
}

/// Each value of a column alone: what it is read as, or the words of its rejection.
fn each(data_type: &str, accept: &[&str], values: &[&str]) -> Vec<String> {
    let options = json!({"columns": {"c": {"type": data_type, "accept": accept}}});
    let one = |value: &&str| {
        let (decoded, _) = decode(&options, &[format!("{{\"c\":{value}}}").into_bytes()]);
        match decoded.bad.first() {
            Some(bad) => bad.message.clone(),
            None => lines(&decoded.records)[0].trim_start_matches("{\"c\":").trim_end_matches('}').to_owned(),
        }
    };
    values.iter().map(one).collect()
}

/// Good ones are read as the second of each pair; the others are rejected with these words.
fn check(data_type: &str, accept: &[&str], good: &[(&str, &str)], bad: &[(&str, &str)]) {
    let values: Vec<&str> = good.iter().map(|(value, _)| *value).collect();
    let expected: Vec<&str> = good.iter().map(|(_, read)| *read).collect();
    assert_eq!(each(data_type, accept, &values), expected, "{data_type} {accept:?}");
    for (value, words) in bad {
        let message = &each(data_type, accept, &[value])[0];
        assert!(message.starts_with("column `c`: ") && message.contains(words), "{value}: {message}");
    }
}

#[test]
fn numbers_out_of_strings() {
    let good = [("\"12\"", "12"), ("\" -7\\t\"", "-7"), ("12", "12"), ("\"-0\"", "0"), ("null", "null")];
    let bad = [
        ("\"0x10\"", "int64 was expected, not the string `0x10`"),
        ("\"\"", "not the string ``"),
        ("\"1.0\"", "not the string `1.0`"),
        ("\"007\"", "not the string `007`"),
        ("\"+1\"", "not the string `+1`"),
        ("\"1 2\"", "not the string `1 2`"),
        ("\"\u{661}\"", "not the string"),
        ("\"9223372036854775808\"", "9223372036854775808 is out of range for int64"),
        ("[\"1\"]", "not an array"),
        ("{\"a\":1}", "not an object"),
        ("true", "not the boolean true"),
    ];
    check("int64", &["text"], &good, &bad);
    let good = [("\"1e3\"", "1000.0"), ("\"-0.5\"", "-0.5"), ("\"1e-400\"", "0.0"), ("2", "2.0")];
    let bad =
        [("\"1e400\"", "1e400 is out of range"), ("\"NaN\"", "not the string `NaN`"), ("\".5\"", "`.5`")];
    check("float64", &["text"], &good, &bad);
    check(
        "boolean",
        &["text"],
        &[("\"true\"", "true"), ("\" false\"", "false")],
        &[("\"yes\"", "yes"), ("1", "`1`")],
    );
    check(
        "timestamp(ms, UTC)",
        &["text"],
        &[("\"1500\"", "\"1970-01-01T00:00:01.500Z\"")],
        &[("\"1.5\"", "`1.5`")],
    );
    let huge = format!("\"{}\"", "9".repeat(100_000));
    assert!(each("int64", &["text", "whole_floats"], &[&huge])[0].len() < 200);
}

#[test]
fn text_out_of_numbers_and_booleans() {
    let good = [
        ("1.10", "\"1.10\""),
        ("1E400", "\"1E400\""),
        ("-0", "\"-0\""),
        ("\"a\"", "\"a\""),
        ("\"\"", "\"\""),
    ];
    check("utf8", &["numbers"], &good, &[("true", "not the boolean true"), ("[1]", "not an array")]);
    check(
        "utf8",
        &["booleans"],
        &[("true", "\"true\""), ("false", "\"false\"")],
        &[("1", "not the number `1`")],
    );
    check("dictionary(int8, utf8)", &["numbers"], &[("7", "\"7\"")], &[("{}", "not an object")]);
}

#[test]
fn whole_floats() {
    let good = [
        ("1.0", "1"),
        ("1e3", "1000"),
        ("-2.50e1", "-25"),
        ("-0.0", "0"),
        ("9223372036854775807.0", "9223372036854775807"),
    ];
    let bad = [
        ("1.5", "`1.5`"),
        ("1e400", "`1e400`"),
        ("1e-1", "`1e-1`"),
        ("9223372036854775808.0", "out of range"),
        ("\"1.0\"", "the string"),
    ];
    check("int64", &["whole_floats"], &good, &bad);
    check(
        "uint8",
        &["whole_floats", "text"],
        &[("\"2.0\"", "2"), ("255.0", "255")],
        &[("-1.0", "out of range"), ("256.0", "out of range")],
    );
}

#[test]
fn booleans_of_numbers_and_words() {
    check(
        "boolean",
        &["numbers"],
        &[("1", "true"), ("0", "false")],
        &[("2", "`2`"), ("1.0", "`1.0`"), ("-0", "`-0`")],
    );
    let good = [
        ("\"YES\"", "true"),
        ("\"n\"", "false"),
        ("\"On\"", "true"),
        ("\"False\"", "false"),
        ("\" t \"", "true"),
    ];
    check(
        "boolean",
        &["words"],
        &good,
        &[("\"ja\"", "the string `ja`"), ("\"1\"", "the string `1`"), ("1", "`1`")],
    );
    check("boolean", &["words", "numbers"], &[("\"1\"", "true")], &[("\"01\"", "`01`")]);
}

#[test]
fn empty_texts_and_what_is_no_number() {
    for data_type in ["int64", "utf8", "timestamp(s)", "decimal128(5, 2)", "boolean", "binary"] {
        check(data_type, &["empty"], &[("\"\"", "null"), ("\" \\n\"", "null")], &[("[]", "not an array")]);
    }
    let quoted = [("\"NaN\"", "null"), ("\"-Infinity\"", "null"), ("\"+inf\"", "null"), ("1", "1.0")];
    check("float64", &["nan"], &quoted, &[("\"infinite\"", "the string"), ("1e400", "out of range")]);
    let options = json!({"columns": {"f": {"type": "float64", "accept": ["nan"]}, "s": "utf8", "l": "list(float32)"}, "accept": ["nan"]});
    let records = [
        r#"{"f":NaN,"undeclared":[-Infinity,{"x":NaN}]}"#,
        r#"{"f":-Infinity,"l":[1,Infinity]}"#,
        r#"{"f":Nan}"#,
        r#"{"f":NaN,"s":1}"#,
        r#"{"f":1,"s":"NaN"}"#,
    ];
    let (decoded, counted) = decode(&options, &records.map(|record| record.as_bytes().to_vec()));
    assert_eq!(decoded.bad.iter().map(|bad| bad.row).collect::<Vec<_>>(), [2, 3]);
    let floats = decoded.records.column(0).as_any().downcast_ref::<arrow::array::Float64Array>().unwrap();
    assert!(floats.value(0).is_nan() && floats.value(1) == f64::NEG_INFINITY && floats.value(2) == 1.0);
    assert_eq!(counted, [("nan", 3)], "values of rejected records do not count");
    let (strict, _) = decode(&json!({"columns": {"f": "float64"}}), &[b"{\"f\":1,\"g\":NaN}".to_vec()]);
    assert_eq!(strict.bad.len(), 1);
}

#[test]
fn rules_reach_parts_and_a_column_has_its_own_instead_of_the_formats() {
    let options = json!({
        "accept": ["text", "whole_floats"],
        "columns": {
            "a": "int64",
            "b": {"type": "int64", "accept": []},
            "c": {"type": "list(struct(x: int8))", "accept": ["numbers", "text"]},
            "d": {"e": "int64", "f": {"type": "utf8", "accept": ["numbers"]}},
            "m": "map(utf8, int64)",
        },
    });
    let format = (KIND.prepare)(&options);
    let problems = format.err().unwrap();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(
        (problems[0].pointer.as_str(), problems[0].code),
        ("/columns/c/accept", crate::error::Code::P009)
    );

    let mut options = options;
    options["columns"]["c"]["accept"] = json!(["text"]);
    let record = r#"{"a":"1.0","b":2,"c":[{"x":"3"}],"d":{"e":"4","f":5.0},"m":{"6":"7"}}"#;
    let (decoded, counted) = decode(
        &options,
        &[record.as_bytes().to_vec(), br#"{"b":"2"}"#.to_vec(), br#"{"c":[{"x":3.0}]}"#.to_vec()],
    );
    assert_eq!(decoded.bad.iter().map(|bad| bad.row).collect::<Vec<_>>(), [1, 2]);
    assert!(decoded.bad[1].message.contains("`c[0].x`"), "{:?}", decoded.bad);
    assert_eq!(lines(&decoded.records), [r#"{"a":1,"b":2,"c":[{"x":3}],"d":{"e":4,"f":"5.0"},"m":{"6":7}}"#]);
    assert_eq!(counted, [("text", 4), ("numbers", 1), ("whole_floats", 1)]);
}

#[test]
fn a_struct_may_have_fields_of_these_names() {
    let options = json!({"columns": {"event": {"type": "utf8", "accept": "boolean"}, "x": {"type": "utf8"}}});
    let (decoded, _) =
        decode(&options, &[br#"{"event":{"type":"t","accept":true},"x":{"type":"u"}}"#.to_vec()]);
    assert_eq!(lines(&decoded.records), [r#"{"event":{"type":"t","accept":true},"x":{"type":"u"}}"#]);
}

#[test]
fn mistakes_are_all_told_with_their_places() {
    let options = json!({
        "accept": ["txt", 3, "empty", "empty"],
        "columns": {
            "a": {"type": "int46", "accept": ["text"]},
            "b": {"type": "int64", "accept": "text"},
            "c": {"accept": []},
            "d": {"type": {"x": "int64"}, "accept": []},
            "e": {"type": "int64", "accept": [], "from": 1},
        },
    });
    let problems: Vec<crate::problem::Problem> = (KIND.prepare)(&options).err().unwrap();
    let pointers: Vec<&str> = problems.iter().map(|p| p.pointer.as_str()).collect();
    let expected = [
        "/accept/0",
        "/accept/1",
        "/accept/3",
        "/columns/b/accept",
        "/columns/c",
        "/columns/d/type",
        "/columns/e/from",
        "/columns/a/type",
    ];
    assert_eq!(pointers, expected);
    assert!(problems.iter().take(7).all(|p| p.help.is_some()), "{problems:?}");
    for (data_type, word, help) in [
        ("int64", "numbers", "takes text, whole_floats, empty"),
        ("utf8!", "empty", "the `!` forbids"),
        ("decimal128(5, 2)", "text", "takes empty"),
        ("null", "text", "leave `accept` out"),
        ("list(float32!)", "words", "takes text, nan"),
    ] {
        let options = json!({"columns": {"c": {"type": data_type, "accept": [word]}}});
        let problems = (KIND.prepare)(&options).err().unwrap();
        assert_eq!(problems.len(), 1, "{data_type}: {problems:?}");
        assert!(problems[0].help.as_ref().unwrap().contains(help), "{data_type}: {problems:?}");
    }
}

const TYPES: &[&str] = &[
    "int64",
    "uint8",
    "float64",
    "float32",
    "boolean",
    "utf8",
    "decimal128(10, 2)",
    "timestamp(ms, UTC)",
    "date32",
    "time64(us)",
    "duration(s)",
    "binary",
    "dictionary(int16, utf8)",
    "list(int64)",
    "map(utf8, float64)",
];

fn any_value() -> impl Strategy<Value = String> {
    prop_oneof![
        "-?[0-9]{1,20}(\\.[0-9]{1,4})?([eE]-?[0-9]{1,3})?",
        Just("null".to_owned()),
        Just("true".to_owned()),
        "\"-?[0-9]{1,20}(\\.[0-9]{1,4})?\"",
        "\"(true|false|yes|NaN|-Infinity|1|0|| |2026-01-31|2026-01-31T01:02:03Z|12:30|PT1S|0a|x)\"",
        "\"\\PC{0,6}\"",
        "(NaN|Infinity|-Infinity|Inf)",
        "\\[\"?[0-9]{1,3}\"?(,[0-9]{1,3}\\.0)?\\]",
        "\\{\"[a-z]\":\"?[0-9]{1,3}\"?\\}",
    ]
}

proptest! {
    /// What the strict column reads, the lenient one reads as the same value.
    #[test]
    fn lenient_columns_read_what_strict_ones_do(
        values in prop::collection::vec(any_value(), TYPES.len()),
        words in prop::collection::vec(any::<bool>(), 6),
    ) {
        // An empty text means something else, which is what `empty` is for.
        let all = ["text", "numbers", "booleans", "whole_floats", "words", "nan"];
        let accept: Vec<&str> = all.into_iter().zip(words).filter(|(_, on)| *on).map(|(word, _)| word).collect();
        for (data_type, value) in TYPES.iter().zip(&values) {
            let record = format!("{{\"c\":{value}}}").into_bytes();
            let strict = decode(&json!({"columns": {"c": data_type}}), std::slice::from_ref(&record));
            prop_assert!(strict.1.is_empty());
            let lenient = decode(&json!({"accept": accept, "columns": {"c": data_type}}), &[record]);
            if strict.0.bad.is_empty() {
                prop_assert!(lenient.0.bad.is_empty(), "{} {}: {:?}", data_type, value, lenient.0.bad);
                prop_assert_eq!(&strict.0.records, &lenient.0.records);
                prop_assert!(lenient.1.is_empty(), "{} {}: {:?}", data_type, value, lenient.1);
            } else if lenient.0.bad.is_empty() {
                prop_assert!(!lenient.1.is_empty(), "{} {}: it was read and not counted", data_type, value);
            }
        }
    }

    /// A record that is rejected leaves its neighbours as they are alone.
    #[test]
    fn neighbours_stay_untouched(rows in prop::collection::vec(prop::collection::vec(any_value(), TYPES.len()), 1..6)) {
        let columns: serde_json::Map<String, Value> =
            TYPES.iter().enumerate().map(|(i, name)| (format!("c{i}"), json!(name))).collect();
        let all = ["text", "numbers", "booleans", "whole_floats", "words", "nan", "empty"];
        let options = json!({"accept": all, "columns": columns});
        let record = |values: &Vec<String>| {
            let members: Vec<String> =
                values.iter().enumerate().map(|(i, value)| format!("\"c{i}\":{value}")).collect();
            format!("{{{}}}", members.join(",")).into_bytes()
        };
        let records: Vec<Vec<u8>> = rows.iter().map(record).collect();
        let (together, _) = decode(&options, &records);
        let alone: Vec<String> =
            records.iter().flat_map(|r| lines(&decode(&options, std::slice::from_ref(r)).0.records)).collect();
        prop_assert_eq!(lines(&together.records), alone);
    }
}
