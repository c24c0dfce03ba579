//! Requests to the JetStream API, what its errors become, and header conversion.

use async_nats::{
    HeaderMap, HeaderName, HeaderValue,
    jetstream::{self, ErrorCode, context::RequestErrorKind, response::Response},
};
use serde::{Serialize, de::DeserializeOwned};

use super::connection::Link;
use crate::broker::{Error, Headers};

/// Asks the JetStream API. The server's own refusals are left to the caller, who
/// knows which of them mean something.
pub(super) async fn ask<T: DeserializeOwned>(
    link: &Link,
    what: &str,
    subject: String,
    body: &(impl Serialize + Sync),
) -> Result<Result<T, jetstream::Error>, Error> {
    let answer = link.limited(what, link.jetstream.request(subject, body)).await?;
    match answer {
        Ok(Response::Ok(value)) => Ok(Ok(value)),
        Ok(Response::Err { error }) => Ok(Err(error)),
        Err(error) => match error.kind() {
            // "No responders" is what an election looks like from outside.
            RequestErrorKind::NoResponders | RequestErrorKind::TimedOut => {
                Err(Error::Unreachable(format!("{what}: {error}")))
            }
            _ => Err(refused(what, &error)),
        },
    }
}

/// Asks the JetStream API where every refusal is an error; `asset` is what a "not
/// found" is about.
pub(super) async fn demand<T: DeserializeOwned>(
    link: &Link,
    what: &str,
    asset: &str,
    subject: String,
    body: &(impl Serialize + Sync),
) -> Result<T, Error> {
    ask(link, what, subject, body).await?.map_err(|error| refusal(what, asset, &error))
}

/// What a refusal by JetStream means to callers.
pub(super) fn refusal(what: &str, asset: &str, error: &jetstream::Error) -> Error {
    match error.error_code() {
        ErrorCode::STREAM_NOT_FOUND | ErrorCode::CONSUMER_NOT_FOUND => Error::Missing(asset.to_owned()),
        _ if passes(error) => Error::Unreachable(format!("{what}: {error}")),
        _ => refused(what, error),
    }
}

/// Whether the server itself expects that the same request succeeds later.
pub(super) fn passes(error: &jetstream::Error) -> bool {
    error.code() == 503
        || matches!(
            error.error_code(),
            ErrorCode::CLUSTER_NOT_AVAILABLE
                | ErrorCode::CLUSTER_NOT_LEADER
                // A copy has no place for as long as one of the servers is away.
                | ErrorCode::CLUSTER_NO_PEERS
                | ErrorCode::STREAM_OFFLINE
                | ErrorCode::STREAM_DUPLICATE_MESSAGE_CONFLICT
                | ErrorCode::STREAM_EXPECTED_LAST_SEQ_PER_SUBJECT_NOT_READY
                | ErrorCode::STREAM_TOO_MANY_REQUESTS
        )
}

/// A refusal for good, in the words of `reason`.
pub(super) fn refused(what: &str, reason: &(impl ToString + ?Sized)) -> Error {
    Error::Refused { what: what.to_owned(), reason: reason.to_string() }
}

/// The JetStream refusal inside an error of the client, if there is one.
pub(super) fn jetstream_error<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> Option<&'a jetstream::Error> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

/// Headers for the wire; a name or value that the protocol cannot carry is refused.
pub(super) fn to_wire(headers: &Headers) -> Result<HeaderMap, Error> {
    let mut wire = HeaderMap::new();
    for (name, value) in headers {
        let what = format!("header {name}");
        let name: HeaderName = name.parse().map_err(|error| refused(&what, &error))?;
        let value: HeaderValue = value.parse().map_err(|error| refused(&what, &error))?;
        wire.insert(name, value);
    }
    Ok(wire)
}

/// Headers from the wire; of a repeated one the last counts.
pub(super) fn from_wire(wire: Option<HeaderMap>) -> Headers {
    let Some(wire) = wire else {
        return Headers::new();
    };
    wire.iter().filter_map(|(name, values)| Some((name.to_string(), values.last()?.to_string()))).collect()
}
