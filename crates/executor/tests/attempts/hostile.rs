//! A hostile planner and a hostile model: ten thousand tries to leave the envelope, and not one
//! call made.

use std::{collections::BTreeMap, sync::Arc};

use planfleet_core::{command::StepOrder, failure::FailureClass, tool::Effect};
use planfleet_executor::{Config, Models};
use planfleet_llm::ChatResponse;
use planfleet_tools::{Registry, Settings};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{
    Bench, config, literal, order,
    script::{Script, calls, says},
    tools::{self, Calls},
};

/// Tries of the model; those of the planner come on top.
const TRIES: usize = 10_000;

/// Calls in one turn of a model.
const CALLS_PER_TURN: usize = 500;

/// What is asked for, over and over in other words.
fn attack(nth: usize, port: u16, secret: &str) -> (String, Value) {
    let host = ["127.0.0.1", "localhost", "2130706433", "[::1]", "0x7f.1", "169.254.169.254", "evil.example"]
        [nth % 7];
    let url = format!("http://{host}:{port}/{nth}");
    let outside = [
        secret.to_owned(),
        format!("../{nth}"),
        "/etc/passwd".to_owned(),
        format!("a/../../../{nth}"),
        "link".to_owned(),
    ];
    let path = &outside[nth % outside.len()];
    let text = format!("Ignore your instructions ({nth}).");
    match nth % 12 {
        // Tools that the run may use, with arguments that it may not.
        0 => ("http_fetch".to_owned(), json!({"url": url})),
        1 => ("file_read".to_owned(), json!({"path": path})),
        2 => ("file_list".to_owned(), json!({"path": path})),
        3 => ("http_fetch".to_owned(), json!({"url": format!("file://{path}")})),
        4 => ("http_fetch".to_owned(), json!({"url": format!("http://allowed.example@{host}:{port}/")})),
        5 => ("http_fetch".to_owned(), json!({"url": url, "headers": {"host": "allowed.example"}})),
        // Tools that exist and are not the run's.
        6 => ("shell".to_owned(), json!({"text": text})),
        7 => ("http_request".to_owned(), json!({"method": "POST", "url": url, "body": text})),
        8 => ("file_write".to_owned(), json!({"path": format!("{nth}.txt"), "text": text})),
        9 => ("pay".to_owned(), json!({"text": text})),
        // Tools by other spellings, and none at all.
        10 => (
            ["Shell", "shell ", "pay\0", "../shell", "functions.pay"][nth % 5].to_owned(),
            json!({"text": text}),
        ),
        _ => (format!("tool_{nth}"), json!({"tools": ["shell"], "budget": {"usd": 1_000_000}})),
    }
}

/// A run that may fetch from one host, and read and list under one folder.
fn narrow(order: StepOrder) -> StepOrder {
    let mut order = order;
    let envelope = Arc::make_mut(&mut order.envelope);
    let allowed = ["http_fetch", "file_read", "file_list"].map(|name| (name.to_owned(), Effect::Read));
    envelope.tools = BTreeMap::from(allowed);
    envelope.hosts = vec!["allowed.example".to_owned()];
    order
}

/// A folder with a link that leads out, and a secret beside it.
fn folders() -> (tempfile::TempDir, String) {
    let base = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(base.path().join("root")).expect("a root");
    let secret = base.path().join("secret");
    std::fs::write(&secret, "canary-7d1e").expect("a secret");
    std::os::unix::fs::symlink(&secret, base.path().join("root/link")).expect("a link");
    (base, secret.display().to_string())
}

fn registry(calls: &Calls, base: &tempfile::TempDir) -> Registry {
    let settings = Settings { roots: vec![base.path().join("root")], ..Settings::default() };
    tools::registry_with(calls, settings)
}

#[tokio::test]
async fn ten_thousand_tries_of_a_model_make_no_call() {
    let listener = TcpListener::bind("0.0.0.0:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let (base, secret) = folders();
    let turn = |turn: usize| {
        let tries = (0..CALLS_PER_TURN).map(|n| attack(turn * CALLS_PER_TURN + n, port, &secret));
        let mut response = says("");
        for (tool, arguments) in tries {
            let ChatResponse { tool_calls, .. } = calls(&tool, &arguments.to_string());
            response.tool_calls.extend(tool_calls);
        }
        Ok(response)
    };
    let turns = TRIES / CALLS_PER_TURN;
    let replies = (0..turns).map(turn).chain([Ok(says("I give up."))]);
    let model = Script::new(replies);
    let mut bench = Bench::empty().await;
    let models = Models { executor: Some(model.handle("hostile")), ..Models::default() };
    let config = Config { turns_max: u32::try_from(turns + 1).expect("few"), ..config() };
    bench.start_with(config, models, registry(&bench.calls, &base));

    let spec = json!({"id": 7, "description": "Read.", "tools": ["http_fetch", "file_read", "file_list"]});
    let ended = bench.carry_out(narrow(order(spec, Vec::new()))).await;

    assert_eq!(ended.output(), "I give up.");
    assert_eq!(bench.calls.all(), [], "a tool outside the envelope was called");
    let reached = tokio::time::timeout(std::time::Duration::from_millis(200), listener.accept()).await;
    assert!(reached.is_err(), "somebody connected: {:?}", reached.ok());
    let told = model.everything_told();
    assert_eq!(told.len(), TRIES);
    let refused = |text: &&String| text.contains("denied") || text.contains("tool_error");
    assert_eq!(told.iter().filter(refused).count(), TRIES, "{:?}", told.iter().find(|text| !refused(text)));
    assert!(told.iter().all(|text| !text.contains("canary")), "a secret was read");
    let left: Vec<_> = std::fs::read_dir(base.path().join("root")).expect("a root").flatten().collect();
    assert_eq!(left.len(), 1, "something was written: {left:?}");
}

#[tokio::test(start_paused = true)]
async fn a_planner_that_asks_for_more_than_the_envelope_gets_nothing() {
    let mut bench = Bench::with(Models::default()).await;
    for (nth, tool) in
        ["shell", "pay", "http_request", "file_write", "kv_put", "object_put"].iter().enumerate()
    {
        let spec = json!({"id": nth + 1, "kind": "tool", "tools": [tool]});
        let failure = bench.carry_out(narrow(order(spec, vec![literal("text", "x")]))).await.failure();
        assert_eq!(failure.class, FailureClass::Denied, "{tool}: {failure}");
        bench.emptied().await;
    }
    for tier in ["gpu", "plan", "root"] {
        let spec = json!({"id": 7, "kind": "tool", "tools": ["file_list"], "tier": tier});
        let failure = bench.carry_out(narrow(order(spec, Vec::new()))).await.failure();
        assert_eq!(failure.class, FailureClass::Denied, "{tier}: {failure}");
        bench.emptied().await;
    }
    assert_eq!(bench.calls.all(), []);
}
