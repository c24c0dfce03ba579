//! From [`ChatRequest`] to the JSON body that one dialect's server takes.

use serde_json::{Map, Value, json};

use crate::chat::{ChatRequest, JsonSchemaFormat, Message, ToolCall, ToolChoice, ToolDefinition};
use crate::dialect::{Dialect, MaxTokensField, Structured};
use crate::wire::structured::{self, shortest};

/// The request's body.
pub fn encode(request: &ChatRequest, dialect: &Dialect, stream: bool) -> Value {
    let mut body = Map::new();
    body.insert("model".to_owned(), json!(request.model));
    body.insert("messages".to_owned(), messages(request, dialect));
    insert_limits(&mut body, request, dialect);
    insert_tools(&mut body, request, dialect);
    insert_format(&mut body, request, dialect);
    if let Some(prefix) = request.stable_prefix.as_ref().filter(|_| dialect.prompt_cache_key) {
        body.insert("prompt_cache_key".to_owned(), json!(prefix.key));
    }
    body.extend(dialect.extra_body.clone());
    insert_stream(&mut body, dialect, stream);
    Value::Object(body)
}

fn messages(request: &ChatRequest, dialect: &Dialect) -> Value {
    let mut messages: Vec<Value> = request.messages.iter().map(message).collect();
    let way = structured::way(request, dialect);
    if let Some(format) = &request.response_format
        && matches!(way, Some(Structured::JsonObject | Structured::Prompt))
    {
        put_schema_in_prompt(&mut messages, format);
    }
    Value::Array(messages)
}

fn message(message: &Message) -> Value {
    match message {
        Message::System { content } => json!({"role": "system", "content": content}),
        Message::User { content } => json!({"role": "user", "content": content}),
        Message::Assistant { content, tool_calls, .. } => assistant(content, tool_calls),
        Message::Tool { tool_call_id, content } => {
            json!({"role": "tool", "tool_call_id": tool_call_id, "content": content})
        }
    }
}

fn assistant(content: &str, tool_calls: &[ToolCall]) -> Value {
    if tool_calls.is_empty() {
        return json!({"role": "assistant", "content": content});
    }
    let content = (!content.is_empty()).then_some(content);
    let calls: Vec<Value> = tool_calls
        .iter()
        .map(|call| {
            json!({
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            })
        })
        .collect();
    json!({"role": "assistant", "content": content, "tool_calls": calls})
}

/// Appends to the first system message instead of adding one: many chat templates take one only.
fn put_schema_in_prompt(messages: &mut Vec<Value>, format: &JsonSchemaFormat) {
    let order = structured::order(format);
    let system = messages.iter_mut().find(|message| message["role"] == "system");
    match system {
        Some(message) => {
            let content = message["content"].as_str().unwrap_or_default();
            message["content"] = json!(format!("{content}\n\n{order}"));
        }
        None => messages.insert(0, json!({"role": "system", "content": order})),
    }
}

fn insert_limits(body: &mut Map<String, Value>, request: &ChatRequest, dialect: &Dialect) {
    if let Some(tokens) = request.max_output_tokens {
        let field = match dialect.max_tokens_field {
            MaxTokensField::MaxCompletionTokens => "max_completion_tokens",
            MaxTokensField::MaxTokens => "max_tokens",
        };
        body.insert(field.to_owned(), json!(tokens));
    }
    if let Some(temperature) = request.temperature {
        body.insert("temperature".to_owned(), json!(shortest(temperature)));
    }
    if let Some(seed) = request.seed {
        body.insert("seed".to_owned(), json!(seed));
    }
    if !request.stop.is_empty() {
        body.insert("stop".to_owned(), json!(request.stop));
    }
}

fn insert_tools(body: &mut Map<String, Value>, request: &ChatRequest, dialect: &Dialect) {
    let answer = structured::answer_tool(request, dialect);
    let choice = answer.as_ref().map_or(&request.tool_choice, |(_, choice)| choice);
    let tools = request.tools.iter().chain(answer.as_ref().map(|(tool, _)| tool));
    let tools: Vec<Value> = tools.filter(|tool| is_offered(tool, choice, dialect)).map(tool).collect();
    if tools.is_empty() {
        return;
    }
    body.insert("tools".to_owned(), Value::Array(tools));
    if dialect.parallel_tools {
        body.insert("parallel_tool_calls".to_owned(), json!(true));
    }
    if dialect.tool_choice {
        body.insert("tool_choice".to_owned(), tool_choice(choice));
    }
}

/// A server without `tool_choice` is held to the choice by what it is offered.
fn is_offered(tool: &ToolDefinition, choice: &ToolChoice, dialect: &Dialect) -> bool {
    match choice {
        _ if dialect.tool_choice => true,
        ToolChoice::Auto | ToolChoice::Required => true,
        ToolChoice::None => false,
        ToolChoice::Named(name) => tool.name == *name,
    }
}

fn tool(tool: &ToolDefinition) -> Value {
    json!({
        "type": "function",
        "function": {
            "name": tool.name,
            "description": tool.description,
            "parameters": tool.parameters,
        },
    })
}

fn tool_choice(choice: &ToolChoice) -> Value {
    match choice {
        ToolChoice::Auto => json!("auto"),
        ToolChoice::None => json!("none"),
        ToolChoice::Required => json!("required"),
        ToolChoice::Named(name) => json!({"type": "function", "function": {"name": name}}),
    }
}

fn insert_format(body: &mut Map<String, Value>, request: &ChatRequest, dialect: &Dialect) {
    let Some(format) = &request.response_format else { return };
    let value = match structured::way(request, dialect) {
        Some(Structured::JsonSchema) => json_schema(format, dialect.strict),
        Some(Structured::JsonObject) => json!({"type": "json_object"}),
        Some(Structured::ToolCall | Structured::Prompt) | None => return,
    };
    body.insert("response_format".to_owned(), value);
}

fn json_schema(format: &JsonSchemaFormat, strict: bool) -> Value {
    let mut inner = json!({"name": structured::schema_name(&format.name), "schema": format.schema});
    if strict && format.strict {
        inner["strict"] = json!(true);
    }
    json!({"type": "json_schema", "json_schema": inner})
}

/// Last, so that a dialect's extra fields cannot make the answer come in the other form.
fn insert_stream(body: &mut Map<String, Value>, dialect: &Dialect, stream: bool) {
    if !stream {
        body.remove("stream");
        return;
    }
    body.insert("stream".to_owned(), json!(true));
    if dialect.stream_usage {
        body.insert("stream_options".to_owned(), json!({"include_usage": true}));
    }
}
