//! The chaos campaign: a fleet of real processes on real nats-servers does runs whose
//! right answers are known, while a nemesis kills, stops, terminates and cuts what it is
//! made of. Afterwards the whole history is judged.
//!
//! [`campaign`] is one campaign from the first process to its [`history`]: the tasks
//! ([`workload`]) and those who submit them ([`clients`]), the processes ([`fleet`],
//! [`broker`]) and the world outside ([`ledger`], [`model`]), what goes wrong
//! ([`nemesis`], by way of a [`proxy`] each), and who reads it all from the broker
//! ([`witness`]). [`check`] judges, [`gate`] says whether it counts, [`report`] tells. That
//! judges find what is wrong is shown by [`seeded`] bugs.
//!
//! Tasks and faults follow from `PLANFLEET_CHAOS_SEED`; how the machine interleaves them
//! does not. `PLANFLEET_CHAOS_SECONDS` is how long faults happen, one in each
//! `PLANFLEET_CHAOS_EVERY` seconds; `PLANFLEET_CHAOS_RUNS` bounds the tasks.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a campaign that cannot do its work has failed, and says what it does"
)]
#![expect(clippy::disallowed_methods, reason = "a task here ends with its campaign, which is a test")]

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
mod report;
mod seeded;
mod support;
mod witness;
mod workload;

use std::{env, str::FromStr, time::Duration};

use self::{
    campaign::{END_WITHIN, Settings, fight},
    nemesis::plan,
    report::report,
};

/// More tasks than any campaign gets through: ten clients at some four runs a second.
const RUNS: usize = 2_000;

impl Default for Settings {
    /// A short campaign of everything that can go wrong.
    fn default() -> Self {
        Self {
            seed: 1,
            runs: RUNS,
            users: clients::SUBMITTERS,
            length: Duration::from_secs(24),
            mix: &plan::ALL,
            every: Duration::from_millis(1_500),
            nodes: 1,
            end_within: END_WITHIN,
            bug: None,
        }
    }
}

async fn campaign(settings: Settings) {
    // Somebody else in this process may have done so.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let fought = fight(&settings).await;
    let wrong = report(&settings, &fought).wrong;
    assert!(wrong.is_empty(), "SEED={}:\n{}", settings.seed, wrong.join("\n"));
}

/// A number that the environment may give.
fn asked<T: FromStr>(name: &str, unless: T) -> T {
    let given = env::var(format!("PLANFLEET_CHAOS_{name}")).ok().filter(|text| !text.is_empty());
    given.map_or(unless, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// In peace, nothing is done twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_faults() {
    let length = Duration::from_secs(6);
    let settings = Settings { seed: 1, length, mix: &[], every: length, ..Settings::default() };
    campaign(settings).await;
}

/// What the environment asks for, on so many servers; a short campaign unless it does.
async fn as_asked(nodes: usize) {
    let settings = Settings {
        seed: asked("SEED", 1),
        runs: asked("RUNS", RUNS),
        users: asked("USERS", clients::SUBMITTERS),
        length: Duration::from_secs_f64(asked("SECONDS", 24.0)),
        every: Duration::from_secs_f64(asked("EVERY", 1.5)),
        nodes,
        ..Settings::default()
    };
    campaign(settings).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn campaign_on_1_server() {
    as_asked(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn campaign_on_3_servers() {
    as_asked(3).await;
}
