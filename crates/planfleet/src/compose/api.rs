//! The API's role: its port, its index, and what it shows of the fleet.

use std::{path::Path, sync::Arc};

use futures::FutureExt as _;
use planfleet_api::{
    Api, FleetView, IndexFile, PreviewUsage,
    access::{AccessConfig, Demand, Oidc},
};
use planfleet_bus::Bus;
use planfleet_core::{document::usd, tool::ToolCatalog};
use planfleet_runtime::{
    config::{ApiAuth, Settings},
    tasks::Tasks,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{Models, scope};
use crate::{exit::Failure, model_list};

/// Where the settings want the API to listen.
pub(crate) fn address(settings: &Settings) -> &str {
    if settings.api.listen.is_empty() { planfleet_api::LISTEN } else { &settings.api.listen }
}

/// Takes the API's port, before anything is started.
pub(crate) async fn listener(settings: &Settings) -> Result<TcpListener, Failure> {
    planfleet_api::listen(address(settings), &access(settings)).await.map_err(Failure::usage)
}

/// How callers show who they are.
fn access(settings: &Settings) -> AccessConfig {
    let oidc = &settings.api.oidc;
    AccessConfig {
        demand: match settings.api.auth {
            ApiAuth::Auto => Demand::Auto,
            ApiAuth::Required => Demand::Required,
            ApiAuth::None => Demand::None,
        },
        oidc: (!oidc.issuer.is_empty()).then(|| Oidc {
            issuer: oidc.issuer.clone(),
            audience: oidc.audience.clone(),
            jwks_url: oidc.jwks_url.clone(),
            tenant_claim: oidc.tenant_claim.clone(),
            role_claim: oidc.role_claim.clone(),
            leeway_s: oidc.leeway_s,
        }),
        requests_per_minute: settings.api.requests_per_minute,
    }
}

/// The file of the local state that is the index unless another is named.
const INDEX_FILE: &str = "api-index.sqlite";

fn index(settings: &Settings) -> IndexFile {
    match settings.api.index_file.as_str() {
        "" => IndexFile::Preferably(Path::new(&settings.data.dir).join(INDEX_FILE)),
        file => IndexFile::At(file.into()),
    }
}

/// Starts the API on a port that has been taken.
pub(crate) fn start(
    bus: Bus,
    listener: TcpListener,
    settings: &Settings,
    (models, catalog): (&Models, ToolCatalog),
    tasks: &Tasks,
    stop: &CancellationToken,
) {
    let config = planfleet_api::Config {
        task_bytes_max: usize::try_from(settings.limits.task_bytes).unwrap_or(usize::MAX),
        access: access(settings),
        index: index(settings),
        trace_url: settings.api.trace_url.clone(),
        ..planfleet_api::Config::default()
    };
    let fleet = view(&bus, settings, models, &catalog);
    let api = Api::build(bus, config, scope(settings, catalog)).with_fleet(fleet);
    let stop = stop.clone();
    tasks.spawn("api", async move { api.run(listener, stop).await });
}

fn view(bus: &Bus, settings: &Settings, models: &Models, catalog: &ToolCatalog) -> FleetView {
    let (bus, settings_of_models) = (bus.clone(), Arc::new(settings.clone()));
    let list = move || {
        let (bus, settings) = (bus.clone(), Arc::clone(&settings_of_models));
        async move { model_list::with_fleet(&bus, &settings).await }.boxed()
    };
    let preview = models.planner.clone().map(|model| {
        let tools = Arc::new(catalog.clone());
        let preview: planfleet_api::PreviewPlan = Arc::new(move |submission| {
            let (model, tools) = (model.clone(), Arc::clone(&tools));
            async move {
                let (plan, usage) = planfleet_planner::preview::plan(&model, &submission, &tools).await?;
                let used = PreviewUsage {
                    model: model.name().to_owned(),
                    input_tokens: usage.input_tokens,
                    output_tokens: usage.output_tokens,
                    usd: usd(usage.nano_usd),
                };
                Ok((plan, used))
            }
            .boxed()
        });
        preview
    });
    FleetView {
        pools: settings.pools.iter().map(|(name, pool)| (name.clone(), pool.slots)).collect(),
        models: Arc::new(list),
        preview,
    }
}
