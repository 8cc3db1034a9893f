//! Files as they lie, with the real binary: logs that are rotated, cut and written over, packed and foreign formats, names
//! of any bytes, and the names of what a file sink writes. What a lane alone does is tested in `engine/src/connector/file`.

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use pipe_tests::command::{Ended, Scratch, spawn, until, wait};

/// Reads JSON lines of `n` and prints them.
fn printing(path: &str) -> String {
    format!(
        "
name: p
sources: {{ in: {{ file: {{ path: \"{path}\" }}, format: {{ json: {{ columns: {{ n: int64 }} }} }} }} }}
sinks: {{ out: {{ from: in, stdout: {{}} }} }}
"
    )
}

fn lines(numbers: impl IntoIterator<Item = u64>) -> String {
    numbers.into_iter().map(|n| format!("{{\"n\":{n}}}\n")).collect()
}

/// The numbers that a run printed; it ended well.
#[track_caller]
fn numbers(ended: &Ended) -> Vec<u64> {
    ended.says(0, &[]);
    let number = |line: &str| line.trim_start_matches("{\"n\":").trim_end_matches('}').parse();
    ended.stdout.lines().map(|line| number(line).unwrap_or_else(|e| panic!("{line}: {e}"))).collect()
}

fn append(path: &Path, text: &str) {
    fs::File::options().append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

#[test]
fn a_rotated_log_is_read_whole_under_each_of_its_names() {
    let scratch = Scratch::new(&printing("app.log"));
    scratch.write("app.log", lines(1..=3));
    assert_eq!(numbers(&scratch.run(&[])), [1, 2, 3]);
    fs::rename(scratch.path("app.log"), scratch.path("app.log.1")).unwrap();
    scratch.write("app.log", lines(4..=8));
    let ended = scratch.run(&[]);
    assert_eq!(numbers(&ended), [4, 5, 6, 7, 8]);
    // A glob that sees the old one and the new one, one of them longer by now.
    scratch.write("pipeline.yaml", printing("app.log*"));
    append(&scratch.path("app.log.1"), &lines([9]));
    assert_eq!(numbers(&scratch.run(&[])), [9]);
    assert_eq!(numbers(&scratch.run(&[])), [0; 0]);
    // Copied and cut.
    append(&scratch.path("app.log"), &lines([10]));
    fs::copy(scratch.path("app.log"), scratch.path("app.log.2")).unwrap();
    scratch.write("app.log", lines([11]));
    let mut read = numbers(&scratch.run(&[]));
    read.sort_unstable();
    assert_eq!(read, [10, 11]);
}

#[test]
fn a_file_that_is_written_over_each_night_is_read_from_its_start_and_the_log_says_so() {
    let file = "
name: p
sources: { in: { file: { path: a.csv } } }
sinks: { out: { from: in, stdout: {}, format: csv } }
";
    let scratch = Scratch::new(file);
    let nights = [
        ("id,s\n1,a\n2,b\n3,c\n", "1,a\n2,b\n3,c\n", ""),
        ("id,s\n1,a\n2,x\n3,c\n4,d\n", "1,a\n2,x\n3,c\n4,d\n", "replaced or cut"),
        ("id,s\n7,z\n", "7,z\n", "replaced or cut"),
    ];
    for (text, expected, says) in nights {
        scratch.write("a.csv", text);
        let ended = scratch.run(&[]);
        ended.says(0, &[says]);
        assert_eq!(ended.stdout, expected);
    }
}

#[test]
fn positions_of_the_version_before_are_read_by_name() {
    let scratch = Scratch::new(&printing("app.log"));
    scratch.write("app.log", lines(1..=3));
    fs::create_dir(scratch.path(".pipe")).unwrap();
    let topic = scratch.path("app.log").canonicalize().unwrap();
    let topic = topic.display();
    let kept = format!(
        "{{\"sources\":[{{\"name\":\"in\",\"partitions\":[{{\"topic\":\"{topic}\",\"partition\":0,\"next\":2}}]}}]}}"
    );
    scratch.write(".pipe/p.positions.json", kept);
    assert_eq!(numbers(&scratch.run(&[])), [3]);
    fs::rename(scratch.path("app.log"), scratch.path("app.log.1")).unwrap();
    scratch.write("app.log", lines(4..=8));
    assert_eq!(numbers(&scratch.run(&[])), [4, 5, 6, 7, 8], "it is known by more than its name from then on");
}

#[test]
fn a_last_line_that_grew_is_read_again_whole() {
    let file = "
name: p
sources: { in: { file: { path: app.log }, format: { raw: { type: utf8 } } } }
sinks: { out: { from: in, stdout: {}, format: raw } }
";
    let scratch = Scratch::new(file);
    scratch.write("app.log", "one\ntw");
    assert_eq!(scratch.run(&[]).stdout, "one\ntw\n", "nobody wrote its rest for a second");
    append(&scratch.path("app.log"), "o\nthree\n");
    let ended = scratch.run(&[]);
    ended.says(0, &["has grown"]);
    assert_eq!(ended.stdout, "two\nthree\n");
    assert_eq!(scratch.run(&[]).stdout, "");
}

#[test]
fn a_last_line_waits_for_its_rest_while_it_is_written() {
    let scratch = Scratch::new(&printing("app.log"));
    scratch.write("app.log", "{\"n\":1}\n{\"n\":");
    let child = spawn(&mut scratch.command(&["run", "--until-end", "--admin", "off"]));
    until("the first record is committed", || {
        append(&scratch.path("app.log"), " ");
        scratch.path(".pipe/p.positions.json").exists()
    });
    append(&scratch.path("app.log"), "22}\n");
    assert_eq!(numbers(&wait(child)), [1, 22]);
}

#[test]
fn a_log_that_is_cut_while_it_is_read_is_an_error_and_no_line_of_it_is_torn() {
    let file = "
name: p
sources: { in: { file: { path: app.log }, format: { raw: { type: utf8 } } } }
sinks: { out: { from: in, stdout: {}, format: raw } }
";
    let scratch = Scratch::new(file);
    let all: String =
        (0..400_000).map(|n| format!("first line of some length to fill buffers {n}\n")).collect();
    scratch.write("app.log", &all);
    // Nobody reads what it prints, so it stands still before it has read all.
    let mut command = scratch.command(&["run", "--until-end", "--admin", "off"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let position = || {
        let at = fs::read_dir(format!("/proc/{}/fd", child.id()))
            .ok()?
            .flatten()
            .find(|fd| fs::read_link(fd.path()).is_ok_and(|path| path.ends_with("app.log")))?;
        let info = format!("/proc/{}/fdinfo/{}", child.id(), at.file_name().to_string_lossy());
        fs::read_to_string(info).ok()?.lines().next()?.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    let mut last = None;
    until("it stands still", || {
        std::thread::sleep(std::time::Duration::from_millis(300));
        let now = position();
        let stands = now.is_some_and(|at| at > 0) && now == last;
        last = now;
        stands
    });
    assert!(last.unwrap() < all.len() as u64, "it has read all");
    fs::write(scratch.path("app.log"), "second 1\n").unwrap();
    let ended = wait(child);
    ended.says(1, &["S002", "app.log", "became shorter while it was read"]);
    assert!(ended.stdout.len() > 100_000 && all.starts_with(&ended.stdout), "whole lines, in order");
    assert!(ended.stdout.ends_with('\n'));
    assert_eq!(scratch.run(&[]).stdout, "second 1\n");
}

#[test]
fn packed_files_are_read_as_what_they_hold() {
    let scratch = Scratch::new(&printing("in.jsonl.gz"));
    let members = [gzip(lines(1..=2).as_bytes()), gzip(lines([3]).as_bytes())].concat();
    scratch.write("in.jsonl.gz", &members);
    assert_eq!(numbers(&scratch.run(&[])), [1, 2, 3]);
    // Positions count records: a member that is appended is what comes next.
    scratch.write("in.jsonl.gz", [members, gzip(lines([4]).as_bytes())].concat());
    assert_eq!(numbers(&scratch.run(&[])), [4]);
    // The format is told by what is before `.gz`, and the columns are learnt from what is inside.
    let learnt = "
name: q
sources: { in: { file: { path: in.jsonl.gz } } }
sinks: { out: { from: in, stdout: {}, format: csv } }
";
    scratch.write("pipeline.yaml", learnt);
    assert_eq!(scratch.run(&[]).stdout, "1\n2\n3\n4\n");
    scratch.write("pipeline.yaml", learnt.replace("in.jsonl.gz", "in.csv.zst"));
    scratch.write("in.csv.zst", zstd::encode_all("n,s\n1,a\n2,b\n".as_bytes(), 3).unwrap());
    assert_eq!(scratch.run(&["--fresh"]).stdout, "1,a\n2,b\n");
    scratch.write("pipeline.yaml", printing("-"));
    let ended = scratch.run_with_input(&gzip(lines(5..=6).as_bytes()));
    assert_eq!(numbers(&ended), [5, 6], "standard input too");
}

#[test]
fn packed_files_that_are_damaged_are_named_and_no_record_of_them_is_made_up() {
    let whole = gzip(lines(0..20_000).as_bytes());
    let scratch = Scratch::new(&printing("in.gz"));
    scratch.write("in.gz", &whole[..whole.len() - 30]);
    let ended = scratch.run(&[]);
    ended.says(1, &["S002", "in.gz", "its gzip data ends too early"]);
    assert!(lines(0..20_000).starts_with(&ended.stdout), "no record is made up");
    assert_eq!(scratch.letters("p").len(), 0);
    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    damaged[middle..middle + 40].fill(0x55);
    scratch.write("in.gz", damaged);
    scratch.run(&["--fresh"]).says(1, &["S002", "in.gz", "damaged"]);
    scratch.write("in.gz", whole);
    assert_eq!(numbers(&scratch.run(&["--fresh"])).len(), 20_000);
}

#[test]
fn a_file_that_unpacks_to_a_thousand_times_its_size_is_read_in_bounded_memory() {
    let scratch = Scratch::new(&printing("in.gz"));
    // One line of 400 MB between two records.
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(b"{\"n\":1}\n{\"n\":\"").unwrap();
    let block = vec![b'x'; 1 << 20];
    (0..400).for_each(|_| packed.write_all(&block).unwrap());
    packed.write_all(b"\"}\n{\"n\":2}\n").unwrap();
    scratch.write("in.gz", packed.finish().unwrap());
    let mut child = spawn(&mut scratch.command(&["run", "--until-end", "--admin", "off"]));
    let mut peak_kb = 0;
    while child.try_wait().unwrap().is_none() {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("VmHWM:"));
        peak_kb = line.and_then(|l| l.split_whitespace().nth(1)?.parse().ok()).unwrap_or(peak_kb);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert_eq!(numbers(&wait(child)), [1, 2]);
    let letters = scratch.letters("p");
    let message = letters[0]["message"].as_str().unwrap();
    assert!(message.starts_with("line 2: ") && message.contains("D002"), "{message}");
    assert!(peak_kb > 0 && peak_kb < 600_000, "{peak_kb} kB");
}

#[test]
fn arrays_and_records_over_several_lines_are_read() {
    let scratch = Scratch::new(&printing("in.json"));
    for text in [
        "[\n{\"n\":1},\n{\"n\":2},\n{\"n\":3}\n]\n",
        "[{\"n\":1},{\"n\":2},{\"n\":3}]",
        "{\n  \"n\": 1,\n  \"tags\": [\"a\", \"b\"]\n}\n{\n  \"n\": 2\n}\n{ \"n\":\n3}\n",
        "\u{feff}[ {\"n\": 1}, {\"n\": 2, \"s\": \"]},\"}, { \"n\": 3 } ]",
    ] {
        scratch.write("in.json", text);
        assert_eq!(numbers(&scratch.run(&["--fresh"])), [1, 2, 3], "{text}");
    }
    scratch.write("in.json", "[]\n");
    assert_eq!(numbers(&scratch.run(&["--fresh"])), [0; 0]);
    // One record of the array is wrong: its neighbours stand.
    scratch.write("in.json", "[{\"n\":1},{\"n\":\"x\"},{\"n\":3}]");
    assert_eq!(numbers(&scratch.run(&["--fresh"])), [1, 3]);
    assert_eq!(scratch.letters("p").len(), 1);
    // The array itself is wrong: one error with its line.
    scratch.write("in.json", "[\n{\"n\":1},\n{\"n\":2}\n{\"n\":3}\n]\n");
    scratch.run(&["--fresh"]).says(1, &["S002", "in.json", "line 4: `,` or `]` was expected"]);
    scratch.write("in.json", "[\n{\"n\":1},\n{\"n\":2}\n");
    scratch.run(&["--fresh"]).says(1, &["S002", "in.json", "ends within its JSON array", "line 1"]);
    assert_eq!(scratch.letters("p").len(), 1, "no line of it became a dead letter");
    // Columns are learnt from arrays too.
    let learnt = "
name: q
sources: { in: { file: { path: in.json } } }
sinks: { out: { from: in, stdout: {}, format: csv } }
";
    scratch.write("pipeline.yaml", learnt);
    scratch.write("in.json", "[\n  {\n \"n\": 1,\n \"s\": \"a\"\n  }\n]\n");
    assert_eq!(scratch.run(&["--fresh"]).stdout, "1,a\n");
}

#[test]
fn utf16_is_read_and_told_by_its_mark_or_its_zeros() {
    let scratch = Scratch::new(&printing("in.jsonl"));
    let text = lines(1..=3);
    for mark in ["\u{feff}", ""] {
        let units: Vec<u16> = format!("{mark}{text}").encode_utf16().collect();
        for bytes in [
            units.iter().flat_map(|unit| unit.to_le_bytes()).collect::<Vec<u8>>(),
            units.iter().flat_map(|unit| unit.to_be_bytes()).collect(),
        ] {
            scratch.write("in.jsonl", bytes);
            assert_eq!(numbers(&scratch.run(&["--fresh"])), [1, 2, 3]);
        }
    }
}

#[test]
fn a_file_of_another_format_is_one_error_that_names_it() {
    let scratch = Scratch::new(&printing("in.jsonl"));
    for (bytes, words) in [
        (&b"PAR1\x15\x04\x15\x00"[..], ["a Parquet file", "format: parquet"]),
        (b"ARROW1\0\0\xff\xff\xff\xff\x10\0\0\0", ["an Arrow file", "format: arrow_ipc"]),
        (b"\xff\xff\xff\xff\x78\0\0\0\x10\0\0\0", ["an Arrow stream", "arrow_ipc"]),
        (b"\xfd7zXZ\0\0\x04", ["xz data", "unpack it first"]),
        (b"BZh91AY&SY\x01", ["bzip2 data", "unpack it first"]),
    ] {
        scratch.write("in.jsonl", bytes);
        for command in ["check", "run"] {
            scratch.pipe(&[command]).says(2, &["S010", "in.jsonl", words[0], words[1]]);
        }
    }
    let columns = "
name: p
sources: { in: { file: { path: in.parquet } } }
sinks: { out: { from: in, stdout: {} } }
";
    scratch.write("pipeline.yaml", columns);
    for (bytes, word) in [
        (lines(1..3).into_bytes(), "is text"),
        (gzip(b"PAR1"), "gzip data"),
        (b"ARROW1\0\0\xff\xff\xff\xff".to_vec(), "an Arrow file"),
    ] {
        scratch.write("in.parquet", bytes);
        scratch.pipe(&["check"]).says(2, &["S010", "in.parquet", word, "Parquet file was expected"]);
    }
    // Behind others of a glob it is found before the first record.
    scratch.write("pipeline.yaml", printing("*.log"));
    scratch.write("a.log", lines([1]));
    scratch.write("b.log", b"PAR1\x15\x04\x15\x00");
    let ended = scratch.run(&[]);
    ended.says(1, &["S010", "b.log", "a Parquet file"]);
    assert_eq!(ended.stdout, "");
}

#[test]
fn names_that_are_not_utf8_are_read() {
    let file = "
name: p
sources: { in: { file: { path: \"*.log\" }, format: { json: { columns: { n: int64 } } }, metadata: [topic] } }
sinks: { out: { from: in, stdout: {} } }
";
    let scratch = Scratch::new(file);
    let odd = scratch.path("").join(OsString::from_vec(b"caf\xe9.log".to_vec()));
    fs::write(&odd, lines([1]) + "nonsense\n").unwrap();
    scratch.write("cafe.log", lines([2]));
    let ended = scratch.run(&[]);
    ended.says(0, &[]);
    assert!(ended.stdout.contains("\"n\":2") && ended.stdout.contains("caf%E9.log"), "{}", ended.stdout);
    assert_eq!(ended.stdout.lines().count(), 2);
    let letter = &scratch.letters("p")[0];
    assert!(letter["topic"].as_str().unwrap().starts_with("file:///"), "{letter}");
    append(&odd, &lines([3]));
    assert_eq!(scratch.run(&[]).stdout.lines().count(), 1, "its position is kept");
}

/// The visible files of a folder, but the pipeline's own.
fn files(scratch: &Scratch) -> Vec<String> {
    let entries = fs::read_dir(scratch.path("")).unwrap();
    let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| !name.starts_with('.') && !name.ends_with(".yaml") && !name.contains("dead-letters"));
    names.sort();
    names
}

#[test]
fn a_run_of_one_lane_that_ends_makes_a_file_of_the_name_that_was_given() {
    let file = "
name: p
sources: { in: { file: { path: in.jsonl } } }
sinks: { out: { from: in, file: { path: out.jsonl } } }
";
    let scratch = Scratch::new(file);
    scratch.write("in.jsonl", lines(1..=3));
    scratch.pipe(&["run"]).says(0, &[]);
    assert_eq!(files(&scratch), ["in.jsonl", "out.jsonl"]);
    assert_eq!(fs::read_to_string(scratch.path("out.jsonl")).unwrap(), lines(1..=3));
    scratch.pipe(&["run"]).says(0, &[]);
    assert_eq!(files(&scratch), ["in.jsonl", "out.jsonl"], "nothing was read, and nothing is written");
    // The name is taken: what comes next is in a file beside it, and the log says so.
    append(&scratch.path("in.jsonl"), &lines([4]));
    scratch.pipe(&["run"]).says(0, &["the name is taken"]);
    assert_eq!(fs::read_to_string(scratch.path("out.jsonl")).unwrap(), lines(1..=3));
    let all = files(&scratch);
    assert_eq!(all.len(), 3);
    assert_eq!(fs::read_to_string(scratch.path(&all[2])).unwrap(), lines([4]));
    // Several files were asked for.
    for set in ["lanes=2", "delivery.commit_interval=10s", "sinks.out.file.roll.size=1MiB"] {
        let scratch = Scratch::new(file);
        scratch.write("in.jsonl", lines(1..=3));
        scratch.pipe(&["run", "--set", set]).says(0, &[]);
        let all = files(&scratch);
        assert!(all.len() == 2 && all[1].starts_with("out.out.") && all[1].ends_with(".jsonl"), "{all:?}");
    }
    // A run that fails leaves none, and the next one makes it.
    let scratch =
        Scratch::new(&format!("{file}dead_letters: {{ file: {{ path: no/such/folder.jsonl }} }}\n"));
    scratch.write("in.jsonl", lines(1..=3));
    scratch.pipe(&["run"]).says(1, &["K004"]);
    assert_eq!(files(&scratch), ["in.jsonl"]);
    scratch.write("pipeline.yaml", file);
    scratch.pipe(&["run"]).says(0, &[]);
    assert_eq!(fs::read_to_string(scratch.path("out.jsonl")).unwrap(), lines(1..=3));
}

#[test]
fn a_run_that_is_stopped_makes_its_file_of_what_was_read() {
    let file = "
name: p
sources: { made: { generate: { count: 1000000, rate: 2000 }, format: { json: { columns: { status: int32 } } } } }
sinks: { out: { from: made, file: { path: out.jsonl }, format: json } }
";
    let scratch = Scratch::new(file);
    let child = spawn(&mut scratch.command(&["run", "--admin", "off"]));
    until("it writes", || {
        scratch
            .path("")
            .read_dir()
            .unwrap()
            .flatten()
            .any(|e| e.file_name().to_string_lossy().ends_with(".tmp"))
    });
    std::thread::sleep(std::time::Duration::from_millis(300));
    pipe_tests::command::signal(&child, "TERM");
    wait(child).says(0, &[]);
    assert_eq!(files(&scratch), ["out.jsonl"]);
    assert!(fs::read_to_string(scratch.path("out.jsonl")).unwrap().lines().count() > 10);
}

#[test]
fn a_glob_in_the_working_folder_leaves_out_what_the_pipeline_writes() {
    let file = "
name: p
sources: { in: { file: { path: \"*.jsonl\" }, format: { json: { columns: { n: int64 } } } } }
sinks:
  one: { from: in, file: { path: one.jsonl } }
  rest: { from: in, file: { path: rest.jsonl, roll: { size: 1MiB } } }
";
    let scratch = Scratch::new(file);
    scratch.write("a.jsonl", lines(1..=2) + "nonsense\n");
    scratch.pipe(&["check"]).says(0, &[]);
    for run in 0..3 {
        let ended = scratch.run(&["--fresh"]);
        ended.says(0, &[]);
        let letters = scratch.letters("p");
        assert_eq!(letters.len(), run + 1, "the letters are not read");
        assert!(
            letters[run]["message"].as_str().unwrap().starts_with("line 3, byte 2: "),
            "{}",
            letters[run]
        );
    }
    let written: Vec<PathBuf> = files(&scratch).iter().map(|name| scratch.path(name)).collect();
    let all: String = written.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    assert_eq!(all.lines().filter(|line| *line == "{\"n\":1}").count(), 1 + 2 * 3);
    fs::remove_file(scratch.path("a.jsonl")).unwrap();
    scratch.pipe(&["check"]).says(2, &["S001", "but what the pipeline writes itself"]);
}

#[test]
fn files_that_cannot_be_opened_are_named() {
    let scratch = Scratch::new(&printing("*.log"));
    scratch.write("a.log", lines([1]));
    let link = scratch.path("b.log");
    std::os::unix::fs::symlink("nowhere", &link).unwrap();
    scratch.run(&[]).says(2, &["S001", "b.log"]);
    fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink("b.log", &link).unwrap();
    scratch.run(&[]).says(2, &["S001", "b.log"]);
    fs::remove_file(&link).unwrap();
    // A folder that a glob sees is none of its files, and an empty file has no records.
    fs::create_dir(&link).unwrap();
    scratch.write("c.log", "");
    assert_eq!(numbers(&scratch.run(&[])), [1]);
    scratch.write("pipeline.yaml", printing("b.log"));
    scratch.run(&[]).says(2, &["S001", "is a folder"]);
    scratch.write("pipeline.yaml", printing("a.log/x"));
    scratch.run(&[]).says(2, &["S001", "a.log/x"]);
}

#[test]
fn a_record_that_stops_a_run_is_named_by_its_line() {
    let file = "
name: p
sources: { in: { file: { path: in.csv }, format: { csv: { columns: { n: int64 } } }, on_failure: stop } }
sinks: { out: { from: in, stdout: {} } }
";
    let scratch = Scratch::new(file);
    scratch.write("in.csv", "n\n\n1\n\nx\n");
    scratch.run(&[]).says(1, &["X002", "in.csv, line 5: "]);
}
