//! Stopping in order: what was started last stops first, so that nothing loses
//! what it stands on while it still works.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::outcome::{TaskOutcome, caught};

type StageFuture = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// The stages of a process's end, registered as its parts start.
#[derive(Default)]
pub struct Shutdown {
    stages: Vec<Stage>,
}

struct Stage {
    name: &'static str,
    timeout: Duration,
    run: StageFuture,
}

/// How one stage went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageOutcome {
    /// The stage's name.
    pub name: &'static str,
    /// How it ended.
    pub result: StageResult,
    /// How long it took.
    pub took: Duration,
}

/// How a stage ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StageResult {
    /// In time and well.
    Finished,
    /// Not in time; it was dropped where it stood.
    TimedOut,
    /// With an error or a panic.
    Failed(String),
}

impl Shutdown {
    /// No stages.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a stage, to run before all that were added earlier. Its future does
    /// nothing until then.
    pub fn stage<F>(&mut self, name: &'static str, timeout: Duration, future: F)
    where
        F: Future + Send + 'static,
        F::Output: TaskOutcome,
    {
        let run = Box::pin(caught(future));
        self.stages.push(Stage { name, timeout, run });
    }

    /// Runs every stage, the last added first. A stage that fails or takes too
    /// long does not keep the next ones from running.
    pub async fn run(self) -> Vec<StageOutcome> {
        let mut outcomes = Vec::with_capacity(self.stages.len());
        for stage in self.stages.into_iter().rev() {
            let outcome = stage.run().await;
            outcome.log();
            outcomes.push(outcome);
        }
        outcomes
    }
}

impl fmt::Debug for Shutdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.stages.iter().map(|stage| stage.name);
        f.debug_list().entries(names).finish()
    }
}

impl Stage {
    async fn run(self) -> StageOutcome {
        let start = Instant::now();
        let result = match timeout(self.timeout, self.run).await {
            Ok(Ok(())) => StageResult::Finished,
            Ok(Err(reason)) => StageResult::Failed(reason),
            Err(_) => StageResult::TimedOut,
        };
        StageOutcome { name: self.name, result, took: start.elapsed() }
    }
}

impl StageOutcome {
    fn log(&self) {
        let (stage, took_ms) = (self.name, self.took.as_millis());
        match &self.result {
            StageResult::Finished => tracing::debug!(stage, took_ms, "stopped"),
            StageResult::TimedOut => tracing::warn!(stage, took_ms, "did not stop in time"),
            StageResult::Failed(reason) => {
                tracing::error!(stage, took_ms, %reason, "failed to stop cleanly");
            }
        }
    }
}
