//! Configuration as users meet it: grants, secrets, folders of pipelines, warnings, completions, the shared cache; with
//! the real binary.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use pipe_tests::command::{Scratch, spawn, wait};
use pipe_tests::root;

fn guest() -> PathBuf {
    root().join("tests/guests/prebuilt/grants.wasm").canonicalize().unwrap()
}

/// A pipeline whose stage takes the steps of a script, one a row, and rejects each row with what came of it.
fn granted(script: &str, grants: &str) -> String {
    let guest = guest();
    let guest = guest.display();
    format!(
        "name: granted\nsources:\n  in:\n    file: {{ path: in.jsonl }}\n    format: {{ json: {{ columns: {{ n: int64 \
         }} }} }}\nstages:\n  tries:\n    from: in\n    wasm: {guest}\n    config: {{ script: \"{script}\" }}\n    \
         grants: {grants}\nsinks:\n  out: {{ from: tries, blackhole: }}\n"
    )
}

fn scratch(pipeline: &str) -> Scratch {
    let scratch = Scratch::new(pipeline);
    scratch.write("in.jsonl", "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n");
    fs::create_dir(scratch.path("geo")).unwrap();
    scratch.write("geo/a.txt", "from the folder");
    scratch.write("secret", "planted-secret\n");
    scratch
}

#[test]
fn what_is_granted_arrives_and_what_is_printed_holds_no_value() {
    let grants = "{ env: { TOKEN: \"${file:secret}\", PORT: 80 }, folders: { /data: geo } }";
    let scratch = scratch(&granted("read /data a.txt;folders;create /data b.txt", grants));
    for command in [&["check"][..], &["explain"], &["explain", "--mermaid"]] {
        let ended = scratch.pipe(command);
        ended.says(0, &[]);
        assert!(!(ended.stdout + &ended.stderr).contains("planted-secret"));
    }
    let explained = scratch.pipe(&["explain"]).stdout;
    for part in
        ["grants: env TOKEN, PORT; folder /data (read only, ", "threads: ", "memory at most: ", "lanes: 1"]
    {
        assert!(explained.contains(part), "`{part}` is not in:\n{explained}");
    }
    let ended = scratch.run(&[]);
    ended.says(0, &[]);
    assert!(!(ended.stdout + &ended.stderr).contains("planted-secret"));
    let reasons: Vec<String> =
        scratch.letters("granted").iter().map(|letter| letter["message"].to_string()).collect();
    assert_eq!(reasons.len(), 3);
    for (reason, part) in reasons.iter().zip(["from the folder", "/data", "error not-permitted"]) {
        assert!(reason.contains(part), "{reason}");
    }
    assert!(!scratch.path("geo/b.txt").exists());
}

#[test]
fn grants_that_cannot_be_given_are_errors_with_what_to_do() {
    for (grants, words) in [
        ("{ folders: { /data: absent } }", &["P012", "absent", "make the folder"][..]),
        ("{ folders: { /data: in.jsonl } }", &["P012", "is not a folder"]),
        ("{ folders: { data: geo } }", &["P012", "an absolute path"]),
        ("{ folders: { /data: /proc } }", &["P012", "the kernel's own"]),
        ("{ env: { \"A=B\": x } }", &["P012", "is not the name of an environment variable"]),
        ("{ network: [\"example.com:443\"] }", &["P012", "network cannot be granted yet"]),
        ("{ files: { /data: geo } }", &["C003", "files"]),
        ("{ env: { A: 1.5 } }", &["C005"]),
        ("{ env: { A: \"${file:nowhere}\" } }", &["C010", "stages.tries.grants.env.A", "nowhere"]),
    ] {
        scratch(&granted("env", grants)).pipe(&["check"]).says(2, words);
    }
}

#[test]
fn grants_in_vain_and_sockets_are_warned_of() {
    scratch(&granted("bind!tcp;bind!env", "{}")).pipe(&["check"]).says(0, &["warning W018", "socket"]);
    let identity =
        granted("", "{ env: { A: x }, folders: { /d: geo } }").replace("grants.wasm", "identity.wasm");
    let identity = identity.replace("    config: { script: \"\" }\n", "");
    let ended = scratch(&identity).pipe(&["check"]);
    ended.says(0, &["warning W017", "an environment", "folders"]);
    let plain = scratch(&granted("env", "{ env: { API_TOKEN: abcdef, REGION: eu } }")).pipe(&["check"]);
    plain.says(0, &["warning P010: `API_TOKEN` is written into the file"]);
    assert_eq!(plain.stderr.lines().count(), 1, "{}", plain.stderr);
    let noted = scratch(&granted("bind!env;bind!folders", "{}")).pipe(&["explain"]);
    noted.says(0, &[]);
    assert!(noted.stdout.contains("asked in bind for: environment, folders"), "{}", noted.stdout);
    assert!(!noted.stderr.contains("W018"), "asking for what a library asks for is no warning");
}

