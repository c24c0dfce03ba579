//! `dev`: everything in one process, until a signal.

use std::process::ExitCode;

use planfleet_api::Listener;
use planfleet_runtime::{
    config::Settings,
    health::{self, Health},
    signals::{Signals, StopRequest},
    tasks::Tasks,
    telemetry::Metrics,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    broker::{self, Address},
    cli::{Cli, DevArgs},
    compose,
    embedded::{self, Embedded, Options},
    exit::{Code, Failure},
    output,
};

pub(super) async fn dev(
    cli: &Cli,
    args: &DevArgs,
    mut settings: Settings,
    metrics: Metrics,
) -> Result<ExitCode, Failure> {
    // Ports that are taken are said before anything is started.
    let listener = api_listener(&settings).await?;
    let health = health_listener(&settings).await?;
    let options = Options { keep_data: true, local_model: !args.no_local_model, ..Options::default() };
    let mut fleet = Embedded::start(&mut settings, options).await?;
    broker::look(&fleet.bus, &settings, Some(broker::own_sync(&settings))).await?.log();
    let api = serve_api(&fleet, listener, &settings)?;
    let address = embedded::address_file(&settings);
    std::fs::write(&address, Address::written(&fleet.url, &settings).to_string())
        .map_err(|error| Failure::unexpected(format!("{}: {error}", address.display())))?;
    if !cli.quiet {
        for note in &fleet.notes {
            output::note(note);
        }
        output::note(&format!("planfleet is up: nats-server at {}, all roles in this process", fleet.url));
        output::note(&api);
        output::note("try, in another terminal:  planfleet run \"Name three uses of a paper clip.\"");
    }
    let health = serve_health(health, metrics);
    let stop = CancellationToken::new();
    let mut signals = Signals::listen(stop).map_err(Failure::unexpected)?;
    let failed = tokio::select! {
        request = signals.next() => match request {
            StopRequest::Graceful(_) => None,
            StopRequest::Immediate(_) => return Err(Failure::new(Code::Interrupted, "stopped at once")),
        },
        failure = fleet.first_failure() => Some(failure),
    };
    let _ = std::fs::remove_file(&address);
    health.cancel();
    // Without its broker or a role there is nothing left to drain.
    if failed.is_some() {
        fleet.abandon().await;
    } else {
        fleet.stop().await;
    }
    failed.map_or(Ok(ExitCode::SUCCESS), |failure| Err(Failure::unexpected(failure)))
}

/// The API's port. One that was asked for is insisted on; the usual one may be
/// taken by another `planfleet dev`.
async fn api_listener(settings: &Settings) -> Result<Option<Listener>, Failure> {
    match compose::api::listener(settings).await {
        Ok(listener) => Ok(Some(listener)),
        Err(_) if settings.api.listen.is_empty() && settings.api.tls.cert.is_empty() => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// Starts the API where it has a port; says where it is.
fn serve_api(fleet: &Embedded, listener: Option<Listener>, settings: &Settings) -> Result<String, Failure> {
    let Some(listener) = listener else {
        let taken = compose::api::address(settings);
        return Ok(format!("no API: {taken} is taken; set api.listen to another address to have it"));
    };
    let url = listener.url().map_err(Failure::unexpected)?;
    fleet.serve_api(listener, settings);
    Ok(format!("dashboard at {url}/, API at {url}/v1/runs"))
}

/// The health port, where one is configured.
async fn health_listener(settings: &Settings) -> Result<Option<TcpListener>, Failure> {
    if settings.health.listen.is_empty() || settings.health.listen == health::OFF {
        return Ok(None);
    }
    health::listen(&settings.health.listen, "health.listen").await.map(Some).map_err(Failure::usage)
}

fn serve_health(listener: Option<TcpListener>, metrics: Metrics) -> CancellationToken {
    let stop = CancellationToken::new();
    if let Some(listener) = listener {
        let health = Health::new();
        health.check("broker").set(true, "embedded");
        let served = health::serve(listener, health::routes(health, metrics), stop.clone());
        Tasks::new("health").spawn("health", served);
    }
    stop
}
