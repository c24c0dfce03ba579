//! Batches over HTTP.

use std::{io, pin::pin};

use axum::{
    Json,
    body::{Body, Bytes},
    extract::{Path, State, rejection::BytesRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use futures::{FutureExt as _, Stream, TryStreamExt as _, future};
use planfleet_bus::batches;
use planfleet_core::{
    document::{rfc3339, usd},
    id::check_name,
    task,
};
use planfleet_runtime::clock;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use tokio::{io::BufReader, time::timeout};
use tokio_util::io::StreamReader;
use utoipa::IntoParams;

use super::{
    Outcome, Shared,
    query::{Asked, Limit, Nothing},
    runs::idempotency_key,
};
use crate::{
    access::Caller,
    batch::{BatchError, Desk, Event, Order, order::WINDOW_MAX, results, status, steer},
    problem::Problem,
    service::Service,
    steer::asked_reason,
    template::library::LibraryError,
    view::{
        Batch, BatchAccepted, BatchCancelled, BatchListed, BatchRetried, Batches, BudgetView, NotRerun,
        RejectedLine, Rerun,
    },
};

/// Bytes of one batch, as elsewhere in the field. They are read as they come.
const BATCH_BYTES_MAX: usize = 200 << 20;

/// Lines of one batch, likewise; all of them may be open at once, so that none waits for
/// the end of another and the answer comes when all are taken.
const LINES_MAX: u64 = 50_000;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Asks {
    /// The batch; posting lines again under its id goes on. One is made up unless said.
    #[param(pattern = "^[A-Za-z0-9_-]{1,64}$")]
    id: Option<String>,
    /// A label `name` of all its runs.
    name: Option<String>,
    #[param(pattern = "^[A-Za-z0-9_-]{1,64}$")]
    tenant: Option<String>,
    /// What all its runs together may spend, in dollars.
    #[param(minimum = 0, maximum = 1_000_000)]
    budget_usd: Option<f64>,
    /// What all its runs together may spend, in tokens.
    budget_tokens: Option<u64>,
}

/// Submit a batch
///
/// One task or request of OpenAI's batch files in each line, at most 50,000 of them. Answered
/// when all are in the log; a line that is refused stops no other. What is not in the log in
/// time is a 503 whose `Location` names the batch: posted again with its `id`, or with the same
/// `Idempotency-Key`, the same lines go on.
#[utoipa::path(
    post, path = "/v1/batches", operation_id = "submit_batch", tag = "batches",
    params(Asks, ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 ASCII characters", pattern = "^[!-~]([ -~]{0,253}[!-~])?$")),
    request_body(content = String, content_type = "application/jsonl"),
    responses((status = 202, body = BatchAccepted))
)]
pub(super) async fn submit(
    State(service): Shared,
    caller: Caller,
    Asked(asks): Asked<Asks>,
    headers: HeaderMap,
    body: Body,
) -> Outcome {
    let order = order(&caller, asks, idempotency_key(&headers)?)?;
    let location = format!("/v1/batches/{}", order.id);
    let submitted = submit_lines(&service, order, body).await;
    let taken = submitted.map_err(|problem| problem.at(location.clone()))?;
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(taken)).into_response())
}

