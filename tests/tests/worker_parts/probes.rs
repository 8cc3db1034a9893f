//! What probes and metrics say of a worker of a group: partitions that come and go, a broker that freezes.

use pipe_tests::http::get;
use pipe_tests::kafka::{self, Broker, unique};
use serde_json::Value;

use super::{LONG, Pipeline, Worker, Writer, copy, patiently};

/// Where the admin server of a worker listens.
pub(super) fn address(worker: &mut Worker) -> String {
    worker.says("\"admin server\"");
    let log = worker.log();
    let line = log.lines().find(|line| line.contains("\"admin server\"")).unwrap();
    let line: Value = serde_json::from_str(line).unwrap();
    line["address"].as_str().unwrap().to_owned()
}

fn ready(address: &str) -> (u16, Value) {
    let answer = get(address, "/readyz").unwrap();
    (answer.status, serde_json::from_str(&answer.body).unwrap())
}

/// Values of a metric, one a series.
pub(super) fn values(address: &str, metric: &str) -> Vec<f64> {
    let text = get(address, "/metrics").unwrap().body;
    let lines =
        text.lines().filter(|l| l.strip_prefix(metric).is_some_and(|rest| rest.starts_with(['{', ' '])));
    lines.map(|l| l.rsplit_once(' ').unwrap().1.parse().unwrap()).collect()
}

/// Of each reason its state and what it says.
fn reasons(said: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = said["reasons"].as_array().cloned().unwrap_or_default();
    all.iter().map(|r| (text(&r["state"]), text(&r["message"]))).collect()
}

pub(super) const ARGS: &[&str] = &["--admin", "127.0.0.1:0", "--stuck-after", "2s"];

#[test]
fn partitions_that_leave_disappear_and_a_worker_without_any_is_ready() {
    let broker = kafka::shared();
    let [name, from, to] = ["probes", "from", "to"].map(unique);
    broker.topic(&from, 2);
    broker.topic(&to, 2);
    Writer::new(broker).numbers(&from, 2, 0..500);
    let pipeline = Pipeline::new(broker, &copy(&name, &from, &to));
    let mut first = pipeline.start(ARGS);
    let at = address(&mut first);
    patiently(LONG, "it has read all", || {
        values(&at, "pipe_source_partition_position") == [500.0; 2]
            && values(&at, "pipe_source_partition_lag_records") == [0.0; 2]
    });
    assert_eq!(values(&at, "pipe_source_partition_end"), [500.0; 2]);
    patiently(LONG, "it is ready", || ready(&at).0 == 200);
    let source = &ready(&at).1["sources"][0];
    assert_eq!((&source["partitions"], &source["caught_up"]), (&2.into(), &2.into()), "{source}");
    let mut others = [pipeline.start(ARGS), pipeline.start(ARGS)];
    let all = [at.clone(), address(&mut others[0]), address(&mut others[1])];
    patiently(LONG, "two share the partitions, and the third is ready as well", || {
        let mut owned: Vec<f64> =
            all.iter().flat_map(|at| values(at, "pipe_source_assigned_partitions")).collect();
        owned.sort_by(f64::total_cmp);
        owned == [0.0, 1.0, 1.0] && all.iter().all(|at| ready(at).0 == 200)
    });
    patiently(LONG, "what left has no series any more", || {
        values(&at, "pipe_source_partition_lag_records").len() < 2
    });
    assert!(values(&at, "pipe_source_partitions_revoked_total")[0] >= 1.0);
    assert_eq!(values(&at, "pipe_source_partitions_lost_total"), [0.0]);
    assert!(values(&at, "pipe_source_rebalances_total")[0] >= 2.0);
    for worker in others.into_iter().chain([first]) {
        worker.stop();
    }
}

#[test]
fn a_broker_that_freezes_makes_it_unready_and_it_stays_alive() {
    let broker = Broker::start();
    let [name, to] = ["frozen", "to"].map(unique);
    broker.topic(&to, 1);
    let yaml = format!(
        r#"
name: {name}
sources:
  made:
    generate: {{ rate: 2000 }}
sinks:
  out:
    from: made
    kafka: {{ brokers: "${{KAFKA_BROKERS}}", topic: {to} }}
    format: json
"#
    );
    let pipeline = Pipeline::new(&broker, &yaml);
    let mut worker = pipeline.start(ARGS);
    let at = address(&mut worker);
    let commits = || values(&at, "pipe_commits_total")[0];
    patiently(LONG, "it is ready and has committed", || ready(&at).0 == 200 && commits() > 0.0);
    broker.freeze();
    patiently(LONG, "it says that the sink tries again", || {
        assert_eq!(get(&at, "/livez").unwrap().status, 200, "a restart would not help");
        let (status, said) = ready(&at);
        let reasons = said["reasons"].as_array().unwrap().clone();
        let sink = |r: &Value| r["state"] == "retrying" && r["place"] == "sink `out`, lane 0";
        status == 503 && reasons.iter().any(sink)
    });
    assert!(values(&at, "pipe_epoch_oldest_age_seconds")[0] > 1.0);
    assert_eq!(values(&at, "pipe_ready"), [0.0]);
    let before = commits();
    broker.thaw();
    patiently(LONG, "it is ready again and commits", || ready(&at).0 == 200 && commits() > before);
    worker.stop();
}

#[test]
fn a_cluster_that_is_gone_makes_a_source_unready_though_all_is_read() {
    let broker = Broker::start();
    let [name, from] = ["gone", "from"].map(unique);
    broker.topic(&from, 2);
    Writer::new(&broker).numbers(&from, 2, 0..100);
    let yaml = format!(
        r#"
name: {name}
sources:
  in:
    kafka: {{ brokers: "${{KAFKA_BROKERS}}", topics: [{from}] }}
    format: raw
sinks:
  out:
    from: in
    blackhole: {{}}
dead_letters: {{ file: {{ path: d }} }}
"#
    );
    let pipeline = Pipeline::new(&broker, &yaml);
    let mut worker = pipeline.start(ARGS);
    let at = address(&mut worker);
    patiently(LONG, "it has read all and is ready", || {
        values(&at, "pipe_source_partition_position") == [100.0; 2] && ready(&at).0 == 200
    });
    broker.stop();
    patiently(LONG, "it says that no broker answers", || {
        assert_eq!(get(&at, "/livez").unwrap().status, 200, "a restart would not help");
        let (status, said) = ready(&at);
        let names =
            |(state, why): &(String, String)| state == "retrying" && why.contains("no broker answers");
        status == 503 && reasons(&said).iter().any(names)
    });
    broker.resume_from_stop();
    patiently(LONG, "it is ready again by itself", || ready(&at).0 == 200);
    let log = worker.log();
    let down = log.lines().filter(|line| line.contains("AllBrokersDown")).count();
    assert!(down < 60, "{down} lines");
    worker.stop();
}
