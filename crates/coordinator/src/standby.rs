//! A hot standby: whoever would own a shard if its owner were gone follows its
//! log in silence, so that a takeover takes no longer than noticing.

use std::{future, mem, sync::Arc};

use futures::{FutureExt as _, future::BoxFuture};
use planfleet_bus::{Bus, Error, Lease};
use planfleet_core::id::ShardId;
use tokio::time::{Duration, Instant, sleep_until};

use crate::{
    follower::{Progress, Role},
    instruments::Instruments,
};

/// Wait before a standby that has failed begins anew: its log is out of reach, and
/// the shard's owner has more to say about that.
const BEGIN_AGAIN: Duration = Duration::from_secs(5);

/// A follower that is there or will be.
type Begun = BoxFuture<'static, Result<Progress, Error>>;

/// What this process has of a shard that it does not own.
#[derive(Default)]
pub(crate) enum Standby {
    /// Nothing: it is not next.
    #[default]
    Cold,
    /// It reads what there is.
    Warming(Begun),
    /// It follows.
    Hot(Box<Progress>),
    /// It has failed and waits.
    Failed(Instant),
}

impl Standby {
    /// Begins to follow, unless it does already.
    pub(crate) fn warm_up(&mut self, bus: &Bus, id: ShardId, lease: &Lease, instruments: &Arc<Instruments>) {
        if let Self::Cold = self {
            let begun =
                Progress::begin(bus.clone(), id, lease.clone(), Role::Standby, Arc::clone(instruments));
            *self = Self::Warming(begun.boxed());
        }
    }

    /// What the owner has seen to need not be remembered.
    pub(crate) fn note(&mut self, lease: &Lease) {
        if let Self::Hot(progress) = self {
            progress.follower.forget_kept(lease);
        }
    }

    /// Follows without end. Can be dropped at any time and called again.
    pub(crate) async fn follow(&mut self) {
        loop {
            let followed = match self {
                Self::Cold => future::pending().await,
                Self::Warming(begun) => begun.await.map(|progress| Self::Hot(Box::new(progress))),
                Self::Hot(progress) => progress.follow().await.map(|()| Self::Cold),
                Self::Failed(until) => {
                    sleep_until(*until).await;
                    Ok(Self::Cold)
                }
            };
            *self = followed.unwrap_or_else(|error| {
                tracing::warn!(%error, "a standby begins anew");
                Self::Failed(Instant::now() + BEGIN_AGAIN)
            });
        }
    }

    /// What it has, for whoever takes the shard over.
    pub(crate) fn take(&mut self) -> Option<Begun> {
        match mem::take(self) {
            Self::Hot(progress) => Some(future::ready(Ok(*progress)).boxed()),
            Self::Warming(begun) => Some(begun),
            Self::Cold | Self::Failed(_) => None,
        }
    }
}
