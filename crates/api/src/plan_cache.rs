//! The plan cache as people and programs see it.

use planfleet_core::{
    cache::{Cost, Entry, Way},
    document::{rfc3339, usd},
};
use serde_json::json;

pub use crate::view::{CacheDetail, CacheEntry, Outcomes};

/// What its uses that succeeded have saved: after the others there was more to plan, not less.
#[must_use]
pub fn saved_by(entry: &Entry) -> Cost {
    let (cost, uses) = (&entry.cost, entry.used.succeeded);
    let nano_usd = if uses == 0 { Some(0) } else { cost.nano_usd.map(|nano| nano.saturating_mul(uses)) };
    Cost { tokens: cost.tokens.saturating_mul(uses), nano_usd, ms: cost.ms.saturating_mul(uses) }
}

/// What an entry is, without its plan.
#[must_use]
pub fn summary(key: &str, entry: &Entry) -> CacheEntry {
    let saved = saved_by(entry);
    CacheEntry {
        key: key.to_owned(),
        tenant: entry.tenant.clone(),
        class: entry.class.clone(),
        slots: entry.slots.clone(),
        way: way(entry),
        proven: entry.is_proven(),
        pinned: entry.pinned,
        model: entry.model.clone(),
        made_at: rfc3339(entry.made_ms),
        used: entry.used.total(),
        failed: entry.used.failed,
        fresh: Outcomes { succeeded: entry.fresh.succeeded, failed: entry.fresh.failed },
        saved_tokens: saved.tokens,
        saved_usd: usd(saved.nano_usd),
        saved_ms: saved.ms,
    }
}

fn way(entry: &Entry) -> String {
    let pinned = if entry.pinned { ", pinned" } else { "" };
    let demoted = if entry.is_good() { "" } else { ", demoted" };
    match &entry.way {
        Way::Writing { .. } => "is being planned".to_owned(),
        Way::Plan(plan) => format!("a plan of {} steps{pinned}{demoted}", plan.steps.len()),
        Way::Direct => format!("one step, no plan{pinned}{demoted}"),
        Way::Each { reason } => format!("a plan for each: {reason}"),
    }
}

/// An entry, whole.
#[must_use]
pub fn detail(key: &str, entry: &Entry) -> CacheDetail {
    let plan = match &entry.way {
        Way::Plan(plan) => json!(plan).as_object().cloned(),
        _ => None,
    };
    CacheDetail { entry: summary(key, entry), goal: entry.goal.clone(), plan }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(succeeded: u64, failed: u64, nano_usd: Option<u64>) -> Entry {
        Entry {
            tenant: "default".to_owned(),
            class: "movies".to_owned(),
            slots: Vec::new(),
            goal: "Find a movie".to_owned(),
            extracted: false,
            way: Way::Direct,
            model: "big".to_owned(),
            cost: Cost { tokens: 900, nano_usd, ms: 2_000 },
            made_ms: 1,
            pinned: false,
            used: planfleet_core::cache::Outcomes { succeeded, failed },
            fresh: planfleet_core::cache::Outcomes::default(),
        }
    }

    #[test]
    fn only_uses_that_succeeded_have_saved() {
        let saved = saved_by(&entry(2, 3, Some(5)));
        assert_eq!(saved, Cost { tokens: 1_800, nano_usd: Some(10), ms: 4_000 });
        assert_eq!(saved_by(&entry(1, 0, None)).nano_usd, None);
        assert_eq!(saved_by(&entry(0, 3, None)).nano_usd, Some(0));
        assert_eq!(summary("k", &entry(2, 3, Some(5))).used, 5);
    }
}
