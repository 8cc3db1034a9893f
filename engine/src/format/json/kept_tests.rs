//! What nobody declared, value by value: kept, refused, put back; and columns of the type `json`.

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, Int64Array, RecordBatch, StringArray};
use serde_json::{Value, json};

use super::{KIND, is_rest};
use crate::batch::{Batch, Payload};
use crate::codec::{Decoded, Undeclared};
use crate::datatype;
use crate::format::{FORMATS, csv};
use crate::units::{RECORD_BYTES_MAX, UNDECLARED_KEYS_MAX};

fn decode(options: &Value, records: &[&[u8]]) -> Decoded {
    let format = (KIND.prepare)(options).unwrap_or_else(|problems| panic!("{problems:?}"));
    let mut decoder = format.decoder(format.schema().unwrap()).unwrap();
    decoder.decode(&Payload::Values(BinaryArray::from_vec(records.to_vec()))).unwrap()
}

fn keep(columns: &Value, records: &[&str]) -> Decoded {
    let records: Vec<&[u8]> = records.iter().map(|record| record.as_bytes()).collect();
    decode(&json!({ "unknown": "keep", "columns": columns }), &records)
}

fn rest(decoded: &Decoded) -> Vec<Option<&str>> {
    let at = decoded.records.num_columns() - 1;
    assert!(is_rest(decoded.records.schema_ref().field(at)));
    decoded.records.column(at).as_string::<i32>().iter().collect()
}

fn written(records: &RecordBatch) -> Vec<String> {
    let format = (KIND.prepare)(&json!({})).unwrap();
    let batch = Batch::of_columns(records.clone());
    let lines = format.encoder(records.schema()).unwrap().encode(&batch).unwrap();
    lines.iter().map(|line| String::from_utf8(line.unwrap().to_vec()).unwrap()).collect()
}

fn messages(decoded: &Decoded) -> Vec<&str> {
    // Without the place in the record that serde_json adds.
    decoded.bad.iter().map(|bad| bad.message.split(" at line ").next().unwrap()).collect()
}

