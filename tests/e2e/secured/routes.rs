//! Every route of the API behind the broker's locks.

use std::{path::PathBuf, sync::Arc};

use planfleet_bus::broker::{
    Broker as _, Outgoing,
    nats::{ConnectOptions, NatsBroker, Tls},
};
use serde_json::{Value, json};

use super::Locked;
use crate::support::{api_port, http, plan, tool, until};

/// Drives each operation of `openapi.json` once: whatever it answers, it has an answer, in time.
pub(super) fn are_answered(fleet: &Locked, run: &str) {
    let api = fleet.serve("api", "off", &["--roles", "api", "--set", "tenants.poor.tokens_per_day=1"]);
    let port = api_port(&api);
    let listed = ask(port, "GET", "/v1/batches", "").1;
    let batch = listed["batches"][0]["batch_id"].as_str().unwrap().to_owned();
    let document: Value = serde_json::from_str(include_str!("../../../crates/api/openapi.json")).unwrap();
    let mut asked = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        for method in ["get", "post", "put", "delete"] {
            if operations.get(method).is_none() {
                continue;
            }
            let id = if path.starts_with("/v1/batches") { &batch } else { run };
            let concrete = path.replace("{id}", id).replace("{step}", "1").replace("{seq}", "7");
            let concrete = concrete.replace("{key}", &"0".repeat(64)).replace("{name}", "halves");
            let (status, body) = ask(port, &method.to_uppercase(), &concrete, &body(method, path));
            assert!(status < 500, "{method} {concrete}: {status} {body}");
            asked += 1;
        }
    }
    assert!(asked >= 35, "{asked} operations");
    previews(fleet, port);
    dead_letters(fleet, port);
}

fn body(method: &str, path: &str) -> String {
    let halves = plan([tool(1, "math_eval").literal("expression", "1 / 2")]);
    match (method, path) {
        ("post", "/v1/runs" | "/v1/batches") => json!({"plan": halves}).to_string(),
        ("post", "/v1/plans:preview") => json!({"task": {"plan": halves}}).to_string(),
        ("put", _) => json!({"name": "halves", "plan": halves}).to_string(),
        ("post", _) => "{}".to_owned(),
        _ => String::new(),
    }
}

fn ask(port: u16, method: &str, path: &str, body: &str) -> (u16, Value) {
    let kind = if path == "/v1/batches" { "application/jsonl" } else { "application/json" };
    let answer = http::ask(port, method, path, &[("content-type", kind)], body);
    let answer = answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
    (answer.status, serde_json::from_str(&answer.body).unwrap_or(Value::Null))
}

/// The planner's model is asked, and the tenant pays; without a key it is said which is missing.
fn previews(fleet: &Locked, port: u16) {
    let task =
        |tenant: &str| json!({"task": {"goal": "Divide.", "mode": "plan", "tenant": tenant}}).to_string();
    let (status, planned) = ask(port, "POST", "/v1/plans:preview", &task("rich"));
    assert_eq!((status, &planned["source"]), (200, &json!("planner")), "{planned}");
    let before = fleet.rig.sim.all().0.len();
    let (status, refused) = ask(port, "POST", "/v1/plans:preview", &task("poor"));
    assert_eq!((status, &refused["code"]), (422, &json!("not_planned")), "{refused}");
    assert!(refused["detail"].as_str().unwrap().contains("tenant poor"), "{refused}");
    assert_eq!(fleet.rig.sim.all().0.len(), before, "nothing is asked that cannot be paid");
    let keyless = ["--roles", "api", "--set", "models.brain.api_key_env=E2E_MISSING"];
    let keyless = fleet.serve("api", "off", &keyless);
    let (status, missing) = ask(api_port(&keyless), "POST", "/v1/plans:preview", &task("rich"));
    assert_eq!((status, &missing["code"]), (409, &json!("planner_missing")), "{missing}");
    assert!(missing["detail"].as_str().unwrap().contains("E2E_MISSING"), "{missing}");
}

/// Two letters, one of what clients write and one of what services write: both are shown and
/// dropped, and the API sends again only what it may write.
fn dead_letters(fleet: &Locked, port: u16) {
    publish(fleet, &["pf.ev.00.submit", "pf.ev.00.result"]);
    let letters = until("two dead letters", || {
        let listed = ask(port, "GET", "/v1/dead-letters", "").1;
        listed["dead_letters"].as_array().filter(|letters| letters.len() == 2).cloned()
    });
    for letter in letters {
        let one = format!("/v1/dead-letters/{}", letter["seq"]);
        assert_eq!(ask(port, "GET", &one, "").0, 200, "{letter}");
        let (status, replayed) = ask(port, "POST", &format!("{one}/replay"), "{}");
        if letter["subject"] == "pf.ev.00.submit" {
            assert_eq!(status, 200, "{replayed}");
            continue;
        }
        assert_eq!((status, &replayed["code"]), (403, &json!("replay_denied")), "{replayed}");
        assert_eq!(ask(port, "DELETE", &one, "").0, 204, "{letter}");
    }
}

/// As the operator, who may write anything.
fn publish(fleet: &Locked, subjects: &[&str]) {
    let file = |name: &str| -> PathBuf { fleet.rig.home.path(name) };
    let options = ConnectOptions {
        url: format!("tls://127.0.0.1:{}", fleet.port),
        nkey_file: Some(file("keys/admin.nk")),
        tls: Tls { ca: Some(file("ca.pem")), cert: Some(file("client.pem")), key: Some(file("client.key")) },
        ..ConnectOptions::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let broker = Arc::new(NatsBroker::connect(options).await.unwrap());
        for subject in subjects {
            let payload = "\u{fffd}no record".into();
            let message = Outgoing { subject: (*subject).to_owned(), payload, ..Outgoing::default() };
            broker.publish(message).await.unwrap();
        }
    });
}
