//! The sink of one lane: rows to records, and what becomes of each.
//!
//! A batch stays here until its reports are in: a record that the cluster refused is named by its origin. A broker
//! answers for a whole request, so one bad record fails its neighbours; those that failed for a reason that lies in
//! a record are sent again one by one, and only the one that fails alone is refused. Within a transaction a failure
//! makes all of it void: they are sent alone when they come again.

mod doubt;
mod gone;
mod in_flight;
mod isolate;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::Array;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::BaseRecord;

pub(super) use self::doubt::Doubt;
use self::in_flight::{Kept, Sent};
use super::columns::Columns;
use super::delivery_reports::{BATCH_ROWS_MAX, Ledger, Ticket};
use super::ffi::{self, Topic};
use super::producer::{Producer, Reports};
use super::refusal::{is_about_the_record, refusal, stays};
use super::transaction::{Name, Transaction};
use crate::batch::{Batch, Origins};
use crate::clock::{Clock, SystemClock};
use crate::codec::Encoder;
use crate::connector::commit::Prepare;
use crate::connector::kafka::client::{self, Meaning, meaning};
use crate::connector::sink::{Refused, Sink};
use crate::error::{Code, Error, Result};
use crate::trace::Writes;
use crate::units::{Epoch, KAFKA_BLOCK, KAFKA_RECORD_BYTES, KAFKA_SEND_NOW, SINK_IDLE, SINK_IDLE_HOLDING};

/// The sink of one lane.
pub(super) struct KafkaSink {
    pub(super) lane: usize,
    /// Whether records go out as part of the trace of their origin.
    pub(super) traced: bool,
    pub(super) name: Arc<str>,
    pub(super) topic: Arc<str>,
    pub(super) brokers: Arc<str>,
    pub(super) columns: Arc<Columns>,
    /// Whether dead letters are written: a null of theirs is a tombstone's.
    pub(super) letters: bool,
    pub(super) encoder: Box<dyn Encoder>,
    /// Encodes a key of several columns.
    pub(super) keys: Option<Box<dyn Encoder>>,
    pub(super) compression: &'static str,
    /// Bytes of key and value that a record may have; librdkafka sees to it where the client is the sink's own.
    pub(super) record_bytes: usize,
    pub(super) writer: Writer,
    pub(super) ledger: Arc<Ledger>,
    pub(super) state: State,
    pub(super) doubt: Doubt,
    pub(super) clock: SystemClock,
}

/// A client, and the topic in it.
pub(super) struct Client {
    /// Declared before `producer`: its handle is given back first.
    batches: Topic<Reports>,
    producer: Arc<Producer>,
}

impl Client {
    pub(super) fn new(producer: Arc<Producer>, topic: &str, compression: &str) -> Result<Self> {
        let batches = Topic::new(&producer.client, topic, compression)
            .ok_or_else(|| Error::external(Code::K001, format!("topic `{topic}` is not taken")))?;
        Ok(Self { batches, producer })
    }
}

/// By which client a sink writes.
pub(super) enum Writer {
    /// The sink's own: what was delivered is final.
    Own(Client),
    /// Those of the worker's transactions.
    Shared(Arc<Transaction>, Shared),
}

/// Clients of the worker's transactions; made anew when a transaction was given up.
#[derive(Default)]
pub(super) struct Shared {
    clients: [Option<(Name, Client)>; 2],
    /// The one that was written by last.
    current: Option<Name>,
}

impl Shared {
    fn client(&self) -> Option<&Client> {
        self.clients[self.current?.slot].as_ref().map(|(_, client)| client)
    }
}

/// What changes.
#[derive(Default)]
pub(super) struct State {
    /// Batches in the order of their numbers, as the ledger has them.
    sent: VecDeque<Sent>,
    /// Of what a rewind made void, what the client may still hold: their memory is given back when it has reported.
    forgotten: Vec<Origins>,
    /// The last batch of `sent` was not taken whole yet: `write` will be called with it again.
    partial: bool,
    /// Failed rows that are sent again one at a time, and whether the first is on its way.
    alone: VecDeque<(u64, usize)>,
    alone_flying: bool,
    /// Refused since the last call that succeeded.
    refused: Vec<Refused>,
    rows: u64,
    bytes: u64,
}

/// What became of giving one record to the producer.
enum Given {
    Taken,
    Full,
    Refused(RDKafkaErrorCode),
}

