//! What one process allows itself of a model, so that its provider is neither overrun nor asked
//! in vain.
//!
//! [`Gate`] is the one door that every try goes through. Behind it, each on its own and pure but
//! for tokio's clock: [`pause`] (the account or the key is refused: people must act), [`slots`]
//! (as many calls at once as the provider bears, learnt), [`rate`] (requests and tokens a minute,
//! configured), [`circuit`] (whether another model is the better choice just now). What one
//! process learns it tells the others as [`Hint`]s, which nothing depends on.

mod circuit;
mod hints;
mod pause;
mod rate;
mod slots;

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::chat::{ChatRequest, ChatResponse};
use crate::error::{Error, ErrorClass};
use crate::instruments::Door;
use crate::rates::RateLimits;
use circuit::Circuit;
pub use hints::{Hint, Hints};
use pause::{Admission, Pause};
use rate::Rates;
use slots::Slots;
pub use slots::Standing;

/// Refusals of a rate in a row, over all calls, after which a provider's wish to wait is taken
/// for everybody's: one may be a single call's bad luck.
const REFUSALS_BELIEVED: u32 = 3;

/// A wish is not held against everybody for longer: the next try tells more.
const ASKED_MAX: Duration = Duration::from_secs(60);

/// Within this a call waits at the gate for what the provider has asked of others; beyond it the
/// call is handed back at once, as one is that was asked itself.
const GATE_WAIT_MAX: Duration = Duration::from_secs(20);

/// What a model may be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Requests a minute of all processes together; unset bounds nothing, here and below.
    pub requests_per_minute: Option<u64>,
    /// Tokens a minute of all processes together, input and output.
    pub tokens_per_minute: Option<u64>,
    /// The same for each tenant.
    pub tenant_requests_per_minute: Option<u64>,
    /// The same for each tenant.
    pub tenant_tokens_per_minute: Option<u64>,
    /// How long a model is left alone that people must mend: the first time, doubled each time.
    pub pause: Duration,
    /// The longest of those.
    pub pause_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            requests_per_minute: None,
            tokens_per_minute: None,
            tenant_requests_per_minute: None,
            tenant_tokens_per_minute: None,
            pause: Duration::from_secs(60),
            // Whoever has paid does not want to wait for longer.
            pause_max: Duration::from_secs(15 * 60),
        }
    }
}

/// The door to one model.
#[derive(Debug)]
pub(crate) struct Gate {
    /// The model's name in the configuration: what people and other processes know it by.
    name: String,
    slots: Slots,
    rates: Rates,
    state: Mutex<State>,
    hints: OnceLock<Arc<dyn Hints>>,
    door: Door,
}

#[derive(Debug)]
struct State {
    pause: Pause,
    circuit: Circuit,
    /// Until then the provider has asked to be left alone.
    asked_until: Option<Instant>,
    refused_in_row: u32,
    told: RateLimits,
}

impl Gate {
    pub(crate) fn new(name: &str, concurrency_max: usize, limits: &Limits) -> Self {
        let state = State {
            pause: Pause::new(limits.pause, limits.pause_max),
            circuit: Circuit::default(),
            asked_until: None,
            refused_in_row: 0,
            told: RateLimits::default(),
        };
        Self {
            name: name.to_owned(),
            slots: Slots::new(concurrency_max),
            rates: Rates::new(limits),
            state: Mutex::new(state),
            hints: OnceLock::new(),
            door: Door::new(name),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Waits until a try may begin. Fails at once where a wait would be in vain or too long.
    pub(crate) async fn enter<'a>(&'a self, request: &'a ChatRequest) -> Result<Turn<'a>, Error> {
        let began = Instant::now();
        loop {
            if let Some(until) = self.admitted()? {
                sleep_until(until).await;
                continue;
            }
            let place = self.rates.take(&request.tenant, rate::tokens(request)).await;
            let slot = self.slots.take().await;
            // What was learnt during the waits counts too.
            if self.admitted()?.is_none() {
                let probe = self.admit()?;
                self.door.waited(began.elapsed());
                return Ok(Turn { gate: self, slot, place, probe });
            }
        }
    }

    /// Whether a call had better go to another model, if there is one.
    pub(crate) fn is_shut(&self) -> bool {
        let (now, state) = (Instant::now(), self.state());
        let waits = state.asked_until.is_some_and(|until| until > now + GATE_WAIT_MAX);
        waits || state.pause.is_shut(now) || state.circuit.is_open(now)
    }

    pub(crate) fn standing(&self) -> Standing {
        self.slots.standing()
    }

    /// How long the model is left alone from now on.
    pub(crate) fn pause_left(&self) -> Option<Duration> {
        self.state().pause.left(Instant::now())
    }

    pub(crate) fn tell_others(&self, hints: Arc<dyn Hints>) {
        // Whoever was told of first stays.
        let _ = self.hints.set(hints);
    }

    /// So many processes share the configured rates.
    pub(crate) fn share(&self, processes: usize) {
        self.rates.share(processes);
    }

    /// Takes in what another process has learnt.
    pub(crate) fn heed(&self, hint: &Hint, now_ms: u64) {
        let now = Instant::now();
        let mut state = self.state();
        match hint {
            Hint::Paused { reason, until_ms, .. } => {
                let left = Duration::from_millis(until_ms.saturating_sub(now_ms));
                // An old hint is still on the board: heeding it would leave the model to one probe.
                if !left.is_zero() {
                    state.pause.heed(reason, left, now);
                    self.door.paused(true);
                }
            }
            Hint::Resumed => {
                state.pause.end();
                self.door.paused(false);
            }
            Hint::Asked { until_ms } => {
                let left = Duration::from_millis(until_ms.saturating_sub(now_ms)).min(ASKED_MAX);
                state.asked_until = state.asked_until.max(Some(now + left));
            }
            // For people to see.
            Hint::Rates { .. } => {}
        }
    }

    /// Until when a try has to wait, if at all.
    fn admitted(&self) -> Result<Option<Instant>, Error> {
        let now = Instant::now();
        let state = self.state();
        if state.pause.is_shut(now) {
            return Err(self.paused(&state.pause, now));
        }
        match state.asked_until.filter(|until| *until > now) {
            Some(until) if until > now + GATE_WAIT_MAX => Err(self.asked(until - now)),
            until => Ok(until),
        }
    }

    fn admit(&self) -> Result<bool, Error> {
        let now = Instant::now();
        let mut state = self.state();
        match state.pause.admit(now) {
            Admission::Free => Ok(false),
            Admission::Probe => Ok(true),
            Admission::Shut => Err(self.paused(&state.pause, now)),
        }
    }

    fn paused(&self, pause: &Pause, now: Instant) -> Error {
        let left = pause.left(now).unwrap_or_default();
        let message = format!(
            "model `{}` is paused and tried again in {} s: {}",
            self.name,
            left.as_secs().max(1),
            pause.reason()
        );
        refused_here(ErrorClass::Quota, left, message)
    }

    fn asked(&self, left: Duration) -> Error {
        let message = format!(
            "the provider of model `{}` has asked to be left alone for {} s",
            self.name,
            left.as_secs()
        );
        refused_here(ErrorClass::Transient, left, message)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each critical section leaves the state whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, hint: Hint) {
        if let Some(hints) = self.hints.get() {
            hints.tell(&self.name, hint);
        }
    }
}

/// An error of a call that was not made.
fn refused_here(class: ErrorClass, retry_after: Duration, message: String) -> Error {
    Error { retry_after: Some(retry_after), may_be_billed: false, ..Error::new(class, message) }
}

/// The right to one try, and the try. Dropped without an end, it gives back what it holds and
/// tells nothing.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    gate: &'a Gate,
    slot: slots::Slot<'a>,
    place: rate::Place<'a>,
    probe: bool,
}

impl Turn<'_> {
    /// The request is made now, whatever comes of it.
    pub(crate) fn begin(&mut self) {
        self.place.used();
        self.slot.begin();
    }

