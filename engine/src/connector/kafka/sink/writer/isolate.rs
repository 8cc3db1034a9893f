//! Records that are set apart: those whose time cannot be written, and within a transaction those that may make all of
//! it void, as one record that is not delivered does.

use std::sync::Arc;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::in_flight::Sent;
use super::{Client, Given, KafkaSink, Writer, ffi};
use crate::connector::commit::Transaction as _;
use crate::connector::kafka::sink::refusal::{is_about_the_record, refusal, stays};
use crate::connector::kafka::sink::transaction::Verdict;
use crate::error::{Code, Error, Result};
use crate::units::KAFKA_BLOCK;

impl KafkaSink {
    /// Records whose time cannot be written, and those that would make a transaction void, or did.
    pub(super) fn find_apart(&self, sent: &Sent) -> Vec<(usize, Verdict)> {
        let transaction = self.transaction();
        let suspects = transaction.map(|transaction| transaction.suspects());
        let look = suspects.as_ref().is_some_and(|suspects| suspects.any());
        let verdict = |at: usize| {
            if let Some(reason) = sent.unfit(at) {
                return Some(Verdict::Refused(reason));
            }
            let suspects = suspects.as_ref()?;
            if sent.bytes(at) > self.record_bytes as u64 {
                let code = RDKafkaErrorCode::MessageSizeTooLarge;
                return Some(Verdict::Refused(refusal(&self.topic, sent.value_bytes(at), code)));
            }
            if look { suspects.verdict(&self.name, &sent.origins.get(at)) } else { None }
        };
        if transaction.is_none() && !sent.may_be_unfit() {
            return Vec::new();
        }
        (0..sent.len()).filter_map(|at| Some((at, verdict(at)?))).collect()
    }

    /// The client that is to be used now.
    pub(super) fn refresh(&mut self) -> Result<()> {
        let Writer::Shared(transaction, ours) = &mut self.writer else { return Ok(()) };
        let (producer, name) = transaction.client()?;
        if ours.current == Some(name) {
            return Ok(());
        }
        if !self.state.sent.is_empty() {
            return Err(Error::stale(Code::K002, "records of a transaction that was given up"));
        }
        if ours.current.is_none_or(|before| before.round != name.round) {
            ours.clients = [None, None];
        }
        ours.current = None;
        let client = &mut ours.clients[name.slot];
        if client.as_ref().is_none_or(|(known, _)| *known != name) {
            *client = None;
            *client = Some((name, Client::new(producer, &self.topic, self.compression)?));
        }
        ours.current = Some(name);
        Ok(())
    }

    /// Deals with the next row that needs care; returns whether that was possible now.
    pub(super) fn give_apart(&mut self, at: usize) -> Result<bool> {
        let sent = &self.state.sent[at];
        let (row, verdict) = sent.apart[sent.apart_done].clone();
        match verdict {
            Verdict::Refused(reason) => self.refuse_for(at, row, reason),
            Verdict::Alone if !self.give_alone(at, row)? => return Ok(false),
            Verdict::Alone => {}
        }
        let sent = &mut self.state.sent[at];
        (sent.done, sent.apart_done) = (row + 1, sent.apart_done + 1);
        Ok(true)
    }

    /// Gives one record with nothing else on its way, so that its report is about it and nothing else.
    pub(super) fn give_alone(&mut self, at: usize, row: usize) -> Result<bool> {
        let Some(transaction) = self.transaction().map(Arc::clone) else {
            return Err(Error::internal("only a transaction is made void by a record"));
        };
        let _alone = transaction.alone();
        let producer = Arc::clone(&self.client()?.producer);
        if !ffi::send_now(&producer.client, KAFKA_BLOCK) {
            return Ok(false);
        }
        self.check_reports(None)?;
        let number = self.state.sent[at].number;
        self.ledger.expect(number, 1);
        match self.give(at, row) {
            Ok(Given::Taken) => {}
            other => {
                self.ledger.unexpect(number, 1);
                match other? {
                    Given::Refused(code) => self.refuse(at, row, code),
                    Given::Full => return Ok(false),
                    Given::Taken => {}
                }
                return Ok(true);
            }
        }
        let timeout = transaction.timeout();
        let delivered = ffi::send_now(&producer.client, timeout);
        self.check_reports(Some((number, row)))?;
        match delivered {
            true => Ok(true),
            false => Err(Error::stale(Code::K002, format!("a record was not confirmed within {timeout:?}"))),
        }
    }

    /// Within a transaction a report of a failure makes all of it void. What it says is kept: the cluster refused a
    /// record, this one if it was `alone`.
    pub(super) fn check_reports(&mut self, alone: Option<(u64, usize)>) -> Result<()> {
        let Some(transaction) = self.transaction().map(Arc::clone) else { return Ok(()) };
        let mut failed = None;
        for (number, row, code) in self.ledger.failures() {
            let sent = &self.state.sent[self.find(number)];
            if is_about_the_record(code) {
                let reason = || refusal(&self.topic, sent.value_bytes(row), code);
                let verdict =
                    if alone == Some((number, row)) { Verdict::Refused(reason()) } else { Verdict::Alone };
                transaction.suspects().add(&self.name, &sent.origins.get(row), verdict);
            } else if stays(code) {
                return Err(self.failed(&KafkaError::MessageProduction(code)));
            }
            // The first says why; what follows was given up because of it.
            failed = failed.or(Some(code));
        }
        match failed {
            None => Ok(()),
            Some(code) => Err(self.void(code)),
        }
    }

    /// The transaction cannot be committed.
    pub(super) fn void(&self, code: RDKafkaErrorCode) -> Error {
        let message = format!("topic `{}` on {} was not written: {code}", self.topic, self.brokers);
        Error::stale(Code::K002, message)
    }
}
