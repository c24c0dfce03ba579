//! The span of a try of a model call, by the GenAI conventions. Prompts and answers are on it
//! where that is asked for, and never in a log line: content goes past `tracing`.

mod content;

use opentelemetry::{Array, StringValue, Value};
use planfleet_telemetry::names::{self, attribute as a};
use tracing::Span;
use tracing::field::Empty;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::chat::{ChatRequest, ChatResponse};
use crate::error::Error;
use crate::price::{self, Price};

/// What a span tells of the server that is called.
pub(crate) struct Target<'a> {
    pub(crate) provider: &'a str,
    pub(crate) openai_api_type: Option<&'static str>,
    pub(crate) model: &'a str,
    pub(crate) address: &'a str,
    pub(crate) port: Option<u16>,
}

/// Opens the span `chat {model}`.
pub(crate) fn chat_span(target: &Target<'_>, request: &ChatRequest, stream: bool) -> Span {
    let output_type = match request.response_format {
        Some(_) => "json",
        None => "text",
    };
    let span = tracing::info_span!(
        names::CHAT.name,
        otel.name = format!("chat {}", target.model),
        otel.kind = "client",
        otel.status_code = Empty,
        { a::OPERATION } = "chat",
        { a::PROVIDER } = target.provider,
        { a::REQUEST_MODEL } = target.model,
        { a::REQUEST_MAX_TOKENS } = request.max_output_tokens,
        { a::REQUEST_TEMPERATURE } = request.temperature.map(f64::from),
        { a::REQUEST_SEED } = request.seed,
        { a::REQUEST_STREAM } = stream,
        { a::OUTPUT_TYPE } = output_type,
        { a::RESPONSE_ID } = Empty,
        { a::RESPONSE_MODEL } = Empty,
        { a::FIRST_CHUNK } = Empty,
        { a::INPUT_TOKENS } = Empty,
        { a::OUTPUT_TOKENS } = Empty,
        { a::CACHE_READ_TOKENS } = Empty,
        { a::CACHE_WRITE_TOKENS } = Empty,
        { a::REASONING_TOKENS } = Empty,
        { a::USAGE_COST } = Empty,
        { a::OPENAI_API } = target.openai_api_type,
        { a::SERVER_ADDRESS } = target.address,
        { a::SERVER_PORT } = target.port,
        { a::ERROR_TYPE } = Empty,
    );
    if !request.stop.is_empty() {
        span.set_attribute(a::REQUEST_STOP, texts(request.stop.iter().cloned()));
    }
    span
}

/// Closes the books of a try: figures of an answer, or the class of an error.
pub(crate) fn record(span: &Span, result: &Result<ChatResponse, Error>, price: Option<&Price>) {
    match result {
        Ok(response) => record_response(span, response, price),
        Err(error) => {
            span.record(a::ERROR_TYPE, error.class.as_str());
            span.record("otel.status_code", "ERROR");
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown, never added up")]
fn record_response(span: &Span, response: &ChatResponse, price: Option<&Price>) {
    span.record(a::RESPONSE_MODEL, response.model.as_str());
    span.set_attribute(a::FINISH_REASONS, texts([response.stop_reason.as_str().to_owned()]));
    if let Some(id) = &response.id {
        span.record(a::RESPONSE_ID, id.as_str());
    }
    if let Some(wait) = response.time_to_first_chunk {
        span.record(a::FIRST_CHUNK, wait.as_secs_f64());
    }
    if let Some(usage) = &response.usage {
        span.record(a::INPUT_TOKENS, usage.input_tokens);
        span.record(a::OUTPUT_TOKENS, usage.output_tokens);
        span.record(a::CACHE_READ_TOKENS, usage.cached_tokens);
        span.record(a::CACHE_WRITE_TOKENS, usage.cache_write_tokens);
        span.record(a::REASONING_TOKENS, usage.reasoning_tokens);
        if let Some(price) = price {
            span.record(a::USAGE_COST, price::cost(usage, price) as f64 / 1e9);
        }
    }
}

/// Puts what was said on a span.
pub(crate) fn capture(span: &Span, request: &ChatRequest, result: &Result<ChatResponse, Error>) {
    if let Some(instructions) = content::instructions(&request.messages) {
        span.set_attribute(a::SYSTEM_INSTRUCTIONS, instructions);
    }
    span.set_attribute(a::INPUT_MESSAGES, content::input(&request.messages));
    if let Ok(response) = result {
        span.set_attribute(a::OUTPUT_MESSAGES, content::output(response));
    }
}

fn texts(texts: impl IntoIterator<Item = String>) -> Value {
    Value::Array(Array::String(texts.into_iter().map(StringValue::from).collect()))
}
