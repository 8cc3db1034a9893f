//! The way of a source batch's records through the worker: from when they were read to when the last row that came
//! from them is written, left out or dead-lettered. That is when nothing holds the batch any more.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::Array;
use arrow::buffer::ScalarBuffer;

use super::context::{Context, SAMPLED, SpanId, TRACEPARENT, TRACESTATE, state};
use super::tracer::{Attributes, Event, Kind, Span, Tracer, Value};
use crate::batch::{Failure, Headers, Origins, SourceBatch};
use crate::secret;
use crate::units::{TRACE_EVENTS_MAX, TRACE_MESSAGE_BYTES_MAX};

/// A record that belongs to a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passage {
    /// Its row in the source batch.
    pub row: u32,
    /// What came with it; of a trace that begins here, its own span.
    pub context: Context,
    /// The span of its passage; `None`: it is not recorded here, and its context is passed on as it is.
    pub span: Option<SpanId>,
    /// Whether the trace begins here.
    is_root: bool,
}

/// Finds the records that belong to a trace; one a lane of a source.
pub struct Sampler {
    tracer: Arc<Tracer>,
    source: Arc<str>,
    /// Whether topic, partition and offset are Kafka's.
    kafka: bool,
    /// Share of the records without a context that begin a trace.
    share: f64,
    /// Records to pass over before the next one begins a trace.
    skip: u64,
}

impl Sampler {
    /// For a source.
    pub fn new(tracer: Arc<Tracer>, source: Arc<str>, kafka: bool, share: f64) -> Self {
        let mut sampler = Self { tracer, source, kafka, share, skip: 0 };
        sampler.skip = sampler.gap();
        sampler
    }

