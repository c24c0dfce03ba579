//! Keys to the HTTP API, from the command line: made, shown once, listed, used and ended.

use serde_json::{Value, json};

use crate::support::{Fleet, api_port, http, until};

fn keys(fleet: &Fleet, args: &[&str]) -> Value {
    fleet.rig.planfleet(&[["admin", "keys"].as_slice(), args, &["-o", "json"]].concat()).code(0).json()
}

/// What the API answers to a submit with a key: its status, and the problem's code.
fn submitted_with(port: u16, key: &str) -> (u16, Value) {
    let bearer = format!("Bearer {key}");
    let own: &[(&str, &str)] = if key.is_empty() { &[] } else { &[("authorization", &bearer)] };
    let answer = http::post_with(port, "/v1/runs", own, r#"{"goal": "Say hello."}"#).unwrap();
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    (answer.status, body["code"].clone())
}

#[test]
fn a_key_is_made_shown_once_listed_used_and_ended() {
    let mut fleet = Fleet::new(Vec::new());
    fleet.rig.set("api.auth=required");
    let serving = fleet.serve("coordinator,api");
    let port = api_port(&serving);

    let made = keys(&fleet, &["create", "ci", "--tenant", "acme", "--role", "operator", "--expires", "90d"]);
    let (id, secret) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
    assert!(secret.starts_with("pfk_") && secret.len() > 64, "{made}");
    let reader = keys(&fleet, &["create", "wall", "--all-tenants"]);
    assert_eq!((&reader["role"], &reader["tenant"]), (&json!("reader"), &Value::Null));

    // Listed with what they are, and not with what they are called with.
    let listed = keys(&fleet, &["list"]);
    let names: Vec<&Value> = listed.as_array().unwrap().iter().map(|key| &key["name"]).collect();
    assert_eq!(names, ["wall", "ci"], "the newest first");
    let own = &listed[1];
    assert_eq!((&own["id"], &own["tenant"], &own["role"]), (&json!(id), &json!("acme"), &json!("operator")));
    assert!(own["expires_at"].is_string() && listed[0]["expires_at"].is_null(), "{listed:#}");
    assert!(!listed.to_string().contains(secret), "a key is shown once");

    assert_eq!(submitted_with(port, ""), (401, json!("unauthenticated")));
    assert_eq!(submitted_with(port, &format!("{secret}0")), (401, json!("unauthenticated")));
    assert_eq!(submitted_with(port, reader["key"].as_str().unwrap()), (403, json!("role_insufficient")));
    assert_eq!(submitted_with(port, secret), (202, Value::Null));

    // The API remembers a key for some seconds.
    let revoked = fleet.rig.planfleet(&["admin", "keys", "revoke", id]).code(0);
    assert!(revoked.one_line().ends_with("(ci) is revoked"), "{revoked:#?}");
    until("the key's end", || (submitted_with(port, secret).0 == 401).then_some(()));
    assert_eq!(keys(&fleet, &["list"]).as_array().unwrap().len(), 1);
    let again = fleet.rig.planfleet(&["admin", "keys", "revoke", id]).code(1);
    assert!(again.one_line().contains(id), "{again:#?}");
    let nobody_s = fleet.rig.planfleet(&["admin", "keys", "create", "ci"]).code(2);
    assert!(nobody_s.err.contains("--tenant"), "{nobody_s:#?}");
}
