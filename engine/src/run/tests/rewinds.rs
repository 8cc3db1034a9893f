//! Going back to what is committed, at any moment: nothing is lost, and the sums balance.

use proptest::prelude::*;

use super::*;

#[test]
fn a_rewind_behind_the_last_barrier_is_carried_out() {
    let run = Run::new(Script { records: 50, ..Script::default() });
    run.world.held.store(true, Ordering::Relaxed);
    let running = run.start();
    while run.world.polled.load(Ordering::Relaxed) < 100 {
        std::thread::sleep(Duration::from_millis(1));
    }
    // Time for the last barriers to come to the sinks, which cannot prepare their epoch.
    std::thread::sleep(Duration::from_millis(300));
    lock(&run.world.runtime).clone().unwrap().rewind("test");
    run.world.held.store(false, Ordering::Relaxed);
    let (done, ended) = crossbeam_channel::bounded(1);
    std::thread::spawn(move || done.send(running.wait().1));
    ended.recv_timeout(Duration::from_secs(20)).expect("it ends").unwrap();
    // The sink may have prepared its rows just before it saw the rewind: then they are there twice.
    assert!(lock(&run.world.written).values().all(|written| written.ends_with(&run.expected())));
    assert!(lock(&run.world.committed).values().all(|next| *next == 50));
}

#[test]
fn refused_records_of_a_rewound_epoch_are_counted_once() {
    for on_failure in [OnFailure::DeadLetter, OnFailure::Skip] {
        let script = Script { records: 50, lanes: 1, refuse_every: 7, on_failure, ..Script::default() };
        let run = Run::new(script);
        run.world.held.store(true, Ordering::Relaxed);
        let running = run.start();
        // The second call of the sink is that of the epoch, which it cannot prepare: the rows were taken by then.
        while run.world.calls.load(Ordering::Relaxed) < 2 {
            std::thread::sleep(Duration::from_millis(1));
        }
        lock(&run.world.runtime).clone().unwrap().rewind("test");
        run.world.held.store(false, Ordering::Relaxed);
        let (summary, result) = running.wait();
        result.unwrap();
        assert_eq!(summary.rewinds, 1);
        let sink = &summary.sinks[0];
        let refused = 50 - run.expected().len() as u64;
        assert_eq!(sink.dead_lettered + sink.skipped, refused * sink.received / 50, "{sink:?}");
        let letters = run.letters() as u64;
        assert!(if on_failure == OnFailure::Skip { letters == 0 } else { letters >= refused }, "{letters}");
    }
}

#[test]
fn tombstones_are_passed_in_their_place_skipped_or_dead_letters() {
    for on_tombstone in [OnTombstone::Pass, OnTombstone::Skip, OnTombstone::DeadLetter] {
        let run = Run::new(Script { gone_every: 5, bad_every: 9, on_tombstone, ..Script::default() });
        let (summary, result) = run.start().wait();
        result.unwrap();
        let expected = run.expected();
        assert_eq!(*lock(&run.world.written), BTreeMap::from([(0, expected.clone()), (1, expected)]));
        let (gone, bad) = (2 * 200, 2 * (0..1_000).filter(|n| n % 9 == 0 && n % 5 != 3).count() as u64);
        let source = &summary.sources[0];
        let letters = match on_tombstone {
            OnTombstone::DeadLetter => bad + gone,
            _ => bad,
        };
        let skipped = if on_tombstone == OnTombstone::Skip { gone } else { 0 };
        assert_eq!((source.dead_lettered, source.skipped), (letters, skipped));
        assert_eq!(run.letters() as u64, letters);
        assert_eq!(summary.sinks[0].written, source.decoded);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Rewinds at any moment, any lanes and batch sizes, stumbling and refusing sinks: nothing is lost, order is kept,
    /// and the sums balance.
    #[test]
    fn rewinds_lose_nothing(
        lanes in 1usize..4, rows in 1usize..60, stumble_every in prop::sample::select(vec![0usize, 3, 11]),
        refuse_every in prop::sample::select(vec![0i64, 7]), skips: bool,
        gone_every in prop::sample::select(vec![0i64, 5]), on_tombstone in prop::sample::select(vec![
            OnTombstone::Pass, OnTombstone::Skip, OnTombstone::DeadLetter,
        ]),
        rewinds in prop::collection::vec(0u64..1_500, 0..5), is_tight: bool,
    ) {
        let memory = is_tight.then(tight);
        let on_failure = if skips { OnFailure::Skip } else { OnFailure::DeadLetter };
        let script = Script { records: 500, lanes, rows, bad_every: 13, refuse_every, on_failure, ..Script::default() };
        let script = Script { stumble_every, memory, gone_every, on_tombstone, ..script };
        let run = Run::new(Script { pause: Duration::from_micros(100), ..script });
        let running = run.start();
        let runtime = lock(&run.world.runtime).clone().unwrap();
        let mut at = rewinds;
        at.sort_unstable();
        for polled in at {
            let limit = std::time::Duration::from_secs(5);
            let clock = SystemClock::default();
            while run.world.polled.load(Ordering::Relaxed) < polled && clock.now() < limit {
                if run.world.polled.load(Ordering::Relaxed) >= 500 * lanes as u64 { break; }
                std::thread::sleep(Duration::from_micros(200));
            }
            runtime.rewind("test");
        }
        let (_, result) = running.wait();
        prop_assert!(result.is_ok(), "{:?}", result);
        let expected = run.expected();
        for (partition, written) in lock(&run.world.written).iter() {
            let mut first = Vec::new();
            for n in written {
                // At least once: a repeat goes back to what was committed, never over a gap.
                if first.last().is_none_or(|last| n > last) { first.push(*n); }
            }
            prop_assert_eq!(&first, &expected, "partition {}", partition);
        }
        let committed = lock(&run.world.committed).clone();
        prop_assert!(committed.values().all(|next| *next == 500), "{:?}", committed);
    }
}
