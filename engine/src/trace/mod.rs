//! Traces: which records belong to one, the spans that a worker makes for them, and what a Kafka sink sends on.
//!
//! `context` reads and writes the W3C headers, `passage` is the way of a source batch's records through the worker,
//! `batch` the spans of stages, `write` what goes out; `tracer` has the numbers, the time and the limits that they
//! share. Where the finished spans go is not known here: see [`Export`].

mod batch;
mod context;
mod passage;
mod tracer;
mod write;

pub use batch::BatchSpan;
pub use context::{Context, SpanId, TRACEPARENT, TRACESTATE, TraceId};
pub use passage::{Passage, Passages, Sampler, failed};
pub use tracer::{Event, Export, Kind, Span, Tracer, Value};
pub use write::{Outgoing, Writes};
