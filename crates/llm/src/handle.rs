//! A model as a role of the fleet holds it: calls are retried, bounded in number, and priced,
//! and their errors carry the class that decides who acts next.

mod format;

use std::borrow::Cow;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use planfleet_core::failure::{Failure, FailureClass};
use planfleet_core::usage;
use tokio::time::{Instant, sleep};

use crate::chat::{self, ChatModel, ChatRequest, ChatResponse, StopReason, TextSink};
use crate::dialect::Dialect;
use crate::error::{Error, ErrorClass};
use crate::instruments::Calls;
use crate::limits::{Gate, Hint, Hints, Limits, Standing, Turn};
use crate::price::{LongPrompts, Price, Tariff};
use crate::purse::{Ceiling, Overcount, Paid, Payment};
use crate::retry::{Attempted, Retrying};
use crate::tally::Tally;
use format::Ways;

/// A configured model, shared by all work of a process that uses it.
#[derive(Clone)]
pub struct ModelHandle {
    name: String,
    chat: Arc<dyn ChatModel>,
    dialect: Dialect,
    tariff: Option<Tariff>,
    max_output_tokens: Option<u32>,
    temperature: Option<f32>,
    lasts: Duration,
    overcount: Arc<Overcount>,
    gate: Arc<Gate>,
    fallbacks: Arc<[ModelHandle]>,
    ways: Arc<Ways>,
    retrying: Retrying,
    calls: Arc<Calls>,
}

/// What a handle adds to a plain [`ChatModel`].
#[derive(Debug, Clone, Default)]
pub struct HandleSettings {
    /// The name that reports show: what the configuration calls the provider's model.
    pub name: String,
    /// The name that the configuration and other processes know it by; `name` where it is empty.
    pub key: String,
    /// In what the server differs.
    pub dialect: Dialect,
    /// `None` when it is not known; costs are unknown then, never 0.
    pub price: Option<Price>,
    /// Where long prompts cost something else.
    pub long_prompts: Option<LongPrompts>,
    /// Sent with every call that does not say otherwise.
    pub max_output_tokens: Option<u32>,
    /// Sent with every call that does not say otherwise.
    pub temperature: Option<f32>,
    /// Calls of this process that may be under way at once; fewer are as long as the provider
    /// bears fewer.
    pub concurrency_max: usize,
    /// How long one try can take.
    pub lasts: Duration,
    /// What the model may be given.
    pub limits: Limits,
}

/// What a call brought and what it used.
#[derive(Debug)]
pub struct Called {
    /// The answer, or why there is none.
    pub result: Result<ChatResponse, Failure>,
    /// All tries are counted. The tokens are those of the answer, as failed tries report none.
    /// The cost is `None` where it is not known: without a price, without the provider's figures,
    /// or after a failed try that may have been billed.
    pub usage: usage::Usage,
}