impl KafkaSink {
    /// Encodes a batch and opens it in the ledger.
    fn begin(&mut self, batch: &Batch) -> Result<()> {
        assert!(batch.count() <= BATCH_ROWS_MAX, "a batch of {} records", batch.count());
        self.prune();
        let mut parts = self.columns.split(&batch.records)?;
        if let (Some(encoder), Some(rows)) = (&mut self.keys, self.columns.key_rows(&batch.records)?) {
            let keys = encoder.encode(&Batch::of_columns(rows.clone()))?;
            parts = parts.with_keys(&rows, &keys);
        }
        let values = self.encoder.encode(&Batch::new(parts.value.clone(), batch.origins.clone()))?;
        assert_eq!(values.len(), batch.len(), "an encoder gives one value a row");
        let number = self.ledger.open();
        // Ours, and the client's copies.
        let made = values.get_array_memory_size() + parts.bytes();
        batch.origins.charge(2 * made + batch.count() * KAFKA_RECORD_BYTES);
        let mut sent = Sent::new(batch, (parts, values), self.kept(), number);
        sent.writes = self.traced.then(|| Writes::begin(&sent.origins, &self.name, &self.topic)).flatten();
        sent.apart = self.find_apart(&sent);
        self.state.sent.push_back(sent);
        self.state.partial = true;
        Ok(())
    }

    fn kept(&self) -> Kept {
        match (self.columns.original, self.letters) {
            (true, _) => Kept::Record,
            (false, true) => Kept::Nulls,
            (false, false) => Kept::Nothing,
        }
    }

    /// Forgets the batches whose reports are all in.
    fn prune(&mut self) {
        let pruned = self.ledger.prune();
        self.state.sent.drain(..pruned);
        // Behind one that failed, or is late, they keep their number and nothing else.
        if !self.state.sent.is_empty() && self.state.alone.is_empty() {
            self.ledger.whole().into_iter().for_each(|at| self.state.sent[at].shed());
        }
        if !self.state.forgotten.is_empty() && !self.ledger.has_forgotten() {
            self.state.forgotten.clear();
        }
    }

    /// Gives back the clients of transactions; the next write takes them anew.
    pub(super) fn let_go(&mut self) {
        if let Writer::Shared(_, ours) = &mut self.writer {
            *ours = Shared::default();
        }
    }

    fn client(&self) -> Result<&Client> {
        match &self.writer {
            Writer::Own(client) => Ok(client),
            Writer::Shared(_, ours) => {
                ours.client().ok_or_else(|| Error::internal("a sink prepares before it has written"))
            }
        }
    }

    fn transaction(&self) -> Option<&Arc<Transaction>> {
        match &self.writer {
            Writer::Own(_) => None,
            Writer::Shared(transaction, _) => Some(transaction),
        }
    }

    /// Gives the rest of the newest batch to the producer; returns whether all of it was taken.
    fn give_rest(&mut self) -> Result<bool> {
        let Some(at) = self.state.sent.len().checked_sub(1) else { return Ok(true) };
        loop {
            let sent = &self.state.sent[at];
            if sent.done == sent.len() {
                return Ok(true);
            }
            let apart = sent.apart.get(sent.apart_done).map_or(sent.len(), |(row, _)| *row);
            let bare = sent.bare_until(sent.done).min(apart);
            let taken = if apart == sent.done {
                self.give_apart(at)?
            } else if bare > sent.done {
                self.give_batch(at, bare)?
            } else {
                self.give_singly(at, sent.headed_until(sent.done).min(apart))?
            };
            if !taken {
                return Ok(false);
            }
        }
    }

    /// Gives the rows up to this one, each by itself; returns whether all of them were taken.
    fn give_singly(&mut self, at: usize, len: usize) -> Result<bool> {
        let (number, from) = (self.state.sent[at].number, self.state.sent[at].done);
        let transaction = self.transaction().map(Arc::clone);
        let _together = transaction.as_ref().map(|transaction| transaction.together());
        self.ledger.expect(number, len - from);
        let mut row = from;
        let outcome = loop {
            if row == len {
                break Ok(true);
            }
            match self.give(at, row) {
                Ok(Given::Taken) => {}
                Ok(Given::Full) => break Ok(false),
                Ok(Given::Refused(code)) => {
                    self.ledger.unexpect(number, 1);
                    self.refuse(at, row, code);
                }
                Err(error) => break Err(error),
            }
            row += 1;
        };
        self.ledger.unexpect(number, len - row);
        self.state.sent[at].done = row;
        outcome
    }

