//! Object buckets.

use bytes::Bytes;
use planfleet_bus::broker::{Error, OBJECT_BYTES_MAX};

use crate::AnyBroker;

crate::conformance! {
    objects_of_every_size_come_back,
    the_same_name_twice_is_one_object,
    a_missing_object_is_none,
    a_missing_object_bucket_is_named,
    an_object_has_a_largest_size,
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
}

async fn an_object_has_a_largest_size(broker: AnyBroker) {
    bucket(&broker).await;
    let body = Bytes::from(vec![0; OBJECT_BYTES_MAX + 1]);
    let refused = broker.object_put("o", "o", body).await;
    assert!(matches!(refused, Err(Error::TooLarge { max: OBJECT_BYTES_MAX, .. })));
}
