//! Tests of the whole stage: what it does to columns, and what it says of mistakes.

use pipe_stage::testing::{Input, Results, run};
use pipe_stage::{Any, Read, TimestampMs};

use super::*;

fn input() -> Input {
    Input::new()
        .column::<str>("a", [Some("1"), Some("x"), None, Some("-2.50")])
        .column::<f64>("b", [Some(1.0), Some(2.5), None, Some(1e300)])
        .column::<TimestampMs>("at", [0, 1_500, 86_400_000, -1].map(|ms| Some(TimestampMs(ms))))
        .column::<i32>("n", [Some(0), Some(1), Some(2), Some(-3)])
}

fn select(config: &str) -> Results {
    run::<SelectStage>(&input(), config).unwrap()
}

fn texts(results: &Results, column: &str) -> Vec<Option<String>> {
    let all = |v: <str as Read>::View<'_>| v.iter().map(|t| t.map(str::to_owned)).collect();
    results.computed::<str, _>("selected", column, all).unwrap()
}

fn ints(results: &Results, column: &str) -> Vec<Option<i64>> {
    results.computed::<i64, _>("selected", column, |v| v.iter().collect()).unwrap()
}

#[test]
fn columns_are_renamed_dropped_and_reordered_without_entering_the_sandbox() {
    let columns = |config| select(config).columns("selected").join(" ");
    assert_eq!(columns("{}"), "a b at n");
    assert_eq!(columns(r#"{"drop":["b"],"rename":{"a":"z"}}"#), "z at n");
    assert_eq!(columns(r#"{"columns":["n","a"]}"#), "n a");
    assert_eq!(columns(r#"{"first":["n"],"rename":{"n":"count"}}"#), "count a b at");
    assert_eq!(columns(r#"{"rename":{"a":"b","b":"a"}}"#), "b a at n");
    // A cast to the type that there is already reads nothing.
    let (_, binding) = pipe_stage::testing::bind::<SelectStage>(
        &input(),
        r#"{"drop":["b"],"rename":{"a":"z"},"first":["n"],"cast":{"n":"int32"}}"#,
    )
    .unwrap();
    assert!(binding.reads.is_empty());
    assert_eq!(select("{}").rows("selected"), [0, 1, 2, 3]);
}

#[test]
fn values_are_cast_and_rows_that_do_not_fit_are_rejected() {
    let results = select(r#"{"cast":{"a":"float64","b":"int64","at":"utf8","n":"utf8"}}"#);
    assert_eq!(results.rows("selected"), [0, 2]);
    let reasons: Vec<_> = results.rejections.iter().map(|(row, reason)| (*row, reason.as_str())).collect();
    assert_eq!(
        reasons,
        [
            (1, "column `a` cannot be cast: a number was expected, not `x`"),
            (3, "column `b` cannot be cast: it is out of range"),
        ]
    );
    assert_eq!(ints(&results, "b"), [Some(1), None]);
    assert_eq!(texts(&results, "at")[1].as_deref(), Some("1970-01-02T00:00:00.000Z"));
}

#[test]
fn what_does_not_fit_may_be_null_or_rounded() {
    let results = select(r#"{"cast":{"a":"int64","b":"int64"},"on_error":"null"}"#);
    assert_eq!(results.rows("selected").len(), 4);
    assert_eq!(ints(&results, "a"), [Some(1), None, None, None]);
    assert_eq!(ints(&results, "b"), [Some(1), None, None, None]);
    let results = select(r#"{"cast":{"b":"int64","at":"timestamp(s)"},"round":"nearest","on_error":"null"}"#);
    assert_eq!(ints(&results, "b"), [Some(1), Some(3), None, None]);
    let seconds = results.computed::<AnyType, _>("selected", "at", |any| match any {
        Any::Timestamp(v, _) => v.iter().collect(),
        _ => Vec::new(),
    });
    assert_eq!(seconds.unwrap(), [Some(0), Some(2), Some(86_400), Some(0)]);
}

#[test]
fn decimals_are_exact() {
    let results = select(r#"{"columns":["a"],"cast":{"a":"decimal128(5, 1)"},"on_error":"null"}"#);
    let digits = results.computed::<AnyType, _>("selected", "a", |any| match any {
        Any::Decimal(v, _) => v.iter().collect(),
        _ => Vec::new(),
    });
    assert_eq!(digits.unwrap(), [Some(10), None, None, Some(-25)]);
}

#[test]
fn constants_are_added() {
    let config = r#"{"columns":["env","a"],"constants":{"env":"prod","n1":7,"f":0.5,"ok":true,
        "none":{"value":null,"type":"int8"},"day":{"value":"2026-01-31","type":"date32"}}}"#;
    let results = select(config);
    assert_eq!(results.columns("selected").join(" "), "env a day f n1 none ok");
    assert_eq!(texts(&results, "env"), vec![Some("prod".to_owned()); 4]);
    assert_eq!(ints(&results, "n1"), [Some(7); 4]);
    // A constant is as long as the rows that are left.
    let results = select(r#"{"cast":{"a":"int64"},"constants":{"env":"prod"}}"#);
    assert_eq!((results.rows("selected"), texts(&results, "env").len()), (&[0, 2][..], 2));
}

#[test]
fn a_mistake_is_told_in_words() {
    for (config, word) in [
        (r#"{"columns":["a"],"drop":["b"]}"#, "`drop` has nothing to add"),
        (r#"{"columns":["a","a"]}"#, "names `a` twice"),
        (r#"{"columns":["nn"]}"#, "there is no column `nn`"),
        (r#"{"drop":["aT"]}"#, "did you mean `at`?"),
        (r#"{"rename":{"a":"b"}}"#, "two columns `b`"),
        (r#"{"columns":["a"],"cast":{"b":"int8"}}"#, "`b` is left out"),
        (r#"{"drop":["b"],"rename":{"b":"c"}}"#, "`b` is left out"),
        (r#"{"first":["a","a"]}"#, "`first` names `a` twice"),
        (r#"{"cast":{"a":"string"}}"#, "column `a`: there is no type `string`"),
        (r#"{"cast":{"b":"date32"}}"#, "`b` is float64, which cannot be cast to date32"),
        (r#"{"constants":{"a":1}}"#, "name of an input column"),
        (r#"{"constants":{"c":null}}"#, "a null needs a type"),
        (r#"{"constants":{"c":{"value":300,"type":"int8"}}}"#, "constants.c: 300 is not a value of its type"),
        (r#"{"constants":{"c":[1]}}"#, "a list cannot be"),
        (r#"{"round":"up"}"#, "none of exact, truncate, nearest"),
    ] {
        let error = run::<SelectStage>(&input(), config).unwrap_err().to_string();
        assert!(error.contains(word), "{config}: {error}");
    }
    let schema: serde_json::Value = serde_json::from_str(&Select::schema()).unwrap();
    assert_eq!(schema["type"], "object");
}

#[test]
fn values_within_columns_become_columns() {
    use pipe_stage::testing::{list_array, validity_array};
    use pipe_stage::{Builder, ColumnField, DataType};
    let utf8 = |name: &str| ColumnField::new(name, DataType::Utf8, true);
    let mut texts = Builder::<str>::new();
    ["1", "2", "x", "4"].iter().for_each(|text| texts.push(text));
    let item = ColumnField::nested("item", DataType::Struct, true, [utf8("n")]);
    let items = ColumnField::nested("items", DataType::List, true, [item]);
    let arrays = vec![
        list_array(&[true, true, false, true], &[0, 2, 3, 3, 4]),
        validity_array(&[true; 4], Vec::new()),
        texts.finish().unwrap(),
    ];
    let input =
        || Input::new().arrays(items.clone(), arrays.clone()).column::<i64>("id", [1, 2, 3, 4].map(Some));
    let config = r#"{"columns":["id","items[0]","items[0].n"],"rename":{"items[0]":"first"},"cast":{"items[0].n":"int8"}}"#;
    let results = run::<SelectStage>(&input(), config).unwrap();
    assert_eq!(results.columns("selected").join(" "), "id first n");
    assert_eq!(results.rows("selected"), [0, 2, 3]);
    assert_eq!(
        results.rejections,
        [(1, "column `items[0].n` cannot be cast: a whole number was expected, not `x`".to_owned())]
    );
    let numbers = results.computed::<i8, _>("selected", "n", |v| v.iter().collect::<Vec<_>>());
    assert_eq!(numbers.unwrap(), [Some(1), None, Some(4)]);
    let (field, first) = results.computed_arrays("selected", "first").unwrap();
    assert_eq!((field.type_name().as_str(), first[0].length, first[0].null_count), ("struct(utf8)", 3, 1));

    let results =
        run::<SelectStage>(&input(), r#"{"rename":{"items[1].n":"second"},"drop":["items"]}"#).unwrap();
    assert_eq!(results.columns("selected").join(" "), "id second");
    let texts = results.computed::<str, _>("selected", "second", |v| v.get(0).map(str::to_owned));
    assert_eq!(texts.unwrap().as_deref(), Some("2"));
    for (config, word) in [
        (r#"{"columns":["items[0].m"]}"#, "there is no field `m` in it, but n"),
        (r#"{"columns":["items[0].n","items[1].n"]}"#, "two columns `n`; give one another name"),
        (r#"{"cast":{"items[0]":"int64"}}"#, "two columns `items`; give one another name"),
        (r#"{"drop":["items"],"cast":{"items[0]":"int64"}}"#, "cannot be cast"),
        (r#"{"drop":["items[0].n"]}"#, "no column `items[0].n`"),
    ] {
        let error = run::<SelectStage>(&input(), config).unwrap_err().to_string();
        assert!(error.contains(word), "{config}: {error}");
    }
}
