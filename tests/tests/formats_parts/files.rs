//! JSON lines and CSV as files, through the binary: where records end, headers, and what becomes of wrong ones.

use arrow::array::RecordBatch;
use pipe_engine::batch::Batch;
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
fn a_quote_that_goes_wrong_costs_its_own_line() {
    let options = json!({"csv": {"columns": {"n": "int64", "s": "utf8"}}});
    let (rows, bad) = read("csv", &options, "n,s\n1,a\n2,\"b\n3,c\n4,d\n");
    assert_eq!(numbers(&rows), [1, 3, 4].map(Some));
    assert_eq!(bad.len(), 1);
    assert!(bad[0].1.contains("a quote is never closed"), "{}", bad[0].1);
    // A later quote closes it: a text of two lines.
    let (rows, bad) = read("csv", &options, "n,s\n1,a\n2,\"b\n3,c\"\n4,d\n5,\"e\"\n");
    assert_eq!(numbers(&rows), [Some(1), Some(2), Some(4), Some(5)]);
    assert_eq!(bad, []);
    // A later quote seems to close it, and text follows that.
    let (rows, bad) = read("csv", &options, "n,s\n1,a\n2,\"5\" \"\n3,\"5\"\"\n4,d\n5,\"e\"\n");
    assert_eq!(numbers(&rows), [1, 4, 5].map(Some));
    assert_eq!(bad.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [1, 2], "{bad:?}");
}

/// Texts of a tool that puts a backslash before quotes, with the option for it and without.
#[test]
fn quotes_behind_backslashes() {
    let text = concat!(
        "id,text,n\n",
        "1,\"plain\",10\n",
        "2,\"<b id=\\\"x\\\">\",20\n",
        "3,\"5\\\" pipe\",30\n",
        "4,\"quiet\",40\n",
        "5,\"6\\\"\",50\n",
        "6,seven,60\n",
        "7,eight,70\n",
        "8,\"nine\",80\n",
    );
    let ids = |rows: &[Value]| rows.iter().map(|row| row["id"].as_i64().unwrap()).collect::<Vec<_>>();
    let columns = json!({"id": "int64", "text": "utf8", "n": "int64"});
    let (rows, bad) = read("csv", &json!({"csv": {"columns": columns, "escape": "\\"}}), text);
    assert_eq!((ids(&rows), bad), ((1..=8).collect(), vec![]));
    let texts: Vec<_> = [1, 2, 4].iter().map(|at: &usize| rows[*at]["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["<b id=\"x\">", "5\" pipe", "6\""]);
    let (rows, bad) = read("csv", &json!({"csv": {"columns": columns}}), text);
    assert_eq!(ids(&rows), [1, 4, 6, 7, 8]);
    assert_eq!(bad.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [1, 2, 4]);
    assert!(bad.iter().all(|(_, message)| message.contains("`escape: \"\\\\\"`")), "{bad:?}");
}

#[test]
fn files_of_other_tools() {
    // What is above the header, comments, decimal commas, two words for a null.
    let options = json!({"csv": {
        "columns": {"n": "int64", "f": "float64", "d": "decimal128(6, 2)", "s": "utf8"},
        "delimiter": ";", "decimal": ",", "nulls": ["", "k. A."], "skip_lines": 2, "comment": "#",
    }});
    let text = "Report of \"2026\nmade by a tool\r\n# a comment;\"\nn;f;d;s\n1;1,5;-0,25;a\n#2;2\nk. A.;\"k. A.\";;\"k. A.\"\n\
                3;1.234;0;c\n4;1.234,5;0;c\n5;1,5,5;0;c\n6;-1,5e2;1;#\n";
    let (rows, bad) = read("csv", &options, text);
    let expected = [
        json!({"n": 1, "f": 1.5, "d": "-0.25", "s": "a"}),
        json!({"n": null, "f": null, "d": null, "s": "k. A."}),
        json!({"n": 6, "f": -150.0, "d": "1.00", "s": "#"}),
    ];
    assert_eq!(rows, expected);
    assert_eq!(bad.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [2, 3, 4], "{bad:?}");
    assert!(
        bad[0].1.contains("column `f`: float64 with a decimal comma was expected, not `1.234`"),
        "{bad:?}"
    );
    // The same is guessed where nothing is declared.
    let mut guessed = options.clone();
    guessed["csv"].as_object_mut().unwrap().remove("columns");
    let text = "x\ny\nn;f;d;s\n1;1,5;-0,25;k. A.\nk. A.;2;1;b\n";
    let (rows, bad) = read("csv", &guessed, text);
    let expected =
        [json!({"n": 1, "f": 1.5, "d": -0.25, "s": null}), json!({"n": null, "f": 2.0, "d": 1.0, "s": "b"})];
    assert_eq!((rows, bad), (expected.to_vec(), vec![]));
}

#[test]
fn an_ending_of_tabs_means_tabs() {
    let run = |format: Option<Value>, text: &str| {
        let mut pipeline: Value = serde_json::from_str(&pipeline("tsv", &json!("csv"))).unwrap();
        match format {
            Some(format) => pipeline["sources"]["in"]["format"] = format,
            None => drop(pipeline["sources"]["in"].as_object_mut().unwrap().remove("format")),
        }
        let scratch = Scratch::new(&pipeline.to_string());
        scratch.write("in.tsv", text);
        scratch.run(&[]).says(0, &[]);
        let lines = scratch.lines("out");
        lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>()
    };
    let tabs = "id\tname\n1\ta,b\n2\tc\n";
    let expected = [json!({"id": 1, "name": "a,b"}), json!({"id": 2, "name": "c"})];
    assert_eq!(run(None, tabs), expected);
    assert_eq!(run(Some(json!("csv")), tabs), expected);
    assert_eq!(run(Some(json!({"csv": {"columns": {"id": "int64", "name": "utf8"}}})), tabs), expected);
    let semicolons = run(Some(json!({"csv": {"delimiter": ";"}})), "id;name\n1;a\tb\n");
    assert_eq!(semicolons, [json!({"id": 1, "name": "a\tb"})]);
}