#[test]
fn the_schema_describes_the_new_keys() {
    let schema: serde_json::Value = serde_json::from_str(&Scratch::new("").pipe(&["schema"]).stdout).unwrap();
    let grants = &schema["$defs"]["GrantsSpec"]["properties"];
    for key in ["env", "folders", "network"] {
        assert!(grants[key]["description"].as_str().is_some_and(|text| text.len() > 20), "{key}");
    }
    assert!(schema["$defs"]["StageSpec"]["properties"]["grants"].is_object());
    assert!(schema.to_string().contains("is a pattern, a POSIX extended regular expression"));
}

fn named(name: &str) -> String {
    format!(
        "name: {name}\nsources:\n  in: {{ generate: {{ count: 1 }} }}\nsinks:\n  out: {{ from: in, blackhole: }}\n"
    )
}

#[test]
fn folders_are_checked_file_by_file() {
    let scratch = Scratch::new(&named("alone"));
    fs::create_dir_all(scratch.path("many/inner")).unwrap();
    fs::create_dir(scratch.path("none")).unwrap();
    scratch.write("none/readme.md", "x");
    scratch.write("many/a.yaml", named("a"));
    scratch.write("many/b.yml", named("b"));
    scratch.write("many/.hidden.yaml", "no pipeline");
    scratch.write("many/inner/c.yaml", "not looked at");
    let ended = scratch.pipe(&["check", "many"]);
    ended.says(0, &[]);
    assert!(ended.stdout.contains("2 pipelines checked, 0 wrong"), "{}", ended.stdout);
    scratch.write("many/d.yaml", "name: d\n");
    scratch.write("many/e.yaml", named("a"));
    let ended = scratch.pipe(&["check", "many", "many/a.yaml", "pipeline.yaml"]);
    ended.says(
        2,
        &[
            "many/d.yaml",
            "`sources` is missing",
            "many/e.yaml:1:7: warning P013",
            "`many/a.yaml` has the name `a`",
        ],
    );
    assert!(ended.stdout.contains("5 pipelines checked, 1 wrong\n  many/d.yaml\n"), "{}", ended.stdout);
    scratch.pipe(&["check", "none"]).says(2, &["C012", "`none`", "not looked at"]);
    scratch.pipe(&["check", "absent"]).says(2, &["C001"]);
}

#[test]
fn a_secret_that_is_none_names_its_key_and_its_path() {
    let kafka = "name: p\nsources:\n  in:\n    kafka:\n      brokers: b:1\n      topics: [t]\n      properties: { \
                 sasl.password: \"${file:pw}\" }\n    format: raw\nsinks:\n  out: { from: in, blackhole: }\n";
    let scratch = Scratch::new(kafka);
    let key = "`sources.in.kafka.properties.sasl.password`";
    scratch.pipe(&["check"]).says(2, &["C010", key, "pw", "No such file", ":7:36:"]);
    scratch.write("pw", "\n");
    scratch.pipe(&["check"]).says(2, &["C010", key, "is empty"]);
    scratch.write("pw", "hunter2-hunter2\n");
    let ended = scratch.pipe(&["check"]);
    ended.says(0, &[]);
    assert!(!(ended.stdout + &ended.stderr).contains("hunter2"));
    let set = "sources.in.kafka.properties.\"sasl.password\"=plain";
    scratch.pipe(&["check", "--set", set]).says(0, &[]);
    // Written into the file it is warned of, and not shown.
    scratch.write("pipeline.yaml", kafka.replace("${file:pw}", "hunter2-hunter2"));
    let ended = scratch.pipe(&["check"]);
    ended.says(0, &["warning P010", "`sasl.password` is written into the file", "${file:"]);
    assert!(!(ended.stdout + &ended.stderr).contains("hunter2"));
}

