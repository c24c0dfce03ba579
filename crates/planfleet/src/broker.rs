//! What the broker is, as far as a client can know, and what that means for
//! what it has acknowledged.

pub(crate) mod durability;
pub(crate) mod monitoring;
pub(crate) mod readiness;

use planfleet_bus::{
    Bus,
    broker::{Description, Server},
};
use planfleet_runtime::config::{Manage, Settings};
use serde_json::Value;

use self::durability::{Facts, Sync, Verdict, verdict};
use crate::{compose, embedded, exit::Failure};

/// The field of the address file for how often the server syncs; null is its default.
const SYNC_INTERVAL: &str = "sync_interval";

/// What is known of the broker.
pub(crate) struct Report {
    description: Description,
    facts: Facts,
}

impl Report {
    /// Version, place, copies and how often they are synced, on one line.
    pub(crate) fn summary(&self) -> String {
        let Facts { replicas, sync, .. } = &self.facts;
        let replicas = replicas.map_or_else(|| "unknown".to_owned(), |replicas| replicas.to_string());
        format!("{}, replicas {replicas}, sync_interval {sync}", self.description)
    }

    /// What a power cut can lose.
    pub(crate) fn verdict(&self) -> Verdict {
        verdict(&self.facts)
    }

    /// Tells the log, once for a start.
    pub(crate) fn log(&self) {
        let broker = self.summary();
        match self.verdict() {
            Verdict { at_risk: true, text } => tracing::warn!(broker, "{text}"),
            Verdict { at_risk: false, text } => tracing::info!(broker, "{text}"),
        }
    }
}

/// Looks at a broker. `own` says how a server syncs that planfleet has started
/// itself; of another one, only its monitoring endpoint tells.
pub(crate) async fn look(bus: &Bus, settings: &Settings, own: Option<Sync>) -> Result<Report, Failure> {
    let description = bus.broker().describe().await?;
    let replicas = fewest_replicas(bus, settings).await;
    let facts = match (own, &description) {
        (Some(sync), _) => Facts { replicas, sync, own: true },
        (None, Description::Server(server)) => {
            Facts { replicas, sync: asked(server, settings).await, own: false }
        }
        (None, Description::Memory) => {
            let sync = Sync::Unknown("this broker keeps everything in memory".to_owned());
            Facts { replicas, sync, own: false }
        }
    };
    match facts.sync {
        Sync::Always => bus.broker().note_sync(true),
        Sync::Every(_) => bus.broker().note_sync(false),
        Sync::Unknown(_) => {}
    }
    Ok(Report { description, facts })
}

async fn asked(server: &Server, settings: &Settings) -> Sync {
    match settings.nats.monitoring_url.as_str() {
        "" => Sync::Unknown(
            "only a server's monitoring endpoint tells it, and nats.monitoring_url, such as \
             \"http://127.0.0.1:8222\", is not set"
                .to_owned(),
        ),
        urls => monitoring::sync_interval(urls, server).await,
    }
}

/// A stream that is not there, or cannot be looked at, says nothing.
async fn fewest_replicas(bus: &Bus, settings: &Settings) -> Option<usize> {
    // Where nobody looks after streams, it may be that nobody is allowed to look at them.
    if settings.nats.manage == Manage::Off {
        return None;
    }
    let specs = compose::topology(settings).streams();
    let states = specs.iter().map(|spec| bus.broker().stream_state(&spec.name));
    futures::future::join_all(states).await.into_iter().flatten().map(|state| state.replicas).min()
}

/// Says that a server is too old, where it is.
pub(crate) fn check_version(description: &Description) -> Result<(), Failure> {
    let fault = match description {
        Description::Server(server) => durability::version_fault(&server.version),
        Description::Memory => None,
    };
    fault.map_or(Ok(()), |fault| Err(Failure::unexpected(fault)))
}

/// How the server of this process syncs, that its settings have started.
pub(crate) fn own_sync(settings: &Settings) -> Sync {
    Sync::configured(settings.nats.sync_interval.as_deref())
}

/// The broker of the `planfleet dev` that runs for this user, where no other is named.
pub(crate) struct Address {
    pub(crate) url: String,
    /// How its server syncs, if that `planfleet dev` has written it.
    pub(crate) sync: Option<Sync>,
}

impl Address {
    /// What `planfleet dev` writes for other commands to find it.
    pub(crate) fn written(url: &str, settings: &Settings) -> Value {
        serde_json::json!({
            "nats_url": url,
            "pid": std::process::id(),
            SYNC_INTERVAL: settings.nats.sync_interval,
        })
    }

    pub(crate) fn find(settings: &Settings) -> Option<Self> {
        if settings.source_of("nats.url") != "defaults" {
            return None;
        }
        let text = std::fs::read_to_string(embedded::address_file(settings)).ok()?;
        let address: Value = serde_json::from_str(&text).ok()?;
        let sync = address.get(SYNC_INTERVAL).map(|sync| Sync::configured(sync.as_str()));
        Some(Self { url: address["nats_url"].as_str()?.to_owned(), sync })
    }
}
