//! What settings say of flow control, as coordinators and the bus know it.

use std::{collections::BTreeMap, time::Duration};

use planfleet_bus::{Pool, flow::ByPool};
use planfleet_coordinator::{FlowRoles, FlowSettings, TenantFlow};
use planfleet_proto::subjects::PLAN_POOL;
use planfleet_runtime::config::{self, Settings};

use crate::cli::Role;

/// Windows, shares and limits.
pub(super) fn settings(settings: &Settings) -> FlowSettings {
    let model = |role| {
        let models = settings.role(role).ok()?;
        models.first().map(|(name, _)| (*name).to_owned())
    };
    let pools = settings.pools.iter().map(|(name, pool)| (name, pool.concurrency));
    let tools = settings.tools.limits.iter().map(|(name, tool)| (name, tool.concurrency));
    let models = settings.models.iter().map(|(name, model)| (name, model.concurrency));
    let tenants = settings.tenants.iter().map(|(name, own)| {
        let TenantFlow { weight, .. } = TenantFlow::default();
        let flow = TenantFlow { weight: own.weight.unwrap_or(weight), concurrency: own.concurrency };
        (name.clone(), flow)
    });
    FlowSettings {
        window_per_slot: settings.flow.window_per_slot,
        window_without_workers: settings.flow.window_without_workers,
        window_time: Duration::from_millis(settings.flow.window_ms),
        tenants: tenants.collect(),
        pools: limited(pools),
        tools: limited(tools),
        models: limited(models),
        roles: FlowRoles {
            planner: model(config::Role::Planner),
            executor: model(config::Role::Executor),
            strong: model(config::Role::Strong),
        },
    }
}

/// Those that have a limit.
fn limited<'a>(all: impl Iterator<Item = (&'a String, Option<usize>)>) -> BTreeMap<String, usize> {
    all.filter_map(|(name, limit)| Some((name.clone(), limit?))).collect()
}

/// What slots a process has for each pool, by its roles.
pub(super) fn slots(roles: &[Role], executor_pools: &[Pool], pools: &[Pool]) -> ByPool {
    let executes = roles.iter().any(|role| matches!(role, Role::Executor));
    let plans = roles.iter().any(|role| matches!(role, Role::Planner));
    let executing = executor_pools.iter().filter(|_| executes);
    let planning = pools.iter().filter(|pool| plans && pool.name == PLAN_POOL);
    executing.chain(planning).map(|pool| (pool.name.clone(), pool.slots)).collect()
}
