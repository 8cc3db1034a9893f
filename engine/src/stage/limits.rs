//! Bounds of one instance, and the meter that enforces its memory.

use std::time::Duration;

use wasmtime::ResourceLimiter;

use crate::units;

/// Bounds of one instance.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of all linear memories and tables.
    pub memory_bytes: usize,
    /// Time of one call.
    pub time: Duration,
    /// Bytes one call may return.
    pub output_bytes: usize,
    /// Rows one call may return.
    pub rows: usize,
    /// Log lines a second.
    pub log_lines_per_second: u32,
}

impl Limits {
    /// The defaults for a component of this size: large ones are taken to carry an interpreter.
    pub fn defaults_for(component_bytes: usize) -> Self {
        let interpreter = component_bytes > units::INTERPRETER_COMPONENT_BYTES;
        Self {
            memory_bytes: if interpreter {
                units::STAGE_MEMORY_BYTES_INTERPRETER
            } else {
                units::STAGE_MEMORY_BYTES
            },
            time: if interpreter { units::STAGE_TIME_SLOW } else { units::STAGE_TIME },
            output_bytes: units::STAGE_OUTPUT_BYTES,
            rows: units::STAGE_ROWS,
            log_lines_per_second: units::STAGE_LOG_LINES_PER_SECOND,
        }
    }

    /// Time of starting an instance and of `describe` and `bind`: ten calls' worth, because an interpreter starts up
    /// and a regular expression compiles there, yet not more than `STAGE_TIME_SLOW` unless one call may take longer.
    pub(super) fn start_time(&self) -> Duration {
        self.time.saturating_mul(10).min(units::STAGE_TIME_SLOW).max(self.time)
    }
}

/// Bytes that one element of a table takes in the host.
const TABLE_ELEMENT_BYTES: usize = size_of::<usize>();

/// Sums all memories and tables of a store; wasmtime's own limits are per memory.
#[derive(Debug)]
pub(super) struct Meter {
    limit: usize,
    used: usize,
    peak: usize,
    /// Bytes granted last, taken back when the growth failed after all.
    granted: usize,
    /// Whether something was refused since the last call began.
    refused: bool,
}

impl Meter {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, used: 0, peak: 0, granted: 0, refused: false }
    }

    /// Highest sum so far, in bytes.
    pub(super) fn peak(&self) -> usize {
        self.peak
    }

    /// Whether the guest was refused memory since the last `begin`.
    pub(super) fn refused(&self) -> bool {
        self.refused
    }

    /// A new call begins.
    pub(super) fn begin(&mut self) {
        self.refused = false;
    }

    fn grow(&mut self, more: usize) -> bool {
        match self.used.checked_add(more) {
            Some(sum) if sum <= self.limit => {
                self.used = sum;
                self.granted = more;
                self.peak = self.peak.max(sum);
                true
            }
            _ => {
                self.granted = 0;
                self.refused = true;
                false
            }
        }
    }

    fn failed(&mut self) {
        self.used -= self.granted;
        self.granted = 0;
        self.refused = true;
    }
}

impl ResourceLimiter for Meter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.grow(desired.saturating_sub(current)))
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.failed();
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.grow(desired.saturating_sub(current).saturating_mul(TABLE_ELEMENT_BYTES)))
    }

    fn table_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.failed();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_meter_sums_all_memories_and_tables() {
        let mut meter = Meter::new(1 << 20);
        assert!(meter.memory_growing(0, 512 << 10, None).unwrap());
        assert!(meter.memory_growing(0, 448 << 10, None).unwrap());
        assert!(meter.table_growing(0, 8 << 10, None).unwrap());
        assert_eq!(meter.peak(), 1 << 20);
        assert!(!meter.refused());
        assert!(!meter.memory_growing(448 << 10, 512 << 10, None).unwrap());
        assert!(meter.refused());
        meter.begin();
        assert!(!meter.refused());
        assert!(!meter.table_growing(0, usize::MAX, None).unwrap(), "an overflow is a refusal");
    }

    #[test]
    fn a_growth_that_failed_is_taken_back() {
        let mut meter = Meter::new(100);
        assert!(meter.memory_growing(0, 60, None).unwrap());
        meter.memory_grow_failed(wasmtime::Error::msg("no")).unwrap();
        assert!(meter.refused());
        assert!(meter.memory_growing(0, 100, None).unwrap());
    }

    #[test]
    fn starting_may_take_ten_calls() {
        let mut limits = Limits::defaults_for(1000);
        assert_eq!(limits.start_time(), units::STAGE_TIME_SLOW);
        limits.time = Duration::from_millis(20);
        assert_eq!(limits.start_time(), Duration::from_millis(200));
        limits.time = Duration::from_secs(60);
        assert_eq!(limits.start_time(), Duration::from_secs(60));
    }
}
