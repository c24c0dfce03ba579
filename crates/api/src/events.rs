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
pub(crate) use self::{chunk::text, feed::Feed, told::AttemptOf};
use crate::problem::Problem;

/// Runs that one process follows at once. Each is a reader of a whole log.
const FEEDS_MAX: usize = 256;

/// The runs that somebody watches here.
pub(crate) struct Feeds {
    bus: Bus,
    stop: CancellationToken,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    feeds: HashMap<RunId, Weak<Feed>>,
    readers: JoinSet<()>,
}

impl Feeds {
    pub(crate) fn new(bus: Bus, stop: CancellationToken) -> Self {
        Self { bus, stop, open: Mutex::default() }
    }

    /// What happens to a run, of which `document` is known.
    ///
    /// # Errors
    /// When too many runs are watched here already.
    pub(crate) fn of(&self, run: &RunId, document: &Value) -> Result<Arc<Feed>, Problem> {
        let mut open = self.lock();
        if let Some(feed) = open.feeds.get(run).and_then(Weak::upgrade).filter(|feed| feed.is_usable()) {
            return Ok(feed);
        }
        // Whoever comes clears what others have left.
        while open.readers.try_join_next().is_some() {}
        open.feeds.retain(|_, feed| feed.strong_count() > 0);
        if open.readers.len() >= FEEDS_MAX {
            let detail = format!("{FEEDS_MAX} runs are watched at once here already");
            return Err(Problem::unavailable("watched_too_many", detail));
        }
        let feed = Arc::new(Feed::new(run.clone()));
        let reading = Arc::clone(&feed).read(self.bus.clone(), Span::of(document));
        let stop = self.stop.clone();
        open.readers.spawn(async move {
            tokio::select! {
                () = reading => {}
                () = stop.cancelled() => {}
            }
        });
        open.feeds.insert(run.clone(), Arc::downgrade(&feed));
        Ok(feed)
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        // Each critical section leaves the map whole.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
