//! Every folder of `tests/pipelines`, run three ways; see `pipe_tests::golden`.

use std::collections::BTreeSet;
use std::fs;

use pipe_tests::golden::{cases, check, check_plan};

macro_rules! golden {
    ($($case:ident)*) => {
        $(#[test]
        fn $case() {
            check(stringify!($case));
        })*

        /// The cases that have a test and need nothing but their expected rows.
        const PLAIN: &[&str] = &[$(stringify!($case)),*];
    };
}

golden! {
    columns_rejected csv_options csv_to_parquet explode filter generate jsonl_to_csv lenient lenient_times metadata original
    parquet_to_arrow parse_log parse_log_variants paths redact row_view sample types union unknown
}

/// The cases whose tests below ask for more.
const OTHERS: &[&str] = &["broken_json", "diamond", "extract", "failures", "route", "select", "skip", "trap"];

#[test]
fn every_folder_has_a_test() {
    let folders: BTreeSet<String> = fs::read_dir(cases())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let tested: BTreeSet<String> = PLAIN.iter().chain(OTHERS).map(|case| (*case).to_owned()).collect();
    assert_eq!(folders, tested);
    assert_eq!(tested.len(), PLAIN.len() + OTHERS.len(), "a case has one test");
}

#[test]
fn broken_json() {
    let summary = check("broken_json");
    let source = &summary.sources[0];
    assert_eq!((source.read, source.decoded, source.dead_lettered, source.skipped), (59, 38, 21, 0));
    assert_eq!(summary.dead_letters, (21, 21));
}

#[test]
fn skip() {
    let summary = check("skip");
    let source = &summary.sources[0];
    assert_eq!((source.read, source.decoded, source.dead_lettered, source.skipped), (59, 38, 0, 21));
    assert_eq!(summary.dead_letters, (0, 0));
}

#[test]
fn trap() {
    let summary = check("trap");
    let stage = &summary.stages[0];
    assert_eq!((stage.rows_in, stage.reached, stage.failed, stage.dead_lettered), (68, 63, 5, 5));
}

/// Every kind of failure but `refused`, which takes a broker (`worker_parts/failures.rs`) or a sink in memory.
#[test]
fn failures() {
    let summary = check("failures");
    let (source, stage) = (&summary.sources[0], &summary.stages[0]);
    assert_eq!((source.read, source.decoded, source.dead_lettered), (47, 45, 2));
    assert_eq!((stage.rows_in, stage.reached, stage.rejected, stage.failed), (45, 32, 2, 11));
    assert_eq!((stage.dead_lettered, summary.dead_letters), (13, (15, 15)));
}

#[test]
fn route() {
    let summary = check("route");
    let stage = &summary.stages[0];
    assert_eq!((stage.rows_in, stage.reached, stage.filtered), (50, 50, 0));
    check_plan("route");
}

#[test]
fn diamond() {
    let summary = check("diamond");
    assert_eq!(summary.sources[0].read, 48);
    check_plan("diamond");
}

#[test]
fn select() {
    let summary = check("select");
    let typed = summary.stages.iter().find(|stage| stage.name == "typed").unwrap();
    assert_eq!((typed.rows_in, typed.reached, typed.dead_lettered), (50, 46, 4));
}

#[test]
fn extract() {
    let summary = check("extract");
    let strict = summary.stages.iter().find(|stage| stage.name == "strict").unwrap();
    assert_eq!((strict.rows_in, strict.reached, strict.dead_lettered), (40, 35, 5));
}
