//! The composition root: settings in, running roles out.

pub(crate) mod api;
mod flow;
pub(crate) mod tools;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use planfleet_api::submission::{Limits, Scope};
use planfleet_bus::{
    Bus, Manage, Pool, Topology,
    broker::{
        Broker as _,
        Error::Unreachable,
        nats::{ConnectOptions, NatsBroker, Tls},
    },
    budgets::Budgets,
};
use planfleet_coordinator::{Coordinator, Room, Sweeping, Upkeep};
use planfleet_core::{id::ShardId, tool::ToolCatalog};
use planfleet_executor::Executor;
use planfleet_llm::{
    ChatModel, Dialect, Endpoint, HttpChat, LongPrompts, ModelHandle, Price, Secret, Structured, Timeouts,
    Wire,
    cassette::{Player, Recorder, Recording, Tape},
    handle::HandleSettings,
};
use planfleet_planner::Planner;
use planfleet_proto::subjects::PLAN_POOL;
use planfleet_runtime::{
    clock,
    config::{
        self, CoordinatorSettings, Env as _, ModelSettings, ProcessEnv, SecretSource, Settings,
        TenantSettings, UsdPerMillion,
    },
    tasks::Tasks,
};
use planfleet_tools::Registry;
use tokio_util::sync::CancellationToken;

use crate::{broker, cli::Role, exit::Failure, hints, purse::Purses};

/// The models of a process, by role.
#[derive(Clone, Default)]
pub(crate) struct Models {
    pub(crate) planner: Option<ModelHandle>,
    pub(crate) executor: Option<ModelHandle>,
    pub(crate) strong: Option<ModelHandle>,
    pub(crate) judge: Option<ModelHandle>,
    pub(crate) triage: Option<ModelHandle>,
}

impl Models {
    /// Each model that some role has, once.
    fn all(&self) -> Vec<ModelHandle> {
        let roles = [&self.planner, &self.executor, &self.strong, &self.judge, &self.triage];
        let all = roles.into_iter().flatten().flat_map(ModelHandle::candidates);
        let by_key: BTreeMap<&str, &ModelHandle> = all.map(|model| (model.key(), model)).collect();
        by_key.into_values().cloned().collect()
    }
}

/// The models that the settings name for each role. A role that nothing is
/// configured for has none; its work then fails and says so. Roles of one model
/// share its handle, and so its connections and its bound on calls in flight.
pub(crate) fn models(settings: &Settings) -> Result<Models, Failure> {
    models_with(settings, &Cassette::None)
}

/// The planner's model alone, or why there is none here.
pub(crate) fn planner_model(settings: &Settings) -> Result<ModelHandle, String> {
    let model = model_of(config::Role::Planner, settings, &Cassette::None, &mut BTreeMap::new());
    model.map_err(|failure| failure.to_string())?.ok_or_else(|| NO_PLANNER.to_owned())
}

/// Why nothing is planned where no model plans.
pub(crate) const NO_PLANNER: &str = "no planner's model is configured here: see roles.planner";

/// The same with what they answer recorded, or played.
pub(crate) fn models_with(settings: &Settings, cassette: &Cassette) -> Result<Models, Failure> {
    let mut made = BTreeMap::new();
    let mut role = |role| model_of(role, settings, cassette, &mut made);
    Ok(Models {
        planner: role(config::Role::Planner)?,
        executor: role(config::Role::Executor)?,
        strong: role(config::Role::Strong)?,
        judge: role(config::Role::Judge)?,
        triage: role(config::Role::Triage)?,
    })
}

/// The model of one role with its fallbacks. `made` has those that other roles have, too.
fn model_of<'a>(
    role: config::Role,
    settings: &'a Settings,
    cassette: &Cassette,
    made: &mut BTreeMap<&'a str, ModelHandle>,
) -> Result<Option<ModelHandle>, Failure> {
    let Ok(models) = settings.role(role) else { return Ok(None) };
    let mut handles = Vec::new();
    for (name, model) in models {
        let handle = match made.get(name) {
            Some(handle) => handle.clone(),
            None => handle(name, model, settings.telemetry.capture_content, cassette)?,
        };
        made.insert(name, handle.clone());
        handles.push(handle);
    }
    let preferred = handles.remove(0);
    Ok(Some(preferred.with_fallbacks(handles)))
}

/// Whether models answer themselves.
#[derive(Clone, Default)]
pub(crate) enum Cassette {
    /// They do.
    #[default]
    None,
    /// They do, and it is written down.
    Record(Arc<Tape>),
    /// What was written down is the answer, after as long as it took: nobody is asked, and no
    /// key is needed.
    Play(Arc<Recording>),
}

