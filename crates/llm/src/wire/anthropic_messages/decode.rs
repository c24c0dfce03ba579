//! From a whole answer's bytes to [`ChatResponse`].

use serde::Deserialize;
use serde_json::Value;

use super::body::{self, Content, WireUsage};
use crate::chat::ChatResponse;
use crate::error::{Error, ServerError};

#[derive(Deserialize)]
struct Body {
    id: Option<String>,
    #[serde(default)]
    model: String,
    content: Vec<Value>,
    stop_reason: Option<String>,
    #[serde(default)]
    stop_details: Value,
    usage: Option<WireUsage>,
}

/// Reads an answer of status 200, or the error that came in its place.
pub fn decode(bytes: &[u8]) -> Result<ChatResponse, Error> {
    let value = read(bytes)?;
    let body = Body::deserialize(value)
        .map_err(|error| Error::invalid_response(format!("the answer is not a message: {error}")))?;
    let mut content = Content::default();
    for block in body.content {
        content.add(block, String::new());
    }
    let stop_reason = body::stop_reason(body.stop_reason.as_deref());
    Ok(ChatResponse {
        id: body.id,
        model: body.model,
        refusal: body::refusal(&stop_reason, &body.stop_details, &content.text),
        text: content.text,
        tool_calls: content.tool_calls,
        thinking: content.thinking,
        stop_reason,
        usage: body.usage.map(Into::into),
        time_to_first_chunk: None,
        rates: Default::default(),
    })
}

/// Reads an answer or an event, unless it is an error.
pub(super) fn read(bytes: &[u8]) -> Result<Value, Error> {
    let value: Value = serde_json::from_slice(bytes)
        .map_err(|error| Error::invalid_response(format!("the answer is not JSON: {error}")))?;
    if value["type"] == "error" || value.get("error").is_some_and(|error| !error.is_null()) {
        return Err(ServerError::from_value(&value).into_error());
    }
    if !value.is_object() {
        return Err(Error::invalid_response("the answer is not a JSON object"));
    }
    Ok(value)
}
