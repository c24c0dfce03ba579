//! Object buckets.

use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use planfleet_bus::broker::{Error, OBJECT_BYTES_MAX, ObjectInfo};

use crate::{AnyBroker, soon};

crate::conformance! {
    objects_of_every_size_come_back,
    the_same_name_twice_is_one_object,
    a_missing_object_is_none,
    a_missing_object_bucket_is_named,
    an_object_has_a_largest_size,
    objects_are_listed,
    an_object_that_is_put_again_or_touched_is_young_and_whole,
    what_is_not_there_cannot_be_touched,
    a_removed_object_is_gone_and_can_be_put_again,
    an_object_that_was_written_since_is_not_removed,
    many_who_put_one_body_at_once_leave_one_object,
    of_many_who_remove_at_once_one_has_done_it,
}

async fn bucket(broker: &AnyBroker) {
    broker.ensure_objects("o", 1).await.expect("a bucket");
}

async fn put(broker: &AnyBroker, name: &str, body: &Bytes) {
    broker.object_put("o", name, body.clone()).await.expect("room");
}

async fn get(broker: &AnyBroker, name: &str) -> Option<Bytes> {
    broker.object_get("o", name).await.expect("an answer")
}

async fn list(broker: &AnyBroker) -> Vec<ObjectInfo> {
    let listed = broker.object_list("o").await.expect("a list");
    let mut listed: Vec<_> = soon("the list", listed.try_collect()).await.expect("no error");
    listed.sort_by(|one, other| one.name.cmp(&other.name));
    listed
}

/// The one object that is there.
async fn only(broker: &AnyBroker) -> ObjectInfo {
    let mut listed = list(broker).await;
    assert_eq!(listed.len(), 1, "{listed:?}");
    listed.remove(0)
}

async fn delete(broker: &AnyBroker, revision: Option<u64>) -> bool {
    broker.object_delete("o", "o", revision).await.expect("an answer")
}

async fn objects_of_every_size_come_back(broker: AnyBroker) {
    bucket(&broker).await;
    let large: Bytes = (0..1_u32 << 20).map(|n| (n % 251) as u8).collect();
    for (name, body) in [("empty", Bytes::new()), ("small", Bytes::from("x")), ("large", large)] {
        put(&broker, name, &body).await;
        assert!(get(&broker, name).await == Some(body), "{name}");
    }
}

async fn the_same_name_twice_is_one_object(broker: AnyBroker) {
    bucket(&broker).await;
    put(&broker, "o", &Bytes::from("one")).await;
    put(&broker, "o", &Bytes::from("one")).await;
    assert_eq!(get(&broker, "o").await, Some(Bytes::from("one")));
    put(&broker, "o", &Bytes::from("other")).await;
    assert_eq!(get(&broker, "o").await, Some(Bytes::from("other")));
}

async fn a_missing_object_is_none(broker: AnyBroker) {
    bucket(&broker).await;
    assert_eq!(get(&broker, "o").await, None);
}

async fn a_missing_object_bucket_is_named(broker: AnyBroker) {
    let missing = broker.object_get("o", "o").await;
    assert!(matches!(&missing, Err(Error::Missing(name)) if name == "object bucket o"), "{missing:?}");
    let missing = broker.object_put("o", "o", Bytes::new()).await;
    assert!(matches!(&missing, Err(Error::Missing(name)) if name == "object bucket o"), "{missing:?}");
    let missing = broker.object_list("o").await.err();
    assert!(matches!(&missing, Some(Error::Missing(name)) if name == "object bucket o"), "{missing:?}");
    let missing = broker.object_delete("o", "o", None).await;
    assert!(matches!(&missing, Err(Error::Missing(name)) if name == "object bucket o"), "{missing:?}");
}

async fn an_object_has_a_largest_size(broker: AnyBroker) {
    bucket(&broker).await;
    let body = Bytes::from(vec![0; OBJECT_BYTES_MAX + 1]);
    let refused = broker.object_put("o", "o", body).await;
    assert!(matches!(refused, Err(Error::TooLarge { max: OBJECT_BYTES_MAX, .. })));
}

