//! What idempotency keys promise: one run for one key, whoever asks and whatever
//! is remembered of the run; and no run for another task.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use planfleet_bus::{
    Bus, Client, Error, Manage, Topology,
    broker::{Broker as _, BucketSpec, memory::MemoryBroker},
    client::{Key, Question},
};
use planfleet_core::id::RunId;
use planfleet_proto::subjects;
use serde_json::{Value, json};

use super::{client::own, document, new_bus, submission};

fn key(name: &str) -> Key {
    asking("g", name)
}

fn asking(goal: &str, name: &str) -> Key {
    Key::of_task(name, &json!({"goal": goal}))
}

async fn submit(bus: &Bus, key: &Key) -> Result<RunId, Error> {
    Client::new(bus.clone()).submit(submission("g"), Some(key)).await
}

/// Records in all logs.
async fn records(bus: &Bus) -> u64 {
    bus.journal_tail(0).await.unwrap() + bus.journal_tail(1).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_same_key_is_the_same_run() {
    let bus = new_bus().await;
    let run = submit(&bus, &key("k")).await.unwrap();
    assert_eq!(submit(&bus, &key("k")).await.unwrap(), run);
    assert_eq!(records(&bus).await, 1);
    assert_ne!(submit(&bus, &key("l")).await.unwrap(), run);
    let client = Client::new(bus.clone());
    let mut other = submission("g");
    other.task.tenant = Some("umbrella".to_owned());
    assert_ne!(client.submit(other, Some(&key("k"))).await.unwrap(), run, "keys belong to tenants");
    let one = client.submit(submission("g"), None).await.unwrap();
    assert_ne!(client.submit(submission("g"), None).await.unwrap(), one);
}

#[tokio::test(start_paused = true)]
async fn another_task_under_a_key_is_refused() {
    let bus = new_bus().await;
    let run = submit(&bus, &key("k")).await.unwrap();
    let refused = submit(&bus, &asking("h", "k")).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!(
            "the idempotency key \"k\" was used for another task, that of run {run}; \
             submit that task as it was, or this one under another key"
        )
    );
    assert!(refused.is_permanent() && matches!(refused, Error::KeyReused { .. }));
    bus.finish(&document(&run, "done")).await.unwrap();
    assert!(submit(&bus, &asking("h", "k")).await.is_err(), "also when its run has ended");
    assert_eq!(submit(&bus, &key("k")).await.unwrap(), run);
    assert_eq!(records(&bus).await, 1);
}

#[tokio::test(start_paused = true)]
async fn of_two_tasks_that_come_at_once_under_one_key_one_is_run() {
    let bus = new_bus().await;
    let keys = [asking("g", "k"), asking("h", "k")];
    let outcomes = join_all((0..20).map(|n| submit(&bus, &keys[n % 2]))).await;
    let mut first = outcomes.iter().step_by(2);
    let mut second = outcomes.iter().skip(1).step_by(2);
    assert!(first.all(Result::is_ok) != second.all(Result::is_ok), "{outcomes:?}");
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 10);
}

/// Between the key and the run is a crash: who asks again has the run started.
#[tokio::test(start_paused = true)]
async fn a_key_without_a_run_loses_no_submit() {
    let bus = new_bus().await;
    let run = submit(&bus, &key("k")).await.unwrap();
    let (bus, topology) = without_logs().await;
    assert!(submit(&bus, &key("k")).await.is_err(), "there is no log");
    bus.bootstrap(&topology).await.unwrap();
    let refused = submit(&bus, &asking("h", "k")).await;
    assert!(matches!(refused, Err(Error::KeyReused { .. })), "the first task has its key");
    assert_eq!(records(&bus).await, 0);
    assert_eq!(submit(&bus, &key("k")).await.unwrap(), run);
    assert_eq!(submit(&bus, &key("k")).await.unwrap(), run);
    assert_eq!(records(&bus).await, 1);
}

/// A bus whose logs are not there yet, and all that is to be there.
async fn without_logs() -> (Bus, Topology) {
    let broker = MemoryBroker::new();
    let topology = Topology { shards: 2, replicas: 1, pools: Vec::new(), manage: Manage::Create };
    for stream in topology.streams().iter().filter(|stream| stream.name == subjects::DONE) {
        broker.ensure_stream(stream).await.unwrap();
    }
    let keys = BucketSpec { name: subjects::KEYS.to_owned(), max_age: None, replicas: 1 };
    broker.ensure_bucket(&keys).await.unwrap();
    (Bus::new(Arc::new(broker), 2), topology)
}

#[tokio::test(start_paused = true)]
async fn a_run_that_nobody_remembers_does_not_start_anew() {
    let bus = new_bus().await;
    let _owners = [own(&bus, 0, forgetful).await, own(&bus, 1, forgetful).await];
    let run = submit(&bus, &key("k")).await.unwrap();
    // The broker itself takes a record once within two minutes, and no longer.
    tokio::time::advance(Duration::from_secs(24 * 3600)).await;
    assert_eq!(submit(&bus, &key("k")).await.unwrap(), run);
    assert_eq!(records(&bus).await, 1);
}

fn forgetful(_: Question) -> Value {
    Value::Null
}

/// Its key was forgotten, or never kept: by a release that kept none.
#[tokio::test(start_paused = true)]
async fn a_run_that_is_known_does_not_start_anew() {
    let run = submit(&new_bus().await, &key("k")).await.unwrap();
    let ended = new_bus().await;
    ended.finish(&document(&run, "done")).await.unwrap();
    let active = new_bus().await;
    let id = run.clone();
    let _owner = own(&active, run.shard(), move |_| json!({"run_id": id, "state": "executing"})).await;
    for bus in [ended, active] {
        assert_eq!(submit(&bus, &key("k")).await.unwrap(), run);
        assert_eq!(records(&bus).await, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_cannot_be_read_is_an_error() {
    let bus = new_bus().await;
    let run = submit(&new_bus().await, &key("k")).await.unwrap();
    bus.broker().kv_cas(subjects::KEYS, run.as_str(), "?".into(), 0).await.unwrap();
    assert!(matches!(submit(&bus, &key("k")).await, Err(Error::Answer(_))));
    assert_eq!(records(&bus).await, 0);
}
