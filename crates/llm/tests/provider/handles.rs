//! What a handle adds to a model: its price, its bound, its way around refused formats.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::future;
use planfleet_core::failure::FailureClass;
use planfleet_llm::handle::HandleSettings;
use planfleet_llm::{
    ChatModel, ChatRequest, ChatResponse, Dialect, Error, ErrorClass, JsonSchemaFormat, ModelHandle, Price,
    TextSink,
};
use planfleet_modelsim::{Builder, Fault, FaultKind, Rule, Simulator};
use serde_json::{Value, json};

use crate::{ask, client, with};

/// 1 nano-USD a token of input, 2 of output.
const PRICE: Price =
    Price { input: 1_000_000, cached_input: 1_000_000, cache_write: 1_000_000, output: 2_000_000 };

fn handle(chat: impl ChatModel + 'static, price: Option<Price>) -> ModelHandle {
    let settings = HandleSettings {
        name: "small".to_owned(),
        dialect: Dialect::default(),
        price,
        concurrency_max: 1,
        lasts: Duration::from_secs(60),
        ..HandleSettings::default()
    };
    ModelHandle::new(Arc::new(chat), settings)
}

fn planning() -> ChatRequest {
    let format =
        JsonSchemaFormat { name: "plan".to_owned(), schema: json!({"type": "object"}), strict: true };
    ChatRequest { response_format: Some(format), ..ask("plan it") }
}

/// Refuses once for each message, and answers then.
fn refusing<const N: usize>(messages: [&str; N]) -> Builder {
    let refused = |message: &str| {
        let mut refused = Rule::status(400, "invalid_request_error").times(1);
        if let Some(Fault::Status(fault)) = &mut refused.fault {
            fault.message = Some(message.to_owned());
        }
        refused
    };
    let builder = messages.map(refused).into_iter().fold(Simulator::builder(), Builder::rule);
    builder.rule(Rule::text("{}"))
}

/// The way to JSON that a request takes.
fn way(body: &Value) -> &'static str {
    match body["response_format"]["type"].as_str() {
        Some("json_schema") => "json_schema",
        Some("json_object") => "json_object",
        _ if body["tool_choice"]["function"]["name"] == "submit_plan" => "tool_call",
        _ => "prompt",
    }
}

fn ways(simulator: &Simulator) -> Vec<&'static str> {
    simulator.requests().iter().map(|request| way(&request.body)).collect()
}

