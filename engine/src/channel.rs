//! Edges between nodes: bounded by batches and by bytes, with barriers, generations and alignment.
//!
//! - [`Sender`] blocks when the edge is full; the block travels to the source.
//! - [`Inputs`] is the receiving side of a node: it reads all its edges, holds back an edge whose barrier has come
//!   until the others' barriers have, and drops messages of older generations.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Select, SendTimeoutError, TryRecvError};

use crate::batch::{Batch, Failure};
use crate::clock::Clock;
use crate::metrics;
use crate::progress::{Doing, Pulse};
use crate::units::{CHANNEL_BATCHES_MAX, CHANNEL_BYTES_MAX, Epoch, Generation};

/// What an edge carries.
pub trait Load: Send {
    /// Rows, for the sums.
    fn rows(&self) -> usize;
    /// Bytes, for the bound.
    fn bytes(&self) -> usize;
}

impl Load for Batch {
    fn rows(&self) -> usize {
        self.count()
    }
    fn bytes(&self) -> usize {
        Self::bytes(self)
    }
}

impl Load for Vec<Failure> {
    fn rows(&self) -> usize {
        self.len()
    }
    fn bytes(&self) -> usize {
        // Failed rows usually share the originals of one batch; its bytes are counted once.
        let originals = self.first().map_or(0, |f| f.origin.batch.bytes());
        originals + self.iter().map(|f| f.message.len() + size_of::<Failure>()).sum::<usize>()
    }
}

/// A message of an edge.
#[derive(Debug)]
pub enum Message<T> {
    /// Rows.
    Data(T),
    /// No row with an earlier event time follows: milliseconds since 1970 in UTC.
    Watermark(i64),
    /// The epoch ends here.
    Barrier(Epoch),
    /// Nothing follows.
    End,
}

struct Envelope<T> {
    generation: Generation,
    bytes: usize,
    message: Message<T>,
}

/// The other end is gone: some node has failed and the pipeline is coming down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disconnected;

/// Bytes in an edge.
struct Gate {
    used: Mutex<Used>,
    freed: Condvar,
}

struct Used {
    bytes: usize,
    closed: bool,
}

impl Gate {
    /// Waits for room, at most `wait`; a load larger than the bound passes when the edge is empty.
    fn acquire(&self, bytes: usize, wait: Duration) -> Result<bool, Disconnected> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.bytes > 0 && used.bytes + bytes > CHANNEL_BYTES_MAX && !used.closed {
            used = self.freed.wait_timeout(used, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
        if used.closed {
            return Err(Disconnected);
        }
        if used.bytes > 0 && used.bytes + bytes > CHANNEL_BYTES_MAX {
            return Ok(false);
        }
        used.bytes += bytes;
        Ok(true)
    }

    fn release(&self, bytes: usize) {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).bytes -= bytes;
        self.freed.notify_one();
    }

    fn close(&self) {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.freed.notify_all();
    }
}

/// The generation that the worker is in, shared by all its nodes.
#[derive(Debug, Default)]
pub struct CurrentGeneration(AtomicU64);

impl CurrentGeneration {
    /// Reads it.
    pub fn get(&self) -> Generation {
        Generation(self.0.load(Ordering::Acquire))
    }

    /// Raises it.
    pub fn raise(&self, to: Generation) {
        self.0.fetch_max(to.0, Ordering::AcqRel);
    }
}

/// The sending end of an edge.
pub struct Sender<T> {
    sender: crossbeam_channel::Sender<Envelope<T>>,
    gate: Arc<Gate>,
    stats: Arc<metrics::Edge>,
    clock: Arc<dyn Clock>,
    current: Arc<CurrentGeneration>,
    pulse: Option<Arc<Pulse>>,
}

/// The receiving end of an edge.
pub struct Receiver<T> {
    receiver: crossbeam_channel::Receiver<Envelope<T>>,
    gate: Arc<Gate>,
    stats: Arc<metrics::Edge>,
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.gate.close();
    }
}

