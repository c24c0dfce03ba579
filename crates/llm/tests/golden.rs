//! The wires against files, in both directions, a folder for each wire. A new case is a new file.
//!
//! - `encode/*.json`: `{dialect, stream, request, body}`, `dialect` a kind or a whole dialect;
//! - `decode/*.json`: `{body, response}` or `{body, error}`;
//! - `stream/*.json`: `{chunks, deltas, response}` or `{chunks, error}`, where a chunk that is a
//!   string is sent as it is. `answer_tool` names the tool whose arguments are the answer.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test")]

use std::path::{Path, PathBuf};

use planfleet_llm::wire::{Expected, anthropic_messages, openai_chat};
use planfleet_llm::{ChatRequest, ChatResponse, Dialect, Error};
use serde_json::{Value, json};

fn cases(folder: &str) -> Vec<(PathBuf, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(folder);
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    paths
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            (path, serde_json::from_str(&text).unwrap())
        })
        .collect()
}

fn dialect(value: &Value) -> Dialect {
    match value.as_str() {
        Some(kind) => Dialect::named(kind).unwrap(),
        None => serde_json::from_value(value.clone()).unwrap(),
    }
}

fn outcome(result: Result<ChatResponse, Error>) -> Value {
    match result {
        Ok(response) => json!({"response": response}),
        Err(error) => json!({"error": {
            "class": error.class,
            "status": error.status,
            "code": error.code,
            "message": error.message,
        }}),
    }
}

fn expected(case: &Value) -> Value {
    match case.get("error") {
        Some(error) => json!({"error": error}),
        None => json!({"response": case["response"]}),
    }
}

fn encoded(wire: &str, encode: fn(&ChatRequest, &Dialect, bool) -> Value) {
    for (path, case) in cases(&format!("{wire}/encode")) {
        let request: ChatRequest = serde_json::from_value(case["request"].clone()).unwrap();
        let body = encode(&request, &dialect(&case["dialect"]), case["stream"] == true);
        assert_eq!(body, case["body"], "{}", path.display());
    }
}

fn decoded(wire: &str, decode: fn(&[u8]) -> Result<ChatResponse, Error>) {
    for (path, case) in cases(&format!("{wire}/decode")) {
        let result = decode(case["body"].to_string().as_bytes());
        assert_eq!(outcome(result), expected(&case), "{}", path.display());
    }
}

type Streamed = (Vec<String>, Result<ChatResponse, Error>);

fn streamed(wire: &str, stream: fn(Expected, Vec<String>) -> Streamed) {
    for (path, case) in cases(&format!("{wire}/stream")) {
        let chunks = case["chunks"].as_array().unwrap().iter();
        let chunks = chunks.map(|chunk| chunk.as_str().map_or_else(|| chunk.to_string(), str::to_owned));
        let answer_tool = case["answer_tool"].as_str().map(str::to_owned);
        let (deltas, result) = stream(Expected { answer_tool }, chunks.collect());
        assert_eq!(outcome(result), expected(&case), "{}", path.display());
        assert_eq!(json!(deltas), case["deltas"], "{}", path.display());
    }
}

/// The two decoders have the same shape and no type in common.
macro_rules! assemble {
    ($decoder:ty) => {
        |expected, chunks| {
            let mut deltas = Vec::new();
            let mut decoder = <$decoder>::new(expected);
            let pushed = chunks.iter().try_for_each(|chunk| {
                deltas.extend(decoder.push(chunk)?);
                Ok(())
            });
            (deltas, pushed.and_then(|()| decoder.finish()))
        }
    };
}

#[test]
fn requests_become_these_bodies() {
    encoded("openai_chat", openai_chat::encode);
    encoded("anthropic_messages", anthropic_messages::encode);
}

#[test]
fn these_bodies_become_responses() {
    decoded("openai_chat", openai_chat::decode);
    decoded("anthropic_messages", anthropic_messages::decode);
}

#[test]
fn these_chunks_become_responses() {
    streamed("openai_chat", assemble!(openai_chat::StreamDecoder));
    streamed("anthropic_messages", assemble!(anthropic_messages::StreamDecoder));
}
