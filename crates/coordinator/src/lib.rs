//! The coordinator: owns shards, folds their logs, carries out what follows.
//!
//! It decides nothing itself; [`planfleet_core::shard::Shard`] does. Any number
//! of coordinators may run: [`membership`] says who is there, [`spread`] who
//! should own what, [`keeper`] takes and gives up shards, [`follower`] is a shard
//! as it follows from its log, [`owner`] speaks for it, [`standby`] keeps silent,
//! [`flow`] says which of the work that is ready goes next, [`emitter`] carries out
//! commands, [`sweeper`] clears up.

pub mod instruments;
pub mod membership;
pub mod spread;

mod emitter;
mod flow;
mod follower;
mod keeper;
mod owner;
mod reads;
mod standby;
mod sweeper;
mod tenants;
mod timers;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use planfleet_bus::Bus;
use planfleet_runtime::{clock, tasks::Tasks};
use tokio_util::sync::CancellationToken;

use self::{
    flow::{Flow, Following},
    instruments::Instruments,
    membership::Membership,
};
pub use self::{
    flow::{FlowRoles, FlowSettings, TenantFlow, WEIGHT_MAX},
    sweeper::Sweeping,
};

/// The version of this program's decisions. It grows whenever the fold could
/// decide otherwise on the same log.
pub const LOGIC_VERSION: u32 = 6;

/// How a coordinator behaves.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its name: `[A-Za-z0-9_-]{1,64}`, unique among live coordinators.
    pub name: String,
    /// Between two renewals of a lease. A renewal is also the checkpoint.
    pub lease_renew: Duration,
    /// A lease that nobody has renewed for this long is up for grabs. Several
    /// renewals and a short election of the broker fit into it.
    pub lease_stale: Duration,
    /// Between two signs of life.
    pub member_beat: Duration,
    /// Whether this process follows the shards that it is next to own. It costs the
    /// reading of a log and the memory of a shard, and saves the replay.
    pub standby: bool,
    /// What keeps a log short.
    pub upkeep: Upkeep,
    /// How many runs are taken.
    pub room: Room,
    /// When stored bodies are swept that nothing refers to any more, and how much tools keep.
    pub sweeping: Sweeping,
    /// Which of the work that is ready is let go, and how much of it.
    pub flow: FlowSettings,
    /// Milliseconds since the Unix epoch, for timers and for documents of active
    /// runs. The fold never sees it. An argument, so that tests can move it.
    pub now_ms: fn() -> u64,
}

impl Config {
    /// The usual timing, under that name.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            lease_renew: Duration::from_millis(400),
            lease_stale: Duration::from_secs(3),
            member_beat: Duration::from_secs(1),
            standby: true,
            upkeep: Upkeep::default(),
            room: Room::default(),
            sweeping: Sweeping::default(),
            flow: FlowSettings::default(),
            now_ms: clock::unix_ms,
        }
    }
}

/// How many runs the fleet holds at once. Each shard takes its equal part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    /// Active runs.
    pub runs: u64,
    /// Active runs of one tenant.
    pub runs_of_tenant: u64,
    /// Those of tenants that may have another number of them.
    pub runs_of: BTreeMap<String, u64>,
}

impl Default for Room {
    fn default() -> Self {
        // A gigabyte of coordinators' memory, where plans are small.
        Self { runs: 200_000, runs_of_tenant: 150_000, runs_of: BTreeMap::new() }
    }
}

/// When a log is cut short.
#[derive(Debug, Clone)]
pub struct Upkeep {
    /// A snapshot is written when a next owner would have to read so many entries.
    pub snapshot_entries: u64,
    /// A log that is not longer is enough by itself: snapshots only save time.
    pub log_entries: u64,
    /// The log is trimmed when so many entries can go: each purge costs the broker
    /// a pass over its index.
    pub trim_entries: u64,
}

impl Default for Upkeep {
    fn default() -> Self {
        Self {
            // Two to three seconds of reading.
            snapshot_entries: 300_000,
            // A gigabyte of entries of the usual size.
            log_entries: 2_000_000,
            trim_entries: 50_000,
        }
    }
}

/// The coordinator of one process.
pub struct Coordinator {
    bus: Bus,
    config: Arc<Config>,
    instruments: Arc<Instruments>,
}

impl Coordinator {
    /// A coordinator on that bus.
    #[must_use]
    pub fn build(bus: Bus, config: Config) -> Self {
        Self { bus, config: Arc::new(config), instruments: Arc::new(Instruments::new()) }
    }

    /// Takes part in owning shards until `stop`, then hands its own over.
    pub async fn run(self, tasks: &Tasks, stop: CancellationToken) {
        let set = tasks.child("coordinator");
        let membership = Membership::new(self.bus.clone(), self.config.clone());
        let beating = membership.clone();
        let beat_stop = stop.clone();
        set.spawn("membership", async move { beating.beat(beat_stop).await });
        let (bus, watch_stop) = (self.bus.clone(), stop.clone());
        set.spawn("watchers", async move {
            watch_stop.run_until_cancelled(bus.follow_watchers()).await;
        });
        let (bus, notes_stop) = (self.bus.clone(), stop.clone());
        set.spawn("plan outcomes", async move {
            notes_stop.run_until_cancelled(bus.write_outcomes()).await;
        });
        let flow = self.flow();
        let (name, beat) = (&self.config.name, self.config.member_beat);
        let following = Following::new(self.bus.clone(), flow.clone(), membership.clone(), name, beat);
        let flow_stop = stop.clone();
        set.spawn("flow", async move { following.run(flow_stop).await });
        let tenants = Arc::<tenants::Tenants>::default();
        for shard in 0..self.bus.shards() {
            let keeper = keeper::Keeper {
                shard,
                bus: self.bus.clone(),
                config: self.config.clone(),
                membership: membership.clone(),
                tasks: set.clone(),
                instruments: self.instruments.clone(),
                flow: flow.clone(),
                tenants: tenants.clone(),
            };
            let stop = stop.clone();
            set.spawn("shard", async move { keeper.keep(stop).await });
        }
        let (bus, config, sweep_stop) = (self.bus.clone(), self.config.clone(), stop.clone());
        set.spawn("sweeper", async move { sweeper::keep_swept(bus, config, sweep_stop).await });
        let (bus, config, kept_stop) = (self.bus.clone(), self.config.clone(), stop.clone());
        set.spawn("bounds", async move { sweeper::keep_bounded(bus, config, kept_stop).await });
        stop.cancelled().await;
        // Before the hand-over, so that others see at once whose turn it is, and
        // after it, for a last sign of life may have been under way.
        membership.leave().await;
        let unfinished = set.shutdown(self.config.lease_stale).await;
        if !unfinished.is_empty() {
            tracing::warn!(%unfinished, "some shards were not handed over in time; their leases will run out");
        }
        membership.leave().await;
    }

    fn flow(&self) -> Flow {
        let settings = self.config.flow.clone();
        Flow::new(&self.config.name, settings, self.bus.shards(), self.instruments.clone())
    }
}
