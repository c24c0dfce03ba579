//! The tool of `docs/tools.md`, as somebody writes it who embeds this crate.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use async_trait::async_trait;
use planfleet_core::tool::{Effect, ToolSpec};
use planfleet_tools::{CallContext, Registry, Settings, Tool, ToolError};
use serde_json::{Map, Value, json};

struct Shout(ToolSpec);

#[async_trait]
impl Tool for Shout {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    async fn call(&self, args: &Map<String, Value>, _: &CallContext) -> Result<Value, ToolError> {
        let text = args["text"].as_str().unwrap_or_default();
        Ok(json!({"text": text.to_uppercase()}))
    }
}

#[tokio::test]
async fn a_tool_of_ones_own_is_called_like_any_other() {
    let mut registry = Registry::build(Settings::default(), None).await.unwrap();
    let text = json!({"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]});
    let spec = ToolSpec {
        name: "shout".into(),
        description: "Gives a text in capitals.".into(),
        arguments: text.clone(),
        output: text,
        effect: Effect::Pure,
        idempotent: true,
    };
    registry.register(Arc::new(Shout(spec))).unwrap();
    let ctx = CallContext::default();
    let output = registry.call("shout", json!({"text": "ahoy"}), &ctx).await.unwrap();
    assert_eq!(output, json!({"text": "AHOY"}));
    assert!(registry.call("shout", json!({}), &ctx).await.is_err());
    assert!(registry.details("shout").unwrap()["timeout_ms"].is_u64());
}
