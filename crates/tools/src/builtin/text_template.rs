//! `text_template`: a text from a Jinja template and values.

use async_trait::async_trait;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, context};
use planfleet_core::tool::{Effect, ToolSpec};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::tool::{CallContext, Tool, ToolError, parse_args};

/// A template is written by a planner: a few pages at most.
const TEMPLATE_CHARS_MAX: usize = 64 << 10;

/// A longer text is data, for which `json_transform` is the tool.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// Bounds the work of one rendering: about half a million template steps, or
/// 32 MB of text made on the way.
const FUEL: u64 = 500_000;

pub(crate) struct TextTemplate {
    spec: ToolSpec,
}

#[derive(Deserialize)]
struct Args<'a> {
    template: &'a str,
    #[serde(default)]
    values: Value,
}

impl TextTemplate {
    pub(crate) fn new() -> Self {
        Self {
            spec: ToolSpec {
                name: "text_template".to_owned(),
                description: "Fills a Jinja2 template: `Hello {{ name }}{% for x in items %} \
                              {{ x }}{% endfor %}`. An object in `values` gives its keys as \
                              variables; anything else is the variable `value`. A variable \
                              without a value is an error."
                    .to_owned(),
                arguments: json!({
                    "type": "object",
                    "properties": {
                        "template": {"type": "string", "maxLength": TEMPLATE_CHARS_MAX},
                        "values": {"description": "An object of variables, or any one value."}
                    },
                    "required": ["template", "values"],
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
impl Tool for TextTemplate {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, args: &Map<String, Value>, _: &CallContext) -> Result<Value, ToolError> {
        let Args { template, values } = parse_args(args)?;
        let text = render(template, values)
            .map_err(|error| ToolError::failed(format!("cannot fill the template: {error}")))?;
        if text.len() > TEXT_BYTES_MAX {
            return Err(ToolError::failed(format!(
                "the text is {} bytes long, over the cap of {TEXT_BYTES_MAX}",
                text.len()
            )));
        }
        Ok(json!({"text": text}))
    }
}

/// Neither a loader nor the `multi_template` feature is there, so a template
/// cannot include files, and nothing is escaped,
/// because the text is not bound for HTML.
fn render(template: &str, values: Value) -> Result<String, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_fuel(Some(FUEL));
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_syntax(SyntaxConfig::builder().keep_trailing_newline(true).build()?);
    match values {
        Value::Object(_) => environment.render_str(template, Serde(values)),
        value => environment.render_str(template, context! { value => Serde(value) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::call_in_test;

    async fn fill(template: &str, values: Value) -> Result<String, String> {
        let args = json!({"template": template, "values": values});
        match call_in_test(TextTemplate::new(), args).await {
            Ok(output) => Ok(output["text"].as_str().unwrap().to_owned()),
            Err(failure) => Err(failure.message),
        }
    }

    #[tokio::test]
    async fn it_fills_in_values() {
        let values = json!({"name": "<b>", "items": [1, 2.5, "x"]});
        assert_eq!(
            fill("{{ name }}:{% for x in items %} {{ x }}{% endfor %}\n", values).await.unwrap(),
            "<b>: 1 2.5 x\n"
        );
        assert_eq!(fill("{{ value[0] }}", json!(["a"])).await.unwrap(), "a");
        assert_eq!(fill("{{ o | tojson }}", json!({"o": {"a": 1}})).await.unwrap(), "{\"a\": 1}");
    }

    #[tokio::test]
    async fn bad_templates_are_explained() {
        for (template, text) in [
            ("{{ nmae }}", "undefined"),
            ("{{ a.b.c }}", "undefined"),
            ("{% for %}", "syntax error"),
            ("{% include '/etc/passwd' %}", "unknown statement"),
            ("{{ 'x' | nosuch }}", "unknown filter"),
        ] {
            let message = fill(template, json!({"a": {}})).await.unwrap_err();
            assert!(message.contains(text), "{template}: {message}");
        }
    }

    #[tokio::test]
    async fn work_and_text_are_bounded() {
        let endless = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}";
        for template in [endless, "{{ 'x' * 999999999 }}"] {
            assert!(fill(template, json!({})).await.unwrap_err().contains("fuel"));
        }
        let message = fill("{{ 'x' * 2000000 }}", json!({})).await.unwrap_err();
        assert!(message.contains("over the cap"), "{message}");
    }

    #[tokio::test]
    async fn deep_nesting_is_an_error_and_not_a_crash() {
        let deep = format!("{{{{ {}1{} }}}}", "(".repeat(30_000), ")".repeat(30_000));
        fill(&deep, json!({})).await.unwrap_err();
        fill("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", json!({})).await.unwrap_err();
    }
}
