//! Runs whose work is not wanted any more, as one worker knows them.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
};

use futures::{StreamExt as _, stream::BoxStream};
use tokio_util::sync::CancellationToken;

use super::lock;
use crate::broker::LiveMessage;

/// Cancelled runs that a worker remembers, for steps that were pulled just
/// after the order came. Older ones only cost a wasted attempt.
const CANCELLED_REMEMBERED_MAX: usize = 10_000;

/// Which runs were cancelled, and whom to tell.
#[derive(Clone, Default)]
pub(super) struct Cancels(Arc<Mutex<CancelState>>);

#[derive(Default)]
struct CancelState {
    tokens: BTreeMap<String, (CancellationToken, usize)>,
    recent: VecDeque<String>,
}

impl Cancels {
    pub(super) async fn listen(&self, mut orders: BoxStream<'static, LiveMessage>) {
        while let Some(order) = orders.next().await {
            if let Some(run) = order.subject.rsplit('.').next() {
                self.cancel(run);
            }
        }
    }

    pub(super) fn cancel(&self, run: &str) {
        let mut state = lock(&self.0);
        if let Some((token, _)) = state.tokens.get(run) {
            token.cancel();
        }
        state.recent.push_back(run.to_owned());
        if state.recent.len() > CANCELLED_REMEMBERED_MAX {
            state.recent.pop_front();
        }
    }

    pub(super) fn token(&self, subject: &str) -> CancellationToken {
        let Some(run) = run_of(subject) else { return CancellationToken::new() };
        let mut state = lock(&self.0);
        let known = state.recent.iter().any(|cancelled| cancelled == run);
        let (token, count) = state.tokens.entry(run.to_owned()).or_default();
        *count += 1;
        if known {
            token.cancel();
        }
        token.clone()
    }

    pub(super) fn done(&self, subject: &str) {
        let Some(run) = run_of(subject) else { return };
        let mut state = lock(&self.0);
        if let Some((_, count)) = state.tokens.get_mut(run) {
            *count -= 1;
            if *count == 0 {
                state.tokens.remove(run);
            }
        }
    }
}

/// The run in `pf.steps.<pool>.<priority>.<tenant>.<run>.<step>.<attempt>`.
fn run_of(subject: &str) -> Option<&str> {
    subject.split('.').nth(5)
}
