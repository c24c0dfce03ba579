//! A checked Chat Completions request in the words in which cassettes keep requests.

use planfleet_llm::{ChatRequest, JsonSchemaFormat, Message, ToolCall, ToolChoice, ToolDefinition};
use serde_json::Value;

pub(crate) fn chat_request(body: &Value) -> ChatRequest {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let limit = body["max_completion_tokens"].as_u64().or_else(|| body["max_tokens"].as_u64());
    ChatRequest {
        model: word(&body["model"]),
        messages: list(&body["messages"]).iter().map(message).collect(),
        tools: list(&body["tools"]).iter().map(|tool| definition(&tool["function"])).collect(),
        tool_choice: choice(&body["tool_choice"]),
        response_format: format(&body["response_format"]["json_schema"]),
        max_output_tokens: limit.and_then(|tokens| u32::try_from(tokens).ok()),
        temperature: body["temperature"].as_f64().map(|degrees| degrees as f32),
        seed: body["seed"].as_u64(),
        stop: match &body["stop"] {
            Value::String(stop) => vec![stop.clone()],
            stops => list(stops).iter().map(word).collect(),
        },
        ..ChatRequest::default()
    }
}

fn message(message: &Value) -> Message {
    let content = text(&message["content"]);
    match message["role"].as_str() {
        Some("system" | "developer") => Message::system(content),
        Some("tool") => Message::tool(message["tool_call_id"].as_str().unwrap_or_default(), content),
        Some("assistant") => {
            let calls = message["tool_calls"].as_array().into_iter().flatten().map(call);
            Message::assistant(content, calls.collect())
        }
        _ => Message::user(content),
    }
}

fn text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        _ => String::new(),
    }
}

fn call(call: &Value) -> ToolCall {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    ToolCall {
        id: word(&call["id"]),
        name: word(&call["function"]["name"]),
        arguments: word(&call["function"]["arguments"]),
    }
}

fn definition(function: &Value) -> ToolDefinition {
    let word = |name: &str| function[name].as_str().unwrap_or_default().to_owned();
    ToolDefinition {
        name: word("name"),
        description: word("description"),
        parameters: function["parameters"].clone(),
    }
}

fn choice(choice: &Value) -> ToolChoice {
    match (choice.as_str(), choice["function"]["name"].as_str()) {
        (Some("none"), _) => ToolChoice::None,
        (Some("required"), _) => ToolChoice::Required,
        (_, Some(name)) => ToolChoice::Named(name.to_owned()),
        _ => ToolChoice::Auto,
    }
}

fn format(schema: &Value) -> Option<JsonSchemaFormat> {
    schema.is_object().then(|| JsonSchemaFormat {
        name: schema["name"].as_str().unwrap_or_default().to_owned(),
        schema: schema["schema"].clone(),
        strict: schema["strict"] == true,
    })
}
