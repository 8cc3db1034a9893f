//! `pipe init`, `pipe columns` and `pipe peek` of files: from data to a pipeline that runs, without a question.

use pipe_tests::command::{Ended, Scratch};
use serde_json::Value;

const ORDERS: &str = r#"{"id":1,"total":1.10,"at":"2026-01-31T12:00:00Z","who":{"name":"Ä, b","unit price":2},"tags":["x"],"odd":1}
{"id":2,"total":7,"at":"2026-01-31T12:00:01Z","who":{"name":"漢字"},"tags":[],"odd":"one"}
{"id":18446744073709551615,"total":null,"at":"2026-01-31T12:00:02Z","tags":["y","z"],"odd":null}
"#;

fn orders() -> Scratch {
    let scratch = Scratch::new("");
    std::fs::remove_file(scratch.path("pipeline.yaml")).unwrap();
    scratch.write("orders.jsonl", ORDERS);
    scratch
}

fn text(scratch: &Scratch, name: &str) -> String {
    std::fs::read_to_string(scratch.path(name)).unwrap()
}

#[test]
fn init_writes_a_pipeline_that_runs_and_says_the_next_commands() {
    let scratch = orders();
    let ended = scratch.pipe(&["init", "orders.jsonl"]);
    ended.says(0, &[]);
    for part in ["pipe check pipeline.yaml", "pipe run --until-end pipeline.yaml", "the types of 1 disagree"]
    {
        assert!(ended.stdout.contains(part), "`{part}` is not in:\n{}", ended.stdout);
    }
    let made = text(&scratch, "pipeline.yaml");
    for part in
        ["id: uint64\n", "total: float64\n", "\"unit price\": int64", "types disagree: int64", "stdout: {}"]
    {
        assert!(made.contains(part), "`{part}` is not in:\n{made}");
    }
    assert!(!made.contains("2026-01-31"), "somebody's data is in:\n{made}");
    scratch.pipe(&["check"]).says(0, &[]);
    let ran = scratch.run(&[]);
    ran.says(0, &[]);
    let summary = ran.summary();
    assert_eq!(summary["sources"][0]["read"], 3, "{summary}");
    assert!(ran.stdout.contains("\"id\":18446744073709551615"), "{}", ran.stdout);
    // It is there now, and stays until it is told otherwise.
    scratch.write("pipeline.yaml", "mine");
    scratch.pipe(&["init", "orders.jsonl"]).says(2, &["there already", "--force"]);
    assert_eq!(text(&scratch, "pipeline.yaml"), "mine");
    scratch.pipe(&["init", "orders.jsonl", "--force"]).says(0, &[]);
    assert_eq!(text(&scratch, "pipeline.yaml"), made);
    scratch.pipe(&["init", "orders.jsonl", "--out", "none/p.yaml"]).says(1, &["none/p.yaml"]);
    std::fs::create_dir(scratch.path("other")).unwrap();
    scratch.pipe(&["init", "orders.jsonl", "-o", "other/p.yaml"]).says(0, &[]);
    scratch.pipe(&["check", "other/p.yaml"]).says(0, &[]);
}

#[test]
fn init_of_what_cannot_be_looked_at_says_why_and_writes_nothing() {
    let scratch = orders();
    std::fs::create_dir(scratch.path("folder")).unwrap();
    scratch.write("empty.jsonl", "");
    scratch.write("blank", "");
    scratch.write("binary", b"\x7fELF\x02\x01\x01\0\0\0");
    scratch.write("binary.jsonl", b"\x7fELF\x02\x01\x01\0\0\0\n\xff\xfe\xfd\n");
    scratch.write("list.jsonl", "1\n[2]\n\"three\"\n");
    for (place, code, words) in [
        ("none.jsonl", 2, &["does not exist", "--brokers"][..]),
        ("folder", 2, &["is a folder"]),
        ("empty.jsonl", 2, &["holds no record"]),
        ("blank", 2, &["is empty"]),
        ("binary", 2, &["S010", "binary data"]),
        ("binary.jsonl", 2, &["no JSON object"]),
        ("list.jsonl", 2, &["no JSON object with a field: 3 records"]),
        ("pipeline.yaml", 2, &["is a pipeline file already"]),
    ] {
        let ended = scratch.pipe(&["init", place]);
        ended.says(code, words);
        assert!(!scratch.path("pipeline.yaml").exists(), "{place}");
    }
}

