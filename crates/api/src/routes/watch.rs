//! What happens to a run, as a stream of events or as a list.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{
        IntoResponse as _,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures::{Stream, StreamExt as _, stream};
use planfleet_bus::live::RUN_FINISHED;
use tokio::sync::{OwnedSemaphorePermit, broadcast::error::RecvError};

use super::{
    Outcome, Shared,
    query::{Asked, Nothing},
};
use crate::{
    access::{Caller, Share},
    events::{Feed, Said, Watcher},
    problem::Problem,
    view::Events,
};

/// Silence that proxies and browsers take for a lost connection is longer than this.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Milliseconds after which a browser comes back.
const RETRY: Duration = Duration::from_secs(1);

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
    let (run, document) = service.document(&caller, &id).await?;
    let accepts = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if !accepts.contains("text/event-stream") {
        let feed = service.feeds.of(&caller, &run, &document)?;
        let (mut events, incomplete) = feed.history(HISTORY_WAIT).await;
        events.retain(|event| event.seq.is_none_or(|seq| seq > after));
        return Ok(Json(Events { events, incomplete }).into_response());
    }
    let Ok(seat) = Arc::clone(&service.watchers).try_acquire_owned() else {
        return Err(Problem::unavailable("watchers_too_many", "too many streams are open at once"));
    };
    let seat = (seat, service.watcher_shares.take(&caller)?);
    let (feed, watcher) = service.feeds.watch(&caller, &run, &document, after)?;
    let told = told(feed, watcher, after, seat).take_until(service.stop.clone().cancelled_owned());
    let stream = Sse::new(told).keep_alive(KeepAlive::new().interval(HEARTBEAT));
    let headers =
        [(header::CACHE_CONTROL, "no-store"), (header::HeaderName::from_static("x-accel-buffering"), "no")];
    Ok((headers, stream).into_response())
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
) -> impl Stream<Item = Result<Event, Infallible>> {
    let past = stream::iter(watcher.past).map(|said| event(&said));
    let begin = stream::once(async { Event::default().retry(RETRY).comment("planfleet") });
    let next = (!watcher.ended).then_some((watcher.next, feed, seat));
    let next = stream::unfold(next, move |state| async move {
        let (mut next, feed, seat) = state?;
        loop {
            match next.recv().await {
                // A feed that has just been opened tells all that is in the log.
                Ok(said) if said.event.seq.is_some_and(|seq| seq <= after) => {}
                Ok(said) => {
                    let over = said.event.kind == RUN_FINISHED;
                    return Some((event(&said), (!over).then_some((next, feed, seat))));
                }
                Err(RecvError::Lagged(_) | RecvError::Closed) => {
                    let resume = Event::default().event("resume").data("come back with Last-Event-ID");
                    return Some((resume, None));
                }
            }
        }
    });
    begin.chain(past).chain(next).map(Ok)
}

fn event(said: &Said) -> Event {
    let event = Event::default().data(&said.json);
    match said.event.seq {
        Some(seq) => event.id(seq.to_string()),
        None => event,
    }
}
