//! The client against a simulated provider over real HTTP.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail the test")]

mod answers;
mod anthropic;
mod cassettes;
mod counted;
mod faults;
mod forms;
mod gates;
mod handles;
mod many;
mod purses;
mod simulator;
mod spans;

use std::collections::BTreeMap;

use futures::future::{self, Either};
use planfleet_llm::{
    ChatModel, ChatRequest, ChatResponse, Dialect, Endpoint, Error, HttpChat, Message, Secret, Timeouts, Wire,
};
use planfleet_modelsim::{Builder, Simulator};

pub(crate) const KEY: &str = "sk-secret";

/// Runs a test beside a simulator, which ends with it.
pub(crate) async fn with<T>(builder: Builder, test: impl AsyncFnOnce(Simulator) -> T) -> T {
    let (simulator, server) = builder.bind("127.0.0.1:0").await.unwrap();
    let serving = Box::pin(server.serve(future::pending()));
    match future::select(Box::pin(test(simulator)), serving).await {
        Either::Left((outcome, _)) => outcome,
        Either::Right((ended, _)) => panic!("the simulator ended: {ended:?}"),
    }
}

pub(crate) fn endpoint(base_url: String) -> Endpoint {
    Endpoint {
        name: "fast".to_owned(),
        wire: Wire::OpenAiChat,
        base_url,
        api_key: Some(Secret::new(KEY)),
        model: "small".to_owned(),
        dialect: Dialect::named("openai").unwrap(),
        timeouts: Timeouts::default(),
        always_stream: false,
        extra_headers: BTreeMap::new(),
    }
}

pub(crate) fn client(simulator: &Simulator) -> HttpChat {
    HttpChat::new(endpoint(simulator.base_url())).unwrap()
}

pub(crate) fn ask(text: &str) -> ChatRequest {
    ChatRequest { messages: vec![Message::user(text)], ..ChatRequest::default() }
}

pub(crate) async fn streamed(model: &HttpChat, text: &str) -> (Vec<String>, Result<ChatResponse, Error>) {
    let mut deltas = Vec::new();
    let mut sink = |delta: &str| deltas.push(delta.to_owned());
    let result = model.chat_stream(&ask(text), &mut sink).await;
    (deltas, result)
}
