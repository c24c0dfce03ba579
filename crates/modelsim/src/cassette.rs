//! Answers that were recorded, on either wire.

use planfleet_llm::cassette::Recording;
use planfleet_llm::{ChatRequest, ChatResponse, Error, ErrorClass, StopReason};
use serde_json::Value;

use crate::answer::{Answer, Call, Stop};
use crate::script::{StatusFault, UsageFigures};
use crate::trouble::Trouble;
use crate::wire::{Wire, anthropic, openai};

/// The request in a cassette's words, if it is one.
pub(crate) fn request(wire: Wire, body: &Value, is_valid: bool) -> Option<ChatRequest> {
    is_valid.then(|| match wire {
        Wire::OpenAi => openai::chat_request(body),
        Wire::Anthropic => anthropic::chat_request(body),
    })
}

/// What was recorded for the request: an answer, or an error.
pub(crate) fn answer(cassette: &Recording, request: &ChatRequest, number: u64) -> Result<Answer, Trouble> {
    let entry = cassette.next(request).map_err(|missing| Trouble::Simulator {
        status: 404,
        code: "modelsim_not_recorded",
        message: format!("modelsim: {missing}"),
    })?;
    match entry.outcome() {
        Ok(response) => Ok(said(response, number)),
        Err(error) => Err(trouble(error)),
    }
}

fn said(response: ChatResponse, number: u64) -> Answer {
    let mut answer = Answer::new(number);
    answer.text = response.text;
    answer.calls = response
        .tool_calls
        .into_iter()
        .map(|call| Call { id: Some(call.id), name: call.name, arguments: call.arguments })
        .collect();
    answer.stop = match response.stop_reason {
        StopReason::Stop => Stop::Natural,
        StopReason::Length => Stop::Length,
        StopReason::ToolCalls => Stop::ToolCalls,
        StopReason::ContentFilter => Stop::ContentFilter,
        StopReason::Refusal => Stop::Refusal,
        other => Stop::Other(other.as_str().to_owned()),
    };
    answer.refusal = response.refusal;
    let usage = response.usage.unwrap_or_default();
    answer.usage = UsageFigures {
        prompt_tokens: usage.input_tokens,
        completion_tokens: usage.output_tokens,
        cached_tokens: usage.cached_tokens,
        cache_write_tokens: usage.cache_write_tokens,
        reasoning_tokens: usage.reasoning_tokens,
    };
    answer
}

/// The status that came; for an error that came without one, the nearest to its class.
fn trouble(error: Error) -> Trouble {
    let status = error.status.unwrap_or(match error.class {
        ErrorClass::Timeout => 504,
        ErrorClass::Transient | ErrorClass::InvalidResponse => 502,
        ErrorClass::Unauthorized => 401,
        ErrorClass::NotFound => 404,
        ErrorClass::Quota | ErrorClass::Budget => 402,
        ErrorClass::ContextOverflow | ErrorClass::Refused | ErrorClass::InvalidRequest => 400,
    });
    Trouble::Status(StatusFault {
        // Below 400 an error came inside an answer that had begun well.
        status: if status < 400 { 502 } else { status },
        code: error.code,
        message: Some(error.message),
        retry_after_s: error.retry_after.map(|wait| wait.as_secs_f64()),
    })
}
