//! What is asked of a run that goes on: to end, to hold, to go on, and what a
//! person says to what waits. Each is a record in its log; the run decides.

use std::sync::Arc;

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State, rejection::BytesRejection},
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use planfleet_bus::client::Found;
use planfleet_core::{
    id::RunId,
    record::{ApprovalDecided, Gate},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::{
    access::Caller,
    approval,
    problem::Problem,
    reason::{self, Empty},
    routes::{Outcome, Shared, parse},
    service::Service,
    view::{Accepted, Decided},
};

/// The reason of a request that gives none.
pub(crate) const REASON: &str = "asked for over HTTP";

type Body = Result<Bytes, BytesRejection>;

/// Ask for a run to end
///
/// 202: what was asked for is in the run's log.
#[utoipa::path(
    post, path = "/v1/runs/{id}/cancel", operation_id = "cancel_run", tag = "runs", params(("id" = String, Path)),
    request_body = Option<Asked>, responses((status = 202, body = Accepted))
)]
pub(crate) async fn cancel(
    State(service): Shared,
    caller: Caller,
    Path(id): Path<String>,
    body: Body,
) -> Outcome {
    let reason = asked_reason(&body?, "cancel_invalid")?;
    let run = takes_records(&service, &caller, &id).await?;
    service.cancel(&run, &reason).await?;
    Ok(accepted(&run))
}

/// Ask for a run to start nothing new
#[utoipa::path(
    post, path = "/v1/runs/{id}/pause", operation_id = "pause_run", tag = "runs", params(("id" = String, Path)),
    request_body = Option<Asked>, responses((status = 202, body = Accepted))
)]
pub(crate) async fn pause(
    State(service): Shared,
    caller: Caller,
    Path(id): Path<String>,
    body: Body,
) -> Outcome {
    let reason = asked_reason(&body?, "pause_invalid")?;
    let run = takes_records(&service, &caller, &id).await?;
    service.pause(&run, &reason).await?;
    Ok(accepted(&run))
}

/// Ask for a paused run to go on
#[utoipa::path(
    post, path = "/v1/runs/{id}/resume", operation_id = "resume_run", tag = "runs", params(("id" = String, Path)),
    request_body = Option<Nothing>, responses((status = 202, body = Accepted))
)]
pub(crate) async fn resume(
    State(service): Shared,
    caller: Caller,
    Path(id): Path<String>,
    body: Body,
) -> Outcome {
    nothing(&body?, "resume_invalid")?;
    let run = takes_records(&service, &caller, &id).await?;
    service.resume(&run).await?;
    Ok(accepted(&run))
}

/// Say yes to what waits for approval
///
/// Without a gate, to everything that waits.
#[utoipa::path(
    post, path = "/v1/runs/{id}/approve", operation_id = "approve_run", tag = "runs", params(("id" = String, Path)),
    request_body = Option<WrittenDecision>, responses((status = 202, body = Decided))
)]
pub(crate) async fn approve(
    State(service): Shared,
    caller: Caller,
    Path(id): Path<String>,
    body: Body,
) -> Outcome {
    let decision = Decision::read(&body?, Empty::Means(""))?;
    decide(&service, &caller, &id, true, decision).await
}

/// Say no to what waits for approval, and why
#[utoipa::path(
    post, path = "/v1/runs/{id}/reject", operation_id = "reject_run", tag = "runs", params(("id" = String, Path)),
    request_body = WrittenDecision, responses((status = 202, body = Decided))
)]
pub(crate) async fn reject(
    State(service): Shared,
    caller: Caller,
    Path(id): Path<String>,
    body: Body,
) -> Outcome {
    let decision = Decision::read(&body?, Empty::Refused)?;
    decide(&service, &caller, &id, false, decision).await
}

async fn decide(
    service: &Arc<Service>,
    caller: &Caller,
    id: &str,
    approved: bool,
    decision: Decision,
) -> Outcome {
    let (run, found) = service.of(caller, id).await?;
    let document = going_on(&run, found)?;
    let gates = approval::gates(&document, &decision.gates)
        .map_err(|error| Problem::new(StatusCode::CONFLICT, "not_awaiting_approval", error))?;
    let decided = ApprovalDecided { gates: gates.clone(), approved, reason: decision.reason.clone() };
    service.decide(&run, decided).await?;
    let decided = gates.iter().map(|gate| json!(gate)).collect();
    let decided = Decided { run_id: run.to_string(), decided };
    Ok((StatusCode::ACCEPTED, Json(decided)).into_response())
}

