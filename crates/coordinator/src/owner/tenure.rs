//! Holding a lease: renewing it in time, and noticing when it is somebody else's.

use std::{future::Future, sync::Arc, time::Duration};

use planfleet_bus::{Bus, Lease, lease::Held};
use planfleet_core::{
    id::ShardId,
    seeded::{self, Bug},
};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use super::{Ending, Stop};
use crate::Config;

/// The time for which this process owns a shard.
pub(super) struct Tenure {
    pub(super) shard: ShardId,
    pub(super) bus: Bus,
    config: Arc<Config>,
    pub(super) held: Held,
    renewed_at: Instant,
}

impl Tenure {
    pub(super) fn new(shard: ShardId, bus: Bus, config: Arc<Config>, held: Held) -> Self {
        Self { shard, bus, config, held, renewed_at: Instant::now() }
    }

    /// How long commands may be carried out on the last renewal.
    pub(super) fn emission_left(&self) -> Duration {
        (self.config.lease_stale * 2 / 3).saturating_sub(self.renewed_at.elapsed())
    }

    /// Renews the lease with what it shall say; true if it says so now.
    pub(super) async fn renew(&mut self, mut lease: Lease) -> Result<bool, Stop> {
        // Others count from when it was written, which may be long before its answer is here.
        let began = Instant::now();
        lease.beat = self.held.lease.beat + 1;
        match self.bus.write_lease(self.shard, &lease, self.held.revision).await {
            Ok(Some(revision)) => {
                self.held = Held { lease, revision };
                self.renewed_at = began;
                Ok(true)
            }
            Ok(None) => self.conflict(&lease).await.map(|()| false),
            Err(error) if !self.emission_left().is_zero() => {
                tracing::warn!(shard = self.shard, %error, "lease not renewed; trying again");
                Ok(false)
            }
            Err(_) => Err(Stop::Lost("the lease could not be renewed in time")),
        }
    }

    /// A renewal whose outcome was unknown may have been written after all.
    async fn conflict(&mut self, wanted: &Lease) -> Result<(), Stop> {
        match self.bus.lease(self.shard).await? {
            Some(held) if held.lease.epoch == wanted.epoch && held.lease.owner == wanted.owner => {
                // When that was nobody can tell: the next renewal says that it is still ours.
                self.held = held;
                Ok(())
            }
            _ if seeded::is_on(Bug::ZombieOwner) => Ok(()),
            _ => Err(Stop::Lost("somebody else has written the lease")),
        }
    }

    /// Keeps the lease as it is while something else takes its time.
    pub(super) async fn during<F: Future>(
        &mut self,
        stop: &CancellationToken,
        work: F,
    ) -> Result<F::Output, Stop> {
        let every = self.config.lease_renew;
        let mut renewals = interval_at(Instant::now() + every, every);
        renewals.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tokio::pin!(work);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Err(Stop::Asked),
                _ = renewals.tick() => {
                    self.renew(self.held.lease.clone()).await?;
                    renewals.reset();
                }
                done = &mut work => return Ok(done),
            }
        }
    }

    /// Gives the lease back, so that another takes it at once.
    pub(super) async fn hand_back(&self, lease: Lease) -> Ending {
        let lease = Lease { owner: String::new(), beat: lease.beat + 1, ..lease };
        match self.bus.write_lease(self.shard, &lease, self.held.revision).await {
            Ok(Some(_)) => Ending::HandedOver,
            Ok(None) => Ending::Lost("somebody else has written the lease"),
            Err(_) => Ending::Lost("the lease could not be handed back; it will run out"),
        }
    }
}
