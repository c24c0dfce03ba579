//! Reads a Messages request as strictly as Anthropic does where a client would notice, with the
//! words of its error answers.

mod messages;

use serde_json::Value;

use crate::request::{Asked, Invalid, Prompt, is_name};

/// Anthropic's limits.
const NAME_CHARS_MAX: usize = 128;
const CACHE_MARKS_MAX: usize = 4;

/// The fields of a request; others are refused.
const FIELDS: [&str; 23] = [
    "model",
    "messages",
    "max_tokens",
    "cache_control",
    "container",
    "context_management",
    "diagnostics",
    "inference_geo",
    "mcp_servers",
    "metadata",
    "output_config",
    "output_format",
    "service_tier",
    "speed",
    "stop_sequences",
    "stream",
    "system",
    "temperature",
    "thinking",
    "tool_choice",
    "tools",
    "top_k",
    "top_p",
];

pub(crate) fn read(body: &Value) -> Result<Asked, Invalid> {
    let Some(fields) = body.as_object() else {
        return Err(Invalid::new("The request body is not valid JSON: expected an object"));
    };
    if let Some(unknown) = fields.keys().find(|name| !FIELDS.contains(&name.as_str())) {
        return Err(at(unknown, "Extra inputs are not permitted"));
    }
    let model = body["model"].as_str().ok_or_else(|| required(&body["model"], "model", "string"))?;
    let output_max = &body["max_tokens"];
    let output_max =
        output_max.as_u64().ok_or_else(|| required(output_max, "max_tokens", "non-negative integer"))?;
    let stream = match &body["stream"] {
        Value::Null => false,
        Value::Bool(on) => *on,
        other => return Err(required(other, "stream", "boolean")),
    };
    if !body["temperature"].is_null() && !in_range(&body["temperature"], 0.0, 1.0) {
        return Err(at("temperature", "range: 0..1"));
    }
    let marks = marks(body);
    if marks > CACHE_MARKS_MAX {
        let message = format!(
            "A maximum of {CACHE_MARKS_MAX} blocks with cache_control may be provided. Found {marks}."
        );
        return Err(Invalid::new(message));
    }
    let mut prompt = Prompt::new(marks > 0);
    let tools = tools(body, &mut prompt)?;
    let schema = format(body, &mut prompt)?;
    system(&body["system"], &mut prompt)?;
    messages::read(&body["messages"], is_marked(body), &mut prompt)?;
    let forced_tool = forced_tool(body, &tools)?;
    let mut asked = Asked {
        model: model.to_owned(),
        schema: schema.or_else(|| forced_tool.clone()),
        stream,
        // Anthropic sends it without being asked.
        include_usage: true,
        forced_tool,
        output_max: Some(output_max),
        ..Asked::default()
    };
    prompt.into(&mut asked);
    Ok(asked)
}

fn in_range(value: &Value, low: f64, high: f64) -> bool {
    value.as_f64().is_some_and(|number| (low..=high).contains(&number))
}

fn tools<'a>(body: &'a Value, prompt: &mut Prompt) -> Result<Vec<&'a str>, Invalid> {
    let tools = match &body["tools"] {
        Value::Null => return Ok(Vec::new()),
        Value::Array(tools) => tools,
        other => return Err(required(other, "tools", "list")),
    };
    let mut names: Vec<&str> = Vec::with_capacity(tools.len());
    for (index, tool) in tools.iter().enumerate() {
        let path = |field: &str| format!("tools.{index}.custom.{field}");
        if !tool["type"].is_null() && tool["type"] != "custom" {
            let kind = tool["type"].as_str().unwrap_or_default();
            return Err(at(&format!("tools.{index}.type"), &format!("modelsim has no server tool '{kind}'")));
        }
        let name = tool["name"].as_str().ok_or_else(|| required(&tool["name"], &path("name"), "string"))?;
        if !is_name(name, NAME_CHARS_MAX) {
            return Err(at(&path("name"), "String should match pattern '^[a-zA-Z0-9_-]{1,128}$'"));
        }
        let schema = &tool["input_schema"];
        if !schema.is_object() {
            return Err(required(schema, &path("input_schema"), "dictionary"));
        }
        if schema["type"] != "object" {
            return Err(required(&schema["type"], &path("input_schema.type"), "'object'"));
        }
        if names.contains(&name) {
            return Err(at("tools", "Tool names must be unique."));
        }
        names.push(name);
        prompt.definition(tool, is_marked(tool));
    }
    Ok(names)
}