#[test]
fn files_of_commas_and_of_tabs_are_not_read_as_one() {
    let scratch = Scratch::new(
        &json!({
            "name": "p",
            "sources": { "in": { "file": { "path": ["a.csv", "b.tsv"] }, "format": "csv" } },
            "sinks": { "out": { "from": "in", "blackhole": {} } },
        })
        .to_string(),
    );
    scratch.write("a.csv", "x,y\n1,2\n");
    scratch.write("b.tsv", "x\ty\n1\t2\n");
    scratch.run(&[]).says(2, &["P009", "another delimiter than the others", "two sources"]);
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
fn files_whose_headers_differ_are_refused_before_a_row_and_listed() {
    for options in [json!({"csv": {}}), json!({"csv": {"columns": {"n": "int64", "s": "utf8"}}})] {
        let scratch = Scratch::new(&pipeline("csv", &options));
        for (name, text) in [
            ("a.csv", "n,s\n1,x\n"),
            ("b.csv", "s,n\nx,1\n"),
            ("c.csv", ""),
            ("d.csv", "n,s,t\n1,x,y\n"),
            ("e.csv", "\"n\",s\n2,y\n"),
        ] {
            scratch.write(name, text);
        }
        let listed = [
            "S013",
            "a.csv, which is n,s",
            "b.csv: has another order, s, n",
            "d.csv: adds `t`",
            "sources of their own",
        ];
        let end = scratch.run(&["--set", "sources.in.file.path=./*.csv"]);
        end.says(2, &listed);
        assert!(!end.stderr.contains("e.csv"), "quotes are not part of a name: {}", end.stderr);
        assert!(!scratch.path("out").exists(), "nothing was read");
    }
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

/// Keys that first occur behind the records from which the columns were guessed.
#[test]
fn keys_that_the_guess_did_not_see_are_told_and_counted() {
    let mut text = "{\"n\":1,\"g\":{\"a\":1}}\n".repeat(pipe_engine::units::INFER_RECORDS);
    text += "{\"n\":2,\"late\":1,\"g\":{\"a\":2,\"b\":[{\"late\":1}]}}\n{\"l\\u0061te\":2,\"n\":3}\n{\"late\":3,\"n\":\"x\"}\n";
    let run = |format: Value| {
        let scratch = Scratch::new(&pipeline("jsonl", &format));
        scratch.write("in.jsonl", &text);
        let ended = scratch.run(&[]);
        ended.says(0, &[]);
        (ended.summary()["sources"][0]["unknown_fields"].as_u64().unwrap(), ended.stderr)
    };
    let (fields, log) = run(json!("json"));
    assert_eq!(fields, 3, "the record that is rejected leaves nothing out");
    let told = |key: &str| {
        let key = format!("\"key\":\"{key}\"");
        log.lines().filter(|line| line.contains("a key is left out") && line.contains(&key)).count()
    };
    assert_eq!(["late", "b", "n"].map(told), [1, 1, 0], "{log}");
    // What is declared is what is wanted.
    let (fields, log) = run(json!({"json": {"columns": {"n": "int64"}}}));
    assert_eq!((fields, log.contains("a key is left out")), (0, false));
}

/// An integer beyond `int64`, before and behind a smaller one.
#[test]
fn what_is_guessed_does_not_depend_on_the_order() {
    for (records, expected) in [
        (["{\"n\":5}", "{\"n\":18446744073709551615}"], [json!(5), json!(u64::MAX)]),
        (["{\"n\":-5}", "{\"n\":18446744073709551615}"], [json!("-5"), json!("18446744073709551615")]),
    ] {
        for turn in [false, true] {
            let (mut records, mut expected) = (records, expected.clone());
            if turn {
                records.reverse();
                expected.reverse();
            }
            let (rows, bad) = read("jsonl", &json!("json"), records.join("\n"));
            assert_eq!((rows.iter().map(|row| row["n"].clone()).collect(), bad), (expected.to_vec(), vec![]));
        }
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
        let all = Batch::of_columns(rows.clone());
        writer.write(&all.slice(0, 20)).unwrap();
        writer.write(&all.slice(20, 30)).unwrap();
        writer.finish().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(writer.bytes(), bytes.len() as u64);
        let types = schema
            .fields()
            .iter()
            .map(|field| (field.name().clone(), json!(pipe_engine::datatype::print_field(field))));
        let types: Value = types.collect::<serde_json::Map<_, _>>().into();
        assert_eq!(columns(&types).fields(), schema.fields());
        let (read, bad) = read("csv", &json!({"csv": {"columns": types}}), bytes);
        let written = encode(&format("json", &json!({"explicit_nulls": true})), &rows);
        let written: Vec<Value> = written.iter().map(|line| serde_json::from_slice(line).unwrap()).collect();
        assert_eq!((read, bad), (written, Vec::new()));
    }
}
