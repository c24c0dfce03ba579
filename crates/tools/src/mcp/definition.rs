//! A tool as its server defines it: what is pinned, and what it is called here.

use std::collections::BTreeSet;

use planfleet_core::failure::trim_chars;
use planfleet_core::tool::Effect;
use rmcp::model;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A description is for a planner's prompt, which holds those of all tools.
const DESCRIPTION_CHARS_MAX: usize = 1_500;

/// So is the schema of the arguments.
const SCHEMA_BYTES_MAX: usize = 64 << 10;

/// The longest function name that the model providers take.
const NAME_CHARS_MAX: usize = 64;

/// Enough of a hash to tell names apart that are cut or made plain.
const NAME_HASH_CHARS: usize = 8;

/// One tool of a server.
#[derive(Debug, Clone)]
pub(super) struct Definition {
    /// The server's name for it.
    pub(super) name: String,
    pub(super) description: String,
    pub(super) arguments: Value,
    pub(super) output: Option<Value>,
    hints: Hints,
    /// SHA-256 of all of it in hexadecimal.
    pub(super) sha256: String,
}

/// What the server says of a call's effect.
#[derive(Debug, Clone, Copy, Default)]
struct Hints {
    read_only: bool,
    destructive: bool,
    idempotent: bool,
}

impl Definition {
    /// Reads a tool of a list; the error says what is wrong with it.
    pub(super) fn read(tool: &model::Tool) -> Result<Self, String> {
        let arguments = Value::Object((*tool.input_schema).clone());
        let output = tool.output_schema.as_ref().map(|schema| Value::Object((**schema).clone()));
        let hints = tool.annotations.as_ref().map_or_else(Hints::default, |said| Hints {
            read_only: said.read_only_hint == Some(true),
            destructive: said.destructive_hint == Some(true),
            idempotent: said.idempotent_hint == Some(true),
        });
        let description = tool.description.as_deref().or(tool.title.as_deref()).unwrap_or_default();
        let whole = json!({
            "name": tool.name,
            "description": tool.description,
            "title": tool.title,
            "arguments": arguments,
            "output": output,
            "annotations": tool.annotations,
        });
        let bytes =
            arguments.to_string().len() + output.as_ref().map_or(0, |schema| schema.to_string().len());
        if bytes > SCHEMA_BYTES_MAX {
            return Err(format!(
                "the schemas of its tool `{}` have {bytes} bytes, more than the {SCHEMA_BYTES_MAX} that are taken; \
                 leave it out of `tools`",
                tool.name
            ));
        }
        Ok(Self {
            name: tool.name.to_string(),
            description: trim_chars(description.trim(), DESCRIPTION_CHARS_MAX),
            arguments,
            output,
            hints,
            sha256: sha256(&canonical(&whole)),
        })
    }

    /// What a call does, and whether calling twice is calling once. A server that says nothing
    /// may write; one that says something is overruled by the operator.
    pub(super) fn effect(&self, overruled: Option<Effect>) -> (Effect, bool) {
        let said = match self.hints {
            Hints { read_only: true, .. } => Effect::Read,
            Hints { destructive: true, .. } => Effect::Destructive,
            Hints { .. } => Effect::Write,
        };
        let effect = overruled.unwrap_or(said);
        (effect, effect.is_side_effect_free() || self.hints.idempotent)
    }

    /// `mcp_<server>_<tool>`, of characters that every provider takes and no longer than they
    /// take; where that is not the tool's whole name, or is taken, a hash of it stands at the end.
    pub(super) fn name_for(&self, server: &str, taken: &mut BTreeSet<String>) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
        let tool: String = self.name.chars().map(plain).collect();
        let mut name = format!("mcp_{server}_{tool}");
        if tool != self.name || name.len() > NAME_CHARS_MAX || taken.contains(&name) {
            name.truncate(NAME_CHARS_MAX - NAME_HASH_CHARS - 1);
            let hash = sha256(&format!("{server}\n{}", self.name));
            name = format!("{name}_{}", &hash[..NAME_HASH_CHARS]);
        }
        taken.insert(name.clone());
        name
    }
}

/// What the tools of a server hash to, in whatever order it lists them.
pub(super) fn sha256_of_all(tools: &[Definition]) -> String {
    let mut lines: Vec<String> =
        tools.iter().map(|tool| format!("{} {}\n", tool.sha256, tool.name)).collect();
    lines.sort();
    sha256(&lines.concat())
}

fn sha256(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// JSON with the keys of every object in order, so that equal values are equal texts.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(key, _)| *key);
            let fields = fields.iter().map(|(key, value)| format!("{}:{}", json!(key), canonical(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
        }
        Value::Array(items) => {
            format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(","))
        }
        plain => plain.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn tool(name: &str) -> model::Tool {
        let schema = json!({"type": "object", "properties": {"b": {}, "a": {}}});
        let Value::Object(schema) = schema else { unreachable!() };
        model::Tool::new(name.to_owned(), "d", Arc::new(schema))
    }

    fn read(name: &str) -> Definition {
        Definition::read(&tool(name)).unwrap()
    }

    #[test]
    fn names_fit_every_provider_and_stay_apart() {
        let mut taken = BTreeSet::new();
        let long = "x".repeat(100);
        let tools = ["get_time", "get-time", "get.time", "get/time", "get time", "GetTime", "ü", &long];
        let names: Vec<String> = tools.iter().map(|name| read(name).name_for("clock", &mut taken)).collect();
        assert_eq!(names[..2], ["mcp_clock_get_time", "mcp_clock_get-time"]);
        assert!(names[2].starts_with("mcp_clock_get_time_"), "{names:?}");
        assert_eq!(taken.len(), tools.len(), "{names:?}");
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        assert!(names.iter().all(|name| name.len() <= 64 && name.chars().all(fits)), "{names:?}");
        assert_eq!(read("get.time").name_for("clock", &mut BTreeSet::new()), names[2], "the same each time");
    }

    #[test]
    fn what_is_said_of_effects_is_taken_with_care() {
        let with = |read, destructive, idempotent| {
            let mut said = model::ToolAnnotations::default();
            (said.read_only_hint, said.destructive_hint) = (read, destructive);
            said.idempotent_hint = idempotent;
            let mut tool = tool("t");
            tool.annotations = Some(said);
            Definition::read(&tool).unwrap()
        };
        assert_eq!(read("t").effect(None), (Effect::Write, false));
        assert_eq!(with(Some(true), Some(true), None).effect(None), (Effect::Read, true));
        assert_eq!(with(Some(false), Some(true), None).effect(None), (Effect::Destructive, false));
        assert_eq!(with(None, None, Some(true)).effect(None), (Effect::Write, true));
        assert_eq!(with(Some(true), None, None).effect(Some(Effect::Write)), (Effect::Write, false));
        assert_eq!(read("t").effect(Some(Effect::Pure)), (Effect::Pure, true));
    }

    #[test]
    fn a_hash_follows_every_word_and_no_order() {
        let mut changed = tool("t");
        changed.description = Some("another".into());
        assert_ne!(Definition::read(&changed).unwrap().sha256, read("t").sha256);
        assert_eq!(sha256_of_all(&[read("a"), read("b")]), sha256_of_all(&[read("b"), read("a")]));
        assert_ne!(sha256_of_all(&[read("a")]), sha256_of_all(&[read("b")]));
        assert_eq!(
            canonical(&json!({"b": [1, {"d": "\"", "c": null}], "a": 2})),
            "{\"a\":2,\"b\":[1,{\"c\":null,\"d\":\"\\\"\"}]}"
        );
    }
}
