//! Answers of every kind, whole and streamed.

use futures::future;
use planfleet_llm::{ChatModel, JsonSchemaFormat, StopReason, ToolDefinition};
use planfleet_modelsim::{Latency, Rule, Simulator, peak_overlap};
use serde_json::json;

use crate::{ask, client, streamed, with};

#[tokio::test]
async fn text_whole_and_streamed_is_the_same() {
    let text = "Paris is the capital of France, which is known.";
    with(Simulator::builder().rule(Rule::text(text)), async |simulator| {
        let model = client(&simulator);
        let whole = model.chat(&ask("capital of France?")).await.unwrap();
        assert_eq!((whole.text.as_str(), &whole.stop_reason), (text, &StopReason::Stop));
        let usage = whole.usage.unwrap();
        assert_eq!((usage.input_tokens, usage.output_tokens), (5, 12));

        let (deltas, streamed) = streamed(&model, "capital of France?").await;
        let streamed = streamed.unwrap();
        assert!(deltas.len() > 1 && deltas.concat() == text);
        assert!(streamed.time_to_first_chunk.is_some());
        assert_eq!((streamed.text, streamed.usage), (whole.text, whole.usage));

        let requests = simulator.requests();
        assert_eq!(requests[0].body["model"], "small");
        assert!(requests.iter().all(|request| request.authorization_present));
    })
    .await;
}

#[tokio::test]
async fn tool_calls_whole_and_streamed_are_the_same() {
    let arguments = json!({"a": 1, "note": "long enough for several chunks"});
    let rule = Rule::tool_call("add", arguments.clone());
    with(Simulator::builder().rule(rule), async |simulator| {
        let model = client(&simulator);
        let mut request = ask("add");
        request.tools = vec![ToolDefinition {
            name: "add".to_owned(),
            description: "Adds.".to_owned(),
            parameters: json!({"type": "object"}),
        }];
        let whole = model.chat(&request).await.unwrap();
        let streamed = model.chat_stream(&request, &mut |_| {}).await.unwrap();
        for response in [whole, streamed] {
            assert_eq!(response.stop_reason, StopReason::ToolCalls);
            assert_eq!(response.tool_calls[0].name, "add");
            assert_eq!(response.tool_calls[0].arguments, arguments.to_string());
        }
        assert_eq!(simulator.requests()[0].body["tool_choice"], "auto");
    })
    .await;
}

#[tokio::test]
async fn rules_see_the_schema_and_refusals_are_answers() {
    let mut by_schema = Rule::json(json!({"steps": []}));
    by_schema.when.schema = Some("plan".to_owned());
    let builder = Simulator::builder().rule(by_schema).rule(Rule::refusal("I will not."));
    with(builder, async |simulator| {
        let model = client(&simulator);
        let mut request = ask("plan it");
        request.response_format = Some(JsonSchemaFormat {
            name: "plan".to_owned(),
            schema: json!({"type": "object"}),
            strict: true,
        });
        let planned = model.chat(&request).await.unwrap();
        assert_eq!(planned.text, r#"{"steps":[]}"#);
        let (_, refused) = streamed(&model, "do harm").await;
        let refused = refused.unwrap();
        assert_eq!(refused.stop_reason, StopReason::Refusal);
        assert_eq!(refused.refusal.as_deref(), Some("I will not."));
    })
    .await;
}

#[tokio::test]
async fn models_are_listed_and_calls_overlap() {
    let slow = Latency { first_byte_ms: 200, ..Latency::default() };
    let builder = Simulator::builder().rule(Rule::text("x").latency(slow));
    with(builder, async |simulator| {
        let model = client(&simulator);
        assert_eq!(model.list_models().await.unwrap(), ["modelsim"]);
        let (first, second) = (ask("1"), ask("2"));
        let (first, second) = future::join(model.chat(&first), model.chat(&second)).await;
        assert!(first.is_ok() && second.is_ok());
        let requests = simulator.requests();
        assert!(requests[0].overlaps(&requests[1]));
        assert_eq!(peak_overlap(&requests), 2);
    })
    .await;
}
