//! Finished spans to a collector, over HTTP in OTLP's protobuf. A collector that is away, slow or refuses costs
//! spans and nothing else: the queue is bounded, what does not fit or does not arrive is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use opentelemetry::trace::{self as api, SpanContext, SpanId, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, Key, KeyValue};
use opentelemetry_otlp::{Protocol, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanEvents, SpanExporter, SpanLinks, SpanProcessor,
};

use crate::clock::Clock;
use crate::error::Code;
use crate::metrics;
use crate::trace::{Context, Export, Kind, Span, Value};
use crate::units::{TRACE_FLUSH_TIMEOUT, TRACE_LOG_INTERVAL, TRACE_QUEUE_SPANS};

/// What became of the spans.
struct Ledger {
    endpoint: String,
    clock: Arc<dyn Clock>,
    stats: Arc<metrics::Worker>,
    /// In the queue or on their way.
    waiting: AtomicU64,
    delivered: AtomicU64,
    /// When a failure was logged last, in milliseconds of the clock; 0: never.
    told: AtomicU64,
}

impl Ledger {
    /// Spans are lost: counted, and told at most once in a while.
    fn lost(&self, spans: u64, why: &str) {
        self.stats.trace_dropped_spans.add(spans);
        let now = self.clock.now().as_millis() as u64 + 1;
        let told = self.told.load(Ordering::Relaxed);
        let due = told == 0 || now >= told + TRACE_LOG_INTERVAL.as_millis() as u64;
        if due && self.told.compare_exchange(told, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            tracing::warn!(
                code = Code::X011.as_str(),
                endpoint = self.endpoint,
                dropped = self.stats.trace_dropped_spans.get(),
                "spans are not delivered: {why}; the pipeline goes on without them"
            );
        }
    }
}

/// The library's exporter, and an eye on what it says.
#[derive(Debug)]
struct Watched<E> {
    inner: E,
    ledger: Arc<Ledger>,
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl<E: SpanExporter> SpanExporter for Watched<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len() as u64;
        let result = self.inner.export(batch).await;
        self.ledger.waiting.fetch_sub(spans, Ordering::AcqRel);
        match &result {
            Ok(()) => {
                self.ledger.delivered.fetch_add(spans, Ordering::Relaxed);
            }
            Err(error) => self.ledger.lost(spans, &error.to_string()),
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }
}

/// Where nodes leave finished spans.
#[derive(Clone)]
pub(in crate::run) struct Queue {
    processor: Arc<BatchSpanProcessor>,
    ledger: Arc<Ledger>,
    scope: InstrumentationScope,
}

impl Export for Queue {
    fn offer(&self, span: Span) {
        // Counted here, as the library's own queue does not say what it drops; its bound is the same.
        let waiting = self.ledger.waiting.fetch_add(1, Ordering::AcqRel);
        if waiting >= TRACE_QUEUE_SPANS as u64 {
            self.ledger.waiting.fetch_sub(1, Ordering::AcqRel);
            self.ledger.lost(1, "the queue is full, the collector does not keep up");
            return;
        }
        self.processor.on_end(data(span, &self.scope));
    }
}

/// A running exporter: a thread of the library that batches and sends.
pub(in crate::run) struct Exporter {
    queue: Queue,
}

impl Exporter {
    /// Starts it; `None` when the library refuses, which is logged: traces are no reason not to work.
    pub fn start(
        endpoint: &str,
        pipeline: &str,
        worker: &str,
        clock: &Arc<dyn Clock>,
        stats: &Arc<metrics::Worker>,
    ) -> Option<Self> {
        let built = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(endpoint)
            .build();
        let mut inner = match built {
            Ok(exporter) => exporter,
            Err(error) => {
                tracing::warn!(code = Code::X011.as_str(), endpoint, %error, "no spans can be delivered");
                return None;
            }
        };
        inner.set_resource(&resource(pipeline, worker));
        Some(Self::over(inner, endpoint, clock, stats))
    }

