//! acked-is-present: what was acknowledged is there, once.

use std::collections::BTreeMap;

use crate::{
    check::{index::Index, verdict::Pass},
    history::{Call, Outcome, What},
};

/// Every submit that was acknowledged is in the log of its run's shard under its
/// tag, a key is one run for all who were told, and a tag is one run in all logs:
/// also where nobody was told. So is every cancel that was acknowledged.
pub(super) fn acked_is_present(index: &Index<'_>, pass: &mut Pass) {
    let mut told = BTreeMap::new();
    for call in &index.history.clients {
        match &call.what {
            What::Submit { key, tag, run, outcome: Outcome::Ok } => {
                let Some(run) = run else {
                    pass.check(false, None, call.ended_ms, || format!("submit {key} named no run"));
                    continue;
                };
                let at = index.find(run);
                let known = at.and_then(|at| index.runs[at].tag());
                pass.check(known == Some(tag.as_str()), at, call.ended_ms, || {
                    format!("run {run} of tag {tag} was acknowledged, and its log has it as {known:?}")
                });
                let first = told.entry(key).or_insert(run);
                pass.check(*first == run, at, call.ended_ms, || {
                    format!("key {key} is run {first} for one and run {run} for another")
                });
            }
            What::Cancel { run, outcome: Outcome::Ok } => cancelled(index, pass, call, run),
            _ => {}
        }
    }
    for (tag, runs) in &index.by_tag {
        let at_ms = |at: &usize| index.runs[*at].fold.submitted.map_or(0, |submitted| submitted.at_ms);
        let last = runs.iter().max_by_key(|at| at_ms(at)).copied();
        pass.check(runs.len() == 1, last, last.as_ref().map_or(0, at_ms), || {
            let runs: Vec<_> = runs.iter().map(|at| index.runs[*at].id).collect();
            format!("tag {tag} is {} runs: {runs:?}", runs.len())
        });
    }
}

fn cancelled(index: &Index<'_>, pass: &mut Pass, call: &Call, run: &planfleet_core::id::RunId) {
    let at = index.find(run);
    let asked = at.is_some_and(|at| index.runs[at].fold.cancel.is_some());
    pass.check(asked, at, call.ended_ms, || {
        format!("the cancel of run {run} was acknowledged and is not in its log")
    });
}
