//! The API over real HTTP.

mod batches;
mod contract;
mod queues;
mod rig;
mod steering;
mod tenants;
mod tls;
mod tokens;
mod watching;

use std::time::{Duration, Instant};

use planfleet_api::{
    access::{AccessConfig, Demand},
    template::{Library, Template},
};
use planfleet_core::{id::RunId, record::Fact};
use serde_json::{Value, json};

use self::rig::{Rig, answer};

const TASK: &str = r#"{"goal": "say hello", "custom_id": "c-1"}"#;
const NOBODY: &str = "00-nobody";

#[tokio::test]
async fn a_submitted_task_is_in_the_log_of_the_run_that_is_named() {
    let rig = Rig::start().await;
    let submitted = rig.submit(TASK).await;
    assert_eq!(submitted.status, 202);
    let run = submitted.body["run_id"].as_str().unwrap();
    assert_eq!(submitted.location.as_deref(), Some(format!("/v1/runs/{run}").as_str()));
    let facts = rig.facts().await;
    let [(id, Fact::TaskSubmitted(submission))] = facts.as_slice() else { panic!("{facts:?}") };
    assert_eq!(id.as_str(), run);
    assert_eq!(submission.task.custom_id.as_deref(), Some("c-1"));
    assert_eq!(submission.envelope.replans_max, 3);
    rig.shut_down().await;
}

