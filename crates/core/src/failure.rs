//! What can go wrong with a step, classified once, by whoever saw it happen.
//!
//! The class alone decides who acts next (the executor's own retry, a new
//! attempt, the planner, or nobody); see [`crate::policy`].

use serde::{Deserialize, Serialize};

/// The class of a failure. Every failure has exactly one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// Connection trouble, 408, 409, 429, 5xx, 529: the same call may work later.
    Transient,
    /// Out of credit or over a spending limit: only people can mend it.
    Quota,
    /// The output broke its schema or a success criterion.
    InvalidOutput,
    /// A tool answered with an error of its own, or its arguments could not be resolved.
    ToolError,
    /// The model declined to answer.
    Refused,
    /// The prompt does not fit the model's context window.
    ContextOverflow,
    /// The attempt ran longer than its step allows.
    Timeout,
    /// The step was delivered more often than the delivery limit: its executors died.
    Lost,
    /// The step asked for something outside the run's envelope.
    Denied,
    /// The run's budget would be passed.
    Budget,
    /// The run's deadline has passed.
    Deadline,
    /// The run was cancelled.
    Cancelled,
}

impl FailureClass {
    /// Every class, in declaration order.
    pub const ALL: [Self; 12] = [
        Self::Transient,
        Self::Quota,
        Self::InvalidOutput,
        Self::ToolError,
        Self::Refused,
        Self::ContextOverflow,
        Self::Timeout,
        Self::Lost,
        Self::Denied,
        Self::Budget,
        Self::Deadline,
        Self::Cancelled,
    ];

    /// The class's name on the wire, in logs and as a metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Quota => "quota",
            Self::InvalidOutput => "invalid_output",
            Self::ToolError => "tool_error",
            Self::Refused => "refused",
            Self::ContextOverflow => "context_overflow",
            Self::Timeout => "timeout",
            Self::Lost => "lost",
            Self::Denied => "denied",
            Self::Budget => "budget",
            Self::Deadline => "deadline",
            Self::Cancelled => "cancelled",
        }
    }

    /// The class of that name, if there is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == name)
    }
}

impl std::fmt::Display for FailureClass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One failure: its class, a message for people and planners, and what was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Who acts next is decided by this alone.
    pub class: FailureClass,
    /// What was wrong, where, and what would be right.
    pub message: String,
    /// The success criterion that failed, as written in the plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub criterion: Option<String>,
    /// What was seen instead, trimmed to [`Failure::SEEN_CHARS_MAX`] characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<String>,
    /// How long the provider asked to wait before another try, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl Failure {
    /// Enough of an output to see what is wrong with it; the whole would crowd
    /// the planner's prompt.
    pub const SEEN_CHARS_MAX: usize = 2_000;

    /// A failure with a class and a message only.
    #[must_use]
    pub fn new(class: FailureClass, message: impl Into<String>) -> Self {
        Self { class, message: message.into(), criterion: None, seen: None, retry_after_ms: None }
    }

    /// Adds what was seen, trimmed at a character boundary.
    #[must_use]
    pub fn with_seen(mut self, seen: &str) -> Self {
        self.seen = Some(trim_chars(seen, Self::SEEN_CHARS_MAX));
        self
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.class, self.message)
    }
}

/// The first `max` characters of `text`, with a mark where something was cut.
#[must_use]
pub fn trim_chars(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}… ({} bytes in all)", &text[..end], text.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for class in FailureClass::ALL {
            assert_eq!(FailureClass::from_name(class.as_str()), Some(class));
            assert_eq!(serde_json::to_value(class).unwrap(), serde_json::Value::from(class.as_str()));
        }
    }

    #[test]
    fn trimming_keeps_character_boundaries() {
        assert_eq!(trim_chars("äöü", 3), "äöü");
        assert_eq!(trim_chars("äöüx", 3), "äöü… (7 bytes in all)");
    }
}
