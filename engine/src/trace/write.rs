//! What goes out with the rows of a batch: the headers of each record of a trace, and the span of its writing.

use std::sync::Arc;

use super::context::{Context, SpanId, TRACEPARENT_BYTES};
use super::passage::{cut, rows_of};
use super::tracer::{Kind, Span, Tracer};
use crate::batch::Origins;

/// The headers of one row; many of them wait for their reports, so it is small.
#[derive(Debug)]
pub struct Outgoing {
    row: u32,
    context: Context,
    /// `tracestate`, where there is one.
    pub state: Option<Box<str>>,
}

impl Outgoing {
    /// `traceparent`.
    pub fn parent(&self) -> [u8; TRACEPARENT_BYTES] {
        self.context.format()
    }
}

/// The span of one row's writing.
#[derive(Debug)]
struct Sending {
    row: u32,
    above: SpanId,
    error: Option<String>,
}

/// The rows of a batch that belong to a trace, on their way out. The spans of their writing end when it is dropped.
pub struct Writes {
    tracer: Arc<Tracer>,
    sink: Arc<str>,
    topic: Arc<str>,
    /// By row.
    rows: Vec<Outgoing>,
    /// By row: those that are recorded.
    spans: Vec<Sending>,
    begun: u64,
}

impl Writes {
    /// Of rows that a sink writes to a topic; `None` where none of them belongs to a trace.
    pub fn begin(origins: &Origins, sink: &Arc<str>, topic: &Arc<str>) -> Option<Self> {
        let mut all = rows_of(origins).peekable();
        let tracer = Arc::clone(&all.peek()?.1.tracer);
        let begun = tracer.now();
        let (mut rows, mut spans) = (Vec::new(), Vec::new());
        for (row, passages, passage) in all {
            let (row, state) = (row as u32, passages.state(passage).map(String::into_boxed_str));
            // A parent that is named must be a span that is recorded: without one here it is the record's own.
            let parent = match passage.span {
                None => passage.context.parent,
                Some(above) if tracer.spans.take(begun, 1) == 1 => {
                    spans.push(Sending { row, above, error: None });
                    tracer.span_id()
                }
                Some(above) => {
                    tracer.stats.trace_dropped_spans.add(1);
                    above
                }
            };
            rows.push(Outgoing { row, context: Context { parent, ..passage.context }, state });
        }
        Some(Self { tracer, sink: Arc::clone(sink), topic: Arc::clone(topic), rows, spans, begun })
    }

    /// The headers of a row.
    pub fn get(&self, row: usize) -> Option<&Outgoing> {
        self.rows.get(self.rows.binary_search_by_key(&row, |out| out.row as usize).ok()?)
    }

    /// The first row from here on that has headers.
    pub fn next_from(&self, row: usize) -> Option<usize> {
        let at = self.rows.partition_point(|out| (out.row as usize) < row);
        self.rows.get(at).map(|out| out.row as usize)
    }

    /// A row was refused.
    pub fn refused(&mut self, row: usize, reason: &str) {
        if let Ok(at) = self.spans.binary_search_by_key(&row, |span| span.row as usize) {
            self.spans[at].error = Some(cut(reason));
        }
    }
}

impl Drop for Writes {
    fn drop(&mut self) {
        if self.spans.is_empty() {
            return;
        }
        let ended = self.tracer.now();
        for span in std::mem::take(&mut self.spans) {
            let Some(out) = self.get(span.row as usize) else { continue };
            self.tracer.offer(Span {
                context: out.context,
                above: Some(span.above),
                remote: false,
                state: out.state.as_deref().map(str::to_owned),
                kind: Kind::Producer,
                name: format!("send {}", self.topic).into(),
                begun: self.begun,
                ended,
                attributes: vec![
                    ("messaging.system", "kafka".into()),
                    ("messaging.operation.name", "send".into()),
                    ("messaging.operation.type", "send".into()),
                    ("messaging.destination.name", (&self.topic).into()),
                    ("pipe.pipeline", (&self.tracer.pipeline).into()),
                    ("pipe.sink", (&self.sink).into()),
                ],
                events: Vec::new(),
                links: Vec::new(),
                error: span.error,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::context::{TRACEPARENT, TRACESTATE};
    use super::super::passage::tests::{TRACE, header, read};
    use super::*;
    use crate::units::TRACE_SPANS_PER_SECOND;

    #[test]
    fn what_goes_out_names_a_span_that_is_recorded() {
        let state = |text: &str| (TRACESTATE, Some(text.as_bytes().to_vec()));
        let (batch, tracer, kept, _) = read(&[
            vec![],
            vec![(TRACEPARENT, Some(header(1, "01"))), state("a=1"), state("b=2")],
            vec![(TRACEPARENT, Some(header(2, "00"))), state("not a state")],
        ]);
        let span = batch.trace.as_ref().unwrap().of(1).unwrap().span.unwrap();
        let origins = Origins::whole(Arc::clone(&batch));
        let mut writes = Writes::begin(&origins, &"out".into(), &"t".into()).unwrap();
        assert_eq!([writes.next_from(0), writes.next_from(2), writes.next_from(3)], [Some(1), Some(2), None]);
        assert!(writes.get(0).is_none());
        let (one, two) = (writes.get(1).unwrap(), writes.get(2).unwrap());
        assert_eq!((one.state.as_deref(), two.state.as_deref()), (Some("a=1,b=2"), None));
        assert_eq!(two.parent()[..], header(2, "00"), "not recorded: as it came");
        let written = Context::parse(&one.parent()).unwrap();
        assert_eq!((written.trace.to_string().as_str(), written.flags), (TRACE, 1));
        assert!(written.parent != span && written.parent != SpanId(1u64.to_be_bytes()));
        writes.refused(1, "too large");
        writes.refused(0, "no trace");
        drop(writes);
        let spans = kept.take();
        let [send] = spans.as_slice() else { panic!("{spans:?}") };
        assert_eq!((send.context.parent, send.above), (written.parent, Some(span)));
        assert_eq!((send.error.as_deref(), send.kind), (Some("too large"), Kind::Producer));
        // Without room for a span of its own, a record's parent is the span of its passage.
        tracer.spans.take(tracer.now(), TRACE_SPANS_PER_SECOND as usize);
        let writes = Writes::begin(&origins, &"out".into(), &"t".into()).unwrap();
        assert_eq!(Context::parse(&writes.get(1).unwrap().parent()).unwrap().parent, span);
        assert_eq!(tracer.stats.trace_dropped_spans.get(), 1);
        drop(writes);
        assert!(kept.take().is_empty());
    }
}