fn forced_tool(body: &Value, tools: &[&str]) -> Result<Option<String>, Invalid> {
    let choice = &body["tool_choice"];
    if choice.is_null() {
        return Ok(None);
    }
    if tools.is_empty() {
        return Err(at("tool_choice", "may only be specified while providing tools"));
    }
    match (choice["type"].as_str(), tools) {
        (Some("auto" | "none"), _) => Ok(None),
        // Which one is the model's choice, unless there is but one.
        (Some("any"), [only]) => Ok(Some((*only).to_owned())),
        (Some("any"), _) => Ok(None),
        (Some("tool"), _) => {
            let name = choice["name"].as_str();
            let name = name.ok_or_else(|| required(&choice["name"], "tool_choice.tool.name", "string"))?;
            if !tools.contains(&name) {
                return Err(at(
                    "tool_choice.tool.name",
                    &format!("Tool '{name}' not found in provided tools"),
                ));
            }
            Ok(Some(name.to_owned()))
        }
        (given, _) => {
            let given = given.unwrap_or_default();
            let what = format!(
                "Input tag '{given}' found using 'type' does not match any of the expected tags: 'auto', 'any', \
                 'tool', 'none'"
            );
            Err(at("tool_choice", &what))
        }
    }
}

/// The title of the schema, as the wire has no name for it.
fn format(body: &Value, prompt: &mut Prompt) -> Result<Option<String>, Invalid> {
    let (format, path) = match &body["output_config"]["format"] {
        Value::Null => (&body["output_format"], "output_format"),
        format => (format, "output_config.format"),
    };
    if format.is_null() {
        return Ok(None);
    }
    if format["type"] != "json_schema" {
        return Err(required(&format["type"], &format!("{path}.type"), "'json_schema'"));
    }
    let schema = &format["schema"];
    if !schema.is_object() {
        return Err(required(schema, &format!("{path}.schema"), "dictionary"));
    }
    prompt.definition(schema, false);
    Ok(schema["title"].as_str().map(str::to_owned))
}

fn system(system: &Value, prompt: &mut Prompt) -> Result<(), Invalid> {
    match system {
        Value::Null => Ok(()),
        Value::String(text) => {
            prompt.said("system", text, false);
            Ok(())
        }
        Value::Array(blocks) => {
            for (index, block) in blocks.iter().enumerate() {
                let path = format!("system.{index}");
                prompt.said("system", text_of(block, &path)?, is_marked(block));
            }
            Ok(())
        }
        other => Err(required(other, "system", "string or list")),
    }
}

fn text_of<'a>(block: &'a Value, path: &str) -> Result<&'a str, Invalid> {
    if block["type"] != "text" {
        return Err(required(&block["type"], &format!("{path}.type"), "'text'"));
    }
    match block["text"].as_str() {
        Some("") => {
            let place = path.split('.').next().unwrap_or(path);
            Err(at(place, "text content blocks must be non-empty"))
        }
        Some(text) => Ok(text),
        None => Err(required(&block["text"], &format!("{path}.text"), "string")),
    }
}

fn is_marked(value: &Value) -> bool {
    value["cache_control"]["type"] == "ephemeral"
}