async fn objects_are_listed(broker: AnyBroker) {
    bucket(&broker).await;
    assert!(list(&broker).await.is_empty());
    // More than one request brings, with names that no subject could have.
    for n in 0..300_usize {
        put(&broker, &format!("an object, {n:03}"), &Bytes::from(vec![0; n])).await;
    }
    let listed = list(&broker).await;
    assert_eq!(listed.len(), 300);
    for (n, object) in listed.iter().enumerate() {
        assert_eq!((object.name.as_str(), object.bytes), (format!("an object, {n:03}").as_str(), n as u64));
        // Some time in this century, and not in microseconds.
        assert!((1_700_000_000_000..4_000_000_000_000).contains(&object.modified_ms), "{object:?}");
    }
}

async fn an_object_that_is_put_again_or_touched_is_young_and_whole(broker: AnyBroker) {
    bucket(&broker).await;
    let body = Bytes::from(vec![7; 300_000]);
    put(&broker, "o", &body).await;
    let mut before = only(&broker).await;
    for touching in [false, true] {
        tokio::time::sleep(Duration::from_millis(5)).await;
        if touching {
            assert!(broker.object_touch("o", "o").await.expect("an answer"));
        } else {
            put(&broker, "o", &body).await;
        }
        let after = only(&broker).await;
        assert!(after.modified_ms > before.modified_ms, "{before:?}, {after:?}");
        assert!(after.revision > before.revision, "{before:?}, {after:?}");
        assert_eq!(after.bytes, 300_000);
        assert!(get(&broker, "o").await == Some(body.clone()));
        before = after;
    }
}

async fn what_is_not_there_cannot_be_touched(broker: AnyBroker) {
    bucket(&broker).await;
    assert!(!broker.object_touch("o", "o").await.expect("an answer"));
    put(&broker, "o", &Bytes::from("x")).await;
    assert!(delete(&broker, None).await);
    assert!(!broker.object_touch("o", "o").await.expect("an answer"));
    assert!(list(&broker).await.is_empty());
}

async fn a_removed_object_is_gone_and_can_be_put_again(broker: AnyBroker) {
    bucket(&broker).await;
    let body = Bytes::from(vec![7; 300_000]);
    assert!(!delete(&broker, None).await, "it is not there yet");
    for revision_is_named in [true, false] {
        put(&broker, "o", &body).await;
        let revision = only(&broker).await.revision;
        assert!(delete(&broker, revision_is_named.then_some(revision)).await);
        assert_eq!(get(&broker, "o").await, None);
        assert!(list(&broker).await.is_empty());
        assert!(!delete(&broker, None).await, "it is gone already");
    }
    put(&broker, "o", &body).await;
    assert!(get(&broker, "o").await == Some(body));
}

async fn an_object_that_was_written_since_is_not_removed(broker: AnyBroker) {
    bucket(&broker).await;
    put(&broker, "o", &Bytes::from("x")).await;
    let first = only(&broker).await.revision;
    assert!(broker.object_touch("o", "o").await.expect("an answer"));
    assert!(!delete(&broker, Some(first)).await);
    let second = only(&broker).await.revision;
    assert!(delete(&broker, Some(second)).await);
    put(&broker, "o", &Bytes::from("x")).await;
    assert!(!delete(&broker, Some(second)).await);
    assert_eq!(get(&broker, "o").await, Some(Bytes::from("x")));
}

async fn many_who_put_one_body_at_once_leave_one_object(broker: AnyBroker) {
    bucket(&broker).await;
    let body = Bytes::from(vec![7; 200_000]);
    // Anew at first, then by touching: both must bear a crowd.
    for _ in 0..2 {
        futures::future::join_all((0..20).map(|_| put(&broker, "o", &body))).await;
        assert!(get(&broker, "o").await == Some(body.clone()));
        assert_eq!(only(&broker).await.bytes, 200_000);
    }
}

async fn of_many_who_remove_at_once_one_has_done_it(broker: AnyBroker) {
    bucket(&broker).await;
    put(&broker, "o", &Bytes::from("x")).await;
    let revision = only(&broker).await.revision;
    let removed = futures::future::join_all((0..10).map(|_| delete(&broker, Some(revision)))).await;
    assert_eq!(removed.into_iter().filter(|removed| *removed).count(), 1);
    assert!(list(&broker).await.is_empty());
}
