//! What goes into a call, and what comes of it.

use planfleet_core::failure::FailureClass;
use rmcp::ServiceError;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, RequestMetaObject,
    ResourceContents,
};
use rmcp::transport::streamable_http_client::HttpStatusError;
use serde_json::{Map, Value, json};

use super::transport;
use crate::tool::{CallContext, ToolError};

/// The output of a tool that has no schema of its own.
pub(super) fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "text": {"type": "string", "description": "What the tool says."},
            "data": {"description": "The same as a value, or null where it gives none."}
        },
        "required": ["text", "data"],
        "additionalProperties": false
    })
}

/// A call, with the key under which it counts once and the trace that it is part of.
pub(super) fn request(tool: &str, args: &Map<String, Value>, ctx: &CallContext) -> CallToolRequestParams {
    let mut meta = RequestMetaObject::new();
    for (name, value) in [
        ("planfleet/idempotency_key", json!(ctx.idempotency_key)),
        ("planfleet/run", json!(ctx.run)),
        ("planfleet/step", json!(ctx.step)),
        ("planfleet/attempt", json!(ctx.attempt)),
    ] {
        meta.0.0.insert(name.to_owned(), value);
    }
    // By the protocol's own name for it.
    if let Some(traceparent) = &ctx.traceparent {
        meta.0.0.insert("traceparent".to_owned(), json!(traceparent));
    }
    let mut params = CallToolRequestParams::new(tool.to_owned()).with_arguments(args.clone());
    params.meta = Some(meta);
    params
}

/// An answer as an output.
pub(super) fn output(answer: CallToolResponse, has_schema: bool) -> Result<Value, ToolError> {
    let CallToolResponse::Complete(result) = answer else {
        let message = "it asks for more input, or for patience; a step has nobody who could give them";
        return Err(ToolError::failed(message));
    };
    let text = text(&result);
    if result.is_error == Some(true) {
        let message = if text.is_empty() { "it failed and does not say why".to_owned() } else { text };
        return Err(ToolError::failed(message));
    }
    match result.structured_content {
        Some(value) if has_schema => Ok(value),
        data if !has_schema => Ok(json!({"text": text, "data": data})),
        _ => Err(ToolError::failed(
            "it has an output schema and gave no structured content, which MCP asks for (a fault of the tool)",
        )),
    }
}

/// All texts of a result; what is no text is named.
fn text(result: &CallToolResult) -> String {
    let block = |block: &ContentBlock| match block {
        ContentBlock::Text(content) => content.text.clone(),
        ContentBlock::Image(image) => left_out("image", &image.mime_type, image.data.len()),
        ContentBlock::Audio(audio) => left_out("audio", &audio.mime_type, audio.data.len()),
        ContentBlock::Resource(embedded) => match &embedded.resource {
            ResourceContents::TextResourceContents { text, .. } => text.clone(),
            ResourceContents::BlobResourceContents { blob, mime_type, .. } => {
                left_out("resource", mime_type.as_deref().unwrap_or("of unknown type"), blob.len())
            }
            _ => "[a resource is left out]".to_owned(),
        },
        ContentBlock::ResourceLink(link) => link.uri.clone(),
        _ => "[content of an unknown kind is left out]".to_owned(),
    };
    result.content.iter().map(block).collect::<Vec<_>>().join("\n")
}

fn left_out(what: &str, kind: &str, bytes: usize) -> String {
    format!("[{what} {kind} of {bytes} bytes in base64 is left out]")
}

/// A call that came to nothing. Where nobody knows whether the server has done it, only what
/// bears it is tried again.
pub(super) fn trouble(error: &ServiceError, idempotent: bool) -> ToolError {
    let message = transport::chain(error);
    match error {
        ServiceError::McpError(_) | ServiceError::UnexpectedResponse => ToolError::failed(message),
        ServiceError::Timeout { .. } => ToolError::new(FailureClass::Timeout, message),
        ServiceError::TransportSend(_)
            if http_status(error).is_some_and(|status| matches!(status, 429 | 503)) =>
        {
            ToolError::new(FailureClass::Transient, message)
        }
        _ if idempotent => ToolError::new(FailureClass::Transient, message),
        _ => ToolError::failed(format!("{message}; nobody knows whether the server has done it")),
    }
}

fn http_status(error: &ServiceError) -> Option<u16> {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if let Some(found) = error.downcast_ref::<HttpStatusError>() {
            return Some(found.status);
        }
        source = error.source();
    }
    None
}
