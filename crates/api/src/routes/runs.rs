//! Runs: submitted, listed, counted, looked at.

use std::{collections::BTreeMap, time::Duration};

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State, rejection::BytesRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use planfleet_bus::{
    client::{Found, Key},
    trace,
};
use planfleet_core::{
    id::{RunId, check_name},
    reference,
};
use planfleet_telemetry::names::attribute;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tracing::{Instrument as _, Span};
use utoipa::IntoParams;

use super::{
    Outcome, Shared, parse,
    query::{Asked, Nothing, Wait, limit},
};
use crate::{
    access::Caller,
    index::{Filter, Order, WORDS_MAX, words},
    listing::time,
    looks::Encoded,
    problem::Problem,
    service::Service,
    steer, submission,
    view::{Accepted, ResolvedInput, RunCounts, RunDocument, RunPage, RunState, Step, StepDetail},
};

/// Characters of an idempotency key: room for any scheme, and no place for a payload.
const KEY_CHARS_MAX: usize = 255;

/// How long a step waits for what the log tells of its attempts.
const ATTEMPTS_WAIT: Duration = Duration::from_secs(3);

/// Bytes of one resolved input: the drawer of a page shows no more, and the step that it
/// comes from has all of it.
const INPUT_BYTES_MAX: usize = 64 * 1024;

