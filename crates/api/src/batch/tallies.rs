//! The sums over the ended runs of batches that somebody looks at, kept from one look to the
//! next: a dashboard looks every two seconds, and a batch may have a hundred thousand ends.

use std::sync::{Arc, Mutex, PoisonError};

use futures::TryStreamExt as _;
use planfleet_bus::{
    Client,
    batches::{Batch, Tally},
};
use tokio::sync::Mutex as AsyncMutex;

use super::BatchError;

/// Batches whose sums are kept, those that were looked at last: few are looked at at once, and
/// each holds some hundred bytes for every run that did not succeed.
const KEPT_MAX: usize = 64;

/// Sums of batches. Nothing is true because it is here: what is not is read again.
#[derive(Default)]
pub struct Tallies(Mutex<Vec<Kept>>);

struct Kept {
    id: String,
    created_at_ms: u64,
    tally: Arc<AsyncMutex<Tally>>,
}

impl Tallies {
    /// The sums over a batch's ended runs until now. Reads the headers of those that have ended
    /// since it was asked last; one that breaks off is gone on with by the next.
    ///
    /// # Errors
    /// When the broker cannot be reached.
    pub async fn of(&self, client: &Client, batch: &Batch) -> Result<Tally, BatchError> {
        let kept = self.kept(batch);
        // All who ask about a batch wait for one reader of it.
        let mut tally = kept.lock().await;
        let mut ends = client.bus().batch_ends(batch, tally.last_seq + 1).await?;
        while let Some(end) = ends.try_next().await? {
            tally.add(&end);
        }
        Ok(tally.clone())
    }

    fn kept(&self, batch: &Batch) -> Arc<AsyncMutex<Tally>> {
        // Each critical section leaves the list whole.
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is = |kept: &Kept| kept.id == batch.id && kept.created_at_ms == batch.created_at_ms;
        let kept = match all.iter().position(is) {
            Some(place) => all.remove(place),
            None => {
                let (id, created_at_ms) = (batch.id.clone(), batch.created_at_ms);
                Kept { id, created_at_ms, tally: Arc::default() }
            }
        };
        let tally = Arc::clone(&kept.tally);
        all.insert(0, kept);
        all.truncate(KEPT_MAX);
        tally
    }
}
