//! Each block of YAML of every page is a pipeline, or a part that fits into one: `pipe check` takes it.

use std::fs;
use std::path::{Path, PathBuf};

use pipe_engine::config::value_of;
use pipe_tests::command::Scratch;
use pipe_tests::root;
use serde_json::{Map, Value, json};

/// Columns that the parts name: a part on a page that names another one needs it here.
const COLUMNS: &str = r#"{
    "line": "utf8", "status": "int64", "path": "utf8", "ts": "timestamp(ms, UTC)", "items": "list(utf8)",
    "payload": "utf8", "user_id": "utf8", "card": "utf8", "phone": "utf8", "debug": "utf8", "message": "utf8",
    "internal": "utf8", "at": "utf8", "customer": "utf8", "tenant": "utf8", "id": "int64", "amount": "utf8", "column": "int64",
    "user": { "country": "utf8" }, "attributes": "map(utf8, utf8)"
}"#;

/// Pages that are not kept up to date: decisions stand as they were written.
fn is_historical(page: &Path) -> bool {
    page.components().any(|part| part.as_os_str() == "adr")
}

/// Every page of the tree, below folders that hold what was built too.
fn pages() -> Vec<PathBuf> {
    fn below(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let name = entry.file_name().unwrap().to_string_lossy().into_owned();
            if entry.is_dir() && !name.starts_with('.') && name != "target" && name != "node_modules" {
                below(&entry, found);
            } else if name.ends_with(".md") && !is_historical(&entry) {
                found.push(entry);
            }
        }
    }
    let mut found = Vec::new();
    below(&root().canonicalize().unwrap(), &mut found);
    found.sort();
    found
}

/// The blocks of YAML of a page, each with its line.
fn blocks(page: &str) -> Vec<(usize, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (at, line) in page.lines().enumerate() {
        match (&mut open, line.trim()) {
            (None, "```yaml" | "```yml") => open = Some((at + 2, String::new())),
            (Some(_), "```") => blocks.extend(open.take()),
            (Some((_, text)), _) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, _) => {}
        }
    }
    assert!(open.is_none(), "a block is not closed");
    blocks
}

/// A folder with what the examples read.
fn scratch() -> Scratch {
    let scratch = Scratch::new("");
    for folder in ["requests", "data", "geo-data", "secrets"] {
        fs::create_dir(scratch.path(folder)).unwrap();
    }
    scratch.write("requests/1.jsonl", "{}\n");
    scratch.write("data/flights.jsonl", "{}\n");
    scratch.write("redact-key", "sixteen bytes or more");
    scratch.write("secrets/username", "name");
    scratch.write("secrets/password", "word");
    let guest = root().join("tests/guests/prebuilt/wasi.wasm");
    fs::copy(guest, scratch.path("geo.wasm")).unwrap();
    scratch
}

/// A part as a whole pipeline: what it lacks is put around it.
fn whole(part: &Value) -> Value {
    let part = part.as_object().expect("a mapping");
    let mut pipeline = Map::new();
    if part.contains_key("use") || part.contains_key("wasm") {
        let mut stage = part.clone();
        stage.entry("from").or_insert(json!("in"));
        pipeline.insert("stages".into(), json!({ "part": stage }));
    } else if let Some(format) = part.get("format") {
        // A source learns columns that are not declared from its files, so such a format is shown at a sink.
        let declared = format.as_object().is_some_and(|map| map.values().any(|o| o.get("columns").is_some()));
        let (section, path, from) = match declared {
            true => ("sources", "requests/1.jsonl", None),
            false => ("sinks", "out", Some("lines")),
        };
        let mut node = part.clone();
        node.insert("file".into(), json!({ "path": path }));
        node.extend(from.map(|from| ("from".to_owned(), json!(from))));
        pipeline.insert(section.into(), json!({ "part": node }));
    } else {
        pipeline = part.clone();
    }
    // What is promised to Kafka needs Kafka at both ends.
    let kafka = ["delivery", "dead_letters", "tracing"].iter().any(|key| part.contains_key(*key));
    let source = |name: &str| {
        // One column of text, which every format can hold.
        if name == "lines" {
            return json!({ "file": { "path": "requests/1.jsonl" }, "format": { "raw": { "type": "utf8" } } });
        }
        let columns: Value = serde_json::from_str(COLUMNS).unwrap();
        let format = json!({ "json": { "columns": columns } });
        match kafka {
            true => json!({ "kafka": { "brokers": "b:9092", "topics": ["in"] }, "format": format }),
            false => json!({ "file": { "path": "requests/1.jsonl" }, "format": format }),
        }
    };
    pipeline.entry("name").or_insert(json!("page"));
    let names = |pipeline: &Map<String, Value>, section: &str| -> Vec<String> {
        pipeline
            .get(section)
            .and_then(Value::as_object)
            .map_or(Vec::new(), |map| map.keys().cloned().collect())
    };
    let known = [names(&pipeline, "sources"), names(&pipeline, "stages")].concat();
    let mut read = Vec::new();
    for section in ["stages", "sinks"] {
        for node in pipeline.get(section).and_then(Value::as_object).into_iter().flat_map(Map::values) {
            read.extend(node["from"].as_str().map(str::to_owned));
        }
    }
    let absent: Vec<String> = read.iter().filter(|name| !known.contains(name)).cloned().collect();
    let sources = pipeline.entry("sources").or_insert(json!({})).as_object_mut().unwrap();
    let made: Vec<_> = absent.into_iter().map(|name| (name.clone(), source(&name))).collect();
    sources.extend(made);
    if sources.is_empty() {
        sources.insert("in".into(), source("in"));
    }
    let all = [names(&pipeline, "sources"), names(&pipeline, "stages")].concat();
    let sinks = pipeline.entry("sinks").or_insert(json!({})).as_object_mut().unwrap();
    for name in all.iter().filter(|name| !read.contains(name)) {
        let sink = match kafka {
            true => json!({ "from": name, "kafka": { "brokers": "b:9092", "topic": "out" } }),
            false => json!({ "from": name, "blackhole": {} }),
        };
        sinks.insert(format!("{name}_out"), sink);
    }
    Value::Object(pipeline)
}

#[test]
fn every_block_of_yaml_of_every_page_is_taken() {
    let scratch = scratch();
    let mut checked = 0;
    let mut wrong = Vec::new();
    for page in pages() {
        let place = page.strip_prefix(root().canonicalize().unwrap()).unwrap().display().to_string();
        for (line, text) in blocks(&fs::read_to_string(&page).unwrap()) {
            checked += 1;
            let text = text.replace("/run/secrets/", "");
            let Some(value) = value_of(&text) else {
                wrong.push(format!("{place}:{line}: this is no YAML, or a key is there twice:\n{text}"));
                continue;
            };
            let pipeline = if value.get("name").is_some() { text } else { whole(&value).to_string() };
            scratch.write("pipeline.yaml", &pipeline);
            let mut command = scratch.command(&["check"]);
            let ended = command.env("REGION", "eu").output().unwrap();
            let said = String::from_utf8_lossy(&ended.stderr).into_owned();
            // Ports beside the first one are known to the stage alone, so nothing reads them here.
            let ports = |line: &str| line.contains("P003: nothing reads the port");
            let errors = said.lines().filter(|line| line.contains(": error ") && !ports(line)).count();
            if errors > 0 || (!ended.status.success() && !said.contains("P003")) {
                wrong.push(format!("{place}:{line}:\n{said}\n{pipeline}"));
            }
        }
    }
    assert!(checked > 30, "{checked} blocks");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
