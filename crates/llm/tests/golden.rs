//! The Chat Completions wire against files, in both directions. A new case is a new file.
//!
//! - `encode/*.json`: `{dialect, stream, request, body}`, `dialect` a kind or a whole dialect;
//! - `decode/*.json`: `{body, response}` or `{body, error}`;
//! - `stream/*.json`: `{chunks, deltas, response}` or `{chunks, error}`, where a chunk that is a
//!   string is sent as it is.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test")]

use std::path::{Path, PathBuf};

use planfleet_llm::wire::openai_chat::{StreamDecoder, decode, encode};
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

#[test]
fn requests_become_these_bodies() {
    for (path, case) in cases("encode") {
        let request: ChatRequest = serde_json::from_value(case["request"].clone()).unwrap();
        let body = encode(&request, &dialect(&case["dialect"]), case["stream"] == true);
        assert_eq!(body, case["body"], "{}", path.display());
    }
}

#[test]
fn these_bodies_become_responses() {
    for (path, case) in cases("decode") {
        let result = decode(case["body"].to_string().as_bytes());
        assert_eq!(outcome(result), expected(&case), "{}", path.display());
    }
}

#[test]
fn these_chunks_become_responses() {
    for (path, case) in cases("stream") {
        let mut deltas = Vec::new();
        let result = stream(case["chunks"].as_array().unwrap(), &mut deltas);
        assert_eq!(outcome(result), expected(&case), "{}", path.display());
        assert_eq!(json!(deltas), case["deltas"], "{}", path.display());
    }
}

fn stream(chunks: &[Value], deltas: &mut Vec<String>) -> Result<ChatResponse, Error> {
    let mut decoder = StreamDecoder::new();
    for chunk in chunks {
        let data = chunk.as_str().map_or_else(|| chunk.to_string(), str::to_owned);
        deltas.extend(decoder.push(&data)?);
    }
    decoder.finish()
}
