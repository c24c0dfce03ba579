//! What a campaign measures.

mod gaps;
mod losses;
mod promises;
mod stops;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use planfleet_core::id::StepId;
use planfleet_proto::subjects::WorkKind;
use serde_json::{Value, json};

pub(crate) use self::promises::Promise;
use self::promises::Timing;
use super::{index::Index, rules::duplicated};
use crate::history::{Dispatch, FaultKind, Target};

/// The figures of one campaign; durations in milliseconds.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    /// Runs in the logs, by the state of their document; `-` without one.
    pub(crate) runs: BTreeMap<String, u64>,
    /// How many of them the fold could follow to the letter.
    pub(crate) strict: u64,
    /// Pieces of work that the ledger has seen.
    pub(crate) steps: u64,
    /// Effects beyond those that were ordered.
    pub(crate) duplicates: u64,
    /// The share of steps that they may be.
    pub(crate) duplicates_max: f64,
    /// Attempts of steps that the logs have reports of.
    pub(crate) reported: u64,
    /// How many of them were seen ordered, by an epoch's owner at a position of its log.
    pub(crate) seen: u64,
    /// Faults that were injected.
    pub(crate) faults: BTreeMap<(FaultKind, Target), u64>,
    /// The longest time without any accepted result anywhere while runs were active,
    /// with no fault near.
    pub(crate) gap_in_peace_ms: u64,
    /// The same with a fault of that kind near.
    pub(crate) gaps_ms: BTreeMap<(FaultKind, Target), u64>,
    /// How long what is promised took.
    pub(crate) timings: BTreeMap<Promise, Timing>,
    /// Promises that were not kept.
    pub(crate) missed: Vec<String>,
    /// Shards that a coordinator lost and that were never opened again.
    pub(crate) orphaned: u64,
}

impl Figures {
    pub(crate) fn of(index: &Index<'_>) -> Self {
        let mut figures = Self { duplicates_max: index.limits.duplicates, ..Self::default() };
        for (_, run) in index.each() {
            *figures.runs.entry(run.state().unwrap_or("-").to_owned()).or_default() += 1;
            figures.strict += u64::from(run.is_strict());
            let seen: BTreeSet<_> = run.dispatches.iter().filter_map(|order| ordered(order)).collect();
            figures.reported += run.fold.reports.len() as u64;
            figures.seen += run.fold.reports.keys().filter(|report| seen.contains(report)).count() as u64;
            let mut works = BTreeSet::new();
            for (effect, duplicate) in duplicated(run) {
                works.insert((&effect.node, effect.item));
                figures.duplicates += u64::from(duplicate);
            }
            figures.steps += works.len() as u64;
        }
        for fault in &index.history.faults {
            *figures.faults.entry((fault.kind, fault.target)).or_default() += 1;
        }
        gaps::measure(index, &mut figures);
        losses::measure(index, &mut figures);
        stops::measure(index, &mut figures);
        figures
    }

    /// The same for programs.
    pub(crate) fn json(&self) -> Value {
        let named = |(kind, target): &(FaultKind, Target)| format!("{kind:?} {target:?}");
        let timings = self.timings.iter().map(|(promise, timing)| (promise.to_string(), timing.json()));
        json!({
            "runs": self.runs,
            "strict": self.strict,
            "steps": self.steps,
            "duplicates": self.duplicates,
            "duplicates_max": self.duplicates_max,
            "reported": self.reported,
            "seen": self.seen,
            "faults": self.faults.iter().map(|(what, n)| (named(what), n)).collect::<BTreeMap<_, _>>(),
            "gap_in_peace_ms": self.gap_in_peace_ms,
            "gaps_ms": self.gaps_ms.iter().map(|(what, ms)| (named(what), ms)).collect::<BTreeMap<_, _>>(),
            "timings": timings.collect::<BTreeMap<_, _>>(),
            "missed": self.missed,
            "orphaned": self.orphaned,
        })
    }
}

/// The attempt of a step that was ordered, if it is known by whom and when.
fn ordered(order: &Dispatch) -> Option<(StepId, u32)> {
    match order.work.what {
        WorkKind::Step(step) if order.epoch.is_some() && order.log_seq.is_some() => {
            Some((step, order.work.attempt))
        }
        _ => None,
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total: u64 = self.runs.values().sum();
        let by_state: Vec<_> = self.runs.iter().map(|(state, count)| format!("{count} {state}")).collect();
        writeln!(f, "  runs: {total} ({}), {} followed to the letter", by_state.join(", "), self.strict)?;
        let (share, most) =
            (self.duplicates as f64 / self.steps.max(1) as f64 * 100.0, self.duplicates_max * 100.0);
        let Self { steps, duplicates, reported, seen, .. } = self;
        writeln!(
            f,
            "  steps: {steps}, done again without an order: {duplicates}, {share:.2} % of at most {most:.2} %"
        )?;
        writeln!(f, "  attempts reported: {reported}, seen ordered: {seen}")?;
        writeln!(f, "  longest gap in progress with no fault near: {} ms", self.gap_in_peace_ms)?;
        for ((kind, target), count) in &self.faults {
            let gap = self.gaps_ms.get(&(*kind, *target)).copied().unwrap_or_default();
            writeln!(f, "  {kind:?} of {target:?}: {count} times, longest gap in progress {gap} ms")?;
        }
        for (promise, timing) in &self.timings {
            writeln!(f, "  {promise}: {timing}")?;
        }
        if self.orphaned > 0 {
            writeln!(f, "  shards never taken over: {}", self.orphaned)?;
        }
        Ok(())
    }
}
