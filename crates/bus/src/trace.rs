//! W3C trace context, which crosses processes here and nowhere else.
//!
//! Where a process exports nothing, nothing is traced and messages carry no context: a span
//! that never arrives anywhere is nobody's parent. A run is in one trace all the same, as its
//! place follows from what was submitted ([`planfleet_telemetry::ids`]).

mod messages;
mod run;

use opentelemetry::{
    Context,
    propagation::{Extractor, Injector, TextMapPropagator as _},
    trace::{SpanContext, TraceContextExt as _},
};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use planfleet_core::id::RunId;
use planfleet_telemetry::{exports_traces, ids};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

pub(crate) use self::messages::{processing, publishing};
pub use self::run::run_ended;
use crate::broker::Headers;

const TRACEPARENT: &str = "traceparent";

struct Carrier<'a>(&'a mut Headers);

impl Injector for Carrier<'_> {
    fn set(&mut self, key: &str, value: String) {
        // The propagator writes an empty tracestate, which some readers refuse.
        if !value.is_empty() {
            self.0.insert(key.to_owned(), value);
        }
    }
}

struct Read<'a>(&'a Headers);

impl Extractor for Read<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }
}

/// A `traceparent` alone.
struct Parent<'a>(&'a str);

impl Extractor for Parent<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        (key == TRACEPARENT).then_some(self.0)
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT]
    }
}

/// Headers that carry the current span's context.
#[must_use]
pub fn current() -> Headers {
    let mut headers = Headers::new();
    if exports_traces() {
        let context = Span::current().context();
        TraceContextPropagator::new().inject_context(&context, &mut Carrier(&mut headers));
    }
    headers
}

/// The current span's `traceparent`, if it is part of a trace.
#[must_use]
pub fn traceparent() -> Option<String> {
    current().remove(TRACEPARENT)
}

/// Makes `span` a child of the span that `traceparent` names, a caller's.
pub fn set_parent(span: &Span, traceparent: Option<&str>) {
    if let Some(parent) = traceparent.and_then(read) {
        // Fails only for a span that is switched off, which has no use for a parent.
        let _ = span.set_parent(remote(parent));
    }
}

/// Puts `span` below the current one if that is part of a trace, as it is where work came with
/// its own context, or else below the span of its run, which was submitted by `submitter`.
pub fn join_run(span: &Span, run: &RunId, submitter: Option<&str>) {
    if exports_traces() && !Span::current().context().span().span_context().is_valid() {
        let _ = span.set_parent(of_run(run, submitter));
    }
}

/// The context of a run's span.
fn of_run(run: &RunId, submitter: Option<&str>) -> Context {
    remote(ids::of_run(run.as_str(), submitter.and_then(read).as_ref()))
}

fn remote(parent: SpanContext) -> Context {
    Context::new().with_remote_span_context(parent)
}

/// A `traceparent` that is one.
fn read(traceparent: &str) -> Option<SpanContext> {
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &Parent(traceparent));
    let parent = context.span().span_context().clone();
    parent.is_valid().then_some(parent)
}