/// Submit a task
///
/// 202 with the run's id once the task is in the log, or 200 with its document if it ends
/// within `wait`. With `Idempotency-Key`, the same key and task give the same run.
#[utoipa::path(
    post, path = "/v1/runs", operation_id = "submit_run", tag = "runs",
    params(Wait, ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 ASCII characters", pattern = "^[!-~]([ -~]{0,253}[!-~])?$")),
    request_body(content = Object, description = "A task: `goal`, `plan` or `template`, and options"),
    responses((status = 202, body = Accepted), (status = 200, body = RunDocument))
)]
pub(super) async fn submit(
    State(service): Shared,
    caller: Caller,
    Asked(wait): Asked<Wait>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Outcome {
    let within = wait.within()?;
    let key = idempotency_key(&headers)?;
    let mut task = parse(&body?)?;
    let span = root_span(&headers);
    let mut submission = service.freeze_for(&caller, &mut task, &span).await?;
    // Where nothing is exported the caller's span is the one above the run's.
    submission.traceparent = submission.traceparent.or_else(|| traceparent(&headers).map(str::to_owned));
    let key = key.map(|name| Key::of_task(name, &task));
    let run = service.submit(submission, key.as_ref()).instrument(span.clone()).await?;
    span.record(attribute::RUN_ID, run.as_str());
    Ok(accepted(&service, &run, within).await)
}

/// Run again from where a run that did not succeed has ended
///
/// Answered as a submit: it is a new run.
#[utoipa::path(
    post, path = "/v1/runs/{id}/retry", operation_id = "retry_run", tag = "runs",
    params(
        ("id" = String, Path), Wait,
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 ASCII characters", pattern = "^[!-~]([ -~]{0,253}[!-~])?$"),
    ),
    request_body = Option<steer::Nothing>,
    responses((status = 202, body = Accepted), (status = 200, body = RunDocument))
)]
pub(super) async fn retry(
    State(service): Shared,
    caller: Caller,
    Path(id): Path<String>,
    Asked(wait): Asked<Wait>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Outcome {
    let within = wait.within()?;
    let key = idempotency_key(&headers)?;
    let before = service.run_id(&id)?;
    if !caller.is_of_fleet() {
        service.of(&caller, &id).await?;
    }
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
        None => (StatusCode::ACCEPTED, location, Json(Accepted { run_id: run.to_string() })).into_response(),
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

pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
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

/// Which runs.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// States, separated by commas.
    state: Option<String>,
    #[param(pattern = "^[A-Za-z0-9_-]{1,64}$")]
    tenant: Option<String>,
    class: Option<String>,
    batch: Option<String>,
    /// A template's name, with or without its version.
    template: Option<String>,
    /// Labels as `name:value`, separated by commas; runs that have all of them.
    label: Option<String>,
    /// Words, all of which are in the goal, the reason, a name or a label; the last one may be
    /// the beginning of a word.
    q: Option<String>,
    /// Ended at or after: RFC 3339, or a duration before now such as `24h`. Active runs count as now.
    since: Option<String>,
    /// Ended before, likewise.
    until: Option<String>,
    /// `newest` (unless said), `oldest`, `cost` or `duration`. Of no use to counts.
    #[param(pattern = "^(newest|oldest|cost|duration)?$")]
    order: Option<String>,
    /// `next_cursor` of the page before. Of no use to counts.
    cursor: Option<String>,
    /// Runs of one page. Of no use to counts.
    #[param(minimum = 1, maximum = 500, default = 50)]
    limit: Option<usize>,
}

impl Which {
    fn filter(&self, caller: &Caller) -> Result<Filter, Problem> {
        let parts = |list: &Option<String>| -> Vec<String> {
            let list = list.as_deref().unwrap_or_default();
            list.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
        };
        let state = |name: &String| {
            serde_json::from_value::<RunState>(json!(name)).map_err(|_| {
                Problem::query(format!(
                    "state: {name:?} is none; there are planning, awaiting_approval, executing, replanning, \
                     paused, succeeded, failed, cancelled, expired"
                ))
            })
        };
        let label = |written: &String| {
            let pair = written.split_once(':').map(|(name, value)| (name.to_owned(), value.to_owned()));
            pair.ok_or_else(|| Problem::query(format!("label: {written:?} is not name:value")))
        };
        let words = words(self.q.as_deref().unwrap_or_default());
        if words.len() > WORDS_MAX {
            return Err(Problem::query(format!("q: {} words; at most {WORDS_MAX} are taken", words.len())));
        }
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        // An empty tenant is one that nobody has.
        if let Some(tenant) = &self.tenant {
            check_name("tenant", tenant).map_err(Problem::query)?;
        }
        let time =
            |name, written: &Option<String>| given(written).map(|written| time(name, &written)).transpose();
        Ok(Filter {
            tenant: caller.tenant_seen(self.tenant.as_deref())?,
            states: parts(&self.state).iter().map(state).collect::<Result<_, _>>()?,
            class: given(&self.class),
            batch: given(&self.batch),
            template: given(&self.template),
            labels: parts(&self.label).iter().map(label).collect::<Result<BTreeMap<_, _>, _>>()?,
            words,
            since_ms: time("since", &self.since)?,
            until_ms: time("until", &self.until)?,
        })
    }

    fn limit(&self) -> Result<usize, Problem> {
        limit(self.limit.unwrap_or(50))
    }

    fn order(&self) -> Result<Order, Problem> {
        match self.order.as_deref() {
            None | Some("" | "newest") => Ok(Order::Newest),
            Some("oldest") => Ok(Order::Oldest),
            Some("cost") => Ok(Order::Cost),
            Some("duration") => Ok(Order::Duration),
            Some(other) => {
                let detail = format!("order: {other:?} is none; there are newest, oldest, cost, duration");
                Err(Problem::query(detail))
            }
        }
    }
}

/// List runs
///
/// Active ones and those that have ended, without their steps.
#[utoipa::path(get, path = "/v1/runs", operation_id = "list_runs", tag = "runs", params(Which), responses((status = 200, body = RunPage)))]
pub(super) async fn list(State(service): Shared, caller: Caller, Asked(which): Asked<Which>) -> Outcome {
    let (filter, order, limit) = (which.filter(&caller)?, which.order()?, which.limit()?);
    let page = service.listing.page(filter, order, which.cursor.as_deref(), limit).await?;
    Ok(Json(page).into_response())
}

/// Count runs
#[utoipa::path(get, path = "/v1/runs:counts", operation_id = "count_runs", tag = "runs", params(Which), responses((status = 200, body = RunCounts)))]
pub(super) async fn counts(State(service): Shared, caller: Caller, Asked(which): Asked<Which>) -> Outcome {
    // A list's own query will do, as far as it is one.
    let _ = (which.order()?, which.limit()?);
    Ok(Json(service.listing.counts(which.filter(&caller)?).await?).into_response())
}

/// Look at a run
///
/// Its document, as soon as it has ended or the wait is over; an active run's has the steps
/// that have not started too.
#[utoipa::path(
    get, path = "/v1/runs/{id}", operation_id = "get_run", tag = "runs",
    params(
        ("id" = String, Path), Wait,
        ("If-None-Match" = Option<String>, Header, description = "the ETag of what is known already"),
    ),
    responses((status = 200, body = RunDocument), (status = 304))
)]
pub(super) async fn one(
    State(service): Shared,
    caller: Caller,
    Path(id): Path<String>,
    Asked(wait): Asked<Wait>,
    headers: HeaderMap,
) -> Outcome {
    let within = wait.within()?;
    let (run, mut seen) = service.look(&caller, &id).await?;
    if matches!(seen.found, Found::Active(_)) && !within.is_zero() {
        if let Some(ended) = service.wait(&run, within).await? {
            return Ok(tagged(&headers, &Encoded::of(&ended)));
        }
        seen = service.look(&caller, &id).await?.1;
    }
    Ok(tagged(&headers, seen.encoded()))
}