#[test]
fn the_protocol_of_kip_848_is_a_preview_and_has_other_properties() {
    let pipeline = |topics: &str, properties: &str| {
        format!(
            "name: p\nsources:\n  in:\n    kafka: {{ brokers: \"b:1\", topics: [{topics}], properties: {{ {properties} }} \
             }}\n    format: raw\nsinks: {{ out: {{ from: in, blackhole: }} }}\n"
        )
    };
    let scratch = Scratch::new(&pipeline("t", "group.protocol: consumer, group.remote.assignor: uniform"));
    scratch.pipe(&["check"]).says(0, &["warning P010", "KIP-848 is a preview"]);
    let rest = "session.timeout.ms: 6000, heartbeat.interval.ms: 500";
    scratch.write("pipeline.yaml", pipeline("t", &format!("group.protocol: classic, {rest}")));
    let ended = scratch.pipe(&["check"]);
    ended.says(0, &[]);
    assert_eq!(ended.stderr, "");
    scratch.write("pipeline.yaml", pipeline("\"^t\"", &format!("group.protocol: consumer, {rest}")));
    let refused = ["`session.timeout.ms`", "`heartbeat.interval.ms`", "patterns of topics", "error P009"];
    scratch.pipe(&["check"]).says(2, &refused);
    let assignor = "group.protocol: consumer, partition.assignment.strategy: range";
    scratch.write("pipeline.yaml", pipeline("t", assignor));
    scratch.pipe(&["check"]).says(2, &["C005", "`partition.assignment.strategy` cannot be set"]);
    scratch.write("pipeline.yaml", pipeline("t", "group.protocol: eager"));
    scratch.pipe(&["check"]).says(2, &["C005", "eager"]);
}

#[test]
fn a_queue_that_cannot_hold_a_record_is_refused() {
    let pipeline = |properties: &str| {
        format!(
            "name: p\nsources:\n  in: {{ generate: {{ count: 1 }} }}\nsinks:\n  out:\n    from: in\n    kafka: {{ brokers: \
             \"b:1\", topic: t, properties: {{ {properties} }} }}\n    format: json\ndead_letters: {{ file: {{ path: d }} }}\n"
        )
    };
    let large = "message.max.bytes: 2000000";
    let scratch = Scratch::new(&pipeline(&format!("{large}, queue.buffering.max.kbytes: 1000")));
    let refused = ["P009", "`message.max.bytes`", "`queue.buffering.max.kbytes`", "would wait for ever"];
    scratch.pipe(&["check"]).says(2, &refused);
    scratch.write("pipeline.yaml", pipeline(&format!("{large}, queue.buffering.max.kbytes: 4000")));
    scratch.pipe(&["check"]).says(0, &[]);
    scratch.write("pipeline.yaml", pipeline("message.max.bytes: 200000000"));
    scratch.pipe(&["check"]).says(0, &[]);
}

#[test]
fn suspicious_settings_are_warned_of_with_the_key_to_change() {
    let pipeline = "name: p\nsources:\n  in:\n    kafka: { brokers: \"b:1\", topics: [t], properties: { \
                    max.poll.interval.ms: 10000, session.timeout.ms: 6000 } }\n    format: raw\n    on_failure: skip\n\
                    stages:\n  f:\n    from: in\n    wasm: GUEST\n    config: { script: env }\n    limits: { time: 15s, \
                    rows: 10, memory: 2MiB, log_lines: 100000 }\nsinks:\n  out: { from: f, blackhole: }\ndelivery: { \
                    commit_interval: 1m }\nbatch: { age: 2m, bytes: 4MiB }\nlanes: 256\n";
    let pipeline = pipeline.replace("GUEST", &guest().to_string_lossy()).replace("2MiB", "7MiB");
    let ended = Scratch::new(&pipeline).pipe(&["check"]);
    ended.says(
        0,
        &[
            "raise `delivery.shutdown_timeout`",
            "lower `batch.age`",
            "lower `limits.time`",
            "raise `limits.rows`",
            "raise `limits.memory`",
            "lower `limits.log_lines`",
            "`on_failure: dead_letter`",
            "raise `max.poll.interval.ms`",
            "lower `lanes`",
        ],
    );
    let warnings = ended.stderr.lines().filter(|line| line.contains("warning P010")).count();
    assert_eq!(warnings, ended.stderr.lines().count(), "{}", ended.stderr);
}

