//! Putting and touching an object.

use std::collections::HashMap;

use async_nats::jetstream::{
    message::PublishMessage,
    object_store::{ObjectInfo, ObjectOptions},
};
use bytes::Bytes;
use uuid::Uuid;

use super::{
    super::{connection::Link, publish::store},
    delete::purge_chunks,
    leftovers::is_whole,
    meta::{self, Meta},
};
use crate::broker::Error;

/// A chunk's size, that of NATS's own tools. Far below `max_payload`.
const CHUNK_BYTES: usize = 128 * 1024;

/// How often a put that others have overtaken begins again. Each time somebody else has
/// put another body under the name, which has no use but must not go on for ever.
const ATTEMPTS: usize = 10;

/// Stores the body, or touches the object that holds it already; one that has lost
/// chunks does not.
pub(super) async fn put(link: &Link, bucket: &str, name: &str, body: &Bytes) -> Result<(), Error> {
    let digest = meta::digest(body);
    let mut there = Meta::newest(link, bucket, name).await?;
    let at_first = revision_of(there.as_ref());
    for _ in 0..ATTEMPTS {
        let expected = revision_of(there.as_ref());
        let holds = match &there {
            Some(there) => there.holds(&digest) && is_whole(link, &there.said).await?,
            None => false,
        };
        let written = match &there {
            // Somebody else has put or touched it since we began.
            Some(_) if holds && expected != at_first => return Ok(()),
            Some(there) if holds => meta::replace(link, &there.said, expected).await?,
            _ => store_anew(link, &object(bucket, name, body, &digest), body, expected).await?,
        };
        if written.is_some() {
            if let Some(old) = there.filter(|_| !holds) {
                take_back(link, &old.said).await;
            }
            return Ok(());
        }
        there = Meta::newest(link, bucket, name).await?;
    }
    Err(Error::Unreachable(format!("put {name} into {bucket}: others kept writing it")))
}

/// Writes the meta message again as it is, which takes nothing away from readers.
pub(super) async fn touch(link: &Link, bucket: &str, name: &str) -> Result<bool, Error> {
    let Some(there) = Meta::newest(link, bucket, name).await?.filter(|there| !there.said.deleted) else {
        return Ok(false);
    };
    if meta::replace(link, &there.said, there.revision).await?.is_some() {
        return Ok(true);
    }
    // Put or touched by somebody else just now, which will do, or removed.
    Ok(Meta::newest(link, bucket, name).await?.is_some_and(|there| !there.said.deleted))
}

fn revision_of(there: Option<&Meta>) -> u64 {
    there.map_or(0, |there| there.revision)
}

/// Sends the chunks, then the meta message that makes them an object.
async fn store_anew(
    link: &Link,
    object: &ObjectInfo,
    body: &Bytes,
    expected: u64,
) -> Result<Option<u64>, Error> {
    if let Err(error) = send_chunks(link, object, body).await {
        take_back(link, object).await;
        return Err(error);
    }
    // When this fails, the object may be there: its chunks must stay.
    let written = meta::replace(link, object, expected).await?;
    if written.is_none() {
        take_back(link, object).await;
    }
    Ok(written)
}

/// Removes chunks that no meta message names. Failing at that costs room, no more.
async fn take_back(link: &Link, object: &ObjectInfo) {
    if let Err(error) = purge_chunks(link, &object.bucket, &object.nuid).await {
        tracing::warn!(bucket = object.bucket, name = object.name, %error, "chunks are left over");
    }
}

async fn send_chunks(link: &Link, object: &ObjectInfo, body: &Bytes) -> Result<(), Error> {
    let subject = meta::chunks(&object.bucket, &object.nuid);
    let what = format!("write to object bucket {}", object.bucket);
    for start in (0..body.len()).step_by(CHUNK_BYTES) {
        let chunk = body.slice(start..body.len().min(start + CHUNK_BYTES));
        let message = PublishMessage::build().payload(chunk);
        if let Err(error) = store(link, &subject, &what, message).await? {
            return Err(meta::failed(link, &object.bucket, &what, &error).await);
        }
    }
    Ok(())
}

fn object(bucket: &str, name: &str, body: &Bytes, digest: &str) -> ObjectInfo {
    ObjectInfo {
        name: name.to_owned(),
        description: None,
        metadata: HashMap::new(),
        headers: None,
        options: Some(ObjectOptions { link: None, max_chunk_size: Some(CHUNK_BYTES) }),
        bucket: bucket.to_owned(),
        nuid: Uuid::now_v7().simple().to_string(),
        size: body.len(),
        chunks: body.len().div_ceil(CHUNK_BYTES),
        // The message's own time is what counts.
        modified: None,
        digest: Some(digest.to_owned()),
        deleted: false,
    }
}