/// An answer with the tag of what is in it, or none where the caller has that.
fn tagged(headers: &HeaderMap, document: &Encoded) -> Response {
    let Encoded { text, tag } = document.clone();
    let known = headers.get(header::IF_NONE_MATCH).and_then(|known| known.to_str().ok()).unwrap_or_default();
    let is_known = known.split(',').any(|known| {
        let known = known.trim().trim_start_matches("W/");
        known == "*" || known == tag
    });
    if is_known {
        return (StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response();
    }
    ([(header::CONTENT_TYPE, "application/json".to_owned()), (header::ETAG, tag)], text).into_response()
}

/// Look at a step of a run
///
/// `3`, or `3[0]` for an item of a `for_each`.
#[utoipa::path(
    get, path = "/v1/runs/{id}/steps/{step}", operation_id = "get_step", tag = "runs",
    params(("id" = String, Path), ("step" = String, Path)),
    responses((status = 200, body = StepDetail))
)]
pub(super) async fn step(
    State(service): Shared,
    caller: Caller,
    Path((id, step)): Path<(String, String)>,
    Asked(Nothing {}): Asked<Nothing>,
) -> Outcome {
    let (run, seen) = service.look(&caller, &id).await?;
    let document = seen.document();
    let steps = document["steps"].as_array().cloned().unwrap_or_default();
    let unknown = || Problem::unknown("step", "step_unknown", &step);
    let found = steps.iter().find(|entry| name(entry) == step).ok_or_else(unknown)?;
    // An item is planned as its step.
    let planned_as = step.split('[').next().unwrap_or_default();
    let planned = steps.iter().find(|entry| name(entry) == planned_as).unwrap_or(found);
    let resolved = resolved(document, &steps, planned);
    let feed = service.feeds.of(&caller, &run, document)?;
    let (attempts, trace_id) = feed.attempts(ATTEMPTS_WAIT).await;
    let own = attempts.iter().filter(|attempt| attempt.step.to_string() == step);
    let detail = StepDetail {
        attempts_made: own.map(crate::events::AttemptOf::view).collect(),
        step: serde_json::from_value::<Step>(found.clone()).map_err(|error| Problem::internal(&error))?,
        run_id: run.to_string(),
        resolved,
        trace_url: trace_url(&service.config.trace_url, trace_id.as_deref()),
        trace_id,
    };
    Ok(Json(detail).into_response())
}

/// The page of a trace. An id comes from whoever submits, and is hexadecimal or nothing.
fn trace_url(page: &str, trace_id: Option<&str>) -> Option<String> {
    let id = trace_id.filter(|id| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    (!page.is_empty()).then(|| page.replace("{trace_id}", id))
}

/// A step as its document names it: a number, or a text for an item.
fn name(entry: &Value) -> String {
    match &entry["id"] {
        Value::String(item) => item.clone(),
        number => number.to_string(),
    }
}

/// The inputs of a step with their values, as far as these are known.
fn resolved(document: &Value, steps: &[Value], planned: &Value) -> Vec<ResolvedInput> {
    let none = Map::new();
    let inputs = document["inputs"].as_object().unwrap_or(&none);
    let list = planned["inputs"].as_array().into_iter().flatten();
    let value_of = |input: &Value| -> Option<Value> {
        let Some(from) = input["from_step"].as_u64() else { return Some(input["value"].clone()) };
        let path = input["path"].as_str().unwrap_or_default();
        if from == 0 {
            return reference::resolve_input(inputs, path).ok().cloned();
        }
        let output = steps.iter().find(|entry| entry["id"] == from).map(|entry| &entry["output"])?;
        let number = u32::try_from(from).unwrap_or(u32::MAX);
        reference::resolve(number, output, path).ok().filter(|_| !output.is_null()).cloned()
    };
    list.map(|input| {
        let value = value_of(input);
        ResolvedInput {
            name: input["name"].as_str().unwrap_or_default().to_owned(),
            from_step: input["from_step"].as_u64().and_then(|step| u32::try_from(step).ok()),
            path: input["path"].as_str().map(str::to_owned),
            known: value.is_some(),
            value: cut(value.unwrap_or_default()),
        }
    })
    .collect()
}

/// A value that is not too long; else the beginning of it as text, which says so.
fn cut(value: Value) -> Value {
    let text = match &value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    if text.len() <= INPUT_BYTES_MAX {
        return value;
    }
    planfleet_core::failure::trim_chars(&text, INPUT_BYTES_MAX / 4).into()
}

#[cfg(test)]
mod tests {
    use super::trace_url;

    #[test]
    fn a_trace_is_linked_by_its_id_and_by_nothing_else() {
        let (page, id) = ("https://traces.test/{trace_id}?tab=1", "0af7651916cd43dd8448eb211c80319c");
        let link = trace_url(page, Some(id));
        assert_eq!(link.as_deref(), Some("https://traces.test/0af7651916cd43dd8448eb211c80319c?tab=1"));
        assert_eq!(
            [trace_url("", Some(id)), trace_url(page, None), trace_url(page, Some("../x"))],
            [None, None, None]
        );
    }
}