#[test]
fn keys_that_are_too_few_for_a_batch_are_warned_of() {
    let pipeline = |columns: &str, rows: u32| {
        format!(
            "name: p\nsources: {{ in: {{ kafka: {{ brokers: \"b:1\", topics: [t] }}, format: {{ json: {{ columns: {{ \
             {columns} }} }} }} }} }}\nsinks: {{ out: {{ from: in, blackhole: }} }}\nbatch: {{ rows: {rows} }}\n"
        )
    };
    let check = |columns: &str, rows: u32| Scratch::new(&pipeline(columns, rows)).pipe(&["check"]);
    let words = ["warning P010", "`word`", "256 different words", "8192 rows"];
    check("\"word\": \"dictionary(uint8, utf8)\"", 8192).says(0, &words);
    check("\"word\": \"dictionary(int8, utf8)\"", 129).says(0, &["128 different words"]);
    for (columns, rows) in [
        ("a: \"dictionary(int8, utf8)\"", 128),
        ("a: \"dictionary(uint16, utf8)\"", 8192),
        ("a: uint8", 8192),
    ] {
        let ended = check(columns, rows);
        ended.says(0, &[]);
        assert_eq!(ended.stderr, "", "{columns}");
    }
}

#[test]
fn a_pattern_that_reads_what_is_written_is_refused() {
    let pipeline = |topics: &str, topic: &str| {
        format!(
            "name: p\nsources:\n  in:\n    kafka: {{ brokers: \"b:1\", topics: [{topics}] }}\n    format: raw\nsinks:\n  \
             out: {{ from: in, kafka: {{ brokers: \"b:1\", topic: {topic} }}, format: raw }}\n"
        )
    };
    let check = |topics: &str, topic: &str| Scratch::new(&pipeline(topics, topic)).pipe(&["check"]);
    check("\"^orders-.*\"", "other").says(0, &[]);
    check("\"^orders-.*\"", "orders-out").says(2, &["P011", "`^orders-.*`", "the sink `out`"]);
    check("\"^.*\"", "other").says(2, &["P011", "p.dead-letters", "the dead letters write to"]);
    check("p.dead-letters", "other").says(2, &["P011"]);
    check("same", "same").says(0, &["warning P011"]);
    check("orders", "p.dead-letters").says(0, &["warning P010", "the sink `out`", "the dead letters"]);
    check("\"^orders-\\\\d+\"", "other").says(2, &["C011", "4:", "`[0-9]` for `\\d`"]);
    check("\"^(a\"", "other").says(2, &["C011", "not a regular expression"]);
}

#[test]
fn sources_of_one_cluster_share_a_client_and_read_no_topic_twice() {
    let check = |a: &str, b: &str, brokers: &str| {
        let pipeline = format!(
            "name: p\nsources:\n  a: {{ kafka: {{ brokers: \"b:1,c:1\", {a} }}, format: raw }}\n  b: {{ kafka: {{ brokers: \
             \"{brokers}\", {b} }}, format: raw }}\nsinks:\n  out: {{ from: [a, b], blackhole: }}\n"
        );
        Scratch::new(&pipeline).pipe(&["check"])
    };
    let same = "c:1, b:1";
    check("topics: [s, \"^t.*\"]", "topics: [u, \"^v.*\"]", same).says(0, &[]);
    check("topics: [t]", "topics: [s, t]", same)
        .says(2, &["P009", "`a` and `b` both read `t`", "one source"]);
    check("topics: [\"^t.*\"]", "topics: [t1]", same).says(2, &["P009", "`t1`, by the pattern `^t.*`"]);
    check("topics: [t1]", "topics: [\"^t.*\"]", same).says(2, &["P009", "`t1`, by the pattern `^t.*`"]);
    check("topics: [\"^t.*\"]", "topics: [\"^t.*\"]", same).says(2, &["P009", "`^t.*`"]);
    check("topics: [t]", "topics: [t]", "d:1").says(0, &[]);
    let with = |ms: u32| format!("properties: {{ session.timeout.ms: {ms} }}");
    let (a, b) = (format!("topics: [s], {}", with(6000)), format!("topics: [t], {}", with(7000)));
    check(&a, &b, same).says(2, &["P009", "`a` and `b` share one client", "session.timeout.ms"]);
    check(&a, "topics: [t]", same).says(0, &[]);
    check(&a, &b, "d:1").says(0, &[]);
}

