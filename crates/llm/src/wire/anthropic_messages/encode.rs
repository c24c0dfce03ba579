//! From [`ChatRequest`] to the JSON body of a message.

use serde_json::{Map, Value, json};

use crate::chat::{ChatRequest, Message, ToolCall, ToolChoice, ToolDefinition};
use crate::dialect::{Dialect, Structured};
use crate::wire::structured;

/// The wire insists on a limit. Every model of today can write this much, and it is more than
/// plans and steps need; `max_output_tokens` says otherwise.
const MAX_TOKENS: u32 = 8192;

/// The request's body.
pub fn encode(request: &ChatRequest, dialect: &Dialect, stream: bool) -> Value {
    let mut body = Map::new();
    body.insert("model".to_owned(), json!(request.model));
    body.insert("max_tokens".to_owned(), json!(request.max_output_tokens.unwrap_or(MAX_TOKENS)));
    let system = system(request, dialect);
    if !system.is_empty() {
        body.insert("system".to_owned(), Value::Array(system));
    }
    body.insert("messages".to_owned(), Value::Array(messages(request)));
    insert_options(&mut body, request);
    insert_tools(&mut body, request, dialect);
    insert_format(&mut body, request, dialect);
    insert_extra(&mut body, &dialect.extra_body);
    // Last, so that extra fields cannot make the answer come in the other form.
    body.insert("stream".to_owned(), json!(stream));
    Value::Object(body)
}

/// The system messages, wherever they stand, are one list beside the others.
fn system(request: &ChatRequest, dialect: &Dialect) -> Vec<Value> {
    let mut blocks = Vec::new();
    for (position, message) in request.messages.iter().enumerate() {
        let Message::System { content } = message else { continue };
        blocks.extend(text(content));
        mark_if(&mut blocks, request.ends_stable_prefix(position));
    }
    let way = structured::way(request, dialect);
    if let Some(format) = &request.response_format
        && matches!(way, Some(Structured::JsonObject | Structured::Prompt))
    {
        blocks.extend(text(&structured::order(format)));
    }
    blocks
}

/// The turns. Neighbours of one role become one turn, as all results of one turn's tool calls
/// have to come in one.
fn messages(request: &ChatRequest) -> Vec<Value> {
    let mut turns: Vec<(&'static str, Vec<Value>)> = Vec::new();
    for (position, message) in request.messages.iter().enumerate() {
        let (role, mut blocks) = match message {
            Message::System { .. } => continue,
            Message::User { content } => ("user", text(content).into_iter().collect()),
            Message::Assistant { content, tool_calls, thinking } => {
                ("assistant", assistant(content, tool_calls, thinking))
            }
            Message::Tool { tool_call_id, content } => ("user", vec![tool_result(tool_call_id, content)]),
        };
        mark_if(&mut blocks, request.ends_stable_prefix(position));
        match turns.last_mut() {
            Some((last, earlier)) if *last == role => earlier.append(&mut blocks),
            // A turn without content is refused.
            _ if blocks.is_empty() => {}
            _ => turns.push((role, blocks)),
        }
    }
    turns.into_iter().map(|(role, content)| json!({"role": role, "content": content})).collect()
}

/// A block of text; blank ones are refused.
fn text(text: &str) -> Option<Value> {
    (!text.trim().is_empty()).then(|| json!({"type": "text", "text": text}))
}

/// Thoughts go first and as they came: the provider checks their signature.
fn assistant(content: &str, tool_calls: &[ToolCall], thinking: &[Value]) -> Vec<Value> {
    thinking.iter().cloned().chain(text(content)).chain(tool_calls.iter().map(tool_use)).collect()
}

fn tool_use(call: &ToolCall) -> Value {
    // The wire takes an object alone. What the model wrote instead is shown to it as one.
    let input = match serde_json::from_str(&call.arguments) {
        Ok(Value::Object(arguments)) => Value::Object(arguments),
        _ if call.arguments.trim().is_empty() => json!({}),
        _ => json!({"arguments": call.arguments}),
    };
    json!({"type": "tool_use", "id": call.id, "name": call.name, "input": input})
}

fn tool_result(tool_call_id: &str, content: &str) -> Value {
    json!({"type": "tool_result", "tool_use_id": tool_call_id, "content": content})
}

/// Tells the provider to cache everything up to the last of the blocks.
fn mark_if(blocks: &mut [Value], ends_stable_prefix: bool) {
    if let Some(last) = blocks.last_mut().filter(|_| ends_stable_prefix) {
        // Thoughts take no mark and have to stay as they are.
        if last["type"] != "thinking" && last["type"] != "redacted_thinking" {
            last["cache_control"] = json!({"type": "ephemeral"});
        }
    }
}

fn insert_options(body: &mut Map<String, Value>, request: &ChatRequest) {
    if let Some(temperature) = request.temperature {
        body.insert("temperature".to_owned(), json!(structured::shortest(temperature)));
    }
    if !request.stop.is_empty() {
        body.insert("stop_sequences".to_owned(), json!(request.stop));
    }
}

fn insert_tools(body: &mut Map<String, Value>, request: &ChatRequest, dialect: &Dialect) {
    let answer = structured::answer_tool(request, dialect);
    let choice = answer.as_ref().map_or(&request.tool_choice, |(_, choice)| choice);
    let offered = request.tools.iter().chain(answer.as_ref().map(|(tool, _)| tool));
    let mut tools: Vec<Value> = offered.map(tool).collect();
    if tools.is_empty() {
        return;
    }
    // Tools come before everything else in what the provider caches.
    if let Some(last) = tools.last_mut().filter(|_| request.stable_prefix.is_some()) {
        last["cache_control"] = json!({"type": "ephemeral"});
    }
    body.insert("tools".to_owned(), Value::Array(tools));
    body.insert("tool_choice".to_owned(), tool_choice(choice));
}

fn tool(tool: &ToolDefinition) -> Value {
    json!({"name": tool.name, "description": tool.description, "input_schema": tool.parameters})
}

fn tool_choice(choice: &ToolChoice) -> Value {
    match choice {
        ToolChoice::Auto => json!({"type": "auto"}),
        ToolChoice::None => json!({"type": "none"}),
        ToolChoice::Required => json!({"type": "any"}),
        ToolChoice::Named(name) => json!({"type": "tool", "name": name}),
    }
}

fn insert_format(body: &mut Map<String, Value>, request: &ChatRequest, dialect: &Dialect) {
    let way = structured::way(request, dialect);
    if let Some(format) = request.response_format.as_ref().filter(|_| way == Some(Structured::JsonSchema)) {
        let format = json!({"format": {"type": "json_schema", "schema": format.schema}});
        body.insert("output_config".to_owned(), format);
    }
}

/// Extra fields win, but an `effort` in `output_config` leaves the format beside it in place.
fn insert_extra(body: &mut Map<String, Value>, extra: &Map<String, Value>) {
    for (field, value) in extra {
        match (body.get_mut(field), value) {
            (Some(Value::Object(own)), Value::Object(extra)) if field == "output_config" => {
                own.extend(extra.clone());
            }
            _ => {
                body.insert(field.clone(), value.clone());
            }
        }
    }
}
