//! Every kind of source, format and sink keeps the promises that all of its table make: it is documented, its example
//! is planned, formats part good rows from bad ones, sinks lose nothing and repeat nothing that they need not.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{BinaryArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use pipe_engine::batch::{Batch, Origins, Payload, SourceBatch};
use pipe_engine::codec::{Format, Layout};
use pipe_engine::connector::sink::{self, Sink};
use pipe_engine::connector::{SINKS, SOURCES};
use pipe_engine::format::FORMATS;
use pipe_engine::units::{Epoch, RECORD_BYTES_MAX};
use schemars::SchemaGenerator;
use serde_json::{Value, json};

/// Name, summary, example and schema of a kind, and whether its example has the kind among other keys.
fn kinds() -> Vec<(&'static str, &'static str, &'static str, &'static str, Value)> {
    let mut generator = SchemaGenerator::default();
    let mut all = Vec::new();
    for kind in FORMATS {
        all.push((
            "format",
            kind.name,
            kind.summary,
            kind.example,
            (kind.options)(&mut generator).to_value(),
        ));
    }
    for kind in SOURCES {
        all.push((
            "source",
            kind.name,
            kind.summary,
            kind.example,
            (kind.options)(&mut generator).to_value(),
        ));
    }
    for kind in SINKS {
        all.push(("sink", kind.name, kind.summary, kind.example, (kind.options)(&mut generator).to_value()));
    }
    all
}

fn sorted(names: &[&str]) {
    let unique: BTreeSet<&str> = names.iter().copied().collect();
    assert_eq!(unique.into_iter().collect::<Vec<_>>(), names, "names are unique and sorted");
}

#[test]
fn tables_are_sorted_and_unique() {
    sorted(&FORMATS.iter().map(|kind| kind.name).collect::<Vec<_>>());
    sorted(&SOURCES.iter().map(|kind| kind.name).collect::<Vec<_>>());
    sorted(&SINKS.iter().map(|kind| kind.name).collect::<Vec<_>>());
    let extensions: Vec<&str> = FORMATS.iter().flat_map(|kind| kind.extensions).copied().collect();
    let unique: BTreeSet<&str> = extensions.iter().copied().collect();
    assert_eq!(unique.len(), extensions.len(), "an extension belongs to one format");
}

#[test]
fn kinds_are_documented() {
    for (table, name, summary, example, schema) in kinds() {
        let place = format!("{table} {name}");
        assert!(summary.ends_with('.') && summary.len() > 10, "{place}: a summary is a sentence");
        assert!(example.contains(name), "{place}: its example uses it");
        assert!(!example.contains('\t'), "{place}: YAML has no tabs");
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{place}: a name is snake case");
        // A schema of its own type is a reference; the others close their keys, so that a typing error is found.
        assert!(
            schema.get("$ref").is_some() || schema["additionalProperties"] == Value::Bool(false),
            "{place}: unknown options are refused by {schema}"
        );
    }
}

#[test]
fn formats_prepare_without_options_and_refuse_unknown_ones() {
    for kind in FORMATS {
        assert!((kind.prepare)(&serde_json::json!({})).is_ok(), "{}", kind.name);
        let Err(problems) = (kind.prepare)(&serde_json::json!({"no_such_option": 1})) else {
            panic!("{} takes an option that it does not have", kind.name)
        };
        assert_eq!(problems[0].pointer, "/no_such_option", "{}", kind.name);
    }
}

/// Text as a block of YAML, some steps further in.
fn indented(text: &str, by: usize) -> String {
    text.lines().map(|line| format!("{:by$}{line}\n", "")).collect()
}

