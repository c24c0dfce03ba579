//! Tools that say what they were called with.

use std::{
    future::pending,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use planfleet_core::{
    failure::FailureClass,
    tool::{Effect, ToolSpec},
};
use planfleet_tools::{CallContext, Registry, Settings, Tool, ToolError};
use serde_json::{Map, Value, json};

/// What `much` puts out, which no message carries inline.
pub(crate) const MUCH_BYTES: usize = 200_000;

/// Every call: the tool, its arguments, its idempotency key.
#[derive(Clone, Default)]
pub(crate) struct Calls(Arc<Mutex<Vec<(String, Value, String)>>>);

impl Calls {
    pub(crate) fn all(&self) -> Vec<(String, Value)> {
        let all = self.0.lock().expect("a list");
        all.iter().map(|(tool, arguments, _)| (tool.clone(), arguments.clone())).collect()
    }

    pub(crate) fn keys(&self) -> Vec<String> {
        self.0.lock().expect("a list").iter().map(|(.., key)| key.clone()).collect()
    }
}

struct Noted {
    spec: ToolSpec,
    calls: Calls,
}

#[async_trait]
impl Tool for Noted {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn timeout(&self) -> Duration {
        Duration::from_secs(3_600)
    }

    async fn call(&self, args: &Map<String, Value>, ctx: &CallContext) -> Result<Value, ToolError> {
        let call = (self.spec.name.clone(), Value::Object(args.clone()), ctx.idempotency_key.clone());
        self.calls.0.lock().expect("a list").push(call);
        match self.spec.name.as_str() {
            "busy" => Err(ToolError {
                retry_after_ms: Some(9_000),
                ..ToolError::new(FailureClass::Transient, "come back later")
            }),
            "hang" => pending().await,
            "much" => Ok("x".repeat(MUCH_BYTES).into()),
            "value" => Ok(args["text"].as_str().and_then(|text| text.parse().ok()).unwrap_or_default()),
            _ => Ok(json!({"text": args["text"], "times": args.get("times")})),
        }
    }
}

/// `parrot`, `busy`, `hang`, `much`, `value`, which puts out the JSON that its text is, `pay` and
/// `put`, which write (and only `put` may be called twice), and `shell`, which no envelope here holds.
pub(crate) fn registry(calls: &Calls) -> Registry {
    registry_with(calls, Settings::default())
}

/// The same beside built-in tools with settings of their own.
pub(crate) fn registry_with(calls: &Calls, settings: Settings) -> Registry {
    let mut registry = Registry::builtin(settings).expect("built-in tools");
    for name in ["parrot", "busy", "hang", "much", "value", "pay", "put", "shell"] {
        let spec = ToolSpec {
            name: name.to_owned(),
            description: String::new(),
            arguments: json!({
                "type": "object",
                "required": ["text"],
                "properties": {"text": {"type": "string"}, "times": {"type": "integer"}},
                "additionalProperties": false
            }),
            output: json!({}),
            effect: if matches!(name, "pay" | "put") { Effect::Write } else { Effect::Read },
            idempotent: name != "pay",
        };
        registry.register(Arc::new(Noted { spec, calls: calls.clone() })).expect("a new tool");
    }
    registry
}
