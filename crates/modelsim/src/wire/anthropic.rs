//! Anthropic's Messages.

mod answer;
mod chat;
mod request;

use std::time::SystemTime;

use serde_json::{Value, json};

pub(crate) use self::{
    answer::{events, whole},
    chat::chat_request,
    request::read,
};
use crate::limits::{Counted, Standing};
use crate::trouble::{Trouble, Worded};
use crate::wire::request_id;

/// An error as Anthropic words it.
pub(crate) fn word(trouble: &Trouble) -> Worded {
    match trouble {
        Trouble::Invalid(what) => Worded::new(400, "invalid_request_error", &what.message),
        Trouble::Key => Worded::new(401, "authentication_error", "invalid x-api-key"),
        Trouble::NotFound(model) => Worded::new(404, "not_found_error", format!("model: {model}")),
        Trouble::TooMany(too_many) => {
            let what = match too_many.counted {
                Counted::Requests => "requests",
                Counted::Tokens => "tokens",
                Counted::InputTokens => "input tokens",
                Counted::OutputTokens => "output tokens",
            };
            let message = format!(
                "This request would exceed your organization's rate limit of {} {what} per minute.",
                too_many.limit
            );
            Worded::new(429, "rate_limit_error", message)
        }
        Trouble::RateLimit { .. } => {
            let message = "This request would exceed your organization's rate limit. modelsim: by chance";
            Worded::new(429, "rate_limit_error", message)
        }
        Trouble::Quota => {
            let message = "Your credit balance is too low to access the Anthropic API. Please go to Plans & \
                           Billing to upgrade or purchase credits.";
            Worded::new(400, "invalid_request_error", message)
        }
        Trouble::ServerError => Worded::new(500, "api_error", "Internal server error"),
        Trouble::Overloaded => Worded::new(529, "overloaded_error", "Overloaded"),
        Trouble::Status(fault) => {
            // A code is one of Anthropic's types, or a word of the script for the message.
            let code = fault.code.as_deref();
            let kind = code.filter(|code| code.ends_with("_error")).unwrap_or(kind(fault.status));
            let message = match (&fault.message, code) {
                (Some(message), _) => message.clone(),
                (None, Some(code)) => format!("modelsim: a fault by script ({code})"),
                (None, None) => "modelsim: a fault by script".to_owned(),
            };
            Worded::new(fault.status, kind, message)
        }
        Trouble::Simulator { status, code, message } => {
            Worded::new(*status, kind(*status), format!("{message} ({code})"))
        }
    }
}

/// Anthropic's type of an error of this status.
fn kind(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        529 => "overloaded_error",
        400..=499 => "invalid_request_error",
        _ => "api_error",
    }
}

pub(crate) fn error(worded: &Worded, number: u64) -> Value {
    json!({
        "type": "error",
        "error": {"type": worded.kind, "message": worded.message},
        "request_id": request_id(number),
    })
}

pub(crate) fn models(ids: &[String]) -> Value {
    json!({
        "data": ids.iter().map(|id| model(id)).collect::<Vec<_>>(),
        "has_more": false,
        "first_id": ids.first(),
        "last_id": ids.last(),
    })
}

pub(crate) fn model(id: &str) -> Value {
    json!({
        "type": "model",
        "id": id,
        "display_name": format!("{id} (simulated)"),
        "created_at": "1970-01-01T00:00:00Z",
        "lifecycle": "active",
    })
}

pub(crate) fn limit_headers(standing: &Standing) -> Vec<(String, String)> {
    let counted = match standing.counted {
        Counted::Requests => "requests",
        Counted::Tokens => "tokens",
        Counted::InputTokens => "input-tokens",
        Counted::OutputTokens => "output-tokens",
    };
    let reset = humantime::format_rfc3339_seconds(SystemTime::now() + standing.reset);
    vec![
        (format!("anthropic-ratelimit-{counted}-limit"), standing.limit.to_string()),
        (format!("anthropic-ratelimit-{counted}-remaining"), standing.remaining.to_string()),
        (format!("anthropic-ratelimit-{counted}-reset"), reset.to_string()),
    ]
}
