//! A run that did not succeed, done again: a new run that brings what the old one had reached.

use std::time::Duration;

use planfleet_core::{id::RunId, task::Submission};

use super::{Client, Found, Key, has_ended};
use crate::{Error, done::Ended, trace};

/// An owner keeps the document of a run whose end it has seen well within this.
const KEEP_MAX: Duration = Duration::from_secs(5);

/// Why a run is not done again.
#[derive(Debug, thiserror::Error)]
pub enum RerunError {
    /// It is not known, or its document is kept no longer.
    #[error("there is no run {0}")]
    Unknown(RunId),
    /// It has not ended.
    #[error("run {run} has not ended: it is {state}")]
    Active {
        /// The run.
        run: RunId,
        /// Where it stands.
        state: String,
    },
    /// It reached its end.
    #[error("run {0} has succeeded: nothing failed in it")]
    Succeeded(RunId),
    /// It was a step of another run.
    #[error("run {run} was a step of run {parent}: retry that one, which does what has failed again")]
    IsPart {
        /// The run.
        run: RunId,
        /// The run that it was a step of.
        parent: String,
    },
    /// Its document could be kept only without what a rerun needs.
    #[error("what run {0} had reached was too large to keep; submit its task again")]
    NotKept(RunId),
    /// The fleet cannot say, or does not take it.
    #[error(transparent)]
    Bus(#[from] Error),
}

impl Client {
    /// Submits a run that goes on from where an ended one stopped: what is done
    /// is not done again. The new run belongs to the trace of the current span.
    /// With a key, the same run and key give the same rerun.
    ///
    /// # Errors
    /// When the run has not ended or has succeeded, or the broker has not taken
    /// the new one; asking again with the same key is safe.
    pub async fn rerun(&self, run: &RunId, key: Option<&str>) -> Result<RunId, RerunError> {
        let mut submission = self.what_to_rerun(run).await?;
        submission.traceparent = trace::traceparent();
        let key = key.map(|name| Key::of_rerun(run, name));
        Ok(self.submit(submission, key.as_ref()).await?)
    }

    async fn what_to_rerun(&self, run: &RunId) -> Result<Submission, RerunError> {
        let Ended { document, rerun } = self.ended_run(run).await?;
        match rerun {
            Some(submission) => Ok(submission),
            None if document["state"] == "succeeded" => Err(RerunError::Succeeded(run.clone())),
            None => Err(match document["parent"]["run_id"].as_str() {
                Some(parent) => RerunError::IsPart { run: run.clone(), parent: parent.to_owned() },
                None => RerunError::NotKept(run.clone()),
            }),
        }
    }

    async fn ended_run(&self, run: &RunId) -> Result<Ended, RerunError> {
        if let Some(ended) = self.bus.ended(run).await? {
            return Ok(ended);
        }
        match self.find(run).await? {
            Found::Active(document) if !has_ended(&document) => {
                let state = document["state"].as_str().unwrap_or("active").to_owned();
                Err(RerunError::Active { run: run.clone(), state })
            }
            Found::Unknown => Err(RerunError::Unknown(run.clone())),
            // It is on its way from its owner's memory to the store of ended runs.
            Found::Active(_) | Found::Ended(_) => {
                self.wait(run, KEEP_MAX).await?;
                self.bus.ended(run).await?.ok_or_else(|| RerunError::Unknown(run.clone()))
            }
        }
    }
}
