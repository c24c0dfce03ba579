//! `echo`: gives back what it is given. For smoke tests and benchmarks, whose steps
//! should cost what the fleet costs and nothing else.

use async_trait::async_trait;
use planfleet_core::tool::{Effect, ToolSpec};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::tool::{CallContext, Tool, ToolError, parse_args};

pub(crate) struct Echo {
    spec: ToolSpec,
}

#[derive(Deserialize)]
struct Args<'a> {
    #[serde(borrow)]
    text: std::borrow::Cow<'a, str>,
}

impl Echo {
    pub(crate) fn new() -> Self {
        Self {
            spec: ToolSpec {
                name: "echo".to_owned(),
                description: "Returns `text` as it is and does nothing else, for smoke tests and \
                              benchmarks. A `for_each` may hand it an `item`, which it ignores."
                    .to_owned(),
                arguments: json!({
                    "type": "object",
                    "properties": {"text": {"type": "string"}, "item": {}},
                    "required": ["text"],
                    "additionalProperties": false
                }),
                output: json!({
                    "type": "object",
                    "properties": {"text": {"type": "string"}},
                    "required": ["text"],
                    "additionalProperties": false
                }),
                effect: Effect::Pure,
                idempotent: true,
            },
        }
    }
}

#[async_trait]
impl Tool for Echo {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, args: &Map<String, Value>, _: &CallContext) -> Result<Value, ToolError> {
        let Args { text } = parse_args(args)?;
        Ok(json!({"text": text}))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::call_in_test;

    #[tokio::test]
    async fn a_text_comes_back_whatever_the_item() {
        for args in [json!({"text": "a\u{0}ä"}), json!({"text": "a\u{0}ä", "item": [1, null]})] {
            let output = call_in_test(Echo::new(), args).await.unwrap();
            assert_eq!(output, json!({"text": "a\u{0}ä"}));
        }
    }

    #[tokio::test]
    async fn anything_but_a_text_is_refused() {
        for args in [json!({}), json!({"text": 1}), json!({"text": "a", "more": 1})] {
            assert!(call_in_test(Echo::new(), args).await.is_err());
        }
    }
}
