//! Removing an object without a trace.
//!
//! In three steps, of which the first decides: a meta message that says "removed" takes
//! the place of the object's by compare-and-set; then its chunks go; then that message
//! goes, too, by its sequence, so that nothing piles up. What is cut short in between is
//! still listed, as an object of no bytes, and removing that ends the removal.

use async_nats::jetstream::{
    object_store::ObjectInfo,
    stream::{PurgeRequest, PurgeResponse},
};

use super::{
    super::{api::demand, connection::Link, streams},
    meta::{self, Meta},
};
use crate::broker::Error;

/// Removes an object unless it was put or touched after `revision`; without one, as it
/// is when it is looked at. Says whether this call has removed it.
pub(super) async fn delete(
    link: &Link,
    bucket: &str,
    name: &str,
    revision: Option<u64>,
) -> Result<bool, Error> {
    let Some(there) = Meta::newest(link, bucket, name).await? else {
        return Ok(false);
    };
    if revision.is_some_and(|revision| revision != there.revision) {
        return Ok(false);
    }
    let was_marked = there.said.deleted;
    let mark = if was_marked { Some(there.revision) } else { set_mark(link, &there).await? };
    let Some(mark) = mark else {
        return Ok(false);
    };
    purge_chunks(link, bucket, &there.said.nuid).await?;
    // Unless somebody has put the object anew, which has replaced the mark.
    let mark_was_there = streams::remove(link, &meta::stream_of(bucket), mark).await?;
    Ok(!was_marked || mark_was_there)
}

async fn set_mark(link: &Link, there: &Meta) -> Result<Option<u64>, Error> {
    let mark = ObjectInfo { deleted: true, size: 0, chunks: 0, digest: None, ..there.said.clone() };
    meta::replace(link, &mark, there.revision).await
}

/// Removes the chunks of an object that is not there any more.
pub(super) async fn purge_chunks(link: &Link, bucket: &str, nuid: &str) -> Result<(), Error> {
    let stream = meta::stream_of(bucket);
    let filter = Some(meta::chunks(bucket, nuid));
    let request = PurgeRequest { sequence: None, filter, keep: None };
    let what = format!("remove chunks from object bucket {bucket}");
    let subject = format!("STREAM.PURGE.{stream}");
    let _: PurgeResponse = demand(link, &what, &stream, subject, &request).await?;
    Ok(())
}
