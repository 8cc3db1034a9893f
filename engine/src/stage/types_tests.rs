//! Tests of `types.rs`.

use super::*;

#[test]
fn views_and_run_ends_cross_as_plain_types() {
    let item = Arc::new(Field::new("item", DataType::Utf8View, true));
    let ends = Arc::new(Field::new("run_ends", DataType::Int32, false));
    let run = DataType::RunEndEncoded(ends, Arc::clone(&item));
    assert_eq!(crossing(&run), Some(DataType::Utf8));
    let list = crossing(&DataType::ListView(item)).unwrap();
    assert_eq!(list, DataType::List(Arc::new(Field::new("item", DataType::Utf8, true))));
    assert_eq!(crossing(&DataType::Interval(arrow::datatypes::IntervalUnit::DayTime)), None);
}

#[test]
fn a_column_that_cannot_cross_is_named() {
    let ty = DataType::Interval(arrow::datatypes::IntervalUnit::DayTime);
    let schema = Arc::new(Schema::new(vec![Field::new("gap", ty, true)]));
    let error = Lowered::new(&schema).err().unwrap();
    assert!(error.contains("`gap`"), "{error}");
}
