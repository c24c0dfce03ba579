//! What the lease says besides who holds it: how far a next owner has to read the
//! log again, and what it may begin with.

use std::time::Duration;

use planfleet_bus::Lease;
use tokio::time::timeout;

use super::{Ending, Owner, Stop};
use crate::membership::Membership;

/// A snapshot of the last owner that is there is begun while it stops, if it saves
/// a next one so many entries: about a tenth of a second.
const STOP_UNREAD_MIN: u64 = 10_000;

/// What is in flight when a shard is handed over is on its way within this, or is
/// not: the next owner says it again.
const FLUSH: Duration = Duration::from_millis(500);

impl Owner {
    /// Renews the lease and, with it, the checkpoint; then sees to what grows with time.
    pub(super) async fn renew(&mut self) -> Result<(), Stop> {
        let mut lease = self.checkpoint();
        lease.load = self.load();
        let known = lease.snapshots.len();
        let changed = lease.snapshots != self.tenure.held.lease.snapshots;
        if !self.tenure.renew(lease).await? {
            return Ok(());
        }
        if changed && known > 0 {
            self.snapshots.sweep();
        }
        self.trim().await;
        if self.snapshots.is_due(&self.follower, self.config.upkeep.snapshot_entries) {
            self.snapshots.begin(&self.follower);
        }
        Ok(())
    }

    /// The lease's next writing, which is the checkpoint as well.
    fn checkpoint(&self) -> Lease {
        let mut lease = self.tenure.held.lease.clone();
        lease.replay_from = self.follower.replay_from();
        lease.kept_to = self.follower.kept_to().max(lease.kept_to);
        // What was unreadable up to there counts as set aside.
        let folded_to = self.emitter.first_letter().map_or(self.follower.folded_to, |seq| seq - 1);
        lease.folded_to = folded_to.max(lease.folded_to);
        lease.snapshots = self.snapshots.known();
        lease
    }

    /// Drops what no replay needs. As long as the log is not too long, it alone is
    /// enough, and snapshots only save time; one that an old run keeps from being
    /// trimmed is cut where the older of two snapshots ends.
    async fn trim(&mut self) {
        let upkeep = &self.config.upkeep;
        let lease = &self.tenure.held.lease;
        let covered = lease.snapshots.get(1).map_or(0, |older| older.folded_to + 1);
        let too_long = lease.folded_to.saturating_sub(upkeep.log_entries);
        let below = lease.replay_from.max(covered.min(too_long));
        if below.saturating_sub(self.trimmed_to) < upkeep.trim_entries {
            return;
        }
        match self.bus.trim_journal(self.id, below).await {
            Ok(()) => self.trimmed_to = below,
            Err(error) => tracing::warn!(shard = self.id, %error, "log not trimmed"),
        }
    }

    /// Finishes what is in flight and gives the lease back, so that another takes it at once.
    pub(super) async fn hand_over(&mut self, membership: &Membership) -> Ending {
        let alone = membership.is_alone();
        if alone {
            self.snapshot_at_the_tail().await;
        }
        let left = if alone { self.stop_left() } else { self.stop_left().min(FLUSH) };
        let flushed = async {
            while !self.emitter.is_idle() {
                if let Some(run) = self.emitter.next().await {
                    self.follower.kept(&run);
                }
            }
        };
        let _ = timeout(left, flushed).await;
        self.tenure.hand_back(self.checkpoint()).await
    }

    /// Others have followed already; where there are none, the next one begins where
    /// this one ends, if that can be written in the time that a stop has.
    async fn snapshot_at_the_tail(&mut self) {
        let unread_min = STOP_UNREAD_MIN.min(self.config.upkeep.snapshot_entries);
        let (left, Self { snapshots, follower, .. }) = (self.stop_left(), self);
        let written = async {
            // One that is being written is not made at the tail.
            if snapshots.is_building() {
                snapshots.built().await;
            }
            if snapshots.unread(follower) >= unread_min && snapshots.begin(follower) {
                snapshots.built().await;
            }
        };
        let _ = timeout(left, written).await;
    }

    fn stop_left(&self) -> Duration {
        self.tenure.emission_left().min(self.config.lease_stale / 2)
    }
}
