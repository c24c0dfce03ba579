//! Key-value buckets, in the layout that NATS's own tools use.
//!
//! On the stream behind the bucket directly, because two things must hold that the
//! client's store does not promise: reads come from the leader, so that a process
//! sees its own write; and every outcome of a compare-and-set is either known or
//! [`Error::Unreachable`]. A compare-and-set is never repeated here: the second
//! attempt would report the first one's success as a conflict.

use std::{collections::BTreeMap, sync::Arc};

use async_nats::{
    HeaderMap,
    jetstream::{
        consumer::DeliverPolicy,
        context::{PublishError, PublishErrorKind},
        message::PublishMessage,
        stream::{Config, DiscardPolicy, StorageType},
    },
};
use bytes::Bytes;
use futures::{StreamExt, future::ready, stream::BoxStream};

use super::{
    api::{jetstream_error, refusal, refused},
    connection::Link,
    fetch::View,
    log,
    publish::{is_conflict, store, too_large},
    scan::Scan,
    streams,
};
use crate::broker::{BucketSpec, CasOutcome, Error, Headers, KvChange, KvEntry, LogEntry};

/// The header that makes a message a tombstone.
const OPERATION: &str = "KV-Operation";

/// Creates the bucket unless one of its name is there.
pub(super) async fn ensure(link: &Link, spec: &BucketSpec) -> Result<(), Error> {
    let config = Config {
        name: stream_of(&spec.name),
        subjects: vec![format!("$KV.{}.>", spec.name)],
        max_messages_per_subject: 1,
        storage: StorageType::File,
        num_replicas: spec.replicas,
        max_age: spec.max_age.unwrap_or_default(),
        discard: DiscardPolicy::New,
        allow_rollup: true,
        deny_delete: true,
        allow_direct: true,
        ..Config::default()
    };
    streams::create(link, &config).await?;
    Ok(())
}

/// A key's value, from the leader.
pub(super) async fn get(link: &Link, bucket: &str, key: &str) -> Result<Option<KvEntry>, Error> {
    let newest = newest(link, bucket, key).await?;
    Ok(newest.filter(|newest| !newest.deleted).map(|newest| newest.entry))
}

/// Writes a key if its revision is still `expected`.
pub(super) async fn compare_and_set(
    link: &Link,
    bucket: &str,
    key: &str,
    value: Bytes,
    expected: u64,
) -> Result<CasOutcome, Error> {
    let outcome = write_at(link, bucket, key, value.clone(), expected).await?;
    if outcome != CasOutcome::Conflict || expected != 0 {
        return Ok(outcome);
    }
    // A deleted key does not exist for callers, but its tombstone has a revision.
    match newest(link, bucket, key).await? {
        Some(newest) if newest.deleted => write_at(link, bucket, key, value, newest.entry.revision).await,
        _ => Ok(CasOutcome::Conflict),
    }
}

/// Removes a key, whatever its revision.
pub(super) async fn delete(link: &Link, bucket: &str, key: &str) -> Result<(), Error> {
    let mut headers = HeaderMap::new();
    headers.insert(OPERATION, "DEL");
    let tombstone = PublishMessage::build().headers(headers);
    match write(link, bucket, key, tombstone).await? {
        Ok(_) => Ok(()),
        Err(error) => Err(failed(link, bucket, 0, &error).await),
    }
}

/// Every key with its value.
pub(super) async fn all(link: &Arc<Link>, bucket: &str) -> Result<BTreeMap<String, KvEntry>, Error> {
    let view = View::all(DeliverPolicy::LastPerSubject);
    let named = |error| name_bucket(error, bucket);
    let mut scan = Scan::open(link, &stream_of(bucket), view).await.map_err(named)?;
    let mut entries = BTreeMap::new();
    // A key that is written while we read comes a second time, as what it is then.
    while let Some(message) = scan.next().await? {
        if let Some(KvChange { key, entry }) = change(bucket, message) {
            match entry {
                Some(entry) => entries.insert(key, entry),
                None => entries.remove(&key),
            };
        }
    }
    Ok(entries)
}

