//! A model that answers from a script and remembers what it was asked.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use planfleet_llm::{
    ChatModel, ChatRequest, ChatResponse, Dialect, Error, Message, ModelHandle, Price, StopReason, TextSink,
    ToolCall, Usage, handle::HandleSettings,
};

pub(crate) struct Script {
    replies: Mutex<VecDeque<Result<ChatResponse, Error>>>,
    asked: Mutex<Vec<ChatRequest>>,
}

impl Script {
    pub(crate) fn new(replies: impl IntoIterator<Item = Result<ChatResponse, Error>>) -> Arc<Self> {
        Arc::new(Self { replies: Mutex::new(replies.into_iter().collect()), asked: Mutex::default() })
    }

    pub(crate) fn texts<const N: usize>(texts: [&str; N]) -> Arc<Self> {
        Self::new(texts.map(|text| Ok(says(text))))
    }

    pub(crate) fn handle(self: &Arc<Self>, name: &str) -> ModelHandle {
        let settings = HandleSettings {
            name: name.to_owned(),
            dialect: Dialect::default(),
            // 1 nano-USD a token of input, 2 of output.
            price: Some(Price {
                input: 1_000_000,
                cached_input: 1_000_000,
                cache_write: 1_000_000,
                output: 2_000_000,
            }),
            concurrency_max: 4,
            lasts: Duration::from_secs(60),
            ..HandleSettings::default()
        };
        ModelHandle::new(Arc::clone(self) as Arc<dyn ChatModel>, settings)
    }

    pub(crate) fn requests(&self) -> Vec<ChatRequest> {
        self.asked.lock().expect("a list").clone()
    }

    /// The newest turns of the newest call that were not in the one before, or
    /// all of the first: what the executor has added, as text.
    pub(crate) fn last_turn(&self) -> String {
        let requests = self.requests();
        let last = requests.last().and_then(|request| request.messages.last());
        last.map(content).expect("a question")
    }
}

pub(crate) fn content(message: &Message) -> String {
    match message {
        Message::System { content }
        | Message::User { content }
        | Message::Assistant { content, .. }
        | Message::Tool { content, .. } => content.clone(),
    }
}

/// A model that never answers.
pub(crate) struct Silent;

impl Silent {
    pub(crate) fn handle(price: Option<Price>) -> ModelHandle {
        let settings = HandleSettings {
            name: "silent".to_owned(),
            dialect: Dialect::default(),
            price,
            concurrency_max: 4,
            lasts: Duration::from_secs(60),
            ..HandleSettings::default()
        };
        ModelHandle::new(Arc::new(Self), settings)
    }
}

#[async_trait]
impl ChatModel for Silent {
    async fn chat(&self, _: &ChatRequest) -> Result<ChatResponse, Error> {
        std::future::pending().await
    }

    async fn chat_stream(&self, request: &ChatRequest, _: &mut TextSink<'_>) -> Result<ChatResponse, Error> {
        self.chat(request).await
    }
}

/// A text; 100 tokens in, 10 out: 120 nano-USD.
pub(crate) fn says(text: &str) -> ChatResponse {
    ChatResponse {
        id: None,
        model: "scripted".to_owned(),
        text: text.to_owned(),
        tool_calls: Vec::new(),
        thinking: Vec::new(),
        stop_reason: StopReason::Stop,
        refusal: None,
        usage: Some(Usage { input_tokens: 100, output_tokens: 10, ..Usage::default() }),
        time_to_first_chunk: None,
        rates: Default::default(),
    }
}

/// A call of a tool.
pub(crate) fn calls(tool: &str, arguments: &str) -> ChatResponse {
    let (id, name, arguments) = ("call_1".to_owned(), tool.to_owned(), arguments.to_owned());
    let tool_calls = vec![ToolCall { id, name, arguments }];
    ChatResponse { tool_calls, stop_reason: StopReason::ToolCalls, ..says("") }
}

/// What so many calls cost.
pub(crate) fn cost(calls: u64) -> planfleet_core::usage::Usage {
    planfleet_core::usage::Usage {
        calls,
        input_tokens: 100 * calls,
        output_tokens: 10 * calls,
        cached_tokens: 0,
        nano_usd: Some(120 * calls),
    }
}

#[async_trait]
impl ChatModel for Script {
    async fn chat(&self, request: &ChatRequest) -> Result<ChatResponse, Error> {
        self.asked.lock().expect("a list").push(request.clone());
        let next = self.replies.lock().expect("a list").pop_front();
        next.unwrap_or_else(|| panic!("the script has no answer left"))
    }

    async fn chat_stream(&self, request: &ChatRequest, _: &mut TextSink<'_>) -> Result<ChatResponse, Error> {
        self.chat(request).await
    }
}
