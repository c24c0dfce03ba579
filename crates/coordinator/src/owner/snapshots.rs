//! Snapshots of an owned shard: written beside its work, out of the one before
//! and the log, so that nothing of them is in memory.

use std::{collections::BTreeSet, future, sync::Arc, time::Duration};

use futures::TryStreamExt as _;
use planfleet_bus::{
    Bus, Error,
    broker::LogEntry,
    snapshots::{SnapshotRef, SnapshotWriter},
};
use planfleet_core::{
    id::{RunId, ShardId},
    shard::EndedRun,
};
use planfleet_proto::subjects;
use planfleet_runtime::tasks::Tasks;
use tokio::{sync::oneshot, time::Instant};

use crate::{
    follower::{FOLD_BATCH, Follower, log_ended},
    instruments::{Instruments, SnapshotEvent},
};

/// One to begin with, and one for the case that it is damaged.
const KEPT: usize = 2;

/// Wait before another try to write one: the broker is out of reach or full, and
/// what is written until then is written in vain.
const AGAIN: Duration = Duration::from_secs(30);

/// A shard with anything to take along has one at least so often: far within the age
/// at which a broker drops entries of a log, and next to nothing where little happens.
const PERIOD: Duration = Duration::from_secs(3_600);

/// The snapshots of one owned shard.
pub(super) struct Snapshots {
    shard: ShardId,
    epoch: u64,
    bus: Bus,
    instruments: Arc<Instruments>,
    /// What the lease says, or will say from its next renewal on; the newest first.
    known: Vec<SnapshotRef>,
    tasks: Tasks,
    /// The one that is being written; given up when nobody waits for it any more.
    building: Option<oneshot::Receiver<Result<SnapshotRef, Error>>>,
    /// Before this it is not tried again.
    not_before: Instant,
    /// When the last one was begun, or the tenure.
    begun: Instant,
}

impl Snapshots {
    pub(super) fn new(
        shard: ShardId,
        epoch: u64,
        bus: Bus,
        known: Vec<SnapshotRef>,
        tasks: Tasks,
        instruments: Arc<Instruments>,
    ) -> Self {
        let (building, now) = (None, Instant::now());
        let (not_before, begun) = (now, now);
        Self { shard, epoch, bus, instruments, known, tasks, building, not_before, begun }
    }

    /// These are of no use: nobody is to be sent to them again.
    pub(super) fn forget(&mut self, unusable: &[SnapshotRef]) {
        self.known.retain(|snapshot| !unusable.contains(snapshot));
    }

    /// What the lease shall say.
    pub(super) fn known(&self) -> Vec<SnapshotRef> {
        self.known.clone()
    }

    /// How many entries a next owner would have to read.
    pub(super) fn unread(&self, follower: &Follower) -> u64 {
        let newest = self.known.first().map_or(0, |newest| newest.folded_to);
        follower.folded_to.saturating_sub(newest.max(follower.replay_from() - 1))
    }

    /// Whether another is due: when a next owner would have to read so much, and once
    /// in a while, for entries of a log do not last for ever.
    pub(super) fn is_due(&self, follower: &Follower, entries: u64) -> bool {
        let unread = self.unread(follower);
        unread >= entries || unread > 0 && self.begun.elapsed() > PERIOD
    }

    /// Begins another; false where one is being written, or was in vain just now.
    pub(super) fn begin(&mut self, follower: &Follower) -> bool {
        if self.building.is_some() || Instant::now() < self.not_before {
            return false;
        }
        self.begun = Instant::now();
        let plan = Plan {
            shard: self.shard,
            epoch: self.epoch,
            folded_to: follower.folded_to,
            previous: self.known.clone(),
            needed: follower.needed().cloned().collect(),
            needed_from: follower.needed_from(),
            ended: follower.shard.lately_ended().cloned().collect(),
        };
        let (bus, (mut told, building)) = (self.bus.clone(), oneshot::channel());
        self.tasks.spawn("snapshot", async move {
            tokio::select! {
                biased;
                () = told.closed() => {}
                built = plan.build(&bus) => {
                    // Nobody to tell: the shard is somebody else's by now.
                    let _ = told.send(built);
                }
            }
        });
        self.building = Some(building);
        true
    }

    /// Whether one is being written.
    pub(super) const fn is_building(&self) -> bool {
        self.building.is_some()
    }

