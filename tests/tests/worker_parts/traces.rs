//! Traces: what comes in headers goes on in headers, and what a collector is sent fits it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value as Any};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use pipe_tests::kafka::{self, Broker, unique};
use prost::Message as _;
use serde_json::Value;

use super::{End, LONG, Pipeline, Record, Writer, copy, each, numbers, records};

/// How a collector behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Takes,
    Refuses,
    NeverAnswers,
}

/// A collector on a loopback port, until the end of the process.
struct Collector {
    port: u16,
    requests: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
}

impl Collector {
    fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&requests);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let kept = Arc::clone(&kept);
                std::thread::spawn(move || serve(stream, manner, &kept));
            }
        });
        Self { port, requests }
    }

    fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn spans(&self) -> Vec<Span> {
        let requests = self.requests.lock().unwrap();
        let resources = requests.iter().flat_map(|r| &r.resource_spans);
        resources.flat_map(|r| &r.scope_spans).flat_map(|s| &s.spans).cloned().collect()
    }
}

/// Requests of one connection.
fn serve(stream: TcpStream, manner: Manner, kept: &Mutex<Vec<ExportTraceServiceRequest>>) -> Option<()> {
    stream.set_read_timeout(Some(LONG)).ok()?;
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut writer = stream;
    loop {
        let (mut line, mut length) = (String::new(), 0);
        reader.read_line(&mut line).ok().filter(|&n| n > 0)?;
        assert!(line.starts_with("POST /v1/traces "), "{line}");
        while line != "\r\n" {
            line.clear();
            reader.read_line(&mut line).ok()?;
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let status = match manner {
            Manner::Takes => {
                kept.lock().unwrap().push(ExportTraceServiceRequest::decode(&body[..]).unwrap());
                "200 OK"
            }
            Manner::Refuses => "500 Internal Server Error",
            Manner::NeverAnswers => continue,
        };
        write!(writer, "HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").ok()?;
    }
}

fn attribute<'a>(all: &'a [KeyValue], key: &str) -> Option<&'a Any> {
    all.iter().find(|kv| kv.key == key)?.value.as_ref()?.value.as_ref()
}

