//! The tools of all worlds: the built-in ones, and one with side effects.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use planfleet_core::{
    failure::FailureClass,
    tool::{Effect, ToolSpec},
};
use planfleet_tools::{CallContext, Registry, Settings, Tool, ToolError};
use serde_json::{Map, Value, json};

/// Made once: its schemas take longer to compile than a world takes to live.
static REGISTRY: LazyLock<Arc<Registry>> = LazyLock::new(|| {
    planfleet_llm::install_crypto();
    let mut registry = Registry::builtin(Settings::default()).expect("the default settings");
    registry.register(Arc::new(Post { spec: spec() })).expect("a tool that fits");
    Arc::new(registry)
});

/// The registry.
pub(crate) fn registry() -> Arc<Registry> {
    Arc::clone(&REGISTRY)
}

/// A tool that changes the outside world, and does not always manage to.
struct Post {
    spec: ToolSpec,
}

fn spec() -> ToolSpec {
    let text = json!({"type": "string"});
    ToolSpec {
        name: "post".to_owned(),
        description: "Posts a text.".to_owned(),
        arguments: json!({"type": "object", "properties": {"text": text}, "required": ["text"],
                          "additionalProperties": false}),
        output: json!({"type": "object", "properties": {"posted": text}, "required": ["posted"],
                       "additionalProperties": false}),
        effect: Effect::Write,
        idempotent: false,
    }
}

#[async_trait]
impl Tool for Post {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    /// Some runs' first attempts fail, and come again after the fold's own wait.
    async fn call(&self, args: &Map<String, Value>, ctx: &CallContext) -> Result<Value, ToolError> {
        let unlucky = ctx.run.bytes().last().is_some_and(|last| last % 3 == 0);
        if unlucky && ctx.attempt < 3 {
            return Err(ToolError::new(FailureClass::Transient, "busy"));
        }
        Ok(json!({"posted": args["text"]}))
    }
}
