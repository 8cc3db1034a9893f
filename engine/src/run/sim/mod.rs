//! A seeded simulation of exactly-once: workers, each with its real epoch machine, coordinator, committer, gate, loops
//! and edges, over a simulated Kafka, with crashes, rebalances, lost answers and late requests.
//!
//! A seed is a schedule: `PIPE_SEED=17 cargo test run::sim` makes one with a trace. `setup` draws what a schedule is
//! about, `state` and `world` pick what happens next, `worker` wires the real parts; `kafka` and `group` are the brokers, `client`
//! and `consumer` what stands for librdkafka, `feed` writes the inputs, `verify` judges the outputs, `sums` what workers say of
//! themselves at their end. `fan_in` and `forge`
//! are two of the things that are broken on purpose, the others are a line where they belong.

mod client;
mod consumer;
mod fan_in;
mod feed;
mod forge;
mod group;
mod kafka;
mod rng;
mod setup;
mod state;
mod sums;
mod verify;
mod worker;
mod world;
mod writer;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use self::rng::Rng;
use self::setup::{Breakage, Setup};
use self::verify::Verdict;
use self::world::World;

/// A schedule that is not done by then has come to a standstill.
const STEPS_MAX: u64 = 150_000;
/// Steps between two looks whether all is done.
const LOOK: u64 = 32;

/// Steps until all is done; `false`: it never is.
fn settle(world: &Arc<World>, done: impl Fn(&World) -> bool) -> bool {
    while !done(world) {
        if world.with(|s| s.steps) > STEPS_MAX {
            return false;
        }
        (0..LOOK).for_each(|_| world.step());
    }
    true
}

fn schedule(world: &Arc<World>) -> Result<(), Verdict> {
    let storm = world.setup.storm;
    while world.with(|s| s.steps < storm && s.failures.is_empty()) {
        world.step();
    }
    world.with(state::State::becalm);
    let unfinished = |what: &str| Verdict::Unfinished(format!("{what}{}", world.describe()));
    let consumed =
        settle(world, |w| w.with(|s| !s.failures.is_empty() || (s.feed.is_done() && s.kafka.is_consumed())));
    if let Some(failure) = world.with(|s| s.failures.first().cloned()) {
        return Err(Verdict::Failed(failure));
    }
    if !consumed {
        return Err(unfinished("not everything is committed"));
    }
    world.stop_all();
    // One that was only starting is asked again.
    let ended = settle(world, |w| {
        w.stop_all();
        w.is_over() || w.with(|s| !s.failures.is_empty())
    });
    if let Some(failure) = world.with(|s| s.failures.first().cloned()) {
        return Err(Verdict::Failed(failure));
    }
    if !ended {
        return Err(unfinished("a worker does not stop"));
    }
    if !settle(world, |w| w.with(|s| s.late.is_empty() && s.kafka.is_settled())) {
        return Err(unfinished("a transaction is left open"));
    }
    world.with(|s| verify::verify(&s.setup, &s.kafka))
}

/// One schedule; answers its steps.
fn run(seed: u64, breakage: Option<Breakage>, tracing: bool) -> Result<u64, Verdict> {
    let mut rng = Rng::new(seed);
    let setup = Setup::draw(&mut rng, breakage);
    if tracing {
        println!("{setup:#?}");
    }
    let world = World::new(setup, rng, tracing);
    let result = std::panic::catch_unwind(AssertUnwindSafe(|| schedule(&world)));
    let steps = world.with(|s| s.steps);
    world.clear();
    let result = result.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(Verdict::Panicked(text.unwrap_or_else(|| "see above".to_owned())))
    });
    result.map(|()| steps)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const SCHEDULES: u64 = 10_000;
    /// Schedules in which a breakage must be noticed.
    const NOTICED: u64 = 3_000;
    /// Some more of them are made, to see what it comes to.
    const TALLIED: u64 = 16;

    fn number(name: &str) -> Option<u64> {
        std::env::var(name).ok()?.parse().ok()
    }

    /// `PIPE_SEED` replays one schedule, `PIPE_SCHEDULES` makes more or fewer.
    #[test]
    fn every_record_comes_out_once_whatever_happens() {
        if let Some(seed) = number("PIPE_SEED") {
            println!("seed {seed}: {:?}", run(seed, None, true));
            assert_eq!(run(seed, None, false).err(), None, "seed {seed}");
            return;
        }
        let (mut steps, mut most, mut failed) = (0, 0, Vec::new());
        for seed in 0..number("PIPE_SCHEDULES").unwrap_or(SCHEDULES) {
            match run(seed, None, false) {
                Ok(taken) => (steps, most) = (steps + taken, most.max(taken)),
                Err(verdict) => failed.push((seed, verdict)),
            }
        }
        println!("{steps} steps, at most {most} a schedule");
        for (seed, verdict) in failed.iter().take(5) {
            println!("PIPE_SEED={seed} fails: {verdict}");
        }
        assert!(
            failed.is_empty(),
            "{} schedules fail, the first with PIPE_SEED={}",
            failed.len(),
            failed[0].0
        );
    }

    #[test]
    fn a_seed_is_a_schedule() {
        for seed in 0..50 {
            assert_eq!(run(seed, None, false), run(seed, None, false), "seed {seed}");
        }
    }

    /// `PIPE_BREAKAGE=DropOnRevoke` makes one of them, `PIPE_TALLY` so many schedules.
    #[test]
    fn every_breakage_is_noticed() {
        let mut missed = Vec::new();
        let only = std::env::var("PIPE_BREAKAGE").ok();
        let is_asked = |breakage: &&Breakage| match &only {
            Some(name) => format!("{breakage:?}") == *name,
            None => !breakage.is_rare(),
        };
        for breakage in Breakage::ALL.iter().filter(is_asked) {
            let (mut first, mut tally) = (None, BTreeMap::new());
            for seed in 0..number("PIPE_TALLY").unwrap_or(NOTICED) {
                if first.is_some() && seed >= number("PIPE_TALLY").unwrap_or(TALLIED) {
                    break;
                }
                let Err(verdict) = run(seed, Some(*breakage), false) else { continue };
                *tally.entry(verdict.name()).or_insert(0) += 1;
                first.get_or_insert((seed, verdict.short()));
            }
            match first {
                Some((seed, what)) => println!("{breakage:?}: {tally:?}, first in schedule {seed}: {what}"),
                None => missed.push(breakage),
            }
        }
        assert!(missed.is_empty(), "nobody notices {missed:?} in {NOTICED} schedules");
    }
}
