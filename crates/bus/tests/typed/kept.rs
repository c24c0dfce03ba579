//! What tools keep beyond their run, and what is known of calls.

use bytes::Bytes;
use planfleet_bus::{broker::CasOutcome, calls::CallNote};
use planfleet_core::failure::{Failure, FailureClass};
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
    let intent = CallNote { attempt: 1, outcome: None };
    let CasOutcome::Written(first) = bus.note_call("k", &intent, 0).await.unwrap() else { panic!("taken") };
    assert_eq!(bus.note_call("k", &intent, 0).await.unwrap(), CasOutcome::Conflict);
    for outcome in [
        Ok(json!({"paid": 17})),
        Ok(json!("x".repeat(500_000))),
        Err(Failure::new(FailureClass::Transient, "busy")),
    ] {
        let (_, revision) = bus.call_note("k").await.unwrap().unwrap();
        let note = CallNote { attempt: 1, outcome: Some(outcome) };
        let CasOutcome::Written(second) = bus.note_call("k", &note, revision).await.unwrap() else {
            panic!()
        };
        assert!(second > first);
        assert_eq!(bus.call_note("k").await.unwrap(), Some((note, second)));
    }
}
