//! The ready-made stages on the real host.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray,
    UInt32Array,
};
use arrow::compute::{cast, take_record_batch};
use arrow::datatypes::{DataType, Int32Type, Int64Type, TimeUnit, TimestampMillisecondType};
use pipe_engine::stage::{Bound, Component, Host, HostOptions, Limits, Outcome};
use serde_json::{Value, json};

/// A stage is compiled in a blink only because it is small. The aim is 100,000 bytes, which `slow` keeps; `filter` and
/// `route` have a loop for each width of number, and take values of any type out of columns by their paths.
const BYTES_MAX: usize = 165_000;

fn load(name: &str) -> Component {
    let host = Host::new(HostOptions { cache: None }).unwrap();
    let component = host.load(&pipe_tests::stages().join(format!("{name}.wasm"))).unwrap();
    assert!(component.bytes() <= BYTES_MAX, "{name} has {} bytes", component.bytes());
    component
}

fn bind(component: &Component, batch: &RecordBatch, config: &Value) -> Result<Bound, String> {
    let limits = Limits::defaults_for(component.bytes());
    component.bind("test", &batch.schema(), config, &limits).map_err(|e| e.to_string())
}

fn run(bound: &Bound, batch: &RecordBatch) -> Outcome {
    bound.instantiate().unwrap().process(batch).unwrap()
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)))
        .unwrap()
}

/// Rows of the port of this name.
fn records(bound: &Bound, outcome: &Outcome, port: &str) -> RecordBatch {
    let index = bound.ports().iter().position(|known| known.name == port).unwrap();
    let found = outcome.emissions.iter().find(|emission| emission.port == index);
    found.map_or_else(
        || RecordBatch::new_empty(Arc::clone(&bound.ports()[index].schema)),
        |e| e.records.clone(),
    )
}

fn rows(batch: &RecordBatch, keep: impl Fn(usize) -> bool) -> RecordBatch {
    let rows = (0..batch.num_rows()).filter(|row| keep(*row)).map(|row| row as u32);
    take_record_batch(batch, &UInt32Array::from_iter_values(rows)).unwrap()
}

/// Every type that holds small numbers, each with the value that stands for 5 in it.
fn numeric_types() -> Vec<(DataType, Value)> {
    use DataType as T;
    let number = [T::Int8, T::Int16, T::Int32, T::Int64, T::UInt8, T::UInt16, T::UInt32, T::UInt64];
    let mut types: Vec<(DataType, Value)> = number.map(|ty| (ty, json!(5))).into();
    types.extend([(T::Float32, json!(5)), (T::Float64, json!(5.0))]);
    types.push((T::Date32, json!("1970-01-06")));
    types.push((T::Time32(TimeUnit::Second), json!("00:00:05")));
    types.push((T::Time64(TimeUnit::Nanosecond), json!("00:00:00.000000005")));
    types.push((T::Timestamp(TimeUnit::Second, None), json!("1970-01-01T00:00:05Z")));
    types.push((
        T::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        json!("1970-01-01T00:00:00.000005Z"),
    ));
    types.push((T::Duration(TimeUnit::Millisecond), json!(5)));
    types
}

#[test]
fn filter_compares_every_number_of_every_type() {
    let filter = load("filter");
    let values: Int64Array = (0..8_200).map(|n| (n % 11 != 4).then_some(n % 9)).collect();
    for (ty, five) in numeric_types() {
        // Arrow casts 64-bit numbers to no type of 32-bit counts but through their own width.
        let narrow = matches!(ty, DataType::Date32 | DataType::Time32(_));
        let column = cast(&values, if narrow { &DataType::Int32 } else { &DataType::Int64 }).unwrap();
        let column = cast(&column, &ty).unwrap();
        let input = batch(vec![("x", column), ("n", Arc::new(values.clone()))]);
        type Keeps = fn(i64) -> bool;
        let cases: [(&str, Value, Keeps); 8] = [
            ("eq", five.clone(), |n| n == 5),
            ("ne", five.clone(), |n| n != 5),
            ("lt", five.clone(), |n| n < 5),
            ("le", five.clone(), |n| n <= 5),
            ("gt", five.clone(), |n| n > 5),
            ("ge", five.clone(), |n| n >= 5),
            ("in", json!([five]), |n| n == 5),
            ("not_in", json!([five]), |n| n != 5),
        ];
        for (op, value, keeps) in cases {
            let config = json!({"all": [{"column": "x", "op": op, "value": value}]});
            let bound = bind(&filter, &input, &config).unwrap_or_else(|e| panic!("{ty} {op}: {e}"));
            for input in [input.clone(), input.slice(3, 70), input.slice(0, 0)] {
                let numbers = input.column(1).as_primitive::<Int64Type>();
                let expected = rows(&input, |row| numbers.is_valid(row) && keeps(numbers.value(row)));
                let outcome = run(&bound, &input);
                assert_eq!(records(&bound, &outcome, "kept"), expected, "{ty} {op}");
                assert!(outcome.rejections.is_empty());
            }
        }
    }
}

