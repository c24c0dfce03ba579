//! The span of a call, by the GenAI conventions, and how long calls take. Arguments and outputs
//! are on spans where that is asked for, and never in a log line: content goes past `tracing`.

use std::time::Duration;

use opentelemetry::metrics::Histogram;
use planfleet_core::failure::{FailureClass, trim_chars};
use planfleet_telemetry::names::{self, attribute as a, metric};
use planfleet_telemetry::{KeyValue, exports_traces};
use serde_json::Value;
use tracing::Span;
use tracing::field::Empty;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// Of one attribute, as in the crate `llm`: spans are exported by the hundred.
const CHARS_MAX: usize = 8_000;

/// Opens the span `execute_tool {name}`. Lines of the log have their step's, and one more for
/// each call would be a tenth of what a step without work costs.
pub(crate) fn span(name: &str) -> Span {
    if !exports_traces() {
        return Span::none();
    }
    tracing::info_span!(
        target: names::TRACE_ONLY,
        names::EXECUTE_TOOL.name,
        otel.name = format!("execute_tool {name}"),
        otel.status_code = Empty,
        { a::OPERATION } = "execute_tool",
        { a::TOOL } = name,
        { a::TOOL_TYPE } = "function",
        { a::ERROR_TYPE } = Empty,
    )
}

/// Puts what a tool was given, or what it gave, on a span.
pub(crate) fn capture(span: &Span, attribute: &'static str, content: &Value) {
    span.set_attribute(attribute, trim_chars(&content.to_string(), CHARS_MAX));
}

/// The instruments of calls.
pub(crate) struct Calls {
    duration: Histogram<f64>,
}

impl Calls {
    pub(crate) fn new() -> Self {
        Self { duration: metric::TOOL_DURATION.histogram() }
    }

    pub(crate) fn ended(&self, tool: &KeyValue, took: Duration, error: Option<FailureClass>) {
        let took = took.as_secs_f64();
        match error {
            None => self.duration.record(took, std::slice::from_ref(tool)),
            Some(class) => {
                self.duration.record(took, &[tool.clone(), KeyValue::new(a::ERROR_TYPE, class.as_str())]);
            }
        }
    }
}
