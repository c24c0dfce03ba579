//! The plan cache.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::IntoResponse as _,
};
use planfleet_bus::plans::Kept;
use serde::Deserialize;
use utoipa::IntoParams;

use super::{Outcome, Shared, query::Asked};
use crate::{
    access::Caller,
    plan_cache,
    problem::Problem,
    service::Service,
    view::{CacheDetail, CacheEntry, CacheList, Savings},
};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct OfClass {
    /// Only entries of this class.
    class: Option<String>,
}

/// List the plan cache, and what it has saved
#[utoipa::path(get, path = "/v1/cache", operation_id = "list_cached_plans", tag = "cache", params(OfClass), responses((status = 200, body = CacheList)))]
pub(super) async fn list(
    State(service): Shared,
    caller: Caller,
    Asked(OfClass { class }): Asked<OfClass>,
) -> Outcome {
    let all = service.answer(service.bus.cached_plans()).await?;
    let own = all.iter().filter(|(_, kept)| caller.owns(&kept.entry.tenant));
    let mut entries: Vec<CacheEntry> = own.map(|(key, kept)| plan_cache::summary(key, &kept.entry)).collect();
    entries.retain(|entry| class.as_ref().is_none_or(|class| entry.class == *class));
    entries.sort_by(|a, b| b.used.cmp(&a.used).then_with(|| a.key.cmp(&b.key)));
    let savings = Savings {
        used: entries.iter().map(|entry| entry.used).sum(),
        saved_tokens: entries.iter().map(|entry| entry.saved_tokens).sum(),
        // The sum of no numbers would be -0.
        saved_usd: entries.iter().try_fold(0.0, |sum, entry| Some(sum + entry.saved_usd?)),
        saved_ms: entries.iter().map(|entry| entry.saved_ms).sum(),
    };
    Ok(Json(CacheList { entries, savings }).into_response())
}

/// Look at a cached plan
#[utoipa::path(
    get, path = "/v1/cache/{key}", operation_id = "get_cached_plan", tag = "cache", params(("key" = String, Path)),
    responses((status = 200, body = CacheDetail))
)]
pub(super) async fn one(State(service): Shared, caller: Caller, Path(key): Path<String>) -> Outcome {
    let kept = kept(&service, &caller, &key).await?;
    Ok(Json(plan_cache::detail(&key, &kept.entry)).into_response())
}

/// Forget a cached plan: the next such task is planned
#[utoipa::path(
    delete, path = "/v1/cache/{key}", operation_id = "forget_cached_plan", tag = "cache", params(("key" = String, Path)), responses((status = 204))
)]
pub(super) async fn forget(State(service): Shared, caller: Caller, Path(key): Path<String>) -> Outcome {
    kept(&service, &caller, &key).await?;
    service.answer(service.bus.forget_plan(&key)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Pin {
    /// Take the pin off instead.
    #[serde(default)]
    off: bool,
}

/// Keep a cached plan whatever becomes of its runs
#[utoipa::path(
    post, path = "/v1/cache/{key}/pin", operation_id = "pin_cached_plan", tag = "cache", params(("key" = String, Path), Pin),
    responses((status = 200, body = CacheEntry))
)]
pub(super) async fn pin(
    State(service): Shared,
    caller: Caller,
    Path(key): Path<String>,
    Asked(Pin { off }): Asked<Pin>,
) -> Outcome {
    kept(&service, &caller, &key).await?;
    let changed = service.answer(service.bus.change_plan(&key, |entry| entry.pinned = !off)).await?;
    let entry = changed.ok_or_else(|| unknown(&key))?;
    Ok(Json(plan_cache::summary(&key, &entry)).into_response())
}

async fn kept(service: &Service, caller: &Caller, key: &str) -> Result<Kept, Problem> {
    // Keys of the bucket are names; what is none would be the broker's to refuse.
    if !key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) || key.starts_with('.')
    {
        return Err(unknown(key));
    }
    let kept = service.answer(service.bus.cached_plan(key)).await?;
    kept.filter(|kept| caller.owns(&kept.entry.tenant)).ok_or_else(|| unknown(key))
}

fn unknown(key: &str) -> Problem {
    Problem::unknown("cached plan", "cached_plan_unknown", key)
}
