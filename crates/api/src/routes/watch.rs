//! What happens to a run, as a stream of events or as a list.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Json,
    body::{Body, Bytes},
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::IntoResponse as _,
};
use futures::{Stream, StreamExt as _, stream};
use tokio::{
    sync::{OwnedSemaphorePermit, broadcast::error::RecvError},
    time::timeout,
};

use super::{
    Outcome, Shared,
    query::{Asked, Nothing},
};
use crate::{
    access::{Caller, Share},
    events::{Feed, Watcher, text},
    problem::Problem,
    view::Events,
};

/// Silence that proxies and browsers take for a lost connection is longer than this.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Milliseconds after which a browser comes back.
const RETRY: Duration = Duration::from_secs(1);

/// Events of the past that go out in one piece: some hundred kilobytes.
const PAST_AT_ONCE: usize = 1_000;

/// How long a list waits for the log to be read.
const HISTORY_WAIT: Duration = Duration::from_secs(8);

/// Watch a run
///
/// With `Accept: text/event-stream`, server-sent events: what the log tells has its position
/// as `id`, so that `Last-Event-ID` goes on from there. The stream ends after `RunFinished`,
/// and with an event `resume` where the reader is too slow: come back with the last id. Else
/// the events so far, as a list.
#[utoipa::path(
    get, path = "/v1/runs/{id}/events", operation_id = "watch_run", tag = "runs",
    params(
        ("id" = String, Path),
        ("Last-Event-ID" = Option<u64>, Header, description = "the position of the last event that was seen"),
    ),
    responses((status = 200, content((Events = "application/json"), (String = "text/event-stream"))))
)]
pub(super) async fn events(
    State(service): Shared,
    caller: Caller,
    Path(id): Path<String>,
    Asked(Nothing {}): Asked<Nothing>,
    headers: HeaderMap,
) -> Outcome {
    let after = last_seen(&headers)?;
    let (run, seen) = service.look(&caller, &id).await?;
    let document = seen.document();
    let accepts = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if !accepts.contains("text/event-stream") {
        let feed = service.feeds.of(&caller, &run, document)?;
        let (mut events, incomplete) = feed.history(HISTORY_WAIT).await;
        events.retain(|event| event.seq.is_none_or(|seq| seq > after));
        return Ok(Json(Events { events, incomplete }).into_response());
    }
    let Ok(seat) = Arc::clone(&service.watchers).try_acquire_owned() else {
        return Err(Problem::unavailable("watchers_too_many", "too many streams are open at once"));
    };
    let seat = (seat, service.watcher_shares.take(&caller)?);
    let (feed, watcher) = service.feeds.watch(&caller, &run, document, after)?;
    let told = told(feed, watcher, after, seat).take_until(service.stop.clone().cancelled_owned());
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, Body::from_stream(told.map(Ok::<_, Infallible>))).into_response())
}

fn last_seen(headers: &HeaderMap) -> Result<u64, Problem> {
    let Some(written) = headers.get("last-event-id") else { return Ok(0) };
    let position = written.to_str().ok().and_then(|text| text.trim().parse().ok());
    position.ok_or_else(|| {
        let detail = "Last-Event-ID: give the id of an event, a number";
        Problem::new(StatusCode::BAD_REQUEST, "last_event_id_invalid", detail)
    })
}

/// What a watcher reads: what has happened behind a position, then what happens.
fn told(
    feed: Arc<Feed>,
    watcher: Watcher,
    after: u64,
    seat: (OwnedSemaphorePermit, Share),
) -> impl Stream<Item = Bytes> {
    let past: Vec<Bytes> = watcher.past.chunks(PAST_AT_ONCE).map(|said| text(said, after)).collect();
    let begin = stream::once(async { Bytes::from(format!(": planfleet\nretry: {}\n\n", RETRY.as_millis())) });
    let next = (!watcher.ended).then_some((watcher.next, feed, seat));
    let next = stream::unfold(next, move |state| async move {
        let (mut next, feed, seat) = state?;
        loop {
            let text = match timeout(HEARTBEAT, next.recv()).await {
                Ok(Ok(chunk)) if chunk.is_last() => return Some((chunk.text(after), None)),
                // A feed that has just been opened tells all that is in the log.
                Ok(Ok(chunk)) => chunk.text(after),
                Ok(Err(RecvError::Lagged(_) | RecvError::Closed)) => {
                    let resume = "event: resume\ndata: come back with Last-Event-ID\n\n";
                    return Some((Bytes::from_static(resume.as_bytes()), None));
                }
                Err(_) => Bytes::from_static(b":\n\n"),
            };
            if !text.is_empty() {
                return Some((text, Some((next, feed, seat))));
            }
        }
    });
    begin.chain(stream::iter(past)).chain(next)
}