/// An edge with the bounds of `units`.
pub fn edge<T: Load>(
    stats: Arc<metrics::Edge>,
    clock: Arc<dyn Clock>,
    current: Arc<CurrentGeneration>,
) -> (Sender<T>, Receiver<T>) {
    let (sender, receiver) = crossbeam_channel::bounded(CHANNEL_BATCHES_MAX);
    let gate = Arc::new(Gate { used: Mutex::new(Used { bytes: 0, closed: false }), freed: Condvar::new() });
    (
        Sender { sender, gate: Arc::clone(&gate), stats: Arc::clone(&stats), clock, current, pulse: None },
        Receiver { receiver, gate, stats },
    )
}

/// A blocked sender looks up this often whether its generation is over.
const SEND_WAIT: Duration = Duration::from_millis(50);

impl<T: Load> Sender<T> {
    /// Whether so many messages can be sent now without waiting: who simulates has one thread for both ends.
    #[cfg(test)]
    pub(crate) fn has_room(&self, messages: usize) -> bool {
        self.sender.len() + messages <= CHANNEL_BATCHES_MAX
    }

    /// Says on this pulse when it is blocked.
    #[must_use]
    pub fn watched(mut self, pulse: &Arc<Pulse>) -> Self {
        self.pulse = Some(Arc::clone(pulse));
        self
    }

    /// Sends, waiting for room. A message whose generation is over is dropped while it waits, and counted.
    pub fn send(&self, generation: Generation, message: Message<T>) -> Result<(), Disconnected> {
        let (rows, bytes) = match &message {
            Message::Data(data) => (data.rows() as u64, data.bytes()),
            _ => (0, 0),
        };
        if rows > 0 {
            self.stats.sent.add(rows);
            self.stats.batches.add(1);
            self.stats.bytes.add(bytes as u64);
            // Before it can be taken, so that the queue is never shorter than nothing.
            self.stats.queued_batches.add(1);
            self.stats.queued_bytes.add(bytes as u64);
        }
        let mut envelope = Envelope { generation, bytes, message };
        match self.gate.acquire(bytes, Duration::ZERO)? {
            true => match self.sender.try_send(envelope) {
                Ok(()) => return Ok(()),
                Err(crossbeam_channel::TrySendError::Disconnected(_)) => return Err(Disconnected),
                Err(crossbeam_channel::TrySendError::Full(back)) => envelope = back,
            },
            false => return self.send_slowly(envelope, false, rows),
        }
        self.send_slowly(envelope, true, rows)
    }

    #[cold]
    fn send_slowly(
        &self,
        mut envelope: Envelope<T>,
        mut admitted: bool,
        rows: u64,
    ) -> Result<(), Disconnected> {
        let mut since = self.clock.now();
        let (generation, bytes) = (envelope.generation, envelope.bytes);
        if let Some(pulse) = &self.pulse {
            pulse.now(Doing::Blocked);
        }
        let result = loop {
            // Counted as it passes: a sender that is blocked for an hour is seen while it is.
            let now = self.clock.now();
            self.stats.blocked_ns.add((now - since).as_nanos() as u64);
            since = now;
            if self.current.get() > generation {
                if admitted {
                    self.gate.release(bytes);
                }
                self.stats.dropped.add(rows);
                took(&self.stats, rows, bytes);
                break Ok(());
            }
            if !admitted {
                match self.gate.acquire(bytes, SEND_WAIT) {
                    Ok(now) => admitted = now,
                    Err(gone) => break Err(gone),
                }
                continue;
            }
            match self.sender.send_timeout(envelope, SEND_WAIT) {
                Ok(()) => break Ok(()),
                Err(SendTimeoutError::Disconnected(_)) => break Err(Disconnected),
                Err(SendTimeoutError::Timeout(back)) => envelope = back,
            }
        };
        self.stats.blocked_ns.add((self.clock.now() - since).as_nanos() as u64);
        if let Some(pulse) = &self.pulse {
            pulse.now(Doing::Working);
        }
        result
    }
}

