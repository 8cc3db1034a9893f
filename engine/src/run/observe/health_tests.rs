//! Probes against the runtime in memory, with a clock that is moved by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::health::{Health, Monitor};
use super::vitals::Phase;
use crate::connector::position::{Partition, PartitionProgress, Progress};
use crate::metrics::{Name, Value};
use crate::run::tests::{Run, Script};
use crate::run::*;
use crate::sync::lock;
use crate::units::{HOPELESS_FACTOR, STUCK_AFTER};

/// The machine's clock, and what was added.
#[derive(Default)]
struct Moved(crate::clock::SystemClock, AtomicU64);

impl Moved {
    fn add(&self, time: Duration) {
        self.1.fetch_add(time.as_secs(), Ordering::Relaxed);
    }
}

impl Clock for Moved {
    fn now(&self) -> Duration {
        self.0.now() + Duration::from_secs(self.1.load(Ordering::Relaxed))
    }
    fn unix_ms(&self) -> i64 {
        self.0.unix_ms()
    }
}

/// A worker that never ends by itself, its clock, and who looks at it.
struct Watched {
    run: Run,
    clock: Arc<Moved>,
    running: Running,
    monitor: Monitor,
}

impl Watched {
    fn new(script: Script, prepare: impl Fn(&Run)) -> Self {
        let run = Run::new(Script { ends: false, ..script });
        prepare(&run);
        let clock = Arc::new(Moved::default());
        let running = run.start_at(Arc::clone(&clock) as Arc<dyn Clock>);
        let monitor = Monitor::new(Arc::clone(&running.stats), STUCK_AFTER);
        Self { run, clock, running, monitor }
    }

