//! What a tool is to the registry, and what a call is to a tool.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use planfleet_core::failure::{Failure, FailureClass};
use planfleet_core::tool::{Effect, ToolSpec};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::egress::Reach;

/// One tool. Implementations hold no state of a run.
#[async_trait]
pub trait Tool: Send + Sync {
    /// The contract that planners and linters see, the same for the tool's whole life.
    fn spec(&self) -> &ToolSpec;

    /// Carries the call out. `args` has already passed the argument schema.
    ///
    /// # Errors
    ///
    /// Whatever went wrong, classified; see [`ToolError`].
    async fn call(&self, args: &Map<String, Value>, ctx: &CallContext) -> Result<Value, ToolError>;

    /// How long a call may take before the registry drops it. Half a minute is
    /// longer than a healthy web request and short enough to replan within.
    fn timeout(&self) -> Duration {
        Duration::from_secs(30)
    }

    /// Where the tool comes from, if it is not part of the program: for people.
    fn origin(&self) -> Option<Value> {
        None
    }
}

/// Who calls, and what the run's envelope lets the call do.
#[derive(Debug, Clone, Default)]
pub struct CallContext {
    /// Whose run it is; what tools store is the tenant's.
    pub tenant: String,
    /// The run's id.
    pub run: String,
    /// The step's id.
    pub step: String,
    /// The attempt of that step.
    pub attempt: u32,
    /// The same for every delivery and every attempt of one call; for tools that write.
    pub idempotency_key: String,
    /// W3C `traceparent` of the step's span, for servers that take part in traces.
    pub traceparent: Option<String>,
    /// The tools that the run may call, and the most that a call of each may do; `None` means all.
    pub allowed: Option<Arc<BTreeMap<String, Effect>>>,
    /// The host patterns that the run may reach, in the form of
    /// [`crate::Settings::hosts`]; `None` adds nothing to the settings.
    pub allowed_hosts: Option<Arc<Vec<String>>>,
}

impl CallContext {
    /// Whether the run's envelope holds the tool of that name.
    #[must_use]
    pub fn allows(&self, name: &str) -> bool {
        self.allowed.as_ref().is_none_or(|allowed| allowed.contains_key(name))
    }

    /// What the run's envelope lets its tools reach.
    pub(crate) fn reach(&self) -> Reach<'_> {
        Reach::Run(self.allowed_hosts.as_ref().map(|hosts| hosts.as_slice()))
    }
}

/// A failed call: its class and a message for people and planners.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ToolError {
    /// Decides who acts next.
    pub class: FailureClass,
    /// What was wrong, where, and what would be right.
    pub message: String,
    /// How long the other side asked to wait before another try, in milliseconds.
    pub retry_after_ms: Option<u64>,
}

impl ToolError {
    /// An error of the given class.
    #[must_use]
    pub fn new(class: FailureClass, message: impl Into<String>) -> Self {
        Self { class, message: message.into(), retry_after_ms: None }
    }

    /// The tool cannot do what these arguments ask for.
    #[must_use]
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(FailureClass::ToolError, message)
    }

    /// The call asks for something that settings or envelope do not allow.
    #[must_use]
    pub fn denied(message: impl Into<String>) -> Self {
        Self::new(FailureClass::Denied, message)
    }
}

impl From<ToolError> for Failure {
    fn from(error: ToolError) -> Self {
        Self { retry_after_ms: error.retry_after_ms, ..Self::new(error.class, error.message) }
    }
}

/// Reads validated arguments into a tool's own struct, borrowing from them.
///
/// The schema says what is allowed; a mismatch here means that schema and
/// struct have drifted apart, which the message says instead of hiding.
pub(crate) fn parse_args<'a, T: Deserialize<'a>>(args: &'a Map<String, Value>) -> Result<T, ToolError> {
    T::deserialize(args).map_err(|error| {
        ToolError::failed(format!("arguments pass their schema but cannot be read: {error}"))
    })
}