#[test]
fn members_that_nobody_declared_are_kept_to_the_byte_and_put_back_behind_the_columns() {
    let columns = json!({ "id": "int64", "geo": { "lat": "float64", "box": { "w": "int64" } } });
    let cases = [
        (r#"{"id":1}"#, None, r#"{"id":1}"#),
        (
            r#"{"x":1.10,"y" : [ 1 ] ,"id":1}"#,
            Some(r#"{"x":1.10,"y" : [ 1 ]}"#),
            r#"{"id":1,"x":1.10,"y" : [ 1 ]}"#,
        ),
        (r#"{ "x":1, "id":1 , "y":2 }"#, Some(r#"{"x":1,"y":2}"#), r#"{"id":1,"x":1,"y":2}"#),
        (r#"{"x":1,"x":2,"\u0078":3}"#, Some(r#"{"x":1,"x":2,"\u0078":3}"#), r#"{"x":1,"x":2,"\u0078":3}"#),
        (r#"{"_rest":{"id":2},"id":1}"#, Some(r#"{"_rest":{"id":2}}"#), r#"{"id":1,"_rest":{"id":2}}"#),
        (
            r#"{"a":0,"geo":{"lat":1.5,"alt":2,"box":{"h":1,"w":3}},"b":0}"#,
            Some(r#"{"a":0,"geo":{"alt":2,"box":{"h":1}},"b":0}"#),
            r#"{"geo":{"lat":1.5,"box":{"w":3,"h":1},"alt":2},"a":0,"b":0}"#,
        ),
        (r#"{"geo":{"box":{"h":1}}}"#, Some(r#"{"geo":{"box":{"h":1}}}"#), r#"{"geo":{"box":{"h":1}}}"#),
        (r#"{"geo":{"":null}}"#, Some(r#"{"geo":{"":null}}"#), r#"{"geo":{"":null}}"#),
        (r#"{"geo":null,"x":null}"#, Some(r#"{"x":null}"#), r#"{"x":null}"#),
        (
            r#"{"lone":"\ud800","big":1e999}"#,
            Some(r#"{"lone":"\ud800","big":1e999}"#),
            r#"{"lone":"\ud800","big":1e999}"#,
        ),
    ];
    let records: Vec<&str> = cases.iter().map(|case| case.0).collect();
    // Twice: the first batch teaches the decoder the keys of a writer.
    let twice = [records.clone(), records].concat();
    let decoded = keep(&columns, &twice);
    assert_eq!(messages(&decoded), Vec::<&str>::new());
    let expected = cases.iter().chain(&cases);
    assert_eq!(rest(&decoded), expected.clone().map(|case| case.1).collect::<Vec<_>>());
    assert_eq!(written(&decoded.records), expected.map(|case| case.2).collect::<Vec<_>>());
}

#[test]
fn what_cannot_be_kept_rejects_its_record_and_no_other() {
    let nested = |depth: usize| format!(r#"{{"id":1,"x":{}1{}}}"#, "[".repeat(depth), "]".repeat(depth));
    let (fits, deep, deeper) = (nested(64), nested(65), nested(100_000));
    let within = format!(r#"{{"geo":{{"x":{}{}}}}}"#, "[".repeat(65), "]".repeat(65));
    let records = [
        r#"{"x":1}"#,
        &fits,
        &deep,
        &deeper,
        &within,
        r#"{"x":{]}"#,
        r#"{"id":1,"id":2,"x":1}"#,
        r#"{"x":2}"#,
    ];
    let decoded = keep(&json!({ "id": "int64", "geo": { "lat": "float64" } }), &records);
    let told = messages(&decoded);
    assert_eq!(told[..2], ["column `x`: JSON nested deeper than 64 levels"; 2]);
    assert_eq!(told[2], "column `geo.x`: JSON nested deeper than 64 levels");
    assert_eq!((told.len(), told[4]), (5, "column `id`: the key occurs twice"));
    assert_eq!(rest(&decoded)[2], Some(r#"{"x":2}"#));
    let huge = format!(r#"{{"x":"{}"}}"#, "y".repeat(RECORD_BYTES_MAX - 8));
    let larger = format!(r#"{{"x":"{}"}}"#, "y".repeat(RECORD_BYTES_MAX));
    let bytes: Vec<&[u8]> =
        vec![huge.as_bytes(), larger.as_bytes(), b"{\"x\":\"\xff\"}", b"{\"\xff\":1}", b"{\"x\":3}"];
    let decoded = decode(&json!({ "unknown": "keep", "columns": { "id": "int64" } }), &bytes);
    let told = messages(&decoded);
    assert!(told.len() == 3 && told[0].contains("D002") && told[1].contains("UTF-8"), "{told:?}");
    assert_eq!(rest(&decoded), [Some(&*huge), Some(r#"{"x":3}"#)]);
}

#[test]
fn a_record_with_what_nobody_declared_is_refused_with_the_name() {
    let options = json!({ "unknown": "dead_letter", "columns": { "id": "int64", "geo": { "lat": "float64" }, "l": "list(struct(a: int64))" } });
    let records = [
        r#"{"id":1,"geo":{"lat":1.0},"l":[{"a":1}]}"#,
        r#"{"id":1,"x":1}"#,
        r#"{"geo":{"lat":1.0,"alt":2}}"#,
        r#"{"l":[{"a":1},{"b":1}]}"#,
        r#"{"id":2}"#,
    ];
    let decoded = decode(&options, &records.map(str::as_bytes));
    let expected = ["x", "geo.alt", "l[1].b"].map(|path| {
        format!("column `{path}`: nobody declared this field, and `unknown: dead_letter` takes no other")
    });
    assert_eq!(messages(&decoded), expected);
}

#[test]
fn names_are_told_once_with_their_row_and_no_more_than_a_few() {
    for (unknown, became) in [("keep", Undeclared::Keep), ("dead_letter", Undeclared::DeadLetter)] {
        let options = json!({ "unknown": unknown, "columns": { "id": "int64" } });
        let format = (KIND.prepare)(&options).unwrap();
        let mut decoders = [0, 1].map(|_| format.decoder(format.schema().unwrap()).unwrap());
        let payload = |records: &[String]| Payload::Values(BinaryArray::from_iter_values(records));
        let first = ["{\"id\":1}", "{\"a\":1}", "{\"a\":1,\"b\":1}", "{\"b\":1}"].map(str::to_owned);
        decoders[0].decode(&payload(&first)).unwrap();
        let told = decoders[0].unknown();
        let named = if became == Undeclared::Keep {
            vec![("a".to_owned(), 1), ("b".to_owned(), 2)]
        } else {
            vec![("a".to_owned(), 1), ("b".to_owned(), 3)]
        };
        assert_eq!((told.fields, told.keys, told.became), (0, named, became));
        let many: Vec<String> = (0..1_000).map(|n| format!("{{\"{}{n}\":1}}", "k".repeat(1_000))).collect();
        decoders[1].decode(&payload(&first)).unwrap();
        decoders[1].decode(&payload(&many)).unwrap();
        let told = decoders[1].unknown().keys;
        assert!(
            told.len() <= UNDECLARED_KEYS_MAX && told.iter().all(|(key, _)| key.len() <= 200),
            "{}",
            told.len()
        );
        assert!(told.iter().all(|(key, _)| key != "a" && key != "b"), "another decoder told them");
    }
}

#[test]
fn a_stage_takes_the_place_of_a_field_and_makes_no_row_that_is_no_json() {
    let rests = [
        Some(r#"{"n":1,"x":2}"#),
        Some(r#"{"n":{"a":1}}"#),
        None,
        Some("[1]"),
        Some("{\"x\":****}"),
        Some("{\"x\":1}\n{\"x\":2}"),
        Some(""),
        Some("{}"),
    ];
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("n", std::sync::Arc::new(Int64Array::from_iter((0..8).map(|n| (n != 1).then_some(n))))),
        ("_rest", std::sync::Arc::new(StringArray::from_iter(rests))),
    ];
    let plain =
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, c)| (name, c, true)))
            .unwrap();
    let schema = std::sync::Arc::new(arrow::datatypes::Schema::new(vec![
        plain.schema_ref().field(0).clone(),
        datatype::json("_rest", true),
    ]));
    let made = RecordBatch::try_new(schema, plain.columns().to_vec()).unwrap();
    let expected = [
        r#"{"n":0,"x":2}"#,
        "{}",
        r#"{"n":2}"#,
        r#"{"n":3,"_rest":[1]}"#,
        r#"{"n":4,"_rest":"{\"x\":****}"}"#,
        r#"{"n":5,"_rest":"{\"x\":1}\n{\"x\":2}"}"#,
        r#"{"n":6,"_rest":""}"#,
        r#"{"n":7}"#,
    ];
    assert_eq!(written(&made), expected);
    assert_eq!(written(&made.slice(3, 2)), expected[3..5]);
    // Without the extension it is a column like any other.
    assert_eq!(written(&plain.slice(0, 1)), [r#"{"n":0,"_rest":"{\"n\":1,\"x\":2}"}"#]);
}

#[test]
fn values_of_json_are_read_and_written_as_they_are() {
    let columns = json!({ "j": "json", "l": "list(json)", "m": "map(utf8, json)", "s": { "j": "json!" }, "f": "fixed_size_list(json, 2)" });
    let values = [
        "1.10",
        "-0",
        "1e400",
        "\"\\u0061\\ud800\"",
        "true",
        "false",
        "{ \"a\" : [ ] }",
        "[1,\n2]",
        "\"\"",
        "{\"a\":1,\"a\":2}",
    ];
    let mut records: Vec<String> = Vec::new();
    for value in values {
        records.push(format!(r#"{{"j":{value},"l":[{value},null,{value}],"m":{{"k":{value}}},"s":{{"j":{value}}},"f":[{value},{value}]}}"#));
    }
    let given: Vec<&[u8]> = records.iter().map(|record| record.as_bytes()).collect();
    let decoded = decode(&json!({ "columns": columns }), &given);
    assert_eq!(messages(&decoded), Vec::<&str>::new());
    assert_eq!(decoded.records.column(0).as_string::<i32>().iter().flatten().collect::<Vec<_>>(), values);
    assert_eq!(written(&decoded.records), records);
    let bad = decode(
        &json!({ "columns": columns }),
        &[
            b"{\"j\":tru}",
            b"{\"j\":{]}",
            b"{\"s\":{\"j\":null}}",
            b"{\"s\":{}}",
            b"{\"j\":01}",
            b"{\"j\":\"\x01\"}",
            b"{\"j\":null}",
        ],
    );
    assert_eq!((bad.bad.len(), bad.records.num_rows()), (6, 1), "{:?}", bad.bad);
    assert!(bad.records.column(0).is_null(0));
    let deep = format!("{{\"j\":{}{}}}", "[".repeat(65), "]".repeat(65));
    let bad = decode(&json!({ "columns": columns }), &[deep.as_bytes()]);
    assert_eq!(messages(&bad), ["column `j`: JSON nested deeper than 64 levels"]);
}

#[test]
fn other_formats_have_json_as_text_and_the_rest_as_a_column() {
    let records = [r#"{"id":1,"j":{"a":1.10},"x":"\n"}"#, r#"{"id":2}"#];
    let decoded = keep(&json!({ "id": "int64", "j": "json" }), &records);
    let batch = Batch::of_columns(decoded.records.clone());
    let options = json!({ "columns": { "id": "int64", "j": "json", "_rest": "json" } });
    let csv = (csv::KIND.prepare)(&options).unwrap();
    let lines = csv.encoder(batch.schema()).unwrap().encode(&batch).unwrap();
    assert_eq!(lines.value(0), br#"1,"{""a"":1.10}","{""x"":""\n""}""#);
    let again = csv.decoder(batch.schema()).unwrap().decode(&Payload::Values(lines)).unwrap();
    assert_eq!(again.records, decoded.records);
    let bad = BinaryArray::from_vec(vec![b"1,{,", b"1, 2 ,", b"1,null,"]);
    let bad = csv.decoder(batch.schema()).unwrap().decode(&Payload::Values(bad)).unwrap();
    assert_eq!((bad.bad.len(), bad.records.num_rows()), (1, 2));
    assert_eq!(bad.bad[0].message, "column `j`: json was expected, not `{`");
    for kind in FORMATS.iter().filter(|kind| ["parquet", "arrow_ipc"].contains(&kind.name)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let format = (kind.prepare)(&json!({})).unwrap();
        let mut writer =
            format.writer(batch.schema(), Box::new(std::fs::File::create(&path).unwrap())).unwrap();
        writer.write(&batch).unwrap();
        writer.finish().unwrap();
        drop(writer);
        let schema = format.infer(&path).unwrap();
        assert_eq!(schema.fields(), batch.schema().fields(), "{}", kind.name);
    }
}