/// Plans a pipeline of these two nodes in a folder that has what the examples read.
fn planned(place: &str, source: &str, sink: &str) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("requests")).unwrap();
    std::fs::write(folder.path().join("requests/1.jsonl"), "{}\n").unwrap();
    // What the example of `csv` declares; the other formats do not look at the first line while planning.
    std::fs::write(folder.path().join("in.txt"), "time;delay;origin\n").unwrap();
    let text = format!(
        "name: p\nsources:\n  requests:\n{}sinks:\n  out:\n{}",
        indented(source, 4),
        indented(sink, 4)
    );
    let file = folder.path().join("pipeline.yaml");
    std::fs::write(&file, &text).unwrap();
    let plan = pipe_tests::plan(&file, &[]);
    assert_eq!((plan.sources.len(), plan.sinks.len()), (1, 1), "{place}:\n{text}");
}

#[test]
fn examples_are_planned() {
    for kind in SOURCES {
        planned(kind.name, kind.example, "from: requests\nblackhole: {}\n");
    }
    for kind in SINKS {
        let from = if kind.example.contains("from:") { "" } else { "from: requests\n" };
        planned(kind.name, "generate: { count: 1 }\n", &format!("{from}{}", kind.example));
    }
    for kind in FORMATS {
        let format = format!("format:\n{}", indented(kind.example, 2));
        let lines = "file: { path: in.txt }\nformat: raw\n";
        planned(kind.name, lines, &format!("from: requests\nfile: {{ path: out }}\n{format}"));
        let prepared = (kind.prepare)(&json!({})).unwrap();
        if prepared.layout() != Layout::Container && kind.reads {
            let source = format!("file: {{ path: in.txt }}\n{format}");
            planned(kind.name, &source, "from: requests\nblackhole: {}\n");
        }
    }
}

/// A format of single records: its name, a good record of one column, and a bad one.
type Sample = (&'static str, Arc<dyn Format>, &'static [u8], &'static [u8]);

/// Every format of single records.
fn record_formats() -> Vec<Sample> {
    let columns = json!({ "columns": { "n": "int64" } });
    let samples: [(&str, Value, &[u8], &[u8]); 3] = [
        ("csv", columns.clone(), b"7", b"seven"),
        ("json", columns, b"{\"n\":7}", b"{\"n\":"),
        ("raw", json!({ "type": "utf8" }), b"7", b"\xff"),
    ];
    let mut all = Vec::new();
    for kind in FORMATS.iter().filter(|kind| kind.reads) {
        let Some((name, options, good, bad)) = samples.iter().find(|s| s.0 == kind.name) else {
            let prepared = (kind.prepare)(&json!({})).unwrap();
            assert_eq!(prepared.layout(), Layout::Container, "{} needs a sample here", kind.name);
            continue;
        };
        all.push((*name, (kind.prepare)(options).unwrap(), *good, *bad));
    }
    all
}

#[test]
fn a_bad_record_is_parted_from_the_good_ones_around_it() {
    for (name, format, good, bad) in record_formats() {
        let mut decoder = format.decoder(format.schema().unwrap()).unwrap();
        let giant = vec![b'1'; RECORD_BYTES_MAX + 1];
        let records: Vec<&[u8]> = vec![good, bad, good, &giant, good];
        let decoded = decoder.decode(&Payload::Values(BinaryArray::from_vec(records))).unwrap();
        assert_eq!(decoded.records.num_rows(), 3, "{name}");
        let mask = decoded.good.unwrap();
        assert_eq!(
            (0..5).map(|i| mask.value(i)).collect::<Vec<_>>(),
            [true, false, true, false, true],
            "{name}"
        );
        assert_eq!(decoded.bad.iter().map(|b| b.row).collect::<Vec<_>>(), [1, 3], "{name}");
        assert!(decoded.bad[1].message.contains("D002"), "{name}: {}", decoded.bad[1].message);
        assert!(decoded.bad.iter().all(|b| b.message.len() < 4096), "{name}: a cause is short");
        // A decoder that met bad records is as good as new.
        let again = decoder.decode(&Payload::Values(BinaryArray::from_vec(vec![good, good]))).unwrap();
        assert_eq!((again.records.num_rows(), again.bad.len()), (2, 0), "{name}");
    }
}

#[test]
fn an_empty_payload_is_no_row_and_an_empty_or_missing_record_is_one() {
    for (name, format, good, _) in record_formats() {
        let mut decoder = format.decoder(format.schema().unwrap()).unwrap();
        let nothing = decoder.decode(&Payload::Values(BinaryArray::from_vec(Vec::new()))).unwrap();
        assert_eq!((nothing.records.num_rows(), nothing.bad.len()), (0, 0), "{name}");
        // An empty record or a tombstone is a row or a bad row, never nothing.
        let records = BinaryArray::from_opt_vec(vec![Some(b""), Some(good), None, Some(good)]);
        let decoded = decoder.decode(&Payload::Values(records)).unwrap();
        assert_eq!(decoded.records.num_rows() + decoded.bad.len(), 4, "{name}");
        assert!(decoded.records.num_rows() >= 2, "{name}: {:?}", decoded.bad);
    }
}

#[test]
fn what_is_encoded_is_decoded() {
    for (name, format, good, _) in record_formats() {
        let schema = format.schema().unwrap();
        let records = BinaryArray::from_vec(vec![good; 9]);
        let rows = format.decoder(schema.clone()).unwrap().decode(&Payload::Values(records)).unwrap().records;
        let encoded =
            format.encoder(schema.clone()).unwrap().encode(&Batch::of_columns(rows.clone())).unwrap();
        let again = format.decoder(schema).unwrap().decode(&Payload::Values(encoded)).unwrap();
        assert_eq!(again.records, rows, "{name}");
    }
}

fn columns() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true), Field::new("s", DataType::Utf8, true)]))
}

