//! JSON lines and CSV as files, through the binary: where records end, headers, and what becomes of wrong ones.

use arrow::array::RecordBatch;
use pipe_tests::command::Scratch;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use super::arrays::{batch, leaf, schema};
use super::{columns, encode, format, suite};

/// Reads `in.<extension>` with a format and writes JSON lines with explicit nulls.
fn pipeline(extension: &str, format: &Value) -> String {
    let pipeline = json!({
        "name": "p",
        "sources": { "in": { "file": { "path": format!("in.{extension}") }, "format": format } },
        "sinks": { "out": { "from": "in", "file": { "path": "out" }, "format": { "json": { "explicit_nulls": true } } } },
    });
    pipeline.to_string()
}

/// What a run read from a file: the rows, and the messages of the rejected records with the place of each.
fn read(extension: &str, format: &Value, bytes: impl AsRef<[u8]>) -> (Vec<Value>, Vec<(i64, String)>) {
    let scratch = Scratch::new(&pipeline(extension, format));
    scratch.write(&format!("in.{extension}"), bytes);
    let ended = scratch.run(&[]);
    ended.says(0, &[]);
    let rows: Vec<Value> =
        scratch.lines("out").iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let letters = scratch.letters("p");
    let summary = ended.summary();
    assert_eq!(summary["sources"][0]["read"], rows.len() + letters.len(), "the sums balance: {summary}");
    let bad = letters
        .iter()
        .map(|letter| (letter["offset"].as_i64().unwrap(), letter["message"].as_str().unwrap().to_owned()));
    (rows, bad.collect())
}

/// Columns `n` of the rows.
fn numbers(rows: &[Value]) -> Vec<Option<i64>> {
    rows.iter().map(|row| row["n"].as_i64()).collect()
}

#[test]
fn json_lines_end_as_they_like() {
    let options = json!({"json": {"columns": {"n": "int64"}}});
    let text = b"\xef\xbb\xbf{\"n\":1}\r\n\n \t\r\n{\"n\":2}\n{\"n\":\n3}\n\xef\xbb\xbf{\"n\":4}\n{\"n\":5,\"u\":\"\xff\"}\r\n  {\"n\":6}  \n\0\n{\"n\":7}";
    let (rows, bad) = read("jsonl", &options, text);
    assert_eq!(numbers(&rows), [1, 2, 6, 7].map(Some));
    let (places, messages): (Vec<i64>, Vec<String>) = bad.into_iter().unzip();
    assert_eq!(places, [2, 3, 4, 5, 7], "blank lines are no records");
    assert!(messages[3].contains("not UTF-8"), "{messages:?}");
}

#[test]
fn a_line_beyond_the_limit_is_one_record() {
    let options = json!({"json": {"columns": {"n": "int64"}}});
    let long = [b"{\"n\":1,\"u\":\"", vec![b'x'; pipe_engine::units::RECORD_BYTES_MAX].as_slice(), b"\"}\n"]
        .concat();
    let (rows, bad) = read("jsonl", &options, [b"{\"n\":0}\n", long.as_slice(), b"{\"n\":2}\n"].concat());
    assert_eq!(numbers(&rows), [Some(0), Some(2)]);
    assert_eq!(bad.len(), 1);
    assert!(bad[0].1.contains("D002"), "{}", bad[0].1);
}

/// csv-spectrum, each file with its header and every column as text.
#[test]
fn csv_spectrum_is_read_as_it_says() {
    let mut files = 0;
    for case in suite(include_str!("../../suites/csv.tsv")) {
        let name = String::from_utf8_lossy(&case[0]).into_owned();
        let expected: Value = serde_json::from_slice(&case[2]).unwrap();
        let mut expected = match expected {
            Value::Array(rows) => rows,
            row => vec![row],
        };
        if name == "location_coordinates" {
            // The suite's two files differ here: its JSON has another number than its CSV.
            expected[0]["Contact Phone Number"] = json!("2095257564");
        }
        let keys = expected[0].as_object().unwrap().keys().map(|key| (key.clone(), json!("utf8")));
        let options = json!({"csv": {"columns": keys.collect::<serde_json::Map<_, _>>()}});
        let (rows, bad) = read("csv", &options, &case[1]);
        assert_eq!((rows, bad), (expected, Vec::new()), "{name}");
        files += 1;
    }
    assert_eq!(files, 12);
}

