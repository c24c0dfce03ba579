//! What each command does.

mod admin;
mod batch;
mod bench;
mod cache;
mod compare;
mod configuration;
mod cost;
mod dev;
mod follow;
mod mcp;
mod mermaid;
mod models;
mod modelsim;
mod plan;
mod queue;
mod reasons;
mod report;
mod run;
mod runs;
mod serve;
mod steer;
mod templates;
mod tools;

use std::process::ExitCode;

use planfleet_bus::Bus;
use planfleet_runtime::{config::Settings, telemetry::Metrics};

use crate::{
    broker::{self, Address, Report},
    cli::{Cli, Command},
    compose,
    exit::Failure,
};

/// Carries a command out and says how the process ends.
pub(crate) async fn dispatch(cli: &Cli, settings: Settings, metrics: Metrics) -> Result<ExitCode, Failure> {
    match &cli.command {
        Command::Dev(args) => dev::dev(cli, args, settings, metrics).await,
        Command::Serve(args) => serve::serve(cli, args, settings, metrics).await,
        Command::Run(args) => run::run(cli, args, settings).await,
        Command::Plan(args) => plan::plan(cli, args, settings).await,
        Command::Runs(command) => runs::runs(cli, command, &settings).await,
        Command::Batch(command) => batch::batch(cli, command, settings).await,
        Command::Templates(command) => templates::templates(cli, command, &settings).await,
        Command::Queue(command) => queue::queue(cli, command, &settings).await,
        Command::Compare(args) => compare::compare(cli, args, settings).await,
        Command::Cache(command) => cache::cache(cli, command, &settings).await,
        Command::Cost(command) => cost::cost(cli, command, &settings).await,
        Command::Tools(command) => tools::tools(cli, command, &settings).await,
        Command::Mcp => mcp::mcp(&settings).await,
        Command::Models(command) => models::models(cli, command, &settings).await,
        Command::Config(command) => configuration::configuration(cli, command, &settings),
        Command::Admin(command) => admin::admin(cli, command, &settings).await,
        Command::Modelsim(args) => modelsim::modelsim(args).await,
        Command::Bench(args) => bench::bench(cli, args).await,
        Command::BenchFloor(args) => bench::floor(args).await,
        Command::BenchWatchers(args) => bench::watchers(args).await,
    }
}

/// The bus of the fleet that the settings name, or else of the `planfleet dev`
/// that runs for this user.
pub(crate) async fn connect(settings: &Settings) -> Result<Bus, Failure> {
    compose::connect(settings, &broker_url(settings)).await
}

fn broker_url(settings: &Settings) -> String {
    Address::find(settings).map_or_else(|| settings.nats.url.clone(), |address| address.url)
}

/// What the broker is that [`connect`] has connected to.
async fn look_at_broker(bus: &Bus, settings: &Settings) -> Result<Report, Failure> {
    let own = Address::find(settings).and_then(|address| address.sync);
    broker::look(bus, settings, own).await
}