/// A pipeline under `exactly_once`: its source, its sink and more of it.
fn exactly_once(source: &str, sink: &str, more: &str) -> Scratch {
    Scratch::new(&format!(
        "name: p\ndelivery: {{ guarantee: exactly_once }}\nsources:\n  in: {{ {source}, format: raw }}\nsinks:\n  out: \
         {{ from: in, {sink} }}\n{more}"
    ))
}

#[test]
fn exactly_once_is_refused_where_it_cannot_be_had() {
    let from = "kafka: { brokers: \"b:1\", topics: [t] }";
    let to = "kafka: { brokers: \"b:1\", topic: o }, format: raw";
    exactly_once(from, to, "").pipe(&["check"]).says(0, &[]);
    // Three intervals fit into the longest transaction.
    let every = |time: &str| exactly_once(from, to, "").pipe(&["check", "--set", time]);
    every("delivery.commit_interval=300s").says(0, &[]);
    every("delivery.commit_interval=301s").says(2, &["P007", "every 5m at least", "at_least_once"]);
    // Whoever throws records away throws none away twice.
    exactly_once(from, "blackhole:", "").pipe(&["check"]).says(0, &[]);
    const CAN: &str = "exactly once is from Kafka to Kafka on one cluster; use `guarantee: at_least_once`";
    const LETTERS: &str = "dead_letters: { kafka: { brokers: \"b:1\", topic: d } }\n";
    let elsewhere = to.replace("b:1", "c:1");
    let other = to.replace("topic: o", "topic: o, properties: { linger.ms: 7 }");
    let second =
        format!("  two: {{ from: in, {} }}\n", other.replace("topic: o", "topic: o2").replace('7', "9"));
    for (source, sink, more, words) in [
        (
            "file: { path: in.txt }",
            to,
            LETTERS,
            &[":4:", "`in`", "no consumer group", "kind `file`", CAN][..],
        ),
        (from, "file: { path: out.txt }, format: raw", "", &[":6:", "`out`", "kind `file`", CAN]),
        (from, "stdout:, format: raw", "", &[":6:", "`out`", "kind `stdout`", CAN]),
        (from, &elsewhere, "", &[":6:", "here is `c:1`, above is `b:1`", "the same `brokers:` everywhere"]),
        (
            from,
            to,
            &LETTERS.replace("b:1", "c:1"),
            &[":7:", "here is `c:1`, above is `b:1`", "the same `brokers:` everywhere"],
        ),
        (
            from,
            to,
            "dead_letters: { file: { path: d.jsonl } }\n",
            &[":7:", "dead letters in a file", "name a topic"],
        ),
        (from, &other, &second, &[":2:", "share one client", "linger.ms", "the same value in each sink"]),
    ] {
        let scratch = exactly_once(source, sink, more);
        scratch.write("in.txt", "x\n");
        let ended = scratch.pipe(&["check"]);
        ended.says(2, words);
        assert_eq!(ended.stderr.matches("P007").count(), 1, "{}", ended.stderr);
        // The rest of it is sound.
        scratch.pipe(&["check", "--set", "delivery.guarantee=at_least_once"]).says(0, &[]);
    }
}

#[test]
fn completions_are_scripts_that_their_shells_read() {
    for (shell, parts) in [
        ("bash", &["explain", "--until-end", "--fail-on-dead-letters", "compgen -f"][..]),
        ("zsh", &["#compdef pipe", "_files", "--mermaid", "--fail-on-dead-letters"]),
        ("fish", &["complete -c pipe", "completions", "fail-on-dead-letters"]),
        ("elvish", &["edit:completion"]),
        ("powershell", &["Register-ArgumentCompleter"]),
    ] {
        let ended = Scratch::new("").pipe(&["completions", shell]);
        ended.says(0, &[]);
        for part in parts {
            assert!(ended.stdout.contains(part), "{shell}: no `{part}`");
        }
        // Shells that are not here cannot read it: bash is everywhere.
        let Ok(mut child) =
            Command::new(shell).arg("-n").stdin(Stdio::piped()).stderr(Stdio::piped()).spawn()
        else {
            assert_ne!(shell, "bash", "bash is needed");
            continue;
        };
        child.stdin.take().unwrap().write_all(ended.stdout.as_bytes()).unwrap();
        let read = child.wait_with_output().unwrap();
        assert!(read.status.success(), "{shell}: {}", String::from_utf8_lossy(&read.stderr));
    }
}

