//! The runs that somebody watches, as one process knows them.

use std::{
    collections::HashMap,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::StreamExt as _;
use planfleet_core::id::RunId;
use planfleet_proto::subjects;
use tokio::time::{Instant, sleep};

use crate::broker::{self, Broker, Headers};

/// How often watchers say that they are there.
pub(super) const SAY_EVERY: Duration = Duration::from_secs(2);

/// Whoever begins to listen knows of all watchers after this: each has spoken once by then.
const ALL_KNOWN_AFTER: Duration = Duration::from_secs(3);

/// A watcher that has not said so for this long is gone.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(7);

/// Runs watched at once of which one process keeps a list: beyond it all runs count as
/// watched, which costs a message each and no memory.
const WATCHED_MAX: usize = 10_000;

/// Wait before the broker is asked again.
const FOLLOW_RETRY: Duration = Duration::from_secs(1);

/// Says that somebody watches a run.
pub(super) async fn say(broker: &dyn Broker, run: &RunId) -> Result<(), broker::Error> {
    let payload = Bytes::copy_from_slice(run.as_str().as_bytes());
    broker.publish_live(subjects::WATCHED.to_owned(), Headers::new(), payload).await
}

/// Which runs are watched.
#[derive(Debug, Default)]
pub struct Watched {
    /// How many know of all watchers. While nobody does, every run may be watched.
    followers: AtomicUsize,
    /// How many runs are in the list: nearly always none.
    count: AtomicUsize,
    runs: Mutex<Runs>,
}

#[derive(Debug, Default)]
struct Runs {
    until: HashMap<RunId, Instant>,
    swept: Option<Instant>,
}

impl Watched {
    pub(super) async fn follow(&self, broker: &Arc<dyn Broker>) {
        loop {
            match broker.subscribe(subjects::WATCHED).await {
                Ok(mut said) => {
                    let mut follower = None;
                    let mut all_known = pin!(sleep(ALL_KNOWN_AFTER));
                    loop {
                        tokio::select! {
                            biased;
                            message = said.next() => match message {
                                Some(message) => self.note(&message.payload),
                                None => break,
                            },
                            () = &mut all_known, if follower.is_none() => {
                                follower = Some(Follower::of(self));
                            }
                        }
                    }
                }
                Err(error) => tracing::debug!(%error, "cannot learn which runs are watched; trying again"),
            }
            sleep(FOLLOW_RETRY).await;
        }
    }

    fn note(&self, payload: &[u8]) {
        let Some(run) = std::str::from_utf8(payload).ok().and_then(|run| run.parse().ok()) else { return };
        let now = Instant::now();
        let mut runs = self.lock();
        // Whoever comes clears what others have left.
        if runs.swept.is_none_or(|at| now.duration_since(at) >= SAY_EVERY) {
            runs.swept = Some(now);
            runs.until.retain(|_, until| *until > now);
        }
        if runs.until.len() < WATCHED_MAX {
            runs.until.insert(run, now + FORGOTTEN_AFTER);
        }
        self.count.store(runs.until.len(), Ordering::Relaxed);
    }

    /// Whether somebody may watch a run.
    pub(super) fn is_watched(&self, run: &RunId) -> bool {
        if self.followers.load(Ordering::Relaxed) == 0 {
            return true;
        }
        match self.count.load(Ordering::Relaxed) {
            0 => false,
            WATCHED_MAX.. => true,
            _ => self.lock().until.get(run).is_some_and(|until| *until > Instant::now()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Runs> {
        // Each critical section leaves the map whole.
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody knows of all watchers, for as long as this lives.
struct Follower<'a>(&'a Watched);

impl<'a> Follower<'a> {
    fn of(watched: &'a Watched) -> Self {
        watched.followers.fetch_add(1, Ordering::Relaxed);
        Self(watched)
    }
}

impl Drop for Follower<'_> {
    fn drop(&mut self) {
        self.0.followers.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(name: &str) -> RunId {
        name.parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_is_watched_is_told_once_that_is_known() {
        let watched = Watched::default();
        assert!(watched.is_watched(&run("00-a")), "nobody knows yet");
        let follower = Follower::of(&watched);
        assert!(!watched.is_watched(&run("00-a")));
        watched.note(b"00-a");
        watched.note(b"no run");
        assert!(watched.is_watched(&run("00-a")) && !watched.is_watched(&run("00-b")));
        tokio::time::advance(FORGOTTEN_AFTER).await;
        assert!(!watched.is_watched(&run("00-a")), "whoever watched is gone");
        watched.note(b"00-b");
        assert_eq!(watched.lock().until.len(), 1);
        drop(follower);
        assert!(watched.is_watched(&run("00-a")), "nobody knows any more");
    }

    #[test]
    fn with_too_many_watchers_all_runs_count_as_watched() {
        let watched = Watched::default();
        let _follower = Follower::of(&watched);
        watched.count.store(WATCHED_MAX, Ordering::Relaxed);
        assert!(watched.is_watched(&run("00-a")));
    }
}
