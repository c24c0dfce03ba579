//! What operators say of flow control.

use std::{collections::BTreeMap, time::Duration};

/// How ready work is let go.
#[derive(Debug, Clone)]
pub struct FlowSettings {
    /// Pieces of work in a pool's window for each slot of its workers, at least 1.
    pub window_per_slot: usize,
    /// A pool's window while no worker of it is known, at least 1.
    pub window_without_workers: usize,
    /// Over which it is measured how much is under way: a window is not smaller than half as
    /// much again.
    pub window_time: Duration,
    /// Tenants that differ from others.
    pub tenants: BTreeMap<String, TenantFlow>,
    /// The most work of a pool at once, in the whole fleet.
    pub pools: BTreeMap<String, usize>,
    /// The most steps at once that may call a tool, likewise.
    pub tools: BTreeMap<String, usize>,
    /// The most work at once that is a model's, likewise.
    pub models: BTreeMap<String, usize>,
    /// Which models do the work.
    pub roles: FlowRoles,
}

/// What a tenant gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TenantFlow {
    /// Its share beside others' who wait at the same priority of the same pool:
    /// 1 to [`crate::WEIGHT_MAX`].
    pub weight: u32,
    /// The most of its work at once, in the whole fleet.
    pub concurrency: Option<usize>,
}

/// The preferred model of each role, by its name in the configuration.
#[derive(Debug, Clone, Default)]
pub struct FlowRoles {
    /// Of planning work.
    pub planner: Option<String>,
    /// Of a model's steps.
    pub executor: Option<String>,
    /// Of those of the tier `strong`.
    pub strong: Option<String>,
}

impl Default for FlowSettings {
    fn default() -> Self {
        Self {
            window_per_slot: 2,
            window_without_workers: 64,
            window_time: Duration::from_millis(100),
            tenants: BTreeMap::new(),
            pools: BTreeMap::new(),
            tools: BTreeMap::new(),
            models: BTreeMap::new(),
            roles: FlowRoles::default(),
        }
    }
}

impl Default for TenantFlow {
    fn default() -> Self {
        Self { weight: 1, concurrency: None }
    }
}
