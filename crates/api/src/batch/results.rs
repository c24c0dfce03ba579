//! What has come of a batch: the documents of its ended runs, and what went wrong.

use std::{collections::BTreeSet, sync::Arc};

use futures::{
    StreamExt as _, TryStreamExt as _,
    stream::{self, BoxStream},
};
use planfleet_bus::{Client, Error, batches::Batch};
use planfleet_core::id::RunId;
use serde_json::{Value, json};

use super::{BatchError, Tallies};

/// Documents that are looked up at once.
const LOOKUPS_MAX: usize = 32;

/// Hands out the documents of all runs of a batch that have ended, as [`documents`] gives them.
///
/// # Errors
/// Those of [`documents`].
pub async fn results(
    client: &Client,
    id: &str,
    on: &mut (dyn FnMut(&str) + Send),
) -> Result<u64, BatchError> {
    let mut all = documents(client, id).await?;
    let mut count = 0;
    while let Some(document) = all.try_next().await? {
        on(&document);
        count += 1;
    }
    Ok(count)
}

/// The documents of all runs of a batch that have ended, as JSON text, in the order of
/// their ends; of a task that was tried again, the last try that has ended. Each is read
/// when it is asked for.
///
/// # Errors
/// When there is no such batch, the broker cannot be reached, or a document cannot be read.
pub async fn documents(
    client: &Client,
    id: &str,
) -> Result<BoxStream<'static, Result<String, BatchError>>, BatchError> {
    let bus = client.bus().clone();
    let batch = kept(client, id).await?;
    let ended = bus.batch_ends(&batch, 0).await?;
    let again = |mut again: BTreeSet<RunId>, end: planfleet_bus::batches::End| async move {
        again.extend(end.rerun_of);
        Ok(again)
    };
    let again = Arc::new(ended.try_fold(BTreeSet::new(), again).await?);
    let last = bus.last_end_of_batch(&batch).await?;
    if last == 0 {
        return Ok(stream::empty().boxed());
    }
    let ends = bus.follow_batch(&batch).await?;
    let documents = stream::try_unfold((ends, false), move |(mut ends, done)| {
        let (bus, again) = (bus.clone(), again.clone());
        async move {
            if done {
                return Ok(None);
            }
            while let Some(end) = ends.next().await {
                let (end, entry) = end?;
                let done = entry.seq >= last;
                if !again.contains(&end.run) {
                    return Ok(Some((bus.document_text(entry).await?, (ends, done))));
                }
                if done {
                    break;
                }
            }
            Ok(None)
        }
    });
    Ok(documents.boxed())
}

/// Hands out what went wrong with a batch, as [`misses`] gives it.
///
/// # Errors
/// Those of [`misses`].
pub async fn errors(
    client: &Client,
    id: &str,
    on: &mut (dyn FnMut(Value) + Send),
) -> Result<u64, BatchError> {
    let mut all = misses(client, id, &Tallies::default()).await?;
    let mut count = 0;
    while let Some(error) = all.try_next().await? {
        on(error);
        count += 1;
    }
    Ok(count)
}

/// What went wrong with a batch: lines that were refused, then runs that did not succeed
/// and were not tried again, as objects with `line` or `run_id`, `custom_id`, `state`,
/// `code` and `message`. What a run says is read when it is asked for.
///
/// # Errors
/// When there is no such batch, or the broker cannot be reached.
pub async fn misses(
    client: &Client,
    id: &str,
    tallies: &Tallies,
) -> Result<BoxStream<'static, Result<Value, BatchError>>, BatchError> {
    let batch = kept(client, id).await?;
    let missed = tallies.of(client, &batch).await?.unsuccessful;
    let refused = stream::iter(batch.rejections).map(|rejection| {
        Ok(json!({
            "line": rejection.line,
            "run_id": null,
            "custom_id": rejection.custom_id,
            "state": "refused",
            "code": "task_invalid",
            "message": rejection.message,
        }))
    });
    let bus = client.bus().clone();
    let looked = stream::iter(missed.into_keys()).map(move |run| {
        let bus = bus.clone();
        async move {
            let document = bus.ended(&run).await?.map(|ended| ended.document).unwrap_or_default();
            Ok(json!({
                "line": null,
                "run_id": run,
                "custom_id": document["custom_id"],
                "state": document["state"],
                "code": document["end"]["code"],
                "message": document["reason"],
            }))
        }
    });
    Ok(refused.chain(looked.buffered(LOOKUPS_MAX)).boxed())
}

async fn kept(client: &Client, id: &str) -> Result<Batch, BatchError> {
    Ok(client.bus().batch(id).await?.ok_or_else(|| Error::UnknownBatch(id.to_owned()))?)
}