#[test]
fn filter_compares_text_bytes_and_booleans() {
    let filter = load("filter");
    let text: StringArray =
        ["/api/a", "", "/b", "\u{e9}"].into_iter().map(Some).chain([None]).cycle().take(9_000).collect();
    let large = cast(&text, &DataType::LargeUtf8).unwrap();
    let bytes = cast(&text, &DataType::LargeBinary).unwrap();
    let flag: BooleanArray = (0..9_000).map(|n| (n % 3 > 0).then_some(n % 3 == 1)).collect();
    let input = batch(vec![
        ("text", Arc::new(text.clone())),
        ("large", large),
        ("bytes", bytes),
        ("flag", Arc::new(flag.clone())),
    ]);
    for column in ["text", "large", "bytes"] {
        for (op, value, row) in
            [("starts_with", "/api", 0), ("contains", "b", 2), ("ends_with", "\u{e9}", 3), ("eq", "", 1)]
        {
            let config = json!({"all": [{"column": column, "op": op, "value": value}]});
            let bound = bind(&filter, &input, &config).unwrap();
            let sliced = input.slice(5, 8_000);
            let expected = rows(&sliced, |n| n % 5 == row);
            assert_eq!(records(&bound, &run(&bound, &sliced), "kept"), expected, "{column} {op}");
        }
    }
    let config = json!({"any": [
        {"column": "flag", "op": "eq", "value": false}, {"column": "text", "op": "is_null"}]});
    let bound = bind(&filter, &input, &config).unwrap();
    let expected = rows(&input, |n| n % 3 == 2 || n % 5 == 4);
    assert_eq!(records(&bound, &run(&bound, &input), "kept"), expected);
}

#[test]
fn route_sends_each_row_to_one_port() {
    let route = load("route");
    let status: Int64Array = (0..8_192).map(|n| (n % 10 != 9).then_some(200 + n % 400)).collect();
    let input = batch(vec![("status", Arc::new(status.clone()))]);
    let config = json!({"column": "status", "default": "fine", "routes": [
        {"port": "gone", "values": [404, 410]}, {"port": "bad", "op": "ge", "value": 500},
        {"port": "unknown", "op": "is_null"}]});
    let bound = bind(&route, &input, &config).unwrap();
    for input in [input.clone(), input.slice(100, 3_001), input.slice(7, 0)] {
        let column = input.column(0).as_primitive::<Int64Type>();
        let at = |row: usize| column.is_valid(row).then(|| column.value(row));
        let outcome = run(&bound, &input);
        let gone = |row| matches!(at(row), Some(404 | 410));
        let bad = |row| at(row).is_some_and(|status| status >= 500);
        let null = |row| at(row).is_none();
        assert_eq!(records(&bound, &outcome, "gone"), rows(&input, gone));
        assert_eq!(records(&bound, &outcome, "bad"), rows(&input, bad));
        assert_eq!(records(&bound, &outcome, "unknown"), rows(&input, null));
        let fine = rows(&input, |row| !gone(row) && !bad(row) && !null(row));
        assert_eq!(records(&bound, &outcome, "fine"), fine);
    }
}