    fn over(
        inner: impl SpanExporter + 'static,
        endpoint: &str,
        clock: &Arc<dyn Clock>,
        stats: &Arc<metrics::Worker>,
    ) -> Self {
        let ledger = Arc::new(Ledger {
            endpoint: endpoint.to_owned(),
            clock: Arc::clone(clock),
            stats: Arc::clone(stats),
            waiting: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            told: AtomicU64::new(0),
        });
        let watched = Watched { inner, ledger: Arc::clone(&ledger) };
        let config = BatchConfigBuilder::default().with_max_queue_size(TRACE_QUEUE_SPANS).build();
        let processor = Arc::new(BatchSpanProcessor::new(watched, config));
        let scope = InstrumentationScope::builder("pipe").with_version(env!("CARGO_PKG_VERSION")).build();
        Self { queue: Queue { processor, ledger, scope } }
    }

    /// Where spans are left.
    pub fn queue(&self) -> Queue {
        self.queue.clone()
    }

    /// Delivers what is there, in bounded time, and says how it went.
    pub fn close(self) {
        let Queue { processor, ledger, .. } = &self.queue;
        // An answer that does not come in time is seen in what still waits.
        let _ = processor.shutdown_with_timeout(TRACE_FLUSH_TIMEOUT);
        let late = ledger.waiting.swap(0, Ordering::AcqRel);
        if late > 0 {
            ledger.lost(late, "the collector did not take them before the end");
        }
        tracing::info!(
            endpoint = ledger.endpoint,
            delivered = ledger.delivered.load(Ordering::Relaxed),
            dropped = ledger.stats.trace_dropped_spans.get(),
            invalid_headers = ledger.stats.trace_invalid_headers.get(),
            "spans"
        );
    }
}

/// Who the spans are from: what the variables of OpenTelemetry say, else the pipeline.
fn resource(pipeline: &str, worker: &str) -> Resource {
    let environment = Resource::builder().build();
    let named = |key: &'static str| environment.get(&Key::new(key)).map(|value| value.to_string());
    let mut own = Vec::new();
    if named("service.name").is_none_or(|name| name.starts_with("unknown_service")) {
        own.push(KeyValue::new("service.name", pipeline.to_owned()));
    }
    if named("service.instance.id").is_none() {
        own.push(KeyValue::new("service.instance.id", worker.to_owned()));
    }
    Resource::builder().with_attributes(own).build()
}

fn context(of: &Context, state: Option<&str>, remote: bool) -> SpanContext {
    let (trace, span) = (TraceId::from_bytes(of.trace.0), SpanId::from_bytes(of.parent.0));
    // It was checked when it was read; the library's check is another one, and its refusal no reason to lose a span.
    let state = state.and_then(|text| text.parse::<TraceState>().ok()).unwrap_or_default();
    SpanContext::new(trace, span, TraceFlags::new(of.flags), remote, state)
}

