//! JSONTestSuite: each text of its `test_parsing` as a record, as the value of a column and as that of a field that
//! nobody declared, each time between two good records. Our choices on its `i_` texts and on `test_transform` are
//! pinned here; `docs/formats.md` gives them in words.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use serde_json::{Value, json};

use super::{columns, decode, format, suite, verdict};

const GOOD: [&[u8]; 2] = [b"{\"n\":1,\"s\":\"before\"}", b"{\"s\":\"after\",\"n\":2}"];

/// Every text of the suite; the two that are large are made here.
fn cases() -> Vec<(String, Vec<u8>)> {
    let stored = suite(include_str!("../../suites/json.tsv"));
    let mut cases: Vec<_> = stored
        .map(|mut line| {
            let text = line.remove(1);
            (String::from_utf8(line.remove(0)).unwrap(), text)
        })
        .collect();
    cases.push(("n_structure_100000_opening_arrays".into(), vec![b'['; 100_000]));
    cases
        .push(("n_structure_open_array_object".into(), [b"[{\"\":".repeat(50_000), b"\n".to_vec()].concat()));
    cases
}

fn cases_of(prefix: &str) -> Vec<(String, Vec<u8>)> {
    cases().into_iter().filter(|(name, _)| name.starts_with(prefix)).collect()
}

/// A record that holds the text as the value of `x`.
fn holding(text: &[u8]) -> Vec<u8> {
    [b"{\"n\":7,\"x\":", text, b",\"s\":\"it\"}"].concat()
}

/// The verdict where `x` has a type, or is not declared.
fn as_value(text: &[u8], data_type: Option<DataType>) -> Result<Value, String> {
    let mut fields = vec![Field::new("n", DataType::Int64, true), Field::new("s", DataType::Utf8, true)];
    fields.extend(data_type.map(|data_type| Field::new("x", data_type, true)));
    verdict(&format("json", &json!({})), &Arc::new(Schema::new(fields)), &holding(text), GOOD)
}

/// The type that a value has, if its items have one; whatever has none is taken for text.
fn type_of(value: &Value) -> Option<DataType> {
    Some(match value {
        Value::Null => DataType::Utf8,
        Value::Bool(_) => DataType::Boolean,
        Value::Number(n) if n.is_i64() => DataType::Int64,
        Value::Number(_) => DataType::Float64,
        Value::String(_) => DataType::Utf8,
        Value::Array(items) => {
            let mut types: Vec<DataType> =
                items.iter().filter(|item| !item.is_null()).map(type_of).collect::<Option<_>>()?;
            types.dedup();
            if types.len() > 1 {
                return None;
            }
            let item = types.pop().unwrap_or(DataType::Utf8);
            DataType::List(Arc::new(Field::new("item", item, true)))
        }
        Value::Object(members) => {
            let fields = members.iter().map(|(name, value)| Some(Field::new(name, type_of(value)?, true)));
            DataType::Struct(fields.collect::<Option<Vec<_>>>()?.into())
        }
    })
}

/// The suite's own verdict on what must be accepted, in all three places.
#[test]
fn what_must_be_accepted_is() {
    let cases = cases_of("y_");
    assert_eq!(cases.len(), 95);
    let (mut typed, mut records, mut without) = (0, 0, Vec::new());
    for (name, text) in &cases {
        let skipped = as_value(text, None).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(skipped, json!({"n": 7, "s": "it"}), "{name}");
        let value: Value = serde_json::from_slice(text).unwrap();
        let nothing = columns(&json!({"n": "int64", "s": "utf8"}));
        let record = verdict(&format("json", &json!({})), &nothing, text, GOOD);
        assert_eq!(record.is_ok(), value.is_object(), "{name}: {record:?}");
        records += usize::from(record.is_ok());
        // A key that is there twice has no value; asked for, it is a fault.
        let Some(data_type) = type_of(&value).filter(|_| !name.contains("duplicated_key")) else {
            without.push(name.as_str());
            continue;
        };
        let row = as_value(text, Some(data_type)).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(row["x"], value, "{name}");
        typed += 1;
    }
    let mixed = ["y_array_heterogeneous", "y_object_duplicated_key", "y_object_duplicated_key_and_value"];
    assert_eq!(without, mixed, "those have no type");
    assert_eq!((typed, records), (92, 12));
}

