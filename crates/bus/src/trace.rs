//! W3C trace context, which crosses processes here and nowhere else.

use opentelemetry::{
    Context, global,
    propagation::{Extractor, Injector},
};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::broker::Headers;

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

/// Headers that carry the current span's context.
#[must_use]
pub fn current() -> Headers {
    let mut headers = Headers::new();
    let context = Span::current().context();
    global::get_text_map_propagator(|propagator| {
        propagator.inject_context(&context, &mut Carrier(&mut headers));
    });
    headers
}

/// The current span's `traceparent`, if it is part of a trace.
#[must_use]
pub fn traceparent() -> Option<String> {
    current().remove("traceparent")
}

/// The context that a message carries.
#[must_use]
pub fn context(headers: &Headers) -> Context {
    global::get_text_map_propagator(|propagator| propagator.extract(&Read(headers)))
}

/// Makes `span` a child of the span that `traceparent` names. One message, one
/// parent: the messaging conventions allow it for single messages, and a run
/// then shows as one waterfall.
pub fn set_parent(span: &Span, traceparent: Option<&str>) {
    let Some(traceparent) = traceparent else { return };
    let headers = Headers::from([("traceparent".to_owned(), traceparent.to_owned())]);
    // Fails only for a span that is switched off, which has no use for a parent.
    let _ = span.set_parent(context(&headers));
}