    /// The same in one call, where records are key and value only.
    fn give_batch(&mut self, at: usize, len: usize) -> Result<bool> {
        let transaction = self.transaction().map(Arc::clone);
        let _together = transaction.as_ref().map(|transaction| transaction.together());
        let client = self.client()?;
        let sent = &self.state.sent[at];
        let (number, from) = (sent.number, sent.done);
        let lane = self.lane;
        self.ledger.expect(number, len - from);
        let mut outcomes = Vec::with_capacity(len - from);
        let records = (from..len).map(|row| ffi::Record {
            key: sent.key(row),
            value: sent.value(row),
            opaque: Ticket { lane, batch: number, row }.pack(),
        });
        client.batches.produce(records, |outcome| outcomes.push(outcome));
        let (mut full, mut failed) = (None, None);
        for (row, outcome) in (from..).zip(outcomes) {
            match outcome {
                Ok(()) => {
                    assert!(full.is_none(), "librdkafka took a record after one that it did not");
                    self.state.rows += 1;
                    self.state.bytes += self.state.sent[at].bytes(row);
                    continue;
                }
                Err(RDKafkaErrorCode::QueueFull) => full = full.or(Some(row)),
                Err(code) if is_about_the_record(code) && full.is_none() => self.refuse(at, row, code),
                Err(code) => failed = Some(code),
            }
            self.ledger.unexpect(number, 1);
        }
        self.state.sent[at].done = full.unwrap_or(len);
        match failed {
            // Final whatever the code: records after it may have been taken, so this batch cannot be given again.
            Some(code) => Err(self.failed(&KafkaError::MessageProduction(code))),
            None => Ok(full.is_none()),
        }
    }

    /// Gives one record to the producer.
    fn give(&mut self, at: usize, row: usize) -> Result<Given> {
        let sent = &self.state.sent[at];
        let ticket = Ticket { lane: self.lane, batch: sent.number, row };
        let mut record: BaseRecord<'_, [u8], [u8], usize> =
            BaseRecord::with_opaque_to(&self.topic, ticket.pack());
        record.key = sent.key(row);
        record.payload = sent.value(row);
        record.timestamp = sent.timestamp(row);
        record.headers = sent.headers(row);
        let bytes = sent.bytes(row);
        let error = match self.client()?.producer.client.send(record) {
            Ok(()) => {
                self.state.rows += 1;
                self.state.bytes += bytes;
                return Ok(Given::Taken);
            }
            Err((error, _)) => error,
        };
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::QueueFull) => Ok(Given::Full),
            Some(code) if is_about_the_record(code) => Ok(Given::Refused(code)),
            _ => Err(self.failed(&error)),
        }
    }

    fn refuse(&mut self, at: usize, row: usize, code: RDKafkaErrorCode) {
        let bytes = self.state.sent[at].value_bytes(row);
        self.refuse_for(at, row, refusal(&self.topic, bytes, code));
    }

    fn refuse_for(&mut self, at: usize, row: usize, reason: String) {
        let sent = &mut self.state.sent[at];
        if let Some(writes) = &mut sent.writes {
            writes.refused(row, &reason);
        }
        self.state.refused.push(Refused { origin: sent.origins.get(row), reason });
    }

    /// What a failure to write means that is not about a record.
    fn failed(&self, error: &KafkaError) -> Error {
        let what = format!("topic `{}` on {} cannot be written", self.topic, self.brokers);
        let code = error.rdkafka_error_code();
        if code.is_some_and(|code| meaning(code) == Meaning::Missing) {
            let message = format!("{what}: it, or a partition of it, does not exist any more: {error}");
            return Error::external(Code::K002, message).help(gone::HELP);
        }
        match (self.transaction(), code) {
            (Some(_), Some(code)) if !stays(code) => self.void(code),
            (Some(_), _) => client::error(Code::K002, &what, error),
            (None, _) => self.fatal().unwrap_or_else(|| client::error(Code::K002, &what, error)),
        }
    }

    /// The error after which the client takes nothing any more, if there was one.
    fn fatal(&self) -> Option<Error> {
        let fatal = self.client().ok()?.producer.fatal()?;
        Some(if self.transaction().is_some() { Error::stale(fatal.code(), fatal.message()) } else { fatal })
    }

    /// The error that says: not yet.
    fn not_yet(&self, what: &str) -> Error {
        if let Some(fatal) = self.fatal() {
            return fatal;
        }
        let last = self.client().ok().and_then(|client| client.producer.last_error());
        let why = last.map_or(String::new(), |e| format!(": {e}"));
        Error::passing(Code::K002, format!("topic `{}` on {} {what}{why}", self.topic, self.brokers))
    }

    /// Sorts the failures that the reports told of. Those that lie in a record are sent again alone; `alone`: the
    /// failure is that of a record that was.
    fn sort_failures(&mut self, alone: bool) -> Result<()> {
        for (number, row, code) in self.ledger.failures() {
            let at = self.find(number);
            self.state.rows -= 1;
            self.state.bytes -= self.state.sent[at].bytes(row);
            let about_the_record = is_about_the_record(code);
            if about_the_record && alone {
                self.refuse(at, row, code);
            } else if about_the_record || meaning(code).passes() {
                self.state.alone.push_back((number, row));
            } else {
                return Err(self.failed(&KafkaError::MessageProduction(code)));
            }
        }
        Ok(())
    }

    fn find(&self, number: u64) -> usize {
        let first = self.state.sent.front().map_or(number, |s| s.number);
        (number - first) as usize
    }

    /// Waits for reports and sends failed records again, until nothing is left; `false` when time is up.
    fn deliver(&mut self, deadline: Duration) -> Result<bool> {
        for _ in 0..KAFKA_SEND_NOW {
            if self.ledger.settle(Duration::ZERO) {
                break;
            }
            // An epoch waits for these: they need no company.
            ffi::send_now(&self.client()?.producer.client, Duration::from_millis(1));
        }
        loop {
            if !self.ledger.settle(deadline.saturating_sub(self.clock.now())) {
                return Ok(false);
            }
            // What was sent again is delivered, or among the failures.
            self.check_reports(None)?;
            let alone = std::mem::take(&mut self.state.alone_flying);
            if alone {
                self.state.alone.pop_front();
            }
            self.sort_failures(alone)?;
            let Some(&(number, row)) = self.state.alone.front() else { return Ok(true) };
            let at = self.find(number);
            self.ledger.expect(number, 1);
            match self.give(at, row) {
                Ok(Given::Taken) => self.state.alone_flying = true,
                other => {
                    self.ledger.unexpect(number, 1);
                    match other? {
                        Given::Refused(code) => {
                            self.state.alone.pop_front();
                            self.refuse(at, row, code);
                        }
                        _ => return Ok(false),
                    }
                }
            }
        }
    }
}