/// A batch has left the queue.
fn took(stats: &metrics::Edge, rows: u64, bytes: usize) {
    if rows > 0 {
        stats.queued_batches.sub(1);
        stats.queued_bytes.sub(bytes as u64);
    }
}

/// What a node receives from its inputs, aligned.
#[derive(Debug)]
pub enum Event<T> {
    /// Rows from the input of this index.
    Data(usize, T),
    /// The least of all inputs' watermarks has risen to this.
    Watermark(i64),
    /// Every input has delivered the barrier of this epoch.
    Barrier(Epoch),
    /// Every input has ended.
    End,
    /// A rewind: everything that was taken since the last commit is void.
    Rewound(Generation),
    /// Nothing came in time.
    Idle,
}

/// The receiving side of a node: one edge or several.
pub struct Inputs<T> {
    edges: Vec<Input<T>>,
    current: Arc<CurrentGeneration>,
    generation: Generation,
    watermark: i64,
    /// Where the next look for a message begins, so that no edge starves another.
    turn: usize,
    /// A message of a generation whose rewind had to be reported first.
    pending: Option<(usize, Envelope<T>)>,
    pulse: Option<Arc<Pulse>>,
    /// A breakage on purpose: older generations are taken as well.
    #[cfg(test)]
    pub(crate) takes_old: bool,
}

struct Input<T> {
    receiver: Receiver<T>,
    /// The barrier that has come and that other inputs have not delivered yet.
    barrier: Option<Epoch>,
    watermark: i64,
    ended: bool,
}

impl<T: Load> Inputs<T> {
    /// A node over these edges.
    pub fn new(receivers: Vec<Receiver<T>>, current: Arc<CurrentGeneration>) -> Self {
        let edges = receivers
            .into_iter()
            .map(|receiver| Input { receiver, barrier: None, watermark: i64::MIN, ended: false })
            .collect();
        Self {
            edges,
            current,
            generation: Generation(0),
            watermark: i64::MIN,
            turn: 0,
            pending: None,
            pulse: None,
            #[cfg(test)]
            takes_old: false,
        }
    }

    /// The generation of what was received last; what the node sends carries it.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Says on this pulse when it waits, and that the node works on what came.
    #[must_use]
    pub fn watched(mut self, pulse: &Arc<Pulse>) -> Self {
        self.pulse = Some(Arc::clone(pulse));
        self
    }

    /// What the node says that it is doing, where somebody watches.
    pub fn pulse(&self) -> Option<&Pulse> {
        self.pulse.as_deref()
    }

    fn says(&self, doing: Doing) {
        if let Some(pulse) = &self.pulse {
            pulse.now(doing);
        }
    }

    /// The next event; `Idle` after `wait`.
    pub fn next(&mut self, wait: Duration) -> Result<Event<T>, Disconnected> {
        let event = self.find(wait);
        self.says(Doing::Working);
        event
    }

    fn find(&mut self, wait: Duration) -> Result<Event<T>, Disconnected> {
        loop {
            if self.current.get() > self.generation {
                return Ok(self.rewound());
            }
            if let Some(event) = self.aligned() {
                return Ok(event);
            }
            let next = match self.pending.take() {
                Some(pending) => Some(pending),
                None => self.receive(wait)?,
            };
            let Some((index, envelope)) = next else { return Ok(Event::Idle) };
            if let Some(event) = self.take(index, envelope) {
                return Ok(event);
            }
        }
    }

    fn rewound(&mut self) -> Event<T> {
        let newest = self.pending.as_ref().map_or(self.generation, |(_, e)| e.generation);
        self.generation = self.current.get().max(newest);
        self.watermark = i64::MIN;
        for edge in &mut self.edges {
            edge.barrier = None;
            edge.watermark = i64::MIN;
            edge.ended = false;
        }
        Event::Rewound(self.generation)
    }

