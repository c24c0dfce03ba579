//! What operators have paused.

use std::collections::{BTreeMap, BTreeSet};

use planfleet_bus::flow::{Pause, Target};

/// Pools, tenants and classes of which nothing new is let go.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Pauses {
    by_target: BTreeMap<Target, Pause>,
    pools: BTreeSet<String>,
    tenants: BTreeSet<String>,
    classes: BTreeSet<String>,
}

impl Pauses {
    pub(super) fn new(pauses: impl IntoIterator<Item = Pause>) -> Self {
        let mut all = Self::default();
        for pause in pauses {
            let (set, name) = match &pause.target {
                Target::Pool(name) => (&mut all.pools, name),
                Target::Tenant(name) => (&mut all.tenants, name),
                Target::Class(name) => (&mut all.classes, name),
            };
            set.insert(name.clone());
            all.by_target.insert(pause.target.clone(), pause);
        }
        all
    }

    pub(super) fn hold(&self, pool: &str, tenant: &str, class: Option<&str>) -> bool {
        let classes = &self.classes;
        self.pools.contains(pool)
            || self.tenants.contains(tenant)
            || class.is_some_and(|class| classes.contains(class))
    }

    /// The pause that holds work, the widest first.
    pub(super) fn that_holds(&self, pool: &str, tenant: &str, class: Option<&str>) -> Option<&Pause> {
        let targets = [
            Some(Target::Pool(pool.to_owned())),
            Some(Target::Tenant(tenant.to_owned())),
            class.map(|class| Target::Class(class.to_owned())),
        ];
        targets.into_iter().flatten().find_map(|target| self.by_target.get(&target))
    }
}