    /// Records between two that begin a trace: drawn once for each that does, so that the others cost nothing.
    fn gap(&self) -> u64 {
        if self.share >= 1.0 {
            return 0;
        }
        if self.share <= 0.0 || !self.tracer.is_exporting() {
            return u64::MAX;
        }
        let uniform = ((self.tracer.number() >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        (uniform.ln() / (-self.share).ln_1p()) as u64
    }

    /// The records of a batch that belong to a trace; `None` where there is none.
    pub fn begin(&mut self, batch: &SourceBatch) -> Option<Box<Passages>> {
        let mut rows = self.received(batch);
        self.begin_new(&mut rows, batch.len());
        if rows.is_empty() {
            return None;
        }
        let begun = self.tracer.now();
        let wanted = rows.iter().filter(|row| row.context.is_sampled()).count();
        let mut followed = 0;
        if self.tracer.is_exporting() && wanted > 0 {
            let granted = self.tracer.records.take(begun, wanted);
            self.tracer.stats.trace_dropped_spans.add((wanted - granted) as u64);
            for row in rows.iter_mut().filter(|row| row.context.is_sampled()).take(granted) {
                row.span = Some(self.tracer.span_id());
                followed += 1;
            }
            // A trace that was to begin here and cannot be followed does not begin.
            rows.retain(|row| row.span.is_some() || !row.is_root);
        }
        Some(Box::new(Passages {
            tracer: Arc::clone(&self.tracer),
            source: Arc::clone(&self.source),
            kafka: self.kafka,
            topic: Arc::clone(&batch.topic),
            partition: batch.partition,
            offsets: batch.offsets.clone(),
            headers: batch.headers.clone(),
            rows,
            followed,
            begun,
            failed: Mutex::default(),
        }))
    }

    /// The contexts that came in headers. What is wrong is counted, and taken as absent.
    fn received(&self, batch: &SourceBatch) -> Vec<Passage> {
        let mut rows = Vec::new();
        let Some(headers) = &batch.headers else { return rows };
        let mut invalid = 0;
        for row in 0..batch.len() {
            let mut found = headers.named(row, TRACEPARENT);
            let Some(first) = found.next() else { continue };
            let context = first.filter(|_| found.next().is_none()).and_then(Context::parse);
            match context {
                Some(context) => rows.push(Passage { row: row as u32, context, span: None, is_root: false }),
                None => invalid += 1,
            }
        }
        if invalid > 0 {
            self.tracer.stats.trace_invalid_headers.add(invalid);
        }
        rows
    }

    /// Begins traces for a share of the records without one.
    fn begin_new(&mut self, rows: &mut Vec<Passage>, len: usize) {
        let received = rows.len();
        let mut at = 0;
        while self.skip < (len - at) as u64 {
            at += self.skip as usize;
            self.skip = self.gap();
            if rows[..received].binary_search_by_key(&(at as u32), |row| row.row).is_err() {
                let (trace, parent) = (self.tracer.trace_id(), self.tracer.span_id());
                let context = Context { trace, parent, flags: SAMPLED };
                rows.push(Passage { row: at as u32, context, span: None, is_root: true });
            }
            at += 1;
        }
        self.skip -= (len - at) as u64;
        if rows.len() > received {
            rows.sort_unstable_by_key(|row| row.row);
        }
    }
}

/// A row of a trace that failed.
#[derive(Debug)]
struct Failed {
    row: u32,
    kind: &'static str,
    event: Event,
}

/// The records of a source batch that belong to a trace. Their spans end when it is dropped.
#[derive(Debug)]
pub struct Passages {
    pub(super) tracer: Arc<Tracer>,
    source: Arc<str>,
    kafka: bool,
    topic: Arc<str>,
    partition: i32,
    offsets: ScalarBuffer<i64>,
    headers: Option<Headers>,
    /// By row.
    rows: Vec<Passage>,
    followed: usize,
    begun: u64,
    failed: Mutex<Vec<Failed>>,
}

impl Passages {
    /// What is known of a record.
    pub fn of(&self, row: usize) -> Option<&Passage> {
        // Where every record belongs to a trace, nothing needs to be searched.
        if self.rows.len() == self.offsets.len() {
            return self.rows.get(row);
        }
        let at = self.rows.binary_search_by_key(&row, |passage| passage.row as usize).ok()?;
        self.rows.get(at)
    }

    /// Whether any record is recorded here.
    pub(super) fn is_followed(&self) -> bool {
        self.followed > 0
    }

    /// `tracestate` of a record that came with a context.
    pub(super) fn state(&self, passage: &Passage) -> Option<String> {
        let headers = self.headers.as_ref().filter(|_| !passage.is_root)?;
        state(headers.named(passage.row as usize, TRACESTATE))
    }

    /// What places a record: the attributes of messaging where it came from Kafka.
    fn place(&self, passage: &Passage) -> Attributes {
        let (partition, offset) = (i64::from(self.partition), self.offsets[passage.row as usize]);
        let mut all: Attributes = if self.kafka {
            vec![
                ("messaging.system", "kafka".into()),
                ("messaging.operation.name", "process".into()),
                ("messaging.operation.type", "process".into()),
                ("messaging.destination.name", (&self.topic).into()),
                ("messaging.destination.partition.id", partition.to_string().into()),
                ("messaging.kafka.offset", offset.into()),
                ("messaging.consumer.group.name", (&self.tracer.pipeline).into()),
            ]
        } else {
            vec![("pipe.origin", (&self.topic).into()), ("pipe.origin.row", offset.into())]
        };
        all.push(("pipe.pipeline", (&self.tracer.pipeline).into()));
        all.push(("pipe.worker", (&self.tracer.worker).into()));
        all.push(("pipe.source", (&self.source).into()));
        all
    }

    fn failed(&self, failure: &Failure) {
        let Some((passage, span)) = self.of(failure.origin.row).and_then(|p| Some((p, p.span?))) else {
            return;
        };
        let (kind, at) = (failure.kind.as_str(), self.tracer.now());
        if self.tracer.may_log(at) {
            tracing::info!(
                trace_id = %passage.context.trace,
                span_id = %span,
                node = &*failure.node,
                kind,
                topic = &*self.topic,
                partition = self.partition,
                offset = failure.origin.offset(),
                "a record of a trace goes to the dead letters"
            );
        }
        let attributes = vec![
            ("pipe.error.stage", Value::from(&failure.node)),
            ("pipe.error.kind", kind.into()),
            ("pipe.error.message", cut(&failure.message).into()),
        ];
        let event = Event { name: "dead letter", at, attributes };
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if failed.len() < TRACE_EVENTS_MAX * self.followed {
            failed.push(Failed { row: passage.row, kind, event });
        }
    }
}

impl Drop for Passages {
    fn drop(&mut self) {
        if self.followed == 0 {
            return;
        }
        let ended = self.tracer.now();
        let mut failed = std::mem::take(&mut *self.failed.lock().unwrap_or_else(PoisonError::into_inner));
        for passage in &self.rows {
            let Some(span) = passage.span else { continue };
            let error = failed.iter().find(|f| f.row == passage.row);
            let error = error.map(|f| format!("dead-lettered: {}", f.kind));
            let events = failed.extract_if(.., |f| f.row == passage.row).map(|f| f.event).collect();
            self.tracer.offer(Span {
                context: Context { parent: span, ..passage.context },
                above: (!passage.is_root).then_some(passage.context.parent),
                remote: !passage.is_root,
                state: self.state(passage),
                kind: Kind::Consumer,
                name: if self.kafka { format!("process {}", self.topic).into() } else { "process".into() },
                begun: self.begun,
                ended,
                attributes: self.place(passage),
                events,
                links: Vec::new(),
                error,
            });
        }
    }
}

/// A row is on its way to the dead letters: the span of its record, where it has one, says so.
pub fn failed(failure: &Failure) {
    if let Some(passages) = &failure.origin.batch.trace {
        passages.failed(failure);
    }
}

/// The part of a message that goes into a span, without the secrets: spans leave the machine.
pub(super) fn cut(message: &str) -> String {
    secret::cut(message, TRACE_MESSAGE_BYTES_MAX)
}

/// The rows whose records belong to a trace, with what is known of these.
pub(super) fn rows_of(origins: &Origins) -> impl Iterator<Item = (usize, &Passages, &Passage)> {
    let any = origins.batches().iter().any(|batch| batch.trace.is_some());
    let rows = if any { origins.len() } else { 0 };
    (0..rows).filter_map(|row| {
        let (batch, at) = origins.locate(row);
        let passages = batch.trace.as_deref()?;
        Some((row, passages, passages.of(at)?))
    })
}

impl Headers {
    /// Values of a record's headers of a name.
    fn named(&self, row: usize, name: &str) -> impl Iterator<Item = Option<&[u8]>> {
        let range = self.offsets[row] as usize..self.offsets[row + 1] as usize;
        range
            .filter(move |&at| self.names.value(at) == name.as_bytes())
            .map(|at| self.values.is_valid(at).then(|| self.values.value(at)))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use arrow::array::BinaryArray;

    use super::super::tracer::tests::{Held, Kept, tracer};
    use super::*;
    use crate::batch::{FailureKind, Origin, Payload};
    use crate::units::TRACE_RECORDS_PER_SECOND;

    pub(crate) const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

    pub(crate) fn header(span: u64, flags: &str) -> Vec<u8> {
        format!("00-{TRACE}-{span:016x}-{flags}").into_bytes()
    }

    type Header<'a> = (&'a str, Option<Vec<u8>>);

    /// A batch whose records have these headers.
    pub(crate) fn source(headers: &[Vec<Header<'_>>]) -> SourceBatch {
        let all: Vec<&Header<'_>> = headers.iter().flatten().collect();
        let mut offsets = vec![0];
        offsets.extend(headers.iter().scan(0, |at, h| {
            *at += h.len() as i32;
            Some(*at)
        }));
        let rows = headers.len();
        SourceBatch {
            source: "in".into(),
            topic: "t".into(),
            partition: 3,
            offsets: (100..100 + rows as i64).collect(),
            timestamps: None,
            keys: None,
            headers: (!all.is_empty()).then(|| Headers {
                offsets: offsets.into(),
                names: BinaryArray::from_iter_values(all.iter().map(|h| h.0)),
                values: all.iter().map(|h| h.1.clone()).collect(),
            }),
            payload: Payload::Values(BinaryArray::from_iter_values(vec![b"x"; rows])),
            next: 100 + rows as i64,
            trace: None,
            hold: None,
        }
    }

    /// The batch with its passages, as a lane of a source makes it.
    pub(crate) fn read(headers: &[Vec<Header<'_>>]) -> (Arc<SourceBatch>, Arc<Tracer>, Kept, Arc<Held>) {
        let (tracer, kept, clock) = tracer();
        let mut batch = source(headers);
        batch.trace = Sampler::new(Arc::clone(&tracer), "in".into(), true, 0.0).begin(&batch);
        (Arc::new(batch), tracer, kept, clock)
    }

    #[test]
    fn garbage_is_as_good_as_absent_and_counted() {
        let garbage = [
            vec![(TRACEPARENT, None)],
            vec![(TRACEPARENT, Some(Vec::new()))],
            vec![(TRACEPARENT, Some(vec![b'0'; 10_000]))],
            vec![(TRACEPARENT, Some(vec![0xff; 55]))],
            vec![(TRACEPARENT, Some(header(1, "01"))), (TRACEPARENT, Some(header(1, "01")))],
            vec![(TRACEPARENT, Some(header(0, "01")))],
        ];
        let none =
            [vec![], vec![("Traceparent", Some(header(1, "01")))], vec![(TRACESTATE, Some(b"a=1".to_vec()))]];
        let (batch, tracer, kept, _) = read(&[&garbage[..], &none[..]].concat());
        assert!(batch.trace.is_none());
        assert_eq!(tracer.stats.trace_invalid_headers.get(), garbage.len() as u64);
        drop(batch);
        assert!(kept.take().is_empty());
    }

    #[test]
    fn a_sampled_record_is_followed_until_nothing_holds_it() {
        let state = ("tracestate", Some(b"v=1".to_vec()));
        let (batch, tracer, kept, clock) = read(&[
            vec![],
            vec![(TRACEPARENT, Some(header(7, "01"))), state],
            vec![(TRACEPARENT, Some(header(8, "00")))],
        ]);
        let passages = batch.trace.as_ref().unwrap();
        assert!(passages.of(0).is_none() && passages.of(2).unwrap().span.is_none());
        let origin = Origin { batch: Arc::clone(&batch), row: 1 };
        let failure = |row, message: &str| Failure {
            origin: Origin { row, ..origin.clone() },
            node: "s".into(),
            component: None,
            kind: FailureKind::Trap,
            message: message.into(),
        };
        failed(&failure(0, "no trace"));
        failed(&failure(1, &"\u{e9}".repeat(1_000)));
        failed(&failure(2, "not recorded"));
        drop(batch);
        assert!(kept.take().is_empty());
        clock.put(std::time::Duration::from_micros(5));
        drop(origin);
        let spans = kept.take();
        let [span] = spans.as_slice() else { panic!("{spans:?}") };
        assert_eq!((span.context.trace.to_string().as_str(), span.context.flags), (TRACE, 1));
        assert_eq!(
            (span.above, span.remote, span.state.as_deref()),
            (Some(SpanId(7u64.to_be_bytes())), true, Some("v=1"))
        );
        assert_eq!(span.ended - span.begun, 5_000);
        assert_eq!(span.error.as_deref(), Some("dead-lettered: trap"));
        assert!(span.attributes.contains(&("messaging.kafka.offset", 101.into())));
        let [event] = span.events.as_slice() else { panic!("{:?}", span.events) };
        assert_eq!(event.attributes[2].1, "\u{e9}".repeat(TRACE_MESSAGE_BYTES_MAX / 2).into());
        assert_eq!(tracer.stats.trace_invalid_headers.get(), 0);
    }

    #[test]
    fn a_share_of_the_others_begins_a_trace() {
        let (tracer, kept, _) = tracer();
        let share = 0.01;
        let mut sampler = Sampler::new(Arc::clone(&tracer), "in".into(), false, share);
        let mut begun = 0;
        for rows in [1usize, 10, 89, 8_192, 3].iter().cycle().take(50) {
            let mut batch = source(&vec![vec![]; *rows]);
            batch.trace = sampler.begin(&batch);
            begun += batch.trace.as_ref().map_or(0, |t| t.rows.len());
        }
        // 829 are expected: five standard deviations are 143.
        assert!((686..972).contains(&begun), "{begun} of 82,950");
        let spans = kept.take();
        assert_eq!(spans.len(), begun);
        assert!(spans.iter().all(|s| s.above.is_none() && s.context.is_sampled() && s.name == "process"));
        let mut none = Sampler::new(Arc::clone(&tracer), "in".into(), true, 0.0);
        assert!(none.begin(&source(&vec![vec![]; 8_192])).is_none());
        let mut all = Sampler::new(tracer, "in".into(), true, 1.0);
        let mut headers = vec![vec![]; 5];
        headers[2] = vec![(TRACEPARENT, Some(header(7, "00")))];
        let passages = all.begin(&source(&headers)).unwrap();
        let roots: Vec<bool> = (0..5).map(|row| passages.of(row).unwrap().is_root).collect();
        assert_eq!(roots, [true, true, false, true, true], "who has a context keeps it");
    }

    #[test]
    fn more_than_the_limit_are_passed_on_and_counted() {
        let more = TRACE_RECORDS_PER_SECOND as usize + 5;
        let (batch, tracer, kept, _) = read(&vec![vec![(TRACEPARENT, Some(header(7, "01")))]; more]);
        let passages = batch.trace.as_ref().unwrap();
        assert!(passages.of(0).unwrap().span.is_some());
        assert!(passages.of(more - 1).unwrap().span.is_none());
        assert_eq!(tracer.stats.trace_dropped_spans.get(), 5);
        drop(batch);
        assert_eq!(kept.take().len(), more - 5);
        let mut sampler = Sampler::new(tracer, "in".into(), true, 1.0);
        let passages = sampler.begin(&source(&vec![vec![]; 3])).unwrap();
        assert!((0..3).all(|row| passages.of(row).is_none()), "no trace begins that nobody records");
    }
}
