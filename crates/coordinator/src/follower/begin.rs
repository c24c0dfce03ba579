//! Where a follower begins: at the newest snapshot that is whole, or in the log.

use std::sync::Arc;

use planfleet_bus::{Bus, Error, Lease, snapshots::SnapshotRef};
use planfleet_core::id::ShardId;

use super::{Follower, Journal};
use crate::instruments::{Instruments, SnapshotEvent};

/// A follower, and the log behind what it has folded.
pub(crate) struct Progress {
    pub(crate) follower: Follower,
    pub(crate) journal: Journal,
}

impl Progress {
    /// Begins where the lease says: from a snapshot if one of its is whole and
    /// saves anything, else from the oldest entry that is needed.
    pub(crate) async fn begin(
        bus: Bus,
        id: ShardId,
        lease: Lease,
        instruments: Arc<Instruments>,
    ) -> Result<Self, Error> {
        let follower = match from_a_snapshot(&bus, id, &lease, &instruments).await? {
            Some(follower) => follower,
            None => from_the_log(&bus, id, &lease, instruments).await?,
        };
        let journal = bus.read_journal(id, follower.folded_to + 1).await?;
        Ok(Self { follower, journal })
    }

    /// Folds up to `tail` in silence.
    pub(crate) async fn catch_up(&mut self, tail: u64) -> Result<(), Error> {
        self.follower.catch_up(&mut self.journal, tail).await
    }

    /// Folds whatever comes, in silence and without end. Can be dropped at any
    /// time and called again.
    pub(crate) async fn follow(&mut self) -> Result<(), Error> {
        self.catch_up(u64::MAX).await
    }
}

/// The newest snapshot that is whole. One that cannot be used is reported, and the
/// one before it tried.
async fn from_a_snapshot(
    bus: &Bus,
    id: ShardId,
    lease: &Lease,
    instruments: &Arc<Instruments>,
) -> Result<Option<Follower>, Error> {
    // Everything in one that ends before the first needed entry is over.
    for wanted in lease.snapshots.iter().filter(|snapshot| snapshot.folded_to >= lease.replay_from) {
        match restore(bus, id, wanted, instruments).await {
            Err(Error::Snapshot { name, problem }) => {
                tracing::error!(shard = id, "snapshot {name} {problem}; going on with what was before it");
                instruments.snapshot(SnapshotEvent::Unusable);
            }
            Err(error) => return Err(error),
            Ok(follower) => return Ok(Some(follower)),
        }
    }
    Ok(None)
}

async fn restore(
    bus: &Bus,
    id: ShardId,
    wanted: &SnapshotRef,
    instruments: &Arc<Instruments>,
) -> Result<Follower, Error> {
    let snapshot = bus.snapshot(wanted).await?;
    let mut follower = Follower::new(id, Arc::clone(instruments));
    follower.fold_all(&mut snapshot.journal()).await?;
    follower.shard.recall_ended(snapshot.ended().iter().cloned());
    follower.folded_to = snapshot.folded_to();
    Ok(follower)
}

/// Nothing but the log. One that begins too late is no reason to begin nothing,
/// and one to be loud.
async fn from_the_log(
    bus: &Bus,
    id: ShardId,
    lease: &Lease,
    instruments: Arc<Instruments>,
) -> Result<Follower, Error> {
    let needed = lease.replay_from.max(1);
    let first = bus.journal_head(id).await?;
    if first > needed {
        tracing::error!(
            shard = id,
            needed,
            first,
            "the log begins too late and no snapshot is whole: runs that were submitted before are lost"
        );
        instruments.snapshot(SnapshotEvent::Lost);
    }
    let mut follower = Follower::new(id, instruments);
    follower.folded_to = needed.max(first) - 1;
    Ok(follower)
}
