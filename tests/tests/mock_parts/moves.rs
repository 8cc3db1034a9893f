//! What brokers answer while leaders move and while they boot is waited for, at the start and later.

use std::time::Duration;

use rdkafka::types::RDKafkaApiKey as Api;
use rdkafka::types::RDKafkaRespErr::{self, *};

use super::bench::{Bench, Cluster, Did};
use super::name;

/// The reader of the test asks the same brokers: some of the errors are its.
const EACH: usize = 12;
/// Longer than what a client has on its way, and shorter than what a worker waits for a topic.
const AWAY: Duration = Duration::from_secs(3);

/// Each of these is given a worker of its own, side by side; the worker must go on, and this often go back at most.
fn all_go_on<T: Sync + std::fmt::Debug>(most: u64, cases: &[T], case: impl Fn(&T, &mut Bench) -> Did + Sync) {
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let case = &case;
        let run = |given| {
            scope.spawn(move || {
                let mut bench = Bench::new();
                let did = case(given, &mut bench);
                println!("{given:?}: {did:?}");
                let ok = matches!(did, Did::Went(times) if times <= most);
                let wrong = (!ok).then(|| format!("{given:?}: {did:?}\n{}", bench.log()));
                if ok {
                    bench.stop();
                }
                wrong
            })
        };
        let all: Vec<_> = cases.iter().map(run).collect();
        all.into_iter().filter_map(|one| one.join().unwrap()).collect()
    });
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn errors(cluster: &Cluster, api: Api, error: RDKafkaRespErr) {
    cluster.request_errors(api, &[error; EACH]);
}

#[test]
fn where_an_assigned_partition_begins_is_asked_until_its_new_leader_knows() {
    let answers = [
        RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE,
        RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        RD_KAFKA_RESP_ERR_REPLICA_NOT_AVAILABLE,
        RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
        RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
        RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH,
        RD_KAFKA_RESP_ERR_UNKNOWN_LEADER_EPOCH,
        RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR,
        RD_KAFKA_RESP_ERR_UNKNOWN,
    ];
    all_go_on(1, &answers, |error, bench| {
        let did = bench.begin_for(Duration::from_millis(1), |cluster, over| {
            if !over {
                errors(cluster, Api::ListOffsets, *error);
            }
        });
        bench.calm([Api::ListOffsets].into_iter());
        did
    });
}

#[test]
fn a_fetch_that_fails_while_a_leader_moves_is_made_again() {
    let answers = [
        RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE,
        RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
        RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_ID,
        RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH,
        RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR,
        RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
        RD_KAFKA_RESP_ERR_INVALID_MSG,
        RD_KAFKA_RESP_ERR_UNKNOWN,
    ];
    all_go_on(1, &answers, |error, bench| {
        bench.steady();
        let did = bench.disturb(|cluster| errors(cluster, Api::Fetch, *error));
        bench.calm([Api::Fetch].into_iter());
        did
    });
}

/// How a topic may look while brokers boot and leaders are elected.
#[derive(Debug)]
enum Looks {
    /// All brokers say this of a topic.
    Error(&'static str, RDKafkaRespErr),
    /// Its partitions have no leader. Not where somebody fetches: the mock cluster does not live through that.
    NoLeader(&'static str),
    /// Other brokers lead its partitions.
    Moved(&'static str),
}

fn look(cluster: &Cluster, looks: &Looks, over: bool) {
    match looks {
        Looks::Error(topic, error) => {
            let error = if over { RD_KAFKA_RESP_ERR_NO_ERROR } else { *error };
            cluster.topic_error(topic, error).unwrap();
        }
        Looks::NoLeader(topic) => {
            for partition in 0..3 {
                cluster.partition_leader(topic, partition, over.then_some(1 + partition)).unwrap();
            }
        }
        Looks::Moved(topic) => {
            for partition in 0..3 {
                let leader = 1 + if over { partition } else { (partition + 1) % 3 };
                cluster.partition_leader(topic, partition, Some(leader)).unwrap();
            }
        }
    }
}

#[test]
fn a_topic_that_brokers_do_not_know_yet_or_that_has_no_leader_is_waited_for_at_the_start() {
    let unknown = RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    let cases = [
        Looks::Error("from", unknown),
        Looks::Error("to", unknown),
        Looks::Error("letters", unknown),
        Looks::Error("letters", RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE),
        Looks::Error("to", RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE),
        Looks::NoLeader("from"),
    ];
    all_go_on(1, &cases, |looks, bench| bench.begin_for(AWAY, |cluster, over| look(cluster, looks, over)));
}

#[test]
fn a_topic_that_brokers_deny_for_a_moment_is_read_on() {
    let cases = [
        Looks::Error("from", RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART),
        Looks::Error("from", RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE),
        Looks::Moved("from"),
        Looks::Moved("to"),
    ];
    all_go_on(2, &cases, |looks, bench| {
        bench.steady();
        bench.disturb_for(AWAY, |cluster, over| look(cluster, looks, over))
    });
}

#[test]
fn a_topic_that_does_not_come_ends_the_worker_with_its_name() {
    let mut bench = Bench::new();
    let unknown = RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    let did = bench.begin(|cluster| cluster.topic_error("to", unknown).unwrap());
    let Did::Stopped(last) = &did else { panic!("{did:?}\n{}", bench.log()) };
    assert!(last.contains("K001") && last.contains("topic `to` does not exist"), "{}: {last}", name(unknown));
}
