//! An experiment: record batches of fetch responses straight into Arrow buffers, beside what librdkafka does.
//!
//! `wire` speaks to the broker, `batch` takes record batches apart, `column` is what they become, `drain` is the way of
//! librdkafka, `parts` takes the work of a hand-written program apart, `cpu` counts. The program is
//! `benches/src/bin/fetch.rs`, what came of it `docs/adr/0013-record-batches-to-columns.md`.

pub mod batch;
pub mod column;
pub mod cpu;
pub mod drain;
pub mod load;
pub mod parts;
pub mod wire;

use std::error::Error;

use arrow::array::ArrayAccessor;

/// What a helper of a benchmark fails with.
pub type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

/// What was read: counted always, and where that is asked for summed up over every byte of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Records.
    pub records: u64,
    /// Bytes of their values.
    pub bytes: u64,
    /// A sum over offset, timestamp, key and value of each, whatever the order of the partitions; 0 if not asked for.
    pub checksum: u64,
    /// Whether it is asked for.
    pub checked: bool,
}

impl Tally {
    /// One that sums up, or only counts.
    pub fn new(checked: bool) -> Self {
        Self { checked, ..Self::default() }
    }

    /// Adds a record.
    pub fn add(&mut self, offset: i64, timestamp: i64, key: Option<&[u8]>, value: Option<&[u8]>) {
        self.records += 1;
        self.bytes += value.map_or(0, <[u8]>::len) as u64;
        if self.checked {
            let digest = |bytes: Option<&[u8]>| u64::from(bytes.map_or(0x5EED, crc32c::crc32c));
            let numbers = (offset as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ timestamp as u64;
            let record = (digest(key) << 32 | digest(value)).wrapping_add(numbers);
            self.checksum = self.checksum.wrapping_add(record.wrapping_mul(0x2545_F491_4F6C_DD1D));
        }
    }

    /// Adds columns.
    pub fn add_columns<'a, A: ArrayAccessor<Item = &'a [u8]>>(
        &mut self,
        offsets: &[i64],
        timestamps: &[i64],
        keys: A,
        values: A,
        bytes: usize,
    ) {
        if !self.checked {
            self.records += offsets.len() as u64;
            self.bytes += bytes as u64;
            return;
        }
        for (row, (offset, timestamp)) in offsets.iter().zip(timestamps).enumerate() {
            let key = keys.is_valid(row).then(|| keys.value(row));
            let value = values.is_valid(row).then(|| values.value(row));
            self.add(*offset, *timestamp, key, value);
        }
    }
}
