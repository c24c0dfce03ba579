//! Many runs at once: those that a filter finds are cancelled, or run again.

use std::{collections::BTreeMap, time::SystemTime};

use axum::{
    Json,
    body::Bytes,
    extract::{State, rejection::BytesRejection},
    http::StatusCode,
    response::IntoResponse as _,
};
use planfleet_core::document::RunState;
use serde::Deserialize;
use tokio::time::timeout;
use utoipa::ToSchema;

use super::{Outcome, Shared};
use crate::{
    access::Caller,
    bulk::{self, Filter, Found},
    listing::time,
    problem::Problem,
    reason::{self, Empty},
    service::Service,
    steer::{REASON, invalid, read},
    view::{NotRerun, Rerun, RunsCancelled, RunsRetried},
};

/// Runs that one request deals with at most: their answer is a megabyte, and asking again goes on.
const AT_MOST_MAX: u64 = 10_000;

/// Ids that a dry run shows.
const SHOWN_MAX: usize = 100;

const CODE: &str = "bulk_invalid";

/// Which runs, and how many of them at most.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AskedOfMany {
    /// States; none is all that can be meant.
    #[serde(default)]
    #[schema(value_type = Vec<crate::view::RunState>)]
    state: Vec<RunState>,
    tenant: Option<String>,
    class: Option<String>,
    batch: Option<String>,
    /// A template's name, with or without its version.
    template: Option<String>,
    /// All of these.
    #[serde(default)]
    labels: BTreeMap<String, String>,
    /// Submitted at or after: RFC 3339, or a duration before now such as `24h`.
    since: Option<String>,
    /// Submitted before, likewise.
    before: Option<String>,
    /// Only count them, and show some.
    #[serde(default)]
    dry_run: bool,
    /// The most runs that are meant, as a dry run has counted them: where more fit, nothing is
    /// done. Needed unless it is a dry run.
    #[schema(minimum = 1, maximum = 10_000)]
    at_most: Option<u64>,
    /// Why, of a cancel; at most 1,000 characters.
    #[schema(max_length = 1_000)]
    reason: Option<String>,
}

const EXPECTED: &str = "{\"class\": \"report\", \"state\": [\"paused\"], \"at_most\": 20}, or with \
    \"dry_run\": true instead of at_most";

impl AskedOfMany {
    fn filter(&self, caller: &Caller) -> Result<Filter, Problem> {
        let at = |name: &str, written: &Option<String>| -> Result<Option<SystemTime>, Problem> {
            let Some(written) = written.as_deref() else { return Ok(None) };
            let ms = time(name, written)?;
            Ok(SystemTime::UNIX_EPOCH.checked_add(std::time::Duration::from_millis(ms)))
        };
        let limits = self.dry_run || self.at_most.is_some_and(|most| (1..=AT_MOST_MAX).contains(&most));
        if !limits {
            return Err(invalid(
                CODE,
                format!("at_most: give 1 to {AT_MOST_MAX}; expected such as {EXPECTED}"),
            ));
        }
        Ok(Filter {
            states: self.state.clone(),
            tenant: caller.tenant_seen(self.tenant.as_deref())?,
            class: self.class.clone(),
            template: self.template.clone(),
            batch: self.batch.clone(),
            labels: self.labels.clone(),
            since: at("since", &self.since)?,
            before: at("before", &self.before)?,
        })
    }

    fn why(&self) -> Result<String, Problem> {
        let why = self.reason.as_deref().unwrap_or_default();
        reason::read(why, Empty::Means(REASON)).map_err(|error| invalid(CODE, error))
    }

    /// The runs that are to be dealt with, or none where they are only to be counted.
    fn meant<'a>(&self, found: &'a Found) -> Result<&'a [planfleet_core::id::RunId], Problem> {
        let count = found.runs.len() as u64;
        match self.at_most {
            _ if self.dry_run => Ok(&[]),
            Some(most) if count <= most => Ok(&found.runs),
            _ => {
                let detail = format!("{count} runs fit, and at_most is less; nothing is done");
                Err(Problem::conflict("more_than_meant", detail))
            }
        }
    }
}

