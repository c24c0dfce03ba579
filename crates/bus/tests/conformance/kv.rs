//! Key-value buckets.

use bytes::Bytes;
use futures::{FutureExt, StreamExt, stream::BoxStream};
use planfleet_bus::broker::{CasOutcome, Error, KvChange};

use crate::{AnyBroker, bucket_spec, soon};

crate::conformance! {
    a_key_is_created_once,
    a_key_is_updated_at_its_revision_only,
    a_deleted_key_is_gone_and_can_be_created_again,
    of_many_who_write_at_once_one_wins,
    all_keys_are_listed_with_their_values,
    an_empty_bucket_lists_nothing,
    a_missing_bucket_is_named,
    a_watcher_sees_every_key_and_every_change,
    a_watcher_of_many_keys_misses_none,
    a_watcher_who_comes_later_sees_what_is_left,
}

async fn bucket(broker: &AnyBroker) {
    broker.ensure_bucket(&bucket_spec("b")).await.expect("a bucket");
}

async fn cas(broker: &AnyBroker, key: &str, value: &'static str, expected: u64) -> CasOutcome {
    broker.kv_cas("b", key, Bytes::from_static(value.as_bytes()), expected).await.expect("an answer")
}

async fn written(broker: &AnyBroker, key: &str, value: &'static str, expected: u64) -> u64 {
    match cas(broker, key, value, expected).await {
        CasOutcome::Written(revision) => revision,
        CasOutcome::Conflict => panic!("{key} is not at revision {expected}"),
    }
}

async fn value(broker: &AnyBroker, key: &str) -> Option<(Bytes, u64)> {
    let entry = broker.kv_get("b", key).await.expect("an answer")?;
    Some((entry.value, entry.revision))
}

async fn a_key_is_created_once(broker: AnyBroker) {
    bucket(&broker).await;
    assert_eq!(value(&broker, "k").await, None);
    let revision = written(&broker, "k", "v", 0).await;
    assert!(revision > 0);
    assert_eq!(cas(&broker, "k", "w", 0).await, CasOutcome::Conflict);
    assert_eq!(value(&broker, "k").await, Some(("v".into(), revision)));
}

async fn a_key_is_updated_at_its_revision_only(broker: AnyBroker) {
    bucket(&broker).await;
    let first = written(&broker, "k", "1", 0).await;
    let second = written(&broker, "k", "2", first).await;
    assert!(second > first);
    assert_eq!(cas(&broker, "k", "3", first).await, CasOutcome::Conflict);
    assert_eq!(cas(&broker, "other", "3", first).await, CasOutcome::Conflict);
    assert_eq!(value(&broker, "k").await, Some(("2".into(), second)));
}

async fn a_deleted_key_is_gone_and_can_be_created_again(broker: AnyBroker) {
    bucket(&broker).await;
    let first = written(&broker, "k", "1", 0).await;
    broker.kv_delete("b", "k").await.expect("a deletion");
    assert_eq!(value(&broker, "k").await, None);
    assert_eq!(cas(&broker, "k", "2", first).await, CasOutcome::Conflict);
    assert!(broker.kv_all("b").await.expect("a list").is_empty());
    let second = written(&broker, "k", "2", 0).await;
    assert!(second > first);
    assert_eq!(value(&broker, "k").await, Some(("2".into(), second)));
}

async fn of_many_who_write_at_once_one_wins(broker: AnyBroker) {
    bucket(&broker).await;
    let revision = written(&broker, "k", "1", 0).await;
    let writers = (0..20).map(|_| cas(&broker, "k", "2", revision));
    let outcomes = futures::future::join_all(writers).await;
    let winners = outcomes.iter().filter(|outcome| **outcome != CasOutcome::Conflict);
    assert_eq!(winners.count(), 1);
}

