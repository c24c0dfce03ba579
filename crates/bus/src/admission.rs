//! Whether a shard takes another run.
//!
//! Its owner says in its lease, a few times a second, how many runs it holds and how many it
//! takes; whoever submits looks there first. So a fleet with more work than it gets done
//! refuses at once and says when to come again, instead of taking what its coordinators have
//! no memory for; and what it has taken, it does. Between two looks a submitter counts what it
//! has submitted itself. That others do so meanwhile is not counted: the limit is no wall, and
//! passed by what comes within a second at most.
//!
//! A run that another one starts is not refused: its parent has been taken.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use planfleet_core::id::ShardId;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{Mutex as AsyncMutex, MutexGuard as AsyncMutexGuard},
    time::Instant,
};

use crate::{Bus, Error};

/// How long what a lease says is good enough: two renewals of it.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Tenants that a lease names at most, so that it stays small.
pub const FULL_TENANTS_MAX: usize = 100;

/// Tenants whose runs a lease counts at most, likewise.
pub const FEW_TENANTS_MAX: usize = 100;

/// Who is refused comes again when one run in so many has ended: soon enough to keep a fleet
/// busy, late enough to find room.
const ROOM_PART: u64 = 20;

/// What to wait when nobody can tell how fast runs end, and at most: a fleet gets new workers
/// in about that time.
const RETRY_AFTER_MAX_S: u64 = 30;

/// How much a shard holds and takes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Load {
    /// Its active runs.
    pub active: u64,
    /// How many it takes; 0 when its owner does not say, and then it takes all.
    pub active_max: u64,
    /// Runs that ended lately, in a second.
    pub ended_per_s: u64,
    /// Tenants that have as many as one may have, up to [`FULL_TENANTS_MAX`].
    pub full_tenants: Vec<String>,
    /// The active runs here of tenants that may have few in the whole fleet, for the owners of
    /// other shards: those with the most, up to [`FEW_TENANTS_MAX`].
    pub runs_of_few: BTreeMap<String, u64>,
}

/// Why a run is not taken now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The fleet holds as many runs as it can.
    #[error(
        "shard {shard} has {active} active runs and takes {active_max} (its part of limits.active_runs); \
         submit again in {retry_after_s} s"
    )]
    Fleet {
        /// The run's shard.
        shard: ShardId,
        /// Active runs there.
        active: u64,
        /// The most that it takes.
        active_max: u64,
        /// When to come again, in seconds.
        retry_after_s: u64,
    },
    /// The tenant has as many as one tenant may have.
    #[error(
        "tenant {tenant:?} has as many active runs as it may have (limits.active_runs_per_tenant); \
         submit again in {retry_after_s} s"
    )]
    Tenant {
        /// The tenant.
        tenant: String,
        /// When to come again, in seconds.
        retry_after_s: u64,
    },
}

impl Refused {
    /// When to come again, in seconds.
    #[must_use]
    pub const fn retry_after_s(&self) -> u64 {
        match self {
            Self::Fleet { retry_after_s, .. } | Self::Tenant { retry_after_s, .. } => *retry_after_s,
        }
    }
}

impl Load {
    fn admit(&self, shard: ShardId, tenant: &str, submitted: u64) -> Result<(), Refused> {
        let (active, active_max, retry_after_s) =
            (self.active + submitted, self.active_max, self.retry_after_s());
        if active_max > 0 && active >= active_max {
            return Err(Refused::Fleet { shard, active, active_max, retry_after_s });
        }
        match self.full_tenants.iter().any(|full| full == tenant) {
            true => Err(Refused::Tenant { tenant: tenant.to_owned(), retry_after_s }),
            false => Ok(()),
        }
    }

    fn retry_after_s(&self) -> u64 {
        let room = (self.active_max / ROOM_PART).max(1);
        room.checked_div(self.ended_per_s).unwrap_or(RETRY_AFTER_MAX_S).clamp(1, RETRY_AFTER_MAX_S)
    }
}

/// What one process knows of the load of shards.
#[derive(Debug, Default)]
pub(crate) struct Loads(Mutex<BTreeMap<ShardId, Arc<Shard>>>);

/// One shard's.
#[derive(Debug, Default)]
struct Shard {
    seen: Mutex<Seen>,
    /// Held by who looks.
    looking: AsyncMutex<()>,
}

