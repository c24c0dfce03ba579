//! A model as a role of the fleet holds it: calls are retried, bounded in number, and priced,
//! and their errors carry the class that decides who acts next.

use std::sync::Arc;

use planfleet_core::failure::{Failure, FailureClass};
use planfleet_core::usage;
use tokio::sync::Semaphore;

use crate::chat::{ChatModel, ChatRequest, ChatResponse, StopReason, TextSink};
use crate::dialect::Dialect;
use crate::error::{Error, ErrorClass};
use crate::price::{self, Price};
use crate::retry::{Attempted, Retrying};

/// A configured model, shared by all work of a process that uses it.
#[derive(Clone)]
pub struct ModelHandle {
    name: String,
    chat: Arc<dyn ChatModel>,
    dialect: Dialect,
    price: Option<Price>,
    max_output_tokens: Option<u32>,
    temperature: Option<f32>,
    in_flight: Arc<Semaphore>,
    retrying: Retrying,
}

/// What a handle adds to a plain [`ChatModel`].
#[derive(Debug, Clone)]
pub struct HandleSettings {
    /// The name that reports show: what the configuration calls the provider's model.
    pub name: String,
    /// In what the server differs.
    pub dialect: Dialect,
    /// `None` when it is not known; costs are unknown then, never 0.
    pub price: Option<Price>,
    /// Sent with every call that does not say otherwise.
    pub max_output_tokens: Option<u32>,
    /// Sent with every call that does not say otherwise.
    pub temperature: Option<f32>,
    /// Calls of this process that may be under way at once.
    pub concurrency_max: usize,
}

/// What a call brought and what it used, failed tries included.
#[derive(Debug)]
pub struct Called {
    /// The answer, or why there is none.
    pub result: Result<ChatResponse, Failure>,
    /// Tokens as the provider counts them, and their price.
    pub usage: usage::Usage,
}

impl ModelHandle {
    /// A handle on `chat`.
    #[must_use]
    pub fn new(chat: Arc<dyn ChatModel>, settings: HandleSettings) -> Self {
        Self {
            name: settings.name,
            chat,
            dialect: settings.dialect,
            price: settings.price,
            max_output_tokens: settings.max_output_tokens,
            temperature: settings.temperature,
            in_flight: Arc::new(Semaphore::new(settings.concurrency_max.max(1))),
            retrying: Retrying::default(),
        }
    }

    /// The name that reports show.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// In what the server differs.
    #[must_use]
    pub fn dialect(&self) -> &Dialect {
        &self.dialect
    }

    /// Calls the model. Refusals, content filters and answers that were cut off are failures.
    pub async fn call(&self, request: ChatRequest) -> Called {
        let request = self.complete(request);
        let _turn = self.in_flight.acquire().await;
        let attempted = self.retrying.chat(&*self.chat, &request).await;
        self.account(&request, attempted)
    }

    /// Calls the model and hands its text on as it comes.
    pub async fn call_streaming(&self, request: ChatRequest, sink: &mut TextSink<'_>) -> Called {
        let request = self.complete(request);
        let _turn = self.in_flight.acquire().await;
        let attempted = self.retrying.chat_stream(&*self.chat, &request, sink).await;
        self.account(&request, attempted)
    }

    fn complete(&self, mut request: ChatRequest) -> ChatRequest {
        request.max_output_tokens = request.max_output_tokens.or(self.max_output_tokens);
        request.temperature = request.temperature.or(self.temperature);
        request
    }

    fn account(&self, request: &ChatRequest, attempted: Attempted<ChatResponse>) -> Called {
        let calls = u64::from(attempted.calls);
        let mut usage = usage::Usage { calls, ..usage::Usage::NONE };
        let result = match attempted.result {
            Ok(response) => {
                self.charge(&response, &mut usage);
                // Small models seldom stop by themselves: free text that ends at the limit is all there is.
                let may_be_cut = self.dialect.positional_plan && request.response_format.is_none();
                accept(response, may_be_cut)
            }
            Err(error) => Err(failure(&error)),
        };
        Called { result, usage }
    }

    fn charge(&self, response: &ChatResponse, usage: &mut usage::Usage) {
        let Some(used) = &response.usage else {
            usage.nano_usd = None;
            return;
        };
        usage.input_tokens = used.input_tokens;
        usage.output_tokens = used.output_tokens;
        usage.cached_tokens = used.cached_tokens;
        usage.nano_usd = self.price.as_ref().map(|price| price::cost(used, price));
    }
}

/// An answer that is one.
fn accept(response: ChatResponse, may_be_cut: bool) -> Result<ChatResponse, Failure> {
    match &response.stop_reason {
        StopReason::Refusal | StopReason::ContentFilter => {
            let words = response.refusal.as_deref().unwrap_or("no reason given");
            Err(Failure::new(FailureClass::Refused, format!("the model declined: {words}")))
        }
        StopReason::Length if !may_be_cut => {
            let message =
                "the answer was cut off at the model's output limit; raise max_output_tokens or ask for less";
            Err(Failure::new(FailureClass::InvalidOutput, message).with_seen(&response.text))
        }
        _ => Ok(response),
    }
}

/// An error as a failure: the class says who acts.
#[must_use]
pub fn failure(error: &Error) -> Failure {
    let class = match error.class {
        ErrorClass::Transient => FailureClass::Transient,
        // Like an empty account: only people can mend a key that is refused or a
        // model that does not exist, and no replan may be spent on it.
        ErrorClass::Quota | ErrorClass::Unauthorized | ErrorClass::NotFound => FailureClass::Quota,
        ErrorClass::ContextOverflow => FailureClass::ContextOverflow,
        ErrorClass::Refused => FailureClass::Refused,
        ErrorClass::Timeout => FailureClass::Timeout,
        ErrorClass::InvalidResponse => FailureClass::InvalidOutput,
        ErrorClass::InvalidRequest => FailureClass::ToolError,
    };
    let retry_after_ms = error.retry_after.and_then(|wait| u64::try_from(wait.as_millis()).ok());
    Failure { retry_after_ms, ..Failure::new(class, error.to_string()) }
}
