//! Lines of OpenAI's batch files: `{"custom_id", "method", "url", "body"}` with a request
//! for a chat completion.
//!
//! The messages become the goal: a single message of the user as it is; of several, each
//! with who said it, in order. `metadata` becomes labels. What chooses and tunes a model
//! (its name, temperature, token limits and the like) is the fleet's to decide and is left
//! out, and whoever submits is told so once. What the answer would depend on and a task
//! cannot say, such as tools of the caller's own or images, is refused.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// What only says how a model is called.
const UNUSED: [&str; 18] = [
    "model",
    "temperature",
    "top_p",
    "max_tokens",
    "max_completion_tokens",
    "seed",
    "stop",
    "user",
    "store",
    "service_tier",
    "reasoning_effort",
    "verbosity",
    "presence_penalty",
    "frequency_penalty",
    "safety_identifier",
    "prompt_cache_key",
    "parallel_tool_calls",
    "stream_options",
];

/// A request as a task.
pub(super) struct Mapped {
    pub(super) task: Map<String, Value>,
    /// The keys of the body that were left out.
    pub(super) unused: BTreeSet<String>,
}

/// Whether a line is of this form and no task.
pub(super) fn is_one(line: &Map<String, Value>) -> bool {
    ["body", "url", "method"].iter().any(|key| line.contains_key(*key))
}

/// The task of a request.
///
/// # Errors
/// Everything that is wrong with it.
pub(super) fn task(mut line: Map<String, Value>) -> Result<Mapped, Vec<String>> {
    let mut faults = Vec::new();
    line.remove("custom_id");
    match line.remove("method") {
        Some(Value::String(method)) if method == "POST" => {}
        other => faults.push(format!("method: is {}, only \"POST\" is known", shown(other))),
    }
    match line.remove("url") {
        Some(Value::String(url)) if url == "/v1/chat/completions" => {}
        other => {
            faults
                .push(format!("url: is {}, only \"/v1/chat/completions\" is mapped to tasks", shown(other)));
        }
    }
    let body = line.remove("body");
    faults.extend(
        line.keys().map(|key| format!("{key:?} is unknown; a request has custom_id, method, url and body")),
    );
    let mut mapped = Mapped { task: Map::new(), unused: BTreeSet::new() };
    match body {
        Some(Value::Object(body)) => self::body(body, &mut mapped, &mut faults),
        other => faults.push(format!("body: is {}, and not an object with messages", shown(other))),
    }
    if faults.is_empty() { Ok(mapped) } else { Err(faults) }
}

fn body(body: Map<String, Value>, mapped: &mut Mapped, faults: &mut Vec<String>) {
    if !body.contains_key("messages") {
        faults.push("body.messages: missing: they are the task's goal".to_owned());
    }
    for (key, value) in body {
        match key.as_str() {
            _ if value.is_null() => {}
            "messages" => match goal(&value) {
                Ok(goal) => drop(mapped.task.insert("goal".to_owned(), goal.into())),
                Err(found) => faults.extend(found),
            },
            "metadata" => drop(mapped.task.insert("labels".to_owned(), value)),
            "n" if value == 1 => {}
            "stream" if value == false => {}
            key if UNUSED.contains(&key) => drop(mapped.unused.insert(key.to_owned())),
            key => faults.push(format!(
                "body.{key}: a task cannot say this; write the line as a task, or leave it out"
            )),
        }
    }
}

/// The goal that messages come to.
fn goal(messages: &Value) -> Result<String, Vec<String>> {
    let Some(messages) = messages.as_array().filter(|messages| !messages.is_empty()) else {
        return Err(vec!["body.messages: is not a list of messages".to_owned()]);
    };
    let (mut said, mut faults) = (Vec::new(), Vec::new());
    for (place, message) in messages.iter().enumerate() {
        match read(message) {
            Ok(message) => said.push(message),
            Err(fault) => faults.push(format!("body.messages[{place}]{fault}")),
        }
    }
    match said.last() {
        Some((role, _)) if faults.is_empty() && *role != "User" => {
            faults.push("body.messages: the last message is not the user's".to_owned());
        }
        _ => {}
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    if let [(_, only)] = said.as_slice() {
        return Ok(only.clone());
    }
    Ok(said.iter().map(|(role, text)| format!("{role}: {text}")).collect::<Vec<_>>().join("\n\n"))
}

/// Who says what.
fn read(message: &Value) -> Result<(&'static str, String), String> {
    let role = match message["role"].as_str() {
        Some("system" | "developer") => "Instructions",
        Some("user") => "User",
        Some("assistant") if message["tool_calls"].is_null() => "Assistant",
        Some("assistant") => return Err(": calls tools, which a task cannot say".to_owned()),
        _ => return Err(format!(".role: is {}, not system, developer, user or assistant", message["role"])),
    };
    let text = match &message["content"] {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let texts: Option<Vec<&str>> = parts.iter().map(text_of).collect();
            texts.ok_or(".content: has parts that are no text, which a task cannot say")?.join("\n")
        }
        other => return Err(format!(".content: is {other}, and not a text")),
    };
    if text.trim().is_empty() {
        return Err(".content: is empty".to_owned());
    }
    Ok((role, text))
}

fn text_of(part: &Value) -> Option<&str> {
    (part["type"] == "text").then(|| part["text"].as_str()).flatten()
}

fn shown(value: Option<Value>) -> String {
    value.map_or_else(|| "missing".to_owned(), |value| value.to_string().chars().take(80).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn line(body: Value) -> Map<String, Value> {
        let line = json!({
            "custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body,
        });
        line.as_object().unwrap().clone()
    }

    fn user(content: Value) -> Value {
        json!([{"role": "user", "content": content}])
    }

    #[test]
    fn one_message_is_the_goal_as_it_is() {
        let body = json!({"model": "m", "temperature": 0, "n": 1, "metadata": {"k": "v"}, "stop": null,
                          "messages": user("Say hello.".into())});
        let Mapped { task, unused } = task(line(body)).unwrap();
        assert_eq!(Value::Object(task), json!({"goal": "Say hello.", "labels": {"k": "v"}}));
        assert_eq!(unused.into_iter().collect::<Vec<_>>(), ["model", "temperature"]);
    }

    #[test]
    fn of_several_messages_each_says_whose_it_is() {
        let messages = json!([
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Hello"}, {"type": "text", "text": "there"}]},
            {"role": "assistant", "content": "Hi."},
            {"role": "user", "content": "And now?"},
        ]);
        let goal = task(line(json!({"messages": messages}))).ok().unwrap().task["goal"].clone();
        assert_eq!(goal, "Instructions: Be brief.\n\nUser: Hello\nthere\n\nAssistant: Hi.\n\nUser: And now?");
    }

    #[test]
    fn what_a_task_cannot_say_is_refused_all_at_once() {
        let faults = |body: Value| task(line(body)).err().unwrap_or_default();
        let found = faults(json!({
            "tools": [], "n": 2, "response_format": {"type": "json_object"},
            "messages": [{"role": "tool", "content": "x"}, {"role": "user", "content": [{"type": "image_url"}]}],
        }));
        assert_eq!(found.len(), 5, "{found:?}");
        assert_eq!(faults(json!({})), ["body.messages: missing: they are the task's goal"]);
        assert_eq!(faults(json!({"messages": []})).len(), 1);
        let last = json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]);
        assert!(faults(json!({"messages": last}))[0].contains("not the user's"));
        let other = json!({"method": "GET", "url": "/v1/embeddings", "body": 3, "extra": 1});
        assert_eq!(task(other.as_object().unwrap().clone()).err().unwrap().len(), 4);
    }
}
