//! An answer that is an error, in no wire's words.

use std::time::Duration;

use crate::limits::TooMany;
use crate::request::Invalid;
use crate::script::StatusFault;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Trouble {
    Invalid(Invalid),
    /// The key is missing or wrong.
    Key,
    NotFound(String),
    TooMany(TooMany),
    /// A 429 by chance; in seconds, what it asks for.
    RateLimit {
        retry_after_s: Option<f64>,
    },
    Quota,
    ServerError,
    Overloaded,
    /// By script.
    Status(StatusFault),
    /// The simulator itself cannot answer: a code and why.
    Simulator {
        status: u16,
        code: &'static str,
        message: String,
    },
}

/// What a wire makes of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Worded {
    pub(crate) status: u16,
    pub(crate) kind: String,
    pub(crate) code: Option<String>,
    pub(crate) message: String,
    pub(crate) param: Option<String>,
}

impl Worded {
    pub(crate) fn new(status: u16, kind: &str, message: impl Into<String>) -> Self {
        Self { status, kind: kind.to_owned(), code: None, message: message.into(), param: None }
    }

    pub(crate) fn code(self, code: impl Into<String>) -> Self {
        Self { code: Some(code.into()), ..self }
    }
}

impl Trouble {
    /// The values of `retry-after` and `retry-after-ms`: a limit's wait in whole seconds, as
    /// providers give it, and in milliseconds; what a script says as it says it.
    pub(crate) fn retry_after(&self) -> (Option<String>, Option<String>) {
        match self {
            Self::TooMany(too_many) => {
                let wait = too_many.retry_after;
                let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
                (Some(seconds.to_string()), Some(ceil_ms(wait).to_string()))
            }
            Self::RateLimit { retry_after_s } => (retry_after_s.map(|s| s.to_string()), None),
            Self::Status(fault) => (fault.retry_after_s.map(|s| s.to_string()), None),
            _ => (None, None),
        }
    }
}

fn ceil_ms(wait: Duration) -> u128 {
    wait.as_micros().div_ceil(1_000)
}
