//! What a call has come to that ends without an answer of its own: whoever waits
//! for it has a time limit, and what is dropped reports nothing.

use std::{
    fmt,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use planfleet_core::usage::{Account, Usage};

use crate::{error::Error, purse::Purse};

/// The tries of one call, counted as they begin.
#[derive(Default)]
pub struct Tally {
    calls: AtomicU32,
    /// A try is under way, or one that failed may have been billed.
    may_be_billed: AtomicBool,
    is_free: bool,
    role: &'static str,
    purse: Option<Arc<dyn Purse>>,
}

impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tally").field("calls", &self.calls).finish_non_exhaustive()
    }
}

impl Tally {
    pub(crate) fn new(is_free: bool) -> Self {
        Self { is_free, role: "none", ..Self::default() }
    }

    /// Has each try paid from a purse; without one nobody asks.
    #[must_use]
    pub fn paid_from(self, purse: Option<Arc<dyn Purse>>) -> Self {
        Self { purse, ..self }
    }

    /// Which role's call it is, in metrics.
    #[must_use]
    pub fn on_account(self, account: Account) -> Self {
        Self { role: account.as_str(), ..self }
    }

    pub(crate) const fn role(&self) -> &'static str {
        self.role
    }

    pub(crate) fn purse(&self) -> Option<&dyn Purse> {
        self.purse.as_deref()
    }

    /// One try. It counts from its beginning: the provider may bill what nobody waits for.
    pub(crate) async fn try_once<T>(
        &self,
        attempt: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let before = self.may_be_billed.swap(true, Ordering::Relaxed);
        let result = attempt.await;
        if result.as_ref().is_err_and(|error| !error.may_be_billed) {
            self.may_be_billed.store(before, Ordering::Relaxed);
        }
        result
    }

    /// How many tries have begun.
    pub(crate) fn calls(&self) -> u64 {
        u64::from(self.calls.load(Ordering::Relaxed))
    }

    /// What to charge if the call is dropped now. Its cost is unknown unless no
    /// try can have been billed or the model is free.
    #[must_use]
    pub fn cut_off(&self) -> Usage {
        let is_known = self.is_free || !self.may_be_billed.load(Ordering::Relaxed);
        Usage { calls: self.calls(), nano_usd: is_known.then_some(0), ..Usage::NONE }
    }
}
