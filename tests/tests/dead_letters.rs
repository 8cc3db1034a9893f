//! `pipe dead-letters` with files, by the real binary: what is listed, shown and replayed, and what is left alone.
//! (Topics are in `worker.rs`.)

use std::fs;

use pipe_tests::command::Scratch;
use serde_json::Value;

/// Two sinks, so that it shows what a replay leaves alone; `mode` says on which numbers the stage fails.
fn pipeline(mode: &str) -> String {
    let guest = pipe_tests::root().join("tests/guests/prebuilt/fails.wasm");
    format!(
        "
name: p
sources:
  numbers:
    file: {{ path: in.jsonl }}
    format: {{ json: {{ columns: {{ n: int64, note: utf8 }} }} }}
stages:
  picky:
    from: numbers
    wasm: {}
    config: {{ mode: \"{mode}\" }}
sinks:
  out:
    from: picky
    file: {{ path: out }}
    format: json
  all:
    from: numbers
    file: {{ path: all }}
    format: json
",
        guest.display()
    )
}

const MODE: &str = "trap=13,reject=7,error=9";

/// Twenty numbers of which three fail in the stage, and a line that is no JSON.
fn failed() -> Scratch {
    let scratch = Scratch::new(&pipeline(MODE));
    let mut lines: Vec<String> =
        (0..20).map(|n| format!("{{\"n\":{n},\"note\":\"\\u001b[2J{n}\"}}")).collect();
    lines.insert(5, "nonsense".to_owned());
    scratch.write("in.jsonl", lines.join("\n") + "\n");
    scratch.run(&[]).says(0, &[]);
    assert_eq!(scratch.letters("p").len(), 4);
    scratch
}

fn numbers(lines: &[String]) -> Vec<i64> {
    let number = |line: &String| serde_json::from_str::<Value>(line).unwrap()["n"].as_i64().unwrap();
    let mut numbers: Vec<i64> = lines.iter().map(number).collect();
    numbers.sort_unstable();
    numbers
}

/// The letters that `list` gives.
fn listed(scratch: &Scratch, args: &[&str]) -> Vec<Value> {
    let ended = scratch.pipe(&[&["dead-letters", "list", "pipeline.yaml", "--json"], args].concat());
    ended.says(0, &[]);
    ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn kinds(letters: &[Value]) -> Vec<&str> {
    let mut kinds: Vec<&str> = letters.iter().map(|l| l["kind"].as_str().unwrap()).collect();
    kinds.sort_unstable();
    kinds
}

/// A replay; its standard output.
fn replay(scratch: &Scratch, args: &[&str]) -> String {
    let ended = scratch.pipe(&[&["dead-letters", "replay", "pipeline.yaml"], args].concat());
    ended.says(0, &[]);
    ended.stdout
}

#[test]
fn letters_are_listed_and_filtered() {
    let scratch = failed();
    assert_eq!(kinds(&listed(&scratch, &[])), ["decode", "rejected", "stage_error", "trap"]);
    assert_eq!(kinds(&listed(&scratch, &["--kind", "trap", "--kind", "decode"])), ["decode", "trap"]);
    assert_eq!(kinds(&listed(&scratch, &["--stage", "numbers"])), ["decode"]);
    assert_eq!(listed(&scratch, &["--since", "1h"]).len(), 4);
    assert_eq!(listed(&scratch, &["--until", "1h"]).len(), 0);
    assert_eq!(listed(&scratch, &["--since", "2999-01-01T00:00:00Z"]).len(), 0);
    assert_eq!(listed(&scratch, &["--limit", "3"]).len(), 3);
    let letter = &listed(&scratch, &["--kind", "trap"])[0];
    assert_eq!(
        (&letter["source"], &letter["stage"], &letter["attempt"]),
        (&"numbers".into(), &"picky".into(), &1.into())
    );
    assert!(letter["value"].as_str().unwrap().contains("\"n\":13"), "{letter}");

    let table = scratch.pipe(&["dead-letters", "list"]);
    table.says(0, &[]);
    for word in [
        "PLACE",
        "4 dead letters in ",
        "picky    rejected 1, stage_error 1, trap 1",
        "in.jsonl/0 at 14",
        "decode",
    ] {
        assert!(table.stdout.contains(word), "`{word}` is not in:\n{}", table.stdout);
    }
    scratch.pipe(&["dead-letters", "list", "--kind", "nap"]).says(2, &["trap", "out_of_memory"]);
    scratch.pipe(&["dead-letters", "list", "--since", "soon"]).says(2, &["2h"]);
    scratch.pipe(&["dead-letters", "list", "no-such.yaml"]).says(2, &["no-such.yaml"]);
    let never = ["dead-letters", "list", "--since", "1h", "--until", "2h"];
    scratch.pipe(&never).says(2, &["K005", "`--since` is not before `--until`"]);
    let nobody = scratch.pipe(&["dead-letters", "list", "--stage", "pickey", "--stage", "out"]);
    nobody.says(0, &["no source, stage or sink `pickey`", "numbers, picky, out, all"]);
    assert!(!nobody.stderr.contains("`out`"), "it is there, and nothing failed there: {}", nobody.stderr);
}

#[test]
fn where_nothing_has_failed_nothing_is_listed() {
    let scratch = Scratch::new(&pipeline(MODE));
    scratch.pipe(&["dead-letters", "list"]).says(0, &["no dead letters"]);
    scratch.write("in.jsonl", "");
    assert!(replay(&scratch, &["--execute"]).contains("replaying 0"));
    scratch.pipe(&["dead-letters", "show", "pipeline.yaml", "1"]).says(2, &["K005", "nothing at 1"]);
}

#[test]
fn a_letter_is_shown_whole_and_drives_no_terminal() {
    let scratch = failed();
    let trap = &listed(&scratch, &["--kind", "trap"])[0];
    let place = trap["place"].as_str().unwrap();
    let shown = scratch.pipe(&["dead-letters", "show", "pipeline.yaml", place]);
    shown.says(0, &[]);
    for word in [
        "kind       trap",
        "source     numbers",
        "key        null",
        "unreachable",
        "in.jsonl/0 at 14",
        "\\u001b",
    ] {
        assert!(shown.stdout.contains(word), "`{word}` is not in:\n{}", shown.stdout);
    }
    let json = scratch.pipe(&["dead-letters", "show", "pipeline.yaml", place, "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&json.stdout).unwrap(), *trap);
    scratch.pipe(&["dead-letters", "show", "pipeline.yaml", "99"]).says(2, &["K005", "nothing at 99"]);
    scratch.pipe(&["dead-letters", "show", "pipeline.yaml", "0/1"]).says(2, &["K005", "line"]);
    scratch.pipe(&["dead-letters", "show", "pipeline.yaml", "first"]).says(2, &["PARTITION/OFFSET"]);

    // What a hostile record and a hostile stage may write.
    let line = "{\"pipeline\":\"p\",\"stage\":\"s\\u001b[31m\",\"kind\":\"trap\",\"message\":\"m\\u001b]0;x\\u0007\\u009b2J\\n\\nplace      7\",\
                \"topic\":\"t\\u202e\",\"partition\":0,\"offset\":1,\"attempt\":1,\"failed_at\":7,\"key\":{\"base64\":\"/wA=\"},\
                \"value\":\"a\\u001b[2J\\nb\",\"headers\":[[{\"base64\":\"/w==\"},\"\\u001b\"]]}\n";
    scratch.write("hostile.jsonl", format!("not a letter\n{line}"));
    for args in [
        &["dead-letters", "show", "pipeline.yaml", "2", "--letters", "hostile.jsonl"][..],
        &["dead-letters", "list", "--letters", "hostile.jsonl"],
        &["dead-letters", "list", "--letters", "hostile.jsonl", "--json"],
        &["dead-letters", "replay", "--letters", "hostile.jsonl"],
    ] {
        let ended = scratch.pipe(args);
        ended.says(0, &[]);
        for text in [&ended.stdout, &ended.stderr] {
            assert!(!text.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'), "{text:?}");
        }
        assert!(!ended.stdout.contains("\nplace      7"), "{}", ended.stdout);
    }
    scratch
        .pipe(&["dead-letters", "show", "pipeline.yaml", "1", "--letters", "hostile.jsonl"])
        .says(2, &["no dead letter"]);
}

#[test]
fn a_replay_is_dry_first_then_goes_through_everything_and_is_remembered() {
    let scratch = failed();
    let before = fs::read(scratch.path("p.dead-letters.jsonl")).unwrap();
    let dry = replay(&scratch, &["--kind", "trap"]);
    for word in
        ["would replay 1", "picky  trap 1", "the whole pipeline: stages picky; sinks out, all", "--execute"]
    {
        assert!(dry.contains(word), "`{word}` is not in:\n{dry}");
    }
    assert_eq!(fs::read(scratch.path("p.dead-letters.jsonl")).unwrap(), before);
    assert!(!scratch.path(".pipe/p.replayed").exists());
    assert_eq!(scratch.lines("all").len(), 20);

    // Mended by another configuration; the filter's letter alone goes, through both sinks.
    let mended = "stages.picky.config.mode=none";
    let done = replay(&scratch, &["--kind", "trap", "--set", mended, "--execute"]);
    assert!(done.contains("replayed 1 dead letter\n"), "{done}");
    let out: Vec<i64> = (0..20).filter(|n| ![7, 9].contains(n)).collect();
    assert_eq!(numbers(&scratch.lines("out")), out);
    let mut all: Vec<i64> = (0..20).collect();
    all.insert(13, 13);
    assert_eq!(numbers(&scratch.lines("all")), all);

    // What was replayed is left out; what was not is taken.
    let dry = replay(&scratch, &["--set", mended]);
    assert!(dry.contains("would replay 3") && dry.contains("1 were replayed before"), "{dry}");
    let again = replay(&scratch, &["--set", mended, "--again", "--kind", "trap", "--execute"]);
    assert!(again.contains("replayed 1 "), "{again}");
    // The lines of the letters themselves are not touched, and the worker's own positions are not either.
    assert_eq!(fs::read(scratch.path("p.dead-letters.jsonl")).unwrap(), before);
    scratch.run(&[]).says(0, &[]);
    assert_eq!(scratch.lines("all").len(), 22);
}

#[test]
fn what_fails_again_is_a_letter_again_with_its_attempts_counted() {
    let scratch = failed();
    for attempt in 2..4 {
        let done = replay(&scratch, &["--execute"]);
        assert!(done.contains("replayed 4 dead letters") && done.contains("4 rows failed again"), "{done}");
        let letters = scratch.letters("p");
        assert_eq!(letters.len(), 4 * attempt);
        for letter in &letters[4 * (attempt - 1)..] {
            assert_eq!(letter["attempt"], attempt, "{letter}");
            assert_eq!((&letter["headers"], &letter["source"]), (&Value::Array(vec![]), &"numbers".into()));
        }
        // The record is the one of the first letter, wherever it was read now.
        let place =
            |l: &Value| (l["topic"].clone(), l["offset"].clone(), l["value"].clone(), l["kind"].clone());
        let mut first: Vec<_> = letters[..4].iter().map(place).collect();
        let mut last: Vec<_> = letters[4 * (attempt - 1)..].iter().map(place).collect();
        first.sort_by_key(|p| p.1.as_i64());
        last.sort_by_key(|p| p.1.as_i64());
        assert_eq!(first, last);
    }
}

#[test]
fn what_would_be_skipped_stays_a_letter_in_a_replay() {
    let scratch = failed();
    let skip = ["--set", "stages.picky.on_failure=skip", "--set", "sources.numbers.on_failure=skip"];
    for attempt in 2..4 {
        let done = replay(&scratch, &[&skip[..], &["--execute"]].concat());
        assert!(done.contains("replayed 4 dead letters") && done.contains("4 rows failed again"), "{done}");
        assert_eq!(scratch.letters("p").iter().filter(|l| l["attempt"] == attempt).count(), 4);
    }
}

#[test]
fn a_replay_that_stops_at_a_failure_ends_as_a_run_does() {
    let scratch = failed();
    let stop = ["--set", "stages.picky.on_failure=stop"];
    let ended =
        scratch.pipe(&[&["dead-letters", "replay", "--kind", "trap", "--execute"], &stop[..]].concat());
    ended.says(1, &["picky"]);
    assert!(replay(&scratch, &["--kind", "trap"]).contains("would replay 1"), "it is not done");
    assert_eq!(scratch.run(&["--fresh", "--set", stop[1]]).code, 1);
}

#[test]
fn a_record_that_failed_again_after_its_replay_is_replayed_again() {
    let scratch = failed();
    let mended = "stages.picky.config.mode=none";
    let done = replay(&scratch, &["--set", mended, "--execute"]);
    assert!(done.contains("replayed 4") && done.contains("1 rows failed again"), "{done}");
    scratch.run(&["--fresh"]).says(0, &[]);
    let dry = replay(&scratch, &["--set", mended]);
    assert!(dry.contains("would replay 4") && dry.contains("4 were replayed before"), "{dry}");
}

#[test]
fn letters_of_csv_are_read_by_the_header_they_were_read_under_or_not_at_all() {
    let scratch = Scratch::new(
        "
name: c
sources: { in: { file: { path: in.csv }, format: { csv: { columns: { a: utf8, b: utf8, n: int64 } } } } }
sinks: { out: { from: in, file: { path: out }, format: json } }
",
    );
    scratch.write("in.csv", "b,a,n\nB,A,bad\n");
    scratch.run(&[]).says(0, &[]);
    let args = ["--set", "sources.in.format.csv.columns.n=utf8", "--execute"];
    scratch.write("in.csv", "a,b,n\nx,y,1\n");
    let refused = replay(&scratch, &args);
    for word in ["replaying 0 dead letters", "1 were read under another header", "`b,a,n`", "`a,b,n`"] {
        assert!(refused.contains(word), "`{word}` is not in:\n{refused}");
    }
    assert_eq!(scratch.lines("out"), [""; 0]);
    scratch.write("again.csv", "b,a,n\n");
    let done = replay(&scratch, &[&args[..], &["--set", "sources.in.file.path=again.csv"]].concat());
    assert!(done.contains("replayed 1 "), "{done}");
    assert_eq!(scratch.lines("out"), [r#"{"a":"A","b":"B","n":"bad"}"#]);
}

#[test]
fn from_a_stage_no_other_sink_sees_a_repeat() {
    let scratch = failed();
    let (out, all) = (scratch.lines("out").len(), scratch.lines("all").len());
    let mended = "stages.picky.config.mode=none";
    let dry = replay(&scratch, &["--from-stage=picky", "--set", mended]);
    assert!(
        dry.contains("would replay 3") && dry.contains("downstream of it: stages picky; sinks out\n"),
        "{dry}"
    );
    replay(&scratch, &["--from-stage=picky", "--set", mended, "--execute"]);
    assert_eq!((scratch.lines("out").len(), scratch.lines("all").len()), (out + 3, all));
    // Without a name: each from where it failed; what is left is the line that is no JSON.
    let rest = replay(&scratch, &["--from-stage", "--set", mended, "--execute"]);
    assert!(
        rest.contains("`numbers` and what is downstream") && rest.contains("1 rows failed again"),
        "{rest}"
    );
    scratch.pipe(&["dead-letters", "replay", "--from-stage=pickey"]).says(2, &["K006", "picky"]);
    scratch
        .pipe(&["dead-letters", "replay", "--from-stage=picky", "--through", "pipeline"])
        .says(2, &["cannot be used"]);
}

#[test]
fn a_mended_component_takes_the_place_of_the_one_that_failed() {
    let scratch = failed();
    // The stage as it failed is not even there any more.
    let guest = pipe_tests::root().join("tests/guests/prebuilt/fails.wasm");
    fs::copy(guest, scratch.path("mended.wasm")).unwrap();
    let broken = "stages.picky.wasm=gone.wasm";
    scratch.pipe(&["dead-letters", "replay", "--set", broken]).says(2, &["gone.wasm"]);
    let args = ["--set", broken, "--component", "picky=mended.wasm", "--kind", "trap", "--execute"];
    let done = replay(&scratch, &args);
    assert!(done.contains("1 rows failed again"), "it is the same code: {done}");
    scratch.pipe(&["dead-letters", "replay", "--component", "picki=mended.wasm"]).says(2, &["K006", "picky"]);
    scratch.pipe(&["dead-letters", "replay", "--component", "picky"]).says(2, &["STAGE=FILE"]);
    scratch
        .pipe(&["dead-letters", "replay", "--component", "picky=/dev/null"])
        .says(2, &["P004", "`/dev/null` is not a regular file"]);
}

#[test]
fn a_replay_beside_a_worker_writes_to_a_file_of_its_own() {
    let scratch = failed();
    let held = fs::File::options().append(true).open(scratch.path("p.dead-letters.jsonl")).unwrap();
    held.lock().unwrap();
    let ended = scratch.pipe(&["dead-letters", "replay", "--execute"]);
    ended.says(0, &["a worker writes to", "p.dead-letters.replay.jsonl"]);
    assert_eq!(scratch.letters("p").len(), 4);
    let other = listed(&scratch, &["--letters", "p.dead-letters.replay.jsonl"]);
    assert_eq!((other.len(), &other[0]["attempt"]), (4, &2.into()));
    let third = replay(&scratch, &["--letters", "p.dead-letters.replay.jsonl"]);
    assert!(third.contains("would replay 4"), "{third}");
}

#[test]
fn rows_of_columns_are_replayed_from_their_json() {
    let scratch = failed();
    let guest = pipe_tests::root().join("tests/guests/prebuilt/fails.wasm");
    let columns = |mode: &str| {
        format!(
            "
name: columns
sources: {{ rows: {{ file: {{ path: \"parquet/*.parquet\" }} }} }}
stages: {{ picky: {{ from: rows, wasm: \"{}\", config: {{ mode: \"{mode}\" }} }} }}
sinks: {{ out: {{ from: picky, file: {{ path: again }}, format: json }} }}
",
            guest.display()
        )
    };
    let to_parquet =
        pipeline("none").replace("path: out }\n    format: json", "path: parquet }\n    format: parquet");
    scratch.write("pipeline.yaml", to_parquet.replace("name: p", "name: parquet"));
    scratch.run(&["--fresh"]).says(0, &[]);
    scratch.write("pipeline.yaml", columns("trap=13,reject=7"));
    scratch.run(&[]).says(0, &[]);
    assert_eq!((scratch.letters("columns").len(), scratch.lines("again").len()), (2, 18));
    scratch.write("pipeline.yaml", columns("reject=7"));
    let done = replay(&scratch, &["--execute"]);
    assert!(done.contains("replayed 2") && done.contains("1 rows failed again"), "{done}");
    assert_eq!(numbers(&scratch.lines("again")), (0..20).filter(|n| *n != 7).collect::<Vec<_>>());
}

#[test]
fn a_pipeline_may_not_read_its_own_letters() {
    let file = "
name: round
sources: { in: { file: { path: [a.jsonl, letters/round.jsonl] }, format: { json: { columns: { n: int64 } } } } }
sinks: { out: { from: in, blackhole: } }
dead_letters: { file: { path: letters/round.jsonl } }
";
    let scratch = Scratch::new(file);
    fs::create_dir(scratch.path("letters")).unwrap();
    scratch.write("letters/round.jsonl", "");
    scratch.write("a.jsonl", "{\"n\":1}\n");
    scratch.pipe(&["check"]).says(2, &["P011", "pipeline.yaml:3:", "own dead letters"]);
    scratch.write("pipeline.yaml", file.replace("letters/round.jsonl }", "elsewhere.jsonl }"));
    scratch.pipe(&["check"]).says(0, &[]);
    // A glob leaves them out.
    scratch.write("letters/other.jsonl", "{\"n\":2}\n");
    scratch
        .write("pipeline.yaml", file.replace("a.jsonl, letters/round.jsonl", "a.jsonl, \"letters/*.jsonl\""));
    scratch.pipe(&["check"]).says(0, &[]);
    let topic = |topics: &str| {
        format!(
            "
name: round
sources: {{ in: {{ kafka: {{ brokers: \"b:2, a:1\", topics: {topics} }}, format: raw }} }}
sinks: {{ out: {{ from: in, blackhole: }} }}
"
        )
    };
    scratch.write("pipeline.yaml", topic("[other, round.dead-letters]"));
    scratch.pipe(&["check"]).says(2, &["P011", "pipeline.yaml:3:", "the dead letters write to", "replay"]);
    scratch.write("pipeline.yaml", topic("[\"^round[.].*\"]"));
    scratch.pipe(&["check"]).says(2, &["P011", "the dead letters write to", "narrow"]);
    scratch.write("pipeline.yaml", topic("[other.dead-letters]"));
    scratch.pipe(&["check"]).says(0, &[]);
}
