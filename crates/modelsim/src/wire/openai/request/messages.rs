//! The messages of a request: their roles, their contents, and that calls and results match.

use serde_json::Value;

use super::{invalid_type, missing, missing_or_unknown};
use crate::request::{Invalid, Prompt};

pub(super) fn read(messages: &Value, cached: bool, prompt: &mut Prompt) -> Result<(), Invalid> {
    let messages = match messages {
        Value::Null => return Err(missing("messages")),
        Value::Array(messages) if messages.is_empty() => {
            let message = "Invalid 'messages': empty array. Expected an array with minimum length 1, but got \
                           an empty array instead.";
            return Err(Invalid::new(message).of("messages").code("empty_array"));
        }
        Value::Array(messages) => messages,
        other => return Err(invalid_type("messages", "an array of objects", other)),
    };
    let mut owed = Owed::default();
    for (index, message) in messages.iter().enumerate() {
        let role = message["role"].as_str().unwrap_or_default();
        owed.next(index, role, message)?;
        let text = match role {
            "system" | "developer" | "user" | "function" => needed(index, message)?,
            "tool" => needed(index, message)?,
            "assistant" => assistant(index, message)?,
            _ => {
                let roles = "'system', 'assistant', 'user', 'function', 'tool', and 'developer'";
                return Err(missing_or_unknown(&message["role"], &format!("messages[{index}].role"), roles));
            }
        };
        prompt.said(role, &text, cached);
    }
    owed.settled()
}

/// Calls that no message has answered yet.
#[derive(Default)]
struct Owed<'a> {
    /// Whether results may come: an assistant's calls or their other results came just before.
    answering: bool,
    ids: Vec<&'a str>,
    /// The message that made the calls.
    by: usize,
}

impl<'a> Owed<'a> {
    fn next(&mut self, index: usize, role: &str, message: &'a Value) -> Result<(), Invalid> {
        if role == "tool" {
            return self.answer(index, message);
        }
        self.settled()?;
        let calls = message["tool_calls"].as_array().map(Vec::as_slice).unwrap_or_default();
        self.answering = role == "assistant" && !calls.is_empty();
        self.by = index;
        for (number, call) in calls.iter().enumerate() {
            let param = |field: &str| format!("messages[{index}].tool_calls[{number}].{field}");
            let id = call["id"].as_str().ok_or_else(|| missing(&param("id")))?;
            for field in ["name", "arguments"] {
                let path = param(&format!("function.{field}"));
                call["function"][field].as_str().ok_or_else(|| missing(&path))?;
            }
            self.ids.push(id);
        }
        Ok(())
    }

    fn answer(&mut self, index: usize, message: &Value) -> Result<(), Invalid> {
        if !self.answering {
            let message = "Invalid parameter: messages with role 'tool' must be a response to a preceeding \
                           message with 'tool_calls'.";
            return Err(Invalid::new(message).of(format!("messages.[{index}].role")));
        }
        let param = format!("messages[{index}].tool_call_id");
        let id = message["tool_call_id"].as_str().ok_or_else(|| missing(&param))?;
        match self.ids.iter().position(|owed| *owed == id) {
            Some(place) => {
                self.ids.remove(place);
                Ok(())
            }
            None => {
                let text = format!(
                    "Invalid parameter: 'tool_call_id' of '{id}' not found in 'tool_calls' of previous message."
                );
                Err(Invalid::new(text).of(format!("messages.[{index}].tool_call_id")))
            }
        }
    }

    fn settled(&self) -> Result<(), Invalid> {
        if self.ids.is_empty() {
            return Ok(());
        }
        let message = format!(
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each \
             'tool_call_id'. The following tool_call_ids did not have response messages: {}",
            self.ids.join(", ")
        );
        Err(Invalid::new(message).of(format!("messages.[{}].tool_calls", self.by)))
    }
}

/// What an assistant said and called.
fn assistant(index: usize, message: &Value) -> Result<String, Invalid> {
    let calls = message["tool_calls"].as_array().map(Vec::as_slice).unwrap_or_default();
    let said_something = !message["refusal"].is_null() || !message["function_call"].is_null();
    let mut text = match &message["content"] {
        Value::Null if !calls.is_empty() || said_something => String::new(),
        _ => needed(index, message)?,
    };
    for call in calls {
        for field in ["name", "arguments"] {
            text.push_str(call["function"][field].as_str().unwrap_or_default());
        }
    }
    Ok(text)
}

/// Content is a string or a list of parts that is not empty.
fn needed(index: usize, message: &Value) -> Result<String, Invalid> {
    let param = format!("messages[{index}].content");
    match &message["content"] {
        Value::String(text) => Ok(text.clone()),
        Value::Array(parts) if !parts.is_empty() => {
            Ok(parts.iter().filter_map(|part| part["text"].as_str()).collect())
        }
        Value::Null => {
            let message = format!("Invalid value for 'content': expected a string, got null. ('{param}')");
            Err(Invalid::new(message).of(format!("messages.[{index}].content")))
        }
        other => Err(invalid_type(&param, "one of a string or array of objects", other)),
    }
}