fn entries(folder: &std::path::Path) -> Vec<(String, Vec<u8>)> {
    let all = fs::read_dir(folder).map(|all| all.flatten().collect::<Vec<_>>()).unwrap_or_default();
    let mut all: Vec<(String, Vec<u8>)> = all
        .iter()
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path()).unwrap()))
        .collect();
    all.sort();
    all
}

#[test]
fn workers_that_start_at_once_share_an_empty_cache() {
    let scratch = scratch(&granted("env", "{}"));
    let cache = scratch.path("cache");
    let start = || spawn(scratch.command(&["check"]).env("PIPE_CACHE", &cache));
    let children: Vec<_> = (0..4).map(|_| start()).collect();
    for child in children {
        let ended = wait(child);
        ended.says(0, &[]);
        assert_eq!(ended.stderr, "");
    }
    let made = entries(&cache);
    assert_eq!(made.len(), 1, "one entry, and no part of one");
    wait(start()).says(0, &[]);
    assert_eq!(entries(&cache), made, "the next start uses it");
}

#[test]
fn a_cache_that_is_full_costs_a_warning_and_leaves_nothing_broken() {
    let scratch = scratch(&granted("read /data a.txt", "{ folders: { /data: geo } }"));
    let cache = scratch.path("cache");
    // A limit on the size of files stands for the full disk: the write fails half way. Its signal is ignored, as the
    // error is what a full disk gives.
    let pipe = scratch.command(&[]);
    let script = "trap '' XFSZ; ulimit -f 64; exec \"$0\" run --until-end --log-format text";
    let limited = Command::new("bash")
        .args(["-c", script])
        .arg(pipe.get_program())
        .current_dir(scratch.path(""))
        .env("PIPE_CACHE", &cache)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&limited.stderr);
    assert_eq!(limited.status.code(), Some(0), "{said}");
    assert!(said.contains("cannot be kept in the cache"), "{said}");
    assert_eq!(entries(&cache), [], "no part of an entry stays");
    let with_room = scratch.command(&["check"]).env("PIPE_CACHE", &cache).output().unwrap();
    assert!(with_room.status.success());
    assert_eq!(entries(&cache).len(), 1);
}

#[test]
fn a_cache_folder_that_is_no_folder_of_ours_is_not_used() {
    let scratch = scratch(&granted("env", "{}"));
    fs::create_dir(scratch.path("real")).unwrap();
    std::os::unix::fs::symlink(scratch.path("real"), scratch.path("link")).unwrap();
    for (cache, why) in [
        (scratch.path("link"), "a link or a file"),
        (scratch.path("in.jsonl"), "a link or a file"),
        (scratch.path("in.jsonl/below"), ""),
        // Nothing can be made there, by nobody.
        (PathBuf::from("/proc/pipe-cache"), ""),
    ] {
        let run = ["run", "--until-end", "--fresh", "--log-format", "text"];
        let ended = scratch.command(&run).env("PIPE_CACHE", &cache).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(0), "{said}");
        assert!(said.contains("the cache of compiled components is not used"), "{said}");
        assert!(said.contains(why), "{said}");
    }
    assert_eq!(entries(&scratch.path("real")), []);
}

/// The plan of records that are made.
const MADE: &str =
    "name: made\nsources:\n  in: { generate: { count: 1 } }\nsinks:\n  out: { from: in, blackhole: {} }\n";

#[test]
fn a_reader_that_has_seen_enough_ends_a_command_quietly() {
    let scratch = Scratch::new(MADE);
    for args in [&["check"][..], &["explain"], &["completions", "bash"], &["schema"]] {
        // Its end of the pipe is closed before the command says anything.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let ended = scratch.command(args).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        assert_eq!(ended.status.code(), Some(0), "{args:?}: {}", String::from_utf8_lossy(&ended.stderr));
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let ended = scratch.command(&["check", "no-such-file"]).stderr(writer).output().unwrap();
        assert_eq!(ended.status.code(), Some(2), "nor is standard error needed");
    }
}

