//! The sections of the file as types.
//!
//! Their `Default`s equal `default.toml`; what a key means is told there, what
//! its consumers must know is told here.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::models::UsdPerMillion;
use super::outside::HttpToolSettings;

/// `[nats]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NatsSettings {
    /// One or more server URLs, separated by commas.
    pub url: String,
    /// Path of a credentials file; empty for none.
    pub creds: String,
    /// Path of a file with the seed of an NKey; empty for none.
    pub nkey: String,
    /// What the subjects of answers begin with; empty is the NKey's own.
    pub inbox_prefix: String,
    /// Certificates.
    pub tls: NatsTlsSettings,
    /// The connection's name.
    pub name: String,
    /// Copies of streams and buckets: 1, 3 or 5.
    pub replicas: usize,
    /// Number of shard logs, 1 to 99.
    pub shards: u32,
    /// Who makes streams and buckets.
    pub manage: Manage,
    /// Seconds to wait for the first connection.
    pub connect_timeout_s: u64,
    /// `always` or a duration; for servers that planfleet starts itself.
    pub sync_interval: Option<String>,
    /// Where servers answer for monitoring, separated by commas; empty asks nobody.
    pub monitoring_url: String,
}

impl Default for NatsSettings {
    fn default() -> Self {
        Self {
            url: "nats://127.0.0.1:4222".to_owned(),
            creds: String::new(),
            nkey: String::new(),
            inbox_prefix: String::new(),
            tls: NatsTlsSettings::default(),
            name: "planfleet".to_owned(),
            replicas: 1,
            shards: 4,
            manage: Manage::Create,
            connect_timeout_s: 5,
            sync_interval: None,
            monitoring_url: String::new(),
        }
    }
}

impl NatsSettings {
    /// How long to wait for the first connection.
    pub fn connect_timeout(&self) -> Duration {
        Duration::from_secs(self.connect_timeout_s)
    }
}

/// `[nats.tls]`: paths of PEM files, empty for none.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NatsTlsSettings {
    /// Authorities that servers' certificates come from.
    pub ca: String,
    /// The client's own certificate.
    pub cert: String,
    /// Its key.
    pub key: String,
}

/// Who makes the streams and buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Manage {
    /// We make what is missing.
    Create,
    /// Someone else does; we refuse to start when they differ.
    Verify,
    /// Nobody looks.
    Off,
}

/// `[pools.<name>]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PoolSettings {
    /// Steps in work at once in one process.
    pub slots: usize,
    /// Seconds of silence after which the broker redelivers a step.
    pub ack_wait_s: u64,
    /// Seconds that one attempt may take.
    pub step_timeout_s: u64,
    /// Seconds that running steps get when the process stops.
    pub grace_s: u64,
    /// Work of the pool at once in the whole fleet.
    pub concurrency: Option<usize>,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self { slots: 16, ack_wait_s: 30, step_timeout_s: 600, grace_s: 30, concurrency: None }
    }
}

/// `[tools]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ToolSettings {
    /// Directories that file tools may touch.
    pub roots: Vec<String>,
    /// Hosts that web tools may reach.
    pub hosts: Vec<String>,
    /// Whether web tools may reach this machine.
    pub allow_loopback: bool,
    /// Seconds for one request.
    pub http_timeout_s: u64,
    /// Bytes read of one response.
    pub http_body_bytes_max: u64,
    /// Days after which what `object_put` has stored is removed.
    pub object_age_days: u64,
    /// Objects of one tenant; the oldest go first.
    pub objects_per_tenant: u64,
    /// Their bytes, likewise.
    pub object_bytes_per_tenant: u64,
    /// `[tools.http.<name>]`: tools that servers of the operator's answer for.
    pub http: BTreeMap<String, HttpToolSettings>,
    /// `[tools.limits.<name>]`: tools of which only so much may be at work.
    pub limits: BTreeMap<String, ToolLimit>,
}

/// `[tools.limits.<name>]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ToolLimit {
    /// Steps at once in the whole fleet that may call it.
    pub concurrency: Option<usize>,
}

impl Default for ToolSettings {
    fn default() -> Self {
        Self {
            roots: Vec::new(),
            hosts: vec!["*".to_owned()],
            allow_loopback: false,
            http_timeout_s: 30,
            http_body_bytes_max: 4 * 1024 * 1024,
            object_age_days: 90,
            objects_per_tenant: 10_000,
            object_bytes_per_tenant: 1 << 30,
            http: BTreeMap::new(),
            limits: BTreeMap::new(),
        }
    }
}

