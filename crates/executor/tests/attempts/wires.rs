//! Models over real HTTP, on both wires: the schemas of all built-in tools go out as they are, and
//! calls of them come back.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use planfleet_core::tool::ToolCatalog;
use planfleet_executor::{Config, Models};
use planfleet_llm::{
    Dialect, Endpoint, HttpChat, ModelHandle, Secret, Timeouts, Wire, handle::HandleSettings, install_crypto,
};
use planfleet_modelsim::{
    Builder, Rule, Simulator,
    script::{Reply, ScriptedToolCall},
};
use planfleet_tools::{Registry, Settings};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{Bench, config, order};

/// A simulated provider, which ends with this.
pub(crate) struct Provider {
    simulator: Simulator,
    wire: Wire,
    _server: JoinSet<()>,
}

impl Provider {
    pub(crate) async fn start(wire: Wire, rules: impl IntoIterator<Item = Rule>) -> Self {
        install_crypto();
        let builder = rules.into_iter().fold(Simulator::builder(), Builder::rule);
        let (simulator, server) = builder.bind("127.0.0.1:0").await.expect("a sound script");
        let mut serving = JoinSet::new();
        serving.spawn(async move { server.serve(std::future::pending()).await.expect("it serves") });
        Self { simulator, wire, _server: serving }
    }

    pub(crate) fn handle(&self) -> ModelHandle {
        let endpoint = Endpoint {
            name: "simulated".to_owned(),
            wire: self.wire,
            base_url: self.simulator.base_url(),
            api_key: Some(Secret::new("sk-test")),
            model: "hands".to_owned(),
            dialect: Dialect::default(),
            timeouts: Timeouts::default(),
            always_stream: false,
            extra_headers: BTreeMap::new(),
        };
        let settings = HandleSettings {
            name: "simulated".to_owned(),
            concurrency_max: 4,
            lasts: Duration::from_secs(60),
            ..HandleSettings::default()
        };
        ModelHandle::new(Arc::new(HttpChat::new(endpoint).expect("a client")), settings)
    }

    /// What was asked, call by call.
    pub(crate) fn bodies(&self) -> Vec<Value> {
        self.simulator.requests().into_iter().map(|request| request.body).collect()
    }

    /// What tools have told the model in the whole of the newest conversation.
    pub(crate) fn everything_told(&self) -> Vec<String> {
        let bodies = self.bodies();
        let messages = bodies.last().and_then(|body| body["messages"].as_array()).into_iter().flatten();
        let results = messages.flat_map(|message| match (self.wire, &message["content"]) {
            (Wire::OpenAiChat, content) if message["role"] == "tool" => vec![content],
            (Wire::AnthropicMessages, Value::Array(parts)) => {
                let results = parts.iter().filter(|part| part["type"] == "tool_result");
                results.map(|part| &part["content"]).collect()
            }
            _ => Vec::new(),
        });
        let text = |content: &Value| content.as_str().map_or_else(|| content.to_string(), str::to_owned);
        results.map(text).collect()
    }
}

/// A call of each built-in tool that its schema takes, whatever comes of it here.
fn calls() -> Vec<(&'static str, Value)> {
    vec![
        ("echo", json!({"text": "hello"})),
        ("file_list", json!({"path": "."})),
        ("file_read", json!({"path": "a.txt"})),
        ("file_write", json!({"path": "a.txt", "text": "a"})),
        ("http_fetch", json!({"url": "https://nowhere.invalid/"})),
        ("http_request", json!({"method": "POST", "url": "https://nowhere.invalid/"})),
        ("json_transform", json!({"input": {"a": [1, 2]}, "filter": ".a | add"})),
        ("kv_get", json!({"key": "k"})),
        ("kv_put", json!({"key": "k", "value": {"any": null}})),
        ("math_eval", json!({"expression": "6 * 7"})),
        ("object_get", json!({"key": "k"})),
        ("object_put", json!({"key": "k", "text": "t"})),
        ("regex_extract", json!({"text": "a1", "pattern": "[0-9]"})),
        ("sub_task", json!({"goal": "g", "budget": {"usd": 0.5}, "page": "p"})),
        ("text_split", json!({"text": "a,b", "by": "separator", "separator": ","})),
        ("text_template", json!({"template": "{{ value }}", "values": {"value": 1}})),
        ("wait", json!({"ms": 1})),
    ]
}

/// The tools as a request's body has them: name, description and schema.
fn offered(wire: Wire, body: &Value) -> Vec<(String, String, Value)> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let tools = body["tools"].as_array().expect("tools").iter();
    tools
        .map(|tool| match wire {
            Wire::OpenAiChat => &tool["function"],
            Wire::AnthropicMessages => tool,
        })
        .map(|tool| {
            let schema =
                if tool["parameters"].is_null() { &tool["input_schema"] } else { &tool["parameters"] };
            (text(&tool["name"]), text(&tool["description"]), schema.clone())
        })
        .collect()
}

async fn round_trip(wire: Wire, catalog: &ToolCatalog) {
    let scripted = calls().into_iter().map(|(name, arguments)| {
        let name = name.to_owned();
        ScriptedToolCall { name, arguments }
    });
    let all = Rule { times: Some(1), ..Rule::reply(Reply::ToolCalls(scripted.collect())) };
    let provider = Provider::start(wire, [all, Rule::text("done")]).await;
    let names: Vec<&String> = catalog.keys().collect();
    let mut order = order(json!({"id": 7, "description": "Use them all.", "tools": names}), Vec::new());
    Arc::make_mut(&mut order.envelope).tools =
        catalog.iter().map(|(name, spec)| (name.clone(), spec.effect)).collect();
    let mut bench = Bench::empty().await;
    let models = Models { executor: Some(provider.handle()), ..Models::default() };
    let registry = Registry::builtin(Settings::default()).expect("built-in tools");
    bench.start_with(Config { turns_max: 3, ..config() }, models, registry);
    assert_eq!(bench.carry_out(order).await.output(), "done");

    let bodies = provider.bodies();
    let wanted: Vec<_> = catalog
        .values()
        .map(|spec| (spec.name.clone(), spec.description.clone(), spec.arguments.clone()))
        .collect();
    assert_eq!(offered(wire, &bodies[0]), wanted, "{wire:?}");
    let told = provider.everything_told();
    assert_eq!(told.len(), catalog.len(), "{told:?}");
    let wrong = |told: &&String| told.contains("wrong arguments") || told.contains("there is no tool");
    assert_eq!(told.iter().filter(wrong).collect::<Vec<_>>(), Vec::<&String>::new());
    let value =
        |name: &str| &told[calls().iter().position(|(known, _)| *known == name).expect("it is called")];
    assert!(value("math_eval").contains("42"), "{}", value("math_eval"));
    assert!(value("sub_task").contains("steps of kind"), "{}", value("sub_task"));
}

#[tokio::test]
async fn the_schemas_of_all_built_in_tools_go_over_both_wires_and_back() {
    let catalog = Registry::builtin(Settings::default()).expect("built-in tools").catalog();
    let called: Vec<&str> = calls().into_iter().map(|(name, _)| name).collect();
    assert_eq!(catalog.keys().collect::<Vec<_>>(), called, "a tool is not called here");
    for wire in [Wire::OpenAiChat, Wire::AnthropicMessages] {
        round_trip(wire, &catalog).await;
    }
}
