//! A sink that writes into the simulated transaction, as `connector/kafka/sink/writer.rs` does into a real one.

use std::sync::Arc;

use arrow::array::AsArray as _;
use arrow::datatypes::Int64Type;

use super::client::Transaction;
use super::consumer::number;
use super::kafka::{LETTERS, Row};
use super::setup::{Breakage, Fault};
use super::world::World;
use crate::batch::{Batch, Item, Origin};
use crate::connector::commit::Prepare;
use crate::connector::sink::{Refused, Sink};
use crate::error::{Code, Error, Result};
use crate::units::Epoch;

pub struct Writer {
    world: Arc<World>,
    worker: usize,
    transaction: Arc<Transaction>,
    terminal: usize,
    topic: u8,
    /// The client it writes by.
    client: Option<usize>,
    /// Rows of the batch in hand that were taken.
    taken: usize,
    /// Rows written since the last prepare.
    rows: u64,
}

/// Records that the cluster refuses, in the first output.
pub fn is_refused(topic: u8, row: Row) -> bool {
    topic == super::kafka::OUTPUTS && row.n % 5 == 2
}

impl Writer {
    pub fn new(
        world: &Arc<World>,
        worker: usize,
        transaction: &Arc<Transaction>,
        terminal: usize,
        topic: u8,
    ) -> Self {
        let (world, transaction) = (Arc::clone(world), Arc::clone(transaction));
        Self { world, worker, transaction, terminal, topic, client: None, taken: 0, rows: 0 }
    }

    /// The client that is to be used now.
    fn refresh(&mut self) -> Result<usize> {
        let client = self.transaction.client()?;
        if self.client != Some(client) && self.rows > 0 {
            return Err(Error::stale(Code::K002, "records of a transaction that was given up"));
        }
        self.client = Some(client);
        self.check()?;
        Ok(client)
    }

    fn check(&self) -> Result<()> {
        if self.client.is_some_and(|client| self.world.with(|s| s.clients[client].failed)) {
            return Err(Error::stale(Code::K002, "a record was not written"));
        }
        Ok(())
    }

    /// The rows and tombstones of a batch, each with where it came from.
    fn records(&self, batch: &Batch) -> Vec<(Row, Origin)> {
        let origins = batch.all_origins();
        let row = |item: Item, origin: &Origin| match item {
            Item::Row(row) if self.topic != LETTERS => {
                Row::unpack(batch.records.column(0).as_primitive::<Int64Type>().value(row))
            }
            _ => Row::unpack(number(origin)),
        };
        let items = batch.items().into_iter().enumerate().map(|(at, item)| (item, origins.get(at)));
        let mut items: Vec<(Item, Origin)> = items.collect();
        if self.world.is_broken(Breakage::TombstonesLast) {
            items.sort_by_key(|(item, _)| matches!(item, Item::Tombstone(_)));
        }
        items.into_iter().map(|(item, origin)| (row(item, &origin), origin)).collect()
    }
}

impl Sink for Writer {
    fn write(&mut self, batch: &Batch, refused: &mut Vec<Refused>) -> Result<()> {
        self.world.pump(self.worker)?;
        let client = self.refresh()?;
        if self.world.fault(Fault::Passing) {
            return Err(Error::passing(Code::K002, "takes no more records now"));
        }
        let records = self.records(batch);
        while self.taken < records.len() {
            let (row, origin) = records[self.taken].clone();
            self.taken += 1;
            if is_refused(self.topic, row) {
                refused.push(Refused { origin, reason: "five".to_owned() });
                continue;
            }
            self.rows += 1;
            self.world.with(|s| {
                let tp = (self.topic, row.from.1 % s.setup.spread);
                s.clients[client].give(self.terminal, tp, vec![row]);
            });
            if self.taken < records.len() && self.world.fault(Fault::Full) {
                return Err(Error::passing(Code::K002, "the queue is full"));
            }
        }
        self.taken = 0;
        Ok(())
    }

    fn prepare(&mut self, _: Epoch, _: &mut Vec<Refused>) -> Result<Prepare> {
        self.world.pump(self.worker)?;
        assert_eq!(self.taken, 0, "a batch was taken in part and not given again");
        if !self.world.is_broken(Breakage::SkipPrepare) {
            self.check()?;
            let waits = |client: usize| self.world.with(|s| s.clients[client].waits(self.terminal));
            if !self.world.is_broken(Breakage::AheadOfReports) && self.client.is_some_and(waits) {
                return Err(Error::passing(Code::K002, "has not confirmed every record yet"));
            }
        }
        Ok(Prepare { rows: std::mem::take(&mut self.rows), bytes: 0 })
    }

    fn abort(&mut self) -> Result<()> {
        (self.client, self.taken, self.rows) = (None, 0, 0);
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        self.abort()
    }
}
