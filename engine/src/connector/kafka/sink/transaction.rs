//! One Kafka transaction an epoch for all sinks and the dead letters of a worker.
//!
//! Two clients take turns: while one commits an epoch, the next epoch is written by the other (ADR 0011 has what that
//! is worth, and why nothing is lost or doubled by it).
//!
//! There is one way out of everything that is not a plain success: the client is given up and made anew under the same
//! transactional id. That fences the old one, so that nothing it may still have on its way is taken, and when the new
//! one has been let in, what became of the last transaction is certain. Both are given up, whichever failed: what the
//! other has was read after what may be lost.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use rdkafka::Offset;
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::Producer as _;
use rdkafka::util::Timeout;

use super::delivery_reports::{LEDGERS_MAX, Ledger};
use super::producer::{Producer, Purpose};
use crate::batch::Origin;
use crate::clock::{Clock, SystemClock};
use crate::connector::commit;
use crate::connector::commit::Transaction as _;
use crate::connector::kafka::client::{Cluster, GroupOffsets, Meaning, meaning};
use crate::error::{Code, Error, Result};
use crate::units::{
    KAFKA_ABORT_WAIT, KAFKA_OFFSETS_SLACK, KAFKA_TRANSACTION_TIMEOUT_MAX, KAFKA_TRANSACTION_TIMEOUT_MIN,
    KAFKA_TRANSACTIONS_QUICK,
};

/// The transactions of a worker, and their clients.
pub struct Transaction {
    cluster: Cluster,
    /// Of each client.
    ids: [String; 2],
    ledgers: Mutex<Vec<Arc<Ledger>>>,
    /// One that is written to.
    topic: OnceLock<String>,
    state: Mutex<State>,
    suspects: Suspects,
    /// Longest that a transaction may take where none has taken longer.
    usual: Duration,
    /// Held for writing while one record is on its way alone.
    alone: RwLock<()>,
    clock: SystemClock,
}

/// Names a client: how often both were made, which of the two it is, and its number among all that were made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) round: u64,
    pub(super) slot: usize,
    number: u64,
}

/// A client that has begun a transaction.
struct Begun {
    client: Arc<Producer>,
    slot: usize,
    number: u64,
    /// Longest that its transactions may take.
    timeout: Duration,
    /// When the first record of this transaction was written.
    since: Option<Duration>,
}

impl Begun {
    /// How long the transaction has been written into.
    fn age(&self, now: Duration) -> Duration {
        self.since.map_or(Duration::ZERO, |since| now.saturating_sub(since))
    }
}

struct State {
    /// What is written goes here.
    open: Option<Begun>,
    /// Everything is written, and its commit is due.
    full: Option<Begun>,
    /// Nothing was written into it yet.
    spare: Option<Begun>,
    /// How often both were made.
    round: u64,
    timeout: Duration,
    /// Clients that were made.
    made: u64,
    /// Transactions in a row that would have had time enough in the usual one.
    quick: u32,
    /// How long the transaction was written into whose commit failed.
    failed: Duration,
    /// When a client was fenced last that was not too old, and in which round.
    fenced: Option<(Duration, u64)>,
}

/// What became of giving positions to a transaction, and the positions.
type Sent = (Result<(), KafkaError>, Vec<GroupOffsets>);

