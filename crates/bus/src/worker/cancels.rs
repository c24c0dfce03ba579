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

/// Wait before a bucket is followed anew that was lost, and that somebody has to make again,
/// or that could not be followed at the start.
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

/// Every cancel from the first one on, as soon as the broker can say: one that elects or
/// restarts just then is waited for. `None` when the worker is stopped before.
///
/// # Errors
/// When trying again cannot help.
pub(super) async fn changes(
    broker: &dyn Broker,
    stop: &CancellationToken,
) -> Result<Option<Changes>, broker::Error> {
    loop {
        match broker.kv_changes(subjects::CANCELS).await {
            Ok(changes) => return Ok(Some(changes)),
            Err(error) if error.is_permanent() => return Err(error),
            Err(error) => tracing::warn!(%error, "cancels cannot be followed yet; trying again"),
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(None),
            () = sleep(FOLLOW_RETRY) => {}
        }
    }
}

impl Cancels {
    /// Hears of cancels for as long as it is polled.
    pub(super) async fn follow(&self, broker: Arc<dyn Broker>, mut changes: Changes) {
        loop {
            self.hear(changes).await;
            changes = loop {
                sleep(FOLLOW_RETRY).await;
                match broker.kv_changes(subjects::CANCELS).await {
                    Ok(anew) => break anew,
                    Err(error) => tracing::warn!(%error, "cancels cannot be followed; trying again"),
                }
            };
        }
    }

    /// Until the stream breaks, which only a bucket does that was lost.
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

/// The run in `pf.steps.<pool>.<priority>.<tenant>.<run>.<step>.<attempt>`.
fn run_of(subject: &str) -> Option<&str> {
    subject.split('.').nth(5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_remembers_the_newest_cancels_only() {
        let cancels = Cancels::default();
        let subject = |n: usize| format!("pf.steps.default.1.t.00-{n}.1.1");
        for n in 0..=CANCELLED_REMEMBERED_MAX {
            cancels.cancel(format!("00-{n}"));
            // A cancel that comes again takes no room.
            cancels.cancel(format!("00-{n}"));
        }
        assert!(!cancels.token(&subject(0)).is_cancelled());
        assert!(cancels.token(&subject(1)).is_cancelled());
        assert!(cancels.token(&subject(CANCELLED_REMEMBERED_MAX)).is_cancelled());
        let state = lock(&cancels.0);
        assert_eq!((state.known.len(), state.recent.len()), (10_000, 10_000));
    }
}