    /// Looks until it is so, at most half a minute of the machine's time.
    #[track_caller]
    fn until(&self, so: impl Fn(&Health) -> bool) -> Health {
        for _ in 0..3_000 {
            let health = self.monitor.look();
            if so(&health) {
                return health;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("{:#?}", self.monitor.look());
    }

    fn stop(self) {
        self.running.stopper().stop();
        self.running.wait().1.unwrap();
    }
}

fn says(health: &Health, place: &str, state: &str) -> bool {
    health.reasons.iter().any(|r| r.place.contains(place) && r.state == state)
}

#[test]
fn a_worker_with_nothing_to_do_is_healthy_however_long() {
    let watched = Watched::new(Script { records: 300, ..Script::default() }, |_| {});
    watched.until(|h| h.ready && watched.running.stats.vitals.epoch_age().is_zero());
    for _ in 0..3 {
        watched.clock.add(Duration::from_secs(3_600));
        // The threads that turn by themselves need a moment to turn on the moved clock.
        let health = watched.until(|h| h.ready);
        assert!(health.live && health.phase == Phase::Running);
        assert!(health.nodes.iter().any(|n| n.role == "sink" && n.doing == "waiting" && n.lane == Some(1)));
    }
    watched.stop();
}

#[test]
fn a_lane_that_hangs_is_named_and_in_the_end_given_up() {
    let watched = Watched::new(Script::default(), |run| run.world.hangs.store(true, Ordering::Relaxed));
    watched.until(|h| h.nodes.iter().any(|n| n.role == "sink" && n.doing == "working"));
    watched.clock.add(STUCK_AFTER + Duration::from_secs(1));
    let health = watched.until(|h| says(h, "sink `out`, lane 0", "stuck"));
    assert!(!health.ready && health.live, "it may be slow: {:?}", health.reasons);
    watched.clock.add(STUCK_AFTER * HOPELESS_FACTOR);
    let health = watched.until(|h| !h.live);
    assert!(health.reasons[0].hopeless && health.reasons[0].place.contains("sink `out`"), "{health:?}");
    let samples = watched.running.stats.samples(&health);
    let busy = samples.iter().find(|s| s.name == Name::NodeBusy && s.labels[1].1 == "out").unwrap();
    assert!(matches!(busy.value, Value::Real(seconds) if seconds > 120.0), "{busy:?}");
    let live = samples.iter().find(|s| s.name == Name::Live).unwrap();
    assert_eq!(live.value, Value::Whole(0));
    watched.run.world.hangs.store(false, Ordering::Relaxed);
    watched.until(|h| h.ready);
    watched.stop();
}

#[test]
fn a_sink_in_backoff_makes_it_unready_and_a_restart_would_not_help() {
    let watched = Watched::new(Script::default(), |run| run.world.held.store(true, Ordering::Relaxed));
    watched.until(|h| h.nodes.iter().any(|n| n.role == "sink" && n.doing == "retrying"));
    watched.clock.add(Duration::from_secs(3_600));
    // The threads that turn by themselves need a moment to turn on the moved clock.
    let health = watched.until(|h| says(h, "sink `out`", "retrying") && h.live);
    assert!(health.live && !health.ready);
    let reason = health.reasons.iter().find(|r| r.state == "retrying").unwrap();
    assert!(reason.message.contains("held"), "it says why: {}", reason.message);
    assert!(says(&health, "the commit", "uncommitted"));
    watched.run.world.held.store(false, Ordering::Relaxed);
    watched.until(|h| h.ready);
    watched.stop();
}

#[test]
fn a_lane_that_died_is_named() {
    let watched = Watched::new(Script { panic_at: Some(1), lanes: 1, ..Script::default() }, |_| {});
    let health = watched.until(|h| says(h, "sink `out`, lane 0", "dead"));
    assert!(!health.live && !health.ready);
    assert!(health.reasons[0].message.contains("planted panic"), "{health:?}");
    assert!(watched.running.wait().1.is_err());
}

#[test]
fn a_worker_that_drains_is_not_ready_and_alive() {
    let watched = Watched::new(Script::default(), |run| run.world.held.store(true, Ordering::Relaxed));
    watched.until(|h| h.nodes.iter().any(|n| n.doing == "retrying"));
    watched.running.stopper().stop();
    let health = watched.until(|h| h.phase == Phase::Draining);
    assert!(!health.ready && health.live && says(&health, "the worker", "draining"));
    watched.run.world.held.store(false, Ordering::Relaxed);
    watched.until(|h| h.phase == Phase::Ended);
    watched.running.wait().1.unwrap();
}

/// One partition with a lag.
fn partition(number: i32, position: i64, end: i64) -> PartitionProgress {
    let partition = Partition { topic: "t".into(), partition: number };
    PartitionProgress { partition, position, end: Some(end), lag: Some(end - position) }
}

#[test]
fn a_partition_that_does_not_move_is_named_and_one_that_left_forgotten() {
    let watched = Watched::new(Script { records: 0, ..Script::default() }, |_| {});
    let say = |progress: Progress| *lock(&watched.run.world.progress) = Some(progress);
    say(Progress::default());
    watched.clock.add(Duration::from_secs(7));
    let health = watched.monitor.look();
    assert!(!health.ready && says(&health, "source `in`", "unassigned"));
    assert!(health.reasons[0].seconds >= 7.0, "{:?}", health.reasons);
    let three = |moving: i64| Progress {
        joined: true,
        partitions: vec![partition(0, 10, 10), partition(1, moving, 900), partition(2, 5, 8)],
        ..Progress::default()
    };
    say(three(100));
    assert!(watched.monitor.look().ready, "all may have just come");
    watched.clock.add(STUCK_AFTER + Duration::from_secs(1));
    say(three(200));
    let health = watched.until(|h| h.reasons.len() == 1);
    assert!(says(&health, "partition t/2 of source `in`", "stuck") && health.live, "{:?}", health.reasons);
    let source = &health.sources[0];
    assert_eq!((source.partitions, source.caught_up, source.catching_up, source.stuck), (3, 1, 1, 1));
    let behind: Vec<_> = source.behind.iter().map(|p| (p.partition, p.state, p.lag)).collect();
    assert_eq!(behind, [(2, "stuck", 3), (1, "catching_up", 700)]);
    let lags = |health: &Health| {
        let samples = watched.running.stats.samples(health);
        samples.iter().filter(|s| s.name == Name::PartitionLag).count()
    };
    assert_eq!(lags(&health), 3);
    watched.clock.add(STUCK_AFTER * HOPELESS_FACTOR);
    say(three(300));
    assert!(!watched.until(|h| !h.live).ready, "all lanes are idle and it does not come");
    say(Progress { quiet: Some(Duration::from_secs(9)), ..three(400) });
    assert!(
        watched.until(|h| h.live).reasons.len() == 1,
        "the brokers are in trouble: so would be the next worker"
    );
    let caught_up = Progress { joined: true, partitions: vec![partition(0, 10, 10)], ..Progress::default() };
    let unanswered = |seconds| Some((Duration::from_secs(seconds), "refused".to_owned()));
    say(Progress { unanswered: unanswered(9), ..caught_up.clone() });
    let health = watched.until(|h| says(h, "source `in`", "retrying"));
    assert!(health.live && health.reasons[0].message.contains("no broker answers: refused"), "{health:?}");
    say(Progress { unanswered: unanswered(2), ..caught_up.clone() });
    watched.until(|h| h.ready);
    say(caught_up);
    let health = watched.until(|h| h.ready);
    assert_eq!(lags(&health), 1, "the others are another worker's now");
    say(three(500));
    assert!(watched.monitor.look().ready, "a partition that comes back begins anew");
    watched.stop();
}
