//! Batches that do not end with the request that sends them.

use std::{convert::Infallible, time::Duration};

use futures::{StreamExt as _, stream};
use planfleet_api::Config;
use reqwest::Body;

use super::rig::{Rig, answer};

const LINES: &str = "{\"goal\": \"a\"}\n{\"goal\": \"b\"}\n";

#[tokio::test]
async fn who_sends_too_slowly_hears_which_batch_goes_on() {
    let rig = Rig::made(Config { submit_max: Duration::from_millis(50), ..Config::default() }).await;
    let slow = stream::iter([Ok::<_, Infallible>(LINES)]).chain(stream::pending());
    let unfinished = answer(rig.post("/v1/batches").body(Body::wrap_stream(slow))).await;
    assert_eq!(unfinished.problem(), (503, "batch_unfinished"));
    assert!(unfinished.retry_after.is_some());
    let path = unfinished.location.unwrap();
    let id = path.strip_prefix("/v1/batches/").unwrap();
    assert!(
        unfinished.body["detail"].as_str().unwrap().contains(&format!("id={id}")),
        "{:?}",
        unfinished.body
    );
    let again = answer(rig.post(&format!("/v1/batches?id={id}")).body(LINES)).await;
    assert_eq!((again.status.as_u16(), again.location.as_deref()), (202, Some(path.as_str())));
    assert_eq!(again.body["submitted"], 2);
    rig.shut_down().await;
}

#[tokio::test]
async fn a_batch_that_is_sent_again_under_its_key_is_the_same() {
    let rig = Rig::start().await;
    let send = async |key: &str, query: &str| {
        let path = format!("/v1/batches{query}");
        answer(rig.post(&path).header("idempotency-key", key).body(LINES)).await.body
    };
    let first = send("monday, 7:00", "").await;
    assert_eq!((&first["submitted"], &first["new"]), (&2.into(), &2.into()));
    let again = send("monday, 7:00", "").await;
    assert_eq!((&again["batch_id"], &again["new"]), (&first["batch_id"], &0.into()));
    let theirs = send("monday, 7:00", "?tenant=other").await;
    let later = send("tuesday", "").await;
    let named = send("tuesday", "?id=named").await;
    assert!(theirs["batch_id"] != first["batch_id"] && later["batch_id"] != first["batch_id"]);
    assert_eq!(named["batch_id"], "named");
    rig.shut_down().await;
}
