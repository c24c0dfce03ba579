//! What can be asked over HTTP.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{
        DefaultBodyLimit, Path, Query, State,
        rejection::{BytesRejection, QueryRejection},
    },
    http::{HeaderMap, StatusCode, header},
    middleware,
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use planfleet_bus::{
    client::{Found, Key},
    trace,
};
use planfleet_core::{id::RunId, json};
use planfleet_telemetry::names::attribute;
use serde::Deserialize;
use serde_json::{Value, json};
use tracing::{Instrument as _, Span};

use crate::{
    gate,
    problem::Problem,
    service::{Service, WAIT_S_MAX},
    steer, submission,
};

/// Runs that one list holds at most: each is a document with its answer.
const LIST_MAX: usize = 500;

/// Characters of an idempotency key: room for any scheme, and no place for a payload.
const KEY_CHARS_MAX: usize = 255;

pub(crate) type Shared = State<Arc<Service>>;
pub(crate) type Outcome = Result<Response, Problem>;

pub(crate) fn router(service: Arc<Service>) -> Router {
    Router::new()
        .route("/v1/runs", post(submit).get(list))
        .route("/v1/runs/{id}", get(one))
        .route("/v1/runs/{id}/cancel", post(steer::cancel))
        .route("/v1/runs/{id}/pause", post(steer::pause))
        .route("/v1/runs/{id}/resume", post(steer::resume))
        .route("/v1/runs/{id}/approve", post(steer::approve))
        .route("/v1/runs/{id}/reject", post(steer::reject))
        .route("/v1/runs/{id}/retry", post(retry))
        .fallback(async || {
            Problem::new(StatusCode::NOT_FOUND, "not_found", "there is nothing here; see /v1/runs")
        })
        .method_not_allowed_fallback(async || {
            Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "the Allow header says what is",
            )
        })
        .layer(DefaultBodyLimit::max(service.config.task_bytes_max))
        .layer(middleware::from_fn_with_state(service.clone(), gate::bounded))
        .layer(middleware::from_fn(gate::local))
        .with_state(service)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wait {
    #[serde(default)]
    wait: u64,
}

impl Wait {
    fn within(query: Result<Query<Self>, QueryRejection>) -> Result<Duration, Problem> {
        let Query(Self { wait }) = query?;
        if wait > WAIT_S_MAX {
            return Err(Problem::query(format!("wait: {wait} is not from 0 to {WAIT_S_MAX} seconds")));
        }
        Ok(Duration::from_secs(wait))
    }
}

/// 202 with the run's id, or 200 with its document if it ends in time.
async fn submit(
    State(service): Shared,
    query: Result<Query<Wait>, QueryRejection>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Outcome {
    let within = Wait::within(query)?;
    let key = idempotency_key(&headers)?;
    let task = parse(&body?)?;
    let key = key.map(|name| Key::of_task(name, &task));
    let span = root_span(&headers);
    let mut submission = service.freeze(task, &span).await?;
    // Where nothing is exported the caller's span is the one above the run's.
    submission.traceparent = submission.traceparent.or_else(|| traceparent(&headers).map(str::to_owned));
    let run = service.submit(submission, key.as_ref()).instrument(span.clone()).await?;
    span.record(attribute::RUN_ID, run.as_str());
    Ok(accepted(&service, &run, within).await)
}

/// A new run that goes on from where one that did not succeed has ended; answered likewise.
async fn retry(
    State(service): Shared,
    Path(id): Path<String>,
    query: Result<Query<Wait>, QueryRejection>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Outcome {
    let within = Wait::within(query)?;
    let key = idempotency_key(&headers)?;
    let before = service.run_id(&id)?;
    steer::nothing(&body?, "retry_invalid")?;
    let span = root_span(&headers);
    let run = service.rerun(&before, key).instrument(span.clone()).await?;
    span.record(attribute::RUN_ID, run.as_str());
    Ok(accepted(&service, &run, within).await)
}

/// The run is there: trouble with waiting for it is no reason to say otherwise.
async fn accepted(service: &Service, run: &RunId, within: Duration) -> Response {
    let ended = service.wait(run, within).await.unwrap_or_default();
    let location = [(header::LOCATION, format!("/v1/runs/{run}"))];
    match ended {
        Some(document) => (StatusCode::OK, location, Json(document)).into_response(),
        None => (StatusCode::ACCEPTED, location, Json(json!({"run_id": run}))).into_response(),
    }
}

/// The span above a run's, below the caller's own where it sends one.
fn root_span(headers: &HeaderMap) -> Span {
    let span = submission::span("server");
    trace::set_parent(&span, traceparent(headers));
    span
}

fn traceparent(headers: &HeaderMap) -> Option<&str> {
    headers.get("traceparent").and_then(|parent| parent.to_str().ok())
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut keys = headers.get_all("idempotency-key").iter();
    let Some(key) = keys.next() else { return Ok(None) };
    let text = key.to_str().ok().filter(|text| (1..=KEY_CHARS_MAX).contains(&text.len()));
    match (text, keys.next()) {
        (Some(text), None) => Ok(Some(text)),
        _ => {
            let detail = format!("Idempotency-Key: give one key of 1 to {KEY_CHARS_MAX} ASCII characters");
            Err(Problem::new(StatusCode::BAD_REQUEST, "idempotency_key_invalid", detail))
        }
    }
}

/// A body as JSON, without keys that are there twice.
pub(crate) fn parse(body: &[u8]) -> Result<Value, Problem> {
    let text = std::str::from_utf8(body).map_err(Problem::json)?;
    json::parse_strict(text).map_err(Problem::json)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Limit {
    #[serde(default = "Limit::usual")]
    limit: usize,
}

impl Limit {
    const fn usual() -> usize {
        50
    }
}

/// Active runs and the newest ended ones, without their steps.
async fn list(State(service): Shared, query: Result<Query<Limit>, QueryRejection>) -> Outcome {
    let Query(Limit { limit }) = query?;
    if !(1..=LIST_MAX).contains(&limit) {
        return Err(Problem::query(format!("limit: {limit} is not from 1 to {LIST_MAX}")));
    }
    Ok(Json(json!({"runs": service.list(limit).await?})).into_response())
}

/// A run's document, as soon as it has ended or the wait is over.
async fn one(
    State(service): Shared,
    Path(id): Path<String>,
    query: Result<Query<Wait>, QueryRejection>,
) -> Outcome {
    let within = Wait::within(query)?;
    let run = service.run_id(&id)?;
    let document = match service.find(&run).await? {
        Found::Active(_) if !within.is_zero() => match service.wait(&run, within).await? {
            Some(ended) => ended,
            None => known(&run, service.find(&run).await?)?,
        },
        found => known(&run, found)?,
    };
    Ok(Json(document).into_response())
}

fn known(run: &RunId, found: Found) -> Result<Value, Problem> {
    match found {
        Found::Active(document) | Found::Ended(document) => Ok(document),
        Found::Unknown => Err(Problem::unknown_run(run.as_str())),
    }
}
