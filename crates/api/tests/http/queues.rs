//! Work that is held back and let go on, and who may do that.

use planfleet_api::access::{
    AccessConfig, Demand, Role,
    keys::{Keys, NewKey},
};
use planfleet_bus::flow::Target;
use serde_json::{Value, json};

use super::rig::{Answer, Rig, answer};

const PAUSE: &str = "/v1/queues:pause";
const RESUME: &str = "/v1/queues:resume";

async fn post(rig: &Rig, path: &str, body: &Value) -> Answer {
    answer(rig.post(path).body(body.to_string())).await
}

#[tokio::test]
async fn what_is_paused_is_shown_until_it_is_resumed() {
    let rig = Rig::start().await;
    let paused = post(&rig, PAUSE, &json!({"pool": "default", "reason": "new tools"})).await;
    assert_eq!(paused.status, 200, "{paused:?}");
    let shown = ["what", "name", "reason"].map(|field| paused.body[field].clone());
    assert_eq!(shown, ["pool", "default", "new tools"].map(Value::from));
    post(&rig, PAUSE, &json!({"class": "nightly"})).await;
    let kept = rig.bus.pauses().await.unwrap();
    let targets: Vec<&Target> = kept.iter().map(|pause| &pause.target).collect();
    assert!(targets.contains(&&Target::Class("nightly".to_owned())), "{targets:?}");

    let listed = rig.get("/v1/queues").await.body;
    let names = |listed: &Value| -> Vec<String> {
        let pauses = listed["pauses"].as_array().unwrap().iter();
        let mut names: Vec<String> = pauses.map(|pause| pause["name"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&listed), ["default", "nightly"]);
    let resumed = post(&rig, RESUME, &json!({"pool": "default"})).await;
    assert_eq!(resumed.body, json!({"what": "pool", "name": "default", "was_paused": true}));
    let again = post(&rig, RESUME, &json!({"pool": "default"})).await;
    assert_eq!(again.body["was_paused"], false);
    assert_eq!(names(&rig.get("/v1/queues").await.body), ["nightly"]);
    rig.shut_down().await;
}

#[tokio::test]
async fn what_is_no_target_is_refused_with_what_would_be_one() {
    let rig = Rig::start().await;
    for body in [
        json!({}),
        json!({"pool": "a", "tenant": "b"}),
        json!({"pool": "a b"}),
        json!({"queue": "a"}),
        json!({"pool": "a", "reason": " "}),
        json!({"pool": "a", "reason": "x".repeat(1_001)}),
    ] {
        let refused = post(&rig, PAUSE, &body).await;
        assert_eq!(refused.problem(), (422, "queue_invalid"), "{body}: {refused:?}");
    }
    assert_eq!(post(&rig, RESUME, &json!({"pool": 3})).await.problem(), (422, "queue_invalid"));
    assert_eq!(rig.bus.pauses().await.unwrap(), []);
    rig.shut_down().await;
}

#[tokio::test]
async fn a_tenant_holds_back_its_own_work_alone_and_sees_no_other_s() {
    let rig = Rig::asking(AccessConfig { demand: Demand::Required, ..AccessConfig::default() }).await;
    let key = async |tenant: Option<&str>, role| {
        let new = NewKey { name: "test".to_owned(), tenant: tenant.map(str::to_owned), role, lasts: None };
        Keys::on(rig.bus.clone()).create(new).await.unwrap().0
    };
    let (acme, other) = (key(Some("acme"), Role::Admin).await, key(Some("other"), Role::Operator).await);
    let (operator, admin) = (key(None, Role::Operator).await, key(None, Role::Admin).await);
    let ask =
        async |key: &str, body: Value| answer(rig.request("post", PAUSE, key).body(body.to_string())).await;
    let (own, pool, class) = (json!({"tenant": "acme"}), json!({"pool": "p"}), json!({"class": "c"}));
    assert_eq!(ask(&other, own.clone()).await.problem(), (400, "tenant_mismatch"));
    for shared in [&pool, &class] {
        assert_eq!(ask(&acme, shared.clone()).await.problem(), (403, "tenant_credentials"));
        assert_eq!(ask(&operator, shared.clone()).await.problem(), (403, "role_insufficient"));
    }
    assert_eq!(rig.bus.pauses().await.unwrap(), []);
    for (key, body) in
        [(&acme, &own), (&admin, &pool), (&admin, &class), (&operator, &json!({"tenant": "b"}))]
    {
        assert_eq!(ask(key, body.clone()).await.status, 200, "{body}");
    }
    let seen = async |key: &str| {
        let listed = answer(rig.request("get", "/v1/queues", key)).await.body;
        let pauses = listed["pauses"].as_array().unwrap().clone();
        let mut names: Vec<String> =
            pauses.iter().map(|pause| pause["name"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names
    };
    assert_eq!(seen(&acme).await, ["acme", "p"]);
    assert_eq!(seen(&other).await, ["p"]);
    assert_eq!(seen(&admin).await, ["acme", "b", "c", "p"]);
    rig.shut_down().await;
}
