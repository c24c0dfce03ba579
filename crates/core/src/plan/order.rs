//! The order of a plan's steps where the one they were written in is not known.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::PlanStep;

/// The steps in an order in which each comes after those it depends on, and by
/// id where that leaves a choice. Those on or behind a cycle come last, for the
/// linter to name.
#[must_use]
pub fn by_dependency(steps: Vec<Arc<PlanStep>>) -> Vec<Arc<PlanStep>> {
    let mut waiting: BTreeMap<u32, Arc<PlanStep>> = steps.into_iter().map(|step| (step.id, step)).collect();
    let mut dependents: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    let mut missing: BTreeMap<u32, usize> = BTreeMap::new();
    for step in waiting.values() {
        let mut on = step.dependencies();
        on.retain(|on| waiting.contains_key(on));
        missing.insert(step.id, on.len());
        on.into_iter().for_each(|on| dependents.entry(on).or_default().push(step.id));
    }
    let mut ready: BTreeSet<u32> =
        missing.iter().filter(|(_, missing)| **missing == 0).map(|(id, _)| *id).collect();
    let mut ordered = Vec::with_capacity(waiting.len());
    while let Some(id) = ready.pop_first() {
        ordered.extend(waiting.remove(&id));
        for dependent in dependents.remove(&id).unwrap_or_default() {
            if let Some(missing) = missing.get_mut(&dependent) {
                *missing -= 1;
                if *missing == 0 {
                    ready.insert(dependent);
                }
            }
        }
    }
    ordered.extend(waiting.into_values());
    ordered
}
