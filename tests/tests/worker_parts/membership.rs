//! Who is who in a group: static members (`group.instance.id`) in both group protocols, and what the protocol of
//! KIP-848 does not have.

use std::time::Duration;

use pipe_tests::kafka::{self, Broker, unique};

use super::exactly_once::{EXACTLY, once, seen};
use super::group::{Stream, assigned};
use super::{LONG, Pipeline, Worker, Writer, committed, copy, patiently};

const PROTOCOLS: [&str; 2] = ["classic", "consumer"];

/// Longer than any worker of these tests takes to start.
const SESSION: &str = "30000";

/// A pipeline of static members; `INSTANCE` says which.
fn members(broker: &Broker, protocol: &str, name: &str, from: &str, to: &str) -> Pipeline {
    let own = match protocol {
        "classic" => format!("session.timeout.ms: {SESSION}, heartbeat.interval.ms: 500"),
        // There the broker says how long a session is, for a group if need be.
        other => {
            let session = format!("consumer.session.timeout.ms={SESSION}");
            let args =
                ["--alter", "--entity-type", "groups", "--entity-name", name, "--add-config", &session];
            broker.tool("kafka.admin.ConfigCommand", &args);
            format!("group.protocol: {other}")
        }
    };
    let properties = format!("{own}, group.instance.id: \"${{INSTANCE}}\"");
    let yaml =
        copy(name, from, to).replace("session.timeout.ms: 6000, heartbeat.interval.ms: 500", &properties);
    Pipeline::new(broker, &format!("{EXACTLY}{yaml}"))
}

fn start(pipeline: &mut Pipeline, instance: &str, args: &[&str]) -> Worker {
    pipeline.variables = vec![("INSTANCE", instance.to_owned())];
    pipeline.start(args)
}

/// Waits until the workers own so many partitions each, in a group that has come to rest.
fn settled(workers: &[(&str, Worker)], each: usize) {
    let owned = |worker: &Worker| {
        let log = worker.log();
        let lines = log.lines().filter(|line| line.contains("\"partitions revoked\""));
        let revoked = lines.map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line.get("fields").unwrap_or(&line)["partitions"].as_u64().unwrap() as usize
        });
        assigned(&log) - revoked.sum::<usize>()
    };
    patiently(LONG, "both have their share", || workers.iter().all(|(_, worker)| owned(worker) == each));
}

fn restarts_do_not_touch_the_neighbour(protocol: &str) {
    let broker = kafka::shared();
    let [name, from, to] = ["static", "from", "to"].map(unique);
    broker.topic(&from, 4);
    broker.topic(&to, 4);
    let mut pipeline = members(broker, protocol, &name, &from, &to);
    let stream = Stream::start(broker, &from, 4);
    let mut workers: Vec<_> = ["a", "b"].map(|id| (id, start(&mut pipeline, id, &[]))).into();
    settled(&workers, 2);
    std::thread::sleep(Duration::from_secs(1));
    for round in 0..4 {
        let (instance, leaving) = workers.remove(0);
        let neighbour = &workers[0].1;
        let before = neighbour.log();
        // The protocol of KIP-848 gives the place of a member that was killed to nobody before its session is over.
        if round < 2 || protocol == "consumer" {
            leaving.stop();
        } else {
            leaving.kill();
        }
        let back = start(&mut pipeline, instance, &[]);
        patiently(LONG, "it has its partitions again", || assigned(&back.log()) >= 2);
        std::thread::sleep(Duration::from_secs(2));
        let after = neighbour.log();
        for moved in ["\"partition assigned\"", "\"partitions revoked\"", "\"partitions lost"] {
            let [before, after] = [&before, &after].map(|log| log.matches(moved).count());
            assert_eq!(before, after, "{protocol}, round {round}, {moved}:\n{}", neighbour.log());
        }
        assert_eq!(assigned(&back.log()), 2, "{protocol}, round {round}: its own partitions");
        workers.push((instance, back));
    }
    let count = stream.end();
    patiently(LONG, "all is committed", || {
        committed(broker, &name, &from, 4).values().filter(|&&at| at == count).count() == 4
    });
    workers.into_iter().for_each(|(_, worker)| {
        worker.stop();
    });
    assert_eq!(seen(broker, &to), once(4, count), "{protocol}");
}

#[test]
fn a_static_member_that_is_restarted_in_its_session_leaves_its_neighbour_alone() {
    restarts_do_not_touch_the_neighbour("classic");
}

#[test]
fn so_does_one_of_the_protocol_of_kip_848() {
    restarts_do_not_touch_the_neighbour("consumer");
}

#[test]
fn of_two_workers_with_one_static_id_the_loser_says_so_and_stops() {
    let broker = kafka::shared();
    for protocol in PROTOCOLS {
        let [name, from, to] = ["static-twins", "from", "to"].map(unique);
        broker.topic(&from, 2);
        broker.topic(&to, 2);
        let mut pipeline = members(broker, protocol, &name, &from, &to);
        let writer = Writer::new(broker);
        // The group alone tells them apart.
        let mut older = start(&mut pipeline, "twin", &["--worker-id", "older"]);
        older.says("\"partition assigned\"");
        writer.numbers(&from, 2, 0..100);
        let mut newer = start(&mut pipeline, "twin", &["--worker-id", "newer"]);
        let mut sent = 100;
        while !older.has_ended() && !newer.has_ended() {
            assert!(sent < 6_000, "{protocol}: both go on:\n{}\n{}", older.log(), newer.log());
            writer.numbers(&from, 2, sent..sent + 10);
            sent += 10;
            std::thread::sleep(Duration::from_millis(100));
        }
        let (loser, winner) = if protocol == "classic" { (older, newer) } else { (newer, older) };
        let loser = loser.wait(Duration::from_secs(30)).failed("X013", "`group.instance.id` `twin`");
        assert!(loser.took < Duration::from_secs(15), "{protocol}: {:?}", loser.took);
        patiently(LONG, "the winner has all", || {
            committed(broker, &name, &from, 2).values().filter(|&&at| at == sent).count() == 2
        });
        winner.stop();
        assert_eq!(seen(broker, &to), once(2, sent), "{protocol}");
    }
}

#[test]
fn offsets_of_a_live_group_of_kip_848_cannot_be_reset() {
    let broker = kafka::shared();
    let [name, from, to] = ["reset", "from", "to"].map(unique);
    broker.topic(&from, 1);
    broker.topic(&to, 1);
    let yaml = copy(&name, &from, &to)
        .replace("session.timeout.ms: 6000, heartbeat.interval.ms: 500", "group.protocol: consumer");
    let pipeline = Pipeline::new(broker, &yaml);
    Writer::new(broker).numbers(&from, 1, 0..100);
    let worker = pipeline.start(&[]);
    patiently(LONG, "all is committed", || committed(broker, &name, &from, 1).get(&0) == Some(&100));
    let (code, shown, _) = pipeline.command(&["offsets", "show"], &[]);
    assert!(code == Some(0) && shown.contains("of the protocol of KIP-848"), "{shown}");
    let reset = || pipeline.command(&["offsets", "reset"], &["--to", "earliest", "--execute"]);
    let (code, _, said) = reset();
    assert!(code == Some(1) && said.contains("S005") && said.contains("is live"), "{said}");
    assert_eq!(committed(broker, &name, &from, 1)[&0], 100);
    worker.stop();
    let (code, _, said) = reset();
    assert_eq!((code, committed(broker, &name, &from, 1)[&0]), (Some(0), 0), "{said}");
}
