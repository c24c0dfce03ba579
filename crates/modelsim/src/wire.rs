//! The two wires that the simulator speaks. Pure: from JSON to what is asked, and from an answer
//! to bytes.

pub(crate) mod anthropic;
pub(crate) mod openai;

use axum::body::Bytes;
use axum::http::HeaderMap;
use serde::Serialize;
use serde_json::Value;

use crate::answer::Answer;
use crate::limits::Standing;
use crate::request::{Asked, Invalid};
use crate::trouble::Trouble;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Wire {
    #[serde(rename = "openai-chat")]
    OpenAi,
    #[serde(rename = "anthropic-messages")]
    Anthropic,
}

/// A piece of a stream and the tokens in it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Event {
    pub(crate) bytes: Bytes,
    pub(crate) tokens: u64,
    /// Bytes of the answer's text, or of a call's arguments.
    pub(crate) text_bytes: usize,
}

impl Wire {
    /// The wire that a request for `/v1/models` means: both providers have that path.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        match headers.contains_key("anthropic-version") {
            true => Self::Anthropic,
            false => Self::OpenAi,
        }
    }

    /// The key that a request carries.
    pub(crate) fn key(self, headers: &HeaderMap) -> Option<&str> {
        let value = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let bearer = || value("authorization").and_then(|value| value.strip_prefix("Bearer "));
        match self {
            Self::OpenAi => bearer(),
            Self::Anthropic => value("x-api-key").or_else(bearer),
        }
    }

    /// `automatic` caches prompts that do not ask for it, where the provider does.
    pub(crate) fn read(self, headers: &HeaderMap, body: &Value, automatic: bool) -> Result<Asked, Invalid> {
        match self {
            Self::OpenAi => openai::read(body, automatic),
            Self::Anthropic if !headers.contains_key("anthropic-version") => {
                Err(Invalid::new("anthropic-version: header is required"))
            }
            Self::Anthropic => anthropic::read(body),
        }
    }

    pub(crate) fn whole(self, answer: &Answer) -> Value {
        match self {
            Self::OpenAi => openai::whole(answer),
            Self::Anthropic => anthropic::whole(answer),
        }
    }

    pub(crate) fn events(self, answer: &Answer, include_usage: bool) -> Vec<Event> {
        match self {
            Self::OpenAi => openai::events(answer, include_usage),
            Self::Anthropic => anthropic::events(answer),
        }
    }

    /// The status and the body of an error.
    pub(crate) fn error(self, trouble: &Trouble, number: u64) -> (u16, Value) {
        let (worded, body) = match self {
            Self::OpenAi => {
                let worded = openai::word(trouble);
                let body = openai::error(&worded);
                (worded, body)
            }
            Self::Anthropic => {
                let worded = anthropic::word(trouble);
                let body = anthropic::error(&worded, number);
                (worded, body)
            }
        };
        (worded.status, body)
    }

    /// An error inside a stream.
    pub(crate) fn error_event(self, trouble: &Trouble, number: u64) -> Bytes {
        let (_, body) = self.error(trouble, number);
        match self {
            Self::OpenAi => format!("data: {body}\n\n").into(),
            Self::Anthropic => format!("event: error\ndata: {body}\n\n").into(),
        }
    }

    /// JSON that breaks off, as a whole answer or as an event of a stream.
    pub(crate) fn garbage(self, stream: bool) -> Bytes {
        let (name, body) = match self {
            Self::OpenAi => ("message", "{\"id\": \"modelsim\", \"choices\": [{\"mess"),
            Self::Anthropic => ("message_start", "{\"id\": \"modelsim\", \"content\": [{\"ty"),
        };
        match stream {
            true => format!("event: {name}\ndata: {body}\n\n").into(),
            false => Bytes::from_static(body.as_bytes()),
        }
    }

    pub(crate) fn models(self, ids: &[String]) -> Value {
        match self {
            Self::OpenAi => openai::models(ids),
            Self::Anthropic => anthropic::models(ids),
        }
    }

    pub(crate) fn model(self, id: &str) -> Value {
        match self {
            Self::OpenAi => openai::model(id),
            Self::Anthropic => anthropic::model(id),
        }
    }

    /// The header that carries the number of a request.
    pub(crate) fn request_id_header(self) -> &'static str {
        match self {
            Self::OpenAi => "x-request-id",
            Self::Anthropic => "request-id",
        }
    }

    /// What headers say of the limits, by name and value.
    pub(crate) fn limit_headers(self, standings: &[Standing]) -> Vec<(String, String)> {
        let headers = standings.iter().flat_map(|standing| match self {
            Self::OpenAi => openai::limit_headers(standing),
            Self::Anthropic => anthropic::limit_headers(standing),
        });
        headers.collect()
    }
}

pub(crate) fn request_id(number: u64) -> String {
    format!("req_modelsim_{number}")
}

#[cfg(test)]
mod tests;
