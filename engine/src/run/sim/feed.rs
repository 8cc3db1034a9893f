//! Who writes the inputs: producers of transactions, some of which are aborted, so that records lie between markers and
//! beside records that nobody may read.

use super::kafka::{Kafka, POISON, Row, Tp};
use super::rng::Rng;
use super::setup::Setup;

struct Writer {
    tp: Tp,
    n: u16,
    poison: u16,
    /// The producer of the open transaction, and whether it will commit.
    open: Option<(u64, bool)>,
}

pub struct Feed {
    rows: u16,
    writers: Vec<Writer>,
}

impl Feed {
    pub fn new(setup: &Setup) -> Self {
        let writer = |tp| Writer { tp, n: 0, poison: POISON, open: None };
        Self { rows: setup.rows, writers: setup.inputs().into_iter().map(writer).collect() }
    }

    pub fn step(&mut self, kafka: &mut Kafka, rng: &mut Rng, hurry: bool) -> bool {
        let at = rng.below(self.writers.len());
        let writer = &mut self.writers[at];
        let log = kafka.logs.entry(writer.tp).or_default();
        if let Some((pid, commit)) = writer.open
            && (hurry || rng.chance(500))
        {
            log.mark(pid, 0, commit);
            writer.open = None;
            return true;
        }
        if writer.n >= self.rows {
            return false;
        }
        let (pid, commit) = match writer.open {
            Some(open) => open,
            None => (kafka.pid(), rng.chance(800)),
        };
        writer.open = Some((pid, commit));
        let next = if commit { &mut writer.n } else { &mut writer.poison };
        let count = rng.range(1, 4) as u16;
        let count = if commit { count.min(self.rows - *next) } else { count };
        let rows: Vec<Row> = (*next..*next + count).map(|n| Row { from: writer.tp, n }).collect();
        *next += count;
        kafka.logs.entry(writer.tp).or_default().append(pid, &rows);
        true
    }

    /// Whether all records are there, and readable.
    pub fn is_done(&self) -> bool {
        self.writers.iter().all(|writer| writer.n >= self.rows && writer.open.is_none())
    }
}
