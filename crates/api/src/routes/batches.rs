//! Batches over HTTP.

use std::io;

use axum::{
    Json,
    body::{Body, Bytes},
    extract::{Path, State, rejection::BytesRejection},
    http::{StatusCode, header},
    response::IntoResponse as _,
};
use futures::{FutureExt as _, TryStreamExt as _, future};
use planfleet_bus::batches;
use planfleet_core::{
    document::{rfc3339, usd},
    id::check_name,
    task,
};
use planfleet_runtime::clock;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::io::BufReader;
use tokio_util::io::StreamReader;
use utoipa::IntoParams;

use super::{
    Outcome, Shared,
    query::{Asked, Limit, Nothing},
};
use crate::{
    access::Caller,
    batch::{Desk, Event, Order, order::WINDOW_MAX, results, status, steer},
    problem::Problem,
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
/// when all are in the log; a line that is refused stops no other.
#[utoipa::path(
    post, path = "/v1/batches", operation_id = "submit_batch", tag = "batches", params(Asks),
    request_body(content = String, content_type = "application/jsonl"),
    responses((status = 202, body = BatchAccepted))
)]
pub(super) async fn submit(
    State(service): Shared,
    caller: Caller,
    Asked(asks): Asked<Asks>,
    body: Body,
) -> Outcome {
    let order = order(&caller, asks)?;
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
        let service = &service;
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
    let outcome = crate::batch::submit(&desk, order, input, &service.stop, &mut on).await;
    let outcome = outcome.map_err(|error| match error {
        crate::batch::BatchError::Read(cause) if cause.kind() == io::ErrorKind::FileTooLarge => {
            let detail = format!("{cause}; what came before is submitted: go on under another id");
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "batch_too_large", detail)
        }
        other => other.into(),
    })?;
    if outcome.stopped {
        let detail = "this process stops; post the same lines again under the same id, and they go on";
        return Err(Problem::unavailable("stopping", detail));
    }
    let (submitted, new) = (outcome.progress.submitted, outcome.progress.new);
    let rejected = outcome.progress.rejected;
    let location = [(header::LOCATION, format!("/v1/batches/{id}"))];
    let taken = BatchAccepted { batch_id: id, submitted, new, rejected, rejections };
    Ok((StatusCode::ACCEPTED, location, Json(taken)).into_response())
}

fn order(caller: &Caller, asks: Asks) -> Result<Order, Problem> {
    let Asks { id, name, tenant, budget_usd, budget_tokens } = asks;
    let id = id.unwrap_or_else(|| uuid::Uuid::now_v7().simple().to_string());
    check_name("id", &id).map_err(Problem::query)?;
    let tenant = caller.tenant_for(tenant.as_deref())?.unwrap_or_else(|| "default".to_owned());
    check_name("tenant", &tenant).map_err(Problem::query)?;
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
    let standing = service.answer(status::status(&service.client, &id)).await?;
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
    let lines = documents.map_ok(|document| Bytes::from(document + "\n")).map_err(|error| {
        // The connection is cut, so that nobody takes a part for the whole.
        tracing::warn!(%error, "the results of a batch break off");
        error
    });
    Ok(([(header::CONTENT_TYPE, JSON_LINES)], Body::from_stream(lines)).into_response())
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
    let mut lines = String::new();
    let mut on = |error: Value| lines.push_str(&format!("{error}\n"));
    service.answer(results::errors(&service.client, &id, &mut on)).await?;
    Ok(([(header::CONTENT_TYPE, JSON_LINES)], lines).into_response())
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
