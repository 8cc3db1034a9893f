//! What the spans of a worker share: numbers, time, limits, and the way out.

use std::borrow::Cow;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::context::{Context, SpanId, TraceId};
use crate::clock::Clock;
use crate::metrics;
use crate::units::{TRACE_LOG_LINES_PER_SECOND, TRACE_RECORDS_PER_SECOND, TRACE_SPANS_PER_SECOND};

/// Takes finished spans; never waits.
pub trait Export: Send + Sync {
    /// Takes a span, or drops and counts it.
    fn offer(&self, span: Span);
}

/// What a span is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The passage of a record that was read.
    Consumer,
    /// A record that was written.
    Producer,
    /// Work in between.
    Internal,
}

/// A value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Text that is always the same: it costs nothing.
    Fixed(&'static str),
    /// Text.
    Text(Arc<str>),
    /// A number.
    Number(i64),
}

impl From<&Arc<str>> for Value {
    fn from(text: &Arc<str>) -> Self {
        Self::Text(Arc::clone(text))
    }
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Fixed(text)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

/// Attributes by name.
pub(super) type Attributes = Vec<(&'static str, Value)>;

/// Something that happened within a span.
#[derive(Clone, Debug)]
pub struct Event {
    /// What.
    pub name: &'static str,
    /// Nanoseconds since 1970 in UTC.
    pub at: u64,
    /// More about it.
    pub attributes: Vec<(&'static str, Value)>,
}

/// A finished span.
#[derive(Clone, Debug)]
pub struct Span {
    /// The trace and its flags; `parent` is this span's own number.
    pub context: Context,
    /// The span above it; `None`: the trace begins here.
    pub above: Option<SpanId>,
    /// Whether the span above is another program's.
    pub remote: bool,
    /// `tracestate`.
    pub state: Option<String>,
    /// What it is of.
    pub kind: Kind,
    /// Few different ones.
    pub name: Cow<'static, str>,
    /// Nanoseconds since 1970 in UTC.
    pub begun: u64,
    /// Nanoseconds since 1970 in UTC.
    pub ended: u64,
    /// More about it.
    pub attributes: Vec<(&'static str, Value)>,
    /// What happened within.
    pub events: Vec<Event>,
    /// Spans of other traces that it was work for as well.
    pub links: Vec<Context>,
    /// Why it failed, if it did.
    pub error: Option<String>,
}

/// So many a second, over all threads.
pub(super) struct Budget {
    a_second: u32,
    /// The second in the upper half, what was taken in it in the lower.
    state: AtomicU64,
}

impl Budget {
    fn new(a_second: u32) -> Self {
        Self { a_second, state: AtomicU64::new(0) }
    }

    /// Takes up to `wanted`; returns how many there were.
    pub(super) fn take(&self, now: u64, wanted: usize) -> usize {
        let second = (now / 1_000_000_000) as u32;
        let mut granted = 0;
        // The closure always answers, so the update cannot fail.
        let _ = self.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |state| {
            let taken = if (state >> 32) as u32 == second { state as u32 } else { 0 };
            granted = self.a_second.saturating_sub(taken).min(u32::try_from(wanted).unwrap_or(u32::MAX));
            Some(u64::from(second) << 32 | u64::from(taken + granted))
        });
        granted as usize
    }
}

/// What the spans of a worker share.
pub struct Tracer {
    /// Name of the pipeline: its consumer group as well.
    pub(super) pipeline: Arc<str>,
    /// Identity of this worker within the pipeline.
    pub(super) worker: Arc<str>,
    clock: Arc<dyn Clock>,
    /// What to add to the clock's time to have nanoseconds since 1970.
    offset: AtomicU64,
    export: Option<Box<dyn Export>>,
    pub(super) stats: Arc<metrics::Worker>,
    seed: u64,
    next: AtomicU64,
    /// Records that are followed.
    pub(super) records: Budget,
    /// Spans below those of records.
    pub(super) spans: Budget,
    lines: Budget,
}

impl std::fmt::Debug for Tracer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tracer").field("pipeline", &self.pipeline).finish_non_exhaustive()
    }
}

/// The clock may drift from the calendar by so much before spans are dated anew.
const DRIFT: u64 = 1_000_000_000;

impl Tracer {
    /// For a worker; without an export contexts are passed on as they are, and no span is made.
    pub fn new(
        pipeline: &str,
        worker: &str,
        clock: Arc<dyn Clock>,
        stats: Arc<metrics::Worker>,
        export: Option<Box<dyn Export>>,
    ) -> Arc<Self> {
        // The standard library's hash seeds come from the system's generator.
        let seed = std::hash::RandomState::new().build_hasher().finish();
        Arc::new(Self {
            pipeline: pipeline.into(),
            worker: worker.into(),
            clock,
            offset: AtomicU64::new(0),
            export,
            stats,
            seed,
            next: AtomicU64::new(0),
            records: Budget::new(TRACE_RECORDS_PER_SECOND),
            spans: Budget::new(TRACE_SPANS_PER_SECOND),
            lines: Budget::new(TRACE_LOG_LINES_PER_SECOND),
        })
    }

