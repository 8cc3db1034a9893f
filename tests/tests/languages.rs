//! Stages in Python and JavaScript (`stages/examples`) on the real host.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Float64Type, Schema};
use pipe_engine::stage::{Component, Host, HostOptions, Limits};
use serde_json::json;

/// The component of an interpreter takes long to compile, so the cache stays from run to run.
fn load(name: &str) -> (Component, Limits) {
    let cache: PathBuf = pipe_tests::root().join("target/test-stage-cache");
    let host = Host::new(HostOptions { cache: Some(cache) }).unwrap();
    let begun = Instant::now();
    let component = host.load(&pipe_tests::stages().join(format!("{name}.wasm"))).unwrap();
    println!("{name}: loaded in {:?}", begun.elapsed());
    let limits = Limits::defaults_for(component.bytes());
    (component, limits)
}

fn batch(values: Vec<Option<f64>>) -> RecordBatch {
    let schema =
        Schema::new(vec![Field::new("n", DataType::Int64, false), Field::new("x", DataType::Float64, true)]);
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..values.len() as i64));
    RecordBatch::try_new(Arc::new(schema), vec![numbers, Arc::new(Float64Array::from(values))]).unwrap()
}

fn doubles(name: &str) {
    let (component, limits) = load(name);
    let said = component.describe(&limits).unwrap();
    assert_eq!(said.name, name);
    let many = batch((0..8_192).map(|n| (n % 7 != 3).then_some(f64::from(n) / 2.0)).collect());
    let bound = component.bind(name, &many.schema(), &json!({"column": "x"}), &limits).unwrap();
    assert_eq!(bound.reads(), [1], "only the column that is named crosses");
    let mut instance = bound.instantiate().unwrap();
    let few = batch(vec![Some(1.5), None, Some(f64::NAN), Some(f64::INFINITY), Some(-0.0), None, Some(2.0)]);
    for input in [few.clone(), few.slice(1, 5), many.slice(3, 100), batch(vec![]), many] {
        let outcome = instance.process(&input).unwrap();
        assert!(outcome.rejections.is_empty());
        let records = match outcome.emissions.as_slice() {
            [emission] => emission.records.clone(),
            _ => RecordBatch::new_empty(Arc::clone(&bound.ports()[0].schema)),
        };
        assert_eq!(records.num_rows(), input.num_rows());
        assert_eq!(records.schema().field(2).name(), "x_doubled");
        assert_eq!(records.column(0), input.column(0));
        assert_eq!(records.column(1), input.column(1));
        let (x, doubled) =
            (input.column(1).as_primitive::<Float64Type>(), records.column(2).as_primitive::<Float64Type>());
        for row in 0..input.num_rows() {
            assert_eq!(x.is_null(row), doubled.is_null(row), "row {row}");
            let expected = (x.value(row) * 2.0).to_bits();
            assert!(x.is_null(row) || x.value(row).is_nan() || doubled.value(row).to_bits() == expected);
        }
    }
    let error = |config| component.bind(name, &few.schema(), &config, &limits).err().unwrap().to_string();
    let missing = error(json!({"column": "y"}));
    assert!(missing.contains("there is no column `y`; the input has n, x"), "{missing}");
    let unknown = error(json!({"column": "x", "colour": 1}));
    assert!(unknown.contains("colour"), "{unknown}");
    let text = error(json!({"column": "n"}));
    assert!(text.contains("float64"), "{text}");
}

#[test]
fn a_stage_in_python_doubles_a_column() {
    doubles("python-double");
}

#[test]
fn a_stage_in_javascript_doubles_a_column() {
    doubles("js-double");
}

/// The guest tries each itself; the host, which has all of them, must have handed on none.
#[test]
fn a_stage_in_python_reaches_nothing() {
    let (component, limits) = load("python-double");
    let input = batch(vec![Some(1.0)]);
    let config = json!({"column": "x", "probe": true});
    let error = component.bind("probe", &input.schema(), &config, &limits).err().unwrap().to_string();
    assert!(
        error.contains("file: refused; folder: refused; variables: 0; arguments: 0; socket: refused"),
        "{error}"
    );
}
