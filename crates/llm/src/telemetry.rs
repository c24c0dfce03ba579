//! The span of a model call, by the GenAI conventions of OpenTelemetry semconv v1.41. No content:
//! prompts and answers never become attributes.

use tracing::Span;
use tracing::field::Empty;

use crate::chat::{ChatRequest, ChatResponse};
use crate::error::Error;

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
    tracing::info_span!(
        "chat",
        otel.name = format!("chat {}", target.model),
        otel.kind = "client",
        otel.status_code = Empty,
        gen_ai.operation.name = "chat",
        gen_ai.provider.name = target.provider,
        gen_ai.request.model = target.model,
        gen_ai.request.max_tokens = request.max_output_tokens,
        gen_ai.request.temperature = request.temperature.map(f64::from),
        gen_ai.request.seed = request.seed,
        gen_ai.request.stream = stream,
        gen_ai.output.type = output_type,
        gen_ai.response.id = Empty,
        gen_ai.response.model = Empty,
        gen_ai.response.finish_reasons = Empty,
        gen_ai.response.time_to_first_chunk = Empty,
        gen_ai.usage.input_tokens = Empty,
        gen_ai.usage.output_tokens = Empty,
        gen_ai.usage.cache_read.input_tokens = Empty,
        gen_ai.usage.cache_creation.input_tokens = Empty,
        gen_ai.usage.reasoning.output_tokens = Empty,
        openai.api.type = target.openai_api_type,
        server.address = target.address,
        server.port = target.port,
        error.type = Empty,
    )
}

/// Closes the books of a call: figures of an answer, or the class of an error.
pub(crate) fn record(span: &Span, result: &Result<ChatResponse, Error>) {
    match result {
        Ok(response) => record_response(span, response),
        Err(error) => {
            span.record("error.type", error.class.as_str());
            span.record("otel.status_code", "ERROR");
        }
    }
}

fn record_response(span: &Span, response: &ChatResponse) {
    span.record("gen_ai.response.model", response.model.as_str());
    span.record("gen_ai.response.finish_reasons", response.stop_reason.as_str());
    if let Some(id) = &response.id {
        span.record("gen_ai.response.id", id.as_str());
    }
    if let Some(wait) = response.time_to_first_chunk {
        span.record("gen_ai.response.time_to_first_chunk", wait.as_secs_f64());
    }
    if let Some(usage) = &response.usage {
        span.record("gen_ai.usage.input_tokens", usage.input_tokens);
        span.record("gen_ai.usage.output_tokens", usage.output_tokens);
        span.record("gen_ai.usage.cache_read.input_tokens", usage.cached_tokens);
        span.record("gen_ai.usage.cache_creation.input_tokens", usage.cache_write_tokens);
        span.record("gen_ai.usage.reasoning.output_tokens", usage.reasoning_tokens);
    }
}
