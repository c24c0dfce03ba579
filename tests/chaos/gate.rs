//! Whether a campaign counts: it has done what it says it does, while there was work.

use std::collections::BTreeMap;

use crate::{
    history::Fault,
    nemesis::plan::{Named, OF_EACH, Planned, shown},
    workload::Kind,
};

/// What was going on when the last fault had been mended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AtHealing {
    /// Runs that had not ended.
    pub(crate) active: usize,
    /// Calls of the ledger that were being answered, some moment about then.
    pub(crate) calls: usize,
}

/// Of which faults a campaign has too few to prove anything.
pub(crate) fn unproven(plan: &[Planned], faults: &[Fault]) -> Vec<String> {
    let mut named: BTreeMap<Named, usize> =
        plan.iter().map(|fault| ((fault.kind, fault.target), 0)).collect();
    for fault in faults {
        *named.entry((fault.kind, fault.target)).or_default() += 1;
    }
    let short = named.iter().filter(|(_, count)| **count < OF_EACH);
    short
        .map(|(kind, count)| format!("{} was proven {count} times, {OF_EACH} are needed", shown(*kind)))
        .collect()
}

/// What a campaign did not have the fleet do: a kind of task that was not there, or
/// nothing to do when it healed.
pub(crate) fn idle(tasks: &BTreeMap<Kind, usize>, healing: AtHealing) -> Vec<String> {
    let missing = Kind::ALL.into_iter().filter(|kind| !tasks.contains_key(kind));
    let mut why: Vec<String> =
        missing.map(|kind| format!("no task of the kind {kind:?} was submitted")).collect();
    if healing.active == 0 {
        why.push("no run was going on when the last fault had ended".to_owned());
    }
    if healing.calls == 0 {
        why.push("no step was at work when the last fault had ended".to_owned());
    }
    why
}

/// Proven faults by kind.
pub(crate) fn by_kind(faults: &[Fault]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for fault in faults {
        *counts.entry(shown((fault.kind, fault.target))).or_default() += 1;
    }
    counts
}
