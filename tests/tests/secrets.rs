//! Secrets are planted wherever a pipeline can hold one, and everything that a run prints, serves or leaves behind is
//! searched for them.
//!
//! To plant another: a line in [`PLANTED`], and its place in a pipeline below.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use pipe_tests::command::{Scratch, signal, until};
use pipe_tests::http::get;

/// Each secret and how the pipeline gets it: a file, or a variable of the environment.
const PLANTED: &[(&str, Plant)] = &[
    ("quail-of-the-password-file", Plant::File("password")),
    ("heron-of-the-key-password", Plant::Variable("SSL_KEY_PASSWORD")),
    ("stork-of-the-client-secret", Plant::Variable("OAUTH_CLIENT")),
    ("crane-in-the-pipeline-file", Plant::Literal),
    ("egret-of-a-stage's-\"config\"", Plant::File("stage-value")),
    ("ibis-of-a-named-variable", Plant::Variable("API_TOKEN")),
    ("finch-that-is-granted", Plant::Literal),
    ("MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBK", Plant::File("key.pem")),
];

enum Plant {
    File(&'static str),
    Variable(&'static str),
    Literal,
}

const KEY: &str =
    "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASCBK\n-----END PRIVATE KEY-----\n";

/// A cluster that is not there, with everything that opens one.
const CLUSTER: &str = r#"
name: cluster
sources:
  in:
    kafka:
      brokers: "127.0.0.1:9"
      topics: [a]
      properties:
        security.protocol: SASL_SSL
        sasl.mechanism: PLAIN
        sasl.username: someone
        sasl.password: "${file:password}"
        ssl.key.password: "${SSL_KEY_PASSWORD}"
        ssl.keystore.password: "${OAUTH_CLIENT}"
        debug: all
    format: raw
sinks:
  out:
    from: in
    blackhole: {}
"#;

/// A key that is none: librdkafka refuses to make a client.
const BAD_KEY: &str = r#"
name: bad-key
sources:
  in:
    kafka:
      brokers: "127.0.0.1:9"
      topics: [a]
      properties: { security.protocol: SSL, ssl.key.pem: "${file:key.pem}", ssl.keystore.password: crane-in-the-pipeline-file }
    format: raw
sinks:
  out:
    from: in
    blackhole: {}
"#;

/// A stage that is given secrets, and a source that makes dead letters.
const STAGE: &str = r#"
name: stage
sources:
  made:
    generate: { rate: 500, seed: 1, bad_rows: 0.1 }
stages:
  kept:
    from: made
    use: filter
    config: { any: [{ column: path, op: eq, value: "${file:stage-value}" }, { column: path, op: ne, value: "${API_TOKEN}" }] }
    grants: { env: { SERVICE_PASSWORD: finch-that-is-granted, OTHER: "${file:password}" } }
sinks:
  out:
    from: kept
    file: { path: out }
    format: json
delivery: { commit_interval: 50ms }
"#;

/// A stage that refuses each row with what it was granted.
const TELLS: &str = r#"
name: tells
sources:
  in:
    file: { path: in.jsonl }
    format: { json: { columns: { n: int64 } } }
stages:
  tells:
    from: in
    wasm: GUEST
    config: { script: "env;read /data password" }
    grants: { env: { A: "${file:password}", B: "${file:stage-value}", PLAIN: wren-that-is-no-secret }, folders: { /data: . } }
sinks:
  out:
    from: tells
    blackhole: {}
"#;

/// Secrets where they do not belong, so that messages are about them.
const WRONG: &str = r#"
name: wrong
sources:
  in:
    kafka:
      brokers: "127.0.0.1:9"
      topics: ["${file:password} "]
      properties: { "sasl.oauthbearer.method": "${OAUTH_CLIENT}", ssl.key.password: "${SSL_KEY_PASSWORD}", enable.auto.commit: "${API_TOKEN}" }
    format: "${file:stage-value}"
stages:
  kept:
    from: "${API_TOKEN}"
    use: filter
    config: "${file:stage-value}"
    on_failure: "${file:password}"
sinks:
  out:
    from: kept
    file: { path: out }
    format: json
lanes: "${file:password}"
"#;

fn scratch(pipeline: &str) -> Scratch {
    let scratch = Scratch::new(pipeline);
    for (secret, plant) in PLANTED {
        if let Plant::File(name) = plant {
            let text = if *name == "key.pem" { KEY.to_owned() } else { format!("{secret}\n") };
            scratch.write(name, text);
        }
    }
    scratch
}

fn command(scratch: &Scratch, args: &[&str]) -> Command {
    let mut command = scratch.command(args);
    command.env("RUST_BACKTRACE", "1").env("RUST_LOG", "trace");
    for (secret, plant) in PLANTED {
        if let Plant::Variable(name) = plant {
            command.env(name, secret);
        }
    }
    command
}

/// How a secret may look: as it is, in JSON, as Rust quotes it.
fn looks(secret: &str) -> Vec<String> {
    let mut looks = vec![secret.to_owned(), secret.replace('"', "\\\""), format!("{secret:?}")];
    looks.dedup();
    looks
}

/// Fails when a secret is in it.
#[track_caller]
fn search(place: &str, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for (secret, _) in PLANTED {
        for look in looks(secret) {
            if let Some(at) = text.find(&look) {
                let from = text.floor_char_boundary(at.saturating_sub(200));
                let to = text.ceil_char_boundary((at + look.len() + 100).min(text.len()));
                panic!("{place} shows `{look}`:\n..{}..", &text[from..to]);
            }
        }
    }
}

#[track_caller]
fn search_output(place: &str, output: &Output) {
    search(&format!("standard output of {place}"), &output.stdout);
    search(&format!("standard error of {place}"), &output.stderr);
}

/// Names and contents of everything in a folder but the files that hold the secrets.
fn search_folder(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        search("a file's name", name.as_bytes());
        if path.is_dir() {
            search_folder(&path);
        } else if name != "pipeline.yaml"
            && !PLANTED.iter().any(|(_, p)| matches!(p, Plant::File(f) if *f == name))
        {
            search(&path.display().to_string(), &fs::read(&path).unwrap());
        }
    }
}

#[test]
fn the_search_finds_a_secret() {
    for (secret, _) in PLANTED {
        let found =
            |text: String| std::panic::catch_unwind(move || search("a test", text.as_bytes())).is_err();
        assert!(found(format!("a {secret} b")) && found(serde_json::json!({ "a": secret }).to_string()));
    }
}

#[test]
fn commands_that_read_the_file_do_not_show_them() {
    for (pipeline, code) in [(CLUSTER, 0), (STAGE, 0), (BAD_KEY, 0), (WRONG, 2)] {
        let scratch = scratch(pipeline);
        let commands: &[&[&str]] = &[
            &["check"],
            &["check", "--format", "pretty"],
            &["check", "--format", "json"],
            &["check", "--set", "lanes=\"crane-in-the-pipeline-file\"", "--set", "no.such=1"],
            &["explain"],
            &["explain", "--mermaid"],
            &["explain", "--dot"],
        ];
        for args in commands {
            let output = command(&scratch, args).output().unwrap();
            // What a user types on the command line is in the user's hands: its echo is no leak.
            let echo = args.iter().any(|arg| arg.contains("crane"));
            if !echo {
                let expected = output.status.code();
                assert_eq!(expected, Some(code), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
                search_output(&args.join(" "), &output);
            }
        }
        search_folder(&scratch.path("."));
    }
    let scratch = scratch(CLUSTER);
    for args in [
        &["schema"] as &[&str],
        &["--help"],
        &["run", "--help"],
        &["completions", "bash"],
        &["run", "--nonsense"],
    ] {
        search_output(&args.join(" "), &command(&scratch, args).output().unwrap());
    }
}

#[test]
fn a_cluster_that_fails_does_not_show_them() {
    std::thread::scope(|scope| {
        for (pipeline, format) in [(CLUSTER, "json"), (CLUSTER, "text"), (BAD_KEY, "json"), (BAD_KEY, "text")]
        {
            scope.spawn(move || {
                let scratch = scratch(pipeline);
                let args = ["run", "--admin", "off", "--log-format", format];
                let output = command(&scratch, &args).output().unwrap();
                let said = String::from_utf8_lossy(&output.stderr);
                assert_eq!(output.status.code(), Some(1), "{said}");
                // The dead letters are opened before the source.
                assert!(said.contains("K004"), "{said}");
                if pipeline == CLUSTER {
                    assert!(said.lines().count() > 20, "librdkafka's own lines are there: {said}");
                }
                search_output(&format!("a run with {format}"), &output);
                search_folder(&scratch.path("."));
            });
        }
    });
}

#[test]
fn a_worker_that_runs_does_not_show_them() {
    for format in ["json", "text"] {
        let scratch = scratch(STAGE);
        let cache = scratch.path("cache");
        let log = fs::File::create(scratch.path("log")).unwrap();
        let args = ["run", "--admin", "127.0.0.1:0", "--log-format", format];
        let mut command = command(&scratch, &args);
        let child = command.env("PIPE_CACHE", &cache).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let address = || {
            let log = fs::read_to_string(scratch.path("log")).unwrap();
            let line = log.lines().find(|l| l.contains("admin server") && l.contains("127.0.0.1:"))?;
            let rest = &line[line.find("127.0.0.1:")?..];
            Some(rest.split(|c: char| !"0123456789.:".contains(c)).next()?.to_owned())
        };
        until("the admin server listens", || address().is_some());
        let address = address().unwrap();
        until("dead letters are written", || {
            get(&address, "/metrics").is_ok_and(|a| a.body.contains("kind=\"decode\""))
        });
        for path in ["/", "/metrics", "/readyz", "/livez", "/healthz", "/nothing"] {
            let answer = get(&address, path).unwrap();
            search(path, answer.head.as_bytes());
            search(path, answer.body.as_bytes());
        }
        signal(&child, "TERM");
        let output = child.wait_with_output().unwrap();
        let log = fs::read(scratch.path("log")).unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&log));
        search_output("a run", &output);
        assert!(scratch.path("stage.dead-letters.jsonl").exists() && cache.exists());
        // The log, the dead letters, what the sink wrote, the state folder, the cache of compiled stages.
        search_folder(&scratch.path("."));
    }
}

