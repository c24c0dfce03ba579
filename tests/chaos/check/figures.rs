//! What a campaign measures.

mod gaps;
mod losses;

use std::{collections::BTreeMap, fmt};

use serde_json::{Value, json};

use super::{index::Index, rules::duplicated, stats::Durations};
use crate::history::{FaultKind, Target};

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
    /// Faults that were injected.
    pub(crate) faults: BTreeMap<(FaultKind, Target), u64>,
    /// The longest time without any accepted result anywhere while runs were active,
    /// with no fault near.
    pub(crate) gap_in_peace_ms: u64,
    /// The same with a fault of that kind near.
    pub(crate) gaps_ms: BTreeMap<(FaultKind, Target), u64>,
    /// From a coordinator's fault until each of its shards was opened again, while the
    /// broker was well.
    pub(crate) takeovers: BTreeMap<FaultKind, Durations>,
    /// The same, of any fault, while it was not.
    pub(crate) hampered: Durations,
    /// Shards that a coordinator lost and that were never opened again.
    pub(crate) orphaned: u64,
    /// From an executor's fault until the step that was in its hands began again.
    pub(crate) begun_again: BTreeMap<FaultKind, Durations>,
}

impl Figures {
    pub(crate) fn of(index: &Index<'_>) -> Self {
        let mut figures = Self::default();
        for (_, run) in index.each() {
            *figures.runs.entry(run.state().unwrap_or("-").to_owned()).or_default() += 1;
            figures.strict += u64::from(run.is_strict());
            let mut works = std::collections::BTreeSet::new();
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
        figures
    }

    /// The same for programs.
    pub(crate) fn json(&self) -> Value {
        let named = |(kind, target): &(FaultKind, Target)| format!("{kind:?} {target:?}");
        let of = |durations: &BTreeMap<FaultKind, Durations>| -> BTreeMap<String, Value> {
            durations.iter().map(|(kind, times)| (format!("{kind:?}"), times.json())).collect()
        };
        json!({
            "runs": self.runs,
            "strict": self.strict,
            "steps": self.steps,
            "duplicates": self.duplicates,
            "faults": self.faults.iter().map(|(what, n)| (named(what), n)).collect::<BTreeMap<_, _>>(),
            "gap_in_peace_ms": self.gap_in_peace_ms,
            "gaps_ms": self.gaps_ms.iter().map(|(what, ms)| (named(what), ms)).collect::<BTreeMap<_, _>>(),
            "takeovers": of(&self.takeovers),
            "hampered": self.hampered.json(),
            "orphaned": self.orphaned,
            "begun_again": of(&self.begun_again),
        })
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total: u64 = self.runs.values().sum();
        let by_state: Vec<_> = self.runs.iter().map(|(state, count)| format!("{count} {state}")).collect();
        writeln!(f, "  runs: {total} ({}), {} followed to the letter", by_state.join(", "), self.strict)?;
        writeln!(f, "  steps: {}, done again without an order: {}", self.steps, self.duplicates)?;
        writeln!(f, "  longest gap in progress with no fault near: {} ms", self.gap_in_peace_ms)?;
        for ((kind, target), count) in &self.faults {
            let gap = self.gaps_ms.get(&(*kind, *target)).copied().unwrap_or_default();
            writeln!(f, "  {kind:?} of {target:?}: {count} times, longest gap in progress {gap} ms")?;
        }
        for (kind, times) in &self.takeovers {
            writeln!(f, "  shards taken over after {kind:?}: {times}")?;
        }
        if self.hampered.count() > 0 {
            writeln!(f, "  shards taken over around faults of the broker: {}", self.hampered)?;
        }
        if self.orphaned > 0 {
            writeln!(f, "  shards never taken over: {}", self.orphaned)?;
        }
        for (kind, times) in &self.begun_again {
            writeln!(f, "  lost steps begun again after {kind:?}: {times}")?;
        }
        Ok(())
    }
}
