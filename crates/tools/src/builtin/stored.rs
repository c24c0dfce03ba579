//! `kv_get`, `kv_put`, `object_get`, `object_put`: what outlives a run.

use std::sync::Arc;

use async_trait::async_trait;
use planfleet_core::failure::FailureClass;
use planfleet_core::tool::{Effect, ToolSpec};
use serde_json::{Map, Value, json};

use crate::store::{Kind, Store, StoreError};
use crate::tool::{CallContext, Tool, ToolError};

/// A value is a note, not a document: it is a message on the broker.
const VALUE_BYTES_MAX: usize = 64 << 10;

/// As much as an output may have, so that what was put can be got.
const OBJECT_BYTES_MAX: usize = 4 << 20;

/// Long enough for a path of ids, short enough for a subject.
const KEY_CHARS_MAX: usize = 200;

/// Words between dots; a broker's key can have no other form.
const KEY_PATTERN: &str = r"^[A-Za-z0-9_/=-]+(\.[A-Za-z0-9_/=-]+)*$";

/// One of the four tools.
pub(crate) struct Stored {
    spec: ToolSpec,
    kind: Kind,
    puts: bool,
    store: Option<Arc<dyn Store>>,
}

/// All four, over a store; without one they say that there is none.
pub(crate) fn all(store: Option<&Arc<dyn Store>>) -> [Arc<dyn Tool>; 4] {
    [(Kind::Value, false), (Kind::Value, true), (Kind::Object, false), (Kind::Object, true)].map(
        |(kind, puts)| {
            let spec = if puts { put_spec(kind) } else { get_spec(kind) };
            Arc::new(Stored { spec, kind, puts, store: store.cloned() }) as Arc<dyn Tool>
        },
    )
}

fn key() -> Value {
    json!({
        "type": "string", "maxLength": KEY_CHARS_MAX, "pattern": KEY_PATTERN,
        "description": "Letters, digits, _ - / = and single dots, e.g. reports/2026.june"
    })
}

fn get_spec(kind: Kind) -> ToolSpec {
    let (name, description, content) = match kind {
        Kind::Value => (
            "kv_get",
            "Gives the value that `kv_put` has put under a key, in this run or an earlier one of the \
             same tenant; `found` is false where there is none.",
            ("value", json!({"description": "The value, or null."})),
        ),
        Kind::Object => (
            "object_get",
            "Gives the text that `object_put` has put under a name, in this run or an earlier one of \
             the same tenant; `found` is false where there is none.",
            ("text", json!({"type": ["string", "null"]})),
        ),
    };
    ToolSpec {
        name: name.to_owned(),
        description: description.to_owned(),
        arguments: object(json!({"key": key()}), json!(["key"])),
        output: object(
            json!({"key": {"type": "string"}, "found": {"type": "boolean"}, content.0: content.1}),
            json!(["key", "found", content.0]),
        ),
        effect: Effect::Read,
        idempotent: true,
    }
}

fn put_spec(kind: Kind) -> ToolSpec {
    let (name, description, content) = match kind {
        Kind::Value => (
            "kv_put",
            "Puts a JSON value of at most 64 KiB under a key, in place of what was there. `kv_get` \
             gives it back, in later runs of the same tenant too.",
            ("value", json!({"description": "Any JSON value."})),
        ),
        Kind::Object => (
            "object_put",
            "Puts a text of at most 4 MiB under a name, in place of what was there. `object_get` \
             gives it back, in later runs of the same tenant too.",
            ("text", json!({"type": "string"})),
        ),
    };
    ToolSpec {
        name: name.to_owned(),
        description: description.to_owned(),
        arguments: object(json!({"key": key(), content.0: content.1}), json!(["key", content.0])),
        output: object(
            json!({"key": {"type": "string"}, "bytes": {"type": "integer"}}),
            json!(["key", "bytes"]),
        ),
        effect: Effect::Write,
        idempotent: true,
    }
}

fn object(properties: Value, required: Value) -> Value {
    json!({
        "type": "object", "properties": properties, "required": required,
        "additionalProperties": false
    })
}

#[async_trait]
impl Tool for Stored {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, args: &Map<String, Value>, ctx: &CallContext) -> Result<Value, ToolError> {
        let Some(store) = &self.store else {
            let message = "there is no store here; this tool works in a fleet, with a broker";
            return Err(ToolError::failed(message));
        };
        let key = args["key"].as_str().unwrap_or_default();
        if self.puts { self.put(&**store, args, key, ctx).await } else { self.get(&**store, key, ctx).await }
    }
}

impl Stored {
    async fn get(&self, store: &dyn Store, key: &str, ctx: &CallContext) -> Result<Value, ToolError> {
        let content = store.get(self.kind, &ctx.tenant, key).await?;
        let found = content.is_some();
        let damaged = |reason: String| ToolError::failed(format!("what is stored under `{key}` is {reason}"));
        Ok(match self.kind {
            Kind::Value => {
                let value: Option<Value> = content
                    .map(|content| serde_json::from_slice(&content))
                    .transpose()
                    .map_err(|error| damaged(format!("no JSON: {error}")))?;
                json!({"key": key, "found": found, "value": value})
            }
            Kind::Object => {
                let text = content
                    .map(String::from_utf8)
                    .transpose()
                    .map_err(|error| damaged(format!("no text: {}", error.utf8_error())))?;
                json!({"key": key, "found": found, "text": text})
            }
        })
    }

