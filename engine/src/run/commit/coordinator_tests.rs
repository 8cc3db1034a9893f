//! When the coordinator turns: at once for what is told, in time for what is due, and else hardly ever.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proptest::prelude::*;

use super::committer::{Committer, Ready};
use super::coordinator::{Coordinator, Due, Sizes};
use super::positions::Positions;
use crate::clock::Clock;
use crate::connector::position;
use crate::epoch::Machine;
use crate::error::{Code, Error, Result};
use crate::metrics::{self, Meter};
use crate::progress::{Pulse, Role};
use crate::run::observe::vitals::Vitals;
use crate::run::signals::{Event, Signals};
use crate::units::{EPOCHS_IN_FLIGHT_MAX, Epoch, Generation};

const INTERVAL: Duration = Duration::from_millis(100);

/// A clock that stands until it is moved; milliseconds.
#[derive(Default)]
struct Held(AtomicU64);

impl Clock for Held {
    fn now(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
    fn unix_ms(&self) -> i64 {
        0
    }
}

/// Commits, unless told not to.
struct Commits {
    passes: bool,
}

impl Committer for Commits {
    fn commit(&mut self, _: &Ready<'_>) -> Result<()> {
        if self.passes { Ok(()) } else { Err(Error::passing(Code::X001, "no answer")) }
    }
    fn void(&mut self, _: Generation) {}
    fn revive(&mut self, _: Generation, _: Epoch, _: Option<u64>) -> Result<Option<Positions>> {
        if self.passes { Ok(None) } else { Err(Error::passing(Code::X012, "no answer")) }
    }
}

struct Bench {
    coordinator: Coordinator,
    clock: Arc<Held>,
    read: Arc<metrics::Source>,
    _events: crossbeam_channel::Sender<Event>,
}

impl Bench {
    fn new(passes: bool) -> Self {
        let held = Arc::new(Held::default());
        let clock: Arc<dyn Clock> = Arc::clone(&held) as _;
        let meter = Meter::new("p");
        let read = meter.source("in");
        let (tell, events) = crossbeam_channel::bounded(16);
        let coordinator = Coordinator {
            machine: Machine::new(1, 1),
            signals: Arc::new(Signals::default()),
            events,
            committer: Box::new(Commits { passes }),
            read: vec![Arc::clone(&read)],
            interval: INTERVAL,
            shutdown_timeout: Duration::from_secs(30),
            pulse: Arc::new(Pulse::new(Role::Coordinator, &"coordinator".into(), None, &clock)),
            vitals: Arc::new(Vitals::new(Arc::clone(&clock))),
            clock,
            stats: meter.worker(),
            begun: VecDeque::new(),
            at_end: BTreeSet::new(),
            lanes: 1,
            stopping: false,
            drains: Vec::new(),
            void: false,
            setbacks: 0,
            due: Due::new(Duration::ZERO),
            sizes: Sizes::default(),
        };
        Self { coordinator, clock: held, read, _events: tell }
    }

    fn pass(&self, time: Duration) {
        self.clock.0.fetch_add(time.as_millis() as u64, Ordering::Relaxed);
    }

    /// The lane and the sink report the epochs that were asked for.
    fn report(&mut self, from: u64) {
        let generation = self.coordinator.machine.generation();
        for epoch in from..=self.coordinator.machine.injected().0 {
            let (epoch, positions) = (Epoch(epoch), position::Positions::new());
            let barrier = Event::Barrier { generation, lane: 0, epoch, source: 0, positions, bytes: 0 };
            self.coordinator.step(Some(barrier)).unwrap();
            self.coordinator.step(Some(Event::Prepared { generation, terminal: 0, epoch })).unwrap();
        }
    }

