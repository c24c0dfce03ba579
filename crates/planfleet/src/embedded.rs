//! Everything in one process group: an own nats-server, a local model where no
//! other is configured, and all roles.

mod lock;
pub(crate) mod model;
pub(crate) mod nats;

use std::{path::PathBuf, sync::Arc, time::Duration};

use planfleet_api::Listener;
use planfleet_bus::Bus;
use planfleet_core::tool::ToolCatalog;
use planfleet_runtime::{
    config::{Env, ProcessEnv, Settings},
    tasks::Tasks,
};
use tokio_util::sync::CancellationToken;

pub(crate) use self::model::LocalModel;
use self::{lock::Folder, nats::NatsServer};
use crate::{
    cli::Role,
    compose::{self, Cassette, Fleet, Models, tools::BusStore},
    exit::Failure,
};

/// The name of the local model in the settings.
pub(crate) const LOCAL_MODEL: &str = "local";

/// How long embedded roles may take to stop after a stop was asked for.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// A fleet of one process, with its children.
pub(crate) struct Embedded {
    pub(crate) bus: Bus,
    pub(crate) url: String,
    pub(crate) notes: Vec<String>,
    models: Models,
    pub(crate) catalog: ToolCatalog,
    tasks: Tasks,
    stop: CancellationToken,
    server: NatsServer,
    model: Option<LocalModel>,
    folder: Folder,
}

/// What is to be started.
#[derive(Clone, Default)]
pub(crate) struct Options {
    /// Keep the broker's data where a restart finds it.
    pub(crate) keep_data: bool,
    /// Use the local model where none is configured.
    pub(crate) local_model: bool,
    /// Where models' answers go to, or come from.
    pub(crate) cassette: Cassette,
}

impl Embedded {
    /// Starts everything. `settings` learns of the local model.
    pub(crate) async fn start(settings: &mut Settings, options: Options) -> Result<Self, Failure> {
        let folder = folder(settings, options.keep_data)?;
        let server = NatsServer::start(folder.path(), settings.nats.sync_interval.as_deref()).await?;
        let mut notes = settings.origin_notes.clone();
        let model = match options.local_model && settings.models.is_empty() {
            true => LocalModel::start(&ProcessEnv).await?,
            false => None,
        };
        if let Some(model) = &model {
            model.configure(settings);
            notes.push(format!("models: {} on this machine, no key needed", model.description()));
        } else if options.local_model && settings.models.is_empty() {
            notes.push("models: none configured; set OPENAI_API_KEY or ANTHROPIC_API_KEY, or [models] and [roles] in planfleet.toml, or run `make setup` for a small local one".into());
        }
        let bus = compose::connect(settings, server.url()).await?;
        bus.bootstrap(&compose::topology(settings)).await?;
        let (tasks, stop) = (Tasks::new("embedded"), CancellationToken::new());
        let fleet = fleet(settings, bus.clone(), &options.cassette).await?;
        fleet.start(&Role::ALL, settings, &tasks, &stop);
        let (url, catalog) = (server.url().to_owned(), fleet.tools.catalog());
        let models = fleet.models;
        Ok(Self { bus, url, notes, models, catalog, tasks, stop, server, model, folder })
    }

    /// Serves the API on a port that has been taken.
    pub(crate) fn serve_api(&self, listener: Listener, settings: &Settings) {
        let planner = self.models.planner.clone().ok_or_else(|| compose::NO_PLANNER.to_owned());
        let shown = (planner, self.catalog.clone());
        compose::api::start(self.bus.clone(), listener, settings, shown, &self.tasks, &self.stop);
    }

    /// Hands over, drains, and stops the children.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        let unfinished = self.tasks.shutdown(STOP_GRACE).await;
        if !unfinished.is_empty() {
            tracing::warn!(%unfinished, "some roles did not stop in time");
        }
        self.abandon().await;
    }

    /// Stops the children without waiting for the roles, whose work is done.
    pub(crate) async fn abandon(self) {
        self.stop.cancel();
        if let Some(model) = self.model {
            model.stop().await;
        }
        self.server.stop().await;
        drop(self.folder);
    }

    /// Waits until a part without which nothing goes on has failed for good: a
    /// role, the broker, or the local model.
    pub(crate) async fn first_failure(&mut self) -> String {
        let model = async {
            match &mut self.model {
                Some(model) => model.ended().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            failure = self.tasks.first_failure() => format!("{}: {}", failure.name, failure.reason),
            why = self.server.ended() => why,
            why = model => why,
        }
    }
}

async fn fleet(settings: &Settings, bus: Bus, cassette: &Cassette) -> Result<Fleet, Failure> {
    let executor_pools = compose::pools(settings).into_iter().filter(|pool| pool.name != "plan").collect();
    let tools = compose::tools::registry(settings, Arc::new(BusStore(bus.clone()))).await?;
    let models = compose::models_with(settings, cassette)?;
    Ok(Fleet { bus, models, tools, executor_pools, name: compose::unique_name() })
}

/// Starts the local model for a command that needs a model and nothing else,
/// where none is configured.
pub(crate) async fn borrow_model(
    settings: &mut Settings,
    env: &dyn Env,
) -> Result<Option<LocalModel>, Failure> {
    if !settings.models.is_empty() {
        return Ok(None);
    }
    let model = LocalModel::start(env).await?;
    if let Some(model) = &model {
        model.configure(settings);
    }
    Ok(model)
}

/// Where the broker keeps its data. A folder that was asked for by name is
/// always kept; otherwise a single run gets one of its own, so that runs left
/// over from elsewhere do not come alive in it.
fn folder(settings: &Settings, keep: bool) -> Result<Folder, Failure> {
    let named = settings.source_of("data.dir") != "defaults";
    if keep || named { Folder::locked(&data_dir(settings).join("nats")) } else { Folder::temporary() }
}

/// The folder for all data of this user.
pub(crate) fn data_dir(settings: &Settings) -> PathBuf {
    PathBuf::from(&settings.data.dir)
}

/// Where `planfleet dev` writes how to reach it.
pub(crate) fn address_file(settings: &Settings) -> PathBuf {
    data_dir(settings).join("dev.json")
}