/// `[limits]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitSettings {
    /// Steps of one plan.
    pub steps_per_plan: u32,
    /// Replans of one run.
    pub replans: u32,
    /// Dispatches of one step.
    pub attempts: u32,
    /// Deliveries of one dispatch.
    pub deliveries: u32,
    /// Model turns of one step.
    pub model_turns: u32,
    /// Bytes of one submitted task.
    pub task_bytes: u64,
    /// Items that one `for_each` may expand to.
    pub for_each_items: u32,
    /// Seconds for which a run waits, without getting on, for a model out of credit.
    pub quota_wait_s: u64,
    /// Active runs of the fleet.
    pub active_runs: u64,
    /// Active runs of one tenant.
    pub active_runs_per_tenant: u64,
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            steps_per_plan: 1000,
            replans: 3,
            attempts: 5,
            deliveries: 5,
            model_turns: 15,
            task_bytes: 1024 * 1024,
            for_each_items: 1000,
            quota_wait_s: 3600,
            active_runs: 200_000,
            active_runs_per_tenant: 150_000,
        }
    }
}

/// `[tenants.<name>]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TenantSettings {
    /// What all its runs may spend in a day (UTC).
    pub usd_per_day: Option<UsdPerMillion>,
    /// Input and output tokens of all its runs in a day.
    pub tokens_per_day: Option<u64>,
    /// Active runs, instead of `limits.active_runs_per_tenant`.
    pub active_runs: Option<u64>,
    /// Its share of a pool beside others who wait; 1 unless said.
    pub weight: Option<u32>,
    /// Its work at once in the whole fleet.
    pub concurrency: Option<usize>,
}

/// `[telemetry]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetrySettings {
    /// The shape of log lines.
    pub log_format: LogFormat,
    /// Directives of `tracing_subscriber::EnvFilter`.
    pub log_filter: String,
    /// Base URL of an OTLP/HTTP collector; empty exports nothing.
    pub otlp_endpoint: String,
    /// What is exported there.
    pub otlp_signals: Vec<Signal>,
    /// Whether spans hold prompts, answers, and what tools are given and give.
    pub capture_content: bool,
    /// `service.name` of traces and metrics.
    pub service_name: String,
    /// `NO_COLOR` was set; not a key of the file.
    #[serde(skip)]
    pub no_color: bool,
}

impl Default for TelemetrySettings {
    fn default() -> Self {
        Self {
            log_format: LogFormat::Auto,
            log_filter: "info".to_owned(),
            otlp_endpoint: String::new(),
            otlp_signals: vec![Signal::Traces, Signal::Metrics],
            capture_content: false,
            service_name: "planfleet".to_owned(),
            no_color: false,
        }
    }
}

/// A kind of telemetry that can be exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Signal {
    /// Spans.
    Traces,
    /// What `/metrics` shows.
    Metrics,
}

impl TelemetrySettings {
    /// Where a signal is exported to, if it is.
    #[must_use]
    pub fn endpoint(&self, signal: Signal) -> Option<&str> {
        let wanted = !self.otlp_endpoint.is_empty() && self.otlp_signals.contains(&signal);
        wanted.then_some(self.otlp_endpoint.as_str())
    }
}

/// The shape of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// `Human` on a terminal, else `Json`.
    Auto,
    /// One compact line for people.
    Human,
    /// One JSON object a line.
    Json,
}

/// `[planner]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PlannerSettings {
    /// Whether a cheap model says which tasks of mode `auto` need a plan.
    pub triage: bool,
    /// Whether plans are used again for tasks of the same kind.
    pub cache: bool,
}

impl Default for PlannerSettings {
    fn default() -> Self {
        Self { triage: true, cache: true }
    }
}

/// `[coordinator]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CoordinatorSettings {
    /// Whether a coordinator follows the shards that it is next to own.
    pub standby: bool,
    /// A snapshot of a shard is written when a next owner would have to read so
    /// many entries of its log. At least 100.
    pub snapshot_entries: u64,
    /// Entries of a log beyond which what two snapshots hold is trimmed.
    pub log_entries: u64,
}

impl Default for CoordinatorSettings {
    fn default() -> Self {
        Self { standby: true, snapshot_entries: 300_000, log_entries: 2_000_000 }
    }
}

/// `[flow]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FlowSettings {
    /// Work in a pool's window for each slot of its workers.
    pub window_per_slot: usize,
    /// A pool's window while no worker of it is known.
    pub window_without_workers: usize,
    /// Milliseconds over which it is measured how much is under way: a window is not smaller than
    /// half as much again.
    pub window_ms: u64,
}

impl Default for FlowSettings {
    fn default() -> Self {
        Self { window_per_slot: 2, window_without_workers: 64, window_ms: 100 }
    }
}

/// `[health]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HealthSettings {
    /// `host:port`; empty is off.
    pub listen: String,
}

/// `[prices]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PriceSettings {
    /// A price file over the built-in table; empty for none.
    pub file: String,
}

/// `[data]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataSettings {
    /// Directory of local state; never empty once loaded.
    pub dir: String,
}
