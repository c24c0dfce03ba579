//! A checked Messages request in the words in which cassettes keep requests.

use planfleet_llm::{ChatRequest, JsonSchemaFormat, Message, ToolCall, ToolChoice, ToolDefinition};
use serde_json::Value;

pub(crate) fn chat_request(body: &Value) -> ChatRequest {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let system = text(&body["system"]);
    let mut messages: Vec<Message> =
        (!system.is_empty()).then(|| Message::system(system)).into_iter().collect();
    messages.extend(list(&body["messages"]).iter().flat_map(turn));
    let format = match &body["output_config"]["format"] {
        Value::Null => &body["output_format"],
        format => format,
    };
    ChatRequest {
        model: word(&body["model"]),
        messages,
        tools: list(&body["tools"]).iter().map(definition).collect(),
        tool_choice: choice(&body["tool_choice"]),
        response_format: format["schema"].is_object().then(|| JsonSchemaFormat {
            name: String::new(),
            schema: format["schema"].clone(),
            strict: true,
        }),
        max_output_tokens: body["max_tokens"].as_u64().and_then(|tokens| u32::try_from(tokens).ok()),
        temperature: body["temperature"].as_f64().map(|degrees| degrees as f32),
        stop: list(&body["stop_sequences"]).iter().map(word).collect(),
        ..ChatRequest::default()
    }
}

/// A turn's messages: each result of a tool is one of its own.
fn turn(message: &Value) -> Vec<Message> {
    let content = &message["content"];
    let blocks = content.as_array().map(Vec::as_slice).unwrap_or_default();
    if message["role"] == "assistant" {
        let calls = blocks.iter().filter(|block| block["type"] == "tool_use").map(call);
        return vec![Message::assistant(text(content), calls.collect())];
    }
    let results = blocks.iter().filter(|block| block["type"] == "tool_result").map(|block| {
        Message::tool(block["tool_use_id"].as_str().unwrap_or_default(), text(&block["content"]))
    });
    let said = text(content);
    results.chain((!said.is_empty()).then(|| Message::user(said))).collect()
}

fn text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(blocks) => blocks.iter().filter_map(|block| block["text"].as_str()).collect(),
        _ => String::new(),
    }
}

fn call(block: &Value) -> ToolCall {
    let word = |name: &str| block[name].as_str().unwrap_or_default().to_owned();
    ToolCall { id: word("id"), name: word("name"), arguments: block["input"].to_string() }
}

fn definition(tool: &Value) -> ToolDefinition {
    let word = |name: &str| tool[name].as_str().unwrap_or_default().to_owned();
    ToolDefinition {
        name: word("name"),
        description: word("description"),
        parameters: tool["input_schema"].clone(),
    }
}

fn choice(choice: &Value) -> ToolChoice {
    match choice["type"].as_str() {
        Some("none") => ToolChoice::None,
        Some("any") => ToolChoice::Required,
        Some("tool") => ToolChoice::Named(choice["name"].as_str().unwrap_or_default().to_owned()),
        _ => ToolChoice::Auto,
    }
}
