//! One campaign from the first process to the history of it all.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, timeout};

use crate::{
    api::Api,
    broker,
    clients::Clients,
    fleet::{Fleet, Setup},
    history::History,
    ledger::Ledger,
    model::Model,
    support::{Home, now_ms},
    witness::Witness,
    workload,
};

/// Every run has to end this long after the last fault.
pub(crate) const END_WITHIN: Duration = Duration::from_secs(300);

/// After the last end, logs may still grow for a moment: late results, timers.
const SETTLE: Duration = Duration::from_secs(2);

/// How a campaign is fought.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// What tasks and faults follow from.
    pub(crate) seed: u64,
    /// Tasks at most.
    pub(crate) runs: usize,
    /// How long faults happen.
    pub(crate) length: Duration,
    /// Between two faults, on average.
    pub(crate) every: Duration,
    /// Servers of the broker: 1 or 3.
    pub(crate) nodes: usize,
}

/// What a campaign leaves to be judged.
pub(crate) struct Fought {
    pub(crate) history: History,
    /// What went wrong that is no matter of the history.
    pub(crate) findings: Vec<String>,
}

/// Fights a campaign.
pub(crate) async fn fight(settings: &Settings) -> Fought {
    let home = Arc::new(Home::new());
    let servers = broker::start(&home, settings.nodes, &home.path("broker")).await;
    let addresses: Vec<SocketAddr> = servers.iter().map(broker::Server::address).collect();
    let ledger = Ledger::start().await;
    let mut jobs = workload::jobs(settings.seed, settings.runs, &ledger.url());
    let rules = jobs.iter_mut().flat_map(|job| std::mem::take(&mut job.rules)).collect();
    let model = Model::start(rules).await;
    let setup = Setup { home: Arc::clone(&home), servers: &addresses, model_url: model.url() };
    let fleet = Arc::new(Fleet::start(setup).await);
    let witness = Witness::start(&addresses).await;
    let clients = Clients::new(Api::new(fleet.api_url()), jobs);
    let mut calling = clients.start();
    let supervised = Arc::clone(&fleet);
    let supervising = tokio::spawn(async move { supervised.supervise().await });

    sleep(settings.length).await;

    fleet.serves().await;
    let healed_ms = now_ms();
    let give_up_ms = healed_ms + u64::try_from(END_WITHIN.as_millis()).unwrap_or(u64::MAX);
    clients.close(give_up_ms);
    println!("healed; {} runs go on", clients.active().len());
    let began = Instant::now();
    let ended =
        timeout(END_WITHIN + Duration::from_secs(30), async { while calling.join_next().await.is_some() {} });
    ended.await.expect("clients give up by themselves");
    println!("all runs ended after {:?}", began.elapsed());
    sleep(SETTLE).await;
    let testimony = witness.finish().await;
    fleet.stop();
    supervising.await.expect("the supervisor ends by itself");

    let mut findings = clients.refusals();
    findings.extend(fleet.deaths.lock().expect("no panic holds it").clone());
    let submitted = clients.submitted();
    let history = History {
        clients: clients.calls(),
        logs: testimony.logs,
        dispatches: testimony.dispatches,
        documents: testimony.documents,
        effects: ledger.effects(),
        faults: Vec::new(),
        expected: workload::expectations(submitted.iter().map(|job| &**job)),
        healed_ms,
    };
    Fought { history, findings }
}
