//! Parquet and Arrow files through the binary: files that differ, files that are damaged, and the sums of a run that one
//! of them ends.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, NullArray, RecordBatch, StringArray};
use arrow::ipc::writer::FileWriter;
use parquet::arrow::ArrowWriter;
use pipe_tests::command::Scratch;
use serde_json::{Value, json};

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter(columns).unwrap()
}

fn ints(numbers: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(numbers.to_vec()))
}

fn texts(texts: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(texts.to_vec()))
}

fn file(format: &str, rows: &RecordBatch) -> Vec<u8> {
    if format == "parquet" {
        let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), None).unwrap();
        writer.write(rows).unwrap();
        return writer.into_inner().unwrap();
    }
    let mut writer = FileWriter::try_new(Vec::new(), &rows.schema()).unwrap();
    writer.write(rows).unwrap();
    writer.into_inner().unwrap()
}

/// A pipeline over all files of a format, to standard output as JSON lines with explicit nulls.
fn scratch(format: &str, files: &[(&str, &RecordBatch)]) -> Scratch {
    let pipeline = json!({
        "name": "p",
        "sources": { "in": { "file": { "path": "*.data" }, "format": format } },
        "sinks": { "out": { "from": "in", "stdout": {}, "format": { "json": { "explicit_nulls": true } } } },
    });
    let scratch = Scratch::new(&pipeline.to_string());
    for (name, rows) in files {
        scratch.write(&format!("{name}.data"), file(format, rows));
    }
    scratch
}

#[test]
fn files_that_differ_are_read_by_name_and_widened() {
    let small: ArrayRef = Arc::new(Int32Array::from(vec![1]));
    let first = batch(vec![("id", small), ("s", texts(&["a"]))]);
    let second = batch(vec![("new", texts(&["x"])), ("s", texts(&["b"])), ("id", ints(&[1 << 40]))]);
    for format in ["parquet", "arrow_ipc"] {
        let scratch = scratch(format, &[("1", &first), ("2", &second)]);
        scratch.pipe(&["check"]).says(0, &[]);
        let ended = scratch.run(&[]);
        ended.says(0, &[]);
        let lines: Vec<&str> = ended.stdout.lines().collect();
        let expected =
            ["{\"id\":1,\"s\":\"a\",\"new\":null}", "{\"id\":1099511627776,\"s\":\"b\",\"new\":\"x\"}"];
        assert_eq!(lines, expected, "{format}");
    }
}

#[test]
fn files_that_do_not_fit_are_refused_before_the_first_row() {
    let (first, second) = (batch(vec![("id", ints(&[1]))]), batch(vec![("id", texts(&["b"]))]));
    for format in ["parquet", "arrow_ipc"] {
        let scratch = scratch(format, &[("1", &first), ("2", &second)]);
        for command in [&["check"][..], &["run", "--until-end"]] {
            let ended = scratch.pipe(command);
            ended.says(
                2,
                &["S013", "column `id`: int64 in ", "1.data, utf8 in ", "2.data", "sources of their own"],
            );
            assert_eq!(ended.stdout, "");
        }
    }
}

/// The second file is damaged behind its footer, where only reading finds it: what was given before is told.
#[test]
fn a_run_that_a_damaged_file_ends_tells_what_it_gave() {
    let rows = batch(vec![("id", ints(&[1, 2, 3])), ("s", texts(&["long enough", "to be", "found"]))]);
    for format in ["parquet", "arrow_ipc"] {
        let scratch = scratch(format, &[("1", &rows)]);
        let mut bytes = file(format, &rows);
        // A text that is no text, or a page whose header says so.
        match format {
            "parquet" => bytes[4] = 0xff,
            _ => {
                let at = bytes.windows(4).position(|bytes| bytes == b"long").unwrap();
                bytes[at] = 0xff;
            }
        }
        scratch.write("2.data", bytes);
        scratch.pipe(&["check"]).says(0, &[]);
        let ended = scratch.run(&[]);
        ended.says(1, &["S002", "2.data", "is damaged"]);
        let summary: Value = ended.summary();
        let (source, sink) = (&summary["sources"][0], &summary["sinks"][0]);
        assert_eq!((&source["read"], &source["decoded"]), (&json!(3), &json!(3)), "{summary}");
        let of = |name: &str| sink[name].as_u64().unwrap();
        assert!(ended.stdout.lines().count() as u64 <= of("received"), "{summary}");
        assert_eq!(of("received"), of("written") + of("pending"), "{summary}");
        assert_eq!(summary["complete"], json!(false));
    }
}

#[test]
fn a_long_run_without_bytes_stops_in_order() {
    let rows = batch(vec![("z", Arc::new(NullArray::new(5_000_000)) as ArrayRef)]);
    let scratch = Scratch::new(
        "name: p\nmemory: 128MiB\nsources: { in: { file: { path: in.arrow } } }\n\
         sinks: { out: { from: in, blackhole: {} } }\n",
    );
    scratch.write("in.arrow", file("arrow_ipc", &rows));
    let ended = scratch.run(&[]);
    ended.says(0, &[]);
    assert_eq!(ended.summary()["sources"][0]["read"], json!(5_000_000));
}