#[tokio::test]
async fn refused_ways_to_json_give_way_to_weaker_ones_for_good() {
    let refusals = [
        "This response_format type is unavailable now",
        "tool_choice is not supported",
        "response_format is not supported at all",
    ];
    with(refusing(refusals), async |simulator| {
        let handle = handle(client(&simulator), Some(PRICE));
        let first = handle.call(planning()).await;
        assert_eq!(first.result.unwrap().text, "{}");
        assert_eq!(first.usage.calls, 4);
        assert!(first.usage.nano_usd.is_some(), "what was refused is not billed");
        // A clone is the same handle.
        let second = handle.clone().call_streaming(planning(), &mut |_| {}).await;
        assert_eq!((second.result.unwrap().text.as_str(), second.usage.calls), ("{}", 1));
        assert_eq!(ways(&simulator), ["json_schema", "tool_call", "json_object", "prompt", "prompt"]);
        for request in &simulator.requests()[2..] {
            let system = request.body["messages"][0]["content"].as_str().unwrap();
            assert!(system.contains(r#"{"type":"object"}"#), "{system}");
        }
    })
    .await;
}

#[tokio::test]
async fn an_answer_may_come_as_a_call_of_a_tool() {
    let builder = Simulator::builder()
        .rule(Rule::status(400, "json_schema_unsupported").times(1))
        .rule(Rule::tool_call("submit_plan", json!({"steps": []})));
    with(builder, async |simulator| {
        let handle = handle(client(&simulator), None);
        let mut seen = String::new();
        let mut sink = |piece: &str| seen.push_str(piece);
        let streamed = handle.call_streaming(planning(), &mut sink).await.result.unwrap();
        let whole = handle.call(planning()).await.result.unwrap();
        for response in [&streamed, &whole] {
            assert_eq!(response.text, r#"{"steps":[]}"#);
            assert!(response.tool_calls.is_empty());
        }
        assert_eq!(seen, streamed.text);
        assert_eq!(ways(&simulator), ["json_schema", "tool_call", "tool_call"]);
    })
    .await;
}

#[tokio::test]
async fn one_bad_schema_takes_the_format_from_no_other() {
    with(refusing(["Invalid schema for response_format 'plan'"]), async |simulator| {
        let handle = handle(client(&simulator), None);
        assert_eq!(handle.call(planning()).await.usage.calls, 2);
        assert_eq!(handle.call(planning()).await.usage.calls, 1);
        assert_eq!(ways(&simulator), ["json_schema", "tool_call", "json_schema"]);
    })
    .await;
}

#[tokio::test]
async fn a_stream_falls_back_too_and_other_refusals_do_not() {
    with(refusing(["failed to parse grammar"]), async |simulator| {
        let handle = handle(client(&simulator), None);
        let called = handle.call_streaming(planning(), &mut |_| {}).await;
        assert_eq!((called.result.unwrap().text.as_str(), called.usage.calls), ("{}", 2));
    })
    .await;
    with(refusing(["unknown field `seed`"]), async |simulator| {
        let called = handle(client(&simulator), None).call(planning()).await;
        assert_eq!((called.result.unwrap_err().class, called.usage.calls), (FailureClass::ToolError, 1));
    })
    .await;
}

#[tokio::test]
async fn a_call_costs_what_is_known_of_it() {
    let kind = |kind, when| Rule::text("a text that is cut").fault(Fault::Kind(kind)).when(when);
    let builder = Simulator::builder()
        .rule(Rule::status(400, "bad").when("refused"))
        .rule(Rule::status(503, "server_error").retry_after_s(0.01).when("busy").times(1))
        .rule(kind(FaultKind::CutMidStream, "cut").times(1))
        .rule(kind(FaultKind::Garbage, "garbage"))
        .rule(Rule::text("four letters"));
    with(builder, async |simulator| {
        let of = async |price, question| {
            let called = handle(client(&simulator), price).call(ask(question)).await;
            (called.usage.calls, called.usage.nano_usd)
        };
        let known = of(Some(PRICE), "good").await;
        assert!(known.1.is_some_and(|cost| cost > 0));
        assert_eq!(of(None, "good").await, (1, None));
        assert_eq!(of(None, "refused").await, (1, None));
        assert_eq!(of(Some(PRICE), "refused").await, (1, Some(0)));
        assert_eq!(of(Some(PRICE), "garbage").await, (1, None));
        // Tries that fail before the one that brings the answer.
        assert_eq!(of(Some(PRICE), "busy").await, (2, known.1));
        assert_eq!(of(Some(PRICE), "cut").await, (2, None));
        let free = Price { input: 0, cached_input: 0, cache_write: 0, output: 0 };
        assert_eq!(of(Some(free), "garbage").await, (1, Some(0)));
    })
    .await;
}

#[tokio::test]
async fn a_closed_port_costs_nothing() {
    let (simulator, server) = Simulator::builder().bind("127.0.0.1:0").await.unwrap();
    drop(server);
    let error = client(&simulator).chat(&ask("x")).await.unwrap_err();
    assert!(!error.may_be_billed);
}

/// Fails as its script says, answers afterwards, and notes how many calls overlap.
struct Scripted {
    failures: Mutex<VecDeque<Error>>,
    under_way: AtomicUsize,
    peak: Arc<AtomicUsize>,
}

#[async_trait]
impl ChatModel for Scripted {
    async fn chat(&self, _: &ChatRequest) -> Result<ChatResponse, Error> {
        let under_way = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        self.peak.fetch_max(under_way, Ordering::SeqCst);
        tokio::task::yield_now().await;
        self.under_way.fetch_sub(1, Ordering::SeqCst);
        let error = self.failures.lock().unwrap().pop_front();
        Err(error.unwrap_or_else(|| Error::new(ErrorClass::InvalidRequest, "the end")))
    }

    async fn chat_stream(&self, request: &ChatRequest, _: &mut TextSink<'_>) -> Result<ChatResponse, Error> {
        self.chat(request).await
    }
}

#[tokio::test]
async fn a_call_that_waits_for_its_next_try_holds_no_other_up() {
    let wait = Some(Duration::from_millis(300));
    let busy = Error { retry_after: wait, ..Error::new(ErrorClass::Transient, "busy") };
    let peak = Arc::new(AtomicUsize::new(0));
    let scripted =
        Scripted { failures: Mutex::new([busy].into()), under_way: AtomicUsize::new(0), peak: peak.clone() };
    let handle = handle(scripted, None);
    let (first, second) = (handle.call(ask("1")), handle.call(ask("2")));
    // The second of them ends while the first waits.
    let (ended, other) = future::select(Box::pin(first), Box::pin(second)).await.factor_first();
    assert_eq!(ended.usage.calls, 1);
    assert_eq!(other.await.usage.calls, 2);
    assert_eq!(peak.load(Ordering::SeqCst), 1);
}