impl ModelHandle {
    /// A handle on `chat`.
    #[must_use]
    pub fn new(chat: Arc<dyn ChatModel>, settings: HandleSettings) -> Self {
        let key = if settings.key.is_empty() { &settings.name } else { &settings.key };
        let gate = Gate::new(key, settings.concurrency_max, &settings.limits);
        Self {
            calls: Arc::new(Calls::new(gate.name())),
            name: settings.name,
            chat,
            dialect: settings.dialect,
            tariff: settings.price.map(|price| Tariff { price, long: settings.long_prompts }),
            max_output_tokens: settings.max_output_tokens,
            temperature: settings.temperature,
            lasts: settings.lasts,
            overcount: Arc::default(),
            gate: Arc::new(gate),
            fallbacks: Arc::default(),
            ways: Arc::default(),
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

    /// This handle, with models to take while its own had better not be asked.
    #[must_use]
    pub fn with_fallbacks(self, fallbacks: Vec<Self>) -> Self {
        Self { fallbacks: fallbacks.into(), ..self }
    }

    /// The models to ask, the next one where one turns out to be paused: those that are neither
    /// paused nor failing first, each in the order in which they are configured. Never empty.
    #[must_use]
    pub fn candidates(&self) -> Vec<&Self> {
        let all = std::iter::once(self).chain(self.fallbacks.iter());
        let (shut, mut open): (Vec<_>, Vec<_>) = all.partition(|model| model.gate.is_shut());
        open.extend(shut);
        open
    }

    /// The model to ask now: the first that is neither paused nor failing, else this one.
    #[must_use]
    pub fn best(&self) -> &Self {
        self.candidates().first().copied().unwrap_or(self)
    }

    /// The name that the configuration and other processes know it by.
    #[must_use]
    pub fn key(&self) -> &str {
        self.gate.name()
    }

    /// How many calls there may be at once just now, and how many there are.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.gate.standing()
    }

    /// How long the model is left alone, if it is paused.
    #[must_use]
    pub fn pause_left(&self) -> Option<Duration> {
        self.gate.pause_left()
    }

    /// Tells other processes from now on what this one learns of the model.
    pub fn tell_others(&self, hints: Arc<dyn Hints>) {
        self.gate.tell_others(hints);
    }

    /// Takes in what another process has learnt; `now_ms` is milliseconds since the Unix epoch.
    pub fn heed(&self, hint: &Hint, now_ms: u64) {
        self.gate.heed(hint, now_ms);
    }

    /// So many processes share the configured rates.
    pub fn share(&self, processes: usize) {
        self.gate.share(processes);
    }

    /// For a call that may be dropped before it has ended.
    #[must_use]
    pub fn tally(&self) -> Tally {
        Tally::new(self.tariff.as_ref().is_some_and(Tariff::is_free))
    }

    /// Calls the model. Refusals, content filters and answers that were cut off are failures.
    pub async fn call(&self, request: ChatRequest) -> Called {
        self.call_tallied(request, &self.tally()).await
    }

    /// Calls the model, and counts its tries as they begin.
    pub async fn call_tallied(&self, request: ChatRequest, tally: &Tally) -> Called {
        let model = InTurn(self, tally);
        let mut request = self.complete(request);
        let mut attempted = self.retrying.chat(&model, &request).await;
        while self.weaken(&mut request, &attempted.result) {
            attempted = self.retrying.chat(&model, &request).await.after(&attempted);
        }
        self.account(&request, attempted, tally)
    }

    /// Calls the model and hands its text on as it comes.
    pub async fn call_streaming(&self, request: ChatRequest, sink: &mut TextSink<'_>) -> Called {
        self.stream_tallied(request, sink, &self.tally()).await
    }

    /// Calls the model, hands its text on as it comes, and counts its tries as they begin.
    pub async fn stream_tallied(
        &self,
        request: ChatRequest,
        sink: &mut TextSink<'_>,
        tally: &Tally,
    ) -> Called {
        let model = InTurn(self, tally);
        let mut request = self.complete(request);
        let handed_on = AtomicBool::new(false);
        let mut watched = |text: &str| {
            handed_on.store(true, Ordering::Relaxed);
            sink(text);
        };
        let mut attempted = self.retrying.chat_stream(&model, &request, &mut watched).await;
        while !handed_on.load(Ordering::Relaxed) && self.weaken(&mut request, &attempted.result) {
            attempted = self.retrying.chat_stream(&model, &request, &mut watched).await.after(&attempted);
        }
        self.account(&request, attempted, tally)
    }

    fn ceiling(&self) -> Ceiling<'_> {
        let Self { name, tariff, lasts, overcount, .. } = self;
        Ceiling { model: name, tariff: tariff.as_ref(), lasts: *lasts, overcount }
    }

    fn complete(&self, mut request: ChatRequest) -> ChatRequest {
        request.max_output_tokens = request.max_output_tokens.or(self.max_output_tokens);
        request.temperature = request.temperature.or(self.temperature);
        self.ways.apply(&mut request);
        request
    }

    fn weaken(&self, request: &mut ChatRequest, result: &Result<ChatResponse, Error>) -> bool {
        let Err(error) = result else { return false };
        self.ways.weaken(request, error, &self.dialect, &self.name)
    }

    fn account(&self, request: &ChatRequest, attempted: Attempted<ChatResponse>, tally: &Tally) -> Called {
        // Tries that were refused before they were made were none.
        let usage = match tally.calls() {
            0 => usage::Usage::NONE,
            calls => usage::Usage { calls, ..self.usage(&attempted) },
        };
        self.calls.used(tally.role(), &usage);
        let result = match attempted.result {
            Ok(response) => {
                // Small models seldom stop by themselves: free text that ends at the limit is all there is.
                let may_be_cut = self.dialect.small_model && request.response_format.is_none();
                accept(response, may_be_cut)
            }
            Err(error) => {
                if error.class == ErrorClass::Budget {
                    self.calls.refused(tally.role());
                }
                Err(failure(&error))
            }
        };
        Called { result, usage }
    }

