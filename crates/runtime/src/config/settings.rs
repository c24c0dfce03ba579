//! All settings together, and the roles that models play.

use std::collections::BTreeMap;

use serde::Serialize;

use super::api::ApiSettings;
use super::models::ModelSettings;
use super::outside::{CredentialSettings, McpSettings};
use super::roles::RoleSettings;
use super::sections::{
    CoordinatorSettings, DataSettings, FlowSettings, HealthSettings, LimitSettings, NatsSettings,
    PlannerSettings, PoolSettings, PriceSettings, TelemetrySettings, TenantSettings, ToolSettings,
};

/// Everything that can be configured, checked.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Settings {
    /// The broker.
    pub nats: NatsSettings,
    /// Which model plays which role.
    pub roles: RoleSettings,
    /// Models by name.
    pub models: BTreeMap<String, ModelSettings>,
    /// Where prices are from that models do not say themselves.
    pub prices: PriceSettings,
    /// Worker pools by name; never empty once loaded.
    pub pools: BTreeMap<String, PoolSettings>,
    /// How tasks are planned.
    pub planner: PlannerSettings,
    /// How shards are owned.
    pub coordinator: CoordinatorSettings,
    /// How ready work is let go to workers.
    pub flow: FlowSettings,
    /// What tools may touch.
    pub tools: ToolSettings,
    /// Secrets for the hosts that tools reach, by name.
    pub credentials: BTreeMap<String, CredentialSettings>,
    /// MCP servers by name.
    pub mcp: BTreeMap<String, McpSettings>,
    /// Bounds on runs.
    pub limits: LimitSettings,
    /// Bounds on tenants, by name.
    pub tenants: BTreeMap<String, TenantSettings>,
    /// Logs, traces, metrics.
    pub telemetry: TelemetrySettings,
    /// The health and metrics listener.
    pub health: HealthSettings,
    /// The HTTP API's listener.
    pub api: ApiSettings,
    /// Local state.
    pub data: DataSettings,
    /// What was taken from somewhere the reader may not think of.
    #[serde(skip)]
    pub origin_notes: Vec<String>,
    /// Where each key that was set came from: `planfleet.toml:12`.
    #[serde(skip)]
    pub sources: BTreeMap<String, String>,
}

impl Settings {
    /// Where a key's value came from: a file and line, a variable, a flag. For
    /// a table, the first of its keys that was set.
    pub fn source_of(&self, key: &str) -> &str {
        let below = format!("{key}.");
        self.sources
            .range(key.to_owned()..)
            .find(|(found, _)| *found == key || found.starts_with(&below))
            .map_or("defaults", |(_, source)| source)
    }

    /// The models that play a role, by name, after fallbacks: the preferred one first, and at
    /// least one.
    pub fn role(&self, role: Role) -> Result<Vec<(&str, &ModelSettings)>, MissingRole> {
        let names = self.roles.models(role);
        let found = names.iter().filter_map(|name| self.models.get_key_value(name));
        let found: Vec<_> = found.map(|(name, model)| (name.as_str(), model)).collect();
        if found.is_empty() {
            return Err(MissingRole { role, models: self.models.keys().cloned().collect() });
        }
        Ok(found)
    }
}

/// A role that no model plays.
#[derive(Debug, thiserror::Error)]
#[error(
    "no model plays the role `{role}`; set roles.{role} to one of the models under [models] \
     (configured: {}), or set OPENAI_API_KEY or ANTHROPIC_API_KEY",
    if .models.is_empty() { "none".to_owned() } else { .models.join(", ") }
)]
pub struct MissingRole {
    /// The role without a model.
    pub role: Role,
    /// The models that do exist.
    pub models: Vec<String>,
}

/// What a model is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Makes and revises plans.
    Planner,
    /// Carries out steps.
    Executor,
    /// Carries out steps of the tier `strong`.
    Strong,
    /// Judges outputs.
    Judge,
    /// Decides whether a task needs a plan.
    Triage,
}

impl Role {
    /// Every role, in the order of the file.
    pub const ALL: [Self; 5] = [Self::Planner, Self::Executor, Self::Strong, Self::Judge, Self::Triage];

    /// The key under `[roles]`.
    pub fn key(self) -> &'static str {
        match self {
            Self::Planner => "planner",
            Self::Executor => "executor",
            Self::Strong => "strong",
            Self::Judge => "judge",
            Self::Triage => "triage",
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.key())
    }
}
