//! What makes two requests the same.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::chat::{ChatRequest, Message, ToolCall, ToolChoice};

/// SHA-256, in hexadecimal, of the request's [`canonical`] JSON.
#[must_use]
pub fn key(request: &ChatRequest) -> String {
    let mut text = String::new();
    write(&canonical(request), &mut text);
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The request as what it asks for. How a wire or a server is asked is left out (`structured`,
/// `strict` and the schema's name), so that a request is the same on either wire.
pub(super) fn canonical(request: &ChatRequest) -> Value {
    let choice = match request.tools.is_empty() {
        true => &ToolChoice::Auto,
        false => &request.tool_choice,
    };
    json!({
        "model": request.model,
        "messages": request.messages.iter().map(message).collect::<Vec<_>>(),
        "tools": request.tools,
        "tool_choice": choice,
        "schema": request.response_format.as_ref().map(|format| &format.schema),
        "max_output_tokens": request.max_output_tokens,
        // As people write it: an `f32` has no exact decimal.
        "temperature": request.temperature.map(|degrees| (f64::from(degrees) * 1e4).round() / 1e4),
        "seed": request.seed,
        "stop": request.stop,
    })
}

/// Arguments of calls are compared as JSON: one of the wires carries them so.
fn message(message: &Message) -> Value {
    let Message::Assistant { content, tool_calls, .. } = message else {
        return json!(message);
    };
    let call = |call: &ToolCall| {
        let arguments = serde_json::from_str(&call.arguments).unwrap_or_else(|_| json!(call.arguments));
        json!({"id": call.id, "name": call.name, "arguments": arguments})
    };
    let calls: Vec<Value> = tool_calls.iter().map(call).collect();
    json!({"role": "assistant", "content": content, "tool_calls": calls})
}

/// Compact, with the keys of objects in order, whatever order they are held in.
fn write(value: &Value, text: &mut String) {
    match value {
        Value::Object(fields) => write_object(fields, text),
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write(item, text);
            }
            text.push(']');
        }
        plain => text.push_str(&plain.to_string()),
    }
}

fn write_object(fields: &Map<String, Value>, text: &mut String) {
    let mut names: Vec<&String> = fields.keys().collect();
    names.sort_unstable();
    text.push('{');
    for (index, name) in names.into_iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        text.push_str(&json!(name).to_string());
        text.push(':');
        write(&fields[name], text);
    }
    text.push('}');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::JsonSchemaFormat;
    use crate::dialect::Structured;

    fn request() -> ChatRequest {
        ChatRequest {
            model: "m".to_owned(),
            messages: vec![Message::user("hello")],
            temperature: Some(0.7),
            ..ChatRequest::default()
        }
    }

    #[test]
    fn a_key_says_what_is_asked_and_not_how() {
        let schema = json!({"type": "object", "title": "t"});
        let format = |name: &str, strict| {
            Some(JsonSchemaFormat { name: name.to_owned(), schema: schema.clone(), strict })
        };
        let one = ChatRequest { response_format: format("a", true), ..request() };
        let same = ChatRequest {
            response_format: format("", false),
            structured: Some(Structured::Prompt),
            tool_choice: ToolChoice::None,
            ..request()
        };
        assert_eq!(key(&one), key(&same));
        assert_ne!(key(&one), key(&request()));
        let others = [
            ChatRequest { model: "n".to_owned(), ..request() },
            ChatRequest { messages: vec![Message::system("hello")], ..request() },
            ChatRequest { temperature: None, ..request() },
            ChatRequest { max_output_tokens: Some(1), ..request() },
        ];
        for other in others {
            assert_ne!(key(&other), key(&request()), "{other:?}");
        }
    }

    #[test]
    fn arguments_are_compared_as_json() {
        let with = |arguments: &str| {
            let call = ToolCall { id: "1".to_owned(), name: "f".to_owned(), arguments: arguments.to_owned() };
            ChatRequest { messages: vec![Message::assistant("", vec![call])], ..request() }
        };
        assert_eq!(key(&with("{\"a\": 1, \"b\": 2}")), key(&with("{\"b\":2,\"a\":1}")));
        assert_ne!(key(&with("{\"a\": 1}")), key(&with("{\"a\": 1")));
    }

    /// Cassettes outlive versions of this program.
    #[test]
    fn the_key_stays_what_it_was() {
        let python = "868043a21cc08598e46e02d82b7e3d42fe3f9c44426763e482fb9c53897f86d8";
        assert_eq!(key(&request()), python, "worked out with json.dumps(sort_keys=True) and hashlib");
    }
}
