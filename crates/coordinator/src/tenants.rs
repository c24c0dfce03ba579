//! How many runs tenants have in the whole fleet that may have few.
//!
//! A limit is divided among the shards, as runs are; but by chance alone one shard gets twice
//! its part of twenty runs, and a tenant would be refused that has half of what it may have. So
//! owners say in their leases how many each such tenant has with them, and each adds up what
//! all say, as old as a lease is.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use planfleet_core::id::ShardId;

/// A limit of fewer runs for each shard is that of a tenant with few: chance fills a part of
/// so many to a half more than the others now and then, and hardly further.
const FEW: u64 = 32;

/// What the leases of all shards say, those of one's own included.
#[derive(Debug, Default)]
pub(crate) struct Tenants(Mutex<BTreeMap<ShardId, BTreeMap<String, u64>>>);

impl Tenants {
    /// A shard's owner says so.
    pub(crate) fn note(&self, shard: ShardId, runs: &BTreeMap<String, u64>) {
        let mut shards = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if shards.get(&shard).is_none_or(|known| known != runs) {
            shards.insert(shard, runs.clone());
        }
    }

    /// What each has in all shards together.
    pub(crate) fn in_all(&self) -> BTreeMap<String, u64> {
        let shards = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sums = BTreeMap::new();
        for (tenant, runs) in shards.values().flatten() {
            *sums.entry(tenant.clone()).or_default() += runs;
        }
        sums
    }
}

/// Whether a tenant that may have so many runs has few in each of so many shards.
pub(crate) const fn is_few(most: u64, shards: ShardId) -> bool {
    most < FEW * shards as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_tenant_has_is_added_up() {
        let tenants = Tenants::default();
        let runs = |count| BTreeMap::from([("acme".to_owned(), count)]);
        (0..3).for_each(|shard| tenants.note(shard, &runs(u64::from(shard) + 1)));
        assert_eq!(tenants.in_all(), runs(6));
        tenants.note(2, &BTreeMap::new());
        assert_eq!(tenants.in_all(), runs(3), "a lease that is free says of nobody anything");
        assert!(is_few(511, 16) && !is_few(512, 16));
    }
}
