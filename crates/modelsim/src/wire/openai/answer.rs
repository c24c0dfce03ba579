//! The JSON of a chat completion, whole and as the chunks of a stream. Pure.

use serde_json::{Value, json};

use crate::MODEL;
use crate::answer::{Answer, Call, Stop, pieces, tokens_of};
use crate::script::UsageFigures;
use crate::wire::Event;

/// The answer to a request that is not streamed.
pub(crate) fn whole(answer: &Answer) -> Value {
    let mut whole = head(answer, "chat.completion");
    whole["choices"] = json!([{
        "index": 0,
        "message": message(answer),
        "logprobs": null,
        "finish_reason": finish_reason(&answer.stop),
    }]);
    whole["usage"] = usage(&answer.usage);
    whole
}

/// The answer as chunks, the one with the usage last if it is asked for.
pub(crate) fn events(answer: &Answer, include_usage: bool) -> Vec<Event> {
    let mut head = head(answer, "chat.completion.chunk");
    let mut event = |choices: Value, usage: Value, tokens: u64, text_bytes: usize| {
        head["choices"] = choices;
        if include_usage {
            head["usage"] = usage;
        }
        Event { bytes: format!("data: {head}\n\n").into(), tokens, text_bytes }
    };
    let delta = |delta: Value, finish: Value| json!([{"index": 0, "delta": delta, "finish_reason": finish}]);
    let mut events =
        vec![event(delta(json!({"role": "assistant", "content": ""}), Value::Null), Value::Null, 0, 0)];
    for (piece, tokens, text_bytes) in deltas(answer) {
        events.push(event(delta(piece, Value::Null), Value::Null, tokens, text_bytes));
    }
    events.push(event(delta(json!({}), json!(finish_reason(&answer.stop))), Value::Null, 0, 0));
    if include_usage {
        events.push(event(json!([]), usage(&answer.usage), 0, 0));
    }
    events.push(Event { bytes: "data: [DONE]\n\n".into(), tokens: 0, text_bytes: 0 });
    events
}

fn head(answer: &Answer, object: &str) -> Value {
    json!({
        "id": id(answer),
        "object": object,
        "created": answer.created_s,
        "model": MODEL,
        "system_fingerprint": MODEL,
    })
}

fn id(answer: &Answer) -> String {
    format!("chatcmpl-modelsim-{}", answer.number)
}

fn finish_reason(stop: &Stop) -> &str {
    match stop {
        // OpenAI's refusals are a field of their own and end like any answer.
        Stop::Natural | Stop::Refusal => "stop",
        Stop::Length => "length",
        Stop::ToolCalls => "tool_calls",
        Stop::ContentFilter => "content_filter",
        Stop::Other(word) => word,
    }
}

fn message(answer: &Answer) -> Value {
    let only_calls = answer.text.is_empty() && !answer.calls.is_empty();
    let content = (!only_calls && answer.refusal.is_none()).then_some(&answer.text);
    let mut message = json!({"role": "assistant", "content": content, "refusal": answer.refusal});
    if !answer.calls.is_empty() {
        let calls = answer.calls.iter().enumerate();
        message["tool_calls"] =
            calls.map(|(index, item)| call(answer, index, item, &item.arguments)).collect();
    }
    message
}

fn call(answer: &Answer, index: usize, call: &Call, arguments: &str) -> Value {
    let id = call.id.clone().unwrap_or_else(|| format!("call_modelsim_{}_{index}", answer.number));
    json!({"id": id, "type": "function", "function": {"name": call.name, "arguments": arguments}})
}

/// Each with its tokens and the bytes of text in it.
fn deltas(answer: &Answer) -> Vec<(Value, u64, usize)> {
    let mut deltas = Vec::new();
    for (field, text) in [("content", Some(&answer.text)), ("refusal", answer.refusal.as_ref())] {
        let parts = pieces(text.map_or("", |text| text)).into_iter();
        deltas.extend(parts.map(|piece| (json!({field: piece}), tokens_of(piece.len() as u64), piece.len())));
    }
    for (index, item) in answer.calls.iter().enumerate() {
        // As OpenAI does it: the first delta names the function, the others add to the arguments.
        let mut first = call(answer, index, item, "");
        first["index"] = json!(index);
        deltas.push((json!({"tool_calls": [first]}), tokens_of(item.name.len() as u64), 0));
        for piece in pieces(&item.arguments) {
            let more = json!({"index": index, "function": {"arguments": piece}});
            deltas.push((json!({"tool_calls": [more]}), tokens_of(piece.len() as u64), piece.len()));
        }
    }
    deltas
}

fn usage(figures: &UsageFigures) -> Value {
    json!({
        "prompt_tokens": figures.prompt_tokens,
        "completion_tokens": figures.completion_tokens,
        "total_tokens": figures.prompt_tokens.saturating_add(figures.completion_tokens),
        "prompt_tokens_details": {
            "cached_tokens": figures.cached_tokens,
            "cache_write_tokens": figures.cache_write_tokens,
        },
        "completion_tokens_details": {"reasoning_tokens": figures.reasoning_tokens},
    })
}
