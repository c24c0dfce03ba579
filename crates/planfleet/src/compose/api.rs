//! The API's role: its port, its index, and what it shows of the fleet.

use std::{path::Path, sync::Arc};

use futures::FutureExt as _;
use planfleet_api::{
    Api, FleetView, IndexFile, Listener, PreviewUsage,
    access::{AccessConfig, Demand, Oidc},
};
use planfleet_bus::Bus;
use planfleet_core::{document::usd, tool::ToolCatalog};
use planfleet_llm::ModelHandle;
use planfleet_runtime::{
    config::{ApiAuth, Settings},
    tasks::Tasks,
};
use tokio_util::sync::CancellationToken;

use super::{purses, scope};
use crate::{exit::Failure, model_list};

/// Where the settings want the API to listen.
pub(crate) fn address(settings: &Settings) -> &str {
    if settings.api.listen.is_empty() { planfleet_api::LISTEN } else { &settings.api.listen }
}

/// Takes the API's port, before anything is started.
pub(crate) async fn listener(settings: &Settings) -> Result<Listener, Failure> {
    let listener =
        planfleet_api::listen(address(settings), &access(settings)).await.map_err(Failure::usage)?;
    let tls = &settings.api.tls;
    match tls.cert.is_empty() {
        true => Ok(listener),
        false => listener.with_tls(tls.cert.as_ref(), tls.key.as_ref()).map_err(Failure::usage),
    }
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

/// The planner's model, or why there is none where the API runs.
pub(crate) type Planner = Result<ModelHandle, String>;

/// Starts the API on a port that has been taken.
pub(crate) fn start(
    bus: Bus,
    listener: Listener,
    settings: &Settings,
    (planner, catalog): (Planner, ToolCatalog),
    tasks: &Tasks,
    stop: &CancellationToken,
) {
    let config = planfleet_api::Config {
        task_bytes_max: usize::try_from(settings.limits.task_bytes).unwrap_or(usize::MAX),
        access: access(settings),
        index: index(settings),
        // A key of `admin nats-auth` for the API may not.
        replays_all: settings.nats.nkey.is_empty(),
        trace_url: settings.api.trace_url.clone(),
        ..planfleet_api::Config::default()
    };
    let fleet = view(&bus, settings, planner, &catalog);
    let api = Api::build(bus, config, scope(settings, catalog)).with_fleet(fleet);
    let stop = stop.clone();
    tasks.spawn("api", async move { api.run(listener, stop).await });
}

fn view(bus: &Bus, settings: &Settings, planner: Planner, catalog: &ToolCatalog) -> FleetView {
    let (bus_of_models, settings_of_models) = (bus.clone(), Arc::new(settings.clone()));
    let list = move || {
        let (bus, settings) = (bus_of_models.clone(), Arc::clone(&settings_of_models));
        async move { model_list::with_fleet(&bus, &settings).await }.boxed()
    };
    let preview = planner.map(|model| {
        let (tools, purses) = (Arc::new(catalog.clone()), purses(bus, settings));
        let preview: planfleet_api::PreviewPlan = Arc::new(move |submission| {
            let (model, tools) = (model.clone(), Arc::clone(&tools));
            let purse = purses.of_preview(submission.task.tenant());
            async move {
                let planning = planfleet_planner::preview::plan(&model, &submission, &tools, purse);
                let (plan, usage) = planning.await?;
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
