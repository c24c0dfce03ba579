//! Chunks counted: those of an object, and those that no meta message names, which
//! are what is left of a put that died on its way.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use async_nats::jetstream::{consumer::DeliverPolicy, object_store::ObjectInfo};
use serde::{Deserialize, Serialize};

use super::{
    super::{api::demand, connection::Link, fetch::View, scan::Scan, streams},
    delete::purge_chunks,
    meta::{self, Meta},
};
use crate::broker::Error;

/// What the server is asked for: some of the subjects of a stream. It answers with at
/// most 100,000 at once, which bounds what is in memory here.
#[derive(Serialize)]
struct Wanted {
    subjects_filter: String,
    offset: usize,
}

#[derive(Deserialize)]
struct Info {
    state: State,
    #[serde(default)]
    total: usize,
}

#[derive(Deserialize)]
struct State {
    #[serde(default)]
    subjects: BTreeMap<String, u64>,
}

/// Counts the leftovers whose last chunk is older than `before_ms`, and removes them if
/// asked to. Younger ones may belong to a put that is under way.
pub(super) async fn clear(
    link: &Arc<Link>,
    bucket: &str,
    before_ms: u64,
    remove: bool,
) -> Result<u64, Error> {
    let stream = meta::stream_of(bucket);
    let (mut offset, mut found) = (0, 0);
    loop {
        let Info { state, total } = page(link, bucket, ">", offset).await?;
        let listed = state.subjects.len();
        for subject in unnamed(link, bucket, state.subjects.into_keys().collect()).await? {
            let newest = streams::last_on_subject(link, &stream, &subject).await?;
            let Some(nuid) = subject.rsplit('.').next() else { continue };
            if newest.is_some_and(|chunk| chunk.at_ms < before_ms) {
                found += 1;
                if remove {
                    purge_chunks(link, bucket, nuid).await?;
                }
            }
        }
        // What was removed moves the rest to the front: some may be left for another time.
        offset += listed;
        if listed == 0 || offset >= total {
            return Ok(found);
        }
    }
}

/// Whether all chunks of an object are there. What is in them is another question.
pub(super) async fn is_whole(link: &Link, object: &ObjectInfo) -> Result<bool, Error> {
    let there: u64 = page(link, &object.bucket, &object.nuid, 0).await?.state.subjects.into_values().sum();
    Ok(there == object.chunks as u64)
}

async fn page(link: &Link, bucket: &str, nuid: &str, offset: usize) -> Result<Info, Error> {
    let stream = meta::stream_of(bucket);
    let wanted = Wanted { subjects_filter: meta::chunks(bucket, nuid), offset };
    let what = format!("list the chunks of object bucket {bucket}");
    let info = demand(link, &what, &stream, format!("STREAM.INFO.{stream}"), &wanted).await;
    info.map_err(|error| meta::name_bucket(error, bucket))
}

/// Those subjects of chunks that no object has.
async fn unnamed(
    link: &Arc<Link>,
    bucket: &str,
    mut subjects: BTreeSet<String>,
) -> Result<BTreeSet<String>, Error> {
    let view = View { filter: meta::all(bucket), ..View::all(DeliverPolicy::LastPerSubject) };
    let mut metas = Scan::open(link, &meta::stream_of(bucket), view).await?;
    while let Some(message) = metas.next().await? {
        subjects.remove(&meta::chunks(bucket, &Meta::read(message)?.said.nuid));
    }
    Ok(subjects)
}
