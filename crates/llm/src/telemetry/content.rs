//! What was said, as the GenAI conventions want it on spans: JSON texts of messages with parts.

use planfleet_core::failure::trim_chars;
use serde_json::{Value, json};

use crate::chat::{ChatResponse, Message, ToolCall};

/// Of one attribute. A batch of spans is one request, of up to 512 spans by default, and
/// collectors take 20 MiB.
const CHARS_MAX: usize = 8_000;

/// System instructions, where there are any.
pub(super) fn instructions(messages: &[Message]) -> Option<String> {
    let mut left = CHARS_MAX;
    let system = messages.iter().filter_map(|message| match message {
        Message::System { content } => Some(text(content, &mut left)),
        _ => None,
    });
    let parts: Vec<Value> = system.collect();
    (!parts.is_empty()).then(|| Value::Array(parts).to_string())
}

/// Everything else that is asked; of a long conversation its end.
pub(super) fn input(messages: &[Message]) -> String {
    let mut left = CHARS_MAX;
    let newest = messages.iter().rev().filter(|message| !matches!(message, Message::System { .. }));
    let mut shown = Vec::new();
    for message in newest {
        if left == 0 {
            break;
        }
        shown.push(one(message, &mut left));
    }
    shown.reverse();
    Value::Array(shown).to_string()
}

/// What was answered.
pub(super) fn output(response: &ChatResponse) -> String {
    let parts = said(&response.text, &response.tool_calls, &mut CHARS_MAX.clone());
    let reason = response.stop_reason.as_str();
    json!([{"role": "assistant", "parts": parts, "finish_reason": reason}]).to_string()
}

fn one(message: &Message, left: &mut usize) -> Value {
    match message {
        Message::System { content } => json!({"role": "system", "parts": [text(content, left)]}),
        Message::User { content } => json!({"role": "user", "parts": [text(content, left)]}),
        Message::Assistant { content, tool_calls, .. } => {
            json!({"role": "assistant", "parts": said(content, tool_calls, left)})
        }
        Message::Tool { tool_call_id, content } => {
            let response = cut(content, left);
            let part = json!({"type": "tool_call_response", "id": tool_call_id, "response": response});
            json!({"role": "tool", "parts": [part]})
        }
    }
}

fn said(content: &str, calls: &[ToolCall], left: &mut usize) -> Vec<Value> {
    let mut parts = Vec::new();
    if !content.is_empty() {
        parts.push(text(content, left));
    }
    parts.extend(calls.iter().map(|ToolCall { id, name, arguments }| {
        json!({"type": "tool_call", "id": id, "name": name, "arguments": cut(arguments, left)})
    }));
    parts
}

fn text(content: &str, left: &mut usize) -> Value {
    json!({"type": "text", "content": cut(content, left)})
}

/// As much of a text as there is room for.
fn cut(text: &str, left: &mut usize) -> String {
    let cut = trim_chars(text, *left);
    *left = left.saturating_sub(text.chars().count());
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_long_conversation_is_shown_within_bounds() {
        let messages = [
            Message::system("be brief"),
            Message::user("first"),
            Message::user("é".repeat(CHARS_MAX)),
            Message::tool("c-1", "last"),
        ];
        let shown: Value = serde_json::from_str(&input(&messages)).unwrap();
        let shown = shown.as_array().unwrap();
        assert_eq!(shown.len(), 2, "the first and the system's have no room or another place");
        assert!(shown[0]["parts"][0]["content"].as_str().unwrap().chars().count() < CHARS_MAX + 32);
        assert_eq!(shown[1]["parts"][0]["response"], "last");
        assert_eq!(instructions(&messages).unwrap(), r#"[{"content":"be brief","type":"text"}]"#);
        assert_eq!(instructions(&messages[1..]), None);
    }
}
