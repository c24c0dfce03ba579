//! Ending a batch early, and trying again what did not succeed.

use std::{collections::BTreeSet, time::Duration};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use planfleet_bus::{Client, Error};
use planfleet_core::id::RunId;
use tokio::time::{Instant, sleep};

use super::{BatchError, status::tally};
use crate::bulk;
pub use crate::bulk::Retried;

/// Orders under way at once.
const ORDERS_MAX: usize = 128;

/// Runs of one shard that are asked for at once.
const RUNS_MAX: usize = 5_000;

/// Between two looks at what is still active.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Whoever submits the batch notices within this that it is to stop, so that what was on
/// its way is in its shard by then. One who is later than this ends what it has begun itself.
const SUBMITTER_NOTICES: Duration = Duration::from_secs(3);

/// A shard that is taken over answers again well within this.
const PATIENCE: Duration = Duration::from_secs(60);

/// Cancels a batch: nothing more of it is submitted, and its active runs are asked to end.
/// Gives how many were.
///
/// # Errors
/// When there is no such batch, or the fleet does not answer; asking again is safe.
pub async fn cancel(client: &Client, id: &str, reason: &str) -> Result<u64, BatchError> {
    client
        .bus()
        .change_batch(id, |batch| {
            batch.cancelled.get_or_insert_with(|| reason.to_owned());
        })
        .await?;
    cancel_active(client, id, reason, SUBMITTER_NOTICES).await
}

/// Asks the active runs of a batch to end, and looks for `at_least` so long for more of them.
/// Gives how many were asked.
pub(super) async fn cancel_active(
    client: &Client,
    id: &str,
    reason: &str,
    at_least: Duration,
) -> Result<u64, BatchError> {
    let started = Instant::now();
    // A run that was asked stays active until its owner has read that.
    let mut asked = BTreeSet::<RunId>::new();
    loop {
        let active = client.active_in_batch(id, RUNS_MAX).await;
        let new: Vec<RunId> = active.runs.into_iter().filter(|run| !asked.contains(run)).collect();
        let orders = new.clone().into_iter().map(|run| async move { client.cancel(&run, reason).await });
        let cancelled = stream::iter(orders).buffer_unordered(ORDERS_MAX);
        cancelled.try_collect::<()>().await?;
        let none_new = new.is_empty();
        asked.extend(new);
        if let Some(shard) = active.silent.first() {
            if started.elapsed() > PATIENCE {
                return Err(Error::NoOwner(*shard).into());
            }
        } else if none_new && started.elapsed() > at_least {
            return Ok(asked.len() as u64);
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Runs again what did not succeed, from where each run stopped. Asked again before the
/// new runs have ended, it starts nothing twice: a run is tried again once, and then it is
/// the new run's turn.
///
/// # Errors
/// When there is no such batch or it was cancelled, or the fleet cannot be reached; asking
/// again goes on.
pub async fn retry_failed(client: &Client, id: &str) -> Result<Retried, BatchError> {
    let batch = client.bus().batch(id).await?.ok_or_else(|| Error::UnknownBatch(id.to_owned()))?;
    if let Some(reason) = &batch.cancelled {
        return Err(BatchError::Refused(format!("batch {id:?} was cancelled ({reason})")));
    }
    let missed = tally(client, &batch).await?.unsuccessful;
    Ok(bulk::again(client, missed.into_keys().collect(), RETRY_KEY).await?)
}

/// The key of every retry of a batch, among those of the run that it goes on from.
const RETRY_KEY: &str = "batch-retry";
