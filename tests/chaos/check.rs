//! The checker: judges a [`History`] by rules that do not share a line with the
//! product's own fold.
//!
//! [`fold`] reads each run's log by hand: what was ordered when, which result of
//! which attempt was the one to take, when the run was over. [`index`] puts
//! everything that was seen of a run beside that, in one pass. [`rules`] are
//! functions over the index, each linear in what was seen; [`figures`] are what a
//! campaign measures; [`verdict`] is the report.
//!
//! Nothing is concluded from absence where the witness may have missed something,
//! and every rule says how many things it has looked at: a rule that looked at
//! nothing shows.

mod figures;
mod fold;
mod index;
mod rules;
mod stats;
#[cfg(test)]
mod tests;
mod verdict;

pub(crate) use self::{
    figures::{Figures, Promise},
    verdict::Verdict,
};
use self::{
    index::Index,
    verdict::{Finding, Pass},
};
use crate::history::History;

/// What a campaign has promised.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// The share of steps that may have been carried out more often than ordered:
    /// 0.01 under faults, 0 without.
    pub(crate) duplicates: f64,
    /// How long after the last fault every run has to have ended.
    pub(crate) end_within_ms: u64,
    /// How many times as long as is promised things may take: 1, or more where faults come
    /// closer together than promises are made for.
    pub(crate) patience: u64,
}

impl Limits {
    /// What holds under faults: at most one step of a hundred done twice, and all
    /// runs ended five minutes after the last fault.
    pub(crate) const UNDER_FAULTS: Self = Self { duplicates: 0.01, end_within_ms: 300_000, patience: 1 };

    /// What holds when nothing goes wrong.
    pub(crate) const WITHOUT_FAULTS: Self = Self { duplicates: 0.0, ..Self::UNDER_FAULTS };
}

/// Every rule by its name.
pub(crate) fn rule_names() -> impl Iterator<Item = &'static str> {
    rules::RULES.into_iter().map(|(name, _)| name)
}

/// Judges a history.
pub(crate) fn judge(history: &History, limits: &Limits) -> Verdict {
    let index = Index::of(history, limits);
    let passes = rules::RULES.map(|(name, rule)| {
        let mut pass = Pass::default();
        rule(&index, &mut pass);
        let finding = pass.first.map(|(first, bad)| Finding {
            text: first.text,
            more: bad - 1,
            story: index.story(first.run, first.at_ms),
        });
        (name, pass.checked, finding)
    });
    Verdict::new(passes.into(), Figures::of(&index))
}
