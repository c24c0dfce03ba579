//! Runs whose work is not wanted any more, as one worker knows them.
//!
//! It knows them from the bucket of cancels alone, which it follows through outages:
//! what was asked for while the worker was away reaches it as soon as it is back.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::{StreamExt as _, stream::BoxStream};
use planfleet_proto::subjects;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::lock;
use crate::broker::{self, Broker, KvChange};

/// Cancelled runs that a worker remembers, for steps that were pulled just
/// after the order came. Older ones only cost a wasted attempt.
const CANCELLED_REMEMBERED_MAX: usize = 10_000;

/// Wait before the bucket is asked for again: the broker is out of reach, or the bucket is
/// lost and somebody has to make it.
const FOLLOW_RETRY: Duration = Duration::from_secs(1);

/// Every cancelled run by its id, then each as it is cancelled.
pub(super) type Changes = BoxStream<'static, Result<KvChange, broker::Error>>;

/// Which runs were cancelled, and whom to tell.
#[derive(Clone, Default)]
pub(super) struct Cancels(Arc<Mutex<CancelState>>);

#[derive(Default)]
struct CancelState {
    tokens: BTreeMap<String, (CancellationToken, usize)>,
    known: BTreeSet<String>,
    /// The known ones, those cancelled first in front.
    recent: VecDeque<String>,
}

impl Cancels {
    /// Begins to follow the cancels; `None` while the broker is out of reach.
    pub(super) async fn open(broker: &dyn Broker) -> Result<Option<Changes>, broker::Error> {
        match broker.kv_changes(subjects::CANCELS).await {
            Ok(changes) => Ok(Some(changes)),
            Err(error @ broker::Error::Unreachable(_)) => {
                tracing::warn!(%error, "cancels cannot be followed; trying again");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Hears of cancels for as long as it is polled.
    pub(super) async fn follow(&self, broker: Arc<dyn Broker>, mut changes: Option<Changes>) {
        loop {
            if let Some(changes) = changes {
                self.hear(changes).await;
            }
            sleep(FOLLOW_RETRY).await;
            changes = Self::open(&*broker).await.unwrap_or_else(|error| {
                tracing::warn!(%error, "cancels cannot be followed; trying again");
                None
            });
        }
    }

    /// Until the stream breaks, as that of a bucket does that was lost.
    async fn hear(&self, mut changes: Changes) {
        while let Some(change) = changes.next().await {
            match change {
                Ok(KvChange { key: run, entry: Some(_) }) => self.cancel(run),
                // Nobody takes a cancel back.
                Ok(KvChange { entry: None, .. }) => {}
                Err(error) => return tracing::warn!(%error, "cancels are not heard of; starting over"),
            }
        }
    }

    fn cancel(&self, run: String) {
        let mut state = lock(&self.0);
        if let Some((token, _)) = state.tokens.get(&run) {
            token.cancel();
        }
        if state.known.insert(run.clone()) {
            state.recent.push_back(run);
        }
        if state.recent.len() > CANCELLED_REMEMBERED_MAX
            && let Some(oldest) = state.recent.pop_front()
        {
            state.known.remove(&oldest);
        }
    }

    pub(super) fn token(&self, subject: &str) -> CancellationToken {
        let Some(run) = run_of(subject) else { return CancellationToken::new() };
        let mut state = lock(&self.0);
        let known = state.known.contains(run);
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

/// The run that work is for, as its subject says.
fn run_of(subject: &str) -> Option<&str> {
    subject.split('.').nth(5)
}

#[cfg(test)]
mod tests {
    use planfleet_core::{
        id::{RunId, StepId},
        task::Priority,
    };

    use super::*;

    #[test]
    fn a_worker_remembers_the_newest_cancels_only() {
        let cancels = Cancels::default();
        let run = |n: usize| RunId::new(0, &n.to_string()).unwrap();
        let subject = |n| subjects::step("p", Priority::Normal, "t", &run(n), StepId::plain(1), 1);
        for n in 0..=CANCELLED_REMEMBERED_MAX {
            cancels.cancel(run(n).to_string());
            // A cancel that comes again takes no room.
            cancels.cancel(run(n).to_string());
        }
        assert!(!cancels.token(&subject(0)).is_cancelled());
        assert!(cancels.token(&subject(1)).is_cancelled());
        assert!(cancels.token(&subject(CANCELLED_REMEMBERED_MAX)).is_cancelled());
        let state = lock(&cancels.0);
        assert_eq!((state.known.len(), state.recent.len()), (10_000, 10_000));
    }
}
