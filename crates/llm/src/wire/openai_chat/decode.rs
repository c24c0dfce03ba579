//! From a whole answer's bytes to [`ChatResponse`].

use serde::Deserialize;
use serde_json::Value;

use super::body::{self, Body, Call};
use crate::chat::{ChatResponse, ToolCall};
use crate::error::{Error, ServerError};

/// Reads an answer of status 200. Some servers send their errors with that status too.
pub fn decode(bytes: &[u8]) -> Result<ChatResponse, Error> {
    let body = read(bytes)?;
    let choice = body
        .choices
        .into_iter()
        .next()
        .ok_or_else(|| Error::invalid_response("the answer has no choices"))?;
    let finish_reason = choice.finish_reason.clone();
    let part = choice.part();
    let refusal = part.refusal.filter(|text| !text.is_empty());
    let calls = part.tool_calls.into_iter().enumerate();
    let tool_calls: Vec<ToolCall> = calls.map(tool_call).collect();
    Ok(ChatResponse {
        id: body.id,
        model: body.model.unwrap_or_default(),
        stop_reason: body::stop_reason(finish_reason.as_deref(), !tool_calls.is_empty(), refusal.is_some()),
        text: part.content,
        tool_calls,
        thinking: Vec::new(),
        refusal,
        usage: body.usage.map(Into::into),
        time_to_first_chunk: None,
        rates: Default::default(),
    })
}

/// Reads an answer or a chunk, or the error that came in its place.
pub(super) fn read(bytes: &[u8]) -> Result<Body, Error> {
    let value: Value = serde_json::from_slice(bytes)
        .map_err(|error| Error::invalid_response(format!("the answer is not JSON: {error}")))?;
    if value.get("error").is_some_and(|error| !error.is_null()) {
        return Err(ServerError::from_value(&value).into_error());
    }
    Body::deserialize(value)
        .map_err(|error| Error::invalid_response(format!("the answer is not a chat completion: {error}")))
}

fn tool_call((position, call): (usize, Call)) -> ToolCall {
    ToolCall {
        id: body::call_id(call.id, position),
        name: call.function.name.unwrap_or_default(),
        arguments: call.function.arguments,
    }
}
