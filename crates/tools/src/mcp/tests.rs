//! A server that misbehaves, as a real program.

use std::fs;
use std::path::Path;

use planfleet_core::failure::{Failure, FailureClass};
use planfleet_core::tool::Effect;

use super::*;
use crate::{RegisterError, Registry};

const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/mcp_server.py");

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn server(folder: &Path) -> McpSettings {
    let path = std::env::var("PATH").unwrap_or_default();
    McpSettings {
        command: "python3".to_owned(),
        args: vec![PROGRAM.to_owned(), folder.display().to_string()],
        env: [("PATH".to_owned(), path)].into(),
        timeout_ms: 20_000,
        ..McpSettings::default()
    }
}

async fn registry(own: McpSettings) -> Result<Registry, SettingsError> {
    let mcp = [("odd".to_owned(), own)].into();
    Registry::build(Settings { mcp, ..Settings::default() }, None).await
}

async fn call(registry: &Registry, tool: &str, args: Value) -> Result<Value, Failure> {
    let ctx = CallContext {
        run: "00-r".to_owned(),
        step: "2".to_owned(),
        attempt: 1,
        idempotency_key: "00-r.2".to_owned(),
        traceparent: Some(TRACEPARENT.to_owned()),
        ..CallContext::default()
    };
    registry.call(&format!("mcp_odd_{tool}"), args, &ctx).await
}

fn lines(folder: &Path, name: &str) -> usize {
    fs::read_to_string(folder.join(name)).unwrap_or_default().lines().count()
}

#[tokio::test]
async fn tools_are_discovered_and_called() {
    let folder = tempfile::tempdir().unwrap();
    let registry = registry(server(folder.path())).await.unwrap();
    assert_eq!(call(&registry, "add", json!({"n": 16})).await.unwrap(), json!({"n": 17}));
    let said = call(&registry, "text", json!({})).await.unwrap();
    assert_eq!(said, json!({"text": "one\ntwo", "data": null}));
    let image = call(&registry, "image", json!({})).await.unwrap();
    assert!(image["text"].as_str().unwrap().contains("image/png of 4 bytes"), "{image}");
    let add = registry.spec("mcp_odd_add").unwrap();
    assert_eq!((add.effect, add.idempotent), (Effect::Read, true));
    let text = registry.spec("mcp_odd_text").unwrap();
    assert_eq!((text.effect, text.idempotent), (Effect::Write, false), "nothing is said of it");
    assert!(registry.catalog().keys().any(|name| name.starts_with("mcp_odd_dotted_name_")));
    let calls = fs::read_to_string(folder.path().join("calls")).unwrap();
    let first: Value = serde_json::from_str(calls.lines().next().unwrap()).unwrap();
    assert_eq!(first["_meta"]["planfleet/idempotency_key"], "00-r.2");
    assert_eq!(first["_meta"]["traceparent"], TRACEPARENT);
}

#[tokio::test]
async fn trouble_is_classified_and_the_server_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let registry = registry(McpSettings { timeout_ms: 2_000, ..server(folder.path()) }).await.unwrap();
    for (tool, class, said) in [
        ("fail", FailureClass::ToolError, "no such thing"),
        ("lie", FailureClass::ToolError, "own output schema"),
        ("flood", FailureClass::ToolError, "are taken of any tool"),
        ("die", FailureClass::ToolError, "nobody knows whether"),
        ("fail", FailureClass::ToolError, "no such thing"),
        ("hang", FailureClass::Timeout, "2000 ms"),
    ] {
        let failure = call(&registry, tool, json!({})).await.unwrap_err();
        assert_eq!(failure.class, class, "{tool}: {failure}");
        assert!(failure.message.contains(said), "{tool}: {failure}");
    }
    assert_eq!(lines(folder.path(), "starts"), 2, "it was started again after it died");
    // A server of one thread is held up by a call that hangs; at some time it counts as stuck.
    for _ in 0..2 {
        let failure = call(&registry, "text", json!({})).await.unwrap_err();
        assert_eq!(failure.class, FailureClass::Timeout, "{failure}");
    }
    assert!(call(&registry, "text", json!({})).await.is_ok());
    assert_eq!(lines(folder.path(), "starts"), 3);
}

#[tokio::test]
async fn a_server_that_does_not_come_back_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let registry = registry(server(folder.path())).await.unwrap();
    call(&registry, "die", json!({})).await.unwrap_err();
    fs::write(folder.path().join("broken"), "").unwrap();
    let failure = call(&registry, "text", json!({})).await.unwrap_err();
    assert_eq!((failure.class, failure.retry_after_ms), (FailureClass::Transient, Some(1_000)));
    assert!(failure.message.contains("the library is missing"), "{failure}");
    let again = call(&registry, "text", json!({})).await.unwrap_err();
    assert!(again.message.contains("a moment ago") && again.retry_after_ms <= Some(1_000), "{again}");
    assert_eq!(lines(folder.path(), "starts"), 2, "not started at every call");
}

