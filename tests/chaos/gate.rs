//! Whether a campaign counts: it has done what it says it does, while there was work, and
//! has seen enough of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use planfleet_core::{
    id::{RunId, StepId},
    record::Fact,
};
use planfleet_proto::{decode::Entry, subjects::WorkKind};

use crate::{
    check::Figures,
    history::{Fault, History},
    nemesis::plan::{Named, OF_EACH, Planned, shown},
    workload::Kind,
};

/// Of a hundred attempts that were reported, as many have to have been seen ordered, with
/// both headers. What the queue takes is repeated to the witness without an ack, so that a
/// server that dies may take some with it.
const SEEN_PERCENT: u64 = 90;

/// Of a hundred runs, as many have to be followed to the letter.
const STRICT_PERCENT: u64 = 50;

/// What was going on when the last fault had ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AtHealing {
    /// Runs that had been submitted and had not ended.
    pub(crate) active: usize,
    /// Calls of the ledger that had begun and were open.
    pub(crate) calls: usize,
    /// Steps that the queue had taken and nobody had answered.
    pub(crate) orders: usize,
}

impl fmt::Display for AtHealing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { active, calls, orders } = self;
        write!(f, "{active} runs active, {calls} calls open, {orders} steps ordered and not answered")
    }
}

/// What the history says of that moment.
pub(crate) fn at_healing(history: &History) -> AtHealing {
    let healed_ms = history.healed_ms;
    let mut active: BTreeSet<&RunId> = BTreeSet::new();
    let mut answered: BTreeSet<(&RunId, StepId, u32)> = BTreeSet::new();
    for logged in history.logs.values().flatten().filter(|logged| logged.at_ms <= healed_ms) {
        let Ok(Entry::Run(record)) = &logged.entry else { continue };
        let attempt = match &record.fact {
            Fact::TaskSubmitted(_) => {
                active.insert(&record.run);
                continue;
            }
            Fact::StepSucceeded(success) => &success.attempt,
            Fact::StepFailed(failed) => &failed.attempt,
            _ => continue,
        };
        answered.insert((&record.run, attempt.step, attempt.attempt));
    }
    for kept in history.documents.iter().filter(|kept| kept.at_ms <= healed_ms) {
        active.remove(&kept.run);
    }
    let open = history.effects.iter().filter(|effect| {
        effect.began_ms < healed_ms && effect.over_ms().is_none_or(|over_ms| over_ms > healed_ms)
    });
    let taken = history.dispatches.iter().filter(|dispatch| dispatch.at_ms <= healed_ms);
    let orders: BTreeSet<_> = taken
        .filter_map(|dispatch| match dispatch.work.what {
            WorkKind::Step(step) => Some((&dispatch.work.run, step, dispatch.work.attempt)),
            WorkKind::Planning(_) => None,
        })
        .filter(|order| active.contains(order.0) && !answered.contains(order))
        .collect();
    AtHealing { active: active.len(), calls: open.count(), orders: orders.len() }
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
    if healing.calls + healing.orders == 0 {
        why.push("no step was at work when the last fault had ended".to_owned());
    }
    why
}

/// What the witness and the checker have missed too much of. In peace there is no excuse.
pub(crate) fn blind(figures: &Figures, is_peaceful: bool) -> Vec<String> {
    let (seen, strict) = if is_peaceful { (100, 100) } else { (SEEN_PERCENT, STRICT_PERCENT) };
    let runs: u64 = figures.runs.values().sum();
    let shares = [
        ("attempts were seen ordered with both headers", figures.seen, figures.reported, seen),
        ("runs were followed to the letter", figures.strict, runs, strict),
    ];
    let short = shares.into_iter().filter(|(_, part, whole, percent)| part * 100 < whole * percent);
    short.map(|(what, part, whole, percent)| format!("{part} of {whole} {what}, not {percent} %")).collect()
}

/// Proven faults by kind.
pub(crate) fn by_kind(faults: &[Fault]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for fault in faults {
        *counts.entry(shown((fault.kind, fault.target))).or_default() += 1;
    }
    counts
}
