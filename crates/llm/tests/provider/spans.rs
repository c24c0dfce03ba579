//! The span of a call: the conventions' names, the provider's figures, and no content.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use planfleet_llm::ChatModel;
use planfleet_modelsim::{Rule, Simulator};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use crate::{ask, client, with};

/// The attributes of all `chat` spans, the newest value of each.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<BTreeMap<&'static str, String>>>);

impl Visit for Seen {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.lock().unwrap().insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

impl<S: tracing::Subscriber> Layer<S> for Seen {
    fn on_new_span(&self, attributes: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        if attributes.metadata().name() == "chat" {
            attributes.record(&mut self.clone());
        }
    }

    fn on_record(&self, _: &Id, values: &Record<'_>, _: Context<'_, S>) {
        values.record(&mut self.clone());
    }
}

#[tokio::test]
async fn a_call_is_one_span_without_content() {
    let seen = Seen::default();
    let subscriber = tracing_subscriber::registry().with(seen.clone());
    let _guard = tracing::subscriber::set_default(subscriber);
    let builder =
        Simulator::builder().rule(Rule::status(400, "bad").when("fail")).rule(Rule::text("a private answer"));
    with(builder, async |simulator| {
        let model = client(&simulator);
        model.chat(&ask("a private question")).await.unwrap();
        model.chat(&ask("fail")).await.unwrap_err();
    })
    .await;
    let seen = seen.0.lock().unwrap();
    for (name, value) in [
        ("otel.name", "chat small"),
        ("otel.kind", "client"),
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.provider.name", "openai"),
        ("gen_ai.request.model", "small"),
        ("gen_ai.response.model", "modelsim"),
        ("gen_ai.response.finish_reasons", "stop"),
        ("gen_ai.usage.input_tokens", "5"),
        ("gen_ai.usage.output_tokens", "4"),
        ("error.type", "invalid_request"),
    ] {
        assert_eq!(seen.get(name).map(String::as_str), Some(value), "{name}");
    }
    assert!(seen.values().all(|value| !value.contains("private")));
}
