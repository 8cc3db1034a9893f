//! The spans of stages: one for a call with a batch that holds a record of a trace.

use std::sync::Arc;

use super::context::{Context, SpanId};
use super::passage::{cut, rows_of};
use super::tracer::{Kind, Span, Tracer};
use crate::batch::Origins;
use crate::units::TRACE_LINKS_MAX;

/// A call that is under way.
pub struct BatchSpan {
    tracer: Arc<Tracer>,
    /// The passage of the first record that is followed: the call is in its trace.
    above: Context,
    /// Those of the others.
    links: Vec<Context>,
    stage: Arc<str>,
    rows: usize,
    begun: u64,
}

impl BatchSpan {
    /// Of a stage's call with rows of these origins; `None` where no record of them is followed.
    pub fn begin(origins: &Origins, stage: &Arc<str>) -> Option<Self> {
        let followed = |passages: &&super::Passages| passages.is_followed();
        let mut batches = origins.batches().iter().filter_map(|batch| batch.trace.as_deref());
        let tracer = Arc::clone(&batches.find(followed)?.tracer);
        let mut own = rows_of(origins)
            .filter_map(|(_, _, passage)| Some(Context { parent: passage.span?, ..passage.context }));
        let above = own.next()?;
        let begun = tracer.now();
        if tracer.spans.take(begun, 1) == 0 {
            tracer.stats.trace_dropped_spans.add(1);
            return None;
        }
        let links = own.take(TRACE_LINKS_MAX).collect();
        Some(Self { tracer, above, links, stage: Arc::clone(stage), rows: origins.len(), begun })
    }

    /// The call has ended; a failure has a kind and a message.
    pub fn end(self, failure: Option<(&str, &str)>) {
        let id: SpanId = self.tracer.span_id();
        self.tracer.offer(Span {
            context: Context { parent: id, ..self.above },
            above: Some(self.above.parent),
            remote: false,
            state: None,
            kind: Kind::Internal,
            name: format!("stage {}", self.stage).into(),
            begun: self.begun,
            ended: self.tracer.now(),
            attributes: vec![
                ("pipe.pipeline", (&self.tracer.pipeline).into()),
                ("pipe.stage", (&self.stage).into()),
                ("pipe.rows", (self.rows as i64).into()),
            ],
            events: Vec::new(),
            links: self.links,
            error: failure.map(|(kind, message)| format!("{kind}: {}", cut(message))),
        });
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::UInt32Array;

    use super::super::context::TRACEPARENT;
    use super::super::passage::tests::{header, read};
    use super::*;
    use crate::batch::Selection;

    #[test]
    fn a_call_is_in_the_trace_of_its_first_record_and_linked_to_the_others() {
        let (batch, _, kept, _) = read(&[
            vec![(TRACEPARENT, Some(header(1, "01")))],
            vec![],
            vec![(TRACEPARENT, Some(header(2, "01")))],
            vec![(TRACEPARENT, Some(header(3, "00")))],
            vec![(TRACEPARENT, Some(header(4, "01")))],
        ]);
        let span = |row: usize| batch.trace.as_ref().unwrap().of(row).unwrap().span.unwrap();
        let (two, four) = (span(2), span(4));
        let whole = Origins::whole(Arc::clone(&batch));
        let some = |rows: &[u32]| whole.select(&Selection::Take(UInt32Array::from(rows.to_vec())));
        assert!(BatchSpan::begin(&some(&[1, 3]), &"s".into()).is_none(), "none of these is recorded");
        BatchSpan::begin(&some(&[1, 2, 3, 4]), &"s".into()).unwrap().end(Some(("trap", "oops")));
        let spans = kept.take();
        let [call] = spans.as_slice() else { panic!("{spans:?}") };
        assert_eq!((call.above, call.error.as_deref()), (Some(two), Some("trap: oops")));
        assert_eq!(call.links.iter().map(|l| l.parent).collect::<Vec<_>>(), [four]);
        assert!(call.attributes.contains(&("pipe.rows", 4.into())));
    }
}