fn attributes(all: Vec<(&'static str, Value)>) -> Vec<KeyValue> {
    let each = all.into_iter().map(|(key, value)| match value {
        Value::Fixed(text) => KeyValue::new(key, text),
        Value::Text(text) => KeyValue::new(key, text),
        Value::Number(number) => KeyValue::new(key, number),
    });
    each.collect()
}

fn data(span: Span, scope: &InstrumentationScope) -> SpanData {
    let time = |nanos: u64| UNIX_EPOCH + Duration::from_nanos(nanos);
    let mut events = SpanEvents::default();
    events.events = span
        .events
        .into_iter()
        .map(|event| api::Event::new(event.name, time(event.at), attributes(event.attributes), 0))
        .collect();
    let mut links = SpanLinks::default();
    links.links = span.links.iter().map(|link| api::Link::with_context(context(link, None, false))).collect();
    SpanData {
        span_context: context(&span.context, span.state.as_deref(), false),
        parent_span_id: span.above.map_or(SpanId::INVALID, |above| SpanId::from_bytes(above.0)),
        parent_span_is_remote: span.remote,
        span_kind: match span.kind {
            Kind::Consumer => api::SpanKind::Consumer,
            Kind::Producer => api::SpanKind::Producer,
            Kind::Internal => api::SpanKind::Internal,
        },
        name: span.name,
        start_time: time(span.begun),
        end_time: time(span.ended.max(span.begun)),
        attributes: attributes(span.attributes),
        dropped_attributes_count: 0,
        events,
        links,
        status: span.error.map_or(api::Status::Unset, api::Status::error),
        instrumentation_scope: scope.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::clock::SystemClock;
    use crate::metrics::Meter;

    /// A collector that answers as it is told, once it is let.
    #[derive(Debug, Default)]
    struct Fake {
        gate: Mutex<()>,
        taken: Arc<Mutex<Vec<SpanData>>>,
        refuses: bool,
    }

    impl SpanExporter for Fake {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            drop(self.gate.lock());
            if self.refuses {
                return Err(opentelemetry_sdk::error::OTelSdkError::InternalFailure("no".into()));
            }
            self.taken.lock().unwrap().extend(batch);
            Ok(())
        }
    }

    fn span(number: u64) -> Span {
        let (trace, parent) = (crate::trace::TraceId([7; 16]), crate::trace::SpanId(number.to_be_bytes()));
        Span {
            context: Context { trace, parent, flags: 1 },
            above: None,
            remote: false,
            state: Some("a=1".into()),
            kind: Kind::Consumer,
            name: "process t".into(),
            begun: 1_000,
            ended: 500,
            attributes: vec![("n", 5.into()), ("t", "x".into())],
            events: Vec::new(),
            links: vec![Context { trace, parent, flags: 1 }],
            error: Some("oops".into()),
        }
    }

    fn over(fake: Fake) -> (Exporter, Arc<metrics::Worker>) {
        let stats = Meter::new("p").worker();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        (Exporter::over(fake, "http://nowhere", &clock, &stats), stats)
    }

    #[test]
    fn every_span_is_delivered_or_counted() {
        for refuses in [false, true] {
            let taken = Arc::default();
            let (exporter, stats) = over(Fake { refuses, taken: Arc::clone(&taken), ..Fake::default() });
            let queue = exporter.queue();
            (1..=1_500).for_each(|number| queue.offer(span(number)));
            exporter.close();
            let (taken, dropped) = (taken.lock().unwrap(), stats.trace_dropped_spans.get());
            assert_eq!((taken.len(), dropped), if refuses { (0, 1_500) } else { (1_500, 0) });
            if let Some(first) = taken.first() {
                assert_eq!(first.span_context.span_id(), SpanId::from_bytes(1u64.to_be_bytes()));
                assert_eq!(first.span_context.trace_state().header(), "a=1");
                assert_eq!((first.parent_span_id, first.links.len()), (SpanId::INVALID, 1));
                assert_eq!(first.start_time, first.end_time, "a span does not end before it begins");
                assert_eq!(first.status, api::Status::error("oops"));
            }
        }
    }

    #[test]
    fn a_full_queue_drops_and_counts_at_once() {
        let taken = Arc::default();
        let fake = Fake { taken: Arc::clone(&taken), ..Fake::default() };
        let ledger_full = TRACE_QUEUE_SPANS as u64 + 10;
        let (exporter, stats) = over(fake);
        let queue = exporter.queue();
        // As many as fit are said to be on their way already.
        queue.ledger.waiting.store(TRACE_QUEUE_SPANS as u64, Ordering::Release);
        (1..=10).for_each(|number| queue.offer(span(number)));
        assert_eq!(stats.trace_dropped_spans.get(), 10);
        exporter.close();
        assert_eq!(stats.trace_dropped_spans.get(), ledger_full, "what was not delivered by the end is lost");
        assert!(taken.lock().unwrap().is_empty());
    }
}
