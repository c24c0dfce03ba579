//! Models that answer as their dice say: mostly well, sometimes badly, slowly,
//! or not at all.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use planfleet_llm::{
    ChatModel, ChatRequest, ChatResponse, Dialect, Error, ErrorClass, Limits, Message, ModelHandle, Price,
    StopReason, TextSink, ToolCall, Usage, handle::HandleSettings,
};
use tokio::time::sleep;

use super::{dice::Dice, plans};

/// What a model is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Planner,
    Executor,
    Judge,
}

/// A model in that role.
pub(crate) fn handle(role: Role, dice: Dice) -> ModelHandle {
    let settings = HandleSettings {
        name: "scripted".to_owned(),
        dialect: Dialect::default(),
        price: Some(Price {
            input: 1_000_000,
            cached_input: 500_000,
            cache_write: 1_000_000,
            output: 3_000_000,
        }),
        concurrency_max: 4,
        lasts: Duration::from_secs(60),
        // Credit comes back sooner than in life, so that pauses and their ends are met often.
        limits: Limits {
            pause: Duration::from_millis(500),
            pause_max: Duration::from_secs(4),
            ..Limits::default()
        },
        ..HandleSettings::default()
    };
    ModelHandle::new(Arc::new(Scripted { role, dice }), settings)
}

struct Scripted {
    role: Role,
    dice: Dice,
}

impl Scripted {
    fn answer(&self, request: &ChatRequest) -> ChatResponse {
        let dice = &self.dice;
        match self.role {
            Role::Planner => self.says(self.plan(request)),
            Role::Judge => self.says(format!(r#"{{"pass": {}, "reason": "said so"}}"#, dice.chance(850))),
            Role::Executor if self.calls_a_tool(request) => {
                let arguments = r#"{"expression": "2 * 3"}"#.to_owned();
                let call = ToolCall { id: "call".to_owned(), name: "math_eval".to_owned(), arguments };
                ChatResponse { tool_calls: vec![call], ..self.says(String::new()) }
            }
            Role::Executor => {
                let word = if dice.chance(850) { "ok" } else { "well" };
                self.says(format!("{word} {}", dice.number(0, 999)))
            }
        }
    }

    fn plan(&self, request: &ChatRequest) -> String {
        if self.dice.chance(30) {
            return "I would rather talk about the weather.".to_owned();
        }
        let replan = request.response_format.as_ref().is_some_and(|format| format.name == "replan");
        let asked = request.messages.iter().find_map(|message| match message {
            Message::User { content } => Some(content.as_str()),
            _ => None,
        });
        let told = |message: &Message| matches!(message, Message::System { content } if content.contains("sub_task"));
        let nests = request.messages.iter().any(told);
        let plan = if replan {
            plans::revision(&self.dice, asked.unwrap_or_default(), nests)
        } else {
            plans::first(&self.dice, nests)
        };
        plan.to_string()
    }

    fn calls_a_tool(&self, request: &ChatRequest) -> bool {
        let called = request.messages.iter().any(|message| matches!(message, Message::Tool { .. }));
        !request.tools.is_empty() && !called && self.dice.chance(600)
    }

    fn says(&self, text: String) -> ChatResponse {
        let usage = Usage {
            input_tokens: self.dice.number(1, 300),
            output_tokens: self.dice.number(1, 100),
            ..Usage::default()
        };
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

    /// What goes wrong instead of an answer, if anything does.
    fn trouble(&self) -> Option<Result<ChatResponse, Error>> {
        let error = |class| Error::new(class, class.as_str());
        match self.dice.count(0, 99) {
            // Always with a wish: without one, the wait between tries is drawn from the machine.
            0..=5 => Some(Err(Error {
                retry_after: Some(self.dice.millis(10, 3_000)),
                ..error(ErrorClass::Transient)
            })),
            6..=7 => Some(Err(Error {
                retry_after: Some(Duration::from_secs(21)),
                ..error(ErrorClass::Transient)
            })),
            8..=9 => Some(Ok(ChatResponse { stop_reason: StopReason::Refusal, ..self.says(String::new()) })),
            10 => Some(Err(error(*self.dice.pick(&[ErrorClass::Quota, ErrorClass::ContextOverflow])))),
            _ => None,
        }
    }

    async fn think(&self) {
        let ms = match self.dice.count(0, 99) {
            0..=59 => 0,
            60..=89 => self.dice.number(10, 1_500),
            90..=97 => self.dice.number(1_500, 9_000),
            _ => 25_000,
        };
        sleep(Duration::from_millis(ms)).await;
    }
}

#[async_trait]
impl ChatModel for Scripted {
    async fn chat(&self, request: &ChatRequest) -> Result<ChatResponse, Error> {
        self.think().await;
        match self.trouble() {
            Some(trouble) => trouble,
            None => Ok(self.answer(request)),
        }
    }

    async fn chat_stream(
        &self,
        request: &ChatRequest,
        sink: &mut TextSink<'_>,
    ) -> Result<ChatResponse, Error> {
        self.think().await;
        if let Some(trouble) = self.trouble() {
            return trouble;
        }
        let answer = self.answer(request);
        let breaks_off = self.dice.chance(30);
        let (first, second) = answer.text.split_at(answer.text.len() / 2);
        sink(first);
        self.think().await;
        if breaks_off {
            // Nothing is tried again in place once there was text.
            return Err(Error::new(ErrorClass::Transient, "the connection broke off"));
        }
        sink(second);
        Ok(answer)
    }
}