#[test]
fn csv_files_end_records_as_they_like() {
    let options = json!({"csv": {"columns": {"n": "int64", "s": "utf8"}}});
    for end in ["\n", "\r\n", "\r"] {
        let lines = [
            "\u{feff}s,extra,\"n\"",
            "a,,1",
            "\"b\nb\",x,2",
            "",
            "c,3",
            "d,x,4,5",
            "\"e\"\"\",,5",
            "f\"g,x,6",
            "\"h\"i,x,7",
            "h,x,not a number",
            ",,",
            "last,x,8",
        ];
        for last in ["", end] {
            let (rows, bad) = read("csv", &options, lines.join(end) + last);
            assert_eq!(numbers(&rows), [Some(1), Some(2), Some(5), Some(6), None, Some(8)], "{end:?}");
            let texts: Vec<_> = rows.iter().map(|row| row["s"].as_str().unwrap_or("null")).collect();
            assert_eq!(texts, ["a", "b\nb", "e\"", "f\"g", "null", "last"]);
            assert_eq!(bad.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [2, 3, 6, 7], "{bad:?}");
        }
    }
}

#[test]
fn an_unclosed_quote_is_one_rejected_record() {
    let options = json!({"csv": {"columns": {"n": "int64", "s": "utf8"}}});
    let (rows, bad) = read("csv", &options, "n,s\n1,a\n2,\"b\n3,c\n4,d\n");
    assert_eq!(numbers(&rows), [Some(1)]);
    assert_eq!(bad.len(), 1);
    assert!(bad[0].1.contains("a quote is never closed; the record goes on for 3 lines"), "{}", bad[0].1);
    // A later quote closes it: one record is wrong, the next are read.
    let (rows, bad) = read("csv", &options, "n,s\n1,a\n2,\"b\n3,c\"\n4,d\n5,\"e\"\n");
    assert_eq!(numbers(&rows), [Some(1), Some(2), Some(4), Some(5)]);
    assert_eq!(bad, []);
}

#[test]
fn tabs_semicolons_and_files_without_header() {
    let options = json!({"csv": {"columns": {"n": "int64", "s": "utf8"}, "delimiter": "\t"}});
    let (rows, bad) = read("tsv", &options, "n\ts\n1\ta,b\n\t\n2\t\n\"3\"\t\"x\ty\"\n");
    assert_eq!(numbers(&rows), [Some(1), None, Some(2), Some(3)]);
    assert_eq!((&rows[0]["s"], &rows[3]["s"], bad.len()), (&json!("a,b"), &json!("x\ty"), 0));
    let options = json!({"csv": {"columns": {"n": "int64", "s": "utf8"}, "delimiter": ";", "quote": "'", "header": false}});
    let (rows, bad) = read("csv", &options, "1;'a;\nb'\r\n2;it's\n");
    assert_eq!(numbers(&rows), [Some(1), Some(2)]);
    assert_eq!((&rows[0]["s"], &rows[1]["s"], bad.len()), (&json!("a;\nb"), &json!("it's"), 0));
}