fn rows(range: std::ops::Range<i64>) -> Batch {
    let numbers = Int64Array::from_iter_values(range.clone());
    let text = StringArray::from_iter_values(range.clone().map(|n| format!("row {n}")));
    let values = BinaryArray::from_iter_values(range.clone().map(|n| format!("row {n}")));
    let origins = Origins::whole(Arc::new(SourceBatch {
        source: "in".into(),
        topic: "t".into(),
        partition: 0,
        offsets: range.clone().collect(),
        timestamps: None,
        keys: None,
        headers: None,
        payload: Payload::Values(values),
        next: range.end,
        trace: None,
        hold: None,
    }));
    let records = RecordBatch::try_new(columns(), vec![Arc::new(numbers), Arc::new(text)]).unwrap();
    Batch::new(records, origins)
}

/// A file sink of one lane for each format that can hold these columns.
fn file_sink(format: &str, base: &Path) -> Box<dyn Sink> {
    let format = FORMATS.iter().find(|kind| kind.name == format).unwrap();
    let format = (format.prepare)(&json!({})).unwrap();
    let kind = SINKS.iter().find(|kind| kind.name == "file").unwrap();
    let settings = sink::Settings {
        pipeline: "p",
        name: "out",
        base,
        options: &json!({ "path": "out" }),
        format: Some(&format),
        schema: &columns(),
    };
    let prepared = (kind.prepare)(&settings).unwrap_or_else(|p| panic!("{p:?}"));
    prepared
        .open(&sink::Open {
            lanes: 1,
            worker: "w".into(),
            transaction: None,
            traced: false,
            letters: false,
            whole: false,
        })
        .unwrap()
        .remove(0)
}

