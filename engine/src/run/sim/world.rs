//! What happens next: chance picks one of the things that can happen, and so the seed is the schedule.
//!
//! Whoever blocks in a call (a commit, a look-up) lets the others go on from within it ([`World::pump`]): the call stack
//! is then the set of threads that are blocked.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::rng::Rng;
use super::setup::{Breakage, Fault, Setup};
use super::state::{Life, Next, State, Ticks};
use super::worker::{Body, Outcome};
use crate::error::{Code, Error, Result};
use crate::run::signals::Event;
use crate::sync::lock;

/// A thread of a worker.
struct Slot {
    number: u64,
    worker: usize,
    /// `None`: it is in the midst of a turn.
    body: Option<Body>,
    asleep: u64,
}

/// The simulation.
pub struct World {
    pub setup: Setup,
    pub clock: Arc<Ticks>,
    state: Mutex<State>,
    slots: Mutex<Vec<Slot>>,
    depth: AtomicUsize,
}

/// Threads that are blocked within each other's turns.
const DEPTH_MAX: usize = 4;
/// The longest that a thread pauses between tries: a schedule is short.
const PAUSE_MAX: u64 = 20;

impl World {
    pub fn new(setup: Setup, rng: Rng, tracing: bool) -> Arc<Self> {
        Arc::new(Self {
            setup: setup.clone(),
            clock: Arc::default(),
            state: Mutex::new(State::new(setup, rng, tracing)),
            slots: Mutex::default(),
            depth: AtomicUsize::new(0),
        })
    }

