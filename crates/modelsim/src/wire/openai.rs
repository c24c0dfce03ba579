//! OpenAI's Chat Completions.

mod answer;
mod chat;
mod request;

use std::time::Duration;

use serde_json::{Value, json};

pub(crate) use self::{
    answer::{events, whole},
    chat::chat_request,
    request::read,
};
use crate::MODEL;
use crate::limits::{Counted, Standing};
use crate::trouble::{Trouble, Worded};

/// An error as OpenAI words it.
pub(crate) fn word(trouble: &Trouble) -> Worded {
    let invalid = "invalid_request_error";
    match trouble {
        Trouble::Invalid(what) => Worded {
            code: what.code.map(str::to_owned),
            param: what.param.clone(),
            ..Worded::new(400, invalid, &what.message)
        },
        Trouble::Key => {
            Worded::new(401, invalid, "modelsim: the API key is missing or wrong").code("invalid_api_key")
        }
        Trouble::NotFound(model) => {
            let message = format!("The model '{model}' does not exist");
            Worded::new(404, invalid, message).code("model_not_found")
        }
        Trouble::TooMany(too_many) => {
            let (kind, what) = match too_many.counted {
                Counted::Requests => ("requests", "requests per min (RPM)"),
                _ => ("tokens", "tokens per min (TPM)"),
            };
            let message = format!(
                "Rate limit reached on {what}: Limit {}. Please try again in {}.",
                too_many.limit,
                reset(too_many.retry_after)
            );
            Worded::new(429, kind, message).code("rate_limit_exceeded")
        }
        Trouble::RateLimit { .. } => Worded::new(429, "requests", "Rate limit reached. modelsim: by chance")
            .code("rate_limit_exceeded"),
        Trouble::Quota => {
            let message = "You exceeded your current quota, please check your plan and billing details.";
            Worded::new(429, "insufficient_quota", message).code("insufficient_quota")
        }
        Trouble::ServerError => {
            let message = "The server had an error while processing your request. modelsim: by chance";
            Worded::new(500, "server_error", message)
        }
        Trouble::Overloaded => {
            let message = "The server is currently overloaded. modelsim: by chance";
            Worded::new(503, "server_error", message).code("server_is_overloaded")
        }
        Trouble::Status(fault) => {
            let kind = if fault.status < 500 { invalid } else { "server_error" };
            let message = fault.message.as_deref().unwrap_or("modelsim: a fault by script");
            Worded::new(fault.status, kind, message).code(fault.code.as_deref().unwrap_or("simulated_fault"))
        }
        Trouble::Simulator { status, code, message } => {
            let kind = if *status < 500 { invalid } else { "server_error" };
            Worded::new(*status, kind, message).code(*code)
        }
    }
}

pub(crate) fn error(worded: &Worded) -> Value {
    json!({"error": {
        "message": worded.message, "type": worded.kind, "param": worded.param, "code": worded.code,
    }})
}

pub(crate) fn models(ids: &[String]) -> Value {
    json!({"object": "list", "data": ids.iter().map(|id| model(id)).collect::<Vec<_>>()})
}

pub(crate) fn model(id: &str) -> Value {
    json!({"id": id, "object": "model", "created": 0, "owned_by": MODEL})
}

/// OpenAI tells of requests and of tokens, not of input and output apart.
pub(crate) fn limit_headers(standing: &Standing) -> Vec<(String, String)> {
    let counted = match standing.counted {
        Counted::Requests => "requests",
        Counted::Tokens => "tokens",
        Counted::InputTokens | Counted::OutputTokens => return Vec::new(),
    };
    vec![
        (format!("x-ratelimit-limit-{counted}"), standing.limit.to_string()),
        (format!("x-ratelimit-remaining-{counted}"), standing.remaining.to_string()),
        (format!("x-ratelimit-reset-{counted}"), reset(standing.reset)),
    ]
}

/// OpenAI's way to write a wait: `12ms`, `1.5s`, `6m0s`.
fn reset(wait: Duration) -> String {
    let ms = wait.as_micros().div_ceil(1_000);
    match ms {
        0..1_000 => format!("{ms}ms"),
        1_000..60_000 => format!("{}s", ms as f64 / 1e3),
        _ => format!("{}m{}s", ms / 60_000, (ms % 60_000) as f64 / 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_written_as_openai_writes_them() {
        let written = [0, 12, 1_500, 60_000, 361_250].map(|ms| reset(Duration::from_millis(ms)));
        assert_eq!(written, ["0ms", "12ms", "1.5s", "1m0s", "6m1.25s"]);
    }
}