async fn submit_lines(service: &Service, order: Order, body: Body) -> Result<BatchAccepted, Problem> {
    let id = order.id.clone();
    let (mut bytes, mut lines, mut within_line) = (0, 0, false);
    let counted = body.into_data_stream().map_err(io::Error::other).and_then(move |part: Bytes| {
        bytes += part.len();
        for byte in &part {
            lines += u64::from(*byte != b'\n' && !std::mem::replace(&mut within_line, *byte != b'\n'));
            within_line &= *byte != b'\n';
        }
        future::ready(match (bytes > BATCH_BYTES_MAX, lines > LINES_MAX) {
            (false, false) => Ok(part),
            (true, _) => {
                Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("more than {BATCH_BYTES_MAX} bytes")))
            }
            (_, true) => {
                Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("more than {LINES_MAX} lines")))
            }
        })
    });
    let find = |name: String| {
        async move {
            match service.templates.find(&name).await {
                Ok(template) => Ok(Ok(template)),
                Err(LibraryError::Refused(reason)) => Ok(Err(vec![reason])),
                Err(LibraryError::Bus(error)) => Err(error),
            }
        }
        .boxed()
    };
    let desk = Desk { client: &service.client, scope: &service.scope, templates: &find };
    let mut rejections = Vec::new();
    let mut on = |event: Event<'_>| {
        if let (Event::Refused(refused), true) = (event, rejections.len() < batches::REJECTIONS_MAX) {
            rejections.push(RejectedLine {
                line: refused.line,
                custom_id: refused.custom_id.clone(),
                message: refused.message.clone(),
            });
        }
    };
    let input = BufReader::new(StreamReader::new(Box::pin(counted)));
    let stop = service.stop.child_token();
    let outcome = {
        let mut submitting = pin!(crate::batch::submit(&desk, order, input, &stop, &mut on));
        match timeout(service.config.submit_max, &mut submitting).await {
            Ok(outcome) => outcome,
            Err(_) => {
                stop.cancel();
                submitting.await
            }
        }
    };
    let outcome = outcome.map_err(|error| match error {
        BatchError::Read(cause) if cause.kind() == io::ErrorKind::FileTooLarge => {
            let detail = format!("{cause}; what came before is submitted: go on under another id");
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "batch_too_large", detail)
        }
        other => other.into(),
    })?;
    if outcome.stopped {
        let (code, why) = match service.stop.is_cancelled() {
            true => ("stopping", "this process stops"),
            false => ("batch_unfinished", "the fleet, or the sender, was too slow for one request"),
        };
        let detail = format!(
            "{why}; {} lines of batch {id:?} are submitted: post the same lines again with id={id}, and \
             they go on",
            outcome.progress.submitted
        );
        return Err(Problem::unavailable(code, detail));
    }
    let (submitted, new) = (outcome.progress.submitted, outcome.progress.new);
    let rejected = outcome.progress.rejected;
    Ok(BatchAccepted { batch_id: id, submitted, new, rejected, rejections })
}

/// The batch that a key stands for where no id is said: the same for the same tenant and key.
fn id_of(tenant: &str, key: &str) -> String {
    // No tenant's name has a line's end.
    hex::encode(&Sha256::digest(format!("{tenant}\n{key}"))[..16])
}

fn order(caller: &Caller, asks: Asks, key: Option<&str>) -> Result<Order, Problem> {
    let Asks { id, name, tenant, budget_usd, budget_tokens } = asks;
    let tenant = caller.tenant_for(tenant.as_deref())?.unwrap_or_else(|| "default".to_owned());
    check_name("tenant", &tenant).map_err(Problem::query)?;
    let id = id.or_else(|| key.map(|key| id_of(&tenant, key)));
    let id = id.unwrap_or_else(|| uuid::Uuid::now_v7().simple().to_string());
    check_name("id", &id).map_err(Problem::query)?;
    // More is no number of tokens, and no integer to others.
    if budget_tokens.is_some_and(|tokens| i64::try_from(tokens).is_err()) {
        return Err(Problem::query(format!("budget_tokens: more than {}", i64::MAX)));
    }
    let mut budget = Map::new();
    budget.extend(budget_usd.map(|usd| ("usd".to_owned(), json!(usd))));
    budget.extend(budget_tokens.map(|tokens| ("tokens".to_owned(), tokens.into())));
    // The budget and the label are read as a task's would be, which also says what is wrong.
    let labels: Map<String, Value> = name.into_iter().map(|name| ("name".to_owned(), name.into())).collect();
    let read = task::from_value(json!({"goal": "-", "budget": budget, "labels": labels}));
    let task = read.map_err(|faults| {
        Problem::query(faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    })?;
    Ok(Order {
        id,
        tenant,
        budget: task.budget,
        labels: task.labels,
        mode: None,
        window: WINDOW_MAX as usize,
        total: None,
        wait: false,
        documents: false,
        now_ms: clock::unix_ms,
    })
}

/// List batches, the newest first
#[utoipa::path(get, path = "/v1/batches", operation_id = "list_batches", tag = "batches", params(Limit), responses((status = 200, body = Batches)))]
pub(super) async fn list(State(service): Shared, caller: Caller, Asked(limit): Asked<Limit>) -> Outcome {
    let limit = limit.get()?;
    let all = service.answer(service.bus.batches()).await?;
    let own = all.iter().filter(|batch| caller.owns(&batch.tenant)).take(limit);
    Ok(Json(Batches { batches: own.map(listed).collect() }).into_response())
}

fn listed(batch: &batches::Batch) -> BatchListed {
    BatchListed {
        batch_id: batch.id.clone(),
        tenant: batch.tenant.clone(),
        created_at: rfc3339(batch.created_at_ms),
        updated_at: rfc3339(batch.updated_at_ms),
        total: batch.total,
        submitted: batch.submitted,
        rejected: batch.rejected,
        budget: BudgetView { usd: usd(batch.budget.nano_usd), tokens: batch.budget.tokens },
        labels: batch.labels.clone(),
        cancelled: batch.cancelled.clone(),
    }
}

/// How a batch stands
#[utoipa::path(
    get, path = "/v1/batches/{id}", operation_id = "get_batch", tag = "batches", params(("id" = String, Path)),
    responses((status = 200, body = Batch))
)]
pub(super) async fn one(
    State(service): Shared,
    caller: Caller,
    Path(id): Path<String>,
    Asked(Nothing {}): Asked<Nothing>,
) -> Outcome {
    service.batch(&caller, &id).await?;
    let standing = service.answer(status::status(&service.client, &id, &service.tallies)).await?;
    Ok(Json(standing.to_json(clock::unix_ms())).into_response())
}