#[test]
fn a_stage_that_tells_what_it_was_granted_tells_no_dead_letter() {
    let guest = pipe_tests::root().join("tests/guests/prebuilt/grants.wasm");
    let scratch = scratch(&TELLS.replace("GUEST", &guest.display().to_string()));
    // A record is kept as it was, whatever it holds.
    let record = "{\"n\":2,\"own\":\"quail-of-the-password-file\"}";
    scratch.write("in.jsonl", format!("{{\"n\":1}}\n{record}\n"));
    let run = command(&scratch, &["run", "--until-end", "--admin", "off"]).output().unwrap();
    assert_eq!(run.status.code(), Some(0), "{}", String::from_utf8_lossy(&run.stderr));
    search_output("a run", &run);
    let letters = scratch.letters("tells");
    let message = |at: usize| letters[at]["message"].as_str().unwrap();
    // The guest did tell: what is no secret is there, and a secret's place is marked.
    assert!(message(0).contains("(\"PLAIN\", \"wren-that-is-no-secret\")"), "{}", message(0));
    assert_eq!((message(0).matches("***").count(), message(1)), (2, "***\n"));
    (0..2).for_each(|at| search("a message", message(at).as_bytes()));
    assert_eq!(letters[1]["value"], record);
    for args in [&["dead-letters", "list"][..], &["dead-letters", "show", "pipeline.yaml", "1"]] {
        let shown = command(&scratch, args).output().unwrap();
        assert!(String::from_utf8_lossy(&shown.stdout).contains("wren-that-is-no-secret"), "{args:?}");
        search_output(&args.join(" "), &shown);
    }
}