impl Sink for KafkaSink {
    fn write(&mut self, batch: &Batch, refused: &mut Vec<Refused>) -> Result<()> {
        self.refresh()?;
        if !self.state.partial {
            self.begin(batch)?;
        }
        let deadline = self.clock.now() + KAFKA_BLOCK;
        while !self.give_rest()? {
            if self.clock.now() >= deadline {
                return Err(self.waits("takes no more records now"));
            }
            // The queue is full: its size is many batches, so a short rest does not let it run dry.
            std::thread::sleep(Duration::from_millis(2));
        }
        self.state.partial = false;
        refused.append(&mut self.state.refused);
        Ok(())
    }

    fn idles(&self) -> Duration {
        let holds = !self.state.sent.is_empty() || !self.state.forgotten.is_empty();
        if holds { SINK_IDLE_HOLDING } else { SINK_IDLE }
    }

    fn idle(&mut self) -> Result<()> {
        // What is to be given again is found by the number of its batch.
        if !self.state.partial && self.state.alone.is_empty() {
            self.prune();
        }
        Ok(())
    }

    fn prepare(&mut self, _: Epoch, refused: &mut Vec<Refused>) -> Result<Prepare> {
        assert!(!self.state.partial, "a batch was taken in part and not given again");
        let deadline = self.clock.now() + KAFKA_BLOCK;
        if !self.deliver(deadline)? {
            return Err(self.waits("has not confirmed every record yet"));
        }
        self.prune();
        assert!(self.state.sent.is_empty(), "everything was delivered or refused");
        refused.append(&mut self.state.refused);
        let State { rows, bytes, .. } = self.state;
        (self.state.rows, self.state.bytes) = (0, 0);
        Ok(Prepare { rows, bytes })
    }

    fn abort(&mut self) -> Result<()> {
        // What the reports say of records is worth knowing when they come again; that they failed is known.
        let _ = self.check_reports(None);
        self.ledger.forget();
        let mut old = std::mem::take(&mut self.state);
        // A transaction that was given up has dropped its records.
        if matches!(self.writer, Writer::Own(_)) {
            old.forgotten.extend(old.sent.into_iter().map(|sent| sent.origins));
            self.state.forgotten = old.forgotten;
        }
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        self.abort()
    }
}