/// Every key, then every change. The stream behind a bucket keeps the last message of
/// each key, a tombstone being one: read from its start, it is just that.
pub(super) async fn changes(
    link: Arc<Link>,
    bucket: &str,
) -> Result<BoxStream<'static, Result<KvChange, Error>>, Error> {
    let messages =
        log::read(link, &stream_of(bucket), ">", 1).await.map_err(|error| name_bucket(error, bucket))?;
    let bucket = bucket.to_owned();
    let changes = messages.filter_map(move |message| {
        ready(match message {
            Ok(message) => change(&bucket, message).map(Ok),
            Err(error) => Some(Err(name_bucket(error, &bucket))),
        })
    });
    Ok(changes.boxed())
}

/// What a message of the bucket's stream says of its key.
fn change(bucket: &str, message: LogEntry) -> Option<KvChange> {
    let key = message.subject.strip_prefix(&subject_of(bucket, ""))?.to_owned();
    let kept = !is_tombstone(&message.headers);
    Some(KvChange { key, entry: kept.then(|| entry(message.payload, message.seq)) })
}

struct Newest {
    entry: KvEntry,
    deleted: bool,
}

async fn newest(link: &Link, bucket: &str, key: &str) -> Result<Option<Newest>, Error> {
    check_key(key)?;
    let found = streams::last_on_subject(link, &stream_of(bucket), &subject_of(bucket, key))
        .await
        .map_err(|error| name_bucket(error, bucket))?;
    Ok(found.map(|message| Newest {
        deleted: is_tombstone(&message.headers),
        entry: entry(message.payload, message.seq),
    }))
}

async fn write_at(
    link: &Link,
    bucket: &str,
    key: &str,
    value: Bytes,
    expected: u64,
) -> Result<CasOutcome, Error> {
    let bytes = value.len();
    let message = PublishMessage::build().payload(value).expected_last_subject_sequence(expected);
    match write(link, bucket, key, message).await? {
        Ok(revision) => Ok(CasOutcome::Written(revision)),
        Err(error) if is_conflict(&error) => Ok(CasOutcome::Conflict),
        Err(error) => Err(failed(link, bucket, bytes, &error).await),
    }
}

async fn write(
    link: &Link,
    bucket: &str,
    key: &str,
    message: PublishMessage,
) -> Result<Result<u64, PublishError>, Error> {
    check_key(key)?;
    let subject = subject_of(bucket, key);
    store(link, &subject, &subject, message).await
}

async fn failed(link: &Link, bucket: &str, bytes: usize, error: &PublishError) -> Error {
    let what = format!("write to bucket {bucket}");
    if let Some(said) = jetstream_error(error) {
        return refusal(&what, &format!("bucket {bucket}"), said);
    }
    match error.kind() {
        PublishErrorKind::MaxPayloadExceeded => too_large(link, bytes),
        // A bucket that is missing and one without a leader are equally silent.
        PublishErrorKind::StreamNotFound => match streams::info(link, &stream_of(bucket)).await {
            Err(missing @ Error::Missing(_)) => name_bucket(missing, bucket),
            _ => Error::Unreachable(format!("{what}: no leader just now")),
        },
        _ => Error::Unreachable(format!("{what}: {error}")),
    }
}

fn is_tombstone(headers: &Headers) -> bool {
    headers.keys().any(|name| name.eq_ignore_ascii_case(OPERATION))
}

fn entry(value: Bytes, revision: u64) -> KvEntry {
    KvEntry { value, revision }
}

fn name_bucket(error: Error, bucket: &str) -> Error {
    match error {
        Error::Missing(_) => Error::Missing(format!("bucket {bucket}")),
        other => other,
    }
}

/// A key becomes part of a subject: a wildcard or an empty token in it would read or
/// write other keys.
fn check_key(key: &str) -> Result<(), Error> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_=/.".contains(c);
    let sound = !key.is_empty() && key.chars().all(allowed) && key.split('.').all(|t| !t.is_empty());
    if sound { Ok(()) } else { Err(refused("key", &format!("{key:?} is no key of a bucket"))) }
}

/// The stream behind a bucket.
pub(super) fn stream_of(bucket: &str) -> String {
    format!("KV_{bucket}")
}

/// Where a key is written.
pub(super) fn subject_of(bucket: &str, key: &str) -> String {
    format!("$KV.{bucket}.{key}")
}
