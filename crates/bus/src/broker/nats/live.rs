//! Core publish-subscribe: nothing stored, nothing repeated.

use std::time::Duration;

use async_nats::{Message, PublishError, PublishErrorKind, Request, RequestErrorKind, StatusCode};
use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use tokio::time::{Instant, timeout_at};

use super::{
    api::{from_wire, refused, to_wire},
    connection::Link,
    publish::too_large,
};
use crate::broker::{Error, Headers, LiveMessage};

/// Answers gathered for one question: more services than a fleet has, so that a
/// stray echo cannot fill the memory.
const ANSWERS_MAX: usize = 4096;

/// Sends to whoever listens.
pub(super) async fn publish(
    link: &Link,
    subject: String,
    headers: &Headers,
    payload: Bytes,
) -> Result<(), Error> {
    let bytes = payload.len();
    let what = subject.clone();
    let sending = link.client.publish_with_headers(subject, to_wire(headers)?, payload);
    link.limited(&what, sending).await?.map_err(|error| not_sent(link, &what, bytes, &error))
}

/// Listens. When this returns the server knows of it, so that nothing published
/// afterwards by anybody is missed.
pub(super) async fn subscribe(link: &Link, subject: &str) -> Result<BoxStream<'static, LiveMessage>, Error> {
    let subscriber = link
        .limited(subject, link.client.subscribe(subject.to_owned()))
        .await?
        .map_err(|error| refused(subject, &error))?;
    link.round_trip().await?;
    Ok(subscriber.map(live_message).boxed())
}

/// Asks, and waits for one answer.
pub(super) async fn request(
    link: &Link,
    subject: String,
    payload: Bytes,
    timeout: Duration,
) -> Result<Bytes, Error> {
    let bytes = payload.len();
    // Without a connection it would be sent later; and the client's own limit begins
    // only when its queue of commands has room.
    link.check_up(&subject)?;
    let request = Request::new().payload(payload).timeout(Some(timeout));
    let asked = tokio::time::timeout(timeout, link.client.send_request(subject.clone(), request)).await;
    let Ok(asked) = asked else {
        return Err(Error::Unreachable(format!("{subject}: no answer within {timeout:?}")));
    };
    match asked {
        Ok(answer) => Ok(answer.payload),
        Err(error) => Err(match error.kind() {
            RequestErrorKind::NoResponders => Error::NoResponder(subject),
            RequestErrorKind::MaxPayloadExceeded => too_large(link, bytes),
            RequestErrorKind::InvalidSubject => refused(&subject, &error),
            RequestErrorKind::TimedOut => {
                Error::Unreachable(format!("{subject}: no answer within {timeout:?}"))
            }
            RequestErrorKind::Other => Error::Unreachable(format!("{subject}: {error}")),
        }),
    }
}

/// Asks everybody, and gathers what comes until `window` is over. Nobody listening
/// is no error: there are no answers, at once.
pub(super) async fn request_all(
    link: &Link,
    subject: String,
    payload: Bytes,
    window: Duration,
) -> Result<Vec<Bytes>, Error> {
    link.check_up(&subject)?;
    let until = Instant::now() + window;
    let bytes = payload.len();
    let inbox = link.client.new_inbox();
    let mut answers = link
        .limited(&subject, link.client.subscribe(inbox.clone()))
        .await?
        .map_err(|error| refused(&subject, &error))?;
    let asking = link.client.publish_with_reply(subject.clone(), inbox, payload);
    link.limited(&subject, asking).await?.map_err(|error| not_sent(link, &subject, bytes, &error))?;
    let mut gathered = Vec::new();
    while gathered.len() < ANSWERS_MAX {
        match timeout_at(until, answers.next()).await {
            Ok(Some(answer)) if answer.status == Some(StatusCode::NO_RESPONDERS) => break,
            Ok(Some(answer)) => gathered.push(answer.payload),
            Ok(None) | Err(_) => break,
        }
    }
    Ok(gathered)
}

fn live_message(message: Message) -> LiveMessage {
    LiveMessage {
        subject: message.subject.into_string(),
        reply: message.reply.map(async_nats::Subject::into_string),
        headers: from_wire(message.headers),
        payload: message.payload,
    }
}

fn not_sent(link: &Link, subject: &str, bytes: usize, error: &PublishError) -> Error {
    match error.kind() {
        PublishErrorKind::MaxPayloadExceeded => too_large(link, bytes),
        PublishErrorKind::InvalidSubject => refused(subject, error),
        PublishErrorKind::Send => Error::Unreachable(format!("{subject}: {error}")),
    }
}