impl Transaction {
    /// Transactions under ids that no other worker has, one for each client, for an interval between commits. Does no
    /// IO.
    pub fn new(cluster: Cluster, ids: [String; 2], interval: Duration) -> Self {
        let given = cluster.number("transaction.timeout.ms").map(Duration::from_millis);
        let usual = interval.saturating_mul(3).max(KAFKA_TRANSACTION_TIMEOUT_MIN);
        let timeout = given.unwrap_or(usual.min(KAFKA_TRANSACTION_TIMEOUT_MAX));
        let (open, full, spare) = (None, None, None);
        let (failed, fenced) = (Duration::ZERO, None);
        let state = State { open, full, spare, round: 0, timeout, made: 0, quick: 0, failed, fenced };
        Self {
            cluster,
            ids,
            ledgers: Mutex::default(),
            topic: OnceLock::new(),
            state: Mutex::new(state),
            suspects: Suspects::default(),
            usual: timeout,
            alone: RwLock::new(()),
            clock: SystemClock::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A lane that will write to a topic, which may not be known yet, before the first client is made; its number in
    /// tickets.
    pub(super) fn join(&self, topic: Option<&str>, ledger: &Arc<Ledger>) -> Result<usize> {
        if let Some(topic) = topic {
            self.topic.get_or_init(|| topic.to_owned());
        }
        let mut ledgers = self.ledgers.lock().unwrap_or_else(PoisonError::into_inner);
        if ledgers.len() >= LEDGERS_MAX {
            return Err(Error::user(Code::K001, format!("more than {LEDGERS_MAX} lanes of sinks"))
                .help("lower `lanes:`, or write to fewer topics"));
        }
        ledgers.push(Arc::clone(ledger));
        Ok(ledgers.len() - 1)
    }

    /// The client of the transaction that is open, and its name; for a lane that is about to write.
    pub(super) fn client(&self) -> Result<(Arc<Producer>, Name)> {
        let mut state = self.lock();
        let round = state.round;
        let Some(open) = &mut state.open else {
            return Err(Error::stale(Code::X012, "no transaction is open"));
        };
        open.since.get_or_insert_with(|| self.clock.now());
        Ok((Arc::clone(&open.client), Name { round, slot: open.slot, number: open.number }))
    }

    /// A broker knows a newer client of this id. Once that may be one of ours whose request was held up on its way: it
    /// is fenced in turn. Who is fenced again within the time of a transaction has a twin that does the same. Both
    /// clients of one round may be fenced at once.
    fn fenced(&self, message: String) -> Error {
        let now = self.clock.now();
        let mut state = self.lock();
        let round = state.round;
        let before = state.fenced.replace((now, round));
        if before.is_none_or(|(at, of)| of == round || now.saturating_sub(at) >= state.timeout) {
            return Error::stale(Code::X012, message);
        }
        let message = format!("another worker has taken over the transactional id `{}`", self.ids[0]);
        Error::external(Code::X013, message).help("give each worker an own `--worker-id`, or leave it out")
    }

    /// Records that the cluster refused, or may have.
    pub(super) fn suspects(&self) -> &Suspects {
        &self.suspects
    }

    /// To be held while records are given to the client.
    pub(super) fn together(&self) -> RwLockReadGuard<'_, ()> {
        self.alone.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be held while one record is given to the client and delivered: nothing else is written meanwhile.
    pub(super) fn alone(&self) -> RwLockWriteGuard<'_, ()> {
        self.alone.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a client, which ends what its predecessor has left open, and begins a transaction.
    fn make(&self, slot: usize, timeout: Duration) -> Result<Begun> {
        let ledgers = self.ledgers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let millis = timeout.as_millis().to_string();
        let own = [("transactional.id", self.ids[slot].as_str()), ("transaction.timeout.ms", &millis)];
        let purpose = Purpose::Transactions(&own, self.topic.get().map(String::as_str));
        let client = Arc::new(Producer::new(&self.cluster, "transaction", purpose, ledgers)?);
        let judge = |what: &str, error: &KafkaError| match self.judge(what, error, Duration::MAX) {
            // Nothing is in flight here that could be void.
            stale if stale.is_stale() => Error::passing(Code::X012, stale.message()),
            other => other,
        };
        // A client that has no connection yet looks for its coordinator again only after half a second.
        if let Some(topic) = self.topic.get() {
            client.connect(topic);
        }
        client
            .client
            .init_transactions(Timeout::Never)
            .map_err(|e| judge("the last transaction cannot be ended", &e))?;
        client.client.begin_transaction().map_err(|e| judge("a transaction cannot begin", &e))?;
        let mut state = self.lock();
        state.made += 1;
        Ok(Begun { client, slot, number: state.made, timeout, since: None })
    }

    /// A transaction took so long. Answers the time that one may take from here on: the usual one, when all of a while
    /// would have had enough of it.
    fn took(&self, written: Duration) -> Duration {
        let mut state = self.lock();
        state.quick = if written < self.usual / 4 { state.quick + 1 } else { 0 };
        if state.quick >= KAFKA_TRANSACTIONS_QUICK && state.timeout > self.usual {
            let timeout = humantime::format_duration(self.usual).to_string();
            tracing::info!(timeout, "transactions are quick again: their time-out is lowered");
            state.timeout = self.usual;
        }
        state.timeout
    }

    /// Gives positions to the transaction. A thread asks that can be left behind with its client: where the group's
    /// coordinator goes away librdkafka does not look at its time-out and may never answer (librdkafka#5456). The next
    /// client fences the one that is left, and the next change of a connection wakes it.
    fn send(&self, client: &Arc<Producer>, offsets: Vec<GroupOffsets>) -> Result<Sent> {
        if !offsets.iter().all(|part| part.group.is::<ConsumerGroupMetadata>()) {
            return Err(Error::internal("offsets of a group that is not on a cluster"));
        }
        let (done, answer) = std::sync::mpsc::sync_channel(1);
        let theirs = Arc::clone(client);
        let ask = move || {
            let sent = offsets.iter().try_for_each(|GroupOffsets { group, offsets }| {
                let Some(group) = group.downcast_ref::<ConsumerGroupMetadata>() else { return Ok(()) };
                theirs.client.send_offsets_to_transaction(offsets, group, Timeout::Never)
            });
            // Nobody listens to one that was left behind.
            let _ = done.send((sent, offsets));
        };
        std::thread::Builder::new()
            .name("positions".into())
            .spawn(ask)
            .map_err(|e| Error::external(Code::X012, format!("no thread can be started: {e}")))?;
        let wait = self.timeout() + KAFKA_OFFSETS_SLACK;
        answer.recv_timeout(wait).map_err(|_| {
            let wait = humantime::format_duration(wait);
            Error::stale(Code::X012, format!("positions were not added to the transaction within {wait}"))
        })
    }

    /// What has to be allowed.
    fn right(&self, code: RDKafkaErrorCode) -> String {
        match code {
            RDKafkaErrorCode::TopicAuthorizationFailed => {
                "allow this user to write to the topics of the sinks and of the dead letters, and to read those of the \
                 sources"
                    .to_owned()
            }
            RDKafkaErrorCode::GroupAuthorizationFailed => {
                "allow this user to read as the consumer group of the pipeline's name".to_owned()
            }
            _ => {
                let [first, second] = &self.ids;
                format!("allow this user to write under the transactional ids `{first}` and `{second}`")
            }
        }
    }

    /// What an error says of a transaction. `age`: how long it has been written into.
    fn judge(&self, what: &str, error: &KafkaError, age: Duration) -> Error {
        let timeout = self.lock().timeout;
        let code = error.rdkafka_error_code();
        let message = format!("{what}: {error}");
        match (code, code.map(meaning)) {
            // A broker that gives up a transaction whose time is over fences its client, too.
            (_, Some(Meaning::Fenced)) if age < timeout / 2 => self.fenced(message),
            (Some(RDKafkaErrorCode::InvalidTransactionTimeout), _) => {
                let message = format!(
                    "the cluster does not take transactions of {}",
                    humantime::format_duration(timeout)
                );
                Error::external(Code::X012, message).help(
                    "lower `delivery.commit_interval` or the property `transaction.timeout.ms`, or raise \
                     `transaction.max.timeout.ms` of the brokers",
                )
            }
            (_, Some(Meaning::Unsupported)) => {
                let message = format!("the brokers do not know transactions: {error}");
                Error::external(Code::X012, message)
                    .help("Kafka has them since version 0.11; use `guarantee: at_least_once`")
            }
            (Some(code), Some(Meaning::Denied)) => {
                Error::external(Code::X012, message).help(self.right(code))
            }
            _ => Error::stale(Code::X012, message),
        }
    }
}

impl commit::Transaction for Transaction {
    fn timeout(&self) -> Duration {
        self.lock().timeout
    }

    fn is_overdue(&self) -> bool {
        let (now, state) = (self.clock.now(), self.lock());
        let written = [&state.open, &state.full].into_iter().flatten();
        written.map(|begun| begun.age(now)).fold(state.failed, Duration::max) >= state.timeout
    }

    fn begin(&self, longer: bool) -> Result<()> {
        let now = self.clock.now();
        let before = {
            let state = self.lock();
            let written = [&state.open, &state.full].map(|begun| begun.as_ref());
            written.map(|begun| begun.map(|begun| (Arc::clone(&begun.client), begun.age(now))))
        };
        // Asked of those that are given up: from here on they are fenced by their successors. All that a lane saw is
        // that its records were thrown away; an open transaction is asked to begin, for the answer says why it is void.
        for (client, age) in before.iter().flatten() {
            let why = client.client.begin_transaction().err();
            if let Some(error) = why.map(|why| self.judge("the transaction failed", &why, *age))
                && !error.is_stale()
            {
                return Err(error);
            }
        }
        let timeout = {
            let mut state = self.lock();
            (state.open, state.full, state.spare) = (None, None, None);
            (state.failed, state.quick) = (Duration::ZERO, 0);
            if longer {
                state.timeout = (state.timeout * 2).min(KAFKA_TRANSACTION_TIMEOUT_MAX).max(state.timeout);
                let timeout = humantime::format_duration(state.timeout).to_string();
                tracing::warn!(timeout, "a transaction took longer than its time-out, which is raised");
            }
            state.timeout
        };
        // Their own reports are of no interest any more; the lanes let go of them when they are told to go back.
        drop(before);
        // Side by side: each waits for its coordinator and for the transaction that it ends.
        let (open, spare) = std::thread::scope(|scope| {
            let spare = scope.spawn(|| self.make(1, timeout));
            let open = self.make(0, timeout);
            (open, spare.join().unwrap_or_else(|_| Err(Error::internal("a client's maker panicked"))))
        });
        let (open, spare) = (open?, spare?);
        let mut state = self.lock();
        state.round += 1;
        (state.open, state.spare) = (Some(open), Some(spare));
        Ok(())
    }

    fn turn(&self) -> Result<()> {
        let mut state = self.lock();
        if state.open.is_none() || state.spare.is_none() || state.full.is_some() {
            return Err(Error::stale(Code::X012, "no transaction is open, or the last one is not committed"));
        }
        state.full = state.open.take();
        state.open = state.spare.take();
        Ok(())
    }

    fn commit(&self, offsets: Vec<GroupOffsets>) -> Result<Duration> {
        // While it is uncertain nobody may have it.
        let Some(Begun { client, slot, number, timeout, since }) = self.lock().full.take() else {
            return Err(Error::stale(Code::X012, "no transaction is full"));
        };
        let since = since.unwrap_or_else(|| self.clock.now());
        let judge = |what: &str, error: &KafkaError| {
            // Until now: a commit that is held up may itself outlast the time-out.
            let age = self.clock.now().saturating_sub(since);
            let error = self.judge(what, error, age);
            if error.is_stale() {
                self.lock().failed = age;
            }
            error
        };
        let (sent, offsets) = self.send(&client, offsets)?;
        sent.map_err(|e| judge("the positions cannot be added to the transaction", &e))?;
        client
            .client
            .commit_transaction(Timeout::Never)
            .map_err(|e| judge("the transaction cannot be committed", &e))?;
        for GroupOffsets { offsets, .. } in &offsets {
            for element in offsets.elements() {
                if let Offset::Offset(next) = element.offset() {
                    self.suspects.forget(element.topic(), element.partition(), next);
                }
            }
        }
        let written = self.clock.now().saturating_sub(since);
        let longest = self.took(written);
        let spare = if longest < timeout {
            // It has nothing open. A client keeps its time-out for as long as it lives.
            drop(client);
            self.make(slot, longest)?
        } else {
            client.client.begin_transaction().map_err(|e| judge("a transaction cannot begin", &e))?;
            Begun { client, slot, number, timeout, since: None }
        };
        self.lock().spare = Some(spare);
        Ok(written)
    }

    fn close(&self) {
        let (open, full) = {
            let mut state = self.lock();
            (state.open.take(), state.full.take())
        };
        for Begun { client, .. } in [full, open].into_iter().flatten() {
            if let Err(error) = client.client.abort_transaction(KAFKA_ABORT_WAIT) {
                tracing::debug!(%error, "the open transaction is left to its time-out");
            }
        }
    }
}

/// What is known of a record that failed with its neighbours: a broker answers for a whole request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It, or a neighbour, was refused: it is sent alone.
    Alone,
    /// It was refused alone, for this reason.
    Refused(String),
}

/// A record on its way to a sink.
type Suspect = (Arc<str>, Arc<str>, i32, i64);

/// Records that made a transaction void because the cluster refused them or a neighbour, by sink and origin; kept until
/// they are committed past.
#[derive(Default)]
pub(super) struct Suspects {
    any: AtomicBool,
    all: Mutex<HashMap<Suspect, Verdict>>,
}

impl Suspects {
    fn lock(&self) -> MutexGuard<'_, HashMap<Suspect, Verdict>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there are any: one look a batch.
    pub(super) fn any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    pub(super) fn verdict(&self, sink: &Arc<str>, origin: &Origin) -> Option<Verdict> {
        self.lock().get(&suspect(sink, origin)).cloned()
    }

    pub(super) fn add(&self, sink: &Arc<str>, origin: &Origin, verdict: Verdict) {
        let mut all = self.lock();
        let known = all.entry(suspect(sink, origin)).or_insert(Verdict::Alone);
        if verdict != Verdict::Alone {
            *known = verdict;
        }
        self.any.store(true, Ordering::Release);
    }

    /// Everything below an offset is committed.
    fn forget(&self, topic: &str, partition: i32, next: i64) {
        if self.any() {
            let mut all = self.lock();
            all.retain(|(_, t, p, offset), _| &**t != topic || *p != partition || *offset >= next);
            self.any.store(!all.is_empty(), Ordering::Release);
        }
    }
}

fn suspect(sink: &Arc<str>, origin: &Origin) -> Suspect {
    (Arc::clone(sink), Arc::clone(&origin.batch.topic), origin.batch.partition, origin.offset())
}