/// What was seen of one shard.
#[derive(Debug, Default)]
struct Seen {
    looked: Option<Instant>,
    /// The lease's writing: as long as it stays, nobody folds what is submitted.
    beat: u64,
    load: Load,
    /// Submitted by this process since the lease was written.
    submitted: u64,
}

impl Shard {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held by whoever looks now. Nobody else waits for that, so that a refusal comes from memory
    /// however slow the broker is; before the first look there is nothing to go by, and all wait.
    async fn look(&self) -> Option<AsyncMutexGuard<'_, ()>> {
        let is_due = || self.seen().looked.is_none_or(|looked| looked.elapsed() >= LOOK_EVERY);
        if !is_due() {
            return None;
        }
        let never = self.seen().looked.is_none();
        let looking = if never { Some(self.looking.lock().await) } else { self.looking.try_lock().ok() };
        // Somebody else may have looked while this one waited.
        looking.filter(|_| is_due())
    }
}

impl Seen {
    fn admit(&mut self, shard: ShardId, tenant: &str) -> Result<(), Refused> {
        self.load.admit(shard, tenant, self.submitted)?;
        self.submitted += 1;
        Ok(())
    }
}

impl Bus {
    /// Whether a run of that tenant is taken now; if so, it counts as submitted. Reads the
    /// shard's lease once a second at most. When that cannot be read the run is let through:
    /// the submit finds out what is wrong.
    ///
    /// # Errors
    /// [`Error::Refused`] when it is not.
    pub(crate) async fn admit(&self, shard: ShardId, tenant: &str) -> Result<(), Error> {
        let known = {
            let mut shards = self.loads.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(shards.entry(shard).or_default())
        };
        if let Some(_looking) = known.look().await {
            let lease = self.lease(shard).await;
            let mut seen = known.seen();
            seen.looked = Some(Instant::now());
            if let Ok(Some(held)) = lease
                && (held.lease.beat != seen.beat || seen.beat == 0)
            {
                let (beat, load) = (held.lease.beat, held.lease.load);
                *seen = Seen { looked: seen.looked, beat, load, submitted: 0 };
            }
        }
        Ok(known.seen().admit(shard, tenant)?)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn load(active: u64) -> Load {
        Load {
            active,
            active_max: 100,
            ended_per_s: 2,
            full_tenants: vec!["greedy".to_owned()],
            ..Load::default()
        }
    }

    #[test]
    fn what_was_submitted_since_counts() {
        assert_eq!(load(90).admit(3, "acme", 9), Ok(()));
        let refused = load(90).admit(3, "acme", 10).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "shard 3 has 100 active runs and takes 100 (its part of limits.active_runs); submit again in 2 s"
        );
        assert_eq!(Load::default().admit(3, "acme", 1_000_000), Ok(()), "an owner that says nothing");
    }

    #[tokio::test(start_paused = true)]
    async fn one_looks_and_nobody_waits_for_that_but_at_first() {
        let shard = Shard::default();
        let first = shard.look().await.expect("nobody has looked");
        assert!(shard.look().now_or_never().is_none(), "there is nothing to go by yet");
        shard.seen().looked = Some(Instant::now());
        drop(first);
        assert!(shard.look().now_or_never().expect("at once").is_none(), "it is fresh");
        tokio::time::advance(LOOK_EVERY).await;
        let _again = shard.look().await.expect("it is due");
        assert!(shard.look().now_or_never().expect("at once").is_none(), "somebody looks already");
    }

    #[test]
    fn a_tenant_that_has_enough_does_not_keep_others_out() {
        assert_eq!(load(10).admit(0, "acme", 0), Ok(()));
        let refused = load(10).admit(0, "greedy", 0).unwrap_err();
        assert!(matches!(&refused, Refused::Tenant { tenant, retry_after_s: 2 } if tenant == "greedy"));
    }

    #[test]
    fn the_wait_follows_how_fast_runs_end() {
        let wait =
            |active_max, ended_per_s| Load { active_max, ended_per_s, ..Load::default() }.retry_after_s();
        assert_eq!([wait(10_000, 100), wait(100, 1_000), wait(10_000, 1), wait(10_000, 0)], [5, 1, 30, 30]);
    }
}