#[test]
fn a_secret_that_is_longer_than_a_message_or_holds_control_characters_is_hidden_whole() {
    let long = "long-".repeat(2_000) + "end";
    for secret in [long.as_str(), "bell\u{7}-and-\u{200b}-a\"quote\\back", "tab\there-and-there"] {
        for yaml in [
            // The stage's own words, and its log.
            "column: \"${file:it}\", op: gt, value: 1",
            // Those of the check of its configuration.
            "column: n, op: \"${file:it}\", value: 1",
        ] {
            let scratch = Scratch::new(&format!(
                "name: long\nsources:\n  in: {{ file: {{ path: in.jsonl }}, format: {{ json: {{ columns: {{ n: int64 }} }} }} }}\n\
                 stages:\n  s: {{ from: in, use: filter, config: {{ all: [{{ {yaml} }}] }} }}\n\
                 sinks:\n  out: {{ from: s, stdout: {{}} }}\n"
            ));
            scratch.write("in.jsonl", "{\"n\":1}\n");
            scratch.write("it", secret);
            for args in
                [&["check"][..], &["check", "--format", "json"], &["explain"], &["run", "--until-end"]]
            {
                let output = scratch.command(args).output().unwrap();
                assert_eq!(output.status.code(), Some(2), "{args:?} {yaml}");
                let said = String::from_utf8_lossy(&output.stderr);
                let shows = ["long-long", "bell", "quote", "here-and"].iter().any(|part| said.contains(part));
                assert!(!shows, "{args:?} {yaml}: {}", &said[..said.floor_char_boundary(600)]);
            }
        }
    }
}
