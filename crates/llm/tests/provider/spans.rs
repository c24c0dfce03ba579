//! The span of a try: the conventions' names, the provider's figures, and content only where it
//! is asked for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanProcessor};
use planfleet_llm::{ChatModel, ChatRequest, HttpChat, Message, Price};
use planfleet_modelsim::{Rule, Simulator};
use planfleet_telemetry::names;
use tracing_subscriber::layer::SubscriberExt;

use crate::{ask, client, with};

/// The spans that have ended.
#[derive(Debug, Clone, Default)]
struct Ended(Arc<Mutex<Vec<SpanData>>>);

impl SpanProcessor for Ended {
    fn on_start(&self, _: &mut opentelemetry_sdk::trace::Span, _: &opentelemetry::Context) {}

    fn on_end(&self, span: SpanData) {
        self.0.lock().unwrap().push(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// 2 USD in, 10 USD out, per million tokens.
const PRICE: Price = Price {
    input: 2_000_000_000,
    cached_input: 2_000_000_000,
    cache_write: 2_000_000_000,
    output: 10_000_000_000,
};

/// The spans of these requests, one after the other, as what they are called and what they carry.
async fn spans(
    model: impl Fn(&Simulator) -> HttpChat,
    requests: &[ChatRequest],
) -> Vec<(SpanData, BTreeMap<String, String>)> {
    let ended = Ended::default();
    let provider = SdkTracerProvider::builder().with_span_processor(ended.clone()).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test")).with_location(false);
    let layer = layer.with_threads(false).with_target(false).with_tracked_inactivity(false);
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
    let builder =
        Simulator::builder().rule(Rule::status(400, "bad").when("fail")).rule(Rule::text("a private answer"));
    with(builder, async |simulator| {
        let model = model(&simulator);
        for request in requests {
            let _ = model.chat(request).await;
        }
    })
    .await;
    let ended = ended.0.lock().unwrap().clone();
    let ours = ended.into_iter().filter(|span| span.name.starts_with(names::CHAT.name));
    let attributes = |span: &SpanData| {
        let pairs = span.attributes.iter();
        pairs.map(|pair| (pair.key.to_string(), pair.value.to_string())).collect()
    };
    ours.map(|span| (span.clone(), attributes(&span))).collect()
}

#[tokio::test]
async fn a_try_is_one_span_without_content() {
    let question = ChatRequest { stop: vec!["END".to_owned()], ..ask("a private question") };
    let made = spans(|simulator| client(simulator).priced(Some(PRICE)), &[question, ask("fail")]).await;
    let [(answered, carried), (refused, of_refused)] = made.as_slice() else { panic!("{made:?}") };
    for (name, value) in [
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.provider.name", "openai"),
        ("gen_ai.request.model", "small"),
        ("gen_ai.request.stop_sequences", "[\"END\"]"),
        ("gen_ai.response.model", "modelsim"),
        ("gen_ai.response.finish_reasons", "[\"stop\"]"),
        ("gen_ai.usage.input_tokens", "5"),
        ("gen_ai.usage.output_tokens", "4"),
        ("gen_ai.usage.cost", "0.00005"),
        ("server.address", "127.0.0.1"),
    ] {
        assert_eq!(carried.get(name).map(String::as_str), Some(value), "{name}");
    }
    assert_eq!(
        (answered.name.as_ref(), format!("{:?}", answered.span_kind)),
        ("chat small", "Client".into())
    );
    assert_eq!(of_refused["error.type"], "invalid_request");
    assert!(matches!(refused.status, opentelemetry::trace::Status::Error { .. }), "{refused:?}");
    for (_, attributes) in &made {
        for (name, value) in attributes {
            assert!(names::CHAT.attributes.contains(&name.as_str()), "{name} is not declared");
            assert!(!value.contains("private"), "{name}: {value}");
        }
    }
}

#[tokio::test]
async fn what_was_said_is_on_the_span_where_that_is_asked_for() {
    let question = ChatRequest {
        messages: vec![Message::system("be brief"), Message::user("a private question")],
        ..ask("")
    };
    let made = spans(|simulator| client(simulator).capturing_content(true), &[question]).await;
    let carried = &made[0].1;
    assert_eq!(carried["gen_ai.system_instructions"], r#"[{"content":"be brief","type":"text"}]"#);
    assert!(carried["gen_ai.input.messages"].contains("a private question"), "{carried:?}");
    let answer: serde_json::Value = serde_json::from_str(&carried["gen_ai.output.messages"]).unwrap();
    assert_eq!(answer[0]["parts"][0]["content"], "a private answer");
    assert_eq!(answer[0]["finish_reason"], "stop");
    assert!(!carried.contains_key("gen_ai.usage.cost"), "no price is not a cost of nothing");
}
