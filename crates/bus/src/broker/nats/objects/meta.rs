//! An object's meta message: where it is, what it says, how it is replaced.

use async_nats::{
    HeaderMap,
    header::NATS_ROLLUP,
    jetstream::{self, context::PublishErrorKind, message::PublishMessage, object_store},
};
use base64::{Engine, engine::general_purpose::URL_SAFE};
use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::super::{
    api::{jetstream_error, refusal, refused},
    connection::Link,
    publish::{is_conflict, store},
    streams,
};
use crate::broker::{Error, LogEntry, ObjectInfo};

/// The newest meta message of an object.
pub(super) struct Meta {
    pub(super) said: object_store::ObjectInfo,
    /// The message's sequence.
    pub(super) revision: u64,
    modified_ms: u64,
}

impl Meta {
    /// What the leader holds of an object; also what says that it was removed.
    pub(super) async fn newest(link: &Link, bucket: &str, name: &str) -> Result<Option<Self>, Error> {
        let found = streams::last_on_subject(link, &stream_of(bucket), &subject_of(bucket, name)).await;
        found.map_err(|error| name_bucket(error, bucket))?.map(Self::read).transpose()
    }

    pub(super) fn read(message: LogEntry) -> Result<Self, Error> {
        let what = format!("read {}", message.subject);
        let said = serde_json::from_slice(&message.payload).map_err(|error| refused(&what, &error))?;
        Ok(Self { said, revision: message.seq, modified_ms: message.at_ms })
    }

    /// Whether the object is there and has a body of this digest.
    pub(super) fn holds(&self, digest: &str) -> bool {
        !self.said.deleted && self.said.digest.as_deref() == Some(digest)
    }

    pub(super) fn listed(self) -> ObjectInfo {
        ObjectInfo {
            name: self.said.name,
            bytes: self.said.size as u64,
            modified_ms: self.modified_ms,
            revision: self.revision,
        }
    }
}

/// Replaces the meta message of that revision (0: there is none). Says at which revision
/// the new one is; `None` when another was written first. Never repeated here: a
/// second attempt would report the first one's success as somebody else's.
pub(super) async fn replace(
    link: &Link,
    said: &object_store::ObjectInfo,
    expected: u64,
) -> Result<Option<u64>, Error> {
    let (bucket, subject) = (&said.bucket, subject_of(&said.bucket, &said.name));
    let what = format!("write to object bucket {bucket}");
    let payload = serde_json::to_vec(said).map_err(|error| refused(&what, &error))?;
    let mut headers = HeaderMap::new();
    headers.insert(NATS_ROLLUP, "sub");
    let message = PublishMessage::build()
        .payload(payload.into())
        .headers(headers)
        .expected_last_subject_sequence(expected);
    match store(link, &subject, &what, message).await? {
        Ok(revision) => Ok(Some(revision)),
        Err(error) if is_conflict(&error) => Ok(None),
        Err(error) => Err(failed(link, bucket, &what, &error).await),
    }
}

/// What a failure to store a message of a bucket means.
pub(super) async fn failed(
    link: &Link,
    bucket: &str,
    what: &str,
    error: &jetstream::context::PublishError,
) -> Error {
    let asset = format!("object bucket {bucket}");
    if let Some(said) = jetstream_error(error) {
        return refusal(what, &asset, said);
    }
    // A bucket that is missing and one without a leader are equally silent.
    if error.kind() == PublishErrorKind::StreamNotFound
        && let Err(missing @ Error::Missing(_)) = streams::info(link, &stream_of(bucket)).await
    {
        return name_bucket(missing, bucket);
    }
    Error::Unreachable(format!("{what}: {error}"))
}

/// A body's digest, as meta messages write it.
pub(super) fn digest(body: &Bytes) -> String {
    format!("SHA-256={}", URL_SAFE.encode(Sha256::digest(body)))
}

pub(in crate::broker::nats) fn stream_of(bucket: &str) -> String {
    format!("OBJ_{bucket}")
}

/// The subjects of all meta messages.
pub(super) fn all(bucket: &str) -> String {
    format!("$O.{bucket}.M.>")
}

fn subject_of(bucket: &str, name: &str) -> String {
    format!("$O.{bucket}.M.{}", URL_SAFE.encode(name))
}

/// The subject of an object's chunks.
pub(super) fn chunks(bucket: &str, nuid: &str) -> String {
    format!("$O.{bucket}.C.{nuid}")
}

pub(super) fn name_bucket(error: Error, bucket: &str) -> Error {
    match error {
        Error::Missing(_) => Error::Missing(format!("object bucket {bucket}")),
        other => other,
    }
}