    /// Waits for the one that is being written; for ever when none is. Can be
    /// dropped at any time and called again.
    pub(super) async fn built(&mut self) {
        let Some(building) = &mut self.building else { return future::pending().await };
        let built = building.await;
        self.building = None;
        match built {
            Ok(Ok(snapshot)) => {
                tracing::info!(shard = self.shard, name = snapshot.name, "snapshot written");
                self.instruments.snapshot(SnapshotEvent::Written);
                self.known.insert(0, snapshot);
                self.known.truncate(KEPT);
            }
            Ok(Err(error)) => self.failed(&error),
            Err(stopped) => self.failed(&stopped),
        }
    }

    fn failed(&mut self, error: &dyn std::fmt::Display) {
        tracing::warn!(shard = self.shard, %error, "snapshot not written; trying again later");
        self.instruments.snapshot(SnapshotEvent::Failed);
        self.not_before = Instant::now() + AGAIN;
    }

    /// The lease says what is known: whatever else there is of this shard can go.
    pub(super) fn sweep(&mut self) {
        let (bus, shard, epoch, kept) = (self.bus.clone(), self.shard, self.epoch, self.known());
        let swept = async move {
            if let Err(error) = bus.sweep_snapshots(shard, epoch, &kept).await {
                tracing::warn!(shard, %error, "old snapshots not removed; the next sweep will");
            }
        };
        self.tasks.spawn("snapshot sweep", swept);
    }
}

/// What is to be in a snapshot.
struct Plan {
    shard: ShardId,
    epoch: u64,
    folded_to: u64,
    /// What may be made use of, the newest first.
    previous: Vec<SnapshotRef>,
    /// The runs whose entries are needed.
    needed: BTreeSet<RunId>,
    /// Where the first of them begins.
    needed_from: u64,
    ended: Vec<EndedRun>,
}

impl Plan {
    async fn build(self, bus: &Bus) -> Result<SnapshotRef, Error> {
        let built = self.copy_what_is_needed(bus).await;
        if built.is_err() {
            let name = subjects::snapshot(self.shard, self.folded_to, self.epoch);
            if let Err(error) = bus.remove_snapshot(&name).await {
                tracing::debug!(name, %error, "parts of a snapshot that was given up are left");
            }
        }
        built?.finish(self.ended).await
    }

    /// Out of the newest snapshot that is whole and the log; short runs leave nothing to
    /// take along, and then none is even opened.
    async fn copy_what_is_needed(&self, bus: &Bus) -> Result<SnapshotWriter, Error> {
        for previous in self.previous.iter().filter(|previous| self.needed_from <= previous.folded_to) {
            match self.copy(bus, Some(previous)).await {
                Err(error @ Error::Snapshot { .. }) => {
                    tracing::error!(shard = self.shard, %error, "making the next snapshot without it");
                }
                copied => return copied,
            }
        }
        if !self.is_in_the_log(bus).await? {
            let problem = "was needed, and the log does not go back so far".to_owned();
            return Err(Error::Snapshot { name: format!("of shard {}", self.shard), problem });
        }
        self.copy(bus, None).await
    }

    async fn is_in_the_log(&self, bus: &Bus) -> Result<bool, Error> {
        Ok(bus.journal_head(self.shard).await? <= self.needed_from)
    }

    async fn copy(&self, bus: &Bus, previous: Option<&SnapshotRef>) -> Result<SnapshotWriter, Error> {
        let mut writer = bus.write_snapshot(self.shard, self.epoch, self.folded_to);
        let mut from = self.needed_from;
        if let Some(previous) = previous {
            let mut entries = bus.snapshot(previous).await?.log();
            let mut seen = 0;
            while let Some(entry) = entries.try_next().await? {
                self.keep(entry, &mut writer).await?;
                rest(&mut seen).await;
            }
            from = previous.folded_to + 1;
        }
        if from <= self.folded_to {
            let mut log = bus.read_log(self.shard, from).await?;
            let (mut seq, mut seen) = (0, 0);
            while seq < self.folded_to {
                let Some(entry) = log.try_next().await? else { return Err(log_ended(self.shard)) };
                seq = entry.seq;
                if seq <= self.folded_to {
                    self.keep(entry, &mut writer).await?;
                }
                rest(&mut seen).await;
            }
        }
        Ok(writer)
    }

    async fn keep(&self, entry: LogEntry, writer: &mut SnapshotWriter) -> Result<(), Error> {
        if Bus::run_of(&entry).is_some_and(|run| self.needed.contains(&run)) {
            writer.push(entry).await?;
        }
        Ok(())
    }
}

/// Lets others have their turn now and then.
async fn rest(seen: &mut usize) {
    *seen += 1;
    if seen.is_multiple_of(FOLD_BATCH) {
        tokio::task::yield_now().await;
    }
}