/// One configured model.
fn handle(
    name: &str,
    settings: &ModelSettings,
    captures_content: bool,
    cassette: &Cassette,
) -> Result<ModelHandle, Failure> {
    let (model, price) = (settings.model.clone(), price(settings));
    let provider = || -> Result<_, Failure> {
        let (chat, dialect) = chat(name, settings)?;
        Ok((Arc::new(chat.priced(price).capturing_content(captures_content)), dialect))
    };
    let (chat, dialect): (Arc<dyn ChatModel>, Dialect) = match cassette {
        Cassette::None => {
            let (chat, dialect) = provider()?;
            (chat, dialect)
        }
        Cassette::Record(tape) => {
            let (chat, dialect) = provider()?;
            (Arc::new(Recorder::new(chat, model, Arc::clone(tape))), dialect)
        }
        Cassette::Play(recording) => {
            (Arc::new(Player::new(Arc::clone(recording), model).with_latency()), dialect(name, settings)?)
        }
    };
    #[expect(clippy::cast_possible_truncation, reason = "a temperature between 0 and 2")]
    let temperature = settings.temperature.map(|temperature| temperature as f32);
    Ok(ModelHandle::new(
        chat,
        HandleSettings {
            name: settings.model.clone(),
            key: name.to_owned(),
            dialect,
            price,
            long_prompts: long_prompts(settings),
            max_output_tokens: settings.max_output_tokens,
            temperature,
            concurrency_max: settings.max_concurrency,
            lasts: settings.total_timeout(),
            limits: planfleet_llm::Limits {
                requests_per_minute: settings.requests_per_minute,
                tokens_per_minute: settings.tokens_per_minute,
                tenant_requests_per_minute: settings.tenant_requests_per_minute,
                tenant_tokens_per_minute: settings.tenant_tokens_per_minute,
                ..planfleet_llm::Limits::default()
            },
        },
    ))
}

/// In what the server of one configured model differs.
fn dialect(name: &str, settings: &ModelSettings) -> Result<Dialect, Failure> {
    let own_dialect = match settings.wire {
        config::Wire::OpenaiChat => "generic",
        config::Wire::AnthropicMessages => "anthropic",
    };
    let kind = if settings.dialect == "generic" { own_dialect } else { &settings.dialect };
    let mut dialect = Dialect::named(kind).ok_or_else(|| {
        let known = planfleet_llm::dialect::KINDS.join(", ");
        Failure::usage(format!(
            "models.{name}.dialect: {:?} is not known; there are {known}",
            settings.dialect
        ))
    })?;
    dialect.extra_body.extend(settings.extra_body.clone());
    dialect.small_model = settings.small_model;
    if let Some(structured) = settings.structured {
        dialect.structured = match structured {
            config::Structured::JsonSchema => Structured::JsonSchema,
            config::Structured::ToolCall => Structured::ToolCall,
            config::Structured::JsonObject => Structured::JsonObject,
            config::Structured::Prompt => Structured::Prompt,
        };
    }
    Ok(dialect)
}

/// The client of one configured model.
pub(crate) fn chat(name: &str, settings: &ModelSettings) -> Result<(HttpChat, Dialect), Failure> {
    let dialect = dialect(name, settings)?;
    let wire = match settings.wire {
        config::Wire::OpenaiChat => Wire::OpenAiChat,
        config::Wire::AnthropicMessages => Wire::AnthropicMessages,
    };
    let key = SecretSource { model: name }
        .resolve(settings, &|variable| ProcessEnv.get(variable))
        .map_err(Failure::usage)?;
    let endpoint = Endpoint {
        name: name.to_owned(),
        wire,
        base_url: settings.base_url.clone(),
        api_key: key.map(Secret::new),
        model: settings.model.clone(),
        dialect: dialect.clone(),
        timeouts: Timeouts {
            first_byte: settings.first_byte_timeout(),
            idle: settings.idle_timeout(),
            total: settings.total_timeout(),
            ..Timeouts::default()
        },
        always_stream: settings.always_stream,
        extra_headers: settings.extra_headers.clone(),
    };
    let chat = HttpChat::new(endpoint).map_err(|error| Failure::usage(format!("models.{name}: {error}")))?;
    Ok((chat, dialect))
}

fn price(settings: &ModelSettings) -> Option<Price> {
    let price = &settings.price;
    rates(
        settings.wire,
        [
            price.input_usd_per_million,
            price.cached_input_usd_per_million,
            price.cache_write_input_usd_per_million,
            price.output_usd_per_million,
        ],
    )
}

