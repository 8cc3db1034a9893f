//! Golden pipelines: a folder `tests/pipelines/<case>` with `pipeline.yaml`, its inputs and `expected/<sink>.jsonl`.
//!
//! Each case runs three ways, and each way must give the same rows:
//! straight; with other batch sizes and more lanes; stopped midway at a seeded point and resumed until the end.
//! Every run's sums must balance. `PIPE_BLESS=1` writes what the straight run gave; review it with `git diff`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::ipc::reader::FileReader;
use arrow::record_batch::RecordBatch;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use pipe_engine::batch::Batch;
use pipe_engine::clock::SystemClock;
use pipe_engine::format::json;
use pipe_engine::run::{self, Options, Summary};
use serde_json::Value;

/// Rows by sink, as JSON, sorted: lanes and batches may interleave partitions.
pub type Rows = BTreeMap<String, Vec<String>>;

/// Members of a dead letter that differ from run to run or build to build.
const VOLATILE: &[&str] = &["failed_at", "component"];

/// Before a CSV file's first line.
const CSV_HEADER: &str = "header: ";

/// One way to run a case.
#[derive(Debug, Clone, Copy)]
pub enum Way {
    /// As the file says.
    Straight,
    /// Other batch sizes, more lanes.
    Otherwise,
    /// Stopped when this many records were read, then resumed.
    Resumed(u64),
}

/// The folder of the cases.
pub fn cases() -> PathBuf {
    crate::root().join("tests/pipelines")
}

/// Runs a case all three ways and compares each with what is expected; answers the sums of the straight run.
pub fn check(case: &str) -> Summary {
    let folder = cases().join(case);
    let (straight, summary) = run_case(&folder, Way::Straight);
    let expected_folder = folder.join("expected");
    if std::env::var_os("PIPE_BLESS").is_some() {
        bless(&expected_folder, &straight);
    }
    let expected = read_expected(&expected_folder);
    same(&straight, &expected, &format!("{case}, straight"));
    same(&run_case(&folder, Way::Otherwise).0, &expected, &format!("{case}, other batches and lanes"));
    for stop_at in [1, 20] {
        let resumed = run_case(&folder, Way::Resumed(stop_at)).0;
        same(&resumed, &expected, &format!("{case}, stopped at {stop_at} and resumed"));
    }
    summary
}

/// Panics with the lines that differ, cut to what a person can read.
fn same(got: &Rows, expected: &Rows, what: &str) {
    let cut = |line: &String| line.chars().take(300).collect::<String>();
    let mut differences = Vec::new();
    for sink in got.keys().chain(expected.keys()).collect::<std::collections::BTreeSet<_>>() {
        let none = Vec::new();
        let (got, expected) = (got.get(sink).unwrap_or(&none), expected.get(sink).unwrap_or(&none));
        let missing =
            expected.iter().filter(|line| !got.contains(line)).map(|l| format!("-{sink}: {}", cut(l)));
        let extra =
            got.iter().filter(|line| !expected.contains(line)).map(|l| format!("+{sink}: {}", cut(l)));
        differences.extend(missing.chain(extra));
        if got.len() != expected.len() {
            differences.push(format!("{sink}: {} lines, not {}", got.len(), expected.len()));
        }
    }
    assert!(got == expected, "{what}:\n{}", differences.join("\n"));
}