#[tokio::test]
async fn a_server_that_starts_slowly_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let registry = registry(McpSettings { timeout_ms: 1_000, ..server(folder.path()) }).await.unwrap();
    call(&registry, "die", json!({})).await.unwrap_err();
    // Longer than the registry leaves a call, all its waits included; the SDK's own limit for the
    // newest protocol's first answer is ten seconds.
    fs::write(folder.path().join("slow"), "7.5").unwrap();
    let mut refused = Vec::new();
    while let Err(failure) = call(&registry, "text", json!({})).await {
        refused.push(failure);
        assert!(refused.len() < 100, "it does not come back: {refused:?}");
    }
    assert_eq!(refused[0].class, FailureClass::Transient, "{refused:?}");
    assert!(refused[0].message.contains("still being connected to"), "{refused:?}");
    assert_eq!(lines(folder.path(), "starts"), 2, "one start was enough");
}

#[tokio::test]
async fn a_change_that_could_not_be_looked_at_is_not_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let registry = registry(server(folder.path())).await.unwrap();
    // It tells of the change, and then does not list its tools.
    call(&registry, "change", json!({})).await.unwrap();
    let mut unseen = 0;
    let failure = loop {
        match call(&registry, "text", json!({})).await {
            Err(failure) => break failure,
            Ok(_) => unseen += 1,
        }
        assert!(unseen < 100, "what it told is not heard");
    };
    assert_eq!(failure.class, FailureClass::Transient, "{failure}");
    assert!(failure.message.contains("does not list its tools"), "{failure}");
    fs::remove_file(folder.path().join("unlisted")).unwrap();
    let failure = call(&registry, "text", json!({})).await.unwrap_err();
    assert!(failure.message.contains("another tool `text` now"), "{failure}");
}

#[tokio::test]
async fn a_tool_that_changes_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let pinned = registry(server(folder.path())).await.unwrap();
    let sha256 = pinned.details("mcp_odd_text").unwrap()["origin"]["server_sha256"].clone();
    let sha256 = sha256.as_str().unwrap().to_owned();
    assert!(registry(McpSettings { sha256: sha256.clone(), ..server(folder.path()) }).await.is_ok());
    fs::write(folder.path().join("changed"), "").unwrap();
    let Err(error) = registry(McpSettings { sha256, ..server(folder.path()) }).await else { panic!("taken") };
    assert!(error.to_string().contains("not those that are pinned"), "{error}");
    // In a process that has pinned the old one, from its next connection on.
    call(&pinned, "die", json!({})).await.unwrap_err();
    let calls = lines(folder.path(), "calls");
    let failure = call(&pinned, "text", json!({})).await.unwrap_err();
    assert!(failure.message.contains("another tool `text` now"), "{failure}");
    assert_eq!(lines(folder.path(), "calls"), calls, "it was not called");
    assert!(call(&pinned, "add", json!({})).await.is_ok(), "the others are as they were");
}

#[tokio::test]
async fn a_server_is_told_what_is_named_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let mut own = server(folder.path());
    own.env.insert("SERVICE_TOKEN".to_owned(), "canary-5f2c9".to_owned());
    own.env.insert("TZ".to_owned(), "UTC".to_owned());
    let registry = registry(own).await.unwrap();
    let output = call(&registry, "environment", json!({})).await.unwrap();
    let seen: Value = serde_json::from_str(output["text"].as_str().unwrap()).unwrap();
    assert_eq!((&seen["TZ"], &seen["SERVICE_TOKEN"]), (&json!("UTC"), &json!("[secret]")));
    assert!(seen.get("CARGO_MANIFEST_DIR").is_none() && seen.get("USER").is_none(), "{seen}");
}

#[tokio::test]
async fn the_allow_list_and_the_effects_are_the_operator_s() {
    let folder = tempfile::tempdir().unwrap();
    let mut own = server(folder.path());
    own.tools = vec!["add".to_owned(), "text".to_owned()];
    own.effects = [("text".to_owned(), Effect::Pure)].into();
    let taken = registry(own.clone()).await.unwrap();
    let names: Vec<String> = taken.catalog().into_keys().filter(|name| name.starts_with("mcp_")).collect();
    assert_eq!(names, ["mcp_odd_add", "mcp_odd_text"]);
    assert_eq!(taken.spec("mcp_odd_text").unwrap().effect, Effect::Pure);
    own.tools.push("subtract".to_owned());
    let Err(error) = registry(own).await else { panic!("taken") };
    assert!(error.to_string().contains("no tool `subtract`"), "{error}");
}

#[tokio::test]
async fn what_is_no_server_says_so() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("broken"), "").unwrap();
    for (own, said) in [
        (server(folder.path()), "the library is missing"),
        (McpSettings { command: "/no/such/program".to_owned(), ..server(folder.path()) }, "cannot start"),
        (
            McpSettings { url: "http://10.0.0.1/mcp".to_owned(), ..McpSettings::default() },
            "not a public address",
        ),
        (
            McpSettings { url: "http://127.0.0.1:1/mcp".to_owned(), ..McpSettings::default() },
            "not a public address",
        ),
    ] {
        let Err(error) = registry(own).await else { panic!("taken") };
        assert!(error.to_string().contains(said), "{said}: {error}");
        assert!(!matches!(error, SettingsError::Tool(RegisterError::Name(_))));
    }
}
