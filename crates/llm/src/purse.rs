//! Who pays for a call: asked for the most that a try can use before it begins, and told
//! what it did use.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use planfleet_core::{budget::Amount, task::Budget};

use crate::{
    chat::{ChatRequest, ChatResponse},
    error::{Error, ErrorClass},
    price::{self, Tariff},
};

/// What a model writes at most where nobody says: most providers' own limits are near it,
/// and what is not limited cannot be paid for in advance.
pub const OUTPUT_TOKENS_UNSAID: u32 = 8_192;

/// An answer that may be shorter than this is not worth its prompt.
const OUTPUT_TOKENS_MIN: u32 = 64;

/// What providers add to a prompt of their own where there are tools; Anthropic's is the
/// longest, with some 350 to 500 tokens.
const TOOL_PROMPT_TOKENS: u64 = 512;

/// Money and tokens that calls are paid from.
pub trait Purse: Send + Sync {
    /// Sets `amount` aside for a call, if there is so much just now. `None` where nothing
    /// limits it.
    fn hold(
        &self,
        amount: Amount,
    ) -> Pin<Box<dyn Future<Output = Result<Option<Hold>, Refusal>> + Send + '_>>;
}

/// Why nothing was set aside.
#[derive(Debug, Clone)]
pub enum Refusal {
    /// There is less than that.
    Short {
        /// What there is.
        free: Budget,
        /// Whether calls are under way that may leave enough over.
        under_way: bool,
        /// Whose it is and how much, for people: `the run's budget of 0.5 USD`.
        whose: String,
    },
    /// It cannot be told what there is.
    Unreachable(String),
}

/// Something set aside. Dropped without [`Hold::settle`] it counts as used.
pub struct Hold {
    amount: Amount,
    settle: Option<Box<dyn FnOnce(Amount) + Send + Sync>>,
}

impl Hold {
    /// `amount`, set aside; `settle` takes what was used of it.
    #[must_use]
    pub fn new(amount: Amount, settle: impl FnOnce(Amount) + Send + Sync + 'static) -> Self {
        Self { amount, settle: Some(Box::new(settle)) }
    }

    /// The call is over and has used so much.
    pub fn settle(mut self, used: Amount) {
        if let Some(settle) = self.settle.take() {
            settle(used);
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(settle) = self.settle.take() {
            settle(self.amount);
        }
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hold").field("amount", &self.amount).finish_non_exhaustive()
    }
}

/// How much more input a provider has counted than [`input_tokens_max`] allows for, in
/// thousandths: some put words of their own before every prompt.
#[derive(Debug, Default)]
pub(crate) struct Overcount(AtomicU64);

impl Overcount {
    fn note(&self, allowed: u64, counted: u64) {
        let ratio = u128::from(counted) * 1_000 / u128::from(allowed.max(1));
        self.0.fetch_max(u64::try_from(ratio).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn apply(&self, tokens: u64) -> u64 {
        let ratio = self.0.load(Ordering::Relaxed).max(1_000);
        u64::try_from((u128::from(tokens) * u128::from(ratio)).div_ceil(1_000)).unwrap_or(u64::MAX)
    }
}

/// What a try can use at most, and what it costs.
#[derive(Debug)]
pub(crate) struct Ceiling<'a> {
    pub(crate) model: &'a str,
    pub(crate) tariff: Option<&'a Tariff>,
    /// How long a try can take.
    pub(crate) lasts: Duration,
    pub(crate) overcount: &'a Overcount,
}

/// A try that is paid for.
#[derive(Debug)]
pub(crate) struct Paid<'a> {
    ceiling: &'a Ceiling<'a>,
    hold: Option<Hold>,
    /// The bound on the prompt's tokens, as we count.
    allowed: u64,
    begun: bool,
    /// What the answer has to end at, where less is left than was asked for.
    pub(crate) output_tokens_max: Option<u32>,
}

/// What came of asking for money.
pub(crate) enum Payment<'a> {
    Paid(Paid<'a>),
    /// Calls under way may leave enough over: it is to be asked again.
    Wait,
}

impl<'a> Ceiling<'a> {
    /// Has `purse` pay for one try of `request`, with a shorter answer if that is what
    /// there is and, unless it `may_wait`, nothing will be left over by others.
    pub(crate) async fn pay(
        &'a self,
        purse: &dyn Purse,
        request: &ChatRequest,
        may_wait: bool,
    ) -> Result<Payment<'a>, Error> {
        let allowed = input_tokens_max(request);
        let input_tokens = self.overcount.apply(allowed);
        let asked = request.max_output_tokens.unwrap_or(OUTPUT_TOKENS_UNSAID);
        let mut output = asked;
        loop {
            let (free, under_way, whose) = match self.hold(purse, input_tokens, output).await {
                Ok(hold) => {
                    // Where nothing is counted the answer may be as long as ever.
                    let limit = hold.is_some().then_some(output);
                    let output_tokens_max = limit.or(request.max_output_tokens);
                    return Ok(Payment::Paid(Paid {
                        ceiling: self,
                        hold,
                        allowed,
                        begun: false,
                        output_tokens_max,
                    }));
                }
                Err(Refusal::Short { free, under_way, whose }) => (free, under_way, whose),
                Err(Refusal::Unreachable(message)) => return Err(unreachable(message)),
            };
            if free.nano_usd.is_some() && self.most(input_tokens, 0).is_none() {
                return Err(refused(self.unknown_price(&whose)));
            }
            if under_way && may_wait {
                return Ok(Payment::Wait);
            }
            let left = self.output_left(&free, input_tokens);
            // Shorter each time, so that this comes to an end.
            if left < OUTPUT_TOKENS_MIN.min(asked) || left >= output {
                return Err(refused(self.too_little(input_tokens, &whose)));
            }
            output = left;
        }
    }

