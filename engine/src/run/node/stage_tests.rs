//! Tests of `stage.rs` with a real component that fails on the rows it is told.

use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{AsArray, BinaryArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use serde_json::json;

use super::*;
use crate::batch::{Origins, Payload, SourceBatch};
use crate::channel::{Event, edge};
use crate::metrics::Meter;
use crate::progress::{Pulse, Role};
use crate::run::observe::health::Monitor;
use crate::run::observe::stats::Stats;
use crate::run::observe::vitals::Vitals;
use crate::stage::{Host, HostOptions, Limits};
use crate::units::{BATCH_ROWS, Generation, RETRYING_UNREADY, STUCK_AFTER};

/// Time that only the test moves, but for what each look at it adds.
#[derive(Default)]
struct Held {
    now: AtomicU64,
    look: u64,
}

impl Held {
    fn advance(&self, seconds: u64) {
        self.now.fetch_add(seconds, Ordering::Relaxed);
    }
}

impl Clock for Held {
    fn now(&self) -> Duration {
        Duration::from_secs(self.now.fetch_add(self.look, Ordering::Relaxed))
    }
    fn unix_ms(&self) -> i64 {
        0
    }
}

fn batch(values: &[i64]) -> Batch {
    let rows = values.len() as i64;
    let source = SourceBatch {
        source: "in".into(),
        topic: "t".into(),
        partition: 0,
        offsets: (0..rows).collect(),
        timestamps: None,
        keys: None,
        headers: None,
        payload: Payload::Values(BinaryArray::from_iter_values((0..rows).map(|n| n.to_string()))),
        next: rows,
        trace: None,
        hold: None,
    };
    let column = Arc::new(Int64Array::from(values.to_vec())) as _;
    let records = RecordBatch::try_from_iter([("a", column)]).unwrap();
    Batch::new(records, Origins::whole(Arc::new(source)))
}

/// A batch of records, those that are `None` tombstones.
fn mixed(values: &[Option<i64>]) -> Batch {
    let rows: Vec<u32> = (0..values.len() as u32).filter(|n| values[*n as usize].is_some()).collect();
    let gone: Vec<u32> = (0..values.len() as u32).filter(|n| values[*n as usize].is_none()).collect();
    let all = batch(&vec![0; values.len()]).origins;
    let column = Arc::new(values.iter().flatten().copied().collect::<Int64Array>()) as _;
    let records = RecordBatch::try_from_iter([("a", column)]).unwrap();
    let at = gone.iter().map(|n| rows.partition_point(|row| row < n) as u32).collect();
    let tombstones = Tombstones::new(at, all.select(&Selection::Take(gone.into())));
    Batch::new(records, all.select(&Selection::Take(rows.into()))).with_tombstones(Some(tombstones))
}

/// A lane under test, with what it sends.
struct Rig {
    lane: Lane,
    out: Inputs<Batch>,
    letters: Inputs<Vec<Failure>>,
    stats: Arc<metrics::Stage>,
    signals: Arc<Signals>,
    clock: Arc<Held>,
    _sender: Sender<Batch>,
}

impl Rig {
    /// Over the guest that fails as `mode` says.
    fn new(mode: &str, look: u64) -> Self {
        let guest = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/guests/prebuilt/fails.wasm");
        let host = Host::new(HostOptions::default()).unwrap();
        let component = host.load(guest.as_ref()).unwrap();
        let mut limits = Limits::defaults_for(component.bytes());
        // Short where a loop is to be cut, else so long that no slow machine is taken for one.
        limits.time = Duration::from_millis(if mode.contains("loop") { 800 } else { 30_000 });
        let bound = component.bind("bad", &batch(&[]).schema(), &json!({ "mode": mode }), &limits).unwrap();
        let (signals, clock) = (Arc::new(Signals::default()), Arc::new(Held { look, ..Held::default() }));
        let meter = Meter::new("p");
        let current = || Arc::clone(&signals.generation);
        let (failures, letters) = edge(meter.edge("letters"), clock.clone(), current());
        let (sender, receiver) = edge(meter.edge("in -> bad"), clock.clone(), current());
        let (output, out) = edge(meter.edge("bad -> out"), clock.clone(), current());
        let stats = meter.stage("bad");
        let lane = Lane {
            name: "bad".into(),
            outputs: vec![vec![output]],
            bound,
            instance: None,
            inputs: Inputs::new(vec![receiver], current()),
            failures,
            on_failure: OnFailure::DeadLetter,
            stats: Arc::clone(&stats),
            signals: Arc::clone(&signals),
            clock: clock.clone(),
            breaker: Breaker::default(),
            told: None,
        };
        let (out, letters) = (Inputs::new(vec![out], current()), Inputs::new(vec![letters], current()));
        Self { lane, out, letters, stats, signals, clock, _sender: sender }
    }

    /// Runs a batch; answers the values that went on and the failures, both in the order in which they were sent.
    fn run(&mut self, values: &[i64]) -> (Vec<i64>, Vec<(i64, FailureKind)>) {
        let batch = batch(values);
        let (passed, failed) = self.work(move |lane| lane.batch(&batch).is_ok());
        let number = |rows: &Batch| rows.records.column(0).as_primitive::<Int64Type>().values().to_vec();
        let failed = failed.iter().map(|f| (values[f.origin.row], f.kind)).collect();
        (passed.iter().flat_map(number).collect(), failed)
    }

    /// The same of records with tombstones among them; answers the numbers of records.
    fn run_mixed(&mut self, work: impl FnOnce(&mut Lane) -> bool + Send) -> (Vec<usize>, Vec<usize>) {
        let (passed, failed) = self.work(work);
        let numbers = |rows: &Batch| {
            let origins = rows.all_origins();
            (0..origins.len()).map(|at| origins.get(at).row).collect::<Vec<_>>()
        };
        (passed.iter().flat_map(numbers).collect(), failed.iter().map(|f| f.origin.row).collect())
    }

    fn work(&mut self, work: impl FnOnce(&mut Lane) -> bool + Send) -> (Vec<Batch>, Vec<Failure>) {
        let (mut passed, mut failed) = (Vec::new(), Vec::new());
        std::thread::scope(|scope| {
            let (out, letters) = (&mut self.out, &mut self.letters);
            let lane = &mut self.lane;
            let worked = scope.spawn(move || work(lane));
            loop {
                let ended = worked.is_finished();
                let mut quiet = true;
                while let Ok(Event::Data(_, rows)) = out.next(Duration::from_millis(1)) {
                    passed.push(rows);
                    quiet = false;
                }
                while let Ok(Event::Data(_, failures)) = letters.next(Duration::from_millis(1)) {
                    failed.extend(failures);
                    quiet = false;
                }
                if ended && quiet {
                    break;
                }
            }
            assert!(worked.join().unwrap(), "the lane stopped");
        });
        self.balanced();
        (passed, failed)
    }

    fn balanced(&self) {
        let s = &self.stats;
        let of = s.reached.get() + s.filtered.get() + s.rejected.get() + s.failed.get();
        assert_eq!(s.rows_in.get(), of);
        assert_eq!(s.rejected.get() + s.failed.get(), s.dead_lettered.get() + s.skipped.get());
    }
}

/// A full batch with 13 at some rows.
fn with_bad(at: &[usize]) -> Vec<i64> {
    (0..BATCH_ROWS).map(|row| if at.contains(&row) { 13 } else { 1_000 + row as i64 }).collect()
}

#[test]
fn one_bad_row_costs_at_most_thirty_calls_and_its_neighbours_come_out_in_order() {
    let kinds = [
        ("error=13", FailureKind::StageError),
        ("trap=13", FailureKind::Trap),
        ("hoard=13", FailureKind::OutOfMemory),
        ("invalid=13", FailureKind::InvalidOutput),
    ];
    for (mode, kind) in kinds {
        let mut rig = Rig::new(mode, 0);
        for at in [0, 5_000, BATCH_ROWS - 1] {
            let before = rig.stats.calls.get();
            let values = with_bad(&[at]);
            let (passed, failed) = rig.run(&values);
            let calls = rig.stats.calls.get() - before;
            assert!(calls <= 30, "{mode} at {at}: {calls} calls");
            assert_eq!(failed, [(13, kind)]);
            assert!(passed.iter().eq(values.iter().filter(|v| **v != 13)), "{mode} at {at}");
        }
        assert_eq!(rig.stats.breaker_open.get(), 0);
    }
}

#[test]
fn each_bad_row_costs_calls_by_the_logarithm_and_rejections_cost_none() {
    let mut rig = Rig::new("trap=13,reject=14", 0);
    let at: Vec<usize> = (0..8).map(|n| n * 1_000 + 77).collect();
    let mut values = with_bad(&at);
    values[40] = 14;
    let (passed, mut failed) = rig.run(&values);
    assert!(rig.stats.calls.get() <= 8 * 30, "{} calls", rig.stats.calls.get());
    assert!(passed.iter().eq(values.iter().filter(|v| **v > 14)));
    failed.sort_unstable();
    assert_eq!(failed.len(), 9);
    assert_eq!(failed[8], (14, FailureKind::Rejected));
    let mut rig = Rig::new("reject=13", 0);
    let (passed, failed) = rig.run(&with_bad(&at));
    assert_eq!((rig.stats.calls.get(), failed.len(), passed.len()), (1, 8, BATCH_ROWS - 8));
}

/// How many calls that takes, and how many of them have the whole time, is what the tests of `search.rs` count.
#[test]
fn a_row_on_which_the_stage_loops_is_found_and_its_neighbours_come_out_in_order() {
    let mut rig = Rig::new("loop=13", 0);
    let values = with_bad(&[4_321]);
    let (passed, failed) = rig.run(&values);
    assert_eq!(failed, [(13, FailureKind::Deadline)]);
    assert!(passed.iter().eq(values.iter().filter(|v| **v != 13)));
}

#[test]
fn an_instance_that_is_worn_out_makes_no_row_a_bad_one() {
    // Each third call of an instance traps: the batch is tried again on a fresh one.
    let mut rig = Rig::new("tired=3", 0);
    for _ in 0..7 {
        let (passed, failed) = rig.run(&[1, 2, 3]);
        assert_eq!((passed, failed), (vec![1, 2, 3], vec![]));
    }
    // In the search for a bad row a single row may meet a worn instance: it is not given up for that.
    let mut rig = Rig::new("tired=2,trap=13", 0);
    let values: Vec<i64> = (1..=64).map(|n| if n == 40 { 13 } else { 100 + n }).collect();
    let (passed, failed) = rig.run(&values);
    assert_eq!(failed, [(13, FailureKind::Trap)]);
    assert!(passed.iter().eq(values.iter().filter(|v| **v != 13)));
}

#[test]
fn a_stage_that_only_fails_stops_the_worker_with_its_name() {
    // Each look at the clock takes a second.
    let mut rig = Rig::new("trap=13", 1);
    let Err(Halt::Failed(error)) = rig.lane.batch(&batch(&[13; 1_000])) else { panic!("it goes on") };
    assert_eq!(error.code(), Code::W003);
    assert!(error.to_string().contains("stage `bad`") && error.to_string().contains("trap"), "{error}");
    assert!(rig.stats.calls.get() < 200, "it was not searched to the end: {} calls", rig.stats.calls.get());
    assert_eq!(rig.stats.breaker_open.get(), 1);
}

#[test]
fn a_trickle_of_bad_records_is_no_broken_stage() {
    let mut rig = Rig::new("trap=13", 0);
    for _ in 0..60 {
        assert_eq!(rig.run(&[13]), (vec![], vec![(13, FailureKind::Trap)]));
        rig.clock.advance(60);
    }
    assert_eq!(rig.stats.dead_lettered.get(), 60);
    // The breaker is open by then, which costs each a pause; the first good row closes it.
    assert_eq!(rig.stats.breaker_open.get(), 1);
    rig.run(&[1]);
    assert_eq!(rig.stats.breaker_open.get(), 0);
}

#[test]
fn an_open_breaker_makes_the_worker_unready_until_a_call_succeeds() {
    let mut rig = Rig::new("trap=13", 0);
    let clock: Arc<dyn Clock> = rig.clock.clone();
    let pulse = Arc::new(Pulse::new(Role::Stage, &"bad".into(), Some(0), &clock));
    let idle = Inputs::new(Vec::new(), Arc::clone(&rig.signals.generation));
    rig.lane.inputs = std::mem::replace(&mut rig.lane.inputs, idle).watched(&pulse);
    let meter = Meter::new("p");
    let stats = Arc::new(Stats {
        pipeline: "p".into(),
        worker: meter.worker(),
        sources: Vec::new(),
        stages: Vec::new(),
        sinks: Vec::new(),
        edges: Vec::new(),
        letters: meter.edge("letters"),
        causes: meter.letters(),
        accepted: meter.accepted(),
        vitals: Arc::new(Vitals::new(Arc::clone(&clock))),
        started: Duration::ZERO,
        clock,
    });
    stats.vitals.watch(pulse);
    let monitor = Monitor::new(stats, STUCK_AFTER);
    let later = RETRYING_UNREADY.as_secs() + 1;

    rig.run(&[13, 1, 13]);
    rig.clock.advance(later);
    assert!(monitor.look().ready, "some rows are bad: {:?}", monitor.look().reasons);
    rig.run(&[13; 24]);
    assert_eq!(rig.stats.breaker_open.get(), 1);
    assert!(monitor.look().ready, "it has only begun");
    rig.clock.advance(later);
    let health = monitor.look();
    assert!(!health.ready && health.live, "a restart would not help");
    let reason = &health.reasons[0];
    assert_eq!((&*reason.place, reason.state), ("stage `bad`, lane 0", "retrying"));
    assert!(reason.message.contains("nothing but failures, now with trap"), "{}", reason.message);
    rig.run(&[1]);
    assert!(monitor.look().ready);
}

#[test]
fn rows_that_a_rewind_takes_back_are_in_no_sum() {
    let mut rig = Rig::new("trap=13", 0);
    rig.signals.generation.raise(Generation(1));
    assert!(rig.lane.batch(&batch(&[1, 13, 2])).is_ok());
    rig.balanced();
    assert_eq!(rig.stats.dead_lettered.get(), 0);
}

#[test]
fn a_pause_ends_when_the_worker_does() {
    let mut rig = Rig::new("trap=13", 0);
    for _ in 0..1_000 {
        rig.lane.breaker.failed(Duration::from_secs(1));
    }
    rig.signals.down.store(true, Ordering::Relaxed);
    // Each pause would be a second: the test would not end in an hour.
    (0..5_000).for_each(|_| rig.lane.rest());
}

/// Records by chance: good rows, rows of these values, and tombstones.
fn by_chance(chance: &mut impl FnMut(u64) -> u64, values: &[i64]) -> Vec<Option<i64>> {
    let len = 1 + chance(60);
    (0..len)
        .map(|n| match chance(10) {
            0..4 => None,
            4 if !values.is_empty() => Some(values[chance(values.len() as u64) as usize]),
            _ => Some(1_000 + n as i64),
        })
        .collect()
}

#[test]
fn tombstones_keep_their_place_among_rows_that_are_searched_for_bad_ones() {
    let mut state = 1u64;
    let mut chance = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for (mode, bad) in [("trap=13,reject=14", &[13, 14][..]), ("error=13", &[13]), ("reject=1", &[])] {
        let mut rig = Rig::new(mode, 0);
        for _ in 0..12 {
            let values = by_chance(&mut chance, bad);
            let batch = mixed(&values);
            let (passed, failed) = rig.run_mixed(move |lane| lane.batch(&batch).is_ok());
            let is_bad = |n: &usize| values[*n].is_some_and(|value| bad.contains(&value));
            assert_eq!(passed, (0..values.len()).filter(|n| !is_bad(n)).collect::<Vec<_>>(), "{values:?}");
            let mut failed = failed;
            failed.sort_unstable();
            assert_eq!(failed, (0..values.len()).filter(is_bad).collect::<Vec<_>>(), "{values:?}");
            // An instance that failed is worn out; the breaker is closed by what succeeds.
            rig.lane.breaker = Breaker::default();
        }
        let tombstones = rig.run_mixed(|lane| lane.batch(&mixed(&[None, None])).is_ok());
        assert_eq!(tombstones, (vec![0, 1], vec![]), "they enter no stage");
    }
}

#[test]
fn a_stage_that_sorts_is_given_what_lies_between_tombstones() {
    let mut rig = Rig::new("reject=1", 0);
    let values = [Some(5), Some(6), None, Some(7), None, None, Some(8), Some(9)];
    let batch = mixed(&values);
    let backwards: Vec<u32> = (0..5).rev().collect();
    let selection = Selection::Take(backwards.into());
    let records = batch.records.slice(0, 5);
    let emissions = vec![Emission { port: 0, selection, records }];
    let outcome = Outcome { emissions, rejections: Vec::new(), cost: Default::default() };
    let (passed, _) = rig.run_mixed(move |lane| lane.emit(&batch, outcome).is_ok());
    assert_eq!(passed, (0..8).collect::<Vec<_>>());
    assert_eq!((rig.stats.calls.get(), rig.stats.rows_in.get()), (3, 8));
}

#[test]
fn tombstones_leave_on_a_port_without_rows() {
    let mut rig = Rig::new("reject=1", 0);
    let batch = mixed(&[Some(5), None, Some(6)]);
    let outcome = Outcome { emissions: Vec::new(), rejections: Vec::new(), cost: Default::default() };
    let (passed, _) = rig.run_mixed(move |lane| lane.emit(&batch, outcome).is_ok());
    assert_eq!(passed, [1]);
    let s = &rig.stats;
    assert_eq!((s.rows_in.get(), s.reached.get(), s.filtered.get(), s.rows_out.get()), (3, 1, 2, 1));
}
