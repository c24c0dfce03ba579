//! `serve`: chosen roles of a fleet, until a signal.

use std::{process::ExitCode, sync::Arc, time::Duration};

use planfleet_bus::{Bus, Error as BusError, Pool, broker};
use planfleet_runtime::{
    config::Settings,
    health::{self, Health},
    signals::{Signals, StopRequest},
    tasks::Tasks,
    telemetry::Metrics,
};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{connect, look_at_broker};
use crate::{
    broker::readiness,
    cli::{Cli, Role, ServeArgs},
    compose::{self, Fleet, Models, tools::BusStore},
    exit::{Code, Failure},
    output,
};

/// How long a fleet waits for a broker that elects a leader before it gives up
/// making its streams.
const BOOTSTRAP_PATIENCE: Duration = Duration::from_secs(30);

/// On top of the longest grace of a pool, for hand-overs and the last acks.
const STOP_MARGIN: Duration = Duration::from_secs(5);

pub(super) async fn serve(
    cli: &Cli,
    args: &ServeArgs,
    mut settings: Settings,
    metrics: Metrics,
) -> Result<ExitCode, Failure> {
    let api = match args.roles.contains(&Role::Api) {
        true => Some(compose::api::listener(&settings).await?),
        false => None,
    };
    let executor_pools = executor_pools(args, &mut settings)?;
    let bus = connect(&settings).await?;
    bootstrap(&bus, &settings).await?;
    look_at_broker(&bus, &settings).await?.log();
    // Whoever calls no model and no tool needs no secret of one.
    let works = args.roles.iter().any(|role| matches!(role, Role::Planner | Role::Executor));
    let asks_servers = api.is_some() && settings.api.mcp_tools && !settings.mcp.is_empty();
    let tools = match works || asks_servers {
        true => compose::tools::registry(&settings, Arc::new(BusStore(bus.clone()))).await?,
        false => Arc::new(compose::tools::described(&settings)?),
    };
    let fleet = Fleet {
        bus: bus.clone(),
        models: if works { compose::models(&settings)? } else { Models::default() },
        tools,
        executor_pools,
        name: args.name.clone().unwrap_or_else(compose::unique_name),
    };
    let (tasks, stop) = (Tasks::new("serve"), CancellationToken::new());
    let health = Health::new();
    follow_broker(&bus, &settings, &health, &tasks, &stop);
    serve_health(&settings, health, metrics, &tasks, &stop).await?;
    fleet.start(&args.roles, &settings, &tasks, &stop);
    let mut serving = names(&args.roles);
    if let Some(listener) = api {
        serving.push_str(&format!(" ({})", listener.url().map_err(Failure::unexpected)?));
        // Where planning is not this process's work, a key for it is nobody's duty.
        let planner = match works {
            true => fleet.models.planner.clone().ok_or_else(|| compose::NO_PLANNER.to_owned()),
            false => compose::planner_model(&settings),
        };
        let shown = (planner, fleet.tools.catalog());
        compose::api::start(bus.clone(), listener, &settings, shown, &tasks, &stop);
    }
    if !cli.quiet {
        output::note(&format!("serving {serving}; Ctrl-C drains and stops"));
    }
    until_stopped(&tasks, &stop, grace(&settings)).await
}

fn names(roles: &[Role]) -> String {
    roles.iter().map(|role| format!("{role:?}").to_lowercase()).collect::<Vec<_>>().join(", ")
}

/// The pools that this process works for, with the slots that were asked for.
fn executor_pools(args: &ServeArgs, settings: &mut Settings) -> Result<Vec<Pool>, Failure> {
    for name in &args.pool {
        settings.pools.entry(name.clone()).or_default();
    }
    let chosen = |name: &String| if args.pool.is_empty() { name != "plan" } else { args.pool.contains(name) };
    if let Some(slots) = args.slots {
        if slots == 0 {
            return Err(Failure::usage("--slots 0: an executor without slots does nothing"));
        }
        settings.pools.iter_mut().filter(|(name, _)| chosen(name)).for_each(|(_, pool)| pool.slots = slots);
    }
    Ok(compose::pools(settings).into_iter().filter(|pool| chosen(&pool.name)).collect())
}

/// Makes or checks the streams, with patience for a broker that is just starting.
pub(super) async fn bootstrap(bus: &Bus, settings: &Settings) -> Result<(), Failure> {
    let started = Instant::now();
    let mut told = false;
    loop {
        match bus.bootstrap(&compose::topology(settings)).await {
            Ok(()) => return Ok(()),
            Err(BusError::Broker(broker::Error::Unreachable(why)))
                if started.elapsed() < BOOTSTRAP_PATIENCE =>
            {
                // One line, however many attempts it takes; the last one's failure ends the process.
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(why, "the broker is not ready; trying for {BOOTSTRAP_PATIENCE:?}");
                }
                sleep(Duration::from_millis(500)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Readiness follows the broker.
fn follow_broker(bus: &Bus, settings: &Settings, health: &Health, tasks: &Tasks, stop: &CancellationToken) {
    let ready = health.check("broker");
    ready.set(true, "connected");
    tasks.spawn("readiness", readiness::follow(bus.clone(), ready, stop.clone()));
    let urls = settings.nats.monitoring_url.clone();
    if !urls.is_empty() {
        let ready = health.check("broker_servers");
        tasks.spawn("broker servers", readiness::follow_servers(urls, ready, stop.clone()));
    }
}

async fn serve_health(
    settings: &Settings,
    health: Health,
    metrics: Metrics,
    tasks: &Tasks,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let listen =
        if settings.health.listen.is_empty() { health::SERVE_LISTEN } else { &settings.health.listen };
    if listen == health::OFF {
        return Ok(());
    }
    let named = !settings.health.listen.is_empty();
    match health::listen(listen, "health.listen").await {
        Ok(listener) => {
            let served = health::serve(listener, health::routes(health, metrics), stop.clone());
            tasks.spawn("health", served);
        }
        Err(error) if named => return Err(Failure::usage(error)),
        // Several processes on one machine are usual; only a port that was asked for is insisted on.
        Err(error) => tracing::warn!(%error, "no health port"),
    }
    Ok(())
}

fn grace(settings: &Settings) -> Duration {
    let longest = settings.pools.values().map(|pool| pool.grace_s).max().unwrap_or_default();
    Duration::from_secs(longest) + STOP_MARGIN
}

/// Waits for a signal or for a role that fails for good, then drains.
pub(super) async fn until_stopped(
    tasks: &Tasks,
    stop: &CancellationToken,
    grace: Duration,
) -> Result<ExitCode, Failure> {
    let mut signals = Signals::listen(stop.clone()).map_err(Failure::unexpected)?;
    let failed = tokio::select! {
        request = signals.next() => {
            if matches!(request, StopRequest::Immediate(_)) {
                return Err(Failure::new(Code::Interrupted, "stopped at once"));
            }
            None
        }
        failure = tasks.first_failure() => Some(failure),
    };
    stop.cancel();
    let unfinished = tokio::select! {
        unfinished = tasks.shutdown(grace) => unfinished,
        _ = signals.next() => return Err(Failure::new(Code::Interrupted, "stopped at once; what was in flight is done again")),
    };
    match failed {
        Some(failure) => Err(Failure::unexpected(format!("{}: {}", failure.name, failure.reason))),
        None if unfinished.is_empty() => Ok(ExitCode::SUCCESS),
        None => Err(Failure::unexpected(format!("not stopped in time: {unfinished}"))),
    }
}
