//! The fleet itself: what it has, what waits, what it has cost, and who asks.

use std::collections::BTreeMap;

use axum::{Json, extract::State, response::IntoResponse as _};
use planfleet_proto::subjects;
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::IntoParams;

use super::{
    Outcome, Shared,
    query::{Asked, Nothing},
    queues,
};
use crate::{
    access::Caller,
    index::{By, Filter},
    listing::time,
    problem::Problem,
    service::Service,
    view::{Costs, Models, PausedModel, PoolQueue, Queues, Tool, Tools, WhoAmI, Worker, Workers},
};

/// Who asks
#[utoipa::path(get, path = "/v1/whoami", operation_id = "whoami", tag = "fleet", responses((status = 200, body = WhoAmI)))]
pub(super) async fn whoami(caller: Caller, Asked(Nothing {}): Asked<Nothing>) -> Outcome {
    let Caller { tenant, role, auth, name, .. } = caller;
    Ok(Json(WhoAmI { tenant, role, auth: auth.as_str().to_owned(), name }).into_response())
}

/// List the tools that plans may use
#[utoipa::path(get, path = "/v1/tools", operation_id = "list_tools", tag = "fleet", responses((status = 200, body = Tools)))]
pub(super) async fn tools(State(service): Shared, Asked(Nothing {}): Asked<Nothing>) -> Outcome {
    let tools = service.scope.tools.values().map(|tool| Tool {
        name: tool.name.clone(),
        description: tool.description.clone(),
        arguments: tool.arguments.clone(),
        output: tool.output.clone(),
        effect: tool.effect.as_str().to_owned(),
        idempotent: tool.idempotent,
    });
    Ok(Json(Tools { tools: tools.collect() }).into_response())
}

/// List the models of the settings, and what the fleet knows of each
#[utoipa::path(get, path = "/v1/models", operation_id = "list_models", tag = "fleet", responses((status = 200, body = Models)))]
pub(super) async fn models(State(service): Shared, Asked(Nothing {}): Asked<Nothing>) -> Outcome {
    Ok(Json(Models { models: known(&service).await? }).into_response())
}

async fn known(service: &Service) -> Result<Vec<Map<String, Value>>, Problem> {
    let models = service.answer(async { Ok::<_, Problem>((service.fleet.models)().await) }).await?;
    Ok(models.into_iter().filter_map(|model| model.as_object().cloned()).collect())
}

/// What waits for workers, what of it is held back, and which models are paused
#[utoipa::path(get, path = "/v1/queues", operation_id = "list_queues", tag = "fleet", responses((status = 200, body = Queues)))]
pub(super) async fn queues(
    State(service): Shared,
    caller: Caller,
    Asked(Nothing {}): Asked<Nothing>,
) -> Outcome {
    let ready = queues::ready(&service).await?;
    let mut pools = Vec::new();
    for (pool, slots) in &service.fleet.pools {
        let consumer = subjects::pool_consumer(pool);
        let depth = async {
            service.bus.broker().depth(subjects::STEPS, &consumer).await.map_err(planfleet_bus::Error::from)
        };
        let depth = service.answer(depth).await?;
        pools.push(PoolQueue {
            pool: pool.clone(),
            slots: *slots as u64,
            waiting: depth.waiting,
            in_flight: depth.in_flight,
            ready_backlog: ready.as_ref().map(|ready| ready.get(pool).copied().unwrap_or_default()),
        });
    }
    let paused = known(&service).await?.into_iter().filter_map(|model| {
        let paused = model.get("fleet")?.get("paused")?.as_object()?.clone();
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        Some(PausedModel {
            model: text(model.get("name"))?,
            reason: text(paused.get("reason")),
            until: text(paused.get("until")),
        })
    });
    let paused = paused.collect();
    let all = |pool: &PoolQueue| pool.waiting + pool.in_flight + pool.ready_backlog.unwrap_or_default();
    let backlog = pools.iter().map(all).sum();
    let pauses = queues::pauses(&service, &caller).await?;
    Ok(Json(Queues { pools, pauses, paused, backlog }).into_response())
}

/// Who is at work: coordinators with their shards, planners and executors with their slots
#[utoipa::path(get, path = "/v1/workers", operation_id = "list_workers", tag = "fleet", responses((status = 200, body = Workers)))]
pub(super) async fn workers(State(service): Shared, Asked(Nothing {}): Asked<Nothing>) -> Outcome {
    let members = service.answer(service.bus.members()).await?;
    let mut workers: Vec<Worker> =
        members.into_iter().map(|(name, _)| worker(name, "coordinator", BTreeMap::new())).collect();
    for shard in 0..service.bus.shards() {
        let Some(held) = service.answer(service.bus.lease(shard)).await? else { continue };
        if let Some(worker) = workers.iter_mut().find(|worker| worker.name == held.lease.owner) {
            worker.shards.push(shard);
        }
    }
    for (name, slots) in service.answer(service.bus.slots()).await? {
        let slots = slots.into_iter().map(|(pool, slots)| (pool, slots as u64));
        let (planning, executing): (BTreeMap<_, _>, _) =
            slots.partition(|(pool, _)| pool == subjects::PLAN_POOL);
        let roles = [("planner", planning), ("executor", executing)];
        let roles = roles.into_iter().filter(|(_, slots)| !slots.is_empty());
        workers.extend(roles.map(|(role, slots)| worker(name.clone(), role, slots)));
    }
    Ok(Json(Workers { workers }).into_response())
}

fn worker(name: String, role: &str, slots: BTreeMap<String, u64>) -> Worker {
    Worker { name, role: role.to_owned(), shards: Vec::new(), slots }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Report {
    /// What makes a row: `class` (unless said), `model`, `run`, `batch`, `role` or `day`.
    #[param(pattern = "^(class|model|run|batch|role|day)?$")]
    by: Option<String>,
    /// Only runs that ended on this day (UTC) or later: RFC 3339, or a duration before now.
    since: Option<String>,
    tenant: Option<String>,
    class: Option<String>,
    batch: Option<String>,
}

/// What ended runs have cost
#[utoipa::path(get, path = "/v1/costs", operation_id = "get_costs", tag = "fleet", params(Report), responses((status = 200, body = Costs)))]
pub(super) async fn costs(State(service): Shared, caller: Caller, Asked(report): Asked<Report>) -> Outcome {
    let by = match report.by.as_deref() {
        None | Some("" | "class") => By::Class,
        Some("model") => By::Model,
        Some("run") => By::Run,
        Some("batch") => By::Batch,
        Some("role") => By::Role,
        Some("day") => By::Day,
        Some(other) => {
            let detail = format!("by: {other:?} is none; there are class, model, run, batch, role, day");
            return Err(Problem::query(detail));
        }
    };
    let filter = Filter {
        tenant: caller.tenant_seen(report.tenant.as_deref())?,
        class: report.class,
        batch: report.batch,
        ..Filter::default()
    };
    let since_ms = report
        .since
        .as_deref()
        .filter(|since| !since.is_empty())
        .map(|since| time("since", since))
        .transpose()?;
    let (rows, indexing) = service.listing.costs(filter, by, since_ms).await?;
    Ok(Json(Costs { rows, indexing }).into_response())
}
