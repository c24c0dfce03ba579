//! Where a follower begins: at the newest snapshot that is whole, or in the log.

use std::sync::Arc;

use planfleet_bus::{Bus, Error, JournalEntry, Lease, snapshots::SnapshotRef};
use planfleet_core::id::ShardId;

use super::{Follower, Journal};
use crate::instruments::{Instruments, SnapshotEvent};

/// A follower, and the log behind what it has folded.
pub(crate) struct Progress {
    pub(crate) follower: Follower,
    pub(crate) journal: Journal,
    /// Snapshots that the lease names and that are of no use.
    pub(crate) unusable: Vec<SnapshotRef>,
    bus: Bus,
    /// Read, and not folded before it is known why there is nothing before it.
    behind_a_hole: Option<JournalEntry>,
}

/// Who begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Whoever owns the shard goes on with what there is.
    Owner,
    /// Whoever does not has all of it, or nothing.
    Standby,
}

/// A beginning, and what was wrong on the way.
struct Found {
    follower: Follower,
    unusable: Vec<(SnapshotRef, Error)>,
    /// The first entry that was needed and that the log does not have any more.
    missing: Option<u64>,
}

impl Progress {
    /// Begins where the lease says: from a snapshot if one of its is whole and
    /// saves anything, else from the oldest entry that is needed.
    pub(crate) async fn begin(
        bus: Bus,
        id: ShardId,
        lease: Lease,
        role: Role,
        instruments: Arc<Instruments>,
    ) -> Result<Self, Error> {
        let mut lease = lease;
        loop {
            let found = find(&bus, id, &lease, &instruments).await?;
            if found.missing.is_some() || !found.unusable.is_empty() {
                // An owner that goes on replaces its snapshots and trims its log.
                let newest = bus.lease(id).await?.map(|held| held.lease).unwrap_or_default();
                if newest.snapshots != lease.snapshots || newest.replay_from != lease.replay_from {
                    lease = newest;
                    continue;
                }
            }
            report(id, &found, &instruments);
            if let (Some(seq), Role::Standby) = (found.missing, role) {
                return Err(overtaken(id, seq));
            }
            let journal = bus.read_journal(id, found.follower.folded_to + 1).await?;
            let unusable = found.unusable.into_iter().map(|(snapshot, _)| snapshot).collect();
            return Ok(Self { follower: found.follower, journal, unusable, bus, behind_a_hole: None });
        }
    }

    /// Folds up to `tail` in silence.
    ///
    /// # Errors
    /// When the broker cannot be reached, or the log was trimmed behind what is folded:
    /// what it had in between is in snapshots alone.
    pub(crate) async fn catch_up(&mut self, tail: u64) -> Result<(), Error> {
        while self.follower.folded_to < tail {
            if self.behind_a_hole.is_none() {
                self.behind_a_hole = self.follower.catch_up(&mut self.journal, tail).await?;
            }
            if self.behind_a_hole.is_none() {
                break;
            }
            // A server may have lost an entry, which nobody gets back; one that was
            // trimmed is missed by this follower alone.
            let (id, next) = (self.follower.id, self.follower.folded_to + 1);
            if self.bus.journal_head(id).await? > next {
                return Err(overtaken(id, next));
            }
            if let Some(entry) = self.behind_a_hole.take() {
                self.follower.fold(entry, &mut Vec::new());
            }
        }
        Ok(())
    }

    /// Folds whatever comes, in silence and without end. Can be dropped at any
    /// time and called again.
    pub(crate) async fn follow(&mut self) -> Result<(), Error> {
        self.catch_up(u64::MAX).await
    }
}

fn overtaken(id: ShardId, seq: u64) -> Error {
    let problem = format!("is needed: its log does not have entry {seq} any more");
    Error::Snapshot { name: format!("of shard {id}"), problem }
}

async fn find(bus: &Bus, id: ShardId, lease: &Lease, instruments: &Arc<Instruments>) -> Result<Found, Error> {
    let mut unusable = Vec::new();
    // Everything in one that ends before the first needed entry is over.
    for wanted in lease.snapshots.iter().filter(|snapshot| snapshot.folded_to >= lease.replay_from) {
        match restore(bus, id, wanted, instruments).await {
            Err(error @ Error::Snapshot { .. }) => unusable.push((wanted.clone(), error)),
            Err(error) => return Err(error),
            Ok(follower) => return Ok(Found { follower, unusable, missing: None }),
        }
    }
    let needed = lease.replay_from.max(1);
    let first = bus.journal_head(id).await?;
    let mut follower = Follower::new(id, Arc::clone(instruments));
    follower.folded_to = needed.max(first) - 1;
    Ok(Found { follower, unusable, missing: (first > needed).then_some(needed) })
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

/// A log that begins too late is no reason to begin nothing, and one to be loud.
fn report(id: ShardId, found: &Found, instruments: &Instruments) {
    for (_, error) in &found.unusable {
        tracing::error!(shard = id, %error, "snapshot not used; going on with what was before it");
        instruments.snapshot(SnapshotEvent::Unusable);
    }
    if let Some(needed) = found.missing {
        tracing::error!(
            shard = id,
            needed,
            "the log begins too late and no snapshot is whole: runs that were submitted before are lost"
        );
        instruments.snapshot(SnapshotEvent::Lost);
    }
}
