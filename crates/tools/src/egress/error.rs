//! Why a request was refused or failed, and what follows from it.

use planfleet_core::failure::FailureClass;
use reqwest::Url;

use super::address::Forbidden;
use super::resolve::ResolveError;
use crate::tool::ToolError;

/// Why a request was refused or failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("`{url}` is no valid URL ({reason}); write it as https://host/path")]
    Url { url: String, reason: String },
    #[error("scheme `{0}` is refused; only http and https are allowed")]
    Scheme(String),
    #[error("a URL with a user name or password is refused; leave out the part before `@`")]
    Credentials,
    #[error("host `{host}` is refused; {allowed_by}")]
    Host { host: String, allowed_by: &'static str },
    #[error(transparent)]
    Address(Forbidden),
    #[error(transparent)]
    Resolve(ResolveError),
    #[error("{url} redirects more than {max} times; use the final address")]
    Redirects { url: Url, max: usize },
    #[error("{url} answered with a redirect, where this went wrong: {error}")]
    Redirected { url: Url, error: Box<Error> },
    #[error("host `{host}` is given a credential, which is sent over https only; use https://")]
    PlainCredential { host: String },
    #[error("no answer within {ms} ms (tools.http_timeout_ms)")]
    Timeout { ms: u128 },
    #[error("the request failed: {}", chain(.0))]
    Request(reqwest::Error),
}

impl Error {
    pub(crate) fn class(&self) -> FailureClass {
        match self {
            Self::Scheme(_) | Self::Credentials | Self::Host { .. } | Self::Address(_) => {
                FailureClass::Denied
            }
            Self::Resolve(ResolveError::Forbidden { .. }) => FailureClass::Denied,
            Self::Resolve(ResolveError::Unavailable { .. }) | Self::Request(_) => FailureClass::Transient,
            Self::Url { .. } | Self::Resolve(ResolveError::Unknown { .. }) => FailureClass::ToolError,
            Self::Redirects { .. } | Self::PlainCredential { .. } => FailureClass::ToolError,
            Self::Timeout { .. } => FailureClass::Timeout,
            Self::Redirected { error, .. } => error.class(),
        }
    }

    /// Whether the other side cannot have read the request. What has answered with a redirect
    /// has read it, and may have done it.
    pub(crate) fn is_before_sending(&self) -> bool {
        match self {
            Self::Request(error) => error.is_connect(),
            Self::Timeout { .. } | Self::Redirects { .. } | Self::Redirected { .. } => false,
            _ => true,
        }
    }

    /// What would lift the refusal, for refusals that settings can lift.
    fn remedy(&self) -> &'static str {
        if let Self::Redirected { error, .. } = self {
            return error.remedy();
        }
        let (Self::Address(forbidden) | Self::Resolve(ResolveError::Forbidden { forbidden, .. })) = self
        else {
            return "";
        };
        if forbidden.is_loopback() {
            "; tools.allow_loopback would allow it"
        } else {
            "; no setting allows it, use a public host"
        }
    }
}

impl From<Error> for ToolError {
    fn from(error: Error) -> Self {
        Self::new(error.class(), format!("{error}{}", error.remedy()))
    }
}

impl From<reqwest::Error> for Error {
    fn from(error: reqwest::Error) -> Self {
        match refusal(&error) {
            Some(refusal) => Self::Resolve(refusal.clone()),
            None => Self::Request(error.without_url()),
        }
    }
}

/// The resolver's own error, which the client wraps several times.
fn refusal(error: &reqwest::Error) -> Option<&ResolveError> {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if let Some(refusal) = error.downcast_ref() {
            return Some(refusal);
        }
        source = error.source();
    }
    None
}

/// An error with its sources: the client's own text says no more than "error
/// sending request", and this is the last place that knows the sources.
fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