    async fn put(
        &self,
        store: &dyn Store,
        args: &Map<String, Value>,
        key: &str,
        ctx: &CallContext,
    ) -> Result<Value, ToolError> {
        let (content, bytes_max) = match self.kind {
            Kind::Value => (args["value"].to_string(), VALUE_BYTES_MAX),
            Kind::Object => (args["text"].as_str().unwrap_or_default().to_owned(), OBJECT_BYTES_MAX),
        };
        let bytes = content.len();
        if bytes > bytes_max {
            let other = if self.kind == Kind::Value { "; `object_put` takes more" } else { "" };
            return Err(ToolError::failed(format!(
                "it has {bytes} bytes, and at most {bytes_max} are stored{other}"
            )));
        }
        store.put(self.kind, &ctx.tenant, key, content.into_bytes()).await?;
        Ok(json!({"key": key, "bytes": bytes}))
    }
}

impl From<StoreError> for ToolError {
    fn from(error: StoreError) -> Self {
        let class = if error.transient { FailureClass::Transient } else { FailureClass::ToolError };
        Self::new(class, format!("the store: {}", error.reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Registry;
    use planfleet_core::failure::Failure;
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Shelf(Mutex<BTreeMap<(Kind, String, String), Vec<u8>>>);

    #[async_trait]
    impl Store for Shelf {
        async fn get(&self, kind: Kind, tenant: &str, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
            if key == "busy" {
                return Err(StoreError { reason: "no leader".to_owned(), transient: true });
            }
            Ok(self.0.lock().unwrap().get(&(kind, tenant.to_owned(), key.to_owned())).cloned())
        }

        async fn put(&self, kind: Kind, tenant: &str, key: &str, body: Vec<u8>) -> Result<(), StoreError> {
            self.0.lock().unwrap().insert((kind, tenant.to_owned(), key.to_owned()), body);
            Ok(())
        }
    }

    async fn call(registry: &Registry, tenant: &str, tool: &str, args: Value) -> Result<Value, Failure> {
        let ctx = CallContext { tenant: tenant.to_owned(), ..CallContext::default() };
        registry.call(tool, args, &ctx).await
    }

    fn registry(store: Option<Arc<dyn Store>>) -> Registry {
        let mut registry = Registry::empty(8 << 20);
        all(store.as_ref()).into_iter().for_each(|tool| registry.register(tool).unwrap());
        registry
    }

    #[tokio::test]
    async fn a_tenant_gets_back_what_it_has_put() {
        let registry = registry(Some(Arc::new(Shelf::default())));
        for (get, put, field, content) in [
            ("kv_get", "kv_put", "value", json!({"n": [1, null]})),
            ("kv_get", "kv_put", "value", json!(null)),
            ("object_get", "object_put", "text", json!("grüße\u{0}")),
        ] {
            let key = json!({"key": "a/b.c"});
            let put_args = json!({"key": "a/b.c", field: content});
            call(&registry, "one", put, put_args).await.unwrap();
            let output = call(&registry, "one", get, key.clone()).await.unwrap();
            assert_eq!(output, json!({"key": "a/b.c", "found": true, field: content}));
            let output = call(&registry, "two", get, key).await.unwrap();
            assert_eq!(output, json!({"key": "a/b.c", "found": false, field: null}), "another tenant's");
        }
    }

    #[tokio::test]
    async fn keys_and_sizes_are_bounded() {
        let registry = registry(Some(Arc::new(Shelf::default())));
        for key in ["", ".a", "a.", "a..b", "a b", "a*", "a>", "ä", "$x", &"k".repeat(201)] {
            assert!(call(&registry, "t", "kv_get", json!({"key": key})).await.is_err(), "{key}");
        }
        for (tool, args) in [
            ("kv_put", json!({"key": "k", "value": "x".repeat(VALUE_BYTES_MAX)})),
            ("object_put", json!({"key": "k", "text": "x".repeat(OBJECT_BYTES_MAX + 1)})),
        ] {
            let failure = call(&registry, "t", tool, args).await.unwrap_err();
            assert!(failure.message.contains("are stored"), "{failure}");
        }
    }

    #[tokio::test]
    async fn a_store_in_trouble_is_told_from_none() {
        let with_store = registry(Some(Arc::new(Shelf::default())));
        let busy = call(&with_store, "t", "kv_get", json!({"key": "busy"})).await.unwrap_err();
        assert_eq!(busy.class, FailureClass::Transient);
        let none = call(&registry(None), "t", "kv_get", json!({"key": "k"})).await.unwrap_err();
        assert!(none.class == FailureClass::ToolError && none.message.contains("broker"), "{none}");
    }
}