/// 202: what was asked for is in the run's log.
fn accepted(run: &RunId) -> Response {
    (StatusCode::ACCEPTED, Json(Accepted { run_id: run.to_string() })).into_response()
}

/// A run that is there to be asked. Where nobody can say just now, the log takes it all the
/// same, for the next owner to read, from whoever need not ask whose run it is.
async fn takes_records(service: &Service, caller: &Caller, id: &str) -> Result<RunId, Problem> {
    let run = service.run_id(id)?;
    match service.of(caller, id).await {
        Ok((_, found)) => going_on(&run, found).map(|_| run),
        Err(problem) if caller.is_of_fleet() && problem.is_passing() => Ok(run),
        Err(problem) => Err(problem),
    }
}

fn going_on(run: &RunId, found: Found) -> Result<Value, Problem> {
    match found {
        Found::Active(document) => Ok(document),
        Found::Ended(document) => {
            let state = document["state"].as_str().unwrap_or("?");
            let detail = format!("run {run} has ended already: {state}");
            Err(Problem::new(StatusCode::CONFLICT, "run_ended", detail))
        }
        Found::Unknown => Err(Problem::unknown_run(run.as_str())),
    }
}

/// Why something is asked for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    /// In a line; at most 1,000 characters.
    #[schema(max_length = 1_000)]
    reason: Option<String>,
}

/// The reason that a body gives, or that of a request that gives none.
pub(crate) fn asked_reason(body: &[u8], code: &'static str) -> Result<String, Problem> {
    let asked: Option<Asked> = read(body, code, "{\"reason\": \"not needed\"}")?;
    let written = asked.and_then(|asked| asked.reason).unwrap_or_default();
    reason::read(&written, Empty::Means(REASON)).map_err(|error| invalid(code, error))
}

/// There is nothing to say.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}

/// The body of a request that has nothing to say.
pub(crate) fn nothing(body: &[u8], code: &'static str) -> Result<(), Problem> {
    read::<Nothing>(body, code, "no body, or {}").map(|_| ())
}

/// The code of a decision that cannot be understood.
const DECISION: &str = "approval_invalid";

/// What a decision may look like.
const DECISIONS: &str =
    "{\"gate\": \"plan\", \"revision\": 2} or {\"gate\": \"step\", \"step\": 3}, each with a \"reason\"";

/// What a person decides about: a revision of the plan, a step, or all that waits.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WrittenDecision {
    /// `plan` or `step`.
    gate: Option<String>,
    /// The number of the plan's revision.
    revision: Option<u32>,
    /// The step.
    step: Option<u32>,
    /// In a line; at most 1,000 characters. A rejection needs one.
    #[schema(max_length = 1_000)]
    reason: Option<String>,
}

/// What a person has decided about; no gates means everything that waits.
#[derive(Debug)]
struct Decision {
    gates: Vec<Gate>,
    reason: String,
}

impl Decision {
    fn read(body: &[u8], empty: Empty<'_>) -> Result<Self, Problem> {
        let WrittenDecision { gate, revision, step, reason } =
            read(body, DECISION, DECISIONS)?.unwrap_or_default();
        let gates = match (gate.as_deref(), revision, step) {
            (None, None, None) => Vec::new(),
            (Some("plan"), Some(revision), None) => vec![Gate::Plan { revision }],
            (Some("step"), None, Some(step)) => vec![Gate::Step { step }],
            _ => return Err(invalid(DECISION, format!("gate: expected {DECISIONS}"))),
        };
        let reason = reason::read(&reason.unwrap_or_default(), empty);
        Ok(Self { gates, reason: reason.map_err(|error| invalid(DECISION, error))? })
    }
}

/// A body that may be left out.
pub(crate) fn read<T: DeserializeOwned>(
    body: &[u8],
    code: &'static str,
    expected: &str,
) -> Result<Option<T>, Problem> {
    if body.is_empty() {
        return Ok(None);
    }
    let body = parse(body)?;
    if body.is_null() {
        return Ok(None);
    }
    if !body.is_object() {
        return Err(invalid(code, format!("the body is no JSON object; expected such as {expected}")));
    }
    serde_json::from_value(body).map(Some).map_err(|error| {
        // Callers know nothing of Rust's types.
        let error = error.to_string().replace("u32", "a number from 0 to 4294967295");
        invalid(code, format!("{error}; expected such as {expected}"))
    })
}

pub(crate) fn invalid(code: &'static str, detail: impl ToString) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail)
}
