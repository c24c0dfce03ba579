//! What tools keep beyond their run, and what is known of calls.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use planfleet_bus::{
    broker::CasOutcome,
    calls::CallNote,
    kept::{Bounded, Bounds},
};
use planfleet_core::failure::{Failure, FailureClass};
use planfleet_proto::subjects;
use serde_json::json;

use super::new_bus;

#[tokio::test]
async fn what_is_kept_is_the_tenants_own() {
    let bus = new_bus().await;
    assert_eq!(bus.kept_value("one", "a/b").await.unwrap(), None);
    for value in ["1", "2"] {
        bus.keep_value("one", "a/b", Bytes::from(value)).await.unwrap();
        assert_eq!(bus.kept_value("one", "a/b").await.unwrap(), Some(Bytes::from(value)));
    }
    let body = Bytes::from(vec![b'x'; 1 << 20]);
    bus.keep_object("one", "a/b", body.clone()).await.unwrap();
    assert_eq!(bus.kept_object("one", "a/b").await.unwrap(), Some(body));
    assert_eq!(bus.kept_value("two", "a/b").await.unwrap(), None);
    assert_eq!(bus.kept_object("two", "a/b").await.unwrap(), None);
}

#[tokio::test]
async fn of_many_who_keep_a_value_at_once_the_last_is_there() {
    let bus = new_bus().await;
    let writes = (0..4).map(|n| bus.keep_value("t", "k", Bytes::from(n.to_string())));
    for written in futures::future::join_all(writes).await {
        written.unwrap();
    }
    assert!(bus.kept_value("t", "k").await.unwrap().is_some());
}

#[tokio::test]
async fn a_call_is_noted_by_who_knows_the_last_note() {
    let bus = new_bus().await;
    assert_eq!(bus.call_note("k").await.unwrap(), None);
    let intent = CallNote { attempt: 1, arguments: None, outcome: None };
    let CasOutcome::Written(first) = bus.note_call("k", &intent, 0).await.unwrap() else { panic!("taken") };
    assert_eq!(bus.note_call("k", &intent, 0).await.unwrap(), CasOutcome::Conflict);
    for outcome in [
        Ok(json!({"paid": 17})),
        Ok(json!("x".repeat(500_000))),
        Err(Failure::new(FailureClass::Transient, "busy")),
    ] {
        let (_, revision) = bus.call_note("k").await.unwrap().unwrap();
        let note = CallNote { attempt: 1, arguments: Some("{}".to_owned()), outcome: Some(outcome) };
        let CasOutcome::Written(second) = bus.note_call("k", &note, revision).await.unwrap() else {
            panic!()
        };
        assert!(second > first);
        assert_eq!(bus.call_note("k").await.unwrap(), Some((note, second)));
    }
}

/// Objects under their names, with the bounds that they are held to afterwards.
async fn bounded(bounds: Bounds, now_ms: u64) -> (Vec<String>, Bounded) {
    let bus = new_bus().await;
    for n in 0..4 {
        bus.keep_object("one", &format!("o{n}"), Bytes::from(vec![b'x'; 10])).await.unwrap();
    }
    bus.keep_object("two", "o0", Bytes::from_static(b"y")).await.unwrap();
    // Written again it is the youngest.
    bus.keep_object("one", "o0", Bytes::from(vec![b'z'; 10])).await.unwrap();
    let bounded = bus.bound_objects(&bounds, now_ms).await.unwrap();
    let listed = bus.broker().object_list(subjects::TOOL_OBJECTS).await.unwrap();
    let mut names: Vec<String> = listed.map(|object| object.unwrap().name).collect().await;
    names.sort();
    (names, bounded)
}

#[tokio::test]
async fn what_tools_keep_has_bounds_and_the_oldest_go_first() {
    let day = Duration::from_secs(24 * 3600);
    let bounds = Bounds { age: day, count: 100, bytes: 1_000 };
    let (names, all) = bounded(bounds.clone(), 0).await;
    assert_eq!((names.len(), all), (5, Bounded { objects: 5, removed: 0, removed_bytes: 0 }));

    let (names, two) = bounded(Bounds { count: 2, ..bounds.clone() }, 0).await;
    assert_eq!(names, ["one/o0", "one/o3", "two/o0"]);
    assert_eq!(two, Bounded { objects: 5, removed: 2, removed_bytes: 20 });

    let (names, _) = bounded(Bounds { bytes: 35, ..bounds.clone() }, 0).await;
    assert_eq!(names, ["one/o0", "one/o2", "one/o3", "two/o0"]);

    let (names, old) = bounded(bounds, u64::MAX).await;
    assert_eq!((names.len(), old.removed), (0, 5), "each tenant's, whatever their number");
}
