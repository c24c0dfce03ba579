//! Tasks with names and owners.
//!
//! Everything that runs in the background is spawned here, so that a task that
//! dies is reported by name, and a task that does not stop is named and
//! aborted. [`Tasks::child`] gives a part of the process its own set that can
//! be stopped alone; [`Shutdown`] stops the parts in order.

mod outcome;
mod shutdown;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

pub use outcome::{TaskFailure, TaskOutcome};
pub use shutdown::{Shutdown, StageOutcome, StageResult};

/// An aborted task is gone at its next await point; one that is not gone after
/// this long blocks its thread, and waiting longer would not help.
const ABORT_WAIT: Duration = Duration::from_secs(1);

/// A set of named tasks that are stopped together; clones are the same set.
#[derive(Clone, Debug)]
pub struct Tasks {
    node: Arc<Node>,
}

/// The tasks that were still running when the grace was over, sorted by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[must_use = "a task that did not stop should be named to someone"]
pub struct Unfinished(pub Vec<&'static str>);

impl Unfinished {
    /// Whether everything stopped by itself.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(", "))
    }
}

impl Tasks {
    /// The root set of a process.
    pub fn new(name: &'static str) -> Self {
        let (failure, _) = watch::channel(None);
        Self::node(name, CancellationToken::new(), failure, None)
    }

    /// A set of its own inside of this one: it is stopped with this one, or
    /// alone; its failures are this one's failures.
    pub fn child(&self, name: &'static str) -> Self {
        let token = self.node.token.child_token();
        let failure = self.node.failure.clone();
        Self::node(name, token, failure, Some(Arc::clone(&self.node)))
    }

    fn node(
        name: &'static str,
        token: CancellationToken,
        failure: watch::Sender<Option<TaskFailure>>,
        parent: Option<Arc<Node>>,
    ) -> Self {
        let node = Node {
            name,
            token,
            failure,
            parent,
            tracker: TaskTracker::new(),
            live: Mutex::new(BTreeMap::new()),
            next_id: AtomicU64::new(0),
        };
        Self { node: Arc::new(node) }
    }

    /// The name given to the set.
    pub fn name(&self) -> &'static str {
        self.node.name
    }

    /// Cancelled when the set is to stop; tasks select on it.
    pub fn token(&self) -> CancellationToken {
        self.node.token.clone()
    }

    /// Runs a future in the background. One that panics or returns an error is
    /// logged with its name and reported by [`Tasks::first_failure`].
    ///
    /// The future itself watches [`Tasks::token`]; the handle stops this one
    /// task at once.
    pub fn spawn<F>(&self, name: &'static str, future: F) -> AbortHandle
    where
        F: Future + Send + 'static,
        F::Output: TaskOutcome,
    {
        let registration = Registration::new(&self.node, name);
        let failure = self.node.failure.clone();
        let set = self.node.name;
        let task = async move {
            if let Err(reason) = outcome::caught(future).await {
                outcome::report(&failure, TaskFailure { set, name, reason });
            }
        };
        registration.spawn(task)
    }

    /// Waits for the first task of the whole tree to fail; it may have failed
    /// already. Never returns while all goes well: select on it beside the
    /// signals.
    pub async fn first_failure(&self) -> TaskFailure {
        let mut failures = self.node.failure.subscribe();
        let first = failures.wait_for(Option::is_some).await;
        match first.ok().and_then(|failure| failure.clone()) {
            Some(failure) => failure,
            // Not reached, as `self` holds a sender.
            None => std::future::pending().await,
        }
    }

    /// Cancels the token, waits at most `grace` for the set and its children,
    /// then aborts what is left and names it. Nothing may be spawned after.
    pub async fn shutdown(&self, grace: Duration) -> Unfinished {
        self.node.token.cancel();
        self.node.tracker.close();
        if tokio::time::timeout(grace, self.node.tracker.wait()).await.is_ok() {
            return Unfinished::default();
        }
        let unfinished = self.node.abort_live();
        for name in &unfinished.0 {
            tracing::warn!(task = name, set = self.node.name, "task did not stop in time; aborted");
        }
        // Lets destructors run before what they use is torn down.
        let _ = tokio::time::timeout(ABORT_WAIT, self.node.tracker.wait()).await;
        unfinished
    }
}

struct Node {
    name: &'static str,
    token: CancellationToken,
    tracker: TaskTracker,
    failure: watch::Sender<Option<TaskFailure>>,
    parent: Option<Arc<Node>>,
    /// The tasks of this set and of its children. Bounded by the callers: what
    /// they spawn per message they bound by slots.
    live: Mutex<BTreeMap<u64, Live>>,
    next_id: AtomicU64,
}

struct Live {
    name: &'static str,
    /// Unset for the moment between registration and spawn.
    abort: Option<AbortHandle>,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let live: Vec<_> = self.live().values().map(|live| live.name).collect();
        f.debug_struct("Node").field("name", &self.name).field("live", &live).finish_non_exhaustive()
    }
}

impl Node {
    fn live(&self) -> MutexGuard<'_, BTreeMap<u64, Live>> {
        // Each critical section is one map operation: a poisoned map is whole.
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn abort_live(&self) -> Unfinished {
        let live = self.live();
        let mut names = Vec::with_capacity(live.len());
        for task in live.values() {
            names.push(task.name);
            if let Some(abort) = &task.abort {
                abort.abort();
            }
        }
        names.sort_unstable();
        Unfinished(names)
    }
}

/// A task's entries in its set and in all sets around it, removed by drop,
/// however the task ends.
struct Registration {
    entries: Vec<(Arc<Node>, u64, TaskTrackerToken)>,
}

impl Registration {
    fn new(node: &Arc<Node>, name: &'static str) -> Self {
        let nodes = std::iter::successors(Some(node), |node| node.parent.as_ref());
        let entries = nodes.map(|node| {
            let id = node.next_id.fetch_add(1, Ordering::Relaxed);
            node.live().insert(id, Live { name, abort: None });
            (Arc::clone(node), id, node.tracker.token())
        });
        Self { entries: entries.collect() }
    }

    fn spawn(self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        let places: Vec<_> = self.entries.iter().map(|(node, id, _)| (Arc::clone(node), *id)).collect();
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place that spawns, so that all tasks have names and owners"
        )]
        let handle = tokio::spawn(async move {
            let _registered = self;
            task.await;
        });
        let abort = handle.abort_handle();
        for (node, id) in places {
            // A task that has ended already has no entry any more.
            if let Some(live) = node.live().get_mut(&id) {
                live.abort = Some(abort.clone());
            }
        }
        abort
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        for (node, id, _) in &self.entries {
            node.live().remove(id);
        }
    }
}