    fn usage(&self, attempted: &Attempted<ChatResponse>) -> usage::Usage {
        let used = match &attempted.result {
            Ok(response) => response.usage,
            Err(_) => Some(chat::Usage::default()),
        };
        let known = used.filter(|_| !attempted.failed_may_be_billed);
        let nano_usd = self.tariff.as_ref().and_then(|tariff| match known {
            Some(used) => tariff.cost(&used),
            None => tariff.is_free().then_some(0),
        });
        let used = used.unwrap_or_default();
        usage::Usage {
            calls: attempted.calls.into(),
            input_tokens: used.input_tokens,
            output_tokens: used.output_tokens,
            cached_tokens: used.cached_tokens,
            nano_usd,
        }
    }
}

/// Between two looks whether others have left money over: calls take seconds.
const MONEY_WAIT_FIRST: Duration = Duration::from_millis(20);
const MONEY_WAIT_MAX: Duration = Duration::from_secs(1);

/// Takes one of the model's turns for each try and pays for it, so that the waits between tries
/// hold neither.
struct InTurn<'a>(&'a ModelHandle, &'a Tally);

impl InTurn<'_> {
    /// One of the model's turns, and the request as its purse pays for it. Money that others
    /// may leave over is waited for without a turn, which others have a use for meanwhile.
    async fn enter<'r>(
        &'r self,
        ceiling: &'r Ceiling<'r>,
        request: &'r ChatRequest,
    ) -> Result<(Turn<'r>, Cow<'r, ChatRequest>, Option<Paid<'r>>), Error> {
        let until = Instant::now() + ceiling.lasts;
        let mut wait = MONEY_WAIT_FIRST;
        loop {
            let turn = self.0.gate.enter(request).await?;
            let Some(purse) = self.1.purse() else { return Ok((turn, Cow::Borrowed(request), None)) };
            let may_wait = Instant::now() + wait < until;
            if let Payment::Paid(paid) = ceiling.pay(purse, request, may_wait).await? {
                let max_output_tokens = paid.output_tokens_max;
                let request = Cow::Owned(ChatRequest { max_output_tokens, ..request.clone() });
                return Ok((turn, request, Some(paid)));
            }
            drop(turn);
            sleep(wait).await;
            wait = (wait * 2).min(MONEY_WAIT_MAX);
        }
    }

    /// One try, which is settled when it is over.
    async fn try_once(
        &self,
        mut turn: Turn<'_>,
        mut paid: Option<Paid<'_>>,
        attempt: impl Future<Output = Result<ChatResponse, Error>>,
    ) -> Result<ChatResponse, Error> {
        turn.begin();
        if let Some(paid) = &mut paid {
            paid.begin();
        }
        let mut result = self.1.try_once(attempt).await;
        if let Some(paid) = paid {
            paid.settle(&result);
        }
        turn.end(&mut result);
        result
    }
}

#[async_trait]
impl ChatModel for InTurn<'_> {
    async fn chat(&self, request: &ChatRequest) -> Result<ChatResponse, Error> {
        let ceiling = self.0.ceiling();
        let (turn, request, paid) = self.enter(&ceiling, request).await?;
        self.try_once(turn, paid, self.0.chat.chat(&request)).await
    }

    async fn chat_stream(
        &self,
        request: &ChatRequest,
        sink: &mut TextSink<'_>,
    ) -> Result<ChatResponse, Error> {
        let ceiling = self.0.ceiling();
        let (turn, request, paid) = self.enter(&ceiling, request).await?;
        self.try_once(turn, paid, self.0.chat.chat_stream(&request, sink)).await
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
        StopReason::ContextWindow => {
            let message = "the answer was cut off as the model's context window was full; ask with less";
            Err(Failure::new(FailureClass::ContextOverflow, message).with_seen(&response.text))
        }
        StopReason::Paused => {
            let message = "the provider has put off the rest of the answer; ask again to go on";
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
        ErrorClass::Budget => FailureClass::Budget,
    };
    let retry_after_ms = error.retry_after.and_then(|wait| u64::try_from(wait.as_millis()).ok());
    Failure { retry_after_ms, ..Failure::new(class, error.to_string()) }
}
