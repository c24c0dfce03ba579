//! What a handle's gate lets through, on virtual time.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::join_all;
use planfleet_core::failure::FailureClass;
use planfleet_llm::handle::HandleSettings;
use planfleet_llm::{
    ChatModel, ChatRequest, ChatResponse, Error, ErrorClass, Hint, Hints, Limits, ModelHandle, Price,
    RateLimits, StopReason, TextSink, Usage, Window,
};
use tokio::time::{Instant, advance, sleep};

use crate::ask;

const MINUTE: Duration = Duration::from_secs(60);

/// Answers as its script says, and well once that is over.
#[derive(Default)]
pub(crate) struct Scripted {
    script: Mutex<VecDeque<Result<ChatResponse, Error>>>,
    takes: Duration,
    asked: Mutex<usize>,
}

impl Scripted {
    pub(crate) fn taking(takes: Duration) -> Arc<Self> {
        Arc::new(Self { takes, ..Self::default() })
    }

    pub(crate) fn failing(errors: impl IntoIterator<Item = Error>) -> Arc<Self> {
        let script = Mutex::new(errors.into_iter().map(Err).collect());
        Arc::new(Self { script, ..Self::default() })
    }

    pub(crate) fn asked(&self) -> usize {
        *self.asked.lock().unwrap()
    }

    fn handle(self: &Arc<Self>, name: &str) -> ModelHandle {
        self.limited(name, 64, Limits::default())
    }

    pub(crate) fn priced(self: &Arc<Self>, name: &str, concurrency_max: usize, price: Price) -> ModelHandle {
        let (name, price) = (name.to_owned(), Some(price));
        let settings = HandleSettings { name, price, concurrency_max, ..HandleSettings::default() };
        ModelHandle::new(Arc::clone(self) as Arc<dyn ChatModel>, settings)
    }

    pub(crate) fn limited(
        self: &Arc<Self>,
        name: &str,
        concurrency_max: usize,
        limits: Limits,
    ) -> ModelHandle {
        let name = name.to_owned();
        let settings = HandleSettings { name, concurrency_max, limits, ..HandleSettings::default() };
        ModelHandle::new(Arc::clone(self) as Arc<dyn ChatModel>, settings)
    }
}

#[async_trait]
impl ChatModel for Scripted {
    async fn chat(&self, _: &ChatRequest) -> Result<ChatResponse, Error> {
        *self.asked.lock().unwrap() += 1;
        sleep(self.takes).await;
        self.script.lock().unwrap().pop_front().unwrap_or_else(|| Ok(fine()))
    }

    async fn chat_stream(&self, request: &ChatRequest, _: &mut TextSink<'_>) -> Result<ChatResponse, Error> {
        self.chat(request).await
    }
}

fn fine() -> ChatResponse {
    ChatResponse {
        id: None,
        model: "scripted".to_owned(),
        text: "fine".to_owned(),
        tool_calls: Vec::new(),
        thinking: Vec::new(),
        stop_reason: StopReason::Stop,
        refusal: None,
        usage: Some(Usage { input_tokens: 100, output_tokens: 10, ..Usage::default() }),
        time_to_first_chunk: None,
        rates: RateLimits::default(),
    }
}

fn broke() -> Error {
    Error { may_be_billed: false, ..Error::new(ErrorClass::Quota, "no credit") }
}

fn limited(retry_after: Duration) -> Error {
    let error = Error { status: Some(429), ..Error::new(ErrorClass::Transient, "too many") };
    Error { retry_after: Some(retry_after), may_be_billed: false, ..error }
}

/// Keeps what it is told.
#[derive(Debug, Default)]
struct Told(Mutex<Vec<(String, Hint)>>);

impl Hints for Told {
    fn tell(&self, model: &str, hint: Hint) {
        self.0.lock().unwrap().push((model.to_owned(), hint));
    }
}

