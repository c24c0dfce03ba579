//! As many calls at once as an executor may have.

use std::sync::Arc;
use std::time::Duration;

use axum::routing::post;
use axum::{Json, Router};
use futures::future::{self, Either};
use planfleet_llm::handle::HandleSettings;
use planfleet_llm::{HttpChat, ModelHandle};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Barrier;

use crate::{ask, endpoint};

const CALLS: usize = 1_000;

/// Nobody is answered before all have asked: with any bound below, none would be.
#[tokio::test]
async fn a_thousand_calls_are_under_way_at_once() {
    // Both ends of each call are in this process.
    let files = planfleet_runtime::open_files::raise_limit();
    assert!(files > 2 * CALLS as u64, "the system lets a process open only {files} files");
    let all = Arc::new(Barrier::new(CALLS));
    let answer = move || {
        let all = Arc::clone(&all);
        async move {
            all.wait().await;
            Json::<Value>(json!({"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]}))
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = endpoint(format!("http://{}/v1", listener.local_addr().unwrap()));
    let router = Router::new().route("/v1/chat/completions", post(answer));
    let serving = Box::pin(async { axum::serve(listener, router).await.unwrap() });

    let chat = Arc::new(HttpChat::new(endpoint).unwrap());
    let settings =
        HandleSettings { name: "m".to_owned(), concurrency_max: CALLS, ..HandleSettings::default() };
    let handle = ModelHandle::new(chat, settings);
    let calls = future::join_all((0..CALLS).map(|_| handle.call(ask("x"))));
    let calls = tokio::time::timeout(Duration::from_secs(120), calls);
    let ended = match future::select(Box::pin(calls), serving).await {
        Either::Left((ended, _)) => ended.unwrap(),
        Either::Right(((), _)) => panic!("the server ended"),
    };
    for called in ended {
        assert_eq!((called.result.unwrap().text.as_str(), called.usage.calls), ("x", 1));
    }
}