fn long_prompts(settings: &ModelSettings) -> Option<LongPrompts> {
    let long = &settings.price.long;
    let price = rates(
        settings.wire,
        [
            long.input_usd_per_million,
            long.cached_input_usd_per_million,
            long.cache_write_input_usd_per_million,
            long.output_usd_per_million,
        ],
    );
    Some(LongPrompts { over_tokens: long.over_tokens?, price })
}

/// Of input, cached input, input that is written to the cache, and output.
fn rates(wire: config::Wire, prices: [Option<UsdPerMillion>; 4]) -> Option<Price> {
    let [input, cached_input, cache_write, output] = prices.map(|price| price.map(UsdPerMillion::nano_usd));
    let (input, output) = (input?, output?);
    // A provider that has no price of its own for cached input charges the full one. Anthropic
    // takes a quarter more for what it puts into its cache, whatever the model.
    let written = match wire {
        config::Wire::OpenaiChat => input,
        config::Wire::AnthropicMessages => input.saturating_add(input.div_ceil(4)),
    };
    let (cached_input, cache_write) = (cached_input.unwrap_or(input), cache_write.unwrap_or(written));
    Some(Price { input, cached_input, cache_write, output })
}

/// A bus on the broker at `url`, nothing made or checked on it yet.
pub(crate) async fn connect(settings: &Settings, url: &str) -> Result<Bus, Failure> {
    let nats = &settings.nats;
    let path = |path: &String| (!path.is_empty()).then(|| PathBuf::from(path));
    let options = ConnectOptions {
        url: url.to_owned(),
        creds_file: path(&nats.creds),
        nkey_file: path(&nats.nkey),
        inbox_prefix: (!nats.inbox_prefix.is_empty()).then(|| nats.inbox_prefix.clone()),
        tls: Tls { ca: path(&nats.tls.ca), cert: path(&nats.tls.cert), key: path(&nats.tls.key) },
        name: nats.name.clone(),
        connect_timeout: nats.connect_timeout(),
        ..ConnectOptions::default()
    };
    let broker = NatsBroker::connect(options).await.map_err(|error| match error {
        Unreachable(_) => Failure::no_broker(error),
        other => other.into(),
    })?;
    broker::check_version(&broker.describe().await?)?;
    Ok(Bus::new(Arc::new(broker), shards(settings)))
}

fn shards(settings: &Settings) -> ShardId {
    ShardId::try_from(settings.nats.shards).unwrap_or(ShardId::MAX)
}

/// The pools of the settings as the bus knows them.
pub(crate) fn pools(settings: &Settings) -> Vec<Pool> {
    let pool = |(name, pool): (&String, &config::PoolSettings)| Pool {
        name: name.clone(),
        slots: pool.slots,
        ack_wait: Duration::from_secs(pool.ack_wait_s),
    };
    settings.pools.iter().map(pool).collect()
}

/// Everything that the settings want on the broker.
pub(crate) fn topology(settings: &Settings) -> Topology {
    Topology {
        shards: shards(settings),
        replicas: settings.nats.replicas,
        pools: pools(settings),
        manage: match settings.nats.manage {
            config::Manage::Create => Manage::Create,
            config::Manage::Verify => Manage::Verify,
            config::Manage::Off => Manage::Off,
        },
    }
}

/// What the settings let tasks draw on.
pub(crate) fn scope(settings: &Settings, tools: ToolCatalog) -> Scope {
    let limits = &settings.limits;
    let own_pools = settings.pools.keys().filter(|name| *name != PLAN_POOL && *name != "default");
    Scope {
        tools,
        hosts: settings.tools.hosts.clone(),
        pools: own_pools.cloned().collect(),
        limits: Limits {
            steps_max: limits.steps_per_plan,
            items_max: limits.for_each_items,
            attempts_max: limits.attempts,
            replans: limits.replans,
            quota_wait_ms: limits.quota_wait_s * 1_000,
        },
    }
}

/// What the roles of one process are made from.
pub(crate) struct Fleet {
    pub(crate) bus: Bus,
    pub(crate) models: Models,
    pub(crate) tools: Arc<Registry>,
    /// Pools that the executor works for.
    pub(crate) executor_pools: Vec<Pool>,
    /// The coordinator's name.
    pub(crate) name: String,
}

