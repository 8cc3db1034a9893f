//! Tests of `declared.rs`.

use super::*;

fn leaf(name: &str) -> wit::FieldResult {
    node(name, wit::DataTypeResult::Int32, 0)
}

fn node(name: &str, data_type: wit::DataTypeResult, children: u32) -> wit::FieldResult {
    wit::FieldResult { name: name.to_owned(), data_type, nullable: true, children, metadata: Vec::new() }
}

#[test]
fn a_tree_is_read_in_pre_order() {
    let fields = vec![
        node("s", wit::DataTypeResult::Struct, 2),
        node("l", wit::DataTypeResult::List, 1),
        leaf("item"),
        leaf("b"),
    ];
    let field = field_from_wit(fields).unwrap();
    let DataType::Struct(children) = field.data_type() else { panic!("{field}") };
    assert_eq!(children.len(), 2);
    assert!(matches!(children[0].data_type(), DataType::List(_)));
}

#[test]
fn counts_of_children_must_be_exact() {
    for (fields, part) in [
        (vec![], "ends before"),
        (vec![node("l", wit::DataTypeResult::List, 1)], "ends before"),
        (vec![leaf("a"), leaf("b")], "more fields"),
        (vec![node("a", wit::DataTypeResult::Int32, 1), leaf("b")], "no children"),
        (vec![node("l", wit::DataTypeResult::List, 0)], "one child"),
        (vec![node("l", wit::DataTypeResult::List, u32::MAX), leaf("b")], "ends before"),
        (vec![node("s", wit::DataTypeResult::Struct, 2), leaf("b"), leaf("b")], "two fields"),
        (vec![node("m", wit::DataTypeResult::Map, 1), leaf("b")], "struct of its entries"),
        (vec![node("t", wit::DataTypeResult::Time32(wit::TimeUnit::Nanosecond), 0)], "time32"),
        (vec![node("f", wit::DataTypeResult::FixedSizeBinary(u32::MAX), 0)], "size"),
        (
            vec![node("d", wit::DataTypeResult::Decimal128(wit::DecimalType { precision: 39, scale: 0 }), 0)],
            "precision 39",
        ),
    ] {
        let error = field_from_wit(fields).unwrap_err();
        assert!(error.contains(part), "{error} / {part}");
    }
}

#[test]
fn nesting_is_bounded() {
    let deep = |levels: usize| {
        let mut fields: Vec<_> = (0..levels).map(|_| node("l", wit::DataTypeResult::List, 1)).collect();
        fields.push(leaf("item"));
        field_from_wit(fields)
    };
    assert!(deep(SCHEMA_DEPTH_MAX - 1).is_ok());
    assert!(deep(SCHEMA_DEPTH_MAX).unwrap_err().contains("deeper"));
    assert!(deep(100_000).is_err(), "no stack is used up");
}

#[test]
fn sizes_that_multiply_are_bounded() {
    let nested = |levels: usize, size: u32| {
        let list = |_| node("l", wit::DataTypeResult::FixedSizeList(size), 1);
        let mut fields: Vec<_> = (0..levels).map(list).collect();
        fields.push(leaf("item"));
        field_from_wit(fields)
    };
    assert!(nested(2, 500).is_ok());
    // Found by fuzzing: a sink that tries the type with one null row would need 28 to the tenth items for it.
    for (levels, size) in [(10, 28), (1, i32::MAX as u32), (31, 2)] {
        let error = nested(levels, size).unwrap_err();
        assert!(error.contains("one row"), "{error}");
    }
}