#[test]
fn a_fifo_is_refused_and_what_a_shell_hands_over_is_read() {
    let scratch = Scratch::new(
        "name: secret\nsources:\n  in: { generate: { count: 1 } }\nsinks:\n  out: { from: in, file: { path: \"${file:fifo}\" }, format: json }\n",
    );
    assert!(Command::new("mkfifo").arg(scratch.path("fifo")).status().unwrap().success());
    scratch.pipe(&["check"]).says(2, &["C010", "fifo", "it is a FIFO"]);
    scratch.pipe(&["check", "fifo"]).says(2, &["C001", "`fifo`", "it is a FIFO"]);
    let mut child = spawn(scratch.command(&["check", "/dev/stdin"]).stdin(Stdio::piped()));
    child.stdin.take().unwrap().write_all(MADE.as_bytes()).unwrap();
    wait(child).says(0, &[]);
    scratch.write("plain.yaml", MADE);
    let pipe = scratch.command(&[]);
    let substituted = Command::new("bash")
        .args(["-c", "exec \"$0\" check <(sleep 0.2; cat plain.yaml)"])
        .arg(pipe.get_program())
        .current_dir(scratch.path(""))
        .output()
        .unwrap();
    assert_eq!(substituted.status.code(), Some(0), "{}", String::from_utf8_lossy(&substituted.stderr));
}

#[test]
fn overrides_take_variables_and_are_named_when_they_are_wrong() {
    let scratch = Scratch::new(MADE);
    let with = |set: &str| scratch.command(&["explain", "--set", set]).env("LANES", "3").output().unwrap();
    let explained = with("lanes=${LANES}");
    assert!(String::from_utf8_lossy(&explained.stdout).contains("lanes: 3"), "{explained:?}");
    for (set, words) in [
        ("lanes=${NOPE}", &["C006", "`NOPE` is not set", "--set lanes="][..]),
        ("lanes.x=1", &["C005", "--set lanes.x="]),
    ] {
        let ended = scratch.pipe(&["check", "--set", set]);
        ended.says(2, words);
        assert!(!ended.stderr.contains("pipeline.yaml:1:1"), "it does not stand there: {}", ended.stderr);
    }
}

#[test]
fn a_folder_with_a_link_to_nowhere_is_not_fine() {
    let scratch = Scratch::new(MADE);
    fs::create_dir(scratch.path("all")).unwrap();
    scratch.write("all/made.yaml", MADE);
    std::os::unix::fs::symlink("nowhere", scratch.path("all/x.yaml")).unwrap();
    scratch.pipe(&["check", "all"]).says(2, &["C001", "all/x.yaml", "No such file"]);
}

#[test]
fn large_constants_keep_their_digits() {
    let stage = |constants: &str| {
        MADE.replace("sinks:", &format!("stages:\n  s: {{ from: in, use: select, config: {{ columns: [a, b], constants: {constants} }} }}\nsinks:"))
            .replace("from: in, blackhole: {}", "from: s, file: { path: out }, format: json")
    };
    let scratch = Scratch::new(&stage(
        "{ a: 18446744073709551615, b: { value: 99999999999999999999, type: \"decimal128(38, 0)\" } }",
    ));
    scratch.run(&[]).says(0, &[]);
    assert_eq!(scratch.lines("out"), [r#"{"a":18446744073709551615,"b":"99999999999999999999"}"#]);
    let none = Scratch::new(&stage("{}").replace("columns: [a, b]", "drop: [n]").replace(
        "{ generate: { count: 1 } }",
        "{ file: { path: a }, format: { json: { columns: { n: int64 } } } }",
    ));
    none.write("a", "");
    none.pipe(&["check"]).says(2, &["P009", "no column is left"]);
}

#[test]
fn an_admin_variable_that_is_empty_is_not_set_and_a_short_key_says_what_is_needed() {
    let scratch = Scratch::new(MADE);
    let ended = scratch.command(&["run", "--until-end"]).env("PIPE_ADMIN", "").output().unwrap();
    assert_eq!(ended.status.code(), Some(0), "{}", String::from_utf8_lossy(&ended.stderr));
    let short = MADE.replace(
        "sinks:",
        "stages:\n  s: { from: in, use: redact, config: { key: short, rules: [{ column: path, action: hash }] } }\nsinks:",
    );
    let ended = Scratch::new(&short).pipe(&["check"]);
    ended.says(2, &["C005", "at least 16 characters are needed, and 5 were given"]);
}
