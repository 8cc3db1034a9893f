//! What is opened before a worker runs, in the order in which it may fail: state, sinks, dead letters, the transaction,
//! sources.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Sender as Tell;

use super::Options;
use super::commit::position_file::State;
use super::node::dead_letters;
use super::signals::Event;
use crate::clock::Clock;
use crate::config::spec::Guarantee;
use crate::connector::kafka::sink::Transaction;
use crate::connector::kafka::source::Consumers;
use crate::connector::position::{Positions, Replay};
use crate::connector::sink;
use crate::connector::source::{self, Opened, Runtime};
use crate::error::{Code, Error, Result};
use crate::plan::{DeadLetters, Plan, SourceNode};
use crate::repeats::Repeats;
use crate::units::CONTAINER_HELD_BYTES;

/// What a source may ask of the runtime: it asks the coordinator.
struct Link {
    events: Tell<Event>,
}

impl Runtime for Link {
    fn drain(&self, deadline: Duration) -> bool {
        let (done, finished) = crossbeam_channel::bounded(1);
        self.events.send(Event::Drain { done }).is_ok() && finished.recv_timeout(deadline).is_ok()
    }

    fn rewind(&self, reason: &str) {
        // A worker that is gone has nothing to go back to.
        let _ = self.events.send(Event::Rewind { of: None, reason: reason.to_owned() });
    }
}

/// The transaction that all sinks and the dead letters share, where the delivery is exactly once.
pub(super) fn transaction(plan: &Plan, worker: &str) -> Result<Option<Arc<Transaction>>> {
    if plan.guarantee != Guarantee::ExactlyOnce {
        return Ok(None);
    }
    let torn = |names: Vec<String>| Error::internal(format!("sinks do not agree on {}", names.join(", ")));
    let cluster = plan.client().map_err(torn)?;
    let cluster = cluster.ok_or_else(|| Error::internal("no sink writes to a cluster"))?;
    let ids = [0, 1].map(|slot| format!("{}.{worker}.{slot}", plan.name));
    Ok(Some(Arc::new(Transaction::new(cluster, ids, plan.commit_interval))))
}

/// Starting takes at most this long: a broker that elects a coordinator needs some seconds.
const START_WAIT: Duration = Duration::from_secs(60);
const START_PAUSE: Duration = Duration::from_millis(500);

/// Tries again while the error is a passing one.
pub(super) fn patiently(clock: &dyn Clock, mut call: impl FnMut() -> Result<()>) -> Result<()> {
    let deadline = clock.now() + START_WAIT;
    loop {
        match call() {
            Err(error) if error.is_passing() && clock.now() < deadline => {
                if let Some(more) = Repeats::shared().say(&format!("trying again: {error}")) {
                    tracing::warn!(%error, "trying again{more}");
                }
                std::thread::sleep(START_PAUSE);
            }
            other => return other,
        }
    }
}

/// Who this worker is: as it was told, else its name as a static member of the group, else any.
pub(super) fn worker(plan: &Plan, options: &Options) -> String {
    let instance = || plan.sources.iter().find_map(|source| source.prepared.instance());
    options.worker.clone().or_else(instance).unwrap_or_else(random_name)
}

/// Eight random hexadecimal digits: the standard library's hash seeds come from the system's generator.
fn random_name() -> String {
    use std::hash::{BuildHasher, Hasher};
    format!("{:08x}", std::hash::RandomState::new().build_hasher().finish() as u32)
}

pub(super) fn state(plan: &Plan, options: &Options) -> Result<Option<State>> {
    let needed = plan.sources.iter().any(|s| s.kind.replay == Replay::State);
    let (true, Some(folder)) = (needed, &options.state) else { return Ok(None) };
    let mut state = State::open(folder, &plan.name)?;
    if options.fresh {
        state.clear()?;
    }
    Ok(Some(state))
}

pub(super) type LaneSinks = Vec<Box<dyn sink::Sink>>;

pub(super) fn sinks(
    plan: &Plan,
    worker: &str,
    transaction: Option<&Arc<Transaction>>,
    whole: bool,
) -> Result<Vec<LaneSinks>> {
    let (lanes, worker, transaction) = (plan.lanes, worker.to_owned(), transaction.cloned());
    let open = sink::Open { lanes, worker, transaction, traced: true, letters: false, whole };
    plan.sinks
        .iter()
        .map(|s| s.prepared.open(&open).map_err(|e| e.context(format!("sink `{}`", s.name))))
        .collect()
}

pub(super) fn dead_letters(
    plan: &Plan,
    worker: &str,
    transaction: Option<&Arc<Transaction>>,
) -> Result<dead_letters::Writer> {
    match &plan.dead_letters {
        DeadLetters::File(path) => Ok(dead_letters::Writer::File(crate::dead_letter::File::open(path)?)),
        DeadLetters::Kafka(prepared, _) => {
            let (worker, transaction) = (worker.to_owned(), transaction.cloned());
            let open =
                sink::Open { lanes: 1, worker, transaction, traced: false, letters: true, whole: false };
            let mut lanes = prepared.open(&open).map_err(|e| no_letters(&e))?;
            let only = lanes.pop().ok_or_else(|| Error::internal("a sink of one lane opened none"))?;
            Ok(dead_letters::Writer::Kafka(only))
        }
    }
}

/// Dead letters that cannot be opened, with what to do: their sink was made by the engine and not by the file.
fn no_letters(error: &Error) -> Error {
    let own = error.help_text().map_or(String::new(), |help| format!("{help}; "));
    error.clone().coded(Code::K004).help(format!("{own}`dead_letters` names another topic, or a file"))
}

pub(super) fn sources(
    plan: &Plan,
    options: &Options,
    worker: &str,
    state: Option<&State>,
    tell: &Tell<Event>,
) -> Result<Vec<Opened>> {
    let torn = |names: Vec<String>| Error::internal(format!("sources do not agree on {}", names.join(", ")));
    let clusters = plan.sources.iter().filter_map(|source| source.prepared.group());
    let clusters = clusters.map(|(cluster, _)| cluster);
    let ahead = plan.memory.map(|memory| memory.consumer);
    let consumers = Consumers::new(&plan.name, clusters, ahead).map_err(torn)?;
    let consumers = Arc::new(consumers);
    let open = |node: &SourceNode| {
        let kept = match state {
            Some(state) if node.kind.replay == Replay::State => state.load(&node.name)?,
            _ => Vec::new(),
        };
        let resume: Positions = kept.iter().map(|kept| (kept.partition.clone(), kept.next)).collect();
        let runtime = Arc::new(Link { events: tell.clone() });
        let (lanes, worker, until_end, room) = (plan.lanes, worker.to_owned(), options.until_end, plan.room);
        let consumers = Arc::clone(&consumers);
        let held = plan.memory.map_or(CONTAINER_HELD_BYTES, |memory| memory.held);
        let open = source::Open { lanes, worker, until_end, room, held, resume, kept, runtime, consumers };
        node.prepared.open(open)
    };
    plan.sources.iter().map(|s| open(s).map_err(|e| e.context(format!("source `{}`", s.name)))).collect()
}
