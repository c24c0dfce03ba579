//! One rule of a script: when it applies, and what it answers.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Fault, StatusFault};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rule {
    pub when: When,
    /// How often the rule may answer; without it, always.
    pub times: Option<u64>,
    pub reply: Option<Reply>,
    /// Ends the answer with this word instead of the fitting one: `length` for a cut answer.
    pub finish_reason: Option<String>,
    /// Instead of the script's own.
    pub latency: Option<Latency>,
    /// Reported instead of the simple count.
    pub usage: Option<UsageFigures>,
    pub fault: Option<Fault>,
}

/// All that is given must hold.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct When {
    /// The model that the request names.
    pub model: Option<String>,
    /// The name of the JSON schema that the request asks for. Anthropic's wire sends none: there it
    /// is the schema's `title`, or the tool that must be called.
    pub schema: Option<String>,
    /// Texts that occur in the messages' contents, joined by line feeds.
    pub contains: Vec<String>,
    /// Texts that do not.
    pub not_contains: Vec<String>,
    /// Only the n-th request for which all the rest holds; the first is 1.
    pub nth: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    Text(String),
    /// A JSON value as the text.
    Json(Value),
    ToolCalls(Vec<ScriptedToolCall>),
    Refusal(String),
    /// What stands between the last of the first mark and the next of the second in the messages:
    /// an answer of its own for each request of a load test.
    Between([String; 2]),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptedToolCall {
    pub name: String,
    #[serde(default)]
    pub arguments: Value,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Latency {
    /// Before anything is sent.
    pub first_byte_ms: u64,
    /// Speed of the answer; without it, at once.
    pub tokens_per_s: Option<f64>,
    /// Added to `first_byte_ms`: from nothing to this much, by the seed and the request.
    pub jitter_ms: u64,
}

impl Latency {
    pub(super) fn check(&self) -> Result<(), &'static str> {
        let valid = |speed: f64| speed.is_finite() && speed > 0.0;
        match self.tokens_per_s.is_none_or(valid) {
            true => Ok(()),
            false => Err("tokens_per_s must be above 0"),
        }
    }
}

/// Tokens of one call. `prompt_tokens` is all input, the cached part of it included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UsageFigures {
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
    /// Input that was read from the provider's cache.
    pub cached_tokens: u64,
    /// Input that was written to it.
    pub cache_write_tokens: u64,
    pub reasoning_tokens: u64,
}

impl Rule {
    pub fn text(text: impl Into<String>) -> Self {
        Self::reply(Reply::Text(text.into()))
    }

    pub fn json(value: Value) -> Self {
        Self::reply(Reply::Json(value))
    }

    pub fn tool_call(name: impl Into<String>, arguments: Value) -> Self {
        Self::reply(Reply::ToolCalls(vec![ScriptedToolCall { name: name.into(), arguments }]))
    }

    pub fn refusal(text: impl Into<String>) -> Self {
        Self::reply(Reply::Refusal(text.into()))
    }

    pub fn reply(reply: Reply) -> Self {
        Self { reply: Some(reply), ..Self::default() }
    }

    pub fn status(status: u16, code: &str) -> Self {
        Self::default().fault(Fault::Status(StatusFault {
            status,
            code: Some(code.to_owned()),
            ..StatusFault::default()
        }))
    }

    pub fn fault(mut self, fault: Fault) -> Self {
        self.fault = Some(fault);
        self
    }

    pub fn retry_after_s(mut self, seconds: f64) -> Self {
        if let Some(Fault::Status(fault)) = &mut self.fault {
            fault.retry_after_s = Some(seconds);
        }
        self
    }

    pub fn when(mut self, text: impl Into<String>) -> Self {
        self.when.contains.push(text.into());
        self
    }

    pub fn when_not(mut self, text: impl Into<String>) -> Self {
        self.when.not_contains.push(text.into());
        self
    }

    pub fn when_model(mut self, model: impl Into<String>) -> Self {
        self.when.model = Some(model.into());
        self
    }

    pub fn nth(mut self, nth: u64) -> Self {
        self.when.nth = Some(nth);
        self
    }

    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }

    pub fn latency(mut self, latency: Latency) -> Self {
        self.latency = Some(latency);
        self
    }

    pub(super) fn check(&self) -> Result<(), &'static str> {
        if self.reply.is_none() && self.fault.is_none() {
            return Err("needs a reply or a fault");
        }
        if self.when.nth == Some(0) {
            return Err("nth counts from 1");
        }
        if let Some(latency) = &self.latency {
            latency.check()?;
        }
        if let Some(Reply::Between(marks)) = &self.reply
            && marks.iter().any(String::is_empty)
        {
            return Err("between needs two marks that are not empty");
        }
        match &self.fault {
            Some(Fault::Status(fault)) if !(400..=599).contains(&fault.status) => {
                Err("a fault's status is from 400 to 599")
            }
            _ => Ok(()),
        }
    }
}
