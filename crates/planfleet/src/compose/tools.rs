//! Tools from their settings: secrets are read, servers are started, and what tools keep is on
//! the broker.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use planfleet_bus::{Bus, kept::Bounds};
use planfleet_core::tool::Effect;
use planfleet_runtime::config::{self, Env as _, ProcessEnv, Settings, ToolEffect};
use planfleet_tools::{
    Registry,
    settings::{CredentialSettings, HttpToolSettings, McpSettings},
    store::{Kind, Store, StoreError},
};
use tokio::sync::OnceCell;

use crate::exit::Failure;

/// What a program needs to be found and to find its own files.
const ALWAYS_PASSED: [&str; 2] = ["PATH", "HOME"];

/// All tools of the settings, over a store. Starts or asks every MCP server.
pub(crate) async fn registry(settings: &Settings, store: Arc<dyn Store>) -> Result<Arc<Registry>, Failure> {
    let built = Registry::build(own(settings)?, Some(store)).await;
    built.map(Arc::new).map_err(|error| Failure::usage_because(&error))
}

/// What those need to know who call no tool: the contracts of all tools but those of MCP servers,
/// which are not asked. No secret is read and no root has to be there: where tools are called may
/// be another machine.
pub(crate) fn described(settings: &Settings) -> Result<Registry, Failure> {
    let tools = &settings.tools;
    let own = planfleet_tools::Settings {
        hosts: tools.hosts.clone(),
        http: tools.http.iter().map(|(name, own)| (name.clone(), http(own))).collect(),
        ..planfleet_tools::Settings::default()
    };
    Registry::builtin(own).map_err(|error| Failure::usage(format!("tools: {error}")))
}

/// What can be known of the tools without asking any server: whether their settings are sound.
pub(crate) fn check(settings: &Settings) -> Result<Registry, Failure> {
    Registry::builtin(own(settings)?).map_err(|error| Failure::usage_because(&error))
}

fn own(settings: &Settings) -> Result<planfleet_tools::Settings, Failure> {
    let tools = &settings.tools;
    Ok(planfleet_tools::Settings {
        roots: tools.roots.iter().map(PathBuf::from).collect(),
        hosts: tools.hosts.clone(),
        allow_loopback: tools.allow_loopback,
        http_timeout_ms: tools.http_timeout_s.saturating_mul(1_000),
        http_body_bytes_max: usize::try_from(tools.http_body_bytes_max).unwrap_or(usize::MAX),
        credentials: credentials(settings)?,
        http: tools.http.iter().map(|(name, own)| (name.clone(), http(own))).collect(),
        mcp: mcp_servers(settings)?,
        capture_content: settings.telemetry.capture_content,
        ..planfleet_tools::Settings::default()
    })
}

fn credentials(settings: &Settings) -> Result<BTreeMap<String, CredentialSettings>, Failure> {
    let read = |(name, own): (&String, &config::CredentialSettings)| {
        let owner = format!("credential `{name}`");
        let env = |variable: &str| ProcessEnv.get(variable);
        let value = config::secret(&owner, &own.value_env, &own.value_file, &env).map_err(Failure::usage)?;
        let (hosts, header, prefix) = (own.hosts.clone(), own.header.clone(), own.prefix.clone());
        let value = value.unwrap_or_default();
        Ok((name.clone(), CredentialSettings { hosts, header, prefix, value }))
    };
    settings.credentials.iter().map(read).collect()
}

fn mcp_servers(settings: &Settings) -> Result<BTreeMap<String, McpSettings>, Failure> {
    settings.mcp.iter().map(|(name, own)| Ok((name.clone(), mcp(name, own)?))).collect()
}

fn mcp(name: &str, own: &config::McpSettings) -> Result<McpSettings, Failure> {
    let mut env = BTreeMap::new();
    for variable in ALWAYS_PASSED {
        env.extend(ProcessEnv.get(variable).map(|value| (variable.to_owned(), value)));
    }
    for variable in &own.env {
        let value = ProcessEnv.get(variable).ok_or_else(|| {
            Failure::usage(format!("mcp.{name}.env names the variable {variable}, which is not set"))
        })?;
        env.insert(variable.clone(), value);
    }
    Ok(McpSettings {
        command: own.command.clone(),
        args: own.args.clone(),
        env,
        url: own.url.clone(),
        tools: own.tools.clone(),
        effects: own.effects.iter().map(|(tool, own)| (tool.clone(), effect(*own))).collect(),
        sha256: own.sha256.clone(),
        timeout_ms: own.timeout_s.saturating_mul(1_000),
    })
}

fn http(own: &config::HttpToolSettings) -> HttpToolSettings {
    HttpToolSettings {
        url: own.url.clone(),
        description: own.description.clone(),
        arguments: own.arguments.clone(),
        output: own.output.clone(),
        effect: effect(own.effect),
        idempotent: own.idempotent,
    }
}

const fn effect(own: ToolEffect) -> Effect {
    match own {
        ToolEffect::Pure => Effect::Pure,
        ToolEffect::Read => Effect::Read,
        ToolEffect::Write => Effect::Write,
        ToolEffect::Destructive => Effect::Destructive,
    }
}

/// What tools keep, on the broker.
pub(crate) struct BusStore(pub(crate) Bus);

#[async_trait]
impl Store for BusStore {
    async fn get(&self, kind: Kind, tenant: &str, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let found = match kind {
            Kind::Value => self.0.kept_value(tenant, key).await,
            Kind::Object => self.0.kept_object(tenant, key).await,
        };
        found.map(|found| found.map(Vec::from)).map_err(trouble)
    }

    async fn put(&self, kind: Kind, tenant: &str, key: &str, content: Vec<u8>) -> Result<(), StoreError> {
        let kept = match kind {
            Kind::Value => self.0.keep_value(tenant, key, content.into()).await,
            Kind::Object => self.0.keep_object(tenant, key, content.into()).await,
        };
        kept.map_err(trouble)
    }
}

fn trouble(error: planfleet_bus::Error) -> StoreError {
    StoreError { reason: error.to_string(), transient: !error.is_permanent() }
}

/// The same for commands that know their tools before they have a broker, or never need one: it
/// is connected to when a tool first keeps something.
pub(crate) struct LateStore {
    settings: Settings,
    store: OnceCell<BusStore>,
}

impl LateStore {
    pub(crate) fn new(settings: &Settings) -> Arc<Self> {
        Arc::new(Self { settings: settings.clone(), store: OnceCell::new() })
    }

    async fn connected(&self) -> Result<&BusStore, StoreError> {
        let connect = || async { crate::commands::connect(&self.settings).await.map(BusStore) };
        self.store
            .get_or_try_init(connect)
            .await
            .map_err(|failure| StoreError { reason: failure.to_string(), transient: true })
    }
}

#[async_trait]
impl Store for LateStore {
    async fn get(&self, kind: Kind, tenant: &str, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.connected().await?.get(kind, tenant, key).await
    }

    async fn put(&self, kind: Kind, tenant: &str, key: &str, content: Vec<u8>) -> Result<(), StoreError> {
        self.connected().await?.put(kind, tenant, key, content).await
    }
}

/// How much of what tools keep stays.
pub(crate) fn kept(settings: &config::ToolSettings) -> Bounds {
    Bounds {
        age: Duration::from_secs(settings.object_age_days.saturating_mul(24 * 3600)),
        count: settings.objects_per_tenant,
        bytes: settings.object_bytes_per_tenant,
    }
}
