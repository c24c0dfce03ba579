//! A model that answers from a script and remembers what it was asked.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use planfleet_llm::{
    ChatModel, ChatRequest, ChatResponse, Dialect, Error, ErrorClass, Message, ModelHandle, Price,
    StopReason, TextSink, Usage, handle::HandleSettings,
};
use tokio::sync::Semaphore;

/// One answer.
pub(crate) enum Reply {
    Text(String),
    /// The second part comes when the test opens the gate.
    Parts(String, Arc<Semaphore>, String),
    Error(Error),
}

pub(crate) struct Script {
    replies: Mutex<VecDeque<Reply>>,
    asked: Mutex<Vec<ChatRequest>>,
}

impl Script {
    pub(crate) fn new(replies: impl IntoIterator<Item = Reply>) -> Arc<Self> {
        Arc::new(Self { replies: Mutex::new(replies.into_iter().collect()), asked: Mutex::default() })
    }

    pub(crate) fn texts<T: ToString>(texts: impl IntoIterator<Item = T>) -> Arc<Self> {
        Self::new(texts.into_iter().map(|text| Reply::Text(text.to_string())))
    }

    pub(crate) fn handle(self: &Arc<Self>) -> ModelHandle {
        let settings = HandleSettings {
            name: "scripted".to_owned(),
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

    /// The conversations of all calls, each turn as text.
    pub(crate) fn asked(&self) -> Vec<Vec<String>> {
        let asked = self.asked.lock().expect("a list");
        asked.iter().map(|request| request.messages.iter().map(content).collect()).collect()
    }

    fn next(&self, request: &ChatRequest) -> Reply {
        self.asked.lock().expect("a list").push(request.clone());
        let next = self.replies.lock().expect("a list").pop_front();
        next.unwrap_or_else(|| panic!("the script has no answer left"))
    }
}

fn content(message: &Message) -> String {
    match message {
        Message::System { content }
        | Message::User { content }
        | Message::Assistant { content, .. }
        | Message::Tool { content, .. } => content.clone(),
    }
}

/// 100 tokens in, 10 out: 120 nano-USD.
fn response(text: String) -> ChatResponse {
    let usage = Usage { input_tokens: 100, output_tokens: 10, ..Usage::default() };
    ChatResponse {
        id: None,
        model: "scripted".to_owned(),
        text,
        tool_calls: Vec::new(),
        thinking: Vec::new(),
        stop_reason: StopReason::Stop,
        refusal: None,
        usage: Some(usage),
        time_to_first_chunk: None,
        rates: Default::default(),
    }
}

pub(crate) fn busy(retry_after: Option<Duration>) -> Reply {
    Reply::Error(Error { retry_after, ..Error::new(ErrorClass::Transient, "busy") })
}

#[async_trait]
impl ChatModel for Script {
    async fn chat(&self, request: &ChatRequest) -> Result<ChatResponse, Error> {
        self.chat_stream(request, &mut |_| {}).await
    }

    async fn chat_stream(
        &self,
        request: &ChatRequest,
        sink: &mut TextSink<'_>,
    ) -> Result<ChatResponse, Error> {
        match self.next(request) {
            Reply::Text(text) => {
                sink(&text);
                Ok(response(text))
            }
            Reply::Parts(first, gate, second) => {
                sink(&first);
                gate.acquire().await.expect("a gate").forget();
                sink(&second);
                Ok(response(first + &second))
            }
            Reply::Error(error) => Err(error),
        }
    }
}
