//! Holding work back before it begins, and letting it go on: of a pool, a tenant or a class.

use std::collections::BTreeMap;

use axum::{
    Json,
    body::Bytes,
    extract::{State, rejection::BytesRejection},
    http::StatusCode,
    response::IntoResponse as _,
};
use planfleet_bus::flow::{Pause, Target};
use planfleet_core::document::rfc3339;
use planfleet_runtime::clock;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use utoipa::ToSchema;

use super::{Outcome, Shared, parse};
use crate::{
    access::{Caller, Role},
    problem::Problem,
    service::Service,
    view::{QueuePause, QueueResumed},
};

/// The reason of a pause that gives none.
const REASON: &str = "asked for over HTTP";

/// Characters of a reason: a sentence or two for others who look.
const REASON_CHARS_MAX: usize = 1_000;

type Body = Result<Bytes, BytesRejection>;

/// Whose work: one of the three.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct QueueTarget {
    pool: Option<String>,
    tenant: Option<String>,
    class: Option<String>,
}

/// Whose work is held back, and why.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct QueuePauseAsked {
    pool: Option<String>,
    tenant: Option<String>,
    class: Option<String>,
    /// For others who look; `asked for over HTTP` unless said.
    reason: Option<String>,
}

/// Hold back the work of a pool, a tenant or a class
///
/// Nothing new of it is let go; what is at work goes on. A tenant's own work is an operator's to
/// hold back; a pool and a class are everybody's, which takes an admin without a tenant.
#[utoipa::path(
    post, path = "/v1/queues:pause", operation_id = "pause_queue", tag = "fleet",
    request_body = QueuePauseAsked, responses((status = 200, body = QueuePause))
)]
pub(super) async fn pause(State(service): Shared, caller: Caller, body: Body) -> Outcome {
    let QueuePauseAsked { pool, tenant, class, reason } = asked(&body?)?;
    let target = target(&caller, QueueTarget { pool, tenant, class })?;
    let reason = reason.unwrap_or_else(|| REASON.to_owned());
    if reason.trim().is_empty() || reason.chars().count() > REASON_CHARS_MAX {
        return Err(invalid(format!("reason: give 1 to {REASON_CHARS_MAX} characters, or leave it out")));
    }
    let pause = Pause { target, reason, since_ms: clock::unix_ms() };
    service.answer(service.bus.pause(&pause)).await?;
    Ok(Json(shown(pause)).into_response())
}

/// Let work that was held back go on
#[utoipa::path(
    post, path = "/v1/queues:resume", operation_id = "resume_queue", tag = "fleet",
    request_body = QueueTarget, responses((status = 200, body = QueueResumed))
)]
pub(super) async fn resume(State(service): Shared, caller: Caller, body: Body) -> Outcome {
    let target = target(&caller, asked(&body?)?)?;
    let was_paused = service.answer(service.bus.resume(&target)).await?;
    let (what, name) = target.parts();
    let resumed = QueueResumed { what: what.to_owned(), name: name.clone(), was_paused };
    Ok(Json(resumed).into_response())
}

fn asked<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    serde_json::from_value(parse(body)?).map_err(invalid)
}

fn invalid(detail: impl ToString) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "queue_invalid", detail)
}

/// What is meant, as far as it is the caller's to hold back.
fn target(caller: &Caller, asked: QueueTarget) -> Result<Target, Problem> {
    let target = match asked {
        QueueTarget { pool: Some(name), tenant: None, class: None } => Target::Pool(name),
        QueueTarget { pool: None, tenant: Some(name), class: None } => Target::Tenant(name),
        QueueTarget { pool: None, tenant: None, class: Some(name) } => Target::Class(name),
        _ => return Err(invalid("name one of \"pool\", \"tenant\" and \"class\"")),
    };
    target.check().map_err(invalid)?;
    match &target {
        Target::Tenant(name) => drop(caller.tenant_for(Some(name))?),
        Target::Pool(_) | Target::Class(_) if !caller.is_of_fleet() => {
            return Err(Problem::of_fleet("pools and classes"));
        }
        Target::Pool(_) | Target::Class(_) if caller.role < Role::Admin => {
            return Err(Problem::forbidden(caller.role, Role::Admin));
        }
        Target::Pool(_) | Target::Class(_) => {}
    }
    Ok(target)
}

/// What is held back, as far as it is the caller's to know: a pool is everybody's, and a class may
/// be the name of another tenant's business.
pub(super) async fn pauses(service: &Service, caller: &Caller) -> Result<Vec<QueuePause>, Problem> {
    let pauses = service.answer(service.bus.pauses()).await?;
    let is_seen = |pause: &Pause| match &pause.target {
        Target::Pool(_) => true,
        Target::Tenant(name) => caller.owns(name),
        Target::Class(_) => caller.is_of_fleet(),
    };
    Ok(pauses.into_iter().filter(is_seen).map(shown).collect())
}

fn shown(pause: Pause) -> QueuePause {
    let (what, name) = pause.target.parts();
    QueuePause {
        what: what.to_owned(),
        name: name.clone(),
        since: rfc3339(pause.since_ms),
        reason: pause.reason,
    }
}

/// How much is ready and held back by coordinators, by pool; none where not one of them answers.
pub(super) async fn ready(service: &Service) -> Result<Option<BTreeMap<String, u64>>, Problem> {
    let (queues, _) = service.answer(async { Ok::<_, Problem>(service.client.queues().await) }).await?;
    let mut ready = BTreeMap::<String, u64>::new();
    for pool in queues.values().flat_map(|queue| each(&queue["pools"])) {
        let count = |row: &Value, field: &str| row[field].as_u64().unwrap_or_default();
        let waiting = each(&pool["rows"]).map(|row| count(row, "ready") + count(row, "paused"));
        *ready.entry(pool["pool"].as_str().unwrap_or_default().to_owned()).or_default() +=
            waiting.sum::<u64>();
    }
    Ok((!queues.is_empty()).then_some(ready))
}

fn each(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}
