//! Progress: how long nothing was accepted anywhere while there was work.

use std::collections::BTreeSet;

use super::Figures;
use crate::{
    check::index::{Index, Seen},
    history::{Fault, FaultKind, Target},
};

/// How long after its end a fault still counts as near: connections and leases take
/// a few seconds to come back.
const NEAR_MS: u64 = 5_000;

/// What moves the count of active runs, or shows that something moves.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Begins,
    Accepted,
    Ends,
}

/// Fills in the longest gaps. One begins with an accepted result, or with work where there
/// was none, and is over with the next result, when there is no work any more, or when
/// nobody looks any more.
pub(super) fn measure(index: &Index<'_>, figures: &mut Figures) {
    let mut events: Vec<(u64, Event)> = index.runs.iter().flat_map(events_of).collect();
    events.sort_unstable();
    let mut faults: Vec<&Fault> = index.history.faults.iter().collect();
    faults.sort_by_key(|fault| fault.from_ms);
    let (mut active, mut since_ms) = (0u64, 0);
    for (at_ms, event) in events {
        match event {
            Event::Begins => {
                since_ms = if active == 0 { at_ms } else { since_ms };
                active += 1;
            }
            Event::Accepted if active > 0 => {
                note(figures, &faults, since_ms, at_ms);
                since_ms = at_ms;
            }
            Event::Accepted => {}
            Event::Ends => {
                active = active.saturating_sub(1);
                if active == 0 {
                    note(figures, &faults, since_ms, at_ms);
                }
            }
        }
    }
    if active > 0 {
        note(figures, &faults, since_ms, index.ends_ms);
    }
}

fn events_of(run: &Seen<'_>) -> Vec<(u64, Event)> {
    let Some(submitted) = run.fold.submitted else { return Vec::new() };
    let works = run.fold.steps.values().flat_map(|step| step.works.values());
    let accepted = works.filter_map(|work| work.taken()).map(|(taken, _)| (taken.at_ms, Event::Accepted));
    let ended = run.says_ended_ms().map(|ended_ms| (ended_ms, Event::Ends));
    [(submitted.at_ms, Event::Begins)].into_iter().chain(accepted).chain(ended).collect()
}

/// A gap belongs to every fault that was near it.
fn note(figures: &mut Figures, faults: &[&Fault], from_ms: u64, to_ms: u64) {
    let gap_ms = to_ms.saturating_sub(from_ms);
    let begun = faults.partition_point(|fault| fault.from_ms <= to_ms);
    let near = faults[..begun].iter().filter(|fault| fault.to_ms + NEAR_MS >= from_ms);
    let near: BTreeSet<(FaultKind, Target)> = near.map(|fault| (fault.kind, fault.target)).collect();
    if near.is_empty() {
        figures.gap_in_peace_ms = figures.gap_in_peace_ms.max(gap_ms);
    }
    for what in near {
        let longest = figures.gaps_ms.entry(what).or_default();
        *longest = gap_ms.max(*longest);
    }
}
