//! The way to answers that are JSON which one server takes, found by trying.

use std::sync::{Mutex, PoisonError};

use crate::chat::ChatRequest;
use crate::dialect::{Dialect, Structured};
use crate::error::Error;

/// What one model's server has taught of the ways to JSON.
#[derive(Debug, Default)]
pub(super) struct Ways(Mutex<Option<Structured>>);

impl Ways {
    /// The request in the way that has not been refused yet.
    pub(super) fn apply(&self, request: &mut ChatRequest) {
        let learnt = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        request.structured = learnt.or(request.structured);
    }

    /// Makes the request one that the server may take, if it refused the way in which JSON was
    /// asked for, and keeps to that from then on unless only this schema was at fault. Says
    /// whether it did: at most once for each way there is.
    pub(super) fn weaken(
        &self,
        request: &mut ChatRequest,
        error: &Error,
        dialect: &Dialect,
        model: &str,
    ) -> bool {
        let way = request.structured.unwrap_or(dialect.structured);
        if request.response_format.is_none() || !error.refuses_format(way) {
            return false;
        }
        let Some(weaker) = dialect.weaker(way) else { return false };
        request.structured = Some(weaker);
        if !error.refuses_schema() {
            self.learn(weaker, model);
        }
        true
    }

    fn learn(&self, weaker: Structured, model: &str) {
        let mut learnt = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Another call may have learnt more meanwhile.
        if *learnt >= Some(weaker) {
            return;
        }
        *learnt = Some(weaker);
        tracing::warn!(
            model,
            structured = weaker.as_str(),
            "the server refuses the way in which JSON is asked for; a weaker one is taken from now on \
             (setting it as `structured` of the model spares the first try)"
        );
    }
}