fn visible(base: &Path) -> Vec<i64> {
    let entries = std::fs::read_dir(base.join("out")).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.filter(|p| !p.file_name().unwrap().to_string_lossy().starts_with('.'));
    let lines = files.flat_map(|path| pipe_tests::golden::lines_of(&path));
    let number = |line: String| -> Option<i64> {
        let digits = line.split("row ").nth(1)?;
        digits.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok()
    };
    let mut numbers: Vec<i64> = lines.filter_map(number).collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn files_of_every_format_commit_whole_epochs_and_nothing_else() {
    for format in FORMATS.iter().map(|kind| kind.name).filter(|name| *name != "raw") {
        let folder = tempfile::tempdir().unwrap();
        let mut refused = Vec::new();
        let mut first = file_sink(format, folder.path());
        first.write(&rows(0..5), &mut refused).unwrap();
        assert!(visible(folder.path()).is_empty(), "{format}: a half-written file is seen");
        let done = first.prepare(Epoch(1), &mut refused).unwrap();
        assert_eq!(done.rows, 5, "{format}");
        assert_eq!(visible(folder.path()), [0, 1, 2, 3, 4], "{format}");
        // An abort in mid-write takes back this epoch and no other; the rows come again.
        first.write(&rows(5..8), &mut refused).unwrap();
        first.abort().unwrap();
        first.write(&rows(5..9), &mut refused).unwrap();
        first.write(&rows(9..10), &mut refused).unwrap();
        assert_eq!(first.prepare(Epoch(2), &mut refused).unwrap().rows, 5, "{format}");
        // A worker that dies in mid-write leaves nothing that the next one does not clear away.
        first.write(&rows(10..12), &mut refused).unwrap();
        drop(first);
        let mut second = file_sink(format, folder.path());
        second.write(&rows(10..13), &mut refused).unwrap();
        assert_eq!(second.prepare(Epoch(1), &mut refused).unwrap().rows, 3, "{format}");
        second.write(&rows(13..14), &mut refused).unwrap();
        second.close().unwrap();
        assert_eq!(visible(folder.path()), (0..13).collect::<Vec<_>>(), "{format}");
        let left = std::fs::read_dir(folder.path().join("out")).unwrap().map(|e| e.unwrap().file_name());
        assert_eq!(
            left.filter(|n| n.to_string_lossy().starts_with('.')).count(),
            0,
            "{format}: parts are left"
        );
        assert!(refused.is_empty(), "{format}");
    }
}

#[test]
fn a_sink_that_fails_in_mid_write_counts_no_row_twice() {
    let folder = tempfile::tempdir().unwrap();
    let mut refused = Vec::new();
    let mut sink = file_sink("json", folder.path());
    sink.write(&rows(0..3), &mut refused).unwrap();
    // The folder goes away under the sink: what it took cannot be published, and it says so.
    let (out, away) = (folder.path().join("out"), folder.path().join("away"));
    std::fs::rename(&out, &away).unwrap();
    let error = sink.prepare(Epoch(1), &mut refused).unwrap_err();
    assert!(error.code().as_str().starts_with('K'), "{error}");
    std::fs::rename(&away, &out).unwrap();
    assert_eq!(sink.prepare(Epoch(1), &mut refused).unwrap().rows, 3);
    assert_eq!(visible(folder.path()), [0, 1, 2]);
}

#[test]
fn a_blackhole_counts_what_it_drops() {
    let kind = SINKS.iter().find(|kind| kind.name == "blackhole").unwrap();
    let options = json!({});
    let schema = columns();
    let base = Path::new(".");
    let settings =
        sink::Settings { pipeline: "p", name: "out", base, options: &options, format: None, schema: &schema };
    let prepared = (kind.prepare)(&settings).unwrap_or_else(|p| panic!("{p:?}"));
    let mut sinks = prepared
        .open(&sink::Open {
            lanes: 2,
            worker: "w".into(),
            transaction: None,
            traced: false,
            letters: false,
            whole: false,
        })
        .unwrap();
    assert_eq!(sinks.len(), 2, "one a lane");
    let mut refused = Vec::new();
    sinks[0].write(&rows(0..5), &mut refused).unwrap();
    sinks[0].abort().unwrap();
    sinks[0].write(&rows(0..7), &mut refused).unwrap();
    assert_eq!(sinks[0].prepare(Epoch(1), &mut refused).unwrap().rows, 7);
    assert_eq!(sinks[1].prepare(Epoch(1), &mut refused).unwrap().rows, 0);
}