#[test]
fn headers_that_do_not_fit_are_refused_before_a_row() {
    for (header, part) in [
        ("n,n,s", "must name the declared column `n` once"),
        ("s,x", "must name the declared column `n` once"),
        ("N,s", "must name the declared column `n` once"),
        ("\"n,s", "must name the declared column `n` once"),
    ] {
        let options = json!({"csv": {"columns": {"n": "int64", "s": "utf8"}}});
        let scratch = Scratch::new(&pipeline("csv", &options));
        scratch.write("in.csv", format!("{header}\n1,2,3\n"));
        scratch.run(&[]).says(2, &[part, "P008"]);
    }
    // Names in quotes may hold anything; columns that are not asked for may have any name, twice too.
    let options = json!({"csv": {"columns": {"a\nb": "int64", "n": "int64"}}});
    let (rows, bad) = read("csv", &options, "x,\"a\nb\",x,n\n1,2,3,4\n");
    assert_eq!((rows, bad), (vec![json!({"a\nb": 2, "n": 4})], vec![]));
}

#[test]
fn an_empty_file_has_no_rows_where_its_columns_are_declared() {
    let declared = json!({"csv": {"columns": {"n": "int64"}}});
    for text in ["", "\n", "n\n"] {
        assert_eq!(read("csv", &declared, text), (vec![], vec![]), "{text:?}");
    }
    // The header of the first file that has one tells the order, whichever file is empty.
    let two = json!({"csv": {"columns": {"n": "int64", "s": "int64"}}});
    for lanes in ["lanes=1", "lanes=2"] {
        let scratch = Scratch::new(&pipeline("csv", &two));
        for (name, text) in [("a.csv", ""), ("in.csv", "s,n\n1,2\n"), ("z.csv", "\n")] {
            scratch.write(name, text);
        }
        scratch.run(&["--set", "sources.in.file.path=./*.csv", "--set", lanes]).says(0, &[]);
        assert_eq!(scratch.lines("out"), [r#"{"n":2,"s":1}"#]);
    }
    let scratch = Scratch::new(&pipeline("csv", &json!({"csv": {}})));
    scratch.write("in.csv", "");
    scratch.run(&[]).says(2, &["S002", "its columns cannot be learnt"]);
}

#[test]
fn types_are_inferred_over_quotes_and_any_line_end() {
    let options = json!({"csv": {}});
    for end in ["\n", "\r\n", "\r"] {
        let text = ["i,t,f,b", "1,\"two\nlines\",1,true", "2,,1.5,", ",x,,false"].join(end);
        let (rows, bad) = read("csv", &options, text);
        let first = json!({"i": 1, "t": "two\nlines", "f": 1.0, "b": true});
        assert_eq!((&rows[0], rows.len(), bad.len()), (&first, 3, 0));
    }
}

/// Rows of any types, written as a file by the format and read back by the binary.
#[test]
fn files_of_csv_hold_what_was_written() {
    let mut runner = TestRunner::deterministic();
    let columns_of = schema(leaf(), 2..9);
    for seed in 0..6 {
        let schema = columns_of.new_tree(&mut runner).unwrap().current();
        let rows: RecordBatch = batch(&schema, 50, seed);
        let format_of = format("csv", &json!({}));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.csv");
        let out = Box::new(std::fs::File::create(&path).unwrap());
        let mut writer = format_of.writer(schema.clone(), out).unwrap();
        writer.write(&rows.slice(0, 20)).unwrap();
        writer.write(&rows.slice(20, 30)).unwrap();
        writer.finish().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(writer.bytes(), bytes.len() as u64);
        let types = schema
            .fields()
            .iter()
            .map(|field| (field.name().clone(), json!(pipe_engine::config::types::print_field(field))));
        let types: Value = types.collect::<serde_json::Map<_, _>>().into();
        assert_eq!(columns(&types).fields(), schema.fields());
        let (read, bad) = read("csv", &json!({"csv": {"columns": types}}), bytes);
        let written = encode(&format("json", &json!({"explicit_nulls": true})), &rows);
        let written: Vec<Value> = written.iter().map(|line| serde_json::from_slice(line).unwrap()).collect();
        assert_eq!((read, bad), (written, Vec::new()));
    }
}
