//! The JSON of an answer, whole and as the chunks of a stream. Pure.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::MODEL;
use crate::request::Asked;
use crate::script::{Reply, Rule, UsageFigures};

/// Bytes of text that count as one token: the simulator's simple count, rounded up.
const BYTES_PER_TOKEN: u64 = 4;

/// Bytes of text in one chunk of a stream: small enough that short answers come in several.
const CHUNK_BYTES: usize = 16;

/// What a rule answers to a request.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    id: String,
    created_s: u64,
    reply: Reply,
    finish_reason: String,
    usage: UsageFigures,
}

/// A piece of a stream and the tokens in it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Chunk {
    pub(crate) data: Value,
    pub(crate) tokens: u64,
}

impl Answer {
    pub(crate) fn new(number: u64, rule: &Rule, asked: &Asked) -> Self {
        // A rule with nothing but a fault still needs something to cut in half.
        let reply = rule.reply.clone().unwrap_or(Reply::Text(MODEL.repeat(8)));
        let counted = UsageFigures {
            prompt_tokens: tokens(&asked.text),
            completion_tokens: tokens(&written(&reply)),
            ..UsageFigures::default()
        };
        let fitting = match reply {
            Reply::ToolCalls(_) => "tool_calls",
            _ => "stop",
        };
        Self {
            id: format!("chatcmpl-modelsim-{number}"),
            created_s: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            finish_reason: rule.finish_reason.clone().unwrap_or(fitting.to_owned()),
            usage: rule.usage.unwrap_or(counted),
            reply,
        }
    }

    pub(crate) fn output_tokens(&self) -> u64 {
        self.usage.completion_tokens
    }

    /// The answer to a request that is not streamed.
    pub(crate) fn whole(&self) -> Value {
        let mut whole = self.head("chat.completion");
        whole["choices"] = json!([{
            "index": 0,
            "message": self.message(),
            "finish_reason": self.finish_reason,
        }]);
        whole["usage"] = usage(&self.usage);
        whole
    }

    /// The answer as chunks, the one with the usage last if it is asked for.
    pub(crate) fn chunks(&self, include_usage: bool) -> Vec<Chunk> {
        let mut chunks = vec![self.chunk(json!({"role": "assistant", "content": ""}), 0)];
        chunks.extend(self.deltas().into_iter().map(|(delta, tokens)| self.chunk(delta, tokens)));
        let mut last = self.chunk(json!({}), 0);
        last.data["choices"][0]["finish_reason"] = json!(self.finish_reason);
        chunks.push(last);
        if include_usage {
            let mut data = self.head("chat.completion.chunk");
            data["choices"] = json!([]);
            data["usage"] = usage(&self.usage);
            chunks.push(Chunk { data, tokens: 0 });
        }
        chunks
    }

    fn head(&self, object: &str) -> Value {
        json!({
            "id": self.id,
            "object": object,
            "created": self.created_s,
            "model": MODEL,
            "system_fingerprint": MODEL,
        })
    }

    fn message(&self) -> Value {
        match &self.reply {
            Reply::Text(_) | Reply::Json(_) => {
                json!({"role": "assistant", "content": written(&self.reply), "refusal": null})
            }
            Reply::Refusal(text) => {
                json!({"role": "assistant", "content": null, "refusal": text})
            }
            Reply::ToolCalls(calls) => {
                let calls: Vec<Value> = calls
                    .iter()
                    .enumerate()
                    .map(|(index, call)| self.call(index, &call.name, &call.arguments.to_string()))
                    .collect();
                json!({"role": "assistant", "content": null, "tool_calls": calls})
            }
        }
    }

    fn call(&self, index: usize, name: &str, arguments: &str) -> Value {
        json!({
            "id": format!("{}-{index}", self.id),
            "type": "function",
            "function": {"name": name, "arguments": arguments},
        })
    }

    fn chunk(&self, delta: Value, tokens: u64) -> Chunk {
        let mut data = self.head("chat.completion.chunk");
        data["choices"] = json!([{"index": 0, "delta": delta, "finish_reason": null}]);
        Chunk { data, tokens }
    }

    fn deltas(&self) -> Vec<(Value, u64)> {
        let text_deltas = |field: &str, text: &str| -> Vec<(Value, u64)> {
            let delta = |piece: &str| (json!({field: piece}), tokens(piece));
            pieces(text).into_iter().map(delta).collect()
        };
        match &self.reply {
            Reply::Text(_) | Reply::Json(_) => text_deltas("content", &written(&self.reply)),
            Reply::Refusal(text) => text_deltas("refusal", text),
            Reply::ToolCalls(calls) => calls
                .iter()
                .enumerate()
                .flat_map(|(index, call)| self.call_deltas(index, &call.name, &call.arguments.to_string()))
                .collect(),
        }
    }

    /// As OpenAI does it: the first delta names the function, the others add to the arguments.
    fn call_deltas(&self, index: usize, name: &str, arguments: &str) -> Vec<(Value, u64)> {
        let mut first = self.call(index, name, "");
        first["index"] = json!(index);
        let mut deltas = vec![(json!({"tool_calls": [first]}), tokens(name))];
        for piece in pieces(arguments) {
            let more = json!({"index": index, "function": {"arguments": piece}});
            deltas.push((json!({"tool_calls": [more]}), tokens(piece)));
        }
        deltas
    }
}

fn usage(figures: &UsageFigures) -> Value {
    json!({
        "prompt_tokens": figures.prompt_tokens,
        "completion_tokens": figures.completion_tokens,
        "total_tokens": figures.prompt_tokens.saturating_add(figures.completion_tokens),
        "prompt_tokens_details": {"cached_tokens": figures.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": figures.reasoning_tokens},
    })
}

/// All that a model would have written.
fn written(reply: &Reply) -> String {
    match reply {
        Reply::Text(text) | Reply::Refusal(text) => text.clone(),
        Reply::Json(value) => value.to_string(),
        Reply::ToolCalls(calls) => {
            calls.iter().map(|call| format!("{}{}", call.name, call.arguments)).collect()
        }
    }
}

fn tokens(text: &str) -> u64 {
    (text.len() as u64).div_ceil(BYTES_PER_TOKEN)
}

/// The text in pieces of at most [`CHUNK_BYTES`], characters whole.
fn pieces(mut text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    while !text.is_empty() {
        let (piece, rest) = text.split_at(text.floor_char_boundary(CHUNK_BYTES));
        pieces.push(piece);
        text = rest;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_a_quarter_of_the_bytes_rounded_up() {
        assert_eq!([tokens(""), tokens("a"), tokens("abcde")], [0, 1, 2]);
        let asked = Asked { text: "12345678".to_owned(), ..Asked::default() };
        let whole = Answer::new(1, &Rule::text("Paris"), &asked).whole();
        assert_eq!(whole["usage"]["prompt_tokens"], 2);
        assert_eq!(whole["usage"]["completion_tokens"], 2);
        assert_eq!(whole["model"], MODEL);
    }

    #[test]
    fn pieces_keep_characters_whole() {
        let text = "ä".repeat(20) + "€€€";
        assert!(pieces(&text).iter().all(|piece| piece.len() <= CHUNK_BYTES));
        assert_eq!(pieces(&text).concat(), text);
    }
}
