//! Keeps one shard owned: takes it when nobody has it, drives it, gives it up
//! when another coordinator should have it or when this one stops. Whoever is
//! next to own it follows it meanwhile.

use std::sync::Arc;

use planfleet_bus::{Bus, Lease, lease::Held};
use planfleet_core::{
    id::ShardId,
    seeded::{self, Bug},
};
use planfleet_runtime::tasks::Tasks;
use tokio::time::{Duration, Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    Config, LOGIC_VERSION,
    flow::Flow,
    instruments::Instruments,
    membership::Membership,
    owner::{self, Ending, Means},
    standby::Standby,
    tenants::Tenants,
};

/// Between two looks at a lease that somebody else holds.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Everything that keeping one shard needs.
pub(crate) struct Keeper {
    pub(crate) shard: ShardId,
    pub(crate) bus: Bus,
    pub(crate) config: Arc<Config>,
    pub(crate) membership: Membership,
    pub(crate) tasks: Tasks,
    pub(crate) instruments: Arc<Instruments>,
    pub(crate) flow: Flow,
    pub(crate) tenants: Arc<Tenants>,
}

/// What this process has seen of a lease, by its own clock.
struct Watch {
    revision: u64,
    since: Instant,
}

impl Keeper {
    /// Until `stop`.
    pub(crate) async fn keep(self, stop: CancellationToken) {
        let mut watch = Watch { revision: u64::MAX, since: Instant::now() };
        let mut standby = Standby::default();
        while !stop.is_cancelled() {
            match self.contend(&mut watch, &mut standby).await {
                Ok(Some(held)) => self.own(held, &mut standby, &stop).await,
                Ok(None) => {}
                Err(error) => tracing::warn!(shard = self.shard, %error, "cannot look at the lease"),
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = sleep(LOOK_EVERY) => {}
                () = standby.follow() => {}
            }
        }
    }

    /// Takes the lease if it is free or stale, and this process should or must.
    async fn contend(
        &self,
        watch: &mut Watch,
        standby: &mut Standby,
    ) -> Result<Option<Held>, planfleet_bus::Error> {
        let held = self.bus.lease(self.shard).await?;
        let revision = held.as_ref().map_or(0, |held| held.revision);
        if revision != watch.revision {
            *watch = Watch { revision, since: Instant::now() };
        }
        let lease = held.map(|held| held.lease).unwrap_or_default();
        self.tenants.note(self.shard, &lease.load.runs_of_few);
        self.stand_by(standby, &lease);
        if watch.since.elapsed() < self.patience(&lease).await? {
            return Ok(None);
        }
        self.take(lease, revision).await
    }

    /// Follows the shard if this process is next, and lets go of it if it is not.
    fn stand_by(&self, standby: &mut Standby, lease: &Lease) {
        let owned = !lease.owner.is_empty();
        if owned && !(self.config.standby && self.membership.succeeds(self.shard, &lease.owner)) {
            *standby = Standby::Cold;
        } else if owned {
            standby.warm_up(&self.bus, self.shard, lease, &self.instruments);
        }
        standby.note(lease);
    }

    /// How long a lease is to stay as it is before this process takes it.
    async fn patience(&self, lease: &Lease) -> Result<Duration, planfleet_bus::Error> {
        let stale = self.config.lease_stale;
        if !lease.owner.is_empty() {
            // Who is not next waits longer: the next one may be dead too.
            let next = self.membership.succeeds(self.shard, &lease.owner);
            return Ok(if next { stale } else { stale * 2 });
        }
        if self.membership.prefers_self(self.shard) {
            return Ok(Duration::ZERO);
        }
        // Handed back, perhaps by one that has just left.
        self.membership.look().await?;
        Ok(if self.membership.prefers_self(self.shard) { Duration::ZERO } else { stale })
    }

    async fn take(&self, old: Lease, revision: u64) -> Result<Option<Held>, planfleet_bus::Error> {
        let silent = old.owner.clone();
        if old.epoch > 0 && old.logic_version != LOGIC_VERSION {
            tracing::warn!(
                shard = self.shard,
                theirs = old.logic_version,
                ours = LOGIC_VERSION,
                "the log was folded by another version, which may have decided otherwise"
            );
        }
        let lease = Lease {
            epoch: old.epoch + u64::from(!seeded::is_on(Bug::EpochKept)),
            owner: self.config.name.clone(),
            logic_version: LOGIC_VERSION,
            beat: 0,
            ..old
        };
        let written = self.bus.write_lease(self.shard, &lease, revision).await?;
        if written.is_some() {
            self.membership.presume_gone(&silent);
        }
        Ok(written.map(|revision| Held { lease, revision }))
    }

    async fn own(&self, held: Held, standby: &mut Standby, stop: &CancellationToken) {
        tracing::info!(shard = self.shard, epoch = held.lease.epoch, "shard taken");
        self.instruments.takeover();
        let means = Means {
            bus: self.bus.clone(),
            config: self.config.clone(),
            tasks: self.tasks.clone(),
            instruments: self.instruments.clone(),
            gate: self.flow.gate(self.shard),
            tenants: self.tenants.clone(),
        };
        match owner::drive(self.shard, means, held, standby, &self.membership, stop).await {
            Ending::HandedOver => tracing::info!(shard = self.shard, "shard handed over"),
            Ending::Lost(why) => tracing::warn!(shard = self.shard, why, "shard lost"),
        }
    }
}
