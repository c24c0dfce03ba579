//! one-accepted-result: of each step one result is taken, the one that the log says.

use std::collections::BTreeMap;

use planfleet_core::id::StepId;
use serde_json::Value;

use crate::check::{
    index::{Index, Seen},
    verdict::Pass,
};

/// What a document says of a step is what its log makes of it: the first result of
/// the newest attempt that was ordered before it, while the run had not ended. No
/// attempt reports that nobody ordered. Where a fold is loose, the output is one
/// that the attempt which the document names has put out.
pub(super) fn one_accepted_result(index: &Index<'_>, pass: &mut Pass) {
    for (at, run) in index.each() {
        for (record, step, attempt) in run.fold.unordered.iter().filter(|_| run.is_strict()) {
            pass.check(false, at, record.at_ms, || {
                format!("run {}: attempt {attempt} of step {step} reported, and nobody ordered it", run.id)
            });
        }
        let Some(document) = run.document() else { continue };
        let kept_ms = run.documents[0].at_ms;
        let entries = entries(document);
        for (id, entry) in &entries {
            let done = entry["state"] == "succeeded";
            let says = done.then(|| (entry["attempts"].as_u64().unwrap_or_default(), &entry["output"]));
            let made = made(run, *id);
            let same = match (run.is_strict(), says) {
                (true, says) => says == made.as_ref().map(|(attempt, output)| (*attempt, output)),
                (false, Some((attempt, output))) => has_put_out(run, *id, attempt, output),
                (false, None) => true,
            };
            pass.check(same, at, kept_ms, || {
                let state = &entry["state"];
                format!("run {} says of step {id}: {state} {says:?}; its log makes that {made:?}", run.id)
            });
        }
        if run.is_strict() {
            for (id, step) in &run.fold.steps {
                for item in step.works.keys() {
                    let id = StepId { step: *id, item: *item };
                    pass.check(entries.contains_key(&id), at, kept_ms, || {
                        format!("the document of run {} leaves out step {id}, which was ordered", run.id)
                    });
                }
            }
        }
    }
}

/// A document's steps and items by id.
fn entries(document: &Value) -> BTreeMap<StepId, &Value> {
    let steps = document["steps"].as_array().map(Vec::as_slice).unwrap_or_default();
    steps.iter().filter_map(|entry| Some((step_id(&entry["id"])?, entry))).collect()
}

/// `3`, or `"3[0]"` for an item.
fn step_id(id: &Value) -> Option<StepId> {
    if let Some(step) = id.as_u64() {
        return u32::try_from(step).ok().map(StepId::plain);
    }
    let (step, item) = id.as_str()?.strip_suffix(']')?.split_once('[')?;
    Some(StepId::item(step.parse().ok()?, item.parse().ok()?))
}

/// What the log makes of a step, an item, or the list of a step's items: the
/// newest attempt and the output.
fn made(run: &Seen<'_>, id: StepId) -> Option<(u64, Value)> {
    let step = run.fold.steps.get(&id.step)?;
    if id.item.is_none() && step.spec.for_each.is_some() {
        let newest = step.works.values().filter_map(|work| work.newest()).max().unwrap_or(0);
        return step.output().map(|output| (newest.into(), output));
    }
    let work = step.works.get(&id.item)?;
    work.taken().map(|(_, output)| (work.newest().unwrap_or(0).into(), output.value()))
}

fn has_put_out(run: &Seen<'_>, id: StepId, attempt: u64, output: &Value) -> bool {
    let is_list = run.fold.successes.contains_key(&StepId { item: Some(0), ..id });
    let successes = run.fold.successes.get(&id).into_iter().flatten();
    // A list is what its items are, and each of these is looked at.
    (id.item.is_none() && (is_list || output.as_array().is_some_and(Vec::is_empty)))
        || successes
            .into_iter()
            .any(|success| u64::from(success.attempt) == attempt && success.output.value() == *output)
}