    /// Whether spans are made at all.
    pub(super) fn is_exporting(&self) -> bool {
        self.export.is_some()
    }

    pub(super) fn offer(&self, span: Span) {
        if let Some(export) = &self.export {
            export.offer(span);
        }
    }

    /// Nanoseconds since 1970 in UTC, with the resolution of the clock that never goes back.
    pub(super) fn now(&self) -> u64 {
        let (fine, coarse) =
            (self.clock.now().as_nanos() as u64, self.clock.unix_ms().max(0) as u64 * 1_000_000);
        let offset = self.offset.load(Ordering::Relaxed);
        let now = offset.wrapping_add(fine);
        if now.abs_diff(coarse) <= DRIFT {
            return now;
        }
        self.offset.store(coarse.wrapping_sub(fine), Ordering::Relaxed);
        coarse
    }

    /// Whether one more line about a record may be logged.
    pub(super) fn may_log(&self, now: u64) -> bool {
        self.lines.take(now, 1) == 1
    }

    /// The next number of a sequence that looks random (splitmix64); never 0.
    pub(super) fn number(&self) -> u64 {
        loop {
            let step = self.next.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
            let mut z = self.seed.wrapping_add(step);
            z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^= z >> 31;
            if z != 0 {
                return z;
            }
        }
    }

    pub(super) fn span_id(&self) -> SpanId {
        SpanId(self.number().to_be_bytes())
    }

    pub(super) fn trace_id(&self) -> TraceId {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.number().to_be_bytes());
        bytes[8..].copy_from_slice(&self.number().to_be_bytes());
        TraceId(bytes)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeSet;
    use std::sync::Mutex;
    use std::time::Duration;

    use super::*;
    use crate::metrics::Meter;

    /// Keeps every span.
    #[derive(Clone, Default)]
    pub(crate) struct Kept(Arc<Mutex<Vec<Span>>>);

    impl Kept {
        pub(crate) fn take(&self) -> Vec<Span> {
            std::mem::take(&mut self.0.lock().unwrap())
        }
    }

    impl Export for Kept {
        fn offer(&self, span: Span) {
            self.0.lock().unwrap().push(span);
        }
    }

    /// A clock that stands still where it is put.
    #[derive(Default)]
    pub(crate) struct Held(AtomicU64);

    impl Held {
        pub(crate) fn put(&self, at: Duration) {
            self.0.store(at.as_nanos() as u64, Ordering::Relaxed);
        }
    }

    impl Clock for Held {
        fn now(&self) -> Duration {
            Duration::from_nanos(self.0.load(Ordering::Relaxed))
        }
        fn unix_ms(&self) -> i64 {
            1_700_000_000_000 + self.now().as_millis() as i64
        }
    }

    pub(crate) fn tracer() -> (Arc<Tracer>, Kept, Arc<Held>) {
        let (kept, clock) = (Kept::default(), Arc::new(Held::default()));
        let export = Some(Box::new(kept.clone()) as Box<dyn Export>);
        (Tracer::new("p", "w", clock.clone(), Meter::new("p").worker(), export), kept, clock)
    }

    #[test]
    fn numbers_differ_and_time_follows_the_calendar() {
        let (tracer, _, clock) = tracer();
        let all: BTreeSet<u64> = (0..10_000).map(|_| tracer.number()).collect();
        assert_eq!(all.len(), 10_000);
        assert_ne!(self::tracer().0.number(), tracer.number());
        assert_eq!(tracer.now(), 1_700_000_000_000_000_000);
        clock.put(Duration::from_nanos(1_500));
        assert_eq!(tracer.now(), 1_700_000_000_000_001_500, "finer than the calendar's milliseconds");
    }

    #[test]
    fn a_budget_is_a_seconds() {
        let budget = Budget::new(10);
        let second = 1_000_000_000;
        assert_eq!([budget.take(second, 4), budget.take(second, 9), budget.take(second, 1)], [4, 6, 0]);
        assert_eq!(budget.take(2 * second - 1, 1), 0);
        assert_eq!(budget.take(2 * second, 100), 10);
    }
}
