//! Claim check: a body above the inline limit is stored once under its SHA-256,
//! and the message carries the digest. [`sweep`] removes what nothing refers to.

pub mod sweep;

use bytes::Bytes;
use planfleet_proto::{BLOB_BYTES_MAX, INLINE_BYTES_MAX, subjects};
use sha2::{Digest, Sha256};

use crate::{
    Error,
    broker::{self, Broker, Headers},
};

const HEADER: &str = "Pf-Blob";

/// The payload to send: the body itself, or nothing beside a reference in `headers`.
pub(crate) async fn check_in(
    broker: &dyn Broker,
    body: Bytes,
    headers: &mut Headers,
) -> Result<Bytes, Error> {
    if body.len() <= INLINE_BYTES_MAX {
        return Ok(body);
    }
    if body.len() > BLOB_BYTES_MAX {
        return Err(broker::Error::TooLarge { bytes: body.len(), max: BLOB_BYTES_MAX }.into());
    }
    let digest = hex::encode(Sha256::digest(&body));
    broker.object_put(subjects::BLOBS, &digest, body).await?;
    headers.insert(HEADER.to_owned(), digest);
    Ok(Bytes::new())
}

/// The SHA-256 in hexadecimal of the body that a message's headers refer to.
pub(crate) fn referred_to(headers: &Headers) -> Option<&String> {
    headers.get(HEADER)
}

/// Keeps the body of a message that moves to another stream from being swept on the way.
pub(crate) async fn renew(broker: &dyn Broker, headers: &Headers) -> Result<(), Error> {
    if let Some(digest) = referred_to(headers) {
        // Where it is gone already, whoever reads the message will say so.
        broker.object_touch(subjects::BLOBS, digest).await?;
    }
    Ok(())
}

/// The body of a message that was sent by [`check_in`].
pub(crate) async fn check_out(
    broker: &dyn Broker,
    subject: &str,
    headers: &Headers,
    payload: Bytes,
) -> Result<Bytes, Error> {
    let Some(digest) = headers.get(HEADER) else { return Ok(payload) };
    let broken = |problem| Error::Blob { digest: digest.clone(), subject: subject.to_owned(), problem };
    let body = match broker.object_get(subjects::BLOBS, digest).await {
        Err(broker::Error::Damaged(_)) => return Err(broken("corrupt")),
        body => body?.ok_or_else(|| broken("missing"))?,
    };
    if hex::encode(Sha256::digest(&body)) != *digest {
        return Err(broken("corrupt"));
    }
    Ok(body)
}