#[test]
fn parse_log_makes_columns_and_rejects_bad_lines() {
    let parse = load("parse-log");
    let good = r#"203.0.113.9 - frank [10/Oct/2000:13:55:36 -0700] "GET /a HTTP/1.0" 200 2326 "-" "curl""#;
    let cycle = [Some(good.as_bytes()), Some(b"nonsense".as_slice()), None, Some(b"\xff".as_slice())];
    let lines: BinaryArray = cycle.into_iter().cycle().take(8_200).collect();
    let input =
        batch(vec![("line", Arc::new(lines)), ("offset", Arc::new(Int64Array::from_iter_values(0..8_200)))]);
    let bound = bind(&parse, &input, &json!({})).unwrap();
    let outcome = run(&bound, &input.slice(4, 8_192));
    let lines = records(&bound, &outcome, "lines");
    assert_eq!((lines.num_rows(), outcome.rejections.len()), (2_048, 6_144));
    assert_eq!(outcome.rejections[0].row, 1);
    assert_eq!(outcome.rejections[2].reason, "the line is not UTF-8");
    let column = |name: &str| lines.column_by_name(name).unwrap().slice(2_047, 1);
    assert_eq!(column("host").as_string::<i32>().value(0), "203.0.113.9");
    assert_eq!(column("status").as_primitive::<Int32Type>().value(0), 200);
    assert_eq!(column("bytes").as_primitive::<Int64Type>().value(0), 2_326);
    assert_eq!(column("time").as_primitive::<TimestampMillisecondType>().value(0), 971_211_336_000);
    assert_eq!(column("offset").as_primitive::<Int64Type>().value(0), 8_192);
    assert!(column("referer").is_null(0));
    let empty = run(&bound, &input.slice(0, 0));
    assert!(empty.emissions.is_empty() && empty.rejections.is_empty());
}

#[test]
fn slow_keeps_what_is_slower_and_rejects_nulls() {
    let slow = load("slow");
    let latency: Float64Array = (0..8_192).map(|n| (n % 4 != 3).then_some(f64::from(n % 4))).collect();
    for ty in [DataType::Float64, DataType::Float32, DataType::Int32, DataType::UInt8] {
        let input = batch(vec![("latency_ms", cast(&latency, &ty).unwrap())]);
        let bound = bind(&slow, &input, &json!({"threshold_ms": 0.5})).unwrap();
        let outcome = run(&bound, &input);
        let expected = rows(&input, |n| n % 4 == 1 || n % 4 == 2);
        assert_eq!(records(&bound, &outcome, "out"), expected, "{ty}");
        assert_eq!(outcome.rejections.len(), 2_048);
        assert_eq!(outcome.rejections[0].reason, "column `latency_ms` is null");
    }
}

#[test]
fn a_wrong_configuration_is_refused_with_the_key_that_is_wrong() {
    let column: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let text: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
    let input = batch(vec![("latency_ms", Arc::clone(&column)), ("line", text), ("x", column)]);
    let condition = json!({"column": "x", "op": "eq", "value": 1});
    for (stage, config, word) in [
        ("filter", json!({"all": [condition], "colour": 1}), "colour"),
        ("filter", json!({"all": [{"column": "x", "op": "eq", "valeu": 1}]}), "valeu"),
        ("filter", json!({"all": [{"column": "x", "op": "like", "value": 1}]}), "like"),
        ("filter", json!({"all": [{"column": "y", "op": "eq", "value": 1}]}), "there is no column `y`"),
        ("filter", json!({"all": [{"column": "x", "op": "eq", "value": "a"}]}), "`x` is int64; \"a\" is not"),
        ("route", json!({"column": "x", "routes": [{"port": "a", "values": [1]}], "colour": 1}), "colour"),
        ("route", json!({"column": "x"}), "routes"),
        ("parse-log", json!({"colour": 1}), "colour"),
        ("parse-log", json!({"column": "x"}), "column `x` is int64"),
        ("slow", json!({"threshold_ms": 1, "colour": 1}), "colour"),
        ("slow", json!({}), "threshold_ms"),
        ("slow", json!({"threshold_ms": "a"}), "threshold_ms"),
    ] {
        let error = bind(&load(stage), &input, &config).map(|_| ()).unwrap_err();
        assert!(error.contains(word), "{stage} {config}: {error}");
    }
}

#[test]
fn each_stage_says_what_it_is_and_its_schema_is_one() {
    for name in ["filter", "route", "parse-log", "slow"] {
        let component = load(name);
        let said = component.describe(&Limits::defaults_for(component.bytes())).unwrap();
        assert_eq!((said.name.as_str(), said.version.as_str()), (name, "0.1.0"));
        assert!(said.summary.len() > 20 && said.sdk.starts_with("pipe-stage (Rust)"));
        let schema: Value = serde_json::from_str(&said.config_schema).unwrap();
        assert_eq!(schema["additionalProperties"], json!(false), "{name}");
        assert!(component.pooled(), "{name}: small enough for the pool");
    }
}
