//! What a task would be planned as, without a run.

use axum::{
    Json,
    body::Bytes,
    extract::{State, rejection::BytesRejection},
    http::StatusCode,
    response::IntoResponse as _,
};
use planfleet_core::failure::FailureClass;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::timeout;
use utoipa::ToSchema;

use super::{Outcome, Shared, parse};
use crate::{
    access::Caller,
    problem::Problem,
    view::{PlanPreview, ProblemAt},
};

/// The task to be planned.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Previewed {
    /// As it would be submitted.
    #[schema(value_type = Object)]
    task: Value,
}

/// Plan a task, and run nothing
///
/// What is wrong with the task or its plan is in `faults`. A goal without a plan asks the
/// planner's model, which costs what planning costs.
#[utoipa::path(
    post, path = "/v1/plans:preview", operation_id = "preview_plan", tag = "plans", request_body = Previewed,
    responses((status = 200, body = PlanPreview))
)]
pub(super) async fn preview(
    State(service): Shared,
    caller: Caller,
    body: Result<Bytes, BytesRejection>,
) -> Outcome {
    let body = parse(&body?)?;
    let Previewed { mut task } = serde_json::from_value(body).map_err(|error| {
        let detail = format!("{error}; expected such as {{\"task\": {{\"goal\": \"...\"}}}}");
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "preview_invalid", detail)
    })?;
    if !task.is_object() {
        let detail = "task: expected an object such as {\"goal\": \"...\"}";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "preview_invalid", detail));
    }
    let source =
        ["template", "plan"].into_iter().find(|name| task.get(*name).is_some_and(|it| !it.is_null()));
    let submission = match service.freeze_for(&caller, &mut task, &tracing::Span::none()).await {
        Ok(submission) => submission,
        Err(problem) => {
            let faults = problem.into_faults()?;
            let faults =
                faults.into_iter().map(|fault| ProblemAt { path: fault.path, message: fault.message });
            let source = source.map(named).map(str::to_owned);
            let preview = PlanPreview { plan: None, faults: faults.collect(), source, usage: None };
            return Ok(Json(preview).into_response());
        }
    };
    let (plan, source, usage) = match &submission.plan {
        Some(plan) => (json!(plan), source.map_or("direct", named), None),
        None => {
            let preview = service.fleet.preview.as_ref();
            let preview = preview.map_err(|why| Problem::conflict("planner_missing", why))?;
            let asked = timeout(service.request_max() / 2, preview(submission)).await;
            let asked = asked
                .map_err(|_| Problem::unavailable("planner_slow", "the planner did not answer in time"))?;
            let (plan, usage) = asked.map_err(|failure| match failure.class {
                FailureClass::Transient | FailureClass::Timeout | FailureClass::Quota => {
                    Problem::unavailable("planner_unreachable", failure)
                }
                _ => Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "not_planned", failure),
            })?;
            (json!(plan), "planner", Some(usage))
        }
    };
    let plan = plan.as_object().cloned();
    let preview = PlanPreview { plan, faults: Vec::new(), source: Some(source.to_owned()), usage };
    Ok(Json(preview).into_response())
}

fn named(field: &str) -> &'static str {
    if field == "template" { "template" } else { "task" }
}
