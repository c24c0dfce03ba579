//! Following a batch until nothing of it is left to do.

use std::{collections::BTreeSet, time::Duration};

use futures::StreamExt as _;
use planfleet_bus::{
    Client, Error,
    batches::{Active, Batch, End, Tally},
};
use planfleet_core::id::RunId;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::{BatchError, Standing, status::forgotten};

/// How often it is asked whether anything is left.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What is looked for.
#[derive(Debug, Default)]
pub struct Wanted {
    /// Runs that are waited for besides: they may be too young for anybody to know them.
    pub runs: BTreeSet<RunId>,
    /// Whether documents are wanted.
    pub documents: bool,
}

/// What is seen on the way.
pub enum Seen<'a> {
    /// A run has ended; its document as JSON text, or why it cannot be read, where it was
    /// asked for.
    Ended(&'a End, Option<Result<String, Error>>),
    /// How it stands; told every second.
    Standing(&'a Standing),
}

/// Follows a batch from its beginning to its end, or until `stop`; says whether it has come
/// to its end, with how it stands then.
///
/// # Errors
/// When there is no such batch, or the broker cannot be reached.
pub async fn watch(
    client: &Client,
    id: &str,
    mut wanted: Wanted,
    stop: &CancellationToken,
    on: &mut (dyn FnMut(Seen<'_>) + Send),
) -> Result<(Standing, bool), BatchError> {
    let mut standing = Standing {
        batch: kept(client, id).await?,
        tally: Tally::default(),
        active: Active::default(),
        forgotten: false,
    };
    let mut ends = client.bus().follow_batch(&standing.batch).await?;
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok((standing, false)),
            end = ends.next() => {
                let (end, entry) =
                    end.unwrap_or_else(|| Err(Error::Answer("the log of ended runs has ended".to_owned())))?;
                standing.tally.add(&end);
                wanted.runs.remove(&end.run);
                let document = match wanted.documents {
                    true => Some(client.bus().document_text(entry).await),
                    false => None,
                };
                on(Seen::Ended(&end, document));
            }
            _ = looks.tick() => {
                // Whatever is not active now has ended before, so its end is there to be read:
                // all is done where the ends that were seen leave nothing over.
                standing.active = client.active_in_batch(id, 0).await;
                standing.batch = kept(client, id).await?;
                standing.forgotten = forgotten(client, &standing.batch).await?;
                on(Seen::Standing(&standing));
                if wanted.runs.is_empty() && is_over(client, &standing).await? {
                    return Ok((standing, true));
                }
            }
        }
    }
}

/// Whether nothing is left to do and every end was seen.
async fn is_over(client: &Client, standing: &Standing) -> Result<bool, BatchError> {
    if !matches!(standing.state(), "completed" | "cancelled") {
        return Ok(false);
    }
    Ok(client.bus().last_end_of_batch(&standing.batch).await? <= standing.tally.last_seq)
}

async fn kept(client: &Client, id: &str) -> Result<Batch, BatchError> {
    Ok(client.bus().batch(id).await?.ok_or_else(|| Error::UnknownBatch(id.to_owned()))?)
}
