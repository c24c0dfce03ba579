//! The chaos campaign: a fleet of real processes on real nats-servers does runs whose
//! right answers are known, while a nemesis kills, stops, terminates and cuts what it is
//! made of. Afterwards the whole history is judged.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a campaign that cannot do its work has failed, and says what it does"
)]

mod api;
mod broker;
mod campaign;
mod check;
mod clients;
mod fleet;
mod gate;
mod history;
mod ledger;
mod model;
mod nemesis;
mod proxy;
mod support;
mod witness;
mod workload;

use std::time::Duration;

use self::campaign::{Settings, fight};

async fn judged(settings: Settings) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let fought = fight(&settings).await;
    let history = &fought.history;
    println!(
        "{} runs, {} effects, {} dispatches, {} documents, {} log entries",
        history.expected.len(),
        history.effects.len(),
        history.dispatches.len(),
        history.documents.len(),
        history.logs.values().map(Vec::len).sum::<usize>()
    );
    println!("{:#?}", gate::by_kind(&history.faults));
    println!("findings {:#?} invalid {:#?}", fought.findings, fought.invalid);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_faults() {
    let length = Duration::from_secs(8);
    judged(Settings { seed: 1, runs: 400, length, faults: false, every: length, nodes: 1 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node() {
    let (length, every) = (Duration::from_secs(24), Duration::from_millis(1500));
    judged(Settings { seed: 1, runs: 400, length, faults: true, every, nodes: 1 }).await;
}
