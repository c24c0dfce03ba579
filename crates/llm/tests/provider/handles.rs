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
use serde_json::json;

use crate::{ask, client, with};

/// 1 nano-USD a token of input, 2 of output.
const PRICE: Price = Price { input: 1_000_000, cached_input: 1_000_000, output: 2_000_000 };

fn handle(chat: impl ChatModel + 'static, price: Option<Price>) -> ModelHandle {
    let settings = HandleSettings {
        name: "small".to_owned(),
        dialect: Dialect::default(),
        price,
        max_output_tokens: None,
        temperature: None,
        concurrency_max: 1,
        lasts: Duration::from_secs(60),
    };
    ModelHandle::new(Arc::new(chat), settings)
}

fn planning() -> ChatRequest {
    let format =
        JsonSchemaFormat { name: "plan".to_owned(), schema: json!({"type": "object"}), strict: true };
    ChatRequest { response_format: Some(format), ..ask("plan it") }
}

fn refusing(message: &str) -> Builder {
    let mut refused = Rule::status(400, "invalid_request_error").times(1);
    if let Some(Fault::Status(fault)) = &mut refused.fault {
        fault.message = Some(message.to_owned());
    }
    Simulator::builder().rule(refused).rule(Rule::text("{}"))
}

#[tokio::test]
async fn a_refused_response_format_moves_the_schema_into_the_prompt_for_good() {
    with(refusing("This response_format type is unavailable now"), async |simulator| {
        let handle = handle(client(&simulator), Some(PRICE));
        let first = handle.call(planning()).await;
        assert_eq!(first.result.unwrap().text, "{}");
        assert_eq!(first.usage.calls, 2);
        assert!(first.usage.nano_usd.is_some(), "what was refused is not billed");
        // A clone is the same handle.
        let second = handle.clone().call_streaming(planning(), &mut |_| {}).await;
        assert_eq!((second.result.unwrap().text.as_str(), second.usage.calls), ("{}", 1));

        let requests = simulator.requests();
        assert_eq!(requests[0].body["response_format"]["type"], "json_schema");
        for request in &requests[1..] {
            assert!(request.body.get("response_format").is_none());
            let system = request.body["messages"][0]["content"].as_str().unwrap();
            assert!(system.contains(r#"{"type":"object"}"#), "{system}");
        }
    })
    .await;
}

#[tokio::test]
async fn one_bad_schema_takes_the_format_from_no_other() {
    with(refusing("Invalid schema for response_format 'plan'"), async |simulator| {
        let handle = handle(client(&simulator), None);
        assert_eq!(handle.call(planning()).await.usage.calls, 2);
        assert_eq!(handle.call(planning()).await.usage.calls, 1);
        let formats =
            simulator.requests().into_iter().map(|request| request.body.get("response_format").is_some());
        assert_eq!(formats.collect::<Vec<_>>(), [true, false, true]);
    })
    .await;
}

#[tokio::test]
async fn a_stream_falls_back_too_and_other_refusals_do_not() {
    with(refusing("failed to parse grammar"), async |simulator| {
        let handle = handle(client(&simulator), None);
        let called = handle.call_streaming(planning(), &mut |_| {}).await;
        assert_eq!((called.result.unwrap().text.as_str(), called.usage.calls), ("{}", 2));
    })
    .await;
    with(refusing("unknown field `seed`"), async |simulator| {
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
        let free = Price { input: 0, cached_input: 0, output: 0 };
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
        Err(error.unwrap_or_else(|| Error::new(ErrorClass::Quota, "the end")))
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