    /// A barrier or the end, when all inputs have delivered it.
    fn aligned(&mut self) -> Option<Event<T>> {
        if self.edges.iter().all(|e| e.ended) {
            return Some(Event::End);
        }
        let first = self.edges.first()?.barrier?;
        if self.edges.iter().all(|e| e.barrier == Some(first)) {
            self.edges.iter_mut().for_each(|e| e.barrier = None);
            return Some(Event::Barrier(first));
        }
        None
    }

    fn receive(&mut self, wait: Duration) -> Result<Option<(usize, Envelope<T>)>, Disconnected> {
        if let [only] = self.edges.as_slice() {
            match only.receiver.receiver.try_recv() {
                Ok(envelope) => return Ok(Some((0, envelope))),
                Err(TryRecvError::Disconnected) => return Err(Disconnected),
                Err(TryRecvError::Empty) if wait.is_zero() => return Ok(None),
                Err(TryRecvError::Empty) => {}
            }
            self.says(Doing::Waiting);
            return match only.receiver.receiver.recv_timeout(wait) {
                Ok(envelope) => Ok(Some((0, envelope))),
                Err(RecvTimeoutError::Timeout) => Ok(None),
                Err(RecvTimeoutError::Disconnected) => Err(Disconnected),
            };
        }
        let open: Vec<usize> = (0..self.edges.len())
            .map(|i| (i + self.turn) % self.edges.len())
            .filter(|&i| self.edges[i].barrier.is_none() && !self.edges[i].ended)
            .collect();
        self.turn = self.turn.wrapping_add(1) % self.edges.len().max(1);
        for &i in &open {
            match self.edges[i].receiver.receiver.try_recv() {
                Ok(envelope) => return Ok(Some((i, envelope))),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return Err(Disconnected),
            }
        }
        if wait.is_zero() {
            return Ok(None);
        }
        self.says(Doing::Waiting);
        let mut select = Select::new();
        for &i in &open {
            select.recv(&self.edges[i].receiver.receiver);
        }
        let Ok(ready) = select.select_timeout(wait) else { return Ok(None) };
        let i = open[ready.index()];
        match ready.recv(&self.edges[i].receiver.receiver) {
            Ok(envelope) => Ok(Some((i, envelope))),
            Err(_) => Err(Disconnected),
        }
    }

    fn take(&mut self, index: usize, envelope: Envelope<T>) -> Option<Event<T>> {
        // The shared counter may have been raised after it was read above: the rewind comes before the message.
        if envelope.generation > self.generation {
            self.pending = Some((index, envelope));
            return Some(self.rewound());
        }
        let edge = &mut self.edges[index];
        edge.receiver.gate.release(envelope.bytes);
        let rows = match &envelope.message {
            Message::Data(data) => data.rows() as u64,
            _ => 0,
        };
        took(&edge.receiver.stats, rows, envelope.bytes);
        let is_over = envelope.generation < self.generation;
        #[cfg(test)]
        let is_over = is_over && !self.takes_old;
        if is_over {
            edge.receiver.stats.dropped.add(rows);
            return None;
        }
        match envelope.message {
            Message::Data(data) => {
                edge.receiver.stats.received.add(rows);
                edge.receiver.stats.batch_rows.record(rows);
                Some(Event::Data(index, data))
            }
            Message::Barrier(epoch) => {
                edge.barrier = Some(epoch);
                None
            }
            Message::Watermark(at) => {
                edge.watermark = edge.watermark.max(at);
                let least = self.edges.iter().map(|e| e.watermark).min().unwrap_or(i64::MIN);
                (least > self.watermark).then(|| {
                    self.watermark = least;
                    Event::Watermark(least)
                })
            }
            Message::End => {
                edge.ended = true;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;