/// The documents of a batch's ended runs, one in a line
#[utoipa::path(
    get, path = "/v1/batches/{id}/results", operation_id = "list_batch_results", tag = "batches", params(("id" = String, Path)),
    responses((status = 200, body = String, content_type = "application/jsonl"))
)]
pub(super) async fn results(State(service): Shared, caller: Caller, Path(id): Path<String>) -> Outcome {
    service.batch(&caller, &id).await?;
    let documents = service.answer(results::documents(&service.client, &id)).await?;
    Ok(in_lines(documents))
}

/// An answer of one line for each, as it comes.
fn in_lines(texts: impl Stream<Item = Result<String, BatchError>> + Send + 'static) -> Response {
    let lines = texts.map_ok(|text| Bytes::from(text + "\n")).map_err(|error| {
        // The connection is cut, so that nobody takes a part for the whole.
        tracing::warn!(%error, "what has come of a batch breaks off");
        error
    });
    ([(header::CONTENT_TYPE, JSON_LINES)], Body::from_stream(lines)).into_response()
}

const JSON_LINES: &str = "application/jsonl";

/// What went wrong with a batch, one line for each
///
/// Refused lines, then runs that did not succeed and were not tried again.
#[utoipa::path(
    get, path = "/v1/batches/{id}/errors", operation_id = "list_batch_errors", tag = "batches", params(("id" = String, Path)),
    responses((status = 200, body = String, content_type = "application/jsonl"))
)]
pub(super) async fn errors(State(service): Shared, caller: Caller, Path(id): Path<String>) -> Outcome {
    service.batch(&caller, &id).await?;
    let misses = service.answer(results::misses(&service.client, &id, &service.tallies)).await?;
    Ok(in_lines(misses.map_ok(|miss| miss.to_string())))
}

/// Cancel a batch
///
/// Nothing more of it is submitted, and its active runs are asked to end, which takes some
/// seconds.
#[utoipa::path(
    post, path = "/v1/batches/{id}/cancel", operation_id = "cancel_batch", tag = "batches", params(("id" = String, Path)),
    request_body = Option<crate::steer::Asked>, responses((status = 202, body = BatchCancelled))
)]
pub(super) async fn cancel(
    State(service): Shared,
    caller: Caller,
    Path(id): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Outcome {
    let reason = asked_reason(&body?, "cancel_invalid")?;
    service.batch(&caller, &id).await?;
    let cancelled_runs = steer::cancel(&service.client, &id, &reason).await?;
    Ok((StatusCode::ACCEPTED, Json(BatchCancelled { batch_id: id, cancelled_runs })).into_response())
}

/// Run again what did not succeed
#[utoipa::path(
    post, path = "/v1/batches/{id}/retry-failed", operation_id = "retry_batch", tag = "batches", params(("id" = String, Path)),
    request_body = Option<crate::steer::Nothing>, responses((status = 202, body = BatchRetried))
)]
pub(super) async fn retry_failed(
    State(service): Shared,
    caller: Caller,
    Path(id): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Outcome {
    crate::steer::nothing(&body?, "retry_invalid")?;
    service.batch(&caller, &id).await?;
    let retried = steer::retry_failed(&service.client, &id).await?;
    let runs = retried.runs.iter();
    let view = BatchRetried {
        batch_id: id,
        runs: runs.map(|(new, of)| Rerun { run_id: new.to_string(), rerun_of: of.to_string() }).collect(),
        refused: retried
            .refused
            .into_iter()
            .map(|(run, message)| NotRerun { run_id: run.to_string(), message })
            .collect(),
    };
    Ok((StatusCode::ACCEPTED, Json(view)).into_response())
}