/// Compares what `pipe explain` says of a case with its `expected.plan`; what differs from build to build is left out.
pub fn check_plan(case: &str) {
    let folder = cases().join(case);
    let output = crate::pipe().arg("explain").arg(folder.join("pipeline.yaml")).current_dir(&folder).output();
    let output = output.unwrap_or_else(|e| panic!("{e}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    let real = folder.canonicalize().unwrap_or_default();
    let plan: String = text
        .replace(&format!("{}/", folder.display()), "")
        .replace(&format!("{}/", real.display()), "")
        .lines()
        .filter(|line| !line.starts_with("  component: "))
        .map(|line| format!("{line}\n"))
        .collect();
    let file = folder.join("expected.plan");
    if std::env::var_os("PIPE_BLESS").is_some() {
        fs::write(&file, &plan).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    }
    let expected = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    assert_eq!(plan, expected, "{case}");
}

fn bless(folder: &Path, rows: &Rows) {
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    for (sink, lines) in rows {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        fs::write(folder.join(format!("{sink}.jsonl")), text).unwrap_or_else(|e| panic!("{sink}: {e}"));
    }
}

fn read_expected(folder: &Path) -> Rows {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e} (PIPE_BLESS=1 makes it)", folder.display()));
    entries
        .map(|entry| {
            let path = entry.unwrap_or_else(|e| panic!("{e}")).path();
            let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            (name, text.lines().map(str::to_owned).collect())
        })
        .collect()
}

/// Runs a copy of a case one way; answers what its sinks and dead letters hold, and the sums of its last run. The
/// prebuilt guests are `guests/*.wasm` beside the copy.
pub fn run_case(folder: &Path, way: Way) -> (Rows, Summary) {
    let scratch = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
    copy(folder, scratch.path());
    let guests = crate::root().join("tests/guests/prebuilt");
    std::os::unix::fs::symlink(guests, scratch.path().join("guests")).unwrap_or_else(|e| panic!("{e}"));
    let sets: &[&str] = match way {
        Way::Straight => &[],
        Way::Otherwise => &["batch.rows=3", "lanes=3"],
        Way::Resumed(_) => &["batch.rows=1", "delivery.commit_interval=1ms"],
    };
    if let Way::Resumed(stop_at) = way {
        run_once(scratch.path(), sets, Some(stop_at));
    }
    let summary = run_once(scratch.path(), sets, None);
    (collect(scratch.path()), summary)
}

/// One run of the pipeline in a folder; its sums must balance.
fn run_once(folder: &Path, sets: &[&str], stop_at: Option<u64>) -> Summary {
    let dead_letters = format!("dead_letters.file.path={}", folder.join("out/dead-letters.jsonl").display());
    fs::create_dir_all(folder.join("out")).unwrap_or_else(|e| panic!("{e}"));
    let mut sets: Vec<String> = sets.iter().map(|s| (*s).to_owned()).collect();
    sets.push(dead_letters);
    let plan = crate::plan(&folder.join("pipeline.yaml"), &sets);
    let options = Options { until_end: true, state: Some(folder.join(".pipe")), ..Options::default() };
    let running =
        run::start(plan, &options, Arc::new(SystemClock::default())).unwrap_or_else(|e| panic!("{e}"));
    if let Some(stop_at) = stop_at {
        let started = Instant::now();
        let read = || running.stats.sources.iter().map(|(_, s)| s.read.get()).sum::<u64>();
        while read() < stop_at && started.elapsed() < Duration::from_secs(10) {
            std::hint::spin_loop();
        }
        running.stopper().stop();
    }
    let (summary, result) = running.wait();
    result.unwrap_or_else(|e| panic!("{e}\n{summary}"));
    assert_eq!(summary.imbalances(), Vec::<String>::new());
    summary
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap_or_else(|e| panic!("{}: {e}", from.display())).flatten() {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            fs::create_dir_all(&target).unwrap_or_else(|e| panic!("{e}"));
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        }
    }
}

/// `out/<sink>/*` by sink, and the dead letters.
fn collect(folder: &Path) -> Rows {
    let mut rows = Rows::new();
    for entry in fs::read_dir(folder.join("out")).unwrap_or_else(|e| panic!("{e}")).flatten() {
        let path = entry.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let lines = if path.is_dir() {
            let files = fs::read_dir(&path).unwrap_or_else(|e| panic!("{e}")).flatten().map(|e| e.path());
            files.filter(|f| !is_hidden(f)).flat_map(|f| lines_of(&f)).collect()
        } else {
            lines_of(&path).into_iter().map(|line| stable(&line, folder)).collect()
        };
        rows.insert(name, lines);
    }
    rows.values_mut().for_each(|lines| lines.sort_unstable());
    headers_once(&mut rows);
    rows.retain(|_, lines| !lines.is_empty());
    rows
}

/// Each CSV file begins with its header: that of one is kept.
fn headers_once(rows: &mut Rows) {
    rows.values_mut().for_each(|lines| {
        let mut seen = false;
        lines.retain(|line| !line.starts_with(CSV_HEADER) || !std::mem::replace(&mut seen, true));
    });
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
}

/// A dead letter without what differs from run to run.
fn stable(line: &str, folder: &Path) -> String {
    let text = line.replace(&format!("{}/", folder.display()), "");
    let mut letter: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{line}: {e}"));
    if let Some(letter) = letter.as_object_mut() {
        VOLATILE.iter().for_each(|name| {
            letter.remove(*name);
        });
    }
    letter.to_string()
}

/// The rows of a file as JSON, whatever its format.
pub fn lines_of(path: &PathBuf) -> Vec<String> {
    let open = || fs::File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let bad = |e: &dyn std::fmt::Display| -> ! { panic!("{}: {e}", path.display()) };
    let batches: Vec<RecordBatch> = match path.extension().and_then(|e| e.to_str()) {
        Some("parquet") => {
            let reader = ParquetRecordBatchReaderBuilder::try_new(open()).and_then(|b| b.build());
            reader.unwrap_or_else(|e| bad(&e)).map(|b| b.unwrap_or_else(|e| bad(&e))).collect()
        }
        Some("arrow") => {
            let reader = FileReader::try_new(open(), None).unwrap_or_else(|e| bad(&e));
            reader.map(|b| b.unwrap_or_else(|e| bad(&e))).collect()
        }
        _ => {
            let text = fs::read_to_string(path).unwrap_or_else(|e| bad(&e));
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            if path.extension().is_some_and(|e| e == "csv" || e == "tsv")
                && let Some(first) = lines.first_mut()
            {
                first.insert_str(0, CSV_HEADER);
            }
            return lines;
        }
    };
    let json = (json::KIND.prepare)(&serde_json::json!({})).unwrap_or_else(|e| panic!("{e:?}"));
    let mut lines = Vec::new();
    for batch in &batches {
        let values =
            json.encoder(batch.schema()).and_then(|mut e| e.encode(&Batch::of_columns(batch.clone())));
        let values = values.unwrap_or_else(|e| bad(&e));
        lines.extend(values.iter().map(|v| String::from_utf8_lossy(v.unwrap_or_default()).into_owned()));
    }
    lines
}