#[tokio::test]
async fn a_bad_task_hears_of_all_its_faults_and_is_not_submitted() {
    let rig = Rig::start().await;
    let refused = rig.submit(r#"{"goal": 3, "deadline_s": -1, "colour": "red", "tools": ["nope"]}"#).await;
    assert_eq!(refused.problem(), (422, "task_invalid"));
    let paths: Vec<&Value> = refused.body["errors"].as_array().unwrap().iter().map(|f| &f["path"]).collect();
    assert_eq!(paths, ["goal", "deadline_s", "colour", "tools"]);
    assert_eq!(rig.facts().await, []);
    rig.shut_down().await;
}

#[tokio::test]
async fn a_template_is_no_file_that_a_request_may_name() {
    let rig = Rig::start().await;
    let refused = rig.submit(r#"{"template": "Cargo.toml"}"#).await;
    assert_eq!(refused.problem(), (422, "task_invalid"));
    let message = refused.body["errors"][0]["message"].as_str().unwrap();
    assert!(message.contains("a request cannot name files"), "{message}");
    let unknown = rig.submit(r#"{"template": "nope"}"#).await;
    let message = unknown.body["errors"][0]["message"].as_str().unwrap().to_owned();
    assert!(
        message.contains("there is no template \"nope\"") && message.contains("code-review"),
        "{message}"
    );
    rig.shut_down().await;
}

#[tokio::test]
async fn a_template_that_is_known_by_name_is_frozen_as_a_plan() {
    let rig = Rig::start().await;
    let text = r#"{"name": "greet", "slots": {"properties": {"who": {"type": "string"}}, "required": ["who"]},
        "plan": {"steps": [{"id": 1, "description": "Greet.", "inputs":
            [{"name": "who", "from_step": 0, "path": "/who"}]}]}}"#;
    let template = Template::parse(text).unwrap();
    Library::on(rig.bus.clone()).add(&template, 1).await.unwrap();
    let refused = rig.submit(r#"{"template": "greet", "inputs": {"who": 3}}"#).await;
    assert_eq!(refused.body["errors"][0]["path"], "inputs/who");
    rig.submit(r#"{"template": "greet", "inputs": {"who": "Ada"}}"#).await;
    let facts = rig.facts().await;
    let [(_, Fact::TaskSubmitted(submission))] = facts.as_slice() else { panic!("{facts:?}") };
    assert_eq!(submission.plan.as_deref(), Some(template.plan.as_ref()));
    assert_eq!(submission.task.template, template.reference());
    rig.shut_down().await;
}

#[tokio::test]
async fn the_same_key_gives_the_same_run() {
    let rig = Rig::start().await;
    let submit = |key: &'static str| answer(rig.post("/v1/runs").header("Idempotency-Key", key).body(TASK));
    let (first, again, other) = (submit("k-1").await, submit("k-1").await, submit("k-2").await);
    assert_eq!(first.body, again.body);
    assert_ne!(first.body, other.body);
    let empty = submit("").await;
    assert_eq!(empty.problem(), (400, "idempotency_key_invalid"));
    rig.shut_down().await;
}

#[tokio::test]
async fn another_task_under_a_key_is_refused() {
    let rig = Rig::start().await;
    let submit =
        |task: &'static str| answer(rig.post("/v1/runs").header("Idempotency-Key", "k-1").body(task));
    let first = submit(TASK).await;
    let reused = submit(r#"{"goal": "say goodbye", "custom_id": "c-1"}"#).await;
    assert_eq!(reused.problem(), (409, "idempotency_key_reused"));
    let detail = reused.body["detail"].as_str().unwrap();
    assert!(
        detail.contains("\"k-1\"") && detail.contains(first.body["run_id"].as_str().unwrap()),
        "{detail}"
    );
    // A caller's trace and the order of fields are no part of the task.
    let again = rig.post("/v1/runs").header("Idempotency-Key", "k-1");
    let again = again.header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    assert_eq!(answer(again.body(r#"{"custom_id":"c-1","goal":"say hello"}"#)).await.body, first.body);
    assert_eq!(rig.facts().await.len(), 1);
    rig.shut_down().await;
}

#[tokio::test]
async fn bodies_that_are_too_large_or_no_strict_json_are_refused() {
    let rig = Rig::start().await;
    let large = rig.submit(json!({"goal": "x".repeat(3_000)}).to_string()).await;
    assert_eq!(large.problem(), (413, "too_large"));
    let twice = rig.submit(r#"{"goal": "a", "goal": "b"}"#).await;
    assert_eq!(twice.problem(), (400, "json_invalid"));
    assert!(twice.body["detail"].as_str().unwrap().contains("goal"), "{twice:?}");
    let bytes = rig.submit(b"\"\xff\"".to_vec()).await;
    assert_eq!(bytes.problem(), (400, "json_invalid"));
    assert_eq!(rig.facts().await, []);
    rig.shut_down().await;
}

#[tokio::test]
async fn a_run_is_active_then_ended_or_unknown() {
    let rig = Rig::start().await;
    rig.script_coordinator(json!({"run_id": "00-a", "state": "executing", "tenant": "t"})).await;
    let active = rig.get("/v1/runs/00-a?wait=1").await;
    assert_eq!((active.status.as_u16(), &active.body["state"]), (200, &json!("executing")));
    for id in [NOBODY, "ff-no-such-shard", "no id"] {
        let unknown = rig.get(&format!("/v1/runs/{id}")).await;
        assert_eq!(unknown.problem(), (404, "run_unknown"), "{id}");
    }
    let listed = rig.get("/v1/runs?limit=2").await;
    assert_eq!((&listed.body["runs"], &listed.body["next_cursor"]), (&json!([]), &Value::Null));
    rig.shut_down().await;
}

#[tokio::test]
async fn queries_are_checked() {
    let rig = Rig::start().await;
    for path in ["/v1/runs?limit=0", "/v1/runs?limit=x", "/v1/runs?offset=1", "/v1/runs/00-a?wait=61"] {
        assert_eq!(rig.get(path).await.problem(), (400, "query_invalid"), "{path}");
    }
    assert_eq!(rig.get("/v2").await.problem(), (404, "not_found"));
    assert_eq!(rig.get("/v1/runs/00-a/cancel").await.problem(), (405, "method_not_allowed"));
    rig.shut_down().await;
}

#[tokio::test]
async fn a_cancel_is_in_the_log_with_its_reason() {
    let rig = Rig::start().await;
    rig.script_coordinator(json!({"run_id": "01-a", "state": "executing", "tenant": "t"})).await;
    let cancelled = answer(rig.post("/v1/runs/01-a/cancel").body(r#"{"reason": "not needed"}"#)).await;
    assert_eq!(cancelled.status, 202);
    let run: RunId = "01-a".parse().unwrap();
    assert_eq!(rig.facts().await, [(run, Fact::RunCancelRequested { reason: "not needed".into() })]);
    let unknown = answer(rig.post(&format!("/v1/runs/{NOBODY}/cancel"))).await;
    assert_eq!(unknown.problem(), (404, "run_unknown"));
    let wrong = answer(rig.post("/v1/runs/01-a/cancel").body(r#"{"why": "?"}"#)).await;
    assert_eq!(wrong.problem(), (422, "cancel_invalid"));
    rig.shut_down().await;
}

#[tokio::test]
async fn a_run_that_ends_is_answered_with_its_document_and_cannot_be_cancelled() {
    let rig = Rig::start().await;
    rig.start_coordinator();
    let step = json!({"id": 1, "description": "say hello"});
    let task = json!({"plan": {"steps": [step], "final": 1}}).to_string();
    let path = rig.submit(task).await.location.unwrap();
    while rig.get(&path).await.status == 503 {
        tokio::task::yield_now().await;
    }
    let waiting = format!("{path}?wait=30");
    let (waited, asked) = tokio::join!(
        rig.get(&waiting),
        answer(rig.post(&format!("{path}/cancel")).body(r#"{"reason": "enough"}"#)),
    );
    assert_eq!(asked.status, 202);
    assert_eq!((waited.status.as_u16(), &waited.body["state"]), (200, &json!("cancelled")));
    assert_eq!(waited.body["steps"].as_array().unwrap().len(), 1);
    let late = answer(rig.post(&format!("{path}/cancel"))).await;
    assert_eq!(late.problem(), (409, "run_ended"));
    // What has ended is listed as soon as it is indexed.
    let listed = loop {
        let listed = rig.get("/v1/runs?state=cancelled").await;
        if listed.body["runs"] != json!([]) {
            break listed;
        }
        tokio::task::yield_now().await;
    };
    let row = &listed.body["runs"][0];
    assert_eq!((&row["run_id"], &row["state"]), (&waited.body["run_id"], &json!("cancelled")));
    assert_eq!(row["steps"], json!({"total": 1, "done": 0, "failed": 0, "active": 0}));
    rig.shut_down().await;
}

#[tokio::test]
async fn without_a_coordinator_runs_are_taken_and_cancelled_but_not_shown() {
    let rig = Rig::start().await;
    let submitted = rig.submit(TASK).await;
    let path = submitted.location.unwrap();
    let shown = rig.get(&path).await;
    assert_eq!(shown.problem(), (503, "no_coordinator"));
    assert!(shown.retry_after.is_some());
    let cancelled = answer(rig.post(&format!("{path}/cancel"))).await;
    assert_eq!(cancelled.status, 202);
    assert_eq!(rig.facts().await.len(), 2);
    rig.shut_down().await;
}

#[tokio::test]
async fn a_broker_that_takes_nothing_is_said_with_when_to_come_back() {
    let rig = Rig::without_streams().await;
    let refused = rig.submit(TASK).await;
    assert_eq!(refused.problem(), (503, "broker_unreachable"));
    assert!(refused.retry_after.is_some());
    rig.shut_down().await;
}

#[tokio::test]
async fn waiting_ends_with_the_process() {
    let rig = Rig::start().await;
    let started = Instant::now();
    let waiting = answer(rig.post("/v1/runs?wait=60").body(TASK));
    let stop = async {
        while rig.facts().await.is_empty() {
            tokio::task::yield_now().await;
        }
        rig.stop.cancel();
    };
    let (submitted, ()) = tokio::join!(waiting, stop);
    assert_eq!(submitted.status, 202);
    assert!(started.elapsed() < Duration::from_secs(30));
    rig.shut_down().await;
}

#[tokio::test]
async fn web_pages_from_elsewhere_are_refused() {
    let rig = Rig::start().await;
    let rebound = answer(rig.post("/v1/runs").header("Host", "evil.example:8460").body(TASK)).await;
    assert_eq!(rebound.problem(), (403, "host_refused"));
    for origin in ["https://evil.example", "null"] {
        let foreign = answer(rig.post("/v1/runs").header("Origin", origin).body(TASK)).await;
        assert_eq!(foreign.problem(), (403, "origin_refused"));
    }
    assert_eq!(rig.facts().await, []);
    rig.shut_down().await;
}

#[tokio::test]
async fn nobody_else_reaches_an_api_that_asks_nobody() {
    let access = AccessConfig { demand: Demand::None, ..AccessConfig::default() };
    let error = planfleet_api::listen("0.0.0.0:0", &access).await.unwrap_err().to_string();
    assert!(error.contains("planfleet admin keys create") && error.contains("127.0.0.1:8460"), "{error}");
    let taken = planfleet_api::listen("127.0.0.1:0", &access).await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let error = planfleet_api::listen(&address, &access).await.unwrap_err().to_string();
    assert_eq!(
        error,
        format!("cannot listen on {address}: address in use; set api.listen or PLANFLEET__API__LISTEN")
    );
    planfleet_api::listen("0.0.0.0:0", &AccessConfig::default()).await.unwrap();
}