async fn all_keys_are_listed_with_their_values(broker: AnyBroker) {
    bucket(&broker).await;
    // More keys than one request brings.
    for n in 0..300 {
        written(&broker, &format!("k.{n}"), "v", 0).await;
    }
    let revision = broker.kv_get("b", "k.7").await.expect("an answer").expect("k.7").revision;
    let newer = written(&broker, "k.7", "w", revision).await;
    broker.kv_delete("b", "k.8").await.expect("a deletion");
    let all = broker.kv_all("b").await.expect("a list");
    assert_eq!(all.len(), 299);
    assert_eq!((all["k.7"].value.as_ref(), all["k.7"].revision), (b"w".as_ref(), newer));
    assert!(!all.contains_key("k.8"));
}

async fn an_empty_bucket_lists_nothing(broker: AnyBroker) {
    bucket(&broker).await;
    assert!(broker.kv_all("b").await.expect("a list").is_empty());
}

async fn a_missing_bucket_is_named(broker: AnyBroker) {
    let missing = |error: Error| matches!(error, Error::Missing(name) if name == "bucket b");
    assert!(missing(broker.kv_get("b", "k").await.expect_err("no bucket")));
    assert!(missing(broker.kv_cas("b", "k", Bytes::new(), 0).await.expect_err("no bucket")));
    assert!(missing(broker.kv_all("b").await.expect_err("no bucket")));
    assert!(missing(broker.kv_changes("b").await.err().expect("no bucket")));
}

type Changes = BoxStream<'static, Result<KvChange, Error>>;

async fn watch(broker: &AnyBroker) -> Changes {
    broker.kv_changes("b").await.expect("a watcher")
}

/// The next change: the key and its value.
async fn next(changes: &mut Changes) -> (String, Option<Bytes>) {
    let change = soon("a change", changes.next()).await.expect("no end").expect("no error");
    (change.key, change.entry.map(|entry| entry.value))
}

fn holds(key: &str, value: &'static str) -> (String, Option<Bytes>) {
    (key.to_owned(), Some(Bytes::from_static(value.as_bytes())))
}

async fn a_watcher_sees_every_key_and_every_change(broker: AnyBroker) {
    bucket(&broker).await;
    written(&broker, "one", "1", 0).await;
    let mut changes = watch(&broker).await;
    assert_eq!(next(&mut changes).await, holds("one", "1"));
    assert!(changes.next().now_or_never().is_none());
    let two = written(&broker, "two", "2", 0).await;
    let change = soon("a change", changes.next()).await.expect("no end").expect("no error");
    assert_eq!((change.key.as_str(), change.entry.map(|entry| entry.revision)), ("two", Some(two)));
    written(&broker, "two", "2b", two).await;
    assert_eq!(next(&mut changes).await, holds("two", "2b"));
    broker.kv_delete("b", "one").await.expect("a deletion");
    assert_eq!(next(&mut changes).await, ("one".to_owned(), None));
    written(&broker, "one", "1b", 0).await;
    assert_eq!(next(&mut changes).await, holds("one", "1b"));
}

/// More than several requests of a watcher bring.
async fn a_watcher_of_many_keys_misses_none(broker: AnyBroker) {
    bucket(&broker).await;
    let mut changes = watch(&broker).await;
    for n in 0..600 {
        written(&broker, &format!("k.{n}"), "v", 0).await;
    }
    for n in 0..600 {
        assert_eq!(next(&mut changes).await, holds(&format!("k.{n}"), "v"));
    }
}

async fn a_watcher_who_comes_later_sees_what_is_left(broker: AnyBroker) {
    bucket(&broker).await;
    let first = written(&broker, "k", "1", 0).await;
    written(&broker, "gone", "1", 0).await;
    written(&broker, "k", "2", first).await;
    broker.kv_delete("b", "gone").await.expect("a deletion");
    let mut changes = watch(&broker).await;
    assert_eq!(next(&mut changes).await, holds("k", "2"));
    assert_eq!(next(&mut changes).await, ("gone".to_owned(), None));
    assert!(changes.next().now_or_never().is_none());
}
