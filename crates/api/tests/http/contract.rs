//! `openapi.json`, and that the routes are what it says.

use std::{fs, path::Path};

use serde_json::Value;

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
    let mut operations = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            operations += 1;
            let role = operation["x-role"].as_str().unwrap_or("none");
            assert!(["reader", "operator", "admin"].contains(&role), "{method} {path}: {role}");
            let refusal = &operation["responses"]["4XX"]["content"]["application/problem+json"]["schema"];
            assert_eq!(refusal["$ref"], "#/components/schemas/ProblemDetails", "{method} {path}");
        }
    }
    assert!(operations >= 35, "{operations}");
    assert!(document["components"]["schemas"]["ProblemDetails"]["properties"]["code"].is_object());
}
