//! How much the shard holds and takes, for those who submit.

use std::time::Duration;

use planfleet_bus::admission::{FEW_TENANTS_MAX, FULL_TENANTS_MAX, Load};
use planfleet_core::id::ShardId;
use tokio::time::Instant;

use super::Owner;
use crate::tenants::is_few;

/// Over how long the pace of ends is measured: a few renewals.
const PACE_OVER: Duration = Duration::from_secs(5);

/// How fast runs end.
#[derive(Debug, Default)]
pub(super) struct Pace {
    since: Option<(Instant, u64)>,
    ended_per_s: u64,
}

impl Pace {
    fn look(&mut self, ended: u64) -> u64 {
        let now = Instant::now();
        let (since, before) = *self.since.get_or_insert((now, ended));
        let passed = now.duration_since(since);
        if passed >= PACE_OVER {
            let in_all = u128::from(ended.saturating_sub(before));
            self.ended_per_s = u64::try_from(in_all * 1_000 / passed.as_millis()).unwrap_or(u64::MAX);
            self.since = Some((now, ended));
        }
        self.ended_per_s
    }
}

impl Owner {
    pub(super) fn load(&mut self) -> Load {
        let (shard, room) = (&self.follower.shard, &self.config.room);
        let shards = self.bus.shards();
        let part = |runs: u64| part(runs, shards);
        let most = |tenant: &str| room.runs_of.get(tenant).copied().unwrap_or(room.runs_of_tenant);
        let mut few: Vec<_> = shard.tenants().filter(|(tenant, _)| is_few(most(tenant), shards)).collect();
        // Those first who are nearest to their limit.
        few.sort_by_key(|(tenant, runs)| std::cmp::Reverse(runs.saturating_mul(1_000) / most(tenant).max(1)));
        few.truncate(FEW_TENANTS_MAX);
        let runs_of_few = few.into_iter().map(|(tenant, runs)| (tenant.to_owned(), runs)).collect();
        self.tenants.note(self.id, &runs_of_few);
        let in_all = self.tenants.in_all();
        let full_of_few = in_all.into_iter().filter(|(tenant, runs)| *runs >= most(tenant));
        let full_here =
            |(tenant, runs): &(&str, u64)| !is_few(most(tenant), shards) && *runs >= part(most(tenant));
        let full = shard.tenants().filter(full_here).map(|(tenant, _)| tenant.to_owned());
        let full_tenants = full.chain(full_of_few.map(|(tenant, _)| tenant)).take(FULL_TENANTS_MAX).collect();
        Load {
            active: shard.len() as u64,
            active_max: part(room.runs),
            ended_per_s: self.pace.look(shard.ended_count()),
            full_tenants,
            runs_of_few,
        }
    }
}

/// A shard's part of what the fleet takes.
fn part(runs: u64, shards: ShardId) -> u64 {
    runs.div_ceil(u64::from(shards.max(1))).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_pace_is_that_of_the_last_seconds() {
        let mut pace = Pace::default();
        assert_eq!(pace.look(1_000), 0);
        tokio::time::advance(PACE_OVER).await;
        assert_eq!(pace.look(1_500), 100);
        tokio::time::advance(PACE_OVER / 2).await;
        assert_eq!(pace.look(9_000), 100);
        tokio::time::advance(PACE_OVER / 2).await;
        assert_eq!(pace.look(1_500), 0);
    }

    #[test]
    fn shards_share_what_the_fleet_takes() {
        assert_eq!([part(200_000, 4), part(10, 16), part(0, 4)], [50_000, 1, 1]);
    }
}
