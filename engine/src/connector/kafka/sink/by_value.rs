//! The sink of one lane where values say to which topic a row goes: one [`KafkaSink`] for each topic, over the same
//! client. Rows of one topic keep their order; what is written within an epoch is prepared together.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::UInt32Array;
use arrow::compute::take_record_batch;
use indexmap::IndexMap;

use super::admit::Admitted;
use super::template::Template;
use super::writer::KafkaSink;
use super::{Maker, Seat};
use crate::batch::{Batch, Selection};
use crate::connector::commit::Prepare;
use crate::connector::sink::{Refused, Sink};
use crate::error::{Error, Result};
use crate::units::{Epoch, SINK_IDLE};

pub(super) struct ByValue {
    template: Arc<Template>,
    admitted: Arc<Admitted>,
    maker: Arc<Maker>,
    /// For topics that are not written yet.
    seats: Vec<Seat>,
    sinks: IndexMap<Arc<str>, KafkaSink>,
    /// Of the batch that is being written what is left of it, by the place of its sink.
    parts: VecDeque<(usize, Batch)>,
    /// The batch was parted: `write` may be called with it again.
    is_parted: bool,
    refused: Vec<Refused>,
    /// What the sinks have prepared of an epoch that is not prepared whole.
    prepared: Prepare,
}

impl ByValue {
    pub(super) fn new(
        template: Arc<Template>,
        admitted: Arc<Admitted>,
        maker: Arc<Maker>,
        seats: Vec<Seat>,
    ) -> Self {
        Self {
            template,
            admitted,
            maker,
            seats,
            sinks: IndexMap::new(),
            parts: VecDeque::new(),
            is_parted: false,
            refused: Vec::new(),
            prepared: Prepare::default(),
        }
    }

    /// The place of the sink of a topic, which may be a new one; else why it is not written.
    fn find(&mut self, topic: &str) -> Result<Result<usize, String>> {
        if let Some(at) = self.sinks.get_index_of(topic) {
            return Ok(Ok(at));
        }
        let topic = match self.admitted.admit(topic)? {
            Ok(topic) => topic,
            Err(reason) => return Ok(Err(reason)),
        };
        let Some(seat) = self.seats.pop() else {
            return Err(Error::internal("more topics than a sink has places for"));
        };
        let sink = self.maker.sink(&topic, seat)?;
        Ok(Ok(self.sinks.insert_full(topic, sink).0))
    }

    /// Parts a batch by topic. Nothing is kept of it where that fails.
    fn part(&mut self, batch: &Batch) -> Result<()> {
        let template = Arc::clone(&self.template);
        let texts = template.texts(&batch.records)?;
        let mut known: HashMap<String, Result<usize, String>> = HashMap::new();
        let mut rows: IndexMap<usize, Vec<u32>> = IndexMap::new();
        let mut refused = Vec::new();
        let mut topic = String::new();
        for row in 0..batch.len() {
            let found = match texts.topic(row, &mut topic) {
                Err(reason) => Err(reason),
                Ok(()) => match known.get(&topic) {
                    Some(found) => found.clone(),
                    None => {
                        let found = self.find(&topic)?;
                        known.insert(topic.clone(), found.clone());
                        found
                    }
                },
            };
            match found {
                Ok(at) => rows.entry(at).or_default().push(row as u32),
                Err(reason) => refused.push(Refused { origin: batch.origins.get(row), reason }),
            }
        }
        if let Some(tombstones) = batch.tombstones() {
            let origins = tombstones.origins();
            let reason = || "no topic: a tombstone has no columns".to_owned();
            refused
                .extend((0..origins.len()).map(|at| Refused { origin: origins.get(at), reason: reason() }));
        }
        for (at, rows) in rows {
            let part = if rows.len() == batch.count() { batch.clone() } else { selected(batch, rows)? };
            self.parts.push_back((at, part));
        }
        self.refused.extend(refused);
        Ok(())
    }
}

fn selected(batch: &Batch, rows: Vec<u32>) -> Result<Batch> {
    let rows = UInt32Array::from(rows);
    let records = take_record_batch(&batch.records, &rows)
        .map_err(|e| Error::internal(format!("rows of one topic cannot be taken: {e}")))?;
    Ok(Batch::new(records, batch.origins.select(&Selection::Take(rows))))
}

impl Sink for ByValue {
    fn write(&mut self, batch: &Batch, refused: &mut Vec<Refused>) -> Result<()> {
        if !self.is_parted {
            self.part(batch)?;
            self.is_parted = true;
        }
        while let Some((at, part)) = self.parts.front() {
            self.sinks[*at].write(part, &mut self.refused)?;
            self.parts.pop_front();
        }
        self.is_parted = false;
        refused.append(&mut self.refused);
        Ok(())
    }

    fn idles(&self) -> Duration {
        self.sinks.values().map(KafkaSink::idles).min().unwrap_or(SINK_IDLE)
    }

    fn idle(&mut self) -> Result<()> {
        self.sinks.values_mut().try_for_each(KafkaSink::idle)
    }

    fn prepare(&mut self, epoch: Epoch, refused: &mut Vec<Refused>) -> Result<Prepare> {
        assert!(!self.is_parted, "a batch was taken in part and not given again");
        for sink in self.sinks.values_mut() {
            let Prepare { rows, bytes } = sink.prepare(epoch, &mut self.refused)?;
            self.prepared.rows += rows;
            self.prepared.bytes += bytes;
        }
        refused.append(&mut self.refused);
        Ok(std::mem::take(&mut self.prepared))
    }

    fn abort(&mut self) -> Result<()> {
        self.parts.clear();
        self.is_parted = false;
        self.refused.clear();
        self.prepared = Prepare::default();
        self.sinks.values_mut().try_for_each(|sink| {
            sink.abort()?;
            // A topic that nobody writes to for a while would keep clients alive that were given up.
            sink.let_go();
            Ok(())
        })
    }

    fn close(&mut self) -> Result<()> {
        self.sinks.values_mut().try_for_each(KafkaSink::close)
    }
}