fn text(all: &[KeyValue], key: &str) -> String {
    match attribute(all, key) {
        Some(Any::StringValue(text)) => text.clone(),
        other => panic!("{key} is {other:?}"),
    }
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The line about spans at the end of a worker's log.
fn spans_line(end: &End) -> Value {
    let mut lines = end.log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.rfind(|line| line["message"] == "spans").unwrap_or_else(|| panic!("{}", end.log))
}

type Headers = Vec<(String, Option<Vec<u8>>)>;

fn parent(trace: u8, span: u8, flags: &str) -> String {
    format!("00-{}-{}-{flags}", format!("{trace:02x}").repeat(16), format!("{span:02x}").repeat(8))
}

fn given(trace: impl Into<Vec<u8>>) -> Headers {
    vec![("traceparent".into(), Some(trace.into()))]
}

/// Headers by number of the record that has them: contexts, and garbage.
fn contexts() -> BTreeMap<i64, Headers> {
    let state = |text: &str| ("tracestate".to_owned(), Some(text.as_bytes().to_vec()));
    let own = ("own".to_owned(), Some(vec![0xff, 0]));
    BTreeMap::from([
        (3, [given(parent(0xa3, 0xb3, "01")), vec![own, state("v=1,w=2")]].concat()),
        (4, given(parent(0xa4, 0xb4, "00"))),
        (13, given(parent(0xad, 0xbd, "01"))),
        (20, [given(parent(0xb0, 0xc0, "01")), vec![state("broken")]].concat()),
        (21, given(format!("{}-and-more", parent(0xb1, 0xc1, "01").replacen("00", "cc", 1)))),
        (22, [vec![state("late=1")], given(parent(0xb2, 0xc2, "00"))].concat()),
        (30, given(parent(0xa1, 0xb1, "01").to_uppercase())),
        (31, [given(parent(0xa1, 0xb1, "01")), given(parent(0xa1, 0xb1, "01"))].concat()),
        (32, vec![("traceparent".into(), None)]),
        (33, given(vec![b'0'; 10_000])),
        (34, given([0xff, 0xfe])),
        (35, given(parent(0, 0xb1, "01"))),
        (36, given(parent(0xa1, 0, "01"))),
        (37, given(parent(0xa1, 0xb1, "01").replacen("00", "ff", 1))),
        (38, [given(""), vec![state("orphan=1")]].concat()),
    ])
}

const RECORDS: i64 = 200;
const GARBAGE: std::ops::Range<i64> = 30..39;
/// Traps the stage.
const BAD: i64 = 13;

fn produce(broker: &Broker, topic: &str) {
    let (writer, contexts) = (Writer::new(broker), contexts());
    for n in 0..RECORDS {
        let headers = contexts.get(&n).cloned().unwrap_or_default();
        writer.write(topic, &Record { headers, ..Record::new(0, format!(r#"{{"n":{n}}}"#)) });
    }
    writer.flush();
}

fn traced(name: &str, from: &str, to: &str, tracing: &str) -> String {
    let hostile = pipe_tests::root().join("tests/guests/prebuilt/hostile.wasm");
    let hostile = hostile.display();
    format!(
        r#"
name: {name}
sources:
  in:
    kafka: {{ brokers: "${{KAFKA_BROKERS}}", topics: [{from}] }}
    format: {{ json: {{ columns: {{ n: int64 }} }} }}
stages:
  touchy: {{ from: in, wasm: "{hostile}", config: {{ mode: "trap-on=13" }} }}
sinks:
  out: {{ from: touchy.out, kafka: {{ brokers: "${{KAFKA_BROKERS}}", topic: {to} }}, format: json }}
  other: {{ from: touchy.other, blackhole: {{}} }}
{tracing}
"#
    )
}

/// The same without the record that is bad, and with a column of headers.
fn with_headers(name: &str, from: &str, to: &str, tracing: &str) -> String {
    format!(
        r#"
name: {name}
sources:
  in:
    kafka: {{ brokers: "${{KAFKA_BROKERS}}", topics: [{from}] }}
    format: {{ json: {{ columns: {{ n: int64 }} }} }}
    metadata: [headers]
stages:
  good: {{ from: in, use: filter, config: {{ all: [{{ column: n, op: ne, value: {BAD} }}] }} }}
sinks:
  out: {{ from: good, kafka: {{ brokers: "${{KAFKA_BROKERS}}", topic: {to} }}, format: json }}
{tracing}
"#
    )
}

/// What a topic holds, by number.
fn written(broker: &Broker, topic: &str) -> BTreeMap<i64, Record> {
    let all: Vec<Record> = records(broker, topic);
    let order: Vec<i64> = all.iter().map(|r| r.json()["n"].as_i64().unwrap()).collect();
    assert!(order.is_sorted(), "rows with and without headers keep their order: {order:?}");
    order.into_iter().zip(all).collect()
}

fn headers(record: &Record, name: &str) -> Vec<String> {
    let own = record.headers.iter().filter(|(n, _)| n == name);
    own.map(|(_, value)| String::from_utf8_lossy(value.as_deref().unwrap_or(b"null")).into_owned()).collect()
}

/// What every run must show: one context a record of a trace, none of garbage.
fn check_headers(out: &BTreeMap<i64, Record>) {
    let contexts = contexts();
    let of = |n: i64, name: &str| headers(&out[&n], name);
    for (n, trace) in [(3, 0xa3), (20, 0xb0), (21, 0xb1)] {
        let [one] = &of(n, "traceparent")[..] else { panic!("{:?}", out[&n]) };
        let (own, came) = (one.split('-').collect::<Vec<_>>(), parent(trace, trace + 16, "01"));
        assert_eq!([own[0], own[1], own[3]], ["00", came.split('-').nth(1).unwrap(), "01"]);
        assert_ne!(own[2], came.split('-').nth(2).unwrap(), "the parent is the worker's");
    }
    for (n, trace) in [(4, 0xa4), (22, 0xb2)] {
        assert_eq!(of(n, "traceparent"), [parent(trace, trace + 16, "00")], "not sampled: as it came");
    }
    let states = [(3, vec!["v=1,w=2"]), (20, vec![]), (22, vec!["late=1"])];
    states.iter().for_each(|(n, state)| assert_eq!(&of(*n, "tracestate"), state, "{n}"));
    assert!((0..RECORDS).filter(|n| *n != BAD).eq(out.keys().copied()));
    assert!(contexts.keys().all(|n| *n == BAD || out.contains_key(n)));
}

/// The spans of a record: of its passage and of its writing.
fn check_spans(spans: &[Span], out: &BTreeMap<i64, Record>, (name, from, to): (&str, &str, &str)) {
    let find = |id: &str| spans.iter().find(|s| digits(&s.span_id) == id).unwrap_or_else(|| panic!("{id}"));
    for (n, trace) in [(3u8, 0xa3u8), (20, 0xb0), (21, 0xb1)] {
        let context = &headers(&out[&i64::from(n)], "traceparent")[0];
        let send = find(context.split('-').nth(2).unwrap());
        let process = find(&digits(&send.parent_span_id));
        assert_eq!((send.trace_id.as_slice(), send.kind), (&[trace; 16][..], SpanKind::Producer as i32));
        assert_eq!(
            (process.trace_id.as_slice(), process.kind),
            (&[trace; 16][..], SpanKind::Consumer as i32)
        );
        assert_eq!(process.parent_span_id, [trace + 16; 8]);
        assert_eq!([&send.name, &process.name], [&format!("send {to}"), &format!("process {from}")]);
        assert_eq!(text(&process.attributes, "messaging.system"), "kafka");
        assert_eq!(text(&process.attributes, "messaging.destination.name"), from);
        assert_eq!(text(&process.attributes, "messaging.destination.partition.id"), "0");
        assert_eq!(text(&process.attributes, "messaging.consumer.group.name"), name);
        let offset = attribute(&process.attributes, "messaging.kafka.offset");
        assert_eq!(offset, Some(&Any::IntValue(i64::from(n))));
        assert_eq!(
            [text(&send.attributes, "pipe.sink"), text(&process.attributes, "pipe.source")],
            ["out", "in"]
        );
        assert!(process.start_time_unix_nano <= send.start_time_unix_nano);
        assert!(send.end_time_unix_nano <= process.end_time_unix_nano);
        assert!(process.status.as_ref().is_none_or(|status| status.code == 0));
    }
    assert_eq!(find(headers(&out[&3], "traceparent")[0].split('-').nth(2).unwrap()).trace_state, "v=1,w=2");
    let [bad] = spans
        .iter()
        .filter(|s| s.trace_id == [0xad; 16] && s.kind == SpanKind::Consumer as i32)
        .collect::<Vec<_>>()[..]
    else {
        panic!("{spans:?}")
    };
    assert_eq!(bad.status.as_ref().unwrap().code, 2);
    assert_eq!(text(&bad.events[0].attributes, "pipe.error.stage"), "touchy");
    assert_eq!(text(&bad.events[0].attributes, "pipe.error.kind"), "trap");
    let calls: Vec<&Span> = spans.iter().filter(|s| s.name == "stage touchy").collect();
    assert!(calls.len() > 2, "the whole batch, and its parts");
    assert!(calls.iter().any(|s| s.status.as_ref().is_some_and(|status| status.code == 2)));
    let traces: std::collections::BTreeSet<&[u8]> = spans.iter().map(|s| &s.trace_id[..]).collect();
    assert_eq!(traces.len(), 4, "no span is of a record that is not sampled");
}

#[test]
fn a_trace_goes_on_in_headers_and_its_spans_to_a_collector() {
    let broker = kafka::shared();
    let [name, from, to] = ["traced", "from", "to"].map(unique);
    broker.topic(&from, 1);
    broker.topic(&to, 1);
    produce(broker, &from);
    let collector = Collector::start(Manner::Takes);
    let tracing = format!("tracing: {{ otlp: \"{}\" }}", collector.address());
    let mut pipeline = Pipeline::new(broker, &traced(&name, &from, &to, &tracing));
    pipeline.variables = vec![
        ("OTEL_SERVICE_NAME", "tester".into()),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=here".into()),
        ("NO_PROXY", "127.0.0.1".into()),
    ];
    let end = pipeline.run().ok();

    let out = written(broker, &to);
    check_headers(&out);
    let bare = |n: &i64| !contexts().contains_key(n) || GARBAGE.contains(n);
    assert!(out.iter().filter(|(n, _)| bare(n)).all(|(_, r)| r.headers.is_empty()), "nothing is made up");
    check_spans(&collector.spans(), &out, (&name, &from, &to));
    let letters = records(broker, &format!("{name}.dead-letters"));
    assert_eq!(letters.len(), 1);
    let kept: Vec<_> = letters[0].headers.iter().filter(|(n, _)| !n.starts_with("pipe.error.")).collect();
    assert!(kept.into_iter().eq(&contexts()[&BAD]), "{:?}", letters[0].headers);
    let line = spans_line(&end);
    assert_eq!(line["invalid_headers"], GARBAGE.count(), "{line}");
    assert_eq!([&line["dropped"], &line["delivered"]], [0, collector.spans().len()], "{line}");
    let about = end.log.lines().find(|l| l.contains("a record of a trace")).unwrap();
    assert!(about.contains(&format!("\"trace_id\":\"{}\"", "ad".repeat(16))), "{about}");
    let requests = collector.requests.lock().unwrap();
    let resource = &requests[0].resource_spans[0].resource.as_ref().unwrap().attributes;
    assert_eq!(text(resource, "service.name"), "tester");
    assert_eq!(text(resource, "deployment.environment.name"), "here");
    assert!(!text(resource, "service.instance.id").is_empty());
}

#[test]
fn headers_of_a_column_stay_and_the_context_takes_the_place_of_theirs() {
    let broker = kafka::shared();
    let [off, passed, followed, from] = ["off", "passed", "followed", "from"].map(unique);
    let collector = Collector::start(Manner::Takes);
    broker.topic(&from, 1);
    produce(broker, &from);
    let given = |n: i64| contexts().remove(&n).unwrap_or_default();
    let mut out = BTreeMap::new();
    for (name, tracing) in [
        (&off, String::new()),
        (&passed, "tracing: {}".to_owned()),
        (&followed, format!("tracing: {{ otlp: \"{}\" }}", collector.address())),
    ] {
        broker.topic(&format!("{name}-out"), 1);
        let to = format!("{name}-out");
        let mut pipeline = Pipeline::new(broker, &with_headers(name, &from, &to, &tracing));
        pipeline.variables = vec![
            ("NO_PROXY", "127.0.0.1".into()),
            // Without the section it means nothing.
            ("OTEL_EXPORTER_OTLP_ENDPOINT", if name == &off { collector.address() } else { String::new() }),
        ];
        let end = pipeline.run().ok();
        assert_eq!(end.log.contains("invalid_headers"), name == &followed, "{}", end.log);
        out.insert(name, written(broker, &to));
    }
    for n in (0..RECORDS).filter(|n| *n != BAD) {
        assert_eq!(out[&off][&n].headers, given(n), "off: every header as it was");
        if GARBAGE.contains(&n) {
            assert_eq!(out[&followed][&n].headers, given(n), "garbage goes through untouched");
        }
    }
    check_headers(&out[&followed]);
    assert_eq!(headers(&out[&followed][&3], "own").len(), 1);
    // Without a collector no span is made: the parent is the one that came.
    let passed = &out[&passed];
    assert_eq!(headers(&passed[&3], "traceparent"), [parent(0xa3, 0xb3, "01")]);
    assert_eq!(headers(&passed[&3], "tracestate"), ["v=1,w=2"]);
    assert_eq!(headers(&passed[&21], "traceparent"), [parent(0xb1, 0xc1, "01")]);
    assert!(collector.spans().iter().all(|s| s.name != format!("send {off}-out")));
}

#[test]
fn a_collector_that_is_away_slow_or_refuses_costs_spans_only() {
    let broker = kafka::shared();
    let from = unique("from");
    broker.topic(&from, 2);
    Writer::new(broker).numbers(&from, 2, 0..300);
    let refusing = Collector::start(Manner::Refuses);
    let silent = Collector::start(Manner::NeverAnswers);
    let away = format!("http://127.0.0.1:{}", kafka::free_port());
    for address in [refusing.address(), silent.address(), away] {
        let name = unique("nowhere");
        broker.topic(&format!("{name}-out"), 2);
        let yaml = copy(&name, &from, &format!("{name}-out"));
        let yaml = format!("{yaml}tracing: {{ otlp: \"{address}\", sample: 1.0 }}\n");
        let mut pipeline = Pipeline::new(broker, &yaml);
        pipeline.variables = vec![("NO_PROXY", "127.0.0.1".into())];
        let end = pipeline.run().ok();
        assert_eq!(numbers(broker, &format!("{name}-out")), (each(2, 300), 0));
        assert_eq!(end.count("sinks", "out", "written"), 600);
        let line = spans_line(&end);
        assert_eq!(line["delivered"], 0, "{line}");
        // For each record one of its passage and one of its writing, and those of the stage's calls.
        assert!(line["dropped"].as_u64().unwrap() > 1_200, "{line}");
        assert_eq!(end.log.matches("X011").count(), 1, "told once in a while:\n{}", end.log);
        let traces: std::collections::BTreeSet<String> = records(broker, &format!("{name}-out"))
            .iter()
            .map(|record| match &headers(record, "traceparent")[..] {
                [one] => one.split('-').nth(1).unwrap().to_owned(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(traces.len(), 600, "each record began a trace of its own");
    }
}

#[test]
fn check_says_what_cannot_work_and_explain_says_where_spans_go() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pipeline.yaml");
    let run = |tracing: &str, endpoint: &str| {
        let yaml = "name: p\nsources: { in: { generate: { count: 1 } } }\n\
                    sinks: { out: { from: in, blackhole: {} } }\n";
        std::fs::write(&file, format!("{yaml}{tracing}\n")).unwrap();
        let mut command = pipe_tests::pipe();
        command.arg("check").arg(&file).env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint);
        let output = command.output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    let (code, text) = run("tracing: { otlp: \"https://collector:4318\" }", "");
    assert!(code == Some(2) && text.contains("P017") && text.contains("4:"), "{text}");
    let (code, text) = run("tracing: {}", "https://collector:4318");
    assert!(code == Some(2) && text.contains("OTEL_EXPORTER_OTLP_ENDPOINT: TLS"), "{text}");
    let (code, text) = run("tracing: { sample: 2 }", "http://collector:4318");
    assert!(code == Some(2) && text.contains("C005"), "{text}");
    let (code, text) = run("tracing: {}", "http://collector:4318");
    assert!(code == Some(0) && text.contains("spans: to http://collector:4318/v1/traces"), "{text}");
    let (code, text) = run("", "https://collector:4318");
    assert!(code == Some(0) && !text.contains("spans:"), "{text}");
}
