//! What both wires make of one answer.

use serde_json::{Value, json};

use super::Wire;
use crate::answer::{Answer, Call, Stop};
use crate::cassette;
use crate::request::Asked;
use crate::script::{Rule, UsageFigures};

fn answer() -> Answer {
    let mut answer = Answer::of_rule(1, &Rule::text("It is three, I think."), &Asked::default());
    let call = Call { id: None, name: "add".to_owned(), arguments: "{\"numbers\":[1,2,3,4,5]}".to_owned() };
    answer.calls = vec![call];
    answer.stop = Stop::ToolCalls;
    answer.usage = UsageFigures {
        prompt_tokens: 100,
        completion_tokens: 20,
        cached_tokens: 60,
        cache_write_tokens: 30,
        reasoning_tokens: 5,
    };
    answer
}

fn data(wire: Wire) -> Vec<Value> {
    let events = wire.events(&answer(), true);
    let text: String =
        events.iter().map(|event| String::from_utf8_lossy(&event.bytes).into_owned()).collect();
    let data = text.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
    data.map(|data| serde_json::from_str(data).unwrap()).collect()
}

#[test]
fn events_say_how_much_of_the_answer_is_in_them() {
    let answer = answer();
    for wire in [Wire::OpenAi, Wire::Anthropic] {
        let bytes: usize = wire.events(&answer, true).iter().map(|event| event.text_bytes).sum();
        assert_eq!(bytes, answer.text.len() + answer.calls[0].arguments.len(), "{wire:?}");
    }
}

/// A stream, put together, is the whole answer.
#[test]
fn openai_streams_what_it_would_say_at_once() {
    let whole = Wire::OpenAi.whole(&answer());
    let (mut text, mut arguments, mut id) = (String::new(), String::new(), Value::Null);
    let chunks = data(Wire::OpenAi);
    for chunk in &chunks {
        let delta = &chunk["choices"][0]["delta"];
        text += delta["content"].as_str().unwrap_or_default();
        let call = &delta["tool_calls"][0];
        arguments += call["function"]["arguments"].as_str().unwrap_or_default();
        if !call["id"].is_null() {
            id = call["id"].clone();
        }
    }
    let message = &whole["choices"][0]["message"];
    assert_eq!(message["content"], text);
    assert_eq!(message["tool_calls"][0]["function"]["arguments"], arguments);
    assert_eq!(message["tool_calls"][0]["id"], id);
    let last = chunks.last().unwrap();
    assert_eq!((&last["usage"], &last["choices"]), (&whole["usage"], &json!([])));
    assert_eq!(whole["usage"]["prompt_tokens"], 100);
    assert_eq!(whole["usage"]["prompt_tokens_details"]["cached_tokens"], 60);
    assert_eq!(chunks[chunks.len() - 2]["choices"][0]["finish_reason"], "tool_calls");
}

#[test]
fn anthropic_streams_what_it_would_say_at_once() {
    let whole = Wire::Anthropic.whole(&answer());
    let (mut blocks, mut arguments, mut end) = (Vec::<Value>::new(), String::new(), Value::Null);
    for event in data(Wire::Anthropic) {
        match event["type"].as_str().unwrap() {
            "content_block_start" => blocks.push(event["content_block"].clone()),
            "content_block_delta" => {
                let block = blocks.last_mut().unwrap();
                if let Some(piece) = event["delta"]["text"].as_str() {
                    block["text"] = json!(block["text"].as_str().unwrap().to_owned() + piece);
                }
                arguments += event["delta"]["partial_json"].as_str().unwrap_or_default();
            }
            "message_delta" => end = event,
            _ => {}
        }
    }
    blocks[1]["input"] = serde_json::from_str(&arguments).unwrap();
    assert_eq!(whole["content"], json!(blocks));
    assert_eq!(whole["stop_reason"], "tool_use");
    assert_eq!((&end["delta"]["stop_reason"], &end["usage"]), (&whole["stop_reason"], &whole["usage"]));
    let usage = &whole["usage"];
    assert_eq!([&usage["input_tokens"], &usage["output_tokens"]], [10, 20], "without the cache's part");
    assert_eq!([&usage["cache_read_input_tokens"], &usage["cache_creation_input_tokens"]], [60, 30]);
}

/// A cassette that was recorded on one wire can be played on the other.
#[test]
fn a_conversation_has_one_key_on_both_wires() {
    let schema = json!({"type": "object"});
    let openai = json!({
        "model": "m", "max_completion_tokens": 50, "temperature": 0.5,
        "messages": [
            {"role": "system", "content": "Add."},
            {"role": "user", "content": "1 and 2"},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "add", "arguments": "{\"b\": 2, \"a\": 1}"}}
            ]},
            {"role": "tool", "tool_call_id": "a", "content": "3"},
        ],
        "tools": [{"type": "function", "function": {"name": "add", "description": "adds", "parameters": schema}}],
        "tool_choice": "auto",
        "response_format": {"type": "json_schema", "json_schema": {"name": "sum", "strict": true, "schema": schema}},
    });
    let anthropic = json!({
        "model": "m", "max_tokens": 50, "temperature": 0.5, "system": "Add.",
        "messages": [
            {"role": "user", "content": "1 and 2"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "add", "input": {"a": 1, "b": 2}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "3"}]},
        ],
        "tools": [{"name": "add", "description": "adds", "input_schema": schema}],
        "output_config": {"format": {"type": "json_schema", "schema": schema}},
    });
    let key = |wire, body| planfleet_llm::cassette::key(&cassette::request(wire, body, true).unwrap());
    assert_eq!(key(Wire::OpenAi, &openai), key(Wire::Anthropic, &anthropic));
}
