//! How much may be at work at once of a tenant, of a tool or with a model, in the whole
//! fleet.
//!
//! A limit is divided among the shards: each has an equal part, and the first ones what
//! is left over. A coordinator counts the parts of its shards together, so that one that
//! owns them all has the whole limit, whichever of its runs need it, and a takeover takes
//! its part along. The parts add up to the limit, and nobody has to ask anybody. The price:
//! of a limit that is smaller than the number of shards, who owns only shards without a part
//! may have one at work all the same, as its runs would stand still for ever; where runs
//! are few, a part may lie idle that another coordinator could use; and who hands a shard
//! over while others of its shards use that one's part is over its own until they are done,
//! and lets nothing go meanwhile.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use planfleet_core::id::ShardId;

use super::{
    FlowSettings,
    queue::{Key, Lane},
};

/// What limits there are, and what they are used for.
#[derive(Debug)]
pub(super) struct Limits {
    shards: ShardId,
    owned: BTreeSet<ShardId>,
    tenants: BTreeMap<String, Limit>,
    keys: BTreeMap<Key, Limit>,
}

/// A limit of the fleet's, and what this coordinator uses of its part.
#[derive(Debug, Clone, Copy)]
struct Limit {
    whole: usize,
    used: usize,
}

impl Limit {
    const fn of(whole: usize) -> Self {
        Self { whole, used: 0 }
    }
}

impl Limits {
    pub(super) fn new(settings: &FlowSettings, shards: ShardId) -> Self {
        let tenants = settings.tenants.iter();
        let tenants = tenants.filter_map(|(name, own)| Some((name.clone(), Limit::of(own.concurrency?))));
        let tools = settings.tools.iter().map(|(name, max)| (Key::Tool(name.as_str().into()), *max));
        let models = settings.models.iter().map(|(name, max)| (Key::Model(name.as_str().into()), *max));
        Self {
            shards,
            owned: BTreeSet::new(),
            tenants: tenants.collect(),
            keys: tools.chain(models).map(|(key, max)| (key, Limit::of(max))).collect(),
        }
    }

    pub(super) fn own(&mut self, shard: ShardId) {
        self.owned.insert(shard);
    }

    pub(super) fn disown(&mut self, shard: ShardId) {
        self.owned.remove(&shard);
    }

    pub(super) const fn owned(&self) -> &BTreeSet<ShardId> {
        &self.owned
    }

    /// This coordinator's part of a limit.
    pub(super) fn part(&self, whole: usize) -> usize {
        let shards = usize::from(self.shards.max(1));
        let over = whole % shards;
        let owned = self.owned.iter().map(|shard| whole / shards + usize::from(usize::from(*shard) < over));
        owned.sum::<usize>().max(1)
    }

    /// Of what a piece of work needs, that of which there is a limit.
    pub(super) fn lane(&self, needs: impl IntoIterator<Item = Key>) -> Lane {
        let mut lane: Lane = needs.into_iter().filter(|key| self.keys.contains_key(key)).collect();
        lane.sort_unstable();
        lane.dedup();
        lane
    }

    /// Whether one more of a tenant's may be at work that needs this.
    pub(super) fn allow(&self, tenant: &str, lane: &[Key]) -> bool {
        let free = |limit: &Limit| limit.used < self.part(limit.whole);
        self.tenants.get(tenant).is_none_or(free)
            && lane.iter().all(|key| self.keys.get(key).is_none_or(free))
    }

    pub(super) fn take(&mut self, tenant: &str, lane: &[Key]) {
        self.each(tenant, lane, |used| *used += 1);
    }

    pub(super) fn give_back(&mut self, tenant: &str, lane: &[Key]) {
        self.each(tenant, lane, |used| *used = used.saturating_sub(1));
    }

    fn each(&mut self, tenant: &str, lane: &[Key], change: impl Fn(&mut usize)) {
        if let Some(limit) = self.tenants.get_mut(tenant) {
            change(&mut limit.used);
        }
        for key in lane {
            if let Some(limit) = self.keys.get_mut(key) {
                change(&mut limit.used);
            }
        }
    }

    /// Each limit by its name, with this coordinator's part of it and what is used.
    pub(super) fn shown(&self) -> impl Iterator<Item = (&'static str, Arc<str>, usize, usize)> {
        let tenants = self.tenants.iter().map(|(name, limit)| ("tenant", Arc::from(name.as_str()), limit));
        let keys = self.keys.iter().map(|(key, limit)| match key {
            Key::Model(name) => ("model", Arc::clone(name), limit),
            Key::Tool(name) => ("tool", Arc::clone(name), limit),
        });
        tenants.chain(keys).map(|(what, name, limit)| (what, name, self.part(limit.whole), limit.used))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::TenantFlow;

    fn limits(shards: ShardId, owned: &[ShardId]) -> Limits {
        let settings = FlowSettings {
            tenants: [("acme".to_owned(), TenantFlow { weight: 1, concurrency: Some(2) })].into(),
            tools: [("search".to_owned(), 1)].into(),
            ..FlowSettings::default()
        };
        let mut limits = Limits::new(&settings, shards);
        owned.iter().for_each(|shard| limits.own(*shard));
        limits
    }

    #[test]
    fn the_parts_of_all_coordinators_are_the_limit() {
        for whole in 4..40 {
            let parts: Vec<usize> =
                [&[0, 3][..], &[1], &[2]].iter().map(|owned| limits(4, owned).part(whole)).collect();
            assert_eq!(parts.iter().sum::<usize>(), whole, "{parts:?}");
        }
        assert_eq!(limits(4, &[0, 1, 2, 3]).part(3), 3);
        assert_eq!(limits(4, &[3]).part(3), 1, "nothing stands still");
    }

    #[test]
    fn what_is_used_up_is_not_given_twice() {
        let mut limits = limits(1, &[0]);
        let tool = |name: &str| Key::Tool(name.into());
        let search = limits.lane([tool("search"), tool("other"), tool("search")]);
        assert_eq!(search, [tool("search")]);
        assert!(limits.allow("acme", &search));
        limits.take("acme", &search);
        assert!(limits.allow("acme", &[]) && !limits.allow("acme", &search) && !limits.allow("b", &search));
        limits.take("acme", &[]);
        assert!(!limits.allow("acme", &[]) && limits.allow("b", &[]));
        limits.give_back("acme", &search);
        assert!(limits.allow("acme", &search) && limits.allow("b", &search));
        let shown: Vec<_> =
            limits.shown().map(|(what, name, part, used)| (what, name.to_string(), part, used)).collect();
        assert_eq!(shown, [("tenant", "acme".to_owned(), 2, 1), ("tool", "search".to_owned(), 1, 0)]);
    }
}