    /// Learns from how the try has ended, and lets the next one in.
    pub(crate) fn end(mut self, result: &mut Result<ChatResponse, Error>) {
        let probe = std::mem::take(&mut self.probe);
        match result {
            Ok(response) => self.succeeded(response, probe),
            Err(error) if needs_people(error.class) => self.paused(error, probe),
            Err(error) => self.failed(error, probe),
        }
    }

    fn succeeded(&mut self, response: &ChatResponse, probe: bool) {
        let usage = response.usage.unwrap_or_default();
        self.slot.succeeded(usage.output_tokens);
        if response.usage.is_some() {
            let used = usage.input_tokens.saturating_add(usage.output_tokens);
            self.place.settle(used);
        }
        let mut state = self.gate.state();
        state.refused_in_row = 0;
        state.circuit.succeeded();
        let told = response.rates;
        let news = told.is_known() && told.limits() != state.told.limits();
        if news {
            state.told = told;
        }
        let resumed = probe && state.pause.end();
        drop(state);
        if resumed {
            self.gate.door.paused(false);
            tracing::info!(model = self.gate.name, "the model answers again; its pause is over");
            self.gate.tell(Hint::Resumed);
        }
        if news {
            self.gate.tell(Hint::Rates { told });
        }
    }

    fn paused(&mut self, error: &mut Error, probe: bool) {
        let now = Instant::now();
        let mut state = self.gate.state();
        let begun = state.pause.refused(&error.message, probe, now);
        let left = state.pause.left(now).unwrap_or_default();
        drop(state);
        error.retry_after = Some(error.retry_after.unwrap_or(left).max(left));
        if begun {
            let (model, retry_s) = (&self.gate.name, left.as_secs());
            tracing::warn!(
                model,
                retry_s,
                reason = error.message,
                "the model is paused until its account, key or name is mended; calls fail meanwhile \
                 or go to the role's next model"
            );
        }
        if begun || probe {
            self.gate.door.paused(true);
            self.gate.tell(Hint::paused(&error.message, left));
        }
    }

    fn failed(&mut self, error: &Error, probe: bool) {
        let now = Instant::now();
        let refused_rate = error.class == ErrorClass::Transient && error.is_overload();
        if refused_rate || error.class == ErrorClass::Timeout {
            self.slot.overloaded();
        }
        let mut state = self.gate.state();
        if probe {
            // It says nothing of what the pause is for: the next call asks again.
            state.pause.probe_again();
        }
        if matches!(error.class, ErrorClass::Transient | ErrorClass::Timeout) {
            state.circuit.failed(now);
        }
        if !refused_rate {
            state.refused_in_row = 0;
            return;
        }
        state.refused_in_row += 1;
        let believed = state.refused_in_row >= REFUSALS_BELIEVED;
        let Some(wish) = error.retry_after.filter(|_| believed).map(|wish| wish.min(ASKED_MAX)) else {
            return;
        };
        let known = state.asked_until.is_some_and(|until| until >= now + wish);
        state.asked_until = state.asked_until.max(Some(now + wish));
        drop(state);
        if !known {
            self.gate.tell(Hint::asked(wish));
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.probe {
            self.gate.state().pause.probe_again();
        }
    }
}

/// Only people can mend these: an empty account, a refused key, a model that is not there.
fn needs_people(class: ErrorClass) -> bool {
    matches!(class, ErrorClass::Quota | ErrorClass::Unauthorized | ErrorClass::NotFound)
}
