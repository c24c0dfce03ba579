//! How everything stands, for people and for metrics.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use opentelemetry::KeyValue;
use planfleet_core::task::Priority;
use planfleet_telemetry::names::metric;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{pool::Depth, state::State};
use crate::instruments::priority_name;

/// Rows of one pool in an answer: an answer is one message, and people look at the largest.
const ROWS_MAX: usize = 500;

/// Tenants of one pool and priority that a metric names, those with the most work; the
/// others are `other`. Each is a time series for ever.
const TENANTS_MAX: usize = 20;

/// The name of those others; a tenant of that name is counted with them.
const OTHER: &str = "other";

impl State {
    /// How each pool and limit stands.
    pub(super) fn standing(&mut self, now: Instant) -> Value {
        let names: Vec<Arc<str>> = self.pools.keys().cloned().collect();
        let pools: Vec<Value> = names.iter().filter_map(|name| self.pool_standing(name, now)).collect();
        let limits: Vec<Value> = self
            .limits
            .shown()
            .map(|(what, name, part, used)| json!({"what": what, "name": &*name, "limit": part, "out": used}))
            .collect();
        let shards: Vec<_> = self.limits.owned().iter().collect();
        json!({"coordinator": self.coordinator, "shards": shards, "pools": pools, "limits": limits})
    }

    fn pool_standing(&mut self, name: &Arc<str>, now: Instant) -> Option<Value> {
        let window = self.room(name, now);
        let pool = self.pools.get(name)?;
        let mut depths: Vec<_> = pool.depths().into_iter().collect();
        depths.sort_by_key(|((priority, _), depth)| (std::cmp::Reverse(depth.all()), *priority));
        let left_out = depths.len().saturating_sub(ROWS_MAX);
        depths.truncate(ROWS_MAX);
        let row = |((priority, tenant), Depth { ready, paused, out }): &((Priority, Arc<str>), Depth)| {
            json!({
                "priority": priority_name(*priority), "tenant": &**tenant,
                "ready": ready, "paused": paused, "out": out,
            })
        };
        Some(json!({
            "pool": &**name,
            "window": window,
            "slots": pool.outlook.slots,
            "out": pool.out_sum,
            "rows": depths.iter().map(row).collect::<Vec<_>>(),
            "rows_left_out": left_out,
        }))
    }

    /// How much waits, for metrics: by pool, priority, tenant and whether it is paused.
    fn backlog(&self) -> BTreeMap<(Arc<str>, Priority, Arc<str>, bool), usize> {
        let other: Arc<str> = OTHER.into();
        let mut backlog = BTreeMap::new();
        for (name, pool) in &self.pools {
            let mut depths: Vec<_> = pool.depths().into_iter().collect();
            depths.sort_by_key(|(_, depth)| std::cmp::Reverse(depth.ready + depth.paused));
            let mut named = BTreeMap::<Priority, usize>::new();
            for ((priority, tenant), depth) in depths {
                let count = named.entry(priority).or_default();
                *count += 1;
                let tenant = if *count > TENANTS_MAX { Arc::clone(&other) } else { tenant };
                for (paused, waiting) in [(false, depth.ready), (true, depth.paused)] {
                    let key = (Arc::clone(name), priority, Arc::clone(&tenant), paused);
                    *backlog.entry(key).or_default() += waiting;
                }
            }
        }
        backlog
    }
}

impl Depth {
    const fn all(self) -> usize {
        self.ready + self.paused + self.out
    }
}

/// Shows it as metrics for as long as it is there.
pub(super) fn export(state: &Arc<Mutex<State>>) {
    let weak = Arc::downgrade(state);
    metric::READY_BACKLOG.observed(move |gauge| {
        for ((pool, priority, tenant, paused), count) in look(&weak, |state| state.backlog()) {
            let labels = [
                KeyValue::new("pool", pool),
                KeyValue::new("priority", priority_name(priority)),
                KeyValue::new("tenant", tenant),
                KeyValue::new("state", if paused { "paused" } else { "ready" }),
            ];
            gauge.observe(count as u64, &labels);
        }
    });
    let weak = Arc::downgrade(state);
    metric::WORK_OUT.observed(move |gauge| {
        for (pool, out, _) in look(&weak, windows) {
            gauge.observe(out as u64, &[KeyValue::new("pool", pool)]);
        }
    });
    let weak = Arc::downgrade(state);
    metric::WINDOW.observed(move |gauge| {
        for (pool, _, window) in look(&weak, windows) {
            gauge.observe(window as u64, &[KeyValue::new("pool", pool)]);
        }
    });
}

/// What there is to see; nothing once flow control is gone.
fn look<T: Default>(state: &Weak<Mutex<State>>, see: impl FnOnce(&mut State) -> T) -> T {
    let state = state.upgrade();
    state.map(|state| see(&mut state.lock().unwrap_or_else(PoisonError::into_inner))).unwrap_or_default()
}

/// Each pool with what is out and its window.
fn windows(state: &mut State) -> Vec<(Arc<str>, usize, usize)> {
    let now = Instant::now();
    let names: Vec<Arc<str>> = state.pools.keys().cloned().collect();
    let window = |name: Arc<str>| {
        let window = state.room(&name, now);
        let out = state.pools.get(&name).map_or(0, |pool| pool.out_sum);
        (name, out, window)
    };
    names.into_iter().map(window).collect()
}
