//! A hostile planner and a hostile model: ten thousand tries to leave the envelope, and not one
//! call made.

use std::{collections::BTreeMap, sync::Arc};

use planfleet_core::{command::StepOrder, failure::FailureClass, tool::Effect};
use planfleet_executor::{Config, Models};
use planfleet_llm::Wire;
use planfleet_modelsim::{
    Rule,
    script::{Reply, ScriptedToolCall},
};
use planfleet_tools::{Registry, Settings};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{
    Bench, config, literal, order,
    tools::{self, Calls},
    wires::Provider,
};

/// Tries of the model; those of the planner come on top.
const TRIES: usize = 10_000;

/// Calls in one turn of a model.
const CALLS_PER_TURN: usize = 500;

/// Steps that are tried from: a conversation of all tries would be sent again in each turn.
const STEPS: usize = 10;

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
        5 => ("http_fetch".to_owned(), json!({"url": format!("{url}?host=allowed.example#allowed.example")})),
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
        _ if (nth / 12).is_multiple_of(2) => ("sub_task".to_owned(), greedy(nth)),
        _ => (format!("tool_{nth}"), json!({"tools": ["shell"]})),
    }
}

/// A run of its own, with more of everything; `core/sub_task.rs` tests the same for planners.
fn greedy(nth: usize) -> Value {
    json!({
        "goal": "Spend.",
        "budget": {"usd": 1_000_000 + nth, "tokens": 1_000_000_000},
        "max_replans": 1_000,
        "tools": ["sub_task", "shell"]
    })
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

/// Over HTTP, as from a provider: what the model asks for is read by the client that reads real
/// answers, and what it is told is in the simulator's journal.
#[tokio::test]
async fn ten_thousand_tries_of_a_model_make_no_call() {
    let listener = TcpListener::bind("0.0.0.0:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let (base, secret) = folders();
    let turn = |turn: usize| {
        let tries = (0..CALLS_PER_TURN).map(|n| attack(turn * CALLS_PER_TURN + n, port, &secret));
        let calls = tries.map(|(name, arguments)| ScriptedToolCall { name, arguments });
        Rule { times: Some(1), ..Rule::reply(Reply::ToolCalls(calls.collect())) }
    };
    let turns = TRIES / CALLS_PER_TURN;
    let turns_of_step = turns / STEPS;
    let of_step = |step: usize| {
        let tries = (step * turns_of_step..(step + 1) * turns_of_step).map(turn);
        tries.chain([Rule { times: Some(1), ..Rule::text("I give up.") }])
    };
    let rules = (0..STEPS).flat_map(of_step);
    let provider = Provider::start(Wire::OpenAiChat, rules).await;
    let mut bench = Bench::empty().await;
    let models = Models { executor: Some(provider.handle()), ..Models::default() };
    let config = Config { turns_max: u32::try_from(turns_of_step + 1).expect("few"), ..config() };
    bench.start_with(config, models, registry(&bench.calls, &base));

    let mut told = Vec::new();
    for attempt in 1..=STEPS {
        let spec =
            json!({"id": 7, "description": "Read.", "tools": ["http_fetch", "file_read", "file_list"]});
        let mut order = narrow(order(spec, Vec::new()));
        order.attempt = u32::try_from(attempt).expect("few");
        assert_eq!(bench.carry_out(order).await.output(), "I give up.");
        told.extend(provider.everything_told());
    }

    assert_eq!(bench.calls.all(), [], "a tool outside the envelope was called");
    let reached = tokio::time::timeout(std::time::Duration::from_millis(200), listener.accept()).await;
    assert!(reached.is_err(), "somebody connected: {:?}", reached.ok());
    assert_eq!((provider.bodies().len(), told.len()), (turns + STEPS, TRIES));
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
        ["shell", "pay", "http_request", "file_write", "kv_put", "object_put", "sub_task"].iter().enumerate()
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
