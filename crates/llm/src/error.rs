//! The one error of model calls: a class that decides who acts, and a message for people.

mod classify;
mod retry_after;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::dialect::Structured;
pub use classify::ServerError;
pub use retry_after::retry_after;

/// Why a call failed. `message` is complete in itself: it says what was wrong, where, and what
/// would be right. It never holds the API key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    pub class: ErrorClass,
    pub message: String,
    /// The HTTP status, if an answer came.
    pub status: Option<u16>,
    /// The provider's own code or type of the error.
    pub code: Option<String>,
    /// How long the provider asks to wait.
    pub retry_after: Option<Duration>,
    /// The provider's id of the request, for its support.
    pub request_id: Option<String>,
    /// Whether the provider may charge for the call all the same. `false` only where it cannot:
    /// it was never reached, or it refused with an HTTP status before any output.
    pub may_be_billed: bool,
}

/// Who must act on a failed call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// The same call may succeed later: connection errors, 408, 409, 429, 5xx.
    Transient,
    /// Out of credit or over a spend limit: people must act, waiting does not help.
    Quota,
    /// The request is too long for the model.
    ContextOverflow,
    /// The provider's policy refused the request.
    Refused,
    /// The server did not understand the request; the same one will fail again.
    InvalidRequest,
    /// The key is missing, wrong or not allowed to do this.
    Unauthorized,
    /// The model or the address does not exist.
    NotFound,
    /// The answer did not come in time.
    Timeout,
    /// The answer could not be understood.
    InvalidResponse,
    /// Whoever pays for the call has too little left for it: it was not made.
    Budget,
}

impl ErrorClass {
    /// The class's name in logs and spans (`error.type`).
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Quota => "quota",
            Self::ContextOverflow => "context_overflow",
            Self::Refused => "refused",
            Self::InvalidRequest => "invalid_request",
            Self::Unauthorized => "unauthorized",
            Self::NotFound => "not_found",
            Self::Timeout => "timeout",
            Self::InvalidResponse => "invalid_response",
            Self::Budget => "budget",
        }
    }
}

impl Error {
    pub fn new(class: ErrorClass, message: impl Into<String>) -> Self {
        Self {
            class,
            message: message.into(),
            status: None,
            code: None,
            retry_after: None,
            request_id: None,
            may_be_billed: true,
        }
    }

    /// Whether the server says that it is asked too much: by a rate, or at all.
    #[must_use]
    pub fn is_overload(&self) -> bool {
        let code = self.code.as_deref().unwrap_or_default();
        matches!(self.status, Some(429 | 503 | 529)) || classify::is_busy(code)
    }

    /// Whether the server refused this way to an answer that is JSON.
    #[must_use]
    pub fn refuses_format(&self, way: Structured) -> bool {
        let code = self.code.as_deref().unwrap_or_default();
        self.class == ErrorClass::InvalidRequest && classify::speaks_of_format(&self.message, code, way)
    }

    /// Whether the server refused one schema, and may take others.
    #[must_use]
    pub fn refuses_schema(&self) -> bool {
        self.class == ErrorClass::InvalidRequest && classify::speaks_of_one_schema(&self.message)
    }

    pub(crate) fn invalid_response(message: impl Into<String>) -> Self {
        Self::new(ErrorClass::InvalidResponse, message)
    }
}
