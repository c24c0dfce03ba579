//! The lease and, written with it, the checkpoint: how far a next owner has to
//! read the log again.

use std::time::Duration;

use planfleet_bus::{Lease, lease::Held};
use tokio::time::{Instant, timeout};

use super::{Ending, Owner, Stop};

/// A log is trimmed when this many entries can go: each purge costs the broker
/// a pass over its index.
const TRIM_ENTRIES_MIN: u64 = 50_000;

impl Owner {
    /// How long commands may be carried out on the last renewal.
    pub(super) fn emission_left(&self) -> Duration {
        (self.config.lease_stale * 2 / 3).saturating_sub(self.renewed_at.elapsed())
    }

    /// Renews the lease and, with it, the checkpoint.
    pub(super) async fn renew(&mut self) -> Result<(), Stop> {
        // Others count from when it was written, which may be long before its answer is here.
        let began = Instant::now();
        let lease = self.checkpoint();
        match self.bus.write_lease(self.id, &lease, self.held.revision).await {
            Ok(Some(revision)) => {
                self.held = Held { lease, revision };
                self.renewed_at = began;
                self.trim().await;
                Ok(())
            }
            Ok(None) => self.conflict(&lease).await,
            Err(error) if !self.emission_left().is_zero() => {
                tracing::warn!(shard = self.id, %error, "lease not renewed; trying again");
                Ok(())
            }
            Err(_) => Err(Stop::Lost("the lease could not be renewed in time")),
        }
    }

    /// A renewal whose outcome was unknown may have been written after all.
    async fn conflict(&mut self, wanted: &Lease) -> Result<(), Stop> {
        match self.bus.lease(self.id).await? {
            Some(held) if held.lease.epoch == wanted.epoch && held.lease.owner == wanted.owner => {
                // When that was nobody can tell: the next renewal says that it is still ours.
                self.held = held;
                Ok(())
            }
            _ => Err(Stop::Lost("somebody else has written the lease")),
        }
    }

    /// Where a replay has to start: at the first record of the oldest run that
    /// is active, whose document is not kept yet, or that has just ended.
    fn replay_from(&self) -> u64 {
        let oldest = self
            .shard
            .oldest_seq()
            .into_iter()
            .chain(self.finishing.values().map(|ended| ended.first_seq))
            .chain(self.ended.oldest_seq())
            .min();
        oldest.unwrap_or(self.folded_to + 1)
    }

    /// The documents of all runs that ended up to here are kept.
    fn kept_to(&self) -> u64 {
        let unkept = self.finishing.values().map(|ended| ended.last_seq).min();
        unkept.map_or(self.folded_to, |seq| seq - 1).max(self.held.lease.kept_to)
    }

    /// The lease's next writing, which is the checkpoint as well.
    fn checkpoint(&self) -> Lease {
        let mut lease = self.held.lease.clone();
        lease.beat += 1;
        lease.replay_from = self.replay_from();
        lease.kept_to = self.kept_to();
        lease.folded_to = self.folded_to.max(lease.folded_to);
        lease
    }

    async fn trim(&mut self) {
        let from = self.held.lease.replay_from;
        if from.saturating_sub(self.trimmed_to) < TRIM_ENTRIES_MIN {
            return;
        }
        match self.bus.trim_journal(self.id, from).await {
            Ok(()) => self.trimmed_to = from,
            Err(error) => tracing::warn!(shard = self.id, %error, "log not trimmed"),
        }
    }

    /// Finishes what is in flight and gives the lease back, so that another takes it at once.
    pub(super) async fn hand_over(&mut self) -> Ending {
        let left = self.emission_left().min(self.config.lease_stale / 2);
        let flushed = async {
            while !self.emitter.is_idle() {
                if let Some(run) = self.emitter.next().await {
                    self.finishing.remove(&run);
                }
            }
        };
        let _ = timeout(left, flushed).await;
        let lease = Lease { owner: String::new(), ..self.checkpoint() };
        match self.bus.write_lease(self.id, &lease, self.held.revision).await {
            Ok(Some(_)) => Ending::HandedOver,
            Ok(None) => Ending::Lost("somebody else has written the lease"),
            Err(_) => Ending::Lost("the lease could not be handed back; it will run out"),
        }
    }
}
