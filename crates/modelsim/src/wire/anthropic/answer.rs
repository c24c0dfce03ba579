//! The JSON of a message, whole and as the events of a stream. Pure.

use serde_json::{Value, json};

use crate::MODEL;
use crate::answer::{Answer, Call, Stop, pieces, tokens_of};
use crate::script::UsageFigures;
use crate::wire::Event;

/// The answer to a request that is not streamed.
pub(crate) fn whole(answer: &Answer) -> Value {
    let mut message = head(answer, usage(&answer.usage, answer.usage.completion_tokens));
    let text = (!answer.text.is_empty()).then(|| json!({"type": "text", "text": answer.text}));
    let calls = answer.calls.iter().enumerate().map(|(index, item)| {
        // Arguments that are no JSON cannot be sent on this wire.
        let input = serde_json::from_str(&item.arguments).unwrap_or_else(|_| json!({}));
        call(answer, index, item, input)
    });
    message["content"] = text.into_iter().chain(calls).collect();
    message["stop_reason"] = json!(stop_reason(&answer.stop));
    message["stop_details"] = stop_details(answer);
    message
}

/// The answer as the events of a stream.
pub(crate) fn events(answer: &Answer) -> Vec<Event> {
    let start = head(answer, usage(&answer.usage, 1.min(answer.usage.completion_tokens)));
    let mut events = vec![event("message_start", json!({"message": start}), 0)];
    let mut blocks = 0;
    let mut block = |start: Value, deltas: Vec<(Value, usize)>| {
        let index = blocks;
        blocks += 1;
        events.push(event("content_block_start", json!({"index": index, "content_block": start}), 0));
        if index == 0 {
            events.push(event("ping", json!({}), 0));
        }
        for (delta, text_bytes) in deltas {
            let tokens = tokens_of(text_bytes as u64);
            let delta = event("content_block_delta", json!({"index": index, "delta": delta}), tokens);
            events.push(Event { text_bytes, ..delta });
        }
        events.push(event("content_block_stop", json!({"index": index}), 0));
    };
    if !answer.text.is_empty() {
        let delta = |piece: &str| (json!({"type": "text_delta", "text": piece}), piece.len());
        let deltas = pieces(&answer.text).into_iter().map(delta).collect();
        block(json!({"type": "text", "text": ""}), deltas);
    }
    for (index, item) in answer.calls.iter().enumerate() {
        let delta = |piece: &str| (json!({"type": "input_json_delta", "partial_json": piece}), piece.len());
        // As Anthropic does it: the first delta is empty.
        let deltas = std::iter::once("").chain(pieces(&item.arguments)).map(delta).collect();
        block(call(answer, index, item, json!({})), deltas);
    }
    let delta = json!({
        "stop_reason": stop_reason(&answer.stop),
        "stop_sequence": null,
        "stop_details": stop_details(answer),
    });
    let usage = usage(&answer.usage, answer.usage.completion_tokens);
    events.push(event("message_delta", json!({"delta": delta, "usage": usage}), 0));
    events.push(event("message_stop", json!({}), 0));
    events
}

pub(super) fn event(name: &str, mut data: Value, tokens: u64) -> Event {
    data["type"] = json!(name);
    Event { bytes: format!("event: {name}\ndata: {data}\n\n").into(), tokens, text_bytes: 0 }
}

fn head(answer: &Answer, usage: Value) -> Value {
    json!({
        "id": format!("msg_modelsim_{}", answer.number),
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": [],
        "stop_reason": null,
        "stop_sequence": null,
        "usage": usage,
    })
}

fn call(answer: &Answer, index: usize, call: &Call, input: Value) -> Value {
    let id = call.id.clone().unwrap_or_else(|| format!("toolu_modelsim_{}_{index}", answer.number));
    json!({"type": "tool_use", "id": id, "name": call.name, "input": input})
}

fn stop_reason(stop: &Stop) -> &str {
    match stop {
        Stop::Natural => "end_turn",
        Stop::Length => "max_tokens",
        Stop::ToolCalls => "tool_use",
        Stop::Refusal | Stop::ContentFilter => "refusal",
        Stop::Other(word) => word,
    }
}

fn stop_details(answer: &Answer) -> Value {
    match &answer.refusal {
        Some(words) => json!({"type": "refusal", "category": null, "explanation": words}),
        None => Value::Null,
    }
}

/// Anthropic's `input_tokens` leaves out what the cache has to do with.
fn usage(figures: &UsageFigures, output_tokens: u64) -> Value {
    let cached = figures.cached_tokens.saturating_add(figures.cache_write_tokens);
    json!({
        "input_tokens": figures.prompt_tokens.saturating_sub(cached),
        "cache_read_input_tokens": figures.cached_tokens,
        "cache_creation_input_tokens": figures.cache_write_tokens,
        "cache_creation": {
            "ephemeral_5m_input_tokens": figures.cache_write_tokens,
            "ephemeral_1h_input_tokens": 0,
        },
        "output_tokens": output_tokens,
        "service_tier": "standard",
    })
}