impl Fleet {
    /// Starts the roles. Each is a task that runs until `stop` and then drains.
    pub(crate) fn start(&self, roles: &[Role], settings: &Settings, tasks: &Tasks, stop: &CancellationToken) {
        if roles.iter().any(|role| matches!(role, Role::Planner | Role::Executor)) {
            hints::join(&self.bus, self.models.all(), &self.name, tasks, stop);
        }
        self.say_slots(roles, settings, tasks, stop);
        for role in roles {
            match role {
                Role::Coordinator => self.start_coordinator(settings, tasks, stop),
                Role::Planner => self.start_planner(settings, tasks, stop),
                Role::Executor => self.start_executors(settings, tasks, stop),
                // Its port is taken before anything starts: see `api::start`.
                Role::Api => {}
            }
        }
    }

    /// Coordinators let as much work go as there are slots for.
    fn say_slots(&self, roles: &[Role], settings: &Settings, tasks: &Tasks, stop: &CancellationToken) {
        let slots = flow::slots(roles, &self.executor_pools, &pools(settings));
        if slots.is_empty() {
            return;
        }
        let (bus, name, stop) = (self.bus.clone(), self.name.clone(), stop.clone());
        tasks.spawn("slots", async move { bus.keep_slots_known(&name, &slots, stop).await });
    }

    fn start_coordinator(&self, settings: &Settings, tasks: &Tasks, stop: &CancellationToken) {
        let CoordinatorSettings { standby, snapshot_entries, log_entries } = settings.coordinator;
        let config = planfleet_coordinator::Config {
            standby,
            room: room(settings),
            upkeep: Upkeep { snapshot_entries, log_entries, trim_entries: snapshot_entries / 6 },
            sweeping: Sweeping { kept: tools::kept(&settings.tools), ..Sweeping::default() },
            flow: flow::settings(settings),
            ..planfleet_coordinator::Config::named(self.name.clone())
        };
        let coordinator = Coordinator::build(self.bus.clone(), config);
        let (set, stop) = (tasks.clone(), stop.clone());
        tasks.spawn("coordinator", async move { coordinator.run(&set, stop).await });
    }

    fn start_planner(&self, settings: &Settings, tasks: &Tasks, stop: &CancellationToken) {
        let Some(pool) = pools(settings).into_iter().find(|pool| pool.name == PLAN_POOL) else { return };
        let own = &settings.pools[PLAN_POOL];
        let config = planfleet_planner::Config {
            pool,
            planning_timeout: Duration::from_secs(own.step_timeout_s),
            deliveries_max: settings.limits.deliveries.into(),
            cache: settings.planner.cache,
            grace: Duration::from_secs(own.grace_s),
            now_ms: clock::unix_ms,
        };
        let models = planfleet_planner::Models {
            planner: self.models.planner.clone(),
            triage: self.models.triage.clone().filter(|_| settings.planner.triage),
        };
        let purses = purses(&self.bus, settings).of_plan();
        let planner = Planner::build(self.bus.clone(), config, models, self.tools.catalog(), purses);
        let stop = stop.clone();
        tasks.spawn("planner", async move { planner.run(stop).await });
    }

    fn start_executors(&self, settings: &Settings, tasks: &Tasks, stop: &CancellationToken) {
        for pool in &self.executor_pools {
            let own = settings.pools.get(&pool.name).cloned().unwrap_or_default();
            let config = planfleet_executor::Config {
                pool: pool.clone(),
                step_timeout: Duration::from_secs(own.step_timeout_s),
                deliveries_max: settings.limits.deliveries.into(),
                turns_max: settings.limits.model_turns,
                grace: Duration::from_secs(own.grace_s),
                now_ms: clock::unix_ms,
            };
            let models = planfleet_executor::Models {
                executor: self.models.executor.clone(),
                strong: self.models.strong.clone(),
                judge: self.models.judge.clone(),
            };
            let (tools, purses) = (Arc::clone(&self.tools), purses(&self.bus, settings).of_step());
            let executor = Executor::build(self.bus.clone(), config, models, tools, purses);
            let stop = stop.clone();
            tasks.spawn("executor", async move { executor.run(stop).await });
        }
    }
}

fn room(settings: &Settings) -> Room {
    let own = |(name, tenant): (&String, &TenantSettings)| Some((name.clone(), tenant.active_runs?));
    Room {
        runs: settings.limits.active_runs,
        runs_of_tenant: settings.limits.active_runs_per_tenant,
        runs_of: settings.tenants.iter().filter_map(own).collect(),
    }
}

/// One for each user: what keeps the books of one process is told apart by name.
fn purses(bus: &Bus, settings: &Settings) -> Purses {
    Purses::new(Budgets::new(Arc::clone(bus.broker()), unique_name(), clock::unix_ms), settings)
}

/// A name that no other process has.
pub(crate) fn unique_name() -> String {
    format!("pf-{}-{}", std::process::id(), &uuid::Uuid::now_v7().simple().to_string()[20..])
}