#[test]
fn columns_of_files_of_each_format() {
    let scratch = orders();
    scratch.write("semi.csv", "id;name;price\n1;a;1.5\n2;\"b;c\";2\n");
    scratch.write("plain.txt", "just text\nand more\n");
    let shown = |place: &str| {
        let ended = scratch.pipe(&["columns", place]);
        ended.says(0, &["records looked at"]);
        ended.stdout
    };
    let json = shown("orders.jsonl");
    for part in [
        "columns:\n  id: uint64",
        "in all; up to 20 B; such as 1\n",
        "`timestamp(ms, UTC)` fits too",
        "  who:",
        "    name: utf8",
        "tags: list(utf8)",
        "# in all; types disagree: int64 33 %, utf8 33 %, null 33 %",
    ] {
        assert!(json.contains(part), "`{part}` is not in:\n{json}");
    }
    let csv = shown("semi.csv");
    assert!(
        csv.contains("id: int64") && csv.contains("price: float64") && csv.contains("name: utf8"),
        "{csv}"
    );
    scratch.pipe(&["columns", "plain.txt"]).says(2, &["no fields", "--format"]);
    scratch.pipe(&["columns", "orders.jsonl", "--write"]).says(2, &["pipe init orders.jsonl"]);
    scratch.pipe(&["columns", "orders.jsonl", "in"]).says(2, &["is no pipeline"]);
    // A container says its columns itself; a pipeline makes one here.
    scratch.write(
        "pipeline.yaml",
        "name: p\nsources: { in: { file: { path: semi.csv }, format: { csv: { delimiter: \";\" } } } }\nsinks: { out: { from: in, file: { path: out.parquet } } }\n",
    );
    scratch.run(&[]).says(0, &[]);
    assert!(shown("out.parquet").contains("price: float64"));
    let peeked = scratch.pipe(&["peek", "out.parquet"]);
    assert!(peeked.stdout.contains("b;c"), "{}", peeked.stdout);
}

#[test]
fn columns_are_written_into_a_pipeline_and_its_comments_stay() {
    let scratch = orders();
    let before = "# My pipeline.\nname: p # its name\nsources:\n  in:\n    file: { path: orders.jsonl }\n    format: json # they say\n  \
                  other: { generate: { count: 1 } }\nsinks:\n  out: { from: in, stdout: {} } # out\n  none: { from: other, blackhole: {} }\n";
    scratch.write("pipeline.yaml", before);
    scratch.pipe(&["columns", "pipeline.yaml"]).says(2, &["2 sources", "in, other"]);
    scratch.pipe(&["columns", "pipeline.yaml", "on"]).says(2, &["no source `on`", "in"]);
    scratch.pipe(&["columns", "pipeline.yaml", "other"]).says(2, &["`generate`"]);
    let ended = scratch.pipe(&["columns", "pipeline.yaml", "in", "--write"]);
    ended.says(0, &[]);
    assert!(ended.stdout.contains("6 columns added to the source `in`"), "{}", ended.stdout);
    let after = text(&scratch, "pipeline.yaml");
    for line in before.lines().filter(|line| !line.contains("format")) {
        assert!(after.lines().any(|other| other == line), "`{line}` is not in:\n{after}");
    }
    assert!(
        after.contains("format: # they say\n      json:\n        columns:\n          id: uint64"),
        "{after}"
    );
    scratch.pipe(&["check"]).says(0, &[]);
    scratch.pipe(&["columns", "pipeline.yaml", "in", "--write"]).says(0, &["nothing to add"]);
    assert_eq!(text(&scratch, "pipeline.yaml"), after);
    // An alias is more than one place.
    let shared = "name: p\nsources:\n  in: { file: { path: orders.jsonl }, format: &f { json: { columns: { id: uint64 } } } }\n  two: { file: \
                  { path: orders.jsonl }, format: *f }\nsinks:\n  out: { from: [in, two], stdout: {} }\n";
    scratch.write("pipeline.yaml", shared);
    scratch
        .pipe(&["columns", "pipeline.yaml", "in", "--write"])
        .says(2, &["left as it is", "total: float64"]);
    assert_eq!(text(&scratch, "pipeline.yaml"), shared);
}

