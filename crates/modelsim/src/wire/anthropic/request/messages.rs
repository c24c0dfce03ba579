//! The messages of a request: whose turn it is, their blocks, and that calls and results match.

use serde_json::Value;

use super::{at, is_marked, required, text_of};
use crate::request::{Invalid, Prompt};

/// `last_marked`: the request asks for all of its prompt to be cached.
pub(super) fn read(messages: &Value, last_marked: bool, prompt: &mut Prompt) -> Result<(), Invalid> {
    let messages = messages.as_array().ok_or_else(|| required(messages, "messages", "list"))?;
    let Some(last) = messages.len().checked_sub(1) else {
        return Err(at("messages", "at least one message is required"));
    };
    let mut calls: Vec<&str> = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let role = role(index, message)?;
        let (blocks, plain) = content(index, message)?;
        // Turns of one role in a row are one turn to the provider.
        let goes_on = index > 0 && messages[index - 1]["role"] == role;
        if role == "user" && !goes_on {
            answer(index, turn(&messages[index..]), &mut calls)?;
        }
        if let Some(text) = plain {
            prompt.said(role, text, last_marked && index == last);
        }
        for (number, block) in blocks.iter().enumerate() {
            let marked = is_marked(block) || (last_marked && index == last && number + 1 == blocks.len());
            let text = block_text(role, index, number, block, &mut calls)?;
            prompt.said(role, &text, marked);
        }
    }
    match unanswered(&calls) {
        Some(ids) => Err(without_results(last, &ids)),
        None => Ok(()),
    }
}

fn role(index: usize, message: &Value) -> Result<&str, Invalid> {
    match message["role"].as_str() {
        Some("assistant") if index == 0 => Err(at("messages", "first message must use the \"user\" role")),
        Some(role @ ("user" | "assistant")) => Ok(role),
        Some("system") => Err(at(
            "messages",
            "Unexpected role \"system\". The Messages API accepts a top-level `system` parameter, not \
             \"system\" as an input message role.",
        )),
        _ => {
            let path = format!("messages.{index}.role");
            Err(required(&message["role"], &path, "'user' or 'assistant'"))
        }
    }
}

/// The blocks of a message, or its text if it is plain.
fn content(index: usize, message: &Value) -> Result<(&[Value], Option<&str>), Invalid> {
    let path = format!("messages.{index}");
    match &message["content"] {
        Value::String(text) if text.is_empty() => Err(at(&path, "user messages must have non-empty content")),
        Value::String(text) => Ok((&[], Some(text))),
        Value::Array(blocks) if blocks.is_empty() => {
            Err(at(&path, "user messages must have non-empty content"))
        }
        Value::Array(blocks) => Ok((blocks, None)),
        other => Err(required(other, &format!("{path}.content"), "string or list")),
    }
}

/// The messages of the user's turn that begins here.
fn turn(messages: &[Value]) -> &[Value] {
    let end = messages.iter().position(|message| message["role"] != "user");
    &messages[..end.unwrap_or(messages.len())]
}

/// Takes the results at the front of a user's turn, where each call of the turn before must have
/// one. Results that are elsewhere answer nothing.
fn answer(first: usize, turn: &[Value], calls: &mut Vec<&str>) -> Result<(), Invalid> {
    let mut at_front = true;
    for (index, message) in (first..).zip(turn) {
        let blocks = message["content"].as_array().map(Vec::as_slice).unwrap_or_default();
        at_front &= !blocks.is_empty();
        for (number, block) in blocks.iter().enumerate() {
            if block["type"] != "tool_result" {
                at_front = false;
                continue;
            }
            let path = format!("messages.{index}.content.{number}");
            let id = &block["tool_use_id"];
            let id = id
                .as_str()
                .ok_or_else(|| required(id, &format!("{path}.tool_result.tool_use_id"), "string"))?;
            match calls.iter().position(|call| at_front && *call == id) {
                Some(place) => calls.remove(place),
                None if !at_front && calls.contains(&id) => continue,
                None => return Err(unexpected_result(&path, id)),
            };
        }
    }
    match unanswered(calls) {
        Some(ids) => Err(without_results(first.saturating_sub(1), &ids)),
        None => Ok(()),
    }
}

fn unanswered(calls: &[&str]) -> Option<String> {
    (!calls.is_empty()).then(|| calls.join(", "))
}

fn without_results(index: usize, ids: &str) -> Invalid {
    let what = format!(
        "`tool_use` ids were found without `tool_result` blocks immediately after: {ids}. Each `tool_use` block \
         must have a corresponding `tool_result` block in the next message."
    );
    at(&format!("messages.{index}"), &what)
}

fn unexpected_result(path: &str, id: &str) -> Invalid {
    let what = format!(
        "unexpected `tool_use_id` found in `tool_result` blocks: {id}. Each `tool_result` block must have a \
         corresponding `tool_use` block in the previous message."
    );
    at(path, &what)
}

/// What a block says, for counting and for rules to look at.
fn block_text<'a>(
    role: &str,
    index: usize,
    number: usize,
    block: &'a Value,
    calls: &mut Vec<&'a str>,
) -> Result<String, Invalid> {
    let path = format!("messages.{index}.content.{number}");
    match (block["type"].as_str(), role) {
        (Some("text"), _) => Ok(text_of(block, &path)?.to_owned()),
        (Some("tool_use"), "assistant") => {
            let field = |name: &str| format!("{path}.tool_use.{name}");
            let id = block["id"].as_str().ok_or_else(|| required(&block["id"], &field("id"), "string"))?;
            let name = block["name"].as_str();
            let name = name.ok_or_else(|| required(&block["name"], &field("name"), "string"))?;
            if !block["input"].is_object() {
                return Err(required(&block["input"], &field("input"), "dictionary"));
            }
            calls.push(id);
            Ok(format!("{name}{}", block["input"]))
        }
        (Some("tool_result"), "user") => Ok(result_text(&block["content"])),
        (Some("thinking" | "redacted_thinking"), "assistant") => Ok(String::new()),
        (Some("image" | "document" | "search_result"), "user") => Ok(String::new()),
        (Some(kind), _) => Err(at(&path, &format!("`{kind}` blocks are not permitted in {role} messages"))),
        (None, _) => Err(required(&block["type"], &format!("{path}.type"), "string")),
    }
}

fn result_text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        _ => String::new(),
    }
}
