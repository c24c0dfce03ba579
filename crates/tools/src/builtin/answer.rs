//! What the HTTP tools make of an answer: text, JSON, or a classified failure.

use std::borrow::Cow;

use planfleet_core::failure::FailureClass;
use planfleet_core::json::{DEPTH_MAX, depth};
use serde_json::{Value, json};

use super::readable;
use crate::egress::{Fetched, Gateway};
use crate::tool::ToolError;

/// Enough of an error page to see what it complains about.
const EXCERPT_CHARS_MAX: usize = 500;

/// What follows an error after which the request may have been carried out.
pub(super) const UNKNOWN_OUTCOME: &str = "; nobody knows whether the server has done it";

/// The output schema of the HTTP tools.
pub(super) fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "status": {"type": "integer"},
            "url": {"type": "string", "description": "Where redirects ended."},
            "content_type": {"type": ["string", "null"]},
            "title": {"type": ["string", "null"], "description": "Of an HTML page."},
            "text": {"type": "string", "description": "The body; of an HTML page, its readable text."},
            "json": {"description": "The body parsed, or null where it is no JSON."},
            "truncated": {"type": "boolean", "description": "Whether the body is cut."}
        },
        "required": ["status", "url", "content_type", "title", "text", "json", "truncated"],
        "additionalProperties": false
    })
}

/// The output of an answer; of an HTML page the readable text, unless it is wanted `raw`.
pub(super) async fn output(fetched: Fetched, raw: bool) -> Result<Value, ToolError> {
    let mut text = text(&fetched)?;
    let mut title = None;
    if !raw && is_html(&fetched, &text) {
        let page = readable::of(text).await.map_err(|fault| {
            ToolError::failed(format!("{} cannot be read as a page: {fault}; try `raw`", fetched.url))
        })?;
        (text, title) = (page.text, page.title);
    }
    let json = if fetched.truncated { Value::Null } else { json_of(&text) };
    Ok(json!({
        "status": fetched.status,
        "url": fetched.url.as_str(),
        "content_type": fetched.content_type,
        "title": title,
        "text": text,
        "json": json,
        "truncated": fetched.truncated,
    }))
}

/// An error status as a failure. `repeatable` says that asking again does no harm where nobody
/// knows whether the server has done what it was asked.
pub(super) fn bad_status(gateway: &Gateway, fetched: &Fetched, repeatable: bool) -> ToolError {
    let class = match fetched.status {
        // The server speaks of what it was redirected to, and not of the request itself.
        _ if fetched.redirected && !repeatable => FailureClass::ToolError,
        // The server says that it has done nothing yet.
        408 | 409 | 425 | 429 | 503 | 529 => FailureClass::Transient,
        500..=599 if repeatable => FailureClass::Transient,
        _ => FailureClass::ToolError,
    };
    let excerpt = gateway.excerpt(fetched, EXCERPT_CHARS_MAX);
    let unknown = if fetched.redirected && !repeatable { UNKNOWN_OUTCOME } else { "" };
    ToolError {
        retry_after_ms: fetched.retry_after.map(|after| after.as_millis() as u64),
        ..ToolError::new(class, format!("{} answered {}: {excerpt}{unknown}", fetched.url, fetched.status))
    }
}

/// The body as UTF-8, with U+FFFD for what is not. A body with NUL bytes is an
/// image or an archive, of which text would be noise.
fn text(fetched: &Fetched) -> Result<String, ToolError> {
    let body = fetched.body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&fetched.body);
    if body.contains(&0) {
        let kind = fetched.content_type.as_deref().unwrap_or("unknown type");
        return Err(ToolError::failed(format!(
            "{} is binary ({kind}); this tool reads text only",
            fetched.url
        )));
    }
    let mut text = String::from_utf8_lossy(body).into_owned();
    if fetched.truncated && text.ends_with(char::REPLACEMENT_CHARACTER) {
        text.pop();
    }
    Ok(text)
}

/// A page says what it is; where its server says nothing, its beginning does.
fn is_html(fetched: &Fetched, text: &str) -> bool {
    match fetched.content_type.as_deref().map(|kind| kind.split(';').next().unwrap_or_default().trim()) {
        Some(kind) => {
            kind.eq_ignore_ascii_case("text/html") || kind.eq_ignore_ascii_case("application/xhtml+xml")
        }
        None => {
            let start: Cow<'_, str> = text.trim_start().chars().take(15).collect();
            ["<!doctype html", "<html"].iter().any(|mark| start.to_ascii_lowercase().starts_with(mark))
        }
    }
}

/// Many servers send JSON as plain text, so the text decides and not its label.
/// What is nested deeper than an output may be stays text.
fn json_of(text: &str) -> Value {
    let value = serde_json::from_str(text).ok();
    value.filter(|value| depth(value) < DEPTH_MAX).unwrap_or(Value::Null)
}
