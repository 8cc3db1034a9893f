//! A worker that meets each error must either go on until every record is in the output and committed, or say why it
//! cannot and end; it never hangs, and never passes a record over.
//!
//! The mock cluster has groups, transactional ids with their epochs, and calls that fail when asked to; it has no
//! transactions. What was produced is seen at once and stays, aborted or not, and the offsets of a transaction are
//! never kept: whoever goes back reads from the start again. So numbers may repeat here, and are counted only for
//! losses and order; that they come once is proved on a real broker (`soak`, `worker`).

mod bench;
mod cases;
mod moves;

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use rdkafka::mocking::MockCoordinator;
use rdkafka::types::RDKafkaApiKey;
use rdkafka::types::RDKafkaRespErr::{self, RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION};

use bench::{Bench, Did};
use cases::{CALLS, Call, Must, When};

/// The name as Kafka's protocol has it.
fn name(error: RDKafkaRespErr) -> String {
    format!("{error:?}").replace("RD_KAFKA_RESP_ERR_", "")
}

/// Gives a worker the errors of one call, one after the other; the table's rows, and what was wrong.
fn rows(call: &Call) -> (String, Vec<String>) {
    let (api, when, answers) = call;
    let (mut table, mut wrong) = (String::new(), Vec::new());
    let mut bench = Bench::new();
    for (must, errors) in *answers {
        for error in *errors {
            bench.steady();
            let started = Instant::now();
            let mut injected = vec![(*api, vec![*error])];
            if *when == When::Anew {
                let void = vec![RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION];
                injected.push((RDKafkaApiKey::TxnOffsetCommit, void));
            }
            let mut inject = || {
                let did = bench.disturb(|cluster| {
                    injected.iter().for_each(|(api, errors)| cluster.request_errors(*api, errors));
                });
                bench.calm(injected.iter().map(|(api, _)| *api));
                did
            };
            let first = inject();
            let did = match (must, &first) {
                (Must::Twin, Did::Went(1..)) => inject(),
                _ => first,
            };
            let ok = match (must, &did) {
                (Must::Twin, Did::Stopped(last)) => last.contains("X013") && last.contains("--worker-id"),
                (Must::GoOn, Did::Went(0)) => true,
                (Must::GoBack, Did::Went(times)) => *times > 0,
                (Must::Stop(code, says), Did::Stopped(last)) => last.contains(code) && last.contains(says),
                _ => false,
            };
            let what = match &did {
                Did::Went(0) => "went on".to_owned(),
                Did::Went(times) => format!("went back {times} time(s)"),
                Did::Stopped(last) => format!("stopped: {last}"),
                Did::Failed(why) => format!("FAILED: {why}"),
            };
            let (call, error) = (format!("{api:?}"), name(*error));
            let millis = started.elapsed().as_millis();
            let _ = writeln!(table, "{call:<19} {error:<38} {millis:>6} ms  {what}");
            if !ok {
                wrong.push(format!("{call} {error}: it must {must:?}, and {what}\n{}", bench.log()));
            }
            if let Did::Failed(_) = did {
                bench = Bench::new();
            }
        }
    }
    bench.stop();
    (table, wrong)
}

#[test]
fn each_error_of_each_call_is_survived_or_told() {
    let results: Vec<(String, Vec<String>)> = std::thread::scope(|scope| {
        let calls: Vec<_> = CALLS.iter().map(|call| scope.spawn(|| rows(call))).collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    for (table, _) in &results {
        print!("{table}");
    }
    let wrong: Vec<&String> = results.iter().flat_map(|(_, wrong)| wrong).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn brokers_that_know_no_transactions_are_an_error_at_the_start() {
    let mut bench = Bench::new();
    let did = bench.begin(|cluster| cluster.apiversion(RDKafkaApiKey::InitProducerId, None, None).unwrap());
    let Did::Stopped(last) = &did else { panic!("{did:?}\n{}", bench.log()) };
    for part in ["X012", "do not know transactions", "guarantee: at_least_once"] {
        assert!(last.contains(part), "{part}: {last}");
    }
}

#[test]
fn coordinators_that_move_and_brokers_that_go_away_cost_nothing() {
    let mut bench = Bench::new();
    bench.steady();
    let went = |bench: &Bench, what: &str, did: &Did| {
        println!("{what}: {did:?}");
        assert!(matches!(did, Did::Went(_)), "{what}: {did:?}\n{}", bench.log());
    };
    for broker in [2, 3, 1] {
        let did = bench.disturb(|cluster| {
            cluster.coordinator(MockCoordinator::Transaction("mock.w.0".into()), broker).unwrap();
        });
        went(&bench, &format!("transaction's coordinator is {broker}"), &did);
        let did = bench.disturb(|cluster| {
            cluster.coordinator(MockCoordinator::Group("mock".into()), broker).unwrap();
        });
        went(&bench, &format!("group's coordinator is {broker}"), &did);
    }
    let did = bench.disturb_for(Duration::from_secs(1), |cluster, over| {
        cluster.broker_round_trip_time(-1, Duration::from_millis(if over { 0 } else { 300 })).unwrap();
    });
    went(&bench, "all are slow", &did);
    // For less than the session's time. Of 1 librdkafka may not notice that it is back (see `Transaction::send`).
    for broker in [2, 1, -1] {
        let did = bench.disturb_for(Duration::from_secs(1), |cluster, over| {
            if over { cluster.broker_up(broker) } else { cluster.broker_down(broker) }.unwrap();
        });
        went(&bench, &format!("{broker} goes away and returns"), &did);
    }
    bench.stop();
}
