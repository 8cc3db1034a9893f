//! Tests of `bind.rs`; answers of real guests are tested in `tests/hostile.rs`.

use serde_json::json;

use super::*;

#[test]
fn a_ports_name_is_kebab_case() {
    for good in ["out", "slow-requests", "a1-b2"] {
        assert!(check_port_name(good).is_ok(), "{good}");
    }
    for bad in ["", "-", "a-", "-a", "A", "a_b", "a b", "1a", "a--b", "a.b", "\u{e9}", &"a".repeat(101)] {
        assert!(check_port_name(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_schema_that_is_none_is_the_stages_fault() {
    for broken in ["{", "7", r#"{"type": 7}"#] {
        let error = check_config(broken, &json!({})).unwrap_err();
        assert_eq!(error.code(), Code::W007, "{broken}: {error}");
    }
}

#[test]
fn a_fault_of_the_configuration_is_placed() {
    let schema =
        r#"{"type":"object","properties":{"a":{"type":"object","properties":{"b":{"type":"integer"}}}}}"#;
    let error = check_config(schema, &json!({"a": {"b": "x"}})).unwrap_err();
    assert!(error.message().contains("`a.b`"), "{error}");
    assert!(check_config(schema, &json!({"a": {"b": 1}})).is_ok());
}

#[test]
fn passed_columns_keep_their_field_under_a_new_name() {
    let metadata = std::collections::HashMap::from([("k".to_owned(), "v".to_owned())]);
    let field = Field::new("a", DataType::Utf8, false).with_metadata(metadata);
    let input = Schema::new(vec![field.clone()]);
    let passed = wit::OutputColumn::Passed(wit::Passed { index: 0, name: Some("b".to_owned()) });
    let (schema, columns) = port(vec![passed], &input).unwrap();
    assert_eq!(schema.field(0), &field.with_name("b"));
    assert_eq!(columns, [Column::Passed(0)]);
}