#[test]
fn what_must_be_rejected_is() {
    let cases = cases_of("n_");
    assert_eq!(cases.len(), 188);
    let types = json!({
        "a": "utf8", "b": "float64", "c": "int64", "d": "boolean", "e": "list(float64)", "f": "list(utf8)",
        "g": "struct(a: utf8, b: utf8, \"\": utf8)", "h": "map(utf8, utf8)", "i": "list(list(utf8))",
        "j": "decimal128(38, 9)", "k": "timestamp(ms)", "l": "list(struct(\"\": utf8))", "m": "list(boolean)",
        "n": "binary", "o": "dictionary(int32, utf8)",
    });
    let types = columns(&types);
    for (name, text) in &cases {
        let nothing = columns(&json!({"n": "int64", "s": "utf8"}));
        let format = format("json", &json!({}));
        assert!(verdict(&format, &nothing, text, GOOD).is_err(), "{name} as a record");
        assert!(as_value(text, None).is_err(), "{name} as a field that nobody declared");
        for field in types.fields() {
            let data_type = field.data_type();
            assert!(as_value(text, Some(data_type.clone())).is_err(), "{name} as {data_type}");
        }
    }
}

/// A type, and the value that a text is of it, or the words with which it is rejected.
type As = (&'static str, Result<&'static str, &'static str>);

/// Our choices: what becomes of the texts that parsers may accept or reject. `None`: it is not JSON, and the record
/// is rejected wherever the text stands. Else it may stand in a field that nobody declared, and of the type given it
/// is this value, or is rejected with these words.
const CHOICES: &[(&str, Option<As>)] = &[
    // Beyond the range of a double: not silently infinite. Below it: the nearest double, which is 0.
    ("i_number_double_huge_neg_exp", Some(("list(float64)", Ok("[0.0]")))),
    ("i_number_huge_exp", Some(("list(float64)", Err("out of range for float64")))),
    ("i_number_neg_int_huge_exp", Some(("list(float64)", Err("out of range for float64")))),
    ("i_number_pos_double_huge_exp", Some(("list(float64)", Err("out of range for float64")))),
    ("i_number_real_neg_overflow", Some(("list(float64)", Err("out of range for float64")))),
    ("i_number_real_pos_overflow", Some(("list(float64)", Err("out of range for float64")))),
    ("i_number_real_underflow", Some(("list(float64)", Ok("[0.0]")))),
    // Integers are exact or out of range; decimals hold more digits.
    ("i_number_too_big_neg_int", Some(("list(int64)", Err("out of range for int64")))),
    ("i_number_too_big_pos_int", Some(("list(uint64)", Err("out of range for uint64")))),
    (
        "i_number_very_big_negative_int",
        Some(("list(decimal256(50, 0))", Ok("[\"-237462374673276894279832749832423479823246327846\"]"))),
    ),
    // Half of a surrogate pair is in the grammar, but is no text.
    ("i_object_key_lone_2nd_surrogate", Some(("map(utf8, int64)", Err("surrogate")))),
    ("i_string_1st_surrogate_but_2nd_missing", Some(("list(utf8)", Err("surrogate")))),
    ("i_string_1st_valid_surrogate_2nd_invalid", Some(("list(utf8)", Err("surrogate")))),
    ("i_string_incomplete_surrogate_and_escape_valid", Some(("list(utf8)", Err("surrogate")))),
    ("i_string_incomplete_surrogate_pair", Some(("list(utf8)", Err("surrogate")))),
    ("i_string_incomplete_surrogates_escape_valid", Some(("list(utf8)", Err("surrogate")))),
    ("i_string_invalid_lonely_surrogate", Some(("list(utf8)", Err("surrogate")))),
    ("i_string_invalid_surrogate", Some(("list(utf8)", Err("surrogate")))),
    ("i_string_inverted_surrogates_U+1D11E", Some(("list(utf8)", Err("surrogate")))),
    ("i_string_lone_second_surrogate", Some(("list(utf8)", Err("surrogate")))),
    // JSON is UTF-8 (RFC 8259, 8.1), without a byte order mark.
    ("i_string_UTF-16LE_with_BOM", None),
    ("i_string_UTF-8_invalid_sequence", None),
    ("i_string_UTF8_surrogate_U+D800", None),
    ("i_string_invalid_utf-8", None),
    ("i_string_iso_latin_1", None),
    ("i_string_lone_utf8_continuation_byte", None),
    ("i_string_not_in_unicode_range", None),
    ("i_string_overlong_sequence_2_bytes", None),
    ("i_string_overlong_sequence_6_bytes", None),
    ("i_string_overlong_sequence_6_bytes_null", None),
    ("i_string_truncated-utf-8", None),
    ("i_string_utf16BE_no_BOM", None),
    ("i_string_utf16LE_no_BOM", None),
    ("i_structure_UTF-8_BOM_empty_object", None),
    // Nesting costs nothing where nobody asked for it, and is refused at the first wrong level where somebody did.
    ("i_structure_500_nested_arrays", Some(("list(list(utf8))", Err("column `x[0][0]`")))),
];

/// A type by its name.
fn type_named(name: &str) -> DataType {
    columns(&json!({ "x": name })).field(0).data_type().clone()
}

#[test]
fn our_choices_are_these() {
    let cases = cases_of("i_");
    assert_eq!(cases.len(), CHOICES.len());
    for (name, text) in &cases {
        let (_, choice) = CHOICES.iter().find(|(chosen, _)| chosen == name).unwrap();
        let skipped = as_value(text, None);
        assert_eq!(skipped.is_ok(), choice.is_some(), "{name}: {skipped:?}");
        match choice {
            None => assert!(as_value(text, Some(type_named("list(utf8)"))).is_err(), "{name}"),
            Some((data_type, Ok(value))) => {
                let expected: Value = serde_json::from_str(value).unwrap();
                assert_eq!(as_value(text, Some(type_named(data_type))).unwrap()["x"], expected, "{name}");
            }
            Some((data_type, Err(words))) => {
                let fault = as_value(text, Some(type_named(data_type))).unwrap_err();
                assert!(fault.contains(words), "{name}: {fault}");
            }
        }
    }
}

/// `test_transform`: what becomes of what parsers bend.
const TRANSFORMED: &[(&str, &str, Result<&str, &str>)] = &[
    ("number_-9223372036854775808", "list(int64)", Ok("[-9223372036854775808]")),
    ("number_-9223372036854775809", "list(int64)", Err("out of range for int64")),
    ("number_-9223372036854775809", "list(decimal128(19, 0))", Ok("[\"-9223372036854775809\"]")),
    ("number_1.0", "list(int64)", Err("int64 was expected, not the number `1.0`")),
    ("number_1.0", "list(float64)", Ok("[1.0]")),
    ("number_1.000000000000000005", "list(float64)", Ok("[1.0]")),
    ("number_1.000000000000000005", "list(decimal128(19, 18))", Ok("[\"1.000000000000000005\"]")),
    ("number_1.000000000000000005", "list(decimal128(19, 17))", Err("does not fit decimal128(19, 17)")),
    ("number_1000000000000000", "list(int64)", Ok("[1000000000000000]")),
    ("number_10000000000000000999", "list(uint64)", Ok("[10000000000000000999]")),
    ("number_10000000000000000999", "list(int64)", Err("out of range for int64")),
    ("number_1e-999", "list(float64)", Ok("[0.0]")),
    ("number_1e-999", "list(decimal128(38, 38))", Err("does not fit")),
    ("number_1e6", "list(float64)", Ok("[1000000.0]")),
    ("number_1e6", "list(int64)", Err("int64 was expected, not the number `1E6`")),
    ("number_9223372036854775807", "list(int64)", Ok("[9223372036854775807]")),
    ("number_9223372036854775808", "list(int64)", Err("out of range for int64")),
    // Keys are compared by their code points, not by what they look like.
    (
        "object_key_nfc_nfd",
        "struct(\"\u{e9}\": utf8, \"e\u{301}\": utf8)",
        Ok("{\"\u{e9}\":\"NFC\",\"e\u{301}\":\"NFD\"}"),
    ),
    (
        "object_key_nfd_nfc",
        "struct(\"\u{e9}\": utf8, \"e\u{301}\": utf8)",
        Ok("{\"\u{e9}\":\"NFC\",\"e\u{301}\":\"NFD\"}"),
    ),
    ("object_same_key_different_values", "struct(a: int64)", Err("column `x.a`: the key occurs twice")),
    ("object_same_key_same_value", "map(utf8, int64)", Err("column `x`: a key occurs twice")),
    ("object_same_key_unclear_values", "struct(a: int64)", Err("column `x.a`: the key occurs twice")),
    ("object_same_key_unclear_values", "struct(b: int64)", Ok("{\"b\":null}")),
    ("string_1_escaped_invalid_codepoint", "list(utf8)", Err("surrogate")),
    ("string_1_invalid_codepoint", "list(utf8)", Err("not UTF-8")),
    ("string_2_escaped_invalid_codepoints", "list(utf8)", Err("surrogate")),
    ("string_2_invalid_codepoints", "list(utf8)", Err("not UTF-8")),
    ("string_3_escaped_invalid_codepoints", "list(utf8)", Err("surrogate")),
    ("string_3_invalid_codepoints", "list(utf8)", Err("not UTF-8")),
    ("string_with_escaped_NULL", "list(utf8)", Ok("[\"A\\u0000B\"]")),
];

#[test]
fn what_others_bend_is_exact_or_rejected() {
    let cases = cases_of("transform_");
    assert_eq!(cases.len(), 22);
    for (name, text) in &cases {
        let ours: Vec<_> = TRANSFORMED
            .iter()
            .filter(|(chosen, ..)| name.strip_prefix("transform_") == Some(chosen))
            .collect();
        assert!(!ours.is_empty(), "{name}");
        for (_, data_type, expected) in ours {
            let row = as_value(text, Some(type_named(data_type)));
            match expected {
                Ok(value) => {
                    let expected: Value = serde_json::from_str(value).unwrap();
                    assert_eq!(row.unwrap_or_else(|e| panic!("{name}: {e}"))["x"], expected, "{name}");
                }
                Err(words) => {
                    let fault = row.unwrap_err();
                    assert!(fault.contains(words), "{name} as {data_type}: {fault}");
                }
            }
        }
    }
}

/// Deep texts cost neither a stack nor the neighbours, in any place.
#[test]
fn depth_is_bounded_by_the_columns() {
    let schema: SchemaRef = columns(&json!({"n": "int64", "s": "utf8", "x": "list(list(list(int8)))"}));
    let json = format("json", &json!({}));
    for depth in [3usize, 4, 1_000, 1_000_000] {
        let deep = [vec![b'['; depth], vec![b']'; depth]].concat();
        let record = [b"{\"unknown\":", deep.as_slice(), b",\"x\":[[[1]]]}"].concat();
        assert_eq!(verdict(&json, &schema, &record, GOOD).unwrap()["x"], json!([[[1]]]));
        let record = [b"{\"x\":", deep.as_slice(), b"}"].concat();
        assert_eq!(verdict(&json, &schema, &record, GOOD).is_ok(), depth == 3, "{depth}");
        let open = [b"{\"unknown\":".to_vec(), b"{\"a\":[".repeat(depth)].concat();
        verdict(&json, &schema, &open, GOOD).unwrap_err();
    }
    assert_eq!(decode(&json, &schema, &[]).records.num_rows(), 0);
}
