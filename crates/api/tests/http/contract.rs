//! `openapi.json`, and that the routes are what it says.

#![expect(clippy::unwrap_used, reason = "a test whose scenery does not stand has failed")]

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;

use super::rig::{Rig, answer};

#[test]
fn the_committed_description_is_that_of_the_routes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    let made = planfleet_api::openapi();
    if std::env::var_os("PLANFLEET_BLESS").is_some() {
        fs::write(&path, &made).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == made, "openapi.json is not current: `make fix` writes it");
}

#[test]
fn every_operation_says_which_role_it_needs_and_how_it_refuses() {
    let document: Value = serde_json::from_str(&planfleet_api::openapi()).unwrap();
    let (mut operations, mut names) = (0, BTreeSet::new());
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            operations += 1;
            let name = operation["operationId"].as_str().unwrap();
            assert!(names.insert(name), "{method} {path}: {name} is the name of another operation");
            let role = operation["x-role"].as_str().unwrap_or("none");
            assert!(["reader", "operator", "admin"].contains(&role), "{method} {path}: {role}");
            let refusal = &operation["responses"]["4XX"]["content"]["application/problem+json"]["schema"];
            assert_eq!(refusal["$ref"], "#/components/schemas/ProblemDetails", "{method} {path}");
        }
    }
    assert!(operations >= 35, "{operations}");
    assert!(document["components"]["schemas"]["ProblemDetails"]["properties"]["code"].is_object());
}

#[tokio::test]
async fn a_task_is_described_as_it_is_read() {
    let document: Value = serde_json::from_str(&planfleet_api::openapi()).unwrap();
    let described = document["components"]["schemas"]["Task"]["properties"].as_object().unwrap();
    let rig = Rig::start().await;
    let refused = rig.submit(r#"{"goal": "g", "colour": 1}"#).await;
    let message = refused.body["errors"][0]["message"].as_str().unwrap();
    let read = message.strip_prefix("unknown; a task has ").unwrap().split(", ");
    assert_eq!(read.collect::<BTreeSet<_>>(), described.keys().map(String::as_str).collect());
    // Null is as if it were not there, in every field.
    let mut nothing: Value = described.keys().map(|key| (key.clone(), Value::Null)).collect();
    nothing["goal"] = "g".into();
    assert_is("Task", &nothing);
    assert_eq!(rig.submit(nothing.to_string()).await.status, 202);
    rig.shut_down().await;
}

/// A validator of one of the description's schemas.
fn schema(name: &str) -> jsonschema::Validator {
    let mut document: Value = serde_json::from_str(&planfleet_api::openapi()).unwrap();
    document["$ref"] = format!("#/components/schemas/{name}").into();
    jsonschema::validator_for(&document).unwrap()
}

fn assert_is(name: &str, value: &Value) {
    let faults: Vec<String> =
        schema(name).iter_errors(value).map(|fault| format!("{}: {fault}", fault.instance_path())).collect();
    assert!(faults.is_empty(), "{name}: {faults:#?}\n{value:#}");
}

#[tokio::test]
async fn what_is_answered_is_what_is_described() {
    let rig = Rig::start().await;
    rig.start_coordinator();
    let task = r#"{"goal": "g", "custom_id": "c", "labels": {"team": "books"}, "budget": {"usd": 1}, "plan": {"steps": [
        {"id": 1, "description": "a", "success_criteria": [{"kind": "min_length", "arg": "1"}]},
        {"id": 2, "description": "b", "for_each": {"from_step": 1, "path": ""}, "depends_on": [1]}], "final": 2}}"#;
    let path = rig.submit(task).await.location.unwrap();
    let active = loop {
        let seen = rig.get(&path).await;
        if seen.status == 200 {
            break seen.body;
        }
    };
    assert_is("RunDocument", &active);
    assert_is("StepDetail", &rig.get(&format!("{path}/steps/2")).await.body);
    assert_is("RunPage", &rig.get("/v1/runs").await.body);
    answer(rig.post(&format!("{path}/cancel"))).await;
    let ended = rig.get(&format!("{path}?wait=30")).await.body;
    assert_eq!(ended["state"], "cancelled");
    assert_is("RunDocument", &ended);
    assert_is("Events", &rig.get(&format!("{path}/events")).await.body);
    rig.post("/v1/batches?id=b").body("{\"goal\": \"g\"}\nno task\n").send().await.unwrap();
    for (name, path) in [
        ("RunPage", "/v1/runs?state=cancelled"),
        ("RunCounts", "/v1/runs:counts"),
        ("Batches", "/v1/batches"),
        ("Batch", "/v1/batches/b"),
        ("Templates", "/v1/templates"),
        ("TemplateView", "/v1/templates/code-review"),
        ("CacheList", "/v1/cache"),
        ("Tools", "/v1/tools"),
        ("Models", "/v1/models"),
        ("Queues", "/v1/queues"),
        ("Workers", "/v1/workers"),
        ("DeadLetters", "/v1/dead-letters"),
        ("Costs", "/v1/costs?by=model"),
        ("WhoAmI", "/v1/whoami"),
        ("ProblemDetails", "/v1/runs/00-nobody"),
        ("ProblemDetails", "/v1/runs?state=lost"),
    ] {
        assert_is(name, &rig.get(path).await.body);
    }
    let hold = |path: &str| rig.post(path).body(r#"{"class": "nightly"}"#);
    assert_is("QueuePause", &answer(hold("/v1/queues:pause")).await.body);
    assert_is("Queues", &rig.get("/v1/queues").await.body);
    assert_is("QueueResumed", &answer(hold("/v1/queues:resume")).await.body);
    let saved = rig.get("/v1/cache").await.body["savings"]["saved_usd"].as_f64().unwrap();
    assert!(saved.is_sign_positive(), "nothing is not less than nothing");
    let errors = rig.plain("/v1/batches/b/errors").send().await.unwrap().text().await.unwrap();
    assert!(errors.lines().count() == 1 && errors.contains("not JSON"), "{errors}");
    let preview = answer(rig.post("/v1/plans:preview").body(format!("{{\"task\": {task}}}"))).await;
    assert_eq!((preview.status.as_u16(), &preview.body["source"]), (200, &Value::from("task")));
    assert_is("PlanPreview", &preview.body);
    let faulty =
        answer(rig.post("/v1/plans:preview").body(r#"{"task": {"goal": 3, "tools": ["nope"]}}"#)).await;
    assert_eq!(faulty.body["faults"].as_array().unwrap().len(), 2, "{faulty:?}");
    assert_is("PlanPreview", &faulty.body);
    rig.shut_down().await;
}
