//! What a call has come to that ends without an answer of its own: whoever waits
//! for it has a time limit, and what is dropped reports nothing.

use std::{
    future::Future,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
};

use planfleet_core::usage::Usage;

use crate::error::Error;

/// The tries of one call, counted as they begin.
#[derive(Debug, Default)]
pub struct Tally {
    calls: AtomicU32,
    /// A try is under way, or one that failed may have been billed.
    may_be_billed: AtomicBool,
    is_free: bool,
}

impl Tally {
    pub(crate) fn new(is_free: bool) -> Self {
        Self { is_free, ..Self::default() }
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

    /// What to charge if the call is dropped now. Its cost is unknown unless no
    /// try can have been billed or the model is free.
    #[must_use]
    pub fn cut_off(&self) -> Usage {
        let is_known = self.is_free || !self.may_be_billed.load(Ordering::Relaxed);
        let calls = u64::from(self.calls.load(Ordering::Relaxed));
        Usage { calls, nano_usd: is_known.then_some(0), ..Usage::NONE }
    }
}
