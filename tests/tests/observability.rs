//! What an operator sees: probes and metrics of a worker that runs, log lines, the dashboard and the alerts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::process::Child;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use pipe_engine::config::{Variables, load_text};
use pipe_engine::metrics::{Kind, Name};
use pipe_tests::command::{Ended, Scratch, signal, until};
use pipe_tests::http::{Answer, get};
use serde_json::Value;

/// Made-up records through a stage into two sinks, some of them broken.
const BUSY: &str = "
name: busy
sources:
  made:
    generate: { COUNT seed: 3, partitions: 4, bad_rows: 0.001 }
stages:
  kept:
    from: made
    use: filter
    config: { all: [{ column: status, op: lt, value: 500 }] }
sinks:
  gone:
    from: kept
    blackhole: {}
  out:
    from: kept
    file: { path: out }
    format: json
lanes: 2
delivery: { commit_interval: 20ms }
";

/// A worker with its log in a file.
struct Worker {
    scratch: Scratch,
    child: Child,
}

impl Worker {
    fn start(pipeline: &str, args: &[&str], vars: &[(&str, &str)]) -> Self {
        let scratch = Scratch::new(pipeline);
        let log = fs::File::create(scratch.path("log")).unwrap();
        let mut command = scratch.command(&[&["run", "--log-format", "json"], args].concat());
        command.envs(vars.iter().copied()).stderr(log);
        let child = command.spawn().unwrap();
        Self { scratch, child }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.scratch.path("log")).unwrap()
    }

    /// Where its admin server listens.
    fn address(&self) -> String {
        let said = |log: &str| {
            let line = log.lines().find(|line| line.contains("\"admin server\""))?.to_owned();
            Some(serde_json::from_str::<Value>(&line).ok()?["address"].as_str()?.to_owned())
        };
        until("the admin server listens", || said(&self.log()).is_some());
        said(&self.log()).unwrap()
    }

    fn wait(mut self) -> (Ended, Scratch) {
        let status = self.child.wait().unwrap();
        let stderr = self.log();
        assert!(!stderr.contains("panicked"), "{stderr}");
        (Ended { code: status.code().unwrap_or(-1), stdout: String::new(), stderr }, self.scratch)
    }
}

fn json(answer: &Answer) -> Value {
    serde_json::from_str(&answer.body).unwrap_or_else(|e| panic!("{answer:?}: {e}"))
}

/// Values by series, each line checked; a histogram's buckets never fall.
fn parse(text: &str) -> BTreeMap<String, f64> {
    let mut series = BTreeMap::new();
    let mut typed = BTreeSet::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# ") {
            let name = rest.split(' ').nth(1).unwrap_or_default();
            assert!(Name::ALL.iter().any(|n| n.as_str() == name), "{line}");
            if rest.starts_with("TYPE") {
                assert!(typed.insert(name.to_owned()), "twice: {line}");
            }
            continue;
        }
        let (key, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
        let value: f64 = value.parse().unwrap_or_else(|e| panic!("{line}: {e}"));
        assert!(series.insert(key.to_owned(), value).is_none(), "twice: {line}");
    }
    series
}

fn is_counter(series: &str) -> bool {
    let name = series.split('{').next().unwrap_or_default();
    name.ends_with("_total") || ["_bucket", "_count", "_sum"].iter().any(|tail| name.ends_with(tail))
}

