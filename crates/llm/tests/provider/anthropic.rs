//! The client of Anthropic Messages against a server of ours that looks at what it is sent.

use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures::future::{self, Either};
use planfleet_llm::{ChatModel, ChatRequest, Endpoint, ErrorClass, HttpChat, Message, StopReason, Wire};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{KEY, ask, endpoint, streamed};

type Seen = Arc<Mutex<Vec<(HeaderMap, Value)>>>;

const EVENTS: &str = concat!(
    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m1\",\"model\":\"claude-x\",\"usage\":{\"input_tokens\":4,\"output_tokens\":1}}}\n\n",
    "event: ping\ndata: {\"type\":\"ping\"}\n\n",
    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Pa\"}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"ris\"}}\n\n",
    "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":3}}\n\n",
    "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
);

const OVERLOADED: &str = concat!(
    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m1\",\"model\":\"claude-x\"}}\n\n",
    "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n",
);

async fn messages(State(seen): State<Seen>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    seen.lock().unwrap().push((headers, body.clone()));
    let events = |events: &'static str| ([("content-type", "text/event-stream")], events).into_response();
    match body["messages"][0]["content"][0]["text"].as_str() {
        Some("overload") => events(OVERLOADED),
        Some("key") => {
            let error = json!({"type": "error", "error": {"type": "authentication_error", "message": "no"}});
            (StatusCode::UNAUTHORIZED, Json(error)).into_response()
        }
        _ if body["stream"] == true => events(EVENTS),
        _ => Json(json!({
            "id": "m1", "type": "message", "model": "claude-x", "stop_reason": "tool_use",
            "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
                {"type": "tool_use", "id": "t1", "name": "now", "input": {}},
            ],
            "usage": {"input_tokens": 4, "cache_read_input_tokens": 6, "output_tokens": 3},
        }))
        .into_response(),
    }
}

async fn listed(uri: Uri) -> Json<Value> {
    assert_eq!(uri.query(), Some("limit=1000"));
    Json(json!({"data": [{"id": "claude-x", "type": "model"}, {"id": "claude-y"}], "has_more": false}))
}

/// `base` is what stands behind the server's address.
async fn with<T>(base: &str, test: impl AsyncFnOnce(HttpChat, Seen) -> T) -> T {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Endpoint {
        wire: Wire::AnthropicMessages,
        ..endpoint(format!("http://{}{base}", listener.local_addr().unwrap()))
    };
    let seen = Seen::default();
    let router = Router::new()
        .route("/v1/messages", post(messages))
        .route("/v1/models", get(listed))
        .with_state(seen.clone());
    let serving = Box::pin(async { axum::serve(listener, router).await.unwrap() });
    match future::select(Box::pin(test(HttpChat::new(endpoint).unwrap(), seen)), serving).await {
        Either::Left((outcome, _)) => outcome,
        Either::Right(((), _)) => panic!("the server ended"),
    }
}

#[tokio::test]
async fn a_stream_and_a_tool_turn_with_its_thoughts() {
    with("/v1", async |model, seen| {
        let (deltas, response) = streamed(&model, "capital of France?").await;
        let response = response.unwrap();
        assert_eq!((deltas.concat().as_str(), response.text.as_str()), ("Paris", "Paris"));
        let usage = response.usage.unwrap();
        assert_eq!((usage.input_tokens, usage.output_tokens), (4, 3));

        let first = model.chat(&ask("what time is it?")).await.unwrap();
        assert_eq!(first.stop_reason, StopReason::ToolCalls);
        assert_eq!(first.usage.unwrap().input_tokens, 10, "cached input is input");
        let turns = vec![Message::user("?"), Message::answered(&first), Message::tool("t1", "noon")];
        model.chat(&ChatRequest { messages: turns, ..ChatRequest::default() }).await.unwrap();

        let seen = seen.lock().unwrap();
        let (headers, body) = &seen[2];
        assert_eq!(body["model"], "small");
        assert_eq!(
            body["messages"][1]["content"][0],
            json!({"type": "thinking", "thinking": "Hm.", "signature": "c2ln"})
        );
        assert_eq!(headers["x-api-key"], KEY);
        assert_eq!(headers["anthropic-version"], "2023-06-01");
        assert!(!headers.contains_key("authorization"));
    })
    .await;
}

#[tokio::test]
async fn the_version_in_the_address_may_be_left_out() {
    for base in ["", "/", "/v1", "/v1/"] {
        with(base, async |model, _| {
            assert_eq!(model.list_models().await.unwrap(), ["claude-x", "claude-y"], "{base:?}");
            assert_eq!(streamed(&model, "x").await.1.unwrap().text, "Paris");
        })
        .await;
    }
}

#[tokio::test]
async fn errors_are_told_before_and_after_the_status() {
    with("/v1", async |model, _| {
        let (_, overloaded) = streamed(&model, "overload").await;
        let overloaded = overloaded.unwrap_err();
        assert_eq!((overloaded.class, overloaded.status), (ErrorClass::Transient, None));
        let refused = model.chat(&ask("key")).await.unwrap_err();
        assert_eq!((refused.class, refused.status), (ErrorClass::Unauthorized, Some(401)));
        assert!(refused.message.contains("check the key"), "{refused}");
    })
    .await;
}