    async fn hold(&self, purse: &dyn Purse, input: u64, output: u32) -> Result<Option<Hold>, Refusal> {
        purse.hold(self.amount(input, u64::from(output))).await
    }

    fn amount(&self, input: u64, output: u64) -> Amount {
        // What a call can cost whose price is not known: more than any cap in money allows.
        let nano_usd = self.most(input, output).unwrap_or(u64::MAX);
        Amount { nano_usd, tokens: input.saturating_add(output) }
    }

    /// The most that such a call costs, if its price is known.
    fn most(&self, input: u64, output: u64) -> Option<u64> {
        self.tariff?.most(input, output)
    }

    /// How long an answer `free` still pays for.
    fn output_left(&self, free: &Budget, input: u64) -> u32 {
        let by_tokens = free.tokens.map(|left| left.saturating_sub(input));
        let dearest = self.tariff.and_then(|tariff| tariff.dearest(input));
        let by_money = free.nano_usd.zip(dearest).map(|(left, price)| {
            let left = left.saturating_sub(price::most(input, 0, &price));
            price::tokens_for(left, price.output)
        });
        let left = by_tokens.into_iter().chain(by_money).min().unwrap_or(u64::MAX);
        u32::try_from(left).unwrap_or(u32::MAX)
    }

    fn unknown_price(&self, whose: &str) -> String {
        let long = self.tariff.and_then(|tariff| tariff.long);
        let of = long.map(|long| format!(" for prompts of more than {} tokens", long.over_tokens));
        format!(
            "the price of model `{}`{} is not known, so {whose} cannot be kept: set its price, or give the \
             budget in tokens",
            self.model,
            of.unwrap_or_default()
        )
    }

    fn too_little(&self, input: u64, whose: &str) -> String {
        let least = self.amount(input, u64::from(OUTPUT_TOKENS_MIN));
        let known = self.most(input, 0).map(|_| format!("{:.6} USD and ", usd(least.nano_usd)));
        let money = known.unwrap_or_default();
        format!(
            "{whose} does not pay for another call of model `{}`, which with a short answer can take \
             {money}{} tokens",
            self.model, least.tokens
        )
    }
}

impl Paid<'_> {
    /// The try begins: from now on it may be billed.
    pub(crate) const fn begin(&mut self) {
        self.begun = true;
    }

    pub(crate) fn settle(mut self, result: &Result<ChatResponse, Error>) {
        let Some(hold) = self.hold.take() else { return };
        match result {
            Err(error) if !error.may_be_billed => hold.settle(Amount::NONE),
            // What is not known counts as used: so it does when the hold is dropped.
            Err(_) => drop(hold),
            Ok(response) => match response.usage {
                None => drop(hold),
                Some(usage) => {
                    self.ceiling.overcount.note(self.allowed, usage.input_tokens);
                    hold.settle(Amount {
                        // Where no price is known no cap in money is kept.
                        nano_usd: self.ceiling.tariff.and_then(|tariff| tariff.cost(&usage)).unwrap_or(0),
                        tokens: usage.input_tokens.saturating_add(usage.output_tokens),
                    });
                }
            },
        }
    }
}

impl Drop for Paid<'_> {
    fn drop(&mut self) {
        if let Some(hold) = self.hold.take().filter(|_| !self.begun) {
            hold.settle(Amount::NONE);
        }
    }
}

/// A bound on a prompt's tokens: no tokenizer makes more of them than there are bytes, and
/// what JSON adds to each message is more than what chat templates add.
fn input_tokens_max(request: &ChatRequest) -> u64 {
    let bytes = serde_json::to_vec(request).map_or(usize::MAX, |body| body.len());
    let tools = if request.tools.is_empty() { 0 } else { TOOL_PROMPT_TOKENS };
    u64::try_from(bytes).unwrap_or(u64::MAX).saturating_add(tools)
}

#[expect(clippy::cast_precision_loss, reason = "shown, never added up")]
fn usd(nano_usd: u64) -> f64 {
    nano_usd as f64 / 1e9
}

fn refused(message: String) -> Error {
    Error { may_be_billed: false, ..Error::new(ErrorClass::Budget, message) }
}

fn unreachable(message: String) -> Error {
    let message = format!("the budget cannot be looked at: {message}");
    Error { may_be_billed: false, ..Error::new(ErrorClass::Transient, message) }
}