fn rows(ended: &Ended) -> Vec<Value> {
    ended.says(0, &[]);
    ended
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}")))
        .collect()
}

#[test]
fn peek_shows_rows_and_nothing_of_them_drives_the_terminal() {
    let scratch = orders();
    let ended = scratch.pipe(&["peek", "orders.jsonl", "-n", "2"]);
    ended.says(0, &["2 records of orders.jsonl"]);
    let lines: Vec<&str> = ended.stdout.lines().collect();
    assert_eq!(lines.len(), 3, "{}", ended.stdout);
    assert!(lines[0].starts_with("ROW") && lines[0].contains("total"), "{}", lines[0]);
    assert!(lines[1].contains("1.10"), "a number stands as it is written: {}", lines[1]);
    scratch.write(
        "hostile.jsonl",
        "{\"a\":\"\\u001b[2J\\u202e\\n\"}\nno \u{1b}]0;x\u{7} json\n{\"\u{9b}k\":1}\n",
    );
    for args in
        [&["peek", "hostile.jsonl"][..], &["peek", "hostile.jsonl", "--json"], &["columns", "hostile.jsonl"]]
    {
        let ended = scratch.pipe(args);
        ended.says(0, &[]);
        let bad = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
        assert!(!(ended.stdout.clone() + &ended.stderr).chars().any(bad), "{args:?}: {:?}", ended.stdout);
    }
    let found = rows(&scratch.pipe(&["peek", "orders.jsonl", "--json"]));
    assert_eq!(
        (found.len(), &found[2]["row"], &found[2]["value"]["tags"][1]),
        (3, &Value::from(3), &Value::from("z"))
    );
    scratch.pipe(&["peek", "orders.jsonl", "--from", "end"]).says(2, &["only a topic"]);
    scratch.pipe(&["peek", "orders.jsonl", "--dead-letters"]).says(2, &["no pipeline file"]);
}

#[test]
fn peek_shows_the_cause_of_dead_letters_first() {
    let scratch = orders();
    scratch.write(
        "pipeline.yaml",
        "name: p\nsources: { in: { file: { path: orders.jsonl }, format: { json: { columns: { id: int64 } } } } }\nsinks: { out: { from: in, blackhole: {} } }\n",
    );
    scratch.pipe(&["peek", "pipeline.yaml", "--dead-letters"]).says(0, &["no dead letters"]);
    scratch.run(&[]).says(0, &[]);
    for args in [&["peek", "pipeline.yaml", "--dead-letters"][..], &["peek", "p.dead-letters.jsonl"]] {
        let ended = scratch.pipe(args);
        ended.says(0, &["1 records of"]);
        let head = ended.stdout.lines().next().unwrap_or_default();
        for name in ["STAGE", "KIND", "MESSAGE", "RECORD", "id", "total"] {
            assert!(head.contains(name), "{args:?}: `{name}` is not in {head}");
        }
        assert!(ended.stdout.contains("18446744073709551615"), "{}", ended.stdout);
    }
}

#[test]
fn a_broker_that_is_away_is_told_soon_and_a_secret_is_never_written() {
    let scratch = orders();
    let nowhere = ["--brokers", "127.0.0.1:1"];
    for command in ["init", "peek", "columns"] {
        scratch
            .pipe(&[&[command, "orders"][..], &nowhere].concat())
            .says(1, &["no broker of 127.0.0.1:1 answered"]);
    }
    scratch.pipe(&["peek", "a/b", "--brokers", "127.0.0.1:1"]).says(2, &["not a topic's name"]);
    scratch.pipe(&["peek", "t", "--brokers", "127.0.0.1:1", "--property", "x"]).says(2, &["has no `=`"]);
    assert!(!scratch.path("pipeline.yaml").exists());
}
