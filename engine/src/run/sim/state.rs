//! The state of the simulation, and the roll of what happens next.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::client::{Client, Late};
use super::feed::Feed;
use super::kafka::Kafka;
use super::rng::Rng;
use super::setup::{Breakage, Fault, Setup};
use crate::clock::Clock;
use crate::run::signals::Event;

/// Milliseconds that pass as the simulation says.
#[derive(Default)]
pub struct Ticks(pub AtomicU64);

impl Clock for Ticks {
    fn now(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }

    fn unix_ms(&self) -> i64 {
        self.0.load(Ordering::Relaxed) as i64
    }
}

/// What becomes of a worker.
pub struct Life {
    /// Its identity, which a worker that is started later may have again.
    pub id: String,
    pub dead: bool,
    /// Stopped from outside until then.
    pub asleep: u64,
    pub tell: Option<crossbeam_channel::Sender<Event>>,
    /// It was asked to stop.
    pub asked: bool,
    /// How often another client was written by from then on.
    pub turns: u64,
}

/// Everything but the workers' own parts.
pub struct State {
    pub setup: Setup,
    pub rng: Rng,
    pub now: u64,
    pub kafka: Kafka,
    pub clients: Vec<Client>,
    pub late: Vec<Late>,
    pub lives: Vec<Life>,
    pub feed: Feed,
    /// No faults any more.
    pub calm: bool,
    /// Workers that end are not started again.
    pub closing: bool,
    pub steps: u64,
    /// Workers to be started, and when.
    pub starts: Vec<(u64, String)>,
    /// Crashes, evictions and the like that may still come.
    pub disasters: u32,
    /// Workers that ended with an error: they never should.
    pub failures: Vec<String>,
    pub quiet: u32,
    pub leap: u64,
    pub tracing: bool,
    /// Threads that were ever started.
    pub slots: u64,
}

/// What happens next.
pub enum Next {
    Actor,
    Nothing,
    Crash(usize),
    Stop(usize),
    Start(String),
}

/// Turns in which nothing happens before time leaps.
const QUIET_MAX: u32 = 40;
const LEAP_MAX: u64 = 100;

impl State {
    pub fn new(setup: Setup, rng: Rng, tracing: bool) -> Self {
        let mut kafka = Kafka::default();
        kafka.group.partitions = setup.inputs();
        let starts = (0..setup.workers).map(|worker| (0, format!("w{worker}"))).collect();
        Self {
            feed: Feed::new(&setup),
            disasters: setup.disasters,
            setup,
            rng,
            now: 0,
            kafka,
            clients: Vec::new(),
            late: Vec::new(),
            lives: Vec::new(),
            calm: false,
            closing: false,
            steps: 0,
            starts,
            failures: Vec::new(),
            quiet: 0,
            leap: 1,
            tracing,
            slots: 0,
        }
    }

    /// A line of the trace.
    pub fn note(&self, what: impl FnOnce() -> String) {
        if self.tracing {
            println!("{:>6} {:>7} ms  {}", self.steps, self.now, what());
        }
    }

    /// Whether a fault strikes.
    pub fn fault(&mut self, fault: Fault) -> bool {
        !self.calm && self.rng.chance(self.setup.rates[fault as usize])
    }

    pub fn is_broken(&self, breakage: Breakage) -> bool {
        self.setup.breakage == Some(breakage)
    }

    pub fn progress(&mut self) {
        (self.quiet, self.leap) = (0, 1);
    }

    pub fn roll(&mut self) -> Next {
        self.steps += 1;
        self.now += self.rng.below(3) as u64;
        self.quiet += 1;
        if self.quiet > QUIET_MAX {
            self.now += self.leap;
            self.leap = (self.leap * 2).min(LEAP_MAX);
        }
        if let Some(at) = self.starts.iter().position(|(at, _)| *at <= self.now) {
            return Next::Start(self.starts.swap_remove(at).1);
        }
        let done = match self.rng.below(100) {
            0..62 => return Next::Actor,
            62..75 => self.broker(),
            75..90 => self.wire(),
            90..92 => self.arrive(),
            92..98 => self.feed_once(),
            _ => return self.disaster(),
        };
        if done {
            self.progress();
        }
        Next::Nothing
    }

    /// What brokers do by themselves.
    pub fn broker(&mut self) -> bool {
        let Self { kafka, rng, now, lives, setup, calm, .. } = self;
        for member in kafka.group.members.values_mut() {
            let life = &lives[member.worker];
            if !life.dead && life.asleep <= *now {
                member.heard = *now;
            }
        }
        let silent = kafka.group.members.iter().find(|(_, m)| m.heard + setup.session < *now);
        if let Some(id) = silent.map(|(id, _)| *id) {
            kafka.group.remove(id, *now);
            self.note(|| format!("the group gives up member {id}"));
            return true;
        }
        let slow = !*calm && !rng.chance(setup.markers);
        kafka.group.tick(setup.rebalance_wait, *now) || (!slow && kafka.tick(rng, *now))
    }

    fn feed_once(&mut self) -> bool {
        let Self { feed, kafka, rng, calm, .. } = self;
        feed.step(kafka, rng, *calm)
    }

    pub fn living(&self) -> Vec<usize> {
        (0..self.lives.len()).filter(|&w| !self.lives[w].dead).collect()
    }

    fn disaster(&mut self) -> Next {
        let living = self.living();
        if self.calm || self.disasters == 0 || living.is_empty() || !self.rng.chance(self.setup.disaster_rate)
        {
            return Next::Nothing;
        }
        self.disasters -= 1;
        let worker = self.rng.pick(&living);
        match self.rng.below(6) {
            0 | 1 => Next::Crash(worker),
            2 => {
                let members: Vec<u32> = self.kafka.group.members.keys().copied().collect();
                if !members.is_empty() {
                    let id = self.rng.pick(&members);
                    self.note(|| format!("the group throws out member {id}"));
                    self.kafka.group.remove(id, self.now);
                }
                Next::Nothing
            }
            3 => {
                self.reshuffle();
                Next::Nothing
            }
            4 => {
                self.lives[worker].asleep = self.now + self.rng.range(10, 3 * self.setup.session);
                self.note(|| format!("worker {worker} is stopped until {}", self.lives[worker].asleep));
                Next::Nothing
            }
            _ => Next::Stop(worker),
        }
    }

    /// The group deals its partitions anew.
    pub fn reshuffle(&mut self) {
        self.note(|| "the group moves partitions".to_owned());
        self.kafka.group.reshuffle = true;
        self.kafka.group.rebalance(self.now);
    }

    /// A worker's place is taken by another one, under its id or a new one.
    pub fn start_again(&mut self, worker: usize) {
        let id =
            if self.rng.chance(500) { self.lives[worker].id.clone() } else { format!("n{}", self.steps) };
        let at = self.now + self.rng.range(0, 2 * self.setup.session);
        self.starts.push((at, id));
    }

    /// Faults end, whoever is stopped goes on.
    pub fn becalm(&mut self) {
        self.note(|| "calm".to_owned());
        self.calm = true;
        self.lives.iter_mut().for_each(|life| life.asleep = 0);
    }
}
