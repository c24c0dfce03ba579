//! What a server's error means. The code, the type and the wording say more than the status: a
//! 429 may be an empty account, a 400 an overlong prompt. So they are asked first.

use serde_json::Value;

use super::{Error, ErrorClass};
use crate::dialect::Structured;

/// Codes and types only: rate-limit messages also speak of billing pages and quotas.
const QUOTA: [&str; 5] = ["insufficient_quota", "credit_balance", "billing", "spend_limit", "usage_limit"];

const QUOTA_WORDING: [&str; 4] = [
    "credit balance is too low",
    "insufficient credits",
    "insufficient balance",
    "reached your specified api usage limits",
];

/// Wordings met in the field: OpenAI, llama.cpp, vLLM, Ollama, LM Studio, Anthropic, Gemini,
/// Groq, xAI, Mistral and Bedrock each have their own.
const CONTEXT_OVERFLOW: [&str; 18] = [
    "context_length_exceeded",
    "exceed_context_size_error",
    "model_context_window_exceeded",
    "request_too_large",
    "request too large",
    "exceeds the available context size",
    "maximum context length",
    "exceeds context length",
    "exceed context limit",
    "greater than the context length",
    "context window exceeds",
    "maximum model length",
    "maximum prompt length",
    "prompt is too long",
    "input is too long",
    "exceeds the maximum number of tokens",
    "exceeded model token limit",
    "reduce the length of the messages",
];

const REFUSED: [&str; 5] = [
    "content_filter",
    "content_policy_violation",
    "invalid_prompt",
    "responsibleaipolicyviolation",
    "safety_violation",
];

const MODEL_MISSING: [&str; 2] = ["model_not_found", "not_found_error"];

const KEY_REFUSED: [&str; 3] = ["authentication_error", "permission_error", "invalid_api_key"];

/// The provider asks for patience, whatever status it says so with.
const BUSY: [&str; 4] = ["rate_limit", "overloaded", "slow_down", "engine_busy"];

const TRANSIENT: [&str; 3] = ["api_error", "server_error", "timeout_error"];

/// How servers name what a request for JSON needs of them: DeepSeek, LM Studio, vLLM, llama.cpp,
/// Anthropic.
const FORMAT: [&str; 9] = [
    "response_format",
    "response format",
    "json_schema",
    "structured output",
    "structured_output",
    "output_config",
    "output_format",
    "output format",
    "grammar",
];

/// The same for a tool that has to be called: servers without tools, models without a choice of
/// them, and models that think.
const TOOL: [&str; 3] = ["tool", "function call", "functions"];

/// A schema at fault, and not the way it was sent: OpenAI, Anthropic (which names its place in
/// the request, and a bound on the grammar that it makes of it).
const ONE_SCHEMA: [&str; 3] = ["invalid schema", "format.schema", "schema is too complex"];

/// An error as a server words it, before it is classified.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerError {
    pub status: Option<u16>,
    pub code: Option<String>,
    pub kind: Option<String>,
    pub message: String,
    /// The header `x-should-retry`.
    pub should_retry: Option<bool>,
}

impl ServerError {
    /// Reads the body of an error answer. Shapes met: `{"error": {"message", "type", "code"}}`,
    /// `{"error": "text"}`, `{"message": ..}`, `{"detail": ..}`, and pages that are no JSON.
    pub fn from_body(status: u16, body: &[u8]) -> Self {
        let mut error = match serde_json::from_slice::<Value>(body) {
            Ok(value) => Self::from_value(&value),
            Err(_) => Self { message: String::from_utf8_lossy(body).trim().to_owned(), ..Self::default() },
        };
        error.status = Some(status);
        error
    }

    /// Reads an error that came inside an answer of status 200, where a numeric code stands for
    /// the status.
    pub fn from_value(value: &Value) -> Self {
        let error = value.get("error").unwrap_or(value);
        let code = error.get("code");
        Self {
            status: code.and_then(http_status),
            code: code.and_then(Value::as_str).map(str::to_owned),
            kind: error.get("type").and_then(Value::as_str).map(str::to_owned),
            message: message_of(error),
            should_retry: None,
        }
    }

    pub fn class(&self) -> ErrorClass {
        if self.named(&QUOTA) || self.worded(&QUOTA_WORDING) || self.status == Some(402) {
            return ErrorClass::Quota;
        }
        let overflow = self.named(&CONTEXT_OVERFLOW) || self.worded(&CONTEXT_OVERFLOW);
        // A 413 is cured like an overflow: by sending less.
        if overflow || self.status == Some(413) {
            return ErrorClass::ContextOverflow;
        }
        if self.named(&REFUSED) {
            return ErrorClass::Refused;
        }
        if self.named(&BUSY) {
            return ErrorClass::Transient;
        }
        match self.should_retry {
            Some(true) => ErrorClass::Transient,
            // The server knows that it will fail again, whatever its status says.
            Some(false) if self.would_retry() => ErrorClass::InvalidRequest,
            _ if self.would_retry() => ErrorClass::Transient,
            _ => self.class_by_status(),
        }
    }

    /// The classified error, with a message that names all of the server's words and the status.
    pub fn into_error(self) -> Error {
        let class = self.class();
        let mut message = match self.status {
            Some(status) => format!("the server answered {status}"),
            None => "the server answered with an error".to_owned(),
        };
        if !self.message.is_empty() {
            message.push_str(": ");
            message.push_str(&self.message);
        }
        Error { status: self.status, code: self.code.or(self.kind), ..Error::new(class, message) }
    }

    fn would_retry(&self) -> bool {
        match self.status {
            Some(408 | 409 | 429 | 500..) => true,
            Some(_) => false,
            // An error inside a stream without a name is the server's own trouble.
            None => self.named(&TRANSIENT) || (self.code.is_none() && self.kind.is_none()),
        }
    }

    fn class_by_status(&self) -> ErrorClass {
        match self.status {
            _ if self.named(&MODEL_MISSING) => ErrorClass::NotFound,
            _ if self.named(&KEY_REFUSED) => ErrorClass::Unauthorized,
            Some(401 | 403) => ErrorClass::Unauthorized,
            Some(404) => ErrorClass::NotFound,
            _ => ErrorClass::InvalidRequest,
        }
    }

    /// Whether the error's code or type holds one of the words.
    fn named(&self, words: &[&str]) -> bool {
        [&self.code, &self.kind].into_iter().flatten().any(|name| holds(name, words))
    }

    fn worded(&self, words: &[&str]) -> bool {
        holds(&self.message, words)
    }
}

/// Whether an error's code asks for patience.
pub(super) fn is_busy(code: &str) -> bool {
    holds(code, &BUSY)
}

/// Whether an error is about the way in which JSON was asked for.
pub(super) fn speaks_of_format(message: &str, code: &str, way: Structured) -> bool {
    let words: &[&str] = if way == Structured::ToolCall { &TOOL } else { &FORMAT };
    holds(message, words) || holds(code, words)
}

pub(super) fn speaks_of_one_schema(message: &str) -> bool {
    holds(message, &ONE_SCHEMA)
}

fn holds(text: &str, words: &[&str]) -> bool {
    let text = text.to_lowercase();
    words.iter().any(|word| text.contains(word))
}

fn http_status(code: &Value) -> Option<u16> {
    let status = u16::try_from(code.as_u64()?).ok()?;
    (400..=599).contains(&status).then_some(status)
}

fn message_of(error: &Value) -> String {
    let field = ["message", "detail", "error"].into_iter().find_map(|name| error.get(name));
    match field.unwrap_or(error) {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
#[path = "classify_tests.rs"]
mod tests;
