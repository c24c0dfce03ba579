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
mod history;
mod ledger;
mod model;
mod proxy;
mod support;
mod witness;
mod workload;

use std::time::Duration;

use self::campaign::{Settings, fight};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_faults() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let settings = Settings {
        seed: 1,
        runs: 400,
        length: Duration::from_secs(8),
        every: Duration::from_secs(1),
        nodes: 1,
    };
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
    for kept in &history.documents {
        println!(
            "{} {} {} {}",
            kept.run, kept.document["custom_id"], kept.document["state"], kept.document["reason"]
        );
    }
    println!("{:#?}", fought.findings);
}
