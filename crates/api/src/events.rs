//! What happens to a run, told to whoever watches: from the log, in its order.
//!
//! A log has the records of all runs of its shard, so one reader for each watched run and
//! process picks out what is the run's and hands it to all who watch; it ends when nobody
//! does. A watcher gets what has happened since the position that it names, then what
//! happens. One that reads too slowly is let go and comes back with the last position it
//! has seen: nobody waits for it, the run least of all.

mod chunk;
mod feed;
mod told;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use planfleet_bus::Bus;
use planfleet_core::id::RunId;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::feed::Span;
pub(crate) use self::{
    chunk::text,
    feed::{Feed, Watcher},
    told::AttemptOf,
};
use crate::{
    access::{Caller, Shares},
    problem::Problem,
};

/// Runs that one process follows at once. Each is a reader of a whole log.
const FEEDS_MAX: usize = 256;

/// The runs that somebody watches here.
pub(crate) struct Feeds {
    bus: Bus,
    stop: CancellationToken,
    shares: Arc<Shares>,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    feeds: HashMap<RunId, Weak<Feed>>,
    readers: JoinSet<()>,
}

impl Open {
    fn known(&self, run: &RunId) -> Option<Arc<Feed>> {
        self.feeds.get(run).and_then(Weak::upgrade)
    }
}

impl Feeds {
    pub(crate) fn new(bus: Bus, stop: CancellationToken) -> Self {
        Self { bus, stop, shares: Shares::of(FEEDS_MAX, "watched runs"), open: Mutex::default() }
    }

    /// What has happened to a run, of which `document` is known.
    ///
    /// # Errors
    /// When too many runs are watched here already, or by this caller.
    pub(crate) fn of(&self, caller: &Caller, run: &RunId, document: &Value) -> Result<Arc<Feed>, Problem> {
        let mut open = self.lock();
        if let Some(feed) = open.known(run).filter(|feed| feed.is_usable()) {
            return Ok(feed);
        }
        let feed = Arc::new(Feed::new(run.clone()));
        self.begin(&mut open, caller, run, &feed, document)?;
        Ok(feed)
    }

    /// The same with what happens from behind a position of the log on.
    ///
    /// # Errors
    /// Likewise.
    pub(crate) fn watch(
        &self,
        caller: &Caller,
        run: &RunId,
        document: &Value,
        after: u64,
    ) -> Result<(Arc<Feed>, Watcher), Problem> {
        let mut open = self.lock();
        if let Some(feed) = open.known(run) {
            // A feed that is usable with a watcher stays so.
            let watcher = feed.watch(after);
            if feed.is_usable() {
                return Ok((feed, watcher));
            }
        }
        let feed = Arc::new(Feed::new(run.clone()));
        let watcher = feed.watch(after);
        self.begin(&mut open, caller, run, &feed, document)?;
        Ok((feed, watcher))
    }

    /// Has somebody read the log for a feed.
    fn begin(
        &self,
        open: &mut Open,
        caller: &Caller,
        run: &RunId,
        feed: &Arc<Feed>,
        document: &Value,
    ) -> Result<(), Problem> {
        // Whoever comes clears what others have left.
        while open.readers.try_join_next().is_some() {}
        open.feeds.retain(|_, feed| feed.strong_count() > 0);
        if open.readers.len() >= FEEDS_MAX {
            let detail = format!("{FEEDS_MAX} runs are watched at once here already");
            return Err(Problem::unavailable("watched_too_many", detail));
        }
        let share = self.shares.take(caller)?;
        let reading = Arc::clone(feed).read(self.bus.clone(), Span::of(document));
        let stop = self.stop.clone();
        open.readers.spawn(async move {
            let _share = share;
            tokio::select! {
                () = reading => {}
                () = stop.cancelled() => {}
            }
        });
        open.feeds.insert(run.clone(), Arc::downgrade(feed));
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        // Each critical section leaves the map whole.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use planfleet_bus::broker::memory::MemoryBroker;
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn who_comes_when_a_reader_has_just_left_gets_another() {
        let bus = Bus::new(Arc::new(MemoryBroker::new()), 1);
        let feeds = Feeds::new(bus, CancellationToken::new());
        let (run, document) = ("00-a".parse().unwrap(), json!({}));
        let caller = Caller::local();
        let watch = || feeds.watch(&caller, &run, &document, 0).unwrap();
        let (first, watcher) = watch();
        assert!(!first.closes(), "it is watched");
        let (same, other) = watch();
        assert!(Arc::ptr_eq(&first, &same));
        drop((watcher, other));
        assert!(first.closes(), "nobody watches it any more");
        let (next, _watcher) = watch();
        assert!(!Arc::ptr_eq(&first, &next) && !next.closes());
        assert!(Arc::ptr_eq(&next, &feeds.of(&caller, &run, &document).unwrap()));
    }
}
