//! How a task can end, and who hears of it.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;

use futures::FutureExt as _;
use tokio::sync::watch;

/// A task that ended by a panic or an error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("task {name} of {set} failed: {reason}")]
pub struct TaskFailure {
    /// The set that the task was spawned on.
    pub set: &'static str,
    /// The task's name.
    pub name: &'static str,
    /// The error with its sources, or the panic's message.
    pub reason: String,
}

/// What a background task may return: nothing, or a result whose error is a
/// failure of the task.
pub trait TaskOutcome: Send + 'static {
    /// The failure's text, if it is one.
    fn into_failure(self) -> Option<String>;
}

impl TaskOutcome for () {
    fn into_failure(self) -> Option<String> {
        None
    }
}

impl<E> TaskOutcome for Result<(), E>
where
    E: Error + Send + 'static,
{
    fn into_failure(self) -> Option<String> {
        self.err().map(|error| chain(&error))
    }
}

/// Runs a task's future; a panic becomes an error like any other.
pub(super) async fn caught<F>(future: F) -> Result<(), String>
where
    F: Future,
    F::Output: TaskOutcome,
{
    // Unwind safety: whatever the future held is dropped, and never seen again.
    match AssertUnwindSafe(future).catch_unwind().await {
        Ok(outcome) => outcome.into_failure().map_or(Ok(()), Err),
        Err(panic) => Err(panic_text(panic.as_ref())),
    }
}

/// Logs a failure, and keeps the first one for whoever decides on the process.
pub(super) fn report(first: &watch::Sender<Option<TaskFailure>>, failure: TaskFailure) {
    tracing::error!(
        task = failure.name,
        set = failure.set,
        reason = %failure.reason,
        "task failed"
    );
    first.send_if_modified(|seen| {
        let is_first = seen.is_none();
        seen.get_or_insert(failure);
        is_first
    });
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text =
        panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panicked: {}", text.unwrap_or("no message"))
}

/// An error and its sources on one line.
pub(super) fn chain(error: &dyn Error) -> String {
    struct Chain<'a>(&'a dyn Error);
    impl fmt::Display for Chain<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{}", self.0)?;
            match self.0.source() {
                Some(source) => write!(f, ": {}", Chain(source)),
                None => Ok(()),
            }
        }
    }
    Chain(error).to_string()
}