/// How many blocks are marked for the cache; the request itself may carry one mark too.
fn marks(body: &Value) -> usize {
    let list =
        |value: &Value| value.as_array().map_or(0, |blocks| blocks.iter().filter(|b| is_marked(b)).count());
    let messages = body["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let in_messages: usize = messages.iter().map(|message| list(&message["content"])).sum();
    usize::from(is_marked(body)) + list(&body["tools"]) + list(&body["system"]) + in_messages
}

/// A field that is missing or of the wrong type.
fn required(value: &Value, path: &str, expected: &str) -> Invalid {
    match value {
        Value::Null => at(path, "Field required"),
        _ => at(path, &format!("Input should be a valid {expected}")),
    }
}

fn at(path: &str, what: &str) -> Invalid {
    Invalid::new(format!("{path}: {what}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refusal(body: &Value) -> String {
        read(body).expect_err(&body.to_string()).message
    }

    fn with(fields: Value) -> Value {
        let mut body =
            json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]});
        for (name, value) in fields.as_object().unwrap() {
            body[name] = value.clone();
        }
        body
    }

    fn said(messages: Value) -> Value {
        with(json!({"messages": messages}))
    }

    #[test]
    fn what_anthropic_refuses_is_refused() {
        let user = json!({"role": "user", "content": "hello"});
        let call = json!({"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "add", "input": {}}]});
        let result = |id: &str| json!({"type": "tool_result", "tool_use_id": id, "content": "3"});
        let text = json!({"type": "text", "text": "so"});
        let marked = json!({"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}});
        let add = json!({"name": "add", "input_schema": {"type": "object"}});
        for (body, part) in [
            (json!({"model": "m", "messages": [user]}), "max_tokens: Field required"),
            (json!({"max_tokens": 9, "messages": [user]}), "model: Field required"),
            (with(json!({"max_tokens": "9"})), "max_tokens: Input should be a valid"),
            (with(json!({"n": 1})), "n: Extra inputs are not permitted"),
            (said(json!([])), "messages: at least one message is required"),
            (said(json!([call])), "first message must use the \"user\" role"),
            (said(json!([{"role": "system", "content": "x"}])), "Unexpected role \"system\""),
            (said(json!([{"role": "user", "content": ""}])), "must have non-empty content"),
            (
                said(json!([{"role": "user", "content": [{"type": "text", "text": ""}]}])),
                "text content blocks must be non-empty",
            ),
            (said(json!([user, call])), "messages.1: `tool_use` ids were found without"),
            (said(json!([user, call, user])), "messages.1: `tool_use` ids were found without"),
            (
                said(json!([user, call, {"role": "user", "content": [text, result("a")]}])),
                "without `tool_result` blocks immediately after: a",
            ),
            (
                said(json!([user, call, {"role": "user", "content": [result("b")]}])),
                "unexpected `tool_use_id` found in `tool_result` blocks: b",
            ),
            (said(json!([{"role": "user", "content": [result("a")]}])), "unexpected `tool_use_id`"),
            (with(json!({"tools": [{"name": "add"}]})), "tools.0.custom.input_schema: Field required"),
            (with(json!({"tools": [add, add]})), "Tool names must be unique"),
            (with(json!({"tool_choice": {"type": "auto"}})), "only be specified while providing tools"),
            (
                with(json!({"tools": [add], "tool_choice": {"type": "tool", "name": "sub"}})),
                "'sub' not found in provided tools",
            ),
            (with(json!({"tools": [add], "tool_choice": {"type": "required"}})), "Input tag 'required'"),
            (with(json!({"temperature": 1.5})), "temperature: range: 0..1"),
            (
                with(json!({"system": [marked, marked, marked, marked, marked]})),
                "A maximum of 4 blocks with cache_control",
            ),
            (
                with(json!({"output_config": {"format": {"type": "json_object"}}})),
                "output_config.format.type",
            ),
        ] {
            let refusal = refusal(&body);
            assert!(refusal.contains(part), "{refusal}\n does not say {part}");
        }
    }

    #[test]
    fn a_round_of_tools_is_read_and_turns_in_a_row_are_one() {
        let call = |id: &str| json!({"type": "tool_use", "id": id, "name": "add", "input": {}});
        let result = |id: &str| json!([{"type": "tool_result", "tool_use_id": id, "content": [{"type": "text", "text": "3"}]}]);
        let body = with(json!({
            "system": [{"type": "text", "text": "Add.", "cache_control": {"type": "ephemeral"}}],
            "messages": [
                {"role": "user", "content": "1 and 2"},
                {"role": "assistant", "content": [{"type": "text", "text": "so"}, call("a"), call("b")]},
                {"role": "user", "content": result("b")},
                {"role": "user", "content": result("a")},
                {"role": "user", "content": "well?"},
            ],
            "tools": [{"name": "add", "input_schema": {"type": "object"}}],
            "tool_choice": {"type": "any"},
        }));
        let asked = read(&body).unwrap();
        assert_eq!(asked.text, "Add.\n1 and 2\nso\nadd{}\nadd{}\n3\n3\nwell?");
        assert_eq!((asked.forced_tool.as_deref(), asked.schema.as_deref()), (Some("add"), Some("add")));
        let marks: Vec<bool> = asked.boundaries.iter().map(|boundary| boundary.marked).collect();
        assert_eq!(marks, [false, true, false, false, false, false, false, false, false]);
    }
}
