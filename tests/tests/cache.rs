//! `pipe cache` with the real binary: a cold cache is filled, a warm one left alone, a worker then compiles nothing, and
//! what is no stage is refused.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use pipe_tests::command::{Ended, Scratch};
use pipe_tests::root;
use serde_json::Value;

fn guest(name: &str) -> String {
    root().join("tests/guests/prebuilt").join(name).canonicalize().unwrap().display().to_string()
}

/// Two stages of two components, one a ready-made one, and a password that is not there yet.
fn pipeline() -> String {
    let identity = guest("identity.wasm");
    format!(
        "name: two\nsources:\n  in:\n    file: {{ path: \"${{INPUT:-in.jsonl}}\" }}\n    format: {{ json: {{ columns: {{ n: int64 }} }} }}\n\
         stages:\n  same: {{ from: in, wasm: {identity} }}\n  again: {{ from: same, wasm: {identity} }}\n\
         \x20 few: {{ from: again, use: filter, config: {{ all: [{{ column: n, op: gt, value: 1 }}] }} }}\n\
         sinks:\n  out: {{ from: few, file: {{ path: out }}, format: json }}\n"
    )
}

fn scratch() -> Scratch {
    let scratch = Scratch::new(&pipeline());
    scratch.write("in.jsonl", "{\"n\":1}\n{\"n\":2}\n");
    scratch
}

fn cached(scratch: &Scratch, args: &[&str]) -> Ended {
    scratch.command(args).env("PIPE_CACHE", scratch.path("cache")).output().unwrap().into()
}

/// Name and inode of each entry: one that was made anew has another inode.
fn entries(folder: &Path) -> Vec<(String, u64)> {
    let all = fs::read_dir(folder).unwrap().map(Result::unwrap);
    let mut all: Vec<_> =
        all.map(|e| (e.file_name().to_string_lossy().into_owned(), e.metadata().unwrap().ino())).collect();
    all.sort();
    all
}

fn json_lines(ended: &Ended) -> Vec<Value> {
    ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_cold_cache_is_filled_and_the_worker_compiles_nothing() {
    let scratch = scratch();
    let ended = cached(&scratch, &["cache", "warm"]);
    ended.says(0, &[]);
    assert_eq!(ended.stderr, "");
    assert!(ended.stdout.contains("2 components: 2 compiled, 0 there already; "), "{}", ended.stdout);
    let made = entries(&scratch.path("cache"));
    assert_eq!(made.len(), 2);

    let again = cached(&scratch, &["cache", "warm", "--json"]);
    again.says(0, &["2 components: 0 compiled, 2 there already; "]);
    let lines = json_lines(&again);
    assert_eq!(lines.len(), 2);
    assert!(lines.iter().all(|line| line["compiled"] == false && line["code_bytes"].as_u64() > Some(0)));
    let stages: Vec<&str> =
        lines[0]["stages"].as_array().unwrap().iter().map(|s| s["stage"].as_str().unwrap()).collect();
    assert_eq!(stages, ["same", "again"]);

    cached(&scratch, &["run", "--until-end"]).says(0, &[]);
    assert_eq!(scratch.lines("out"), ["{\"n\":2}"]);
    assert_eq!(entries(&scratch.path("cache")), made, "no entry was made anew");

    let shown = cached(&scratch, &["cache", "show"]);
    assert!(shown.stdout.contains("2 files, ") && shown.stdout.contains(&made[0].0), "{}", shown.stdout);
    assert_eq!(json_lines(&cached(&scratch, &["cache", "show", "--json"])).len(), 2);
    cached(&scratch, &["cache", "clear"]).says(0, &[]);
    assert_eq!(entries(&scratch.path("cache")), []);
}

#[test]
fn components_and_folders_are_warmed_and_variables_may_be_missing() {
    let scratch = scratch();
    fs::create_dir(scratch.path("all")).unwrap();
    fs::copy(guest("crossing.wasm"), scratch.path("all/crossing.wasm")).unwrap();
    let later = pipeline().replace("${INPUT:-in.jsonl}", "${file:/nonexistent/input}");
    scratch.write("all/later.yaml", later.replace("value: 1", "value: \"${MINIMUM}\""));
    let ended = cached(&scratch, &["cache", "warm", "all", "all/crossing.wasm"]);
    ended.says(0, &[]);
    assert!(ended.stdout.contains("3 components: 3 compiled"), "{}", ended.stdout);
    // Where the variable names the component it is needed.
    scratch.write("all/later.yaml", later.replace("use: filter", "use: \"${STAGE}\""));
    cached(&scratch, &["cache", "warm", "all"]).says(2, &["all/later.yaml:", "C006", "STAGE"]);
}

#[test]
fn what_is_no_stage_is_refused_and_the_others_are_compiled() {
    let scratch = scratch();
    cached(&scratch, &["cache", "warm"]).says(0, &[]);
    let (entry, _) = entries(&scratch.path("cache")).remove(0);
    let entry = fs::read(scratch.path("cache").join(entry)).unwrap();
    cached(&scratch, &["cache", "clear"]).says(0, &[]);
    // An entry of the cache, the machine code within it, something else, and half a component.
    scratch.write("entry.wasm", &entry);
    scratch.write("code.wasm", &entry[80..]);
    scratch.write("text.wasm", "no component");
    let whole = fs::read(guest("crossing.wasm")).unwrap();
    scratch.write("half.wasm", &whole[..whole.len() / 2]);
    for (name, code) in [
        ("entry.wasm", "P004"),
        ("code.wasm", "P004"),
        ("text.wasm", "P004"),
        ("absent.wasm", "P004"),
        ("half.wasm", "W001"),
    ] {
        let ended = cached(&scratch, &["cache", "warm", name, "pipeline.yaml"]);
        ended.says(2, &[code, name]);
        assert!(ended.stdout.contains("2 components: "), "{}", ended.stdout);
        assert_eq!(entries(&scratch.path("cache")).len(), 2);
        // In a pipeline it has its place.
        scratch.write("bad.yaml", pipeline().replace("use: filter", &format!("wasm: {name}")));
        cached(&scratch, &["cache", "warm", "bad.yaml"]).says(2, &["bad.yaml:", code]);
    }
    cached(&scratch, &["cache", "warm", "no-such-file.yaml"]).says(2, &["C001", "no-such-file.yaml"]);
    fs::create_dir(scratch.path("none")).unwrap();
    cached(&scratch, &["cache", "warm", "none"]).says(2, &["C012", "`none`"]);
}

#[test]
fn a_folder_that_cannot_be_the_cache_is_an_error_with_its_reason() {
    let scratch = scratch();
    let warm = |cache: &str| -> Ended {
        scratch.command(&["cache", "warm"]).env("PIPE_CACHE", cache).output().unwrap().into()
    };
    let (file, open) = (scratch.path("in.jsonl"), scratch.path("open"));
    warm(&file.to_string_lossy()).says(1, &["W019", "a link or a file"]);
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    warm(&open.to_string_lossy()).says(1, &["W019", "0700"]);
    for command in ["show", "clear"] {
        let ended: Ended =
            scratch.command(&["cache", command]).env("PIPE_CACHE", &open).output().unwrap().into();
        ended.says(1, &["W019"]);
    }
    warm("").says(2, &["W019", "PIPE_CACHE"]);
}