fn asked(body: &[u8]) -> Result<AskedOfMany, Problem> {
    read(body, CODE, EXPECTED)?.ok_or_else(|| invalid(CODE, format!("expected such as {EXPECTED}")))
}

fn shown(found: &Found) -> Vec<String> {
    found.runs.iter().take(SHOWN_MAX).map(ToString::to_string).collect()
}

/// Ask for the end of all active runs that fit
///
/// Asking again goes on where this has stopped: a run is cancelled once.
#[utoipa::path(
    post, path = "/v1/runs:cancel", operation_id = "cancel_runs", tag = "runs", request_body = AskedOfMany,
    responses((status = 202, body = RunsCancelled), (status = 200, description = "A dry run", body = RunsCancelled))
)]
pub(super) async fn cancel(
    State(service): Shared,
    caller: Caller,
    body: Result<Bytes, BytesRejection>,
) -> Outcome {
    let asked = asked(&body?)?;
    let filter = asked.filter(&caller)?;
    if let Some(state) = filter.states.iter().find(|state| state.is_end()) {
        return Err(invalid(CODE, format!("state: {} runs have ended already", state.as_str())));
    }
    let why = asked.why()?;
    let done = async {
        let found = bulk::active(&service.client, &filter).await?;
        let cancelled = bulk::cancel(&service.client, asked.meant(&found)?, &why).await?;
        Ok(RunsCancelled {
            found: found.runs.len() as u64,
            cancelled: cancelled as u64,
            run_ids: shown(&found),
            shards_left_out: found.silent.len() as u64,
        })
    };
    Ok((status(&asked), Json(within(&service, done).await?)).into_response())
}

/// Run again all that fit and have ended without success
///
/// Each goes on from where it has stopped, as a new run, once for each time that it did not
/// succeed. Asked again, what has failed meanwhile is run again too.
#[utoipa::path(
    post, path = "/v1/runs:retry", operation_id = "retry_runs", tag = "runs", request_body = AskedOfMany,
    responses((status = 202, body = RunsRetried), (status = 200, description = "A dry run", body = RunsRetried))
)]
pub(super) async fn retry(
    State(service): Shared,
    caller: Caller,
    body: Result<Bytes, BytesRejection>,
) -> Outcome {
    let asked = asked(&body?)?;
    let filter = asked.filter(&caller)?;
    if let Some(state) = filter.states.iter().find(|state| !state.is_end() || **state == RunState::Succeeded)
    {
        let detail = format!("state: {}; only what has ended without success is run again", state.as_str());
        return Err(invalid(CODE, detail));
    }
    // It is of no use here, and right all the same.
    asked.why()?;
    let done = async {
        let found = bulk::unsuccessful(&service.client, &filter).await?;
        let meant = asked.meant(&found)?;
        let retried = bulk::retry(&service.client, meant).await?;
        let runs = retried.runs.iter();
        let refused = retried.refused.into_iter();
        Ok(RunsRetried {
            found: found.runs.len() as u64,
            run_ids: shown(&found),
            runs: runs.map(|(new, of)| Rerun { run_id: new.to_string(), rerun_of: of.to_string() }).collect(),
            refused: refused.map(|(run, message)| NotRerun { run_id: run.to_string(), message }).collect(),
        })
    };
    Ok((status(&asked), Json(within(&service, done).await?)).into_response())
}

const fn status(asked: &AskedOfMany) -> StatusCode {
    if asked.dry_run { StatusCode::OK } else { StatusCode::ACCEPTED }
}

/// What is done to many takes longer than one question to the fleet, and has an end too.
async fn within<T>(service: &Service, doing: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
    let most = service.request_max() / 2;
    timeout(most, doing).await.unwrap_or_else(|_| {
        let detail =
            format!("not all of it was done within {most:?}; ask again, with a filter that fewer fit");
        Err(Problem::unavailable("bulk_slow", detail))
    })
}