#[test]
fn scrapes_under_load_never_go_back_and_the_sums_balance() {
    let pipeline = BUSY.replace("COUNT", "count: 400000,");
    let worker = Worker::start(&pipeline, &["--until-end", "--admin", "127.0.0.1:0"], &[]);
    let address = worker.address();
    // Clients that begin a request and never end it.
    let slow: Vec<TcpStream> = (0..20)
        .filter_map(|_| {
            let mut stream = TcpStream::connect(&address).ok()?;
            stream.write_all(b"GET /metrics HT").ok()?;
            Some(stream)
        })
        .collect();
    let (over, scrapes) = (AtomicBool::new(false), AtomicUsize::new(0));
    let ended = std::thread::scope(|scope| {
        for path in ["/metrics", "/metrics", "/readyz"] {
            let (over, scrapes, address) = (&over, &scrapes, &address);
            scope.spawn(move || {
                let mut before: BTreeMap<String, f64> = BTreeMap::new();
                while !over.load(Ordering::Relaxed) {
                    // When the worker has ended nobody answers.
                    let Ok(answer) = get(address, path) else { continue };
                    if path == "/readyz" {
                        assert!([200, 503].contains(&answer.status));
                        json(&answer);
                        continue;
                    }
                    assert!(answer.head.contains("text/plain; version=0.0.4"), "{}", answer.head);
                    let now = parse(&answer.body);
                    for (series, value) in before.iter().filter(|(series, _)| is_counter(series)) {
                        assert!(
                            now.get(series).is_some_and(|n| n >= value),
                            "{series} went back from {value}"
                        );
                    }
                    before = now;
                    scrapes.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let ended = worker.wait();
        over.store(true, Ordering::Relaxed);
        ended
    });
    drop(slow);
    let (ended, _scratch) = ended;
    ended.says(0, &[]);
    let summary = ended.summary();
    assert_eq!(summary["sources"][0]["read"], 400_000);
    let stage = &summary["stages"][0];
    let [rows_in, reached, filtered] = ["rows_in", "reached", "filtered"].map(|k| stage[k].as_u64().unwrap());
    assert_eq!(rows_in, reached + filtered);
    for sink in summary["sinks"].as_array().unwrap() {
        assert_eq!(sink["written"], reached, "{sink}");
    }
    assert!(scrapes.load(Ordering::Relaxed) > 10, "{scrapes:?} scrapes");
}

#[test]
fn probes_and_metrics_of_a_worker_that_runs_and_drains() {
    let columns = "{ status: int64, latency_ms: { type: utf8, accept: [numbers] } }";
    let format =
        format!("bad_rows: 0.001 }}\n    format: {{ json: {{ unknown: keep, columns: {columns} }} }}");
    let pipeline = BUSY.replace("COUNT", "rate: 20000,").replace("bad_rows: 0.001 }", &format);
    let worker = Worker::start(&pipeline, &[], &[("PIPE_ADMIN", "127.0.0.1:0")]);
    let address = worker.address();
    let ask = |path: &str| get(&address, path).unwrap();
    until("it is ready", || ask("/readyz").status == 200);
    assert_eq!((ask("/healthz").status, ask("/livez").status, ask("/nothing").status), (200, 200, 404));
    let ready = json(&ask("/readyz"));
    assert_eq!((&ready["pipeline"], &ready["phase"]), (&"busy".into(), &"running".into()));
    let nodes = ready["nodes"].as_array().unwrap();
    for (role, name) in
        [("source", "made"), ("stage", "kept"), ("sink", "out"), ("dead letters", "dead letters")]
    {
        assert!(nodes.iter().any(|n| n["role"] == role && n["name"] == name), "{role} {name}: {ready}");
    }
    let read = "pipe_source_read_records_total{pipeline=\"busy\",source=\"made\"}";
    let value = |series: &str| parse(&ask("/metrics").body).get(series).copied().unwrap_or(-1.0);
    until("records are read and dead letters written", || {
        value(read) > 5_000.0
            && value("pipe_node_dead_letters_total{pipeline=\"busy\",node=\"made\",kind=\"decode\"}") > 0.0
    });
    let metrics = ask("/metrics").body;
    let seen: BTreeSet<&str> =
        metrics.lines().filter_map(|l| l.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    // Of a source without a group there are no partitions.
    let expected = Name::ALL.iter().filter(|n| !n.as_str().contains("_partition_"));
    let missing: Vec<&str> = expected.map(|n| n.as_str()).filter(|n| !seen.contains(n)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let series = parse(&metrics);
    let of_stage = |name: &str| series[&format!("{name}{{pipeline=\"busy\",stage=\"kept\"}}")];
    let parts = ["guest", "copy_in", "copy_out", "validate"]
        .map(|p| of_stage(&format!("pipe_stage_{p}_seconds_total")));
    assert!(parts[0] > 0.0 && parts.iter().all(|p| *p < 60.0), "{parts:?} seconds, not nanoseconds");
    let calls = of_stage("pipe_stage_call_duration_seconds_sum");
    assert!(parts.iter().sum::<f64>() <= calls * 1.01 + 0.01, "{parts:?} of {calls}");
    signal(&worker.child, "TERM");
    let (ended, _) = worker.wait();
    ended.says(0, &["\"done\""]);
}

#[test]
fn a_taken_port_is_an_error_where_it_was_asked_for_and_none_where_not() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let pipeline = BUSY.replace("COUNT", "count: 10,");
    let scratch = Scratch::new(&pipeline);
    scratch.run(&["--admin", &address]).says(1, &["X007", &address, "--admin"]);
    assert!(!scratch.path("out").exists(), "nothing was opened");
    scratch.run(&["--admin", "nonsense"]).says(2, &["host:port"]);
    // Whoever has the default port, this test or another process, the worker goes on.
    let _default = TcpListener::bind("127.0.0.1:9464");
    scratch.run(&[]).says(0, &["no admin server", "127.0.0.1:9464"]);
    let off = Scratch::new(&pipeline).run(&["--admin", "off"]);
    off.says(0, &[]);
    assert!(!off.stderr.contains("admin server"), "{}", off.stderr);
}

#[test]
fn a_line_of_a_stage_names_pipeline_stage_lane_and_origin() {
    let guest = pipe_tests::root().join("tests/guests/prebuilt/hostile.wasm");
    let pipeline = format!(
        "
name: noisy
sources:
  numbers:
    file: {{ path: in.jsonl }}
    format: {{ json: {{ columns: {{ n: int64 }} }} }}
stages:
  flood:
    from: numbers
    wasm: {}
    config: {{ mode: log-flood }}
  fails:
    from: numbers
    wasm: {}
    config: {{ mode: trap }}
sinks:
  out:
    from: [flood.out, flood.other, fails.out, fails.other]
    blackhole: {{}}
",
        guest.display(),
        guest.display()
    );
    let scratch = Scratch::new(&pipeline);
    scratch.write("in.jsonl", "{\"n\":1}\n{\"n\":2}\n");
    let mut command = scratch.command(&["run", "--until-end", "--admin", "off"]);
    let ended: Ended = command.env("RUST_LOG", "info,pipe::stage=debug").output().unwrap().into();
    ended.says(0, &[]);
    let lines: Vec<Value> = ended.stderr.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let about = |message: &str| {
        let mut found =
            lines.iter().filter(|l| l["message"].as_str().is_some_and(|m| m.starts_with(message)));
        found.next().unwrap_or_else(|| panic!("no `{message}` in:\n{}", ended.stderr))
    };
    for (message, stage) in [("line 0", "flood"), ("a batch failed", "fails")] {
        let line = about(message);
        assert_eq!(line["pipeline"], "noisy", "{line}");
        assert_eq!((&line["stage"], &line["lane"]), (&stage.into(), &0.into()), "{line}");
        assert!(line["topic"].as_str().unwrap().ends_with("in.jsonl"), "{line}");
        assert_eq!((&line["partition"], &line["offset"]), (&0.into(), &0.into()), "{line}");
    }
    assert!(about("log lines of the stage were suppressed")["lines"].as_u64().unwrap() > 1_000);
    assert!(lines.iter().all(|l| l["pipeline"] == "noisy" || l["message"] != "starting"));
}

/// Metrics of an expression, each with the labels that stand in braces behind it, and all other labels that it names.
fn named(expression: &str) -> (Vec<(String, Vec<String>)>, Vec<String>) {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut metrics = Vec::new();
    let mut labels = Vec::new();
    let mut rest = expression;
    while let Some(at) = rest.find(is_word) {
        let word: String = rest[at..].chars().take_while(|c| is_word(*c)).collect();
        rest = &rest[at + word.len()..];
        if word.starts_with("pipe_") || word.starts_with("process_") {
            let mut matched = Vec::new();
            if let Some(inside) = rest.strip_prefix('{') {
                let end = inside.find('}').unwrap();
                // A value holds no comma that is followed by a label here.
                matched = inside[..end]
                    .split(',')
                    .filter_map(|part| Some(part.split_once(['=', '!'])?.0.trim().to_owned()))
                    .collect();
                rest = &inside[end..];
            }
            metrics.push((word, matched));
        } else if ["by", "on", "without", "ignoring", "group_left", "label_values"].contains(&word.as_str()) {
            let list =
                rest.trim_start().strip_prefix('(').and_then(|l| l.split(')').next()).unwrap_or_default();
            if word != "label_values" {
                labels.extend(list.split(',').map(|label| label.trim().to_owned()));
                rest = &rest[rest.find(')').unwrap()..];
            }
        }
    }
    (metrics, labels)
}

fn metric(word: &str) -> Name {
    let exact = |text: &str| Name::ALL.iter().find(|n| n.as_str() == text).copied();
    let of_histogram = ["_bucket", "_sum", "_count"]
        .iter()
        .find_map(|tail| exact(word.strip_suffix(tail)?).filter(|n| n.kind() == Kind::Histogram));
    let found = exact(word).filter(|n| n.kind() != Kind::Histogram).or(of_histogram);
    found.unwrap_or_else(|| panic!("`{word}` is no metric, or a histogram without its part"))
}

/// Checks an expression and the labels that a text about its result shows; returns the metrics that it uses.
fn check(expression: &str, shown: &[String]) -> BTreeSet<Name> {
    const OF_PROMETHEUS: &[&str] = &["instance", "job", "le"];
    let (metrics, mut labels) = named(expression);
    assert!(!metrics.is_empty(), "no metric in {expression}");
    labels.extend(shown.iter().cloned());
    let mut used = BTreeSet::new();
    let mut known: BTreeSet<&str> = OF_PROMETHEUS.iter().copied().collect();
    for (word, matched) in &metrics {
        let name = metric(word);
        known.extend(name.about().labels());
        for label in matched {
            let has =
                name.about().labels().contains(&label.as_str()) || OF_PROMETHEUS.contains(&label.as_str());
            assert!(has, "`{word}` has no label `{label}`: {expression}");
        }
        used.insert(name);
    }
    for label in &labels {
        assert!(known.contains(label.as_str()), "label `{label}` of no metric in {expression}");
    }
    used
}

/// Names between `{{` and `}}`.
fn shown(text: &str) -> Vec<String> {
    let parts = text.split("{{").skip(1).filter_map(|rest| rest.split("}}").next());
    parts.map(|name| name.trim().trim_start_matches("$labels.").to_owned()).collect()
}

#[test]
fn the_dashboard_and_the_alerts_use_what_exists_and_all_that_matters() {
    let path = pipe_tests::root().join("docs/grafana/pipe-dashboard.json");
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let mut used = BTreeSet::new();
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    assert_eq!(variables[0]["type"], "datasource");
    for variable in &variables[1..] {
        used.extend(check(variable["definition"].as_str().unwrap(), &[]));
    }
    let mut ids = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "an id comes twice");
        let targets = panel["targets"].as_array();
        assert_eq!(targets.is_none(), panel["type"] == "row", "{panel}");
        for target in targets.into_iter().flatten() {
            assert_eq!(target["datasource"]["uid"], "${datasource}");
            let expression = target["expr"].as_str().unwrap();
            used.extend(check(expression, &shown(target["legendFormat"].as_str().unwrap())));
        }
    }
    let path = pipe_tests::root().join("docs/prometheus-alerts.yaml");
    let text = fs::read_to_string(&path).unwrap();
    let variables = Variables { get: &|_| None, base: path.parent().unwrap() };
    let alerts = load_text(&path, &text, &Value::Bool(true), &[], &variables).unwrap().document.value;
    let rules = alerts["groups"][0]["rules"].as_array().unwrap();
    assert!(rules.len() >= 8, "{alerts}");
    for rule in rules {
        let told = shown(&rule["annotations"].to_string());
        used.extend(check(rule["expr"].as_str().unwrap(), &told));
        assert!(
            rule["labels"]["severity"].is_string() && rule["annotations"]["summary"].is_string(),
            "{rule}"
        );
    }
    // Detail that a dashboard may leave out; all else is somewhere.
    const LEFT_OUT: &[Name] = &[
        Name::LastCommit,
        Name::TraceInvalidHeaders,
        Name::TraceDroppedSpans,
        Name::DeadLettersReceived,
        Name::SourceDecoded,
        Name::SourceDeadLettered,
        Name::SourceJoined,
        Name::SourceJumped,
        Name::PartitionEnd,
        Name::EdgeSentRows,
        Name::EdgeSentBytes,
        Name::EdgeDroppedRows,
        Name::StageDeadLettered,
        Name::StageOut,
        Name::SinkPending,
        Name::SinkReceived,
        Name::SinkDeadLettered,
        Name::ProcessMemoryPeak,
        Name::ProcessThreads,
        Name::ProcessFiles,
        Name::ProcessStart,
    ];
    let missing: Vec<_> =
        Name::ALL.iter().filter(|n| !used.contains(n) && !LEFT_OUT.contains(n)).map(|n| n.as_str()).collect();
    assert!(missing.is_empty(), "neither on the dashboard nor in an alert: {missing:?}");
    let both: Vec<_> = LEFT_OUT.iter().filter(|n| used.contains(n)).collect();
    assert!(both.is_empty(), "used after all: {both:?}");
}

#[test]
fn the_check_of_expressions_finds_what_does_not_exist() {
    let fails = |expression: &str| {
        let expression = expression.to_owned();
        std::panic::catch_unwind(move || check(&expression, &[])).is_err()
    };
    assert!(fails("pipe_no_such_total"));
    assert!(fails("pipe_commit_duration_seconds"), "a histogram without its part");
    assert!(fails("pipe_commits_total{stage=\"a\"}"));
    assert!(fails("sum by (edge) (pipe_commits_total)"));
    assert!(fails("pipe_commits_total_sum"));
    assert!(!fails("sum by (pipeline, le) (rate(pipe_commit_duration_seconds_bucket{instance=\"a\"}[5m]))"));
}
