//! Every type crosses both ways, byte for byte: property tests through a guest that recomputes each column.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema};
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use serde_json::json;

use super::arbitrary::{column, data_type, leaves, parents};
use super::guests::{limits, load};
use crate::stage::{Component, types};

static IDENTITY: LazyLock<Component> = LazyLock::new(|| load("identity"));

fn schema(types: &[DataType]) -> Arc<Schema> {
    let field = |(i, ty): (usize, &DataType)| {
        let metadata = std::collections::HashMap::from([("n".to_owned(), i.to_string())]);
        Field::new(format!("c{i}"), ty.clone(), true).with_metadata(metadata)
    };
    Arc::new(Schema::new(types.iter().enumerate().map(field).collect::<Vec<_>>()))
}

/// Runs columns of these types through one instance, several batches of them, and compares.
fn crosses(types: &[DataType], seed: u64, lengths: &[usize]) {
    let mut rng = SmallRng::seed_from_u64(seed);
    let schema = schema(types);
    let bound = IDENTITY.bind("identity", &schema, &json!({}), &limits()).unwrap();
    let mut instance = bound.instantiate().unwrap();
    let crossing: Vec<DataType> = types.iter().map(|ty| types::crossing(ty).unwrap()).collect();
    for (field, ty) in bound.ports()[0].schema.fields().iter().zip(&crossing) {
        assert_eq!(field.data_type(), ty);
    }
    for &len in lengths {
        let columns: Vec<ArrayRef> = types.iter().map(|ty| column(&mut rng, ty, len)).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(len));
        let batch = RecordBatch::try_new_with_options(schema.clone(), columns.clone(), &options).unwrap();
        let outcome = instance.process(&batch).unwrap_or_else(|e| panic!("{types:?}: {}", e.message));
        let records = &outcome.emissions[0].records;
        assert_eq!(records.num_rows(), len);
        for ((sent, got), ty) in columns.iter().zip(records.columns()).zip(&crossing) {
            assert_eq!(&cast(sent, ty).unwrap().to_data(), &got.to_data(), "{ty} of {len} rows");
        }
    }
}

const LENGTHS: &[usize] = &[0, 1, 7, 8, 9, 100];

#[test]
fn every_leaf_type_crosses() {
    crosses(&leaves(), 1, LENGTHS);
}

#[test]
fn every_nested_type_crosses() {
    for (seed, leaf) in leaves().iter().enumerate() {
        crosses(&parents(leaf), seed as u64, &[0, 9]);
    }
}

#[test]
fn lists_of_structs_of_maps_cross() {
    let inner = parents(&DataType::LargeUtf8);
    for (seed, ty) in inner.iter().flat_map(parents).flat_map(|ty| parents(&ty)).enumerate().step_by(7) {
        crosses(&[ty], seed as u64, &[0, 5]);
    }
}

#[test]
fn no_columns_but_rows() {
    crosses(&[], 0, LENGTHS);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_schema_crosses(seed: u64, columns in 1usize..5, len in 0usize..70) {
        let mut rng = SmallRng::seed_from_u64(seed);
        let types: Vec<DataType> = (0..columns).map(|_| data_type(&mut rng, 4)).collect();
        crosses(&types, seed, &[len, 0, len]);
    }
}
