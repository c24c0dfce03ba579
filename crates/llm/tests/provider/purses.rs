//! What is set aside for calls with long prompts.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use planfleet_core::{budget::Amount, failure::FailureClass, task::Budget};
use planfleet_llm::{
    Called, ChatModel, ChatRequest, ChatResponse, Error, Hold, LongPrompts, ModelHandle, Price, Purse,
    RateLimits, Refusal, StopReason, TextSink, Usage, handle::HandleSettings,
};

use crate::ask;

/// In nano-USD for a token of input and of output.
const fn price(input: u64, output: u64) -> Price {
    let input = input * 1_000_000;
    Price { input, cached_input: input, cache_write: input, output: output * 1_000_000 }
}

/// Says that so many tokens were its prompt.
struct Counts(u64);

#[async_trait]
impl ChatModel for Counts {
    async fn chat(&self, _: &ChatRequest) -> Result<ChatResponse, Error> {
        let usage = Some(Usage { input_tokens: self.0, output_tokens: 10, ..Usage::default() });
        Ok(ChatResponse {
            id: None,
            model: "counts".to_owned(),
            text: "done".to_owned(),
            tool_calls: Vec::new(),
            thinking: Vec::new(),
            stop_reason: StopReason::Stop,
            refusal: None,
            usage,
            time_to_first_chunk: None,
            rates: RateLimits::default(),
        })
    }

    async fn chat_stream(&self, request: &ChatRequest, _: &mut TextSink<'_>) -> Result<ChatResponse, Error> {
        self.chat(request).await
    }
}

/// What was set aside, and with it what was settled in the end, in nano-USD.
type Notes = Vec<(u64, Option<u64>)>;

/// Has so much, and notes what was set aside and what was settled.
struct Cap(Budget, Arc<Mutex<Notes>>);

impl Purse for Cap {
    fn hold(
        &self,
        amount: Amount,
    ) -> Pin<Box<dyn Future<Output = Result<Option<Hold>, Refusal>> + Send + '_>> {
        let covers = self.0.covers(amount);
        let notes = Arc::clone(&self.1);
        Box::pin(async move {
            if !covers {
                let whose = "the run's budget".to_owned();
                return Err(Refusal::Short { free: self.0, under_way: false, whose });
            }
            notes.lock().unwrap().push((amount.nano_usd, None));
            Ok(Some(Hold::new(amount, move |used| {
                notes.lock().unwrap().push((amount.nano_usd, Some(used.nano_usd)));
            })))
        })
    }
}

/// Calls with a prompt of some `bytes`, which the provider counts as `tokens`; what was set aside
/// and what was settled.
async fn call(long: Option<Price>, cap: Budget, (bytes, tokens): (usize, u64)) -> (Called, Notes) {
    let settings = HandleSettings {
        price: Some(price(1, 2)),
        long_prompts: Some(LongPrompts { over_tokens: 1_000, price: long }),
        max_output_tokens: Some(100),
        concurrency_max: 1,
        lasts: std::time::Duration::from_secs(60),
        ..HandleSettings::default()
    };
    let model = ModelHandle::new(Arc::new(Counts(tokens)), settings);
    let notes = Arc::new(Mutex::default());
    let purse = Arc::new(Cap(cap, Arc::clone(&notes)));
    let tally = model.tally().paid_from(Some(purse));
    let called = model.call_tallied(ask(&"x".repeat(bytes)), &tally).await;
    let notes = notes.lock().unwrap().clone();
    (called, notes)
}

const MONEY: Budget = Budget { nano_usd: Some(1_000_000), tokens: None };
const TOKENS: Budget = Budget { nano_usd: None, tokens: Some(1_000_000) };

#[tokio::test]
async fn what_may_be_a_long_prompt_is_set_aside_as_one_and_settled_as_what_it_was() {
    let (called, notes) = call(Some(price(3, 5)), MONEY, (300, 200)).await;
    assert_eq!(called.usage.nano_usd, Some(200 + 20));
    assert!((300 + 200..1_000).contains(&notes[0].0), "{notes:?}");

    let (called, notes) = call(Some(price(3, 5)), MONEY, (2_000, 500)).await;
    assert_eq!(called.usage.nano_usd, Some(500 + 20), "it was not long");
    assert!(notes[0].0 >= 2_000 * 3 + 500, "{notes:?}");
    assert_eq!(notes[1], (notes[0].0, Some(520)));

    let (called, _) = call(Some(price(3, 5)), MONEY, (2_000, 1_001)).await;
    assert_eq!(called.usage.nano_usd, Some(3 * 1_001 + 50));
}

#[tokio::test]
async fn without_a_price_of_long_prompts_no_cap_in_money_is_promised() {
    let (called, notes) = call(None, MONEY, (2_000, 500)).await;
    let failure = called.result.unwrap_err();
    assert_eq!((failure.class, notes.len()), (FailureClass::Budget, 0));
    assert!(failure.message.contains("for prompts of more than 1000 tokens is not known"), "{failure}");
    assert_eq!(call(None, MONEY, (300, 200)).await.0.usage.nano_usd, Some(220));
    assert_eq!(call(None, TOKENS, (2_000, 1_001)).await.0.usage.nano_usd, None);
}