    pub fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        let mut state = lock(&self.state);
        let answer = look(&mut state);
        self.clock.0.store(state.now, Ordering::Relaxed);
        answer
    }

    pub fn note(&self, what: impl FnOnce() -> String) {
        lock(&self.state).note(what);
    }

    pub fn is_broken(&self, breakage: Breakage) -> bool {
        self.setup.breakage == Some(breakage)
    }

    pub fn fault(&self, fault: Fault) -> bool {
        self.with(|s| s.fault(fault))
    }

    /// A worker that crashed does nothing any more, wherever it was.
    fn alive(&self, worker: usize) -> Result<()> {
        if self.with(|s| s.lives[worker].dead) {
            return Err(Error::passing(Code::X012, "the worker is dead"));
        }
        Ok(())
    }

    /// Others go on while a worker's thread blocks, perhaps for long.
    pub fn pump(self: &Arc<Self>, worker: usize) -> Result<()> {
        let steps = self.with(|s| match s.rng.below(16) {
            0..10 => 0,
            10..14 => s.rng.below(12),
            14 => s.rng.below(60),
            _ => s.rng.below(240),
        });
        for _ in 0..steps {
            if !self.nested() {
                break;
            }
        }
        while self.with(|s| !s.lives[worker].dead && s.lives[worker].asleep > s.now) && self.nested() {}
        self.alive(worker)
    }

    /// A worker's thread is held up, and meanwhile the group throws its worker out.
    pub fn hold_up(self: &Arc<Self>, worker: usize) -> Result<()> {
        let steps = self.with(|s| {
            let members = s.kafka.group.members.iter();
            let mine: Vec<u32> = members.filter(|(_, m)| m.worker == worker).map(|(id, _)| *id).collect();
            s.note(|| format!("a thread of worker {worker} is held up, the group throws out {mine:?}"));
            mine.into_iter().for_each(|id| s.kafka.group.remove(id, s.now));
            s.rng.range(50, 800)
        });
        for round in 0..2 * steps {
            if round == steps {
                // What went to another worker may come back.
                self.with(State::reshuffle);
            }
            if !self.nested() {
                break;
            }
        }
        self.alive(worker)
    }

    /// Others go on for a moment, as a worker's thread waits for something.
    pub fn wait(self: &Arc<Self>, worker: usize) -> Result<()> {
        if !self.nested() {
            self.with(|s| {
                s.now += 1;
                s.broker()
            });
        }
        self.alive(worker)
    }

    /// One step within a turn; `false`: too deep.
    fn nested(self: &Arc<Self>) -> bool {
        if self.depth.load(Ordering::Relaxed) >= DEPTH_MAX {
            return false;
        }
        self.depth.fetch_add(1, Ordering::Relaxed);
        self.step();
        self.depth.fetch_sub(1, Ordering::Relaxed);
        true
    }

    pub fn step(self: &Arc<Self>) {
        match self.with(State::roll) {
            Next::Nothing => {}
            Next::Actor => self.turn(),
            Next::Start(id) => self.start(id),
            Next::Crash(worker) => {
                self.note(|| format!("worker {worker} crashes"));
                self.kill(worker);
                self.with(|s| s.start_again(worker));
            }
            Next::Stop(worker) => self.stop(worker),
        }
    }

    fn start(self: &Arc<Self>, id: String) {
        let worker = self.with(|s| {
            s.note(|| format!("worker {} starts as {id}", s.lives.len()));
            s.lives.push(Life { id, dead: false, asleep: 0, tell: None, asked: false, turns: 0 });
            s.lives.len() - 1
        });
        self.add(worker, [Body::start(self, worker)]);
    }

    /// Parts of a worker that take turns from now on.
    pub fn add(&self, worker: usize, bodies: impl IntoIterator<Item = Body>) {
        for body in bodies {
            let number = self.with(|s| {
                s.slots += 1;
                s.slots
            });
            lock(&self.slots).push(Slot { number, worker, body: Some(body), asleep: 0 });
        }
    }

    /// Asks a worker to stop; one that is only starting is not there yet.
    pub fn stop(&self, worker: usize) {
        let tell = self.with(|s| s.lives[worker].tell.clone());
        if let Some(tell) = tell {
            self.note(|| format!("worker {worker} is asked to stop"));
            // One that is coming down needs no stop.
            let _ = tell.send(Event::Stop);
            self.with(|s| s.lives[worker].asked = true);
        }
    }

    /// A worker is gone from one moment to the next; what it has sent may still be on its way.
    fn kill(&self, worker: usize) {
        self.with(|s| {
            s.lives[worker].dead = true;
            s.lives[worker].tell = None;
            for client in 0..s.clients.len() {
                if s.clients[client].worker == worker {
                    s.give_up(client);
                }
            }
        });
        let gone: Vec<Slot> = lock(&self.slots).extract_if(.., |slot| slot.worker == worker).collect();
        // Not under the lock.
        drop(gone);
    }

    /// One turn of some part of some worker.
    fn turn(self: &Arc<Self>) {
        let chance = self.with(|s| s.rng.next());
        let (number, worker, mut body) = {
            let mut slots = lock(&self.slots);
            if slots.is_empty() {
                return;
            }
            let at = (chance % slots.len() as u64) as usize;
            let slot = &mut slots[at];
            let state = lock(&self.state);
            if slot.asleep > state.now || state.lives[slot.worker].asleep > state.now {
                return;
            }
            // Without its body it is in the midst of a turn.
            let Some(body) = slot.body.take() else { return };
            (slot.number, slot.worker, body)
        };
        let outcome = body.turn(self);
        self.settle(number, worker, body, outcome);
    }

    /// What a turn came to.
    fn settle(&self, number: u64, worker: usize, body: Body, outcome: Outcome) {
        if self.with(|s| s.lives[worker].dead) {
            return;
        }
        let asleep = match outcome {
            Outcome::On => {
                self.with(State::progress);
                0
            }
            Outcome::Idle => 0,
            Outcome::Pause(pause) => self.with(|s| s.now + s.rng.range(0, pause.min(PAUSE_MAX))),
            Outcome::End => {
                drop(body);
                lock(&self.slots).retain(|slot| slot.number != number);
                return self.end_if_done(worker);
            }
            Outcome::Failed(error) => {
                drop(body);
                self.with(|s| {
                    s.note(|| format!("worker {worker} failed: {error}"));
                    s.failures.push(format!("worker {worker} failed: {error}"));
                });
                return self.kill(worker);
            }
        };
        if let Some(slot) = lock(&self.slots).iter_mut().find(|slot| slot.number == number) {
            (slot.body, slot.asleep) = (Some(body), asleep);
        }
    }

    /// A worker all of whose threads have ended leaves the group.
    fn end_if_done(&self, worker: usize) {
        let members: Vec<Body> = {
            let mut slots = lock(&self.slots);
            let mine = |slot: &&mut Slot| slot.worker == worker;
            if !slots.iter_mut().filter(mine).all(|slot| slot.body.as_ref().is_some_and(Body::is_member)) {
                return;
            }
            slots.iter_mut().filter(mine).filter_map(|slot| slot.body.take()).collect()
        };
        members.iter().for_each(Body::leave);
        self.note(|| format!("worker {worker} has ended"));
        self.kill(worker);
        self.with(|s| {
            if !s.closing {
                s.start_again(worker);
            }
        });
    }

    /// Whether no worker runs or is to be started.
    pub fn is_over(&self) -> bool {
        self.with(|s| s.starts.is_empty() && s.lives.iter().all(|life| life.dead))
    }

    /// Asks all workers to stop that can be asked, for good.
    pub fn stop_all(&self) {
        self.with(|s| s.closing = true);
        let asked = |worker: &usize| self.with(|s| s.lives[*worker].asked);
        for worker in self.with(|s| s.living()).into_iter().filter(|worker| !asked(worker)) {
            self.stop(worker);
        }
    }

    /// Lets go of everything: workers and the world hold each other.
    pub fn clear(&self) {
        let slots = std::mem::take(&mut *lock(&self.slots));
        drop(slots);
        self.with(|s| s.lives.clear());
    }

    /// What every part is at, for one that does not come to its end.
    pub fn describe(&self) -> String {
        let slots = lock(&self.slots);
        slots
            .iter()
            .filter_map(|slot| Some(format!("\n  {} {}", slot.worker, slot.body.as_ref()?.describe())))
            .collect()
    }
}