    /// Turns without an event within a minute.
    fn turns(&mut self) -> u64 {
        let (end, mut turns) = (self.clock.now() + Duration::from_secs(60), 0);
        while self.clock.now() < end {
            let wait = self.coordinator.wait().max(Duration::from_millis(1));
            self.pass(wait);
            if self.coordinator.step(None).is_err() {
                break;
            }
            turns += 1;
        }
        turns
    }
}

#[test]
fn without_records_it_turns_once_a_second_and_is_told_of_the_first() {
    let mut bench = Bench::new(true);
    bench.pass(Duration::from_secs(10));
    bench.coordinator.step(None).unwrap();
    assert!(!bench.coordinator.signals.is_awaited(), "it has not begun to wait");
    assert_eq!(bench.coordinator.wait(), Duration::from_secs(1), "not the 10 s since the last barrier");
    assert_eq!(bench.turns(), 60);
    assert!(bench.coordinator.signals.is_awaited() && !bench.coordinator.signals.is_awaited(), "once");
    // The interval since the last barrier is over: the record's barrier is asked for at once.
    bench.read.read.add(1);
    bench.coordinator.step(Some(Event::Read)).unwrap();
    assert_eq!(bench.coordinator.machine.injected(), Epoch(1));
}

#[test]
fn with_records_it_turns_when_the_next_barrier_is_due() {
    let mut bench = Bench::new(true);
    bench.read.read.add(1);
    bench.pass(Duration::from_millis(30));
    assert_eq!(bench.coordinator.wait(), INTERVAL - Duration::from_millis(30));
    bench.pass(Duration::from_millis(70));
    bench.coordinator.step(None).unwrap();
    assert_eq!(bench.coordinator.machine.injected(), Epoch(1));
    assert!(!bench.coordinator.signals.is_awaited(), "it looks by itself");
}

#[test]
fn a_lane_that_has_read_its_part_gets_its_barrier_before_the_interval_is_over() {
    let mut bench = Bench::new(true);
    let generation = bench.coordinator.machine.generation();
    bench.read.read.add(1);
    bench.coordinator.step(Some(Event::Full { generation, barrier: Epoch(0) })).unwrap();
    assert_eq!(bench.coordinator.machine.injected(), Epoch(1));
    // Another lane says so of the same epoch, whose barrier is on its way to it.
    bench.read.read.add(1);
    bench.coordinator.step(Some(Event::Full { generation, barrier: Epoch(0) })).unwrap();
    assert_eq!(bench.coordinator.machine.injected(), Epoch(1));
    for barrier in 1..EPOCHS_IN_FLIGHT_MAX as u64 {
        bench.read.read.add(1);
        bench.coordinator.step(Some(Event::Full { generation, barrier: Epoch(barrier) })).unwrap();
    }
    let last = EPOCHS_IN_FLIGHT_MAX as u64;
    assert_eq!(bench.coordinator.machine.injected(), Epoch(last));
    bench.read.read.add(1);
    bench.coordinator.step(Some(Event::Full { generation, barrier: Epoch(last) })).unwrap();
    assert_eq!(bench.coordinator.machine.injected(), Epoch(last), "there is no room");
    assert_eq!(bench.turns(), 60, "and nothing to do until there is");
    bench.report(1);
    assert_eq!(bench.coordinator.machine.injected(), Epoch(last + 1), "as soon as there is");
}

#[test]
fn while_all_epochs_are_in_flight_it_waits_for_a_commit() {
    let mut bench = Bench::new(true);
    for _ in 0..EPOCHS_IN_FLIGHT_MAX {
        bench.read.read.add(1);
        bench.pass(INTERVAL);
        bench.coordinator.step(None).unwrap();
    }
    bench.read.read.add(1);
    bench.pass(INTERVAL * 5);
    assert_eq!(bench.turns(), 60);
    bench.report(1);
    assert_eq!(bench.coordinator.machine.injected(), Epoch(EPOCHS_IN_FLIGHT_MAX as u64 + 1), "there is room");
}

#[test]
fn the_time_to_drain_is_not_overslept() {
    let mut bench = Bench::new(true);
    bench.coordinator.step(Some(Event::Stop)).unwrap();
    bench.pass(Duration::from_millis(29_700));
    assert_eq!(bench.coordinator.wait(), Duration::from_millis(300));
    bench.pass(Duration::from_millis(301));
    assert_eq!(bench.coordinator.step(None).unwrap_err().code(), Code::X001);
}

proptest! {
    /// Whatever has happened: without an event it turns for what is due, and no more often than that is tried again.
    #[test]
    fn a_deadline_in_the_past_is_no_reason_to_turn(
        passes in any::<bool>(), steps in prop::collection::vec((0u8..6, 1u64..400), 0..40),
    ) {
        let mut bench = Bench::new(passes);
        let mut reported = 1;
        for (what, ms) in steps {
            match what {
                0 => bench.read.read.add(1),
                1 => bench.pass(Duration::from_millis(ms)),
                2 => {
                    bench.report(reported);
                    reported = bench.coordinator.machine.injected().0 + 1;
                }
                3 if ms < 50 => {
                    bench.coordinator.step(Some(Event::Rewind { of: None, reason: "test".into() })).unwrap();
                    reported = bench.coordinator.machine.injected().0 + 1;
                }
                _ => bench.coordinator.step(None).unwrap(),
            }
        }
        bench.coordinator.step(None).unwrap();
        // Commits are tried again twice a second, going back up to twenty times in the first second.
        let turns = bench.turns();
        prop_assert!(turns <= 60 + 120 + 20 + EPOCHS_IN_FLIGHT_MAX as u64, "{turns} turns in a minute");
    }
}
