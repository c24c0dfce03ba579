//! What has come of a batch: the documents of its ended runs, and what went wrong.

use std::collections::BTreeSet;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use planfleet_bus::{Client, Error, batches::Batch};
use planfleet_core::id::RunId;
use serde_json::{Value, json};

use super::{BatchError, status::tally};

/// Documents that are looked up at once.
const LOOKUPS_MAX: usize = 32;

/// Hands out the documents of all runs of a batch that have ended, as JSON text, in the
/// order of their ends; of a task that was tried again, the last try that has ended.
///
/// # Errors
/// When there is no such batch, the broker cannot be reached, or a document cannot be read.
pub async fn results(
    client: &Client,
    id: &str,
    on: &mut (dyn FnMut(&str) + Send),
) -> Result<u64, BatchError> {
    let bus = client.bus();
    let batch = kept(client, id).await?;
    let ended = bus.batch_ends(&batch).await?;
    let again = |mut again: BTreeSet<RunId>, end: planfleet_bus::batches::End| async move {
        again.extend(end.rerun_of);
        Ok(again)
    };
    let again = ended.try_fold(BTreeSet::new(), again).await?;
    let last = bus.last_end_of_batch(&batch).await?;
    let mut count = 0;
    if last == 0 {
        return Ok(count);
    }
    let mut ends = bus.follow_batch(&batch).await?;
    while let Some(end) = ends.next().await {
        let (end, entry) = end?;
        let seq = entry.seq;
        if !again.contains(&end.run) {
            on(&bus.document_text(entry).await?);
            count += 1;
        }
        if seq >= last {
            break;
        }
    }
    Ok(count)
}

/// What went wrong with a batch: lines that were refused, then runs that did not succeed
/// and were not tried again, as objects with `line` or `run_id`, `custom_id`, `state`,
/// `code` and `message`.
///
/// # Errors
/// When there is no such batch, or the broker cannot be reached.
pub async fn errors(
    client: &Client,
    id: &str,
    on: &mut (dyn FnMut(Value) + Send),
) -> Result<u64, BatchError> {
    let batch = kept(client, id).await?;
    let mut count = 0;
    for rejection in &batch.rejections {
        on(json!({
            "line": rejection.line,
            "run_id": null,
            "custom_id": rejection.custom_id,
            "state": "refused",
            "code": "task_invalid",
            "message": rejection.message,
        }));
        count += 1;
    }
    let missed = tally(client, &batch).await?.unsuccessful;
    let looked = stream::iter(missed.into_keys()).map(|run| async move {
        let ended = client.bus().ended(&run).await?;
        Ok::<_, Error>((run, ended))
    });
    let mut looked = looked.buffered(LOOKUPS_MAX);
    while let Some(found) = looked.next().await {
        let (run, ended) = found?;
        let document = ended.map(|ended| ended.document).unwrap_or_default();
        on(json!({
            "line": null,
            "run_id": run,
            "custom_id": document["custom_id"],
            "state": document["state"],
            "code": document["end"]["code"],
            "message": document["reason"],
        }));
        count += 1;
    }
    Ok(count)
}

async fn kept(client: &Client, id: &str) -> Result<Batch, BatchError> {
    Ok(client.bus().batch(id).await?.ok_or_else(|| Error::UnknownBatch(id.to_owned()))?)
}
