//! How long things took, from outside: a thread asks the broker again and again how far everything has come, and
//! afterwards the history is searched. Printed, never asserted.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::consumer::BaseConsumer;

use super::Result;
use super::read::{Isolation, client, committed, ends};
use super::topology::Topology;

/// Between two looks: what is printed is not finer than this.
const LOOK: Duration = Duration::from_millis(100);
/// An answer is waited for this long.
const WAIT: Duration = Duration::from_secs(1);

/// When a number reached a value: only changes, rising in time.
pub type Series = Vec<(Duration, i64)>;

/// How far everything had come, when. Times are since the start.
#[derive(Debug, Default, Clone)]
pub struct History {
    /// Ends of the input partitions.
    pub inputs: Vec<Series>,
    /// What is committed of each.
    pub committed: Vec<Series>,
    /// Ends of the output partitions.
    pub written: Vec<Series>,
    /// How much of each a `read_committed` reader sees.
    pub visible: Vec<Series>,
}

/// The thread that looks.
pub struct Watch {
    stop: Arc<AtomicBool>,
    history: Arc<Mutex<History>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Starts to look; times are since `start`.
    pub fn start(brokers: &str, topology: &Topology, start: Instant) -> Result<Self> {
        let (inputs, outputs) = (topology.input_partitions(), topology.output_partitions());
        let plain = client(brokers, &topology.name, Isolation::Uncommitted)?;
        let strict = client(brokers, &topology.name, Isolation::Committed)?;
        let history = History {
            inputs: vec![Series::new(); inputs.len()],
            committed: vec![Series::new(); inputs.len()],
            written: vec![Series::new(); outputs.len()],
            visible: vec![Series::new(); outputs.len()],
        };
        let (stop, history) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(history)));
        let (stopped, shared) = (Arc::clone(&stop), Arc::clone(&history));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::SeqCst) {
                // A broker that is away has no news.
                let _ = look(&plain, &strict, &inputs, &outputs, start, &shared);
                std::thread::sleep(LOOK);
            }
        });
        Ok(Self { stop, history, thread: Some(thread) })
    }

    /// What was seen so far.
    pub fn history(&self) -> History {
        self.history.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn look(
    plain: &BaseConsumer,
    strict: &BaseConsumer,
    inputs: &[(String, i32)],
    outputs: &[(String, i32)],
    start: Instant,
    history: &Mutex<History>,
) -> Result<()> {
    let note = |numbers: Vec<i64>, series: fn(&mut History) -> &mut Vec<Series>| {
        let at = start.elapsed();
        let mut history = history.lock().unwrap_or_else(PoisonError::into_inner);
        for (series, number) in series(&mut history).iter_mut().zip(numbers) {
            if series.last().is_none_or(|(_, last)| *last != number) {
                series.push((at, number));
            }
        }
    };
    note(ends(plain, inputs, WAIT)?, |h| &mut h.inputs);
    note(committed(plain, inputs, WAIT)?, |h| &mut h.committed);
    note(ends(plain, outputs, WAIT)?, |h| &mut h.written);
    note(ends(strict, outputs, WAIT)?, |h| &mut h.visible);
    Ok(())
}

/// The value at a time; the first one known where that is later.
fn value(series: &Series, at: Duration) -> Option<i64> {
    let index = series.partition_point(|(time, _)| *time <= at);
    series.get(index.saturating_sub(1)).map(|(_, value)| *value)
}

/// How long after `from` every one of `numbers` had passed what its partner in `limits` was at `from`; `None`: never.
fn passed(numbers: &[Series], limits: &[Series], from: Duration) -> Option<Duration> {
    let times = numbers.iter().zip(limits).map(|(numbers, limits)| {
        let limit = value(limits, from)?;
        let found = numbers.iter().find(|(time, number)| *time > from && *number > limit);
        found.map(|(time, _)| time.saturating_sub(from))
    });
    times.collect::<Option<Vec<_>>>()?.into_iter().max()
}

impl History {
    /// How long after `from` something newer was committed of every input partition than was there at `from`: only
    /// a living owner can have read that.
    pub fn resumed(&self, from: Duration) -> Option<Duration> {
        passed(&self.committed, &self.inputs, from)
    }

    /// How long after `from` a `read_committed` reader of every output partition was past what lay there at `from`:
    /// the open transactions of the dead are out of its way.
    pub fn visible(&self, from: Duration) -> Option<Duration> {
        passed(&self.visible, &self.written, from)
    }

    /// The longest time in a window that no commit came of an input partition that is not in `moved`.
    pub fn pause(&self, from: Duration, to: Duration, moved: &BTreeSet<usize>) -> Option<Duration> {
        let unaffected = self.committed.iter().enumerate().filter(|(at, _)| !moved.contains(at));
        let pauses = unaffected.map(|(_, series)| {
            let inside = series.iter().map(|(time, _)| *time).filter(|time| *time > from && *time < to);
            let times: Vec<Duration> = [from].into_iter().chain(inside).chain([to]).collect();
            times.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).max().unwrap_or_default()
        });
        pauses.max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(changes: &[(u64, i64)]) -> Series {
        changes.iter().map(|(ms, value)| (Duration::from_millis(*ms), *value)).collect()
    }

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn times_are_found_in_a_history() {
        let history = History {
            inputs: vec![series(&[(0, 10), (900, 50), (2_000, 90)]), series(&[(0, 10)])],
            committed: vec![series(&[(100, 10), (1_100, 40), (1_500, 60)]), series(&[(100, 5), (1_200, 11)])],
            written: vec![series(&[(0, 7)])],
            visible: vec![series(&[(0, 3), (1_400, 7), (9_000, 8)])],
        };
        // At 1,000 the inputs ended at 50 and 10; what moved at 1,100 may have been on its way before.
        assert_eq!(history.resumed(ms(1_000)), Some(ms(500)));
        assert_eq!(history.visible(ms(1_000)), Some(ms(8_000)));
        assert_eq!(history.resumed(ms(2_000)), None);
        assert_eq!(history.pause(ms(1_000), ms(2_000), &BTreeSet::new()), Some(ms(800)));
        assert_eq!(history.pause(ms(1_000), ms(2_000), &BTreeSet::from([1])), Some(ms(500)));
        assert_eq!(history.pause(ms(1_000), ms(2_000), &BTreeSet::from([0, 1])), None);
    }
}
