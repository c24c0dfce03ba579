//! Spans of messages, by the messaging conventions. There are none where nothing is exported.
//!
//! Work is one message for one worker, so the span of its processing is a child of the span of
//! its publishing, and a run is one waterfall; the link that the conventions want is there too.

use opentelemetry::{Context, propagation::TextMapPropagator as _, trace::TraceContextExt as _};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use planfleet_core::id::RunId;
use planfleet_proto::subjects;
use planfleet_telemetry::{
    exports_traces,
    names::{self, attribute as a},
};
use tracing::{Span, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::{Read, of_run};
use crate::broker::Headers;

/// Work of a run goes into the queue of a pool.
pub(crate) fn publishing(run: &RunId, submitter: Option<&str>, pool: &str, bytes: usize) -> Span {
    if !exports_traces() {
        return Span::none();
    }
    let span = info_span!(
        target: names::TRACE_ONLY,
        names::PUBLISH.name,
        otel.name = format!("publish {}", subjects::STEPS),
        otel.kind = "producer",
        { a::MESSAGING_SYSTEM } = names::NATS,
        { a::MESSAGING_OPERATION } = "publish",
        { a::MESSAGING_OPERATION_TYPE } = "send",
        { a::DESTINATION } = subjects::STEPS,
        { a::MESSAGE_CONVERSATION } = run.as_str(),
        { a::BODY_SIZE } = bytes,
        { a::POOL } = pool,
    );
    let _ = span.set_parent(of_run(run, submitter));
    span
}

/// A worker of the pool has a delivery. One that came without a context has no span: whoever
/// reads it knows where its run is.
pub(crate) fn processing(
    subject: &str,
    headers: &Headers,
    pool: &str,
    bytes: usize,
    deliveries: u64,
) -> Span {
    if !exports_traces() {
        return Span::none();
    }
    let parent = TraceContextPropagator::new().extract_with_context(&Context::new(), &Read(headers));
    let publishing = parent.span().span_context().clone();
    if !publishing.is_valid() {
        return Span::none();
    }
    let work = subjects::work(subject);
    let span = info_span!(
        target: names::TRACE_ONLY,
        names::PROCESS.name,
        otel.name = format!("process {}", subjects::STEPS),
        otel.kind = "consumer",
        { a::MESSAGING_SYSTEM } = names::NATS,
        { a::MESSAGING_OPERATION } = "process",
        { a::MESSAGING_OPERATION_TYPE } = "process",
        { a::DESTINATION } = subjects::STEPS,
        { a::CONSUMER_GROUP } = subjects::pool_consumer(pool),
        { a::MESSAGE_CONVERSATION } = work.as_ref().map(|work| work.run.as_str()),
        { a::BODY_SIZE } = bytes,
        { a::POOL } = pool,
        { a::DELIVERIES } = deliveries,
    );
    let _ = span.set_parent(parent);
    span.add_link(publishing);
    span
}