impl Told {
    fn topics(&self) -> Vec<&'static str> {
        self.0.lock().unwrap().iter().map(|(_, hint)| hint.topic()).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn an_empty_account_pauses_the_model_and_one_call_finds_out_that_it_is_mended() {
    let model = Scripted::failing([broke(), broke()]);
    let (handle, told) = (model.handle("m"), Arc::new(Told::default()));
    handle.tell_others(told.clone());
    let refused = handle.call(ask("x")).await.result.unwrap_err();
    assert_eq!((refused.class, refused.retry_after_ms), (FailureClass::Quota, Some(60_000)));

    advance(MINUTE / 2).await;
    let paused = handle.call(ask("x")).await;
    assert_eq!((paused.usage.calls, paused.usage.nano_usd), (0, Some(0)), "what was not sent is free");
    let paused = paused.result.unwrap_err();
    assert_eq!((paused.class, paused.retry_after_ms), (FailureClass::Quota, Some(30_000)));
    assert_eq!(paused.message, "model `m` is paused and tried again in 30 s: no credit");
    assert_eq!(model.asked(), 1, "nothing was sent");

    advance(MINUTE / 2).await;
    let ended = join_all((0..10).map(|_| handle.call(ask("x")))).await;
    assert!(ended.iter().all(|called| called.result.as_ref().unwrap_err().class == FailureClass::Quota));
    assert_eq!(model.asked(), 2, "one call is enough to find out");
    assert_eq!(handle.pause_left(), Some(2 * MINUTE), "it was in vain");

    advance(2 * MINUTE).await;
    assert!(handle.call(ask("x")).await.result.is_ok());
    assert_eq!(handle.pause_left(), None);
    assert_eq!(told.topics(), ["paused", "paused", "paused"]);
    assert_eq!(told.0.lock().unwrap()[2], ("m".to_owned(), Hint::Resumed));
}

#[tokio::test(start_paused = true)]
async fn a_role_takes_its_next_model_while_one_is_paused_or_fails() {
    let (first, second) = (Scripted::failing([broke()]), Scripted::failing([]));
    let role = first.handle("first").with_fallbacks(vec![second.handle("second")]);
    assert_eq!(role.best().name(), "first");
    role.call(ask("x")).await.result.unwrap_err();
    let names = |role: &ModelHandle| {
        role.candidates().iter().map(|model| model.name().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&role), ["second", "first"]);
    advance(MINUTE).await;
    assert_eq!(names(&role), ["first", "second"], "it is time to find out");

    let down = Error::new(ErrorClass::Transient, "connection refused");
    let flaky = Scripted::failing(vec![down; 6]);
    let role = flaky.handle("flaky").with_fallbacks(vec![second.handle("second")]);
    role.call(ask("x")).await.result.unwrap_err();
    assert_eq!(role.best().name(), "flaky", "three tries may be an accident");
    role.call(ask("x")).await.result.unwrap_err();
    assert_eq!(role.best().name(), "second");
    advance(MINUTE / 2).await;
    assert_eq!(role.best().name(), "flaky");
}

#[tokio::test(start_paused = true)]
async fn what_a_provider_asks_again_and_again_holds_for_all_calls() {
    let model = Scripted::failing([limited(Duration::from_secs(5)), limited(Duration::from_secs(5))]);
    let (handle, told) = (model.handle("m"), Arc::new(Told::default()));
    handle.tell_others(told.clone());
    assert!(handle.call(ask("x")).await.result.is_ok(), "the third try is a success");
    assert_eq!(told.topics(), [""; 0], "two refusals may be bad luck");

    let model = Scripted::failing(vec![limited(Duration::from_secs(6)); 3]);
    let handle = model.handle("m");
    handle.tell_others(told.clone());
    let refused = handle.call(ask("x")).await.result.unwrap_err();
    assert_eq!((refused.class, refused.retry_after_ms), (FailureClass::Transient, Some(6_000)));
    assert_eq!(told.topics(), ["asked"]);
    let began = Instant::now();
    assert!(handle.call(ask("y")).await.result.is_ok());
    assert_eq!(began.elapsed().as_secs(), 6, "another call waits too");

    let model = Scripted::failing(vec![limited(Duration::from_secs(50)); 3]);
    let handle = model.handle("m");
    for _ in 0..3 {
        handle.call(ask("x")).await.result.unwrap_err();
    }
    let handed_back = handle.call(ask("y")).await;
    assert_eq!((model.asked(), handed_back.usage.calls), (3, 0));
    let failure = handed_back.result.unwrap_err();
    assert_eq!((failure.class, failure.retry_after_ms), (FailureClass::Transient, Some(50_000)));
}

#[tokio::test(start_paused = true)]
async fn hints_of_others_are_heeded() {
    let model = Scripted::failing([]);
    let handle = model.handle("m");
    let now_ms = 1_000_000;
    let paused = Hint::Paused { reason: "theirs".to_owned(), since_ms: now_ms, until_ms: now_ms + 60_000 };
    handle.heed(&paused, now_ms);
    assert_eq!(handle.call(ask("x")).await.result.unwrap_err().class, FailureClass::Quota);
    handle.heed(&Hint::Resumed, now_ms);
    assert!(handle.call(ask("x")).await.result.is_ok());

    handle.heed(&Hint::Asked { until_ms: now_ms + 3_000 }, now_ms);
    let began = Instant::now();
    assert!(handle.call(ask("x")).await.result.is_ok());
    assert_eq!(began.elapsed().as_secs(), 3);
    // A pause that is over leaves the model to everybody, and not to one probe.
    let old = Hint::Paused { reason: "old".to_owned(), since_ms: 1, until_ms: now_ms - 1 };
    handle.heed(&old, now_ms);
    let both = tokio::join!(handle.call(ask("x")), handle.call(ask("y")));
    assert!(both.0.result.is_ok() && both.1.result.is_ok());
    assert_eq!(handle.pause_left(), None);
    // What is over, or far off by a wrong clock, does little harm.
    handle.heed(&Hint::Asked { until_ms: 1 }, now_ms);
    assert!(handle.call(ask("x")).await.result.is_ok());
    handle.heed(&Hint::Asked { until_ms: u64::MAX }, now_ms);
    let failure = handle.call(ask("x")).await.result.unwrap_err();
    assert_eq!(failure.retry_after_ms, Some(60_000));
}

#[tokio::test(start_paused = true)]
async fn told_limits_are_passed_on_when_they_change() {
    let window = |limit, remaining| Some(Window { limit: Some(limit), remaining, reset: None });
    let says = |limit, remaining| {
        let rates = RateLimits { requests: window(limit, remaining), tokens: None };
        Ok(ChatResponse { rates, ..fine() })
    };
    let script = [says(60, 59), says(60, 58), says(50, 49)];
    let model = Arc::new(Scripted { script: Mutex::new(script.into()), ..Scripted::default() });
    let (handle, told) = (model.handle("m"), Arc::new(Told::default()));
    handle.tell_others(told.clone());
    for _ in 0..3 {
        handle.call(ask("x")).await.result.unwrap();
    }
    assert_eq!(told.topics(), ["rates", "rates"]);
}

#[tokio::test(start_paused = true)]
async fn configured_rates_and_the_learnt_limit_hold_calls_back() {
    let limits = Limits { requests_per_minute: Some(60), ..Limits::default() };
    let model = Scripted::failing([]);
    let handle = model.limited("m", 64, limits);
    let began = Instant::now();
    join_all((0..40).map(|_| handle.call(ask("x")))).await;
    assert_eq!(began.elapsed().as_secs(), 30);

    let model = Arc::new(Scripted { takes: Duration::from_secs(1), ..Scripted::default() });
    *model.script.lock().unwrap() = vec![Err(limited(Duration::from_millis(10))); 8].into();
    let handle = model.limited("m", 8, Limits::default());
    join_all((0..8).map(|_| handle.call(ask("x")))).await;
    assert!((3..=5).contains(&handle.standing().concurrency), "{:?}", handle.standing());
    let cancelled = handle.call(ask("x")).now_or_never();
    assert!(cancelled.is_none());
    assert_eq!(handle.standing().in_flight, 0, "whoever gives up frees its place");
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_given_up_is_followed_by_another() {
    let model = Arc::new(Scripted { takes: MINUTE, ..Scripted::default() });
    *model.script.lock().unwrap() = [Err(broke())].into();
    let handle = model.handle("m");
    handle.call(ask("x")).await.result.unwrap_err();
    advance(MINUTE).await;
    assert!(handle.call(ask("x")).now_or_never().is_none());
    assert!(handle.call(ask("x")).await.result.is_ok());
}
