//! What a run does to the workers, the brokers and the network.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::report::Restart;
use super::schedule::{Action, Faults, How, SESSION};
use super::{PAUSE, Result, Run, Site};
use crate::cluster::{BROKERS, Cluster, Of};
use crate::kafka::Broker;
use crate::proxy::Flow;

/// A broker that returned is in sync after this long.
const WHOLE: Duration = Duration::from_secs(120);

impl Run<'_> {
    /// Which faults there are: those of a cluster are the sense of one.
    pub(super) fn faults(&self) -> Faults {
        match self.site {
            Site::Several(_) => Faults::Several,
            Site::One(_) if self.options.faults => Faults::One,
            Site::One(_) => Faults::None,
        }
    }

    /// Lets the crew work for a while; a broker whose pause is over is started again.
    pub(super) fn rest(&mut self, time: Duration) -> Result<()> {
        let until = Instant::now() + time;
        while let (Some((broker, due)), Site::Several(cluster)) = (self.away, self.site) {
            if due > until {
                break;
            }
            self.crew.rest(due.saturating_duration_since(Instant::now()))?;
            cluster.resume(broker);
            self.away = None;
        }
        self.crew.rest(until.saturating_duration_since(Instant::now()))
    }

    /// Waits until all brokers are there and in sync: of three, no two are to be away at once.
    pub(super) fn whole_again(&mut self) -> Result<()> {
        let Site::Several(cluster) = self.site else { return Ok(()) };
        if let Some((_, due)) = self.away {
            self.rest(due.saturating_duration_since(Instant::now()))?;
        }
        let (started, mut since) = (Instant::now(), Instant::now());
        while !cluster.is_whole() {
            if started.elapsed() > 3 * WHOLE {
                return Err(format!("the cluster is not whole within {:?}", 3 * WHOLE).into());
            }
            // A broker that was told of a leader's move too late gives a partition up until the next move, and says so in
            // its log ("marked as failed"). As an operator would, it is started again.
            if since.elapsed() > WHOLE
                && let Some(broker) = cluster.lagging().and_then(|lagging| lagging.first().copied())
            {
                self.say(&format!(
                    "broker {broker} does not come back into sync by itself: it is started again"
                ));
                cluster.stop(broker);
                cluster.resume(broker);
                since = Instant::now();
            }
            self.crew.rest(PAUSE)?;
        }
        Ok(())
    }

    pub(super) fn act(&mut self, action: Action) -> Result<()> {
        if let Action::Kill { worker, .. }
        | Action::FreezeWorker { worker, .. }
        | Action::CrashBoth { worker, .. }
        | Action::IsolateWorker { worker, .. } = action
        {
            self.crew.up(worker)?;
        }
        if !matches!(action, Action::Kill { .. }) {
            self.whole_again()?;
        }
        self.say(&action.to_string());
        self.deeds.done.push((self.start.elapsed(), matches!(action, Action::Kill { .. })));
        match (action, self.site) {
            (Action::Kill { worker, pause }, _) => self.crew.kill(worker, pause),
            (Action::FreezeWorker { worker, time }, _) => {
                self.crew.signal(worker, "-STOP")?;
                self.rest(time)?;
                self.crew.signal(worker, "-CONT")
            }
            (Action::RollingRestart, _) => self.rolling_restart(),
            (action, Site::One(broker)) => self.act_on_one(action, broker),
            (action, Site::Several(cluster)) => self.act_on_several(action, cluster),
        }
    }

    fn act_on_one(&mut self, action: Action, broker: &Broker) -> Result<()> {
        match action {
            Action::CrashBroker { pause } => crash(broker, pause),
            Action::CrashBoth { worker, pause } => {
                self.crew.kill(worker, Duration::ZERO)?;
                crash(broker, pause);
            }
            Action::FreezeBroker { time } => {
                broker.freeze();
                std::thread::sleep(time);
                broker.thaw();
            }
            other => return Err(format!("one broker: {other}").into()),
        }
        Ok(())
    }

    fn act_on_several(&mut self, action: Action, cluster: &Cluster) -> Result<()> {
        match action {
            Action::CrashOne { broker, pause } => self.crash_one(cluster, Some(broker), pause),
            Action::StopOne { broker, pause } => {
                cluster.stop(broker);
                self.away = Some((broker, Instant::now() + pause));
                Ok(())
            }
            Action::FreezeOne { broker, time } => {
                cluster.freeze(broker);
                let rested = self.rest(time);
                cluster.thaw(broker);
                rested
            }
            Action::CrashGroupCoordinator { pause } => {
                let broker = cluster.coordinator(Of::Group, &self.topology.name);
                self.crash_one(cluster, broker, pause)
            }
            Action::CrashTransactionCoordinator { worker, pause } => {
                let id = format!("{}.w{worker}.0", self.topology.name);
                let broker = cluster.coordinator(Of::Transaction, &id);
                self.crash_one(cluster, broker, pause)
            }
            Action::PartBrokers { third, how, time } => {
                let [a, b] = [(third + 1) % BROKERS, (third + 2) % BROKERS];
                self.interrupt(time, how, |flow| cluster.between(a, b, flow))
            }
            Action::IsolateBroker { broker, how, time } => self.interrupt(time, how, |flow| {
                (0..BROKERS)
                    .filter(|other| *other != broker)
                    .for_each(|other| cluster.between(broker, other, flow));
            }),
            Action::PartWorkers { broker, how, time } => {
                self.interrupt(time, how, |flow| cluster.to_workers(broker, flow))
            }
            Action::IsolateWorker { worker, how, time } => self.interrupt(time, how, |flow| {
                (0..BROKERS).for_each(|broker| cluster.to_worker(broker, &format!("w{worker}"), flow));
            }),
            other => Err(format!("several brokers: {other}").into()),
        }
    }

    fn interrupt(&mut self, time: Duration, how: How, set: impl Fn(Flow)) -> Result<()> {
        set(match how {
            How::Cut => Flow::Cut,
            How::Hole => Flow::Hole,
        });
        let rested = self.rest(time);
        set(Flow::Open);
        rested
    }

    /// It is started again while the run goes on.
    fn crash_one(&mut self, cluster: &Cluster, broker: Option<usize>, pause: Duration) -> Result<()> {
        let broker = broker.ok_or("nobody says which broker coordinates")?;
        self.say(&format!("it is broker {broker}"));
        cluster.crash(broker);
        self.away = Some((broker, Instant::now() + pause));
        Ok(())
    }

    fn rolling_restart(&mut self) -> Result<()> {
        // What was killed before is another matter: the group settles first.
        self.crew.all_up()?;
        self.crew.rest(SESSION + Duration::from_secs(3))?;
        let partitions = self.topology.input_partitions();
        for at in 0..self.crew.count() {
            self.deeds.done.push((self.start.elapsed(), false));
            let (from, marks) = (self.start.elapsed(), self.crew.marks());
            self.crew.stop(at)?;
            self.crew.start(at)?;
            let started = Instant::now();
            while self.crew.assigned(at, marks[at]).is_empty() && started.elapsed() < SESSION {
                self.crew.rest(PAUSE)?;
            }
            self.crew.rest(Duration::from_secs(1))?;
            let given = |worker| self.crew.assigned(worker, marks[worker]);
            let moved: BTreeSet<(String, i32)> = (0..self.crew.count()).flat_map(given).collect();
            let moved =
                partitions.iter().enumerate().filter(|(_, p)| moved.contains(*p)).map(|(at, _)| at).collect();
            self.deeds.restarts.push(Restart { from, to: self.start.elapsed(), moved });
        }
        Ok(())
    }
}

/// kill -9 of the only broker. While it is away no worker is started: without a broker that is refused, and rightly so.
fn crash(broker: &Broker, pause: Duration) {
    broker.crash();
    std::thread::sleep(pause);
    broker.resume_from_stop();
}
